//! Replies of Converse and ConverseStream as they stand on the wire.
//!
//! Everything borrows, text stays unread, and members that are not listed are skipped: Bedrock pads its
//! events with a member `p` of random length and adds kinds of blocks over time. A union (`Block`,
//! `Start`, `Delta`) is a struct of which one member is present, or none when the kind is unknown here.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::base::json::{Str, Text};

/// The body of a Converse reply.
#[derive(Deserialize)]
pub struct Reply<'a> {
    #[serde(borrow)]
    pub output: Output<'a>,
    #[serde(borrow, rename = "stopReason")]
    pub stop_reason: Str<'a>,
    #[serde(borrow)]
    pub usage: Option<Usage<'a>>,
    #[serde(borrow, rename = "serviceTier")]
    pub tier: Option<Tier<'a>>,
    /// What guardrails and routers of prompts did; any JSON.
    #[serde(borrow)]
    pub trace: Option<&'a RawValue>,
    /// What was asked for in `additionalModelResponseFieldPaths`; any JSON.
    #[serde(borrow, rename = "additionalModelResponseFields")]
    pub additional: Option<&'a RawValue>,
}

/// Of `additionalModelResponseFields`: Claude's own name for the sequence that ended its reply.
#[derive(Deserialize)]
pub struct Additional<'a> {
    #[serde(borrow)]
    pub stop_sequence: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub struct Output<'a> {
    #[serde(borrow)]
    pub message: Message<'a>,
}

#[derive(Deserialize)]
pub struct Message<'a> {
    #[serde(borrow)]
    pub content: Vec<Block<'a>>,
}

/// `ContentBlock`, a union.
#[derive(Deserialize)]
pub struct Block<'a> {
    #[serde(borrow)]
    pub text: Option<Text<'a>>,
    #[serde(borrow, rename = "toolUse")]
    pub tool_use: Option<ToolUse<'a>>,
    #[serde(borrow, rename = "reasoningContent")]
    pub reasoning: Option<Reasoning<'a>>,
    #[serde(borrow, rename = "citationsContent")]
    pub cited: Option<Cited<'a>>,
}

/// `ToolUseBlock`; as the start of a block in a stream it has no `input`.
#[derive(Deserialize)]
pub struct ToolUse<'a> {
    #[serde(borrow, rename = "toolUseId")]
    pub id: Text<'a>,
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub input: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    pub kind: Option<Str<'a>>,
}

impl ToolUse<'_> {
    /// A tool that Bedrock itself runs within the reply, such as Nova's code interpreter. It is not the
    /// client's to answer.
    pub fn is_of_the_service(&self) -> bool {
        self.kind.as_ref().is_some_and(|kind| kind.as_str() == "server_tool_use")
    }
}

#[derive(Deserialize)]
pub struct Reasoning<'a> {
    #[serde(borrow, rename = "reasoningText")]
    pub text: Option<ReasoningText<'a>>,
    /// Base64.
    #[serde(borrow, rename = "redactedContent")]
    pub redacted: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub struct ReasoningText<'a> {
    #[serde(borrow)]
    pub text: Text<'a>,
    #[serde(borrow)]
    pub signature: Option<Text<'a>>,
}

/// `CitationsContentBlock`: text of the reply, in pieces, beside the sources it rests on.
#[derive(Deserialize)]
pub struct Cited<'a> {
    #[serde(borrow)]
    pub content: Option<Vec<Piece<'a>>>,
    #[serde(borrow)]
    pub citations: Option<Vec<Citation<'a>>>,
}

#[derive(Deserialize)]
pub struct Piece<'a> {
    #[serde(borrow)]
    pub text: Option<Text<'a>>,
}

/// `Citation` and `CitationsDelta`.
#[derive(Deserialize)]
pub struct Citation<'a> {
    #[serde(borrow)]
    pub title: Option<Text<'a>>,
    /// Of a search result: where it was found.
    #[serde(borrow)]
    pub source: Option<Text<'a>>,
    #[serde(borrow, rename = "sourceContent")]
    pub quoted: Option<Vec<Piece<'a>>>,
    #[serde(borrow)]
    pub location: Option<Location<'a>>,
}

