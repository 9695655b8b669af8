//! A chat completion: events in, one JSON reply or server-sent chunks out.
//! platform.openai.com/docs/api-reference/chat/object and …/chat-streaming.

use crate::base::json::{Number, Text, Writer};
use crate::chat::{Arguments, Citation, CitedSource, Event, Logprob, Sink, Stop, Tier, Usage};
use crate::dialect::{Extras, Title};

/// Writes the members that every reply and every chunk begins with.
fn write_title(title: &Title, w: &mut Writer<'_>, object: &str) {
    // OpenAI's ids have this prefix, and some clients look for it.
    let id = title.id.strip_prefix("chatcmpl-").unwrap_or(&title.id);
    w.key("id").string(&format!("chatcmpl-{id}"));
    w.key("object").string(object);
    w.key("created").number(title.created);
    w.key("model").string(&title.model);
}

/// Writes chunks as the events come.
pub struct StreamWriter {
    title: Title,
    /// The client asked for a last chunk with the token counts.
    usage_wanted: bool,
    /// Every chunk up to its delta, and from its delta to `finish_reason`; made at the first chunk.
    head: Vec<u8>,
    calls: Vec<Arrival>,
    /// The thoughts of this block, escaped: with their proof they are told again as a whole block.
    thought: String,
    said: Said,
    usage: Option<Usage>,
    tier: Option<Tier>,
    extra: Extras,
    out: Vec<u8>,
}

/// Characters of the reply's text.
#[derive(Clone, Copy, Default)]
struct Said {
    all: u64,
    /// Of those, up to the block that is open.
    before: u64,
}

/// How far a tool call has come.
#[derive(Clone, Copy, PartialEq)]
enum Arrival {
    /// It has had no argument yet; `""` would be no JSON.
    Bare,
    Begun,
}

impl StreamWriter {
    pub fn new(title: Title, usage_wanted: bool) -> Self {
        let (head, out) = (Vec::new(), Vec::new());
        let (calls, thought, said) = (Vec::new(), String::new(), Said::default());
        Self {
            title,
            usage_wanted,
            head,
            calls,
            thought,
            said,
            usage: None,
            tier: None,
            extra: Extras::default(),
            out,
        }
    }

