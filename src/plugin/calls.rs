//! Calls that requests make beside their own way: through Envoy's clusters, and their answers back.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType};

use super::abi;
use super::host::Envoy;
use super::stream::Shared;
use crate::base::host::{Callout, Step};
use crate::pipeline::MOST_ANSWER;

/// How many bytes the requests of one worker may hold together while they wait for answers. The VM's memory
/// ends at 4 GiB and never shrinks, and a reply is held twice while it is put together.
const MOST_HELD: usize = 512 * 1024 * 1024;

/// The calls under way of one worker.
#[derive(Default)]
pub struct Calls {
    /// By Envoy's number of the call.
    under_way: HashMap<u32, Call>,
    /// What each stream holds, in bytes.
    held: HashMap<u32, usize>,
}

/// Who made a call.
struct Call {
    stream: u32,
    /// The request's own number of it.
    number: usize,
    position: Shared,
}

impl Calls {
    /// Makes the calls of a step and gives what came of it: `Step::Call` while answers are waited for.
    pub fn make(calls: &RefCell<Self>, stream: u32, position: &Shared, step: Step) -> Step {
        let Step::Call(wanted) = step else { return step };
        for (number, call) in wanted {
            let Some(token) = dispatch(&call) else {
                // No such cluster, or no host in it. If the request goes elsewhere, the others are nobody's concern,
                // and it does not come here again.
                let step = position.borrow_mut().called(&Envoy, number, None);
                calls.borrow_mut().forget(stream);
                return Self::make(calls, stream, position, step);
            };
            let call = Call { stream, number, position: Rc::clone(position) };
            calls.borrow_mut().under_way.insert(token, call);
        }
        if calls.borrow_mut().has_room(stream, position.borrow().held()) {
            return Step::Call(Vec::new());
        }
        calls.borrow_mut().forget(stream);
        Step::Answer(position.borrow_mut().overloaded())
    }

    /// Takes an answer. `false`: nobody here waits for it.
    pub fn answered(calls: &RefCell<Self>, token: u32, size: usize) -> bool {
        let Some(Call { stream, number, position }) = calls.borrow_mut().under_way.remove(&token) else {
            return false;
        };
        // One of the others may have failed, or the client may have gone. (Root contexts hear of calls that
        // were made while they woke a stream.)
        if !position.borrow().calls() || !abi::act_for(stream) {
            return true;
        }
        let headers = abi::headers(MapType::HttpCallResponseHeaders).filter(|headers| headers.status() != 0);
        let body =
            abi::buffer(BufferType::HttpCallResponseBody, size.min(MOST_ANSWER + 1)).unwrap_or_default();
        let answer = headers.as_ref().map(|headers| (headers, body.as_slice()));
        let step = position.borrow_mut().called(&Envoy, number, answer);
        drop(body);
        match Self::make(calls, stream, &position, step) {
            Step::Answer(reply) => {
                calls.borrow_mut().forget(stream);
                abi::send(&reply);
            }
            Step::Call(_) | Step::Pass | Step::Wait | Step::Park | Step::Route(_) | Step::Forward(_) => {}
        }
        true
    }

    /// The stream is over: what is still under way for it is nobody's concern.
    pub fn forget(&mut self, stream: u32) {
        if self.held.remove(&stream).is_some() {
            self.under_way.retain(|_, call| call.stream != stream);
        }
    }

    fn has_room(&mut self, stream: u32, bytes: usize) -> bool {
        self.held.insert(stream, bytes);
        self.held.values().sum::<usize>() <= MOST_HELD
    }
}

/// Hands a call to Envoy; gives Envoy's number of it.
pub fn dispatch(call: &Callout) -> Option<u32> {
    let headers = call.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = Some(call.body.as_slice()).filter(|body| !body.is_empty());
    // The SDK's own call, because it must know to whom the answer goes.
    hostcalls::dispatch_http_call(&call.cluster, headers, body, Vec::new(), call.timeout).ok()
}
