//! Limits under workers that race: what is let in, what is charged, and what comes back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::indexing_slicing,
    clippy::unreachable,
    reason = "in a test a panic is the message"
)]

mod common;

use std::rc::Rc;
use std::time::Duration;

use common::envoy::FakeHost;
use fairlead::policy::quota::{Budget, Cost, Exhausted, Limit, Limits, Reservation, Scope, reserve};
use fairlead::policy::window::Span;

fn scope(name: &str, limits: Limits) -> Rc<Scope> {
    Rc::new(Scope::new("team", name, format!("team {name}"), limits))
}

fn prepared(host: &FakeHost, name: &str, limits: Limits) -> Rc<Scope> {
    let scope = scope(name, limits);
    scope.prepare(host);
    scope
}

fn requests(most: u64) -> Limits {
    Limits { requests_per_minute: Some(most), ..Limits::default() }
}

fn tokens(most: u64) -> Limits {
    Limits { tokens_per_minute: Some(most), ..Limits::default() }
}

fn concurrent(most: u64) -> Limits {
    Limits { concurrent_requests: Some(most), ..Limits::default() }
}

fn dollars(nano_usd: u64, seconds: u64) -> Limits {
    let budget = Budget { nano_usd, span: Span::Seconds(seconds), per: format!("{seconds}s") };
    Limits { budget: Some(budget), ..Limits::default() }
}

fn cost(tokens: u64, nano_usd: u64) -> Cost {
    Cost { tokens, nano_usd }
}

fn take(host: &FakeHost, scope: &Rc<Scope>, wish: Cost) -> Result<Reservation, Exhausted> {
    reserve(host, vec![Rc::clone(scope)], wish).map(|(reservation, _)| reservation)
}

fn refused(limit: Limit, wait: u64) -> Exhausted {
    Exhausted::Limit { scope: 0, limit, wait: Some(wait) }
}

#[test]
fn workers_that_race_let_in_exactly_the_limit() {
    let host = FakeHost::new();
    let scope = prepared(&host, "blue", requests(100));
    let workers: Vec<FakeHost> = (0..4).map(|_| host.worker()).collect();
    let mut let_in = 0;
    for round in 0..400 {
        // Now and then somebody else is quicker, a few times in a row.
        host.lose(round % 5);
        match take(&workers[round % 4], &scope, Cost::default()) {
            Ok(reservation) => {
                let_in += 1;
                reservation.settle(&workers[(round + 1) % 4], Cost::default());
            }
            Err(exhausted) => assert_eq!(exhausted, refused(Limit::Requests, 61)),
        }
    }
    assert_eq!(let_in, 100);
    host.advance(Duration::from_secs(60));
    assert_eq!(take(&host, &scope, Cost::default()), Err(refused(Limit::Requests, 1)));
    host.advance(Duration::from_secs(1));
    assert!(take(&host, &scope, Cost::default()).is_ok());
}

#[test]
fn what_was_reserved_too_much_comes_back_when_the_reply_has_ended() {
    let host = FakeHost::new();
    let scope = prepared(&host, "blue", tokens(1000));
    let first = take(&host, &scope, cost(600, 0)).unwrap();
    assert_eq!(take(&host, &scope, cost(600, 0)), Err(refused(Limit::Tokens, 61)));
    let gauge = scope.standing(&host).tokens.unwrap();
    assert_eq!((gauge.used, gauge.reserved, gauge.remaining()), (0, 600, 400));
    first.settle(&host, cost(150, 0));
    let gauge = scope.standing(&host).tokens.unwrap();
    assert_eq!((gauge.used, gauge.reserved, gauge.remaining()), (150, 0, 850));
    assert!(take(&host, &scope, cost(850, 0)).is_ok());
    assert!(take(&host, &scope, cost(1, 0)).is_err());
}

#[test]
fn a_reply_that_used_more_than_was_reserved_is_charged_in_full() {
    let host = FakeHost::new();
    let scope = prepared(&host, "blue", tokens(1000));
    take(&host, &scope, cost(10, 0)).unwrap().settle(&host, cost(5000, 0));
    assert_eq!(scope.standing(&host).tokens.unwrap().used, 5000);
    assert!(take(&host, &scope, cost(1, 0)).is_err());
}

