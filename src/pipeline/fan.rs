//! A request that takes several calls: a few of them at a time, and their answers in the order of the calls.
//!
//! One call that fails is the end of all: an application has no use for half of its vectors, or for those of two
//! models, and OpenAI's API gives all images or none, too, unless a filter has withheld some. So all calls are made
//! anew where the request may go else. Envoy makes the
//! calls for the worker rather than for the request, so a client that leaves does not cut them off; what
//! answers then is not listened to, and no further call is made.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::host::{Callout, Host, Reply};
use crate::chat::Usage;
use crate::credential::source;
use crate::dialect::embedding;
use crate::dialect::openai::image::Made;
use crate::policy::choice::Choice;
use crate::provider::Address;

use super::Plan;
use super::aim::Aim;
use super::attempt::{self, Asked, Attempt, Expects};
use super::caller::Caller;
use super::meter::Pending;
use super::outcome::{Again, Outcome};
use super::{embed, gate, image, reply};

/// How much the calls of one request may take.
struct Measure {
    /// How many calls are under way at a time.
    at_once: usize,
    /// How long one call may take.
    call: Duration,
    /// How long all of them may take.
    all: Duration,
    /// The most bytes of answers that one request may gather.
    bytes: usize,
}

/// At some 100 ms a call a hundred texts take about a second; more at once would let one request use up what
/// an account may call: 2,000 a minute for many of Bedrock's models
/// (docs.aws.amazon.com/general/latest/gr/bedrock.html). What takes longer than a second waits for a model to
/// wake up. 2,048 texts, a second for each eight of them, and a little more: clients built on OpenAI's wait ten
/// minutes. 2,048 vectors of 1,536 numbers are 41 MB as text and 17 MB in base64.
const VECTORS: Measure = Measure {
    at_once: 8,
    call: Duration::from_secs(60),
    all: Duration::from_secs(300),
    bytes: 64 * 1024 * 1024,
};

/// Accounts may ask for some ten images a minute. One takes ten seconds or twenty, a large one of a model that
/// thinks a minute or two; OpenAI's clients wait ten minutes. Ten images of four megapixels are some 80 MB of
/// base64.
const IMAGES: Measure = Measure {
    at_once: 4,
    call: Duration::from_secs(300),
    all: Duration::from_secs(570),
    bytes: 96 * 1024 * 1024,
};

/// Asks Envoy to try a call again, as a route's retry policy would: one that fails is the end of all. The clouds' own
/// SDKs do the same, but for throttling, which lasts longer than Envoy waits. Envoy keeps these headers to itself:
/// envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter.
const RETRIES: [(&str, &str); 3] = [
    ("x-envoy-retry-on", "connect-failure,refused-stream,reset,retriable-status-codes"),
    ("x-envoy-retriable-status-codes", "500,502,503"),
    ("x-envoy-max-retries", "2"),
];

impl Expects {
    const fn measure(&self) -> &'static Measure {
        match self {
            Expects::Chat { .. }
            | Expects::Relay { .. }
            | Expects::Count { .. }
            | Expects::Own { .. }
            | Expects::Embeddings { .. } => &VECTORS,
            Expects::Images { .. } => &IMAGES,
        }
    }

    /// The error of a request whose calls take too long.
    fn too_slow(&self) -> Error {
        let problem = match self {
            Expects::Chat { .. }
            | Expects::Relay { .. }
            | Expects::Count { .. }
            | Expects::Own { .. }
            | Expects::Embeddings { .. } => {
                "the cloud did not give all vectors in time; send fewer texts at a time"
            }
            Expects::Images { .. } => "the cloud did not make all images in time; ask for fewer at a time",
        };
        Error::new(Kind::TimedOut, problem)
    }

    /// The error of a request whose answers take too much room.
    fn too_much(&self) -> Error {
        let (path, problem) = match self {
            Expects::Chat { .. }
            | Expects::Relay { .. }
            | Expects::Count { .. }
            | Expects::Own { .. }
            | Expects::Embeddings { .. } => (
                "input",
                "holds so many texts that their vectors do not fit the gateway; send fewer at a time, or ask \
                 for base64",
            ),
            Expects::Images { .. } => (
                "n",
                "asks for more images than fit the gateway at a time; ask for fewer, or for smaller ones",
            ),
        };
        Error::at(Kind::WrongValue, path, problem)
    }
}

