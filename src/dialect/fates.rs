//! What becomes of the top-level fields of a client's request. Every upstream has a table of its own for each
//! client dialect, in its folder; the README shows them side by side, and a test holds all of them together.

use std::borrow::Cow;

use crate::base::error::{Error, Kind};
use crate::chat::{Extra, LeftOut};

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
pub const NO_MODERATION: Fate =
    Refused("asks OpenAI to look through what is said; leave it out, or use a guardrail of the cloud");
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

/// Of Anthropic's clients, whose other tier is what Anthropic has sold to the customer.
pub const STANDARD_TIER: Fate = Mapped("the standard tier, which is what comes by itself");

pub const NO_STREAM: Fate =
    Refused("asks for images while they are made; the clouds send them whole, leave it out");
pub const NO_TRANSPARENCY: Fate =
    Refused("asks for a transparent background, which the model does not make; leave it out");
pub const NO_ANIMATION: Fate =
    Refused("belongs to `output_format` `gif`, which the model does not make; leave it out");
pub const NO_VECTORS: Fate =
    Refused("belongs to `output_format` `svg`, which the model does not make; leave it out");

/// Fields that no client's API knows and that are for the gateway itself. (`fallbacks` in Anthropic's dialect is
/// Anthropic's.)
pub const OURS: &[&str] = &["fallbacks", "disable_fallbacks"];

/// A field that was given, and what becomes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Given {
    /// Its path in the client's body. Borrowed where the client's API documents it, owned for anything else
    /// that a client may write.
    pub path: Cow<'static, str>,
    /// Never [`Fate::Refused`].
    pub fate: Fate,
}

/// Gives every field of a request its fate, or the refusal of the first that has no other.
pub fn settle<'f>(
    fields: impl IntoIterator<Item = &'f str>,
    table: &[(&'static str, Fate)],
) -> Result<Vec<Given>, Error> {
    let settle = |field: &str| match table.iter().find(|(name, _)| *name == field) {
        Some((name, Refused(way_out))) => Err(Error::at(Kind::Unsupported, *name, way_out)),
        Some((name, fate)) => Ok(Given { path: Cow::Borrowed(name), fate: *fate }),
        None if OURS.contains(&field) => {
            let fate = Mapped("which models may stand in; the gateway sees to it");
            Ok(Given { path: Cow::Owned(field.to_owned()), fate })
        }
        // What no table lists is nothing that the client's API documents.
        None => Ok(Given { path: Cow::Owned(field.to_owned()), fate: Dropped }),
    };
    fields.into_iter().map(settle).collect()
}

/// Adds what one model made the upstream leave out, each once.
pub fn also(given: &mut Vec<Given>, left_out: LeftOut) {
    for path in left_out.0 {
        let known = given.iter().position(|known| known.path == path);
        match known.and_then(|index| given.get(index)) {
            Some(Given { fate: Dropped, .. }) => continue,
            Some(_) => drop(known.map(|index| given.remove(index))),
            None => {}
        }
        given.push(Given { path: Cow::Borrowed(path), fate: Dropped });
    }
}

/// Adds what a client says to the cloud itself: as it is, where the upstream takes it.
pub fn own(given: &mut Vec<Given>, extra: &[Extra<'_>], takes: impl Fn(&str) -> bool) {
    given.extend(extra.iter().map(|extra| Given {
        path: Cow::Owned(extra.path.clone()),
        fate: if takes(extra.name.as_str()) { Mapped("as it is") } else { Dropped },
    }));
}