    /// What was written since the last call; the caller clears it.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// The reply is complete: token counts if asked for, and the end.
    pub fn finish(&mut self) {
        if let Some(usage) = self.usage.filter(|_| self.usage_wanted) {
            self.out.extend_from_slice(b"data: ");
            let title = &self.title;
            Writer::new(&mut self.out).object(|w| {
                write_title(title, w, "chat.completion.chunk");
                w.key("choices").array(|_| {});
                write_usage(w.key("usage"), usage);
                write_tier(self.tier, w);
                self.extra.write(w);
            });
            self.out.extend_from_slice(b"\n\n");
        }
        self.out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn chunk(&mut self, stop: Option<&str>, delta: impl FnOnce(&mut Writer<'_>)) {
        if self.head.is_empty() {
            self.begin();
        }
        self.out.extend_from_slice(&self.head);
        let mut w = Writer::new(&mut self.out);
        w.object(delta);
        w.key("finish_reason");
        match stop {
            Some(reason) => w.string(reason),
            None => w.null(),
        }
        self.out.extend_from_slice(if self.usage_wanted { b"}],\"usage\":null}\n\n" } else { b"}]}\n\n" });
    }

    /// Makes the head of all chunks and writes the first, which tells the role.
    fn begin(&mut self) {
        let head = &mut self.head;
        head.extend_from_slice(b"data: ");
        Writer::new(head).object(|w| {
            write_title(&self.title, w, "chat.completion.chunk");
            w.key("choices").array(|w| {
                w.object(|w| {
                    w.key("index").number(0);
                    w.key("delta");
                });
            });
        });
        // The object's closing brackets come after the delta.
        head.truncate(head.len().saturating_sub(b"}]}".len()));
        self.chunk(None, |w| {
            w.key("role").string("assistant");
            w.key("content").string("");
        });
    }

    /// Calls that had no arguments have empty ones.
    fn close_calls(&mut self) {
        for call in 0..self.calls.len() {
            self.close_call(call);
        }
    }

    fn close_call(&mut self, call: usize) {
        if self.calls.get(call) == Some(&Arrival::Bare) {
            self.arguments(call, &Arguments::Object("{}"));
        }
    }

    fn arguments(&mut self, call: usize, arguments: &Arguments<'_>) {
        if matches!(arguments, Arguments::Piece(text) if text.is_empty()) {
            return;
        }
        let Some(arrival) = self.calls.get_mut(call) else { return };
        *arrival = Arrival::Begun;
        let index = call as u64;
        self.chunk(None, |w| {
            w.key("tool_calls").array(|w| {
                w.object(|w| {
                    w.key("index").number(index);
                    w.key("function").object(|w| {
                        w.key("arguments");
                        match arguments {
                            Arguments::Piece(text) => w.text(*text),
                            Arguments::Object(json) => w.string(json),
                        }
                    });
                });
            });
        });
    }
}

impl Sink for StreamWriter {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start { id } => self.title.name(id),
            Event::Text(text) if text.is_empty() => {}
            Event::Text(text) => {
                self.said.all = self.said.all.saturating_add(text.characters());
                self.chunk(None, |w| w.key("content").text(text));
            }
            // Only whole replies have them.
            Event::Choice(_) | Event::Logprob(_) => {}
            Event::Reasoning(text) if text.is_empty() => {}
            Event::Reasoning(text) => {
                self.thought.push_str(text.escaped());
                self.chunk(None, |w| w.key("reasoning_content").text(text));
            }
            Event::Signature(signature) => {
                let thought = std::mem::take(&mut self.thought);
                self.chunk(None, |w| {
                    w.key("thinking_blocks").array(|w| {
                        write_thought(w, Text::from_escaped(&thought), signature);
                    });
                });
            }
            Event::Proof(proof) => self.chunk(None, |w| write_proof(proof, w)),
            Event::Redacted(data) => {
                self.chunk(None, |w| w.key("thinking_blocks").array(|w| write_redacted(w, data)));
            }
            Event::Citation(citation) => {
                let Some(url) = address(&citation.source) else { return };
                let said = self.said;
                self.chunk(None, |w| {
                    w.key("annotations").array(|w| write_annotation(w, url, &citation, said));
                });
            }
            Event::BlockEnd => {
                self.thought.clear();
                self.said.before = self.said.all;
            }
            Event::ToolStart { id, name, signature } => {
                let index = self.calls.len() as u64;
                self.calls.push(Arrival::Bare);
                self.chunk(None, |w| {
                    w.key("tool_calls").array(|w| {
                        w.object(|w| {
                            w.key("index").number(index);
                            write_call(w, id, name, signature, |w| w.string(""));
                        });
                    });
                });
            }
            Event::ToolArguments { call, arguments } => self.arguments(call, &arguments),
            Event::ToolEnd { call } => self.close_call(call),
            Event::Stop { why, .. } => {
                self.close_calls();
                self.chunk(Some(finish_reason(why, !self.calls.is_empty())), |_| {});
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Tier(tier) => self.tier = Some(tier),
            Event::Extra { name, json } => self.extra.take(name, json),
        }
    }
}

/// Gathers the events of a whole reply.
pub struct WholeWriter {
    title: Title,
    /// In the order of their numbers; one unless more were asked for.
    choices: Vec<Choice>,
    /// The number of the one that is told.
    told: usize,
    usage: Option<Usage>,
    tier: Option<Tier>,
    extra: Extras,
}

/// The most replies that OpenAI's API makes of one request; it bounds what an upstream can make here.
const MOST_CHOICES: usize = 128;

/// One of the replies.
#[derive(Default)]
struct Choice {
    /// Escaped text.
    content: String,
    said: Said,
    /// The members of a JSON array; empty where nothing is cited.
    annotations: Vec<u8>,
    /// The members of a JSON array; empty where nobody wanted to know.
    logprobs: Vec<u8>,
    /// Escaped text.
    reasoning: String,
    thoughts: Vec<Thought>,
    /// Where in `reasoning` the block that is not proved yet begins.
    unproved: usize,
    /// Google's, of the thought behind `content`; escaped.
    proof: Option<String>,
    calls: Vec<WholeCall>,
    stop: Option<Stop>,
}

/// A block of thoughts that the model wants back, its strings escaped.
enum Thought {
    Proved { text: String, signature: String },
    Redacted(String),
}

/// A tool call, its strings escaped.
struct WholeCall {
    id: String,
    name: String,
    signature: Option<String>,
    arguments: String,
}

impl WholeWriter {
    pub fn new(title: Title) -> Self {
        let choices = vec![Choice::default()];
        Self { title, choices, told: 0, usage: None, tier: None, extra: Extras::default() }
    }

