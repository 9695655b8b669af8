//! A place that hands out credentials: fetched once for the whole process, by one worker at a time, ahead of their
//! end.
//!
//! All workers look at one shared value. Whoever finds that a credential is due takes the lease in it by
//! compare-and-swap and makes the calls; everybody else goes on with the old one, or waits for the new.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::clock::Clock;
use super::slot::{self, Slot};
use super::{Answer, Carry, Credential, Grant, Outcome, Problem, Step};
use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::host::{Callout, Host, Level, Stamp};
use crate::base::metric::Counter;

/// How long a step's call may take. Sources answer in milliseconds; requests are waiting meanwhile.
pub const CALL: Duration = Duration::from_secs(3);

/// How long the taker of a lease is waited for, should its worker die: a call and a little more. It is renewed with
/// every step.
const LEASE: Duration = Duration::from_secs(4);

/// A credential is replaced at most this long before its end. Google's metadata server gives out the same token until
/// five minutes before its end (cloud.google.com/compute/docs/access/authenticate-workloads), and EC2's new keys are
/// there five minutes before the old ones end
/// (docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html), so asking earlier would
/// bring nothing.
const AHEAD: Duration = Duration::from_secs(240);

/// Up to such a part of that it is replaced even earlier, by chance, so that the Envoys of a fleet which began together do
/// not all ask together. It stays below the five minutes.
const JITTER: u64 = 5;

/// A credential this close to its end is not sent any more: the request has to arrive, too.
const MARGIN: Duration = Duration::from_secs(2);

/// The longest wait between two calls that failed.
const MOST_PATIENCE: Duration = Duration::from_secs(30);

/// A credential younger than this is not distrusted: a refusal has another cause, and the source would only give the
/// same one again.
const TOO_YOUNG: Duration = Duration::from_secs(5);

/// How answers begin that are Envoy's own, in the place of a service's: its router's, tried on 1.36.2 and 1.40.0.
const IN_ITS_PLACE: [(&str, &str); 3] = [
    ("upstream connect error", "cannot be reached; does its cluster lead there?"),
    ("no healthy upstream", "cannot be reached; does its cluster have a host?"),
    ("upstream request timeout", "did not answer in time"),
];

/// How often a raced write is tried again. Writers are one lease holder and those that distrust, so
/// losing this often means something else is wrong.
const TRIES: usize = 8;

/// A place that hands out credentials.
#[derive(Debug)]
pub struct Source {
    /// For people: the kind of source, and where it is.
    name: String,
    /// The backend that has it first; for metrics.
    backend: String,
    /// Key of the shared value.
    key: String,
    /// What the first step begins with.
    base: Option<Credential>,
    steps: Vec<Box<dyn Step>>,
    clock: Rc<Clock>,
    /// Fetched though nobody has asked for it yet.
    eager: Cell<bool>,
    /// When a request has last asked for it on this worker.
    used: Cell<u64>,
    /// This worker has the lease.
    running: RefCell<Option<Running>>,
    /// What was read last, and its stamp.
    known: RefCell<Option<(Stamp, Rc<Known>)>>,
}

/// A fetch under way.
struct Running {
    step: usize,
    carry: Carry,
    /// A step has been asked again, because the clock had been wrong. Once is enough: clouds that disagree would send
    /// it round and round.
    is_corrected: bool,
    /// When its call was made.
    since: SystemTime,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "step {}", self.step)
    }
}

/// The shared value, and the credential in it.
#[derive(Debug)]
struct Known {
    slot: Slot,
    grant: Option<Rc<Grant>>,
}

/// How a source stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// There is a credential, and it will be replaced in time as far as is known; or nobody has asked for one yet, and
    /// nothing stands in the way.
    Good,
    /// The first one is on its way.
    Waiting,
    /// There is one, and it could not be replaced.
    Ending,
    /// There is none, and it could not be fetched.
    Failing,
}

/// What a source is made of.
pub struct Recipe {
    /// As [`Source`]'s.
    pub name: String,
    /// All that makes its credentials what they are, with its secrets: another one has others.
    pub identity: String,
    pub base: Option<Credential>,
    pub steps: Vec<Box<dyn Step>>,
}

