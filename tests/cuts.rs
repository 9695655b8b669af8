//! Streams as a network delivers them: every streaming case of the golden folders cut anywhere, cut
//! short, and damaged.
//!
//! Signing a request takes longer than decoding its reply, so the thousands of cuts that differ by a byte
//! go to decoder and writer alone, and a sample of them takes the whole way.
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

use common::cases::{self, Case, Input};
use common::client::{self, Exchange, Got};
use common::envoy::{FakeHost, NOW};
use fairlead::base::error::{Error, Kind};
use fairlead::dialect::names::Names;
use fairlead::dialect::{Aside, Client, Title, Upstream};
use fairlead::pipeline::{Caller, Plan};

/// How a whole stream ends.
fn end_of(client: Client) -> &'static str {
    match client {
        Client::OpenAi => "data: [DONE]\n\n",
        Client::Anthropic => "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    }
}

/// A streamed reply of some case, ready to be sent again and again.
struct Stream<'c> {
    case: &'c Case,
    name: String,
    upstream: Upstream,
    request: Vec<u8>,
    bytes: Vec<u8>,
    /// Where frames end.
    ends: Vec<usize>,
    plan: Rc<Plan>,
    host: FakeHost,
    /// What the request has told of its tools.
    names: Names,
    /// What the client gets frame by frame: what the golden file holds.
    expected: Got,
}

fn streams(cases: &[Case]) -> Vec<Stream<'_>> {
    let mut streams = Vec::new();
    for case in cases {
        for said in case.said().filter(|said| said.input == Input::Stream) {
            let (plan, host) = (client::plan(said.upstream), FakeHost::new());
            client::sign_in(&plan, &host);
            let frames = cases::frames(said.upstream, said.bytes);
            let ends = frames.iter().scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            });
            let aside = Aside::default();
            let mut asked = case.client.parse(case.request(), &aside).unwrap();
            let (_, _, model) = plan.find(&Caller::default(), asked.model.as_str()).unwrap();
            let written = said.upstream.write(&mut asked.request, model, &mut Vec::new()).unwrap();
            let mut stream = Stream {
                case,
                names: written.names,
                name: format!("{}/{}", case.name, said.stem),
                upstream: said.upstream,
                request: case.request().to_vec(),
                ends: ends.collect(),
                bytes: frames.concat(),
                plan,
                host,
                expected: Got { status: 0, headers: Vec::new(), body: String::new(), answered: false },
            };
            stream.expected = stream.receive(frames.iter().map(Vec::as_slice).chain([b"".as_slice()]));
            streams.push(stream);
        }
    }
    streams
}

