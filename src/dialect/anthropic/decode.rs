//! Replies of the Messages API, whole and streamed, into events; streams also as the frames they came in.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Edition, message, refusal};
use crate::base::base64;
use crate::base::error::{Error, Kind};
use crate::base::json::{self, Fields, Str, Text, Writer};
use crate::chat::{Arguments, Citation, CitedSource, Event, Frame, Sink, Stop, Tier, Usage};
use crate::dialect::{converse, count};
use crate::frame::{eventstream, sse};

/// Decodes the body of a reply of status 200. Nothing reaches the sink unless all of it is there.
///
/// # Errors
/// [`Kind::UpstreamGarbled`] when it is no message, or one that is not complete.
pub fn decode(body: &str, sink: &mut dyn Sink) -> Result<(), Error> {
    let reply: message::Message<'_> = read(body)?;
    if reply.kind.as_str() != "message" {
        return Err(garbled("it is no message"));
    }
    let Some(reason) = &reply.stop_reason else { return Err(garbled("it has no stop_reason")) };
    let calls = || reply.content.iter().filter(|block| block.kind.as_str() == "tool_use");
    if calls().any(|call| call.input.is_some_and(|input| !input.get().starts_with('{'))) {
        return Err(garbled("the arguments of a tool call are no object"));
    }
    if calls().any(|call| call.id.is_none() || call.name.is_none()) {
        return Err(garbled("a tool call has no id or no name"));
    }
    sink.event(Event::Start { id: reply.id.map(bare) });
    let mut number = 0;
    for block in &reply.content {
        emit(block, &mut number, sink);
    }
    let why = if intervened(reply.guardrail.as_ref()) { Stop::Filtered } else { stop(reason.as_str()) };
    sink.event(Event::Stop { why, sequence: reply.stop_sequence });
    Counts::default().told(reply.usage.as_ref(), sink);
    Ok(())
}

/// Reads the number of tokens of a reply of status 200.
///
/// # Errors
/// [`Kind::UpstreamGarbled`] when there is none.
pub fn read_count(body: &str) -> Result<u64, Error> {
    #[derive(Deserialize)]
    struct Reply {
        input_tokens: u64,
    }
    json::read(body).map(|Reply { input_tokens }| input_tokens).map_err(|_| count::garbled())
}

/// Blocks of types that are not listed belong to tools that Anthropic runs itself: they say nothing to a
/// client of another dialect, which cannot have asked for them.
fn emit(block: &message::Block<'_>, calls: &mut usize, sink: &mut dyn Sink) {
    match block.kind.as_str() {
        "text" => {
            say(Event::Text, block.text, sink);
            block.citations.iter().flatten().for_each(|citation| cite(citation, sink));
        }
        "thinking" => {
            say(Event::Reasoning, block.thinking, sink);
            say(Event::Signature, block.signature, sink);
        }
        "redacted_thinking" => say(Event::Redacted, block.data, sink),
        "tool_use" => {
            let call = *calls;
            *calls += 1;
            let (id, name) = (block.id.unwrap_or_default(), block.name.unwrap_or_default());
            sink.event(Event::ToolStart { id, name, signature: None });
            if let Some(input) = block.input.map(RawValue::get) {
                sink.event(Event::ToolArguments { call, arguments: Arguments::Object(input) });
            }
            return sink.event(Event::ToolEnd { call });
        }
        _ => {}
    }
    sink.event(Event::BlockEnd);
}

/// platform.claude.com/docs/en/build-with-claude/citations. Passes over a source of which nothing is told that a
/// client could look up.
fn cite(written: &message::Citation<'_>, sink: &mut dyn Sink) {
    let span = |index: Option<u64>, start: Option<u64>, end: Option<u64>| Some((index?, start?, end?));
    let document = written.document_index;
    let source = match written.kind.as_str() {
        "char_location" => span(document, written.start_char_index, written.end_char_index)
            .map(|(document, start, end)| CitedSource::Characters { document, start, end }),
        "page_location" => span(document, written.start_page_number, written.end_page_number)
            .map(|(document, start, end)| CitedSource::Pages { document, start, end }),
        "content_block_location" => span(document, written.start_block_index, written.end_block_index)
            .map(|(document, start, end)| CitedSource::Blocks { document, start, end }),
        "search_result_location" => {
            span(written.search_result_index, written.start_block_index, written.end_block_index).map(
                |(result, start, end)| CitedSource::SearchResult {
                    result,
                    source: written.source.unwrap_or_default(),
                    start,
                    end,
                },
            )
        }
        "web_search_result_location" => written.url.map(|url| CitedSource::Web { url }),
        _ => None,
    };
    if let Some(source) = source {
        let quoted = written.cited_text.into_iter().collect();
        let title = written.document_title.or(written.title);
        sink.event(Event::Citation(Citation { quoted, title, source, said: None }));
    }
}

