//! A chat request into the body of Converse and ConverseStream, which are the same.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::extra::{self, Extra};
use super::model::{Choice, Family, Takes, family, full_name, takes};
use super::offer::{Offer, Schema};
use super::own::{self, Own};
use crate::base::error::{Error, Kind};
use crate::base::json::{Text, Writer};
use crate::chat::{
    Cache, Content, Detail, Document, DocumentSource, Image, ImageSource, LeftOut, Part, Place, Request,
    Role, SearchResult, Spelling, Thinking, Tool, ToolCall, ToolResult, Turn,
};
use crate::dialect::schema::{self, ANSWER};
use crate::dialect::{Model, media, promise};

/// `InferenceConfiguration.stopSequences` has at most so many items.
const MAX_STOPS: usize = 2500;

/// `InferenceConfiguration.maxTokens` is a 32-bit integer; for a larger one Bedrock's answer is that the
/// request cannot be parsed.
const MAX_TOKENS: u64 = i32::MAX as u64;

/// What became of a request beside its body.
#[derive(Debug)]
pub struct Outcome {
    pub left_out: LeftOut,
    /// The tool whose call is the reply, where the model answers by a schema in no other way.
    pub answer: Option<&'static str>,
    /// The model can only answer it whole.
    pub whole: bool,
}

/// Writes the body for a request to a model. After an error `out` holds half of one.
///
/// # Errors
/// What Converse has no way to say, named by its path in the client's body.
pub fn write(request: &Request<'_>, model: Model<'_>, out: &mut Vec<u8>) -> Result<Outcome, Error> {
    if request.turns.is_empty() {
        let problem = "at least one message of a user, with content, is required";
        return Err(Error::at(Kind::Missing, "messages", problem));
    }
    let base = model.family.map_or(Cow::Borrowed(model.name), full_name);
    let (family, takes) = (family(&base), takes(&base));
    let mut left_out = LeftOut::default();
    let own = Own::read(request, model.name, &mut left_out)?;
    if request.has_detail() {
        left_out.note(Detail::NAME);
    }
    let offer = Offer::of(request, takes)?;
    if offer.choice.is_some() && (1..request.tools.len()).contains(&offer.tools.len()) {
        left_out.note("tools");
    }
    let mut body = Body {
        family,
        takes,
        spelling: request.spelling,
        prefill: prefill(request, family),
        history: if offer.tools.is_empty() { History::Prose } else { History::Blocks },
        documents: BTreeSet::new(),
        surplus: Marks::surplus(request, offer.tools, family),
        left_out,
    };
    let extra = if own::is_prompt(model.name) {
        own::leave_to_prompt(request, &own, &mut body.left_out)?;
        None
    } else {
        Some(Extra::choose(request, &offer, &base, &mut body.left_out))
    };
    Writer::new(out).object(|w| {
        let mut before = request.system.as_slice();
        if takes.system && !before.is_empty() {
            let due = w.key("system").array(|w| body.parts(before, w, Body::system))?;
            body.lose(due);
            before = &[];
        }
        w.key("messages").array(|w| {
            for turn in &request.turns {
                body.message(turn, std::mem::take(&mut before), w)?;
            }
            Ok::<(), Error>(())
        })?;
        if let Some(extra) = &extra {
            inference(request, family, extra, w)?;
            if offer.is_made() {
                w.key("toolConfig").object(|w| body.tool_config(&offer, w))?;
            }
        }
        let schema = Schema::of(&request.format).filter(|_| offer.answer.is_none());
        output_config(schema, extra.as_ref().and_then(|extra| extra.effort), request.spelling, w)?;
        own.write(w);
        extra::write(extra.as_ref(), &own, w)
    })?;
    Ok(Outcome {
        left_out: body.left_out,
        answer: offer.answer.is_some().then_some(ANSWER),
        whole: request.delivery.is_stream() && offer.is_made() && !takes.streamed_tools,
    })
}

/// Where the text stands that Claude is to go on from. It may not end in white space: "final assistant
/// content cannot end with trailing whitespace".
fn prefill(request: &Request<'_>, family: Family) -> Option<Place> {
    let last = request.turns.last().filter(|turn| turn.role == Role::Assistant)?.parts.last()?;
    (matches!(family, Family::Claude(_) | Family::Untold) && matches!(last.content, Content::Text(_)))
        .then_some(last.place)
}

/// Marks of the cache, by where they stand.
#[derive(Default)]
struct Marks {
    tools: usize,
    system: usize,
    messages: usize,
}

impl Marks {
    /// docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html: four for a request, and Bedrock
    /// refuses more ("Maximum cache checkpoints per request").
    const MOST: usize = 4;

    /// How many to leave out, of the first ones in each place. The last mark of tools and instructions stays,
    /// which other conversations share, and of the messages the last three: there this conversation goes on.
    fn surplus(request: &Request<'_>, tools: &[Tool<'_>], family: Family) -> Self {
        let marked = |parts: &[Part<'_>]| parts.iter().filter(|part| part.cache.is_some()).count();
        let all = Self {
            tools: tools.iter().filter(|tool| tool.cache.is_some() && family.caches_tools()).count(),
            system: marked(&request.system),
            messages: request.turns.iter().map(|turn| marked(&turn.parts)).sum(),
        };
        let shared = all.tools.saturating_add(all.system);
        let messages = all.messages.min(Self::MOST.saturating_sub(shared.min(1)));
        let surplus = shared.saturating_sub(Self::MOST.saturating_sub(messages));
        let of_tools = surplus.min(all.tools);
        Self {
            tools: of_tools,
            system: surplus.saturating_sub(of_tools),
            messages: all.messages.saturating_sub(messages),
        }
    }
}

