//! JSON to vocabulary and back. Dialects know no addresses, no keys and no clock.

pub mod anthropic;
mod call_ids;
mod claude;
pub mod converse;
pub mod count;
pub mod embedding;
mod events;
mod extra;
pub mod fates;
pub mod gemini;
pub mod image;
mod json_object;
mod media;
pub mod models;
pub mod names;
pub mod openai;
mod promise;
mod proof;
mod reading;
pub mod relay;
mod schema;
mod talk;
mod tape;

use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::host::Reply;
use crate::base::json::{Str, Text, Writer};
use crate::chat::{LeftOut, Request, Sink};
use crate::frame::Fault;
pub use anthropic::{Aside, Edition};
use fates::{Fate, Given};
use names::Names;

/// A dialect that a client speaks; the route tells which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Client {
    /// OpenAI's chat completions.
    OpenAi,
    /// Anthropic's Messages API.
    Anthropic,
}

/// What a client wants done; the route tells which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    /// The next message of a conversation.
    Chat(Client),
    /// How many tokens a conversation has, for a client of Anthropic's API.
    CountTokens,
    /// The vectors of texts, as OpenAI's API has it.
    Embeddings,
    /// Images from a text, by OpenAI's images API.
    Images,
}

impl Task {
    /// The dialect of errors.
    pub const fn client(self) -> Client {
        match self {
            Task::Chat(client) => client,
            Task::CountTokens => Client::Anthropic,
            Task::Embeddings => Client::OpenAi,
            Task::Images => Client::OpenAi,
        }
    }
}

/// A request and the model that it asks for.
#[derive(Debug)]
pub struct Asked<'a> {
    /// As the client wrote it.
    pub model: Str<'a>,
    pub request: Request<'a>,
}

/// A model as its upstream calls it, and what it is.
#[derive(Clone, Copy, Debug)]
pub struct Model<'m> {
    pub name: &'m str,
    /// The model that it is made of, as the operator has written it, where the name does not tell.
    pub family: Option<&'m str>,
}

impl<'m> From<&'m str> for Model<'m> {
    fn from(name: &'m str) -> Self {
        Self { name, family: None }
    }
}

impl<'m> Model<'m> {
    /// What tells what it takes.
    pub fn base(self) -> &'m str {
        self.family.unwrap_or(self.name)
    }

    /// Whether an operator's word for what a model is means something here.
    pub fn is_family(word: &str) -> bool {
        ["gemini-", "claude-"].iter().any(|name| word.starts_with(name))
            || converse::is_family(word)
            || openai::is_family(word)
    }
}

