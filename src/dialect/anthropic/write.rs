//! A chat request into the body of an edition of the Messages API; and one of Anthropic's clients, whose
//! body needs only its top edited.

use serde_json::value::RawValue;

use super::aside::PROFILE;
use super::fields::DEFAULTS;
use super::mark::MARK;
use super::{Aside, Edition, fates, foreign, mark, source};
use crate::base::base64;
use crate::base::error::{Error, Kind};
use crate::base::json::{self, Fields, Str, Text, Writer};
use crate::chat::{
    Cache, Content, Detail, Document, DocumentSource, Extra, Format, Image, ImageSource, LeftOut, Part,
    Place, Request, Role, SearchResult, Thinking, Tier, Tool, ToolCall, ToolChoice, ToolResult, Turn,
};
use crate::dialect::claude::{self, Version, Words};
use crate::dialect::converse::own;
use crate::dialect::fates::{Fate, Given};
use crate::dialect::names::{Rule, Word};
use crate::dialect::schema::{self, ANSWER, NOT_BESIDE_TOOLS};
use crate::dialect::{HeaderList, Model, Passed, extra, fates as settled, media, promise, relay};

/// Edits the top of a request in Anthropic's own dialect. Gives the names of what was left out.
///
/// # Errors
/// What the edition has no place for, named by its path.
pub fn pass(
    edition: Edition,
    body: &relay::Body<'_>,
    model: &str,
    aside: &Aside,
    out: &mut Vec<u8>,
) -> Result<Passed, Error> {
    let betas = edition.betas(aside);
    let more = extra::collect(body.members(), extra::CHAT)?;
    let mut left_out = LeftOut::default();
    let headers = headers(edition, &more, None, &mut left_out)?;
    let table = fates::anthropic(edition);
    // A field of an experimental feature is an "extra input" without it.
    let edits_context =
        betas.known.iter().any(|beta| CONTEXT_BETAS.iter().any(|stem| beta.starts_with(stem)));
    let takes = |name: &str| match table.iter().find(|(known, _)| *known == name) {
        Some((CONTEXT, Fate::Mapped(_))) => edits_context || edition == Edition::Anthropic,
        Some((_, Fate::Mapped(_))) => true,
        Some((_, Fate::Dropped | Fate::Refused(_))) => false,
        // Anthropic adds fields, and its own refusal names one that it does not know; the clouds follow later.
        None => edition == Edition::Anthropic && !Edition::is_head(name) && !settled::OURS.contains(&name),
    };
    let names = said(body, aside).filter(|name| !extra::is_extra(name, extra::CHAT));
    let mut given = settled::settle(names, table)?;
    for field in &mut given {
        match (takes(&field.path), field.fate) {
            (true, Fate::Mapped(_)) => {}
            (false, Fate::Mapped(_)) if settled::OURS.contains(&&*field.path) => {}
            (true, Fate::Dropped | Fate::Refused(_)) => field.fate = Fate::Mapped("as it is"),
            (false, _) => field.fate = Fate::Dropped,
        }
    }
    settled::own(&mut given, &more, |_| true);
    if betas.is_cut {
        left_out.note("anthropic-beta");
    }
    let conversation = conversation(edition, body, &mut left_out)?;
    settled::also(&mut given, left_out);
    let format = body.get(OLD_FORMAT).filter(|_| edition != Edition::Anthropic);
    let config = body.get(CONFIG).filter(|_| format.is_some());
    let keeps = |name: &str| {
        let is_elsewhere = match name {
            OLD_FORMAT | CONFIG => format.is_some(),
            TIER | MARK => edition != Edition::Anthropic,
            _ => Edition::is_head(name) || extra::is_extra(name, extra::CHAT),
        };
        takes(name) && !is_elsewhere && conversation.keeps(name)
    };
    body.write(out, keeps, |w| {
        edition.write_head(model, body.stream, &betas.known, w);
        write_profile(edition, body, aside, w);
        conversation.write(w);
        if let Some(format) = format {
            w.key(CONFIG).object(|w| write_config(config, format, w));
        }
    });
    Ok(Passed { given, headers })
}

