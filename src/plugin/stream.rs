//! One HTTP stream: Envoy's callbacks to the pipeline, and its steps to host calls.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, BufferType, MapType};

use super::abi;
use super::calls::Calls;
use super::doorstep::Doorstep;
use super::host::Envoy;
use super::latch::{Pair, Queue};
use crate::base::error::{Error, Kind};
use crate::base::headers::{Headers, INTERNAL_PREFIX};
use crate::base::host::{Outgoing, Reply, ReplyStep, Step};
use crate::pipeline::Position;

/// How many requests of one worker may wait for credentials at a time: a second's worth for a busy worker.
const MOST_PARKED: usize = 1024;

/// How many bytes of translated bodies they may hold together. The VM's memory ends at 4 GiB and never
/// shrinks.
const MOST_PARKED_BYTES: usize = 256 * 1024 * 1024;

/// Until the first tick comes for somebody who waits.
const SOON: Duration = Duration::from_millis(1);

/// What a client is told when Envoy refuses to do what it should be able to.
const STUCK: &str = "Envoy did not let the gateway change this request; the operator should check that \
                     allow_on_headers_stop_iteration is true in the plugin's configuration";

/// Requests that wait for credentials.
#[derive(Default)]
pub struct Parking {
    waiting: Vec<Waiting>,
}

impl Parking {
    fn has_room_for(&self, bytes: usize) -> bool {
        let held: usize = self.waiting.iter().map(|waiting| waiting.bytes).sum();
        self.waiting.len() < MOST_PARKED && held.saturating_add(bytes) <= MOST_PARKED_BYTES
    }

    pub fn take(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.waiting)
    }

    pub fn keep(&mut self, stream: Waiting) {
        self.waiting.push(stream);
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// What a stream, its calls and its root context know of one exchange.
pub type Shared = Rc<RefCell<dyn Position>>;

/// A request that waits; shared between its stream and the root context that wakes it.
pub struct Waiting {
    id: u32,
    /// Size of its body.
    bytes: usize,
    position: Shared,
    pair: Option<Rc<Pair>>,
}

impl Waiting {
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Lets the request look again; host calls must act for it already. `true`: it goes on waiting.
    pub fn wake(&self, calls: &RefCell<Calls>) -> bool {
        let step = self.position.borrow_mut().wake(&Envoy);
        match Calls::make(calls, self.id, &self.position, step) {
            Step::Park => return true,
            Step::Forward(outgoing) => {
                let sent = match &self.pair {
                    Some(pair) => pair.forward(outgoing),
                    None => forward(&outgoing) && abi::resume_request(),
                };
                if !sent {
                    abi::send(&self.position.borrow_mut().fault(STUCK));
                }
            }
            Step::Answer(reply) => {
                abi::send(&reply);
            }
            Step::Pass | Step::Wait | Step::Call(_) | Step::Route(_) => {}
        }
        false
    }
}

pub struct Stream {
    id: u32,
    /// Absent when the plugin has no configuration; then nothing gets through.
    position: Option<Shared>,
    parking: Rc<RefCell<Parking>>,
    calls: Rc<RefCell<Calls>>,
    doorstep: Rc<RefCell<Doorstep>>,
    /// Present where the configuration says that a latch follows.
    queue: Option<Rc<Queue>>,
    /// The request as the latch knows it.
    pair: Option<Rc<Pair>>,
    /// Bytes for the client; reused by all chunks of a reply.
    out: Vec<u8>,
    /// So many of them are in Envoy's hands.
    handed: usize,
    reply: Passage,
}

/// How a reply passes through Envoy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passage {
    /// Nothing has gone on yet.
    Held,
    /// Nothing has gone on yet, and what comes of the body is gathered by Envoy.
    Gathered,
    /// The headers have gone on, and so does every piece of the body.
    Flowing,
}

/// The most that is put into a body that Envoy gathers. Over `per_connection_buffer_limit_bytes` Envoy answers
/// 500 itself, in the middle of the call that puts it there; that enters the SDK a second time, which panics,
/// and with the VM Envoy itself goes down (tried on 1.36.2 and 1.40.0). Operators set the limit as low as
/// 32 KiB: envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge.
const MOST_GATHERED: usize = 16 * 1024;

impl Stream {
    pub fn new(
        id: u32,
        position: Option<Shared>,
        parking: Rc<RefCell<Parking>>,
        calls: Rc<RefCell<Calls>>,
        doorstep: Rc<RefCell<Doorstep>>,
        queue: Option<Rc<Queue>>,
    ) -> Self {
        let (pair, out) = (None, Vec::new());
        Self { id, position, parking, calls, doorstep, queue, pair, out, handed: 0, reply: Passage::Held }
    }

    /// Does what the pipeline wants done with the request.
    fn request(&mut self, step: Step) -> Action {
        let step = match &self.position {
            Some(position) => Calls::make(&self.calls, self.id, position, step),
            None => step,
        };
        match step {
            Step::Pass => Action::Continue,
            Step::Wait | Step::Call(_) => Action::Pause,
            Step::Park => self.park(),
            Step::Forward(outgoing) => {
                let sent = match &self.pair {
                    Some(pair) => pair.forward(outgoing),
                    None => forward(&outgoing),
                };
                if sent { Action::Continue } else { self.stuck() }
            }
            Step::Route(added) => {
                if route(added) {
                    Action::Continue
                } else {
                    self.stuck()
                }
            }
            Step::Answer(reply) => answer(&reply),
        }
    }

