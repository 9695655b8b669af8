//! A Messages request: bytes in, vocabulary out. Shapes are those of the `anthropic` package, version 2.11.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::fields::{DEFAULTS, FIELDS};
use super::{Aside, GOOGLE_PROOF, wire};
use crate::base::error::{Error, Kind};
use crate::base::json::{Count, Fields, Str, Text, wrong_type};
use crate::chat::{
    Cache, Content, Delivery, Document, DocumentSource, Effort, Format, Image, ImageSource, Part, Place,
    Reasoning, ReasoningMode, Request, Role, Sampling, SearchResult, Spelling, Thinking, Tier, Tool,
    ToolCall, ToolChoice,
};
use crate::dialect::reading::{self, Gather, Seen, Tools, all_tools, each, missing, read};
use crate::dialect::talk::{Answer, Talk};
use crate::dialect::{Asked, extra, proof};

/// What the parts of a Messages request are called.
const SPELLING: Spelling = Spelling {
    image: ".source",
    inline_image: "as a source of type `base64`",
    call_name: ".name",
    tool_name: ".name",
    tool_schema: ".input_schema",
    strict: "tools[].strict",
    chosen_tool: "tool_choice.name",
    parallel: "tool_choice.disable_parallel_tool_use",
    max_tokens: "max_tokens",
    stop: "stop_sequences",
    format: "output_config.format",
    format_schema: "output_config.format.schema",
    thinking: "thinking",
    effort: "output_config.effort",
    thought: "messages[].content[].thinking",
    cache: "cache_control",
    cache_ttl: "cache_control.ttl",
};

/// Reads a Messages request.
///
/// # Errors
/// The first thing that is wrong, named by its path.
pub fn parse<'a>(body: &'a [u8], aside: &'a Aside) -> Result<Asked<'a>, Error> {
    parse_for(Purpose::Answer, body, aside)
}

/// Reads a request to count tokens: a Messages request, but for what shapes the reply.
///
/// # Errors
/// Those of [`parse`].
pub fn parse_count<'a>(body: &'a [u8], aside: &'a Aside) -> Result<Asked<'a>, Error> {
    parse_for(Purpose::Count, body, aside)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Answer,
    Count,
}

