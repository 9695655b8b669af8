//! Limits that hold: reserved before a request leaves, settled when its reply has ended.
//!
//! Everything that is counted for one scope (a team, a key, a model of a team, everyone) is one value in
//! Envoy's shared data, which all workers change by compare-and-swap. What a request may cost at most is
//! taken from it before the request leaves, so that requests under way at the same time cannot overrun the
//! limit together; when the real use is known, the difference goes back. A reservation that nobody settles,
//! because its worker died, ends by itself.

use std::rc::Rc;
use std::time::UNIX_EPOCH;

use super::window::{Slot, Span, Window};
use crate::base::host::{Host, Level, Stamp};

/// How often a raced change is tried again. Whoever loses a race lost it to a change that was made, so
/// losing this often in a row takes more workers than Envoys have.
const TRIES: usize = 256;

/// How long a reservation stands unless it is settled, in seconds. Replies of an hour do not exist;
/// thoughts of half an hour do.
const LEASE: Span = Span::Seconds(3600);

/// Requests and tokens are limited by the minute.
const MINUTE: Span = Span::Seconds(60);

/// A dollar as it is counted: in whole numbers, and a token of the cheapest model still costs some.
pub const NANO_USD: u64 = 1_000_000_000;

/// What a scope may use; what is absent is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub requests_per_minute: Option<u64>,
    pub tokens_per_minute: Option<u64>,
    pub concurrent_requests: Option<u64>,
    pub budget: Option<Budget>,
}

/// So much money in such a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Billionths of a dollar.
    pub nano_usd: u64,
    pub span: Span,
    /// The span as the operator wrote it, such as `30d`.
    pub per: String,
}

/// Somebody, or something, with limits of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Key of the shared value.
    key: String,
    /// For messages, such as `team blue`.
    pub title: String,
    pub limits: Limits,
}

/// What a request uses, or may use at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    pub tokens: u64,
    pub nano_usd: u64,
}

/// A limit of a scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    Requests,
    Tokens,
    Concurrent,
    Budget,
}

impl Limit {
    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Limit::Requests => "requests_per_minute",
            Limit::Tokens => "tokens_per_minute",
            Limit::Concurrent => "concurrent_requests",
            Limit::Budget => "budget",
        }
    }
}

/// Why a request may not leave now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Exhausted {
    /// A limit is reached.
    Limit {
        /// Index of the scope among those that were given.
        scope: usize,
        limit: Limit,
        /// Seconds until there is room; `None` when the request alone is larger than the limit.
        wait: Option<u64>,
    },
    /// Too many others changed the counters at the same time.
    Busy,
}

/// What was taken for a request. It must be settled, once.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Reservation {
    scopes: Vec<Rc<Scope>>,
    /// When, in seconds since 1970.
    at: u64,
    cost: Cost,
}

/// How much of a limit is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gauge {
    pub limit: u64,
    /// Used and settled; in the unit of the limit, billionths of a dollar for a budget.
    pub used: u64,
    /// Taken by requests that are under way.
    pub reserved: u64,
    /// Seconds until nothing of what is used now counts any more.
    pub reset: u64,
}

impl Gauge {
    pub fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.used).saturating_sub(self.reserved)
    }
}

/// All limits of a scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    pub requests: Option<Gauge>,
    pub tokens: Option<Gauge>,
    pub concurrent: Option<Gauge>,
    pub budget: Option<Gauge>,
}

impl Standing {
    /// Whether there is room for another request, however small.
    pub fn has_room(&self) -> bool {
        let gauges = [self.requests, self.tokens, self.concurrent, self.budget];
        gauges.iter().flatten().all(|gauge| gauge.remaining() > 0)
    }
}

impl Scope {
    /// `kind` and `name` together are unique, such as `team` and `blue`.
    pub fn new(kind: &str, name: &str, title: String, limits: Limits) -> Self {
        Self { key: format!("fairlead.quota.{kind}.{name}"), title, limits }
    }

    /// Makes the shared value, so that there is something to compare and swap; counts that are there stay.
    /// A write to a key that does not exist always succeeds, for every worker that tries; so this is for
    /// the one thread that configures the plugin before the workers start.
    pub fn prepare(&self, host: &dyn Host) {
        if host.shared(&self.key).1 == Stamp::NOTHING {
            // Nobody else writes yet.
            let _ = host.set_shared(&self.key, &Record::default().write(), Stamp::NOTHING);
        }
    }

    /// How much of each limit is in use.
    pub fn standing(&self, host: &dyn Host) -> Standing {
        let (bytes, _) = host.shared(&self.key);
        Record::read(bytes.as_deref().unwrap_or_default()).standing(&self.limits, seconds(host))
    }