/// How the tool calls of earlier turns, and their results, are written.
#[derive(Clone, Copy)]
enum History {
    /// As what they are.
    Blocks,
    /// As text. Converse takes the blocks only beside a `toolConfig` ("The toolConfig field must be
    /// defined when using toolUse and toolResult content blocks"), and a config made up for that, from
    /// the history or of a placeholder, would offer the model what the client does not offer.
    Prose,
}

/// What a part became.
#[derive(Clone, Copy, PartialEq)]
enum Written {
    Nothing,
    /// A block behind which a mark of the cache may stand.
    Cacheable,
    /// One behind which Bedrock refuses it: a document ("messages.0.content.2.type: Field required",
    /// strands-agents/harness-sdk issue 1966; "There is nothing available to cache", opencode issue
    /// 17300) or a thought.
    Uncacheable,
}

/// A body as it is written.
struct Body {
    family: Family,
    takes: Takes,
    spelling: &'static Spelling,
    prefill: Option<Place>,
    history: History,
    /// Names of documents; Bedrock refuses one that comes twice.
    documents: BTreeSet<String>,
    /// Marks of the cache that are still to be left out.
    surplus: Marks,
    left_out: LeftOut,
}

impl Body {
    /// Takes one of the marks that are to be left out.
    fn is_surplus(&mut self, place: Place) -> bool {
        let left = match place {
            Place::Tool(_) => &mut self.surplus.tools,
            Place::System | Place::SystemPart(_) => &mut self.surplus.system,
            Place::Message(_) | Place::Part(..) | Place::Inner(..) | Place::Call(..) | Place::Result(_) => {
                &mut self.surplus.messages
            }
        };
        let is = *left > 0;
        *left = left.saturating_sub(1);
        if is {
            self.left_out.note(self.spelling.cache);
        }
        is
    }

    fn system(&mut self, part: &Part<'_>, w: &mut Writer<'_>) -> Result<Written, Error> {
        match part.content {
            Content::Text(text) => {
                text_block(text, w);
                Ok(Written::Cacheable)
            }
            Content::Image(_)
            | Content::Document(_)
            | Content::SearchResult(_)
            | Content::Thinking(_)
            | Content::Redacted(_)
            | Content::ToolCall(_)
            | Content::ToolResult(_) => {
                Err(part.place.error(Kind::Unsupported, "", "instructions to this model can only be text"))
            }
        }
    }

    /// `before`: instructions that have no place of their own.
    fn message(&mut self, turn: &Turn<'_>, before: &[Part<'_>], w: &mut Writer<'_>) -> Result<(), Error> {
        w.object(|w| {
            w.key("role").token(match turn.role {
                Role::User => r#""user""#,
                Role::Assistant => r#""assistant""#,
            });
            w.key("content").array(|w| {
                if turn.parts.iter().all(|part| self.is_left_out(part)) {
                    // A turn must have something in it, or the turns around it would be neighbours.
                    return turn.parts.iter().try_for_each(|part| self.as_words(part, w));
                }
                let due = self.parts(before, w, Body::system)?;
                self.lose(due);
                let mut due = self.parts(&turn.parts, w, Body::block)?;
                let holds =
                    |wanted: fn(&Content<'_>) -> bool| turn.parts.iter().any(|part| wanted(&part.content));
                // "If you include a ContentBlock with a document field in the array, you must also include
                // a ContentBlock with a text field": botocore's model of `Message`.
                if holds(
                    |content| matches!(content, Content::Document(document) if recording(document).is_none()),
                ) && !holds(|content| matches!(content, Content::Text(_)))
                {
                    prose(".", w);
                    if let Some(cache) = due.take() {
                        self.cache_point(cache, self.family.caches(), w);
                    }
                }
                self.lose(due);
                Ok(())
            })
        })
    }

