//! Nothing that a client or a cloud may send makes the plugin panic, or the answer malformed: every golden
//! case, damaged at random places in many ways. Deterministic; a failure names its case and round.
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

use common::cases::{self, Input};
use common::client::{self, Exchange, show};
use common::damage::{Chance, damage, is_json};
use common::envoy::FakeHost;
use fairlead::base::host::Step;
use fairlead::dialect::Upstream;

/// Rounds for each case: all of them together take a few seconds unoptimised.
const ROUNDS: u64 = 60;

#[test]
fn a_damaged_request_is_sent_as_json_or_refused_as_json() {
    for case in cases::cases() {
        for upstream in Upstream::ALL {
            let (plan, host) = (client::plan(*upstream), FakeHost::new());
            client::sign_in(&plan, &host);
            for round in 0..ROUNDS {
                let body = damage(case.request(), &mut Chance::new(&case.name, round));
                let what = format!("{} to {} in round {round}", case.name, upstream.name());
                match Exchange::of(&case, &plan, &host).send(&body) {
                    Step::Forward(outgoing) => assert!(is_json(&outgoing.body), "{what}"),
                    Step::Answer(reply) => {
                        assert!((400..500).contains(&reply.status), "{what}: {}", reply.status);
                        assert!(is_json(&reply.body), "{what}");
                    }
                    other => panic!("{what}: {}", show(&other)),
                }
            }
        }
    }
}

#[test]
fn a_damaged_reply_is_never_an_empty_success() {
    for case in cases::cases() {
        for said in case.said() {
            let (plan, host) = (client::plan(said.upstream), FakeHost::new());
            client::sign_in(&plan, &host);
            let (headers, bytes) = match said.input {
                Input::Reply => (cases::reply_headers(said.upstream), said.bytes.to_vec()),
                Input::Stream => {
                    let frames = cases::frames(said.upstream, said.bytes);
                    (cases::stream_headers(said.upstream), frames.concat())
                }
                Input::Error => continue,
            };
            for round in 0..ROUNDS {
                let mut chance = Chance::new(&case.name, round);
                let bytes = damage(&bytes, &mut chance);
                let cut = chance.below(bytes.len() + 1);
                let what = format!("{}/{} in round {round}", case.name, said.stem);
                let mut exchange = Exchange::of(&case, &plan, &host);
                exchange.forward(case.request());
                let got = exchange.receive(headers.clone(), [&bytes[..cut], &bytes[cut..]]);
                assert!(!got.body.is_empty(), "{what}: {}", got.status);
                match got.header("content-type") {
                    Some("application/json") => assert!(is_json(got.body.as_bytes()), "{what}"),
                    Some("text/event-stream") => {
                        assert_eq!(got.status, 200, "{what}");
                        let events: Vec<&str> = got.body.split_terminator("\n\n").collect();
                        for event in &events {
                            let (_, data) =
                                event.split_once("data: ").unwrap_or_else(|| panic!("{what}: {event}"));
                            assert!(data == "[DONE]" || is_json(data.as_bytes()), "{what}: {event}");
                        }
                        let last = events.last().unwrap();
                        let is_end = *last == "data: [DONE]" || last.contains("message_stop");
                        assert!(is_end || last.contains(r#""error":"#), "{what}: {last}");
                    }
                    other => panic!("{what}: {other:?}"),
                }
            }
        }
    }
}
