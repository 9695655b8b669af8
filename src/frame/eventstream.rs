//! AWS event-stream frames (`application/vnd.amazon.eventstream`): bytes in, checked frames out.
//!
//! A frame is `total length, headers length, CRC of these two, headers, payload, CRC of all before`,
//! every integer big-endian, every CRC the one of gzip. Source of the format and of the header names:
//! <https://smithy.io/2.0/aws/amazon-eventstream.html>.

use super::{Fault, Stop, recycle, settle};

/// Bytes before the headers: two lengths and their CRC.
const PRELUDE: usize = 12;

/// Bytes of a frame that are neither headers nor payload: the prelude and the CRC at the end.
const OVERHEAD: usize = PRELUDE + 4;

/// The longest frame a service may send: 24 MiB of payload and 128 KiB of headers, by the
/// specification. It also says that clients must not refuse what services may send, and Converse
/// streams images too, so the bound on memory is exactly this and not tighter. The buffer grows with
/// the bytes that arrive, never ahead of them by more than doubling: a length alone pins nothing.
pub const MAX_FRAME: usize = 24 * 1024 * 1024 + 128 * 1024 + OVERHEAD;

/// What a frame is, by its `:message-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Part of the answer.
    Event,
    /// An error of the service's model; the payload describes it.
    Exception,
    /// An error outside the model; [`Frame::message`] describes it, the payload is usually empty.
    Error,
}

/// One whole frame with good checksums; a view, alive for one call of the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the frame is.
    pub kind: Kind,
    /// `:event-type`, `:exception-type` or `:error-code`, as `kind` demands.
    pub name: &'a str,
    /// `:error-message`, or `""`.
    pub message: &'a str,
    /// The bytes after the headers.
    pub payload: &'a [u8],
}

/// Cuts a stream into frames. Holds the unread tail of the last chunk, at most [`MAX_FRAME`] bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of a frame whose end has not come yet.
    tail: Vec<u8>,
    /// The checked prelude of `tail`, once it is that long.
    prelude: Option<Prelude>,
    fault: Option<Fault>,
}

impl Decoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `sink` for each frame that ends in `chunk`, in order. Frames that lie whole inside
    /// `chunk` are not copied.
    ///
    /// # Errors
    /// The first [`Fault`] of the stream, again on every later call; or the error of the sink, after
    /// which the rest of the stream is [`Fault::Abandoned`].
    pub fn feed<E: From<Fault>>(
        &mut self,
        chunk: &[u8],
        mut sink: impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(fault) = self.fault {
            return Err(fault.into());
        }
        let outcome = self.cut(chunk, &mut sink);
        settle(&mut self.fault, outcome)
    }

    /// Tells that the stream has ended.
    ///
    /// # Errors
    /// [`Fault::Truncated`] on a half frame, or the fault that `feed` met.
    pub fn finish(&self) -> Result<(), Fault> {
        match self.fault {
            Some(fault) => Err(fault),
            None if self.tail.is_empty() => Ok(()),
            None => Err(Fault::Truncated),
        }
    }

    fn cut<E>(
        &mut self,
        chunk: &[u8],
        sink: &mut impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        let mut rest = chunk;
        // The frame begun in earlier chunks: up to its prelude, then up to its end.
        while !self.tail.is_empty() {
            let goal = self.prelude.map_or(PRELUDE, |prelude| prelude.total);
            let missing = goal.saturating_sub(self.tail.len());
            let (taken, after) = rest.split_at_checked(missing).unwrap_or((rest, &[]));
            self.tail.extend_from_slice(taken);
            rest = after;
            if taken.len() < missing {
                return Ok(());
            }
            match self.prelude.take() {
                None => self.prelude = Prelude::read(&self.tail)?,
                Some(prelude) => {
                    sink(prelude.frame(&self.tail)?).map_err(Stop::Sink)?;
                    recycle(&mut self.tail);
                }
            }
        }
        // The frames of this chunk, where they lie.
        while let Some(prelude) = Prelude::read(rest)? {
            let Some((whole, after)) = rest.split_at_checked(prelude.total) else {
                break;
            };
            sink(prelude.frame(whole)?).map_err(Stop::Sink)?;
            rest = after;
        }
        self.tail.extend_from_slice(rest);
        Ok(())
    }
}

const LENGTHS: Fault = Fault::Malformed("its lengths contradict each other");

