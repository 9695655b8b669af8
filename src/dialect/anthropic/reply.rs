//! A message: events in, one JSON reply or a stream of blocks out. docs.claude.com/en/api/messages and
//! …/en/docs/build-with-claude/streaming.

use serde_json::value::RawValue;

use super::GOOGLE_PROOF;
use crate::base::json::{Piece, Text, Writer};
use crate::chat::{Arguments, Citation, CitedSource, Event, Sink, Stop, Tier, Usage};
use crate::dialect::{Extras, Title};

/// Writes server-sent events as the upstream's events come.
///
/// Every block is opened before its first delta and closed before the next one opens, and blocks are
/// numbered in the order in which they open. Only calls whose arguments really come mixed are open beside each
/// other: nobody could tell when one of them ends. The reason of the stop waits for [`StreamWriter::finish`],
/// because it leaves with the token counts, which some upstreams tell last.
pub struct StreamWriter {
    title: Title,
    begun: bool,
    /// Blocks that were opened so far.
    blocks: u64,
    open: Open,
    calls: Vec<Call>,
    stop: Option<(Stop, Option<String>)>,
    usage: Usage,
    tier: Option<Tier>,
    extra: Extras,
    out: Vec<u8>,
}

/// The block of words that is open. Blocks of tool calls may be open beside it.
#[derive(Clone, Copy, PartialEq)]
enum Open {
    Nothing,
    Text(u64),
    Thinking(u64),
}

/// A tool call's block.
#[derive(Clone, Copy)]
struct Call {
    index: u64,
    phase: CallPhase,
}

#[derive(Clone, Copy, PartialEq)]
enum CallPhase {
    /// It has had no input yet.
    Bare,
    Begun(Braces),
    Closed,
}

impl CallPhase {
    fn take(&mut self, arguments: &Arguments<'_>) {
        let mut braces = match *self {
            CallPhase::Begun(braces) => braces,
            CallPhase::Bare | CallPhase::Closed => Braces::default(),
        };
        match arguments {
            Arguments::Piece(text) => text.pieces(|piece| match piece {
                Piece::Text(json) => braces.take(json),
                Piece::Char(character) => braces.take(character.encode_utf8(&mut [0; 4])),
            }),
            Arguments::Object(_) => braces.open = Some(0),
        }
        *self = CallPhase::Begun(braces);
    }

    /// All arguments have come.
    const fn is_whole(self) -> bool {
        match self {
            CallPhase::Begun(braces) => braces.are_closed(),
            CallPhase::Bare | CallPhase::Closed => false,
        }
    }
}

/// How far the arguments of a call have come, an object in pieces. Chat completions do not tell the end of a call
/// before that of the reply.
#[derive(Clone, Copy, PartialEq, Default)]
struct Braces {
    /// How many are open, once there was one.
    open: Option<u32>,
    in_string: bool,
    /// The character before was a backslash.
    escaped: bool,
}

impl Braces {
    fn take(&mut self, json: &str) {
        for byte in json.bytes() {
            match (byte, self.in_string) {
                _ if std::mem::replace(&mut self.escaped, false) => {}
                (b'\\', true) => self.escaped = true,
                (b'"', _) => self.in_string = !self.in_string,
                (b'{', false) => self.open = Some(self.open.unwrap_or(0).saturating_add(1)),
                (b'}', false) => self.open = self.open.map(|open| open.saturating_sub(1)),
                _ => {}
            }
        }
    }

    /// The object is whole.
    const fn are_closed(self) -> bool {
        matches!(self.open, Some(0))
    }
}

impl StreamWriter {
    pub fn new(title: Title) -> Self {
        Self {
            title,
            begun: false,
            blocks: 0,
            open: Open::Nothing,
            calls: Vec::new(),
            stop: None,
            usage: Usage::default(),
            tier: None,
            extra: Extras::default(),
            out: Vec::new(),
        }
    }

    /// What was written since the last call; the caller clears it.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// The reply is complete: why it ended, what it cost, and the end.
    pub fn finish(&mut self) {
        self.begin();
        self.close_words();
        self.close_calls();
        let (why, sequence) = self.stop.take().unwrap_or((Stop::End, None));
        let reason = stop_reason(why, !self.calls.is_empty());
        let (usage, tier, extra) = (self.usage, self.tier, std::mem::take(&mut self.extra));
        self.send("message_delta", |w| {
            w.key("delta").object(|w| {
                w.key("stop_reason").string(reason);
                w.key("stop_sequence");
                match sequence.as_deref().filter(|_| why == Stop::Sequence) {
                    Some(sequence) => w.text(Text::from_escaped(sequence)),
                    None => w.null(),
                }
            });
            // All counts once more: those of `message_start` were written before anybody knew all of them,
            // and the SDKs let these replace them.
            w.key("usage").object(|w| {
                write_counts(w, usage);
                write_tier(w, tier);
            });
            extra.write(w);
        });
        self.send("message_stop", |_| {});
    }

