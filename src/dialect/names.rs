//! Names of tools and ids of calls as an upstream takes them, and the names back in its reply.
//!
//! Clients have tools from servers of their own (`files.read/v2`), and histories from other models. What the
//! upstream takes stays as it is; what it refuses is replaced by something alike that nothing else is called.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};

use crate::base::error::{Error, Kind};
use crate::base::json::{Str, Text, Writer};
use crate::chat::{Arguments, Content, Event, Frame, Place, Request, Sink, Stop, ToolChoice};

/// What an upstream takes as the name of a tool and as the id of a call.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub name: Word,
    pub id: Word,
}

/// ASCII letters, digits, `_`, `-` and what is listed here.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// What it may hold besides.
    pub also: &'static [u8],
    /// The most characters; at least 32, so that what replaces a word has room for a number.
    pub most: usize,
    /// It must begin with a letter or `_`.
    pub begins: bool,
}

impl Word {
    fn holds(self, byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' || self.also.contains(&byte)
    }

    fn fits(self, word: &str) -> bool {
        let begins = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
        (1..=self.most).contains(&word.len())
            && word.bytes().all(|byte| self.holds(byte))
            && (!self.begins || word.as_bytes().first().is_some_and(begins))
    }

    /// Something alike that fits and is not `taken`. `number` tells words apart that become alike.
    fn replace(self, word: &str, number: usize, taken: &BTreeSet<Cow<'_, str>>) -> String {
        let mut alike: String = word
            .chars()
            .map(|c| if u8::try_from(c).is_ok_and(|byte| self.holds(byte)) { c } else { '_' })
            .collect();
        if self.begins && !alike.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            alike.insert(0, '_');
        }
        if self.fits(&alike) && !taken.contains(alike.as_str()) {
            return alike;
        }
        // Words of different numbers differ, so that all tries together are as many as the words.
        let mut suffix = format!("-{number}");
        loop {
            // All of it is ASCII by now.
            alike.truncate(self.most.saturating_sub(suffix.len()));
            let unique = format!("{alike}{suffix}");
            if !taken.contains(unique.as_str()) {
                return unique;
            }
            suffix.push('x');
        }
    }
}

/// Which tools the upstream knows by another name than the client, and which one stands for the reply itself.
#[derive(Clone, Debug, Default)]
pub struct Names {
    renamed: Vec<Renamed>,
    answer: Option<Answer>,
}

#[derive(Clone, Debug)]
struct Renamed {
    upstreams: String,
    /// Escaped for JSON.
    clients: String,
}

/// A tool that the model is made to call with the reply as arguments.
#[derive(Clone, Debug)]
struct Answer {
    tool: &'static str,
    /// What each of the upstream's calls so far is to the client.
    calls: Vec<Call>,
    /// How many of them are the client's.
    clients: usize,
    /// The answer has begun.
    begun: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Call {
    /// The reply's text; `bare`: nothing of it has come.
    Text { bare: bool },
    /// The client's call of this number.
    Client(usize),
    /// A second answer: two would be no JSON.
    Nothing,
}

impl Names {
    /// The reply will be the arguments of a call of `tool`.
    pub fn answered_by(&mut self, tool: &'static str) {
        self.answer = Some(Answer { tool, calls: Vec::new(), clients: 0, begun: false });
    }

    /// Runs `decode` with a sink before `sink` that gives it what the client is to see.
    pub fn restored<T>(&mut self, sink: &mut dyn Sink, decode: impl FnOnce(&mut dyn Sink) -> T) -> T {
        if self.renamed.is_empty() && self.answer.is_none() {
            return decode(sink);
        }
        decode(&mut Restored { renamed: &self.renamed, answer: self.answer.as_mut(), sink })
    }

    /// The renamed tools: the client's name and the upstream's.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
        self.renamed.iter().map(|Renamed { upstreams, clients }| {
            (Text::from_escaped(clients).unescape(), upstreams.as_str())
        })
    }
}

/// Passes events on as the client is to see them.
struct Restored<'s> {
    renamed: &'s [Renamed],
    answer: Option<&'s mut Answer>,
    sink: &'s mut dyn Sink,
}

