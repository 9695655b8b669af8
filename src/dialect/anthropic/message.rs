//! Messages as an upstream sends them, whole and as the events of a stream:
//! platform.claude.com/docs/en/api/messages and …/en/build-with-claude/streaming.
//!
//! Everything borrows, text stays unread, and members and types that are not listed are skipped: Anthropic
//! adds to both.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::base::json::{Str, Text};

/// A message, whole or at its start; or an error in its place.
#[derive(Deserialize)]
pub struct Message<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Str<'a>,
    #[serde(borrow)]
    pub id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub content: Vec<Block<'a>>,
    #[serde(borrow)]
    pub stop_reason: Option<Str<'a>>,
    #[serde(borrow)]
    pub stop_sequence: Option<Text<'a>>,
    #[serde(borrow)]
    pub usage: Option<Usage<'a>>,
    /// Bedrock's word on whether its guardrail has put words of its own in the place of the model's, `INTERVENED` or
    /// `NONE`: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html. The `stop_reason`
    /// stays what it was (NousResearch/hermes-agent pull request 107815).
    #[serde(borrow, rename = "amazon-bedrock-guardrailAction")]
    pub guardrail: Option<Str<'a>>,
}

/// A content block. `type` tells which members mean something.
#[derive(Deserialize)]
pub struct Block<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Str<'a>,
    #[serde(borrow)]
    pub text: Option<Text<'a>>,
    #[serde(borrow)]
    pub thinking: Option<Text<'a>>,
    #[serde(borrow)]
    pub signature: Option<Text<'a>>,
    #[serde(borrow)]
    pub data: Option<Text<'a>>,
    #[serde(borrow)]
    pub id: Option<Text<'a>>,
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    #[serde(borrow)]
    pub input: Option<&'a RawValue>,
    #[serde(borrow)]
    pub citations: Option<Vec<Citation<'a>>>,
}

/// What the text of a block rests on. `type` tells which members mean something.
#[derive(Deserialize)]
pub struct Citation<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Str<'a>,
    #[serde(borrow)]
    pub cited_text: Option<Text<'a>>,
    #[serde(borrow)]
    pub document_title: Option<Text<'a>>,
    #[serde(borrow)]
    pub title: Option<Text<'a>>,
    #[serde(borrow)]
    pub source: Option<Text<'a>>,
    #[serde(borrow)]
    pub url: Option<Text<'a>>,
    pub document_index: Option<u64>,
    pub search_result_index: Option<u64>,
    pub start_char_index: Option<u64>,
    pub end_char_index: Option<u64>,
    pub start_page_number: Option<u64>,
    pub end_page_number: Option<u64>,
    pub start_block_index: Option<u64>,
    pub end_block_index: Option<u64>,
}

/// An event of a stream. `type` tells which members mean something.
#[derive(Deserialize)]
pub struct Event<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Str<'a>,
    #[serde(borrow)]
    pub message: Option<Message<'a>>,
    pub index: Option<u64>,
    #[serde(borrow)]
    pub content_block: Option<Block<'a>>,
    #[serde(borrow)]
    pub delta: Option<Delta<'a>>,
    #[serde(borrow)]
    pub usage: Option<Usage<'a>>,
    #[serde(borrow)]
    pub error: Option<Failure<'a>>,
    /// As in [`Message`]; of the last event.
    #[serde(borrow, rename = "amazon-bedrock-guardrailAction")]
    pub guardrail: Option<Str<'a>>,
}

/// What is new, of a block or of the message. Every type has a member of its own.
#[derive(Deserialize)]
pub struct Delta<'a> {
    #[serde(borrow)]
    pub text: Option<Text<'a>>,
    #[serde(borrow)]
    pub thinking: Option<Text<'a>>,
    #[serde(borrow)]
    pub signature: Option<Text<'a>>,
    #[serde(borrow)]
    pub partial_json: Option<Text<'a>>,
    #[serde(borrow)]
    pub citation: Option<Citation<'a>>,
    #[serde(borrow)]
    pub stop_reason: Option<Str<'a>>,
    #[serde(borrow)]
    pub stop_sequence: Option<Text<'a>>,
}

/// Token counts. What came from the cache and went into it is counted apart from `input_tokens`.
#[derive(Deserialize)]
pub struct Usage<'a> {
    #[serde(borrow)]
    pub service_tier: Option<Str<'a>>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cache_read_input_tokens: Option<u64>,
    pub cache_creation_input_tokens: Option<u64>,
    pub cache_creation: Option<CacheCreation>,
    pub output_tokens_details: Option<OutputDetails>,
}

/// What went into the cache, by how long it stays.
#[derive(Clone, Copy, Deserialize)]
pub struct CacheCreation {
    pub ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Clone, Copy, Deserialize)]
pub struct OutputDetails {
    pub thinking_tokens: Option<u64>,
}

/// `error`: platform.claude.com/docs/en/api/errors.
#[derive(Deserialize)]
pub struct Failure<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Option<Str<'a>>,
    #[serde(borrow)]
    pub message: Option<Text<'a>>,
}

/// The body of a reply that is an error.
#[derive(Deserialize)]
pub struct Refusal<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Option<Str<'a>>,
    #[serde(borrow)]
    pub error: Option<Failure<'a>>,
}