    /// Writes parts, and the marks of the cache behind them. A mark that may not stand where the client
    /// put it moves on to the next place where it may; gives one that has found none.
    fn parts(
        &mut self,
        parts: &[Part<'_>],
        w: &mut Writer<'_>,
        write: fn(&mut Self, &Part<'_>, &mut Writer<'_>) -> Result<Written, Error>,
    ) -> Result<Option<Cache>, Error> {
        let mut due = None;
        let mut last = Written::Nothing;
        for part in parts {
            let written = write(self, part, w)?;
            if written != Written::Nothing {
                last = written;
            }
            due = part.cache.filter(|_| !self.is_surplus(part.place)).or(due);
            if last == Written::Cacheable
                && let Some(cache) = due.take()
            {
                self.cache_point(cache, self.family.caches(), w);
                last = Written::Nothing;
            }
        }
        Ok(due)
    }

    fn lose(&mut self, mark: Option<Cache>) {
        if mark.is_some() {
            self.left_out.note(self.spelling.cache);
        }
    }

    fn cache_point(&mut self, cache: Cache, taken: bool, w: &mut Writer<'_>) {
        if !taken {
            self.left_out.note(self.spelling.cache);
            return;
        }
        w.object(|w| {
            w.key("cachePoint").object(|w| {
                w.key("type").string("default");
                if cache == Cache::Hour {
                    if self.family.caches_for_an_hour() {
                        w.key("ttl").string("1h");
                    } else {
                        self.left_out.note(self.spelling.cache_ttl);
                    }
                }
            });
        });
    }

    fn block(&mut self, part: &Part<'_>, w: &mut Writer<'_>) -> Result<Written, Error> {
        if self.is_left_out(part) {
            self.left_out.note(self.spelling.thought);
            return Ok(Written::Nothing);
        }
        match (&part.content, self.history) {
            (Content::Text(text), _) if self.prefill == Some(part.place) => text_block(text.trim_end(), w),
            (Content::Text(text), _) => text_block(*text, w),
            (Content::Image(_), _) if !self.takes.images => {
                let problem = "this model takes no images; leave them out";
                return Err(part.place.error(Kind::Unsupported, self.spelling.image, problem));
            }
            (Content::Image(picture), _) => image_block(part.place, picture, self.spelling, w)?,
            (Content::Document(document), _) => {
                self.document_block(part.place, document, w)?;
                return Ok(Written::Uncacheable);
            }
            (Content::SearchResult(result), _) => self.search_result_block(result, w),
            (Content::Thinking(Thinking { text, signature }), _) => {
                reasoning_block(w, |w| {
                    w.key("reasoningText").object(|w| {
                        w.key("text").text(*text);
                        if let Some(signature) = signature {
                            w.key("signature").text(*signature);
                        }
                    });
                });
                return Ok(Written::Uncacheable);
            }
            (Content::Redacted(data), _) => {
                reasoning_block(w, |w| w.key("redactedContent").text(*data));
                return Ok(Written::Uncacheable);
            }
            (Content::ToolCall(call), History::Blocks) => call_block(call, w),
            (Content::ToolResult(result), History::Blocks) => self.result_block(result, w)?,
            (Content::ToolCall(ToolCall { id, name, arguments, .. }), History::Prose) => {
                prose(&format!("[tool call {}: {}({arguments})]", id.as_str(), name.as_str()), w);
            }
            (Content::ToolResult(ToolResult { id, name, parts, failed }), History::Prose) => {
                let (id, name) = (id.as_str(), name.as_str());
                let word = if *failed { "error" } else { "result" };
                prose(&format!("[{word} of tool call {id}: {name}]"), w);
                for part in parts {
                    self.block(part, w)?;
                }
                prose(&format!("[end of the {word} of tool call {id}]"), w);
            }
        }
        Ok(Written::Cacheable)
    }

    /// Thoughts are of use only to the model that had them. Claude refuses those without its signature,
    /// and other families those with it. A family that cannot be told may be Claude.
    fn is_left_out(&self, part: &Part<'_>) -> bool {
        match &part.content {
            Content::Thinking(thinking) => thinking.signature.is_none() || !self.may_be_claude(),
            Content::Redacted(_) => !self.may_be_claude(),
            Content::Text(_)
            | Content::Image(_)
            | Content::Document(_)
            | Content::SearchResult(_)
            | Content::ToolCall(_)
            | Content::ToolResult(_) => false,
        }
    }

    fn may_be_claude(&self) -> bool {
        matches!(self.family, Family::Claude(_) | Family::Untold)
    }

    /// Writes a part of a turn of which nothing else is left.
    fn as_words(&mut self, part: &Part<'_>, w: &mut Writer<'_>) -> Result<(), Error> {
        match &part.content {
            Content::Thinking(Thinking { text, .. }) if !text.is_blank() => text_block(*text, w),
            Content::Thinking(_) | Content::Redacted(_) => prose("[thoughts]", w),
            Content::Text(_)
            | Content::Image(_)
            | Content::Document(_)
            | Content::SearchResult(_)
            | Content::ToolCall(_)
            | Content::ToolResult(_) => drop(self.block(part, w)?),
        }
        Ok(())
    }

    fn document_block(
        &mut self,
        place: Place,
        document: &Document<'_>,
        w: &mut Writer<'_>,
    ) -> Result<(), Error> {
        let below = document.below;
        if let Some(recording) = recording(document) {
            return self.recording_block(place, document, recording, w);
        }
        let format = match &document.source {
            DocumentSource::Inline { media_type, data } => {
                if data.is_empty() {
                    return Err(place.error(Kind::WrongValue, below, "holds no data"));
                }
                let Some(format) = document_format(media_type, *data) else {
                    let problem = "documents must be PDF, CSV, Word, Excel, HTML, Markdown or plain text";
                    return Err(place.error(Kind::Unsupported, below, problem));
                };
                format
            }
            DocumentSource::Texts(_) => "txt",
            DocumentSource::Address(_) => {
                let problem = "this model's cloud does not fetch documents; send the document itself";
                return Err(place.error(Kind::Unsupported, below, problem));
            }
        };
        let name = self.document_name(document.title);
        w.object(|w| {
            w.key("document").object(|w| {
                w.key("format").string(format);
                w.key("name").string(&name);
                w.key("source").object(|w| match &document.source {
                    DocumentSource::Inline { data, .. } => w.key("bytes").text(*data),
                    DocumentSource::Texts(texts) => match texts.as_slice() {
                        [text] => w.key("text").text(*text),
                        texts => {
                            w.key("content").array(|w| texts.iter().for_each(|text| text_block(*text, w)))
                        }
                    },
                    DocumentSource::Address(_) => {} // refused above
                });
                if let Some(context) = document.context.filter(|context| !context.is_blank()) {
                    w.key("context").text(context);
                }
                if document.cited {
                    w.key("citations").object(|w| w.key("enabled").bool(true));
                }
            });
        });
        Ok(())
    }

    /// Nova takes films, Voxtral sounds, and Claude neither; what is not known Bedrock says itself.
    fn recording_block(
        &self,
        place: Place,
        document: &Document<'_>,
        (kind, format): (&'static str, &'static str),
        w: &mut Writer<'_>,
    ) -> Result<(), Error> {
        let DocumentSource::Inline { data, .. } = &document.source else { return Ok(()) };
        if data.is_empty() {
            return Err(place.error(Kind::WrongValue, document.below, "holds no data"));
        }
        if matches!(self.family, Family::Claude(_)) || (kind == FILM && !self.takes.images) {
            let problem = "this model takes no sounds or films; leave them out";
            return Err(place.error(Kind::Unsupported, document.below, problem));
        }
        w.object(|w| {
            w.key(kind).object(|w| {
                w.key("format").string(format);
                w.key("source").object(|w| w.key("bytes").text(*data));
            });
        });
        Ok(())
    }

    /// A name that Bedrock takes and that no other document has: botocore's model of `DocumentBlock`.
    fn document_name(&mut self, title: Option<Text<'_>>) -> String {
        /// `DocumentBlockNameString` has 200 characters; the rest is for a number.
        const LONGEST: usize = 180;
        let title = title.map(Text::unescape).unwrap_or_default();
        let allowed = |c: char| if c.is_ascii_alphanumeric() || "-()[]".contains(c) { c } else { '-' };
        let words = title.split_whitespace().map(|word| word.chars().map(allowed).collect::<String>());
        let mut name = words.collect::<Vec<_>>().join(" ");
        name.truncate(LONGEST);
        name.truncate(name.trim_end().len());
        if name.is_empty() {
            name.push_str("document");
        }
        let mut number = self.documents.len();
        let mut unique = name.clone();
        while !self.documents.insert(unique.clone()) {
            number += 1;
            unique = format!("{name} {number}");
        }
        unique
    }

    fn search_result_block(&mut self, result: &SearchResult<'_>, w: &mut Writer<'_>) {
        let SearchResult { source, title, texts, cited } = result;
        if !matches!(self.family, Family::Claude(_)) || texts.is_empty() {
            // Botocore's model of `SearchResultBlock`: "only supported by Anthropic Claude" models.
            let line = Text::from_escaped("\\n");
            let mut words = vec![*title, line, *source];
            texts.iter().for_each(|text| words.extend([line, *text]));
            w.object(|w| w.key("text").texts(&words));
            return;
        }
        w.object(|w| {
            w.key("searchResult").object(|w| {
                w.key("source").text(*source);
                w.key("title").text(*title);
                w.key("content").array(|w| texts.iter().for_each(|text| text_block(*text, w)));
                if *cited {
                    w.key("citations").object(|w| w.key("enabled").bool(true));
                }
            });
        });
    }

    /// A result that says nothing has no content: Converse takes an empty
    /// list but no blank text, and of a failure not even an empty list.
    fn result_block(&mut self, result: &ToolResult<'_>, w: &mut Writer<'_>) -> Result<(), Error> {
        let knows_failures = self.family.knows_failures();
        w.object(|w| {
            w.key("toolResult").object(|w| {
                w.key("toolUseId").string(result.id.as_str());
                w.key("content").array(|w| {
                    if result.failed && (!knows_failures || result.parts.is_empty()) {
                        prose("The tool failed.", w);
                    }
                    for part in &result.parts {
                        self.block(part, w)?;
                    }
                    Ok::<(), Error>(())
                })?;
                if result.failed && knows_failures {
                    w.key("status").string("error");
                }
                Ok(())
            })
        })
    }

    fn tool_config(&mut self, offer: &Offer<'_, '_>, w: &mut Writer<'_>) -> Result<(), Error> {
        w.key("tools").array(|w| {
            for tool in offer.tools {
                tool_spec(tool, self.spelling, w)?;
                if let Some(cache) = tool.cache.filter(|_| !self.is_surplus(tool.place)) {
                    self.cache_point(cache, self.family.caches_tools(), w);
                }
            }
            offer.answer.iter().try_for_each(|answer| answer_spec(answer, self.spelling, w))
        })?;
        match offer.choice {
            None | Some(Choice::None) => {}
            Some(Choice::Any) => w.key("toolChoice").object(|w| w.key("any").object(|_| {})),
            Some(Choice::Named) => w.key("toolChoice").object(|w| {
                w.key("tool").object(|w| w.key("name").string(offer.named));
            }),
        }
        Ok(())
    }
}

fn text_block(text: Text<'_>, w: &mut Writer<'_>) {
    w.object(|w| w.key("text").text(text));
}

fn prose(text: &str, w: &mut Writer<'_>) {
    w.object(|w| w.key("text").string(text));
}

fn reasoning_block(w: &mut Writer<'_>, members: impl FnOnce(&mut Writer<'_>)) {
    w.object(|w| w.key("reasoningContent").object(members));
}

