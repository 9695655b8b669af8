//! Gemini's replies to events: a whole one, or a stream of server-sent pieces.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::grounding::Grounding;
use super::refusal;
use super::wire::{self, Candidate, FunctionCall, LogprobsResult, Piece, Token, UsageMetadata};
use crate::base::error::{Error, Kind};
use crate::base::json::{self, Number, Text};
use crate::chat::{Arguments, Event, Logprob, Sink, Stop, Tier, Usage};
use crate::dialect::call_ids::digest;
use crate::dialect::events::{self, Reply as _};
use crate::dialect::proof;

/// Decodes a whole reply of status 200.
///
/// # Errors
/// [`Kind::UpstreamGarbled`] when it is no such reply or is incomplete; [`Kind::UpstreamFailed`] when the
/// model broke off for a reason that trying again may cure; or what an error in it says.
pub fn decode(body: &str, sink: &mut dyn Sink) -> Result<(), Error> {
    let mut reply = Reply { is_whole: true, ..Reply::default() };
    reply.take(body, sink)?;
    reply.end(sink)
}

/// Decodes a streamed reply. The first counts come first, then `Start` if the upstream gives an id; `Stop` and
/// then the last `Usage` when the stream ends: until then Gemini may send more parts, and it repeats its
/// counts in every piece. Holds what [`events::Events`] does.
pub type StreamDecoder = events::StreamDecoder<Reply>;

/// Where a reply stands.
#[derive(Default)]
pub struct Reply {
    /// A piece has come, with an id or without.
    begun: bool,
    /// All of it comes at once, and may be several replies.
    is_whole: bool,
    /// Marks the ids of tool calls that Gemini gave none.
    mark: Option<String>,
    /// How many ids of calls there are.
    ids: usize,
    /// The number of the reply that is told, its calls, and why it stopped.
    choice: Option<usize>,
    calls: usize,
    stop: Option<Stop>,
    grounding: Grounding,
    counts: Counts,
    tier: Option<Tier>,
}

impl events::Reply for Reply {
    /// Takes a whole reply or a piece of one.
    fn take(&mut self, json: &str, sink: &mut dyn Sink) -> Result<(), Error> {
        wire::each(json, |piece| self.take_piece(piece, json, sink))
    }

    /// No more pieces will come.
    fn end(&mut self, sink: &mut dyn Sink) -> Result<(), Error> {
        self.end_choice(sink)?;
        if let Some(usage) = self.counts.usage() {
            sink.event(Event::Usage(usage));
        }
        if let Some(tier) = self.tier {
            sink.event(Event::Tier(tier));
        }
        Ok(())
    }
}

impl Reply {
    fn take_piece(&mut self, piece: Piece<'_>, json: &str, sink: &mut dyn Sink) -> Result<(), Error> {
        if let Some(failure) = &piece.error {
            return Err(refusal::broken_off(failure));
        }
        let begun = std::mem::replace(&mut self.begun, true);
        if let Some(usage) = &piece.usage_metadata {
            self.counts.take(usage);
            self.tier = usage.traffic_type.and_then(tier).or(self.tier);
            // Before the start, where Anthropic's clients read how long the prompt was.
            if !begun {
                self.counts.usage().into_iter().for_each(|usage| sink.event(Event::Usage(usage)));
            }
        }
        if let Some(id) = piece.response_id.filter(|id| !id.is_empty()) {
            if !begun {
                sink.event(Event::Start { id: Some(id) });
            }
            self.mark.get_or_insert_with(|| mark(id));
        }
        // Gemini streams no more than one reply; were there others, they are not part of this one.
        let is_whole = self.is_whole;
        let is_ours = |one: &Candidate<'_>| is_whole || one.index.unwrap_or(0) == 0;
        let mut candidates = piece.candidates.into_iter().flatten().filter(is_ours).peekable();
        if candidates.peek().is_none() {
            let blocked = piece.prompt_feedback.and_then(|feedback| feedback.block_reason);
            if blocked.is_some_and(|reason| reason.as_str() != "BLOCKED_REASON_UNSPECIFIED") {
                self.stop = Some(Stop::Filtered);
            }
        }
        candidates.try_for_each(|candidate| self.take_candidate(candidate, json, sink))
    }

