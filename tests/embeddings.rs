//! Embeddings: the golden folders of `golden/embeddings/`, and stories of requests that take several calls.
//!
//! `request.json` is what the client sends, without the model. `requests.json` holds for every kind of model what
//! the cloud receives, call by call, or what the client gets instead. `reply.<model>[.<variant>].json` is what a
//! cloud answers to the only call; beside it stands what the client gets. `UPDATE=1` rewrites what is expected.
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
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use common::client::{self, Exchange, Got, calls, headers, request_headers, show};
use common::damage::{Chance, damage, is_json};
use common::envoy::FakeHost;
use common::layout::layout;
use fairlead::base::headers::Headers;
use fairlead::base::host::{Callout, Outgoing, Step};
use fairlead::pipeline::{Plan, Position};
use serde_json::{Value, json};

/// A model of every kind, by a short name.
const MODELS: &[(&str, &str)] = &[
    ("titan_1", "bedrock/amazon.titan-embed-text-v1"),
    ("titan_2", "bedrock/amazon.titan-embed-text-v2:0"),
    ("titan_image", "bedrock/amazon.titan-embed-image-v1"),
    ("cohere_3", "bedrock/cohere.embed-english-v3"),
    ("cohere_4", "bedrock/us.cohere.embed-v4:0"),
    ("nova", "bedrock/amazon.nova-2-multimodal-embeddings-v1:0"),
    ("predict", "vertex_ai/text-embedding-005"),
    ("predict_one", "vertex_ai/gemini-embedding-001"),
    ("embed_content", "vertex_ai/gemini-embedding-2-preview"),
    ("openai", "openai/text-embedding-3-small"),
];

const TITAN: &str = "bedrock/amazon.titan-embed-text-v2:0";

fn plan() -> Rc<Plan> {
    client::compile(
        r#"{
            "backends": {
                "aws": { "provider": "bedrock", "region": "us-east-1", "cluster": "bedrock_us_east_1",
                    "credentials": { "source": "static", "access_key_id": "AKIDEXAMPLE",
                        "secret_access_key": "wJalrXUtnFEMI", "session_token": "c2Vzc2lvbg==" } },
                "gcp": { "provider": "vertex", "project": "my-project", "location": "us-central1",
                    "cluster": "vertex_us_central1",
                    "credentials": { "source": "metadata_server", "cluster": "gcp_metadata" } },
                "openai": { "provider": "openai", "cluster": "openai",
                    "credentials": { "source": "api_key", "api_key": "sk-plan" } }
            },
            "models": [ { "name": "bedrock/*", "backend": "aws" }, { "name": "vertex_ai/*", "backend": "gcp" },
                { "name": "openai/*", "backend": "openai" } ]
        }"#,
    )
}

/// A client's request for embeddings, on its way.
fn exchange<'h>(plan: &Rc<Plan>, host: &'h FakeHost) -> Exchange<'h> {
    let mut headers = request_headers();
    headers.0.retain(|(name, _)| name != ":path");
    headers.add(":path", "/v1/embeddings");
    Exchange::with(headers, plan, host)
}

fn signed_in(plan: &Plan) -> FakeHost {
    let host = FakeHost::new();
    client::sign_in(plan, &host);
    host
}

fn body(model: &str, input: Value) -> Vec<u8> {
    json!({ "model": model, "input": input }).to_string().into_bytes()
}

/// `input` of so many texts, each of which is its number.
fn numbered(count: usize) -> Value {
    (0..count).map(|number| number.to_string()).collect()
}

fn answered(step: Step) -> Got {
    match step {
        Step::Answer(reply) => reply.into(),
        other => panic!("not answered: {}", show(&other)),
    }
}

/// Headers of a reply of Bedrock, to a call of so many tokens.
fn ok(tokens: &str) -> Headers {
    headers(&[
        (":status", "200"),
        ("content-type", "application/json"),
        ("x-amzn-bedrock-input-token-count", tokens),
    ])
}

