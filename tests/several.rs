//! Stories of requests that take several calls at the gate: where else they are made when a place fails.
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

use common::client::{self, Got, calls, compile, headers, show};
use common::envoy::FakeHost;
use fairlead::base::headers::Headers;
use fairlead::base::host::{Callout, Step};
use fairlead::pipeline::{Desk, Plan, Position, Whole};
use serde_json::{Value, json};

/// The same model in two regions, and one of Google's, whose token is not there yet, between them.
fn config() -> Value {
    let bedrock = |region: &str, cluster: &str| {
        json!({ "provider": "bedrock", "region": region, "cluster": cluster,
            "credentials": { "source": "static", "access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI" } })
    };
    let titan = "bedrock/amazon.titan-embed-text-v2:0";
    json!({
        "backends": {
            "east": bedrock("us-east-1", "aws_east"),
            "gcp": { "provider": "vertex", "project": "p", "location": "us-central1", "cluster": "vertex",
                "credentials": { "source": "metadata_server", "cluster": "gcp_metadata" } },
            "west": bedrock("us-west-2", "aws_west")
        },
        "models": [{ "name": "vectors", "targets": [
            { "backend": "east", "model": titan, "order": 1 },
            { "backend": "gcp", "model": "vertex_ai/gemini-embedding-001", "order": 2 },
            { "backend": "west", "model": titan, "order": 3 }
        ] }],
        "chains": [{ "cluster": "all", "backends": ["east", "gcp", "west"] }],
        "teams": { "blue": { "keys": [], "identities": ["blue"], "models": ["*"],
            "limits": { "tokens_per_minute": 100_000 } } },
        "identity": { "header": "x-team" }
    })
}

fn plan() -> Rc<Plan> {
    compile(&config().to_string())
}

/// A request for the vectors of so many numbers, and its first calls.
fn begin(mut position: Whole, host: &FakeHost, texts: usize) -> (Whole, Vec<(usize, Callout)>) {
    let asked = headers(&[
        (":method", "POST"),
        (":path", "/v1/embeddings"),
        (":authority", "gateway"),
        ("content-type", "application/json"),
        ("x-request-id", client::REQUEST_ID),
        ("x-team", "blue"),
    ]);
    assert_eq!(position.request_headers(host, &asked, false), Step::Wait);
    let input: Value = (0..texts).map(|number| number.to_string()).collect();
    let body = json!({ "model": "vectors", "input": input }).to_string();
    let calls = calls(position.request_body(host, body.as_bytes()));
    (position, calls)
}

fn at_the_gate(plan: &Rc<Plan>, host: &FakeHost, texts: usize) -> (Whole, Vec<(usize, Callout)>) {
    plan.prepare(host);
    begin(Whole::gate(Rc::clone(plan), Rc::<Desk>::default()), host, texts)
}

fn clusters(calls: &[(usize, Callout)]) -> Vec<&str> {
    let mut clusters: Vec<&str> = calls.iter().map(|(_, call)| call.cluster.as_str()).collect();
    clusters.dedup();
    clusters
}

/// The vector of a text that is a number: that number alone.
fn vector(call: &Callout) -> (Headers, Vec<u8>) {
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    let number: u64 = body["inputText"].as_str().unwrap().parse().unwrap();
    let head =
        [(":status", "200"), ("content-type", "application/json"), ("x-amzn-bedrock-input-token-count", "5")];
    (headers(&head), json!({ "embedding": [number] }).to_string().into_bytes())
}

fn refusal(status: &str, kind: &str) -> Headers {
    headers(&[(":status", status), ("content-type", "application/json"), ("x-amzn-errortype", kind)])
}

/// Lets all calls succeed that are made from now on.
fn serve(position: &mut Whole, host: &FakeHost, mut waiting: Vec<(usize, Callout)>) -> Got {
    loop {
        let (number, call) = waiting.remove(0);
        let (head, body) = vector(&call);
        match position.called(host, number, Some((&head, &body))) {
            Step::Call(more) => waiting.extend(more),
            Step::Answer(reply) => return reply.into(),
            other => panic!("{}", show(&other)),
        }
    }
}

fn numbers(got: &Got) -> Vec<u64> {
    assert_eq!(got.status, 200, "{}", got.body);
    let reply = got.json();
    reply["data"].as_array().unwrap().iter().map(|item| item["embedding"][0].as_u64().unwrap()).collect()
}

