//! The vocabulary's request to a chat completions body, in one pass after one check.
//!
//! platform.openai.com/docs/api-reference/chat/create; the editions differ in what [`Edition`] says.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use super::edition::{Edition, Family, family};
use super::reply::{TIER, write_tier};
use crate::base::error::{Error, Kind};
use crate::base::json::{self, Fields, Text, Writer, lines};
use crate::chat::{
    Content, Delivery, Detail, Document, DocumentSource, Extra, Format, Image, ImageSource, LeftOut, Part,
    Reasoning, ReasoningMode, Request, Role, SearchResult, Tool, ToolCall, ToolChoice, ToolResult, Turn,
};
use crate::dialect::call_ids::{LONGEST_ID, short};
use crate::dialect::{Model, extra, schema};

/// Writes the body for `model`, such as `gpt-5.1` or `meta/llama-3.3-70b-instruct-maas`, to the end of `out`.
///
/// # Errors
/// What this edition has no way to say, named by its path in the client's body.
pub fn write(
    edition: Edition,
    request: &Request<'_>,
    model: Model<'_>,
    out: &mut Vec<u8>,
) -> Result<LeftOut, Error> {
    let family = family(edition, model.base());
    let mut left_out = LeftOut::default();
    let effort = effort(family, request, &mut left_out);
    let end_user = end_user(edition, request, &mut left_out);
    // A model that does not reason this time takes what others take.
    let picks = family.picks() && effort != Some("none");
    let mut body = Body { edition, family, request, effort, end_user, picks, ids: Ids::default(), left_out };
    body.check()?;
    body.note();
    Writer::new(out).object(|w| body.write(model.name, w))?;
    Ok(body.left_out)
}

/// A body as it is written.
struct Body<'r, 'a> {
    edition: Edition,
    family: Family,
    request: &'r Request<'a>,
    /// `reasoning_effort`.
    effort: Option<&'static str>,
    /// `safety_identifier`.
    end_user: Option<Text<'a>>,
    /// The model picks its words by itself.
    picks: bool,
    ids: Ids,
    left_out: LeftOut,
}

/// Whom the client speaks for, where the API is told as Anthropic's is: an id by which those are found who break the
/// rules. Types of the `openai` package: `safety_identifier`.
fn end_user<'a>(edition: Edition, request: &Request<'a>, left_out: &mut LeftOut) -> Option<Text<'a>> {
    const LONGEST: usize = 64;
    let metadata = request.metadata.filter(|_| edition == Edition::OpenAi)?;
    let members = json::read::<Fields<'a>>(metadata.get()).unwrap_or_default();
    let fits = |id: &Text<'_>| (1..=LONGEST).contains(&id.unescape().chars().count());
    let user = members.text("user_id").filter(fits);
    if members.given().count() > usize::from(user.is_some()) {
        left_out.note("metadata");
    }
    user
}

/// docs.mistral.ai/capabilities/vision, developers.openai.com/api/docs/guides/images-vision.
const IMAGES: &[&str] = &["image/png", "image/jpeg", "image/webp", "image/gif"];

/// OpenAI refuses more: the type of `stop`.
const MOST_STOPS: usize = 4;

