//! The latch: a second filter directly behind the first, which holds headers where the pause flag cannot be set.
//!
//! Without `allow_on_headers_stop_iteration` a filter that pauses headers is not shown the body. So one filter
//! pauses and the other reads, on each side the one that Envoy calls later holds for the one that it calls
//! earlier: requests pass `fairlead` first, replies pass `fairlead.latch` first.
//!
//! ```text
//! request    fairlead: reads the body, empties it          latch: holds the headers; puts the new body in
//! reply      fairlead: holds the headers                    latch: reads the body, puts the new one in
//! ```
//!
//! Both share a VM, so each can act for the other. What is held is let go from the root context, because
//! letting go inside a callback of the same stream would have Envoy enter the VM a second time; a queue that only
//! this worker reads brings the root its turn at once.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, BufferType, MapType};

use super::abi;
use super::host::Envoy;
use super::stream::Shared;
use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::host::{Host, Outgoing, Reply, ReplyStep, Stamp};

/// How the latch learns whose headers it holds: queue and context of the first filter. It never leaves, because
/// all headers are replaced before they are let go.
const HEADER: &str = "x-fairlead-latch";

/// What remains of a client's headers while they are held. Should there be no latch after all, nothing else can
/// reach an upstream.
const KEPT: &[&str] = &[":method", ":scheme", ":authority", ":path", "x-request-id"];

/// How many bytes of bodies that are coming in one worker holds at a time: the VM's memory ends at 4 GiB and
/// never shrinks. Envoy's own limit does not bound them, since it is shown that they are consumed.
const MOST_HELD: usize = 512 * 1024 * 1024;

/// How often a worker tries to draw a number that no other has drawn; two workers can clash, hundreds cannot
/// clash a hundred times.
const MOST_DRAWS: usize = 100;

/// What the operator reads, and every client until it is mended.
const MISSING: &str = "the plugin's configuration says \"latch\": true, but there is no filter \
    fairlead.latch directly behind fairlead; the operator should add the same .wasm a second time, with the \
    root_id (Istio: pluginName) fairlead.latch";

/// What a client is told when Envoy refuses to do what it should be able to.
const STUCK: &str = "Envoy did not let the gateway change this reply";

const ALONE: &str = "the filter fairlead.latch does not share its VM with the filter fairlead before it; the \
    operator should give both the same .wasm, the same vm_id and the same vm_config";

thread_local! {
    /// The filters of this VM at the position `fairlead.latch`.
    static LATCHES: Cell<usize> = const { Cell::new(0) };
    /// The requests of this VM whose headers a latch is about to hold, by their first filter's context.
    static COMING: RefCell<HashMap<u32, Weak<Pair>>> = RefCell::default();
}

/// In the shared data once a latch was there. It survives a VM that has trapped, whose filters come back one by one.
const SEEN: &str = "x-fairlead-latch.seen";

/// Counts a filter at the position `fairlead.latch` while it lives.
pub struct Fitted(());

impl Fitted {
    pub fn new() -> Self {
        LATCHES.set(LATCHES.get().saturating_add(1));
        // Whoever wrote it first has written the same.
        let _ = Envoy.set_shared(SEEN, b"1", Stamp::NOTHING);
        Self(())
    }
}

impl Drop for Fitted {
    fn drop(&mut self) {
        LATCHES.set(LATCHES.get().saturating_sub(1));
    }
}

/// What one root context at the position `fairlead` needs to let go of what latches hold for its streams.
#[derive(Default)]
pub struct Queue {
    /// Envoy's number of it; drawn with the first request.
    number: Cell<Option<u32>>,
    due: RefCell<Vec<(Rc<Pair>, Side)>>,
    /// Bytes of bodies that are coming in.
    held: Cell<usize>,
}

#[derive(Clone, Copy)]
enum Side {
    Request,
    Reply,
}

impl Queue {
    /// Makes ready what the workers share. For the one thread that configures the plugin first: a first value is
    /// written without a comparison.
    pub fn prepare() {
        if let (None, stamp) = Envoy.shared(HEADER) {
            // Whoever wrote it first has written the same.
            let _ = Envoy.set_shared(HEADER, &0u32.to_le_bytes(), stamp);
        }
    }

