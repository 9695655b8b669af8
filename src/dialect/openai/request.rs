//! A chat completion request: bytes in, vocabulary out.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fields::{DEFAULTS, FIELDS};
use super::wire;
use crate::base::error::{Error, Kind};
use crate::base::json::{Count, Fields, Number, Str, Text, wrong_type};
use crate::chat::{
    Cache, Content, Delivery, Detail, Document, DocumentSource, Effort, Format, Image, ImageSource, Part,
    Place, Reasoning, ReasoningMode, Request, Role, Sampling, Spelling, Thinking, Tier, Tool, ToolCall,
    ToolChoice,
};
use crate::dialect::reading::{self, Gather, MOST_TOOLS, Seen, Tools, all_tools, each, missing, read};
use crate::dialect::talk::{self, Answer, Talk};
use crate::dialect::{Asked, extra, proof};

/// What the parts of a chat completion request are called.
const SPELLING: Spelling = Spelling {
    image: ".image_url.url",
    inline_image: "as a data URL, `data:image/png;base64,...`",
    call_name: ".function.name",
    tool_name: ".function.name",
    tool_schema: ".function.parameters",
    strict: "tools[].function.strict",
    chosen_tool: "tool_choice.function.name",
    parallel: "parallel_tool_calls",
    max_tokens: "max_tokens",
    stop: "stop",
    format: "response_format.type",
    format_schema: "response_format.json_schema.schema",
    thinking: "reasoning_effort",
    effort: "reasoning_effort",
    thought: "messages[].reasoning_content",
    cache: "cache_control",
    cache_ttl: "cache_control.ttl",
};

/// The same for those who use the newer name.
const NEWER_SPELLING: Spelling = Spelling { max_tokens: "max_completion_tokens", ..SPELLING };

/// The same for those who mark the cache as OpenAI has it.
const OWN_SPELLING: Spelling = Spelling { cache: BREAKPOINT, cache_ttl: BREAKPOINT_TTL, ..SPELLING };
const OWN_NEWER_SPELLING: Spelling =
    Spelling { cache: BREAKPOINT, cache_ttl: BREAKPOINT_TTL, ..NEWER_SPELLING };

const BREAKPOINT: &str = "messages[].content[].prompt_cache_breakpoint";
const BREAKPOINT_TTL: &str = "messages[].content[].prompt_cache_breakpoint.ttl";

/// Reads a chat completion request.
///
/// # Errors
/// The first thing that is wrong, named by its path.
pub fn parse(body: &[u8]) -> Result<Asked<'_>, Error> {
    let text = reading::text(body)?;
    let body: wire::Body<'_> = reading::body(text)?;
    let mut fields = given(&body);
    let extra = extra::collect(&body.other, extra::CHAT)?;

    let Some(model) = body.model else { return Err(missing("model", "names the model to ask")) };
    let Some(messages) = body.messages else { return Err(missing("messages", "holds the conversation")) };
    let Conversation { system, mut talk, breakpoints } = messages.finish(&mut fields)?;
    talk.results_are_in(UNANSWERED)?;
    let turns = talk.finish()?;

    for (field, most) in
        [("max_completion_tokens", body.max_completion_tokens), ("max_tokens", body.max_tokens)]
    {
        if most.is_some_and(|most| most.value() == 0) {
            return Err(Error::at(Kind::WrongValue, field, "must be at least 1"));
        }
    }

    let mut tools = tools(body.tools.unwrap_or_default(), &mut fields)?;
    let tool_choice = body.tool_choice.map(|raw| tool_choice(raw, &mut tools, &mut fields)).transpose()?;

    let request = Request {
        system,
        turns,
        tools,
        tool_choice,
        parallel_tool_calls: body.parallel_tool_calls,
        sampling: Sampling {
            // The newer name wins, as at OpenAI.
            max_tokens: body.max_completion_tokens.or(body.max_tokens),
            temperature: body.temperature,
            top_p: body.top_p,
            top_k: None,
            name_stop: false,
            stop: body.stop.map(stop).transpose()?.unwrap_or_default(),
            seed: body.seed,
            presence_penalty: body.presence_penalty.filter(|number| says_something(*number)),
            frequency_penalty: body.frequency_penalty.filter(|number| says_something(*number)),
            replies: member(&body.other, "n")?,
            logprobs: logprobs(&body.other)?,
        },
        reasoning: reasoning(body.reasoning_effort.as_ref())?,
        format: body
            .response_format
            .map_or(Ok(Format::Text), |format| response_format(format, &mut fields))?,
        delivery: delivery(body.stream, body.stream_options, &mut fields),
        // The newer name.
        named_twice: body.safety_identifier.is_some() && body.user.is_some(),
        user: body.safety_identifier.or(body.user),
        tier: body.service_tier.as_ref().map_or(Ok(None), tier)?,
        search: body.other.get("web_search_options").filter(|raw| raw.get() != "null"),
        metadata: body.other.get("metadata"),
        betas: Vec::new(),
        spelling: match (body.max_completion_tokens, breakpoints) {
            (None, false) => &SPELLING,
            (Some(_), false) => &NEWER_SPELLING,
            (None, true) => &OWN_SPELLING,
            (Some(_), true) => &OWN_NEWER_SPELLING,
        },
        extra,
        fields: fields.0,
    };
    Ok(Asked { model: reading::model(model), request })
}

