//! A chat completion request: bytes in, vocabulary out.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire;
use crate::base::error::{Error, Kind};
use crate::base::json::{self, Fields, Number, Str, Text, Unreadable, wrong_type};
use crate::chat::{
    Content, Delivery, Format, Image, Part, Place, Request, Role, Sampling, Tool, ToolCall, ToolChoice,
    ToolResult, Turn,
};
use crate::dialect::fates::{OPENAI_CHAT, OPENAI_CHAT_DEFAULTS};

/// A request and the model that it asks for.
#[derive(Debug)]
pub struct Asked<'a> {
    /// As the client wrote it.
    pub model: Str<'a>,
    pub request: Request<'a>,
}

/// Reads a chat completion request.
///
/// # Errors
/// The first thing that is wrong, named by its path.
pub fn parse(body: &[u8]) -> Result<Asked<'_>, Error> {
    // Once for all: slices of it need no check of their own.
    let text = std::str::from_utf8(body).map_err(|e| {
        Error::new(Kind::NotJson, format!("the body is not UTF-8 at byte {}", e.valid_up_to()))
    })?;
    let body: wire::Body<'_> = json::read(text).map_err(|fault| unreadable("", fault))?;
    let mut fields = given(&body);

    let Some(model) = body.model else { return Err(missing("model", "names the model to ask")) };
    let Some(messages) = body.messages else { return Err(missing("messages", "holds the conversation")) };
    let mut talk = Conversation::default();
    for (index, raw) in messages.into_iter().enumerate() {
        talk.message(index, raw, &mut fields)?;
    }
    talk.results_are_in()?;
    match talk.turns.first() {
        None => return Err(Error::at(Kind::WrongValue, "messages", "needs at least one user message")),
        Some(turn) if turn.role == Role::Assistant => {
            return Err(Error::at(
                Kind::WrongValue,
                "messages",
                "must have a user message before the first reply",
            ));
        }
        Some(_) => {}
    }

    for (field, most) in
        [("max_completion_tokens", body.max_completion_tokens), ("max_tokens", body.max_tokens)]
    {
        if most.is_some_and(|most| most.value() == 0) {
            return Err(Error::at(Kind::WrongValue, field, "must be at least 1"));
        }
    }

    let request = Request {
        system: talk.system,
        turns: talk.turns,
        tools: tools(body.tools.unwrap_or_default(), &mut fields)?,
        tool_choice: body.tool_choice.map(|raw| tool_choice(raw, &mut fields)).transpose()?,
        parallel_tool_calls: body.parallel_tool_calls,
        sampling: Sampling {
            // The newer name wins, as at OpenAI.
            max_tokens: body.max_completion_tokens.or(body.max_tokens),
            temperature: body.temperature,
            top_p: body.top_p,
            stop: body.stop.map(stop).transpose()?.unwrap_or_default(),
            seed: body.seed,
            presence_penalty: body.presence_penalty.filter(|number| says_something(*number)),
            frequency_penalty: body.frequency_penalty.filter(|number| says_something(*number)),
        },
        format: body
            .response_format
            .map_or(Ok(Format::Text), |format| response_format(format, &mut fields))?,
        delivery: delivery(body.stream, body.stream_options, &mut fields),
        fields,
    };
    Ok(Asked { model, request })
}

/// The conversation as it grows, message by message.
#[derive(Default)]
struct Conversation<'a> {
    system: Vec<Part<'a>>,
    turns: Vec<Turn<'a>>,
    /// The calls of the latest reply, each with its result once that has come.
    calls: Vec<Call<'a>>,
}

struct Call<'a> {
    place: Place,
    id: Str<'a>,
    name: Str<'a>,
    result: Option<Part<'a>>,
}

