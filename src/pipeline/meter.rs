//! What a request uses: taken in advance, listened for in its reply, settled when it ends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::base::host::Host;
use crate::chat::{Event, Frame, Sink, Tier, Usage};
use crate::policy::prices::Price;
use crate::policy::quota::{Cost, Reservation, Scope};

/// Bytes of a reply's text for a token, where the upstream did not come to count them.
const BYTES: u64 = 4;

/// The meter of one request.
#[derive(Debug, Default)]
pub struct Meter {
    /// Gone once it is settled.
    reservation: RefCell<Option<Reservation>>,
    /// The same for the try that is under way: of the backend's account, and of a model that stands in.
    of_try: RefCell<Vec<Reservation>>,
    price: Cell<Option<Price>>,
    /// Input tokens as estimated.
    input: u64,
    heard: Cell<Heard>,
}

/// What has left for the cloud and was not answered yet. Whoever leaves now has no part of it, and the cloud
/// bills it all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Input tokens as estimated.
    pub input: u64,
    pub images: u64,
}

/// What was heard of the reply so far.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    pending: Pending,
    /// The upstream has begun to answer with success: what it did will be billed.
    answered: bool,
    /// Token counts, if the upstream told any.
    usage: Option<Usage>,
    /// The reply came to its end, so that the counts are the last ones.
    complete: bool,
    /// Bytes of text, thoughts and arguments.
    said: u64,
    images: u64,
    /// The service tier, where the upstream tells it.
    tier: Option<Tier>,
}

impl Meter {
    /// `input` are the tokens of the request as estimated.
    pub fn new(reservation: Option<Reservation>, price: Option<Price>, input: u64) -> Self {
        Self {
            reservation: RefCell::new(reservation),
            of_try: RefCell::default(),
            price: Cell::new(price),
            input,
            heard: Cell::default(),
        }
    }

    /// Another try begins, of a model with this price. Gives what the last one has used.
    pub fn again(&self, host: &dyn Host, price: Option<Price>) -> Usage {
        let used = self.used();
        self.settle_try(host);
        self.price.set(price);
        self.heard.set(Heard::default());
        used
    }

    /// Takes care of what was taken for a try alone.
    pub fn draw(&self, taken: Option<Reservation>) {
        self.of_try.borrow_mut().extend(taken);
    }

    /// Whether the whole request counts against a scope.
    pub fn counts(&self, scope: &Rc<Scope>) -> bool {
        self.reservation.borrow().as_ref().is_some_and(|reservation| reservation.counts(scope))
    }

    /// So much is at the cloud now, and unanswered.
    pub fn sent(&self, pending: Pending) {
        self.hear(|heard| heard.pending = pending);
    }

    /// The upstream answers with success; `pending` is what remains to be answered.
    pub fn answered(&self, pending: Pending) {
        self.hear(|heard| {
            heard.answered = true;
            heard.pending = pending;
        });
    }

    /// The upstream has refused, or what it called a success was none: it has done nothing that could be billed.
    pub fn failed(&self) {
        self.hear(|heard| {
            heard.answered = false;
            heard.pending = Pending::default();
        });
    }

    /// The upstream told how many tokens it took, outside of a conversation.
    pub fn counted(&self, usage: Usage) {
        self.hear(|heard| {
            heard.usage = Some(usage);
            heard.complete = true;
        });
    }

    /// The upstream did not tell after all: a part of the counts would be wrong.
    pub fn untold(&self) {
        self.hear(|heard| {
            heard.usage = None;
            heard.complete = false;
        });
    }

    /// So many images came.
    pub fn pictured(&self, images: u64) {
        self.hear(|heard| heard.images = images);
    }

    /// Listens to the events that go to `sink`.
    pub fn tap<'s>(&'s self, sink: &'s mut dyn Sink) -> Tap<'s> {
        Tap { meter: self, sink }
    }

    fn hear(&self, change: impl FnOnce(&mut Heard)) {
        let mut heard = self.heard.get();
        change(&mut heard);
        self.heard.set(heard);
    }

    /// What the request has used: as the upstream counted, or by what was seen of its reply; and what is at
    /// the cloud.
    pub fn used(&self) -> Usage {
        let heard = self.heard.get();
        let said = heard.said.div_ceil(BYTES);
        let mut used = match heard.usage {
            Some(usage) if heard.answered && heard.complete => usage,
            // Counted at the beginning, and cut off before the end.
            Some(usage) if heard.answered => Usage { output: usage.output.max(said), ..usage },
            // The estimate is that of all calls.
            None if heard.answered => {
                return Usage { input: self.input, output: said, ..Usage::default() };
            }
            Some(_) | None => Usage::default(),
        };
        used.input = used.input.saturating_add(heard.pending.input);
        used
    }

    /// What that costs, in billionths of a dollar; `None` where no price is known.
    pub fn cost(&self) -> Option<u64> {
        let Heard { images, pending, tier, .. } = self.heard.get();
        let images = images.saturating_add(pending.images);
        self.price.get().map(|price| price.of(&self.used(), images, tier))
    }

    /// Settles the reservation, once; what comes later is not counted any more.
    pub fn settle(&self, host: &dyn Host) {
        self.settle_try(host);
        if let Some(reservation) = self.reservation.take() {
            reservation.settle(host, self.total());
        }
    }

    fn settle_try(&self, host: &dyn Host) {
        for taken in self.of_try.take() {
            taken.settle(host, self.total());
        }
    }

    fn total(&self) -> Cost {
        let used = self.used();
        let tokens = used.input.saturating_add(used.output);
        Cost { tokens, nano_usd: self.cost().unwrap_or_default() }
    }
}

/// Passes on what it hears.
pub struct Tap<'s> {
    meter: &'s Meter,
    sink: &'s mut dyn Sink,
}

impl Sink for Tap<'_> {
    fn event(&mut self, event: Event<'_>) {
        let said = |heard: &mut Heard, length: usize| {
            heard.said = heard.said.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        };
        self.meter.hear(|heard| match &event {
            Event::Usage(usage) => heard.usage = Some(*usage),
            Event::Tier(tier) => heard.tier = Some(*tier),
            Event::Stop { .. } => heard.complete = true,
            Event::Text(text) | Event::Reasoning(text) | Event::Redacted(text) => said(heard, text.length()),
            Event::ToolArguments { arguments, .. } => said(heard, arguments.length()),
            Event::Start { .. }
            | Event::Proof(_)
            | Event::Signature(_)
            | Event::BlockEnd
            | Event::Citation(_)
            | Event::Extra { .. }
            | Event::ToolStart { .. }
            | Event::ToolEnd { .. }
            | Event::Choice(_)
            | Event::Logprob(_) => {}
        });
        self.sink.event(event);
    }

    fn frame(&mut self, frame: Frame<'_>) {
        self.sink.frame(frame);
    }
}
