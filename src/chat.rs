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
    pub reasoning: Reasoning<'a>,
    pub format: Format<'a>,
    pub delivery: Delivery,
    /// Who is behind the client, in a word of its own.
    pub user: Option<Text<'a>>,
    /// Another word for that was given by an older name, and there is a place for one only.
    pub named_twice: bool,
    /// `None`: as the cloud likes.
    pub tier: Option<Tier>,
    /// The model may search the web before it answers; how, in OpenAI's words.
    pub search: Option<&'a RawValue>,
    /// What the client hangs on the request for its own books; any JSON object.
    pub metadata: Option<&'a RawValue>,
    /// Names of experimental features, as Anthropic's `anthropic-beta` header has them.
    pub betas: Vec<&'a str>,
    /// How errors about this request name its parts.
    pub spelling: &'static Spelling,
    /// What the client says to the cloud itself, in the cloud's own words. An upstream takes every one of
    /// them or refuses the request.
    pub extra: Vec<Extra<'a>>,
    /// The names of all top-level fields that were given and say something; each upstream's table
    /// gives every one of them a fate.
    pub fields: Vec<Cow<'a, str>>,
}

impl Request<'_> {
    /// Says of a picture how closely to look.
    pub fn has_detail(&self) -> bool {
        self.turns.iter().flat_map(|turn| &turn.parts).any(Part::has_detail)
    }
}

/// A field of the cloud's own API, to be written where that API has it.
#[derive(Debug)]
pub struct Extra<'a> {
    /// Where the client wrote it, such as `extra.guardrailConfig` or `guardrailConfig`.
    pub path: String,
    /// Its name there, such as `guardrailConfig`.
    pub name: Str<'a>,
    pub value: &'a RawValue,
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
    /// What stands up to the end of this part is worth keeping in the cloud's cache.
    pub cache: Option<Cache>,
    /// Google's opaque proof of the thought behind a text, which its model likes to have back.
    pub proof: Option<Text<'a>>,
}

impl Part<'_> {
    /// It is a picture, or the result of a tool with one, and says how closely to look.
    pub fn has_detail(&self) -> bool {
        match &self.content {
            Content::Image(image) => image.detail.is_some(),
            Content::ToolResult(result) => result.parts.iter().any(Part::has_detail),
            Content::Text(_)
            | Content::Document(_)
            | Content::SearchResult(_)
            | Content::Thinking(_)
            | Content::Redacted(_)
            | Content::ToolCall(_) => false,
        }
    }
}

/// For how long a prefix of the prompt is worth keeping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cache {
    /// As the cloud has it; five minutes everywhere.
    Short,
    Hour,
}