impl<'a> Body<'_, 'a> {
    /// Refuses what cannot be said, so that little can fail half-way.
    fn check(&self) -> Result<(), Error> {
        let Request { extra, system, turns, sampling, spelling, .. } = self.request;
        for field in extra {
            self.check_extra(field)?;
        }
        for part in system {
            if !matches!(part.content, Content::Text(_)) {
                return Err(part.place.error(
                    Kind::Unsupported,
                    "",
                    "instructions to this model must be text",
                ));
            }
        }
        if turns.iter().all(|turn| turn.parts.is_empty()) {
            let problem = "needs a message besides the instructions";
            return Err(Error::at(Kind::Unsupported, "messages", problem));
        }
        for part in turns.iter().flat_map(|turn| &turn.parts) {
            self.check_part(part)?;
        }
        self.check_tool_choice()?;
        if self.edition == Edition::OpenAi && sampling.stop.len() > MOST_STOPS {
            let problem = format!("OpenAI takes at most {MOST_STOPS} stop sequences");
            return Err(Error::at(Kind::Unsupported, spelling.stop, &problem));
        }
        if self.family.picks() && !sampling.stop.is_empty() {
            let problem =
                "this model takes no stop sequences; leave them out, or ask one that does not reason";
            return Err(Error::at(Kind::Unsupported, spelling.stop, problem));
        }
        Ok(())
    }

    /// What was said to the cloud in its own words stands beside what is written here.
    fn check_extra(&self, field: &Extra<'_>) -> Result<(), Error> {
        let meant = self.edition.own().contains(&field.name.as_str());
        if field.name.as_str() == TIER && self.request.tier.is_some() {
            let problem = "is said by `service_tier` too; leave one of them out";
            return Err(Error::at(Kind::WrongValue, &field.path, problem));
        }
        if meant { Ok(()) } else { Err(extra::refusal(field, self.edition.company())) }
    }

    fn check_part(&self, part: &Part<'_>) -> Result<(), Error> {
        match &part.content {
            Content::Text(_)
            | Content::SearchResult(_)
            | Content::Thinking(_)
            | Content::Redacted(_)
            | Content::ToolCall(_) => Ok(()),
            Content::Image(image) => self.check_image(part, image),
            Content::Document(document) => self.check_document(part, document),
            Content::ToolResult(result) => {
                for part in &result.parts {
                    match &part.content {
                        Content::Text(_) | Content::SearchResult(_) => {}
                        Content::Image(image) => self.check_image(part, image)?,
                        Content::Document(document) => self.check_document(part, document)?,
                        Content::Thinking(_)
                        | Content::Redacted(_)
                        | Content::ToolCall(_)
                        | Content::ToolResult(_) => {
                            let problem = "a tool result must be text, images or documents";
                            return Err(part.place.error(Kind::Unsupported, "", problem));
                        }
                    }
                }
                Ok(())
            }
        }
    }

    fn check_image(&self, part: &Part<'_>, image: &Image<'_>) -> Result<(), Error> {
        let problem = match &image.source {
            ImageSource::Inline { media_type, .. } if IMAGES.contains(&mime_type(media_type)) => {
                return Ok(());
            }
            ImageSource::Inline { .. } => {
                format!("this model does not take this type of image; send one of {}", IMAGES.join(", "))
            }
            // Whose storage an address of another kind means is not known outside of Google.
            ImageSource::Address(url)
                if self.edition == Edition::OpenModels || url.escaped().get(..4).is_some_and(is_http) =>
            {
                return Ok(());
            }
            ImageSource::Address(_) => {
                let inline = self.request.spelling.inline_image;
                format!("this address cannot be fetched; send one of https, or the image itself {inline}")
            }
        };
        Err(part.place.error(Kind::Unsupported, self.request.spelling.image, &problem))
    }

    /// Only OpenAI takes files, and of those in a conversation PDFs:
    /// developers.openai.com/api/docs/guides/pdf-files.
    fn check_document(&self, part: &Part<'_>, document: &Document<'_>) -> Result<(), Error> {
        let problem = match (&document.source, self.edition) {
            (DocumentSource::Texts(_), _) => return Ok(()),
            (DocumentSource::Inline { media_type, .. }, Edition::OpenAi) if media_type == PDF => {
                return Ok(());
            }
            (DocumentSource::Inline { .. }, Edition::OpenAi) => {
                "OpenAI takes documents as PDF or as text; send one of them"
            }
            (DocumentSource::Inline { .. }, Edition::OpenModels | Edition::Mistral) => {
                "this model takes no files; say what is in it as text"
            }
            (DocumentSource::Address(_), _) => "an address is not fetched; send the document itself",
        };
        Err(part.place.error(Kind::Unsupported, document.below, problem))
    }

    fn check_tool_choice(&self) -> Result<(), Error> {
        let Request { tools, tool_choice, spelling, .. } = self.request;
        let (path, problem) = match tool_choice {
            None | Some(ToolChoice::Auto | ToolChoice::None) => return Ok(()),
            Some(ToolChoice::Required) if !tools.is_empty() => return Ok(()),
            Some(ToolChoice::Required) => ("tool_choice", "demands a tool call, but `tools` offers none"),
            Some(ToolChoice::Named(name)) if tools.iter().any(|tool| tool.name == *name) => return Ok(()),
            Some(ToolChoice::Named(_)) => (spelling.chosen_tool, "is none of the functions in `tools`"),
        };
        Err(Error::at(Kind::WrongValue, path, problem))
    }

    /// Notes what this model has no place for.
    fn note(&mut self) {
        let Request { system, turns, tools, sampling, betas, spelling, .. } = self.request;
        let parts = || turns.iter().flat_map(|turn| &turn.parts).chain(system);
        let left_out = &mut self.left_out;
        let mut unless = |left: bool, name| {
            if left {
                left_out.note(name);
            }
        };
        let marked =
            parts().any(|part| part.cache.is_some()) || tools.iter().any(|tool| tool.cache.is_some());
        unless(marked, spelling.cache);
        unless(self.request.has_detail(), Detail::NAME);
        let thinks = |part: &Part<'_>| matches!(part.content, Content::Thinking(_) | Content::Redacted(_));
        unless(parts().any(thinks), spelling.thought);
        unless(!betas.is_empty(), "anthropic-beta");
        unless(sampling.top_k.is_some(), "top_k");
        // The proof of a thought is Google's own.
        let strict =
            self.edition == Edition::OpenModels && tools.iter().any(|tool| tool.strict == Some(true));
        unless(strict, spelling.strict);
        unless(self.picks && sampling.temperature.is_some_and(|it| it.value() != 1.0), "temperature");
        unless(self.picks && sampling.top_p.is_some_and(|it| it.value() != 1.0), "top_p");
        unless(self.picks && sampling.presence_penalty.is_some(), "presence_penalty");
        unless(self.picks && sampling.frequency_penalty.is_some(), "frequency_penalty");
        unless(
            self.request.parallel_tool_calls == Some(false) && !self.family.knows_parallel(),
            spelling.parallel,
        );
    }

    fn write(&mut self, model: &str, w: &mut Writer<'_>) -> Result<(), Error> {
        let request = self.request;
        let name = match self.edition {
            Edition::OpenAi | Edition::OpenModels => model,
            // The path has its version and publisher: `MistralGoogleCloud` of Mistral's client.
            Edition::Mistral => {
                model.rsplit('/').next().and_then(|name| name.split('@').next()).unwrap_or(model)
            }
        };
        w.key("model").string(name);
        w.key("messages").array(|w| self.messages(w));
        match request.delivery {
            Delivery::Whole => {}
            Delivery::Stream { .. } => {
                w.key("stream").bool(true);
                // Whether the client wants them or not: what was spent has to be known.
                if self.edition.asks_for_usage() {
                    w.key("stream_options").object(|w| w.key("include_usage").bool(true));
                }
            }
        }
        self.sampling(w);
        if !request.tools.is_empty() {
            w.key("tools").array(|w| request.tools.iter().try_for_each(|tool| self.tool(tool, w)))?;
            if let Some(choice) = &request.tool_choice {
                write_tool_choice(w.key("tool_choice"), choice);
            }
            if request.parallel_tool_calls == Some(false) && self.family.knows_parallel() {
                w.key("parallel_tool_calls").bool(false);
            }
        }
        self.format(w);
        if let Some(effort) = self.effort {
            w.key("reasoning_effort").string(effort);
        }
        if let Some(tier) = request.tier.filter(|_| self.edition == Edition::OpenAi) {
            write_tier(Some(tier), w);
        }
        if let Some(user) = self.end_user {
            w.key("safety_identifier").text(user);
        }
        for field in &request.extra {
            w.foreign_key(field.name.as_str()).raw(field.value);
        }
        Ok(())
    }

    fn sampling(&self, w: &mut Writer<'_>) {
        let sampling = &self.request.sampling;
        if let Some(most) = sampling.max_tokens {
            // OpenAI's newer models refuse the older name, and its older ones know the newer.
            let key = match self.edition {
                Edition::OpenAi => "max_completion_tokens",
                Edition::OpenModels | Edition::Mistral => "max_tokens",
            };
            w.key(key).token(most.token());
        }
        let picked = [
            ("temperature", sampling.temperature),
            ("top_p", sampling.top_p),
            ("presence_penalty", sampling.presence_penalty),
            ("frequency_penalty", sampling.frequency_penalty),
        ];
        for (key, number) in picked {
            if let Some(number) = number.filter(|_| !self.picks) {
                w.key(key).token(number.token());
            }
        }
        if !sampling.stop.is_empty() {
            w.key("stop").array(|w| sampling.stop.iter().for_each(|text| w.text(*text)));
        }
        if let Some(seed) = sampling.seed {
            let key = match self.edition {
                Edition::OpenAi | Edition::OpenModels => "seed",
                Edition::Mistral => "random_seed",
            };
            w.key(key).token(seed.token());
        }
    }

    fn format(&self, w: &mut Writer<'_>) {
        match &self.request.format {
            Format::Text => {}
            Format::JsonObject => {
                w.key("response_format").object(|w| w.key("type").string("json_object"));
            }
            Format::JsonSchema { name, description, schema } => {
                w.key("response_format").object(|w| {
                    w.key("type").string("json_schema");
                    w.key("json_schema").object(|w| {
                        // The name is required, and Anthropic's clients give none.
                        w.key("name").text(name.unwrap_or(Text::from_escaped("reply")));
                        if let Some(description) = description {
                            w.key("description").text(*description);
                        }
                        w.key("schema").raw(schema);
                        if is_strict(schema) {
                            w.key("strict").bool(true);
                        }
                    });
                });
            }
        }
    }

    fn tool(&self, tool: &Tool<'_>, w: &mut Writer<'_>) -> Result<(), Error> {
        let spelling = self.request.spelling;
        w.object(|w| {
            w.key("type").string("function");
            w.key("function").object(|w| {
                w.key("name").string(tool.name.as_str());
                if let Some(description) = tool.description {
                    w.key("description").text(description);
                }
                schema::write_parameters(tool, spelling, w.key("parameters"))?;
                if tool.strict == Some(true) && is_strict_for(self.edition, tool) {
                    w.key("strict").bool(true);
                }
                Ok(())
            })
        })
    }

    fn messages(&mut self, w: &mut Writer<'_>) {
        let request = self.request;
        if !request.system.is_empty() {
            w.object(|w| {
                w.key("role").string("system");
                self.content(w.key("content"), &request.system);
            });
        }
        for (index, turn) in request.turns.iter().enumerate() {
            match turn.role {
                Role::User => self.user(turn, w),
                Role::Assistant => self.assistant(turn, index + 1 == request.turns.len(), w),
            }
        }
    }

    /// Writes the results of tools, each as a message, and what else the user says as another.
    fn user(&mut self, turn: &Turn<'_>, w: &mut Writer<'_>) {
        let (results, mut rest): (Vec<&Part<'_>>, Vec<&Part<'_>>) =
            turn.parts.iter().partition(|part| matches!(part.content, Content::ToolResult(_)));
        let last = results.len().saturating_sub(1);
        let mut pictured = Vec::new();
        for (index, part) in results.into_iter().enumerate() {
            let Content::ToolResult(result) = &part.content else { continue };
            let mut parts: Vec<&Part<'_>> = result.parts.iter().collect();
            match self.edition {
                // "Unexpected role 'user' after role 'tool'": what comes behind the results is said with the
                // last of them.
                Edition::Mistral if index == last => parts.append(&mut rest),
                Edition::Mistral => {}
                // A message of a tool is text; its pictures and files come right behind.
                Edition::OpenAi | Edition::OpenModels => {
                    let (media, words): (Vec<&Part<'_>>, Vec<&Part<'_>>) =
                        parts.into_iter().partition(|part| is_media(part));
                    parts = words;
                    pictured.extend(media.into_iter().map(|part| (result, part)));
                }
            }
            self.result(result, &parts, w);
        }
        if rest.is_empty() && pictured.is_empty() {
            return;
        }
        w.object(|w| {
            w.key("role").string("user");
            w.key("content");
            if pictured.is_empty() {
                self.content(w, rest);
                return;
            }
            w.array(|w| {
                let mut before = None;
                for (result, part) in pictured {
                    if before.replace(&result.id) != Some(&result.id) {
                        let (name, id) = (result.name.as_str(), result.id.as_str());
                        write_text(w, |w| w.string(&format!("From the result of {name} ({id}):")));
                    }
                    self.part(part, w);
                }
                rest.into_iter().for_each(|part| self.part(part, w));
            });
        });
    }

    fn result(&mut self, result: &ToolResult<'_>, parts: &[&Part<'_>], w: &mut Writer<'_>) {
        w.object(|w| {
            w.key("role").string("tool");
            let id = self.ids.of_result(self.edition, self.family, result);
            w.key("tool_call_id").string(&id);
            if self.edition == Edition::Mistral {
                w.key("name").string(result.name.as_str());
            }
            w.key("content");
            // No edition has a member that says so.
            const FAILED: Text<'_> = Text::from_escaped("The tool failed.");
            if parts.iter().any(|part| is_media(part)) {
                w.array(|w| {
                    if result.failed {
                        write_text(w, |w| w.text(FAILED));
                    }
                    parts.iter().for_each(|part| self.part(part, w));
                });
            } else {
                let failed = result.failed.then_some(FAILED);
                let words = parts.iter().flat_map(|part| words(&part.content));
                w.texts(&lines(failed.into_iter().chain(words)));
            }
        });
    }

    fn assistant(&mut self, turn: &Turn<'_>, last: bool, w: &mut Writer<'_>) {
        let is_text = |part: &&Part<'_>| matches!(part.content, Content::Text(_));
        let calls = || turn.parts.iter().filter_map(|part| part.content.call());
        let texts: Vec<&Part<'_>> = turn.parts.iter().filter(is_text).collect();
        if texts.is_empty() && calls().next().is_none() {
            // It only thought; but "Unexpected role 'user' after role 'tool'".
            if self.edition == Edition::Mistral && !last {
                w.object(|w| {
                    w.key("role").string("assistant");
                    w.key("content").string("[thoughts]");
                });
            }
            return;
        }
        w.object(|w| {
            w.key("role").string("assistant");
            if texts.is_empty() {
                w.key("content").null();
            } else {
                self.content(w.key("content"), texts);
            }
            if calls().next().is_some() {
                w.key("tool_calls").array(|w| calls().for_each(|call| self.call(call, w)));
            } else if last && self.edition == Edition::Mistral {
                // "Expected last role User or Tool (or Assistant with prefix True)": 0xPlaygrounds/rig#1130.
                w.key("prefix").bool(true);
            }
        });
    }

    fn call(&mut self, call: &ToolCall<'_>, w: &mut Writer<'_>) {
        w.object(|w| {
            let id = self.ids.of_call(self.edition, self.family, call);
            w.key("id").string(&id);
            w.key("type").string("function");
            w.key("function").object(|w| {
                w.key("name").string(call.name.as_str());
                w.key("arguments").string(call.arguments.trim());
            });
        });
    }

    /// Writes the parts of a message: one text as a string. So are several where only texts can be, because
    /// the templates of some open models know no lists.
    fn content<'p, 'b: 'p>(&self, w: &mut Writer<'_>, parts: impl IntoIterator<Item = &'p Part<'b>>) {
        let parts: Vec<&Part<'_>> = parts.into_iter().collect();
        let media = parts.iter().any(|part| is_media(part));
        if !media && (parts.len() == 1 || self.edition == Edition::OpenModels) {
            w.texts(&lines(parts.iter().flat_map(|part| words(&part.content))));
        } else {
            w.array(|w| parts.iter().for_each(|part| self.part(part, w)));
        }
    }

    fn part(&self, part: &Part<'_>, w: &mut Writer<'_>) {
        let (title, media_type, data) = match &part.content {
            Content::Image(image) => return write_image(w, image),
            Content::Document(Document {
                title,
                context,
                source: DocumentSource::Inline { media_type, data },
                ..
            }) => {
                if let Some(context) = context.filter(|text| !text.is_blank()) {
                    write_text(w, |w| w.text(context));
                }
                (title, media_type, *data)
            }
            content @ (Content::Text(_)
            | Content::Document(_)
            | Content::SearchResult(_)
            | Content::Thinking(_)
            | Content::Redacted(_)
            | Content::ToolCall(_)
            | Content::ToolResult(_)) => {
                let words = lines(words(content));
                return write_text(w, |w| w.texts(&words));
            }
        };
        w.object(|w| {
            w.key("type").string("file");
            w.key("file").object(|w| {
                let title = title.filter(|title| !title.is_blank());
                // The ending tells OpenAI what it is.
                let title = title.unwrap_or(Text::from_escaped("document"));
                let named = title.escaped().ends_with(PDF_ENDING);
                let ending = Text::from_escaped(if named { "" } else { PDF_ENDING });
                w.key("filename").texts(&[title, ending]);
                write_data_url(w.key("file_data"), media_type, data);
            });
        });
    }
}