    fn send(&mut self, name: &'static str, members: impl FnOnce(&mut Writer<'_>)) {
        self.out.extend_from_slice(b"event: ");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\ndata: ");
        Writer::new(&mut self.out).object(|w| {
            w.key("type").string(name);
            members(w);
        });
        self.out.extend_from_slice(b"\n\n");
    }

    /// Writes `message_start`, once.
    fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let (title, usage) = (self.title.clone(), self.usage);
        self.send("message_start", |w| {
            w.key("message").object(|w| {
                write_title(&title, w);
                w.key("content").array(|_| {});
                w.key("stop_reason").null();
                w.key("stop_sequence").null();
                w.key("usage").object(|w| write_counts(w, usage));
            });
        });
    }

    /// Opens a block; gives its number. The calls before it that have all of their arguments end here.
    fn start(&mut self, block: impl FnOnce(&mut Writer<'_>)) -> u64 {
        self.begin();
        for call in 0..self.calls.len() {
            if self.calls.get(call).is_some_and(|call| call.phase.is_whole()) {
                self.close_call(call);
            }
        }
        let index = self.blocks;
        self.blocks = index.saturating_add(1);
        self.send("content_block_start", |w| {
            w.key("index").number(index);
            w.key("content_block").object(block);
        });
        index
    }

    fn delta(&mut self, index: u64, kind: &'static str, key: &'static str, text: Text<'_>) {
        self.send("content_block_delta", |w| {
            w.key("index").number(index);
            w.key("delta").object(|w| {
                w.key("type").string(kind);
                w.key(key).text(text);
            });
        });
    }

    fn close(&mut self, index: u64) {
        self.send("content_block_stop", |w| w.key("index").number(index));
    }

    /// The number of the block of text that is open; opens one if there is none.
    fn text(&mut self) -> u64 {
        match self.open {
            Open::Text(index) => index,
            Open::Nothing | Open::Thinking(_) => {
                self.close_words();
                let index = self.start(|w| {
                    w.key("type").string("text");
                    w.key("text").string("");
                });
                self.open = Open::Text(index);
                index
            }
        }
    }

    /// The number of the block of thoughts that is open; opens one if there is none.
    fn thinking(&mut self) -> u64 {
        match self.open {
            Open::Thinking(index) => index,
            Open::Nothing | Open::Text(_) => {
                self.close_words();
                let index = self.start(|w| {
                    w.key("type").string("thinking");
                    w.key("thinking").string("");
                    w.key("signature").string("");
                });
                self.open = Open::Thinking(index);
                index
            }
        }
    }

    fn call(&mut self, id: Text<'_>, name: Text<'_>, signature: Option<Text<'_>>) {
        if let Some(signature) = signature {
            let index = self.thinking();
            let proof = [GOOGLE_PROOF, signature.escaped()].concat();
            self.delta(index, "signature_delta", "signature", Text::from_escaped(&proof));
        }
        self.close_words();
        let index = self.start(|w| write_call(w, id, name, |w| w.object(|_| {})));
        self.calls.push(Call { index, phase: CallPhase::Bare });
    }

    fn arguments(&mut self, call: usize, arguments: &Arguments<'_>) {
        if matches!(arguments, Arguments::Piece(text) if text.is_empty()) {
            return;
        }
        let Some(call) = self.calls.get_mut(call).filter(|call| call.phase != CallPhase::Closed) else {
            return;
        };
        let index = call.index;
        call.phase.take(arguments);
        self.send("content_block_delta", |w| {
            w.key("index").number(index);
            w.key("delta").object(|w| {
                w.key("type").string("input_json_delta");
                w.key("partial_json");
                match arguments {
                    Arguments::Piece(text) => w.text(*text),
                    Arguments::Object(json) => w.string(json),
                }
            });
        });
    }

    fn close_words(&mut self) {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => {}
            Open::Text(index) | Open::Thinking(index) => self.close(index),
        }
    }

    fn close_call(&mut self, call: usize) {
        let phase = self.calls.get(call).map_or(CallPhase::Closed, |call| call.phase);
        if phase == CallPhase::Closed {
            return;
        }
        if phase == CallPhase::Bare {
            // Whoever parses the pieces themselves would stumble over none at all.
            self.arguments(call, &Arguments::Object("{}"));
        }
        if let Some(call) = self.calls.get_mut(call) {
            call.phase = CallPhase::Closed;
            let index = call.index;
            self.close(index);
        }
    }

    fn close_calls(&mut self) {
        for call in 0..self.calls.len() {
            self.close_call(call);
        }
    }
}