/// What a tool call without its result is told.
const UNANSWERED: &str = "has no result: a tool message with its id must follow before any other message";

/// The conversation as it grows, message by message.
#[derive(Default)]
pub struct Conversation<'a> {
    system: Vec<Part<'a>>,
    talk: Talk<'a>,
    /// The cache is marked in OpenAI's own words.
    breakpoints: bool,
}

impl<'a> Gather<'a> for Conversation<'a> {
    type Item = wire::Message<'a>;

    fn take(
        &mut self,
        index: usize,
        mut message: wire::Message<'a>,
        fields: &mut Seen<'a>,
    ) -> Result<(), Error> {
        fields.keep("messages[].", &message.other);
        let Some(role) = &message.role else {
            return Err(missing(&format!("messages[{index}].role"), "is system, user, assistant or tool"));
        };
        if message.audio.is_some() || message.function_call.is_some() {
            let (field, way_out) = match message.audio {
                Some(_) => ("audio", "refers to a reply that only OpenAI keeps; send its transcript as text"),
                None => ("function_call", "is the old form of tool_calls; send tool_calls"),
            };
            return Err(Error::at(Kind::Unsupported, format!("messages[{index}].{field}"), way_out));
        }
        if role.as_str() != "tool" {
            self.talk.results_are_in(UNANSWERED)?;
        }
        let mark = message.cache_control.take();
        let cache = mark.map(|mark| mark.read(|| format!("messages[{index}]."), fields)).transpose()?;
        match role.as_str() {
            "system" | "developer" => {
                let mut parts = self.contents(index, message.content, fields)?;
                for part in &parts {
                    if !matches!(part.content, Content::Text(_)) {
                        return Err(part.place.error(
                            Kind::Unsupported,
                            "",
                            "must be text in a system message",
                        ));
                    }
                }
                put(cache, &mut parts);
                self.system.extend(parts);
            }
            "user" => {
                let mut parts = self.contents(index, message.content, fields)?;
                if parts.is_empty() {
                    let problem = "is blank, and the clouds refuse blank messages; leave the message out";
                    return Err(Place::Message(index).error(Kind::WrongValue, "", problem));
                }
                put(cache, &mut parts);
                self.talk.push(Role::User, parts);
            }
            "assistant" => {
                let mut parts = thoughts(index, message.reasoning_content, message.thinking_blocks, fields)?;
                parts.extend(self.contents(index, message.content, fields)?);
                let proof = google_proof("messages[].extra_content.", message.extra_content, fields);
                let mut texts =
                    parts.iter_mut().rev().filter(|part| matches!(part.content, Content::Text(_)));
                match texts.next() {
                    Some(text) => text.proof = proof,
                    None if proof.is_some() => fields.see(|| "messages[].extra_content".to_owned()),
                    None => {}
                }
                if let Some(refusal) = message.refusal.filter(|text| !text.is_blank()) {
                    let content = Content::Text(refusal);
                    parts.push(Part { place: Place::Message(index), content, cache: None, proof: None });
                }
                let calls = message.tool_calls.unwrap_or_default();
                for (call, wire) in calls.items.into_iter().enumerate() {
                    parts.push(self.call(Place::Call(index, call), wire, fields)?);
                }
                if calls.count > MOST_TOOLS {
                    return Err(talk::one_too_many(Place::Call(index, MOST_TOOLS)));
                }
                put(cache, &mut parts);
                // A reply that says nothing (some clients keep them) is left out.
                self.talk.push(Role::Assistant, parts);
            }
            "tool" => self.result(index, message, cache, fields)?,
            "function" => {
                let problem = "`function` is the old form of `tool`; send a tool message with tool_call_id";
                return Err(Error::at(Kind::Unsupported, format!("messages[{index}].role"), problem));
            }
            _ => {
                let problem = "must be system, developer, user, assistant or tool";
                return Err(Error::at(Kind::WrongValue, format!("messages[{index}].role"), problem));
            }
        }
        Ok(())
    }
}