    /// Changes the record until no one else has in between. `change` may refuse.
    fn change<T>(
        &self,
        host: &dyn Host,
        mut change: impl FnMut(&mut Record) -> Result<T, Exhausted>,
    ) -> Result<T, Exhausted> {
        for _ in 0..TRIES {
            let (bytes, stamp) = host.shared(&self.key);
            let mut record = Record::read(bytes.as_deref().unwrap_or_default());
            let outcome = change(&mut record)?;
            if host.set_shared(&self.key, &record.write(), stamp).is_ok() {
                return Ok(outcome);
            }
        }
        Err(Exhausted::Busy)
    }
}

/// Takes what a request may cost from every scope, or from none. Gives how the scopes stand afterwards, in
/// their order.
///
/// # Errors
/// The first limit, in the order of the scopes, that has no room for it.
pub fn reserve(
    host: &dyn Host,
    scopes: Vec<Rc<Scope>>,
    cost: Cost,
) -> Result<(Reservation, Vec<Standing>), Exhausted> {
    let at = seconds(host);
    let mut standings = Vec::with_capacity(scopes.len());
    for (index, scope) in scopes.iter().enumerate() {
        let taken = scope.change(host, |record| {
            record.take(&scope.limits, at, cost).map_err(|(limit, wait)| Exhausted::Limit {
                scope: index,
                limit,
                wait,
            })?;
            Ok(record.standing(&scope.limits, at))
        });
        match taken {
            Ok(standing) => standings.push(standing),
            Err(exhausted) => {
                for scope in scopes.iter().take(index) {
                    give_back(host, scope, |record| record.undo(at, cost));
                }
                return Err(exhausted);
            }
        }
    }
    Ok((Reservation { scopes, at, cost }, standings))
}

impl Reservation {
    /// Whether a scope is among those that it counts against.
    pub fn counts(&self, scope: &Rc<Scope>) -> bool {
        self.scopes.iter().any(|known| Rc::ptr_eq(known, scope))
    }

    /// Replaces what was reserved by what was used.
    pub fn settle(self, host: &dyn Host, used: Cost) {
        let now = seconds(host);
        for scope in &self.scopes {
            give_back(host, scope, |record| record.settle(&scope.limits, self.at, now, self.cost, used));
        }
    }
}

fn give_back(host: &dyn Host, scope: &Scope, mut change: impl FnMut(&mut Record)) {
    let changed = scope.change(host, |record| {
        change(record);
        Ok(())
    });
    if changed.is_err() {
        // The reservation ends by itself.
        host.log(Level::Warn, &format!("the use of {} could not be counted: too many races", scope.title));
    }
}

fn seconds(host: &dyn Host) -> u64 {
    host.now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// All that is counted for a scope.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Record {
    /// Requests that were let in, by the second.
    requests: Window,
    /// Tokens, reserved or used, in the second in which their request was let in.
    tokens: Window,
    /// Billionths of a dollar that were spent, within the span of the budget.
    spent: Window,
    /// Requests under way, by the time they began; and what they have reserved.
    running: Window,
    held_tokens: Window,
    held_nano_usd: Window,
}

impl Record {
    /// The shape of the value; another one, of another version of the plugin, counts as none.
    const VERSION: u8 = 2;

    fn windows(&self) -> [&Window; 6] {
        let Self { requests, tokens, spent, running, held_tokens, held_nano_usd } = self;
        [requests, tokens, spent, running, held_tokens, held_nano_usd]
    }

    fn windows_mut(&mut self) -> [&mut Window; 6] {
        let Self { requests, tokens, spent, running, held_tokens, held_nano_usd } = self;
        [requests, tokens, spent, running, held_tokens, held_nano_usd]
    }

    fn read(bytes: &[u8]) -> Self {
        let mut record = Self::default();
        let Some(([version, present], mut rest)) = bytes.split_first_chunk::<2>() else { return record };
        if *version != Self::VERSION {
            return record;
        }
        for (index, window) in record.windows_mut().into_iter().enumerate() {
            if present & (1 << index) != 0 && window.read(&mut rest).is_none() {
                *window = Window::default();
            }
        }
        record
    }

