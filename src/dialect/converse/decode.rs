//! Replies of Converse, whole and streamed, into events.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{refusal, wire};
use crate::base::error::{Error, Kind};
use crate::base::json::{self, Text};
use crate::chat::{Arguments, Event, Sink, Stop, Usage};
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
    let stop = stop(reply.stop_reason.as_str(), ended)?;
    for block in blocks {
        emit(block, sink)?;
    }
    sink.event(Event::Stop(stop));
    if let Some(counts) = &reply.usage {
        sink.event(Event::Usage(usage(counts)));
    }
    Ok(())
}

/// A block may hold text in several places; kinds that are not listed say nothing a client could read.
fn emit(block: &wire::Block<'_>, sink: &mut dyn Sink) -> Result<(), Error> {
    if let Some(thought) = block.reasoning.as_ref().and_then(|reasoning| reasoning.text.as_ref()) {
        say(Event::Reasoning, thought.text, sink);
    }
    if let Some(text) = block.text {
        say(Event::Text, text, sink);
    }
    let cited = block.cited.iter().filter_map(|cited| cited.content.as_ref()).flatten();
    for text in cited.filter_map(|piece| piece.text) {
        say(Event::Text, text, sink);
    }
    if let Some(call) = client_call(block) {
        sink.event(Event::ToolStart { id: call.id, name: call.name, signature: None });
        if let Some(input) = arguments(call)? {
            sink.event(Event::ToolArguments(Arguments::Object(input)));
        }
    }
    Ok(())
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
        "end_turn" | "stop_sequence" | "tool_use" => ended,
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "guardrail_intervened" | "content_filtered" => Stop::Filtered,
        "malformed_model_output" | "malformed_tool_use" => {
            let problem = "Amazon Bedrock: the model's output was malformed and was cut off; try again";
            return Err(Error::new(Kind::UpstreamFailed, problem));
        }
        // Bedrock adds reasons. What was said stays said, and of all that a client knows only this one
        // warns that something may be missing.
        _ => Stop::Length,
    })
}

/// Bedrock counts cached tokens apart from `inputTokens`; the sum is the whole prompt
/// (docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html).
fn usage(counts: &wire::Usage) -> Usage {
    let cache_read = counts.cache_read.unwrap_or(0);
    let cache_write = counts.cache_write.unwrap_or(0);
    Usage {
        input: counts.input.unwrap_or(0).saturating_add(cache_read).saturating_add(cache_write),
        output: counts.output.unwrap_or(0),
        cache_read,
        cache_write,
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
            Phase::Speaking(_) => Err(garbled("the stream ended before the reply was complete")),
        }
    }
}

/// How far a streamed reply has come.
struct Reply {
    phase: Phase,
    /// What a proper end would mean by now.
    ended: Stop,
}

impl Default for Reply {
    fn default() -> Self {
        Self { phase: Phase::Speaking(Call::None), ended: Stop::End }
    }
}

enum Phase {
    Speaking(Call),
    /// After `messageStop`; only `metadata` may follow.
    Stopped,
}

