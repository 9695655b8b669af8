//! Replies of Converse, whole and streamed, into events.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{refusal, wire};
use crate::base::error::{Error, Kind};
use crate::base::json::{self, Fields, Str, Text};
use crate::chat::{Arguments, Citation, CitedSource, Event, Sink, Stop, Tier, Usage};
use crate::frame::eventstream::{self, Frame};

/// Decodes the body of a Converse reply of status 200. Nothing reaches the sink unless all of it is
/// there.
///
/// # Errors
/// [`Kind::UpstreamGarbled`] when it is no such reply; [`Kind::UpstreamFailed`] when Bedrock says that
/// the model's output was malformed.
pub fn decode(body: &str, sink: &mut dyn Sink) -> Result<(), Error> {
    let reply: wire::Reply<'_> = read(body)?;
    let blocks = &reply.output.message.content;
    let mut ended = Stop::End;
    for call in blocks.iter().filter_map(client_call) {
        arguments(call)?;
        ended = Stop::ToolCalls;
    }
    let why = stop(reply.stop_reason.as_str(), ended)?;
    sink.event(Event::Start { id: None });
    let mut calls = 0;
    for block in blocks {
        emit(block, &mut calls, sink)?;
    }
    sink.event(Event::Stop { why, sequence: sequence(reply.additional) });
    tell_additional(reply.additional, sink);
    count(reply.usage.as_ref(), reply.tier.as_ref(), sink);
    tell("trace", reply.trace, sink);
    Ok(())
}

/// A block may hold text in several places; kinds that are not listed say nothing a client could read.
fn emit(block: &wire::Block<'_>, calls: &mut usize, sink: &mut dyn Sink) -> Result<(), Error> {
    if let Some(reasoning) = &block.reasoning {
        if let Some(thought) = &reasoning.text {
            say(Event::Reasoning, thought.text, sink);
            if let Some(signature) = thought.signature {
                say(Event::Signature, signature, sink);
            }
        }
        if let Some(data) = reasoning.redacted {
            say(Event::Redacted, data, sink);
        }
    }
    if let Some(text) = block.text {
        say(Event::Text, text, sink);
    }
    let cited = block.cited.iter().filter_map(|cited| cited.content.as_ref()).flatten();
    for text in cited.filter_map(|piece| piece.text) {
        say(Event::Text, text, sink);
    }
    block.cited.iter().filter_map(|cited| cited.citations.as_ref()).flatten().for_each(|it| cite(it, sink));
    if let Some(call) = client_call(block) {
        sink.event(Event::ToolStart { id: call.id, name: call.name, signature: None });
        if let Some(input) = arguments(call)? {
            sink.event(Event::ToolArguments { call: *calls, arguments: Arguments::Object(input) });
        }
        sink.event(Event::ToolEnd { call: *calls });
        *calls += 1;
    } else {
        sink.event(Event::BlockEnd);
    }
    Ok(())
}

/// Passes over a source of which nothing is told that a client could look up.
fn cite(written: &wire::Citation<'_>, sink: &mut dyn Sink) {
    let Some(location) = &written.location else { return };
    let wire::Location { web, characters, pages, chunks, search_result } = location;
    let span = |span: &wire::Span| {
        let wire::Span { index, start, end } = *span;
        Some((index?, start?, end?))
    };
    let source = if let Some(url) = web.as_ref().and_then(|web| web.url) {
        CitedSource::Web { url }
    } else if let Some((document, start, end)) = characters.as_ref().and_then(span) {
        CitedSource::Characters { document, start, end }
    } else if let Some((document, start, end)) = pages.as_ref().and_then(span) {
        CitedSource::Pages { document, start, end }
    } else if let Some((document, start, end)) = chunks.as_ref().and_then(span) {
        CitedSource::Blocks { document, start, end }
    } else if let Some((result, start, end)) = search_result.as_ref().and_then(span) {
        CitedSource::SearchResult { result, source: written.source.unwrap_or_default(), start, end }
    } else {
        return;
    };
    let quoted = written.quoted.iter().flatten().filter_map(|piece| piece.text).collect();
    sink.event(Event::Citation(Citation { quoted, title: written.title, source, said: None }));
}

/// The block's tool call, if the client is to answer it.
fn client_call<'b, 'a>(block: &'b wire::Block<'a>) -> Option<&'b wire::ToolUse<'a>> {
    block.tool_use.as_ref().filter(|call| !call.is_of_the_service())
}

