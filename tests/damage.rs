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
use common::envoy::FakeHost;
use fairlead::base::host::Step;
use fairlead::dialect::Upstream;
use serde_json::value::RawValue;

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

/// Whether bytes are JSON that a cloud would read; half a surrogate pair counts, as it does for them.
fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(bytes).is_ok()
}

/// Bytes with one to four accidents: what networks, other programs and bad wills do to JSON and frames.
fn damage(bytes: &[u8], chance: &mut Chance) -> Vec<u8> {
    const TOKENS: &[&[u8]] = &[
        b"null",
        b"true",
        b"-1",
        b"1e999",
        b"12345678901234567890123",
        b"\"\"",
        b"[]",
        b"{}",
        b"[[[[",
        b"\"\\ud83d\"",
        b"\\",
        b"\"",
        b",",
        b":",
        b"\xff",
        b"\x00",
        "\u{2028}".as_bytes(),
        b"data: ",
        b"\n\n",
        b"\r",
    ];
    let mut bytes = bytes.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len() + 1);
        let to = (at + chance.below(24)).min(bytes.len());
        match chance.below(5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            1 => drop(bytes.drain(at..to)),
            2 => drop(bytes.splice(at..at, TOKENS[chance.below(TOKENS.len())].iter().copied())),
            3 => drop(bytes.splice(at..to, TOKENS[chance.below(TOKENS.len())].iter().copied())),
            _ => {
                let copy = bytes[at..to].to_vec();
                let target = chance.below(bytes.len() + 1);
                bytes.splice(target..target, copy);
            }
        }
    }
    bytes
}

/// SplitMix64: the same numbers for the same case and round, on every machine.
struct Chance(u64);

impl Chance {
    fn new(name: &str, round: u64) -> Self {
        let seed = name.bytes().fold(round, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Self(seed)
    }

    /// A number from 0 up to, but not including, `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = z ^ (z >> 31);
        usize::try_from(number % (end.max(1) as u64)).unwrap()
    }
}
