//! Requests whose headers Envoy holds while it never shows their bodies: what it does without
//! `allow_on_headers_stop_iteration`. They would hang in silence.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::abi;
use super::host::Envoy;
use super::stream::Shared;
use crate::base::host::{Host, Level};

/// So long may the first byte of a worker's first body take. Once one has come, Envoy is known to show bodies,
/// and clients may be as slow as Envoy's `request_timeout` lets them.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many requests of one worker are watched at a time. Those above it wait as long as Envoy lets them.
const MOST_WATCHED: usize = 1024;

/// What the operator reads, and every client that waited.
const SHUT: &str = "Envoy has shown the gateway no body for 5 s; the operator should check that \
                    allow_on_headers_stop_iteration is true in the plugin's configuration, or that \
                    fairlead.latch follows and \"latch\": true says so";

/// The requests of one worker whose body has not begun.
#[derive(Default)]
pub struct Doorstep {
    /// Some body has come: there is nothing to watch any more.
    open: bool,
    waiting: Vec<(u32, SystemTime, Shared)>,
}

impl Doorstep {
    /// A request waits for its body.
    pub fn arrived(&mut self, id: u32, position: &Shared) {
        if !self.open && self.waiting.len() < MOST_WATCHED {
            self.waiting.push((id, Envoy.now(), Rc::clone(position)));
        }
    }

    /// Some of a body has come.
    pub fn opened(&mut self) {
        if !self.open {
            self.open = true;
            self.waiting = Vec::new();
        }
    }

    /// A request has ended.
    pub fn left(&mut self, id: u32) {
        self.waiting.retain(|(waiting, ..)| *waiting != id);
    }

    /// Answers those who have waited too long, in their own names. `true`: the caller must act for itself again.
    pub fn answer(doorstep: &RefCell<Self>) -> bool {
        let now = Envoy.now();
        let is_overdue = |since: &SystemTime| now.duration_since(*since).is_ok_and(|age| age >= PATIENCE);
        let (overdue, waiting) = std::mem::take(&mut doorstep.borrow_mut().waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|(_, since, _)| is_overdue(since));
        doorstep.borrow_mut().waiting = waiting;
        if overdue.is_empty() {
            return false;
        }
        Envoy.log(Level::Error, SHUT);
        for (id, _, position) in overdue {
            if abi::act_for(id) {
                abi::send(&position.borrow_mut().fault(SHUT));
            }
        }
        true
    }
}