/// Edits a request to count tokens in Anthropic's own dialect, like [`pass`].
///
/// # Errors
/// What cannot be counted, named by its path.
pub fn pass_count(
    edition: Edition,
    body: &relay::Body<'_>,
    model: &str,
    aside: &Aside,
    out: &mut Vec<u8>,
) -> Result<Vec<Given>, Error> {
    let mut given = settled::settle(said(body, aside), fates::count(edition))?;
    let mut left_out = LeftOut::default();
    if edition.betas(aside).is_cut {
        left_out.note("anthropic-beta");
    }
    let conversation = conversation(edition, body, &mut left_out)?;
    settled::also(&mut given, left_out);
    let keeps = |name: &str| counted(edition).contains(&name) && conversation.keeps(name);
    body.write(out, keeps, |w| {
        edition.write_count_head(model, w);
        write_profile(edition, body, aside, w);
        conversation.write(w);
    });
    Ok(given)
}

/// What becomes of a conversation.
struct Conversation {
    /// JSON, where the messages do not pass as they are.
    messages: Option<String>,
    /// `false`: Claude is not to think, because it would miss its thoughts.
    thinks: bool,
}

impl Conversation {
    /// Whether a member of the body passes as it is.
    fn keeps(&self, name: &str) -> bool {
        match name {
            MESSAGES => self.messages.is_none(),
            THINKING => self.thinks,
            _ => true,
        }
    }

    /// Writes the messages that do not.
    fn write(&self, w: &mut Writer<'_>) {
        if let Some(messages) = &self.messages {
            w.key(MESSAGES).token(messages);
        }
    }
}

/// Takes out of the messages what Claude refuses, and marks them for the cache. Notes what was left out.
///
/// # Errors
/// What only Anthropic itself can read, named by its path.
fn conversation(
    edition: Edition,
    body: &relay::Body<'_>,
    left_out: &mut LeftOut,
) -> Result<Conversation, Error> {
    let given = body.get(MESSAGES);
    if let Some(messages) = given.filter(|_| edition != Edition::Anthropic) {
        source::check(messages)?;
    }
    let stripped = given.and_then(foreign::strip);
    let budget = || json::read::<Fields<'_>>(body.get(THINKING)?.get()).ok()?.get("budget_tokens");
    let misses = stripped.as_ref().is_some_and(|stripped| stripped.of_last_calls) && budget().is_some();
    if stripped.as_ref().is_some_and(|stripped| stripped.thoughts) {
        left_out.note("messages[].content[].thinking");
    }
    if misses {
        left_out.note(THINKING);
    }
    let mut messages = stripped.map(|stripped| stripped.messages);
    if let Some(mark) = body.get(MARK).filter(|_| edition != Edition::Anthropic) {
        let marked = messages.as_deref().or(given.map(RawValue::get));
        match marked.and_then(|messages| mark::place(messages, mark)) {
            Some(marked) => messages = Some(marked),
            None => left_out.note(MARK),
        }
    }
    Ok(Conversation { messages, thinks: !misses })
}

/// The fields that say something, in the body and beside it.
fn said<'b>(body: &'b relay::Body<'_>, aside: &'b Aside) -> impl Iterator<Item = &'b str> {
    let says = |(name, value): &(&str, &RawValue)| !DEFAULTS.contains(&(*name, value.get()));
    let beside = aside.fields().filter(|name| body.get(name).is_none()).map(|name| -> &'b str { name });
    body.given().filter(says).map(|(name, _)| name).chain(beside)
}

/// Mantle reads in the body what Anthropic reads in a header: `_move_user_profile_id_to_body` of the `anthropic`
/// package's client for mantle.
fn write_profile(edition: Edition, body: &relay::Body<'_>, aside: &Aside, w: &mut Writer<'_>) {
    if let (Edition::Mantle, Some(profile), None) = (edition, aside.profile(), body.get(PROFILE)) {
        w.key(PROFILE).string(profile);
    }
}

