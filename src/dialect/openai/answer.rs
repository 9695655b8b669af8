//! The members of completions, their chunks and errors that are looked at, as OpenAI and those who speak its
//! dialect name them. Everything is optional, and what has several shapes is kept unread.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::base::json::{Str, Text};

/// A whole completion, or a chunk of a streamed one.
#[derive(Deserialize)]
pub struct Answer<'a> {
    #[serde(borrow)]
    pub id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    pub usage: Option<Usage<'a>>,
    /// How it was served: OpenAI only.
    #[serde(borrow)]
    pub service_tier: Option<&'a RawValue>,
    /// Stands alone, also in the middle of a stream of status 200.
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
    /// `error` where the members of an error stand at the top.
    #[serde(borrow)]
    pub object: Option<Str<'a>>,
}

#[derive(Deserialize)]
pub struct Choice<'a> {
    #[serde(borrow)]
    pub index: Option<&'a RawValue>,
    /// In a chunk.
    #[serde(borrow)]
    pub delta: Option<Said<'a>>,
    /// In a whole completion.
    #[serde(borrow)]
    pub message: Option<Said<'a>>,
    #[serde(borrow)]
    pub finish_reason: Option<Str<'a>>,
}

#[derive(Deserialize)]
pub struct Said<'a> {
    /// A string, or a list of [`Piece`].
    #[serde(borrow)]
    pub content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub refusal: Option<&'a RawValue>,
    /// What the model thought: a string, by one of two names.
    #[serde(borrow)]
    pub reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    pub tool_calls: Option<Vec<ToolCall<'a>>>,
}

/// A piece of what Mistral's models say: `text`, `thinking` and others.
#[derive(Deserialize)]
pub struct Piece<'a> {
    #[serde(borrow)]
    pub text: Option<&'a RawValue>,
    /// A string, or a list of pieces.
    #[serde(borrow)]
    pub thinking: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub struct ToolCall<'a> {
    #[serde(borrow)]
    pub index: Option<&'a RawValue>,
    #[serde(borrow)]
    pub id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub function: Option<Function<'a>>,
}

#[derive(Deserialize)]
pub struct Function<'a> {
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// A string with a piece of JSON, or the whole object.
    #[serde(borrow)]
    pub arguments: Option<&'a RawValue>,
}

/// Counts are read by [`count`]: one that cannot be read must not cost the client its reply.
#[derive(Deserialize)]
pub struct Usage<'a> {
    #[serde(borrow)]
    pub prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    pub completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    pub prompt_tokens_details: Option<PromptDetails<'a>>,
    #[serde(borrow)]
    pub completion_tokens_details: Option<CompletionDetails<'a>>,
}

#[derive(Deserialize)]
pub struct PromptDetails<'a> {
    #[serde(borrow)]
    pub cached_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    pub cache_write_tokens: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub struct CompletionDetails<'a> {
    #[serde(borrow)]
    pub reasoning_tokens: Option<&'a RawValue>,
}

/// What went wrong: the object in `error`, or the body itself. Of Google's members `status`.
#[derive(Default, Deserialize)]
pub struct Failure<'a> {
    /// A string; Mistral's may be an object of its web framework's.
    #[serde(borrow)]
    pub message: Option<&'a RawValue>,
    /// A word, or a status.
    #[serde(borrow)]
    pub code: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    pub kind: Option<&'a RawValue>,
    /// The path of a field in the request: OpenAI's.
    #[serde(borrow)]
    pub param: Option<&'a RawValue>,
    /// Google's, such as `INVALID_ARGUMENT`.
    #[serde(borrow)]
    pub status: Option<&'a RawValue>,
    /// A list of [`Detail`], of a web framework.
    #[serde(borrow)]
    pub detail: Option<&'a RawValue>,
}

/// What is wrong with one field.
#[derive(Deserialize)]
pub struct Detail<'a> {
    #[serde(borrow)]
    pub loc: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    pub msg: Option<Text<'a>>,
}

/// A text that is there and says something.
pub fn text(raw: Option<&RawValue>) -> Option<Text<'_>> {
    raw.and_then(Text::from_raw).filter(|text| !text.is_empty())
}

/// A whole number; `None` for what is none.
pub fn count(raw: Option<&RawValue>) -> Option<u64> {
    raw.and_then(|raw| raw.get().trim_matches('"').parse().ok())
}