fn parse_for<'a>(purpose: Purpose, body: &'a [u8], aside: &'a Aside) -> Result<Asked<'a>, Error> {
    let text = reading::text(body)?;
    let body: wire::Body<'_> = reading::body(text)?;
    let mut fields = given(&body);
    aside.fields().for_each(|name| fields.must_see(name));
    let extra = extra::collect(&body.other, extra::CHAT)?;
    let betas: Vec<&str> = aside.wishes().collect();

    let Some(model) = body.model else { return Err(missing("model", "names the model to ask")) };
    let max_tokens = match (purpose, body.max_tokens) {
        (Purpose::Count, _) => None,
        (Purpose::Answer, None) => return Err(missing("max_tokens", "bounds the length of the reply")),
        (Purpose::Answer, Some(most)) if most.value() == 0 => {
            let problem = "must be at least 1; only Anthropic's own API warms its cache without a reply";
            return Err(Error::at(Kind::WrongValue, "max_tokens", problem));
        }
        (Purpose::Answer, most) => most,
    };
    let Some(messages) = body.messages else { return Err(missing("messages", "holds the conversation")) };
    let mut system = system(body.system, &mut fields)?;
    let Conversation { system: more, mut talk } = messages.finish(&mut fields)?;
    system.extend(more);
    talk.results_are_in(UNANSWERED)?;
    let mut turns = talk.finish()?;
    if let Some(mark) = body.cache_control {
        let cache = mark.read(String::new, &mut fields)?;
        // "Top-level cache control automatically applies a cache_control marker to the last cacheable block".
        if let Some(part) = turns.last_mut().and_then(|turn| turn.parts.last_mut()) {
            part.cache.get_or_insert(cache);
        }
    }

    let interleaved = betas.iter().any(|beta| beta.starts_with("interleaved-thinking-"));
    let longest = max_tokens.filter(|_| !interleaved);
    let config = body.output_config;
    let (effort, format) = match config {
        None => (None, body.output_format),
        Some(config) => {
            fields.keep("output_config.", &config.other);
            (config.effort, config.format.or(body.output_format))
        }
    };
    let (tool_choice, parallel_tool_calls) = match body.tool_choice {
        None => (None, None),
        Some(choice) => tool_choice(choice, &mut fields)?,
    };
    let request = Request {
        system,
        turns,
        tools: tools(body.tools.unwrap_or_default(), &mut fields)?,
        tool_choice,
        parallel_tool_calls,
        sampling: match purpose {
            Purpose::Count => Sampling::default(),
            Purpose::Answer => Sampling {
                max_tokens,
                temperature: body.temperature,
                top_p: body.top_p,
                top_k: body.top_k,
                // An empty stop sequence would stop nothing, and the clouds refuse it.
                stop: body
                    .stop_sequences
                    .unwrap_or_default()
                    .into_iter()
                    .filter(|text| !text.is_empty())
                    .collect(),
                name_stop: true,
                ..Sampling::default()
            },
        },
        reasoning: reasoning(body.thinking, effort.as_ref(), longest, &mut fields)?,
        format: format.map_or(Ok(Format::Text), |format| output_format(format, &mut fields))?,
        delivery: match body.stream {
            Some(true) if purpose == Purpose::Answer => Delivery::Stream { usage: true },
            Some(_) | None => Delivery::Whole,
        },
        user: None,
        named_twice: false,
        tier: body.service_tier.as_ref().map_or(Ok(None), tier)?,
        search: None,
        metadata: body.other.get("metadata"),
        betas,
        spelling: &SPELLING,
        extra,
        fields: fields.0,
    };
    Ok(Asked { model: reading::model(model), request })
}

/// What a tool call without its result is told.
const UNANSWERED: &str = "has no result: a user message with its tool_result must follow at once";

/// The conversation as it grows, message by message.
#[derive(Default)]
pub struct Conversation<'a> {
    system: Vec<Part<'a>>,
    talk: Talk<'a>,
}

impl<'a> Gather<'a> for Conversation<'a> {
    type Item = wire::Message<'a>;

    fn take(&mut self, index: usize, message: wire::Message<'a>, fields: &mut Seen<'a>) -> Result<(), Error> {
        fields.keep("messages[].", &message.other);
        let Some(role) = &message.role else {
            return Err(missing(&format!("messages[{index}].role"), "is user or assistant"));
        };
        let Some(content) = message.content else {
            return Err(missing(&format!("messages[{index}].content"), "is what was said"));
        };
        match role.as_str() {
            "user" => self.user(index, content, fields),
            "assistant" => {
                self.talk.results_are_in(UNANSWERED)?;
                self.assistant(index, content, fields)
            }
            "system" => {
                let place = |part: Option<usize>| match part {
                    None => Place::Message(index),
                    Some(part) => Place::Part(index, part),
                };
                self.system.extend(texts(content, place, fields)?);
                Ok(())
            }
            _ => {
                let problem = "must be user, assistant or system";
                Err(Error::at(Kind::WrongValue, format!("messages[{index}].role"), problem))
            }
        }
    }
}

impl<'a> Conversation<'a> {
    fn user(&mut self, index: usize, content: &'a RawValue, fields: &mut Seen<'a>) -> Result<(), Error> {
        let mut parts = Vec::new();
        let mut answers = false;
        let text = blocks(content, Place::Message(index), |number, wire| {
            let block = Block::new(wire, Place::Part(index, number), fields)?;
            if block.kind.as_str() == "tool_result" {
                self.result(index, number, block, fields)?;
                answers = true;
            } else {
                parts.extend(block.shown(fields)?);
            }
            Ok(())
        })?;
        parts.extend(text.and_then(|text| text_part(Place::Message(index), text)));
        if parts.is_empty() {
            // The next message may answer the other calls.
            return if answers {
                Ok(())
            } else {
                let problem = "is blank, and the clouds refuse blank messages; leave the message out";
                Err(Place::Message(index).error(Kind::WrongValue, "", problem))
            };
        }
        // Wherever they stand, the results come first: no model takes them in another place.
        self.talk.results_are_in(UNANSWERED)?;
        self.talk.push(Role::User, parts);
        Ok(())
    }

