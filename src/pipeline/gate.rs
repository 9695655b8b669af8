//! Whether a request may leave: what it may use at most is taken from every limit that it counts against.

use std::rc::Rc;

use crate::base::error::{Error, Kind};
use crate::base::host::Host;
use crate::base::metric::Counter;
use crate::chat::Usage;
use crate::policy::estimate;
use crate::policy::prices::Price;
use crate::policy::quota::{
    self, Cost, Exhausted, Gauge, Limit, Limits, NANO_USD, Reservation, Scope, Standing,
};

use super::Plan;
use super::attempt::Attempt;
use super::caller::Caller;
use super::meter::Meter;

/// What a limit is used to, in percent, from which on the client is warned.
const WARN_AT: u64 = 80;

/// What a request may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish<'a> {
    /// The model as the client asked for it.
    pub asked: &'a str,
    /// The one that stands in for it, by its name here.
    pub stands_in: Option<&'a str>,
    /// Its full name, such as `bedrock/us.amazon.nova-lite-v1:0`.
    pub full: &'a str,
    /// Whether a good reply costs anything.
    pub billed: bool,
    /// Tokens of the request, as estimated.
    pub input: u64,
    /// The most tokens that the reply may have, as the client says.
    pub output: Option<u64>,
    /// The most images.
    pub images: u64,
}

/// Takes what a request may use. What the client is to know of his limits is left with the caller.
///
/// # Errors
/// [`Kind::Exhausted`] and [`Kind::OverBudget`], naming the limit, its value and when there is room again.
pub fn admit(plan: &Plan, caller: &mut Caller, host: &dyn Host, wish: Wish<'_>) -> Result<Meter, Error> {
    let price = plan.prices.find(wish.full);
    let mut scopes =
        caller.member.as_ref().map_or_else(Vec::new, |member| member.scopes(wish.asked, wish.full));
    scopes.extend(plan.model_scope(wish.asked).into_iter().chain(&plan.total).map(Rc::clone));
    for scope in wish.stands_in.into_iter().flat_map(|name| of_model(plan, caller, name, wish.full)) {
        if !scopes.iter().any(|known| Rc::ptr_eq(known, scope)) {
            scopes.push(Rc::clone(scope));
        }
    }
    if scopes.is_empty() {
        return Ok(Meter::new(None, price, wish.input));
    }
    let mut cost = cost(price, &scopes, wish)?;
    if caller.look.is_some() {
        // A look is a request, and nothing else: it uses neither tokens nor money.
        cost = Cost::default();
    }
    match quota::reserve(host, scopes.clone(), cost) {
        Ok((reservation, standings)) => {
            let fullest = fullest(&scopes, &standings).filter(|(percent, ..)| *percent >= WARN_AT);
            caller.limits = headers(&standings);
            if let Some((percent, limit, title)) = fullest {
                let team = caller.team();
                host.count(Counter::NearLimit { team, limit: limit.name() }, 1);
                let warning = format!("{percent}% of {} of {title}", limit.name());
                caller.limits.push(("x-fairlead-limit-warning", warning));
            }
            Ok(Meter::new(Some(reservation), price, wish.input))
        }
        Err(exhausted) => {
            let standings: Vec<Standing> = scopes.iter().map(|scope| scope.standing(host)).collect();
            caller.limits = headers(&standings);
            Err(refusal(exhausted, &scopes, cost))
        }
    }
}

/// The limits of a model by its name here and its full one: those of the caller's team, and those of everyone.
pub fn of_model<'a>(
    plan: &'a Plan,
    caller: &'a Caller,
    name: &'a str,
    full: &'a str,
) -> impl Iterator<Item = &'a Rc<Scope>> {
    let own = caller.member.iter().flat_map(move |member| member.model_scopes(name, full));
    own.filter(|scope| scope.limits != Limits::default()).chain(plan.model_scope(name))
}