impl Stream<'_> {
    fn receive<'b>(&self, pieces: impl IntoIterator<Item = &'b [u8]>) -> Got {
        let mut exchange = Exchange::of(self.case, &self.plan, &self.host);
        exchange.forward(&self.request);
        exchange.receive(cases::stream_headers(self.upstream), pieces)
    }

    /// What decoder and writer make of it without the pipeline around them: bytes, and the error that ends
    /// them.
    fn decode<'b>(&self, pieces: impl IntoIterator<Item = &'b [u8]>) -> (String, Option<Error>) {
        let id = cases::reply_headers(self.upstream).get("x-amzn-requestid").unwrap_or_default().to_owned();
        let title = Title { id, created: NOW.as_secs(), model: "chat".to_owned() };
        let usage = self.request.windows(13).any(|word| word == b"include_usage");
        let client = self.case.client;
        let mut writer =
            if self.upstream.speaks(client) { client.relay(usage) } else { client.stream(title, usage) };
        let mut decoder = self.upstream.stream();
        let mut names = self.names.clone();
        let mut outcome = Ok(());
        for piece in pieces {
            outcome = outcome.and_then(|()| names.restored(writer.sink(), |sink| decoder.feed(piece, sink)));
        }
        let error = outcome.and_then(|()| decoder.finish(writer.sink())).err();
        match &error {
            None => writer.finish(),
            Some(error) => writer.fail(error, client::REQUEST_ID),
        }
        (String::from_utf8(std::mem::take(writer.out())).unwrap(), error)
    }

    /// [`Stream::decode`], compared with what the client should get.
    fn check_decoded<'b>(&self, pieces: impl IntoIterator<Item = &'b [u8]>, how: &dyn Fn() -> String) {
        let (body, error) = self.decode(pieces);
        assert_eq!(error.is_none(), self.is_whole(), "{}: {}", self.name, how());
        if self.expected.answered {
            let event = match self.case.client {
                Client::OpenAi => "",
                Client::Anthropic => "event: error\n",
            };
            let error = format!("{event}data: {}\n\n", self.expected.body);
            assert_eq!(body, error, "{}: {}", self.name, how());
        } else {
            assert_eq!(body, self.expected.body, "{}: {}", self.name, how());
        }
    }

    /// Every place for a cut that is next to the end of a frame, and every so many others.
    fn is_sampled(&self, at: usize) -> bool {
        at.is_multiple_of(32) || self.ends.iter().any(|end| at.abs_diff(*end) <= 1)
    }

    fn end(&self) -> &'static str {
        end_of(self.case.client)
    }

    /// The reply came to a good end.
    fn is_whole(&self) -> bool {
        let body = &self.expected.body;
        // Bedrock tells in the last event what its guardrail did.
        let guarded = r#"{"type":"message_stop","amazon-bedrock-guardrailAction":"INTERVENED"}"#;
        body.ends_with(self.end()) || body.trim_end().ends_with(guarded)
    }

    /// Compares with what the client should get. While nothing has been sent, an error is an answer with a
    /// status of its own instead of the last event of a stream; how much has been sent by then is up to
    /// the network.
    fn check(&self, got: &Got, how: &dyn Fn() -> String) {
        if got == &self.expected {
            return;
        }
        let event = self.expected.body.strip_suffix("\n\n").and_then(|body| body.rsplit_once("data: "));
        let (_, error) = event.unwrap_or_else(|| panic!("{}: {}: {got:#?}", self.name, how()));
        assert!(got.answered && !self.is_whole(), "{}: {}: {got:#?}", self.name, how());
        assert_eq!(got.body, error, "{}: {}", self.name, how());
    }
}

#[test]
fn a_stream_cut_anywhere_gives_the_client_the_same_bytes() {
    let cases = cases::cases();
    for stream in streams(&cases) {
        let bytes = stream.bytes.as_slice();
        for at in 0..=bytes.len() {
            let (before, after) = bytes.split_at(at);
            stream.check_decoded([before, after], &|| format!("cut at {at}"));
            if stream.is_sampled(at) {
                stream.check(&stream.receive([before, after]), &|| format!("cut at {at}"));
            }
        }
    }
}

#[test]
fn a_stream_in_pieces_of_any_size_gives_the_client_the_same_bytes() {
    let cases = cases::cases();
    for stream in streams(&cases) {
        let bytes = stream.bytes.as_slice();
        stream.check(&stream.receive([bytes]), &|| "whole".to_owned());
        for size in 1..=64 {
            stream.check_decoded(bytes.chunks(size), &|| format!("pieces of {size}"));
        }
        for size in [1, 2, 3, 100] {
            let pieces = bytes.chunks(size).chain([b"".as_slice()]);
            stream.check(&stream.receive(pieces), &|| format!("pieces of {size}"));
        }
        let trickle = bytes.chunks(1).flat_map(|byte| [byte, b""]);
        stream.check(&stream.receive(trickle), &|| "byte by byte with nothing in between".to_owned());
    }
}

/// How many pairs of cuts are tried for each stream; all pairs of all streams would be twenty million.
const PAIRS: usize = 300;