const FILM: &str = "video";
const SOUND: &str = "audio";

/// The block that a film or a sound stands in, and its `VideoFormat` or `AudioFormat`; `None` for what is a document.
fn recording(document: &Document<'_>) -> Option<(&'static str, &'static str)> {
    let DocumentSource::Inline { media_type, .. } = &document.source else { return None };
    Some(match media_type.as_ref() {
        "video/mp4" => (FILM, "mp4"),
        "video/quicktime" | "video/mov" => (FILM, "mov"),
        "video/x-matroska" => (FILM, "mkv"),
        "video/webm" => (FILM, "webm"),
        "video/x-flv" => (FILM, "flv"),
        "video/mpeg" => (FILM, "mpeg"),
        "video/mpg" => (FILM, "mpg"),
        "video/x-ms-wmv" | "video/wmv" => (FILM, "wmv"),
        "video/3gpp" => (FILM, "three_gp"),
        "audio/mp3" | "audio/mpeg" => (SOUND, "mp3"),
        "audio/wav" | "audio/x-wav" | "audio/wave" => (SOUND, "wav"),
        "audio/opus" => (SOUND, "opus"),
        "audio/aac" | "audio/x-aac" => (SOUND, "aac"),
        "audio/flac" | "audio/x-flac" => (SOUND, "flac"),
        "audio/mp4" => (SOUND, "mp4"),
        "audio/m4a" | "audio/x-m4a" => (SOUND, "m4a"),
        "audio/ogg" => (SOUND, "ogg"),
        "audio/webm" => (SOUND, "webm"),
        "audio/pcm" => (SOUND, "pcm"),
        "audio/x-matroska" => (SOUND, "mka"),
        _ => return None,
    })
}