/// Emits text unless there is none: blocks open with empty ones.
fn say<'a>(event: fn(Text<'a>) -> Event<'a>, text: Option<Text<'a>>, sink: &mut dyn Sink) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        sink.event(event(text));
    }
}

/// Writers put their own dialect's prefix before an id.
fn bare(id: Text<'_>) -> Text<'_> {
    Text::from_escaped(id.escaped().strip_prefix("msg_").unwrap_or(id.escaped()))
}

/// platform.claude.com/docs/en/build-with-claude/handling-stop-reasons.
fn stop(reason: &str) -> Stop {
    match reason {
        "end_turn" => Stop::End,
        "stop_sequence" => Stop::Sequence,
        "max_tokens" => Stop::Length,
        "tool_use" => Stop::ToolCalls,
        "refusal" => Stop::Filtered,
        "model_context_window_exceeded" => Stop::Context,
        // `pause_turn`, or one that was added: what was said stays said, and of all that a client of
        // another dialect knows only this one warns that something may be missing.
        _ => Stop::Length,
    }
}

/// What came is a guardrail's and not the model's.
fn intervened(action: Option<&Str<'_>>) -> bool {
    action.is_some_and(|action| action.as_str() == "INTERVENED")
}

/// Token counts as they were told so far: the end of a stream repeats only what has changed.
#[derive(Clone, Copy, Default)]
struct Counts {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    cache_write_hour: u64,
    reasoning: u64,
}

impl Counts {
    /// Takes up what is told, and tells it on.
    fn told(&mut self, told: Option<&message::Usage<'_>>, sink: &mut dyn Sink) {
        let Some(told) = told else { return };
        let tell = |count: &mut u64, told: Option<u64>| *count = told.unwrap_or(*count);
        tell(&mut self.input, told.input_tokens);
        tell(&mut self.output, told.output_tokens);
        tell(&mut self.cache_read, told.cache_read_input_tokens);
        tell(&mut self.cache_write, told.cache_creation_input_tokens);
        let hour = told.cache_creation.and_then(|cache| cache.ephemeral_1h_input_tokens);
        tell(&mut self.cache_write_hour, hour);
        tell(&mut self.reasoning, told.output_tokens_details.and_then(|details| details.thinking_tokens));
        sink.event(Event::Usage(self.usage()));
        match told.service_tier.as_ref().map(Str::as_str) {
            Some("standard") => sink.event(Event::Tier(Tier::Standard)),
            Some("priority") => sink.event(Event::Tier(Tier::Priority)),
            // `batch`, or one that Anthropic adds.
            Some(_) | None => {}
        }
    }

    fn usage(self) -> Usage {
        let Self { input, output, cache_read, cache_write, cache_write_hour, reasoning } = self;
        let input = input.saturating_add(cache_read).saturating_add(cache_write);
        Usage { input, output, cache_read, cache_write, cache_write_hour, reasoning }
    }
}

/// Decodes one streamed reply. Holds at most one unfinished frame, [`sse::MAX_EVENT`] or
/// [`eventstream::MAX_FRAME`] bytes.
pub struct StreamDecoder {
    frames: Frames,
    reply: Reply,
}

/// How an edition frames its events.
enum Frames {
    Sse(sse::Decoder),
    /// Events of the type `chunk`, each of which holds an event of the stream in base64: botocore's model of
    /// `ResponseStream`. The buffer is for what was decoded.
    Chunks(eventstream::Decoder, Vec<u8>),
}

impl StreamDecoder {
    /// A decoder at the start of a stream.
    pub fn new(edition: Edition) -> Self {
        let frames = match edition {
            Edition::InvokeModel => Frames::Chunks(eventstream::Decoder::new(), Vec::new()),
            Edition::Anthropic | Edition::Mantle | Edition::Vertex => Frames::Sse(sse::Decoder::new()),
        };
        Self { frames, reply: Reply::new(edition) }
    }

    /// Takes the next bytes, cut anywhere. After an error nothing more may be fed. What follows the end of the
    /// reply is passed over: the client has the end already, and nothing makes it worse.
    ///
    /// # Errors
    /// What an error event says; [`Kind::UpstreamGarbled`] for what cannot be understood.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        let Self { frames, reply } = self;
        if reply.phase == Phase::Stopped {
            return Ok(());
        }
        let fed = match frames {
            Frames::Sse(frames) => frames.feed(bytes, |event| reply.event(event.data, sink)),
            Frames::Chunks(frames, buffer) => frames.feed(bytes, |frame| match frame.kind {
                eventstream::Kind::Event if frame.name == "chunk" => {
                    reply.event(unwrap(frame.payload, buffer)?, sink)
                }
                // One that Bedrock has added.
                eventstream::Kind::Event => Ok(()),
                eventstream::Kind::Exception => Err(converse::exception(frame.name, frame.payload)),
                eventstream::Kind::Error => Err(converse::broken_off(frame.name, frame.message)),
            }),
        };
        reply.unless_stopped(fed)
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// [`Kind::UpstreamGarbled`] when `message_stop` has not come, or within a frame.
    pub fn finish(&mut self, sink: &mut dyn Sink) -> Result<(), Error> {
        let Self { frames, reply } = self;
        let finished = match frames {
            Frames::Sse(frames) => frames.finish(|event| reply.event(event.data, sink)),
            Frames::Chunks(frames, _) => frames.finish().map_err(Error::from),
        };
        let incomplete = || Err(garbled("the stream ended before the reply was complete"));
        reply.unless_stopped(finished.and_then(|()| incomplete()))
    }
}

/// The event inside of a chunk.
fn unwrap<'b>(payload: &[u8], buffer: &'b mut Vec<u8>) -> Result<&'b str, Error> {
    #[derive(Deserialize)]
    struct Chunk<'a> {
        #[serde(borrow)]
        bytes: Text<'a>,
    }
    let payload = std::str::from_utf8(payload).map_err(|_| garbled("a chunk is not UTF-8"))?;
    let chunk: Chunk<'_> = read(payload)?;
    buffer.clear();
    base64::decode(chunk.bytes.unescape().as_bytes(), buffer).map_err(|_| garbled("a chunk is no base64"))?;
    std::str::from_utf8(buffer).map_err(|_| garbled("an event is not UTF-8"))
}

