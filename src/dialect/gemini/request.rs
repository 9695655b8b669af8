//! The vocabulary's request to Gemini's `generateContent` body, in one pass after one check.
//!
//! docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference. What the vendor's pages
//! leave out is marked with where it was seen.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::extra::{self, Own};
use super::media::{self, Within};
use super::schema::{self, Purpose};
use super::thinking;
use crate::base::error::{Error, Kind};
use crate::base::json::{self, Count, Fields, Number, Text, Writer, lines, wrong_type};
use crate::chat::{
    Content, Detail, Document, DocumentSource, Format, LeftOut, Part, Request, Role, Sampling, SearchResult,
    Spelling, Tier, Tool, ToolCall, ToolChoice, ToolResult, Turn,
};
use crate::dialect::{HeaderList, proof};

/// Writes the body for `model`, such as `gemini-2.5-flash`, to the end of `out`.
///
/// # Errors
/// What Gemini has no way to say, named by its path in the client's body.
pub fn write<'r>(request: &'r Request<'r>, model: &str, out: &mut Vec<u8>) -> Result<LeftOut, Error> {
    let generation = generation(model);
    check(request, generation)?;
    let picks = picks_by_itself(model);
    check_end(request, picks)?;
    let mut left_out = LeftOut::default();
    let own = extra::sort(request, &mut left_out)?;
    let detail = detail(request, generation, &own, &mut left_out);
    note(request, generation, picks, &mut left_out);
    let thinking = thinking::choose(model, request, &mut left_out);
    Writer::new(out).object(|w| {
        if !request.system.is_empty() {
            w.key("systemInstruction").object(|w| {
                w.key("parts").array(|w| {
                    for part in &request.system {
                        write_part(w, part, generation, false, request.spelling);
                    }
                });
            });
        }
        w.key("contents").array(|w| {
            for turn in &request.turns {
                write_turn(w, turn, generation, request.spelling);
            }
        });
        if !request.tools.is_empty() {
            write_tools(w, &request.tools, request.spelling)?;
        } else if request.search.is_some() {
            w.key("tools").array(|w| w.object(|w| w.key("googleSearch").object(|_| {})));
        }
        let is_strict = request.tools.iter().any(|tool| tool.strict == Some(true));
        let validated = is_strict && thinking::is_2_5_or_later(model);
        if is_strict && !validated {
            left_out.note(request.spelling.strict);
        }
        write_tool_config(w, request, validated, &own);
        let penalised = generation < GEMINI_3;
        write_generation_config(w, request, &Chosen { thinking, detail, penalised, picks }, &own)?;
        own.write(w);
        Ok::<(), Error>(())
    })?;
    Ok(left_out)
}

/// Vertex AI reads how soon it is to serve a request from headers; `serviceTier` in the body, which is for the Gemini
/// API, it takes and does nothing about (BerriAI/litellm pull request 34959). What is reserved is used first in any
/// case, and `dedicated` uses nothing else:
/// docs.cloud.google.com/vertex-ai/generative-ai/docs/priority-paygo, …/flex-paygo,
/// …/provisioned-throughput/use-provisioned-throughput.
pub fn headers(tier: Option<Tier>) -> HeaderList {
    let shared = |kind: &str| vec![("x-vertex-ai-llm-shared-request-type", kind.to_owned())];
    match tier {
        None | Some(Tier::Standard) => Vec::new(),
        Some(Tier::Priority) => shared("priority"),
        Some(Tier::Flex) => shared("flex"),
        Some(Tier::Reserved) => vec![("x-vertex-ai-llm-request-type", "dedicated".to_owned())],
    }
}

/// Notes what Gemini has no place for. It keeps its own cache, and thoughts come back as the signatures of
/// calls only.
fn note(request: &Request<'_>, generation: u32, picks: bool, left_out: &mut LeftOut) {
    let parts = || request.turns.iter().flat_map(|turn| &turn.parts).chain(&request.system);
    if parts().any(|part| part.cache.is_some()) || request.tools.iter().any(|tool| tool.cache.is_some()) {
        left_out.note(request.spelling.cache);
    }
    if parts().any(|part| matches!(part.content, Content::Thinking(_) | Content::Redacted(_))) {
        left_out.note(request.spelling.thought);
    }
    if matches!(request.format, Format::JsonSchema { description: Some(_), .. }) {
        left_out.note("response_format.json_schema.description");
    }
    if !request.betas.is_empty() {
        left_out.note("anthropic-beta");
    }
    let sampling = &request.sampling;
    for (is_left, name) in [
        (sampling.presence_penalty.is_some() && generation >= GEMINI_3, "presence_penalty"),
        (sampling.frequency_penalty.is_some() && generation >= GEMINI_3, "frequency_penalty"),
        (sampling.temperature.is_some() && picks, "temperature"),
        (sampling.top_p.is_some() && picks, "top_p"),
        (sampling.top_k.is_some() && picks, "top_k"),
    ] {
        if is_left {
            left_out.note(name);
        }
    }
    if let Some(Ok(options)) = request.search.map(|search| json::read::<Fields<'_>>(search.get())) {
        for (name, path) in [
            ("search_context_size", "web_search_options.search_context_size"),
            ("user_location", "web_search_options.user_location"),
        ] {
            if options.given().any(|(given, _)| given == name) {
                left_out.note(path);
            }
        }
    }
    // Gemini has no word for it, and of several calls none could be dropped unseen.
    if request.parallel_tool_calls == Some(false) && !request.tools.is_empty() {
        left_out.note(request.spelling.parallel);
    }
}