impl<'a> Conversation<'a> {
    fn message(&mut self, index: usize, raw: &'a RawValue, fields: &mut Seen<'a>) -> Result<(), Error> {
        let message: wire::Message<'a> = read(raw, || format!("messages[{index}]"))?;
        keep(fields, "messages[].", &message.other);
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
            self.results_are_in()?;
        }
        match role.as_str() {
            "system" | "developer" => {
                let parts = contents(index, message.content, fields)?;
                for part in &parts {
                    if !matches!(part.content, Content::Text(_)) {
                        return Err(part.place.error(
                            Kind::Unsupported,
                            "",
                            "must be text in a system message",
                        ));
                    }
                }
                self.system.extend(parts);
            }
            "user" => {
                let parts = contents(index, message.content, fields)?;
                if parts.is_empty() {
                    let problem = "is blank, and the clouds refuse blank messages; leave the message out";
                    return Err(Place::Message(index).error(Kind::WrongValue, "", problem));
                }
                self.push(Role::User, parts);
            }
            "assistant" => {
                let mut parts = contents(index, message.content, fields)?;
                if let Some(refusal) = message.refusal.filter(|text| !text.is_blank()) {
                    parts.push(Part { place: Place::Message(index), content: Content::Text(refusal) });
                }
                for (call, raw) in message.tool_calls.unwrap_or_default().into_iter().enumerate() {
                    parts.push(self.call(Place::Call(index, call), raw, fields)?);
                }
                // A reply that says nothing (some clients keep them) is left out.
                self.push(Role::Assistant, parts);
            }
            "tool" => self.result(index, message, fields)?,
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

    /// Adds to the turn, or begins the next one: the clouds want turns that alternate.
    fn push(&mut self, role: Role, parts: Vec<Part<'a>>) {
        if parts.is_empty() {
            return;
        }
        match self.turns.last_mut() {
            Some(turn) if turn.role == role => turn.parts.extend(parts),
            _ => self.turns.push(Turn { role, parts }),
        }
    }

    fn call(&mut self, place: Place, raw: &'a RawValue, fields: &mut Seen<'a>) -> Result<Part<'a>, Error> {
        let call: wire::ToolCall<'a> = read(raw, || place.to_string())?;
        keep(fields, "messages[].tool_calls[].", &call.other);
        if let Some(kind) = call.kind.filter(|kind| kind.as_str() != "function") {
            let problem = if kind.as_str() == "custom" {
                "is a custom tool call, which only OpenAI's models make; leave it out"
            } else {
                "must be `function`"
            };
            return Err(place.error(Kind::Unsupported, ".type", problem));
        }
        let Some(id) = call.id else {
            return Err(missing(&format!("{place}.id"), "ties the call to its result"));
        };
        let Some(function) = call.function else {
            return Err(missing(&format!("{place}.function"), "tells what was called"));
        };
        keep(fields, "messages[].tool_calls[].function.", &function.other);
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
        if self.calls.len() >= MOST_TOOLS {
            return Err(place.error(Kind::WrongValue, "", "is one call too many for a message"));
        }
        if self.calls.iter().any(|known| known.id == id) {
            return Err(place.error(
                Kind::WrongValue,
                ".id",
                "is the id of another call of this message too",
            ));
        }
        self.calls.push(Call { place, id: id.clone(), name: name.clone(), result: None });
        let mut signature = None;
        if let Some(extra) = call.extra_content {
            keep(fields, "messages[].tool_calls[].extra_content.", &extra.other);
            if let Some(google) = extra.google {
                keep(fields, "messages[].tool_calls[].extra_content.google.", &google.other);
                signature = google.thought_signature;
            }
        }
        Ok(Part { place, content: Content::ToolCall(ToolCall { id, name, arguments, signature }) })
    }

    fn result(
        &mut self,
        index: usize,
        message: wire::Message<'a>,
        fields: &mut Seen<'a>,
    ) -> Result<(), Error> {
        let place = Place::Result(index);
        let Some(id) = message.tool_call_id else {
            return Err(missing(&place.to_string(), "names the call that this is the result of"));
        };
        let parts = contents(index, message.content, fields)?;
        let Some(call) = self.calls.iter_mut().find(|call| call.id == id) else {
            let problem = "names no tool call of the assistant message before it";
            return Err(place.error(Kind::WrongValue, "", problem));
        };
        if call.result.is_some() {
            return Err(place.error(Kind::WrongValue, "", "names a call that has its result already"));
        }
        let result = ToolResult { id, name: call.name.clone(), parts };
        call.result = Some(Part { place, content: Content::ToolResult(result) });
        Ok(())
    }

    /// Puts the results of the latest calls into a user turn, in the order of the calls.
    fn results_are_in(&mut self) -> Result<(), Error> {
        let mut results = Vec::with_capacity(self.calls.len());
        for call in self.calls.drain(..) {
            let Some(result) = call.result else {
                let problem =
                    "has no result: a tool message with its id must follow before any other message";
                return Err(call.place.error(Kind::WrongValue, "", problem));
            };
            results.push(result);
        }
        self.push(Role::User, results);
        Ok(())
    }
}