    /// Lets go of what is due; the root context must act for itself again after it.
    pub fn let_go(&self) {
        if let Some(number) = self.number.get() {
            while abi::dequeue(number) {}
        }
        let due = std::mem::take(&mut *self.due.borrow_mut());
        for (pair, side) in due {
            match (side, pair.latch.get()) {
                // The client has gone in the meantime.
                _ if pair.over.get() => {}
                (Side::Request, Some(latch)) => {
                    if abi::act_for(latch) {
                        abi::resume_request();
                    }
                }
                (Side::Reply, _) => {
                    if abi::act_for(pair.first) {
                        abi::resume_response();
                    }
                }
                (Side::Request, None) => {}
            }
        }
    }

    fn push(&self, pair: Rc<Pair>, side: Side) -> bool {
        let mut due = self.due.borrow_mut();
        due.push((pair, side));
        // One message brings the root its turn, however many wait for it.
        due.len() > 1 || self.number().is_some_and(abi::enqueue)
    }

    fn number(&self) -> Option<u32> {
        if self.number.get().is_none() {
            self.number.set(draw().and_then(|draw| abi::queue(&format!("{HEADER}.{draw}"))));
        }
        self.number.get()
    }
}

/// A number that no other worker draws.
fn draw() -> Option<u32> {
    for _ in 0..MOST_DRAWS {
        let (Some(drawn), stamp) = Envoy.shared(HEADER) else { return None };
        let next = u32::from_le_bytes(drawn.try_into().ok()?).checked_add(1)?;
        if Envoy.set_shared(HEADER, &next.to_le_bytes(), stamp).is_ok() {
            return Some(next);
        }
    }
    None
}

/// One request in the hands of both filters.
pub struct Pair {
    first: u32,
    latch: Cell<Option<u32>>,
    position: Shared,
    queue: Rc<Queue>,
    /// What has come of the client's body.
    body: RefCell<Vec<u8>>,
    /// The body for the upstream, until the latch puts it in.
    outgoing: Cell<Option<Vec<u8>>>,
    over: Cell<bool>,
}

impl Pair {
    /// Prepares a request for the latch; its headers may go on to it then. `None`: there is no latch.
    pub fn new(first: u32, position: &Shared, queue: &Rc<Queue>, headers: &Headers) -> Option<Rc<Self>> {
        if LATCHES.get() == 0 {
            return None;
        }
        let number = queue.number()?;
        let kept = headers.0.iter().filter(|(name, _)| KEPT.contains(&name.as_str())).cloned();
        let mut shown = Headers(kept.collect());
        shown.add(HEADER, format!("{number}.{first}"));
        if !abi::set_headers(MapType::HttpRequestHeaders, &shown) {
            return None;
        }
        let pair = Rc::new(Self {
            first,
            latch: Cell::default(),
            position: Rc::clone(position),
            queue: Rc::clone(queue),
            body: RefCell::default(),
            outgoing: Cell::default(),
            over: Cell::new(false),
        });
        COMING.with_borrow_mut(|coming| coming.insert(first, Rc::downgrade(&pair)));
        Some(pair)
    }

    /// Finds the request that a latch is shown.
    fn find(shown: &str) -> Option<Rc<Self>> {
        let (number, first) = shown.split_once('.')?;
        let (number, first): (u32, u32) = (number.parse().ok()?, first.parse().ok()?);
        let pair = COMING.with_borrow_mut(|coming| coming.remove(&first))?.upgrade()?;
        // Of another VM it would have another number.
        (pair.queue.number.get() == Some(number)).then_some(pair)
    }

    /// The answer to a request for which there is no latch. Where one was, it is about to come back.
    pub fn missing(position: &Shared) -> Reply {
        let mut position = position.borrow_mut();
        if LATCHES.get() == 0 && Envoy.shared(SEEN).0.is_some() {
            return position.overloaded();
        }
        position.fault(MISSING)
    }

    /// Whether a latch holds the request's headers.
    pub fn is_held(&self) -> bool {
        self.latch.get().is_some()
    }

    /// Takes a piece of the client's body out of Envoy's hands; gives how much of it has come. `None`: other
    /// bodies take all the room.
    pub fn take_in(&self, size: usize) -> Option<usize> {
        let piece = if size == 0 { None } else { abi::buffer(BufferType::HttpRequestBody, size) };
        let mut body = self.body.borrow_mut();
        if let Some(piece) = piece {
            let held = self.queue.held.get().saturating_add(piece.len());
            if held > MOST_HELD {
                return None;
            }
            self.queue.held.set(held);
            abi::set_buffer(BufferType::HttpRequestBody, &[]);
            if body.is_empty() { *body = piece } else { body.extend_from_slice(&piece) }
        }
        Some(body.len())
    }

