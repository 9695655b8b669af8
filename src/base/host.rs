//! The door to Envoy: what the core may ask of it, and what it wants done, as plain data.

use std::time::SystemTime;

use zeroize::Zeroize;

use super::headers::Headers;
use super::metric::{Counter, Histogram};

/// What Envoy calls an answer that fairlead gave at one of its places (`%RESPONSE_CODE_DETAILS%`).
pub const OWN_DETAILS: &str = "fairlead";

/// All that the core may ask of the outside world, synchronously.
pub trait Host {
    /// The host's wall clock; the target has none of its own.
    fn now(&self) -> SystemTime;
    /// A value that all workers of this Envoy process share, and a stamp for [`Host::set_shared`].
    fn shared(&self, key: &str) -> (Option<Vec<u8>>, Stamp);
    /// Replaces a shared value if nobody has since the stamp was taken.
    fn set_shared(&self, key: &str, value: &[u8], seen: Stamp) -> Result<(), Raced>;
    /// An Envoy attribute such as `["response", "code_details"]`; `None` when it is not there.
    fn property(&self, path: &[&str]) -> Option<Vec<u8>>;
    /// Writes a line to Envoy's log. Never a key, a prompt or an answer.
    fn log(&self, level: Level, message: &str);
    /// Adds to a counter, of which all workers of this Envoy process have one.
    fn count(&self, counter: Counter<'_>, by: u64);
    /// Adds a value to a histogram, of which all workers of this Envoy process have one.
    fn record(&self, histogram: Histogram<'_>, value: u64);
    /// Leaves a text for other filters and the access log, which find it in the filter state as `wasm.<name>`.
    fn set_property(&self, name: &str, value: &str);
}

/// When a shared value was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp(pub u32);

impl Stamp {
    /// There was no value. A write with this stamp succeeds whatever is there by then.
    pub const NOTHING: Stamp = Stamp(0);
}

/// Somebody else wrote the shared value first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Raced;

/// How much a log line matters to an operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// What happens to a request next.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Not ours: goes on as it came, less the headers that only we may write.
    Pass,
    /// Hold the headers until the body is complete.
    Wait,
    /// The body is complete; hold everything until [`Host`]-side news wake the stream.
    Park,
    /// Hold everything and make these calls, besides those that are under way already. The answer to each is
    /// told by its number, and the next step is the outcome of that.
    Call(Vec<(usize, Callout)>),
    /// Let the body go on as it came, with these headers in place of the client's.
    Route(Vec<(&'static str, String)>),
    /// Send this instead of what the client sent.
    Forward(Outgoing),
    /// Answer the client at once.
    Answer(Reply),
}

/// A whole request for an upstream: nothing of the client's headers remains.
#[derive(Debug, PartialEq)]
pub struct Outgoing {
    pub headers: Headers,
    pub body: Vec<u8>,
}

/// What happens to a piece of the upstream's reply next.
#[derive(Debug, PartialEq)]
pub enum ReplyStep {
    /// Not ours: goes on as it came.
    Pass,
    /// Keep it from the client: the position has taken what it needs.
    Hold,
    /// Replace the headers that were held, and send the bytes in `out`.
    Begin(Headers),
    /// There is no reply: only these headers go on, by which Envoy tries again or the gate answers.
    Fail(Headers),
    /// Send the bytes in `out`; the headers have gone already.
    Continue,
    /// Answer the client with this in place of the upstream's reply. Only while no header has gone.
    Answer(Reply),
    /// This is no reply, only leave to go on: keep it from the client, and do that with the request.
    Instead(Step),
}

/// A complete answer to the client.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// A call of our own, made through one of Envoy's clusters. It may carry keys and tokens: its memory is wiped when it
/// goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Callout {
    pub cluster: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub timeout: std::time::Duration,
}

impl Drop for Callout {
    fn drop(&mut self) {
        self.headers.iter_mut().for_each(|(_, value)| value.zeroize());
        self.body.zeroize();
    }
}