    /// Writes the reply.
    pub fn finish(&self, out: &mut Vec<u8>) {
        Writer::new(out).object(|w| {
            write_title(&self.title, w, "chat.completion");
            w.key("choices").array(|w| {
                for (index, choice) in self.choices.iter().enumerate() {
                    w.object(|w| {
                        w.key("index").number(index as u64);
                        choice.write(w);
                    });
                }
            });
            if let Some(usage) = self.usage {
                write_usage(w.key("usage"), usage);
            }
            write_tier(self.tier, w);
            self.extra.write(w);
        });
    }
}

impl Choice {
    fn write(&self, w: &mut Writer<'_>) {
        w.key("message").object(|w| self.message(w));
        w.key("logprobs");
        if self.logprobs.is_empty() {
            w.null();
        } else {
            w.object(|w| {
                w.key("content").array(|w| w.token(std::str::from_utf8(&self.logprobs).unwrap_or_default()));
                w.key("refusal").null();
            });
        }
        let stop = self.stop.unwrap_or(Stop::End);
        w.key("finish_reason").string(finish_reason(stop, !self.calls.is_empty()));
    }

    fn message(&self, w: &mut Writer<'_>) {
        w.key("role").string("assistant");
        w.key("content");
        if self.content.is_empty() && !self.calls.is_empty() {
            w.null();
        } else {
            w.text(Text::from_escaped(&self.content));
        }
        w.key("refusal").null();
        if !self.annotations.is_empty() {
            w.key("annotations")
                .array(|w| w.token(std::str::from_utf8(&self.annotations).unwrap_or_default()));
        }
        if !self.reasoning.is_empty() {
            w.key("reasoning_content").text(Text::from_escaped(&self.reasoning));
        }
        if !self.thoughts.is_empty() {
            w.key("thinking_blocks").array(|w| {
                for thought in &self.thoughts {
                    match thought {
                        Thought::Proved { text, signature } => {
                            write_thought(w, Text::from_escaped(text), Text::from_escaped(signature));
                        }
                        Thought::Redacted(data) => write_redacted(w, Text::from_escaped(data)),
                    }
                }
            });
        }
        if let Some(proof) = &self.proof {
            write_proof(Text::from_escaped(proof), w);
        }
        if !self.calls.is_empty() {
            w.key("tool_calls").array(|w| {
                for call in &self.calls {
                    let signature = call.signature.as_deref().map(Text::from_escaped);
                    let (id, name) = (Text::from_escaped(&call.id), Text::from_escaped(&call.name));
                    w.object(|w| {
                        write_call(w, id, name, signature, |w| match call.arguments.as_str() {
                            "" => w.string("{}"),
                            arguments => w.text(Text::from_escaped(arguments)),
                        });
                    });
                }
            });
        }
    }
}

impl Sink for WholeWriter {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Choice(number) = event {
            self.told = number.min(MOST_CHOICES - 1);
            while self.choices.len() <= self.told {
                self.choices.push(Choice::default());
            }
            return;
        }
        let Some(choice) = self.choices.get_mut(self.told) else { return };
        match event {
            Event::Start { id } => self.title.name(id),
            Event::Choice(_) => {}
            Event::Logprob(logprob) => write_logprob(&mut Writer::new(&mut choice.logprobs), &logprob),
            Event::Text(text) => {
                choice.said.all = choice.said.all.saturating_add(text.characters());
                choice.content.push_str(text.escaped());
            }
            Event::Reasoning(text) => choice.reasoning.push_str(text.escaped()),
            Event::Signature(signature) => {
                let text = choice.reasoning.get(choice.unproved..).unwrap_or_default().to_owned();
                choice.unproved = choice.reasoning.len();
                choice.thoughts.push(Thought::Proved { text, signature: signature.escaped().to_owned() });
            }
            Event::Proof(proof) => choice.proof = Some(proof.escaped().to_owned()),
            Event::Redacted(data) => choice.thoughts.push(Thought::Redacted(data.escaped().to_owned())),
            Event::Citation(citation) => {
                if let Some(url) = address(&citation.source) {
                    write_annotation(&mut Writer::new(&mut choice.annotations), url, &citation, choice.said);
                }
            }
            Event::BlockEnd => {
                choice.unproved = choice.reasoning.len();
                choice.said.before = choice.said.all;
            }
            Event::ToolStart { id, name, signature } => choice.calls.push(WholeCall {
                id: id.escaped().to_owned(),
                name: name.escaped().to_owned(),
                signature: signature.map(|text| text.escaped().to_owned()),
                arguments: String::new(),
            }),
            Event::ToolArguments { call, arguments } => {
                let Some(call) = choice.calls.get_mut(call) else { return };
                match arguments {
                    Arguments::Piece(text) => call.arguments.push_str(text.escaped()),
                    Arguments::Object(json) => {
                        let mut quoted = Vec::with_capacity(json.len() + 2);
                        Writer::new(&mut quoted).string(json);
                        let inside = quoted.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
                        call.arguments
                            .push_str(std::str::from_utf8(inside.unwrap_or_default()).unwrap_or_default());
                    }
                }
            }
            Event::ToolEnd { .. } => {}
            Event::Stop { why, .. } => choice.stop = Some(why),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Tier(tier) => self.tier = Some(tier),
            Event::Extra { name, json } => self.extra.take(name, json),
        }
    }
}

