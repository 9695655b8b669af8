//! Google's access tokens: one for the whole process in shared data, fetched by one worker at a time,
//! ahead of its end.
//!
//! All workers look at one shared value. Whoever finds that a token is due takes the lease in it by
//! compare-and-swap and makes the call; everybody else goes on with the old token, or waits for the new.

use std::time::{Duration, UNIX_EPOCH};

use super::Authorisation;
use crate::base::error::{Error, Kind};
use crate::base::host::{Callout, Host, Level, Stamp};

/// A place that hands out tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    cluster: String,
    /// Key of the shared value.
    key: String,
}

/// How long a call for a token may take. The metadata server answers from its memory in milliseconds;
/// requests are waiting meanwhile.
const CALL: Duration = Duration::from_secs(3);

/// How long the taker of a lease is waited for, should its worker die: the call and a little more.
const LEASE: Duration = Duration::from_secs(4);

/// A token is replaced this long before it ends. Google's metadata server gives out the same token until
/// five minutes before its end, so asking earlier would bring nothing:
/// cloud.google.com/compute/docs/access/authenticate-workloads.
const AHEAD: Duration = Duration::from_secs(240);

/// A token this close to its end is not sent any more: the request has to arrive, too.
const MARGIN: Duration = Duration::from_secs(2);

/// The longest wait between two calls that failed.
const MOST_PATIENCE: Duration = Duration::from_secs(30);

/// A token younger than this is not distrusted: a 401 to it has another cause, and the source would
/// only give the same one again.
const TOO_YOUNG: Duration = Duration::from_secs(5);

/// How often a raced write is tried again. Writers are one lease holder and those that distrust, so
/// losing this often means something else is wrong.
const TRIES: usize = 8;

/// No real token comes near this: Google's are below 2 kB.
const LONGEST: usize = 16 * 1024;

/// The shared value. Times are milliseconds since 1970.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Slot {
    /// Until then the holder of the lease is fetching.
    lease: u64,
    /// When the token came.
    fetched: u64,
    /// From then on a new token is due.
    due: u64,
    /// The end of the token's life.
    expires: u64,
    /// After failures: not before then again.
    retry: u64,
    /// Failures in a row.
    failures: u64,
    token: String,
}

impl Slot {
    fn read(value: Option<Vec<u8>>) -> Self {
        let text = value.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let mut parts = text.splitn(7, ' ');
        let mut number = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
        let (lease, fetched, due, expires, retry, failures) =
            (number(), number(), number(), number(), number(), number());
        let token = parts.next().unwrap_or_default().to_owned();
        Self { lease, fetched, due, expires, retry, failures, token }
    }

    fn write(&self) -> String {
        let Self { lease, fetched, due, expires, retry, failures, token } = self;
        format!("{lease} {fetched} {due} {expires} {retry} {failures} {token}")
    }

    fn is_good(&self, now: u64) -> bool {
        !self.token.is_empty() && now.saturating_add(millis(MARGIN)) < self.expires
    }
}

impl Source {
    /// Google's metadata server behind an Envoy cluster.
    pub fn metadata_server(cluster: &str) -> Self {
        Self { cluster: cluster.to_owned(), key: format!("fairlead.token.metadata_server.{cluster}") }
    }

    /// Makes the shared value, so that there is something to compare and swap. A write to a key that does
    /// not exist always succeeds, for every worker that tries; so this is for the one thread that
    /// configures the plugin before the workers start.
    pub fn prepare(&self, host: &dyn Host) {
        if self.slot(host).1 == Stamp::NOTHING {
            let _ = host.set_shared(&self.key, Slot::default().write().as_bytes(), Stamp::NOTHING);
        }
    }

    /// The `authorization` header, or that it is on its way.
    ///
    /// # Errors
    /// [`Kind::NoCredentials`] when the source failed lately and there is no token left.
    pub fn authorise(&self, host: &dyn Host) -> Result<Authorisation, Error> {
        let now = clock(host);
        let (slot, _) = self.slot(host);
        if slot.is_good(now) {
            let header = ("authorization", format!("Bearer {}", slot.token));
            return Ok(Authorisation::Headers(vec![header]));
        }
        if now < slot.retry {
            return Err(unavailable(slot.retry - now));
        }
        Ok(Authorisation::Pending)
    }