/// The texts and images of a message; blank texts are left out, which the clouds refuse.
fn contents<'a>(
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
            vec![Part { place, content: Content::Text(text) }]
        });
    }
    if !content.get().starts_with('[') {
        let problem = wrong_type(content, "a string or an array of parts");
        return Err(Place::Message(index).error(Kind::WrongType, "", &problem));
    }
    let raws: Vec<&'a RawValue> = read(content, || Place::Message(index).to_string())?;
    let mut parts = Vec::with_capacity(raws.len());
    for (number, raw) in raws.into_iter().enumerate() {
        let place = Place::Part(index, number);
        let part: wire::Part<'a> = read(raw, || place.to_string())?;
        keep(fields, "messages[].content[].", &part.other);
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
            "image_url" => {
                let url = part.image_url.as_ref().and_then(|image| image.url);
                let Some(url) = url else {
                    return Err(missing(&format!("{place}.image_url.url"), "is the image, as a data URL"));
                };
                for (name, value) in part.image_url.iter().flat_map(|image| image.other.given()) {
                    if (name, value.get()) != ("detail", r#""auto""#) {
                        see(fields, || format!("messages[].content[].image_url.{name}"));
                    }
                }
                Content::Image(image(place, url)?)
            }
            "input_audio" | "file" => {
                return Err(place.error(
                    Kind::Unsupported,
                    ".type",
                    "parts of this type are not supported; send text or images",
                ));
            }
            _ => return Err(place.error(Kind::Unsupported, ".type", "must be text or image_url")),
        };
        if !matches!(content, Content::Text(text) if text.is_blank()) {
            parts.push(Part { place, content });
        }
    }
    Ok(parts)
}