impl<'a> Conversation<'a> {
    fn call(
        &mut self,
        place: Place,
        call: wire::ToolCall<'a>,
        fields: &mut Seen<'a>,
    ) -> Result<Part<'a>, Error> {
        fields.keep("messages[].tool_calls[].", &call.other);
        if let Some(kind) = call.kind.filter(|kind| kind.as_str() != "function") {
            let problem = if kind.as_str() == "custom" {
                "is a custom tool call, which only OpenAI's models make; leave it out"
            } else {
                "must be `function`"
            };
            return Err(place.error(Kind::Unsupported, ".type", problem));
        }
        let id = call.id.unwrap_or_default();
        let Some(function) = call.function else {
            return Err(missing(&format!("{place}.function"), "tells what was called"));
        };
        fields.keep("messages[].tool_calls[].function.", &function.other);
        let Some(name) = function.name else {
            return Err(missing(&format!("{place}.function.name"), "tells what was called"));
        };
        let arguments = match function.arguments {
            Some(text) if !text.is_blank() => trimmed(text.unescape()),
            // SDKs write a call without arguments as "".
            _ => Cow::Borrowed("{}"),
        };
        if !is_object(&arguments) {
            let problem = "must be a JSON object, written as a string";
            return Err(place.error(Kind::WrongValue, ".function.arguments", problem));
        }
        let (id, carried) = proof::split(id);
        self.talk.call(place, &id, &name)?;
        let signature = google_proof("messages[].tool_calls[].extra_content.", call.extra_content, fields);
        let content = Content::ToolCall(ToolCall { id, name, arguments, signature: signature.or(carried) });
        Ok(Part { place, content, cache: None, proof: None })
    }

    fn result(
        &mut self,
        index: usize,
        message: wire::Message<'a>,
        cache: Option<Cache>,
        fields: &mut Seen<'a>,
    ) -> Result<(), Error> {
        let place = Place::Result(index);
        let id = message.tool_call_id.unwrap_or_default();
        let mut parts = self.contents(index, message.content, fields)?;
        // A mark on the last part of a result belongs behind the result: no cloud takes one inside.
        let cache = cache.or_else(|| parts.iter_mut().filter_map(|part| part.cache.take()).last());
        let (id, _) = proof::split(id);
        self.talk.result("", id, Answer { place, parts, failed: false, cache })
    }

    /// The texts and images of a message; blank texts are left out, which the clouds refuse.
    fn contents(
        &mut self,
        index: usize,
        content: Option<&'a RawValue>,
        fields: &mut Seen<'a>,
    ) -> Result<Vec<Part<'a>>, Error> {
        let Some(content) = content else { return Ok(Vec::new()) };
        if let Some(text) = Text::from_raw(content) {
            let place = Place::Message(index);
            return Ok(if text.is_blank() {
                Vec::new()
            } else {
                vec![Part { place, content: Content::Text(text), cache: None, proof: None }]
            });
        }
        if !content.get().starts_with('[') {
            let problem = wrong_type(content, "a string or an array of parts");
            return Err(Place::Message(index).error(Kind::WrongType, "", &problem));
        }
        let mut parts = Vec::new();
        let mut breakpoints = false;
        let take = |number: usize, part: wire::Part<'a>| {
            let place = Place::Part(index, number);
            fields.keep("messages[].content[].", &part.other);
            let Some(kind) = part.kind else {
                return Err(missing(
                    &format!("{place}.type"),
                    "tells what the part is, such as text or image_url",
                ));
            };
            let content = match kind.as_str() {
                "text" => {
                    let Some(text) = part.text else {
                        return Err(missing(&format!("{place}.text"), "is the text"));
                    };
                    Content::Text(text)
                }
                "refusal" => {
                    let Some(text) = part.refusal else {
                        return Err(missing(&format!("{place}.refusal"), "is the text"));
                    };
                    Content::Text(text)
                }
                "image_url" => linked(place, ".image_url", part.image_url, fields)?,
                // vLLM's and LiteLLM's names for what OpenAI's API does not take.
                "video_url" => linked(place, ".video_url", part.video_url, fields)?,
                "audio_url" => linked(place, ".audio_url", part.audio_url, fields)?,
                "file" => Content::Document(document(place, part.file, fields)?),
                "input_audio" => Content::Document(audio(place, part.input_audio, fields)?),
                _ => {
                    return Err(place.error(
                        Kind::Unsupported,
                        ".type",
                        "must be text, image_url, input_audio or file",
                    ));
                }
            };
            let mark = part.cache_control;
            let mut cache = mark.map(|mark| mark.read(|| format!("{place}."), fields)).transpose()?;
            if let Some(mark) = part.prompt_cache_breakpoint {
                cache = Some(breakpoint(mark, place, fields)?);
                breakpoints = true;
            }
            if !matches!(content, Content::Text(text) if text.is_blank()) {
                parts.push(Part { place, content, cache, proof: None });
            }
            Ok(())
        };
        each(content, || Place::Message(index).to_string(), take)?;
        self.breakpoints |= breakpoints;
        Ok(parts)
    }
}

