//! The dry run shows what a real one sends, whatever that is, and sends nothing.
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

use std::collections::BTreeMap;

use common::cases::{self, Case};
use common::client::{self, Got, REQUEST_ID, headers};
use common::envoy::FakeHost;
use fairlead::base::headers::Headers;
use fairlead::base::host::Step;
use fairlead::dialect::{Client, Upstream};
use fairlead::pipeline::{Position, Whole};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What the answer to a dry run holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown<'a> {
    backend: String,
    cluster: String,
    model: String,
    dialect: String,
    estimated_input_tokens: u64,
    fields: BTreeMap<String, String>,
    left_out: Vec<String>,
    #[serde(default)]
    renamed_tools: BTreeMap<String, String>,
    #[serde(borrow)]
    request: Request<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request<'a> {
    method: String,
    host: String,
    path: String,
    headers: Vec<String>,
    #[serde(borrow)]
    body: &'a RawValue,
    #[serde(borrow, default)]
    more_bodies: Vec<&'a RawValue>,
}

/// Sends a request of a case, for show or for real.
fn send(case: &Case, path: &str, upstream: Upstream, host: &FakeHost, dry: &str) -> Step {
    let plan = client::plan(upstream);
    if dry == "false" {
        client::sign_in(&plan, host);
    }
    let mut whole = Whole::new(plan);
    let fixed =
        [(":method", "POST"), (":path", path), ("x-request-id", REQUEST_ID), ("x-fairlead-dry-run", dry)];
    let mut request = headers(&fixed);
    case.headers().iter().for_each(|(name, value)| request.add(name, value.as_str()));
    assert_eq!(whole.request_headers(host, &request, false), Step::Wait);
    whole.request_body(host, case.request())
}

fn answered(step: Step) -> Got {
    match step {
        Step::Answer(reply) => reply.into(),
        other => panic!("not answered: {}", client::show(&other)),
    }
}

/// The names of the headers that reach the cloud.
fn names(headers: &Headers) -> Vec<&str> {
    let ours = ["x-forwarded-proto", "x-fairlead-cluster"];
    let names = headers.0.iter().map(|(name, _)| name.as_str());
    let mut names: Vec<&str> = names.filter(|name| !name.starts_with(':') && !ours.contains(name)).collect();
    names.sort_unstable();
    names
}

#[test]
fn every_case_is_shown_as_it_is_sent() {
    let (mut shown, mut renamed) = (0, 0);
    for case in &cases::cases() {
        let paths: &[&str] = match case.client {
            Client::OpenAi => &["/v1/chat/completions"],
            Client::Anthropic => &["/v1/messages", "/v1/messages/count_tokens"],
        };
        for (path, &upstream) in paths.iter().flat_map(|path| Upstream::ALL.iter().map(move |it| (path, it)))
        {
            let name = format!("{} to {path} for {upstream:?}", case.name);
            let (real, dry) = (FakeHost::new(), FakeHost::new());
            let got = answered(send(case, path, upstream, &dry, "true"));
            assert!(dry.counts().is_empty() && dry.take_log().is_empty(), "{name}");
            match send(case, path, upstream, &real, "false") {
                Step::Forward(outgoing) => {
                    assert_eq!(got.status, 200, "{name}: {}", got.body);
                    let what: Shown<'_> =
                        serde_json::from_str(&got.body).unwrap_or_else(|e| panic!("{name}: {e}"));
                    let header = |header| outgoing.headers.get(header).unwrap();
                    let sent = String::from_utf8(outgoing.body.clone()).unwrap();
                    assert_eq!(what.request.body.get(), sent, "{name}");
                    assert_eq!(
                        [&what.request.method, &what.request.host, &what.request.path, &what.cluster],
                        [":method", ":authority", ":path", "x-fairlead-cluster"].map(header),
                        "{name}"
                    );
                    let mut listed: Vec<&str> = what.request.headers.iter().map(String::as_str).collect();
                    listed.sort_unstable();
                    assert_eq!(listed, names(&outgoing.headers), "{name}");
                    assert_eq!(what.dialect, client::asked(header(":path"), upstream).name(), "{name}");
                    assert!(!what.backend.is_empty() && !what.model.is_empty());
                    assert!(what.estimated_input_tokens > 0, "{name}");
                    for (client, upstream) in &what.renamed_tools {
                        assert!(client != upstream && sent.contains(upstream.as_str()), "{name}: {client}");
                    }
                    renamed += what.renamed_tools.len();
                    for field in &what.left_out {
                        assert_eq!(
                            what.fields.get(field).map(String::as_str),
                            Some("left out"),
                            "{name}: {field}"
                        );
                    }
                    let counts = real.counts();
                    let dropped = counts.iter().filter(|(name, _)| name.starts_with("fairlead_dropped"));
                    let counted: u64 = dropped.map(|(_, count)| count).sum();
                    assert_eq!(counted, what.left_out.len() as u64, "{name}: {:?}", what.left_out);
                    shown += 1;
                }
                Step::Answer(refusal) => {
                    assert_eq!(got, Got::from(refusal), "{name}");
                }
                other => panic!("{name}: {}", client::show(&other)),
            }
        }
    }
    assert!(shown > 200 && renamed > 2, "{shown}, {renamed}");
}