impl Sink for Restored<'_> {
    fn event(&mut self, event: Event<'_>) {
        let Self { renamed, answer, sink } = self;
        let event = match event {
            Event::ToolStart { id, name, signature } => {
                let upstreams = name.unescape();
                let known = renamed.iter().find(|renamed| renamed.upstreams == upstreams);
                let name = known.map_or(name, |renamed| Text::from_escaped(&renamed.clients));
                Event::ToolStart { id, name, signature }
            }
            other @ (Event::Start { .. }
            | Event::Text(_)
            | Event::Choice(_)
            | Event::Logprob(_)
            | Event::Reasoning(_)
            | Event::Proof(_)
            | Event::Signature(_)
            | Event::Redacted(_)
            | Event::Citation(_)
            | Event::BlockEnd
            | Event::ToolArguments { .. }
            | Event::ToolEnd { .. }
            | Event::Stop { .. }
            | Event::Usage(_)
            | Event::Tier(_)
            | Event::Extra { .. }) => other,
        };
        match answer {
            None => sink.event(event),
            Some(answer) => answer.event(event, *sink),
        }
    }

    fn frame(&mut self, frame: Frame<'_>) {
        self.sink.frame(frame);
    }
}

impl Answer {
    fn event(&mut self, event: Event<'_>, sink: &mut dyn Sink) {
        match event {
            Event::ToolStart { name, .. } if name.escaped() == self.tool => {
                let again = std::mem::replace(&mut self.begun, true);
                self.calls.push(if again { Call::Nothing } else { Call::Text { bare: true } });
            }
            Event::ToolStart { .. } => {
                self.calls.push(Call::Client(self.clients));
                self.clients += 1;
                sink.event(event);
            }
            Event::ToolArguments { call, arguments } => match self.calls.get_mut(call) {
                Some(Call::Text { bare }) => {
                    *bare = false;
                    match arguments {
                        Arguments::Piece(text) => sink.event(Event::Text(text)),
                        Arguments::Object(json) => {
                            sink.event(Event::Text(Text::from_escaped(&escaped(json))));
                        }
                    }
                }
                Some(Call::Client(call)) => sink.event(Event::ToolArguments { call: *call, arguments }),
                Some(Call::Nothing) | None => {}
            },
            Event::ToolEnd { call } => match self.calls.get(call) {
                Some(Call::Text { bare }) => {
                    if *bare {
                        sink.event(Event::Text(Text::from_escaped("{}")));
                    }
                    sink.event(Event::BlockEnd);
                }
                Some(Call::Client(call)) => sink.event(Event::ToolEnd { call: *call }),
                Some(Call::Nothing) | None => {}
            },
            Event::Stop { why: Stop::ToolCalls, sequence } if self.clients == 0 => {
                sink.event(Event::Stop { why: Stop::End, sequence });
            }
            Event::Start { .. }
            | Event::Text(_)
            | Event::Reasoning(_)
            | Event::Proof(_)
            | Event::Signature(_)
            | Event::Redacted(_)
            | Event::Citation(_)
            | Event::BlockEnd
            | Event::Stop { .. }
            | Event::Usage(_)
            | Event::Tier(_)
            | Event::Extra { .. }
            | Event::Choice(_)
            | Event::Logprob(_) => sink.event(event),
        }
    }
}

/// Makes all names and ids of a request fit. Ids that are missing (empty) or come a second time are made
/// up from what stands before them, so that a conversation that grows keeps its beginning.
///
/// # Errors
/// A name that is empty, by its path.
pub fn fit(request: &mut Request<'_>, rule: Rule) -> Result<Names, Error> {
    fit_ids(request, rule.id);
    fit_names(request, rule.name)
}

