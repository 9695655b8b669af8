//! What an operator sees of a request: counters, times, and the fields of the access log.

use std::time::{Duration, SystemTime};

use crate::base::error::{Error, Kind};
use crate::base::host::Host;
use crate::base::metric::{Counter, Histogram, OTHER};
use crate::policy::quota::NANO_USD;

use super::caller::NOBODY;
use super::meter::Meter;

/// What is left for the access log and other filters: `%FILTER_STATE(wasm.fairlead.team:PLAIN)%`. A name, and what
/// it says.
pub const FIELDS: &[(&str, &str)] = &[
    ("team", "the team; absent where there are none"),
    ("model", "the model by its full name, such as `bedrock/us.amazon.nova-lite-v1:0`"),
    ("tokens", "tokens charged, input and output together; `0` where nothing was used"),
    ("input_tokens", "those of the input, with what the cache had; absent where there were none at all"),
    ("output_tokens", "those of the output"),
    ("cost_usd", "what they cost, in US dollars; absent where the model has no price"),
    (
        "cost_micro_usd",
        "the same in millionths of a dollar, rounded up, `0` where there is no price: for rate limit services",
    ),
    ("first_token_ms", "milliseconds from the request's headers to the first bytes of its reply"),
];

/// Notes the full name of the model that serves a request.
pub fn serves(host: &dyn Host, full: &str) {
    host.set_property("fairlead.model", full);
}

/// One request, from its headers to its end. All names are the operator's: a client can make up none.
#[derive(Debug, Default)]
pub struct Report {
    began: Option<SystemTime>,
    team: Option<String>,
    /// The rule that the model was found by.
    model: Option<String>,
    /// When the client got the first bytes of a good reply.
    first: Option<SystemTime>,
    status: Option<u16>,
    over: bool,
}

impl Report {
    /// A request of ours has begun.
    pub fn begin(&mut self, now: SystemTime) {
        self.began = Some(now);
    }

    /// Notes who it is, for what comes after, filters and the access log among it.
    pub fn team(&mut self, host: &dyn Host, name: &str) {
        host.set_property("fairlead.team", name);
        self.team = Some(name.to_owned());
    }

    /// Notes what is asked, by the operator's rule and by its full name.
    pub fn model(&mut self, host: &dyn Host, rule: &str, full: &str) {
        serves(host, full);
        self.model = Some(rule.to_owned());
    }

    /// The client gets the first bytes of the cloud's reply.
    pub fn first(&mut self, now: SystemTime) {
        self.status = self.status.or(Some(200));
        self.first = self.first.or(Some(now));
    }

    /// The client gets an answer of our own.
    pub fn answered(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// The gateway itself says no.
    pub fn refused(&self, host: &dyn Host, error: &Error) {
        const REASONS: &[(Kind, &str)] = &[
            (Kind::Unauthenticated, "key"),
            (Kind::NotAllowed, "model"),
            (Kind::Exhausted, "limit"),
            (Kind::OverBudget, "budget"),
        ];
        if let Some((_, reason)) = REASONS.iter().find(|(kind, _)| *kind == error.kind) {
            host.count(Counter::Refused { team: self.label(), reason }, 1);
        }
    }

    fn label(&self) -> &str {
        self.team.as_deref().unwrap_or(NOBODY)
    }

    /// The exchange is over, or so far that nothing more is to be learnt; once. `now` is the time.
    pub fn end(&mut self, host: &dyn Host, meter: &Meter) {
        let Some(began) = self.began else { return };
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let (team, model) = (self.label(), self.model.as_deref().unwrap_or(OTHER));
        // A client that has gone before any answer: the status that nginx and Envoy's access log have for it.
        let status = self.status.unwrap_or(499);
        host.count(Counter::Requests { team, model, status: status.to_string().as_str() }, 1);
        let since = |moment: SystemTime| moment.duration_since(began).unwrap_or_default();
        host.record(Histogram::Duration { team, model }, milliseconds(since(host.now())));
        if let Some(first) = self.first {
            let wait = milliseconds(since(first));
            host.record(Histogram::FirstToken { team, model }, wait);
            host.set_property("fairlead.first_token_ms", &wait.to_string());
        }
        let used = meter.used();
        let tokens = used.input.saturating_add(used.output);
        // A settled request says so even if it cost nothing: rate limit services take what they find.
        host.set_property("fairlead.tokens", &tokens.to_string());
        // They count in whole numbers, and nothing may be free for being small.
        let micros = meter.cost().unwrap_or(0).div_ceil(NANO_USD / 1_000_000);
        host.set_property("fairlead.cost_micro_usd", &micros.to_string());
        if tokens == 0 && micros == 0 {
            return;
        }
        let fresh = used.input.saturating_sub(used.cache_read).saturating_sub(used.cache_write);
        for (kind, count) in [
            ("input", fresh),
            ("cache_read", used.cache_read),
            ("cache_write", used.cache_write),
            ("output", used.output),
        ] {
            if count > 0 {
                host.count(Counter::Tokens { team, model, kind }, count);
            }
        }
        host.set_property("fairlead.input_tokens", &used.input.to_string());
        host.set_property("fairlead.output_tokens", &used.output.to_string());
        if let Some(cost) = meter.cost() {
            host.count(Counter::Cost { team, model }, cost);
            host.set_property("fairlead.cost_usd", &format!("{}.{:09}", cost / NANO_USD, cost % NANO_USD));
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
