//! Completions to events: a whole one, or a stream of chunks.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::answer::{self, Answer, Said, ToolCall, count, text};
use super::edition::Edition;
use super::refusal;
use super::tags::Tags;
use crate::base::error::{Error, Kind};
use crate::base::json::{self, Text};
use crate::chat::{Arguments, Event, Frame, Sink, Stop, Tier, Usage};
use crate::dialect::call_ids::CallIds;
use crate::dialect::events::{self, Reply as _};
use crate::dialect::reading::MOST_TOOLS;

/// The data of the event behind the last chunk.
const DONE: &str = "[DONE]";

/// Decodes a whole reply of status 200.
///
/// # Errors
/// [`Kind::UpstreamGarbled`] when it is no such reply or is incomplete; [`Kind::UpstreamFailed`] when the
/// model broke off; or what an error in it says.
pub fn decode(edition: Edition, body: &str, sink: &mut dyn Sink) -> Result<(), Error> {
    let mut reply = Reply::new(edition);
    reply.take(body, sink)?;
    reply.end(sink)
}

/// Decodes a streamed reply. `Start` comes first if the upstream gives an id, the ends of all calls, `Stop`
/// and then `Usage` last, when the stream ends: the counts come behind the reason of the stop. Holds what
/// [`events::Events`] does, and the ids of calls.
pub type StreamDecoder = events::StreamDecoder<Reply>;

impl StreamDecoder {
    pub fn of(edition: Edition) -> Self {
        Self::new(Reply::new(edition))
    }
}

/// Where a reply stands.
pub struct Reply {
    edition: Edition,
    /// A chunk has come, with an id or without.
    begun: bool,
    /// `[DONE]` has come: what follows is not part of the reply.
    done: bool,
    /// `[DONE]` was told.
    closed: bool,
    tags: Option<Tags>,
    calls: Vec<Call>,
    ids: CallIds,
    /// The model would not answer, and said so.
    refused: bool,
    stop: Option<Stop>,
    usage: Option<Usage>,
    tier: Option<Tier>,
}

/// How tool calls are told.
#[derive(Clone, Copy)]
enum Entries {
    /// Piece by piece: several entries may be about one call.
    Deltas,
    Whole,
}

/// A tool call, as the upstream tells it from others.
struct Call {
    index: Option<u64>,
    /// Escaped; empty where there is none.
    id: String,
}

impl events::Reply for Reply {
    /// Takes a whole reply or a chunk of one.
    fn take(&mut self, json: &str, sink: &mut dyn Sink) -> Result<(), Error> {
        if self.done {
            return Ok(());
        }
        if json.trim() == DONE {
            self.done = true;
            // Nobody is told that the reply is whole before it is.
            if self.stop.is_some() {
                self.close(sink);
            }
            return Ok(());
        }
        if json.trim_start().starts_with('[') {
            // So Google wraps its errors on this path.
            return Err(refusal::broken_off(self.edition, json));
        }
        let answer: Answer<'_> = json::read(json).map_err(|fault| {
            let place = if fault.path.is_empty() { String::new() } else { format!("{}: ", fault.path) };
            garbled(&format!(
                "{}'s answer could not be understood: {place}{}",
                self.edition.company(),
                fault.problem
            ))
        })?;
        if answer.error.is_some_and(|error| error.get() != "null")
            || answer.object.as_ref().is_some_and(|object| object.as_str() == "error")
        {
            return Err(refusal::broken_off(self.edition, json));
        }
        if !std::mem::replace(&mut self.begun, true)
            && let Some(id) = text(answer.id)
        {
            sink.event(Event::Start { id: Some(id) });
            self.ids.mark(id);
        }
        if let Some(usage) = &answer.usage {
            self.usage = counts(usage).or(self.usage);
        }
        self.tier = text(answer.service_tier).and_then(tier_of).or(self.tier);
        let is_usage = answer.usage.is_some() && answer.choices.as_ref().is_none_or(Vec::is_empty);
        // Several replies are asked for only where they pass as they are.
        let choice = answer.choices.into_iter().flatten().find(|one| count(one.index).unwrap_or(0) == 0);
        if let Some(choice) = choice {
            let said = [(choice.delta, Entries::Deltas), (choice.message, Entries::Whole)];
            for (said, entries) in said.into_iter().filter_map(|(said, entries)| Some((said?, entries))) {
                self.said(said, entries, json, sink)?;
            }
            if let Some(reason) = choice.finish_reason {
                self.stop = Some(self.stop_of(reason.as_str(), sink)?);
            }
        }
        // Many clients read events of one line only; in JSON a line ends nowhere but between tokens.
        let data =
            if json.contains('\n') { Cow::Owned(json.replace('\n', " ")) } else { Cow::Borrowed(json) };
        sink.frame(Frame { name: "", data: &data, is_usage });
        Ok(())
    }

    /// No more chunks will come.
    fn end(&mut self, sink: &mut dyn Sink) -> Result<(), Error> {
        if let Some(tags) = &mut self.tags {
            tags.flush(sink);
        }
        let why = match self.stop {
            Some(Stop::End) if self.refused => Stop::Filtered,
            // Some say that they stopped where they wait for results.
            Some(Stop::End) if !self.calls.is_empty() => Stop::ToolCalls,
            Some(stop) => stop,
            None => {
                let company = self.edition.company();
                return Err(garbled(&if self.begun {
                    format!("{company}'s reply ended before it was complete")
                } else {
                    format!("{company} sent an empty reply")
                }));
            }
        };
        self.close(sink);
        (0..self.calls.len()).for_each(|call| sink.event(Event::ToolEnd { call }));
        sink.event(Event::Stop { why, sequence: None });
        self.tier.into_iter().for_each(|tier| sink.event(Event::Tier(tier)));
        self.usage.into_iter().for_each(|usage| sink.event(Event::Usage(usage)));
        Ok(())
    }
}