/// In which detail to look at everything; notes where that is not what the client wants. Gemini 3 is told at every
/// picture of a message, and never at one in the result of a tool.
fn detail(request: &Request<'_>, generation: u32, own: &Own<'_>, left_out: &mut LeftOut) -> Option<Detail> {
    let is_told = own.generation.iter().any(|(name, _)| name == "mediaResolution");
    let (of_all, is_lost) = if generation >= GEMINI_3 {
        let mut parts = request.turns.iter().flat_map(|turn| &turn.parts);
        (None, parts.any(|part| matches!(part.content, Content::ToolResult(_)) && part.has_detail()))
    } else {
        let of_all = media::detail_of_all(request).filter(|_| !is_told);
        (of_all, of_all.is_none() && request.has_detail())
    };
    if is_lost {
        left_out.note(Detail::NAME);
    }
    of_all
}

/// The major version of a Gemini model by its name: 2 for `gemini-2.5-pro-exp-03-25`. Names that carry
/// none (`gemini-flash-latest`, a tuned model's number) count as the newest.
pub fn generation(model: &str) -> u32 {
    let name = model.rsplit('/').next().unwrap_or(model);
    let version = name.strip_prefix("gemini-").unwrap_or_default();
    let digits = version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(u32::MAX)
}

/// Whether a model picks its words in one way only, whatever a request says, and no longer goes on with a reply that was
/// begun: Gemini 3.6 Flash, Gemini 3.5 Flash-Lite and all that came after them
/// (ai.google.dev/gemini-api/docs/whats-new-gemini-3.6; langchain-google pull request 1897). Google overlooks what is
/// said of sampling there, and has announced that it will refuse it.
fn picks_by_itself(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let Some(version) = name.strip_prefix("gemini-") else { return false };
    let (number, kind) = version.split_once('-').unwrap_or((version, ""));
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    match (major.parse::<u32>(), minor.parse::<u32>()) {
        (Ok(major), Ok(minor)) => (major, minor) >= (3, if kind.starts_with("flash-lite") { 5 } else { 6 }),
        // `gemini-flash-latest`; the latest Pro is older.
        _ => number == "flash",
    }
}

/// The generation that began to refuse a step of tool calls without a thought signature and the penalties ("Penalty is
/// not enabled for this model", BerriAI/litellm#16907), and to take images in tool results (2.5 answers "`function_response.parts` is not supported for this model",
/// gemini-cli issue 19436).
pub const GEMINI_3: u32 = 3;

/// Refuses what cannot be said, so that writing cannot fail half-way.
fn check(request: &Request<'_>, generation: u32) -> Result<(), Error> {
    for part in &request.system {
        if !matches!(part.content, Content::Text(_)) {
            return Err(part.place.error(Kind::Unsupported, "", "instructions to Gemini must be text"));
        }
    }
    if request.turns.iter().all(|turn| turn.parts.is_empty()) {
        let problem = "Gemini answers only to a message; send one from the user besides the instructions";
        return Err(Error::at(Kind::Unsupported, "messages", problem));
    }
    for part in request.turns.iter().flat_map(|turn| &turn.parts) {
        match &part.content {
            Content::Text(_)
            | Content::SearchResult(_)
            | Content::Thinking(_)
            | Content::Redacted(_)
            | Content::ToolCall(_) => {}
            Content::Image(image) => {
                media::image(part, image, Within::Message, request.spelling)?;
            }
            Content::Document(document) => {
                media::document(part, document, Within::Message)?;
            }
            Content::ToolResult(result) => check_result(result, generation, request.spelling)?,
        }
    }
    // Gemini 2: "Function calling with a response mime type: 'application/json' is unsupported".
    if !request.tools.is_empty() && !matches!(request.format, Format::Text) && generation < GEMINI_3 {
        let problem = "this model cannot both call tools and answer in JSON; leave one of them out, or take \
            Gemini 3 or newer";
        return Err(Error::at(Kind::Unsupported, request.spelling.format, problem));
    }
    check_tool_choice(request)?;
    check_sampling(&request.sampling, request.spelling)?;
    check_replies(request)?;
    check_search(request)
}

/// "Requests ending with a model turn are not supported": what the client has begun would not be gone on with.
fn check_end(request: &Request<'_>, picks: bool) -> Result<(), Error> {
    let last = request.turns.last().filter(|turn| picks && turn.role == Role::Assistant);
    match last.and_then(|turn| turn.parts.first()) {
        Some(part) => {
            let problem =
                "this model does not go on with a reply that was begun; end with a message of the user";
            Err(part.place.error(Kind::Unsupported, "", problem))
        }
        None => Ok(()),
    }
}

fn check_result(result: &ToolResult<'_>, generation: u32, spelling: &Spelling) -> Result<(), Error> {
    for part in &result.parts {
        let is_text = |document: &Document<'_>| matches!(document.source, DocumentSource::Texts(_));
        match &part.content {
            Content::Text(_) | Content::SearchResult(_) => {}
            Content::Document(document) if is_text(document) => {}
            Content::Image(_) | Content::Document(_) if generation < GEMINI_3 => {
                let problem = "this model takes no images or files in tool results (Gemini 3 and later do); \
                    send it in a user message";
                return Err(part.place.error(Kind::Unsupported, "", problem));
            }
            Content::Image(image) => {
                media::image(part, image, Within::Result, spelling)?;
            }
            Content::Document(document) => {
                media::document(part, document, Within::Result)?;
            }
            Content::Thinking(_) | Content::Redacted(_) | Content::ToolCall(_) | Content::ToolResult(_) => {
                return Err(part.place.error(Kind::Unsupported, "", "a tool result must be text or images"));
            }
        }
    }
    Ok(())
}

fn check_tool_choice(request: &Request<'_>) -> Result<(), Error> {
    let (path, problem) = match &request.tool_choice {
        None | Some(ToolChoice::Auto | ToolChoice::None) => return Ok(()),
        Some(ToolChoice::Required) if !request.tools.is_empty() => return Ok(()),
        Some(ToolChoice::Required) => ("tool_choice", "demands a tool call, but `tools` offers none"),
        Some(ToolChoice::Named(name)) if request.tools.iter().any(|tool| tool.name == *name) => return Ok(()),
        Some(ToolChoice::Named(_)) => (request.spelling.chosen_tool, "is none of the functions in `tools`"),
    };
    Err(Error::at(Kind::WrongValue, path, problem))
}