#[test]
fn every_field_that_was_given_is_shown_with_its_fate() {
    let body = br#"{"model":"chat","messages":[{"role":"user","content":"Hi"}],"seed":1,"temperature":0.5,"xyzzy":2}"#;
    let host = FakeHost::new();
    let mut whole = Whole::new(client::plan(Upstream::Converse));
    let request =
        headers(&[(":method", "POST"), (":path", "/chat/completions"), ("x-fairlead-dry-run", "true")]);
    assert_eq!(whole.request_headers(&host, &request, false), Step::Wait);
    let got = answered(whole.request_body(&host, body));
    let shown: Shown<'_> = serde_json::from_str(&got.body).unwrap();
    let fates: Vec<(&str, &str)> =
        shown.fields.iter().map(|(name, fate)| (name.as_str(), fate.as_str())).collect();
    assert_eq!(
        fates,
        [
            ("messages", "`messages`, `system`"),
            ("model", "the model of the path"),
            ("seed", "left out"),
            ("temperature", "`inferenceConfig.temperature`"),
            ("xyzzy", "left out")
        ]
    );
    assert_eq!(shown.left_out, ["seed", "xyzzy"]);
    assert_eq!(
        (shown.backend.as_str(), shown.model.as_str()),
        ("cloud", "us.anthropic.claude-sonnet-4-20250514-v1:0")
    );
    assert_eq!(got.header("x-fairlead-dry-run"), Some("true"));
    assert_eq!(
        (got.header("x-fairlead-dropped"), got.header("x-fairlead-attempts")),
        (Some("seed, xyzzy"), Some("0"))
    );
    for secret in ["AKIDEXAMPLE", "wJalr", "c2Vzc2lvbg"] {
        assert!(!got.body.contains(secret), "{secret}");
    }
}

#[test]
fn a_look_waits_for_no_token_and_a_word_that_cannot_be_meant_asks_for_one() {
    for word in ["true", "TRUE", "1", "yes", ""] {
        let (plan, host) = (client::plan(Upstream::Gemini), FakeHost::new());
        plan.prepare(&host);
        let mut whole = Whole::new(plan);
        let request =
            headers(&[(":method", "POST"), (":path", "/chat/completions"), ("x-fairlead-dry-run", word)]);
        assert_eq!(whole.request_headers(&host, &request, false), Step::Wait);
        let body = br#"{"model":"chat","messages":[{"role":"user","content":"Hi"}],"stream":true}"#;
        let got = answered(whole.request_body(&host, body));
        assert_eq!(got.status, 200, "{word}");
        assert!(got.body.contains(":streamGenerateContent?alt=sse"), "{}", got.body);
    }
}

/// A dry run of a task of OpenAI's at Bedrock.
fn look(path: &str, body: &str) -> Got {
    let host = FakeHost::new();
    let mut whole = Whole::new(client::plan(Upstream::Converse));
    let request = headers(&[(":method", "POST"), (":path", path), ("x-fairlead-dry-run", "true")]);
    assert_eq!(whole.request_headers(&host, &request, false), Step::Wait);
    answered(whole.request_body(&host, body.as_bytes()))
}

#[test]
fn images_are_shown_as_they_are_asked_for() {
    let body = r#"{"model":"bedrock/amazon.nova-canvas-v1:0","prompt":"A hat","user":"u"}"#;
    let got = look("/v1/images/generations", body);
    let shown: Shown<'_> = serde_json::from_str(&got.body).unwrap();
    assert_eq!(
        (shown.dialect.as_str(), shown.left_out.as_slice()),
        ("canvas", ["user".to_owned()].as_slice())
    );
    assert_eq!(shown.request.path, "/model/amazon.nova-canvas-v1%3A0/invoke");
    assert!(shown.request.body.get().contains("A hat"));
}

#[test]
fn all_calls_of_a_request_that_takes_several_are_shown() {
    let body = r#"{"model":"bedrock/amazon.titan-embed-text-v2:0","input":["one","two","three"]}"#;
    let got = look("/v1/embeddings", body);
    let shown: Shown<'_> = serde_json::from_str(&got.body).unwrap();
    assert_eq!(shown.request.path, "/model/amazon.titan-embed-text-v2%3A0/invoke");
    let bodies: Vec<&str> = std::iter::once(&shown.request.body)
        .chain(&shown.request.more_bodies)
        .map(|body| body.get())
        .collect();
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().zip(["one", "two", "three"]).all(|(body, word)| body.contains(word)), "{bodies:?}");
}

#[test]
fn a_minute_of_sound_is_not_estimated_as_a_book() {
    // 480 kB, a minute of speech, of which Gemini makes 1,920 tokens.
    let data = "AAAA".repeat(160_000);
    let part = format!(r#"{{"type":"input_audio","input_audio":{{"format":"mp3","data":"{data}"}}}}"#);
    let body = format!(r#"{{"model":"chat","messages":[{{"role":"user","content":[{part}]}}]}}"#);
    let mut whole = Whole::new(client::plan(Upstream::Gemini));
    let path = (":path", "/chat/completions");
    let request = headers(&[(":method", "POST"), path, ("x-fairlead-dry-run", "true")]);
    assert_eq!(whole.request_headers(&FakeHost::new(), &request, false), Step::Wait);
    let got = answered(whole.request_body(&FakeHost::new(), body.as_bytes()));
    let shown: Shown<'_> = serde_json::from_str(&got.body).unwrap();
    assert!((1920..2500).contains(&shown.estimated_input_tokens), "{}", shown.estimated_input_tokens);
}