/// Google's proof, where its own OpenAI endpoint has it.
fn google_proof<'a>(
    path: &str,
    extra: Option<wire::ExtraContent<'a>>,
    fields: &mut Seen<'a>,
) -> Option<Text<'a>> {
    let extra = extra?;
    fields.keep(path, &extra.other);
    let google = extra.google?;
    fields.keep(&format!("{path}google."), &google.other);
    google.thought_signature.filter(|proof| !proof.is_empty())
}

/// The clouds keep what is marked for five minutes or an hour; whoever says nothing gets the shorter, and who wants half
/// an hour at least the longer.
fn breakpoint<'a>(
    mark: wire::CacheBreakpoint<'a>,
    place: Place,
    fields: &mut Seen<'a>,
) -> Result<Cache, Error> {
    fields.keep("messages[].content[].prompt_cache_breakpoint.", &mark.other);
    let wrong = |below: &str, problem: &str| {
        Err(place.error(Kind::WrongValue, &format!(".prompt_cache_breakpoint.{below}"), problem))
    };
    if mark.mode.is_none_or(|mode| mode.as_str() != "explicit") {
        return wrong("mode", "must be `explicit`");
    }
    match mark.ttl.as_ref().map(Str::as_str) {
        None => Ok(Cache::Short),
        Some("30m") => Ok(Cache::Hour),
        Some("12h") => {
            fields.see(|| BREAKPOINT_TTL.to_owned());
            Ok(Cache::Hour)
        }
        Some(_) => wrong("ttl", "must be `30m` or `12h`"),
    }
}

/// Puts the mark of a message behind its last part.
fn put(cache: Option<Cache>, parts: &mut [Part<'_>]) {
    if let (Some(cache), Some(part)) = (cache, parts.last_mut()) {
        part.cache = Some(cache);
    }
}

/// Reads an image, or what else clients of other gateways send as one, by its URL. `below` is the name of
/// the member that holds it.
fn linked<'a>(
    place: Place,
    below: &'static str,
    link: Option<wire::ImageUrl<'a>>,
    fields: &mut Seen<'a>,
) -> Result<Content<'a>, Error> {
    let path = format!("{below}.url");
    let url = link.as_ref().and_then(|link| link.url);
    let (Some(link), Some(url)) = (link, url) else {
        return Err(missing(&format!("{place}{path}"), "is the image, as a data URL"));
    };
    let is_image = below == ".image_url";
    let mut detail = None;
    for (name, value) in link.other.given() {
        match (name, value.get()) {
            ("detail", r#""auto""#) => {}
            ("detail", level) if is_image && let Some(level) = detail_of(level) => detail = Some(level),
            _ => fields.see(|| format!("messages[].content[]{below}.{name}")),
        }
    }
    let mut file = |source, media_type| {
        if detail.is_some() {
            fields.see(|| Detail::NAME.to_owned());
        }
        Content::Document(Document { source, media_type, below, title: None, context: None, cited: false })
    };
    if is_address(url) {
        let declared = link.format.map(|format| Cow::Owned(format.as_str().to_ascii_lowercase()));
        return Ok(match declared {
            None if is_image => Content::Image(Image { source: ImageSource::Address(url), detail }),
            declared => file(DocumentSource::Address(url), declared),
        });
    }
    let example = if is_image { "image/png" } else { "video/mp4" };
    let (media_type, data) =
        data_url(url, example).map_err(|problem| place.error(Kind::WrongValue, &path, &problem))?;
    let is_other = ["audio/", "video/", "application/pdf"].iter().any(|kind| media_type.starts_with(kind));
    Ok(if is_image && !is_other {
        Content::Image(Image { source: ImageSource::Inline { media_type, data }, detail })
    } else {
        file(DocumentSource::Inline { media_type, data }, None)
    })
}

