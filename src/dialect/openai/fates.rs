//! What becomes of each top-level field of a client's request on its way to chat completions of every edition.

use super::edition::Edition;
use crate::dialect::Client;
use crate::dialect::fates::Fate::{self, Dropped, Mapped};
use crate::dialect::fates::{
    NO_BIAS, NO_CONTAINER, NO_GEO, NO_LOGPROBS, NO_MCP, NO_SEARCH, ONE_REPLY, TEXT_ONLY, USE_TOOLS,
};

/// The table for an edition and the client's dialect.
pub const fn fates(edition: Edition, client: Client) -> &'static [(&'static str, Fate)] {
    match (edition, client) {
        (Edition::OpenAi | Edition::OpenModels, Client::OpenAi) => OPENAI_CHAT,
        (Edition::Mistral, Client::OpenAi) => OPENAI_CHAT_TO_MISTRAL,
        (Edition::OpenAi, Client::Anthropic) => ANTHROPIC_MESSAGES,
        (Edition::OpenModels | Edition::Mistral, Client::Anthropic) => ANTHROPIC_MESSAGES_TO_OPEN_MODELS,
    }
}

/// Fields of `POST /v1/chat/completions`, on their way to Mistral's models.
const OPENAI_CHAT_TO_MISTRAL: &[(&str, Fate)] = &[
    ("model", Mapped("`model`, and the model of the path")),
    ("messages", Mapped("`messages`")),
    ("stream", Mapped("`stream`, `:streamRawPredict`")),
    ("stream_options", Mapped("usage at the end of the stream")),
    ("max_tokens", Mapped("`max_tokens`")),
    ("max_completion_tokens", Mapped("`max_tokens`")),
    ("temperature", Mapped("`temperature`")),
    ("top_p", Mapped("`top_p`")),
    ("stop", Mapped("`stop`")),
    ("tools", Mapped("`tools`")),
    ("tool_choice", Mapped("`tool_choice`")),
    ("parallel_tool_calls", Mapped("`parallel_tool_calls`")),
    ("response_format", Mapped("`response_format`")),
    ("seed", Mapped("`random_seed`")),
    ("presence_penalty", Mapped("`presence_penalty`")),
    ("frequency_penalty", Mapped("`frequency_penalty`")),
    ("n", ONE_REPLY),
    ("logprobs", NO_LOGPROBS),
    ("top_logprobs", NO_LOGPROBS),
    ("logit_bias", NO_BIAS),
    ("functions", USE_TOOLS),
    ("function_call", USE_TOOLS),
    ("modalities", TEXT_ONLY),
    ("audio", TEXT_ONLY),
    ("web_search_options", NO_SEARCH),
    ("reasoning_effort", Mapped("`reasoning_effort`; left out for models that do not reason")),
    ("verbosity", Dropped),
    ("prediction", Dropped),
    ("service_tier", Dropped),
    ("user", Dropped),
    ("safety_identifier", Dropped),
    ("prompt_cache_key", Dropped),
    ("prompt_cache_retention", Dropped),
    ("metadata", Dropped),
    ("store", Dropped),
];

/// Fields of `POST /v1/chat/completions`.
const OPENAI_CHAT: &[(&str, Fate)] = OPENAI_CHAT_TO_MISTRAL;

/// Fields of `POST /v1/messages`.
const ANTHROPIC_MESSAGES: &[(&str, Fate)] = &[
    ("model", Mapped("`model`")),
    ("messages", Mapped("`messages`")),
    ("system", Mapped("`messages[0]`")),
    ("stream", Mapped("`stream`, `stream_options.include_usage`")),
    ("max_tokens", Mapped("`max_completion_tokens`")),
    ("temperature", Mapped("`temperature`; left out for models that reason")),
    ("top_p", Mapped("`top_p`; left out for models that reason")),
    ("top_k", Dropped),
    ("stop_sequences", Mapped("`stop`; refused for models that reason")),
    ("tools", Mapped("`tools`")),
    ("tool_choice", Mapped("`tool_choice`, `parallel_tool_calls`")),
    ("thinking", Mapped("`reasoning_effort`; left out for models that do not reason")),
    ("output_config", Mapped("`response_format`, `reasoning_effort`")),
    ("output_format", Mapped("`response_format`")),
    ("cache_control", Dropped),
    ("container", NO_CONTAINER),
    ("inference_geo", NO_GEO),
    ("mcp_servers", NO_MCP),
    ("metadata", Dropped),
    ("service_tier", Dropped),
    ("speed", Dropped),
    ("context_management", Dropped),
    ("diagnostics", Dropped),
    ("user_profile_id", Dropped),
];

/// The same, on their way to models on Vertex AI.
const ANTHROPIC_MESSAGES_TO_OPEN_MODELS: &[(&str, Fate)] = &[
    ("model", Mapped("`model`")),
    ("messages", Mapped("`messages`")),
    ("system", Mapped("`messages[0]`")),
    ("stream", Mapped("`stream`")),
    ("max_tokens", Mapped("`max_tokens`")),
    ("temperature", Mapped("`temperature`")),
    ("top_p", Mapped("`top_p`")),
    ("top_k", Dropped),
    ("stop_sequences", Mapped("`stop`")),
    ("tools", Mapped("`tools`")),
    ("tool_choice", Mapped("`tool_choice`, `parallel_tool_calls`")),
    ("thinking", Mapped("`reasoning_effort`; left out for models that have no word for it")),
    ("output_config", Mapped("`response_format`, `reasoning_effort`")),
    ("output_format", Mapped("`response_format`")),
    ("cache_control", Dropped),
    ("container", NO_CONTAINER),
    ("inference_geo", NO_GEO),
    ("mcp_servers", NO_MCP),
    ("metadata", Dropped),
    ("service_tier", Dropped),
    ("speed", Dropped),
    ("context_management", Dropped),
    ("diagnostics", Dropped),
    ("user_profile_id", Dropped),
];