impl Source {
    /// A source of a backend. It is fetched when somebody asks for it.
    pub fn new(recipe: Recipe, backend: &str, clock: &Rc<Clock>) -> Self {
        let Recipe { name, identity, base, steps } = recipe;
        let identity = Zeroizing::new(identity);
        let mut hash = Sha256::new();
        hash.update(identity.as_bytes());
        match &base {
            Some(Credential::Fetched(source)) => hash.update(source.key.as_bytes()),
            Some(Credential::Fixed(grant)) => hash.update(slot::write(grant).as_bytes()),
            None => {}
        }
        let mut key = "fairlead.credential.".to_owned();
        super::sigv4::hex(&hash.finalize(), &mut key);
        Self {
            name,
            backend: backend.to_owned(),
            key,
            base,
            steps,
            clock: Rc::clone(clock),
            eager: Cell::new(false),
            used: Cell::new(0),
            running: RefCell::default(),
            known: RefCell::default(),
        }
    }

    /// It is fetched before somebody asks for it.
    pub fn hurry(&self) {
        self.eager.set(true);
    }

    /// Key of the shared value: others with the same key have the same credentials.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The source that this one begins with, if there is one.
    pub fn base(&self) -> Option<&Rc<Source>> {
        self.base.as_ref()?.source()
    }

    /// What its first step begins with, if that is another's.
    pub(super) fn begins_with(&self) -> Option<&Credential> {
        self.base.as_ref()
    }

    /// Makes the shared value, so that there is something to compare and swap. A write to a key that does
    /// not exist always succeeds, for every worker that tries; so this is for the one thread that
    /// configures the plugin before the workers start.
    pub fn prepare(&self, host: &dyn Host) {
        if host.shared(&self.key).1 == Stamp::NOTHING {
            let _ = host.set_shared(&self.key, &Slot::default().write(), Stamp::NOTHING);
        }
    }

    /// What is there now; `None`: it is on its way.
    ///
    /// # Errors
    /// [`Kind::NoCredentials`] when the source failed lately and there is none left.
    pub fn grant(&self, host: &dyn Host) -> Result<Option<Rc<Grant>>, Error> {
        let now = clock(host);
        self.used.set(now);
        let known = self.known(host);
        if let Some(grant) = known.good(now) {
            return Ok(Some(grant));
        }
        if now < known.slot.retry {
            return Err(unavailable(known.slot.retry - now));
        }
        match &self.base {
            // It cannot be fetched while that is missing.
            Some(base) => base.grant(host).map(|_| None),
            None => Ok(None),
        }
    }

    /// How it stands.
    pub fn standing(&self, host: &dyn Host) -> Standing {
        let now = clock(host);
        let known = self.known(host);
        match (known.good(now).is_some(), known.slot.failures > 0) {
            (true, false) => Standing::Good,
            (true, true) => Standing::Ending,
            (false, true) => Standing::Failing,
            // It is as ready as can be.
            (false, false) if !self.is_asked_for() => {
                self.base().map_or(Standing::Good, |base| base.standing(host))
            }
            (false, false) => match self.base().map(|base| base.standing(host)) {
                Some(Standing::Failing) => Standing::Failing,
                Some(Standing::Good | Standing::Waiting | Standing::Ending) | None => Standing::Waiting,
            },
        }
    }

    /// In how many milliseconds it has to be looked at again: what [`Source::fetch`] would do something about.
    pub fn due_in(&self, host: &dyn Host) -> u64 {
        if !self.is_asked_for() {
            return u64::MAX;
        }
        let now = clock(host);
        let slot = &self.known(host).slot;
        if !self.is_wanted(slot) {
            return u64::MAX;
        }
        let own = slot.due.max(slot.lease).max(slot.retry).saturating_sub(now);
        // What it begins with has to be there first.
        let missing = self.base().filter(|base| base.known(host).good(now).is_none());
        own.max(missing.map_or(0, |base| base.due_in(host)))
    }

    /// Somebody wants it, or may want it soon. There may be hundreds of teams, and those that never come cost no look
    /// at the shared data.
    fn is_asked_for(&self) -> bool {
        self.eager.get() || self.used.get() > 0
    }

    fn is_wanted(&self, slot: &Slot) -> bool {
        self.eager.get() || self.used.get() > slot.fetched
    }

