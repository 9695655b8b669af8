//! The list of models, and single ones, for clients of both APIs.
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

use common::client::{self, Got, REQUEST_ID, headers};
use common::envoy::FakeHost;
use fairlead::base::host::Step;
use fairlead::pipeline::{Plan, Position, Whole};
use serde_json::{Value, json};

/// Two patterns and `names` more models.
fn plan(names: usize) -> Rc<Plan> {
    let mut config = json!({
        "backends": {
            "aws": {
                "provider": "bedrock", "region": "us-east-1", "cluster": "b",
                "credentials": { "source": "static", "access_key_id": "AKIDEXAMPLE", "secret_access_key": "x" }
            },
            "gcp": {
                "provider": "vertex", "project": "my-project", "location": "us-central1", "cluster": "v",
                "credentials": { "source": "metadata_server", "cluster": "m" }
            }
        },
        "models": [{ "name": "bedrock/*", "backend": "aws" }, { "name": "vertex_ai/*", "backend": "gcp" }]
    });
    for name in 0..names {
        let model =
            json!({ "name": format!("m{name}"), "backend": "gcp", "model": "vertex_ai/gemini-2.5-flash" });
        config["models"].as_array_mut().unwrap().push(model);
    }
    client::compile(&config.to_string())
}

fn call(plan: &Rc<Plan>, method: &str, target: &str, more: &[(&str, &str)]) -> Got {
    let mut request = vec![(":method", method), (":path", target), ("x-request-id", REQUEST_ID)];
    request.extend(more);
    match Whole::new(Rc::clone(plan)).request_headers(&FakeHost::new(), &headers(&request), true) {
        Step::Answer(reply) => reply.into(),
        other => panic!("not answered: {}", client::show(&other)),
    }
}

fn openai(plan: &Rc<Plan>, target: &str) -> Got {
    call(plan, "GET", target, &[])
}

fn anthropic(plan: &Rc<Plan>, target: &str) -> Got {
    call(plan, "GET", target, &[("anthropic-version", "2023-06-01")])
}

fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect()
}

#[test]
fn openais_clients_get_every_name_in_the_order_of_the_configuration() {
    for target in ["/v1/models", "/models", "/v1/models?limit=1", "/v1/models/"] {
        let got = openai(&plan(2), target);
        assert_eq!((got.status, got.header("content-type")), (200, Some("application/json")), "{target}");
        assert_eq!(
            got.json(),
            json!({ "object": "list", "data": [
                { "id": "bedrock/*", "object": "model", "created": 0, "owned_by": "bedrock" },
                { "id": "vertex_ai/*", "object": "model", "created": 0, "owned_by": "vertex_ai" },
                { "id": "m0", "object": "model", "created": 0, "owned_by": "vertex_ai" },
                { "id": "m1", "object": "model", "created": 0, "owned_by": "vertex_ai" },
            ] }),
            "{target}"
        );
        assert_eq!(got.header("x-request-id"), Some(REQUEST_ID));
    }
}

#[test]
fn a_model_is_found_by_whatever_name_a_rule_matches() {
    let arn = "bedrock/arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1";
    for (written, id, owner) in [
        ("m0", "m0", "vertex_ai"),
        ("bedrock/us.amazon.nova-lite-v1:0", "bedrock/us.amazon.nova-lite-v1:0", "bedrock"),
        ("bedrock%2Fus.amazon.nova-lite-v1%3A0", "bedrock/us.amazon.nova-lite-v1:0", "bedrock"),
        (arn, arn, "bedrock"),
        ("bedrock/*", "bedrock/*", "bedrock"),
        ("vertex_ai/caf%C3%A9", "vertex_ai/café", "vertex_ai"),
    ] {
        for root in ["/v1/models", "/models"] {
            let got = openai(&plan(1), &format!("{root}/{written}?x=1"));
            let model = json!({ "id": id, "object": "model", "created": 0, "owned_by": owner });
            assert_eq!((got.status, got.json()), (200, model), "{written}");
        }
    }
}