    fn take_candidate(
        &mut self,
        candidate: Candidate<'_>,
        json: &str,
        sink: &mut dyn Sink,
    ) -> Result<(), Error> {
        let choice = usize::try_from(candidate.index.unwrap_or(0)).unwrap_or(usize::MAX);
        let before = self.choice.replace(choice);
        if before.is_some_and(|before| before != choice) {
            self.end_choice(sink)?;
            (self.calls, self.stop, self.grounding) = (0, None, Grounding::default());
        }
        if before.unwrap_or(0) != choice {
            sink.event(Event::Choice(choice));
        }
        if let Some(logprobs) = candidate.logprobs_result {
            tell_logprobs(logprobs, sink);
        }
        for part in candidate.content.and_then(|content| content.parts).into_iter().flatten() {
            if self.is_whole {
                self.grounding.part();
            }
            if let Some(call) = part.function_call {
                self.call(&call, part.thought_signature, json, sink)?;
            } else if part.inline_data.is_some() && part.thought != Some(true) {
                self.counts.usage().into_iter().for_each(|usage| sink.event(Event::Usage(usage)));
                return Err(Error { futile: true, ..Error::new(Kind::UpstreamFailed, NO_MEDIA) });
            } else if part.thought == Some(true) {
                if let Some(text) = part.text.filter(|text| !text.is_empty()) {
                    sink.event(Event::Reasoning(text));
                }
            } else {
                if let Some(text) = part.text.filter(|text| !text.is_empty()) {
                    self.grounding.text(text);
                    sink.event(Event::Text(text));
                }
                // In streams it comes behind the words, in a part without any.
                if let Some(proof) = part.thought_signature.filter(|proof| !proof.is_empty()) {
                    sink.event(Event::Proof(proof));
                }
            }
        }
        if let Some(metadata) = candidate.grounding_metadata {
            self.grounding.metadata(metadata);
        }
        if let Some(reason) = candidate.finish_reason {
            match stop(reason.as_str()) {
                Ok(stop) => self.stop = stop.or(self.stop),
                Err(error) => {
                    // What was counted is paid for, reply or not.
                    self.counts.usage().into_iter().for_each(|usage| sink.event(Event::Usage(usage)));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn call(
        &mut self,
        call: &FunctionCall<'_>,
        signature: Option<Text<'_>>,
        json: &str,
        sink: &mut dyn Sink,
    ) -> Result<(), Error> {
        let Some(name) = call.name.filter(|name| !name.is_empty()) else {
            return Err(garbled("Vertex AI sent a tool call without a name"));
        };
        let arguments = match call.args {
            None => Cow::Borrowed("{}"),
            // Clients keep arguments as text and send them back with every turn.
            Some(args) if args.get().starts_with('{') => json::compact(args.get()),
            Some(_) => return Err(garbled("Vertex AI sent a tool call whose arguments are no object")),
        };
        let made;
        let id = match call.id.filter(|id| is_id(id.escaped())) {
            Some(id) => id,
            None => {
                let mark = self.mark.get_or_insert_with(|| digest(json));
                made = format!("call_{mark}_{}", self.ids);
                Text::plain(&made).unwrap_or_default()
            }
        };
        let carrier = signature.and_then(|signature| proof::carry(id.escaped(), signature));
        let id = carrier.as_deref().and_then(Text::plain).unwrap_or(id);
        let call = self.calls;
        self.calls = call.saturating_add(1);
        self.ids = self.ids.saturating_add(1);
        sink.event(Event::ToolStart { id, name, signature });
        sink.event(Event::ToolArguments { call, arguments: Arguments::Object(&arguments) });
        sink.event(Event::ToolEnd { call });
        Ok(())
    }

    /// No more will come of the reply that is told.
    fn end_choice(&mut self, sink: &mut dyn Sink) -> Result<(), Error> {
        let why = match self.stop {
            // To Gemini calling tools is a way to come to an end.
            Some(Stop::End) if self.calls > 0 => Stop::ToolCalls,
            Some(stop) => stop,
            None if self.begun => return Err(garbled("Vertex AI's reply ended before it was complete")),
            None => return Err(garbled("Vertex AI sent an empty reply")),
        };
        self.grounding.tell(sink);
        sink.event(Event::Stop { why, sequence: None });
        Ok(())
    }
}

/// `TrafficType` of google-genai 3.4.
fn tier(traffic: &RawValue) -> Option<Tier> {
    match traffic.get() {
        r#""ON_DEMAND""# => Some(Tier::Standard),
        r#""ON_DEMAND_PRIORITY""# => Some(Tier::Priority),
        r#""ON_DEMAND_FLEX""# | r#""ON_DEMAND_OFFPEAK""# => Some(Tier::Flex),
        r#""PROVISIONED_THROUGHPUT""# => Some(Tier::Reserved),
        _ => None, // Not told, or a kind that no client knows.
    }
}

/// Two lists of one entry a token: the tokens of the reply, and those that could have stood there.
fn tell_logprobs(result: LogprobsResult<'_>, sink: &mut dyn Sink) {
    fn told(token: Token<'_>) -> Option<(Text<'_>, Number<'_>)> {
        Some((token.token?, token.log_probability.unwrap_or(Number::ZERO)))
    }
    let mut others = result.top_candidates.into_iter().flatten();
    for chosen in result.chosen_candidates.into_iter().flatten() {
        let others = others.next().and_then(|top| top.candidates).into_iter().flatten();
        if let Some(token) = told(chosen) {
            sink.event(Event::Logprob(Logprob { token, others: others.filter_map(told).collect() }));
        }
    }
}

/// Why the model stopped; `None` while it has not. The values are those of `FinishReason` in google-genai
/// 3.4 and docs.cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse.
fn stop(reason: &str) -> Result<Option<Stop>, Error> {
    match reason {
        "" | "FINISH_REASON_UNSPECIFIED" => Ok(None),
        "STOP" => Ok(Some(Stop::End)),
        // The second is a limit of a single request, after which the reply could go on in another.
        "MAX_TOKENS" | "CONTINUATION" => Ok(Some(Stop::Length)),
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "ESCALATION"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => Ok(Some(Stop::Filtered)),
        // MALFORMED_FUNCTION_CALL, UNEXPECTED_TOOL_CALL, TOO_MANY_TOOL_CALLS, MALFORMED_RESPONSE,
        // MISSING_THOUGHT_SIGNATURE, NO_IMAGE, IMAGE_OTHER, PUP_LIMITED_DISABLED, OTHER: the reply is
        // worthless or torn, and `finishMessage` may quote it. One that is not known yet is most likely
        // another of these, and an error shows what a stop would hide.
        _ => {
            let known = reason.len() <= 64 && reason.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
            let name = if known { reason } else { "a reason that could not be read" };
            let message = format!("Gemini broke off its reply ({name}); try again");
            Err(Error::new(Kind::UpstreamFailed, message))
        }
    }
}

/// The latest of each count: a later piece may leave out what an earlier one said.
#[derive(Default)]
struct Counts {
    prompt: Option<u64>,
    tool_prompt: Option<u64>,
    candidates: Option<u64>,
    thoughts: Option<u64>,
    cached: Option<u64>,
}

impl Counts {
    fn take(&mut self, usage: &UsageMetadata<'_>) {
        for (count, raw) in [
            (&mut self.prompt, usage.prompt_token_count),
            (&mut self.tool_prompt, usage.tool_use_prompt_token_count),
            (&mut self.candidates, usage.candidates_token_count),
            (&mut self.thoughts, usage.thoughts_token_count),
            (&mut self.cached, usage.cached_content_token_count),
        ] {
            *count = raw.and_then(wire::count).or(*count);
        }
    }

    /// `promptTokenCount` includes what came from the cache; the tokens of tools and thoughts are counted
    /// apart from the prompt and the answer, and paid like them.
    fn usage(&self) -> Option<Usage> {
        let sum = |one: Option<u64>, other: Option<u64>| {
            Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))).filter(|_| one.or(other).is_some())
        };
        let (input, output) = (sum(self.prompt, self.tool_prompt), sum(self.candidates, self.thoughts));
        input.or(output)?;
        Some(Usage {
            input: input.unwrap_or(0),
            output: output.unwrap_or(0),
            cache_read: self.cached.unwrap_or(0),
            cache_write: 0,
            cache_write_hour: 0,
            reasoning: self.thoughts.unwrap_or(0),
        })
    }
}

/// Models that draw are refused before they are asked; those that speak, and any that this gateway does not know.
const NO_MEDIA: &str = "Gemini answered with a picture or a sound, for which a chat has no place here; ask for \
    pictures at /v1/images/generations";

fn garbled(message: &str) -> Error {
    Error::new(Kind::UpstreamGarbled, message)
}

/// The longest id of a tool call that Bedrock takes too, so that a conversation may move between models:
/// `ToolUseId` of the Converse API.
const LONGEST_ID: usize = 64;

/// How much of the reply's id goes into made-up ids of calls: `call_`, `_` and ten digits take the rest.
const LONGEST_MARK: usize = LONGEST_ID - 16;

fn is_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(is_id_byte)
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// The upstream's id of the reply, as far as it may be part of a call's id. Vertex AI gives no ids to
/// calls, but clients must be able to tell those of a conversation apart.
fn mark(id: Text<'_>) -> String {
    id.escaped().bytes().filter(|b| is_id_byte(*b)).take(LONGEST_MARK).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Events as lines, so that they outlive what they borrow from.
    #[derive(Default, PartialEq, Debug)]
    struct Lines(Vec<String>);

    impl Sink for Lines {
        fn event(&mut self, event: Event<'_>) {
            self.0.push(match event {
                Event::Start { id } => format!("start {}", id.unwrap_or_default().unescape()),
                Event::Choice(number) => format!("choice {number}"),
                Event::Text(text) => format!("text {}", text.unescape()),
                Event::Reasoning(text) => format!("thought {}", text.unescape()),
                Event::ToolStart { id, name, signature } => {
                    let signature = signature.map(|text| format!(" {}", text.unescape()));
                    format!("call {} {}{}", id.unescape(), name.unescape(), signature.unwrap_or_default())
                }
                Event::ToolArguments { arguments, .. } => format!("{arguments:?}"),
                Event::ToolEnd { .. } => return,
                Event::Proof(proof) => format!("proof {}", proof.unescape()),
                Event::Signature(_)
                | Event::Redacted(_)
                | Event::BlockEnd
                | Event::Citation(_)
                | Event::Logprob(_)
                | Event::Extra { .. } => "never".to_owned(),
                Event::Tier(tier) => format!("tier {tier:?}"),
                Event::Stop { why, .. } => format!("{why:?}"),
                Event::Usage(u) => {
                    format!(
                        "usage {} {} {} {} {}",
                        u.input, u.output, u.cache_read, u.cache_write, u.reasoning
                    )
                }
            });
        }
    }

    type Outcome = (Lines, Result<(), Error>);

    fn whole(body: &Value) -> Outcome {
        let mut lines = Lines::default();
        let result = decode(&body.to_string(), &mut lines);
        (lines, result)
    }

    fn streamed<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
        let mut lines = Lines::default();
        let mut decoder = StreamDecoder::default();
        for chunk in chunks {
            if let Err(error) = decoder.feed(chunk, &mut lines) {
                return (lines, Err(error));
            }
        }
        let result = decoder.finish(&mut lines);
        (lines, result)
    }