/// Reads an image's address. RFC 2397: `data:<media type>;base64,<data>`.
fn image(place: Place, url: Text<'_>) -> Result<Image<'_>, Error> {
    let wrong = |problem| place.error(Kind::WrongValue, ".image_url.url", problem);
    let starts =
        |prefix: &str| url.escaped().get(..prefix.len()).is_some_and(|s| s.eq_ignore_ascii_case(prefix));
    if !starts("data:") {
        if starts("https:") || starts("http:") || starts("gs:") {
            return Ok(Image::Address(url));
        }
        return Err(wrong("must be a data URL such as `data:image/png;base64,…`"));
    }
    let Some((head, data)) = url.split_once(',') else {
        return Err(wrong("is a data URL without a comma and data behind it"));
    };
    let head = head.unescape();
    let description = head.get("data:".len()..).unwrap_or_default();
    let (media_type, parameters) = description.split_once(';').unwrap_or((description, ""));
    if !parameters.split(';').any(|parameter| parameter.trim().eq_ignore_ascii_case("base64")) {
        return Err(wrong("must hold base64: `data:image/png;base64,…`"));
    }
    if data.is_blank() {
        return Err(wrong("holds no data"));
    }
    Ok(Image::Inline { media_type: Cow::Owned(media_type.trim().to_ascii_lowercase()), data })
}

/// How many tools a request may offer and a message may call. The clouds take fewer (Gemini 512, Bedrock
/// less for most models); the bound keeps the look for doubles cheap.
const MOST_TOOLS: usize = 512;

fn tools<'a>(raws: Vec<&'a RawValue>, fields: &mut Seen<'a>) -> Result<Vec<Tool<'a>>, Error> {
    if raws.len() > MOST_TOOLS {
        let problem = format!("holds {} tools; {MOST_TOOLS} is the most", raws.len());
        return Err(Error::at(Kind::WrongValue, "tools", &problem));
    }
    let mut tools: Vec<Tool<'a>> = Vec::with_capacity(raws.len());
    for (index, raw) in raws.into_iter().enumerate() {
        let place = Place::Tool(index);
        let tool: wire::Tool<'a> = read(raw, || place.to_string())?;
        keep(fields, "tools[].", &tool.other);
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
        keep(fields, "tools[].function.", &function.other);
        let Some(name) = function.name else {
            return Err(missing(&format!("{place}.function.name"), "is what the model calls it by"));
        };
        if let Some(parameters) = function.parameters.filter(|raw| !raw.get().starts_with('{')) {
            let problem = wrong_type(parameters, "a JSON Schema");
            return Err(place.error(Kind::WrongType, ".function.parameters", &problem));
        }
        if tools.iter().any(|known| known.name == name) {
            return Err(place.error(Kind::WrongValue, ".function.name", "is the name of another tool too"));
        }
        tools.push(Tool {
            place,
            name,
            description: function.description,
            parameters: function.parameters,
            strict: function.strict,
        });
    }
    Ok(tools)
}

fn tool_choice<'a>(raw: &'a RawValue, fields: &mut Seen<'a>) -> Result<ToolChoice<'a>, Error> {
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
    keep(fields, "tool_choice.", &choice.other);
    match choice.kind.as_ref().map(Str::as_str) {
        Some("function") => {}
        Some("allowed_tools") => {
            return Err(wrong(
                Kind::Unsupported,
                "allowed_tools is not supported; send only the tools that are allowed",
            ));
        }
        Some(_) | None => return Err(wrong(Kind::WrongValue, FORMS)),
    }
    if let Some(function) = &choice.function {
        keep(fields, "tool_choice.function.", &function.other);
    }
    match choice.function.and_then(|function| function.name) {
        Some(name) => Ok(ToolChoice::Named(name)),
        None => Err(missing("tool_choice.function.name", "names the function to call")),
    }
}

fn delivery<'a>(
    stream: Option<bool>,
    options: Option<wire::StreamOptions<'a>>,
    fields: &mut Seen<'a>,
) -> Delivery {
    if let Some(options) = &options {
        keep(fields, "stream_options.", &options.other);
    }
    match stream {
        Some(true) => {
            Delivery::Stream { usage: options.and_then(|options| options.include_usage).unwrap_or(false) }
        }
        Some(false) | None => Delivery::Whole,
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
    keep(fields, "response_format.", &format.other);
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
            keep(fields, "response_format.json_schema.", &named.other);
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

/// Names of fields that were given, each once.
type Seen<'a> = Vec<Cow<'a, str>>;

/// The top-level fields that say something other than the API's own default.
fn given<'a>(body: &wire::Body<'a>) -> Seen<'a> {
    let mut fields: Seen<'a> = Vec::new();
    for name in body.known() {
        let silent = match name {
            "parallel_tool_calls" => body.parallel_tool_calls == Some(true),
            "presence_penalty" => !body.presence_penalty.is_some_and(says_something),
            "frequency_penalty" => !body.frequency_penalty.is_some_and(says_something),
            _ => false,
        };
        if !silent {
            fields.push(Cow::Borrowed(name));
        }
    }
    for (name, value) in body.other.given() {
        if OPENAI_CHAT_DEFAULTS.contains(&(name, value.get())) {
            continue;
        }
        match OPENAI_CHAT.iter().find(|row| row.field == name) {
            // However much else there is, what has a fate of its own is never overlooked.
            Some(row) if !fields.iter().any(|seen| seen == row.field) => {
                fields.push(Cow::Borrowed(row.field))
            }
            Some(_) => {}
            None => see(&mut fields, || name.to_owned()),
        }
    }
    fields
}

/// Notes members that the vocabulary has no word for.
fn keep<'a>(fields: &mut Seen<'a>, prefix: &str, other: &Fields<'a>) {
    for (name, _) in other.given() {
        see(fields, || format!("{prefix}{name}"));
    }
}

/// How many unknown fields are named: a body of nothing else must not cost more than its size, and the
/// names leave in a header.
const MOST_NAMED: usize = 64;

fn see<'a>(fields: &mut Seen<'a>, name: impl FnOnce() -> String) {
    if fields.len() >= MOST_NAMED {
        return;
    }
    let name = Cow::Owned(name());
    if !fields.contains(&name) {
        fields.push(name);
    }
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

fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue, place: impl FnOnce() -> String) -> Result<T, Error> {
    json::read(raw.get()).map_err(|fault| unreadable(&place(), fault))
}

fn unreadable(place: &str, fault: Unreadable) -> Error {
    if fault.syntax && place.is_empty() {
        return Error::new(Kind::NotJson, format!("the body is not JSON: {}", fault.problem));
    }
    let dot = if place.is_empty() || fault.path.is_empty() || fault.path.starts_with('[') { "" } else { "." };
    let path = format!("{place}{dot}{}", fault.path);
    if path.is_empty() {
        return Error::new(Kind::WrongType, format!("the body: {}", fault.problem));
    }
    Error::at(Kind::WrongType, path, &fault.problem)
}

fn missing(path: &str, purpose: &str) -> Error {
    Error::at(Kind::Missing, path, &format!("is missing; it {purpose}"))
}
