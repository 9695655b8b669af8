//! The places in Envoy where fairlead works, and what happens to one stream at each of them.

use crate::base::headers::Headers;
use crate::base::host::{Host, Reply, ReplyStep, Step};

/// One stream at one place: Envoy's callbacks in, steps out.
pub trait Position {
    /// The request's headers have come; `last`: it has no body.
    fn request_headers(&mut self, host: &dyn Host, headers: &Headers, last: bool) -> Step;

    /// So many bytes of the body have come, and it is not complete.
    fn request_growing(&mut self, bytes: usize) -> Step;

    /// Whether [`Position::request_body`] looks at the body.
    fn needs_body(&self) -> bool {
        true
    }

    /// The body is complete.
    fn request_body(&mut self, host: &dyn Host, body: &[u8]) -> Step;

    /// Something may have changed for a request that was told to [`Step::Park`].
    fn wake(&mut self, host: &dyn Host) -> Step;

    /// An answer to one of the calls of [`Step::Call`] has come, or, if it is `None`, will not come. What
    /// answers after the last step is nobody's concern.
    fn called(&mut self, host: &dyn Host, number: usize, answer: Option<(&Headers, &[u8])>) -> Step;

    /// The reply's headers have come, or those of an answer that Envoy made; `last`: without a body.
    fn response_headers(&mut self, host: &dyn Host, headers: Headers, last: bool) -> ReplyStep;

    /// The next bytes of the reply; what is to be sent is left in `out`.
    fn response_chunk(&mut self, host: &dyn Host, bytes: &[u8], last: bool, out: &mut Vec<u8>) -> ReplyStep;

    /// A reply whose bytes are not read here has come to its end.
    fn passed(&mut self, _: &dyn Host) {}

    /// Whether the bytes of this exchange are for us to read: not those of a request that is not ours, nor
    /// those of an answer that we gave.
    fn reads(&self) -> bool;

    /// Whether answers to calls are still waited for.
    fn calls(&self) -> bool;

    /// How many bytes a request holds that was told to [`Step::Park`] or [`Step::Call`].
    fn held(&self) -> usize;

    /// The answer to a request for which the host could not do what it was told.
    fn fault(&mut self, problem: &str) -> Reply;

    /// The answer to a request that does not fit the worker's memory beside those of others, or whose answers
    /// do not.
    fn overloaded(&mut self) -> Reply;

    /// The answer to a request that would have to wait where too many do.
    fn crowded(&mut self) -> Reply;

    /// The exchange is over, one way or another.
    fn done(&mut self, host: &dyn Host);
}