/// What came of one call.
#[derive(Debug)]
enum Part {
    Vectors(embed::Part),
    Images(Made),
}

impl Part {
    /// How many bytes it holds.
    fn held(&self) -> usize {
        match self {
            Part::Vectors(part) => part.items.len(),
            Part::Images(made) => made.items.len(),
        }
    }
}

/// Where else a request may go, and what is written for there.
#[derive(Debug, Default)]
pub struct Rest {
    /// The client's body; empty where there is no other place.
    body: Vec<u8>,
    /// The first is where the request is.
    choices: Vec<Choice>,
}

impl Rest {
    /// What may follow upon the first of these places.
    pub fn new(body: &[u8], choices: Vec<Choice>) -> Self {
        if choices.len() < 2 {
            return Self::default();
        }
        Self { body: body.to_vec(), choices }
    }

    /// Goes on to the next place where such a failure need not come again.
    fn next(&mut self, kind: Kind) -> Option<Choice> {
        let wider = match Outcome::of(kind).again {
            Again::Anywhere | Again::Elsewhere => self.choices.first()?.wider,
            Again::Wider => true,
            Again::Never => return None,
        };
        let next = self.choices.iter().skip(1).position(|choice| choice.wider == wider)?;
        self.choices.drain(..=next);
        self.choices.first().cloned()
    }
}

/// The calls of one request.
#[derive(Debug)]
pub struct Fan {
    asked: Box<Asked>,
    address: Address,
    rest: Rest,
    /// How many calls were made at other places, whose answers nobody waits for any more: the number of the first
    /// call at this one.
    before: usize,
    /// By the number of the call here; empty once it is under way.
    bodies: Vec<Vec<u8>>,
    /// By the number of the call here.
    parts: Vec<Option<Part>>,
    /// The number of the next call here.
    next: usize,
    /// How many calls have been answered.
    answered: usize,
    billed: Billed,
    /// What all calls together may be billed.
    whole: Pending,
    /// How many bytes are held.
    held: usize,
    deadline: SystemTime,
}

/// What the calls so far have brought that will be billed, whatever becomes of the others.
#[derive(Debug, Default)]
struct Billed {
    /// Some call did not tell its tokens: a sum of the others would be wrong.
    is_untold: bool,
    usage: Usage,
    images: u64,
}

/// What a call brought.
pub enum Progress {
    /// Further calls, if any; others are under way.
    More(Vec<(usize, Callout)>),
    /// Everything is there.
    Whole(Reply),
}

impl Fan {
    /// Makes one of a translated request that takes several calls.
    pub fn new(attempt: Attempt, rest: Rest, now: SystemTime) -> Self {
        let deadline = now.checked_add(attempt.asked.expects.measure().all).unwrap_or(now);
        Self::until(deadline, attempt, rest, 0)
    }

    fn until(deadline: SystemTime, attempt: Attempt, rest: Rest, before: usize) -> Self {
        let whole = attempt.pending();
        let Attempt { address, body, more, asked, .. } = attempt;
        let bodies: Vec<Vec<u8>> = std::iter::once(body).chain(more).collect();
        let parts = bodies.iter().map(|_| None).collect();
        let held = bodies.iter().map(Vec::len).sum::<usize>().saturating_add(rest.body.len());
        Self {
            asked: Box::new(asked),
            address,
            rest,
            before,
            bodies,
            parts,
            next: 0,
            answered: 0,
            billed: Billed::default(),
            whole,
            held,
            deadline,
        }
    }

    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// How many bytes are held of requests and answers.
    pub fn held(&self) -> usize {
        self.held
    }