    /// The call to make now, if one is due and nobody else makes it. Whoever gets one must report to
    /// [`Source::answered`].
    pub fn fetch(&self, host: &dyn Host) -> Option<Callout> {
        if !self.is_asked_for() {
            return None;
        }
        let now = clock(host);
        let known = self.known(host);
        let slot = &known.slot;
        let is_fresh = known.good(now).is_some() && now < slot.due;
        if is_fresh || now < slot.lease || now < slot.retry || !self.is_wanted(slot) {
            return None;
        }
        let mut carry = Carry::default();
        if let Some(base) = &self.base {
            carry.grant = Some(base.grant(host).ok()??);
        }
        let stamp = self.known.borrow().as_ref().map_or(Stamp::NOTHING, |(stamp, _)| *stamp);
        let mut slot = Slot::read(&slot.write());
        slot.lease = now.saturating_add(millis(LEASE));
        host.set_shared(&self.key, &slot.write(), stamp).ok()?;
        self.proceed(host, Running { step: 0, carry, is_corrected: false, since: host.now() })
    }

    /// The answer to a call of [`Source::fetch`] or of this: headers and body, or `None` when there was none. Gives
    /// the next call.
    pub fn answered(&self, host: &dyn Host, answer: Option<(&Headers, &[u8])>) -> Option<Callout> {
        let Running { step: index, mut carry, is_corrected, since } = self.running.take()?;
        let step = self.steps.get(index)?;
        let unreachable = |words: &str| Problem { outcome: Outcome::Unreachable, words: words.to_owned() };
        let Some((headers, body)) = answer else {
            self.failed(host, index, unreachable("did not answer; does its cluster have a host?"));
            return None;
        };
        let status = headers.status();
        if let Some((_, words)) = IN_ITS_PLACE.iter().find(|(text, _)| body.starts_with(text.as_bytes())) {
            self.failed(host, index, unreachable(words));
            return None;
        }
        let outcome = step.read(&mut carry, &Answer { status, headers, body }, self.clock.now(host));
        // By a wrong clock requests are refused, and credentials have ended when they come.
        let has_ended = carry.expires.is_some_and(|end| end <= self.clock.now(host));
        let is_told =
            (matches!(status, 400 | 401 | 403) || has_ended) && self.clock.told(host, headers, since);
        let next = match outcome {
            Ok(()) => Running { step: index.saturating_add(1), carry, is_corrected, since },
            Err(_) if is_told && !is_corrected => Running { step: index, carry, is_corrected: true, since },
            Err(problem) => {
                let base = self.base().filter(|_| problem.outcome == Outcome::Stale);
                if base.is_some_and(|base| base.distrust(host, since)) {
                    self.postponed(host, index, &problem);
                } else {
                    self.failed(host, index, problem);
                }
                return None;
            }
        };
        let call = self.proceed(host, next)?;
        self.change(host, |slot| {
            slot.lease = clock(host).saturating_add(millis(LEASE));
            true
        });
        Some(call)
    }

    /// Goes on with the next step that has something to ask.
    fn proceed(&self, host: &dyn Host, mut running: Running) -> Option<Callout> {
        while let Some(step) = self.steps.get(running.step) {
            match step.call(&mut running.carry, self.clock.now(host)) {
                Ok(Some(call)) => {
                    running.since = host.now();
                    self.running.replace(Some(running));
                    return Some(call);
                }
                Ok(None) => running.step = running.step.saturating_add(1),
                Err(problem) => {
                    self.failed(host, running.step, problem);
                    return None;
                }
            }
        }
        self.finished(host, running.carry);
        None
    }

    fn finished(&self, host: &dyn Host, carry: Carry) {
        let last = self.steps.len().saturating_sub(1);
        let (Some(grant), Some(expires)) = (carry.grant, carry.expires) else {
            self.failed(host, last, Problem::garbled("without a credential"));
            return;
        };
        let now = clock(host);
        let expires = since_1970(self.clock.here(expires));
        // Else it would be fetched again at once, and again.
        if expires <= now.saturating_add(millis(MARGIN)) {
            self.failed(host, last, Problem::garbled("with a credential that has ended"));
            return;
        }
        let secret = slot::write(&grant);
        self.count(host, Outcome::Ok);
        self.change(host, |slot| {
            let ahead = expires.saturating_sub(now).min(millis(AHEAD).saturating_mul(2)) / 2;
            // Fractions of a second are chance; clocks that count milliseconds only are mixed (Knuth's constant).
            let nanos = host.now().duration_since(UNIX_EPOCH).map_or(0, |now| u64::from(now.subsec_nanos()));
            let chance = nanos.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
            let jitter = chance % (ahead / JITTER).max(1);
            slot.lease = 0;
            slot.fetched = now;
            slot.due = expires.saturating_sub(ahead.saturating_add(jitter));
            slot.expires = expires;
            slot.retry = 0;
            slot.failures = 0;
            slot.secret.clone_from(&secret);
            true
        });
    }