#[test]
fn a_reply_that_takes_longer_than_the_window_is_charged_too() {
    let host = FakeHost::new();
    let scope = prepared(&host, "blue", tokens(10_000));
    let slow = take(&host, &scope, cost(4096, 0)).unwrap();
    host.advance(Duration::from_secs(300));
    slow.settle(&host, cost(60_000, 0));
    assert_eq!(scope.standing(&host).tokens.unwrap().remaining(), 0);
    assert!(take(&host, &scope, cost(1, 0)).is_err());
}

#[test]
fn a_request_larger_than_the_limit_is_told_that_waiting_does_not_help() {
    let host = FakeHost::new();
    let scope = prepared(&host, "blue", tokens(1000));
    let refusal = Exhausted::Limit { scope: 0, limit: Limit::Tokens, wait: None };
    assert_eq!(take(&host, &scope, cost(1001, 0)), Err(refusal));
    assert!(take(&host, &scope, cost(1000, 0)).is_ok());
}

#[test]
fn requests_under_way_cannot_overrun_a_budget_together() {
    let host = FakeHost::new();
    let scope = prepared(&host, "blue", dollars(1_000_000, 3600));
    let under_way: Vec<Reservation> =
        (0..20).filter_map(|_| take(&host.worker(), &scope, cost(0, 90_000)).ok()).collect();
    assert_eq!(under_way.len(), 11);
    for reservation in under_way {
        reservation.settle(&host, cost(0, 50_000));
    }
    let gauge = scope.standing(&host).budget.unwrap();
    assert_eq!((gauge.used, gauge.reserved, gauge.limit), (550_000, 0, 1_000_000));
    host.advance(Duration::from_secs(3661));
    assert_eq!(scope.standing(&host).budget.unwrap().used, 0);
}

#[test]
fn a_scope_that_refuses_takes_nothing_from_the_others() {
    let host = FakeHost::new();
    let team = prepared(&host, "blue", Limits { requests_per_minute: Some(5), ..tokens(1000) });
    let model = prepared(&host, "blue/opus", concurrent(1));
    let both = || vec![Rc::clone(&team), Rc::clone(&model)];
    let (first, _) = reserve(&host, both(), cost(100, 0)).unwrap();
    let before = team.standing(&host);
    let refusal = Exhausted::Limit { scope: 1, limit: Limit::Concurrent, wait: Some(1) };
    assert_eq!(reserve(&host, both(), cost(100, 0)).unwrap_err(), refusal);
    assert_eq!(team.standing(&host), before);
    first.settle(&host, cost(7, 0));
    assert_eq!(team.standing(&host).tokens.unwrap().used, 7);
    assert_eq!(team.standing(&host).requests.unwrap().used, 1);
    assert!(reserve(&host, both(), cost(100, 0)).is_ok());
}

#[test]
fn a_reservation_whose_worker_died_ends_by_itself() {
    let host = FakeHost::new();
    let scope = prepared(&host, "blue", Limits { concurrent_requests: Some(1), ..dollars(100, 86_400) });
    let lost = take(&host, &scope, cost(0, 100)).unwrap();
    drop(lost);
    assert_eq!(take(&host, &scope, Cost::default()), Err(refused(Limit::Concurrent, 1)));
    host.advance(Duration::from_secs(3720));
    assert!(take(&host, &scope, cost(0, 100)).is_ok());
}

#[test]
fn a_reply_that_ends_after_its_reservation_takes_nothing_back_twice() {
    let host = FakeHost::new();
    let scope = prepared(&host, "blue", concurrent(2));
    let long = take(&host, &scope, Cost::default()).unwrap();
    host.advance(Duration::from_secs(3720));
    let _second = take(&host, &scope, Cost::default()).unwrap();
    long.settle(&host, Cost::default());
    assert_eq!(scope.standing(&host).concurrent.unwrap().reserved, 1);
}

