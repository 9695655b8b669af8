//! Editions of the Messages API: who serves it, and what each wants besides the request itself.

use super::aside::{Aside, PROFILE_HEADER};
use crate::base::json::Writer;
use crate::dialect::HeaderList;

/// Who serves the Messages API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edition {
    /// Anthropic: platform.claude.com/docs/en/api/messages.
    Anthropic,
    /// Bedrock's InvokeModel: docs.aws.amazon.com/bedrock/latest/userguide/
    /// model-parameters-anthropic-claude-messages-request-response.html.
    InvokeModel,
    /// Bedrock's endpoint `bedrock-mantle`: …/userguide/inference-messages-api.html.
    Mantle,
    /// Google: docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude.
    Vertex,
}

/// The version of the API that requests are written in. It takes everything that the next one, 2026-10-21,
/// takes, with replies of the same shape, and is known to every model:
/// platform.claude.com/docs/en/api/versioning.
const VERSION: &str = "2023-06-01";

impl Edition {
    /// Every edition, for tables and tests.
    pub const ALL: &[Edition] = &[Edition::Anthropic, Edition::InvokeModel, Edition::Mantle, Edition::Vertex];

    /// Whose errors it tells.
    pub const fn server(self) -> &'static str {
        match self {
            Edition::Anthropic => "Anthropic",
            Edition::InvokeModel | Edition::Mantle => "Amazon Bedrock",
            Edition::Vertex => "Vertex AI",
        }
    }

    /// Writes the members that begin a body.
    pub(super) fn write_head(self, model: &str, stream: bool, betas: &[&str], w: &mut Writer<'_>) {
        match self {
            Edition::InvokeModel => {
                w.key("anthropic_version").string("bedrock-2023-05-31");
                if !betas.is_empty() {
                    w.key("anthropic_beta").array(|w| betas.iter().for_each(|beta| w.string(beta)));
                }
            }
            Edition::Vertex => w.key("anthropic_version").string("vertex-2023-10-16"),
            Edition::Anthropic | Edition::Mantle => w.key("model").string(model),
        }
        // `_prepare_options` of the `anthropic` package's client for Vertex AI leaves it in the body.
        if stream && self != Edition::InvokeModel {
            w.key("stream").bool(true);
        }
    }

    /// Writes the members that begin the body of a request to count tokens, whose path names no model.
    pub(in crate::dialect) fn write_count_head(self, model: &str, w: &mut Writer<'_>) {
        self.write_head(model, false, &[], w);
        if self == Edition::Vertex {
            w.key("model").string(model);
        }
    }

    /// Members that [`Edition::write_head`] writes, or that would contradict it.
    pub(super) fn is_head(name: &str) -> bool {
        matches!(name, "model" | "stream" | "anthropic_version" | "anthropic_beta")
    }

    /// Headers that go out besides those of every request.
    pub fn headers(self, aside: &Aside) -> HeaderList {
        let betas = self.betas(aside).known;
        let mut headers = Vec::new();
        match self {
            Edition::InvokeModel => return headers,
            Edition::Anthropic | Edition::Mantle => headers.push(("anthropic-version", VERSION.to_owned())),
            // In the body Vertex AI takes no notice of them (BerriAI/litellm pull request 22321).
            Edition::Vertex => {}
        }
        if !betas.is_empty() {
            headers.push(("anthropic-beta", betas.join(",")));
        }
        if let Some(profile) = aside.profile().filter(|_| self == Edition::Anthropic) {
            headers.push((PROFILE_HEADER, profile.to_owned()));
        }
        headers
    }

    /// Sorts the experimental features that a client asks for into those that go along and the rest. A
    /// cloud refuses a whole request for one that it does not know ("invalid beta flag").
    pub fn betas(self, aside: &Aside) -> Betas<'_> {
        match self {
            Edition::Anthropic => self.sort(aside.betas()),
            Edition::InvokeModel | Edition::Mantle | Edition::Vertex => self.sort(aside.wishes()),
        }
    }

    /// The same of features that are named one by one.
    pub fn sort<'b>(self, asked: impl Iterator<Item = &'b str>) -> Betas<'b> {
        let mut betas = Betas { known: Vec::new(), is_cut: false };
        for beta in asked.take(MOST_BETAS) {
            let known = match self {
                // Its own refusal names the one that it does not know.
                Edition::Anthropic => Some(beta),
                Edition::InvokeModel | Edition::Mantle | Edition::Vertex => self.name_of(beta),
            };
            match known.filter(|beta| is_word(beta)) {
                Some(beta) if betas.known.contains(&beta) => {}
                Some(beta) => betas.known.push(beta),
                None => betas.is_cut = true,
            }
        }
        betas
    }

    /// What the edition calls a feature; `None` if it has none of the name.
    fn name_of(self, beta: &str) -> Option<&str> {
        // The tool search by itself, without what else the feature switches on at Anthropic
        // (platform.claude.com/docs/en/agents-and-tools/tool-use/tool-search-tool).
        if beta == "advanced-tool-use-2025-11-20" {
            return Some("tool-search-tool-2025-10-19");
        }
        let (_, editions) = BETAS.iter().find(|(known, _)| *known == beta)?;
        editions.contains(&self).then_some(beta)
    }
}