    fn reads(&self) -> bool {
        self.position.as_ref().is_some_and(|position| position.borrow().reads())
    }

    fn park(&mut self) -> Action {
        let Some(position) = &self.position else { return self.stuck() };
        let bytes = position.borrow().held();
        let mut parking = self.parking.borrow_mut();
        if !parking.has_room_for(bytes) {
            return answer(&position.borrow_mut().crowded());
        }
        if parking.is_empty() {
            abi::tick_every(SOON);
        }
        let pair = self.pair.clone();
        // What a latch holds need not be held here as well.
        let action = if pair.is_some() { Action::Continue } else { Action::Pause };
        parking.keep(Waiting { id: self.id, bytes, position: Rc::clone(position), pair });
        action
    }

    fn stuck(&mut self) -> Action {
        let reply = match &self.position {
            Some(position) => position.borrow_mut().fault(STUCK),
            None => return Action::Pause,
        };
        answer(&reply)
    }

    fn complete_request(&mut self, size: usize) -> Action {
        let Some(position) = &self.position else { return Action::Pause };
        let body = match &self.pair {
            Some(pair) => Some(pair.taken()),
            None if size == 0 || !position.borrow().needs_body() => Some(Vec::new()),
            None => abi::buffer(BufferType::HttpRequestBody, size),
        };
        let Some(body) = body else { return self.stuck() };
        let step = position.borrow_mut().request_body(&Envoy, &body);
        drop(body);
        self.request(step)
    }

    /// Answers a request whose headers went on to no latch. Nothing of the client's is in them.
    fn unheld(&self) -> Option<Action> {
        let (Some(position), Some(pair)) = (&self.position, &self.pair) else { return None };
        (self.reads() && !pair.is_held()).then(|| answer(&Pair::missing(position)))
    }

    /// Does what the pipeline wants done with a piece of the reply.
    fn response(&mut self, step: ReplyStep, last: bool) -> Action {
        match step {
            ReplyStep::Pass => Action::Continue,
            ReplyStep::Hold => {
                abi::set_buffer(BufferType::HttpResponseBody, &[]);
                if last || self.reply == Passage::Flowing {
                    return Action::Continue;
                }
                self.reply = Passage::Gathered;
                Action::Pause
            }
            ReplyStep::Begin(headers) => {
                if last && self.reply == Passage::Gathered && self.out.len() > MOST_GATHERED {
                    abi::send_whole(&headers, &self.out);
                    // Envoy has its own copy, and the client may take a while to read it.
                    self.out = Vec::new();
                    return Action::Pause;
                }
                abi::set_headers(MapType::HttpResponseHeaders, &headers);
                self.hand_over()
            }
            ReplyStep::Fail(headers) => {
                abi::set_headers(MapType::HttpResponseHeaders, &headers);
                abi::set_buffer(BufferType::HttpResponseBody, &[]);
                self.reply = Passage::Flowing;
                Action::Continue
            }
            ReplyStep::Continue => self.hand_over(),
            ReplyStep::Answer(reply) => answer(&reply),
            ReplyStep::Instead(step) => self.request(step),
        }
    }

    /// Gives Envoy what is there for the client. After that nothing is gathered any more, and what was too
    /// much goes with the next piece.
    fn hand_over(&mut self) -> Action {
        let most = match self.reply {
            Passage::Gathered => MOST_GATHERED,
            Passage::Held | Passage::Flowing => usize::MAX,
        };
        self.reply = Passage::Flowing;
        self.handed = self.out.len().min(most);
        abi::set_buffer(BufferType::HttpResponseBody, self.out.get(..self.handed).unwrap_or_default());
        Action::Continue
    }

    /// A reply that is not read here has ended.
    fn passed(&self) {
        if let Some(position) = &self.position {
            position.borrow_mut().passed(&Envoy);
        }
    }

    fn response_chunk(&mut self, size: usize, last: bool) -> Action {
        let Some(position) = &self.position else { return Action::Continue };
        let chunk = if size == 0 { None } else { abi::buffer(BufferType::HttpResponseBody, size) };
        self.out.drain(..self.handed.min(self.out.len()));
        self.handed = 0;
        let step =
            position.borrow_mut().response_chunk(&Envoy, &chunk.unwrap_or_default(), last, &mut self.out);
        self.response(step, last)
    }
}

impl Context for Stream {
    /// The stream is over, also when the client has gone. In a cluster this is all that comes of it: Envoy calls
    /// `on_log` in the listener alone, and there before this (tried on 1.36.2 and 1.40.0).
    fn on_done(&mut self) -> bool {
        if let Some(position) = &self.position {
            position.borrow_mut().done(&Envoy);
        }
        true
    }

