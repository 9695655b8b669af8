//! Server-sent events: bytes in, whole events out, by the HTML standard, section 9.2.6.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>.
//! Three differences, all for a reader that must not guess: an event that is not UTF-8 is refused
//! instead of repaired, an event that lacks only the blank line at the end of the stream is given out
//! instead of dropped, and `id` and `retry` are ignored, since a gateway never reconnects by itself.

use super::{Fault, Stop, recycle, settle};
use memchr::{memchr, memchr2};

/// The most bytes that the `event` and `data` lines of one event may have, and any single line. Gemini
/// puts a whole generated image (megabytes of base64) or a thought signature into one event; 16 MiB
/// lets these pass and bounds what a broken upstream can pin.
pub const MAX_EVENT: usize = 16 * 1024 * 1024;

/// May begin a stream; no part of it.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// One whole event; a view, alive for one call of the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The last `event` line, or `""`.
    pub name: &'a str,
    /// The `data` lines, joined by line feeds.
    pub data: &'a str,
}

/// Cuts a stream into events. Holds what earlier chunks said of the event at hand, at most
/// [`MAX_EVENT`] bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The data of the event at hand, then the line that the last chunk cut.
    held: Vec<u8>,
    /// Where in `held` the data ends; `None` while the event has no data line there.
    data_end: Option<usize>,
    name: Vec<u8>,
    /// Bytes in the `event` and `data` lines of the event at hand.
    size: usize,
    place: Place,
    fault: Option<Fault>,
}

/// What the next byte may be besides the next byte of a line.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Still on the first line, which may begin with a byte order mark.
    #[default]
    FirstLine,
    /// The last chunk ended with a carriage return, so a line feed here belongs to it.
    AfterReturn,
    Elsewhere,
}

/// What the chunk at hand says of the event at hand; copied only if the chunk ends before the event.
#[derive(Default)]
struct Lent<'c> {
    name: Option<&'c [u8]>,
    /// The data, as long as it is a single line and `Decoder::held` has none.
    data: Option<&'c [u8]>,
}