/// `ImageURL.detail` of the `openai` package 3.52, and what LiteLLM's clients say to Gemini besides.
fn detail_of(level: &str) -> Option<Detail> {
    match level {
        r#""low""# => Some(Detail::Low),
        r#""medium""# => Some(Detail::Medium),
        r#""high""# => Some(Detail::High),
        r#""original""# | r#""ultra_high""# => Some(Detail::Original),
        _ => None,
    }
}

fn is_address(url: Text<'_>) -> bool {
    starts(url, "https:") || starts(url, "http:") || starts(url, "gs:")
}

/// Reads a file, which OpenAI's API takes as a data URL of some kind of document. Other gateways take the
/// address of one as `file_id`.
fn document<'a>(
    place: Place,
    file: Option<wire::File<'a>>,
    fields: &mut Seen<'a>,
) -> Result<Document<'a>, Error> {
    let Some(file) = file else { return Err(missing(&format!("{place}.file"), "is the document")) };
    fields.keep("messages[].content[].file.", &file.other);
    let (source, media_type) = if let Some(url) = file.file_data {
        let (media_type, data) = data_url(url, "application/pdf")
            .map_err(|problem| place.error(Kind::WrongValue, ".file.file_data", &problem))?;
        (DocumentSource::Inline { media_type, data }, None)
    } else if let Some(id) = file.file_id {
        let Some(url) = Text::from_raw(id).filter(|url| is_address(*url)) else {
            let problem = "names a file that only OpenAI keeps; send it as file_data";
            return Err(place.error(Kind::Unsupported, ".file.file_id", problem));
        };
        let declared = file.format.map(|format| Cow::Owned(format.as_str().to_ascii_lowercase()));
        (DocumentSource::Address(url), declared)
    } else {
        return Err(missing(&format!("{place}.file.file_data"), "is the document, as a data URL"));
    };
    Ok(Document { source, media_type, below: ".file", title: file.filename, context: None, cited: false })
}

/// platform.openai.com/docs/guides/audio: `wav` or `mp3`; other gateways take more.
fn audio<'a>(
    place: Place,
    audio: Option<wire::InputAudio<'a>>,
    fields: &mut Seen<'a>,
) -> Result<Document<'a>, Error> {
    let Some(audio) = audio else { return Err(missing(&format!("{place}.input_audio"), "is the sound")) };
    fields.keep("messages[].content[].input_audio.", &audio.other);
    let Some(data) = audio.data.filter(|data| !data.is_blank()) else {
        return Err(missing(&format!("{place}.input_audio.data"), "is the sound, in base64"));
    };
    let Some(format) = audio.format else {
        return Err(missing(&format!("{place}.input_audio.format"), "is wav or mp3"));
    };
    let format = format.as_str().to_ascii_lowercase();
    if !(1..=16).contains(&format.len()) || !format.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(place.error(Kind::WrongValue, ".input_audio.format", "must be wav or mp3"));
    }
    let source = DocumentSource::Inline { media_type: Cow::Owned(format!("audio/{format}")), data };
    let below = ".input_audio";
    Ok(Document { source, media_type: None, below, title: None, context: None, cited: false })
}

fn starts(url: Text<'_>, prefix: &str) -> bool {
    url.escaped().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Media type, in lower case, and base64 of a URL of RFC 2397: `data:<media type>;base64,<data>`.
pub(super) fn data_url<'a>(url: Text<'a>, example: &str) -> Result<(Cow<'a, str>, Text<'a>), String> {
    if !starts(url, "data:") {
        return Err(format!("must be a data URL such as `data:{example};base64,…`"));
    }
    let Some((head, data)) = url.split_once(',') else {
        return Err("is a data URL without a comma and data behind it".to_owned());
    };
    let head = head.unescape();
    let description = head.get("data:".len()..).unwrap_or_default();
    let (media_type, parameters) = description.split_once(';').unwrap_or((description, ""));
    if !parameters.split(';').any(|parameter| parameter.trim().eq_ignore_ascii_case("base64")) {
        return Err(format!("must hold base64: `data:{example};base64,…`"));
    }
    if data.is_blank() {
        return Err("holds no data".to_owned());
    }
    Ok((Cow::Owned(media_type.trim().to_ascii_lowercase()), data))
}