#[test]
fn all_calls_are_made_anew_where_credentials_are_there_and_late_answers_do_not_mix_in() {
    let (plan, host) = (plan(), FakeHost::new());
    let (mut gate, mut first) = at_the_gate(&plan, &host, 20);
    assert_eq!((first.len(), clusters(&first)), (8, vec!["aws_east"]));
    let (number, served) = first.remove(0);
    let (head, body) = vector(&served);
    first.extend(calls(gate.called(&host, number, Some((&head, &body)))));

    let failed = first.remove(3).0;
    let second =
        calls(gate.called(&host, failed, Some((&refusal("503", "ServiceUnavailableException"), b"{}"))));
    assert_eq!((second.len(), clusters(&second)), (8, vec!["aws_west"]), "Google's token is still to come");
    assert!(second.iter().all(|(number, _)| first.iter().all(|(known, _)| known != number)));
    for (number, call) in &first {
        let (head, body) = vector(call);
        assert_eq!(gate.called(&host, *number, Some((&head, &body))), Step::Call(Vec::new()));
    }
    let got = serve(&mut gate, &host, second);
    gate.done(&host);

    assert_eq!(numbers(&got), (0..20).collect::<Vec<_>>());
    assert_eq!(got.json()["usage"], json!({ "prompt_tokens": 100, "total_tokens": 100 }));
    assert_eq!(got.header("x-fairlead-backend"), Some("west"));
    assert_eq!(got.header("x-fairlead-attempts"), Some("29"), "nine calls, and then twenty");
    let counts = host.counts();
    let count = |name: &str| counts.get(name).copied().unwrap_or_default();
    assert_eq!(count("fairlead_tries_total;backend=east;outcome=overloaded"), 1, "{counts:?}");
    assert_eq!(count("fairlead_tries_total;backend=west;outcome=ok"), 1);
    assert_eq!(count("fairlead_requests_total;team=blue;model=vectors;status=200"), 1);
    assert!(count("fairlead_failed_try_tokens_total;team=blue;model=vectors") >= 5, "{counts:?}");
    assert_eq!(host.field("tokens").as_deref(), Some("100"));
    let scope = plan.directory.scopes().find(|scope| scope.limits.tokens_per_minute.is_some()).unwrap();
    assert_eq!(scope.standing(&host).tokens.unwrap().remaining(), 100_000 - 100);
}

#[test]
fn the_last_place_says_why_all_have_failed() {
    let (plan, host) = (plan(), FakeHost::new());
    let (mut gate, first) = at_the_gate(&plan, &host, 2);
    let second = calls(gate.called(&host, first[0].0, None));
    assert_eq!(clusters(&second), ["aws_west"]);
    let Step::Answer(reply) =
        gate.called(&host, second[1].0, Some((&refusal("429", "ThrottlingException"), b"{}")))
    else {
        panic!("not answered")
    };
    let got = Got::from(reply);
    assert_eq!((got.status, got.header("x-fairlead-backend")), (429, Some("west")));
    assert_eq!(gate.called(&host, first[1].0, None), Step::Pass);
}

#[test]
fn what_the_client_did_wrong_is_asked_once() {
    let (plan, host) = (plan(), FakeHost::new());
    let (mut gate, first) = at_the_gate(&plan, &host, 2);
    let refused = gate.called(&host, first[1].0, Some((&refusal("400", "ValidationException"), b"{}")));
    assert!(matches!(refused, Step::Answer(reply) if reply.status == 400));
}

#[test]
fn no_place_has_more_time_than_all_together() {
    let (plan, host) = (plan(), FakeHost::new());
    let (mut gate, first) = at_the_gate(&plan, &host, 2);
    host.advance(Duration::from_secs(290));
    let second = calls(gate.called(&host, first[0].0, None));
    assert_eq!(second[0].1.timeout, Duration::from_secs(10));
    host.advance(Duration::from_secs(10));
    assert!(matches!(gate.called(&host, second[0].0, None), Step::Answer(_)));
}

#[test]
fn without_the_gate_there_is_one_place() {
    let (plan, host) = (plan(), FakeHost::new());
    plan.prepare(&host);
    let (mut position, first) = begin(Whole::new(Rc::clone(&plan)), &host, 2);
    assert!(matches!(position.called(&host, first[0].0, None), Step::Answer(reply) if reply.status == 503));
}