/// Gemini refuses more: ai.google.dev/api/generate-content#generationconfig. OpenAI allows 4.
const MOST_STOPS: usize = 5;

fn check_sampling(sampling: &Sampling<'_>, spelling: &Spelling) -> Result<(), Error> {
    let within = |number: Option<Number<'_>>, most: f64, path: &str| match number {
        Some(number) if !(0.0..=most).contains(&number.value()) => {
            Err(Error::at(Kind::WrongValue, path, &format!("must be from 0 to {most}")))
        }
        _ => Ok(()),
    };
    within(sampling.temperature, 2.0, "temperature")?;
    within(sampling.top_p, 1.0, "top_p")?;
    if sampling.stop.len() > MOST_STOPS {
        let problem = format!("Gemini takes at most {MOST_STOPS} stop sequences");
        return Err(Error::at(Kind::Unsupported, spelling.stop, &problem));
    }
    // `GenerationConfig.seed` is an int32; a part of a larger seed would be another seed.
    if sampling.seed.is_some_and(|seed| seed.token().parse::<i32>().is_err()) {
        let problem = format!("Gemini takes whole numbers from {} to {}", i32::MIN, i32::MAX);
        return Err(Error::at(Kind::Unsupported, "seed", &problem));
    }
    Ok(())
}

/// "Multiple tools are supported only when they are all search tools": what lifts that is no member of
/// Vertex AI's API (`ToolConfig.includeServerSideToolInvocations`).
fn check_search(request: &Request<'_>) -> Result<(), Error> {
    let Some(search) = request.search else { return Ok(()) };
    if !search.get().starts_with('{') {
        return Err(Error::at(Kind::WrongType, "web_search_options", &wrong_type(search, "an object")));
    }
    if !request.tools.is_empty() {
        let problem =
            "Gemini searches the web or calls functions, not both in one request; leave one of them out";
        return Err(Error::at(Kind::Unsupported, "web_search_options", problem));
    }
    Ok(())
}

/// As many as Gemini makes, but for its image models and the first of generation 3, which say so themselves
/// (CLIProxyAPI pull request 961, google-genai issue 1723).
const MOST_REPLIES: u64 = 8;

/// Several replies, and what they were made of, come whole only: to a stream Google answers with an error
/// (CLIProxyAPI pull request 961, vercel/ai pull request 11989).
fn check_replies(request: &Request<'_>) -> Result<(), Error> {
    let replies = request.sampling.replies.map_or(1, Count::value);
    if !(1..=MOST_REPLIES).contains(&replies) {
        let problem = format!("Gemini makes 1 to {MOST_REPLIES} replies of a request");
        return Err(Error::at(Kind::Unsupported, "n", &problem));
    }
    if !request.delivery.is_stream() {
        return Ok(());
    }
    if replies > 1 {
        let problem =
            "Gemini streams one reply at a time; send the request once for each, or without `stream`";
        return Err(Error::at(Kind::Unsupported, "n", problem));
    }
    if request.sampling.logprobs.is_some() {
        let problem = "Gemini tells them of whole replies only; send the request without `stream`";
        return Err(Error::at(Kind::Unsupported, "logprobs", problem));
    }
    Ok(())
}

/// Writes a turn as one content, or as two where tool results stand beside something else: a content
/// with results must have nothing but the results of the calls before it. Newer models refuse other
/// parts in it with messages that lead astray ("Requests ending with a model turn are not supported",
/// vellum-assistant pull request 39495); two user contents in a row are no trouble.
fn write_turn(w: &mut Writer<'_>, turn: &Turn<'_>, generation: u32, spelling: &Spelling) {
    for results in [true, false] {
        let is_thought =
            |part: &Part<'_>| matches!(part.content, Content::Thinking(_) | Content::Redacted(_));
        let is_meant =
            |part: &&Part<'_>| matches!(part.content, Content::ToolResult(_)) == results && !is_thought(part);
        let mut parts = turn.parts.iter().filter(is_meant).peekable();
        if parts.peek().is_none() {
            continue;
        }
        w.object(|w| {
            w.key("role").string(match turn.role {
                Role::User => "user",
                Role::Assistant => "model",
            });
            w.key("parts").array(|w| {
                // Of parallel calls only the first is signed, so only there a signature is missed.
                let mut unsigned = generation >= GEMINI_3;
                for part in parts {
                    let is_call = matches!(part.content, Content::ToolCall(_));
                    write_part(w, part, generation, unsigned && is_call, spelling);
                    unsigned &= !is_call;
                }
            });
        });
    }
}

/// `check` has refused what cannot be written.
fn write_part(
    w: &mut Writer<'_>,
    part: &Part<'_>,
    generation: u32,
    must_be_signed: bool,
    spelling: &Spelling,
) {
    match &part.content {
        Content::Text(text) => w.object(|w| {
            w.key("text").text(*text);
            // Google's word for a proof that nobody has belongs to calls alone.
            if let Some(proof) = part.proof.filter(|proof| proof.escaped() != NO_SIGNATURE) {
                w.key("thoughtSignature").string(&proof::standard(proof));
            }
        }),
        Content::Image(image) => {
            if let Ok(file) = media::image(part, image, Within::Message, spelling) {
                file.write_in_detail(image.detail.filter(|_| generation >= GEMINI_3), w);
            }
        }
        Content::Document(document) => write_document(w, part, document),
        Content::SearchResult(result) => {
            w.object(|w| w.key("text").texts(&lines_of(result)));
        }
        Content::Thinking(_) | Content::Redacted(_) => {} // `write_turn` has passed over it
        Content::ToolCall(call) => write_call(w, call, must_be_signed),
        Content::ToolResult(result) => write_result(w, result, spelling),
    }
}

