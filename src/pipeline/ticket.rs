//! What the position `fairlead.gate` tells those at `fairlead.attempt`, and what they tell back.
//!
//! Both live in one VM, where a ticket is a shared value; through Envoy only its number goes, in the filter state,
//! which no client and no cloud ever sees.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::UNIX_EPOCH;

use super::Plan;
use super::attempt::Attempt;
use super::caller::Caller;
use super::meter::Meter;
use super::reply::Failure;
use crate::base::host::Host;
use crate::policy::choice::Choice;

/// Under this name the number is left for the other position,
const NAME: &str = "fairlead.ticket";

/// which finds it under this one in the filter state.
pub const FOUND: &str = "wasm.fairlead.ticket";

/// One request, for all its tries.
pub struct Ticket {
    pub plan: Rc<Plan>,
    pub caller: Caller,
    pub meter: Rc<Meter>,
    /// Envoy's cluster that leads to the places,
    pub cluster: String,
    /// in the order in which they are tried.
    choices: Vec<(Choice, Cell<bool>)>,
    /// The request, translated for the first of them.
    ready: RefCell<Option<Box<Attempt>>>,
    /// Why the last try failed.
    failure: RefCell<Option<Failure>>,
    /// The client has some of a reply.
    begun: Cell<bool>,
    /// It has turned out to be too long.
    long: Cell<bool>,
    /// One of the places was tried with credentials that had ended.
    reopened: Cell<bool>,
    /// How many tries have begun, and how many Envoy was told to make at most.
    tries: Cell<usize>,
    most_tries: usize,
}

impl Ticket {
    pub fn new(
        plan: Rc<Plan>,
        caller: Caller,
        meter: Rc<Meter>,
        cluster: String,
        choices: Vec<Choice>,
        first: Attempt,
        most_tries: usize,
    ) -> Self {
        let long = choices.first().is_some_and(|choice| choice.wider);
        Self {
            plan,
            caller,
            meter,
            cluster,
            choices: choices.into_iter().map(|choice| (choice, Cell::new(false))).collect(),
            ready: RefCell::new(Some(Box::new(first))),
            failure: RefCell::default(),
            begun: Cell::new(false),
            long: Cell::new(long),
            reopened: Cell::new(false),
            tries: Cell::new(0),
            most_tries,
        }
    }

    /// What a try at this backend is for: the next place there that was not tried, else the last one once more, else,
    /// where others are still to come, one to be passed over. `None`: the request has no place there.
    pub fn choose(&self, backend: usize) -> Option<usize> {
        let mut here = self.choices.iter().enumerate().filter(|(_, (choice, _))| choice.backend == backend);
        let fresh = here.clone().find(|(_, (choice, tried))| !tried.get() && self.fits(choice));
        let passed = here.clone().next().filter(|_| self.has_more());
        let (place, (choice, tried)) =
            fresh.or_else(|| here.rfind(|(_, (choice, _))| self.fits(choice))).or(passed)?;
        tried.set(tried.get() || self.fits(choice));
        self.tries.set(self.tries.get().saturating_add(1));
        Some(place)
    }

    /// Whether a place that [`Ticket::choose`] gave is to be passed over.
    pub fn passes_over(&self, place: usize) -> bool {
        self.place(place).is_none_or(|choice| !self.fits(choice))
    }

    /// The place of a number that [`Ticket::choose`] gave.
    pub fn place(&self, place: usize) -> Option<&Choice> {
        self.choices.get(place).map(|(choice, _)| choice)
    }

    /// Whether [`Ticket::ready`] has something for a place.
    pub fn is_ready(&self, place: usize) -> bool {
        place == 0 && self.ready.borrow().is_some()
    }

    /// The request as the gate has translated it, which it did for the first place; once.
    pub fn ready(&self, place: usize) -> Option<Box<Attempt>> {
        self.ready.take().filter(|_| place == 0)
    }

    /// Whether another try follows this one if it is asked for. Where Envoy was told nothing, its route has one more
    /// (`num_retries`).
    pub fn has_tries(&self) -> bool {
        self.tries.get() < if self.most_tries == 1 { 2 } else { self.most_tries }
    }

    /// Whether there is a place that was not tried.
    pub fn has_more(&self) -> bool {
        self.choices.iter().any(|(choice, tried)| !tried.get() && self.fits(choice))
    }

    fn fits(&self, choice: &Choice) -> bool {
        choice.wider == self.long.get()
    }

    /// Lets a place be tried once more, with other credentials. Once for each request: the new ones may be no better.
    pub fn reopen(&self, place: usize) {
        if let (Some((_, tried)), false) = (self.choices.get(place), self.reopened.replace(true)) {
            tried.set(false);
        }
    }

    /// Whether there is a place for requests that are too long for others. From now on only those count.
    pub fn widen(&self) -> bool {
        let wider = self.choices.iter().any(|(choice, tried)| choice.wider && !tried.get());
        self.long.set(wider || self.long.get());
        wider
    }

    pub fn fail(&self, failure: Failure) {
        self.failure.replace(Some(failure));
    }

    /// Why the last try failed, if it did.
    pub fn failure(&self) -> Option<Failure> {
        self.failure.take()
    }

    /// The client gets the first bytes of a reply.
    pub fn begin(&self) {
        self.begun.set(true);
    }

    pub fn has_begun(&self) -> bool {
        self.begun.get()
    }
}

/// The tickets of one worker.
#[derive(Default)]
pub struct Desk {
    tickets: RefCell<HashMap<String, Weak<Ticket>>>,
    count: Cell<u64>,
}

impl Desk {
    /// Gives out a ticket. Its number is never given twice, not even by the VM that comes after a fault of this
    /// one.
    pub fn issue(self: &Rc<Self>, host: &dyn Host, ticket: Ticket) -> Issued {
        let ticket = Rc::new(ticket);
        let now = host.now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let count = self.count.get();
        self.count.set(count.wrapping_add(1));
        let number = format!("{now}.{count}");
        self.tickets.borrow_mut().insert(number.clone(), Rc::downgrade(&ticket));
        host.set_property(NAME, &number);
        Issued { desk: Rc::clone(self), number, ticket }
    }

    /// The ticket of a number.
    pub fn find(&self, number: &str) -> Option<Rc<Ticket>> {
        self.tickets.borrow().get(number)?.upgrade()
    }

    /// How many tickets are out.
    pub fn len(&self) -> usize {
        self.tickets.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A ticket in the hands of its request; it ends with it.
pub struct Issued {
    desk: Rc<Desk>,
    number: String,
    pub ticket: Rc<Ticket>,
}

impl Drop for Issued {
    fn drop(&mut self) {
        self.desk.tickets.borrow_mut().remove(&self.number);
    }
}