#[test]
fn a_lowered_limit_acts_at_once_and_keeps_what_was_counted() {
    let host = FakeHost::new();
    let scope_before = prepared(&host, "blue", requests(10));
    for _ in 0..5 {
        take(&host, &scope_before, Cost::default()).unwrap().settle(&host, Cost::default());
    }
    let after = prepared(&host, "blue", requests(5));
    assert_eq!(after.standing(&host).requests.unwrap().used, 5);
    assert!(take(&host, &after, Cost::default()).is_err());
    assert!(take(&host, &scope_before, Cost::default()).is_ok(), "who still has the old plan");
}

#[test]
fn who_loses_every_race_is_told_to_come_back_and_has_taken_nothing() {
    let host = FakeHost::new();
    let scope = prepared(&host, "blue", requests(10));
    host.lose(usize::MAX);
    assert_eq!(take(&host, &scope, Cost::default()), Err(Exhausted::Busy));
    host.lose(0);
    assert_eq!(scope.standing(&host).requests.unwrap().used, 0);
}

#[test]
fn a_value_that_another_version_left_counts_as_none() {
    use fairlead::base::host::{Host, Stamp};
    let host = FakeHost::new();
    for bytes in [&b""[..], b"\x01", b"\x02\x3fxyz", b"\x01\x3fxyz", &[1; 5000]] {
        host.set_shared("fairlead.quota.team.blue", bytes, Stamp::NOTHING).unwrap();
        let scope = scope("blue", requests(1_000_000_000));
        assert!(take(&host, &scope, Cost::default()).is_ok());
    }
}

/// Any order of beginnings and ends, on any worker, with any races: what is let in never overruns.
#[test]
fn whatever_happens_no_limit_is_overrun() {
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for _ in 0..30 {
        let host = FakeHost::new();
        let limits = Limits {
            requests_per_minute: Some(20 + random(50)),
            tokens_per_minute: Some(5_000),
            concurrent_requests: Some(1 + random(8)),
            budget: Some(Budget { nano_usd: 100_000, span: Span::Seconds(120), per: "120s".to_owned() }),
        };
        let scope = prepared(&host, "blue", limits.clone());
        let mut under_way = Vec::new();
        // (when, requests, tokens, dollars), as charged.
        let mut charged: Vec<(u64, u64, u64)> = Vec::new();
        let mut now = 0;
        for _ in 0..600 {
            host.lose(random(4) as usize);
            if random(3) < 2 {
                let wish = cost(random(900), random(9_000));
                if let Ok(reservation) = take(&host.worker(), &scope, wish) {
                    under_way.push((now, wish, reservation));
                }
            } else if !under_way.is_empty() {
                let (at, wish, reservation) = under_way.swap_remove(random(under_way.len() as u64) as usize);
                let used = cost(random(wish.tokens + 1), random(wish.nano_usd + 1));
                reservation.settle(&host.worker(), used);
                charged.push((at, used.tokens, used.nano_usd));
            }
            if random(4) == 0 {
                let step = random(5);
                host.advance(Duration::from_secs(step));
                now += step;
            }
            assert!(under_way.len() as u64 <= limits.concurrent_requests.unwrap());
            let lately = |seconds: u64| charged.iter().filter(move |(at, ..)| at + seconds > now);
            let begun = under_way.iter().filter(|(at, ..)| at + 60 > now);
            assert!(
                lately(60).count() as u64 + begun.clone().count() as u64
                    <= limits.requests_per_minute.unwrap()
            );
            let used: u64 = lately(60).map(|(_, tokens, _)| tokens).sum();
            let held: u64 = begun.map(|(_, wish, _)| wish.tokens).sum();
            assert!(used + held <= 5_000, "{used} + {held}");
        }
        let spent: u64 = charged.iter().map(|(.., nano_usd)| nano_usd).sum();
        let periods = now / 120 + 2;
        assert!(spent <= 100_000 * periods, "{spent} in {now} s");
    }
}