/// `input` may be left out when the function has no parameters.
fn arguments<'a>(call: &wire::ToolUse<'a>) -> Result<Option<&'a str>, Error> {
    let input = call.input.map(RawValue::get);
    if input.is_none_or(|input| input.starts_with('{')) {
        Ok(input)
    } else {
        Err(garbled("the arguments of a tool call are no object"))
    }
}

/// Emits text unless there is none: Bedrock opens blocks with empty deltas.
fn say<'a>(event: fn(Text<'a>) -> Event<'a>, text: Text<'a>, sink: &mut dyn Sink) {
    if !text.is_empty() {
        sink.event(event(text));
    }
}

/// What a reason says. `ended` is what a proper end of this reply means: that depends on its blocks,
/// because Bedrock was seen to say `end_turn` after tool calls (strands-agents/harness-sdk#767) and
/// `tool_use` without any (strands-rl/strands-env#252), and clients act on either.
fn stop(reason: &str, ended: Stop) -> Result<Stop, Error> {
    Ok(match reason {
        "stop_sequence" if ended == Stop::End => Stop::Sequence,
        "end_turn" | "stop_sequence" | "tool_use" => ended,
        "max_tokens" => Stop::Length,
        "model_context_window_exceeded" => Stop::Context,
        // The last is Claude's own word; botocore's model of `StopReason` does not list it.
        "guardrail_intervened" | "content_filtered" | "refusal" => Stop::Filtered,
        "malformed_model_output" | "malformed_tool_use" => {
            let problem = "Amazon Bedrock: the model's output was malformed and was cut off; try again";
            return Err(Error::new(Kind::UpstreamFailed, problem));
        }
        // Bedrock adds reasons. What was said stays said, and of all that a client knows only this one
        // warns that something may be missing.
        _ => Stop::Length,
    })
}

/// The sequence that ended the reply, if the model tells: docs.aws.amazon.com/bedrock/latest/APIReference/
/// API_runtime_Converse.html, `additionalModelResponseFieldPaths`.
fn sequence(additional: Option<&RawValue>) -> Option<Text<'_>> {
    let additional: wire::Additional<'_> = json::read(additional?.get()).ok()?;
    additional.stop_sequence
}

/// Bedrock tells it only to those who asked.
fn tell(name: &'static str, raw: Option<&RawValue>, sink: &mut dyn Sink) {
    if let Some(raw) = raw.filter(|raw| raw.get() != "null") {
        sink.event(Event::Extra { name, json: raw.get() });
    }
}