/// The thoughts of an earlier reply: `thinking_blocks` with their proofs, or the text alone.
fn thoughts<'a>(
    index: usize,
    text: Option<Text<'a>>,
    blocks: Option<Vec<&'a RawValue>>,
    fields: &mut Seen<'a>,
) -> Result<Vec<Part<'a>>, Error> {
    let place = Place::Message(index);
    let part = |content| Part { place, content, cache: None, proof: None };
    let blocks = blocks.unwrap_or_default();
    if blocks.is_empty() {
        let text = text.filter(|text| !text.is_blank());
        let thought = text.map(|text| part(Content::Thinking(Thinking { text, signature: None })));
        return Ok(thought.into_iter().collect());
    }
    let mut parts = Vec::with_capacity(blocks.len());
    for (number, raw) in blocks.into_iter().enumerate() {
        let path = || format!("messages[{index}].thinking_blocks[{number}]");
        let block: wire::ThinkingBlock<'a> = read(raw, path)?;
        fields.keep("messages[].thinking_blocks[].", &block.other);
        let is_blank = block.thinking.is_some_and(Text::is_blank);
        if is_blank && block.signature.is_none() {
            continue;
        }
        parts.push(part(match (block.kind.as_ref().map(Str::as_str), block.thinking, block.data) {
            (Some("thinking"), Some(text), _) => {
                Content::Thinking(Thinking { text, signature: block.signature })
            }
            (Some("redacted_thinking"), _, Some(data)) => Content::Redacted(data),
            _ => {
                let problem =
                    "must be a `thinking` block with its text or a `redacted_thinking` block with data";
                return Err(Error::at(Kind::WrongValue, path(), problem));
            }
        }));
    }
    Ok(parts)
}

/// platform.openai.com/docs/api-reference/chat/create#chat-create-reasoning_effort.
fn reasoning(effort: Option<&Str<'_>>) -> Result<Reasoning<'static>, Error> {
    let effort = match effort.map(Str::as_str) {
        None => return Ok(Reasoning::default()),
        Some("none") => {
            return Ok(Reasoning { mode: Some(ReasoningMode::Off), ..Reasoning::default() });
        }
        Some("minimal") => Effort::Minimal,
        Some("low") => Effort::Low,
        Some("medium") => Effort::Medium,
        Some("high") => Effort::High,
        Some("xhigh") => Effort::ExtraHigh,
        Some("max") => Effort::Max,
        Some(_) => {
            let problem = "must be none, minimal, low, medium, high, xhigh or max";
            return Err(Error::at(Kind::WrongValue, "reasoning_effort", problem));
        }
    };
    // OpenAI's clients have no word for it, and who asks for thoughts wants to see them. Claude from 4.7 on keeps them
    // to itself otherwise (BerriAI/litellm#25965).
    Ok(Reasoning { mode: Some(ReasoningMode::Adaptive), effort: Some(effort), shown: Some(true) })
}

fn tools<'a>(given: Tools<wire::Tool<'a>>, fields: &mut Seen<'a>) -> Result<Vec<Tool<'a>>, Error> {
    let given = all_tools(given)?;
    let mut tools: Vec<Tool<'a>> = Vec::with_capacity(given.len());
    for (index, tool) in given.into_iter().enumerate() {
        let place = Place::Tool(index);
        fields.keep("tools[].", &tool.other);
        if tool.kind.as_ref().is_some_and(|kind| kind.as_str() != "function") {
            return Err(place.error(
                Kind::Unsupported,
                ".type",
                "must be `function`, the one kind all models know",
            ));
        }
        let Some(function) = tool.function else {
            return Err(missing(&format!("{place}.function"), "describes the function"));
        };
        fields.keep("tools[].function.", &function.other);
        let Some(name) = function.name else {
            return Err(missing(&format!("{place}.function.name"), "is what the model calls it by"));
        };
        if let Some(parameters) = function.parameters.filter(|raw| !raw.get().starts_with('{')) {
            let problem = wrong_type(parameters, "a JSON Schema");
            return Err(place.error(Kind::WrongType, ".function.parameters", &problem));
        }
        let mark = tool.cache_control;
        let cache = mark.map(|mark| mark.read(|| format!("{place}."), fields)).transpose()?;
        reading::short(place, ".function.name", &name)?;
        if tools.iter().any(|known| known.name == name) {
            return Err(place.error(Kind::WrongValue, ".function.name", "is the name of another tool too"));
        }
        tools.push(Tool {
            place,
            name,
            description: function.description,
            parameters: function.parameters,
            strict: function.strict,
            cache,
        });
    }
    Ok(tools)
}

/// Takes those of the tools away that the choice does not allow.
fn tool_choice<'a>(
    raw: &'a RawValue,
    tools: &mut Vec<Tool<'a>>,
    fields: &mut Seen<'a>,
) -> Result<ToolChoice<'a>, Error> {
    let wrong = |kind, problem: &str| Error::at(kind, "tool_choice", problem);
    const FORMS: &str = "must be none, auto, required or a function such as \
        {\"type\":\"function\",\"function\":{\"name\":\"…\"}}";
    if let Some(word) = Text::from_raw(raw) {
        return match word.escaped() {
            "none" => Ok(ToolChoice::None),
            "auto" => Ok(ToolChoice::Auto),
            "required" => Ok(ToolChoice::Required),
            _ => Err(wrong(Kind::WrongValue, FORMS)),
        };
    }
    if !raw.get().starts_with('{') {
        return Err(wrong(Kind::WrongType, FORMS));
    }
    let choice: wire::ToolChoice<'a> = read(raw, || "tool_choice".to_owned())?;
    fields.keep("tool_choice.", &choice.other);
    match choice.kind.as_ref().map(Str::as_str) {
        Some("function") => {}
        Some("allowed_tools") => {
            let Some(allowed) = choice.allowed_tools else {
                return Err(missing("tool_choice.allowed_tools", "names the tools to choose from"));
            };
            return allow(allowed, tools, fields);
        }
        Some(_) | None => return Err(wrong(Kind::WrongValue, FORMS)),
    }
    if let Some(function) = &choice.function {
        fields.keep("tool_choice.function.", &function.other);
    }
    match choice.function.and_then(|function| function.name) {
        Some(name) => Ok(ToolChoice::Named(name)),
        None => Err(missing("tool_choice.function.name", "names the function to call")),
    }
}