/// Experimental features of a request.
pub struct Betas<'b> {
    /// Those that go along, in the order in which they were asked for.
    pub known: Vec<&'b str>,
    /// There were others.
    pub is_cut: bool,
}

/// How many experimental features a request may ask for; each is compared with those before it.
const MOST_BETAS: usize = 64;

const IM: Edition = Edition::InvokeModel;
const MA: Edition = Edition::Mantle;
const VX: Edition = Edition::Vertex;

/// Experimental features and the clouds that know them: the pages of the features on platform.claude.com and
/// of the clouds above, and what other gateways found by asking (`anthropic_beta_headers_config.json` of
/// BerriAI/litellm, 2026-11).
const BETAS: &[(&str, &[Edition])] = &[
    ("claude-code-20250219", &[MA]),
    ("compact-2026-01-12", &[IM, MA, VX]),
    ("compact-2026-09-04", &[VX]),
    ("computer-use-2024-10-22", &[IM, VX]),
    ("computer-use-2025-01-24", &[IM, MA, VX]),
    ("computer-use-2025-11-24", &[IM, MA, VX]),
    ("context-1m-2025-08-07", &[IM, MA, VX]),
    ("context-management-2025-06-27", &[IM, MA, VX]),
    ("dev-full-thinking-2025-05-14", &[IM]),
    ("effort-2025-11-24", &[IM, MA]),
    ("fine-grained-tool-streaming-2025-05-14", &[IM, MA]),
    ("interleaved-thinking-2025-05-14", &[IM, MA, VX]),
    ("mid-conversation-output-config-2026-07-01", &[IM]),
    ("mid-conversation-tool-changes-2026-07-01", &[IM]),
    ("model-context-window-exceeded-2025-08-26", &[IM]),
    ("output-128k-2025-02-19", &[IM, MA]),
    ("per-turn-control-2026-07-01", &[MA, VX]),
    ("structured-outputs-2025-11-13", &[MA]),
    ("thinking-binding-controls-2026-08-01", &[IM, MA, VX]),
    ("thinking-display-updates-2026-08-18", &[IM, MA, VX]),
    ("token-efficient-tools-2025-02-19", &[IM, MA]),
    ("tool-examples-2025-10-29", &[MA]),
    ("tool-search-tool-2025-10-19", &[IM, MA, VX]),
    ("web-search-2025-03-05", &[MA, VX]),
];

/// May stand in a header.
fn is_word(beta: &str) -> bool {
    beta.len() <= 128 && beta.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}