/// How many blocks may be open at a time. Anthropic opens one after the other; this leaves room for models
/// that mix the arguments of parallel calls.
const MOST_OPEN: usize = 64;

/// How far a streamed reply has come.
struct Reply {
    edition: Edition,
    phase: Phase,
    /// Calls so far.
    calls: usize,
    /// Calls whose arguments may come: the index of the block and the number of the call.
    open: Vec<(u64, usize)>,
    counts: Counts,
    /// Why the model stopped, and the sequence that ended it, escaped: Bedrock tells only with its last event whether a
    /// guardrail has intervened.
    held: Option<(Stop, Option<String>)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Speaking,
    /// It is known why the model stopped.
    Ending,
    /// After `message_stop`.
    Stopped,
}

impl Reply {
    fn new(edition: Edition) -> Self {
        let open = Vec::new();
        Self { edition, phase: Phase::Speaking, calls: 0, open, counts: Counts::default(), held: None }
    }

    /// What comes of the stream, unless the reply is complete.
    fn unless_stopped(&self, outcome: Result<(), Error>) -> Result<(), Error> {
        if self.phase == Phase::Stopped { Ok(()) } else { outcome }
    }

    fn event(&mut self, data: &str, sink: &mut dyn Sink) -> Result<(), Error> {
        if self.phase == Phase::Stopped {
            return Ok(());
        }
        let event: message::Event<'_> = read(data)?;
        let kind = event.kind.as_str();
        // It becomes the name of an event, in a line of its own.
        if !kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(garbled("an event's type is no word"));
        }
        if kind == "error" {
            return Err(refusal::broken_off(self.edition, event.error.as_ref()));
        }
        self.understand(kind, &event, sink)?;
        let metered = self.edition == Edition::InvokeModel && kind == "message_stop";
        match metered.then(|| without_metrics(data)).flatten() {
            Some(data) => sink.frame(Frame { name: kind, data: &data, is_usage: false }),
            None => sink.frame(Frame { name: kind, data, is_usage: false }),
        }
        Ok(())
    }

    fn understand(
        &mut self,
        kind: &str,
        event: &message::Event<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), Error> {
        match kind {
            "content_block_delta" => {
                let Some(delta) = &event.delta else { return Err(garbled("a delta is missing")) };
                say(Event::Text, delta.text, sink);
                delta.citation.iter().for_each(|citation| cite(citation, sink));
                say(Event::Reasoning, delta.thinking, sink);
                say(Event::Signature, delta.signature, sink);
                let call = self.open.iter().find(|(index, _)| Some(*index) == event.index);
                // Arguments for a tool that Anthropic runs itself are of no call.
                if let (Some((_, call)), Some(piece)) = (call, delta.partial_json)
                    && !piece.is_empty()
                {
                    let arguments = Arguments::Piece(piece);
                    sink.event(Event::ToolArguments { call: *call, arguments });
                }
            }
            "content_block_start" => self.start(event, sink)?,
            "content_block_stop" => {
                match self.open.iter().position(|(index, _)| Some(*index) == event.index) {
                    Some(at) => {
                        let (_, call) = self.open.swap_remove(at);
                        sink.event(Event::ToolEnd { call });
                    }
                    None => sink.event(Event::BlockEnd),
                }
            }
            "message_start" => {
                let Some(message) = &event.message else { return Err(garbled("a message is missing")) };
                sink.event(Event::Start { id: message.id.map(bare) });
                self.counts.told(message.usage.as_ref(), sink);
            }
            "message_delta" => {
                if let Some(delta) = &event.delta
                    && let Some(reason) = &delta.stop_reason
                {
                    self.phase = Phase::Ending;
                    let (why, sequence) = (stop(reason.as_str()), delta.stop_sequence);
                    if self.edition == Edition::InvokeModel {
                        self.held = Some((why, sequence.map(|text| text.escaped().to_owned())));
                    } else {
                        sink.event(Event::Stop { why, sequence });
                    }
                }
                self.counts.told(event.usage.as_ref(), sink);
            }
            "message_stop" if self.phase == Phase::Speaking => return Err(garbled("it has no stop_reason")),
            "message_stop" => {
                self.phase = Phase::Stopped;
                if let Some((why, sequence)) = self.held.take() {
                    let why = if intervened(event.guardrail.as_ref()) { Stop::Filtered } else { why };
                    sink.event(Event::Stop { why, sequence: sequence.as_deref().map(Text::from_escaped) });
                }
            }
            // `ping`, or one that Anthropic has added.
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, event: &message::Event<'_>, sink: &mut dyn Sink) -> Result<(), Error> {
        let Some(block) = &event.content_block else { return Err(garbled("a block is missing")) };
        match block.kind.as_str() {
            "text" => say(Event::Text, block.text, sink),
            "thinking" => {
                say(Event::Reasoning, block.thinking, sink);
                say(Event::Signature, block.signature, sink);
            }
            "redacted_thinking" => say(Event::Redacted, block.data, sink),
            "tool_use" => {
                let (Some(index), Some(id), Some(name)) = (event.index, block.id, block.name) else {
                    return Err(garbled("a tool call has no id or no name"));
                };
                if self.open.len() >= MOST_OPEN || self.open.iter().any(|(open, _)| *open == index) {
                    return Err(garbled("too many tool calls at a time"));
                }
                let call = self.calls;
                self.calls += 1;
                self.open.push((index, call));
                sink.event(Event::ToolStart { id, name, signature: None });
                // Eager models tell the arguments at once.
                if let Some(input) = block.input.map(RawValue::get).filter(|input| input.len() > "{}".len()) {
                    sink.event(Event::ToolArguments { call, arguments: Arguments::Object(input) });
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// What Bedrock adds to the last event of a stream, for itself.
const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// The event without Bedrock's metrics, if there are any.
fn without_metrics(data: &str) -> Option<String> {
    let members: Fields<'_> = json::read(data).ok()?;
    if members.0.iter().all(|(name, _)| name.as_str() != METRICS) {
        return None;
    }
    let mut out = Vec::with_capacity(data.len());
    Writer::new(&mut out).object(|w| {
        for (name, value) in members.0.iter().filter(|(name, _)| name.as_str() != METRICS) {
            w.foreign_key(name.as_str()).raw(value);
        }
    });
    String::from_utf8(out).ok()
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
    json::read(text).map_err(|json::Unreadable { path, problem, .. }| {
        let colon = if path.is_empty() { "" } else { ": " };
        garbled(&format!("{path}{colon}{problem}"))
    })
}

fn garbled(problem: &str) -> Error {
    Error::new(Kind::UpstreamGarbled, format!("Claude's reply could not be understood: {problem}"))
}