/// A cloud that gives each text that is a number a vector of that number alone.
fn vectors(body: &[u8]) -> Vec<u8> {
    let body: Value = serde_json::from_slice(body).unwrap();
    let number = |text: &Value| json!([text.as_str().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)]);
    let reply = if let Some(input) = body.get("input") {
        let texts = input.as_array().cloned().unwrap_or(vec![input.clone()]);
        let item =
            |(index, text)| json!({ "object": "embedding", "index": index, "embedding": number(text) });
        let data: Value = texts.iter().enumerate().map(item).collect();
        json!({ "object": "list", "data": data, "usage": { "prompt_tokens": 1, "total_tokens": 1 } })
    } else if body.get("inputText").or(body.get("inputImage")).is_some() {
        json!({ "embedding": number(&body["inputText"]) })
    } else if let Some(inputs) = body.get("texts").or(body.get("images")) {
        json!({ "embeddings": inputs.as_array().unwrap().iter().map(number).collect::<Value>() })
    } else if body.get("singleEmbeddingParams").is_some() {
        let vector = number(&body["singleEmbeddingParams"]["text"]["value"]);
        json!({ "embeddings": [{ "embeddingType": "TEXT", "embedding": vector }] })
    } else if body.get("instances").is_some() {
        let instances = body["instances"].as_array().unwrap().iter();
        json!({ "predictions": instances.map(|instance| json!({ "embeddings": {
            "values": number(&instance["content"]), "statistics": { "token_count": 1 } } })).collect::<Value>() })
    } else {
        json!({ "embedding": { "values": number(&body["content"]["parts"][0]["text"]) } })
    };
    reply.to_string().into_bytes()
}

/// Sends a request and lets the cloud answer until the client has its reply; gives the path and all bodies
/// that the cloud received.
fn run(exchange: &mut Exchange<'_>, request: &[u8]) -> (Option<String>, Vec<Vec<u8>>, Got) {
    let mut path = None;
    let mut bodies = Vec::new();
    let mut waiting = Vec::new();
    let mut step = exchange.send(request);
    loop {
        match step {
            Step::Forward(Outgoing { headers, body }) => {
                let reply = vectors(&body);
                path = headers.get(":path").map(str::to_owned);
                bodies.push(body);
                return (path, bodies, exchange.receive(ok("1"), [reply.as_slice(), b""]));
            }
            Step::Call(more) => waiting.extend(more),
            Step::Answer(reply) => return (path, bodies, reply.into()),
            other => panic!("{}", show(&other)),
        }
        let (number, call) = waiting.remove(0);
        path = call.headers.iter().find(|(name, _)| *name == ":path").map(|(_, path)| path.clone());
        bodies.push(call.body.clone());
        step = exchange.whole.called(exchange.host, number, Some((&ok("1"), &vectors(&call.body))));
    }
}

// Golden folders.