/// `reasoning_effort`, if it was asked for and the model has a word for it.
fn effort(family: Family, request: &Request<'_>, left_out: &mut LeftOut) -> Option<&'static str> {
    let Request { reasoning, spelling, .. } = request;
    let Reasoning { mode, effort, .. } = reasoning;
    let (asked, name) = match (mode, effort) {
        (None, None) => return None,
        (Some(ReasoningMode::Off), _) => (None, spelling.thinking),
        (Some(mode), _) => (Some(reasoning.effort_of(*mode)), spelling.thinking),
        (None, Some(effort)) => (Some(*effort), spelling.effort),
    };
    let word = family.effort(asked);
    // To ask a model not to think that never does asks for nothing.
    let never = match family {
        Family::Gpt | Family::Mistral => true,
        Family::O
        | Family::Reasoner(..)
        | Family::GptOss
        | Family::Kimi
        | Family::MistralReasoner
        | Family::Other => false,
    };
    if word.is_none() && !(asked.is_none() && never) {
        left_out.note(name);
    }
    word
}

fn write_text(w: &mut Writer<'_>, text: impl FnOnce(&mut Writer<'_>)) {
    w.object(|w| {
        w.key("type").string("text");
        text(w.key("text"));
    });
}

fn write_image(w: &mut Writer<'_>, image: &Image<'_>) {
    w.object(|w| {
        w.key("type").string("image_url");
        w.key("image_url").object(|w| match &image.source {
            ImageSource::Inline { media_type, data } => {
                write_data_url(w.key("url"), mime_type(media_type), *data)
            }
            ImageSource::Address(url) => w.key("url").text(*url),
        });
    });
}

