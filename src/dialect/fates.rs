//! What becomes of each top-level field of a client's request, per upstream dialect. The README shows
//! this table; a test holds the two together.

use super::Upstream;
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

/// A top-level field of a client's request and its fates.
pub struct Row {
    pub field: &'static str,
    pub converse: Fate,
    pub gemini: Fate,
}

use Fate::{Dropped, Mapped, Refused};

const fn row(field: &'static str, converse: Fate, gemini: Fate) -> Row {
    Row { field, converse, gemini }
}

const USE_TOOLS: Fate = Refused("is the old form of tools; send `tools` and `tool_choice`");
const ONE_REPLY: Fate = Refused("asks for several replies; send the request once for each");
const NO_LOGPROBS: Fate = Refused("is not available through this gateway; leave it out");
const NO_BIAS: Fate = Refused("counts tokens of OpenAI's tokenizer; leave it out");
const TEXT_ONLY: Fate = Refused("asks for more than text; leave it out");
const NO_SEARCH: Fate = Refused("asks for a web search; leave it out, or offer a search tool of your own");

/// Fields of `POST /v1/chat/completions`, platform.openai.com/docs/api-reference/chat/create.
/// A field that is not listed is dropped.
pub const OPENAI_CHAT: &[Row] = &[
    row("model", Mapped("the model of the path"), Mapped("the model of the path")),
    row("messages", Mapped("`messages`, `system`"), Mapped("`contents`, `systemInstruction`")),
    row("stream", Mapped("`/converse-stream`"), Mapped("`:streamGenerateContent`")),
    row("stream_options", Mapped("usage at the end of the stream"), Mapped("usage at the end of the stream")),
    row("max_tokens", Mapped("`inferenceConfig.maxTokens`"), Mapped("`generationConfig.maxOutputTokens`")),
    row(
        "max_completion_tokens",
        Mapped("`inferenceConfig.maxTokens`"),
        Mapped("`generationConfig.maxOutputTokens`"),
    ),
    row("temperature", Mapped("`inferenceConfig.temperature`"), Mapped("`generationConfig.temperature`")),
    row("top_p", Mapped("`inferenceConfig.topP`"), Mapped("`generationConfig.topP`")),
    row("stop", Mapped("`inferenceConfig.stopSequences`"), Mapped("`generationConfig.stopSequences`")),
    row("tools", Mapped("`toolConfig.tools`"), Mapped("`tools[0].functionDeclarations`")),
    row("tool_choice", Mapped("`toolConfig.toolChoice`"), Mapped("`toolConfig.functionCallingConfig`")),
    row("parallel_tool_calls", Dropped, Dropped),
    row(
        "response_format",
        Mapped("`outputConfig.textFormat`"),
        Mapped("`generationConfig.responseMimeType`, `.responseJsonSchema`"),
    ),
    row("seed", Dropped, Mapped("`generationConfig.seed`")),
    row("presence_penalty", Dropped, Mapped("`generationConfig.presencePenalty`")),
    row("frequency_penalty", Dropped, Mapped("`generationConfig.frequencyPenalty`")),
    row("n", ONE_REPLY, ONE_REPLY),
    row("logprobs", NO_LOGPROBS, NO_LOGPROBS),
    row("top_logprobs", NO_LOGPROBS, NO_LOGPROBS),
    row("logit_bias", NO_BIAS, NO_BIAS),
    row("functions", USE_TOOLS, USE_TOOLS),
    row("function_call", USE_TOOLS, USE_TOOLS),
    row("modalities", TEXT_ONLY, TEXT_ONLY),
    row("audio", TEXT_ONLY, TEXT_ONLY),
    row("web_search_options", NO_SEARCH, NO_SEARCH),
    row(
        "reasoning_effort",
        Mapped(
            "`additionalModelRequestFields`, `outputConfig.effort`; left out for models that do not reason",
        ),
        Mapped("`generationConfig.thinkingConfig`; left out before Gemini 2.5"),
    ),
    row("verbosity", Dropped, Dropped),
    row("prediction", Dropped, Dropped),
    row("service_tier", Dropped, Dropped),
    row("user", Dropped, Dropped),
    row("safety_identifier", Dropped, Dropped),
    row("prompt_cache_key", Dropped, Dropped),
    row("prompt_cache_retention", Dropped, Dropped),
    row("metadata", Dropped, Dropped),
    row("store", Dropped, Dropped),
];