/// Whose arguments may come, and their `contentBlockIndex`. Text and thoughts need no memory.
#[derive(Clone, Copy)]
enum Call {
    None,
    OfTheClient(u64),
    /// A tool that Bedrock runs itself.
    OfTheService(u64),
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
            "messageStop" => {
                self.speaking()?;
                let end: wire::MessageStop<'_> = read_event(payload)?;
                sink.event(Event::Stop(stop(end.reason.as_str(), self.ended)?));
                self.phase = Phase::Stopped;
                Ok(())
            }
            "metadata" => {
                let metadata: wire::Metadata = read_event(payload)?;
                if let Some(counts) = &metadata.usage {
                    sink.event(Event::Usage(usage(counts)));
                }
                Ok(())
            }
            // `messageStart` and `contentBlockStop` tell nothing that the others do not; an event of
            // another name is one that Bedrock has added.
            _ => Ok(()),
        }
    }

    fn start(&mut self, block: &wire::BlockStart<'_>, sink: &mut dyn Sink) -> Result<(), Error> {
        self.speaking()?;
        let call = match &block.start.tool_use {
            None => Call::None,
            Some(call) if call.is_of_the_service() => Call::OfTheService(block.index),
            Some(call) => {
                sink.event(Event::ToolStart { id: call.id, name: call.name, signature: None });
                self.ended = Stop::ToolCalls;
                Call::OfTheClient(block.index)
            }
        };
        self.phase = Phase::Speaking(call);
        Ok(())
    }

    fn delta(&mut self, block: &wire::BlockDelta<'_>, sink: &mut dyn Sink) -> Result<(), Error> {
        let call = self.speaking()?;
        let delta = &block.delta;
        if let Some(thought) = delta.reasoning.as_ref().and_then(|reasoning| reasoning.text) {
            say(Event::Reasoning, thought, sink);
        }
        if let Some(text) = delta.text {
            say(Event::Text, text, sink);
        }
        let Some(arguments) = &delta.tool_use else { return Ok(()) };
        match call {
            Call::OfTheClient(index) if index == block.index => {
                say(|piece| Event::ToolArguments(Arguments::Piece(piece)), arguments.input, sink);
                Ok(())
            }
            Call::OfTheService(index) if index == block.index => Ok(()),
            // Bedrock sends one block after the other. Should it ever mix the arguments of two calls, an
            // error is better than a call with the arguments of another.
            Call::None | Call::OfTheClient(_) | Call::OfTheService(_) => {
                Err(garbled("arguments came for a tool call that is not open"))
            }
        }
    }

    fn speaking(&self) -> Result<Call, Error> {
        match self.phase {
            Phase::Speaking(call) => Ok(call),
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
                Event::Start { id } => format!("start {}", id.escaped()),
                Event::Text(text) => format!("text {}", text.escaped()),
                Event::Reasoning(text) => format!("thought {}", text.escaped()),
                Event::ToolStart { id, name, .. } => format!("call {} {}", id.escaped(), name.escaped()),
                Event::ToolArguments(Arguments::Piece(text)) => format!("piece {}", text.escaped()),
                Event::ToolArguments(Arguments::Object(json)) => format!("object {json}"),
                Event::Stop(stop) => format!("stop {stop:?}"),
                Event::Usage(Usage { input, output, cache_read, cache_write, .. }) => {
                    format!("usage {input} {output} {cache_read} {cache_write}")
                }
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
            "cacheReadInputTokens":15,"cacheWriteInputTokens":2,"cacheDetails":[]}}"#,
        ),
    ];

    const TALK_LINES: &[&str] = &[
        "thought Hm.",
        r#"text Grüße \"🦀\"\n"#,
        r"text \ud83e\udd80 ok",
        "call tooluse_1 now",
        "call tooluse_2 weather",
        r#"piece {\"city\": \"Mün"#,
        r#"piece chen\"}"#,
        "stop ToolCalls",
        "usage 27 20 15 2",
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
                r#"{"contentBlockIndex":2,"delta":{"reasoningContent":{"redactedContent":"AA=="}}}"#,
            ),
            ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"toolResult":[{"text":"c"}]}}"#),
            ("messageStop", r#"{"stopReason":"end_turn","additionalModelResponseFields":{"x":1}}"#),
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
        assert_eq!(whole(&reply(content, "end_turn")).unwrap(), ["text 4", "stop End", "usage 1 2 0 0"]);
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
        for events in [vec![input(0)], vec![start(0, "a"), start(1, "b"), input(0)]] {
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
                "text One, ",
                r"text two\n",
                "text three",
                "call t1 f",
                r#"object {"b":1.0,"a":12345678901234567890123}"#,
                "call t2 g",
                "object {}",
                "stop ToolCalls",
                "usage 1 2 0 0",
            ]
        );
    }

    #[test]
    fn cached_tokens_are_part_of_the_input() {
        let body = reply("[]", "end_turn").replace(
            r#""inputTokens":1,"#,
            r#""inputTokens":1,"cacheReadInputTokens":100,"cacheWriteInputTokens":20,"#,
        );
        assert_eq!(whole(&body).unwrap(), ["stop End", "usage 121 2 100 20"]);
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
            ("stop_sequence", Some(Stop::End), Some(Stop::ToolCalls)),
            ("tool_use", Some(Stop::End), Some(Stop::ToolCalls)),
            ("max_tokens", Some(Stop::Length), Some(Stop::Length)),
            ("model_context_window_exceeded", Some(Stop::Length), Some(Stop::Length)),
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
        assert_eq!(whole(&reply(content, "tool_use")).unwrap()[..2], ["call t f", "stop ToolCalls"]);
    }
}
