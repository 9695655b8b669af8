//! Framing of upstream streams: bytes in, whole frames out; knows no vocabulary and no JSON.
//!
//! [`eventstream`] is what Amazon Bedrock streams, [`sse`] what Vertex AI and Anthropic stream. Both
//! decoders give the same frames wherever the transport cut the bytes, hand out views into the chunk
//! where a frame lies whole inside it, keep only the unread tail between chunks, and touch each byte
//! a fixed number of times. A fault is final: nobody resynchronises on a stream that lied once.

pub mod eventstream;
pub mod sse;

use std::fmt;

/// What an upstream did wrong with its framing. `Display` is written for the operator's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The stream ended inside a frame.
    Truncated,
    /// A checksum does not match the bytes it covers.
    Checksum,
    /// A frame is longer than the decoder's bound.
    TooLong,
    /// The bytes break the rules of the format; the text says which.
    Malformed(&'static str),
    /// The reader gave an error for an earlier frame, so the rest of the stream was not read.
    Abandoned,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the upstream ended its stream inside a frame"),
            Self::Checksum => f.write_str("the upstream sent a frame with a wrong checksum"),
            Self::TooLong => f.write_str("the upstream sent a frame longer than the gateway accepts"),
            Self::Malformed(what) => write!(f, "the upstream sent a malformed frame: {what}"),
            Self::Abandoned => f.write_str("the stream was given up after an earlier frame"),
        }
    }
}

impl std::error::Error for Fault {}

/// Why decoding stopped: the stream is at fault, or the reader's sink said no.
enum Stop<E> {
    Fault(Fault),
    Sink(E),
}

impl<E> From<Fault> for Stop<E> {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Remembers in `fault` that decoding stopped, and gives the reader its own error type.
fn settle<E: From<Fault>>(fault: &mut Option<Fault>, outcome: Result<(), Stop<E>>) -> Result<(), E> {
    outcome.map_err(|stop| match stop {
        Stop::Fault(what) => {
            *fault = Some(what);
            what.into()
        }
        Stop::Sink(error) => {
            *fault = Some(Fault::Abandoned);
            error
        }
    })
}

/// A buffer that grew beyond this for one large frame is given back after it; below, it is reused for
/// the next frame. Text deltas are a few hundred bytes, so 64 KiB (one wasm page) covers ordinary
/// streams without a second allocation.
const REUSED: usize = 64 * 1024;

/// Empties a buffer between frames.
fn recycle(buffer: &mut Vec<u8>) {
    if buffer.capacity() > REUSED {
        *buffer = Vec::new();
    } else {
        buffer.clear();
    }
}