    /// The calls to be made now, or that credentials are on their way.
    ///
    /// # Errors
    /// When there is no time left for them, or no right to call.
    pub fn launch(&mut self, plan: &Plan, host: &dyn Host) -> Result<Option<Vec<(usize, Callout)>>, Error> {
        let mut calls = Vec::new();
        let measure = self.asked.expects.measure();
        while self.next < self.bodies.len() && self.next - self.answered < measure.at_once {
            let left = self.deadline.duration_since(host.now()).unwrap_or_default();
            if left.as_millis() == 0 {
                return Err(self.asked.expects.too_slow());
            }
            let number = self.next;
            let Some(body) = self.bodies.get_mut(number) else { break };
            let timeout = left.min(measure.call);
            let Some(mut call) = attempt::call(plan, host, &self.asked, &self.address, body, timeout)? else {
                break;
            };
            call.headers.extend(RETRIES.map(|(name, value)| (name, value.to_owned())));
            self.held = self.held.saturating_sub(call.body.len());
            calls.push((self.before.saturating_add(number), call));
            self.next = number.saturating_add(1);
        }
        self.asked.meter.sent(self.pending(self.next - self.answered));
        self.asked.attempts = self.before.saturating_add(self.next) as u64;
        Ok((self.next > self.answered).then_some(calls))
    }

    /// Begins anew at another place, if there is one where a failure of this kind need not come again.
    pub fn turn(
        &mut self,
        plan: &Plan,
        caller: &Caller,
        host: &dyn Host,
        kind: Kind,
    ) -> Option<Vec<(usize, Callout)>> {
        while host.now() < self.deadline {
            let choice = self.rest.next(kind)?;
            let Ok(mut attempt) = Attempt::translate(&Aim::at(plan, caller, host, choice), &self.rest.body)
            else {
                continue;
            };
            gate::again(plan, caller, host, &self.asked.meter, &attempt);
            attempt.asked.meter = Rc::clone(&self.asked.meter);
            let (rest, before) = (std::mem::take(&mut self.rest), self.before.saturating_add(self.next));
            *self = Self::until(self.deadline, attempt, rest, before);
            // Nobody wakes a request in the midst of its calls: where credentials are still to come it cannot wait.
            if let Ok(Some(calls)) = self.launch(plan, host) {
                return Some(calls);
            }
        }
        None
    }

    /// Takes the answer to a call; `None`: there was none.
    ///
    /// # Errors
    /// Why the request has failed at this place.
    pub fn answer(
        &mut self,
        plan: &Plan,
        host: &dyn Host,
        number: usize,
        answer: Option<(&Headers, &[u8])>,
    ) -> Result<Progress, Error> {
        let Some(number) = number.checked_sub(self.before) else {
            return Ok(Progress::More(Vec::new()));
        };
        let part = self.part(plan, host, number, answer).map_err(|error| self.locate(number, error));
        let under_way = self.next - self.answered;
        let part = part.inspect_err(|error| {
            // A call that fails is not billed, one that takes too long may be.
            let others = under_way.saturating_sub(usize::from(error.kind != Kind::TimedOut));
            self.asked.meter.sent(self.pending(others));
        })?;
        self.asked.meter.answered(self.pending(under_way.saturating_sub(1)));
        self.bill(&part);
        self.held = self.held.saturating_add(part.held());
        if self.held > self.asked.expects.measure().bytes {
            return Err(self.asked.expects.too_much());
        }
        let Some(place @ None) = self.parts.get_mut(number) else {
            return Err(Error::new(Kind::Internal, "a call was answered twice"));
        };
        *place = Some(part);
        self.answered = self.answered.saturating_add(1);
        if self.answered < self.bodies.len() {
            // Nobody wakes a request in the midst of its calls; a token that ends has been replaced before.
            let calls = self.launch(plan, host)?.ok_or_else(|| source::unavailable(1000))?;
            return Ok(Progress::More(calls));
        }
        let (mut vectors, mut images) = (Vec::new(), Vec::new());
        for part in std::mem::take(&mut self.parts).into_iter().flatten() {
            match part {
                Part::Vectors(part) => vectors.push(part),
                Part::Images(made) => images.push(made),
            }
        }
        let (body, withheld) = match &self.asked.expects {
            Expects::Images { .. } => image::joined(images, host)?,
            Expects::Chat { .. }
            | Expects::Relay { .. }
            | Expects::Count { .. }
            | Expects::Own { .. }
            | Expects::Embeddings { .. } => (embed::whole(vectors, &self.asked, host), 0),
        };
        Ok(Progress::Whole(reply::made(&self.asked, withheld, body)))
    }