    /// The call to make now, if one is due and nobody else makes it. Whoever gets one must report to
    /// [`Source::answered`].
    pub fn fetch(&self, host: &dyn Host) -> Option<Callout> {
        let now = clock(host);
        let (mut slot, stamp) = self.slot(host);
        if (slot.is_good(now) && now < slot.due) || now < slot.lease || now < slot.retry {
            return None;
        }
        slot.lease = now.saturating_add(millis(LEASE));
        host.set_shared(&self.key, slot.write().as_bytes(), stamp).ok()?;
        Some(Callout {
            cluster: self.cluster.clone(),
            headers: vec![
                (":method", "GET".to_owned()),
                (":path", "/computeMetadata/v1/instance/service-accounts/default/token".to_owned()),
                (":authority", "metadata.google.internal".to_owned()),
                // Without it the server refuses: it tells that no browser was tricked into asking.
                ("metadata-flavor", "Google".to_owned()),
            ],
            body: Vec::new(),
            timeout: CALL,
        })
    }

    /// The answer to the call of [`Source::fetch`]: status and body, or `None` when there was none.
    pub fn answered(&self, host: &dyn Host, answer: Option<(u16, &[u8])>) {
        let now = clock(host);
        let news = match answer {
            Some((200, body)) => read(body).ok_or_else(|| "with something that is no token".to_owned()),
            Some((status, _)) => Err(format!("with status {status}")),
            None => Err("not at all; does its cluster have a host?".to_owned()),
        };
        if let Err(problem) = &news {
            let message = format!("the token source behind cluster {} answered {problem}", self.cluster);
            host.log(Level::Error, &message);
        }
        self.change(host, |slot| {
            slot.lease = 0;
            match &news {
                Ok((token, lifetime)) => {
                    slot.token.clone_from(token);
                    slot.fetched = now;
                    slot.expires = now.saturating_add(millis(*lifetime));
                    slot.due = slot.expires.saturating_sub(millis(AHEAD.min(*lifetime / 2)));
                    slot.retry = 0;
                    slot.failures = 0;
                }
                Err(_) => {
                    let patience = Duration::from_millis(500 << slot.failures.min(6)).min(MOST_PATIENCE);
                    slot.retry = now.saturating_add(millis(patience));
                    slot.failures = slot.failures.saturating_add(1);
                }
            }
            true
        });
    }

    /// A call with the token was answered 401: drop it, so that a new one is fetched at once.
    pub fn distrust(&self, host: &dyn Host) {
        let now = clock(host);
        self.change(host, |slot| {
            let old = !slot.token.is_empty() && now >= slot.fetched.saturating_add(millis(TOO_YOUNG));
            if old {
                slot.token.clear();
                slot.due = 0;
            }
            old
        });
    }

    fn slot(&self, host: &dyn Host) -> (Slot, Stamp) {
        let (value, stamp) = host.shared(&self.key);
        (Slot::read(value), stamp)
    }

    fn change(&self, host: &dyn Host, mut edit: impl FnMut(&mut Slot) -> bool) {
        for _ in 0..TRIES {
            let (mut slot, stamp) = self.slot(host);
            if !edit(&mut slot) || host.set_shared(&self.key, slot.write().as_bytes(), stamp).is_ok() {
                return;
            }
        }
        host.log(Level::Warn, "a token could not be stored: the shared value was always raced for");
    }
}

/// What a request is told that waited for a token too long, or came while the source fails.
pub fn unavailable(millis: u64) -> Error {
    let message = "the gateway has no valid Google credentials at the moment; try again shortly, and if this \
                   stays, the operator finds the cause in Envoy's log";
    let mut error = Error::new(Kind::NoCredentials, message);
    error.retry_after = Some(u32::try_from(millis.div_ceil(1000).max(1)).unwrap_or(u32::MAX));
    error
}

/// Reads `{"access_token":…,"expires_in":…}`: token and lifetime.
/// cloud.google.com/compute/docs/access/authenticate-workloads#applications.
fn read(body: &[u8]) -> Option<(String, Duration)> {
    #[derive(serde::Deserialize)]
    struct Answer {
        access_token: String,
        expires_in: u64,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let printable = answer.access_token.bytes().all(|byte| byte.is_ascii_graphic());
    let good = printable && !answer.access_token.is_empty() && answer.access_token.len() <= LONGEST;
    good.then(|| (answer.access_token, Duration::from_secs(answer.expires_in)))
}

fn clock(host: &dyn Host) -> u64 {
    millis(host.now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