impl Reply {
    fn new(edition: Edition) -> Self {
        Self {
            edition,
            begun: false,
            done: false,
            closed: false,
            tags: edition.tags_thoughts().then(Tags::default),
            calls: Vec::new(),
            ids: CallIds::default(),
            refused: false,
            stop: None,
            usage: None,
            tier: None,
        }
    }

    fn said(
        &mut self,
        said: Said<'_>,
        entries: Entries,
        json: &str,
        sink: &mut dyn Sink,
    ) -> Result<(), Error> {
        // Some send the same thoughts by both names.
        if let Some(thought) = text(said.reasoning_content).or_else(|| text(said.reasoning)) {
            sink.event(Event::Reasoning(thought));
        }
        if let Some(content) = said.content {
            self.content(content, sink);
        }
        if let Some(refusal) = text(said.refusal) {
            self.refused = true;
            sink.event(Event::Text(refusal));
        }
        said.tool_calls.into_iter().flatten().try_for_each(|call| {
            let (index, id) = (count(call.index), text(call.id));
            let name = call.function.as_ref().and_then(|function| function.name);
            let name = name.filter(|name| !name.is_empty());
            let known = match entries {
                Entries::Deltas => self.known(index, id, name),
                Entries::Whole => None,
            };
            let number = match (known, name) {
                (Some(number), _) => number,
                (None, Some(name)) => self.begin(index, id, name, json, sink)?,
                (None, None) => {
                    return Err(garbled(&format!(
                        "{} sent a tool call without a name",
                        self.edition.company()
                    )));
                }
            };
            self.arguments(number, &call, sink)
        })
    }

    fn content(&mut self, content: &RawValue, sink: &mut dyn Sink) {
        if let Some(words) = Text::from_raw(content) {
            return self.words(words, sink);
        }
        for piece in read_pieces(content) {
            if let Some(words) = text(piece.text) {
                self.words(words, sink);
            }
            let Some(thinking) = piece.thinking else { continue };
            if let Some(thought) = text(Some(thinking)) {
                sink.event(Event::Reasoning(thought));
            }
            for thought in read_pieces(thinking) {
                text(thought.text).into_iter().for_each(|thought| sink.event(Event::Reasoning(thought)));
            }
        }
    }

    fn words(&mut self, words: Text<'_>, sink: &mut dyn Sink) {
        match &mut self.tags {
            Some(tags) => tags.take(words, sink),
            None if words.is_empty() => {}
            None => sink.event(Event::Text(words)),
        }
    }

    /// A call begins; gives its number.
    fn begin(
        &mut self,
        index: Option<u64>,
        id: Option<Text<'_>>,
        name: Text<'_>,
        json: &str,
        sink: &mut dyn Sink,
    ) -> Result<usize, Error> {
        let number = self.calls.len();
        if number >= MOST_TOOLS {
            return Err(garbled(&format!("{} sent too many tool calls", self.edition.company())));
        }
        if let Some(tags) = &mut self.tags {
            tags.flush(sink);
        }
        let made = self.ids.make(id, name, json);
        sink.event(Event::ToolStart { id: Text::from_escaped(&made), name, signature: None });
        self.calls.push(Call { index, id: id.unwrap_or_default().escaped().to_owned() });
        Ok(number)
    }