    fn result(
        &mut self,
        index: usize,
        number: usize,
        block: Block<'a>,
        fields: &mut Seen<'a>,
    ) -> Result<(), Error> {
        let place = Place::Part(index, number);
        let id = block.wire.tool_use_id.unwrap_or_default();
        let mut parts = Vec::new();
        if let Some(content) = block.wire.content {
            let text = blocks(content, place, |inner, wire| {
                let block = Block::new(wire, Place::Inner(index, number, inner), fields)?;
                parts.extend(block.shown(fields)?);
                Ok(())
            })?;
            parts.extend(text.and_then(|text| text_part(place, text)));
        }
        // No cloud takes a mark inside of a result; behind it the same and a little more is kept.
        let cache = block.cache.or_else(|| parts.iter_mut().filter_map(|part| part.cache.take()).last());
        let failed = block.wire.is_error == Some(true);
        let (id, _) = proof::split(id);
        self.talk.result(".tool_use_id", id, Answer { place, parts, failed, cache })
    }

    fn assistant(&mut self, index: usize, content: &'a RawValue, fields: &mut Seen<'a>) -> Result<(), Error> {
        let mut parts = Vec::new();
        let mut google = None;
        let text = blocks(content, Place::Message(index), |number, wire| {
            let place = Place::Part(index, number);
            let block = Block::new(wire, place, fields)?;
            let content = match block.kind.as_str() {
                "tool_use" => Some(Content::ToolCall(self.call(block.wire, place, google.take())?)),
                "thinking" => {
                    let Some(text) = block.wire.thinking else {
                        return Err(missing(&format!("{place}.thinking"), "is the thought"));
                    };
                    let proof = block.wire.signature.filter(|signature| !signature.is_empty());
                    let theirs = proof.and_then(|proof| proof.escaped().strip_prefix(GOOGLE_PROOF));
                    google = theirs.map(Text::from_escaped).or(google);
                    let signature = proof.filter(|_| theirs.is_none());
                    // What was thought is not worth a word where nobody can prove it.
                    let says = signature.is_some() || !text.is_blank();
                    says.then_some(Content::Thinking(Thinking { text, signature }))
                }
                "redacted_thinking" => {
                    let Some(data) = block.wire.data else {
                        return Err(missing(&format!("{place}.data"), "is the thought, encrypted"));
                    };
                    Some(Content::Redacted(data))
                }
                _ => {
                    parts.extend(block.shown(fields)?);
                    return Ok(());
                }
            };
            parts.extend(content.map(|content| Part { place, content, cache: block.cache, proof: None }));
            Ok(())
        })?;
        parts.extend(text.and_then(|text| text_part(Place::Message(index), text)));
        // A reply that says nothing is left out.
        self.talk.push(Role::Assistant, parts);
        Ok(())
    }

    fn call(
        &mut self,
        block: wire::Block<'a>,
        place: Place,
        signature: Option<Text<'a>>,
    ) -> Result<ToolCall<'a>, Error> {
        let id = block.id.unwrap_or_default();
        let Some(name) = block.name else {
            return Err(missing(&format!("{place}.name"), "tells what was called"));
        };
        if block.caller.is_some_and(|caller| caller.kind.is_some_and(|kind| kind.as_str() != "direct")) {
            let problem = "is a tool that Anthropic runs itself; leave the block out";
            return Err(place.error(Kind::Unsupported, ".caller", problem));
        }
        let arguments = match block.input {
            None => "{}",
            Some(input) if input.get().starts_with('{') => input.get(),
            Some(input) => {
                let problem = wrong_type(input, "an object");
                return Err(place.error(Kind::WrongType, ".input", &problem));
            }
        };
        let (id, carried) = proof::split(id);
        self.talk.call(place, &id, &name)?;
        Ok(ToolCall { id, name, arguments: Cow::Borrowed(arguments), signature: signature.or(carried) })
    }
}

