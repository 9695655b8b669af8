//! JSON to vocabulary and back. Dialects know no addresses, no keys and no clock.

pub mod anthropic;
mod call_ids;
pub mod converse;
mod events;
mod extra;
pub mod fates;
pub mod gemini;
pub mod openai;
mod reading;
mod schema;
mod talk;

use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::host::Reply;
use crate::base::json::{Str, Text};
use crate::chat::{LeftOut, Request, Sink};
use crate::frame::Fault;
use fates::Fate;

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
}

impl Task {
    /// The dialect of errors.
    pub const fn client(self) -> Client {
        match self {
            Task::Chat(client) => client,
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

    /// Reads a chat request. `betas` is the value of the header `anthropic-beta`.
    ///
    /// # Errors
    /// The first thing that is wrong, named by its path.
    pub fn parse<'a>(self, body: &'a [u8], betas: &'a str) -> Result<Asked<'a>, Error> {
        match self {
            Client::OpenAi => openai::parse(body),
            Client::Anthropic => anthropic::parse(body, betas),
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

    /// A writer for one streamed reply; `usage`: the token counts were asked for.
    pub fn stream(self, title: Title, usage: bool) -> StreamWriter {
        match self {
            Client::OpenAi => StreamWriter::OpenAi(openai::StreamWriter::new(title, usage)),
            Client::Anthropic => StreamWriter::Anthropic(anthropic::StreamWriter::new(title)),
        }
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
}

impl StreamWriter {
    /// What takes the events.
    pub fn sink(&mut self) -> &mut dyn Sink {
        match self {
            StreamWriter::OpenAi(writer) => writer,
            StreamWriter::Anthropic(writer) => writer,
        }
    }

    /// What was written since the last call; the caller clears it.
    pub fn out(&mut self) -> &mut Vec<u8> {
        match self {
            StreamWriter::OpenAi(writer) => writer.out(),
            StreamWriter::Anthropic(writer) => writer.out(),
        }
    }

    /// The reply is complete.
    pub fn finish(&mut self) {
        match self {
            StreamWriter::OpenAi(writer) => writer.finish(),
            StreamWriter::Anthropic(writer) => writer.finish(),
        }
    }

    /// The reply will not be completed.
    pub fn fail(&mut self, error: &Error, request_id: &str) {
        match self {
            StreamWriter::OpenAi(writer) => writer.fail(error),
            StreamWriter::Anthropic(writer) => writer.fail(error, request_id),
        }
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
    /// OpenAI's chat completions.
    Completions(openai::Edition),
}

impl Upstream {
    /// Every upstream dialect, for tables and tests.
    pub const ALL: &[Upstream] = &[
        Upstream::Converse,
        Upstream::Gemini,
        Upstream::Completions(openai::Edition::OpenAi),
        Upstream::Completions(openai::Edition::OpenModels),
        Upstream::Completions(openai::Edition::Mistral),
    ];

    /// The name in file names of golden cases and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Upstream::Converse => "converse",
            Upstream::Gemini => "gemini",
            Upstream::Completions(edition) => edition.name(),
        }
    }

    /// What a person calls it.
    pub const fn title(self) -> &'static str {
        match self {
            Upstream::Converse => "Bedrock Converse",
            Upstream::Gemini => "Vertex Gemini",
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
            (Upstream::Completions(edition), client) => openai::fates::fates(edition, client),
        }
    }

    /// Whose errors it sends.
    pub const fn cloud(self) -> Cloud {
        match self {
            Upstream::Converse => Cloud::Aws,
            Upstream::Gemini => Cloud::Google,
            Upstream::Completions(edition) => Cloud::Completions(edition),
        }
    }

    /// Writes the upstream's body for `model`, the upstream's own name of it, into an empty buffer. Gives
    /// what this model made it leave out.
    ///
    /// # Errors
    /// What the upstream has no way to say, named by its path in the client's body.
    pub fn write(self, request: &Request<'_>, model: &str, out: &mut Vec<u8>) -> Result<LeftOut, Error> {
        match self {
            Upstream::Converse => converse::write(request, model, out),
            Upstream::Gemini => gemini::write(request, model, out),
            Upstream::Completions(edition) => openai::write(edition, request, model, out),
        }
    }

    /// The media type of this upstream's streams.
    pub const fn stream_media_type(self) -> &'static str {
        match self {
            Upstream::Converse => "application/vnd.amazon.eventstream",
            Upstream::Gemini | Upstream::Completions(_) => "text/event-stream",
        }
    }

    /// A decoder for one streamed reply.
    pub fn stream(self) -> StreamDecoder {
        match self {
            Upstream::Converse => StreamDecoder::Converse(converse::StreamDecoder::default()),
            Upstream::Gemini => StreamDecoder::Gemini(gemini::StreamDecoder::default()),
            Upstream::Completions(edition) => {
                StreamDecoder::Completions(Box::new(openai::StreamDecoder::new(edition)))
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
            Upstream::Completions(edition) => openai::decode(edition, body, sink),
        }
    }
}

/// A company whose APIs share one way to say what went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cloud {
    Aws,
    Google,
    /// Whoever speaks chat completions.
    Completions(openai::Edition),
}

impl Cloud {
    /// Reads what a reply of a status other than success says went wrong.
    pub fn refusal(self, status: u16, headers: &Headers, body: &[u8]) -> Error {
        match self {
            Cloud::Aws => converse::refusal(status, headers, body),
            Cloud::Google => gemini::refusal(status, headers, body),
            Cloud::Completions(edition) => openai::refusal(edition, status, headers, body),
        }
    }
}

/// Bytes of an upstream's stream in, events out.
pub enum StreamDecoder {
    Converse(converse::StreamDecoder),
    Gemini(gemini::StreamDecoder),
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