/// `DocumentFormat` of a media type. A PDF is known by its first bytes too.
fn document_format(media_type: &str, data: Text<'_>) -> Option<&'static str> {
    const WORD: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
    const EXCEL: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    if media::is_pdf(data) {
        return Some("pdf");
    }
    match media_type {
        "application/pdf" => Some("pdf"),
        "text/plain" => Some("txt"),
        "text/markdown" => Some("md"),
        "text/html" => Some("html"),
        "text/csv" => Some("csv"),
        "application/msword" => Some("doc"),
        "application/vnd.ms-excel" => Some("xls"),
        WORD => Some("docx"),
        EXCEL => Some("xlsx"),
        _ => None,
    }
}

fn image_block(
    place: Place,
    image: &Image<'_>,
    spelling: &Spelling,
    w: &mut Writer<'_>,
) -> Result<(), Error> {
    let refuse = |kind, problem: &str| Err(place.error(kind, spelling.image, problem));
    let ImageSource::Inline { media_type, data } = &image.source else {
        let way_out = spelling.inline_image;
        let problem = format!("this model's cloud does not fetch images; send the image itself {way_out}");
        return refuse(Kind::Unsupported, &problem);
    };
    if data.is_empty() {
        return refuse(Kind::WrongValue, "holds no data");
    }
    let Some(format) = media::image_format(media_type, *data) else {
        return refuse(Kind::Unsupported, "images must be PNG, JPEG, GIF or WebP");
    };
    w.object(|w| {
        w.key("image").object(|w| {
            w.key("format").string(format);
            w.key("source").object(|w| w.key("bytes").text(*data));
        });
    });
    Ok(())
}

fn call_block(call: &ToolCall<'_>, w: &mut Writer<'_>) {
    w.object(|w| {
        w.key("toolUse").object(|w| {
            w.key("toolUseId").string(call.id.as_str());
            w.key("name").string(call.name.as_str());
            w.key("input").token(&call.arguments);
        });
    });
}

/// `inferenceConfig`, if anything is to be said there.
fn inference(
    request: &Request<'_>,
    family: Family,
    extra: &Extra<'_>,
    w: &mut Writer<'_>,
) -> Result<(), Error> {
    let (sampling, spelling) = (&request.sampling, request.spelling);
    if sampling.max_tokens.is_some_and(|most| !(1..=MAX_TOKENS).contains(&most.value())) {
        let problem = "must be 1 to 2147483647 for this model";
        return Err(Error::at(Kind::WrongValue, spelling.max_tokens, problem));
    }
    for (field, number) in [("temperature", sampling.temperature), ("top_p", sampling.top_p)] {
        if number.is_some_and(|number| !(0.0..=1.0).contains(&number.value())) {
            return Err(Error::at(Kind::WrongValue, field, "must be 0 to 1 for this model"));
        }
    }
    let stops = &sampling.stop;
    if stops.len() > MAX_STOPS {
        let problem = "this model takes at most 2500 stop sequences";
        return Err(Error::at(Kind::WrongValue, spelling.stop, problem));
    }
    // "stop_sequences: each stop sequence must contain non-whitespace"
    if matches!(family, Family::Claude(_)) && stops.iter().any(|stop| stop.is_blank()) {
        let problem = "this model takes no stop sequence of white space alone";
        return Err(Error::at(Kind::Unsupported, spelling.stop, problem));
    }
    let most = match (sampling.max_tokens, extra.room) {
        (Some(most), _) => Some(Cow::Borrowed(most.token())),
        (None, Some(room)) => Some(Cow::Owned(room.to_string())),
        (None, None) => None,
    };
    let (temperature, top_p) = (extra.temperature, extra.top_p);
    if most.is_none() && temperature.is_none() && top_p.is_none() && stops.is_empty() {
        return Ok(());
    }
    w.key("inferenceConfig").object(|w| {
        if let Some(most) = most {
            w.key("maxTokens").token(&most);
        }
        if let Some(temperature) = temperature {
            w.key("temperature").token(temperature.token());
        }
        if let Some(top_p) = top_p {
            w.key("topP").token(top_p.token());
        }
        if !stops.is_empty() {
            w.key("stopSequences").array(|w| stops.iter().for_each(|stop| w.text(*stop)));
        }
    });
    Ok(())
}

fn tool_spec(tool: &Tool<'_>, spelling: &Spelling, w: &mut Writer<'_>) -> Result<(), Error> {
    w.object(|w| {
        w.key("toolSpec").object(|w| {
            w.key("name").string(tool.name.as_str());
            if let Some(description) = tool.description.filter(|description| !description.is_blank()) {
                w.key("description").text(description);
            }
            w.key("inputSchema").object(|w| schema::write_parameters(tool, spelling, w.key("json")))?;
            Ok(())
        })
    })
}

/// The tool whose arguments are the reply.
fn answer_spec(answer: &Schema<'_>, spelling: &Spelling, w: &mut Writer<'_>) -> Result<(), Error> {
    let Schema { name, description, schema } = *answer;
    w.object(|w| {
        w.key("toolSpec").object(|w| {
            schema::name_answer(name, description, w);
            w.key("inputSchema").object(|w| schema::write_answer(schema, spelling, w.key("json")))
        })
    })
}

/// `outputConfig`, if the reply must have a shape or take some trouble.
fn output_config(
    schema: Option<Schema<'_>>,
    effort: Option<&str>,
    spelling: &Spelling,
    w: &mut Writer<'_>,
) -> Result<(), Error> {
    if schema.is_none() && effort.is_none() {
        return Ok(());
    }
    w.key("outputConfig").object(|w| {
        if let Some(Schema { name, description, schema }) = schema {
            let schema = promise::keep(schema, spelling.format_schema)?;
            w.key("textFormat").object(|w| {
                w.key("type").string("json_schema");
                w.key("structure").object(|w| {
                    w.key("jsonSchema").object(|w| {
                        // A string that holds JSON, unlike the schemas of tools.
                        w.key("schema").string(&schema);
                        if let Some(name) = name {
                            w.key("name").text(name);
                        }
                        if let Some(description) = description {
                            w.key("description").text(description);
                        }
                    });
                });
            });
        }
        if let Some(effort) = effort {
            w.key("effort").string(effort);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;
    use crate::base::json::{Count, Number, Str};
    use crate::chat::{Delivery, Format, Reasoning, Sampling, ToolChoice};

    const SPELLING: Spelling = Spelling {
        image: ".image",
        inline_image: "itself",
        call_name: ".call_name",
        tool_name: ".tool_name",
        tool_schema: ".schema",
        strict: "tools[].strict",
        chosen_tool: "tool_choice.name",
        parallel: "parallel",
        max_tokens: "max",
        stop: "stops",
        format: "format",
        format_schema: "format.schema",
        thinking: "thinking",
        effort: "effort",
        thought: "thought",
        cache: "cache",
        cache_ttl: "cache.ttl",
    };

    const CLAUDE: &str = "us.anthropic.claude-sonnet-4-20250514-v1:0";

    fn text(text: &str) -> Text<'_> {
        Text::plain(text).unwrap()
    }

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    fn str(text: &str) -> Str<'_> {
        Str(Cow::Borrowed(text))
    }

    fn count(digits: &str) -> Option<Count<'_>> {
        serde_json::from_str(digits).unwrap()
    }

    fn number(digits: &str) -> Option<Number<'_>> {
        serde_json::from_str(digits).unwrap()
    }

    fn part(content: Content<'_>) -> Part<'_> {
        Part { place: Place::Part(1, 2), content, cache: None, proof: None }
    }

    fn user(parts: Vec<Part<'_>>) -> Turn<'_> {
        Turn { role: Role::User, parts }
    }

    fn asking<'a>(turns: Vec<Turn<'a>>) -> Request<'a> {
        Request {
            system: Vec::new(),
            turns,
            tools: Vec::new(),
            tool_choice: None,
            parallel_tool_calls: None,
            sampling: Sampling::default(),
            reasoning: Reasoning::default(),
            format: Format::Text,
            delivery: Delivery::Whole,
            user: None,
            named_twice: false,
            tier: None,
            search: None,
            metadata: None,
            betas: Vec::new(),
            spelling: &SPELLING,
            extra: Vec::new(),
            fields: Vec::new(),
        }
    }

    fn hello<'a>() -> Request<'a> {
        asking(vec![user(vec![part(Content::Text(text("Hello")))])])
    }

    fn tool(name: &str) -> Tool<'_> {
        let parameters = Some(raw(r#"{"type":"object","properties":{"city":{"type":"string"}}}"#));
        Tool {
            place: Place::Tool(0),
            name: str(name),
            description: Some(text("d")),
            parameters,
            strict: None,
            cache: None,
        }
    }

    fn call<'a>(id: &'a str, name: &'a str, arguments: &'a str) -> Part<'a> {
        let call =
            ToolCall { id: str(id), name: str(name), arguments: Cow::Borrowed(arguments), signature: None };
        Part { place: Place::Call(1, 0), content: Content::ToolCall(call), cache: None, proof: None }
    }

    fn result<'a>(id: &'a str, name: &'a str, parts: Vec<Part<'a>>) -> Part<'a> {
        let result = ToolResult { id: str(id), name: str(name), parts, failed: false };
        Part { place: Place::Result(2), content: Content::ToolResult(result), cache: None, proof: None }
    }

    /// Two calls at once, the second with an empty result, then another question.
    fn history<'a>() -> Request<'a> {
        let image =
            ImageSource::Inline { media_type: Cow::Borrowed("image/png"), data: text("iVBORw0KGgoAAA") };
        asking(vec![
            user(vec![part(Content::Text(text("Weather?")))]),
            Turn {
                role: Role::Assistant,
                parts: vec![
                    part(Content::Text(text("Looking."))),
                    call("c1", "weather", r#"{"city":"\"M\u00fcnchen\""}"#),
                    call("c2", "now", "{}"),
                ],
            },
            user(vec![
                result(
                    "c1",
                    "weather",
                    vec![part(Content::Text(text("18"))), part(Content::Image(image.into()))],
                ),
                result("c2", "now", Vec::new()),
                part(Content::Text(text("Well?"))),
            ]),
        ])
    }

    fn body(request: &Request<'_>) -> String {
        written_for(CLAUDE, request).0
    }

    /// The body, and what was left out of it.
    fn written_for(model: &str, request: &Request<'_>) -> (String, Vec<&'static str>) {
        let mut out = Vec::new();
        let outcome = write(request, model.into(), &mut out).unwrap();
        (String::from_utf8(out).unwrap(), outcome.left_out.0)
    }

    fn value(request: &Request<'_>) -> Value {
        serde_json::from_str(&body(request)).unwrap()
    }

    fn refused(request: &Request<'_>) -> Error {
        write(request, CLAUDE.into(), &mut Vec::new()).unwrap_err()
    }

    fn param(request: &Request<'_>) -> String {
        refused(request).param.unwrap()
    }

    #[test]
    fn the_least_request_is_its_messages_alone() {
        assert_eq!(body(&hello()), r#"{"messages":[{"role":"user","content":[{"text":"Hello"}]}]}"#);
    }

    #[test]
    fn text_is_pasted_with_its_escapes() {
        let mut request = hello();
        let token = raw(r#""a\u00e9\/\"\ud83d \n🎈""#);
        request.system =
            vec![part(Content::Text(Text::from_raw(token).unwrap())), part(Content::Text(text("b")))];
        let expected = r#"{"system":[{"text":"a\u00e9\/\"\ud83d \n🎈"},{"text":"b"}],"messages""#;
        assert!(body(&request).starts_with(expected));
    }

    #[test]
    fn a_conversation_without_messages_is_refused() {
        assert_eq!(param(&asking(Vec::new())), "messages");
    }

    #[test]
    fn zeros_and_digits_leave_as_they_were_written() {
        let mut request = hello();
        request.sampling = Sampling {
            max_tokens: count("100"),
            temperature: number("0"),
            top_p: number("0.0"),
            stop: vec![text("END")],
            ..Sampling::default()
        };
        assert!(body(&request).ends_with(
            r#","inferenceConfig":{"maxTokens":100,"temperature":0,"topP":0.0,"stopSequences":["END"]}}"#
        ));
    }

    #[test]
    fn sampling_that_a_claude_refuses_is_left_out_and_named() {
        let mut request = hello();
        request.sampling.temperature = number("0.2");
        request.sampling.top_p = number("0.9");
        request.sampling.top_k = count("5");
        for (model, kept, expected) in [
            ("anthropic.claude-sonnet-4-20250514-v1:0", r#""temperature":0.2,"topP":0.9"#, vec![]),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", r#""temperature":0.2}"#, vec!["top_p"]),
            ("us.anthropic.claude-opus-4-7", "", vec!["temperature", "top_p", "top_k"]),
            ("anthropic.claude-opus-5", "", vec!["temperature", "top_p", "top_k"]),
        ] {
            let (body, left_out) = written_for(model, &request);
            assert_eq!(left_out, expected, "{model}");
            assert!(body.contains(kept), "{model}: {body}");
            assert_eq!(body.contains("inferenceConfig"), !kept.is_empty(), "{model}: {body}");
        }
    }

    #[test]
    fn strict_is_left_out_and_named() {
        let request = Request { tools: vec![Tool { strict: Some(true), ..tool("f") }], ..hello() };
        let (body, left_out) = written_for("us.amazon.nova-lite-v1:0", &request);
        assert!(!body.contains("strict"), "{body}");
        assert_eq!(left_out, ["tools[].strict"]);
    }

    #[test]
    fn values_out_of_range_are_named() {
        let sampled = |sampling| Request { sampling, ..hello() };
        let default = Sampling::default;
        for number in ["1.01", "2", "-0.1", "1e400"].map(number) {
            assert_eq!(param(&sampled(Sampling { temperature: number, ..default() })), "temperature");
            assert_eq!(param(&sampled(Sampling { top_p: number, ..default() })), "top_p");
        }
        body(&sampled(Sampling { temperature: number("1.0"), top_p: number("1"), ..default() }));
        for count in ["0", "2147483648", "99999999999999999999999"].map(count) {
            assert_eq!(param(&sampled(Sampling { max_tokens: count, ..default() })), "max");
        }
        body(&sampled(Sampling { max_tokens: count("2147483647"), ..default() }));
        assert_eq!(param(&sampled(Sampling { stop: vec![text("a"); 2501], ..default() })), "stops");
    }

    #[test]
    fn an_image_goes_by_what_it_is_and_not_by_its_label() {
        for (media_type, data, format) in [
            ("image/png", "iVBORw0KGgoAAA", "png"),
            ("image/jpg", "AAAA", "jpeg"),
            ("image/jpeg", "AAAA", "jpeg"),
            ("image/png", "/9j/4AAQ", "jpeg"),
            ("image/png", r"\/9j\/4AAQ", "jpeg"),
            ("application/octet-stream", "R0lGODlh", "gif"),
            ("image/jpeg", "UklGRiQA", "webp"),
        ] {
            let token = format!("\"{data}\"");
            let data = Text::from_raw(raw(&token)).unwrap();
            let image = ImageSource::Inline { media_type: Cow::Borrowed(media_type), data };
            let request = asking(vec![user(vec![part(Content::Image(image.into()))])]);
            assert_eq!(
                body(&request),
                format!(
                    r#"{{"messages":[{{"role":"user","content":[{{"image":{{"format":"{format}","source":{{"bytes":{token}}}}}}}]}}]}}"#
                ),
            );
        }
    }

    #[test]
    fn an_image_that_cannot_be_sent_is_named_by_its_path() {
        let inline = |media_type, data| ImageSource::Inline {
            media_type: Cow::Borrowed(media_type),
            data: text(data),
        };
        for image in [
            inline("image/svg+xml", "PHN2Zz4="),
            inline("image/png", ""),
            ImageSource::Address(text("https://example.com/a.png")),
        ] {
            let request = asking(vec![user(vec![part(Content::Image(image.into()))])]);
            assert_eq!(param(&request), "messages[1].content[2].image");
        }
    }

    #[test]
    fn instructions_that_are_no_text_are_refused() {
        let mut request = hello();
        request.system =
            vec![part(Content::Image(ImageSource::Address(text("https://example.com/")).into()))];
        assert_eq!(param(&request), "messages[1].content[2]");
    }

    #[test]
    fn calls_and_results_are_blocks_where_tools_are_offered() {
        let mut request = history();
        request.tools = vec![tool("weather")];
        assert_eq!(
            value(&request)["messages"],
            json!([
                {"role": "user", "content": [{"text": "Weather?"}]},
                {"role": "assistant", "content": [
                    {"text": "Looking."},
                    {"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"city": "\"München\""}}},
                    {"toolUse": {"toolUseId": "c2", "name": "now", "input": {}}},
                ]},
                {"role": "user", "content": [
                    {"toolResult": {"toolUseId": "c1", "content": [
                        {"text": "18"},
                        {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgoAAA"}}},
                    ]}},
                    {"toolResult": {"toolUseId": "c2", "content": []}},
                    {"text": "Well?"},
                ]},
            ])
        );
    }

    #[test]
    fn calls_and_results_are_prose_where_no_tools_are_offered() {
        let mut forbidden = history();
        forbidden.tools = vec![tool("weather")];
        forbidden.tool_choice = Some(ToolChoice::None);
        for request in [history(), forbidden] {
            let value = value(&request);
            // Converse refuses the blocks without a config, and a config would offer tools.
            assert_eq!(value.get("toolConfig"), None);
            assert_eq!(
                value["messages"],
                json!([
                    {"role": "user", "content": [{"text": "Weather?"}]},
                    {"role": "assistant", "content": [
                        {"text": "Looking."},
                        {"text": "[tool call c1: weather({\"city\":\"\\\"M\\u00fcnchen\\\"\"})]"},
                        {"text": "[tool call c2: now({})]"},
                    ]},
                    {"role": "user", "content": [
                        {"text": "[result of tool call c1: weather]"},
                        {"text": "18"},
                        {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgoAAA"}}},
                        {"text": "[end of the result of tool call c1]"},
                        {"text": "[result of tool call c2: now]"},
                        {"text": "[end of the result of tool call c2]"},
                        {"text": "Well?"},
                    ]},
                ])
            );
        }
    }

    #[test]
    fn white_space_around_arguments_does_no_harm() {
        let turn =
            Turn { role: Role::Assistant, parts: vec![call("a", "f", " {} \n"), call("b", "f", "{}")] };
        let request = Request { tools: vec![tool("f")], ..asking(vec![turn]) };
        assert_eq!(value(&request)["messages"][0]["content"][1]["toolUse"]["toolUseId"], "b");
    }

    #[test]
    fn tools_have_schemas_of_objects_and_no_blank_descriptions() {
        let bare = |parameters| Tool { description: None, parameters, ..tool("f") };
        let mut request = hello();
        request.tools = vec![
            Tool { strict: Some(true), ..tool("f") },
            Tool { description: Some(text(" ")), strict: Some(false), ..bare(None) },
            bare(Some(raw("{ }"))),
            bare(Some(raw(r#"{"properties":{"b":{"minimum":1.0},"a":{}},"anyOf":[]}"#))),
        ];
        let empty = r#"{"json":{"type":"object","properties":{}}}"#;
        let expected = [
            r#","toolConfig":{"tools":[{"toolSpec":{"name":"f","description":"d","inputSchema":{"json":"#,
            r#"{"type":"object","properties":{"city":{"type":"string"}}}}}},"#,
            r#"{"toolSpec":{"name":"f","inputSchema":"#,
            empty,
            r#"}},{"toolSpec":{"name":"f","inputSchema":"#,
            empty,
            r#"}},{"toolSpec":{"name":"f","inputSchema":{"json":"#,
            r#"{"type":"object","properties":{"b":{"minimum":1.0},"a":{}},"anyOf":[]}}}}]}}"#,
        ];
        let body = body(&request);
        assert!(body.ends_with(&expected.concat()), "{body}");
        request.tools = vec![bare(Some(raw("true")))];
        assert_eq!(param(&request), "tools[0].schema");
    }

    #[test]
    fn every_tool_choice_is_said_or_refused() {
        let choosing = |tool_choice, tools| Request { tool_choice, tools, ..hello() };
        let config = |choice, tools| value(&choosing(choice, tools))["toolConfig"]["toolChoice"].clone();
        let tools = || vec![tool("f"), tool("g")];
        assert_eq!(config(None, tools()), Value::Null);
        assert_eq!(config(Some(ToolChoice::Auto), tools()), Value::Null);
        assert_eq!(config(Some(ToolChoice::Required), tools()), json!({"any": {}}));
        assert_eq!(config(Some(ToolChoice::Named(str("g"))), tools()), json!({"tool": {"name": "g"}}));
        for tools in [tools(), Vec::new()] {
            assert_eq!(body(&choosing(Some(ToolChoice::None), tools)), body(&hello()));
        }
        assert_eq!(body(&choosing(Some(ToolChoice::Auto), Vec::new())), body(&hello()));
        assert_eq!(param(&choosing(Some(ToolChoice::Required), Vec::new())), "tool_choice");
        for tools in [tools(), Vec::new()] {
            let choice = Some(ToolChoice::Named(str("h")));
            assert_eq!(param(&choosing(choice, tools)), "tool_choice.name");
        }
    }

    #[test]
    fn a_schema_for_the_reply_is_a_string_that_holds_it() {
        let schema = "{\"type\":\"object\",\n \"properties\":{\"é\":{\"enum\":[\"a\\\"b\"]}},\"additionalProperties\":false}";
        let config = |format| {
            let request = Request { format, ..hello() };
            let (body, _) = written_for("us.anthropic.claude-sonnet-4-5-20250929-v1:0", &request);
            serde_json::from_str::<Value>(&body).unwrap()["outputConfig"].clone()
        };
        let (name, description) = (Some(text("n")), Some(text("d")));
        assert_eq!(
            config(Format::JsonSchema { name, description, schema: raw(schema) }),
            json!({"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {
                "schema": schema, "name": "n", "description": "d",
            }}}})
        );
        let bare = config(Format::JsonSchema { name: None, description: None, schema: raw("{}") });
        assert_eq!(bare["textFormat"]["structure"], json!({"jsonSchema": {"schema": "{}"}}));
    }
}