/// What a client says to the cloud itself, as headers of the request.
fn headers(
    edition: Edition,
    extra: &[Extra<'_>],
    tier: Option<Tier>,
    left_out: &mut LeftOut,
) -> Result<HeaderList, Error> {
    match (edition, extra.first()) {
        (Edition::InvokeModel, _) => own::headers(extra, tier, left_out),
        (Edition::Anthropic | Edition::Mantle | Edition::Vertex, Some(field)) => {
            Err(extra::refusal(field, "Claude"))
        }
        (Edition::Anthropic | Edition::Mantle | Edition::Vertex, None) => Ok(Vec::new()),
    }
}

/// How the names of the features begin that `context_management` belongs to.
const CONTEXT_BETAS: &[&str] = &["compact-", "context-management-"];
const CONTEXT: &str = "context_management";
const MESSAGES: &str = "messages";
const THINKING: &str = "thinking";
const CONFIG: &str = "output_config";
/// Only Anthropic itself has more tiers than the standard one under this name.
const TIER: &str = "service_tier";
/// Where the shape of the reply stood before it became a member of `output_config`.
const OLD_FORMAT: &str = "output_format";

/// Writes the members of `output_config` with a format that stood elsewhere, unless it has one.
fn write_config(config: Option<&RawValue>, format: &RawValue, w: &mut Writer<'_>) {
    let members = config.and_then(|config| json::read::<Fields<'_>>(config.get()).ok()).unwrap_or_default();
    if members.given().all(|(name, _)| name != "format") {
        w.key("format").raw(format);
    }
    for (name, value) in members.given() {
        w.foreign_key(name).raw(value);
    }
}

/// What became of a request beside its body.
pub struct Outcome {
    pub left_out: LeftOut,
    /// Headers that go out with it.
    pub headers: HeaderList,
    /// The tool whose call is the reply, where the model answers by a schema in no other way.
    pub answer: Option<&'static str>,
}

/// Writes the body for a request to a model. After an error `out` holds half of one.
///
/// # Errors
/// What the API has no way to say, named by its path in the client's body.
pub fn write(
    edition: Edition,
    request: &Request<'_>,
    model: Model<'_>,
    out: &mut Vec<u8>,
) -> Result<Outcome, Error> {
    if request.turns.is_empty() {
        let problem = "at least one message of a user, with content, is required";
        return Err(Error::at(Kind::Missing, "messages", problem));
    }
    let mut left_out = LeftOut::default();
    let headers = headers(edition, &request.extra, request.tier, &mut left_out)?;
    // The ARNs of Bedrock's application inference profiles tell nothing.
    let name = claude::name(model.base());
    check(request, name)?;
    let version = name.map(Version::of);
    let betas = edition.sort(request.betas.iter().copied());
    let answers = answers_by_a_tool(request, version)?;
    let forced = answers || matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    let words = Words::choose(request, name, forced, &mut left_out);
    if betas.is_cut {
        left_out.note("anthropic-beta");
    }
    if request.named_twice {
        left_out.note("user");
    }
    if request.has_detail() {
        left_out.note(Detail::NAME);
    }
    if matches!(request.format, Format::JsonSchema { description: Some(_), .. }) && !answers {
        left_out.note("response_format.json_schema.description");
    }
    let mut body = Body { edition, version, request, prefill: prefill(request), answers, left_out };
    Writer::new(out).object(|w| {
        edition.write_head(model.name, request.delivery.is_stream(), &betas.known, w);
        w.key("max_tokens").number(match (request.sampling.max_tokens, words.room) {
            (Some(most), _) => most.value(),
            (None, Some(room)) => room,
            (None, None) => longest(version),
        });
        if !request.system.is_empty() {
            w.key("system").array(|w| body.system(w))?;
        }
        w.key("messages").array(|w| request.turns.iter().try_for_each(|turn| body.message(turn, w)))?;
        body.tools(w)?;
        body.sampling(&words, w);
        words.write_thinking(w);
        body.output_config(words.effort, w)?;
        if let Some(user) = request.user.filter(|user| !user.is_blank()) {
            w.key("metadata").object(|w| w.key("user_id").text(user));
        }
        body.tier(w);
        Ok::<(), Error>(())
    })?;
    Ok(Outcome { left_out: body.left_out, headers, answer: answers.then_some(ANSWER) })
}

/// `MessageCountTokensParams` of the `anthropic` package, and what its beta client adds.
pub const fn counted(edition: Edition) -> &'static [&'static str] {
    match edition {
        Edition::Anthropic => &[
            "messages",
            "system",
            "tools",
            "tool_choice",
            "thinking",
            "output_config",
            "mcp_servers",
            "context_management",
            MARK,
            PROFILE,
        ],
        Edition::Mantle => {
            &["messages", "system", "tools", "tool_choice", "thinking", "output_config", PROFILE]
        }
        Edition::InvokeModel | Edition::Vertex => {
            &["messages", "system", "tools", "tool_choice", "thinking", "output_config"]
        }
    }
}

/// What it takes as names of tools and ids of calls: `^[a-zA-Z0-9_-]{1,128}$` and `^[a-zA-Z0-9_-]+$`.
pub const WORDS: Rule = Rule {
    name: Word { also: &[], most: 128, begins: false },
    // It sets no bound; ours is that of reading them.
    id: Word { also: &[], most: 1024, begins: false },
};

/// The most tokens that a model gives in a reply, which this API wants to be told and clients of OpenAI's
/// expect: platform.claude.com/docs/en/about-claude/models/overview. For several models of one version it is
/// what all of them give.
fn longest(version: Option<Version>) -> u64 {
    match version {
        Some(version) if version < Version(3, 5) => 4096,
        Some(version) if version < Version(3, 7) => 8192,
        Some(version) if version < Version(4, 0) => 64_000,
        None => 32_000,
        Some(version) if version < Version(4, 5) => 32_000,
        Some(_) => 64_000,
    }
}

/// Numbers and lists that the API would refuse.
fn check(request: &Request<'_>, name: Option<&str>) -> Result<(), Error> {
    let (sampling, spelling) = (&request.sampling, request.spelling);
    for (field, number) in [("temperature", sampling.temperature), ("top_p", sampling.top_p)] {
        if number.is_some_and(|number| !(0.0..=1.0).contains(&number.value())) {
            return Err(Error::at(Kind::WrongValue, field, "must be 0 to 1 for this model"));
        }
    }
    // "stop_sequences: each stop sequence must contain non-whitespace"
    if sampling.stop.iter().any(|stop| !stop.is_empty() && stop.is_blank()) {
        let problem = "this model takes no stop sequence of white space alone";
        return Err(Error::at(Kind::Unsupported, spelling.stop, problem));
    }
    let offers = |name: &Str<'_>| request.tools.iter().any(|tool| tool.name == *name);
    match &request.tool_choice {
        Some(ToolChoice::Required) if request.tools.is_empty() => {
            Err(Error::at(Kind::WrongValue, "tool_choice", "requires a call, but `tools` is empty"))
        }
        Some(ToolChoice::Named(name)) if !offers(name) => {
            let problem = "names a function that is not among `tools`";
            Err(Error::at(Kind::WrongValue, spelling.chosen_tool, problem))
        }
        Some(ToolChoice::Required | ToolChoice::Named(_))
            if name.is_some_and(|name| !claude::can_be_made_to_call(name)) =>
        {
            let problem = "this model cannot be made to call a tool; leave it out, or say `auto`";
            Err(Error::at(Kind::Unsupported, "tool_choice", problem))
        }
        None | Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Required | ToolChoice::Named(_)) => {
            Ok(())
        }
    }
}