/// The stop sequence alone is what we ask for.
fn tell_additional(raw: Option<&RawValue>, sink: &mut dyn Sink) {
    let fields = raw.and_then(|raw| json::read::<Fields<'_>>(raw.get()).ok());
    if fields.is_some_and(|Fields(members)| members.iter().any(|(name, _)| name.as_str() != "stop_sequence"))
    {
        tell("additionalModelResponseFields", raw, sink);
    }
}

/// What the reply cost, and how it was served.
fn count(counts: Option<&wire::Usage<'_>>, tier: Option<&wire::Tier<'_>>, sink: &mut dyn Sink) {
    if let Some(counts) = counts {
        sink.event(Event::Usage(usage(counts)));
    }
    let tier = match tier.and_then(|tier| tier.kind.as_ref()).map(Str::as_str) {
        Some("default") => Tier::Standard,
        Some("priority") => Tier::Priority,
        Some("flex") => Tier::Flex,
        Some("reserved") => Tier::Reserved,
        // Bedrock may add some; clients know no others.
        Some(_) | None => return,
    };
    sink.event(Event::Tier(tier));
}

/// Bedrock counts cached tokens apart from `inputTokens`; the sum is the whole prompt
/// (docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html).
fn usage(counts: &wire::Usage<'_>) -> Usage {
    let details = counts.cache_details.iter().flatten();
    let of_an_hour = details.filter(|detail| detail.ttl.as_ref().is_some_and(|ttl| ttl.as_str() == "1h"));
    let cache_write_hour = of_an_hour.filter_map(|detail| detail.input).fold(0, u64::saturating_add);
    let cache_read = counts.cache_read.unwrap_or(0);
    let cache_write = counts.cache_write.unwrap_or(0);
    Usage {
        input: counts.input.unwrap_or(0).saturating_add(cache_read).saturating_add(cache_write),
        output: counts.output.unwrap_or(0),
        cache_read,
        cache_write,
        cache_write_hour,
        reasoning: 0,
    }
}

/// Decodes one ConverseStream reply. Holds at most one unfinished frame,
/// [`eventstream::MAX_FRAME`] bytes.
#[derive(Default)]
pub struct StreamDecoder {
    frames: eventstream::Decoder,
    reply: Reply,
}

impl StreamDecoder {
    /// Takes the next bytes, cut anywhere. After an error nothing more may be fed.
    ///
    /// # Errors
    /// What an exception frame says; [`Kind::UpstreamGarbled`] for what cannot be understood.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        let Self { frames, reply } = self;
        frames.feed(bytes, |frame| reply.frame(frame, sink))
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// [`Kind::UpstreamGarbled`] when `messageStop` has not come, or within a frame.
    pub fn finish(&mut self, _: &mut dyn Sink) -> Result<(), Error> {
        self.frames.finish()?;
        match self.reply.phase {
            Phase::Stopped => Ok(()),
            Phase::Speaking => Err(garbled("the stream ended before the reply was complete")),
        }
    }
}

/// How many calls may be open at a time. Bedrock opens one after the other; this leaves room for models
/// that mix the arguments of parallel calls.
const MOST_OPEN: usize = 64;

/// How much of one block of encrypted thoughts is held, until it is whole. Claude's have some kilobytes.
const MOST_REDACTED: usize = 1024 * 1024;

/// How far a streamed reply has come.
struct Reply {
    phase: Phase,
    /// What a proper end would mean by now.
    ended: Stop,
    /// The client's calls so far.
    calls: usize,
    open: Vec<Open>,
    /// Encrypted thoughts of the block that is open; base64.
    redacted: String,
}

impl Default for Reply {
    fn default() -> Self {
        let (open, redacted) = (Vec::new(), String::new());
        Self { phase: Phase::Speaking, ended: Stop::End, calls: 0, open, redacted }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Speaking,
    /// After `messageStop`; only `metadata` may follow.
    Stopped,
}

/// A tool call whose arguments may come. Text and thoughts need no memory.
#[derive(Clone, Copy)]
struct Open {
    /// `contentBlockIndex`.
    index: u64,
    owner: Owner,
}

#[derive(Clone, Copy)]
enum Owner {
    /// The number of the call among those of the client.
    Client(usize),
    /// A tool that Bedrock runs itself.
    Service,
}

impl Reply {
    fn frame(&mut self, frame: Frame<'_>, sink: &mut dyn Sink) -> Result<(), Error> {
        match frame.kind {
            eventstream::Kind::Event => self.event(frame.name, frame.payload, sink),
            eventstream::Kind::Exception => Err(refusal::exception(frame.name, frame.payload)),
            eventstream::Kind::Error => Err(refusal::broken_off(frame.name, frame.message)),
        }
    }

    fn event(&mut self, name: &str, payload: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        match name {
            "contentBlockDelta" => self.delta(&read_event(payload)?, sink),
            "contentBlockStart" => self.start(&read_event(payload)?, sink),
            "contentBlockStop" => self.end(&read_event(payload)?, sink),
            "messageStart" => {
                sink.event(Event::Start { id: None });
                Ok(())
            }
            "messageStop" => {
                self.speaking()?;
                self.unveil(sink);
                let end: wire::MessageStop<'_> = read_event(payload)?;
                let why = stop(end.reason.as_str(), self.ended)?;
                sink.event(Event::Stop { why, sequence: sequence(end.additional) });
                tell_additional(end.additional, sink);
                self.phase = Phase::Stopped;
                Ok(())
            }
            "metadata" => {
                let metadata: wire::Metadata<'_> = read_event(payload)?;
                count(metadata.usage.as_ref(), metadata.tier.as_ref(), sink);
                tell("trace", metadata.trace, sink);
                Ok(())
            }
            // One that Bedrock has added.
            _ => Ok(()),
        }
    }

    fn start(&mut self, block: &wire::BlockStart<'_>, sink: &mut dyn Sink) -> Result<(), Error> {
        self.speaking()?;
        let Some(call) = &block.start.tool_use else { return Ok(()) };
        if self.open.len() >= MOST_OPEN || self.open.iter().any(|open| open.index == block.index) {
            return Err(garbled("too many tool calls at a time"));
        }
        let owner = if call.is_of_the_service() {
            Owner::Service
        } else {
            sink.event(Event::ToolStart { id: call.id, name: call.name, signature: None });
            self.ended = Stop::ToolCalls;
            self.calls += 1;
            Owner::Client(self.calls - 1)
        };
        self.open.push(Open { index: block.index, owner });
        Ok(())
    }

    fn delta(&mut self, block: &wire::BlockDelta<'_>, sink: &mut dyn Sink) -> Result<(), Error> {
        self.speaking()?;
        let delta = &block.delta;
        if let Some(text) = delta.text {
            say(Event::Text, text, sink);
        }
        if let Some(citation) = &delta.citation {
            cite(citation, sink);
        }
        if let Some(reasoning) = &delta.reasoning {
            if let Some(thought) = reasoning.text {
                say(Event::Reasoning, thought, sink);
            }
            if let Some(signature) = reasoning.signature {
                say(Event::Signature, signature, sink);
            }
            if let Some(data) = reasoning.redacted {
                if self.redacted.len() + data.escaped().len() > MOST_REDACTED {
                    return Err(garbled("a block of encrypted thoughts has no end"));
                }
                self.redacted.push_str(data.escaped());
            }
        }
        let Some(arguments) = &delta.tool_use else { return Ok(()) };
        match self.open.iter().find(|open| open.index == block.index).map(|open| open.owner) {
            Some(Owner::Client(call)) => {
                if !arguments.input.is_empty() {
                    let arguments = Arguments::Piece(arguments.input);
                    sink.event(Event::ToolArguments { call, arguments });
                }
                Ok(())
            }
            Some(Owner::Service) => Ok(()),
            None => Err(garbled("arguments came for a tool call that is not open")),
        }
    }

    fn end(&mut self, block: &wire::BlockStop, sink: &mut dyn Sink) -> Result<(), Error> {
        self.speaking()?;
        self.unveil(sink);
        match self.open.iter().position(|open| open.index == block.index) {
            None => sink.event(Event::BlockEnd),
            Some(at) => match self.open.swap_remove(at).owner {
                Owner::Client(call) => sink.event(Event::ToolEnd { call }),
                Owner::Service => {}
            },
        }
        Ok(())
    }

    /// Hands over a block of encrypted thoughts, whole: clients can send only whole ones back.
    fn unveil(&mut self, sink: &mut dyn Sink) {
        if !self.redacted.is_empty() {
            sink.event(Event::Redacted(Text::from_escaped(&self.redacted)));
            self.redacted.clear();
        }
    }

    fn speaking(&self) -> Result<(), Error> {
        match self.phase {
            Phase::Speaking => Ok(()),
            Phase::Stopped => Err(garbled("the reply went on after its end")),
        }
    }
}

fn read_event<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Error> {
    read(std::str::from_utf8(payload).map_err(|_| garbled("an event is not UTF-8"))?)
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
    json::read(text).map_err(|json::Unreadable { path, problem, .. }| {
        let colon = if path.is_empty() { "" } else { ": " };
        garbled(&format!("{path}{colon}{problem}"))
    })
}

fn garbled(problem: &str) -> Error {
    Error::new(Kind::UpstreamGarbled, format!("Amazon Bedrock: the reply could not be understood: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::eventstream::encode;

    /// Events as lines, so that they outlive their frames and failures can be read.
    #[derive(Default)]
    struct Lines(Vec<String>);

    impl Sink for Lines {
        fn event(&mut self, event: Event<'_>) {
            self.0.push(match event {
                Event::Start { .. } => return,
                Event::Text(text) => format!("text {}", text.escaped()),
                Event::Reasoning(text) => format!("thought {}", text.escaped()),
                Event::Signature(text) => format!("proof {}", text.escaped()),
                Event::Proof(_) => return,
                Event::Redacted(text) => format!("redacted {}", text.escaped()),
                Event::Citation(citation) => format!("cites {:?}", citation.source),
                Event::BlockEnd => "end".to_owned(),
                Event::ToolStart { id, name, .. } => format!("call {} {}", id.escaped(), name.escaped()),
                Event::ToolArguments { call, arguments: Arguments::Piece(text) } => {
                    format!("{call} piece {}", text.escaped())
                }
                Event::ToolArguments { call, arguments: Arguments::Object(json) } => {
                    format!("{call} object {json}")
                }
                Event::ToolEnd { call } => format!("{call} end"),
                Event::Stop { why, sequence: None } => format!("stop {why:?}"),
                Event::Stop { why, sequence: Some(text) } => format!("stop {why:?} {}", text.escaped()),
                Event::Usage(Usage { input, output, cache_read, cache_write, cache_write_hour, .. }) => {
                    format!("usage {input} {output} {cache_read} {cache_write} {cache_write_hour}")
                }
                Event::Choice(_) | Event::Logprob(_) => "never".to_owned(),
                Event::Tier(tier) => format!("tier {tier:?}"),
                Event::Extra { name, json } => format!("{name} {json}"),
            });
        }
    }

    fn whole(body: &str) -> Result<Vec<String>, Error> {
        let mut lines = Lines::default();
        decode(body, &mut lines)?;
        Ok(lines.0)
    }

    /// A reply with these content blocks.
    fn reply(content: &str, stop: &str) -> String {
        format!(
            r#"{{"metrics":{{"latencyMs":1}},"output":{{"message":{{"role":"assistant","content":{content}}}}},
            "stopReason":"{stop}","usage":{{"inputTokens":1,"outputTokens":2,"totalTokens":3}}}}"#
        )
    }

    fn frames<'a>(events: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, payload) in events {
            encode(eventstream::Kind::Event, name, payload.as_bytes(), &mut bytes);
        }
        bytes
    }

    /// What comes of a stream, and its error if it has one.
    fn stream(bytes: &[u8]) -> (Vec<String>, Option<Error>) {
        chunks([bytes])
    }

    fn chunks<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, Option<Error>) {
        let mut lines = Lines::default();
        let mut decoder = StreamDecoder::default();
        for chunk in chunks {
            if let Err(error) = decoder.feed(chunk, &mut lines) {
                return (lines.0, Some(error));
            }
        }
        let end = decoder.finish(&mut lines);
        (lines.0, end.err())
    }

    /// Reasoning, text with characters of several bytes and escapes, two calls, the first without
    /// arguments, padding, counts.
    const TALK: &[(&str, &str)] = &[
        ("messageStart", r#"{"p":"abcd","role":"assistant"}"#),
        (
            "contentBlockDelta",
            r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"Hm."}},"p":"ab"}"#,
        ),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"c2ln"}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"text":""}}"#),
        (
            "contentBlockDelta",
            r#"{"contentBlockIndex":1,"delta":{"text":"Grüße \"🦀\"\n"},"p":"abcdefghijkl"}"#,
        ),
        ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"text":"\ud83e\udd80 ok"}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":1}"#),
        (
            "contentBlockStart",
            r#"{"contentBlockIndex":2,"start":{"toolUse":{"name":"now","toolUseId":"tooluse_1"}}}"#,
        ),
        ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"toolUse":{"input":""}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":2}"#),
        (
            "contentBlockStart",
            r#"{"contentBlockIndex":3,"start":{"toolUse":{"name":"weather","toolUseId":"tooluse_2"}}}"#,
        ),
        ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":"{\"city\": \"Mün"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":"chen\"}"}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":3}"#),
        ("messageStop", r#"{"p":"abc","stopReason":"tool_use"}"#),
        (
            "metadata",
            r#"{"metrics":{"latencyMs":9},"usage":{"inputTokens":10,"outputTokens":20,"totalTokens":47,
            "cacheReadInputTokens":15,"cacheWriteInputTokens":2,
            "cacheDetails":[{"ttl":"1h","inputTokens":2},{"ttl":"5m","inputTokens":0}]}}"#,
        ),
    ];

    const TALK_LINES: &[&str] = &[
        "thought Hm.",
        "proof c2ln",
        "end",
        r#"text Grüße \"🦀\"\n"#,
        r"text \ud83e\udd80 ok",
        "end",
        "call tooluse_1 now",
        "0 end",
        "call tooluse_2 weather",
        r#"1 piece {\"city\": \"Mün"#,
        r#"1 piece chen\"}"#,
        "1 end",
        "stop ToolCalls",
        "usage 27 20 15 2 2",
    ];

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_events() {
        let bytes = frames(TALK.iter().copied());
        let bytewise = chunks(bytes.chunks(1));
        assert_eq!(bytewise, (TALK_LINES.iter().map(|line| (*line).to_owned()).collect(), None));
        for cut in 0..=bytes.len() {
            let (before, after) = bytes.split_at(cut);
            assert_eq!(chunks([before, after]), bytewise, "cut at {cut}");
        }
    }

    #[test]
    fn a_stream_that_ends_anywhere_before_its_stop_is_an_error() {
        let stop = TALK.iter().position(|(name, _)| *name == "messageStop").unwrap();
        let whole = frames(TALK.iter().copied());
        let stopped = frames(TALK.iter().copied().take(stop + 1)).len();
        for end in (0..whole.len()).filter(|end| *end != stopped) {
            let (_, error) = stream(&whole[..end]);
            assert_eq!(error.map(|error| error.kind), Some(Kind::UpstreamGarbled), "ends at {end}");
        }
        // Without the counts the reply is whole all the same.
        assert_eq!(stream(&whole[..stopped]).1, None);
    }

    #[test]
    fn an_exception_ends_the_stream_first_or_midway() {
        for before in [0, 6] {
            let mut bytes = frames(TALK.iter().copied().take(before));
            let payload = br#"{"message":"Too many tokens, please wait before trying again."}"#;
            encode(eventstream::Kind::Exception, "throttlingException", payload, &mut bytes);
            let (lines, error) = stream(&bytes);
            let error = error.unwrap();
            assert_eq!(error.kind, Kind::Throttled);
            assert_eq!(error.message, "Amazon Bedrock: Too many tokens, please wait before trying again.");
            assert!(!lines.iter().any(|line| line.starts_with("stop")), "{lines:?}");
        }
    }

    #[test]
    fn an_error_frame_ends_the_stream_with_its_message() {
        let mut bytes = frames(TALK.iter().copied().take(3));
        encode(eventstream::Kind::Error, "InternalFailure", b"Something failed.", &mut bytes);
        let error = stream(&bytes).1.unwrap();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (Kind::UpstreamFailed, "Amazon Bedrock: Something failed.")
        );
    }

    #[test]
    fn unknown_events_and_unknown_kinds_of_blocks_are_skipped() {
        let (lines, error) = stream(&frames([
            ("somethingNew", "not even JSON"),
            ("contentBlockStart", r#"{"contentBlockIndex":0,"start":{"image":{"format":"png"}}}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"image":{"source":{"bytes":"AA=="}}}}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"text":"a"}}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"citation":{"title":"b"}}}"#),
            (
                "contentBlockDelta",
                r#"{"contentBlockIndex":2,"delta":{"reasoningContent":{"somethingNew":"AA=="}}}"#,
            ),
            ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"toolResult":[{"text":"c"}]}}"#),
            ("messageStop", r#"{"stopReason":"end_turn","somethingNew":{"x":1}}"#),
        ]));
        assert_eq!((lines, error), (vec!["text a".to_owned(), "stop End".to_owned()], None));
    }

    #[test]
    fn a_tool_that_bedrock_runs_itself_is_not_the_clients_to_call() {
        let (lines, error) = stream(&frames([
            (
                "contentBlockStart",
                r#"{"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"t","name":"nova_code_interpreter",
                "type":"server_tool_use"}}}"#,
            ),
            ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{}"}}}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"text":"4"}}"#),
            ("messageStop", r#"{"stopReason":"end_turn"}"#),
        ]));
        assert_eq!((lines, error), (vec!["text 4".to_owned(), "stop End".to_owned()], None));
        let content = r#"[{"toolUse":{"toolUseId":"t","name":"n","input":{},"type":"server_tool_use"}},
            {"toolResult":{"toolUseId":"t","content":[]}},{"text":"4"}]"#;
        let lines = ["end", "end", "text 4", "end", "stop End", "usage 1 2 0 0 0"];
        assert_eq!(whole(&reply(content, "end_turn")).unwrap(), lines);
    }

    #[test]
    fn arguments_of_two_calls_may_come_mixed() {
        let (lines, error) = stream(&frames([
            (
                "contentBlockStart",
                r#"{"contentBlockIndex":1,"start":{"toolUse":{"toolUseId":"a","name":"f"}}}"#,
            ),
            (
                "contentBlockStart",
                r#"{"contentBlockIndex":2,"start":{"toolUse":{"toolUseId":"b","name":"g"}}}"#,
            ),
            ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"toolUse":{"input":"{\"b\""}}}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{}"}}}"#),
            ("contentBlockStop", r#"{"contentBlockIndex":1}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"toolUse":{"input":":1}"}}}"#),
            ("contentBlockStop", r#"{"contentBlockIndex":2}"#),
            ("messageStop", r#"{"stopReason":"tool_use"}"#),
        ]));
        let expected = [
            "call a f",
            "call b g",
            r#"1 piece {\"b\""#,
            "0 piece {}",
            "0 end",
            "1 piece :1}",
            "1 end",
            "stop ToolCalls",
        ];
        assert_eq!((lines, error), (expected.map(str::to_owned).to_vec(), None));
    }

    #[test]
    fn encrypted_thoughts_are_handed_over_whole() {
        let piece = |data| {
            format!(
                r#"{{"contentBlockIndex":0,"delta":{{"reasoningContent":{{"redactedContent":"{data}"}}}}}}"#
            )
        };
        let (one, two) = (piece("AAAA"), piece("BBB="));
        let (lines, error) = stream(&frames([
            ("contentBlockDelta", one.as_str()),
            ("contentBlockDelta", two.as_str()),
            ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
            ("messageStop", r#"{"stopReason":"end_turn"}"#),
        ]));
        assert_eq!((lines.join("|"), error), ("redacted AAAABBB=|end|stop End".to_owned(), None));
        let endless = piece(&"A".repeat(MOST_REDACTED / 4));
        let error = stream(&frames([("contentBlockDelta", endless.as_str()); 5])).1.unwrap();
        assert_eq!(error.kind, Kind::UpstreamGarbled);
    }

    #[test]
    fn the_stop_sequence_is_named_where_the_model_tells() {
        let fields =
            r#"{"stopReason":"stop_sequence","additionalModelResponseFields":{"stop_sequence":"\n\nEND"}}"#;
        assert_eq!(stream(&frames([("messageStop", fields)])).0, [r"stop Sequence \n\nEND"]);
        for strange in [r#""x""#, "[1]", r#"{"stop_sequence":null}"#, r#"{"stop_sequence":1}"#, "{}", "null"]
        {
            let body = reply("[]", "stop_sequence").replacen(
                '{',
                &format!(r#"{{"additionalModelResponseFields":{strange},"#),
                1,
            );
            assert_eq!(whole(&body).unwrap()[0], "stop Sequence", "{strange}");
        }
    }

    #[test]
    fn arguments_of_a_call_that_is_not_open_are_an_error() {
        let start = |index, id| {
            let payload = format!(
                r#"{{"contentBlockIndex":{index},"start":{{"toolUse":{{"toolUseId":"{id}","name":"f"}}}}}}"#
            );
            ("contentBlockStart", payload)
        };
        let input = |index| {
            let payload =
                format!(r#"{{"contentBlockIndex":{index},"delta":{{"toolUse":{{"input":"{{"}}}}}}"#);
            ("contentBlockDelta", payload)
        };
        for events in [vec![input(0)], vec![start(0, "a"), input(1)], vec![start(0, "a"), start(0, "b")]] {
            let bytes = frames(events.iter().map(|(name, payload)| (*name, payload.as_str())));
            assert_eq!(stream(&bytes).1.unwrap().kind, Kind::UpstreamGarbled);
        }
    }

    #[test]
    fn after_the_stop_only_counts_may_come() {
        let stop = ("messageStop", r#"{"stopReason":"end_turn"}"#);
        for late in [
            ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#),
            ("contentBlockStart", r#"{"contentBlockIndex":0,"start":{}}"#),
            stop,
        ] {
            assert_eq!(stream(&frames([stop, late])).1.unwrap().kind, Kind::UpstreamGarbled, "{late:?}");
        }
    }

    #[test]
    fn an_event_that_cannot_be_read_is_an_error_and_shows_nothing_of_itself() {
        for payload in [
            "",
            "{",
            r#"{"contentBlockIndex":0,"delta":{"text":"secret}}"#,
            r#"{"contentBlockIndex":0,"delta":{"text":["secret"]}}"#,
            r#"{"contentBlockIndex":"secret","delta":{"text":"a"}}"#,
            r#"{"contentBlockIndex":0}"#,
        ] {
            let (lines, error) = stream(&frames([("contentBlockDelta", payload)]));
            let error = error.unwrap();
            assert_eq!((lines.len(), error.kind), (0, Kind::UpstreamGarbled), "{payload}");
            assert!(!error.message.contains("secret"), "{}", error.message);
        }
        let mut bytes = Vec::new();
        encode(eventstream::Kind::Event, "contentBlockDelta", b"{\"\xff\":1}", &mut bytes);
        assert_eq!(stream(&bytes).1.unwrap().kind, Kind::UpstreamGarbled);
    }

    #[test]
    fn a_wrong_checksum_is_an_error() {
        let mut bytes = frames(TALK.iter().copied());
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(stream(&bytes).1.unwrap().kind, Kind::UpstreamGarbled);
    }

    #[test]
    fn a_whole_reply_keeps_all_its_texts_and_calls_in_order() {
        let content = r#"[
            {"reasoningContent":{"reasoningText":{"text":"Hm.","signature":"c2ln"}}},
            {"reasoningContent":{"redactedContent":"AA=="}},
            {"text":"One, "},
            {"text":"two\n"},
            {"citationsContent":{"content":[{"text":"three"}],"citations":[{"title":"t"}]}},
            {"somethingNew":{"text":"no"}},
            {"toolUse":{"toolUseId":"t1","name":"f","input":{"b":1.0,"a":12345678901234567890123}}},
            {"toolUse":{"toolUseId":"t2","name":"g","input":{}}}
        ]"#;
        assert_eq!(
            whole(&reply(content, "tool_use")).unwrap(),
            [
                "thought Hm.",
                "proof c2ln",
                "end",
                "redacted AA==",
                "end",
                "text One, ",
                "end",
                r"text two\n",
                "end",
                "text three",
                "end",
                "end",
                "call t1 f",
                r#"0 object {"b":1.0,"a":12345678901234567890123}"#,
                "0 end",
                "call t2 g",
                "1 object {}",
                "1 end",
                "stop ToolCalls",
                "usage 1 2 0 0 0",
            ]
        );
    }

    #[test]
    fn cached_tokens_are_part_of_the_input() {
        let body = reply("[]", "end_turn").replace(
            r#""inputTokens":1,"#,
            r#""inputTokens":1,"cacheReadInputTokens":100,"cacheWriteInputTokens":20,"#,
        );
        assert_eq!(whole(&body).unwrap(), ["stop End", "usage 121 2 100 20 0"]);
    }

    #[test]
    fn every_reason_to_stop_means_the_same_whole_and_streamed() {
        let text = r#"[{"text":"a"}]"#;
        let call = r#"[{"toolUse":{"toolUseId":"t","name":"f","input":{}}}]"#;
        let start = r#"{"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"t","name":"f"}}}"#;
        let delta = r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#;
        // The enum of the service's model, and one that it may add.
        for (reason, after_text, after_call) in [
            ("end_turn", Some(Stop::End), Some(Stop::ToolCalls)),
            ("stop_sequence", Some(Stop::Sequence), Some(Stop::ToolCalls)),
            ("tool_use", Some(Stop::End), Some(Stop::ToolCalls)),
            ("max_tokens", Some(Stop::Length), Some(Stop::Length)),
            ("model_context_window_exceeded", Some(Stop::Context), Some(Stop::Context)),
            ("guardrail_intervened", Some(Stop::Filtered), Some(Stop::Filtered)),
            ("content_filtered", Some(Stop::Filtered), Some(Stop::Filtered)),
            ("malformed_model_output", None, None),
            ("malformed_tool_use", None, None),
            ("something_new", Some(Stop::Length), Some(Stop::Length)),
        ] {
            let end = format!(r#"{{"stopReason":"{reason}"}}"#);
            for (content, event, stop) in [
                (text, ("contentBlockDelta", delta), after_text),
                (call, ("contentBlockStart", start), after_call),
            ] {
                let (streamed, error) = stream(&frames([event, ("messageStop", end.as_str())]));
                let whole = whole(&reply(content, reason));
                match stop {
                    Some(stop) => {
                        let line = format!("stop {stop:?}");
                        assert!(whole.unwrap().contains(&line), "{reason} {content}");
                        assert_eq!((streamed.last(), error), (Some(&line), None), "{reason} {content}");
                    }
                    None => {
                        assert_eq!(whole.unwrap_err().kind, Kind::UpstreamFailed, "{reason}");
                        assert_eq!(error.unwrap().kind, Kind::UpstreamFailed, "{reason}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_body_that_is_no_whole_reply_is_an_error_and_reaches_nobody() {
        let good = reply(r#"[{"text":"a"}]"#, "end_turn");
        for body in [
            String::new(),
            "{}".to_owned(),
            "<html></html>".to_owned(),
            r#"{"message":"what"}"#.to_owned(),
            r#"{"output":{},"stopReason":"end_turn"}"#.to_owned(),
            r#"{"output":{"message":{"content":[{"text":"a"}]}}}"#.to_owned(),
            good.replace("end_turn\"", "end_turn\"}"),
            good.replace(
                r#"{"text":"a"}"#,
                r#"{"text":"a"},{"toolUse":{"toolUseId":"t","name":"f","input":[]}}"#,
            ),
            good[..good.len() - 1].to_owned(),
        ] {
            let mut lines = Lines::default();
            let error = decode(&body, &mut lines).unwrap_err();
            assert_eq!((error.kind, lines.0.len()), (Kind::UpstreamGarbled, 0), "{body}");
        }
    }

    #[test]
    fn a_call_without_input_has_no_arguments_and_is_a_call_all_the_same() {
        let content = r#"[{"toolUse":{"toolUseId":"t","name":"f"}}]"#;
        assert_eq!(whole(&reply(content, "tool_use")).unwrap()[..2], ["call t f", "0 end"]);
    }
}