fn fit_names(request: &mut Request<'_>, rule: Word) -> Result<Names, Error> {
    let spelling = request.spelling;
    let mut all_fit = true;
    for (place, below, name) in names(request) {
        if name.is_empty() {
            let below = if below { spelling.call_name } else { spelling.tool_name };
            return Err(place.error(Kind::WrongValue, below, "is empty"));
        }
        all_fit &= rule.fits(name);
    }
    if all_fit {
        return Ok(Names::default());
    }
    // Names that fit go before those that are made up, wherever they stand.
    let fitting = names(request).map(|(_, _, name)| name).filter(|name| rule.fits(name));
    let mut taken: BTreeSet<Cow<'_, str>> = fitting.map(Cow::Borrowed).collect();
    let mut renamed: Vec<(String, String)> = Vec::new();
    let mut known = BTreeSet::new();
    for (_, _, name) in names(request).filter(|(_, _, name)| !rule.fits(name)) {
        if known.insert(name) {
            let unique = rule.replace(name, known.len(), &taken);
            taken.insert(Cow::Owned(unique.clone()));
            renamed.push((name.to_owned(), unique));
        }
    }
    drop((taken, known));
    renamed.sort_unstable();
    let rename = |name: &mut Str<'_>| {
        if let Ok(at) = renamed.binary_search_by(|(clients, _)| clients.as_str().cmp(name.as_str()))
            && let Some((_, upstreams)) = renamed.get(at)
        {
            name.0 = Cow::Owned(upstreams.clone());
        }
    };
    request.tools.iter_mut().for_each(|tool| rename(&mut tool.name));
    if let Some(ToolChoice::Named(name)) = &mut request.tool_choice {
        rename(name);
    }
    for part in request.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        match &mut part.content {
            Content::ToolCall(call) => rename(&mut call.name),
            Content::ToolResult(result) => rename(&mut result.name),
            Content::Text(_)
            | Content::Image(_)
            | Content::Document(_)
            | Content::SearchResult(_)
            | Content::Thinking(_)
            | Content::Redacted(_) => {}
        }
    }
    let back = |(clients, upstreams): (String, String)| Renamed { upstreams, clients: escaped(&clients) };
    Ok(Names { renamed: renamed.into_iter().map(back).collect(), answer: None })
}

/// Every name of a tool: of those that are offered, then of those that were called.
fn names<'r>(request: &'r Request<'_>) -> impl Iterator<Item = (Place, bool, &'r str)> {
    let offered = request.tools.iter().map(|tool| (tool.place, false, tool.name.as_str()));
    let parts = request.turns.iter().flat_map(|turn| &turn.parts);
    offered.chain(parts.filter_map(|part| Some((part.place, true, part.content.call()?.name.as_str()))))
}

fn escaped(text: &str) -> String {
    let mut quoted = Vec::with_capacity(text.len().saturating_add(2));
    Writer::new(&mut quoted).string(text);
    let inside = quoted.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    String::from_utf8_lossy(inside.unwrap_or_default()).into_owned()
}

/// Results stand in the order of their calls, so that the n-th takes the id of the n-th.
fn fit_ids<'a>(request: &mut Request<'a>, rule: Word) {
    let mut taken: BTreeSet<Cow<'a, str>> = BTreeSet::new();
    let mut unanswered = VecDeque::new();
    let mut calls = 0;
    for part in request.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        match &mut part.content {
            Content::ToolCall(call) => {
                let Str(id) = &mut call.id;
                if id.is_empty() {
                    *id = Cow::Owned(rule.replace(&format!("call_{calls}"), calls, &taken));
                } else if !rule.fits(id) || taken.contains(id) {
                    *id = Cow::Owned(rule.replace(id, calls, &taken));
                }
                calls += 1;
                taken.insert(id.clone());
                unanswered.push_back(id.clone());
            }
            Content::ToolResult(result) => {
                if let Some(id) = unanswered.pop_front() {
                    result.id = Str(id);
                }
            }
            Content::Text(_)
            | Content::Image(_)
            | Content::Document(_)
            | Content::SearchResult(_)
            | Content::Thinking(_)
            | Content::Redacted(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORD: Word = Word { also: b".", most: 32, begins: true };

    #[test]
    fn a_word_that_fits_stays_and_any_other_becomes_one_that_does() {
        let long = "a".repeat(33);
        for (word, expected) in [
            ("a.b-C_1", "a.b-C_1"),
            ("", "_"),
            ("1", "_1"),
            ("a b/é\u{1f600}", "a_b___"),
            (&long, &*format!("{}-7", "a".repeat(30))),
        ] {
            let replaced = WORD.replace(word, 7, &BTreeSet::new());
            assert_eq!(replaced, expected, "{word}");
            assert!(WORD.fits(&replaced), "{replaced}");
            assert_eq!(WORD.fits(word), word == expected, "{word}");
        }
    }

    #[test]
    fn a_word_never_becomes_another_that_is_there() {
        let words = ["a_b", "a_b-1", "a_b-1x", "a_b-2"];
        let mut taken: BTreeSet<Cow<'_, str>> = words.into_iter().map(Cow::Borrowed).collect();
        for number in 0..50 {
            let unique = WORD.replace("a b", number, &taken);
            assert!(WORD.fits(&unique), "{unique}");
            assert!(taken.insert(Cow::Owned(unique)), "{number}");
        }
    }
}