/// A content block, its `type` and its mark read.
struct Block<'a> {
    place: Place,
    kind: Str<'a>,
    cache: Option<Cache>,
    wire: wire::Block<'a>,
}

impl<'a> Block<'a> {
    fn new(mut wire: wire::Block<'a>, place: Place, fields: &mut Seen<'a>) -> Result<Self, Error> {
        let Some(kind) = wire.kind.take() else {
            return Err(missing(&format!("{place}.type"), "tells what the block is, such as text or image"));
        };
        fields.keep(place.members(), &wire.other);
        let mark = wire.cache_control.take();
        let cache = mark.map(|mark| mark.read(|| format!("{place}."), fields)).transpose()?;
        Ok(Self { place, kind, cache, wire })
    }

    /// A block that both sides of a conversation and tools may show. Blank texts are left out, which the
    /// clouds refuse.
    fn shown(self, fields: &mut Seen<'a>) -> Result<Option<Part<'a>>, Error> {
        let Self { place, kind, cache, wire } = self;
        let content = match kind.as_str() {
            "text" => {
                let Some(text) = wire.text else {
                    return Err(missing(&format!("{place}.text"), "is the text"));
                };
                lose_citations(place.members(), wire.citations, fields);
                if text.is_blank() {
                    return Ok(None);
                }
                Content::Text(text)
            }
            "image" => Content::Image(image(place, source(place, wire.source)?, fields)?),
            "document" => {
                let cited = cited(place, wire.citations)?;
                let source = document(place, source(place, wire.source)?, fields)?;
                let (title, context) = (wire.title, wire.context);
                Content::Document(Document {
                    source,
                    media_type: None,
                    below: ".source",
                    title,
                    context,
                    cited,
                })
            }
            "search_result" => Content::SearchResult(search_result(place, wire, fields)?),
            other => return Err(place.error(Kind::Unsupported, ".type", way_out(other))),
        };
        Ok(Some(Part { place, content, cache, proof: None }))
    }
}

/// Why a type of block is not taken here.
fn way_out(kind: &str) -> &'static str {
    match kind {
        "tool_use" | "thinking" | "redacted_thinking" => "may only stand in an assistant message",
        "tool_result" => "may only stand in a user message, and not within another result",
        "container_upload" => "is a file that only Anthropic keeps; send it as an image or a document",
        "tool_reference" => {
            "belongs to a tool search of Anthropic's; send the tools that were found in `tools`"
        }
        "server_tool_use"
        | "web_search_tool_result"
        | "web_fetch_tool_result"
        | "code_execution_tool_result"
        | "bash_code_execution_tool_result"
        | "text_editor_code_execution_tool_result"
        | "tool_search_tool_result"
        | "mcp_tool_use"
        | "mcp_tool_result" => "is of a tool that Anthropic runs itself; leave the block out",
        // Anthropic adds types of blocks; what they say is not known here.
        _ => {
            "must be text, image, document, search_result, tool_use, tool_result, thinking or redacted_thinking"
        }
    }
}