/// Fields that say nothing when they hold the API's own default, written as a JSON token.
pub const OPENAI_CHAT_DEFAULTS: &[(&str, &str)] = &[
    ("n", "1"),
    ("logprobs", "false"),
    ("top_logprobs", "0"),
    ("logit_bias", "{}"),
    ("modalities", r#"["text"]"#),
    ("service_tier", r#""auto""#),
    ("service_tier", r#""default""#),
    ("store", "false"),
    ("metadata", "{}"),
];

const NO_CONTAINER: Fate = Refused("belongs to a tool that Anthropic runs itself; leave it out");
const NO_GEO: Fate = Refused("is decided by the region of the backend; leave it out");
const NO_MCP: Fate =
    Refused("asks Anthropic to call servers; offer their tools in `tools` and call them yourself");

/// Fields of `POST /v1/messages`, docs.claude.com/en/api/messages, as of the `anthropic` package 2.11.
/// A field that is not listed is dropped.
pub const ANTHROPIC_MESSAGES: &[Row] = &[
    row("model", Mapped("the model of the path"), Mapped("the model of the path")),
    row("messages", Mapped("`messages`, `system`"), Mapped("`contents`, `systemInstruction`")),
    row("system", Mapped("`system`"), Mapped("`systemInstruction`")),
    row("stream", Mapped("`/converse-stream`"), Mapped("`:streamGenerateContent`")),
    row("max_tokens", Mapped("`inferenceConfig.maxTokens`"), Mapped("`generationConfig.maxOutputTokens`")),
    row("temperature", Mapped("`inferenceConfig.temperature`"), Mapped("`generationConfig.temperature`")),
    row("top_p", Mapped("`inferenceConfig.topP`"), Mapped("`generationConfig.topP`")),
    row(
        "top_k",
        Mapped("`additionalModelRequestFields`; left out for models but Claude and Nova"),
        Mapped("`generationConfig.topK`"),
    ),
    row(
        "stop_sequences",
        Mapped("`inferenceConfig.stopSequences`"),
        Mapped("`generationConfig.stopSequences`"),
    ),
    row("tools", Mapped("`toolConfig.tools`"), Mapped("`tools[0].functionDeclarations`")),
    row("tool_choice", Mapped("`toolConfig.toolChoice`"), Mapped("`toolConfig.functionCallingConfig`")),
    row(
        "thinking",
        Mapped("`additionalModelRequestFields.thinking`; left out for models that do not reason"),
        Mapped("`generationConfig.thinkingConfig`; left out before Gemini 2.5"),
    ),
    row(
        "output_config",
        Mapped("`outputConfig`"),
        Mapped("`generationConfig.responseJsonSchema`, `.thinkingConfig`"),
    ),
    row(
        "output_format",
        Mapped("`outputConfig.textFormat`"),
        Mapped("`generationConfig.responseMimeType`, `.responseJsonSchema`"),
    ),
    row(
        "cache_control",
        Mapped("a `cachePoint` at the end; left out for models but Claude and Nova"),
        Dropped,
    ),
    row("container", NO_CONTAINER, NO_CONTAINER),
    row("inference_geo", NO_GEO, NO_GEO),
    row("mcp_servers", NO_MCP, NO_MCP),
    row("metadata", Dropped, Dropped),
    row("service_tier", Dropped, Dropped),
    row("speed", Dropped, Dropped),
    row("context_management", Dropped, Dropped),
    row("diagnostics", Dropped, Dropped),
    row("user_profile_id", Dropped, Dropped),
];

/// As [`OPENAI_CHAT_DEFAULTS`].
pub const ANTHROPIC_MESSAGES_DEFAULTS: &[(&str, &str)] =
    &[("metadata", "{}"), ("service_tier", r#""auto""#), ("speed", r#""standard""#), ("mcp_servers", "[]")];

/// Gives every field of a request its fate: the names of those that are left out, or the refusal of the
/// first that may not be.
pub fn settle<'f>(
    fields: impl IntoIterator<Item = &'f str>,
    table: &[Row],
    upstream: Upstream,
) -> Result<Vec<&'f str>, Error> {
    let mut dropped = Vec::new();
    for field in fields {
        let row = table.iter().find(|row| row.field == field);
        let fate = row.map_or(Dropped, |row| match upstream {
            Upstream::Converse => row.converse,
            Upstream::Gemini => row.gemini,
        });
        match fate {
            Mapped(_) => {}
            Dropped => dropped.push(field),
            Refused(way_out) => return Err(Error::at(Kind::Unsupported, field, way_out)),
        }
    }
    Ok(dropped)
}