#[test]
fn a_stream_cut_twice_gives_the_client_the_same_bytes() {
    let cases = cases::cases();
    for stream in streams(&cases) {
        let bytes = stream.bytes.as_slice();
        let all = bytes.len() + 1;
        let pairs = all * all;
        // Coprime to most lengths, so that the sample is no grid.
        let step = (pairs / PAIRS).max(1) | 1;
        for pair in (0..pairs).step_by(step) {
            let (one, other) = (pair / all, pair % all);
            let (first, second) = (one.min(other), one.max(other));
            let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
            stream.check_decoded(pieces, &|| format!("cuts at {first} and {second}"));
        }
    }
}

#[test]
fn a_stream_that_stops_early_never_ends_as_if_it_were_whole() {
    let cases = cases::cases();
    for stream in streams(&cases).into_iter().filter(|stream| stream.is_whole()) {
        for end in 0..stream.bytes.len() {
            let half = &stream.bytes[..end];
            let (body, error) = stream.decode([half]);
            if stream.is_sampled(end) {
                let got = stream.receive([half, b""]);
                assert_eq!(
                    got.body.contains(stream.end()),
                    error.is_none(),
                    "{} at {end}: {}",
                    stream.name,
                    got.body
                );
            }
            if let Some(error) = error {
                assert!(!body.contains(stream.end()), "{} at {end}: {body}", stream.name);
                assert_eq!(error.kind, Kind::UpstreamGarbled, "{} at {end}", stream.name);
                continue;
            }
            // Two ways to stop early lose nothing of the reply.
            let missing = &stream.bytes[end..];
            match stream.upstream {
                // Between the end of the message and the counts, which are an event of their own.
                Upstream::Converse => {
                    let [.., last_but_one, _] = *stream.ends.as_slice() else { panic!("{}", stream.name) };
                    assert_eq!(end, last_but_one, "{} at {end}", stream.name);
                    let shown = String::from_utf8_lossy(missing).into_owned();
                    assert!(shown.contains("metadata"), "{} at {end}: {shown}", stream.name);
                }
                // Within the line ends that close the last event, or of pieces that say no more than counts.
                Upstream::Gemini => {
                    let text = std::str::from_utf8(missing).unwrap();
                    let says_nothing = text.trim().is_empty() || !text.contains("\"parts\"");
                    assert!(says_nothing, "{} at {end}: {text}", stream.name);
                }
                // Behind the last event's JSON.
                Upstream::Messages(_) => {
                    let half = std::str::from_utf8(half).unwrap();
                    assert!(half.contains(r#"{"type":"message_stop"}"#), "{} at {end}", stream.name);
                }
                // Behind the reason of the stop: the counts, and a word that says that this was all.
                Upstream::Completions(_) => {
                    let text = std::str::from_utf8(missing).unwrap();
                    assert!(!text.contains("finish_reason"), "{} at {end}: {text}", stream.name);
                }
            }
            let content = |body: &str| {
                let counts =
                    |event: &&str| !event.contains(r#""choices":[]"#) && !event.contains("message_delta");
                let events = body.split("\n\n").filter(counts);
                events.map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(content(&body), content(&stream.expected.body), "{} at {end}", stream.name);
        }
    }
}

#[test]
fn an_event_stream_with_a_flipped_bit_never_ends_as_if_it_were_whole() {
    let cases = cases::cases();
    for stream in streams(&cases)
        .into_iter()
        .filter(|stream| stream.upstream == Upstream::Converse && stream.is_whole())
    {
        for at in 0..stream.bytes.len() {
            let mut bytes = stream.bytes.clone();
            // One bit of every byte, another one every time.
            bytes[at] ^= 1 << (at * 5 % 8);
            let (body, error) = stream.decode([bytes.as_slice()]);
            let harm = error.is_some() && !body.contains(stream.end());
            assert!(harm, "{}: byte {at} flipped: {body}", stream.name);
            if stream.is_sampled(at) {
                let got = stream.receive([bytes.as_slice(), b""]);
                assert!(!got.body.contains(stream.end()), "{}: byte {at} flipped: {}", stream.name, got.body);
            }
        }
    }
}