#[derive(Debug)]
pub enum Content<'a> {
    /// Never blank.
    Text(Text<'a>),
    Image(Image<'a>),
    Document(Document<'a>),
    SearchResult(SearchResult<'a>),
    /// What the model thought before it went on.
    Thinking(Thinking<'a>),
    /// Thoughts that only the cloud can read; base64.
    Redacted(Text<'a>),
    ToolCall(ToolCall<'a>),
    ToolResult(ToolResult<'a>),
}

impl<'a> Content<'a> {
    /// The tool call that it is.
    pub fn call(&self) -> Option<&ToolCall<'a>> {
        match self {
            Content::ToolCall(call) => Some(call),
            Content::Text(_)
            | Content::Image(_)
            | Content::Document(_)
            | Content::SearchResult(_)
            | Content::Thinking(_)
            | Content::Redacted(_)
            | Content::ToolResult(_) => None,
        }
    }
}

#[derive(Debug)]
pub struct Image<'a> {
    pub source: ImageSource<'a>,
    /// How closely to look; `None`: as the model likes.
    pub detail: Option<Detail>,
}

impl<'a> From<ImageSource<'a>> for Image<'a> {
    fn from(source: ImageSource<'a>) -> Self {
        Self { source, detail: None }
    }
}

/// How closely a model is to look at a picture, against the tokens that it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    Low,
    Medium,
    High,
    /// As it is, never made smaller.
    Original,
}

impl Detail {
    /// What it is called; only OpenAI's API has it.
    pub const NAME: &str = "messages[].content[].image_url.detail";
}

#[derive(Debug)]
pub enum ImageSource<'a> {
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

/// A text with a beginning and an end, rather than words of the conversation; or a sound, or a film.
#[derive(Debug)]
pub struct Document<'a> {
    pub source: DocumentSource<'a>,
    /// What is at an address, as declared, lower case, where the client tells.
    pub media_type: Option<Cow<'a, str>>,
    /// Where the client has it, below the part's place, such as `.file`.
    pub below: &'static str,
    pub title: Option<Text<'a>>,
    /// What the model should know about the document besides.
    pub context: Option<Text<'a>>,
    /// The reply may cite it.
    pub cited: bool,
}

#[derive(Debug)]
pub enum DocumentSource<'a> {
    Inline {
        /// As declared, lower case, such as `application/pdf`, `audio/wav` or `video/mp4`.
        media_type: Cow<'a, str>,
        /// Base64.
        data: Text<'a>,
    },
    /// Plain text, in pieces.
    Texts(Vec<Text<'a>>),
    /// An address that somebody else would have to fetch.
    Address(Text<'a>),
}

/// Something that the client found, and where.
#[derive(Debug)]
pub struct SearchResult<'a> {
    pub source: Text<'a>,
    pub title: Text<'a>,
    pub texts: Vec<Text<'a>>,
    /// The reply may cite it.
    pub cited: bool,
}

#[derive(Debug)]
pub struct Thinking<'a> {
    /// Empty where the cloud keeps the text to itself.
    pub text: Text<'a>,
    /// Anthropic's proof that the text is its model's own. Without it, it is only a text.
    pub signature: Option<Text<'a>>,
}

#[derive(Debug)]
pub struct ToolCall<'a> {
    /// Empty where the client gave none, until the upstream is told one.
    pub id: Str<'a>,
    pub name: Str<'a>,
    /// A JSON object.
    pub arguments: Cow<'a, str>,
    /// Google's opaque proof of the thought behind the call, which its model wants back.
    pub signature: Option<Text<'a>>,
}

#[derive(Debug)]
pub struct ToolResult<'a> {
    /// The call that is answered. Results stand in the order of their calls.
    pub id: Str<'a>,
    /// The function that was called.
    pub name: Str<'a>,
    /// Texts, images, documents and search results; may be empty.
    pub parts: Vec<Part<'a>>,
    /// The tool failed, and this is what it said.
    pub failed: bool,
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
    /// The tools up to here are worth keeping in the cloud's cache.
    pub cache: Option<Cache>,
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
    pub top_k: Option<Count<'a>>,
    /// None is empty: such a one would stop nothing, and the clouds refuse it.
    pub stop: Vec<Text<'a>>,
    /// The client wants to know which of `stop` ended the reply.
    pub name_stop: bool,
    pub seed: Option<Number<'a>>,
    pub presence_penalty: Option<Number<'a>>,
    pub frequency_penalty: Option<Number<'a>>,
    /// How many replies to make; 1 where absent.
    pub replies: Option<Count<'a>>,
    /// Tell how likely every token of the reply was, and so many others in its place.
    pub logprobs: Option<u64>,
}

/// How much the model is to think before it answers. Models differ in what they take: each upstream
/// comes as near as it can.
#[derive(Debug, Default)]
pub struct Reasoning<'a> {
    /// `None`: as the model likes.
    pub mode: Option<ReasoningMode<'a>>,
    /// How much trouble to take altogether.
    pub effort: Option<Effort>,
    /// Whether the client wants the thoughts to read, or only what the model needs of them in the next
    /// turn. `None`: as the model likes.
    pub shown: Option<bool>,
}

