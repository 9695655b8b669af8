//! What becomes of the top-level fields of a client's request. Every upstream has a table of its own for each
//! client dialect, in its folder; the README shows them side by side, and a test holds all of them together.

use crate::base::error::{Error, Kind};

/// What becomes of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It has a counterpart, named here.
    Mapped(&'static str),
    /// It has none, and the reply is right without it. Named in `x-fairlead-dropped`.
    Dropped,
    /// It has none, and without it the reply would not be what was asked for. The text is the way out.
    Refused(&'static str),
}

use Fate::{Dropped, Mapped, Refused};

// Refusals that several upstreams share.
pub const USE_TOOLS: Fate = Refused("is the old form of tools; send `tools` and `tool_choice`");
pub const ONE_REPLY: Fate = Refused("asks for several replies; send the request once for each");
pub const NO_LOGPROBS: Fate = Refused("is not available through this gateway; leave it out");
pub const NO_BIAS: Fate = Refused("counts tokens of OpenAI's tokenizer; leave it out");
pub const TEXT_ONLY: Fate = Refused("asks for more than text; leave it out");
pub const NO_SEARCH: Fate =
    Refused("asks for a web search; leave it out, or offer a search tool of your own");
pub const NO_CONTAINER: Fate = Refused("belongs to a tool that Anthropic runs itself; leave it out");
pub const NO_GEO: Fate = Refused("is decided by the region of the backend; leave it out");
pub const NO_MCP: Fate =
    Refused("asks Anthropic to call servers; offer their tools in `tools` and call them yourself");
pub const NO_THREAD: Fate = Refused(
    "asks Anthropic to keep the conversation; leave it out and send the whole conversation every time",
);
pub const NO_COMPACTION: Fate =
    Refused("asks for a summary of the conversation that only Anthropic can read; ask for one in a message");
pub const NO_BILLING: Fate = Refused("says who pays Anthropic; leave it out");

pub const NO_STREAM: Fate =
    Refused("asks for images while they are made; the clouds send them whole, leave it out");
pub const NO_TRANSPARENCY: Fate =
    Refused("asks for a transparent background, which the model does not make; leave it out");
pub const NO_ANIMATION: Fate =
    Refused("belongs to `output_format` `gif`, which the model does not make; leave it out");
pub const NO_VECTORS: Fate =
    Refused("belongs to `output_format` `svg`, which the model does not make; leave it out");

/// Gives every field of a request its fate: the names of those that are left out, or the refusal of the
/// first that may not be.
pub fn settle<'f>(
    fields: impl IntoIterator<Item = &'f str>,
    table: &[(&str, Fate)],
) -> Result<Vec<&'f str>, Error> {
    let mut dropped = Vec::new();
    for field in fields {
        // What no table lists is nothing that the client's API documents.
        match table.iter().find(|(name, _)| *name == field).map_or(Dropped, |(_, fate)| *fate) {
            Mapped(_) => {}
            Dropped => dropped.push(field),
            Refused(way_out) => return Err(Error::at(Kind::Unsupported, field, way_out)),
        }
    }
    Ok(dropped)
}