/// A file as it is, a text as text under its title.
fn write_document(w: &mut Writer<'_>, part: &Part<'_>, document: &Document<'_>) {
    let about = [document.title, document.context].into_iter().flatten().filter(|text| !text.is_blank());
    if let DocumentSource::Texts(texts) = &document.source {
        w.object(|w| w.key("text").texts(&lines(about.chain(texts.iter().copied()))));
    } else if let Ok(Some(file)) = media::document(part, document, Within::Message) {
        about.for_each(|text| w.object(|w| w.key("text").text(text)));
        file.write(w);
    }
}

fn lines_of<'a>(result: &SearchResult<'a>) -> Vec<Text<'a>> {
    lines([result.title, result.source].into_iter().chain(result.texts.iter().copied()))
}

/// What Google documents for calls whose signature nobody has: made by another model, or lost by the
/// client. docs.cloud.google.com/vertex-ai/generative-ai/docs/thought-signatures, "Using REST or manual
/// handling"; the same on ai.google.dev/gemini-api/docs/thought-signatures, "FAQs".
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// No `id`: Vertex AI's v1 answers `Unknown name "id"` (langchainjs issue 10266, pydantic-ai issue 5081)
/// and matches results to calls by their order.
fn write_call(w: &mut Writer<'_>, call: &ToolCall<'_>, must_be_signed: bool) {
    w.object(|w| {
        w.key("functionCall").object(|w| {
            w.key("name").string(call.name.as_str());
            w.key("args").token(call.arguments.trim());
        });
        match call.signature {
            // A client may have been told Google's word by another gateway.
            Some(signature) if signature.escaped() == NO_SIGNATURE => {
                w.key("thoughtSignature").string(NO_SIGNATURE);
            }
            Some(signature) => w.key("thoughtSignature").string(&proof::standard(signature)),
            None if must_be_signed => w.key("thoughtSignature").string(NO_SIGNATURE),
            None => {}
        }
    });
}

fn write_result(w: &mut Writer<'_>, result: &ToolResult<'_>, spelling: &Spelling) {
    let mut texts: Vec<Text<'_>> = Vec::new();
    let mut files = Vec::new();
    for part in &result.parts {
        match &part.content {
            Content::Text(text) => texts.push(*text),
            Content::SearchResult(found) => {
                texts.extend([found.title, found.source].iter().chain(&found.texts));
            }
            Content::Document(document) => {
                texts.extend(document.title.iter().chain(&document.context));
                if let DocumentSource::Texts(pages) = &document.source {
                    texts.extend(pages);
                }
                files.extend(media::document(part, document, Within::Result).ok().flatten());
            }
            Content::Image(image) => files.extend(media::image(part, image, Within::Result, spelling)),
            Content::Thinking(_) | Content::Redacted(_) | Content::ToolCall(_) | Content::ToolResult(_) => {}
        }
    }
    let texts = lines(texts);
    w.object(|w| {
        w.key("functionResponse").object(|w| {
            w.key("name").string(result.name.as_str());
            w.key("response");
            match as_object(&texts).filter(|_| !result.failed) {
                Some(object) => w.token(object.trim()),
                // The two keys that `FunctionResponse.response` of google-genai 3.4 has a meaning for.
                None if result.failed && texts.is_empty() => {
                    w.object(|w| w.key("error").string("The tool failed."));
                }
                None if result.failed => w.object(|w| w.key("error").texts(&texts)),
                None => w.object(|w| w.key("output").texts(&texts)),
            }
            if !files.is_empty() {
                w.key("parts").array(|w| files.iter().for_each(|file| file.write(w)));
            }
        });
    });
}

/// The text of a result that can be sent as the JSON object it is. Any other goes under `output`, the
/// key that `FunctionResponse.response` has for it.
fn as_object<'a>(texts: &[Text<'a>]) -> Option<Cow<'a, str>> {
    let &[text] = texts else { return None };
    // White space before a brace may be escaped, but then it is `\n`, `\t`, `\r` or a code.
    if !text.escaped().trim_start().starts_with(['{', '\\']) {
        return None;
    }
    let text = text.unescape();
    let is_object = text.trim_start().starts_with('{') && serde_json::from_str::<&RawValue>(&text).is_ok();
    // There `$ref` names a file of the response, and any other makes Google refuse the request (vercel/ai
    // issue 14369).
    (is_object && is_exact(&text) && !text.contains("\"$ref\"")).then_some(text)
}

/// Whether a JSON text survives `google.protobuf.Struct`, in which every number is a double. The ids of
/// many services have more digits than that; as text they reach the model unharmed.
fn is_exact(json: &str) -> bool {
    /// Whole numbers up to here have a double of their own.
    const MOST: u64 = 1 << f64::MANTISSA_DIGITS;
    let mut rest = json;
    loop {
        let (outside, string) =
            rest.split_at_checked(rest.find('"').unwrap_or(rest.len())).unwrap_or((rest, ""));
        let harmed = outside.split([',', ':', '[', ']', '{', '}', ' ', '\n', '\r', '\t']).any(|token| {
            let digits = token.strip_prefix('-').unwrap_or(token);
            let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            whole && digits.parse::<u64>().map_or(true, |number| number > MOST)
        });
        if harmed {
            return false;
        }
        let Some(after) = after_string(string) else { return true };
        rest = after;
    }
}

/// What follows the string that `json` begins with.
fn after_string(json: &str) -> Option<&str> {
    let mut rest = json.strip_prefix('"')?;
    loop {
        let end = rest.find(['"', '\\'])?;
        if rest.as_bytes().get(end) == Some(&b'"') {
            return rest.get(end + 1..);
        }
        // The escaped character is ASCII in valid JSON.
        rest = rest.get(end + 2..)?;
    }
}