/// `CitationLocation`, a union.
#[derive(Deserialize)]
pub struct Location<'a> {
    #[serde(borrow)]
    pub web: Option<Web<'a>>,
    #[serde(rename = "documentChar")]
    pub characters: Option<Span>,
    #[serde(rename = "documentPage")]
    pub pages: Option<Span>,
    #[serde(rename = "documentChunk")]
    pub chunks: Option<Span>,
    #[serde(rename = "searchResultLocation")]
    pub search_result: Option<Span>,
}

#[derive(Deserialize)]
pub struct Web<'a> {
    #[serde(borrow)]
    pub url: Option<Text<'a>>,
}

/// From where to where in which document or search result.
#[derive(Clone, Copy, Deserialize)]
pub struct Span {
    #[serde(alias = "documentIndex", alias = "searchResultIndex")]
    pub index: Option<u64>,
    pub start: Option<u64>,
    pub end: Option<u64>,
}

/// `contentBlockStart`. Text blocks begin without one.
#[derive(Deserialize)]
pub struct BlockStart<'a> {
    #[serde(rename = "contentBlockIndex")]
    pub index: u64,
    #[serde(borrow)]
    pub start: Start<'a>,
}

#[derive(Deserialize)]
pub struct Start<'a> {
    #[serde(borrow, rename = "toolUse")]
    pub tool_use: Option<ToolUse<'a>>,
}

/// `contentBlockDelta`.
#[derive(Deserialize)]
pub struct BlockDelta<'a> {
    #[serde(rename = "contentBlockIndex")]
    pub index: u64,
    #[serde(borrow)]
    pub delta: Delta<'a>,
}

#[derive(Deserialize)]
pub struct Delta<'a> {
    #[serde(borrow)]
    pub text: Option<Text<'a>>,
    #[serde(borrow, rename = "toolUse")]
    pub tool_use: Option<ToolDelta<'a>>,
    #[serde(borrow, rename = "reasoningContent")]
    pub reasoning: Option<ReasoningDelta<'a>>,
    #[serde(borrow)]
    pub citation: Option<Citation<'a>>,
}

/// `ReasoningContentBlockDelta`, a union.
#[derive(Deserialize)]
pub struct ReasoningDelta<'a> {
    #[serde(borrow)]
    pub text: Option<Text<'a>>,
    #[serde(borrow)]
    pub signature: Option<Text<'a>>,
    /// Base64.
    #[serde(borrow, rename = "redactedContent")]
    pub redacted: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub struct ToolDelta<'a> {
    /// The next piece of a JSON text.
    #[serde(borrow)]
    pub input: Text<'a>,
}

/// `contentBlockStop`.
#[derive(Deserialize)]
pub struct BlockStop {
    #[serde(rename = "contentBlockIndex")]
    pub index: u64,
}

/// `messageStop`.
#[derive(Deserialize)]
pub struct MessageStop<'a> {
    #[serde(borrow, rename = "stopReason")]
    pub reason: Str<'a>,
    #[serde(borrow, rename = "additionalModelResponseFields")]
    pub additional: Option<&'a RawValue>,
}

/// `metadata`.
#[derive(Deserialize)]
pub struct Metadata<'a> {
    #[serde(borrow)]
    pub usage: Option<Usage<'a>>,
    #[serde(borrow, rename = "serviceTier")]
    pub tier: Option<Tier<'a>>,
    /// Any JSON.
    #[serde(borrow)]
    pub trace: Option<&'a RawValue>,
}

/// `ServiceTier`.
#[derive(Deserialize)]
pub struct Tier<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Option<Str<'a>>,
}

/// `TokenUsage`.
#[derive(Deserialize)]
pub struct Usage<'a> {
    /// Without the two below.
    #[serde(rename = "inputTokens")]
    pub input: Option<u64>,
    #[serde(rename = "outputTokens")]
    pub output: Option<u64>,
    #[serde(rename = "cacheReadInputTokens")]
    pub cache_read: Option<u64>,
    #[serde(rename = "cacheWriteInputTokens")]
    pub cache_write: Option<u64>,
    /// What was written to the cache, by how long it stays.
    #[serde(borrow, rename = "cacheDetails")]
    pub cache_details: Option<Vec<CacheDetail<'a>>>,
}

/// `CacheDetail`.
#[derive(Deserialize)]
pub struct CacheDetail<'a> {
    #[serde(borrow)]
    pub ttl: Option<Str<'a>>,
    #[serde(rename = "inputTokens")]
    pub input: Option<u64>,
}
