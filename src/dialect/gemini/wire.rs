//! The members of Gemini's replies and errors that are looked at, as Google names them:
//! docs.cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse.
//! Everything is optional, because proto3 JSON leaves out what has its default value.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::base::error::{Error, Kind};
use crate::base::json::{self, Number, Str, Text};

/// A whole reply, or the next piece of a streamed one; the two have the same shape.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Piece<'a> {
    #[serde(borrow)]
    pub response_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow)]
    pub prompt_feedback: Option<PromptFeedback<'a>>,
    #[serde(borrow)]
    pub usage_metadata: Option<UsageMetadata<'a>>,
    /// Stands alone, also in the middle of a stream of status 200.
    #[serde(borrow)]
    pub error: Option<Failure<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate<'a> {
    /// Absent is 0.
    pub index: Option<u64>,
    #[serde(borrow)]
    pub content: Option<Content<'a>>,
    #[serde(borrow)]
    pub finish_reason: Option<Str<'a>>,
    #[serde(borrow)]
    pub logprobs_result: Option<LogprobsResult<'a>>,
    /// Read on its own, so that a strange one does not cost the client its reply.
    #[serde(borrow)]
    pub grounding_metadata: Option<&'a RawValue>,
}

/// How likely the tokens were; of each list one entry a token.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogprobsResult<'a> {
    #[serde(borrow)]
    pub chosen_candidates: Option<Vec<Token<'a>>>,
    #[serde(borrow)]
    pub top_candidates: Option<Vec<TopCandidates<'a>>>,
}

#[derive(Deserialize)]
pub struct TopCandidates<'a> {
    #[serde(borrow)]
    pub candidates: Option<Vec<Token<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Token<'a> {
    #[serde(borrow)]
    pub token: Option<Text<'a>>,
    /// Absent is 0: the token was certain.
    #[serde(borrow)]
    pub log_probability: Option<Number<'a>>,
}

#[derive(Deserialize)]
pub struct Content<'a> {
    #[serde(borrow)]
    pub parts: Option<Vec<Part<'a>>>,
}

/// Of code and its results, which are never asked for, nothing is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part<'a> {
    #[serde(borrow)]
    pub text: Option<Text<'a>>,
    /// The text is a thought.
    pub thought: Option<bool>,
    #[serde(borrow)]
    pub thought_signature: Option<Text<'a>>,
    #[serde(borrow)]
    pub function_call: Option<FunctionCall<'a>>,
    /// A picture or a sound, whatever is in it.
    pub inline_data: Option<IgnoredAny>,
}

#[derive(Deserialize)]
pub struct FunctionCall<'a> {
    #[serde(borrow)]
    pub id: Option<Text<'a>>,
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    #[serde(borrow)]
    pub args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromptFeedback<'a> {
    #[serde(borrow)]
    pub block_reason: Option<Str<'a>>,
}

/// Counts are read by [`count`]: one that cannot be read must not cost the client its reply.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageMetadata<'a> {
    #[serde(borrow)]
    pub prompt_token_count: Option<&'a RawValue>,
    #[serde(borrow)]
    pub tool_use_prompt_token_count: Option<&'a RawValue>,
    #[serde(borrow)]
    pub candidates_token_count: Option<&'a RawValue>,
    #[serde(borrow)]
    pub thoughts_token_count: Option<&'a RawValue>,
    #[serde(borrow)]
    pub cached_content_token_count: Option<&'a RawValue>,
    /// How the request was served, such as `"ON_DEMAND"`.
    #[serde(borrow)]
    pub traffic_type: Option<&'a RawValue>,
}

/// A `google.rpc.Status` in JSON: cloud.google.com/apis/design/errors.
#[derive(Deserialize)]
pub struct Failure<'a> {
    /// The HTTP status.
    pub code: Option<u16>,
    #[serde(borrow)]
    pub message: Option<Text<'a>>,
    /// Such as `INVALID_ARGUMENT`.
    #[serde(borrow)]
    pub status: Option<Str<'a>>,
    /// An array of [`Detail`], read on its own so that a strange one does not hide the message.
    #[serde(borrow)]
    pub details: Option<&'a RawValue>,
}

/// The two kinds of detail that say something here; the rest of their members is never read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Detail<'a> {
    /// Of a `google.rpc.RetryInfo`, such as `34.07s`.
    #[serde(borrow)]
    pub retry_delay: Option<Str<'a>>,
    /// Of a `google.rpc.ErrorInfo`, such as `SERVICE_DISABLED`.
    #[serde(borrow)]
    pub reason: Option<Str<'a>>,
}

/// Reads a piece, or an array of them, and hands them on in order. Google wraps into an array what it
/// streams without `alt=sse`, and errors on that path whatever was asked for.
///
/// # Errors
/// [`Kind::UpstreamGarbled`] when it is neither; the error of `then`.
pub fn each<'a>(json: &'a str, mut then: impl FnMut(Piece<'a>) -> Result<(), Error>) -> Result<(), Error> {
    let garbled = |fault: json::Unreadable| {
        let place = if fault.path.is_empty() { String::new() } else { format!("{}: ", fault.path) };
        let message = format!("Vertex AI's answer could not be understood: {place}{}", fault.problem);
        Error::new(Kind::UpstreamGarbled, message)
    };
    if json.trim_start().starts_with('[') {
        json::read::<Vec<Piece<'a>>>(json).map_err(garbled)?.into_iter().try_for_each(then)
    } else {
        then(json::read(json).map_err(garbled)?)
    }
}

/// A token count; `None` for what is no whole number. In quotes too, as proto3 JSON writes an int64.
pub fn count(raw: &RawValue) -> Option<u64> {
    raw.get().trim_matches('"').parse().ok()
}