impl Decoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `sink` for each event that ends in `chunk`, in order. An event with one data line that
    /// lies whole inside `chunk` is not copied.
    ///
    /// # Errors
    /// The first [`Fault`] of the stream, again on every later call; or the error of the sink, after
    /// which the rest of the stream is [`Fault::Abandoned`].
    pub fn feed<E: From<Fault>>(
        &mut self,
        chunk: &[u8],
        mut sink: impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(fault) = self.fault {
            return Err(fault.into());
        }
        let outcome = self.cut(chunk, &mut sink);
        settle(&mut self.fault, outcome)
    }

    /// Tells that the stream has ended, and gives out an event that lacks only the blank line.
    ///
    /// # Errors
    /// [`Fault::Truncated`] on a half line, the fault that `feed` met, or the error of the sink.
    pub fn finish<E: From<Fault>>(
        &mut self,
        mut sink: impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(fault) = self.fault {
            return Err(fault.into());
        }
        let outcome = if self.cut_line().is_empty() {
            self.event_ends(&Lent::default(), &mut sink)
        } else {
            Err(Fault::Truncated.into())
        };
        settle(&mut self.fault, outcome)
    }

    fn cut<E>(
        &mut self,
        chunk: &[u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        let mut rest = chunk;
        if self.place == Place::AfterReturn && !rest.is_empty() {
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            self.place = Place::Elsewhere;
        }
        let mut lent = Lent::default();
        while let Some((line, end)) = memchr2(b'\n', b'\r', rest).and_then(|end| rest.split_at_checked(end)) {
            self.bound(line)?;
            rest = match end {
                [b'\r', b'\n', after @ ..] | [_, after @ ..] => after,
                [] => end,
            };
            let mark = if self.place == Place::FirstLine { BYTE_ORDER_MARK } else { &[] };
            self.place = if end == b"\r" { Place::AfterReturn } else { Place::Elsewhere };
            if !self.cut_line().is_empty() {
                self.held.extend_from_slice(line);
                self.cut_line_ends(mark);
                continue;
            }
            match line.strip_prefix(mark).unwrap_or(line) {
                [] => {
                    self.event_ends(&lent, sink)?;
                    lent = Lent::default();
                }
                line => self.line_ends(line, &mut lent),
            }
        }
        self.bound(rest)?;
        if let Some(data) = lent.data {
            self.join(data);
        }
        if let Some(name) = lent.name {
            rename(&mut self.name, name);
        }
        self.held.extend_from_slice(rest);
        Ok(())
    }

    /// Refuses a line before it is buffered, by bytes that no cut changes.
    fn bound(&self, line: &[u8]) -> Result<(), Fault> {
        if self.size + self.cut_line().len() + line.len() > MAX_EVENT {
            return Err(Fault::TooLong);
        }
        Ok(())
    }

    /// The beginning of a line whose end has not come yet.
    fn cut_line(&self) -> &[u8] {
        self.held.get(self.data_end.unwrap_or(0)..).unwrap_or_default()
    }

    /// Takes up a line that lies whole inside the chunk.
    fn line_ends<'c>(&mut self, line: &'c [u8], lent: &mut Lent<'c>) {
        match Field::read(line) {
            Field::Data(value) if self.data_end.is_none() && lent.data.is_none() => lent.data = Some(value),
            Field::Data(value) => {
                if let Some(first) = lent.data.take() {
                    self.join(first);
                }
                self.join(value);
            }
            Field::Event(value) => lent.name = Some(value),
            Field::Other => return,
        }
        self.size += line.len();
    }

    /// Takes up the line at the end of `held`, which has become whole.
    fn cut_line_ends(&mut self, mark: &[u8]) {
        let start = self.data_end.unwrap_or(0);
        let line = self.held.get(start..).unwrap_or_default();
        let line = line.strip_prefix(mark).unwrap_or(line);
        let length = line.len();
        match Field::read(line) {
            Field::Data(value) => {
                // The value moves up to the data before it; a second buffer would double the memory.
                let separator: &[u8] = if self.data_end.is_some() { b"\n" } else { b"" };
                let value_start = self.held.len() - value.len();
                self.held.splice(start..value_start, separator.iter().copied());
                self.data_end = Some(self.held.len());
            }
            Field::Event(value) => {
                rename(&mut self.name, value);
                self.held.truncate(start);
            }
            Field::Other => return self.held.truncate(start),
        }
        self.size += length;
    }

    /// Appends a data line to those in `held`, where no cut line may be.
    fn join(&mut self, value: &[u8]) {
        if self.data_end.is_some() {
            self.held.push(b'\n');
        }
        self.held.extend_from_slice(value);
        self.data_end = Some(self.held.len());
    }

    /// A blank line has come: gives out the event, if it has data, and makes room for the next.
    fn event_ends<E>(
        &mut self,
        lent: &Lent<'_>,
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        let held = self.data_end.and_then(|end| self.held.get(..end));
        if let Some(data) = lent.data.or(held) {
            let name = lent.name.unwrap_or(&self.name);
            sink(Event { name: utf8(name)?, data: utf8(data)? }).map_err(Stop::Sink)?;
        }
        recycle(&mut self.held);
        recycle(&mut self.name);
        self.data_end = None;
        self.size = 0;
        Ok(())
    }
}