/// A choice of some of the tools that are offered is the offer of these: that others are offered serves OpenAI's cache.
fn allow<'a>(
    allowed: wire::AllowedTools<'a>,
    tools: &mut Vec<Tool<'a>>,
    fields: &mut Seen<'a>,
) -> Result<ToolChoice<'a>, Error> {
    const PLACE: &str = "tool_choice.allowed_tools";
    fields.keep("tool_choice.allowed_tools.", &allowed.other);
    let choice = match allowed.mode.as_ref().map(Str::as_str) {
        Some("auto") => ToolChoice::Auto,
        Some("required") => ToolChoice::Required,
        Some(_) | None => {
            return Err(Error::at(Kind::WrongValue, format!("{PLACE}.mode"), "must be auto or required"));
        }
    };
    let offered: BTreeSet<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    let mut names = Vec::new();
    for (index, tool) in allowed.tools.map(|tools| tools.items).unwrap_or_default().into_iter().enumerate() {
        fields.keep("tool_choice.allowed_tools.tools[].", &tool.other);
        let name = tool.function.and_then(|function| function.name);
        let Some(name) = name.filter(|name| offered.contains(name.as_str())) else {
            let path = format!("{PLACE}.tools[{index}].function.name");
            return Err(Error::at(Kind::WrongValue, path, "must be the name of a function among `tools`"));
        };
        names.push(name);
    }
    if names.is_empty() {
        let problem = "names no tool; name one, or say `none`";
        return Err(Error::at(Kind::WrongValue, format!("{PLACE}.tools"), problem));
    }
    let names: BTreeSet<&str> = names.iter().map(Str::as_str).collect();
    tools.retain(|tool| names.contains(tool.name.as_str()));
    Ok(choice)
}

fn delivery<'a>(
    stream: Option<bool>,
    options: Option<wire::StreamOptions<'a>>,
    fields: &mut Seen<'a>,
) -> Delivery {
    if let Some(options) = &options {
        fields.keep("stream_options.", &options.other);
    }
    match stream {
        Some(true) => {
            Delivery::Stream { usage: options.and_then(|options| options.include_usage).unwrap_or(false) }
        }
        Some(false) | None => Delivery::Whole,
    }
}

/// platform.openai.com/docs/api-reference/chat/create#chat-create-service_tier, and the clouds' own word
/// for what is reserved.
fn tier(name: &Str<'_>) -> Result<Option<Tier>, Error> {
    match name.as_str() {
        "auto" => Ok(None),
        "default" => Ok(Some(Tier::Standard)),
        "priority" | "fast" => Ok(Some(Tier::Priority)),
        "flex" => Ok(Some(Tier::Flex)),
        "scale" | "reserved" => Ok(Some(Tier::Reserved)),
        _ => {
            let problem = "must be auto, default, flex, priority or scale";
            Err(Error::at(Kind::WrongValue, "service_tier", problem))
        }
    }
}

fn stop(raw: &RawValue) -> Result<Vec<Text<'_>>, Error> {
    let mut stops: Vec<Text<'_>> = match Text::from_raw(raw) {
        Some(text) => vec![text],
        None if raw.get().starts_with('[') => read(raw, || "stop".to_owned())?,
        None => {
            return Err(Error::at(
                Kind::WrongType,
                "stop",
                &wrong_type(raw, "a string or an array of strings"),
            ));
        }
    };
    // An empty stop sequence would stop nothing, and the clouds refuse it.
    stops.retain(|text| !text.is_empty());
    Ok(stops)
}