/// Leaves with the caller what is left of his limits, without taking anything from them.
pub fn tell(plan: &Plan, caller: &mut Caller, host: &dyn Host) {
    let own = caller.member.as_ref().map_or_else(Vec::new, |member| member.scopes("", ""));
    let standings: Vec<Standing> = own.iter().chain(&plan.total).map(|scope| scope.standing(host)).collect();
    caller.limits = headers(&standings);
}

/// Takes what a request may use from what the backend's account has, if that is limited. Where nothing is left, the
/// others were asked before, and the cloud itself may say no.
pub fn account(plan: &Plan, host: &dyn Host, backend: usize, wish: Wish<'_>) -> Option<Reservation> {
    let scopes = [Rc::clone(plan.account(backend)?)];
    let cost = cost(plan.prices.find(wish.full), &scopes, wish).ok()?;
    Some(quota::reserve(host, scopes.into(), cost).ok()?.0)
}

/// Begins another try of a request that was let in: what it uses from now on is what it costs. What the one before
/// will be billed for all the same is counted apart.
pub fn again(plan: &Plan, caller: &Caller, host: &dyn Host, meter: &Meter, attempt: &Attempt) {
    let wish = attempt.wish();
    let wasted = meter.again(host, plan.prices.find(wish.full));
    let tokens = wasted.input.saturating_add(wasted.output);
    if tokens > 0 {
        let (team, model) = (caller.team(), plan.label(wish.asked));
        host.count(Counter::Wasted { team, model }, tokens);
    }
    meter.draw(account(plan, host, attempt.asked.backend, wish));
    // There was room when the places were chosen.
    let limits = of_model(plan, caller, wish.stands_in.unwrap_or(wish.asked), wish.full);
    let scopes: Vec<Rc<Scope>> = limits.filter(|scope| !meter.counts(scope)).map(Rc::clone).collect();
    let taken = cost(plan.prices.find(wish.full), &scopes, wish)
        .ok()
        .filter(|_| !scopes.is_empty())
        .and_then(|cost| quota::reserve(host, scopes, cost).ok());
    meter.draw(taken.map(|(reservation, _)| reservation));
}

/// The most that a request may cost.
fn cost(price: Option<Price>, scopes: &[Rc<Scope>], wish: Wish<'_>) -> Result<Cost, Error> {
    let output = wish.output.unwrap_or(estimate::OUTPUT);
    let tokens = wish.input.saturating_add(output);
    // As if all of it went into the cache for an hour, which is the dearest that can become of it.
    let (cache_write, cache_write_hour) = (wish.input, wish.input);
    let dear = Usage { input: wish.input, output, cache_write, cache_write_hour, ..Usage::default() };
    let plain = Usage { input: wish.input, output, ..Usage::default() };
    match (price, scopes.iter().find(|scope| scope.limits.budget.is_some())) {
        (Some(price), _) => {
            let nano_usd = price.most(&dear, wish.images).max(price.most(&plain, wish.images));
            Ok(Cost { tokens, nano_usd })
        }
        (None, _) if !wish.billed => Ok(Cost::default()),
        (None, None) => Ok(Cost { tokens, nano_usd: 0 }),
        // It would be free, and the budget none.
        (None, Some(scope)) => {
            let problem = format!(
                "has no price, and {} has a budget; the operator of this gateway should add one to `prices`",
                scope.title
            );
            Err(Error::at(Kind::NotAllowed, "model", &problem))
        }
    }
}