fn write_tools(w: &mut Writer<'_>, tools: &[Tool<'_>], spelling: &Spelling) -> Result<(), Error> {
    w.key("tools").array(|w| {
        w.object(|w| {
            w.key("functionDeclarations").array(|w| {
                for tool in tools {
                    w.object(|w| {
                        w.key("name").string(tool.name.as_str());
                        if let Some(description) = tool.description {
                            w.key("description").text(description);
                        }
                        if let Some(parameters) = tool.parameters.filter(|schema| !schema::is_empty(schema)) {
                            let purpose = Purpose {
                                role: schema::Role::Parameters,
                                promised: tool.strict == Some(true),
                                place: &|| format!("{}{}", tool.place, spelling.tool_schema),
                            };
                            schema::write(parameters, &purpose, w.key("parametersJsonSchema"))?;
                        }
                        Ok::<(), Error>(())
                    })?;
                }
                Ok(())
            })
        })
    })
}

/// `validated`: the arguments of calls must fit their schemas. A call that is demanded does so anyway
/// (ai.google.dev/gemini-api/docs/function-calling#function_calling_modes).
fn write_tool_config(w: &mut Writer<'_>, request: &Request<'_>, validated: bool, own: &Own<'_>) {
    let choice = request.tool_choice.as_ref().filter(|_| !request.tools.is_empty());
    let mode = match choice {
        None | Some(ToolChoice::Auto) if validated => Some("VALIDATED"),
        None => None,
        Some(ToolChoice::Auto) => Some("AUTO"),
        Some(ToolChoice::None) => Some("NONE"),
        Some(ToolChoice::Required | ToolChoice::Named(_)) => Some("ANY"),
    };
    if mode.is_none() && own.tools.is_empty() {
        return;
    }
    w.key("toolConfig").object(|w| {
        if let Some(mode) = mode {
            w.key("functionCallingConfig").object(|w| {
                w.key("mode").string(mode);
                if let Some(ToolChoice::Named(name)) = choice {
                    w.key("allowedFunctionNames").array(|w| w.string(name.as_str()));
                }
            });
        }
        own.tools.iter().for_each(|(name, value)| w.foreign_key(name).raw(value));
    });
}

/// What the model makes of a request.
struct Chosen {
    thinking: Option<thinking::Config>,
    /// In which to look at all files.
    detail: Option<Detail>,
    /// It takes penalties.
    penalised: bool,
    /// See [`picks_by_itself`].
    picks: bool,
}