fn write_data_url(w: &mut Writer<'_>, media_type: &str, data: Text<'_>) {
    let media_type = Text::plain(media_type).unwrap_or_default(); // `check` has compared it with a list
    w.texts(&[Text::from_escaped("data:"), media_type, Text::from_escaped(";base64,"), data]);
}

fn write_tool_choice(w: &mut Writer<'_>, choice: &ToolChoice<'_>) {
    match choice {
        ToolChoice::Auto => w.string("auto"),
        ToolChoice::None => w.string("none"),
        ToolChoice::Required => w.string("required"),
        ToolChoice::Named(name) => w.object(|w| {
            w.key("type").string("function");
            w.key("function").object(|w| w.key("name").string(name.as_str()));
        }),
    }
}

/// `image/jpg` is not registered, but widely sent.
fn mime_type(media_type: &str) -> &str {
    if media_type == "image/jpg" { "image/jpeg" } else { media_type }
}

const PDF: &str = "application/pdf";
const PDF_ENDING: &str = ".pdf";

fn is_http(start: &str) -> bool {
    start.eq_ignore_ascii_case("http")
}

/// It is more than words.
fn is_media(part: &Part<'_>) -> bool {
    match &part.content {
        Content::Image(_) => true,
        Content::Document(document) => match document.source {
            DocumentSource::Inline { .. } => true,
            DocumentSource::Texts(_) | DocumentSource::Address(_) => false,
        },
        Content::Text(_)
        | Content::SearchResult(_)
        | Content::Thinking(_)
        | Content::Redacted(_)
        | Content::ToolCall(_)
        | Content::ToolResult(_) => false,
    }
}

