//! Counting tokens: every conversation that can be sent can be counted, and what is counted is what is sent.
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
use std::rc::Rc;

use common::cases;
use common::client::{self, Exchange, Got, headers};
use common::envoy::FakeHost;
use fairlead::base::host::{Outgoing, Step};
use fairlead::dialect::{Client, Edition, Upstream};
use fairlead::pipeline::{Plan, Position, Whole};
use serde_json::Value;

const PATH: &str = "/v1/messages/count_tokens";

const HELLO: &[u8] = br#"{"model":"chat","messages":[{"role":"user","content":"Hi"}]}"#;

/// Begins a count; gives it and what becomes of it.
fn count<'h>(plan: &Rc<Plan>, host: &'h FakeHost, body: &[u8]) -> (Exchange<'h>, Step) {
    count_with(plan, host, &BTreeMap::new(), body)
}

/// The same with headers of the client's.
fn count_with<'h>(
    plan: &Rc<Plan>,
    host: &'h FakeHost,
    more: &BTreeMap<String, String>,
    body: &[u8],
) -> (Exchange<'h>, Step) {
    client::sign_in(plan, host);
    let mut whole = Whole::new(Rc::clone(plan));
    let mut request = headers(&[(":method", "POST"), (":path", PATH)]);
    more.iter().for_each(|(name, value)| request.add(name, value.as_str()));
    assert_eq!(whole.request_headers(host, &request, false), Step::Wait);
    let step = whole.request_body(host, body);
    (Exchange::begun(whole, host), step)
}

fn sent(step: Step) -> Outgoing {
    match step {
        Step::Forward(outgoing) => outgoing,
        other => panic!("not forwarded: {}", client::show(&other)),
    }
}

fn refused(step: Step) -> (u16, Value) {
    match step {
        Step::Answer(reply) => {
            let got = Got::from(reply);
            (got.status, got.json()["error"].clone())
        }
        other => panic!("not refused: {}", client::show(&other)),
    }
}

/// The counted part of a body.
fn counted(upstream: Upstream, body: &Value) -> &Value {
    match upstream {
        Upstream::Converse => &body["input"]["converse"],
        Upstream::Gemini | Upstream::Messages(_) | Upstream::Completions(_) => body,
    }
}