impl Sink for StreamWriter {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start { id } => {
                self.title.name(id);
                // At once: while a model thinks to itself, this is all that a client hears for long.
                self.begin();
            }
            Event::Text(text) if text.is_empty() => {}
            Event::Text(text) => {
                let index = self.text();
                self.delta(index, "text_delta", "text", text);
            }
            Event::Reasoning(text) if text.is_empty() => {}
            Event::Reasoning(text) => {
                let index = self.thinking();
                self.delta(index, "thinking_delta", "thinking", text);
            }
            Event::Signature(signature) => {
                let index = self.thinking();
                self.delta(index, "signature_delta", "signature", signature);
                self.close_words();
            }
            // A block of thoughts behind the words of clients who asked for none would be in their way.
            Event::Proof(_) => {}
            Event::Redacted(data) => {
                self.close_words();
                let index = self.start(|w| write_redacted(w, data));
                self.close(index);
            }
            Event::Citation(citation) => {
                let index = self.text();
                self.send("content_block_delta", |w| {
                    w.key("index").number(index);
                    w.key("delta").object(|w| {
                        w.key("type").string("citations_delta");
                        w.key("citation").object(|w| write_citation(w, &citation));
                    });
                });
            }
            Event::BlockEnd => self.close_words(),
            Event::ToolStart { id, name, signature } => self.call(id, name, signature),
            Event::ToolArguments { call, arguments } => self.arguments(call, &arguments),
            Event::ToolEnd { call } => self.close_call(call),
            Event::Stop { why, sequence } => {
                self.stop = Some((why, sequence.map(|text| text.escaped().to_owned())));
            }
            Event::Usage(usage) => self.usage = usage,
            // Nothing that Anthropic's clients can ask for.
            Event::Choice(_) | Event::Logprob(_) => {}
            Event::Tier(tier) => self.tier = Some(tier),
            Event::Extra { name, json } => self.extra.take(name, json),
        }
    }
}

/// Gathers the events of a whole reply.
pub struct WholeWriter {
    title: Title,
    blocks: Vec<Block>,
    /// Words that come now belong to the block before.
    open: bool,
    /// Where in `blocks` the calls are.
    calls: Vec<usize>,
    stop: Option<(Stop, Option<String>)>,
    usage: Usage,
    tier: Option<Tier>,
    extra: Extras,
}

/// A block, its strings escaped.
enum Block {
    Text {
        text: String,
        /// The members of a JSON array; empty where nothing is cited.
        citations: Vec<u8>,
    },
    Thinking {
        text: String,
        signature: String,
    },
    Redacted(String),
    /// `input` is JSON.
    Call {
        id: String,
        name: String,
        input: String,
    },
}

impl WholeWriter {
    pub fn new(title: Title) -> Self {
        let (blocks, calls) = (Vec::new(), Vec::new());
        Self {
            title,
            blocks,
            open: false,
            calls,
            stop: None,
            usage: Usage::default(),
            tier: None,
            extra: Extras::default(),
        }
    }

    /// Writes the reply.
    pub fn finish(&self, out: &mut Vec<u8>) {
        let (why, sequence) = match &self.stop {
            Some((why, sequence)) => (*why, sequence.as_deref()),
            None => (Stop::End, None),
        };
        Writer::new(out).object(|w| {
            write_title(&self.title, w);
            w.key("content").array(|w| self.blocks.iter().for_each(|block| w.object(|w| block.write(w))));
            w.key("stop_reason").string(stop_reason(why, !self.calls.is_empty()));
            w.key("stop_sequence");
            match sequence.filter(|_| why == Stop::Sequence) {
                Some(sequence) => w.text(Text::from_escaped(sequence)),
                None => w.null(),
            }
            w.key("usage").object(|w| {
                write_counts(w, self.usage);
                if self.usage.cache_write > 0 {
                    let Usage { cache_write, cache_write_hour, .. } = self.usage;
                    w.key("cache_creation").object(|w| {
                        let short = cache_write.saturating_sub(cache_write_hour);
                        w.key("ephemeral_5m_input_tokens").number(short);
                        w.key("ephemeral_1h_input_tokens").number(cache_write_hour);
                    });
                }
                write_tier(w, self.tier);
            });
            self.extra.write(w);
        });
    }