/// The words of a part that is nothing else.
fn words<'a>(content: &Content<'a>) -> Vec<Text<'a>> {
    match content {
        Content::Text(text) => vec![*text],
        Content::SearchResult(SearchResult { source, title, texts, .. }) => {
            [*title, *source].into_iter().chain(texts.iter().copied()).collect()
        }
        Content::Document(Document { source: DocumentSource::Texts(texts), title, context, .. }) => {
            let about = [*title, *context].into_iter().flatten().filter(|text| !text.is_blank());
            about.chain(texts.iter().copied()).collect()
        }
        Content::Image(_)
        | Content::Document(_)
        | Content::Thinking(_)
        | Content::Redacted(_)
        | Content::ToolCall(_)
        | Content::ToolResult(_) => Vec::new(),
    }
}

/// Ids of calls as the model takes them. Results stand in the order of their calls.
#[derive(Default)]
struct Ids {
    calls: usize,
    results: usize,
}

impl Ids {
    fn of_call<'i>(&mut self, edition: Edition, family: Family, call: &'i ToolCall<'_>) -> Cow<'i, str> {
        self.calls = self.calls.saturating_add(1);
        id(edition, family, call.id.as_str(), call.name.as_str(), self.calls)
    }

    fn of_result<'i>(
        &mut self,
        edition: Edition,
        family: Family,
        result: &'i ToolResult<'_>,
    ) -> Cow<'i, str> {
        self.results = self.results.saturating_add(1);
        id(edition, family, result.id.as_str(), result.name.as_str(), self.results)
    }
}