/// Headers of one request.
pub type HeaderList = Vec<(&'static str, String)>;

/// What became of a request beside its body.
#[derive(Debug)]
pub struct Written {
    /// What this model made the upstream leave out.
    pub left_out: LeftOut,
    /// Tools that the reply will know by other names than the client.
    pub names: Names,
    /// A stream was asked for, but the model can only answer whole.
    pub whole: bool,
    /// Headers that this request goes out with, besides [`Upstream::headers`].
    pub headers: HeaderList,
}

/// What became of a request that passes, beside its body.
#[derive(Debug)]
pub struct Passed {
    /// The fields that were given.
    pub given: Vec<Given>,
    /// Headers that this request goes out with, besides [`Upstream::headers`].
    pub headers: HeaderList,
}

/// What every reply says of itself.
#[derive(Clone, Debug)]
pub struct Title {
    /// The upstream's id of the reply, until it says another in its body.
    pub id: String,
    /// Unix time in seconds.
    pub created: u64,
    /// The model as the client asked for it.
    pub model: String,
}

impl Title {
    /// Takes the id that the upstream says in the body of its reply.
    fn name(&mut self, id: Option<Text<'_>>) {
        if let Some(id) = id {
            self.id = id.unescape().into_owned();
        }
    }
}

/// What the cloud was asked to tell in its own words: members that stand at the end of a reply.
#[derive(Default)]
struct Extras(Vec<(&'static str, String)>);

impl Extras {
    /// A later one of a name replaces an earlier one, so that there are as many as names.
    fn take(&mut self, name: &'static str, json: &str) {
        self.0.retain(|(known, _)| *known != name);
        // Between tokens a new line means nothing in JSON, but ends an event of a stream.
        self.0.push((name, json.replace(['\n', '\r'], " ")));
    }

    fn write(&self, w: &mut Writer<'_>) {
        self.0.iter().for_each(|(name, json)| w.key(name).token(json));
    }
}

impl Client {
    /// Every client dialect, for tables and tests.
    pub const ALL: &[Client] = &[Client::OpenAi, Client::Anthropic];

    /// The name of its folder of golden cases.
    pub const fn name(self) -> &'static str {
        match self {
            Client::OpenAi => "openai",
            Client::Anthropic => "anthropic",
        }
    }

    /// Reads a chat request. `aside` is what a client of Anthropic's says beside it.
    ///
    /// # Errors
    /// The first thing that is wrong, named by its path.
    pub fn parse<'a>(self, body: &'a [u8], aside: &'a Aside) -> Result<Asked<'a>, Error> {
        match self {
            Client::OpenAi => openai::parse(body),
            Client::Anthropic => anthropic::parse(body, aside),
        }
    }

    /// The top-level fields of a request that its API documents.
    pub const fn fields(self) -> &'static [&'static str] {
        match self {
            Client::OpenAi => openai::fields::FIELDS,
            Client::Anthropic => anthropic::fields::FIELDS,
        }
    }

    /// The whole answer to a request that failed.
    pub fn refuse(self, error: &Error, request_id: &str) -> Reply {
        match self {
            Client::OpenAi => error.openai_reply(),
            Client::Anthropic => error.anthropic_reply(request_id),
        }
    }

    /// Adds the event that ends a stream which will not be completed. What ends a whole one does not follow,
    /// so that nobody takes it for whole.
    fn break_off(self, error: &Error, request_id: &str, out: &mut Vec<u8>) {
        match self {
            Client::OpenAi => {
                out.extend_from_slice(b"data: ");
                error.write_openai(out);
            }
            Client::Anthropic => {
                out.extend_from_slice(b"event: error\ndata: ");
                error.write_anthropic(request_id, out);
            }
        }
        out.extend_from_slice(b"\n\n");
    }

    /// A writer for one streamed reply; `usage`: the token counts were asked for.
    pub fn stream(self, title: Title, usage: bool) -> StreamWriter {
        match self {
            Client::OpenAi => StreamWriter::OpenAi(openai::StreamWriter::new(title, usage)),
            Client::Anthropic => StreamWriter::Anthropic(anthropic::StreamWriter::new(title)),
        }
    }

    /// Whether a request asks for token counts at the end of its stream, so far as they have to be asked for.
    pub fn wants_usage(self, body: &relay::Body<'_>) -> bool {
        match self {
            Client::OpenAi => openai::wants_usage(body),
            Client::Anthropic => true,
        }
    }

    /// A writer that lets a stream of this dialect pass as it is.
    pub fn relay(self, usage: bool) -> StreamWriter {
        StreamWriter::Relay(relay::Writer::new(self, usage))
    }

    /// A writer for one whole reply.
    pub fn whole(self, title: Title) -> WholeWriter {
        match self {
            Client::OpenAi => WholeWriter::OpenAi(openai::WholeWriter::new(title)),
            Client::Anthropic => WholeWriter::Anthropic(anthropic::WholeWriter::new(title)),
        }
    }
}

/// Events in, server-sent events out.
pub enum StreamWriter {
    OpenAi(openai::StreamWriter),
    Anthropic(anthropic::StreamWriter),
    /// Nothing is written but what came.
    Relay(relay::Writer),
}

impl StreamWriter {
    /// What takes the events.
    pub fn sink(&mut self) -> &mut dyn Sink {
        match self {
            StreamWriter::OpenAi(writer) => writer,
            StreamWriter::Anthropic(writer) => writer,
            StreamWriter::Relay(writer) => writer,
        }
    }

    /// What was written since the last call; the caller clears it.
    pub fn out(&mut self) -> &mut Vec<u8> {
        match self {
            StreamWriter::OpenAi(writer) => writer.out(),
            StreamWriter::Anthropic(writer) => writer.out(),
            StreamWriter::Relay(writer) => writer.out(),
        }
    }

    /// The reply is complete.
    pub fn finish(&mut self) {
        match self {
            StreamWriter::OpenAi(writer) => writer.finish(),
            StreamWriter::Anthropic(writer) => writer.finish(),
            // The upstream's own end has passed.
            StreamWriter::Relay(_) => {}
        }
    }

    /// The reply will not be completed.
    pub fn fail(&mut self, error: &Error, request_id: &str) {
        let client = match self {
            StreamWriter::OpenAi(_) => Client::OpenAi,
            StreamWriter::Anthropic(_) => Client::Anthropic,
            StreamWriter::Relay(writer) => writer.client(),
        };
        client.break_off(error, request_id, self.out());
    }
}

/// Events in, one JSON reply out.
pub enum WholeWriter {
    OpenAi(openai::WholeWriter),
    Anthropic(anthropic::WholeWriter),
}

impl WholeWriter {
    /// What takes the events.
    pub fn sink(&mut self) -> &mut dyn Sink {
        match self {
            WholeWriter::OpenAi(writer) => writer,
            WholeWriter::Anthropic(writer) => writer,
        }
    }

    /// Writes the reply.
    pub fn finish(&self, out: &mut Vec<u8>) {
        match self {
            WholeWriter::OpenAi(writer) => writer.finish(out),
            WholeWriter::Anthropic(writer) => writer.finish(out),
        }
    }
}

/// A dialect that an upstream speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upstream {
    /// Amazon Bedrock's Converse and ConverseStream.
    Converse,
    /// Google's generateContent and streamGenerateContent.
    Gemini,
    /// An edition of Anthropic's Messages API.
    Messages(Edition),
    /// OpenAI's chat completions.
    Completions(openai::Edition),
}