    /// Windows in which nothing is counted take no room: most scopes have one limit or two.
    fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(2 + 6 * Window::BYTES);
        let present = self.windows().into_iter().enumerate().filter(|(_, window)| !window.is_empty());
        out.extend([Self::VERSION, present.fold(0, |bits, (index, _)| bits | (1 << index))]);
        for window in self.windows().into_iter().filter(|window| !window.is_empty()) {
            window.write(&mut out);
        }
        out
    }

    /// Takes what a request may cost. Gives the limit that has no room for it, and for how long.
    fn take(&mut self, limits: &Limits, at: u64, cost: Cost) -> Result<(), (Limit, Option<u64>)> {
        let (minute, lease) = (MINUTE.slot(at), LEASE.slot(at));
        if let Some(most) = limits.concurrent_requests
            && self.running.used(lease) >= most
        {
            // Nobody knows when a reply will end; most take seconds.
            return Err((Limit::Concurrent, Some(1)));
        }
        if let Some(most) = limits.requests_per_minute {
            room(&self.requests, minute, most, 1, 0).map_err(|wait| (Limit::Requests, wait))?;
        }
        if let Some(most) = limits.tokens_per_minute {
            room(&self.tokens, minute, most, cost.tokens, 0).map_err(|wait| (Limit::Tokens, wait))?;
        }
        if let Some(budget) = &limits.budget {
            let (slot, held) = (budget.span.slot(at), self.held_nano_usd.used(lease));
            room(&self.spent, slot, budget.nano_usd, cost.nano_usd, held)
                .map_err(|wait| (Limit::Budget, wait))?;
        }
        self.count(limits, at, cost);
        Ok(())
    }

    /// Counts only what is limited, or was when others were let in: what nobody asks for costs nothing.
    fn count(&mut self, limits: &Limits, at: u64, cost: Cost) {
        let (minute, lease) = (MINUTE.slot(at), LEASE.slot(at));
        if limits.requests_per_minute.is_some() {
            self.requests.add(minute, 1);
        }
        if limits.concurrent_requests.is_some() {
            self.running.add(lease, 1);
        }
        if limits.tokens_per_minute.is_some() {
            self.tokens.add(minute, cost.tokens);
            self.held_tokens.add(lease, cost.tokens);
        }
        if limits.budget.is_some() {
            self.held_nano_usd.add(lease, cost.nano_usd);
        }
    }

    /// As if the request had never been let in.
    fn undo(&mut self, at: u64, cost: Cost) {
        let (minute, lease) = (MINUTE.slot(at), LEASE.slot(at));
        self.requests.correct(minute, 1, 0);
        self.tokens.correct(minute, cost.tokens, 0);
        self.release(lease, cost);
    }

    fn release(&mut self, lease: Slot, cost: Cost) {
        self.running.correct(lease, 1, 0);
        self.held_tokens.correct(lease, cost.tokens, 0);
        self.held_nano_usd.correct(lease, cost.nano_usd, 0);
    }

    fn settle(&mut self, limits: &Limits, at: u64, now: u64, cost: Cost, used: Cost) {
        self.release(LEASE.slot(at), cost);
        if limits.tokens_per_minute.is_some() {
            // What was used beyond the reservation was used until now: a reply that takes longer than the
            // window remembers must not come off cheaper than one that is quick.
            self.tokens.correct(MINUTE.slot(at), cost.tokens, used.tokens.min(cost.tokens));
            self.tokens.add(MINUTE.slot(now), used.tokens.saturating_sub(cost.tokens));
        }
        if let Some(budget) = &limits.budget {
            self.spent.add(budget.span.slot(now), used.nano_usd);
        }
    }

    fn standing(&self, limits: &Limits, at: u64) -> Standing {
        let (minute, lease) = (MINUTE.slot(at), LEASE.slot(at));
        let gauge = |limit, window: &Window, slot, reserved: u64| {
            let used = window.used(slot);
            Gauge { limit, used, reserved, reset: window.seconds_until_empty(slot) }
        };
        Standing {
            requests: limits.requests_per_minute.map(|most| gauge(most, &self.requests, minute, 0)),
            tokens: limits.tokens_per_minute.map(|most| {
                let all = gauge(most, &self.tokens, minute, 0);
                // What has been reserved for more than a minute counts no more against this one.
                let reserved = self.held_tokens.used(lease).min(all.used);
                Gauge { used: all.used - reserved, reserved, ..all }
            }),
            concurrent: limits.concurrent_requests.map(|limit| Gauge {
                limit,
                used: 0,
                reserved: self.running.used(lease),
                reset: 0,
            }),
            budget: limits.budget.as_ref().map(|budget| {
                let held = self.held_nano_usd.used(lease);
                gauge(budget.nano_usd, &self.spent, budget.span.slot(at), held)
            }),
        }
    }
}

/// Whether `wanted` more fits below `most` beside what is used and held; if not, how many seconds it takes
/// until it does, and `None` when it never will.
fn room(window: &Window, slot: Slot, most: u64, wanted: u64, held: u64) -> Result<(), Option<u64>> {
    let Some(free) = most.checked_sub(wanted) else { return Err(None) };
    if window.used(slot).saturating_add(held) <= free {
        return Ok(());
    }
    // What is held may come back any time; what is used leaves when its slot does.
    Err(Some(window.seconds_until(slot, free.saturating_sub(held)).max(1)))
}