/// Whether an answer by a schema has to be the call of a tool.
fn answers_by_a_tool(request: &Request<'_>, version: Option<Version>) -> Result<bool, Error> {
    let older = version.is_some_and(|version| version < claude::SHAPES);
    if !older || !matches!(request.format, Format::JsonSchema { .. }) {
        return Ok(false);
    }
    if request.tools.is_empty() {
        return Ok(true);
    }
    Err(Error::at(Kind::Unsupported, request.spelling.format, NOT_BESIDE_TOOLS))
}

/// Where the text stands that Claude is to go on from.
fn prefill(request: &Request<'_>) -> Option<Place> {
    let last = request.turns.last().filter(|turn| turn.role == Role::Assistant)?.parts.last()?;
    matches!(last.content, Content::Text(_)).then_some(last.place)
}

/// The first Claude that keeps what is marked for an hour, on Bedrock.
const KEEPS_AN_HOUR: Version = Version(4, 5);

/// The first Claude whose tools may be strict.
const STRICT: Version = Version(4, 5);

/// A body as it is written.
struct Body<'r, 'a> {
    edition: Edition,
    version: Option<Version>,
    request: &'r Request<'a>,
    /// Where the text stands that Claude is to go on from.
    prefill: Option<Place>,
    /// The reply is the call of a tool.
    answers: bool,
    left_out: LeftOut,
}

