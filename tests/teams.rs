//! Who may call, for which models: keys, verified identities, allow lists, and what everyone else is told.
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
use std::time::{Duration, Instant};

use common::client::{self, Got, headers};
use common::envoy::FakeHost;
use fairlead::base::host::Step;
use fairlead::pipeline::{Plan, Position, Whole};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn sha256(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Two teams behind one cloud; `more` goes beside them.
fn plan(more: &[(&str, Value)]) -> Rc<Plan> {
    let mut config = json!({
        "backends": { "aws": {
            "provider": "bedrock", "region": "us-east-1", "cluster": "c",
            "credentials": { "source": "static", "access_key_id": "A", "secret_access_key": "S" }
        } },
        "models": [
            { "name": "bedrock/*", "backend": "aws" },
            { "name": "fast", "backend": "aws", "model": "bedrock/us.amazon.nova-lite-v1:0" },
            { "name": "smart", "backend": "aws", "model": "bedrock/us.anthropic.claude-opus-4-1" },
            { "name": "bedrockz/x", "backend": "aws" }
        ],
        "teams": {
            "blue": {
                "keys": [
                    { "sha256": sha256("blue-key") },
                    { "sha256": sha256("old-key").to_uppercase(), "name": "old", "expires": "2026-01-02T03:05:00Z" }
                ],
                "models": ["bedrock/*", "fast"]
            },
            "red": { "keys": [{ "sha256": sha256("red-key") }], "models": ["smart", "bedrock/*nova*"] }
        }
    });
    for (name, value) in more {
        match value {
            Value::Null => drop(config.as_object_mut().unwrap().remove(*name)),
            value => config[name] = value.clone(),
        }
    }
    client::compile(&config.to_string())
}

const OPENAI: &str = "/v1/chat/completions";
const ANTHROPIC: &str = "/v1/messages";

/// What becomes of a request with these headers: the model that is asked, or the answer.
fn ask(
    plan: &Rc<Plan>,
    host: &FakeHost,
    path: &str,
    more: &[(&str, &str)],
    model: &str,
) -> Result<String, Got> {
    let mut whole = Whole::new(Rc::clone(plan));
    let mut request = headers(&[(":method", "POST"), (":path", path), ("content-type", "application/json")]);
    more.iter().for_each(|(name, value)| request.add(name, *value));
    let step = match whole.request_headers(host, &request, false) {
        Step::Wait => {
            let message = json!({ "role": "user", "content": "Hello" });
            let body = json!({ "model": model, "max_tokens": 10, "messages": [message] });
            whole.request_body(host, body.to_string().as_bytes())
        }
        step => step,
    };
    match step {
        Step::Forward(outgoing) => Ok(outgoing.headers.get(":path").unwrap().to_owned()),
        Step::Answer(reply) => Err(reply.into()),
        other => panic!("{other:?}"),
    }
}

fn bearer(key: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {key}"))
}

fn refused(got: Result<String, Got>) -> (u16, String) {
    let got = got.unwrap_err();
    for key in ["blue-key", "red-key", "old-key", "wrong-key"] {
        assert!(!got.body.contains(key), "{}", got.body);
    }
    let error = &got.json()["error"];
    (got.status, error["code"].as_str().or(error["type"].as_str()).unwrap().to_owned())
}

#[test]
fn a_key_is_taken_in_every_header_that_the_sdks_use() {
    let (plan, host) = (plan(&[]), FakeHost::new());
    for header in [
        ("authorization", "Bearer blue-key"),
        ("authorization", "bearer  blue-key "),
        ("x-api-key", "blue-key"),
        ("api-key", "blue-key"),
    ] {
        for path in [OPENAI, ANTHROPIC] {
            assert!(ask(&plan, &host, path, &[header], "fast").is_ok(), "{header:?} {path}");
        }
    }
}

#[test]
fn who_has_no_key_of_a_team_is_refused_in_his_dialect_before_his_body_comes() {
    let (plan, host) = (plan(&[]), FakeHost::new());
    for header in [
        ("accept", "*/*"),
        ("authorization", "Bearer wrong-key"),
        ("authorization", "Bearer "),
        ("authorization", "Basic Ymx1ZS1rZXk="),
        ("authorization", "blue-key"),
        ("x-api-key", ""),
        ("x-fairlead-team", "blue"),
    ] {
        for (path, code) in [(OPENAI, "invalid_api_key"), (ANTHROPIC, "authentication_error")] {
            let mut request = headers(&[(":method", "POST"), (":path", path)]);
            request.add(header.0, header.1);
            let Step::Answer(reply) = Whole::new(Rc::clone(&plan)).request_headers(&host, &request, false)
            else {
                panic!("{header:?}: let in");
            };
            assert_eq!(refused(Err(reply.into())), (401, code.to_owned()), "{header:?}");
        }
    }
}

#[test]
fn a_key_ends_when_it_says() {
    let (plan, host) = (plan(&[]), FakeHost::new());
    let ask = || ask(&plan, &host, OPENAI, &[("x-api-key", "old-key")], "fast");
    assert!(ask().is_ok());
    host.advance(Duration::from_secs(54));
    assert!(ask().is_ok());
    host.advance(Duration::from_secs(1));
    let got = ask();
    assert!(got.as_ref().unwrap_err().body.contains("expired"));
    assert_eq!(refused(got), (401, "invalid_api_key".to_owned()));
}

#[test]
fn a_model_must_be_allowed_by_the_name_asked_for_and_by_what_it_leads_to() {
    let (plan, host) = (plan(&[]), FakeHost::new());
    let ask = |key: &str, model: &str| {
        let (name, value) = bearer(key);
        ask(&plan, &host, OPENAI, &[(name, value.as_str())], model)
    };
    assert!(ask("blue-key", "fast").is_ok());
    assert!(ask("blue-key", "bedrock/us.anthropic.claude-opus-4-1").is_ok());
    assert!(ask("red-key", "bedrock/us.amazon.nova-lite-v1:0").is_ok());
    let not_allowed = (403, "model_not_allowed".to_owned());
    assert_eq!(refused(ask("blue-key", "smart")), not_allowed, "the alias is not listed");
    assert_eq!(refused(ask("red-key", "smart")), not_allowed, "what the alias leads to is not listed");
    assert_eq!(refused(ask("red-key", "fast")), not_allowed);
    assert_eq!(refused(ask("blue-key", "bedrockz/x")), not_allowed, "a prefix ends at its slash");
    assert_eq!(refused(ask("blue-key", "nothing")), (404, "model_not_found".to_owned()));
}

#[test]
fn an_identity_that_another_filter_verified_needs_no_key() {
    let identity = json!({ "metadata": ["envoy.filters.http.jwt_authn", "jwt", "team"] });
    let plan = plan(&[("identity", identity)]);
    let path = "metadata.filter_metadata.envoy.filters.http.jwt_authn.jwt.team";
    let of = |value: &str| {
        let host = FakeHost::new();
        host.set_attribute(path, value);
        ask(&plan, &host, OPENAI, &[], "fast")
    };
    assert!(of("blue").is_ok());
    assert_eq!(refused(of("green")), (401, "invalid_api_key".to_owned()));
    assert_eq!(refused(of("red")), (403, "model_not_allowed".to_owned()));
    assert_eq!(refused(of("")), (401, "invalid_api_key".to_owned()));
    // Who has none may still have a key.
    assert!(ask(&plan, &FakeHost::new(), OPENAI, &[("x-api-key", "blue-key")], "fast").is_ok());
}

#[test]
fn a_header_names_the_team_only_where_the_operator_says_so() {
    let (closed, host) = (plan(&[]), FakeHost::new());
    assert_eq!(refused(ask(&closed, &host, OPENAI, &[("x-team", "blue")], "fast")).0, 401);
    let open = plan(&[("identity", json!({ "header": "x-team" }))]);
    assert!(ask(&open, &host, OPENAI, &[("x-team", "blue")], "fast").is_ok());
    assert_eq!(refused(ask(&open, &host, OPENAI, &[("x-team", "green")], "fast")).0, 401);
}

#[test]
fn a_dry_run_shows_a_team_what_becomes_of_its_request_and_an_administrator_where_it_goes() {
    let admin = json!({ "keys": [{ "sha256": sha256("admin-key") }] });
    let (plan, host) = (plan(&[("admin", admin)]), FakeHost::new());
    let look = |key: &str, model: &str| {
        let more = [("x-api-key", key), ("x-fairlead-dry-run", "true")];
        ask(&plan, &host, OPENAI, &more, model).unwrap_err()
    };
    let got = look("blue-key", "fast");
    let shown = got.json();
    assert_eq!(
        (got.status, &shown["backend"], &shown["model"]),
        (200, &json!("aws"), &json!("us.amazon.nova-lite-v1:0"))
    );
    assert!(shown["request"]["body"]["messages"].is_array());
    for hidden in ["cluster", "amazonaws.com", "/model/", "authorization", "\"path\""] {
        assert!(!got.body.contains(hidden), "{hidden}: {}", got.body);
    }
    let shown = look("admin-key", "smart").json();
    assert_eq!(shown["cluster"], "c");
    assert_eq!(shown["request"]["host"], "bedrock-runtime.us-east-1.amazonaws.com");
    // What it may not use is not shown to a team, and nothing to who is of none.
    assert_eq!(refused(Err(look("blue-key", "smart"))), (403, "model_not_allowed".to_owned()));
    assert_eq!(look("wrong-key", "fast").status, 401);
    // The administrator looks, and sends nothing.
    assert_eq!(refused(ask(&plan, &host, OPENAI, &[("x-api-key", "admin-key")], "smart")).0, 401);
}

#[test]
fn a_letter_that_is_hidden_in_the_name_of_a_model_is_seen() {
    let limits = json!({ "models": { "*opus*": { "requests_per_minute": 1 } } });
    let team = json!({ "keys": [{ "sha256": sha256("k") }], "models": ["bedrock/*"], "limits": limits });
    let (plan, host) = (plan(&[("teams", json!({ "blue": team }))]), FakeHost::new());
    plan.prepare(&host);
    let ask = |model: &str| ask(&plan, &host, OPENAI, &[("x-api-key", "k")], model);
    assert!(ask("bedrock/us.anthropic.claude-%6Fpus-4-1").is_ok());
    for model in
        ["us.anthropic.claude-opus-4-1", "us.anthropic.claude-%6Fpus-4-1", "us.anthropic.claude-%6fp%75s-4-1"]
    {
        assert_eq!(refused(ask(&format!("bedrock/{model}"))).0, 429, "{model}");
    }
    // Encoded twice it is another name, and no model of the cloud's.
    assert_eq!(ask("bedrock/claude-%256Fpus").unwrap(), "/model/claude-%256Fpus/converse");
}

/// So many teams, each with a key of its own and limits.
fn many(count: usize) -> Rc<Plan> {
    let teams = (0..count).map(|number| {
        let key = json!({ "sha256": sha256(&format!("key-{number}")) });
        (
            format!("team-{number}"),
            json!({ "keys": [key], "models": ["*"], "limits": { "requests_per_minute": 1000 } }),
        )
    });
    plan(&[("teams", Value::Object(teams.collect()))])
}

#[test]
fn what_clients_make_up_leaves_nothing_behind() {
    let (plan, host) = (many(3), FakeHost::new());
    plan.prepare(&host);
    let keys = host.shared_keys();
    assert_eq!(keys.len(), 6, "a value for each team and each key: {keys:?}");
    for number in 0..1000 {
        let (key, model, team) =
            (format!("key-{number}-"), format!("bedrock/m{number}"), format!("team-{number}"));
        let headers = [("x-api-key", key.as_str()), ("x-team", &team), ("x-fairlead-team", &team)];
        assert_eq!(refused(ask(&plan, &host, OPENAI, &headers, "fast")).0, 401);
        // One of a team asks for models that there are not.
        assert!(ask(&plan, &host, OPENAI, &[("x-api-key", "key-1"), ("x-team", &team)], &model).is_ok());
        host.advance(Duration::from_millis(100));
    }
    assert_eq!(host.shared_keys(), keys);
    let counts = host.counts();
    assert!(counts.len() < 20, "{counts:?}");
}

#[test]
fn ten_thousand_teams_are_found_as_quickly_as_ten() {
    let time = |count: usize| {
        let (plan, host) = (many(count), FakeHost::new());
        let began = Instant::now();
        for number in 0..1000 {
            let key = format!("key-{}", number * 7919 % count);
            let request = headers(&[(":method", "POST"), (":path", OPENAI), ("x-api-key", &key)]);
            assert_eq!(Whole::new(Rc::clone(&plan)).request_headers(&host, &request, false), Step::Wait);
        }
        began.elapsed()
    };
    let (few, many) = (time(10), time(10_000));
    // Who looked at one after another would take a thousand times as long.
    assert!(many < few * 20, "{few:?} of ten, {many:?} of ten thousand");
}

#[test]
fn without_teams_everyone_may_call() {
    let (plan, host) = (plan(&[("teams", Value::Null)]), FakeHost::new());
    assert!(ask(&plan, &host, OPENAI, &[], "smart").is_ok());
}
