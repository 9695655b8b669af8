//! What becomes of each top-level field of a client's request on its way to Bedrock's Converse.

use crate::dialect::fates::Fate::{self, Dropped, Mapped};
use crate::dialect::fates::{
    NO_BIAS, NO_CONTAINER, NO_GEO, NO_LOGPROBS, NO_MCP, NO_SEARCH, ONE_REPLY, TEXT_ONLY, USE_TOOLS,
};

/// Fields of `POST /v1/chat/completions`.
pub const OPENAI_CHAT: &[(&str, Fate)] = &[
    ("model", Mapped("the model of the path")),
    ("messages", Mapped("`messages`, `system`")),
    ("stream", Mapped("`/converse-stream`")),
    ("stream_options", Mapped("usage at the end of the stream")),
    ("max_tokens", Mapped("`inferenceConfig.maxTokens`")),
    ("max_completion_tokens", Mapped("`inferenceConfig.maxTokens`")),
    ("temperature", Mapped("`inferenceConfig.temperature`")),
    ("top_p", Mapped("`inferenceConfig.topP`")),
    ("stop", Mapped("`inferenceConfig.stopSequences`")),
    ("tools", Mapped("`toolConfig.tools`")),
    ("tool_choice", Mapped("`toolConfig.toolChoice`")),
    ("parallel_tool_calls", Dropped),
    ("response_format", Mapped("`outputConfig.textFormat`")),
    ("seed", Dropped),
    ("presence_penalty", Dropped),
    ("frequency_penalty", Dropped),
    ("n", ONE_REPLY),
    ("logprobs", NO_LOGPROBS),
    ("top_logprobs", NO_LOGPROBS),
    ("logit_bias", NO_BIAS),
    ("functions", USE_TOOLS),
    ("function_call", USE_TOOLS),
    ("modalities", TEXT_ONLY),
    ("audio", TEXT_ONLY),
    ("web_search_options", NO_SEARCH),
    (
        "reasoning_effort",
        Mapped(
            "`additionalModelRequestFields`, `outputConfig.effort`; left out for models that do not reason",
        ),
    ),
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

/// Fields of `POST /v1/messages`.
pub const ANTHROPIC_MESSAGES: &[(&str, Fate)] = &[
    ("model", Mapped("the model of the path")),
    ("messages", Mapped("`messages`, `system`")),
    ("system", Mapped("`system`")),
    ("stream", Mapped("`/converse-stream`")),
    ("max_tokens", Mapped("`inferenceConfig.maxTokens`")),
    ("temperature", Mapped("`inferenceConfig.temperature`")),
    ("top_p", Mapped("`inferenceConfig.topP`")),
    ("top_k", Mapped("`additionalModelRequestFields`; left out for models but Claude and Nova")),
    ("stop_sequences", Mapped("`inferenceConfig.stopSequences`")),
    ("tools", Mapped("`toolConfig.tools`")),
    ("tool_choice", Mapped("`toolConfig.toolChoice`")),
    ("thinking", Mapped("`additionalModelRequestFields.thinking`; left out for models that do not reason")),
    ("output_config", Mapped("`outputConfig`")),
    ("output_format", Mapped("`outputConfig.textFormat`")),
    ("cache_control", Mapped("a `cachePoint` at the end; left out for models but Claude and Nova")),
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

/// Fields of `POST /v1/messages/count_tokens`.
pub const ANTHROPIC_COUNT: &[(&str, Fate)] = &[
    ("model", Mapped("the model of the path")),
    ("messages", Mapped("`messages`, `system`")),
    ("system", Mapped("`system`")),
    ("tools", Mapped("`toolConfig.tools`")),
    ("tool_choice", Mapped("`toolConfig.toolChoice`")),
    ("thinking", Mapped("`additionalModelRequestFields.thinking`; left out for models that do not reason")),
    ("output_config", Dropped),
    ("cache_control", Mapped("a `cachePoint` at the end; left out for models but Claude and Nova")),
    ("mcp_servers", NO_MCP),
    ("speed", Dropped),
    ("context_management", Dropped),
    ("compaction", Dropped),
    ("billing_policy", Dropped),
    ("user_profile_id", Dropped),
];
