//! The top-level fields of `POST /v1/images/generations`, in the order of the README's table:
//! platform.openai.com/docs/api-reference/images/create, and `ImageGenerateParams` of OpenAI's SDKs.

/// Every documented field. What else a client sends is left out and named.
pub const FIELDS: &[&str] = &[
    "model",
    "prompt",
    "n",
    "size",
    "quality",
    "style",
    "response_format",
    "output_format",
    "output_compression",
    "background",
    "moderation",
    "stream",
    "partial_images",
    "user",
    "safety_identifier",
    "complexity",
    "frame_count",
    "frame_duration_ms",
    "svg",
];

/// Fields that say nothing when they hold the API's own default, written as a JSON token.
pub const DEFAULTS: &[(&str, &str)] = &[
    ("background", r#""auto""#),
    ("background", r#""opaque""#),
    ("moderation", r#""auto""#),
    ("stream", "false"),
    ("partial_images", "0"),
];