    /// What so many calls under way may be billed: Envoy brings them to their end, whether or not anybody
    /// listens.
    fn pending(&self, calls: usize) -> Pending {
        let (calls, all) = (calls as u64, self.bodies.len().max(1) as u64);
        let share = |whole: u64| whole.saturating_mul(calls).div_ceil(all);
        Pending { input: share(self.whole.input), images: share(self.whole.images) }
    }

    /// Notes what is to be paid for a call.
    fn bill(&mut self, part: &Part) {
        let billed = &mut self.billed;
        let (input, output) = match part {
            Part::Vectors(part) => (part.tokens, 0),
            Part::Images(made) => {
                billed.images = billed.images.saturating_add(made.images);
                let usage = made.usage();
                (usage.map(|usage| usage.input), usage.map_or(0, |usage| usage.output))
            }
        };
        self.asked.meter.pictured(billed.images);
        let Some(input) = input.filter(|_| !billed.is_untold) else {
            billed.is_untold = true;
            self.asked.meter.untold();
            return;
        };
        billed.usage.input = billed.usage.input.saturating_add(input);
        billed.usage.output = billed.usage.output.saturating_add(output);
        self.asked.meter.counted(billed.usage);
    }

    fn part(
        &self,
        plan: &Plan,
        host: &dyn Host,
        number: usize,
        answer: Option<(&Headers, &[u8])>,
    ) -> Result<Part, Error> {
        let Some((headers, body)) = answer else {
            return Err(Error::new(Kind::Unreachable, "the cloud could not be reached; try again shortly"));
        };
        if headers.status() != 200 {
            return Err(reply::call_refused(&self.asked, plan, host, headers, body));
        }
        if body.len() > self.asked.expects.most_bytes() {
            return Err(reply::too_large(&self.asked.expects));
        }
        match &self.asked.expects {
            Expects::Embeddings { upstream, encoding, calls } => {
                let texts = calls.get(number).cloned().unwrap_or_default();
                embed::part(*upstream, *encoding, &texts, embedding::tokens(headers), body).map(Part::Vectors)
            }
            Expects::Images { upstream, calls } => {
                image::part(*upstream, calls.get(number).copied().unwrap_or(1), body).map(Part::Images)
            }
            Expects::Chat { .. } | Expects::Relay { .. } | Expects::Count { .. } | Expects::Own { .. } => {
                Err(Error::new(Kind::Internal, "a reply came to several calls where one was made"))
            }
        }
    }

    /// Says which text it was that the cloud did not like, where that is certain.
    fn locate(&self, number: usize, mut error: Error) -> Error {
        let about_text = matches!(error.kind, Kind::BadRequest | Kind::TooLong);
        let calls = match &self.asked.expects {
            Expects::Embeddings { calls, .. } => calls.as_slice(),
            Expects::Chat { .. }
            | Expects::Relay { .. }
            | Expects::Count { .. }
            | Expects::Own { .. }
            | Expects::Images { .. } => &[],
        };
        let only = calls.get(number).filter(|texts| texts.len() == 1);
        if let Some(text) = only.filter(|_| about_text && error.param.is_none()) {
            let path = format!("input[{}]", text.start);
            error.message = format!("{path}: {}", error.message);
            error.param = Some(path);
        }
        error
    }
}