/// Writes an event; [`Decoder`] gives it back as it was.
pub fn encode(name: &str, data: &str, out: &mut Vec<u8>) {
    if !name.is_empty() {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    for line in data.split('\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    out.push(b'\n');
}

/// What a line says.
enum Field<'a> {
    Data(&'a [u8]),
    Event(&'a [u8]),
    /// A comment, `id`, `retry`, or a field that the standard says to ignore.
    Other,
}

impl<'a> Field<'a> {
    fn read(line: &'a [u8]) -> Self {
        let (name, value) = match memchr(b':', line).and_then(|colon| line.split_at_checked(colon)) {
            Some((name, [_, b' ', value @ ..] | [_, value @ ..])) => (name, value),
            Some((name, [])) => (name, [].as_slice()),
            None => (line, [].as_slice()),
        };
        match name {
            b"data" => Self::Data(value),
            b"event" => Self::Event(value),
            _ => Self::Other,
        }
    }
}

fn rename(name: &mut Vec<u8>, new: &[u8]) {
    name.clear();
    name.extend_from_slice(new);
}

/// Per event, not per chunk: a cut may fall inside a character.
fn utf8(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|_| Fault::Malformed("an event is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = Result<(String, String), Fault>;

    /// Decodes a stream that arrives in `chunks`; all that the reader gets to see, faults included.
    fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
        let mut decoder = Decoder::new();
        let mut seen = Vec::new();
        for chunk in chunks {
            let fed = decoder.feed(chunk, |event| {
                seen.push(Ok((event.name.to_owned(), event.data.to_owned())));
                Ok::<(), Fault>(())
            });
            if let Err(fault) = fed {
                let finished = decoder.finish(|_| panic!("gave an event after {fault}"));
                assert_eq!(finished, Err(fault));
                seen.push(Err(fault));
                return seen;
            }
        }
        let finished = decoder.finish(|event| {
            seen.push(Ok((event.name.to_owned(), event.data.to_owned())));
            Ok::<(), Fault>(())
        });
        seen.extend(finished.err().map(Err));
        seen
    }

    fn event(name: &str, data: &str) -> Seen {
        Ok((name.to_owned(), data.to_owned()))
    }

    /// Everything the format knows, with LF as the end of lines.
    const STREAM: &str = "\u{feff}data: {\"text\":\"Grüße 🦀\"}\n\n: a comment\n\nevent: delta\ndata: one\n\n\
        event: two\nid: 7\ndata:a\nretry: 10\ndata:  b \ndata\ndata:\nunknown: x\nnothing\n\nevent: no data\n\n\
        data:\n\ndata: : colon\n: comment inside\ndata:x\nevent:last\n\n";

    fn events() -> [Seen; 6] {
        [
            event("", "{\"text\":\"Grüße 🦀\"}"),
            event("delta", "one"),
            event("two", "a\n b \n\n"),
            event("", ""),
            event("last", ": colon\nx"),
            event("", "unfinished"),
        ]
    }

    /// `STREAM` with other line ends, and an event that lacks its blank line at the end.
    fn stream(line_end: &str) -> String {
        (STREAM.to_owned() + "data: unfinished\n").replace('\n', line_end)
    }

    #[test]
    fn an_event_that_is_written_is_read_as_it_was() {
        let mut stream = Vec::new();
        let all = [("", ""), ("message_stop", "{}"), ("", "[DONE]"), ("a", "two\nlines\n"), ("b", " : é 🎈")];
        all.iter().for_each(|(name, data)| encode(name, data, &mut stream));
        assert_eq!(decode([stream.as_slice()]), all.map(|(name, data)| event(name, data)));
        let mut one = Vec::new();
        encode("ping", r#"{"type": "ping"}"#, &mut one);
        assert_eq!(one, b"event: ping\ndata: {\"type\": \"ping\"}\n\n");
    }

    #[test]
    fn every_line_end_means_the_same() {
        for line_end in ["\n", "\r\n", "\r"] {
            assert_eq!(decode([stream(line_end).as_bytes()]), events(), "{line_end:?}");
        }
        assert_eq!(
            decode([b"data: a\r\ndata: b\r\n\ndata: c\n\r\n".as_slice()]),
            [event("", "a\nb"), event("", "c")]
        );
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_events() {
        for line_end in ["\n", "\r\n", "\r"] {
            let text = stream(line_end);
            let bytes = text.as_bytes();
            for i in 0..=bytes.len() {
                let (a, b) = bytes.split_at(i);
                assert_eq!(decode([a, b]), events(), "{line_end:?} cut at {i}");
            }
            assert_eq!(decode(bytes.chunks(1)), events(), "{line_end:?} byte by byte");
            assert_eq!(
                decode(bytes.chunks(1).flat_map(|byte| [byte, &[]])),
                events(),
                "{line_end:?} with empty chunks"
            );
        }
    }

    #[test]
    fn a_stream_cut_twice_gives_the_same_events() {
        for line_end in ["\n", "\r\n", "\r"] {
            let text = stream(line_end);
            let bytes = text.as_bytes();
            for i in 0..=bytes.len() {
                for j in i..=bytes.len() {
                    let cut = decode([&bytes[..i], &bytes[i..j], &bytes[j..]]);
                    assert_eq!(cut, events(), "{line_end:?} cuts at {i} and {j}");
                }
            }
        }
    }

    #[test]
    fn an_event_is_given_out_with_the_last_byte_it_needs() {
        for text in ["data: x\n\n", "data: x\r\r", "data: x\r\n\r", "data: x\n\r"] {
            let mut decoder = Decoder::new();
            let mut seen = 0;
            for (i, byte) in text.bytes().enumerate() {
                assert_eq!(seen, 0, "{text:?} at {i}");
                let fed = decoder.feed::<Fault>(&[byte], |_| {
                    seen += 1;
                    Ok(())
                });
                assert_eq!(fed, Ok(()));
            }
            assert_eq!(seen, 1, "{text:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_only_one_at_the_start() {
        for (text, want) in [
            ("\u{feff}data: x\n\n", vec![event("", "x")]),
            ("\u{feff}\ndata: x\n\n", vec![event("", "x")]),
            ("\u{feff}\u{feff}data: x\n\n", vec![]),
            ("\n\u{feff}data: x\n\n", vec![]),
            ("data: \u{feff}x\n\n", vec![event("", "\u{feff}x")]),
        ] {
            assert_eq!(decode([text.as_bytes()]), want, "{text:?}");
            assert_eq!(decode(text.as_bytes().chunks(1)), want, "{text:?} byte by byte");
        }
    }

    #[test]
    fn a_stream_that_ends_inside_a_line_is_truncated() {
        for text in ["d", "data: {\"half", "data: a\ndata: b", ": comment", "data: a\n\ndata"] {
            for chunk in [1, 100] {
                let seen = decode(text.as_bytes().chunks(chunk));
                assert_eq!(seen.last(), Some(&Err(Fault::Truncated)), "{text:?} in chunks of {chunk}");
                assert_eq!(
                    seen.len(),
                    1 + usize::from(text.contains("\n\n")),
                    "{text:?} in chunks of {chunk}"
                );
            }
        }
        for text in ["", "\n", "event: x\n", ": comment\n", "data: x\n\n\r"] {
            assert!(decode([text.as_bytes()]).iter().all(Result::is_ok), "{text:?}");
        }
    }

    #[test]
    fn an_event_that_is_not_utf8_is_refused() {
        let malformed = Err(Fault::Malformed("an event is not UTF-8"));
        for bad in [b"data: \xc3\n\n".as_slice(), b"data: a\ndata: \xff\n\n", b"event: \xe2\x82\ndata: x\n\n"]
        {
            let bytes = [b"data: good\n\n", bad, b"data: never seen\n\n"].concat();
            for size in 1..=bytes.len() {
                let want = [event("", "good"), malformed.clone()];
                assert_eq!(decode(bytes.chunks(size)), want, "{bad:?} in chunks of {size}");
            }
        }
    }

    #[test]
    fn an_event_of_the_greatest_length_passes_and_one_byte_more_does_not() {
        let line = |length: usize| [b"data: ".as_slice(), &vec![b'x'; length - 6]].concat();
        let whole = [line(MAX_EVENT), b"\n\n".to_vec()].concat();
        let joined =
            [line(1000), b"\n: ignored\n".to_vec(), line(MAX_EVENT - 1000), b"\n\n".to_vec()].concat();
        let greater = [line(MAX_EVENT + 1), b"\n\n".to_vec()].concat();
        let split = [line(1000), b"\n".to_vec(), line(MAX_EVENT - 999), b"\n\n".to_vec()].concat();
        let turned = [line(MAX_EVENT - 999), b"\n".to_vec(), line(1000), b"\n\n".to_vec()].concat();
        let comment = [b":".to_vec(), vec![b'x'; MAX_EVENT]].concat();
        for size in [100_000, 5_000_000, usize::MAX] {
            for (bytes, length) in [(&whole, MAX_EVENT - 6), (&joined, MAX_EVENT - 11)] {
                let lengths: Vec<_> = decode(bytes.chunks(size))
                    .into_iter()
                    .map(|event| event.map(|(_, data)| data.len()))
                    .collect();
                assert_eq!(lengths, [Ok(length)], "in chunks of {size}");
            }
            for bytes in [&greater, &split, &turned, &comment] {
                assert_eq!(decode(bytes.chunks(size)), [Err(Fault::TooLong)], "in chunks of {size}");
            }
        }
    }

    #[test]
    fn the_bound_is_for_an_event_and_not_for_a_stream() {
        let bytes = [b"data: ".to_vec(), vec![b'x'; MAX_EVENT / 4], b"\n\n".to_vec()].concat().repeat(5);
        for size in [1_000_000, usize::MAX] {
            assert_eq!(
                decode(bytes.chunks(size)).iter().filter(|event| event.is_ok()).count(),
                5,
                "in chunks of {size}"
            );
        }
    }

    #[test]
    fn comments_without_end_are_not_buffered() {
        let mut decoder = Decoder::new();
        for _ in 0..1000 {
            assert_eq!(decoder.feed::<Fault>(b": keep-alive, once more\n: and", |_| Ok(())), Ok(()));
            assert_eq!(decoder.feed::<Fault>(b" again\n", |_| Ok(())), Ok(()));
        }
        assert!(decoder.held.capacity() <= 64);
        assert_eq!(decoder.size, 0);
    }

    #[test]
    fn a_fault_is_final() {
        let mut decoder = Decoder::new();
        let fault = decoder.feed::<Fault>(b"data: \xff\n\n", |_| Ok(())).unwrap_err();
        let again = decoder.feed::<Fault>(b"data: x\n\n", |_| panic!("resynchronised"));
        assert_eq!(again, Err(fault));
        assert_eq!(decoder.finish::<Fault>(|_| panic!("resynchronised")), Err(fault));
    }

    #[test]
    fn after_an_error_of_the_sink_the_rest_is_abandoned() {
        let mut decoder = Decoder::new();
        let mut calls = 0;
        let fed = decoder.feed(b"data: a\n\ndata: b\n\n", |_| {
            calls += 1;
            Err(Fault::Checksum) // stands for an error of the reader
        });
        assert_eq!((fed, calls), (Err(Fault::Checksum), 1));
        assert_eq!(decoder.feed::<Fault>(b"data: c\n\n", |_| Ok(())), Err(Fault::Abandoned));
    }

    #[test]
    fn an_event_inside_a_chunk_is_a_view_into_it() {
        let bytes = b": comment\nevent: delta\ndata: {}\nid: 1\n\ndata: {}\n\n";
        let chunk = bytes.as_ptr_range();
        let mut decoder = Decoder::new();
        let fed = decoder.feed::<Fault>(bytes, |event| {
            assert!(chunk.contains(&event.data.as_ptr()), "{}", event.name);
            Ok(())
        });
        assert_eq!(fed, Ok(()));
        assert_eq!((decoder.held.capacity(), decoder.name.capacity()), (0, 0));
    }

    /// Linear cost, shown without a clock: a decoder that looked at a line again for every byte of it
    /// would take 10^12 steps here and never come back.
    #[test]
    fn a_long_event_in_one_byte_chunks_costs_no_more_than_its_length() {
        let bytes = [b"data: ".to_vec(), vec![b'x'; 1024 * 1024], b"\n".to_vec()].concat().repeat(2);
        let mut decoder = Decoder::new();
        let (mut moves, mut capacity) = (0, 0);
        for chunk in bytes.chunks(1) {
            assert_eq!(decoder.feed::<Fault>(chunk, |_| Ok(())), Ok(()));
            moves += usize::from(decoder.held.capacity() > capacity);
            capacity = decoder.held.capacity();
        }
        let mut length = 0;
        let fed = decoder.feed::<Fault>(b"\n", |event| {
            length = event.data.len();
            Ok(())
        });
        assert_eq!((fed, length), (Ok(()), 2 * 1024 * 1024 + 1));
        assert!(moves <= 25, "the buffer moved {moves} times: it must double, not creep");
        assert_eq!(decoder.held.capacity(), 0, "a large buffer is given back");
    }
}