    fn sse(pieces: &[Value]) -> Vec<u8> {
        pieces.iter().flat_map(|piece| format!("data: {piece}\r\n\r\n").into_bytes()).collect()
    }

    fn lines(outcome: Outcome) -> Vec<String> {
        outcome.1.unwrap();
        outcome.0.0
    }

    fn failed(outcome: Outcome) -> (Kind, String) {
        let error = outcome.1.unwrap_err();
        (error.kind, error.message)
    }

    fn stopped(reason: &str) -> Value {
        json!({"responseId": "r", "candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": reason}]})
    }

    fn says(parts: Value) -> Value {
        json!({"responseId": "r-1_x", "candidates": [{"content": {"role": "model", "parts": parts}}]})
    }

    fn conversation() -> Vec<Value> {
        let usage = |output: u64| {
            json!({"promptTokenCount": 7, "candidatesTokenCount": output, "totalTokenCount": 9,
            "trafficType": "ON_DEMAND"})
        };
        let with = |mut piece: Value, usage: Value| {
            piece["usageMetadata"] = usage;
            piece["modelVersion"] = "gemini-3-pro-preview".into();
            piece
        };
        vec![
            with(says(json!([{"text": "Hm, 🎈…", "thought": true}])), json!({"trafficType": "ON_DEMAND"})),
            with(says(json!([{"text": "Grüße \"an\" "}])), usage(1)),
            with(
                says(json!([{"text": " alle\n"}, {"functionCall": {"name": "f", "args": {"ä": ["🎈\""]}},
                "thoughtSignature": "c2ln"}])),
                usage(2),
            ),
            with(says(json!([{"functionCall": {"name": "g"}}, {"text": ""}])), usage(3)),
            json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "", "thoughtSignature": "ZW5k"}]},
                "finishReason": "STOP", "safetyRatings": [{"category": "X", "probability": "LOW"}]}],
                "usageMetadata": {"promptTokenCount": 7, "toolUsePromptTokenCount": 2, "candidatesTokenCount": 4,
                "thoughtsTokenCount": 30, "cachedContentTokenCount": 5}}),
        ]
    }

    const CONVERSATION: &[&str] = &[
        "start r-1_x",
        "thought Hm, 🎈…",
        "text Grüße \"an\" ",
        "text  alle\n",
        "call call_r-1_x_0__signed_4c7adefb_c2ln f c2ln",
        r#"Object("{\"ä\":[\"🎈\\\"\"]}")"#,
        "call call_r-1_x_1 g",
        r#"Object("{}")"#,
        "proof ZW5k",
        "ToolCalls",
        "usage 9 34 5 0 30",
        "tier Standard",
    ];

    #[test]
    fn a_stream_gives_the_same_events_wherever_it_is_cut() {
        let bytes = sse(&conversation());
        let expected = streamed([bytes.as_slice()]);
        assert_eq!(expected.0.0, CONVERSATION);
        for cut in 0..=bytes.len() {
            let (one, two) = bytes.split_at(cut);
            assert_eq!(streamed([one, two]), expected, "cut at {cut}");
        }
        assert_eq!(streamed(bytes.chunks(1)), expected, "byte by byte");
        let unix: Vec<u8> = bytes.into_iter().filter(|byte| *byte != b'\r').collect();
        assert_eq!(streamed(unix.chunks(3)), expected, "line feeds alone");
    }

    #[test]
    fn a_stream_that_ends_anywhere_but_at_its_end_is_an_error() {
        let bytes = sse(&conversation());
        // Without the blank line, or a part of it, the last event is still all there.
        for end in 0..bytes.len() - "\r\n\r\n".len() {
            let (lines, result) = streamed([&bytes[..end]]);
            assert_eq!(result.unwrap_err().kind, Kind::UpstreamGarbled, "ended at {end}");
            assert!(!lines.0.iter().any(|line| line == "ToolCalls"), "ended at {end}");
        }
    }

    #[test]
    fn a_whole_reply_is_decoded_like_a_stream_of_one_piece() {
        let mut body = conversation().pop().unwrap();
        body["responseId"] = "r".into();
        body["candidates"][0]["content"]["parts"] = json!([
            {"text": "thinking", "thought": true},
            {"text": "one"},
            {"functionCall": {"name": "f", "args": {}}},
            {"executableCode": {"language": "PYTHON", "code": "1"}},
            {"text": "two"},
        ]);
        let expected = [
            "usage 9 34 5 0 30",
            "start r",
            "thought thinking",
            "text one",
            "call call_r_0 f",
            r#"Object("{}")"#,
            "text two",
            "ToolCalls",
            "usage 9 34 5 0 30",
        ];
        assert_eq!(lines(whole(&body)), expected);
        assert_eq!(lines(streamed([sse(&[body]).as_slice()])), expected);
    }

    #[test]
    fn what_google_streams_as_an_array_is_understood_too() {
        let body = Value::from(conversation());
        assert_eq!(lines(whole(&body)), CONVERSATION);
        assert_eq!(lines(streamed([serde_json::to_string_pretty(&body).unwrap().as_bytes()])), CONVERSATION);
    }

    #[test]
    fn indentation_is_taken_out_of_arguments_and_left_in_their_strings() {
        let body = "{\"responseId\":\"r\",\"candidates\":[{\"finishReason\":\"STOP\",\"content\":{\"parts\":[
            {\"functionCall\":{\"name\":\"f\",\"args\":{\n  \"a b\": \"x \\\" y\\\\\",\n  \"n\": [ 1.0, 12345678901234567890 ]\n}}}]}}]}";
        let mut lines = Lines::default();
        decode(body, &mut lines).unwrap();
        let expected = Arguments::Object(r#"{"a b":"x \" y\\","n":[1.0,12345678901234567890]}"#);
        assert_eq!(lines.0[2], format!("{expected:?}"));
    }

    #[test]
    fn every_finish_reason_has_its_stop_or_its_error() {
        for (reasons, expected) in [
            (&["STOP"][..], "End"),
            (&["MAX_TOKENS", "CONTINUATION"], "Length"),
            (
                &[
                    "SAFETY",
                    "RECITATION",
                    "LANGUAGE",
                    "BLOCKLIST",
                    "PROHIBITED_CONTENT",
                    "SPII",
                    "MODEL_ARMOR",
                    "ESCALATION",
                    "IMAGE_SAFETY",
                    "IMAGE_PROHIBITED_CONTENT",
                    "IMAGE_RECITATION",
                ],
                "Filtered",
            ),
        ] {
            for reason in reasons {
                assert_eq!(lines(whole(&stopped(reason))), ["start r", "text x", expected], "{reason}");
            }
        }
        for reason in [
            "MALFORMED_FUNCTION_CALL",
            "UNEXPECTED_TOOL_CALL",
            "TOO_MANY_TOOL_CALLS",
            "MALFORMED_RESPONSE",
            "MISSING_THOUGHT_SIGNATURE",
            "NO_IMAGE",
            "IMAGE_OTHER",
            "OTHER",
            "SOMETHING_NEW",
        ] {
            let (kind, message) = failed(whole(&stopped(reason)));
            assert_eq!(kind, Kind::UpstreamFailed);
            assert_eq!(message, format!("Gemini broke off its reply ({reason}); try again"));
        }
        assert!(!failed(whole(&stopped("<b>"))).1.contains('<'));
        assert_eq!(failed(whole(&stopped("FINISH_REASON_UNSPECIFIED"))).0, Kind::UpstreamGarbled);
    }

    #[test]
    fn tokens_of_a_reply_that_broke_off_are_still_counted() {
        let mut body = stopped("MALFORMED_FUNCTION_CALL");
        body["usageMetadata"] = json!({"promptTokenCount": 3});
        let (lines, result) = whole(&body);
        assert_eq!(lines.0, ["usage 3 0 0 0 0", "start r", "text x", "usage 3 0 0 0 0"]);
        assert!(result.is_err());
    }

    #[test]
    fn tool_calls_do_not_hide_that_the_reply_was_cut_short() {
        let mut body = stopped("MAX_TOKENS");
        body["candidates"][0]["content"]["parts"] = json!([{"functionCall": {"name": "f", "args": {}}}]);
        assert_eq!(lines(whole(&body)).last().unwrap(), "Length");
    }

    #[test]
    fn parts_after_the_finish_reason_still_count_and_the_end_is_told_once() {
        let pieces = [stopped("STOP"), stopped("STOP"), says(json!([{"functionCall": {"name": "f"}}]))];
        assert_eq!(
            lines(streamed([sse(&pieces).as_slice()])),
            ["start r", "text x", "text x", "call call_r_0 f", r#"Object("{}")"#, "ToolCalls"],
        );
    }

    #[test]
    fn a_blocked_prompt_is_a_filtered_reply() {
        let body = json!({"responseId": "r", "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
            "usageMetadata": {"promptTokenCount": 8, "totalTokenCount": 8}});
        let expected = ["usage 8 0 0 0 0", "start r", "Filtered", "usage 8 0 0 0 0"];
        assert_eq!(lines(whole(&body)), expected);
        assert_eq!(lines(streamed([sse(&[body]).as_slice()])), expected);
    }

    #[test]
    fn nothing_is_not_taken_for_an_empty_reply() {
        for body in [
            json!({}),
            json!({"responseId": "r", "usageMetadata": {"promptTokenCount": 8}}),
            json!([]),
            json!({"candidates": []}),
            json!({"promptFeedback": {"safetyRatings": []}}),
            json!({"candidates": [{"content": {"parts": [{"text": "half"}]}}]}),
        ] {
            assert_eq!(failed(whole(&body)).0, Kind::UpstreamGarbled, "{body}");
        }
        assert_eq!(failed(streamed([])).0, Kind::UpstreamGarbled);
        assert_eq!(failed(streamed([&b": ping\n\n"[..]])).0, Kind::UpstreamGarbled);
    }

    #[test]
    fn a_candidate_without_content_is_an_empty_reply() {
        let body = json!({"candidates": [{"finishReason": "MAX_TOKENS", "content": {"role": "model"}}]});
        assert_eq!(lines(whole(&body)), ["Length"]);
        assert_eq!(lines(whole(&json!({"candidates": [{"finishReason": "SAFETY"}]}))), ["Filtered"]);
    }

    #[test]
    fn several_replies_are_kept_apart_and_a_stream_is_of_one() {
        let body = json!({"candidates": [
            {"index": 1, "content": {"parts": [{"text": "other"}]}, "finishReason": "SAFETY"},
            {"content": {"parts": [{"text": "mine"}]}, "finishReason": "STOP"}]});
        let both = ["choice 1", "text other", "Filtered", "choice 0", "text mine", "End"];
        assert_eq!(lines(whole(&body)), both);
        assert_eq!(lines(streamed([sse(&[body]).as_slice()])), ["text mine", "End"]);
    }

    #[test]
    fn every_call_of_several_replies_has_an_id_of_its_own() {
        let call = json!({"functionCall": {"name": "f"}});
        let body = json!({"responseId": "r", "candidates": [
            {"content": {"parts": [call]}, "finishReason": "STOP"},
            {"index": 1, "content": {"parts": [call]}, "finishReason": "STOP"}]});
        let calls = lines(whole(&body)).into_iter().filter(|line| line.starts_with("call "));
        assert_eq!(calls.collect::<Vec<_>>(), ["call call_r_0 f", "call call_r_1 f"]);
    }

    #[test]
    fn counts_come_first_and_last_and_a_later_piece_does_not_lose_those_it_leaves_out() {
        let mut pieces = [says(json!([{"text": "a"}])), says(json!([{"text": "b"}])), stopped("STOP")];
        pieces[0]["usageMetadata"] = json!({"promptTokenCount": 10, "cachedContentTokenCount": "4"});
        pieces[1]["usageMetadata"] = json!({"candidatesTokenCount": 5, "thoughtsTokenCount": 2});
        pieces[2]["usageMetadata"] = json!({"candidatesTokenCount": 6, "promptTokenCount": {"odd": true}});
        let all = lines(streamed([sse(&pieces).as_slice()]));
        assert_eq!(all[..2], ["usage 10 0 4 0 0", "start r-1_x"]);
        assert_eq!(all[5..], ["End", "usage 10 8 4 0 2"]);
        assert_eq!(all.iter().filter(|line| line.starts_with("usage")).count(), 2);
        pieces[2]["usageMetadata"] = json!({"trafficType": "ON_DEMAND"});
        assert_eq!(
            lines(streamed([sse(&pieces[2..]).as_slice()])),
            ["start r", "text x", "End", "tier Standard"]
        );
    }

    #[test]
    fn an_error_in_the_middle_of_a_stream_is_the_error_of_the_stream() {
        let error = json!({"error": {"code": 503, "message": "high demand", "status": "UNAVAILABLE"}});
        for last in [error.clone(), json!([error])] {
            let outcome = streamed([sse(&[says(json!([{"text": "half"}])), last]).as_slice()]);
            assert_eq!(outcome.0.0, ["start r-1_x", "text half"]);
            assert_eq!(failed(outcome).0, Kind::Overloaded);
        }
        let quota =
            json!({"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}});
        assert_eq!(
            failed(streamed([sse(&[quota]).as_slice()])),
            (Kind::Throttled, "Vertex AI: Quota exceeded".into())
        );
    }

    #[test]
    fn an_error_that_is_no_event_is_found_wherever_the_stream_is_cut() {
        let mut bytes = sse(&conversation()[..2]);
        let error = json!({"error": {"code": 503, "message": "high\ndemand", "status": "UNAVAILABLE"}});
        bytes.extend_from_slice(serde_json::to_string_pretty(&error).unwrap().as_bytes());
        for cut in 0..=bytes.len() {
            let (one, two) = bytes.split_at(cut);
            let outcome = streamed([one, two]);
            assert_eq!(outcome.0.0, &CONVERSATION[..3], "cut at {cut}");
            assert_eq!(failed(outcome).0, Kind::Overloaded, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error_that_does_not_quote_it() {
        for data in
            ["secret", "{\"candidates\":\"secret\"}", "{\"responseId\":[\"secret\"]}", "[DONE]", "{\"a\":"]
        {
            let (kind, message) = failed(streamed([format!("data: {data}\n\n").as_bytes()]));
            assert_eq!(kind, Kind::UpstreamGarbled, "{data}");
            assert!(!message.contains("secret"), "{message}");
        }
        assert_eq!(failed(streamed([&b"data: \xff\n\n"[..]])).0, Kind::UpstreamGarbled);
    }

    #[test]
    fn calls_without_a_usable_id_get_one_that_other_clouds_take_too() {
        let body = |id: Value, calls: Value| {
            json!({"responseId": id, "candidates": [
            {"content": {"parts": calls}, "finishReason": "STOP"}]})
        };
        let ids = |body: &Value| -> Vec<String> {
            let calls = lines(whole(body)).into_iter().filter(|line| line.starts_with("call "));
            calls.map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
        };
        let call = |id: Value| json!({"functionCall": {"id": id, "name": "f", "args": {}}});
        let three = json!([call(Value::Null), call("own-id_1".into()), call("no good".into())]);
        assert_eq!(ids(&body("a/b+c=".into(), three.clone())), ["call_abc_0", "own-id_1", "call_abc_2"]);

        let long = ids(&body("x".repeat(500).into(), three.clone()));
        assert!(long.iter().all(|id| is_id(id)), "{long:?}");
        let mut decoded = Reply {
            mark: Some(mark(Text::plain(&"x".repeat(500)).unwrap())),
            ids: u32::MAX as usize,
            ..Reply::default()
        };
        let mut last = Lines::default();
        decoded.call(&serde_json::from_str(r#"{"name":"f"}"#).unwrap(), None, "", &mut last).unwrap();
        assert_eq!(last.0[0].split(' ').nth(1).unwrap().len(), LONGEST_ID);

        // Without an id of the reply they still differ between the turns of a conversation.
        let (one, other) = (body(Value::Null, json!([call(Value::Null)])), body("".into(), three));
        let both = [ids(&one), ids(&other)].concat();
        assert!(both.iter().all(|id| is_id(id)), "{both:?}");
        assert_ne!(both[0], both[1]);
        assert_eq!(ids(&one), ids(&one));
    }

    #[test]
    fn a_call_without_a_name_or_with_arguments_that_are_no_object_is_not_passed_on() {
        for call in [json!({"args": {}}), json!({"name": "", "args": {}}), json!({"name": "f", "args": [1]})]
        {
            let outcome = whole(&says(json!([{"functionCall": call}])));
            assert!(!outcome.0.0.iter().any(|line| line.starts_with("call")));
            assert_eq!(failed(outcome).0, Kind::UpstreamGarbled);
        }
    }
}
