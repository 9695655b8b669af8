//! Server-sent events as Google and others send them: with bare JSON in place of the last one, at times.

use memchr::memchr_iter;

use crate::base::error::Error;
use crate::chat::Sink;
use crate::frame::sse;

/// Bare JSON after the events is an error object of a few hundred bytes; this leaves room for details
/// and bounds what a stream of something else can pin.
const MOST_BARE: usize = 64 * 1024;

/// Gives out the data of events. Holds at most one event of [`sse::MAX_EVENT`] bytes.
#[derive(Default)]
pub struct Events {
    events: sse::Decoder,
    /// The last byte was not a line feed.
    within_line: bool,
    /// JSON that is no event; see [`Events::split`].
    bare: Vec<u8>,
}

impl Events {
    /// Takes the next bytes, cut anywhere.
    ///
    /// # Errors
    /// Those of the framing and of `then`. After one nothing more may be fed.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut then: impl FnMut(&str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (events, bare) = self.split(bytes);
        let room = MOST_BARE.saturating_sub(self.bare.len());
        self.bare.extend(bare.iter().take(room));
        self.events.feed(events, |event| then(event.data))
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// That it did so within an event, and those of `then`.
    pub fn finish(&mut self, mut then: impl FnMut(&str) -> Result<(), Error>) -> Result<(), Error> {
        if self.bare.is_empty() {
            self.events.finish(|event| then(event.data))
        } else {
            then(std::str::from_utf8(&self.bare).unwrap_or_default())
        }
    }

    /// Parts the events from bare JSON after them. When Google gives up in the middle of a stream, it may
    /// send the error object as it is, over several lines and not as an event (llmgateway pull request
    /// 3616); so does an upstream that overlooked that a stream was asked for. A line that begins with a
    /// bracket would mean nothing among server-sent events.
    fn split<'b>(&mut self, bytes: &'b [u8]) -> (&'b [u8], &'b [u8]) {
        if !self.bare.is_empty() {
            return (&[], bytes);
        }
        let first = (!self.within_line).then_some(0);
        let starts = first.into_iter().chain(memchr_iter(b'\n', bytes).map(|end| end + 1));
        let bare = starts.into_iter().find(|&at| matches!(bytes.get(at), Some(b'{' | b'[')));
        if let Some(last) = bytes.last() {
            self.within_line = *last != b'\n';
        }
        bare.and_then(|at| bytes.split_at_checked(at)).unwrap_or((bytes, &[]))
    }
}

/// A reply whose pieces come as events.
pub trait Reply {
    /// Takes the data of an event.
    fn take(&mut self, data: &str, sink: &mut dyn Sink) -> Result<(), Error>;
    /// There are no more.
    fn end(&mut self, sink: &mut dyn Sink) -> Result<(), Error>;
}

/// Decodes a streamed reply. Holds what [`Events`] does, and what the reply keeps of itself.
#[derive(Default)]
pub struct StreamDecoder<R> {
    events: Events,
    reply: R,
}

impl<R: Reply> StreamDecoder<R> {
    pub fn new(reply: R) -> Self {
        Self { events: Events::default(), reply }
    }

    /// Takes the next bytes, cut anywhere. After an error nothing more may be fed.
    ///
    /// # Errors
    /// Those of a whole reply, except that an incomplete one shows only in [`StreamDecoder::finish`].
    pub fn feed(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        let reply = &mut self.reply;
        self.events.feed(bytes, |data| reply.take(data, sink))
    }

    /// The upstream has ended its stream.
    ///
    /// # Errors
    /// [`crate::base::error::Kind::UpstreamGarbled`] when it did so before the reply was complete.
    pub fn finish(&mut self, sink: &mut dyn Sink) -> Result<(), Error> {
        let reply = &mut self.reply;
        self.events.finish(|data| reply.take(data, sink))?;
        reply.end(sink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_json_is_given_out_at_the_end_and_fills_no_more_than_its_bound() {
        let mut given = Vec::new();
        let mut note = |data: &str| {
            given.push(data.to_owned());
            Ok(())
        };
        let mut events = Events::default();
        events.feed(b"data: 1\n\n{\n", &mut note).unwrap();
        events.feed(b"\"error\":2}", &mut note).unwrap();
        events.finish(&mut note).unwrap();
        assert_eq!(given, ["1", "{\n\"error\":2}"]);

        let mut events = Events::default();
        for _ in 0..100 {
            events.feed(&[b'['; 4096], |_| Ok(())).unwrap();
        }
        assert_eq!(events.bare.len(), MOST_BARE);
    }
}