    fn say(&mut self, words: Text<'_>) {
        let open = std::mem::replace(&mut self.open, true);
        match self.blocks.last_mut().filter(|_| open) {
            Some(Block::Text { text, .. }) => text.push_str(words.escaped()),
            _ => self.blocks.push(Block::Text { text: words.escaped().to_owned(), citations: Vec::new() }),
        }
    }

    fn cite(&mut self, citation: &Citation<'_>) {
        if !matches!(self.blocks.last(), Some(Block::Text { .. })) {
            self.say(Text::default());
        }
        if let Some(Block::Text { citations, .. }) = self.blocks.last_mut() {
            Writer::new(citations).object(|w| write_citation(w, citation));
        }
    }

    /// The block of thoughts that is open; a new one if there is none.
    fn think(&mut self, words: &str, proof: &[&str]) {
        let open = std::mem::replace(&mut self.open, true);
        match self.blocks.last_mut().filter(|_| open) {
            Some(Block::Thinking { text, signature }) => {
                text.push_str(words);
                proof.iter().for_each(|piece| signature.push_str(piece));
            }
            _ => self.blocks.push(Block::Thinking { text: words.to_owned(), signature: proof.concat() }),
        }
    }
}

impl Block {
    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Block::Text { text, citations } => {
                w.key("type").string("text");
                w.key("text").text(Text::from_escaped(text));
                if !citations.is_empty() {
                    w.key("citations").array(|w| w.token(std::str::from_utf8(citations).unwrap_or_default()));
                }
            }
            Block::Thinking { text, signature } => {
                w.key("type").string("thinking");
                w.key("thinking").text(Text::from_escaped(text));
                w.key("signature").text(Text::from_escaped(signature));
            }
            Block::Redacted(data) => write_redacted(w, Text::from_escaped(data)),
            Block::Call { id, name, input } => {
                write_call(w, Text::from_escaped(id), Text::from_escaped(name), |w| {
                    // Pieces of a stream may have been cut off; a half object would spoil the reply.
                    let whole = serde_json::from_str::<&RawValue>(input).is_ok();
                    w.token(if whole { input } else { "{}" });
                });
            }
        }
    }
}

impl Sink for WholeWriter {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start { id } => self.title.name(id),
            Event::Text(text) => self.say(text),
            Event::Reasoning(text) => self.think(text.escaped(), &[]),
            Event::Signature(signature) => {
                self.think("", &[signature.escaped()]);
                self.open = false;
            }
            Event::Proof(_) => {}
            Event::Redacted(data) => {
                self.blocks.push(Block::Redacted(data.escaped().to_owned()));
                self.open = false;
            }
            Event::Citation(citation) => self.cite(&citation),
            Event::BlockEnd => self.open = false,
            Event::ToolStart { id, name, signature } => {
                if let Some(signature) = signature {
                    self.think("", &[GOOGLE_PROOF, signature.escaped()]);
                }
                self.open = false;
                self.calls.push(self.blocks.len());
                let (id, name) = (id.escaped().to_owned(), name.escaped().to_owned());
                self.blocks.push(Block::Call { id, name, input: String::new() });
            }
            Event::ToolArguments { call, arguments } => {
                let block = self.calls.get(call).and_then(|at| self.blocks.get_mut(*at));
                let Some(Block::Call { input, .. }) = block else { return };
                match arguments {
                    Arguments::Piece(text) => input.push_str(&text.unescape()),
                    Arguments::Object(json) => input.push_str(json),
                }
            }
            Event::ToolEnd { .. } => {}
            Event::Stop { why, sequence } => {
                self.stop = Some((why, sequence.map(|text| text.escaped().to_owned())));
            }
            Event::Usage(usage) => self.usage = usage,
            // Nothing that Anthropic's clients can ask for.
            Event::Choice(_) | Event::Logprob(_) => {}
            Event::Tier(tier) => self.tier = Some(tier),
            Event::Extra { name, json } => self.extra.take(name, json),
        }
    }
}

/// Writes the members that a message begins with.
fn write_title(title: &Title, w: &mut Writer<'_>) {
    // Anthropic's ids have this prefix.
    w.key("id").string(&format!("msg_{}", title.id));
    w.key("type").string("message");
    w.key("role").string("assistant");
    w.key("model").string(&title.model);
}

fn write_call(w: &mut Writer<'_>, id: Text<'_>, name: Text<'_>, input: impl FnOnce(&mut Writer<'_>)) {
    w.key("type").string("tool_use");
    w.key("id").text(id);
    w.key("name").text(name);
    input(w.key("input"));
}

