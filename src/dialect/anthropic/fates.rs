//! What becomes of each top-level field of a client's request on its way to an edition of the Messages API.
//!
//! What the clouds take: the pages named at [`Edition`], platform.claude.com/docs/en/build-with-claude/overview,
//! and what they were seen to refuse with "Extra inputs are not permitted".

use super::Edition;
use crate::dialect::fates::Fate::{self, Dropped, Mapped};
use crate::dialect::fates::{
    NO_BIAS, NO_BILLING, NO_COMPACTION, NO_CONTAINER, NO_GEO, NO_LOGPROBS, NO_MCP, NO_MODERATION, NO_SEARCH,
    NO_THREAD, ONE_REPLY, STANDARD_TIER, TEXT_ONLY, USE_TOOLS,
};

/// The table of an edition for clients of OpenAI's API.
pub const fn openai(edition: Edition) -> &'static [(&'static str, Fate)] {
    match edition {
        Edition::Anthropic => OPENAI_CHAT_WITH_TIERS,
        Edition::Mantle => OPENAI_CHAT,
        Edition::InvokeModel => OPENAI_INVOKE_MODEL,
        Edition::Vertex => OPENAI_CHAT_BY_PATH,
    }
}

/// The table of an edition for clients of Anthropic's API, whose fields pass as they are.
pub const fn anthropic(edition: Edition) -> &'static [(&'static str, Fate)] {
    match edition {
        Edition::Anthropic => ANTHROPIC,
        Edition::InvokeModel => INVOKE_MODEL,
        Edition::Mantle => MANTLE,
        Edition::Vertex => VERTEX,
    }
}

const SAME: Fate = Mapped("as it is");
const IN_PATH: Fate = Mapped("in the path");
const WITH_BETA: Fate = Mapped("as it is, beside a beta feature that the cloud knows; else left out");
const LAST_BLOCK: Fate = Mapped("a mark on the last block");
const FORMAT: Fate = Mapped("`output_config.format`");
const FORMAT_OR_WORDS: Fate = Mapped("`output_config.format`; `json_object` is an instruction in `system`");

macro_rules! openai_chat {
    ($model:expr, $stream:expr, $tier:expr) => {
        &[
            ("model", $model),
            ("messages", Mapped("`messages`, `system`")),
            ("stream", $stream),
            ("stream_options", Mapped("usage at the end of the stream")),
            ("max_tokens", Mapped("`max_tokens`; by default the most that the model gives")),
            ("max_completion_tokens", Mapped("`max_tokens`")),
            ("temperature", Mapped("`temperature`; left out for models that refuse it")),
            ("top_p", Mapped("`top_p`; left out for models that refuse it")),
            ("stop", Mapped("`stop_sequences`")),
            ("tools", Mapped("`tools`")),
            ("tool_choice", Mapped("`tool_choice`")),
            ("parallel_tool_calls", Mapped("`tool_choice.disable_parallel_tool_use`")),
            ("response_format", FORMAT_OR_WORDS),
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
                Mapped("`thinking`, `output_config.effort`; left out for models that do not reason"),
            ),
            ("verbosity", Dropped),
            ("prediction", Dropped),
            ("service_tier", $tier),
            ("user", Mapped("`metadata.user_id`")),
            ("safety_identifier", Mapped("`metadata.user_id`")),
            ("prompt_cache_key", Dropped),
            ("prompt_cache_retention", Dropped),
            ("prompt_cache_options", Dropped),
            ("moderation", NO_MODERATION),
            ("metadata", Dropped),
            ("store", Dropped),
        ]
    };
}

const OPENAI_CHAT: &[(&str, Fate)] = openai_chat!(Mapped("`model`"), Mapped("`stream`"), Dropped);
const OPENAI_CHAT_WITH_TIERS: &[(&str, Fate)] = openai_chat!(
    Mapped("`model`"),
    Mapped("`stream`"),
    Mapped("`service_tier`: `auto` for priority, else `standard_only`; flex is left out")
);
const OPENAI_INVOKE_MODEL: &[(&str, Fate)] =
    openai_chat!(IN_PATH, IN_PATH, Mapped("header `X-Amzn-Bedrock-Service-Tier`"));