#[test]
fn every_conversation_that_can_be_sent_can_be_counted_as_it_is_sent() {
    let mut compared = 0;
    for case in cases::cases().iter().filter(|case| case.client == Client::Anthropic) {
        // InvokeModel has no count of its own: Bedrock counts what Converse would get.
        let own = |upstream: &&Upstream| **upstream != Upstream::Messages(Edition::InvokeModel);
        for &upstream in Upstream::ALL.iter().filter(own) {
            let (plan, host) = (client::plan(upstream), FakeHost::new());
            client::sign_in(&plan, &host);
            let Step::Forward(chat) = Exchange::of(case, &plan, &host).send(case.request()) else { continue };
            let (_, step) = count_with(&plan, &host, &case.headers(), case.request());
            if matches!(upstream, Upstream::Completions(_)) {
                let (status, error) = refused(step);
                assert_eq!(status, 400, "{}", case.name);
                assert!(error["message"].as_str().unwrap().contains("counts its tokens"), "{error}");
                continue;
            }
            if upstream == Upstream::Converse && case.request().windows(4).any(|bytes| bytes == b"arn:") {
                assert_eq!(refused(step).0, 400, "{}", case.name);
                continue;
            }
            let count = sent(step);
            let chat: Value = serde_json::from_slice(&chat.body).unwrap();
            let count: Value = serde_json::from_slice(&count.body).unwrap();
            let count = counted(upstream, &count).as_object().unwrap();
            // How much a model thinks may hang on the bound of the reply, which a count has not; nor has it the old
            // `output_format`.
            let unlike = ["additionalModelRequestFields", "generationConfig", "output_config"];
            let alike = |name: &&&str| !unlike.contains(*name);
            for name in upstream.count_members().iter().filter(alike) {
                assert_eq!(count.get(*name), chat.get(*name), "{}: {name}", case.name);
            }
            for name in count.keys().filter(|name| !["model", "anthropic_version"].contains(&name.as_str())) {
                assert!(upstream.count_members().contains(&name.as_str()), "{}: {name}", case.name);
            }
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn a_count_needs_no_bound_of_the_reply_and_says_what_it_leaves_out() {
    let body =
        br#"{"model":"bedrock/us.anthropic.claude-opus-4-8","messages":[{"role":"user","content":"Hi"}],
        "system":"Be brief.","thinking":{"type":"adaptive"},"output_config":{"effort":"low"},
        "max_tokens":9,"stream":true,"temperature":1,"xyzzy":1}"#;
    let host = FakeHost::new();
    let (mut exchange, step) = count(&client::plan(Upstream::Converse), &host, body);
    let outgoing = sent(step);
    assert_eq!(outgoing.headers.get(":path"), Some("/model/anthropic.claude-opus-4-8/count-tokens"));
    assert_eq!(
        String::from_utf8(outgoing.body).unwrap(),
        r#"{"input":{"converse":{"system":[{"text":"Be brief."}],"messages":[{"role":"user","content":[{"text":"Hi"}]}],"additionalModelRequestFields":{"thinking":{"type":"adaptive"}}}}}"#
    );
    let got = exchange.receive(
        headers(&[(":status", "200"), ("content-type", "application/json")]),
        [br#"{"inputTokens":42}"#.as_slice()],
    );
    assert_eq!((got.status, got.body.as_str()), (200, r#"{"input_tokens":42}"#));
    let dropped = got.header("x-fairlead-dropped").unwrap();
    assert_eq!(dropped, "max_tokens, temperature, stream, output_config, xyzzy");
    let counts: Vec<String> =
        host.counts().into_keys().filter(|name| name.starts_with("fairlead_dropped")).collect();
    let label = |field| format!("fairlead_dropped_total;field={field};upstream=converse");
    assert_eq!(counts, [label("other"), label("output_config")]);
}

#[test]
fn gemini_counts_without_the_choice_of_tools() {
    let body = br#"{"model":"chat","messages":[{"role":"user","content":"Hi"}],
        "tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"}}"#;
    let host = FakeHost::new();
    let (mut exchange, step) = count(&client::plan(Upstream::Gemini), &host, body);
    let outgoing = sent(step);
    let path = outgoing.headers.get(":path").unwrap();
    assert!(path.ends_with("/publishers/google/models/gemini-2.5-flash:countTokens"), "{path}");
    assert!(!String::from_utf8(outgoing.body).unwrap().contains("toolConfig"));
    // proto3 JSON may put an integer into quotes.
    let got = exchange.receive(
        headers(&[(":status", "200"), ("content-type", "application/json; charset=UTF-8")]),
        [br#"{"totalTokens":"7","totalBillableCharacters":2}"#.as_slice()],
    );
    assert_eq!(got.body, r#"{"input_tokens":7}"#);
    assert_eq!(got.header("x-fairlead-dropped"), Some("tool_choice"));
}

#[test]
fn claudes_own_editions_count_what_the_client_wrote() {
    let body = br#"{"messages":[{"role":"user", "content":"Hi"}],"model":"chat","tools":[ ],"xyzzy":1}"#;
    let counted = r#""messages":[{"role":"user", "content":"Hi"}],"tools":[ ]}"#;
    for (edition, path, head) in [
        (Edition::Anthropic, "/v1/messages/count_tokens", r#"{"model":"claude-sonnet-4-20250514","#),
        (Edition::Mantle, "/anthropic/v1/messages/count_tokens", r#"{"model":"anthropic.claude-sonnet-4","#),
        (
            Edition::Vertex,
            "/v1/projects/my-project/locations/us-central1/publishers/anthropic/models/count-tokens:rawPredict",
            r#"{"anthropic_version":"vertex-2023-10-16","model":"claude-sonnet-4@20250514","#,
        ),
    ] {
        let host = FakeHost::new();
        let plan = client::plan(Upstream::Messages(edition));
        let (mut exchange, step) = count(&plan, &host, body);
        let outgoing = sent(step);
        assert_eq!(outgoing.headers.get(":path"), Some(path));
        assert_eq!(String::from_utf8(outgoing.body).unwrap(), format!("{head}{counted}"));
        let got = exchange.receive(
            headers(&[(":status", "200"), ("content-type", "application/json")]),
            [br#"{"input_tokens":7}"#.as_slice()],
        );
        assert_eq!(
            (got.body.as_str(), got.header("x-fairlead-dropped")),
            (r#"{"input_tokens":7}"#, Some("xyzzy"))
        );
    }
}

#[test]
fn what_a_count_leaves_out_is_named_wherever_it_was_said() {
    let said = [
        ("anthropic-beta", "token-counting-2024-11-01,files-api-2025-04-14"),
        ("anthropic-workspace-id", "w"),
    ];
    let said = said.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let body = br#"{"model":"chat","mcp_servers":[],"speed":"standard","messages":[{"role":"user","content":"Hi"}]}"#;
    for edition in [Edition::Mantle, Edition::Vertex] {
        let host = FakeHost::new();
        let (mut exchange, step) = count_with(&client::plan(Upstream::Messages(edition)), &host, &said, body);
        sent(step);
        let got = exchange.receive(
            headers(&[(":status", "200"), ("content-type", "application/json")]),
            [br#"{"input_tokens":1}"#.as_slice()],
        );
        assert_eq!(got.header("x-fairlead-dropped"), Some("workspace_id, anthropic-beta"), "{edition:?}");
    }
}

#[test]
fn an_answer_without_a_count_is_no_count() {
    for upstream in Upstream::ALL.iter().filter(|upstream| !upstream.count_members().is_empty()) {
        for answer in [
            "",
            "{",
            "[]",
            r#"{"inputTokens":"x","totalTokens":"x","input_tokens":"x"}"#,
            r#"{"inputTokens":-1,"totalTokens":-1,"input_tokens":-1}"#,
        ] {
            let host = FakeHost::new();
            let (mut exchange, step) = count(&client::plan(*upstream), &host, HELLO);
            sent(step);
            let got = exchange.receive(
                headers(&[(":status", "200"), ("content-type", "application/json")]),
                [answer.as_bytes()],
            );
            assert_eq!(got.status, 502, "{upstream:?}: {answer}: {}", got.body);
            assert_eq!(got.json()["error"]["type"], "api_error");
        }
    }
}

#[test]
fn a_name_that_tells_no_model_is_refused_with_the_way_out() {
    let body =
        br#"{"model":"bedrock/arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1",
        "messages":[{"role":"user","content":"Hi"}]}"#;
    let (_, step) = count(&client::plan(Upstream::Converse), &FakeHost::new(), body);
    let (status, error) = refused(step);
    assert_eq!((status, &error["type"]), (400, &Value::from("invalid_request_error")));
    assert!(
        error["message"].as_str().unwrap().starts_with("model: Bedrock counts tokens for foundation"),
        "{error}"
    );
    let (_, step) =
        count(&client::plan(Upstream::Converse), &FakeHost::new(), br#"{"model":"x","messages":[]}"#);
    assert!([400, 404].contains(&refused(step).0));
}

#[test]
fn an_arn_is_counted_by_the_id_that_the_operator_gives_as_its_family() {
    let arn = "bedrock/arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1";
    let plan = client::compile(&format!(
        r#"{{
            "backends": {{ "aws": {{
                "provider": "bedrock", "region": "us-east-1", "cluster": "bedrock_us_east_1",
                "credentials": {{ "source": "static", "access_key_id": "AKIDEXAMPLE", "secret_access_key": "x" }}
            }} }},
            "models": [{{ "name": "chat", "backend": "aws", "model": "{arn}", "family": "us.anthropic.claude-sonnet-4-6" }}]
        }}"#
    ));
    let (_, step) = count(&plan, &FakeHost::new(), HELLO);
    assert_eq!(sent(step).headers.get(":path"), Some("/model/anthropic.claude-sonnet-4-6/count-tokens"));
}