impl Body<'_, '_> {
    fn system(&mut self, w: &mut Writer<'_>) -> Result<(), Error> {
        for part in &self.request.system {
            let Content::Text(text) = part.content else {
                let problem = "instructions to this model can only be text";
                return Err(part.place.error(Kind::Unsupported, "", problem));
            };
            w.object(|w| {
                w.key("type").string("text");
                w.key("text").text(text);
                self.mark(part.cache, w);
            });
        }
        Ok(())
    }

    fn message(&mut self, turn: &Turn<'_>, w: &mut Writer<'_>) -> Result<(), Error> {
        w.object(|w| {
            w.key("role").token(match turn.role {
                Role::User => r#""user""#,
                Role::Assistant => r#""assistant""#,
            });
            w.key("content").array(|w| {
                let says = turn.parts.iter().any(|part| !is_unproved(part));
                // A mark on a thought, which may not have one, moves on to what comes next.
                let mut due = None;
                for part in &turn.parts {
                    let thought = matches!(part.content, Content::Thinking(_) | Content::Redacted(_));
                    due = part.cache.or(due);
                    let mark = if thought { None } else { due.take() };
                    if !is_unproved(part) {
                        self.block(part, mark, w)?;
                    } else if says {
                        self.left_out.note(self.request.spelling.thought);
                    } else if let Content::Thinking(Thinking { text, .. }) = part.content {
                        // A turn must have something in it, or the turns around it would be neighbours.
                        let plain = Text::plain("[thoughts]").unwrap_or_default();
                        self.text(if text.is_blank() { plain } else { text }, None, w);
                    }
                }
                if due.is_some() {
                    self.left_out.note(self.request.spelling.cache);
                }
                Ok(())
            })
        })
    }

    fn block(&mut self, part: &Part<'_>, mark: Option<Cache>, w: &mut Writer<'_>) -> Result<(), Error> {
        match &part.content {
            Content::Text(text) => {
                // "final assistant content cannot end with trailing whitespace"
                let prefilled = self.prefill == Some(part.place);
                self.text(if prefilled { text.trim_end() } else { *text }, mark, w);
            }
            Content::Image(picture) => self.image(part.place, picture, mark, w)?,
            Content::Document(document) => self.document(part.place, document, mark, w)?,
            Content::SearchResult(result) => self.search_result(result, mark, w),
            Content::Thinking(Thinking { text, signature }) => w.object(|w| {
                w.key("type").string("thinking");
                w.key("thinking").text(*text);
                w.key("signature").text(signature.unwrap_or_default());
            }),
            Content::Redacted(data) => w.object(|w| {
                w.key("type").string("redacted_thinking");
                w.key("data").text(*data);
            }),
            Content::ToolCall(call) => self.call(call, mark, w),
            Content::ToolResult(result) => self.result(result, mark, w)?,
        }
        Ok(())
    }

    fn text(&mut self, text: Text<'_>, mark: Option<Cache>, w: &mut Writer<'_>) {
        w.object(|w| {
            w.key("type").string("text");
            w.key("text").text(text);
            self.mark(mark, w);
        });
    }