    /// What it begins with has ended, and is fetched anew; then this goes on at once.
    fn postponed(&self, host: &dyn Host, step: usize, problem: &Problem) {
        self.count(host, problem.outcome);
        self.change(host, |slot| {
            slot.lease = 0;
            true
        });
        let message = self.tell(step, problem);
        host.log(Level::Warn, &format!("{message}; what that begins with is fetched anew"));
    }

    fn failed(&self, host: &dyn Host, step: usize, problem: Problem) {
        let mut patience = Duration::ZERO;
        let now = clock(host);
        self.count(host, problem.outcome);
        self.change(host, |slot| {
            patience = Duration::from_millis(500 << slot.failures.min(6)).min(MOST_PATIENCE);
            slot.lease = 0;
            slot.retry = now.saturating_add(millis(patience));
            slot.failures = slot.failures.saturating_add(1);
            true
        });
        let message = self.tell(step, &problem);
        host.log(Level::Error, &format!("{message}; the next try is in {:.1} s", patience.as_secs_f32()));
    }

    /// Which step has failed, and why.
    fn tell(&self, step: usize, problem: &Problem) -> String {
        let name = self.steps.get(step).map(|step| step.name()).unwrap_or_default();
        format!("credentials of backend {} ({}): {name} {}", self.backend, self.name, problem.words)
    }

    /// A call that was made with the credential, at the time `since`, was refused as if that had ended: drop it, so that
    /// a new one is fetched at once. `true`: the next call goes out with another one.
    pub fn distrust(&self, host: &dyn Host, since: SystemTime) -> bool {
        let (now, since) = (clock(host), since_1970(since));
        let mut is_gone = false;
        self.change(host, |slot| {
            // Of many calls on their way at once the first was refused before.
            let is_another = slot.secret.is_empty() || since < slot.fetched;
            let is_old = now >= slot.fetched.saturating_add(millis(TOO_YOUNG));
            is_gone = is_another || is_old;
            if is_gone && !is_another {
                slot.clear();
            }
            is_gone && !is_another
        });
        is_gone
    }

    fn count(&self, host: &dyn Host, outcome: Outcome) {
        host.count(Counter::Credentials { backend: &self.backend, outcome: outcome.label() }, 1);
    }

    /// The shared value; read and parsed again only when it has changed.
    fn known(&self, host: &dyn Host) -> Rc<Known> {
        let (value, stamp) = host.shared(&self.key);
        let value = Zeroizing::new(value.unwrap_or_default());
        let mut known = self.known.borrow_mut();
        if let Some((of, known)) = &*known
            && *of == stamp
        {
            return Rc::clone(known);
        }
        let slot = Slot::read(&value);
        let grant = slot::read(&slot.secret).map(Rc::new);
        let fresh = Rc::new(Known { slot, grant });
        *known = Some((stamp, Rc::clone(&fresh)));
        fresh
    }

    fn change(&self, host: &dyn Host, mut edit: impl FnMut(&mut Slot) -> bool) {
        for _ in 0..TRIES {
            let (value, stamp) = host.shared(&self.key);
            let mut slot = Slot::read(&Zeroizing::new(value.unwrap_or_default()));
            if !edit(&mut slot) || host.set_shared(&self.key, &slot.write(), stamp).is_ok() {
                return;
            }
        }
        host.log(Level::Warn, "a credential could not be stored: the shared value was always raced for");
    }
}

impl Known {
    fn good(&self, now: u64) -> Option<Rc<Grant>> {
        self.grant.clone().filter(|_| self.slot.is_good(now, millis(MARGIN)))
    }
}

/// What a request is told that waited for credentials too long, or came while their source fails.
pub fn unavailable(millis: u64) -> Error {
    let message = "the gateway has no valid credentials for this model's cloud at the moment; try again shortly, and \
                   if this stays, the operator finds the cause in Envoy's log";
    let mut error = Error::new(Kind::NoCredentials, message);
    error.retry_after = Some(u32::try_from(millis.div_ceil(1000).max(1)).unwrap_or(u32::MAX));
    error
}

fn clock(host: &dyn Host) -> u64 {
    since_1970(host.now())
}

fn since_1970(moment: SystemTime) -> u64 {
    millis(moment.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