/// Reads `content` of a message or of a tool result: a text, which is given, or blocks, which are taken one by one.
fn blocks<'a>(
    content: &'a RawValue,
    place: Place,
    take: impl FnMut(usize, wire::Block<'a>) -> Result<(), Error>,
) -> Result<Option<Text<'a>>, Error> {
    // A message is its content; a tool result is a block that has one.
    let below = if matches!(place, Place::Part(..)) { ".content" } else { "" };
    if let Some(text) = Text::from_raw(content) {
        return Ok(Some(text));
    }
    if !content.get().starts_with('[') {
        let problem = wrong_type(content, "a string or an array of blocks");
        return Err(place.error(Kind::WrongType, below, &problem));
    }
    each(content, || format!("{place}{below}"), take).map(|()| None)
}

fn text_part(place: Place, text: Text<'_>) -> Option<Part<'_>> {
    (!text.is_blank()).then_some(Part { place, content: Content::Text(text), cache: None, proof: None })
}

fn system<'a>(content: Option<&'a RawValue>, fields: &mut Seen<'a>) -> Result<Vec<Part<'a>>, Error> {
    let Some(content) = content else { return Ok(Vec::new()) };
    let place = |part: Option<usize>| part.map_or(Place::System, Place::SystemPart);
    texts(content, place, fields)
}

/// Instructions: a string, or blocks of text.
fn texts<'a>(
    content: &'a RawValue,
    place: impl Fn(Option<usize>) -> Place,
    fields: &mut Seen<'a>,
) -> Result<Vec<Part<'a>>, Error> {
    let mut parts = Vec::new();
    let text = blocks(content, place(None), |number, wire| {
        let block = Block::new(wire, place(Some(number)), fields)?;
        if block.kind.as_str() != "text" {
            let problem = "must be text among instructions";
            return Err(block.place.error(Kind::Unsupported, ".type", problem));
        }
        parts.extend(block.shown(fields)?);
        Ok(())
    })?;
    parts.extend(text.and_then(|text| text_part(place(None), text)));
    Ok(parts)
}

fn source<'a>(place: Place, raw: Option<&'a RawValue>) -> Result<wire::Source<'a>, Error> {
    let Some(raw) = raw else { return Err(missing(&format!("{place}.source"), "holds the data")) };
    read(raw, || format!("{place}.source"))
}

fn image<'a>(place: Place, source: wire::Source<'a>, fields: &mut Seen<'a>) -> Result<Image<'a>, Error> {
    fields.keep("messages[].content[].source.", &source.other);
    match source.kind.as_ref().map(Str::as_str) {
        Some("base64") => {
            let (media_type, data) = inline(place, source)?;
            Ok(ImageSource::Inline { media_type, data }.into())
        }
        Some("url") => Ok(ImageSource::Address(url(place, &source)?).into()),
        kind => Err(unknown_source(place, kind, "must be base64 or url")),
    }
}

fn document<'a>(
    place: Place,
    source: wire::Source<'a>,
    fields: &mut Seen<'a>,
) -> Result<DocumentSource<'a>, Error> {
    let members = || format!("{}source.", place.members());
    fields.keep(&members(), &source.other);
    match source.kind.as_ref().map(Str::as_str) {
        Some("base64") => {
            let (media_type, data) = inline(place, source)?;
            Ok(DocumentSource::Inline { media_type, data })
        }
        Some("text") => match source.data {
            Some(text) if !text.is_blank() => Ok(DocumentSource::Texts(vec![text])),
            Some(_) => Err(place.error(Kind::WrongValue, ".source.data", "is blank")),
            None => Err(missing(&format!("{place}.source.data"), "is the text of the document")),
        },
        Some("content") => {
            let path = || format!("{place}.source.content");
            let Some(content) = source.content else {
                return Err(missing(&path(), "is the content of the document"));
            };
            let mut texts = Vec::new();
            if let Some(text) = Text::from_raw(content) {
                texts.push(text);
            } else {
                let raws: Vec<&'a RawValue> = read(content, path)?;
                for (number, raw) in raws.into_iter().enumerate() {
                    let here = || format!("{}[{number}]", path());
                    let block: wire::Block<'a> = read(raw, here)?;
                    let Some(text) = block.text else {
                        let problem = "must be text; send pictures beside the document, as images";
                        return Err(Error::at(Kind::Unsupported, here(), problem));
                    };
                    lose_members(&format!("{}content[].", members()), &block, fields);
                    texts.push(text);
                }
            }
            texts.retain(|text| !text.is_blank());
            if texts.is_empty() {
                return Err(Error::at(Kind::WrongValue, path(), "is blank"));
            }
            Ok(DocumentSource::Texts(texts))
        }
        Some("url") => Ok(DocumentSource::Address(url(place, &source)?)),
        kind => Err(unknown_source(place, kind, "must be base64, text, content or url")),
    }
}