fn write_redacted(w: &mut Writer<'_>, data: Text<'_>) {
    w.key("type").string("redacted_thinking");
    w.key("data").text(data);
}

/// docs.claude.com/en/docs/build-with-claude/citations and …/search-results.
fn write_citation(w: &mut Writer<'_>, citation: &Citation<'_>) {
    let Citation { quoted, title, source, said: _ } = citation;
    let mut place = |kind, index: (&'static str, u64), titled, [start, end]: [(&'static str, u64); 2]| {
        w.key("type").string(kind);
        w.key("cited_text").texts(quoted);
        w.key(index.0).number(index.1);
        w.key(titled);
        match title {
            Some(title) => w.text(*title),
            None => w.null(),
        }
        w.key(start.0).number(start.1);
        w.key(end.0).number(end.1);
    };
    match *source {
        CitedSource::Characters { document, start, end } => place(
            "char_location",
            ("document_index", document),
            "document_title",
            [("start_char_index", start), ("end_char_index", end)],
        ),
        CitedSource::Pages { document, start, end } => place(
            "page_location",
            ("document_index", document),
            "document_title",
            [("start_page_number", start), ("end_page_number", end)],
        ),
        CitedSource::Blocks { document, start, end } => place(
            "content_block_location",
            ("document_index", document),
            "document_title",
            [("start_block_index", start), ("end_block_index", end)],
        ),
        CitedSource::SearchResult { result, source, start, end } => {
            place(
                "search_result_location",
                ("search_result_index", result),
                "title",
                [("start_block_index", start), ("end_block_index", end)],
            );
            w.key("source").text(source);
        }
        CitedSource::Web { url } => {
            w.key("type").string("web_search_result_location");
            w.key("cited_text").texts(quoted);
            w.key("url").text(url);
            w.key("title");
            match title {
                Some(title) => w.text(*title),
                None => w.null(),
            }
            // Anthropic's own proof of its search; it has no counterpart elsewhere.
            w.key("encrypted_index").string("");
        }
    }
}

/// Anthropic has a name for two of the tiers only.
fn write_tier(w: &mut Writer<'_>, tier: Option<Tier>) {
    match tier {
        None | Some(Tier::Reserved) => {}
        Some(Tier::Standard | Tier::Flex) => w.key("service_tier").string("standard"),
        Some(Tier::Priority) => w.key("service_tier").string("priority"),
    }
}

/// Some models end a turn of tool calls with a plain end; clients loop on `tool_use` only.
fn stop_reason(stop: Stop, called: bool) -> &'static str {
    match stop {
        Stop::End if called => "tool_use",
        Stop::End => "end_turn",
        Stop::Sequence => "stop_sequence",
        Stop::Length => "max_tokens",
        Stop::Context => "model_context_window_exceeded",
        Stop::ToolCalls => "tool_use",
        Stop::Filtered => "refusal",
    }
}

/// Anthropic counts what came from the cache and went into it apart from `input_tokens`.
fn write_counts(w: &mut Writer<'_>, usage: Usage) {
    let cached = usage.cache_read.saturating_add(usage.cache_write);
    w.key("input_tokens").number(usage.input.saturating_sub(cached));
    w.key("cache_creation_input_tokens").number(usage.cache_write);
    w.key("cache_read_input_tokens").number(usage.cache_read);
    w.key("output_tokens").number(usage.output);
    if usage.reasoning > 0 {
        w.key("output_tokens_details").object(|w| w.key("thinking_tokens").number(usage.reasoning));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed_after(pieces: &[&str]) -> Vec<bool> {
        let mut braces = Braces::default();
        let mut closed = |piece: &&str| {
            braces.take(piece);
            braces.are_closed()
        };
        pieces.iter().map(&mut closed).collect()
    }

    #[test]
    fn arguments_are_whole_when_their_last_brace_has_come_wherever_they_are_cut() {
        for (pieces, whole) in [
            (&["{}"][..], &[true][..]),
            (&[" ", "{", "}", "\n"], &[false, false, true, true]),
            (&[r#"{"a":{"b":1}"#, "}"], &[false, true]),
            // Braces and quotes inside of strings.
            (&[r#"{"a":"}"#, r#""}"#], &[false, true]),
            (&[r#"{"a":"\"}"#, r#""}"#], &[false, true]),
            (&[r#"{"a":"\"#, r#""}"#, r#""}"#], &[false, false, true]),
            (&[r#"{"a":"\\"#, r#""}"#], &[false, true]),
            // No object: nobody knows where it ends.
            (&["1", " "], &[false, false]),
        ] {
            assert_eq!(closed_after(pieces), whole, "{pieces:?}");
        }
    }
}