impl Reasoning<'_> {
    /// The effort that was asked for, or the one that the mode stands for.
    pub fn effort_of(&self, mode: ReasoningMode<'_>) -> Effort {
        self.effort.unwrap_or(match mode {
            ReasoningMode::Off => Effort::Minimal,
            // Anthropic's default.
            ReasoningMode::Adaptive => Effort::High,
            ReasoningMode::Budget(budget) => match budget.value() {
                0..=2048 => Effort::Low,
                2049..=8192 => Effort::Medium,
                _ => Effort::High,
            },
        })
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ReasoningMode<'a> {
    Off,
    /// At most so many tokens.
    Budget(Count<'a>),
    /// As much as the question needs, guided by the effort.
    Adaptive,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Effort {
    Minimal,
    Low,
    Medium,
    High,
    ExtraHigh,
    Max,
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
/// OpenAI's and Anthropic's bodies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// `system`
    System,
    /// `system[0]`
    SystemPart(usize),
    /// `messages[2].content`
    Message(usize),
    /// `messages[2].content[0]`
    Part(usize, usize),
    /// `messages[2].content[0].content[1]`
    Inner(usize, usize, usize),
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
            Place::System => f.write_str("system"),
            Place::SystemPart(part) => write!(f, "system[{part}]"),
            Place::Message(message) => write!(f, "messages[{message}].content"),
            Place::Part(message, part) => write!(f, "messages[{message}].content[{part}]"),
            Place::Inner(message, part, inner) => {
                write!(f, "messages[{message}].content[{part}].content[{inner}]")
            }
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

    /// What stands before the name of a member here where fields are named without their numbers, as in
    /// `x-fairlead-dropped`.
    pub fn members(self) -> &'static str {
        match self {
            Place::System | Place::SystemPart(_) => "system[].",
            Place::Message(_) => "messages[].",
            Place::Part(..) => "messages[].content[].",
            Place::Inner(..) => "messages[].content[].content[].",
            Place::Call(..) => "messages[].tool_calls[].",
            Place::Result(_) => "messages[].",
            Place::Tool(_) => "tools[].",
        }
    }
}

/// What a client's dialect calls the things that an upstream may have to complain about. A member that
/// begins with a dot stands below a [`Place`]; the others are paths of their own.
#[derive(Debug)]
pub struct Spelling {
    pub image: &'static str,
    /// How to send a picture itself rather than its address.
    pub inline_image: &'static str,
    pub call_name: &'static str,
    pub tool_name: &'static str,
    pub tool_schema: &'static str,
    pub strict: &'static str,
    pub chosen_tool: &'static str,
    /// That a reply may have several calls.
    pub parallel: &'static str,
    pub max_tokens: &'static str,
    pub stop: &'static str,
    pub format: &'static str,
    pub format_schema: &'static str,
    pub thinking: &'static str,
    pub effort: &'static str,
    /// A thought of an earlier turn.
    pub thought: &'static str,
    /// A mark of the cache, and for how long it is worth keeping.
    pub cache: &'static str,
    pub cache_ttl: &'static str,
}

/// Names of what an upstream leaves out of one request because this model has no use for it, over and
/// above what its table says of every model.
#[derive(Debug, Default)]
pub struct LeftOut(pub Vec<&'static str>);

impl LeftOut {
    /// Notes a name, once.
    pub fn note(&mut self, name: &'static str) {
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }
}

/// One thing a model said. Borrowed from its frame, alive for one call.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// The reply begins. The upstream's own id of it, where the body carries one.
    Start {
        id: Option<Text<'a>>,
    },
    Text(Text<'a>),
    /// What follows is the reply of this number, of several that were asked for; until the first of these it
    /// is reply 0. Only in whole replies.
    Choice(usize),
    /// How likely the next token of the reply was. Only in whole replies.
    Logprob(Logprob<'a>),
    /// Google's proof of the thought behind what was said, to go back with it.
    Proof(Text<'a>),
    /// Thoughts that the model shows.
    Reasoning(Text<'a>),
    /// Anthropic's proof of the thoughts before it, which the model wants back with them.
    Signature(Text<'a>),
    /// Thoughts that only the cloud can read, whole; base64.
    Redacted(Text<'a>),
    /// What the words of this block rest on.
    Citation(Citation<'a>),
    /// What is said or thought from here on is another block than what was before.
    BlockEnd,
    /// A tool call begins. Calls are numbered from 0 in the order in which they begin; arguments of
    /// several may come mixed.
    ToolStart {
        id: Text<'a>,
        name: Text<'a>,
        /// Google's proof of the thought behind the call.
        signature: Option<Text<'a>>,
    },
    ToolArguments {
        call: usize,
        arguments: Arguments<'a>,
    },
    /// The arguments of a call are complete.
    ToolEnd {
        call: usize,
    },
    /// The end of the turn.
    Stop {
        why: Stop,
        /// The sequence that ended it, where the upstream tells.
        sequence: Option<Text<'a>>,
    },
    /// Token counts so far; a later one replaces an earlier one.
    Usage(Usage),
    /// How the cloud has served the request, where it tells.
    Tier(Tier),
    /// What the cloud was asked to tell in its own words, such as what a guardrail found: its own name for
    /// it, and JSON. Handed to the client as it is.
    Extra {
        name: &'static str,
        json: &'a str,
    },
}

/// A token of a reply, and others that could have stood in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprob<'a> {
    pub token: (Text<'a>, Number<'a>),
    /// The likeliest first; the token may be among them.
    pub others: Vec<(Text<'a>, Number<'a>)>,
}

/// A source of what is said in a reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Citation<'a> {
    /// The words of the source, in pieces; empty where the cloud does not quote them.
    pub quoted: Vec<Text<'a>>,
    pub title: Option<Text<'a>>,
    pub source: CitedSource<'a>,
    /// The characters of the reply's text that rest on it, first and behind the last. `None`: those of the
    /// block that is open, up to here.
    pub said: Option<(u64, u64)>,
}

/// Where the words of a source stand. Documents and search results are numbered from 0 in the order in
/// which the request has them, each kind for itself; `end` is behind the last.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum CitedSource<'a> {
    Characters {
        document: u64,
        start: u64,
        end: u64,
    },
    /// Pages are numbered from 1.
    Pages {
        document: u64,
        start: u64,
        end: u64,
    },
    /// Of a document that was sent in pieces.
    Blocks {
        document: u64,
        start: u64,
        end: u64,
    },
    SearchResult {
        result: u64,
        source: Text<'a>,
        start: u64,
        end: u64,
    },
    Web {
        url: Text<'a>,
    },
}

/// How soon a cloud serves a request, against its price.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tier {
    Standard,
    /// Before others, at a higher price.
    Priority,
    /// After others, at a lower price.
    Flex,
    /// From what the customer has reserved.
    Reserved,
}

/// Arguments of a tool call as the upstream sends them.
#[derive(Clone, Debug, PartialEq)]
pub enum Arguments<'a> {
    /// The next piece of a JSON text, inside a string.
    Piece(Text<'a>),
    /// A whole JSON object.
    Object(&'a str),
}

impl Arguments<'_> {
    /// Bytes of their JSON form.
    pub fn length(&self) -> usize {
        match self {
            Arguments::Piece(text) => text.length(),
            Arguments::Object(object) => object.len(),
        }
    }
}

/// Why the model stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// It had said what it had to say.
    End,
    /// It came to a stop sequence, and the upstream tells.
    Sequence,
    /// It ran into `max_tokens`.
    Length,
    /// It ran into the end of its context.
    Context,
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
    /// Part of `cache_write` that is kept for an hour.
    pub cache_write_hour: u64,
    /// Part of `output` that was thought rather than said.
    pub reasoning: u64,
}

/// Somebody who listens to a reply: the writer of the client's dialect, the meter.
pub trait Sink {
    fn event(&mut self, event: Event<'_>);

    /// What all events since the last frame came in. Only decoders of dialects that clients speak as well
    /// tell it, and only a writer that lets frames pass as they are listens.
    fn frame(&mut self, _: Frame<'_>) {}
}

/// A frame of a stream as a client of the same dialect would get it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// `event` of server-sent events; empty where the dialect names none.
    pub name: &'a str,
    pub data: &'a str,
    /// It tells token counts and nothing else.
    pub is_usage: bool,
}