fn inline<'a>(place: Place, source: wire::Source<'a>) -> Result<(Cow<'a, str>, Text<'a>), Error> {
    let Some(media_type) = source.media_type else {
        return Err(missing(&format!("{place}.source.media_type"), "tells what the data is"));
    };
    let Some(data) = source.data else {
        return Err(missing(&format!("{place}.source.data"), "is the data in base64"));
    };
    if data.is_blank() {
        return Err(place.error(Kind::WrongValue, ".source.data", "holds no data"));
    }
    Ok((Cow::Owned(media_type.as_str().trim().to_ascii_lowercase()), data))
}

fn url<'a>(place: Place, source: &wire::Source<'a>) -> Result<Text<'a>, Error> {
    source.url.ok_or_else(|| missing(&format!("{place}.source.url"), "is the address"))
}

fn unknown_source(place: Place, kind: Option<&str>, forms: &str) -> Error {
    let problem = match kind {
        Some("file") => "is a file that only Anthropic keeps; send the data itself",
        _ => forms,
    };
    place.error(Kind::Unsupported, ".source.type", problem)
}

fn search_result<'a>(
    place: Place,
    block: wire::Block<'a>,
    fields: &mut Seen<'a>,
) -> Result<SearchResult<'a>, Error> {
    let cited = cited(place, block.citations)?;
    let Some(source) = block.source.and_then(Text::from_raw) else {
        return Err(missing(&format!("{place}.source"), "is a string that tells where the result is from"));
    };
    let Some(title) = block.title else {
        return Err(missing(&format!("{place}.title"), "is the title of the result"));
    };
    let Some(content) = block.content else {
        return Err(missing(&format!("{place}.content"), "holds the texts of the result"));
    };
    let raws: Vec<&'a RawValue> = read(content, || format!("{place}.content"))?;
    let members = format!("{}content[].", place.members());
    let mut texts = Vec::with_capacity(raws.len());
    for (number, raw) in raws.into_iter().enumerate() {
        let here = || format!("{place}.content[{number}]");
        let block: wire::Block<'a> = read(raw, here)?;
        let Some(text) = block.text else { return Err(missing(&format!("{}.text", here()), "is the text")) };
        lose_members(&members, &block, fields);
        texts.push(text);
    }
    texts.retain(|text| !text.is_blank());
    Ok(SearchResult { source, title, texts, cited })
}

/// Notes the members of a text of which only the text goes on.
fn lose_members<'a>(members: &str, block: &wire::Block<'a>, fields: &mut Seen<'a>) {
    fields.keep(members, &block.other);
    if block.cache_control.is_some() {
        fields.see(|| format!("{members}cache_control"));
    }
    lose_citations(members, block.citations, fields);
}

/// Notes what a text cites: it has been said already, and no other API takes it back.
fn lose_citations(members: &str, citations: Option<&RawValue>, fields: &mut Seen<'_>) {
    if citations.is_some_and(|raw| raw.get() != "[]") {
        fields.see(|| format!("{members}citations"));
    }
}

/// `{"enabled":true}` on what may be cited.
fn cited(place: Place, raw: Option<&RawValue>) -> Result<bool, Error> {
    let Some(raw) = raw else { return Ok(false) };
    let citations: wire::Citations = read(raw, || format!("{place}.citations"))?;
    Ok(citations.enabled == Some(true))
}