    fn prose(&mut self, text: &str, w: &mut Writer<'_>) {
        w.object(|w| {
            w.key("type").string("text");
            w.key("text").string(text);
        });
    }

    fn mark(&mut self, mark: Option<Cache>, w: &mut Writer<'_>) {
        let Some(cache) = mark else { return };
        w.key(MARK).object(|w| {
            w.key("type").string("ephemeral");
            if cache == Cache::Hour {
                let is_old = self.version.is_some_and(|version| version < KEEPS_AN_HOUR);
                if self.edition == Edition::InvokeModel && is_old {
                    self.left_out.note(self.request.spelling.cache_ttl);
                } else {
                    w.key("ttl").string("1h");
                }
            }
        });
    }

    /// Only Anthropic itself fetches what is at an address.
    fn address(&self, place: Place, below: &str, url: Text<'_>, w: &mut Writer<'_>) -> Result<(), Error> {
        let is_web = ["https:", "http:"].iter().any(|scheme| url.escaped().starts_with(scheme));
        if self.edition != Edition::Anthropic || !is_web {
            let problem = "this model's cloud does not fetch files; send the file itself";
            return Err(place.error(Kind::Unsupported, below, problem));
        }
        w.object(|w| {
            w.key("type").string("url");
            w.key("url").text(url);
        });
        Ok(())
    }

    fn image(
        &mut self,
        place: Place,
        image: &Image<'_>,
        mark: Option<Cache>,
        w: &mut Writer<'_>,
    ) -> Result<(), Error> {
        let below = self.request.spelling.image;
        w.object(|w| {
            w.key("type").string("image");
            match &image.source {
                ImageSource::Address(url) => self.address(place, below, *url, w.key("source"))?,
                ImageSource::Inline { media_type, data } => {
                    let Some(format) = media::image_format(media_type, *data).filter(|_| !data.is_empty())
                    else {
                        let problem = "images must be PNG, JPEG, GIF or WebP, and hold data";
                        return Err(place.error(Kind::Unsupported, below, problem));
                    };
                    w.key("source").object(|w| {
                        w.key("type").string("base64");
                        w.key("media_type").string(&format!("image/{format}"));
                        w.key("data").text(*data);
                    });
                }
            }
            self.mark(mark, w);
            Ok(())
        })
    }

    fn document(
        &mut self,
        place: Place,
        document: &Document<'_>,
        mark: Option<Cache>,
        w: &mut Writer<'_>,
    ) -> Result<(), Error> {
        w.object(|w| {
            w.key("type").string("document");
            self.source(place, document, w.key("source"))?;
            if let Some(title) = document.title.filter(|title| !title.is_blank()) {
                w.key("title").text(title);
            }
            if let Some(context) = document.context.filter(|context| !context.is_blank()) {
                w.key("context").text(context);
            }
            if document.cited {
                w.key("citations").object(|w| w.key("enabled").bool(true));
            }
            self.mark(mark, w);
            Ok(())
        })
    }

    fn source(&self, place: Place, document: &Document<'_>, w: &mut Writer<'_>) -> Result<(), Error> {
        let Document { source, below, .. } = document;
        let refuse = |problem| Err(place.error(Kind::Unsupported, below, problem));
        match source {
            DocumentSource::Address(url) => return self.address(place, below, *url, w),
            DocumentSource::Texts(texts) => match texts.as_slice() {
                [text] => plain_text(w, |w| w.text(*text)),
                texts => w.object(|w| {
                    w.key("type").string("content");
                    w.key("content").array(|w| texts.iter().for_each(|text| text_block(*text, w)));
                }),
            },
            DocumentSource::Inline { media_type, data }
                if *media_type == "application/pdf" || media::is_pdf(*data) =>
            {
                w.object(|w| {
                    w.key("type").string("base64");
                    w.key("media_type").string("application/pdf");
                    w.key("data").text(*data);
                });
            }
            // The API takes text as what it is.
            DocumentSource::Inline { media_type, data } if media_type.starts_with("text/") => {
                let mut bytes = Vec::new();
                if base64::decode(data.unescape().as_bytes(), &mut bytes).is_err() {
                    return refuse("is no base64");
                }
                let Ok(text) = std::str::from_utf8(&bytes) else { return refuse("text must be in UTF-8") };
                plain_text(w, |w| w.string(text));
            }
            DocumentSource::Inline { .. } => return refuse("must be a PDF or text for this model"),
        }
        Ok(())
    }