/// The lengths of a frame, trusted only because their CRC was good and their sums work out.
#[derive(Debug, Clone, Copy)]
struct Prelude {
    total: usize,
    headers: usize,
    /// CRC of the two lengths; the CRC of the frame continues from it.
    crc: u32,
}

impl Prelude {
    /// `None` while `bytes` are too few to tell.
    fn read(bytes: &[u8]) -> Result<Option<Self>, Fault> {
        let Some((lengths, rest)) = bytes.split_first_chunk::<8>() else {
            return Ok(None);
        };
        let Some(crc) = rest.first_chunk().map(|crc| u32::from_be_bytes(*crc)) else {
            return Ok(None);
        };
        if crc32fast::hash(lengths) != crc {
            return Err(Fault::Checksum);
        }
        let [a, b, c, d, e, f, g, h] = *lengths;
        let total = u32::from_be_bytes([a, b, c, d]) as usize;
        let headers = u32::from_be_bytes([e, f, g, h]) as usize;
        if total > MAX_FRAME {
            return Err(Fault::TooLong);
        }
        match total.checked_sub(OVERHEAD) {
            Some(room) if headers <= room => Ok(Some(Self { total, headers, crc })),
            _ => Err(LENGTHS),
        }
    }

    /// Checks and opens `whole`, which is `total` bytes long.
    fn frame<'a>(&self, whole: &'a [u8]) -> Result<Frame<'a>, Fault> {
        let (covered, crc) = whole.split_last_chunk::<4>().ok_or(LENGTHS)?;
        let (_, unread) = covered.split_at_checked(8).ok_or(LENGTHS)?;
        let mut hasher = crc32fast::Hasher::new_with_initial(self.crc);
        hasher.update(unread);
        if hasher.finalize() != u32::from_be_bytes(*crc) {
            return Err(Fault::Checksum);
        }
        let (_, body) = covered.split_at_checked(PRELUDE).ok_or(LENGTHS)?;
        let (headers, payload) = body.split_at_checked(self.headers).ok_or(LENGTHS)?;
        Headers::read(headers)?.frame(payload)
    }
}

/// The headers that say what a frame is. Any others (`:content-type`, `:date`, ...) are skipped.
#[derive(Default)]
struct Headers<'a> {
    message_type: Option<&'a str>,
    event_type: Option<&'a str>,
    exception_type: Option<&'a str>,
    error_code: Option<&'a str>,
    error_message: Option<&'a str>,
}

impl<'a> Headers<'a> {
    fn read(mut bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut headers = Self::default();
        while !bytes.is_empty() {
            let header;
            (header, bytes) = Header::read(bytes)?;
            let slot = match header.name {
                ":message-type" => &mut headers.message_type,
                ":event-type" => &mut headers.event_type,
                ":exception-type" => &mut headers.exception_type,
                ":error-code" => &mut headers.error_code,
                ":error-message" => &mut headers.error_message,
                _ => continue, // metadata this gateway has no use for
            };
            let Some(text) = header.text else {
                return Err(Fault::Malformed("a header that must be a string is not"));
            };
            // The specification allows each name once; two answers to one question are no answer.
            if slot.replace(text).is_some() {
                return Err(Fault::Malformed("a header appears twice"));
            }
        }
        Ok(headers)
    }

    fn frame(self, payload: &'a [u8]) -> Result<Frame<'a>, Fault> {
        let (kind, name) = match self.message_type {
            Some("event") => (Kind::Event, self.event_type),
            Some("exception") => (Kind::Exception, self.exception_type),
            Some("error") => (Kind::Error, self.error_code),
            Some(_) => return Err(Fault::Malformed("its :message-type is unknown")),
            None => return Err(Fault::Malformed("it has no :message-type")),
        };
        let Some(name) = name else {
            return Err(Fault::Malformed("it has no type or code beside its :message-type"));
        };
        Ok(Frame { kind, name, message: self.error_message.unwrap_or(""), payload })
    }
}

/// One header; `text` is its value if that is a string.
struct Header<'a> {
    name: &'a str,
    text: Option<&'a str>,
}