fn tools<'a>(given: Tools<wire::Tool<'a>>, fields: &mut Seen<'a>) -> Result<Vec<Tool<'a>>, Error> {
    let given = all_tools(given)?;
    let mut tools: Vec<Tool<'a>> = Vec::with_capacity(given.len());
    for (index, tool) in given.into_iter().enumerate() {
        let place = Place::Tool(index);
        if tool.kind.as_ref().is_some_and(|kind| kind.as_str() != "custom") {
            let problem = "is a tool that Anthropic defines; describe one of your own with name, description \
                and input_schema";
            return Err(place.error(Kind::Unsupported, ".type", problem));
        }
        fields.keep("tools[].", &tool.other);
        // All tools are told of at once, and only the model calls them.
        if tool.defer_loading == Some(true) {
            fields.see(|| "tools[].defer_loading".to_owned());
        }
        if tool.allowed_callers.iter().flatten().any(|caller| caller.as_str() != "direct") {
            fields.see(|| "tools[].allowed_callers".to_owned());
        }
        let Some(name) = tool.name else {
            return Err(missing(&format!("{place}.name"), "is what the model calls it by"));
        };
        let Some(schema) = tool.input_schema else {
            return Err(missing(&format!("{place}.input_schema"), "describes the input"));
        };
        if !schema.get().starts_with('{') {
            let problem = wrong_type(schema, "a JSON Schema");
            return Err(place.error(Kind::WrongType, ".input_schema", &problem));
        }
        reading::short(place, ".name", &name)?;
        if tools.iter().any(|known| known.name == name) {
            return Err(place.error(Kind::WrongValue, ".name", "is the name of another tool too"));
        }
        let mark = tool.cache_control;
        let cache = mark.map(|mark| mark.read(|| format!("{place}."), fields)).transpose()?;
        tools.push(Tool {
            place,
            name,
            description: tool.description,
            parameters: Some(schema),
            strict: tool.strict,
            cache,
        });
    }
    Ok(tools)
}

type Choice<'a> = (Option<ToolChoice<'a>>, Option<bool>);

fn tool_choice<'a>(choice: wire::ToolChoice<'a>, fields: &mut Seen<'a>) -> Result<Choice<'a>, Error> {
    fields.keep("tool_choice.", &choice.other);
    let alone = choice.disable_parallel_tool_use == Some(true);
    let chosen = match choice.kind.as_ref().map(Str::as_str) {
        Some("auto") => ToolChoice::Auto,
        Some("any") => ToolChoice::Required,
        Some("none") => ToolChoice::None,
        Some("tool") => match choice.name {
            Some(name) => ToolChoice::Named(name),
            None => return Err(missing("tool_choice.name", "names the tool to call")),
        },
        Some(_) => {
            let problem = "must be auto, any, tool or none";
            return Err(Error::at(Kind::WrongValue, "tool_choice.type", problem));
        }
        None => return Err(missing("tool_choice.type", "is auto, any, tool or none")),
    };
    Ok((Some(chosen), alone.then_some(false)))
}

/// docs.claude.com/en/api/service-tiers. `auto` uses what the customer has reserved at Anthropic, if anything.
fn tier(name: &Str<'_>) -> Result<Option<Tier>, Error> {
    match name.as_str() {
        "auto" => Ok(None),
        "standard_only" => Ok(Some(Tier::Standard)),
        _ => Err(Error::at(Kind::WrongValue, "service_tier", "must be auto or standard_only")),
    }
}

/// Anthropic's least budget for thinking.
const LEAST_BUDGET: u64 = 1024;