    /// The whole body, when it has come.
    pub fn taken(&self) -> Vec<u8> {
        let body = self.body.take();
        self.queue.held.set(self.queue.held.get().saturating_sub(body.len()));
        body
    }

    /// Sends the request that the latch holds, with these headers and this body.
    pub fn forward(self: &Rc<Self>, outgoing: Outgoing) -> bool {
        let Some(latch) = self.latch.get() else { return false };
        let replaced =
            abi::act_for(latch) && abi::set_headers(MapType::HttpRequestHeaders, &outgoing.headers);
        abi::act_for(self.first);
        self.outgoing.set(Some(outgoing.body));
        replaced && self.queue.push(Rc::clone(self), Side::Request)
    }

    /// Begins the reply whose headers the first filter holds; called by the latch.
    fn begin(self: &Rc<Self>, latch: u32, headers: &Headers) -> bool {
        let replaced = abi::act_for(self.first) && abi::set_headers(MapType::HttpResponseHeaders, headers);
        abi::act_for(latch);
        replaced && self.queue.push(Rc::clone(self), Side::Reply)
    }

    /// The first filter's stream has ended.
    pub fn end(&self) {
        self.over.set(true);
        self.taken();
        COMING.with_borrow_mut(|coming| coming.remove(&self.first));
    }
}

/// One HTTP stream at the position `fairlead.latch`.
pub struct Latch {
    id: u32,
    /// The request that it holds; absent where the first filter had nothing to be held.
    pair: Option<Rc<Pair>>,
    /// Bytes for the client; reused by all pieces of a reply.
    out: Vec<u8>,
}

impl Latch {
    pub fn new(id: u32) -> Self {
        Self { id, pair: None, out: Vec::new() }
    }

    fn reply(&mut self, size: usize, place: Place) -> Action {
        let Some(pair) = self.pair.as_ref().filter(|pair| pair.position.borrow().reads()) else {
            return Action::Continue;
        };
        let chunk = if size == 0 { None } else { abi::buffer(BufferType::HttpResponseBody, size) };
        self.out.clear();
        let last = place != Place::Midst;
        let step = pair.position.borrow_mut().response_chunk(
            &Envoy,
            &chunk.unwrap_or_default(),
            last,
            &mut self.out,
        );
        match step {
            ReplyStep::Pass => {}
            ReplyStep::Hold => {
                abi::set_buffer(BufferType::HttpResponseBody, &[]);
            }
            // A body cannot be put in any more where trailers are.
            ReplyStep::Begin(headers) if place == Place::Trailers => {
                abi::send_whole(&headers, &self.out);
                return Action::Pause;
            }
            ReplyStep::Begin(headers) => {
                if !pair.begin(self.id, &headers) {
                    abi::send(&pair.position.borrow_mut().fault(STUCK));
                    return Action::Pause;
                }
                abi::set_buffer(BufferType::HttpResponseBody, &self.out);
            }
            ReplyStep::Continue => {
                abi::set_buffer(BufferType::HttpResponseBody, &self.out);
            }
            ReplyStep::Answer(reply) => {
                abi::send(&reply);
                return Action::Pause;
            }
            // Tries have no latch.
            ReplyStep::Fail(_) => {}
            // The step itself was done with the headers.
            ReplyStep::Instead(_) => {
                abi::set_buffer(BufferType::HttpResponseBody, &[]);
                return Action::Pause;
            }
        }
        Action::Continue
    }
}

/// Where in a reply something comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Midst,
    End,
    Trailers,
}

impl Context for Latch {}

impl HttpContext for Latch {
    fn on_http_request_headers(&mut self, _count: usize, _last: bool) -> Action {
        let Some(shown) = abi::header(MapType::HttpRequestHeaders, HEADER) else { return Action::Continue };
        let Some(pair) = std::str::from_utf8(&shown).ok().and_then(Pair::find) else {
            abi::send(&Error::new(Kind::Internal, ALONE).openai_reply());
            return Action::Pause;
        };
        pair.latch.set(Some(self.id));
        self.pair = Some(pair);
        Action::Pause
    }

    /// Comes when the request is let go.
    fn on_http_request_body(&mut self, _size: usize, _last: bool) -> Action {
        if let Some(body) = self.pair.as_ref().and_then(|pair| pair.outgoing.take()) {
            abi::set_buffer(BufferType::HttpRequestBody, &body);
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, last: bool) -> Action {
        self.reply(size, if last { Place::End } else { Place::Midst })
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        self.reply(0, Place::Trailers)
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        if let Some(pair) = &self.pair {
            pair.latch.set(None);
        }
    }
}
