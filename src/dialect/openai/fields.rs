//! The top-level fields of `POST /v1/chat/completions`, in the order of the README's table:
//! platform.openai.com/docs/api-reference/chat/create.

/// Every documented field. What else a client sends is left out and named.
pub const FIELDS: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "stop",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "n",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "functions",
    "function_call",
    "modalities",
    "audio",
    "web_search_options",
    "reasoning_effort",
    "verbosity",
    "prediction",
    "service_tier",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "moderation",
    "metadata",
    "store",
];

/// Fields that say nothing when they hold the API's own default, written as a JSON token.
pub const DEFAULTS: &[(&str, &str)] = &[
    ("n", "1"),
    ("logprobs", "false"),
    ("top_logprobs", "0"),
    ("logit_bias", "{}"),
    ("modalities", r#"["text"]"#),
    ("store", "false"),
    ("metadata", "{}"),
];