/// Writes a block of thoughts with its proof, in the shape that clients know from other gateways.
fn write_thought(w: &mut Writer<'_>, text: Text<'_>, signature: Text<'_>) {
    w.object(|w| {
        w.key("type").string("thinking");
        w.key("thinking").text(text);
        w.key("signature").text(signature);
    });
}

fn write_redacted(w: &mut Writer<'_>, data: Text<'_>) {
    w.object(|w| {
        w.key("type").string("redacted_thinking");
        w.key("data").text(data);
    });
}

/// Writes the members of a tool call but its index.
fn write_call(
    w: &mut Writer<'_>,
    id: Text<'_>,
    name: Text<'_>,
    signature: Option<Text<'_>>,
    arguments: impl FnOnce(&mut Writer<'_>),
) {
    w.key("id").text(id);
    w.key("type").string("function");
    w.key("function").object(|w| {
        w.key("name").text(name);
        arguments(w.key("arguments"));
    });
    if let Some(signature) = signature {
        write_proof(signature, w);
    }
}

/// Writes Google's proof where its own OpenAI endpoint has it, at a call or a message:
/// ai.google.dev/gemini-api/docs/thought-signatures.
fn write_proof(proof: Text<'_>, w: &mut Writer<'_>) {
    w.key("extra_content").object(|w| {
        w.key("google").object(|w| w.key("thought_signature").text(proof));
    });
}

/// platform.openai.com/docs/api-reference/chat/object, `choices[].logprobs.content`.
fn write_logprob(w: &mut Writer<'_>, logprob: &Logprob<'_>) {
    let token = |w: &mut Writer<'_>, (token, number): &(Text<'_>, Number<'_>)| {
        w.key("token").text(*token);
        w.key("logprob").token(number.token());
        w.key("bytes").array(|w| token.unescape().bytes().for_each(|byte| w.number(byte.into())));
    };
    w.object(|w| {
        token(w, &logprob.token);
        w.key("top_logprobs").array(|w| {
            logprob.others.iter().for_each(|other| w.object(|w| token(w, other)));
        });
    });
}