    fn arguments(&mut self, number: usize, call: &ToolCall<'_>, sink: &mut dyn Sink) -> Result<(), Error> {
        let Some(raw) = call.function.as_ref().and_then(|function| function.arguments) else { return Ok(()) };
        let arguments = match Text::from_raw(raw) {
            Some(piece) if piece.is_empty() => return Ok(()),
            Some(piece) => Arguments::Piece(piece),
            None if raw.get().starts_with('{') => Arguments::Object(raw.get()),
            None => {
                let company = self.edition.company();
                return Err(garbled(&format!("{company} sent a tool call whose arguments are no object")));
            }
        };
        sink.event(Event::ToolArguments { call: number, arguments });
        Ok(())
    }

    /// The call that a delta goes on with. Servers differ: some number their calls, some repeat the id, some
    /// number all of them 0, and some do nothing of this for whole calls.
    fn known(&self, index: Option<u64>, id: Option<Text<'_>>, name: Option<Text<'_>>) -> Option<usize> {
        let is_other = |call: &Call| name.is_some() && id.is_some_and(|id| id.escaped() != call.id);
        match (index, id) {
            (Some(index), _) => {
                let at = self.calls.iter().rposition(|call| call.index == Some(index))?;
                self.calls.get(at).filter(|call| !is_other(call)).map(|_| at)
            }
            (None, Some(id)) => self.calls.iter().rposition(|call| call.id == id.escaped()),
            (None, None) if name.is_some() => None,
            (None, None) => self.calls.len().checked_sub(1),
        }
    }

    /// Why the model stopped: openai.types.chat of the `openai` package, and the words of servers of open models.
    fn stop_of(&self, reason: &str, sink: &mut dyn Sink) -> Result<Stop, Error> {
        match reason {
            "length" | "max_tokens" | "model_length" => Ok(Stop::Length),
            "tool_calls" | "function_call" => Ok(Stop::ToolCalls),
            "content_filter" | "sensitive" => Ok(Stop::Filtered),
            "error" | "abort" | "network_error" | "insufficient_system_resource" => {
                // What was counted is paid for, reply or not.
                self.usage.into_iter().for_each(|usage| sink.event(Event::Usage(usage)));
                let message = format!("{}'s model broke off its reply; try again", self.edition.company());
                Err(Error::new(Kind::UpstreamFailed, message))
            }
            // `stop`, or a name that a server of open models has for the same: `eos`, `end_turn`.
            _ => Ok(Stop::End),
        }
    }

    /// Tells the last frame, once; some upstreams leave it out.
    fn close(&mut self, sink: &mut dyn Sink) {
        if !std::mem::replace(&mut self.closed, true) {
            sink.frame(Frame { name: "", data: DONE, is_usage: false });
        }
    }
}

fn tier_of(name: Text<'_>) -> Option<Tier> {
    match name.escaped() {
        "default" => Some(Tier::Standard),
        "flex" => Some(Tier::Flex),
        "priority" => Some(Tier::Priority),
        "scale" => Some(Tier::Reserved),
        _ => None,
    }
}

/// A list of pieces; empty for what is none.
fn read_pieces(raw: &RawValue) -> Vec<answer::Piece<'_>> {
    if raw.get().starts_with('[') { serde_json::from_str(raw.get()).unwrap_or_default() } else { Vec::new() }
}

/// Cached tokens are part of the prompt's, and thoughts of the answer's.
fn counts(usage: &answer::Usage<'_>) -> Option<Usage> {
    let (input, output) = (count(usage.prompt_tokens), count(usage.completion_tokens));
    input.or(output)?;
    let prompt = usage.prompt_tokens_details.as_ref();
    let completion = usage.completion_tokens_details.as_ref();
    Some(Usage {
        input: input.unwrap_or(0),
        output: output.unwrap_or(0),
        cache_read: prompt.and_then(|details| count(details.cached_tokens)).unwrap_or(0),
        cache_write: prompt.and_then(|details| count(details.cache_write_tokens)).unwrap_or(0),
        cache_write_hour: 0,
        reasoning: completion.and_then(|details| count(details.reasoning_tokens)).unwrap_or(0),
    })
}

fn garbled(message: &str) -> Error {
    Error::new(Kind::UpstreamGarbled, message)
}