fn refusal(exhausted: Exhausted, scopes: &[Rc<Scope>], cost: Cost) -> Error {
    let (scope, limit, wait) = match exhausted {
        Exhausted::Limit { scope, limit, wait } => (scopes.get(scope), limit, wait),
        Exhausted::Busy => {
            let problem = "the gateway could not count this request against its limits in time; try again";
            return Error { retry_after: Some(1), ..Error::new(Kind::Overloaded, problem) };
        }
    };
    let title = scope.map_or("this gateway", |scope| scope.title.as_str());
    let value = scope.map_or_else(String::new, |scope| value(scope, limit));
    let name = limit.name();
    let message = match wait {
        None => format!(
            "this request may use {}, more than {name} of {title} allows at all ({value}); send less, or lower \
             the bound of the reply",
            wanted(limit, cost)
        ),
        Some(wait) => format!("{name} of {title} is reached ({value}); try again in {wait} s"),
    };
    let kind = match limit {
        Limit::Budget => Kind::OverBudget,
        Limit::Requests | Limit::Tokens | Limit::Concurrent => Kind::Exhausted,
    };
    let seconds = wait.unwrap_or(60);
    let retry_after = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
    Error { retry_after, futile: wait.is_none() || kind == Kind::OverBudget, ..Error::new(kind, message) }
}

fn wanted(limit: Limit, cost: Cost) -> String {
    match limit {
        Limit::Tokens => format!("{} tokens", cost.tokens),
        Limit::Budget => dollars(cost.nano_usd),
        Limit::Requests | Limit::Concurrent => "1 request".to_owned(),
    }
}

fn value(scope: &Scope, limit: Limit) -> String {
    let limits = &scope.limits;
    match limit {
        Limit::Requests => format!("{} in any 60 s", limits.requests_per_minute.unwrap_or_default()),
        Limit::Tokens => format!("{} in any 60 s", limits.tokens_per_minute.unwrap_or_default()),
        Limit::Concurrent => format!("{} at a time", limits.concurrent_requests.unwrap_or_default()),
        Limit::Budget => limits
            .budget
            .as_ref()
            .map_or_else(String::new, |budget| format!("{} per {}", dollars(budget.nano_usd), budget.per)),
    }
}

/// An amount for people.
fn dollars(nano_usd: u64) -> String {
    let (whole, rest) = (nano_usd / NANO_USD, nano_usd % NANO_USD);
    let digits = format!("{rest:09}");
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() { format!("{whole} US dollars") } else { format!("{whole}.{digits} US dollars") }
}

/// What a client is told of the limits that have the least room left.
fn headers(standings: &[Standing]) -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    let mut tell = |gauge: Option<Gauge>, names: [&'static str; 3]| {
        if let Some(gauge) = gauge {
            let values =
                [gauge.limit.to_string(), gauge.remaining().to_string(), format!("{}s", gauge.reset)];
            headers.extend(names.into_iter().zip(values));
        }
    };
    let tightest = |gauge: fn(&Standing) -> Option<Gauge>| {
        standings.iter().filter_map(gauge).min_by_key(Gauge::remaining)
    };
    tell(
        tightest(|standing| standing.requests),
        ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
    );
    tell(
        tightest(|standing| standing.tokens),
        ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
    );
    headers
}

/// The limit that is used most, in percent, and whose it is.
fn fullest<'s>(scopes: &'s [Rc<Scope>], standings: &[Standing]) -> Option<(u64, Limit, &'s str)> {
    let all = scopes.iter().zip(standings).flat_map(|(scope, standing)| {
        let gauges = [
            (Limit::Requests, standing.requests),
            (Limit::Tokens, standing.tokens),
            (Limit::Concurrent, standing.concurrent),
            (Limit::Budget, standing.budget),
        ];
        gauges.into_iter().filter_map(|(limit, gauge)| {
            let gauge = gauge?;
            let used = gauge.limit - gauge.remaining();
            Some((used.saturating_mul(100) / gauge.limit.max(1), limit, scope.title.as_str()))
        })
    });
    all.max_by_key(|(percent, ..)| *percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_for_people() {
        for (nano_usd, text) in
            [(0, "0"), (1, "0.000000001"), (1_500_000_000, "1.5"), (100 * NANO_USD, "100")]
        {
            assert_eq!(dollars(nano_usd), format!("{text} US dollars"));
        }
    }
}