    fn search_result(&mut self, result: &SearchResult<'_>, mark: Option<Cache>, w: &mut Writer<'_>) {
        let SearchResult { source, title, texts, cited } = result;
        w.object(|w| {
            if texts.is_empty() {
                // A result must have content.
                let line = Text::from_escaped("\\n");
                w.key("type").string("text");
                w.key("text").texts(&[*title, line, *source]);
            } else {
                w.key("type").string("search_result");
                w.key("source").text(*source);
                w.key("title").text(*title);
                w.key("content").array(|w| texts.iter().for_each(|text| text_block(*text, w)));
                if *cited {
                    w.key("citations").object(|w| w.key("enabled").bool(true));
                }
            }
            self.mark(mark, w);
        });
    }

    /// "Requests which include `tool_use` or `tool_result` blocks must define tools": where none are
    /// offered, calls and results go as text.
    fn offers_tools(&self) -> bool {
        !self.request.tools.is_empty()
    }

    fn call(&mut self, call: &ToolCall<'_>, mark: Option<Cache>, w: &mut Writer<'_>) {
        let (id, name) = (call.id.as_str(), call.name.as_str());
        if !self.offers_tools() {
            return self.prose(&format!("[tool call {id}: {name}({})]", call.arguments), w);
        }
        w.object(|w| {
            w.key("type").string("tool_use");
            w.key("id").string(id);
            w.key("name").string(name);
            w.key("input").token(&call.arguments);
            self.mark(mark, w);
        });
    }

    fn result(
        &mut self,
        result: &ToolResult<'_>,
        mark: Option<Cache>,
        w: &mut Writer<'_>,
    ) -> Result<(), Error> {
        let (id, name) = (result.id.as_str(), result.name.as_str());
        if !self.offers_tools() {
            let word = if result.failed { "error" } else { "result" };
            self.prose(&format!("[{word} of tool call {id}: {name}]"), w);
            result.parts.iter().try_for_each(|part| self.block(part, None, w))?;
            self.prose(&format!("[end of the {word} of tool call {id}]"), w);
            return Ok(());
        }
        w.object(|w| {
            w.key("type").string("tool_result");
            w.key("tool_use_id").string(id);
            if !result.parts.is_empty() {
                w.key("content")
                    .array(|w| result.parts.iter().try_for_each(|part| self.block(part, None, w)))?;
            }
            if result.failed {
                w.key("is_error").bool(true);
            }
            self.mark(mark, w);
            Ok(())
        })
    }

    fn tools(&mut self, w: &mut Writer<'_>) -> Result<(), Error> {
        if self.answers {
            return self.answer(w);
        }
        if !self.offers_tools() {
            return Ok(());
        }
        w.key("tools").array(|w| self.request.tools.iter().try_for_each(|tool| self.tool(tool, w)))?;
        let alone = self.request.parallel_tool_calls == Some(false);
        let (kind, name) = match &self.request.tool_choice {
            None if alone => ("auto", None),
            None => return Ok(()),
            Some(ToolChoice::Auto) => ("auto", None),
            Some(ToolChoice::None) => ("none", None),
            Some(ToolChoice::Required) => ("any", None),
            Some(ToolChoice::Named(name)) => ("tool", Some(name)),
        };
        w.key("tool_choice").object(|w| {
            w.key("type").string(kind);
            if let Some(name) = name {
                w.key("name").string(name.as_str());
            }
            if alone && kind != "none" {
                w.key("disable_parallel_tool_use").bool(true);
            }
        });
        Ok(())
    }