impl Upstream {
    /// Every upstream dialect, for tables and tests.
    pub const ALL: &[Upstream] = &[
        Upstream::Converse,
        Upstream::Gemini,
        Upstream::Messages(Edition::Anthropic),
        Upstream::Messages(Edition::InvokeModel),
        Upstream::Messages(Edition::Mantle),
        Upstream::Messages(Edition::Vertex),
        Upstream::Completions(openai::Edition::OpenAi),
        Upstream::Completions(openai::Edition::OpenModels),
        Upstream::Completions(openai::Edition::Mistral),
    ];

    /// The name in file names of golden cases and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Upstream::Converse => "converse",
            Upstream::Gemini => "gemini",
            Upstream::Messages(Edition::Anthropic) => "messages",
            Upstream::Messages(Edition::InvokeModel) => "messages-invoke_model",
            Upstream::Messages(Edition::Mantle) => "messages-mantle",
            Upstream::Messages(Edition::Vertex) => "messages-vertex",
            Upstream::Completions(edition) => edition.name(),
        }
    }

    /// What a person calls it.
    pub const fn title(self) -> &'static str {
        match self {
            Upstream::Converse => "Bedrock Converse",
            Upstream::Gemini => "Vertex Gemini",
            Upstream::Messages(Edition::Anthropic) => "Anthropic",
            Upstream::Messages(Edition::InvokeModel) => "Bedrock InvokeModel",
            Upstream::Messages(Edition::Mantle) => "Bedrock Mantle",
            Upstream::Messages(Edition::Vertex) => "Vertex Claude",
            Upstream::Completions(edition) => edition.title(),
        }
    }

    /// What becomes of each of the [`Client::fields`].
    pub const fn fates(self, client: Client) -> &'static [(&'static str, Fate)] {
        match (self, client) {
            (Upstream::Converse, Client::OpenAi) => converse::fates::OPENAI_CHAT,
            (Upstream::Converse, Client::Anthropic) => converse::fates::ANTHROPIC_MESSAGES,
            (Upstream::Gemini, Client::OpenAi) => gemini::fates::OPENAI_CHAT,
            (Upstream::Gemini, Client::Anthropic) => gemini::fates::ANTHROPIC_MESSAGES,
            (Upstream::Messages(edition), Client::OpenAi) => anthropic::fates::openai(edition),
            (Upstream::Messages(edition), Client::Anthropic) => anthropic::fates::anthropic(edition),
            (Upstream::Completions(edition), client) => openai::fates::fates(edition, client),
        }
    }

    /// Whose errors it sends.
    pub const fn cloud(self) -> Cloud {
        match self {
            Upstream::Converse => Cloud::Aws,
            Upstream::Gemini => Cloud::Google,
            Upstream::Messages(Edition::Anthropic) => Cloud::Anthropic,
            Upstream::Messages(Edition::InvokeModel | Edition::Mantle) => Cloud::Aws,
            Upstream::Messages(Edition::Vertex) => Cloud::Google,
            Upstream::Completions(edition) => Cloud::Completions(edition),
        }
    }

    /// Whether a client's own dialect is spoken, so that requests and replies pass as they are: see
    /// [`relay`].
    pub const fn speaks(self, client: Client) -> bool {
        match (self, client) {
            (Upstream::Messages(_), Client::Anthropic) => true,
            (Upstream::Completions(edition), Client::OpenAi) => edition.is_openais(),
            (Upstream::Messages(_), Client::OpenAi)
            | (Upstream::Completions(_), Client::Anthropic)
            | (Upstream::Converse | Upstream::Gemini, _) => false,
        }
    }

    /// Headers that go out besides those of every request. `aside` is what a client of Anthropic's says in its own.
    pub fn headers(self, aside: &Aside) -> HeaderList {
        match self {
            Upstream::Converse | Upstream::Gemini | Upstream::Completions(_) => Vec::new(),
            Upstream::Messages(edition) => edition.headers(aside),
        }
    }

    /// Edits the body of a client whose dialect this upstream [`Upstream::speaks`], into an empty buffer.
    ///
    /// # Errors
    /// What the upstream has no place for, named by its path.
    pub fn pass(
        self,
        body: &relay::Body<'_>,
        model: Model<'_>,
        aside: &Aside,
        out: &mut Vec<u8>,
    ) -> Result<Passed, Error> {
        match self {
            Upstream::Messages(edition) => anthropic::pass(edition, body, model.name, aside, out),
            Upstream::Completions(edition) => {
                let given = openai::pass(edition, body, model, out)?;
                Ok(Passed { given, headers: Vec::new() })
            }
            Upstream::Converse | Upstream::Gemini => Err(speechless()),
        }
    }

    /// Writes the upstream's body for `model`, the upstream's own name of it, into an empty buffer.
    ///
    /// # Errors
    /// What the upstream has no way to say, named by its path in the client's body.
    pub fn write<'m>(
        self,
        request: &mut Request<'_>,
        model: impl Into<Model<'m>>,
        out: &mut Vec<u8>,
    ) -> Result<Written, Error> {
        let model = model.into();
        let mut names = names::fit(request, self.words())?;
        match self {
            Upstream::Converse => {
                json_object::ask(request);
                let converse::Outcome { left_out, answer, whole } = converse::write(request, model, out)?;
                if let Some(tool) = answer {
                    names.answered_by(tool);
                }
                Ok(Written { left_out, names, whole, headers: Vec::new() })
            }
            Upstream::Gemini => {
                let left_out = gemini::write(request, model.base(), out)?;
                let headers = gemini::headers(request.tier);
                Ok(Written { left_out, names, whole: false, headers })
            }
            Upstream::Messages(edition) => {
                json_object::ask(request);
                let anthropic::Outcome { left_out, headers, answer } =
                    anthropic::write(edition, request, model, out)?;
                if let Some(tool) = answer {
                    names.answered_by(tool);
                }
                Ok(Written { left_out, names, whole: false, headers })
            }
            Upstream::Completions(edition) => {
                let left_out = openai::write(edition, request, model, out)?;
                Ok(Written { left_out, names, whole: false, headers: Vec::new() })
            }
        }
    }

    /// What it takes as names of tools and ids of calls.
    const fn words(self) -> names::Rule {
        match self {
            Upstream::Converse => converse::WORDS,
            Upstream::Gemini => gemini::WORDS,
            Upstream::Messages(_) => anthropic::WORDS,
            Upstream::Completions(_) => openai::WORDS,
        }
    }

    /// What becomes of each of the [`anthropic::fields::COUNT_FIELDS`]; empty for an API that counts no tokens,
    /// for which nothing below is asked.
    pub const fn count_fates(self) -> &'static [(&'static str, Fate)] {
        match self {
            Upstream::Converse => converse::fates::ANTHROPIC_COUNT,
            Upstream::Gemini => gemini::fates::ANTHROPIC_COUNT,
            Upstream::Messages(edition) => anthropic::fates::count(edition),
            Upstream::Completions(_) => &[],
        }
    }

    /// The members of a chat request's body that this upstream counts.
    pub const fn count_members(self) -> &'static [&'static str] {
        match self {
            Upstream::Converse => converse::count::TAKEN,
            Upstream::Gemini => gemini::count::TAKEN,
            Upstream::Messages(edition) => anthropic::counted(edition),
            Upstream::Completions(_) => &[],
        }
    }

    /// Writes the body that asks the upstream for the number of tokens, like [`Upstream::write`].
    ///
    /// # Errors
    /// Those of [`Upstream::write`].
    pub fn write_count<'m>(
        self,
        request: &mut Request<'_>,
        model: impl Into<Model<'m>>,
        out: &mut Vec<u8>,
    ) -> Result<LeftOut, Error> {
        let mut chat = Vec::new();
        let model = model.into();
        let Written { left_out, .. } = self.write(request, model, &mut chat)?;
        let taken = self.count_members();
        Writer::new(out).object(|w| match self {
            Upstream::Converse => {
                w.key("input").object(|w| w.key("converse").object(|w| count::pick(&chat, taken, w)))
            }
            Upstream::Gemini | Upstream::Completions(_) => count::pick(&chat, taken, w),
            Upstream::Messages(edition) => {
                edition.write_count_head(model.name, w);
                count::pick(&chat, taken, w)
            }
        })?;
        Ok(left_out)
    }

    /// Edits the body of a request to count tokens, like [`Upstream::pass`].
    ///
    /// # Errors
    /// What is refused by [`Upstream::count_fates`].
    pub fn pass_count(
        self,
        body: &relay::Body<'_>,
        model: &str,
        aside: &Aside,
        out: &mut Vec<u8>,
    ) -> Result<Vec<Given>, Error> {
        match self {
            Upstream::Messages(edition) => anthropic::pass_count(edition, body, model, aside, out),
            Upstream::Converse | Upstream::Gemini | Upstream::Completions(_) => Err(speechless()),
        }
    }

    /// Reads the number of tokens from a reply of status 200.
    ///
    /// # Errors
    /// [`crate::base::error::Kind::UpstreamGarbled`] when there is none.
    pub fn read_count(self, body: &str) -> Result<u64, Error> {
        match self {
            Upstream::Converse => converse::count::read(body),
            Upstream::Gemini => gemini::count::read(body),
            Upstream::Messages(_) => anthropic::read_count(body),
            Upstream::Completions(_) => Err(count::garbled()),
        }
    }

    /// The media type of this upstream's streams.
    pub const fn stream_media_type(self) -> &'static str {
        match self {
            Upstream::Converse | Upstream::Messages(Edition::InvokeModel) => {
                "application/vnd.amazon.eventstream"
            }
            Upstream::Gemini
            | Upstream::Messages(Edition::Anthropic | Edition::Mantle | Edition::Vertex)
            | Upstream::Completions(_) => "text/event-stream",
        }
    }

    /// A decoder for one streamed reply.
    pub fn stream(self) -> StreamDecoder {
        match self {
            Upstream::Converse => StreamDecoder::Converse(converse::StreamDecoder::default()),
            Upstream::Gemini => StreamDecoder::Gemini(gemini::StreamDecoder::default()),
            Upstream::Messages(edition) => StreamDecoder::Messages(anthropic::StreamDecoder::new(edition)),
            Upstream::Completions(edition) => {
                StreamDecoder::Completions(Box::new(openai::StreamDecoder::of(edition)))
            }
        }
    }

    /// Decodes a whole reply of status 200.
    ///
    /// # Errors
    /// [`crate::base::error::Kind::UpstreamGarbled`] when it is no such reply or is incomplete.
    pub fn decode(self, body: &str, sink: &mut dyn Sink) -> Result<(), Error> {
        match self {
            Upstream::Converse => converse::decode(body, sink),
            Upstream::Gemini => gemini::decode(body, sink),
            Upstream::Messages(_) => anthropic::decode(body, sink),
            Upstream::Completions(edition) => openai::decode(edition, body, sink),
        }
    }
}