#[test]
fn every_case_gives_what_its_files_say() {
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/embeddings");
    let mut problems = Vec::new();
    for folder in fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()) {
        let files = files(&folder);
        let expected = outcome(&files);
        for (name, text) in &expected {
            let known = files.get(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            if known.as_deref() != Some(text) {
                let place = folder.join(name);
                if update {
                    fs::write(place, text).unwrap();
                } else {
                    problems.push(format!("{}\nexpected:\n{known:?}\ngot:\n{text}", place.display()));
                }
            }
        }
        let strange = files.keys().find(|name| {
            let input = *name == "request.json" || said(name).is_some();
            !input && !expected.contains_key(*name)
        });
        assert_eq!(strange, None, "in {}", folder.display());
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

#[test]
fn damaged_requests_and_replies_are_whole_or_refused_and_never_an_empty_success() {
    let (plan, root) = (plan(), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/embeddings"));
    let host = signed_in(&plan);
    for folder in fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()) {
        let (files, name) = (files(&folder), folder.display().to_string());
        for (_, model) in MODELS {
            for round in 0..10 {
                let body = damage(&request(&files, model), &mut Chance::new(&name, round));
                match exchange(&plan, &host).send(&body) {
                    Step::Forward(outgoing) => assert!(is_json(&outgoing.body), "{name} {round}"),
                    Step::Call(calls) => {
                        assert!(calls.iter().all(|(_, call)| is_json(&call.body)), "{name} {round}")
                    }
                    Step::Answer(reply) => {
                        assert!((400..500).contains(&reply.status) && is_json(&reply.body), "{name} {round}");
                    }
                    other => panic!("{name} {round}: {}", show(&other)),
                }
            }
        }
        for (file, reply) in &files {
            let Some(model) = said(file) else { continue };
            for round in 0..30 {
                let mut exchange = exchange(&plan, &host);
                exchange.forward(&request(&files, model));
                let reply = damage(reply, &mut Chance::new(file, round));
                let got = exchange.receive(ok("7"), [reply.as_slice(), b""]);
                assert!(is_json(got.body.as_bytes()), "{name}/{file} {round}: {}", got.body);
                assert!(matches!(got.status, 200 | 502), "{name}/{file} {round}: {}", got.body);
                let empty = [r#""embedding":[]"#, r#""embedding":"""#, r#""data":[]"#];
                assert!(!empty.iter().any(|empty| got.body.contains(empty)), "{name}/{file} {round}");
            }
        }
    }
}

fn files(folder: &PathBuf) -> BTreeMap<String, Vec<u8>> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect()
}

/// The model of a file of what a cloud says.
fn said(file: &str) -> Option<&'static str> {
    let words: Vec<&str> = file.strip_prefix("reply.")?.strip_suffix(".json")?.split('.').collect();
    let known = MODELS.iter().find(|(name, _)| words.first() == Some(name))?;
    (words.last() != Some(&"out")).then_some(known.1)
}

/// The client's request for a model.
fn request(files: &BTreeMap<String, Vec<u8>>, model: &str) -> Vec<u8> {
    let text = std::str::from_utf8(&files["request.json"]).unwrap();
    text.replacen('{', &format!(r#"{{"model":"{model}","#), 1).into_bytes()
}

fn outcome(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, String> {
    let (plan, mut expected) = (plan(), BTreeMap::new());
    let mut all = Vec::new();
    for (name, model) in MODELS {
        let host = signed_in(&plan);
        let (path, bodies, got) = run(&mut exchange(&plan, &host), &request(files, model));
        let entry = match path {
            Some(path) => {
                assert_eq!(got.status, 200, "{name}: {}", got.body);
                let bodies: Vec<&str> =
                    bodies.iter().map(|body| std::str::from_utf8(body).unwrap()).collect();
                let dropped =
                    got.header("x-fairlead-dropped").map(|names| format!(r#""dropped":{},"#, json!(names)));
                let dropped = dropped.unwrap_or_default();
                format!(r#"{{"path":{},{dropped}"bodies":[{}]}}"#, json!(path), bodies.join(","))
            }
            None => format!(r#"{{"status":{},"body":{}}}"#, got.status, got.body),
        };
        all.push(format!(r#""{name}":{entry}"#));
    }
    expected.insert("requests.json".to_owned(), layout(&format!("{{{}}}", all.join(","))));
    for (file, reply) in files {
        let Some(model) = said(file) else { continue };
        let host = signed_in(&plan);
        let mut exchange = exchange(&plan, &host);
        exchange.forward(&request(files, model));
        let got = exchange.receive(ok("7"), [reply.as_slice(), b""]);
        assert_eq!(got.header("content-type"), Some("application/json"));
        let text = layout(&format!(r#"{{"status":{},"body":{}}}"#, got.status, got.body));
        expected.insert(file.replace(".json", ".out.json"), text);
    }
    expected
}

// Several calls.

/// The only number of each vector of a reply, in order.
fn numbers(got: &Got) -> Vec<u64> {
    assert_eq!(got.status, 200, "{}", got.body);
    let reply = got.json();
    let data = reply["data"].as_array().unwrap();
    for (index, item) in data.iter().enumerate() {
        assert_eq!((&item["object"], &item["index"]), (&json!("embedding"), &json!(index)));
    }
    data.iter().map(|item| item["embedding"][0].as_u64().unwrap()).collect()
}

#[test]
fn a_model_that_takes_one_text_a_call_serves_a_hundred_in_their_order() {
    let plan = plan();
    for (_, model) in MODELS {
        let host = signed_in(&plan);
        let (_, bodies, got) = run(&mut exchange(&plan, &host), &body(model, numbered(200)));
        assert_eq!(numbers(&got), (0..200).collect::<Vec<_>>(), "{model}");
        let one = !["cohere", "text-embedding-005", "openai/"].iter().any(|name| model.contains(name));
        let few = if model.contains("cohere") { 3 } else { 1 };
        assert_eq!(bodies.len(), if one { 200 } else { few }, "{model}");
    }
}

#[test]
fn answers_in_any_order_give_the_same_reply_and_eight_calls_are_under_way_at_most() {
    let plan = plan();
    let host = signed_in(&plan);
    let mut exchange = exchange(&plan, &host);
    let mut waiting = calls(exchange.send(&body(TITAN, numbered(30))));
    let (mut made, mut last_first) = (waiting.len(), true);
    let got = loop {
        assert!(waiting.len() <= 8);
        let (number, call) = if last_first { waiting.pop().unwrap() } else { waiting.remove(0) };
        last_first = !last_first;
        match exchange.whole.called(&host, number, Some((&ok("2"), &vectors(&call.body)))) {
            Step::Call(more) => {
                made += more.len();
                waiting.extend(more);
                assert!(waiting.len() == 8 || made == 30, "as many as may be are under way");
            }
            step => break answered(step),
        }
    };
    assert_eq!(numbers(&got), (0..30).collect::<Vec<_>>());
    assert_eq!(got.json()["usage"], json!({ "prompt_tokens": 60, "total_tokens": 60 }));
    assert_eq!(got.header("x-fairlead-attempts"), Some("30"));
    assert_eq!(got.header("x-request-id"), Some(client::REQUEST_ID));
}

#[test]
fn every_call_is_signed_and_knows_its_cluster() {
    let plan = plan();
    let host = signed_in(&plan);
    let calls = calls(exchange(&plan, &host).send(&body(TITAN, numbered(2))));
    let header = |call: &Callout, name: &str| {
        let found = call.headers.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_else(|| panic!("no {name}"))
    };
    for (_, call) in &calls {
        assert_eq!(call.cluster, "bedrock_us_east_1");
        assert_eq!(header(call, ":path"), "/model/amazon.titan-embed-text-v2%3A0/invoke");
        assert_eq!(header(call, ":authority"), "bedrock-runtime.us-east-1.amazonaws.com");
        assert!(header(call, "authorization").starts_with("AWS4-HMAC-SHA256 "));
        assert!(call.timeout <= Duration::from_secs(60));
        assert!(call.headers.iter().all(|(name, _)| !name.starts_with("x-f")), "{:?}", call.headers);
    }
    assert_ne!(header(&calls[0].1, "authorization"), header(&calls[1].1, "authorization"));
}

#[test]
fn one_call_that_fails_is_the_end_of_all_and_the_text_is_named() {
    let plan = plan();
    let host = signed_in(&plan);
    let refused = headers(&[
        (":status", "400"),
        ("content-type", "application/json"),
        ("x-amzn-errortype", "ValidationException"),
        ("x-amzn-requestid", "abc-1"),
    ]);
    let mut exchange = exchange(&plan, &host);
    let waiting = calls(exchange.send(&body(TITAN, numbered(20))));
    let reason = br#"{"message":"expected maxLength: 50000, actual: 60000"}"#;
    let got = answered(exchange.whole.called(&host, 3, Some((&refused, reason))));
    assert_eq!(got.status, 400);
    let error = got.json()["error"].clone();
    assert_eq!(error["param"], "input[3]");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("maxLength") && message.contains("abc-1"), "{message}");
    assert_eq!(got.header("x-fairlead-backend"), Some("aws"));
    for (number, call) in waiting {
        let late = exchange.whole.called(&host, number, Some((&ok("1"), &vectors(&call.body))));
        assert_eq!(late, Step::Pass, "what comes after the end is nobody's concern");
    }
}

/// What answers a call.
type Said<'a> = (Headers, &'a str);

#[test]
fn a_call_that_is_throttled_denied_or_not_answered_has_the_same_error_as_a_request_of_one_call() {
    let plan = plan();
    let json = ("content-type", "application/json");
    let plain = ("content-type", "text/plain");
    let cases: &[(Option<Said<'_>>, u16, &str)] = &[
        (
            Some((
                headers(&[
                    (":status", "429"),
                    json,
                    ("x-amzn-errortype", "ThrottlingException"),
                    ("retry-after", "3"),
                ]),
                "{}",
            )),
            429,
            "rate_limit_exceeded",
        ),
        (
            Some((headers(&[(":status", "403"), json, ("x-amzn-errortype", "AccessDeniedException")]), "{}")),
            403,
            "upstream_denied",
        ),
        (None, 503, "upstream_unreachable"),
        (
            Some((
                headers(&[(":status", "503"), plain]),
                "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
            )),
            503,
            "upstream_unreachable",
        ),
        (
            Some((
                headers(&[(":status", "503"), plain]),
                "upstream connect error or disconnect/reset before headers. reset reason: overflow",
            )),
            503,
            "upstream_overloaded",
        ),
        (Some((headers(&[(":status", "504"), plain]), "upstream request timeout")), 504, "upstream_timeout"),
        (Some((ok("1"), r#"{"embedding":[]}"#)), 502, "upstream_invalid_response"),
        (Some((ok("1"), "<html>")), 502, "upstream_invalid_response"),
        (Some((ok("1"), r#"{"inputTextTokenCount":1}"#)), 502, "upstream_invalid_response"),
    ];
    for (answer, status, code) in cases {
        let host = signed_in(&plan);
        let mut exchange = exchange(&plan, &host);
        calls(exchange.send(&body(TITAN, numbered(9))));
        let answer = answer.as_ref().map(|(headers, body)| (headers, body.as_bytes()));
        let got = answered(exchange.whole.called(&host, 0, answer));
        assert_eq!(
            (got.status, got.json()["error"]["code"].as_str()),
            (*status, Some(*code)),
            "{}",
            got.body
        );
        assert_eq!(got.header("retry-after"), (*status == 429).then_some("3"));
    }
}

#[test]
fn a_request_of_several_calls_waits_for_a_token_like_any_other() {
    let plan = plan();
    let host = FakeHost::new();
    plan.prepare(&host);
    let mut exchange = exchange(&plan, &host);
    assert_eq!(exchange.send(&body("vertex_ai/gemini-embedding-001", numbered(2))), Step::Park);
    assert!(exchange.whole.held() > 0);
    assert!(client::fetch(&plan, &host).is_some());
    client::answer(&plan.sources()[0], &host, Some((200, &client::token("fresh", 3599))));
    let calls = calls(exchange.whole.wake(&host));
    assert_eq!(calls.len(), 2);
    for (_, call) in calls {
        assert!(call.headers.contains(&("authorization", "Bearer fresh".to_owned())));
    }
}

#[test]
fn all_calls_together_have_five_minutes() {
    let plan = plan();
    let host = signed_in(&plan);
    let mut exchange = exchange(&plan, &host);
    let mut waiting = calls(exchange.send(&body(TITAN, numbered(20))));
    host.advance(Duration::from_secs(299));
    let (number, call) = waiting.remove(0);
    let more = calls(exchange.whole.called(&host, number, Some((&ok("1"), &vectors(&call.body)))));
    assert_eq!(more[0].1.timeout, Duration::from_secs(1), "a call ends with the time of all");
    host.advance(Duration::from_secs(1));
    let (number, call) = waiting.remove(0);
    let got = answered(exchange.whole.called(&host, number, Some((&ok("1"), &vectors(&call.body)))));
    assert_eq!(got.status, 504);
}

#[test]
fn vectors_that_never_end_do_not_fill_the_memory() {
    let plan = plan();
    let host = signed_in(&plan);
    let mut exchange = exchange(&plan, &host);
    let mut waiting = calls(exchange.send(&body(TITAN, numbered(100))));
    let huge = format!(r#"{{"embedding":[{}1]}}"#, "0.123456789012345,".repeat(400_000));
    let got = loop {
        let (number, _) = waiting.remove(0);
        match exchange.whole.called(&host, number, Some((&ok("1"), huge.as_bytes()))) {
            Step::Call(more) => waiting.extend(more),
            step => break answered(step),
        }
        assert!(exchange.whole.held() <= 64 << 20);
    };
    assert_eq!((got.status, &got.json()["error"]["param"]), (400, &json!("input")));
}

#[test]
fn calls_that_were_answered_or_are_under_way_are_counted_when_one_fails_or_the_client_leaves() {
    let plan = plan();
    for fails in [false, true] {
        let host = signed_in(&plan);
        let mut exchange = exchange(&plan, &host);
        let waiting = calls(exchange.send(&body(TITAN, numbered(20))));
        for (number, call) in waiting.iter().take(3) {
            calls(exchange.whole.called(&host, *number, Some((&ok("5"), &vectors(&call.body)))));
        }
        if fails {
            answered(exchange.whole.called(&host, 3, None));
        }
        exchange.whole.done(&host);
        // Seven or eight others are under way, of 20 texts of some 30 bytes together.
        assert_eq!(host.field("tokens").as_deref(), Some("19"));
    }
}

#[test]
fn tokens_that_a_cloud_does_not_tell_are_none_and_the_operator_learns_of_it() {
    let plan = plan();
    let host = signed_in(&plan);
    let mut exchange = exchange(&plan, &host);
    exchange.forward(&body("bedrock/cohere.embed-english-v3", json!("1")));
    let silent = headers(&[(":status", "200"), ("content-type", "application/json")]);
    let got = exchange.receive(silent, [br#"{"embeddings":[[1]]}"#.as_slice(), b""]);
    assert_eq!(got.json()["usage"], json!({ "prompt_tokens": 0, "total_tokens": 0 }));
    assert!(host.take_log().iter().any(|(_, line)| line.contains("tokens")));
}

#[test]
fn a_text_too_long_for_cohere_is_named_before_anything_is_sent() {
    let plan = plan();
    let host = signed_in(&plan);
    let long = "é".repeat(2048);
    let fits = exchange(&plan, &host).send(&body("bedrock/cohere.embed-english-v3", json!([long])));
    assert!(matches!(fits, Step::Forward(_)), "characters are counted, not bytes");
    let mut texts: Vec<String> = vec!["a".into(); 100];
    texts.push("x".repeat(2049));
    let got = answered(exchange(&plan, &host).send(&body("bedrock/cohere.embed-english-v3", json!(texts))));
    assert_eq!((got.status, &got.json()["error"]["param"]), (400, &json!("input[100]")));
}