fn write_generation_config(
    w: &mut Writer<'_>,
    request: &Request<'_>,
    chosen: &Chosen,
    own: &Own<'_>,
) -> Result<(), Error> {
    let &Chosen { thinking, detail, penalised, picks } = chosen;
    let Request { sampling, format, .. } = request;
    let top_k = sampling.top_k.filter(|_| !picks);
    let numbers = [
        ("temperature", sampling.temperature.filter(|_| !picks)),
        ("topP", sampling.top_p.filter(|_| !picks)),
        ("seed", sampling.seed),
        ("presencePenalty", sampling.presence_penalty.filter(|_| penalised)),
        ("frequencyPenalty", sampling.frequency_penalty.filter(|_| penalised)),
    ];
    let any = sampling.max_tokens.is_some()
        || top_k.is_some()
        || thinking.is_some()
        || detail.is_some()
        || numbers.iter().any(|(_, number)| number.is_some())
        || !sampling.stop.is_empty()
        || !matches!(format, Format::Text)
        || sampling.logprobs.is_some()
        || sampling.replies.is_some_and(|replies| replies.value() > 1)
        || !own.generation.is_empty();
    if !any {
        return Ok(());
    }
    w.key("generationConfig").object(|w| {
        if let Some(most) = sampling.max_tokens {
            w.key("maxOutputTokens").token(most.token());
        }
        for (key, number) in numbers {
            match number {
                // OpenAI's penalties go to 2, Gemini's "up to, but not including, 2.0".
                Some(number) if key.ends_with("Penalty") && number.value() == 2.0 => w.key(key).token("1.99"),
                Some(number) => w.key(key).token(number.token()),
                None => {}
            }
        }
        if let Some(top_k) = top_k {
            w.key("topK").token(top_k.token());
        }
        if let Some(replies) = sampling.replies.filter(|replies| replies.value() > 1) {
            w.key("candidateCount").token(replies.token());
        }
        if let Some(others) = sampling.logprobs {
            w.key("responseLogprobs").bool(true);
            if others > 0 {
                w.key("logprobs").number(others);
            }
        }
        if let Some(thinking) = thinking {
            w.key("thinkingConfig").object(|w| thinking.write(w));
        }
        if let Some(detail) = detail {
            w.key("mediaResolution").string(media::resolution(detail));
        }
        if !sampling.stop.is_empty() {
            w.key("stopSequences").array(|w| sampling.stop.iter().for_each(|stop| w.text(*stop)));
        }
        match format {
            Format::Text => {}
            Format::JsonObject => w.key("responseMimeType").string("application/json"),
            Format::JsonSchema { schema, .. } => {
                w.key("responseMimeType").string("application/json");
                let purpose = Purpose {
                    role: schema::Role::Reply,
                    promised: true,
                    place: &|| request.spelling.format_schema.to_owned(),
                };
                schema::write(schema, &purpose, w.key("responseJsonSchema"))?;
            }
        }
        own.generation.iter().for_each(|(name, value)| w.foreign_key(name).raw(value));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::base::json::Str;
    use crate::chat::{Delivery, ImageSource, Place, Reasoning};

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    /// `escaped` as it would stand in a client's body.
    fn text(escaped: &str) -> Text<'_> {
        let literal = Box::leak(format!("\"{escaped}\"").into_boxed_str());
        Text::from_raw(raw(literal)).unwrap()
    }

    fn name(name: &str) -> Str<'_> {
        Str(Cow::Borrowed(name))
    }

    fn part(content: Content<'_>) -> Part<'_> {
        Part { place: Place::Part(1, 0), content, cache: None, proof: None }
    }

    fn said(words: &str) -> Part<'_> {
        part(Content::Text(text(words)))
    }

    fn image(media_type: &'static str) -> Part<'static> {
        part(Content::Image(ImageSource::Inline { media_type: media_type.into(), data: text("aGk=") }.into()))
    }

    fn call<'a>(function: &'a str, signature: Option<&'a str>) -> Part<'a> {
        let arguments = Cow::Borrowed("{\"a\": 1.0}\n");
        part(Content::ToolCall(ToolCall {
            id: name("call_1"),
            name: name(function),
            arguments,
            signature: signature.map(text),
        }))
    }

    fn result<'a>(function: &'a str, parts: Vec<Part<'a>>) -> Part<'a> {
        part(Content::ToolResult(ToolResult {
            id: name("call_1"),
            name: name(function),
            parts,
            failed: false,
        }))
    }

    fn user(parts: Vec<Part<'_>>) -> Turn<'_> {
        Turn { role: Role::User, parts }
    }

    fn model(parts: Vec<Part<'_>>) -> Turn<'_> {
        Turn { role: Role::Assistant, parts }
    }

    fn tool<'a>(function: &'a str, parameters: Option<&'a str>) -> Tool<'a> {
        Tool {
            place: Place::Tool(0),
            name: name(function),
            description: None,
            parameters: parameters.map(raw),
            strict: None,
            cache: None,
        }
    }

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

    fn request(turns: Vec<Turn<'_>>) -> Request<'_> {
        Request {
            system: vec![],
            turns,
            tools: vec![],
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
            betas: vec![],
            spelling: &SPELLING,
            extra: Vec::new(),
            fields: vec![],
        }
    }

    fn hello() -> Request<'static> {
        request(vec![user(vec![said("Hello")])])
    }

    fn written_for(model: &str, request: &Request<'_>) -> String {
        let mut out = Vec::new();
        write(request, model, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn written(request: &Request<'_>) -> Value {
        serde_json::from_str(&written_for("gemini-2.5-flash", request)).unwrap()
    }

    /// The path that a refusal names.
    fn refused(model: &str, request: &Request<'_>) -> String {
        let mut out = Vec::new();
        let error = write(request, model, &mut out).unwrap_err();
        assert_eq!(out, b"", "a refused request leaves nothing behind");
        assert!(error.message.starts_with(error.param.as_deref().unwrap()));
        error.param.unwrap()
    }

    #[test]
    fn a_plain_question_has_nothing_but_its_contents() {
        assert_eq!(
            written_for("gemini-2.5-flash", &hello()),
            r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#,
        );
    }

    #[test]
    fn instructions_and_turns_keep_their_order_and_their_escapes() {
        let mut request = request(vec![
            user(vec![said(r"one \u00e9 \ud83c\udf88"), image("image/jpg")]),
            model(vec![said("two")]),
            user(vec![said("three")]),
        ]);
        request.system = vec![said("be\\nbrief"), said("be kind")];
        assert_eq!(
            written_for("gemini-2.5-flash", &request),
            concat!(
                r#"{"systemInstruction":{"parts":[{"text":"be\nbrief"},{"text":"be kind"}]},"contents":["#,
                r#"{"role":"user","parts":[{"text":"one \u00e9 \ud83c\udf88"},"#,
                r#"{"inlineData":{"mimeType":"image/jpeg","data":"aGk="}}]},"#,
                r#"{"role":"model","parts":[{"text":"two"}]},{"role":"user","parts":[{"text":"three"}]}]}"#,
            ),
        );
    }

    #[test]
    fn newer_models_pick_their_words_by_themselves() {
        for (model, expected) in [
            ("gemini-2.5-flash", false),
            ("gemini-2.5-flash-lite", false),
            ("gemini-3-pro-preview", false),
            ("gemini-3.1-flash-lite", false),
            ("gemini-3.5-flash", false),
            ("gemini-3.5-flash-lite", true),
            ("gemini-3.6-flash", true),
            ("publishers/google/models/gemini-3.8-flash-001", true),
            ("gemini-3.10-pro", true),
            ("gemini-4-flash", true),
            ("gemini-flash-latest", true),
            ("gemini-pro-latest", false),
            ("1234567890", false),
        ] {
            assert_eq!(picks_by_itself(model), expected, "{model}");
        }
        let mut request = hello();
        request.sampling.top_k = Some(serde_json::from_str("40").unwrap());
        let mut out = Vec::new();
        assert_eq!(write(&request, "gemini-3.5-flash-lite", &mut out).unwrap().0, ["top_k"]);
        assert_eq!(out, written_for("gemini-3.5-flash-lite", &hello()).as_bytes());
    }

    #[test]
    fn the_generation_is_the_number_behind_the_family_and_not_any_digit_of_the_name() {
        for (model, expected) in [
            ("gemini-2.5-pro-exp-03-25", 2),
            ("gemini-2.0-flash-001", 2),
            ("gemini-1.5-pro-002", 1),
            ("gemini-3-pro-preview", 3),
            ("gemini-3.1-flash-lite", 3),
            ("gemini-10-pro", 10),
            ("publishers/google/models/gemini-2.5-flash", 2),
            ("gemini-flash-latest", u32::MAX),
            ("projects/p/locations/l/endpoints/2718281828", u32::MAX),
            ("", u32::MAX),
        ] {
            assert_eq!(generation(model), expected, "{model}");
        }
    }

    fn tool_turns<'a>(calls: Vec<Part<'a>>, answer: Vec<Part<'a>>) -> Request<'a> {
        request(vec![user(vec![said("go")]), model(calls), user(answer)])
    }

    #[test]
    fn calls_keep_their_text_their_order_and_their_signature_and_carry_no_id() {
        let request = tool_turns(
            vec![said("well"), call("f", Some("c2ln")), call("g", None)],
            vec![result("f", vec![said("1")]), result("g", vec![])],
        );
        let body = written_for("gemini-3-pro-preview", &request);
        assert!(
            body.contains(concat!(
                r#"{"role":"model","parts":[{"text":"well"},"#,
                r#"{"functionCall":{"name":"f","args":{"a": 1.0}},"thoughtSignature":"c2ln"},"#,
                r#"{"functionCall":{"name":"g","args":{"a": 1.0}}}]},"#,
                r#"{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"1"}}},"#,
                r#"{"functionResponse":{"name":"g","response":{"output":""}}}]}"#,
            )),
            "{body}"
        );
        assert!(!body.contains("call_1"), "{body}");
    }

    #[test]
    fn the_first_call_of_each_step_without_signature_gets_the_documented_stand_in_from_gemini_3_on() {
        let request = request(vec![
            user(vec![said("go")]),
            model(vec![call("f", None), call("g", None)]),
            user(vec![result("f", vec![]), result("g", vec![])]),
            model(vec![call("f", None)]),
            user(vec![result("f", vec![])]),
        ]);
        let signatures = |model| {
            let body: Value = serde_json::from_str(&written_for(model, &request)).unwrap();
            let parts = [
                &body["contents"][1]["parts"][0],
                &body["contents"][1]["parts"][1],
                &body["contents"][3]["parts"][0],
            ];
            parts.map(|part| part["thoughtSignature"].clone())
        };
        let stand_in = Value::from("skip_thought_signature_validator");
        assert_eq!(signatures("gemini-3-flash"), [stand_in.clone(), Value::Null, stand_in.clone()]);
        assert_eq!(signatures("gemini-flash-latest"), [stand_in.clone(), Value::Null, stand_in]);
        assert_eq!(signatures("gemini-2.5-pro-exp-03-25"), [Value::Null, Value::Null, Value::Null]);
    }

    #[test]
    fn a_content_with_tool_results_has_nothing_else_in_it() {
        let request = tool_turns(
            vec![call("f", None), call("g", None)],
            vec![said("by the way"), result("f", vec![]), result("g", vec![]), said("go on")],
        );
        assert_eq!(
            written(&request)["contents"].as_array().unwrap()[2..],
            [
                json!({"role": "user", "parts": [
                    {"functionResponse": {"name": "f", "response": {"output": ""}}},
                    {"functionResponse": {"name": "g", "response": {"output": ""}}},
                ]}),
                json!({"role": "user", "parts": [{"text": "by the way"}, {"text": "go on"}]}),
            ],
        );
    }

    fn response(parts: Vec<Part<'_>>) -> String {
        let request = tool_turns(vec![call("f", None)], vec![result("f", parts)]);
        let body = written_for("gemini-2.5-flash", &request);
        let start = body.find(r#""response":"#).unwrap() + r#""response":"#.len();
        body[start..].strip_suffix("}}]}]}").unwrap().to_owned()
    }

    #[test]
    fn a_result_that_is_an_object_is_sent_as_one_and_any_other_under_output() {
        for (words, expected) in [
            (
                r#"{\"b\": [1, \"x\\ny\"], \"a\": 0.30000000000000004}"#,
                r#"{"b": [1, "x\ny"], "a": 0.30000000000000004}"#,
            ),
            (r"\n {} \t", "{}"),
            (r#"{\"half\": "#, r#"{"output":"{\"half\": "}"#),
            (r#"{\"a\": 1} {}"#, r#"{"output":"{\"a\": 1} {}"}"#),
            ("[1]", r#"{"output":"[1]"}"#),
            ("12", r#"{"output":"12"}"#),
            (r"\u007b}", "{}"),
        ] {
            assert_eq!(response(vec![said(words)]), expected, "{words}");
        }
        assert_eq!(response(vec![said("{"), said("12"), said("}")]), r#"{"output":"{\n12\n}"}"#);
    }

    #[test]
    fn a_result_with_a_number_that_no_double_holds_stays_text() {
        for (json, exact) in [
            (r#"{"id": 9007199254740992, "n": -9007199254740992}"#, true),
            (r#"{"id": 9007199254740993}"#, false),
            (r#"{"id":-1234567890123456789}"#, false),
            (r#"{"ids":[1,12345678901234567890123]}"#, false),
            (r#"{"id": "1234567890123456789", "a\"9007199254740993": "\\"}"#, true),
            (r#"{"x": 0.12345678901234567890, "y": 1e3}"#, true),
            (r#"{"é": "\\\"", "id": 9007199254740993}"#, false),
        ] {
            assert_eq!(is_exact(json), exact, "{json}");
            assert!(serde_json::from_str::<Value>(json).is_ok(), "{json}");
        }
        assert_eq!(
            response(vec![said(r#"{\"id\": 1234567890123456789}"#)]),
            r#"{"output":"{\"id\": 1234567890123456789}"}"#,
        );
    }

    #[test]
    fn images_in_results_travel_in_them_from_gemini_3_on_and_are_refused_before() {
        let request = tool_turns(vec![call("f", None)], vec![result("f", vec![image("image/png")])]);
        let body: Value = serde_json::from_str(&written_for("gemini-3-pro-preview", &request)).unwrap();
        assert_eq!(
            body["contents"][2]["parts"],
            json!([{"functionResponse": {
                "name": "f",
                "response": {"output": ""},
                "parts": [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}],
            }}]),
        );
        assert_eq!(refused("gemini-2.5-pro", &request), "messages[1].content[0]");
        let request = tool_turns(vec![call("f", None)], vec![result("f", vec![image("image/heic")])]);
        assert_eq!(refused("gemini-3-pro-preview", &request), "messages[1].content[0].image");
    }

    #[test]
    fn images_that_gemini_cannot_take_are_refused_by_their_path() {
        for part in [
            image("image/gif"),
            part(Content::Image(ImageSource::Address(text("https://example.com/a")).into())),
        ] {
            let request = request(vec![user(vec![part])]);
            assert_eq!(refused("gemini-2.5-flash", &request), "messages[1].content[0].image");
        }
    }

    #[test]
    fn schemas_are_pasted_and_a_function_without_parameters_has_none() {
        let schema =
            r#"{"$schema":"x","type":"object","properties":{"z":{"type":["string","null"]},"a":{}}}"#;
        let mut request = hello();
        request.tools = vec![tool("f", Some(schema)), tool("g", Some("{ }")), tool("h", None)];
        request.tools[0].description = Some(text(r"says \u201chi\u201d"));
        let body = written_for("gemini-2.5-flash", &request);
        let expected = format!(
            r#","tools":[{{"functionDeclarations":[{{"name":"f","description":"says \u201chi\u201d","parametersJsonSchema":{schema}}},{{"name":"g"}},{{"name":"h"}}]}}]}}"#,
        );
        assert!(body.ends_with(&expected), "{body}");
    }

    #[test]
    fn every_tool_choice_has_its_mode() {
        for (choice, expected) in [
            (None, Value::Null),
            (Some(ToolChoice::Auto), json!({"functionCallingConfig": {"mode": "AUTO"}})),
            (Some(ToolChoice::None), json!({"functionCallingConfig": {"mode": "NONE"}})),
            (Some(ToolChoice::Required), json!({"functionCallingConfig": {"mode": "ANY"}})),
            (
                Some(ToolChoice::Named(name("f"))),
                json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}),
            ),
        ] {
            let mut request = hello();
            request.tools = vec![tool("f", None)];
            request.tool_choice = choice;
            assert_eq!(written(&request)["toolConfig"], expected);
        }
    }

    #[test]
    fn a_choice_among_no_tools_is_left_out_or_refused() {
        let choosing = |choice| Request { tool_choice: Some(choice), ..hello() };
        assert_eq!(written(&choosing(ToolChoice::Auto)), written(&hello()));
        assert_eq!(written(&choosing(ToolChoice::None)), written(&hello()));
        assert_eq!(refused("gemini-2.5-flash", &choosing(ToolChoice::Required)), "tool_choice");
        let mut named = choosing(ToolChoice::Named(name("f")));
        assert_eq!(refused("gemini-2.5-flash", &named), "tool_choice.name");
        named.tools = vec![tool("g", None)];
        assert_eq!(refused("gemini-2.5-flash", &named), "tool_choice.name");
    }

    fn number(token: &str) -> Option<Number<'_>> {
        Number::from_raw(raw(token))
    }

    fn sampling() -> Sampling<'static> {
        Sampling {
            max_tokens: Some(serde_json::from_str::<Count<'_>>("0").unwrap()),
            temperature: number("0"),
            top_p: number("0.0"),
            top_k: None,
            name_stop: false,
            stop: vec![text("x"), text(r"\n")],
            seed: number("-2147483648"),
            presence_penalty: number("0"),
            frequency_penalty: number("-1.50"),
            ..Sampling::default()
        }
    }

    #[test]
    fn zeros_are_kept_and_numbers_leave_as_they_came() {
        let mut request = hello();
        request.sampling = sampling();
        let body = written_for("gemini-2.5-flash", &request);
        assert!(
            body.ends_with(concat!(
                r#","generationConfig":{"maxOutputTokens":0,"temperature":0,"topP":0.0,"seed":-2147483648,"#,
                r#""presencePenalty":0,"frequencyPenalty":-1.50,"stopSequences":["x","\n"]}}"#,
            )),
            "{body}"
        );
    }

    #[test]
    fn formats_set_the_media_type_and_paste_the_schema() {
        let schema = r#"{"type":"object","properties":{"z":{"type":"integer"},"a":{"type":"number"}}}"#;
        let mut request = hello();
        request.format = Format::JsonObject;
        assert_eq!(written(&request)["generationConfig"], json!({"responseMimeType": "application/json"}));
        request.format = Format::JsonSchema { name: Some(text("n")), description: None, schema: raw(schema) };
        let body = written_for("gemini-2.5-flash", &request);
        assert!(body.ends_with(&format!(
            r#""generationConfig":{{"responseMimeType":"application/json","responseJsonSchema":{schema}}}}}"#
        )), "{body}");
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let with = |change: fn(&mut Sampling<'static>)| {
            let mut request = hello();
            request.sampling = sampling();
            change(&mut request.sampling);
            refused("gemini-2.5-flash", &request)
        };
        assert_eq!(with(|s| s.temperature = number("2.01")), "temperature");
        assert_eq!(with(|s| s.temperature = number("-0.1")), "temperature");
        assert_eq!(with(|s| s.temperature = number("1e999")), "temperature");
        assert_eq!(with(|s| s.top_p = number("1.5")), "top_p");
        assert_eq!(with(|s| s.stop = vec![text("x"); 6]), "stops");
        assert_eq!(with(|s| s.seed = number("2147483648")), "seed");
        assert_eq!(with(|s| s.seed = number("1.5")), "seed");
    }

    #[test]
    fn instructions_alone_are_refused_and_so_are_images_among_them() {
        let mut request = request(vec![user(vec![])]);
        request.system = vec![said("be kind")];
        assert_eq!(refused("gemini-2.5-flash", &request), "messages");
        let mut request = hello();
        request.system = vec![image("image/png")];
        assert_eq!(refused("gemini-2.5-flash", &request), "messages[1].content[0]");
    }
}