/// The address of a source that has one. Others have no place in a chat completion; they come only to
/// questions that OpenAI's clients cannot ask.
fn address<'a>(source: &CitedSource<'a>) -> Option<Text<'a>> {
    match *source {
        CitedSource::Web { url } => Some(url),
        CitedSource::SearchResult { source, .. } => {
            // JSON may write the slashes with a backslash each.
            let is_web = ["https:", "http:"].iter().any(|scheme| source.escaped().starts_with(scheme));
            is_web.then_some(source)
        }
        CitedSource::Characters { .. } | CitedSource::Pages { .. } | CitedSource::Blocks { .. } => None,
    }
}

/// platform.openai.com/docs/api-reference/chat/object, `choices[].message.annotations`.
fn write_annotation(w: &mut Writer<'_>, url: Text<'_>, citation: &Citation<'_>, said: Said) {
    let (start, end) = citation.said.unwrap_or((said.before, said.all));
    w.object(|w| {
        w.key("type").string("url_citation");
        w.key("url_citation").object(|w| {
            w.key("url").text(url);
            w.key("title").text(citation.title.unwrap_or_default());
            w.key("start_index").number(start);
            w.key("end_index").number(end);
        });
    });
}

pub const TIER: &str = "service_tier";

/// platform.openai.com/docs/api-reference/chat/object, `service_tier`.
pub fn write_tier(tier: Option<Tier>, w: &mut Writer<'_>) {
    let name = match tier {
        None => return,
        Some(Tier::Standard) => "default",
        Some(Tier::Priority) => "priority",
        Some(Tier::Flex) => "flex",
        Some(Tier::Reserved) => "scale",
    };
    w.key(TIER).string(name);
}

/// Some models end a turn of tool calls with a plain end; clients loop on `tool_calls` only.
fn finish_reason(stop: Stop, called: bool) -> &'static str {
    match stop {
        Stop::End if called => "tool_calls",
        Stop::End | Stop::Sequence => "stop",
        Stop::Length | Stop::Context => "length",
        Stop::ToolCalls => "tool_calls",
        Stop::Filtered => "content_filter",
    }
}

/// platform.openai.com/docs/api-reference/completions/object: `prompt_tokens` includes cached ones,
/// `completion_tokens` includes reasoning.
fn write_usage(w: &mut Writer<'_>, usage: Usage) {
    w.object(|w| {
        w.key("prompt_tokens").number(usage.input);
        w.key("completion_tokens").number(usage.output);
        w.key("total_tokens").number(usage.input.saturating_add(usage.output));
        w.key("prompt_tokens_details").object(|w| {
            w.key("cached_tokens").number(usage.cache_read);
            // Claude's price for writing the cache is another, so clients want to see it; the second name is that of
            // other gateways, and older than OpenAI's.
            if usage.cache_write > 0 {
                w.key("cache_write_tokens").number(usage.cache_write);
                w.key("cache_creation_tokens").number(usage.cache_write);
            }
        });
        w.key("completion_tokens_details").object(|w| w.key("reasoning_tokens").number(usage.reasoning));
    });
}
