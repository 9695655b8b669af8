//! The vocabulary between the two edges: what a chat request asks and what a model's reply says.
//!
//! Clients' dialects parse into it and are written from it; upstream dialects are written from it and
//! decode into it. It holds what at least one upstream can express and knows no JSON member names.
//! Everything borrows from the message being read: `'a` is always that message.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

use crate::base::error::{Error, Kind};
use crate::base::json::{Count, Number, Str, Text};

/// A chat request. Turns alternate between user and assistant, and every tool call has its result in
/// the turn that follows: the parser merges neighbours and refuses what cannot be put in order.
#[derive(Debug)]
pub struct Request<'a> {
    /// Instructions, in order, wherever the client put them.
    pub system: Vec<Part<'a>>,
    pub turns: Vec<Turn<'a>>,
    pub tools: Vec<Tool<'a>>,
    pub tool_choice: Option<ToolChoice<'a>>,
    /// `Some(false)`: at most one tool call in a reply.
    pub parallel_tool_calls: Option<bool>,
    pub sampling: Sampling<'a>,
    pub format: Format<'a>,
    pub delivery: Delivery,
    /// The names of all top-level fields that were given and say something; each upstream's table
    /// gives every one of them a fate.
    pub fields: Vec<Cow<'a, str>>,
}

/// Consecutive messages of one role.
#[derive(Debug)]
pub struct Turn<'a> {
    pub role: Role,
    pub parts: Vec<Part<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    User,
    Assistant,
}

/// A piece of a message and where the client wrote it.
#[derive(Debug)]
pub struct Part<'a> {
    pub place: Place,
    pub content: Content<'a>,
}

#[derive(Debug)]
pub enum Content<'a> {
    /// Never blank.
    Text(Text<'a>),
    Image(Image<'a>),
    ToolCall(ToolCall<'a>),
    ToolResult(ToolResult<'a>),
}

#[derive(Debug)]
pub enum Image<'a> {
    /// From a data URL.
    Inline {
        /// As declared, lower case, such as `image/png`.
        media_type: Cow<'a, str>,
        /// Base64.
        data: Text<'a>,
    },
    /// An address that somebody else would have to fetch.
    Address(Text<'a>),
}

#[derive(Debug)]
pub struct ToolCall<'a> {
    pub id: Str<'a>,
    pub name: Str<'a>,
    /// A JSON object.
    pub arguments: Cow<'a, str>,
    /// Opaque proof of the thought behind the call, which its model wants back.
    pub signature: Option<Text<'a>>,
}

#[derive(Debug)]
pub struct ToolResult<'a> {
    /// The call that is answered. Results stand in the order of their calls.
    pub id: Str<'a>,
    /// The function that was called.
    pub name: Str<'a>,
    /// Texts and images; may be empty.
    pub parts: Vec<Part<'a>>,
}

/// A function that the model may call.
#[derive(Debug)]
pub struct Tool<'a> {
    pub place: Place,
    pub name: Str<'a>,
    pub description: Option<Text<'a>>,
    /// A JSON Schema; absent for a function without parameters.
    pub parameters: Option<&'a RawValue>,
    /// The arguments must fit the schema exactly.
    pub strict: Option<bool>,
}

#[derive(Debug, PartialEq)]
pub enum ToolChoice<'a> {
    Auto,
    None,
    /// At least one call.
    Required,
    /// This function.
    Named(Str<'a>),
}

/// How the model picks its words. Numbers leave as they were written.
#[derive(Debug, Default)]
pub struct Sampling<'a> {
    pub max_tokens: Option<Count<'a>>,
    pub temperature: Option<Number<'a>>,
    pub top_p: Option<Number<'a>>,
    pub stop: Vec<Text<'a>>,
    pub seed: Option<Number<'a>>,
    pub presence_penalty: Option<Number<'a>>,
    pub frequency_penalty: Option<Number<'a>>,
}

/// The shape that the reply's text must have.
#[derive(Debug)]
pub enum Format<'a> {
    Text,
    /// Some JSON object.
    JsonObject,
    JsonSchema {
        name: Option<Text<'a>>,
        description: Option<Text<'a>>,
        schema: &'a RawValue,
    },
}

/// How the client wants the reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    Whole,
    Stream {
        /// A last chunk with the token counts was asked for.
        usage: bool,
    },
}

impl Delivery {
    pub fn is_stream(self) -> bool {
        match self {
            Delivery::Whole => false,
            Delivery::Stream { .. } => true,
        }
    }
}

/// Where in the client's body something stands, for messages that name it. The shapes are those of
/// OpenAI's and Anthropic's bodies, which agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// `messages[2].content`
    Message(usize),
    /// `messages[2].content[0]`
    Part(usize, usize),
    /// `messages[2].tool_calls[0]`
    Call(usize, usize),
    /// `messages[2].tool_call_id`
    Result(usize),
    /// `tools[0]`
    Tool(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Message(message) => write!(f, "messages[{message}].content"),
            Place::Part(message, part) => write!(f, "messages[{message}].content[{part}]"),
            Place::Call(message, call) => write!(f, "messages[{message}].tool_calls[{call}]"),
            Place::Result(message) => write!(f, "messages[{message}].tool_call_id"),
            Place::Tool(tool) => write!(f, "tools[{tool}]"),
        }
    }
}

impl Place {
    /// An error about what stands here, or below it: `below` is empty or starts with a dot.
    pub fn error(self, kind: Kind, below: &str, problem: &str) -> Error {
        Error::at(kind, format!("{self}{below}"), problem)
    }
}

/// One thing a model said. Borrowed from its frame, alive for one call.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// The upstream's own id of the reply, where the body carries one.
    Start {
        id: Text<'a>,
    },
    Text(Text<'a>),
    /// Thoughts that the model shows.
    Reasoning(Text<'a>),
    /// A tool call begins; its arguments follow as [`Event::ToolArguments`].
    ToolStart {
        id: Text<'a>,
        name: Text<'a>,
        signature: Option<Text<'a>>,
    },
    ToolArguments(Arguments<'a>),
    /// The end of the turn.
    Stop(Stop),
    /// Token counts so far; a later one replaces an earlier one.
    Usage(Usage),
}

/// Arguments of a tool call as the upstream sends them.
#[derive(Clone, Debug, PartialEq)]
pub enum Arguments<'a> {
    /// The next piece of a JSON text, inside a string.
    Piece(Text<'a>),
    /// A whole JSON object.
    Object(&'a str),
}

/// Why the model stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// It had said what it had to say, or came to a stop sequence.
    End,
    /// It ran into `max_tokens` or the end of its context.
    Length,
    /// It waits for the results of its tool calls.
    ToolCalls,
    /// A guardrail or safety filter cut it short.
    Filtered,
}

/// Token counts. `input` includes what came from and went to the cache, as OpenAI counts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    /// Part of `input` that was read from the cache.
    pub cache_read: u64,
    /// Part of `input` that was written to the cache.
    pub cache_write: u64,
    /// Part of `output` that was thought rather than said.
    pub reasoning: u64,
}

/// Somebody who listens to a reply: the writer of the client's dialect, the meter.
pub trait Sink {
    fn event(&mut self, event: Event<'_>);
}