const OPENAI_CHAT_BY_PATH: &[(&str, Fate)] = openai_chat!(IN_PATH, IN_PATH, Dropped);

const ANTHROPIC: &[(&str, Fate)] = &[
    ("model", Mapped("`model`")),
    ("messages", SAME),
    ("system", SAME),
    ("stream", SAME),
    ("max_tokens", SAME),
    ("temperature", SAME),
    ("top_p", SAME),
    ("top_k", SAME),
    ("stop_sequences", SAME),
    ("tools", SAME),
    ("tool_choice", SAME),
    ("thinking", SAME),
    ("output_config", SAME),
    ("output_format", SAME),
    ("cache_control", SAME),
    ("container", SAME),
    ("inference_geo", SAME),
    ("mcp_servers", SAME),
    ("metadata", SAME),
    ("service_tier", SAME),
    ("speed", SAME),
    ("context_management", SAME),
    ("diagnostics", SAME),
    ("user_profile_id", SAME),
    ("workspace_id", Dropped),
    ("thread", SAME),
    ("compaction", SAME),
    ("billing_policy", NO_BILLING),
    // Names models, which is the operator's to do.
    ("fallbacks", Dropped),
    ("fallback_credit_token", Dropped),
];

macro_rules! cloud {
    ($model:expr, $stream:expr, $user_profile_id:expr) => {
        &[
            ("model", $model),
            ("messages", SAME),
            ("system", SAME),
            ("stream", $stream),
            ("max_tokens", SAME),
            ("temperature", SAME),
            ("top_p", SAME),
            ("top_k", SAME),
            ("stop_sequences", SAME),
            ("tools", SAME),
            ("tool_choice", SAME),
            ("thinking", SAME),
            ("output_config", SAME),
            ("output_format", FORMAT),
            ("cache_control", LAST_BLOCK),
            ("container", NO_CONTAINER),
            ("inference_geo", NO_GEO),
            ("mcp_servers", NO_MCP),
            ("metadata", SAME),
            ("service_tier", STANDARD_TIER),
            ("speed", Dropped),
            ("context_management", WITH_BETA),
            ("diagnostics", Dropped),
            ("user_profile_id", $user_profile_id),
            ("workspace_id", Dropped),
            ("thread", NO_THREAD),
            ("compaction", NO_COMPACTION),
            ("billing_policy", NO_BILLING),
            ("fallbacks", Dropped),
            ("fallback_credit_token", Dropped),
        ]
    };
}

const INVOKE_MODEL: &[(&str, Fate)] = cloud!(IN_PATH, IN_PATH, Dropped);
const MANTLE: &[(&str, Fate)] = cloud!(Mapped("`model`"), SAME, SAME);
const VERTEX: &[(&str, Fate)] = cloud!(IN_PATH, SAME, Dropped);

/// The table of an edition for `POST /v1/messages/count_tokens`.
pub const fn count(edition: Edition) -> &'static [(&'static str, Fate)] {
    match edition {
        Edition::Anthropic => COUNT_ANTHROPIC,
        Edition::Mantle => COUNT_MANTLE,
        Edition::InvokeModel | Edition::Vertex => COUNT_CLOUD,
    }
}

macro_rules! count {
    ($cache_control:expr, $mcp_servers:expr, $context_management:expr, $user_profile_id:expr) => {
        &[
            ("model", Mapped("`model`")),
            ("messages", SAME),
            ("system", SAME),
            ("tools", SAME),
            ("tool_choice", SAME),
            ("thinking", SAME),
            ("output_config", SAME),
            ("cache_control", $cache_control),
            ("mcp_servers", $mcp_servers),
            ("speed", Dropped),
            ("context_management", $context_management),
            ("compaction", Dropped),
            ("billing_policy", Dropped),
            ("user_profile_id", $user_profile_id),
            ("workspace_id", Dropped),
        ]
    };
}

const COUNT_ANTHROPIC: &[(&str, Fate)] = count!(SAME, SAME, SAME, SAME);
const COUNT_MANTLE: &[(&str, Fate)] = count!(LAST_BLOCK, NO_MCP, Dropped, SAME);
const COUNT_CLOUD: &[(&str, Fate)] = count!(LAST_BLOCK, NO_MCP, Dropped, Dropped);