impl<'a> Header<'a> {
    /// The first header of `bytes`, and what follows it.
    fn read(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Fault> {
        const CUT: Fault = Fault::Malformed("a header is longer than all headers");
        let (&length, rest) = bytes.split_first().ok_or(CUT)?;
        if length == 0 {
            return Err(Fault::Malformed("a header has no name"));
        }
        let (name, rest) = rest.split_at_checked(length.into()).ok_or(CUT)?;
        let name = utf8(name)?;
        let (&value_type, rest) = rest.split_first().ok_or(CUT)?;
        let (length, rest) = match value_type {
            0 | 1 => (0, rest), // true and false have no bytes
            2 => (1, rest),     // byte
            3 => (2, rest),     // short
            4 => (4, rest),     // integer
            5 | 8 => (8, rest), // long, timestamp
            9 => (16, rest),    // UUID
            6 | 7 => {
                // byte array and string, after a length of two bytes
                let (length, rest) = rest.split_first_chunk().ok_or(CUT)?;
                (u16::from_be_bytes(*length).into(), rest)
            }
            // The list is closed by the specification, and the length of anything else is unknown.
            _ => return Err(Fault::Malformed("a header has an unknown type")),
        };
        let (value, rest) = rest.split_at_checked(length).ok_or(CUT)?;
        let text = if value_type == 7 { Some(utf8(value)?) } else { None };
        Ok((Self { name, text }, rest))
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|_| Fault::Malformed("a header is not UTF-8"))
}

/// Appends a frame to `out` as Bedrock would send it. For tests and the stand-in cloud: the gateway
/// only reads this format. The payload of a [`Kind::Error`] becomes its `:error-message`, since such a
/// frame explains itself in headers.
#[doc(hidden)]
pub fn encode(kind: Kind, name: &str, payload: &[u8], out: &mut Vec<u8>) {
    let mut headers = Vec::new();
    let mut string = |name: &str, value: &[u8]| {
        headers.push(name.len() as u8);
        headers.extend_from_slice(name.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&(value.len() as u16).to_be_bytes());
        headers.extend_from_slice(value);
    };
    let payload = match kind {
        Kind::Event => {
            string(":event-type", name.as_bytes());
            string(":content-type", b"application/json");
            string(":message-type", b"event");
            payload
        }
        Kind::Exception => {
            string(":exception-type", name.as_bytes());
            string(":content-type", b"application/json");
            string(":message-type", b"exception");
            payload
        }
        Kind::Error => {
            string(":error-code", name.as_bytes());
            string(":error-message", payload);
            string(":message-type", b"error");
            &[]
        }
    };
    seal(&headers, payload, out);
}

/// Appends a frame of raw headers and a payload, with lengths and checksums as they should be.
fn seal(headers: &[u8], payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let total = OVERHEAD + headers.len() + payload.len();
    let so_far = |out: &[u8]| crc32fast::hash(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&(total as u32).to_be_bytes());
    out.extend_from_slice(&(headers.len() as u32).to_be_bytes());
    out.extend_from_slice(&so_far(out).to_be_bytes());
    out.extend_from_slice(headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(&so_far(out).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame that owns its parts, or the fault that ended the stream.
    type Seen = Result<(Kind, String, String, Vec<u8>), Fault>;

    /// Decodes a stream that arrives in `chunks`; all that the reader gets to see, faults included.
    fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
        let mut decoder = Decoder::new();
        let mut seen = Vec::new();
        for chunk in chunks {
            let fed = decoder.feed(chunk, |frame| {
                let Frame { kind, name, message, payload } = frame;
                seen.push(Ok((kind, name.to_owned(), message.to_owned(), payload.to_owned())));
                Ok::<(), Fault>(())
            });
            if let Err(fault) = fed {
                assert_eq!(decoder.finish(), Err(fault));
                seen.push(Err(fault));
                return seen;
            }
        }
        seen.extend(decoder.finish().err().map(Err));
        seen
    }

    /// Some frames of a Converse stream, with multi-byte text and an empty payload among them.
    fn stream() -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(Kind::Event, "messageStart", br#"{"role":"assistant"}"#, &mut bytes);
        encode(
            Kind::Event,
            "contentBlockDelta",
            "{\"delta\":{\"text\":\"Grüße 🦀\"}}".as_bytes(),
            &mut bytes,
        );
        encode(Kind::Event, "ping", b"", &mut bytes);
        encode(Kind::Exception, "throttlingException", br#"{"message":"slow"}"#, &mut bytes);
        encode(Kind::Error, "InternalError", b"An internal server error occurred.", &mut bytes);
        bytes
    }

    fn header(name: &str, value_type: u8, value: &[u8]) -> Vec<u8> {
        [&[name.len() as u8], name.as_bytes(), &[value_type], value].concat()
    }

    fn string(name: &str, value: &str) -> Vec<u8> {
        header(name, 7, &[&(value.len() as u16).to_be_bytes(), value.as_bytes()].concat())
    }

    /// The fault that a single frame with these headers meets, if any.
    fn fault_of(headers: &[u8]) -> Option<Fault> {
        let mut bytes = Vec::new();
        seal(headers, b"{}", &mut bytes);
        decode([bytes.as_slice()]).into_iter().find_map(Result::err)
    }

    fn malformed(headers: &[u8]) -> bool {
        matches!(fault_of(headers), Some(Fault::Malformed(_)))
    }

    #[test]
    fn a_stream_gives_its_frames_in_order() {
        let seen = decode([stream().as_slice()]);
        let names: Vec<_> = seen
            .iter()
            .map(|frame| {
                frame.as_ref().map(|(kind, name, message, _)| (*kind, name.as_str(), message.as_str()))
            })
            .collect();
        assert_eq!(
            names,
            [
                Ok((Kind::Event, "messageStart", "")),
                Ok((Kind::Event, "contentBlockDelta", "")),
                Ok((Kind::Event, "ping", "")),
                Ok((Kind::Exception, "throttlingException", "")),
                Ok((Kind::Error, "InternalError", "An internal server error occurred.")),
            ]
        );
        assert_eq!(seen[3].as_ref().map(|frame| frame.3.as_slice()), Ok(br#"{"message":"slow"}"#.as_slice()));
    }

    #[test]
    fn a_frame_of_another_maker_is_read() {
        // Made with Python's struct and zlib, read alike by botocore 1.44.5's EventStreamBuffer.
        let bytes = b"\x00\x00\x00\x80\x00\x00\x00fp\x15\xab\x96\x0b:event-type\x07\x00\x11contentBlockDelta\
            \x0d:content-type\x07\x00\x10application/json\x05:date\x08\x00\x00\x01\x94\x1f)|\x00\
            \x0d:message-type\x07\x00\x05event{\"p\":\"\xc3\xa9\"}M9\xd8\xc1";
        let frame = (Kind::Event, "contentBlockDelta".into(), String::new(), "{\"p\":\"é\"}".into());
        assert_eq!(decode([bytes.as_slice()]), [Ok(frame)]);
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_frames() {
        let bytes = stream();
        let whole = decode([bytes.as_slice()]);
        for i in 0..=bytes.len() {
            let (a, b) = bytes.split_at(i);
            assert_eq!(decode([a, b]), whole, "cut at {i}");
        }
        assert_eq!(decode(bytes.chunks(1)), whole, "byte by byte");
        assert_eq!(decode(bytes.chunks(1).flat_map(|byte| [byte, &[]])), whole, "with empty chunks");
    }

    #[test]
    fn a_stream_cut_twice_gives_the_same_frames() {
        let bytes = stream();
        let whole = decode([bytes.as_slice()]);
        for i in 0..=bytes.len() {
            for j in i..=bytes.len() {
                assert_eq!(decode([&bytes[..i], &bytes[i..j], &bytes[j..]]), whole, "cuts at {i} and {j}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused() {
        let good = stream();
        let whole = decode([good.as_slice()]);
        for i in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[i] ^= 1 << bit;
                let seen = decode([bad.as_slice()]);
                let (last, before) = seen.split_last().unwrap();
                assert!(last.is_err(), "bit {bit} of byte {i}");
                assert_eq!(before, &whole[..before.len()], "bit {bit} of byte {i}");
            }
        }
    }

    #[test]
    fn a_stream_that_ends_inside_a_frame_is_truncated() {
        let bytes = stream();
        let mut ends = vec![0];
        let whole = decode([bytes.as_slice()]);
        while let Some(start) = bytes[ends[ends.len() - 1]..].first_chunk() {
            ends.push(ends[ends.len() - 1] + u32::from_be_bytes(*start) as usize);
        }
        for i in 0..bytes.len() {
            let mut want = whole[..ends.iter().filter(|end| **end <= i).count() - 1].to_vec();
            if !ends.contains(&i) {
                want.push(Err(Fault::Truncated));
            }
            assert_eq!(decode([&bytes[..i]]), want, "ends after {i}");
        }
    }

    #[test]
    fn lengths_that_cannot_be_true_are_refused_before_anything_is_buffered() {
        for (total, headers, fault) in [
            (u32::MAX, 0, Fault::TooLong),
            (MAX_FRAME as u32 + 1, 0, Fault::TooLong),
            (15, 0, LENGTHS),
            (0, 0, LENGTHS),
            (100, 85, LENGTHS),
            (100, u32::MAX, LENGTHS),
        ] {
            let mut bytes = [total.to_be_bytes(), headers.to_be_bytes()].concat();
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
            for size in 1..=bytes.len() {
                let mut decoder = Decoder::new();
                let fed = bytes.chunks(size).try_for_each(|chunk| decoder.feed(chunk, |_| Ok(())));
                assert_eq!(fed, Err(fault), "{total} and {headers} in chunks of {size}");
                assert!(decoder.tail.capacity() <= 64, "{total} and {headers} in chunks of {size}");
            }
        }
    }

    #[test]
    fn a_length_is_not_trusted_before_its_checksum() {
        let good = stream();
        for bit in 0..PRELUDE * 8 {
            let mut bad = good[..PRELUDE].to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            let fed = Decoder::new().feed::<Fault>(&bad, |_| Ok(()));
            assert_eq!(fed, Err(Fault::Checksum), "bit {bit}, before any byte after the prelude");
        }
    }

    #[test]
    fn a_length_that_is_promised_pins_nothing_before_its_bytes_come() {
        let mut bytes = [(MAX_FRAME as u32).to_be_bytes(), 0_u32.to_be_bytes()].concat();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        let mut decoder = Decoder::new();
        assert_eq!(decoder.feed::<Fault>(&bytes, |_| Ok(())), Ok(()));
        assert!(decoder.tail.capacity() <= 64);
        assert_eq!(decoder.finish(), Err(Fault::Truncated));
    }

    #[test]
    fn the_longest_frame_of_the_specification_is_read() {
        let mut bytes = Vec::new();
        let start = [string(":message-type", "event"), string(":event-type", "chunk")].concat();
        let mut headers = start;
        // Fill up to 128 KiB of headers; 4 bytes of each are its lengths, type and name.
        for name in ["a", "b", "c", "d"] {
            let room = (128 * 1024 - headers.len() - 5).min(32_767);
            headers.extend(header(
                name,
                6,
                &[&(room as u16).to_be_bytes(), vec![0; room].as_slice()].concat(),
            ));
        }
        headers.extend(header("e", 0, &[]).repeat((128 * 1024 - headers.len()) / 3));
        seal(&headers, &vec![b'x'; MAX_FRAME - OVERHEAD - headers.len()], &mut bytes);
        assert_eq!(bytes.len(), MAX_FRAME);
        let mut decoder = Decoder::new();
        let mut sizes = Vec::new();
        for chunk in bytes.chunks(100_000) {
            let fed = decoder.feed::<Fault>(chunk, |frame| {
                sizes.push(frame.payload.len());
                Ok(())
            });
            assert_eq!(fed, Ok(()));
        }
        assert_eq!(sizes, [MAX_FRAME - OVERHEAD - headers.len()]);
        assert_eq!(decoder.tail.capacity(), 0, "a large buffer is given back");
    }

    #[test]
    fn headers_of_every_type_are_skipped() {
        let others: [(u8, &[u8]); 10] = [
            (0, &[]),
            (1, &[]),
            (2, &[1]),
            (3, &[1, 2]),
            (4, &[1, 2, 3, 4]),
            (5, &[0; 8]),
            (6, &[0, 3, 0xff, 0xfe, 0xfd]),
            (7, &[0, 2, b'o', b'k']),
            (8, &[0; 8]),
            (9, &[0; 16]),
        ];
        for at in 0..=others.len() {
            let mut headers = Vec::new();
            for (i, (value_type, value)) in others.iter().enumerate() {
                if i == at {
                    headers.extend(string(":message-type", "event"));
                }
                headers.extend(header(&format!("h{value_type}"), *value_type, value));
            }
            if at == others.len() {
                headers.extend(string(":message-type", "event"));
            }
            headers.extend(string(":event-type", "chunk"));
            assert_eq!(fault_of(&headers), None, "after {at}");
        }
    }

    #[test]
    fn headers_that_break_the_rules_are_refused() {
        let sound = [string(":message-type", "event"), string(":event-type", "chunk")].concat();
        assert_eq!(fault_of(&sound), None);
        for end in 0..sound.len() {
            assert!(malformed(&sound[..end]), "cut after {end}");
        }
        for (what, added) in [
            ("a type that does not exist", header("h", 10, &[])),
            ("a header without a name", header("", 0, &[])),
            ("a name that is not UTF-8", [2, 0xc3, 0x28, 0].to_vec()),
            ("a value that is not UTF-8", header("h", 7, &[0, 2, 0xc3, 0x28])),
            ("a string longer than the headers", header("h", 7, &[0, 3, b'x', b'x'])),
            ("bytes longer than the headers", header("h", 6, &[0xff, 0xff])),
            ("a number longer than the headers", header("h", 5, &[0; 7])),
            ("a UUID longer than the headers", header("h", 9, &[0; 15])),
            ("a second answer", string(":event-type", "chunk")),
            ("a name that is no string", header(":error-code", 6, &[0, 1, b'x'])),
        ] {
            assert!(malformed(&[sound.clone(), added].concat()), "{what}");
        }
        assert!(malformed(&string(":event-type", "chunk")), "no :message-type");
        assert!(malformed(&string(":message-type", "event")), "no :event-type");
        for kind in ["exception", "error", "news"] {
            let headers = [string(":message-type", kind), string(":event-type", "chunk")].concat();
            assert!(malformed(&headers), "{kind} with only an :event-type");
        }
    }

    #[test]
    fn a_fault_is_final() {
        let mut bad = stream();
        bad[20] ^= 1;
        let mut decoder = Decoder::new();
        let fault = decoder.feed::<Fault>(&bad, |_| Ok(())).unwrap_err();
        assert_eq!(decoder.feed::<Fault>(&stream(), |_| panic!("resynchronised")), Err(fault));
        assert_eq!(decoder.finish(), Err(fault));
    }

    #[test]
    fn after_an_error_of_the_sink_the_rest_is_abandoned() {
        #[derive(Debug, PartialEq)]
        enum Oops {
            Mine,
            Theirs(Fault),
        }
        impl From<Fault> for Oops {
            fn from(fault: Fault) -> Self {
                Self::Theirs(fault)
            }
        }
        for size in [1, 7, 10_000] {
            let bytes = stream();
            let mut decoder = Decoder::new();
            let mut calls = 0;
            let mut errors = Vec::new();
            for chunk in bytes.chunks(size) {
                errors.extend(
                    decoder
                        .feed(chunk, |_| {
                            calls += 1;
                            Err(Oops::Mine)
                        })
                        .err(),
                );
            }
            assert_eq!(calls, 1);
            let (first, later) = errors.split_first().unwrap();
            assert_eq!(first, &Oops::Mine);
            assert!(later.iter().all(|error| *error == Oops::Theirs(Fault::Abandoned)));
            assert_eq!(decoder.finish(), Err(Fault::Abandoned));
        }
    }

    #[test]
    fn frames_inside_a_chunk_are_views_into_it() {
        let bytes = stream();
        let chunk = bytes.as_ptr_range();
        let mut decoder = Decoder::new();
        let fed = decoder.feed::<Fault>(&bytes, |frame| {
            assert!(chunk.contains(&frame.name.as_ptr()), "{}", frame.name);
            Ok(())
        });
        assert_eq!(fed, Ok(()));
        assert_eq!(decoder.tail.capacity(), 0);
    }

    /// Linear cost, shown without a clock: a decoder that looked at a frame again for every byte of it
    /// would take 10^12 steps here and never come back.
    #[test]
    fn a_long_frame_in_one_byte_chunks_costs_no_more_than_its_length() {
        let mut bytes = Vec::new();
        encode(Kind::Event, "chunk", &vec![b'x'; 1024 * 1024], &mut bytes);
        let mut decoder = Decoder::new();
        let (mut frames, mut moves, mut capacity) = (0, 0, 0);
        for chunk in bytes.chunks(1) {
            let fed = decoder.feed::<Fault>(chunk, |_| {
                frames += 1;
                Ok(())
            });
            assert_eq!(fed, Ok(()));
            moves += usize::from(decoder.tail.capacity() > capacity);
            capacity = decoder.tail.capacity();
        }
        assert_eq!(frames, 1);
        assert!(moves <= 24, "the buffer moved {moves} times: it must double, not creep");
    }
}
