//! Requests that take several calls ask the filters behind the plugin for leave, where the operator says so.
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

use common::client::{self, Exchange, headers, show};
use common::envoy::FakeHost;
use fairlead::base::host::{ReplyStep, Step};
use fairlead::pipeline::{Plan, Position};
use serde_json::{Value, json};

fn plan(limits: &Value) -> Rc<Plan> {
    let config = json!({
        "backends": { "aws": {
            "provider": "bedrock", "region": "us-east-1", "cluster": "c",
            "credentials": { "source": "static", "access_key_id": "A", "secret_access_key": "S" }
        } },
        "models": [{ "name": "bedrock/*", "backend": "aws" }],
        "limits": limits
    });
    client::compile(&config.to_string())
}

fn asking() -> Rc<Plan> {
    plan(&json!({ "leave_cluster": "nowhere" }))
}

const PATH: &str = "/v1/embeddings";

/// A request that takes a call for each text.
fn texts(count: usize) -> Vec<u8> {
    let texts: Vec<String> = (0..count).map(|number| format!("secret {number}")).collect();
    json!({ "model": "bedrock/amazon.titan-embed-text-v2:0", "input": texts }).to_string().into_bytes()
}

fn answer_of_envoy(host: &FakeHost, details: &str) {
    host.set_attribute("response.code_details", details);
}

#[test]
fn nothing_of_the_client_is_in_what_asks_for_leave() {
    let (plan, host) = (asking(), FakeHost::new());
    let outgoing = Exchange::at(PATH, &plan, &host).forward(&texts(2));
    assert_eq!(outgoing.body, b"");
    assert_eq!(outgoing.headers.get("x-fairlead-cluster"), Some("nowhere"));
    assert_eq!(outgoing.headers.get(":path"), Some("/"));
    assert_eq!(outgoing.headers.get("authorization"), None);
}

#[test]
fn the_calls_are_made_when_the_request_has_got_through_and_their_answers_are_the_reply() {
    let (plan, host) = (asking(), FakeHost::new());
    let mut exchange = Exchange::at(PATH, &plan, &host);
    exchange.forward(&texts(2));
    answer_of_envoy(&host, "no_healthy_upstream");
    let head = headers(&[(":status", "503"), ("content-type", "text/plain")]);
    let calls = match exchange.whole.response_headers(&host, head, false) {
        ReplyStep::Instead(Step::Call(calls)) => calls,
        other => panic!("{other:?}"),
    };
    assert_eq!(calls.len(), 2);
    // Envoy's words are kept from the client, also when they end.
    for last in [false, true] {
        let mut out = Vec::new();
        let step = exchange.whole.response_chunk(&host, b"no healthy upstream", last, &mut out);
        assert_eq!((step, out.len()), (ReplyStep::Instead(Step::Wait), 0));
    }
    let head = headers(&[
        (":status", "200"),
        ("content-type", "application/json"),
        ("x-amzn-bedrock-input-token-count", "3"),
    ]);
    let mut step = Step::Wait;
    for (number, _) in calls {
        step = exchange.whole.called(&host, number, Some((&head, br#"{"embedding":[0.5]}"#)));
    }
    match step {
        Step::Answer(reply) => assert_eq!(reply.status, 200),
        other => panic!("{}", show(&other)),
    }
    assert_eq!(host.field("tokens").as_deref(), Some("6"));
}

#[test]
fn no_call_is_made_without_leave() {
    for (status, details, expected) in [
        ("429", "request_rate_limited", 429),
        ("503", "rate_limiter_error", 503),
        ("403", "rbac_access_denied_matched_policy[none]", 403),
        // The operator has forgotten the cluster, or its route.
        ("503", "cluster_not_found", 500),
        ("404", "route_not_found", 500),
        // Somebody has given it hosts.
        ("200", "via_upstream", 503),
    ] {
        let (plan, host) = (asking(), FakeHost::new());
        let mut exchange = Exchange::at(PATH, &plan, &host);
        exchange.forward(&texts(2));
        answer_of_envoy(&host, details);
        let got = exchange.receive(headers(&[(":status", status)]), []);
        assert_eq!(got.status, expected, "{details}");
        assert!(got.json()["error"]["message"].is_string());
        exchange.whole.done(&host);
        assert_eq!(host.field("tokens").as_deref(), Some("0"), "{details}");
    }
}

#[test]
fn what_takes_one_call_goes_its_way_and_who_shares_no_limits_asks_nobody() {
    let (with, without, host) = (asking(), plan(&json!({})), FakeHost::new());
    let outgoing = Exchange::at(PATH, &with, &host).forward(&texts(1));
    assert_eq!(outgoing.headers.get("x-fairlead-cluster"), Some("c"));
    match Exchange::at(PATH, &without, &host).send(&texts(2)) {
        Step::Call(calls) => assert_eq!(calls.len(), 2),
        other => panic!("{}", show(&other)),
    }
}