    fn on_http_call_response(&mut self, token: u32, _headers: usize, size: usize, _trailers: usize) {
        Calls::answered(&self.calls, token, size);
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, last: bool) -> Action {
        let Some(position) = &self.position else {
            let error = Error::new(
                Kind::Internal,
                "the gateway has no configuration; the operator finds the reason in Envoy's log",
            );
            return answer(&error.openai_reply());
        };
        let Some(headers) = abi::headers(MapType::HttpRequestHeaders) else { return self.stuck() };
        for (name, _) in &headers.0 {
            // Ours to write: a client that sends one could choose its own cluster.
            if name.starts_with(INTERNAL_PREFIX) {
                abi::remove_header(MapType::HttpRequestHeaders, name);
            }
        }
        let step = position.borrow_mut().request_headers(&Envoy, &headers, last);
        if matches!(step, Step::Wait) {
            if let Some(queue) = &self.queue {
                self.pair = Pair::new(self.id, position, queue, &headers);
                return match &self.pair {
                    // The latch holds the headers while the body comes.
                    Some(_) => Action::Continue,
                    None => answer(&Pair::missing(position)),
                };
            }
            self.doorstep.borrow_mut().arrived(self.id, position);
        }
        self.request(step)
    }

    fn on_http_request_body(&mut self, size: usize, last: bool) -> Action {
        if !self.reads() {
            return Action::Continue;
        }
        if let Some(action) = self.unheld() {
            return action;
        }
        self.doorstep.borrow_mut().opened();
        let Some(position) = &self.position else { return Action::Pause };
        let come = match &self.pair {
            Some(pair) => pair.take_in(size),
            None => Some(size),
        };
        let Some(come) = come else { return answer(&position.borrow_mut().overloaded()) };
        if last {
            return self.complete_request(size);
        }
        let step = position.borrow_mut().request_growing(come);
        if self.pair.is_some() && matches!(step, Step::Wait) {
            // The latch holds what is to be held.
            return Action::Continue;
        }
        self.request(step)
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        if !self.reads() {
            return Action::Continue;
        }
        if let Some(action) = self.unheld() {
            return action;
        }
        // The body was complete without anyone having said so.
        let action = self.complete_request(usize::MAX >> 1);
        abi::set_headers(MapType::HttpRequestTrailers, &Headers::default());
        action
    }

    fn on_http_response_headers(&mut self, _count: usize, last: bool) -> Action {
        if let Some(action) = self.unheld() {
            return action;
        }
        let Some(position) = &self.position else { return Action::Continue };
        let headers = abi::headers(MapType::HttpResponseHeaders).unwrap_or_default();
        let step = position.borrow_mut().response_headers(&Envoy, headers, last);
        // There is no body to empty yet.
        if step == ReplyStep::Hold { Action::Pause } else { self.response(step, last) }
    }

    fn on_http_response_body(&mut self, size: usize, last: bool) -> Action {
        if self.pair.is_some() {
            // The latch has read it: it comes before.
            return Action::Continue;
        }
        if self.reads() {
            return self.response_chunk(size, last);
        }
        if last {
            self.passed();
        }
        Action::Continue
    }

    /// The stream is over, and its line in the access log comes next: what it says must be known by now.
    fn on_log(&mut self) {
        if let Some(position) = &self.position {
            position.borrow_mut().done(&Envoy);
        }
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        if self.pair.is_some() {
            return Action::Continue;
        }
        if self.reads() {
            return self.response_chunk(0, true);
        }
        self.passed();
        Action::Continue
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Borrowed only while a stream parks, calls, comes in or the list is taken, and none of them ends one.
        if let Ok(mut parking) = self.parking.try_borrow_mut() {
            parking.waiting.retain(|waiting| waiting.id != self.id);
        }
        if let Ok(mut calls) = self.calls.try_borrow_mut() {
            calls.forget(self.id);
        }
        if let Ok(mut doorstep) = self.doorstep.try_borrow_mut() {
            doorstep.left(self.id);
        }
        if let Some(pair) = &self.pair {
            pair.end();
        }
    }
}

/// Replaces the request. Nothing of the client's headers and body remains.
fn forward(outgoing: &Outgoing) -> bool {
    abi::set_headers(MapType::HttpRequestHeaders, &outgoing.headers)
        && abi::set_buffer(BufferType::HttpRequestBody, &outgoing.body)
}

/// What Envoy's router needs of a client's headers. Of the others some give it orders, and keys would reach a cloud
/// where an operator has forgotten the position `fairlead.attempt`.
const ROUTED: &[&str] = &[":method", ":scheme", ":authority", ":path", "x-forwarded-proto", "x-request-id"];

/// Lets the body go on with these headers.
fn route(added: Vec<(&'static str, String)>) -> bool {
    let Some(Headers(mut all)) = abi::headers(MapType::HttpRequestHeaders) else { return false };
    all.retain(|(name, _)| ROUTED.contains(&name.as_str()));
    all.extend(added.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())));
    abi::set_headers(MapType::HttpRequestHeaders, &Headers(all))
}

fn answer(reply: &Reply) -> Action {
    abi::send(reply);
    Action::Pause
}