    /// The tool whose arguments are the reply.
    fn answer(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        let Format::JsonSchema { name, description, schema } = self.request.format else { return Ok(()) };
        w.key("tools").array(|w| {
            w.object(|w| {
                schema::name_answer(name, description, w);
                schema::write_answer(schema, self.request.spelling, w.key("input_schema"))
            })
        })?;
        w.key("tool_choice").object(|w| {
            w.key("type").string("tool");
            w.key("name").string(ANSWER);
        });
        Ok(())
    }

    fn tool(&mut self, tool: &Tool<'_>, w: &mut Writer<'_>) -> Result<(), Error> {
        w.object(|w| {
            w.key("name").string(tool.name.as_str());
            if let Some(description) = tool.description.filter(|description| !description.is_blank()) {
                w.key("description").text(description);
            }
            schema::write_parameters(tool, self.request.spelling, w.key("input_schema"))?;
            if tool.strict == Some(true) {
                // InvokeModel refuses ordinary schemas with it (litellm#39115).
                let knows = self.version.is_some_and(|version| version >= STRICT);
                let fits = tool.parameters.is_some_and(promise::can_be_kept);
                if knows && fits && self.edition != Edition::InvokeModel {
                    w.key("strict").bool(true);
                } else {
                    self.left_out.note(self.request.spelling.strict);
                }
            }
            self.mark(tool.cache, w);
            Ok(())
        })
    }

    fn sampling(&self, words: &Words<'_>, w: &mut Writer<'_>) {
        if let Some(temperature) = words.temperature {
            w.key("temperature").token(temperature.token());
        }
        if let Some(top_p) = words.top_p {
            w.key("top_p").token(top_p.token());
        }
        if let Some(top_k) = words.top_k {
            w.key("top_k").token(top_k.token());
        }
        let stops = || self.request.sampling.stop.iter().filter(|stop| !stop.is_empty());
        if stops().next().is_some() {
            w.key("stop_sequences").array(|w| stops().for_each(|stop| w.text(*stop)));
        }
    }

    /// platform.claude.com/docs/en/api/service-tiers: `auto` uses what the customer has reserved, if anything.
    fn tier(&mut self, w: &mut Writer<'_>) {
        match self.request.tier {
            None => {}
            Some(_) if self.edition != Edition::Anthropic => {}
            Some(Tier::Standard) => w.key("service_tier").string("standard_only"),
            Some(Tier::Priority | Tier::Reserved) => w.key("service_tier").string("auto"),
            Some(Tier::Flex) => self.left_out.note("service_tier"),
        }
    }

    fn output_config(&self, effort: Option<&str>, w: &mut Writer<'_>) -> Result<(), Error> {
        let schema = match &self.request.format {
            // For some object it has been asked in words.
            Format::Text | Format::JsonObject => None,
            Format::JsonSchema { schema, .. } => Some(schema).filter(|_| !self.answers),
        };
        if effort.is_none() && schema.is_none() {
            return Ok(());
        }
        w.key(CONFIG).object(|w| {
            if let Some(effort) = effort {
                w.key("effort").string(effort);
            }
            if let Some(schema) = schema {
                let schema = promise::keep(schema, self.request.spelling.format_schema)?;
                w.key("format").object(|w| {
                    w.key("type").string("json_schema");
                    w.key("schema").token(&schema);
                });
            }
            Ok(())
        })
    }
}

/// Thoughts are of use only with Anthropic's proof that they are its model's own.
fn is_unproved(part: &Part<'_>) -> bool {
    matches!(&part.content, Content::Thinking(Thinking { signature: None, .. }))
}

pub(super) fn text_block(text: Text<'_>, w: &mut Writer<'_>) {
    w.object(|w| {
        w.key("type").string("text");
        w.key("text").text(text);
    });
}

fn plain_text(w: &mut Writer<'_>, data: impl FnOnce(&mut Writer<'_>)) {
    w.object(|w| {
        w.key("type").string("text");
        w.key("media_type").string("text/plain");
        data(w.key("data"));
    });
}
