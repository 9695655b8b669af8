//! The top-level fields of `POST /v1/messages`, in the order of the README's table:
//! docs.claude.com/en/api/messages, as of the `anthropic` package 2.11.

/// Every documented field, those of the beta API included. What else a client sends is left out and named.
pub const FIELDS: &[&str] = &[
    "model",
    "messages",
    "system",
    "stream",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "cache_control",
    "container",
    "inference_geo",
    "mcp_servers",
    "metadata",
    "service_tier",
    "speed",
    "context_management",
    "diagnostics",
    "user_profile_id",
    "workspace_id",
    "thread",
    "compaction",
    "billing_policy",
    "fallbacks",
    "fallback_credit_token",
];

/// Fields that say nothing when they hold the API's own default, written as a JSON token.
pub const DEFAULTS: &[(&str, &str)] =
    &[("metadata", "{}"), ("speed", r#""standard""#), ("mcp_servers", "[]"), ("service_tier", r#""auto""#)];

/// Every documented field of `POST /v1/messages/count_tokens`, in the order of the README's table:
/// docs.claude.com/en/api/messages-count-tokens.
pub const COUNT_FIELDS: &[&str] = &[
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "cache_control",
    "mcp_servers",
    "speed",
    "context_management",
    "compaction",
    "billing_policy",
    "user_profile_id",
    "workspace_id",
];