fn response_format<'a>(format: wire::ResponseFormat<'a>, fields: &mut Seen<'a>) -> Result<Format<'a>, Error> {
    fields.keep("response_format.", &format.other);
    match format.kind.as_ref().map(Str::as_str) {
        Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::JsonObject),
        Some("json_schema") => {
            let Some(named) = format.json_schema else {
                return Err(missing("response_format.json_schema", "holds the schema"));
            };
            let Some(schema) = named.schema else {
                return Err(missing("response_format.json_schema.schema", "is the schema"));
            };
            if !schema.get().starts_with('{') {
                let problem = wrong_type(schema, "an object");
                return Err(Error::at(Kind::WrongType, "response_format.json_schema.schema", &problem));
            }
            fields.keep("response_format.json_schema.", &named.other);
            Ok(Format::JsonSchema { name: named.name, description: named.description, schema })
        }
        Some(_) => Err(Error::at(
            Kind::WrongValue,
            "response_format.type",
            "must be text, json_object or json_schema",
        )),
        None => Err(missing("response_format.type", "is text, json_object or json_schema")),
    }
}

/// A member whose type is as simple as its name.
fn member<'a, T: Deserialize<'a>>(other: &Fields<'a>, name: &str) -> Result<Option<T>, Error> {
    other.get(name).filter(|raw| raw.get() != "null").map(|raw| read(raw, || name.to_owned())).transpose()
}

/// OpenAI tells of no more others than this.
const MOST_LOGPROBS: u64 = 20;

fn logprobs(other: &Fields<'_>) -> Result<Option<u64>, Error> {
    let wanted = member::<bool>(other, "logprobs")? == Some(true);
    let others = member::<Count<'_>>(other, "top_logprobs")?.map_or(0, Count::value);
    if others > MOST_LOGPROBS || (others > 0 && !wanted) {
        let problem = format!("must be from 0 to {MOST_LOGPROBS}, beside `logprobs: true`");
        return Err(Error::at(Kind::WrongValue, "top_logprobs", &problem));
    }
    Ok(wanted.then_some(others))
}

/// The top-level fields that say something other than the API's own default.
fn given<'a>(body: &wire::Body<'a>) -> Seen<'a> {
    let mut fields = Seen::default();
    for name in body.known() {
        let silent = match name {
            "parallel_tool_calls" => body.parallel_tool_calls == Some(true),
            "presence_penalty" => !body.presence_penalty.is_some_and(says_something),
            "frequency_penalty" => !body.frequency_penalty.is_some_and(says_something),
            "service_tier" => {
                body.service_tier.as_ref().is_some_and(|tier| ["auto", "default"].contains(&tier.as_str()))
            }
            _ => false,
        };
        if !silent {
            fields.must_see(name);
        }
    }
    for (name, value) in body.other.given() {
        if DEFAULTS.contains(&(name, value.get())) || extra::is_extra(name, extra::CHAT) {
            continue;
        }
        match FIELDS.iter().find(|field| **field == name) {
            Some(field) => fields.must_see(field),
            None => fields.see(|| name.to_owned()),
        }
    }
    fields
}

/// A penalty of zero is the same as none.
fn says_something(number: Number<'_>) -> bool {
    number.value() != 0.0
}

/// White space around a JSON text means nothing, but would stand in the way of the comma behind it.
fn trimmed(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) if text.trim().len() == text.len() => Cow::Owned(text),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

fn is_object(text: &str) -> bool {
    text.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_calls_so_many_tools_and_not_one_more() {
        let call = r#"{"id":"","type":"function","function":{"name":"f","arguments":"{}"}}"#;
        let parsed = |count| {
            let (calls, result) =
                (vec![call; count].join(","), r#",{"role":"tool","content":"ok"}"#.repeat(count));
            let talk = r#"{"role":"user","content":"Go."},{"role":"assistant","tool_calls":["#;
            let body = format!(r#"{{"model":"m","messages":[{talk}{calls}]}}{result}]}}"#);
            parse(body.as_bytes()).map(|asked| asked.request.turns.len())
        };
        assert_eq!(parsed(MOST_TOOLS), Ok(3));
        let fault = parsed(MOST_TOOLS + 1).unwrap_err();
        assert_eq!(fault.param.as_deref(), Some("messages[1].tool_calls[512]"));
    }
}