#[test]
fn what_no_rule_matches_is_not_found_in_the_callers_dialect() {
    for id in ["m1", "M0", "bedrock", "bedrock/", "bedrock%2F", "%2e%2e", "m0/", "%ff"] {
        let got = openai(&plan(1), &format!("/v1/models/{id}"));
        assert_eq!(
            (got.status, got.json()["error"]["code"].as_str()),
            (404, Some("model_not_found")),
            "{id}"
        );
        let got = anthropic(&plan(1), &format!("/v1/models/{id}"));
        assert_eq!(
            (got.status, got.json()["error"]["type"].as_str()),
            (404, Some("not_found_error")),
            "{id}"
        );
        assert_eq!(got.header("request-id"), Some(REQUEST_ID));
    }
}

#[test]
fn anthropics_clients_get_models_with_all_that_its_api_promises() {
    let got = anthropic(&plan(0), "/v1/models/bedrock/us.anthropic.claude-opus-4-8");
    assert_eq!(
        got.json(),
        json!({
            "type": "model", "id": "bedrock/us.anthropic.claude-opus-4-8",
            "display_name": "bedrock/us.anthropic.claude-opus-4-8",
            "created_at": "1970-01-01T00:00:00Z", "lifecycle": "active", "capabilities": null,
            "deprecated_at": null, "line": null, "max_input_tokens": null, "max_tokens": null, "retires_at": null
        })
    );
}

#[test]
fn a_list_is_walked_page_by_page_in_both_directions() {
    let plan = plan(23);
    let all = anthropic(&plan, "/v1/models?limit=1000").json();
    let all = ids(&all);
    assert_eq!(all.len(), 25);
    for limit in [1, 2, 7, 24, 25, 26] {
        let mut walked = Vec::new();
        let mut cursor = String::new();
        loop {
            let list = anthropic(&plan, &format!("/v1/models?limit={limit}{cursor}")).json();
            let ids = ids(&list);
            assert_eq!(
                (list["first_id"].as_str(), list["last_id"].as_str()),
                (ids.first().copied(), ids.last().copied())
            );
            walked.extend(ids.iter().map(|id| (*id).to_owned()));
            if list["has_more"] == false {
                break;
            }
            cursor = format!("&after_id={}", ids.last().unwrap().replace('/', "%2F"));
        }
        assert_eq!(walked, all, "forwards by {limit}");

        let mut walked = vec![all[24].to_owned()];
        loop {
            let list = anthropic(&plan, &format!("/v1/models?limit={limit}&before_id={}", walked[0])).json();
            walked.splice(0..0, ids(&list).iter().map(|id| (*id).to_owned()));
            if list["has_more"] == false {
                break;
            }
        }
        assert_eq!(walked, all, "backwards by {limit}");
    }
    let first = anthropic(&plan, "/v1/models").json();
    assert_eq!((ids(&first).len(), &first["has_more"]), (20, &json!(true)), "the API's own default");
    let end = anthropic(&plan, "/v1/models?after_id=m22").json();
    assert_eq!(end, json!({ "data": [], "has_more": false, "first_id": null, "last_id": null }));
}

#[test]
fn every_model_is_in_use() {
    for (query, count) in [
        ("lifecycle=active", 3),
        ("lifecycle%5B%5D=retired&lifecycle[]=active", 3),
        ("lifecycle=deprecated,retired", 0),
    ] {
        assert_eq!(ids(&anthropic(&plan(1), &format!("/v1/models?{query}")).json()).len(), count, "{query}");
    }
}

#[test]
fn a_cursor_that_cannot_be_meant_is_refused_by_its_name() {
    for (query, name) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("after_id=m9", "after_id"),
        ("before_id=", "before_id"),
        ("after_id=m0&before_id=m0", "before_id"),
    ] {
        let got = anthropic(&plan(1), &format!("/v1/models?{query}"));
        let message = got.json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(got.status, 400, "{query}");
        assert!(message.starts_with(&format!("{name}: ")), "{query}: {message}");
    }
}

#[test]
fn other_methods_are_told_which_there_are_and_a_browsers_question_goes_on() {
    let plan = plan(0);
    assert_eq!(call(&plan, "HEAD", "/v1/models", &[]).status, 200);
    for target in ["/v1/models", "/v1/models/m0"] {
        let got = call(&plan, "DELETE", target, &[]);
        assert_eq!((got.status, got.header("allow")), (405, Some("GET, HEAD")), "{target}");
        let options = headers(&[(":method", "OPTIONS"), (":path", target)]);
        assert_eq!(
            Whole::new(Rc::clone(&plan)).request_headers(&FakeHost::new(), &options, true),
            Step::Pass
        );
    }
}
