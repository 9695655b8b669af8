//! JSON to vocabulary and back. Dialects know no addresses, no keys and no clock.

pub mod converse;
pub mod fates;
pub mod gemini;
pub mod openai;
mod schema;

use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::chat::{Request, Sink};
use crate::frame::Fault;

/// A dialect that an upstream speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upstream {
    /// Amazon Bedrock's Converse and ConverseStream.
    Converse,
    /// Google's generateContent and streamGenerateContent.
    Gemini,
}

impl Upstream {
    /// Every upstream dialect, for tables and tests.
    pub const ALL: &[Upstream] = &[Upstream::Converse, Upstream::Gemini];

    /// The name in file names of golden cases and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Upstream::Converse => "converse",
            Upstream::Gemini => "gemini",
        }
    }

    /// Writes the upstream's body for `model`, the upstream's own name of it, into an empty buffer.
    ///
    /// # Errors
    /// What the upstream has no way to say, named by its path in the client's body.
    pub fn write(self, request: &Request<'_>, model: &str, out: &mut Vec<u8>) -> Result<(), Error> {
        match self {
            Upstream::Converse => converse::write(request, out),
            Upstream::Gemini => gemini::write(request, model, out),
        }
    }

    /// The media type of this upstream's streams.
    pub const fn stream_media_type(self) -> &'static str {
        match self {
            Upstream::Converse => "application/vnd.amazon.eventstream",
            Upstream::Gemini => "text/event-stream",
        }
    }

    /// A decoder for one streamed reply.
    pub fn stream(self) -> StreamDecoder {
        match self {
            Upstream::Converse => StreamDecoder::Converse(converse::StreamDecoder::default()),
            Upstream::Gemini => StreamDecoder::Gemini(gemini::StreamDecoder::default()),
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
        }
    }

    /// Reads what a reply of another status says went wrong.
    pub fn refusal(self, status: u16, headers: &Headers, body: &[u8]) -> Error {
        match self {
            Upstream::Converse => converse::refusal(status, headers, body),
            Upstream::Gemini => gemini::refusal(status, headers, body),
        }
    }
}

/// Bytes of an upstream's stream in, events out.
pub enum StreamDecoder {
    Converse(converse::StreamDecoder),
    Gemini(gemini::StreamDecoder),
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
        }
    }
}

/// A stream whose framing is broken cannot be trusted any further.
impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Error::new(Kind::UpstreamGarbled, fault.to_string())
    }
}