/// The error about a request that was to pass where nobody speaks its dialect.
fn speechless() -> Error {
    Error::new(Kind::Internal, "this upstream speaks no client's dialect")
}

/// A company whose APIs share one way to say what went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cloud {
    Aws,
    Google,
    Anthropic,
    /// Whoever speaks chat completions.
    Completions(openai::Edition),
}

impl Cloud {
    /// Reads what a reply of a status other than success says went wrong.
    pub fn refusal(self, status: u16, headers: &Headers, body: &[u8]) -> Error {
        // The clouds pass on what Claude says in Anthropic's own shape.
        let passed_on = |server| anthropic::refusal(server, status, headers, body);
        match self {
            Cloud::Aws => {
                passed_on("Amazon Bedrock").unwrap_or_else(|| converse::refusal(status, headers, body))
            }
            Cloud::Google => passed_on("Vertex AI").unwrap_or_else(|| gemini::refusal(status, headers, body)),
            Cloud::Anthropic => {
                passed_on("Anthropic").unwrap_or_else(|| anthropic::unreadable("Anthropic", status, headers))
            }
            Cloud::Completions(edition) => openai::refusal(edition, status, headers, body),
        }
    }
}

/// Bytes of an upstream's stream in, events out.
#[allow(clippy::large_enum_variant, reason = "there is one for each stream, and the stream is in a box")]
pub enum StreamDecoder {
    Converse(converse::StreamDecoder),
    Gemini(gemini::StreamDecoder),
    Messages(anthropic::StreamDecoder),
    Completions(Box<openai::StreamDecoder>),
}

impl StreamDecoder {
    /// Takes the next bytes, cut anywhere. After an error nothing more may be fed.
    ///
    /// # Errors
    /// What the upstream says went wrong, or that it cannot be understood.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        match self {
            StreamDecoder::Converse(decoder) => decoder.feed(bytes, sink),
            StreamDecoder::Gemini(decoder) => decoder.feed(bytes, sink),
            StreamDecoder::Messages(decoder) => decoder.feed(bytes, sink),
            StreamDecoder::Completions(decoder) => decoder.feed(bytes, sink),
        }
    }

    /// The upstream has ended its stream.
    ///
    /// # Errors
    /// When it did so before the reply was complete.
    pub fn finish(&mut self, sink: &mut dyn Sink) -> Result<(), Error> {
        match self {
            StreamDecoder::Converse(decoder) => decoder.finish(sink),
            StreamDecoder::Gemini(decoder) => decoder.finish(sink),
            StreamDecoder::Messages(decoder) => decoder.finish(sink),
            StreamDecoder::Completions(decoder) => decoder.finish(sink),
        }
    }
}

/// A stream whose framing is broken cannot be trusted any further.
impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Error::new(Kind::UpstreamGarbled, fault.to_string())
    }
}