/// The id of a call, which is the `number`-th of the conversation.
fn id<'i>(edition: Edition, family: Family, id: &'i str, name: &str, number: usize) -> Cow<'i, str> {
    // "Tool call id … must be a-z, A-Z, 0-9, with a length of 9" (langchain-ai/langchain#24668).
    const NINE: usize = 9;
    let is_nine = || id.len() == NINE && id.bytes().all(|b| b.is_ascii_alphanumeric());
    match (edition, family) {
        (Edition::OpenModels, Family::Kimi) => {
            Cow::Owned(format!("functions.{name}:{}", number.saturating_sub(1)))
        }
        (Edition::Mistral, _) if !is_nine() => Cow::Owned(format!("{number:0NINE$}")),
        (Edition::OpenAi, _) if id.len() > LONGEST_ID => Cow::Owned(short(id)),
        (Edition::OpenAi | Edition::OpenModels | Edition::Mistral, _) => Cow::Borrowed(id),
    }
}

/// Whether a tool that is to be strict can be: OpenAI refuses schemas that do not keep its rules, and whether
/// the servers of open models know the word is not documented.
fn is_strict_for(edition: Edition, tool: &Tool<'_>) -> bool {
    match edition {
        Edition::OpenAi | Edition::Mistral => tool.parameters.is_some_and(is_strict),
        Edition::OpenModels => false,
    }
}

/// Whether a schema keeps the rules of OpenAI's strict mode, in which it holds without exception: every object
/// is closed, and all its properties are required. Others guide the model, and OpenAI would refuse them as
/// strict: developers.openai.com/api/docs/guides/structured-outputs.
fn is_strict(schema: &RawValue) -> bool {
    json::read::<Value>(schema.get())
        .is_ok_and(|value| value.get("type").is_some_and(|kind| kind == "object") && closed(&value))
}

fn closed(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            let required = members.get("required").and_then(Value::as_array);
            let is_required =
                |name: &String| required.is_some_and(|names| names.iter().any(|known| known == name));
            let properties = members.get("properties").and_then(Value::as_object);
            let describes = properties.is_some() || members.get("type").is_some_and(|kind| kind == "object");
            let shut = members.get("additionalProperties") == Some(&Value::Bool(false));
            (shut || !describes)
                && properties.is_none_or(|properties| properties.keys().all(is_required))
                && members.values().all(closed)
        }
        Value::Array(items) => items.iter().all(closed),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}
