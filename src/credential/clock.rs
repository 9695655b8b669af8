//! What time it is at the clouds: Envoy's clock, corrected where a cloud has said that it is wrong.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::base::headers::Headers;
use crate::base::host::{Host, Level, Stamp};

/// How far the clock may be off without anybody minding. AWS refuses signatures that are five minutes off
/// (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html); a refusal for another reason
/// must not be taken for this one because it was a while on its way.
const TOLERANCE: Duration = Duration::from_secs(240);

/// Key of the shared value: by how many milliseconds the clouds are ahead.
const KEY: &str = "fairlead.clock";

/// The clock of one worker. What one of them is told all know within a second.
#[derive(Debug, Default)]
pub struct Clock {
    /// By so many milliseconds the clouds are ahead of Envoy.
    ahead: Cell<i64>,
    /// When this worker has learnt that, by Envoy's clock.
    learnt: Cell<Option<SystemTime>>,
}

impl Clock {
    /// The time as the clouds have it.
    pub fn now(&self, host: &dyn Host) -> SystemTime {
        moved(host.now(), self.ahead.get())
    }

    /// The same moment by Envoy's clock.
    pub fn here(&self, there: SystemTime) -> SystemTime {
        moved(there, self.ahead.get().saturating_neg())
    }

    /// Takes over what other workers were told.
    pub fn look(&self, host: &dyn Host) {
        let (value, _) = host.shared(KEY);
        let known = value.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse().ok());
        self.learn(host, known.unwrap_or(0));
    }

    /// A cloud has refused a request, and says in its `date` what time it has. `true`: the clock was wrong, and now
    /// it is not. `since`: when the request was signed, by Envoy's clock; others may have been told since then.
    pub fn told(&self, host: &dyn Host, refusal: &Headers, since: SystemTime) -> bool {
        let Some(there) = date(refusal) else { return false };
        let ahead = difference(there, host.now());
        let tolerance = i64::try_from(TOLERANCE.as_millis()).unwrap_or(i64::MAX);
        if ahead.saturating_sub(self.ahead.get()).abs() < tolerance {
            return self.learnt.get().is_some_and(|learnt| since < learnt);
        }
        // Nobody reads this value to change it, so the last word may win.
        let ahead = if ahead.abs() < tolerance { 0 } else { ahead };
        let _ = host.set_shared(KEY, ahead.to_string().as_bytes(), Stamp::NOTHING);
        self.learn(host, ahead);
        let message = format!(
            "a cloud says that this machine's clock is {} s {}; requests are signed by the cloud's time until that is mended",
            ahead.unsigned_abs() / 1000,
            if ahead < 0 { "fast" } else { "slow" },
        );
        host.log(Level::Warn, &message);
        true
    }

    fn learn(&self, host: &dyn Host, ahead: i64) {
        if self.ahead.replace(ahead) != ahead {
            self.learnt.set(Some(host.now()));
        }
    }
}

/// What time an answer says that it is, in its `date`: RFC 9110 section 5.6.7.
pub fn date(answer: &Headers) -> Option<SystemTime> {
    let seconds = OffsetDateTime::parse(answer.get("date")?, &Rfc2822).ok()?.unix_timestamp();
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// In milliseconds.
fn difference(there: SystemTime, here: SystemTime) -> i64 {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    match there.duration_since(here) {
        Ok(ahead) => millis(ahead),
        Err(behind) => millis(behind.duration()).saturating_neg(),
    }
}

fn moved(moment: SystemTime, by: i64) -> SystemTime {
    let distance = Duration::from_millis(by.unsigned_abs());
    let moved = if by < 0 { moment.checked_sub(distance) } else { moment.checked_add(distance) };
    moved.unwrap_or(moment)
}