/// `longest`: what a budget must stay below.
fn reasoning<'a>(
    thinking: Option<wire::Thinking<'a>>,
    effort: Option<&Str<'a>>,
    longest: Option<Count<'a>>,
    fields: &mut Seen<'a>,
) -> Result<Reasoning<'a>, Error> {
    let effort = match effort.map(Str::as_str) {
        None => None,
        Some("low") => Some(Effort::Low),
        Some("medium") => Some(Effort::Medium),
        Some("high") => Some(Effort::High),
        Some("xhigh") => Some(Effort::ExtraHigh),
        Some("max") => Some(Effort::Max),
        Some(_) => {
            let problem = "must be low, medium, high, xhigh or max";
            return Err(Error::at(Kind::WrongValue, "output_config.effort", problem));
        }
    };
    let Some(thinking) = thinking else { return Ok(Reasoning { mode: None, effort, shown: None }) };
    fields.keep("thinking.", &thinking.other);
    let mode = match thinking.kind.as_ref().map(Str::as_str) {
        Some("disabled") => ReasoningMode::Off,
        Some("adaptive") => ReasoningMode::Adaptive,
        Some("enabled") => {
            let Some(budget) = thinking.budget_tokens else {
                return Err(missing("thinking.budget_tokens", "bounds the thoughts"));
            };
            let wrong = |problem| Err(Error::at(Kind::WrongValue, "thinking.budget_tokens", problem));
            if budget.value() < LEAST_BUDGET {
                return wrong("must be at least 1024");
            }
            if longest.is_some_and(|longest| budget.value() >= longest.value()) {
                return wrong("must be less than max_tokens");
            }
            ReasoningMode::Budget(budget)
        }
        Some("between_tools") => {
            let problem =
                "`between_tools` is known to Anthropic's own API only; use adaptive, enabled or disabled";
            return Err(Error::at(Kind::Unsupported, "thinking.type", problem));
        }
        Some(_) => {
            let problem = "must be adaptive, enabled or disabled";
            return Err(Error::at(Kind::WrongValue, "thinking.type", problem));
        }
        None => return Err(missing("thinking.type", "is adaptive, enabled or disabled")),
    };
    let shown = match thinking.display.as_ref().map(Str::as_str) {
        None => None,
        Some("summarized") => Some(true),
        Some("omitted") => Some(false),
        Some("updates") => {
            fields.see(|| "thinking.display".to_owned());
            None
        }
        Some(_) => {
            let problem = "must be summarized, omitted or updates";
            return Err(Error::at(Kind::WrongValue, "thinking.display", problem));
        }
    };
    Ok(Reasoning { mode: Some(mode), effort, shown })
}

fn output_format<'a>(format: wire::OutputFormat<'a>, fields: &mut Seen<'a>) -> Result<Format<'a>, Error> {
    fields.keep("output_config.format.", &format.other);
    if format.kind.as_ref().is_none_or(|kind| kind.as_str() != "json_schema") {
        return Err(Error::at(Kind::WrongValue, "output_config.format.type", "must be json_schema"));
    }
    let Some(schema) = format.schema else {
        return Err(missing("output_config.format.schema", "is the schema"));
    };
    if !schema.get().starts_with('{') {
        let problem = wrong_type(schema, "an object");
        return Err(Error::at(Kind::WrongType, "output_config.format.schema", &problem));
    }
    Ok(Format::JsonSchema { name: None, description: None, schema })
}

/// The top-level fields that say something other than the API's own default.
fn given<'a>(body: &wire::Body<'a>) -> Seen<'a> {
    let mut fields = Seen::default();
    let silent = |name: &&str| {
        *name == "service_tier" && body.service_tier.as_ref().is_some_and(|tier| tier.as_str() == "auto")
    };
    body.known().filter(|name| !silent(name)).for_each(|name| fields.must_see(name));
    let Fields(other) = &body.other;
    for (name, value) in other.iter().map(|(name, value)| (name.as_str(), value.get())) {
        if value == "null" || DEFAULTS.contains(&(name, value)) || extra::is_extra(name, extra::CHAT) {
            continue;
        }
        match FIELDS.iter().find(|field| **field == name) {
            Some(field) => fields.must_see(field),
            None => fields.see(|| name.to_owned()),
        }
    }
    fields
}
