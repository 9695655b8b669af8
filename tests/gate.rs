//! What requests take from the limits that they count against, and give back: stories with the whole pipeline.
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

use common::client::{self, Exchange, Got, headers};
use common::envoy::FakeHost;
use fairlead::base::host::Step;
use fairlead::pipeline::{FIELDS, Plan, Position, Whole};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A team whose key is the one that the tests' client sends.
fn plan(limits: Value) -> Rc<Plan> {
    compile(json!({ "blue": { "keys": [key()], "models": ["*"], "limits": limits } }), json!({}))
}

fn key() -> Value {
    json!({ "sha256": Sha256::digest("client-key").iter().map(|byte| format!("{byte:02x}")).collect::<String>() })
}

fn compile(teams: Value, limits: Value) -> Rc<Plan> {
    let mut config = json!({
        "backends": {
            "aws": {
                "provider": "bedrock", "region": "us-east-1", "cluster": "c",
                "credentials": { "source": "static", "access_key_id": "A", "secret_access_key": "S" }
            },
            "gcp": {
                "provider": "vertex", "project": "p", "location": "us-central1", "cluster": "v",
                "credentials": { "source": "metadata_server", "cluster": "gcp_metadata" }
            },
            "openai": {
                "provider": "openai", "cluster": "o", "credentials": { "source": "api_key", "api_key": "k" }
            }
        },
        "models": [
            { "name": "bedrock/*", "backend": "aws" }, { "name": "vertex_ai/*", "backend": "gcp" },
            { "name": "openai/*", "backend": "openai" }
        ],
        "prices": [{ "model": "bedrock/priced*", "input": 10.0, "output": 100.0 }],
        "limits": limits
    });
    if !teams.is_null() {
        config["teams"] = teams;
    }
    client::compile(&config.to_string())
}

fn host(plan: &Rc<Plan>) -> FakeHost {
    let host = FakeHost::new();
    plan.prepare(&host);
    client::sign_in(plan, &host);
    host
}

/// 40 bytes of text and a bound for the reply; the whole body is estimated.
fn body(model: &str, max_tokens: u64, stream: bool) -> Vec<u8> {
    let message = json!({ "role": "user", "content": "Hello" });
    json!({ "model": model, "max_tokens": max_tokens, "stream": stream, "messages": [message] })
        .to_string()
        .into_bytes()
}

const PRICED: &str = "bedrock/priced";

/// Asks and gets Bedrock's reply of so many tokens.
fn exchange(plan: &Rc<Plan>, host: &FakeHost, max_tokens: u64, used: (u64, u64)) -> Got {
    let mut exchange = Exchange::new(plan, host);
    match exchange.send(&body(PRICED, max_tokens, false)) {
        Step::Forward(_) => exchange.receive(ok("application/json"), [reply(used).as_slice()]),
        Step::Answer(reply) => reply.into(),
        other => panic!("{}", client::show(&other)),
    }
}

fn ok(content_type: &str) -> fairlead::base::headers::Headers {
    headers(&[(":status", "200"), ("content-type", content_type)])
}

fn reply((input, output): (u64, u64)) -> Vec<u8> {
    json!({
        "output": { "message": { "role": "assistant", "content": [{ "text": "Hi" }] } },
        "stopReason": "end_turn", "metrics": { "latencyMs": 1 },
        "usage": { "inputTokens": input, "outputTokens": output, "totalTokens": input + output }
    })
    .to_string()
    .into_bytes()
}

/// What is left of the tokens, as the last request was told.
fn left(got: &Got) -> u64 {
    got.header("x-ratelimit-remaining-tokens").unwrap().parse().unwrap()
}

/// How many tokens are left, told by a request that is too large for them.
fn left_now(plan: &Rc<Plan>, host: &FakeHost) -> u64 {
    left(&exchange(plan, host, 1_000_000, (0, 0)))
}

#[test]
fn what_the_cloud_counted_is_charged_and_the_rest_of_the_reservation_comes_back() {
    let plan = plan(json!({ "tokens_per_minute": 10_000 }));
    let host = host(&plan);
    let got = exchange(&plan, &host, 5000, (70, 30));
    assert_eq!(got.status, 200);
    assert!(left(&got) < 5000, "{} while it was under way", left(&got));
    assert_eq!(got.header("x-ratelimit-limit-tokens"), Some("10000"));
    assert_eq!(left_now(&plan, &host), 9900);
    host.advance(Duration::from_secs(61));
    assert_eq!(left_now(&plan, &host), 10_000);
}

#[test]
fn a_limit_that_is_reached_is_named_with_its_value_and_the_time_to_wait() {
    let plan = plan(json!({ "requests_per_minute": 2 }));
    let host = host(&plan);
    for remaining in ["1", "0"] {
        let got = exchange(&plan, &host, 10, (1, 1));
        assert_eq!(got.header("x-ratelimit-remaining-requests"), Some(remaining));
    }
    let got = exchange(&plan, &host, 10, (1, 1));
    assert_eq!((got.status, got.header("retry-after")), (429, Some("61")));
    assert_eq!(got.header("x-ratelimit-remaining-requests"), Some("0"));
    assert_eq!(got.header("x-ratelimit-reset-requests"), Some("61s"));
    let error = &got.json()["error"];
    assert_eq!(error["code"], "rate_limit_exceeded");
    let message = error["message"].as_str().unwrap();
    assert_eq!(message, "requests_per_minute of team blue is reached (2 in any 60 s); try again in 61 s");
}

#[test]
fn a_request_that_could_never_fit_is_told_so() {
    let plan = plan(json!({ "tokens_per_minute": 1000 }));
    let host = host(&plan);
    let got = exchange(&plan, &host, 5000, (1, 1));
    assert_eq!((got.status, got.header("retry-after")), (429, Some("60")));
    assert_eq!(got.header("x-should-retry"), Some("false"), "it would never fit");
    let message = got.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("more than tokens_per_minute of team blue allows at all (1000 in any 60 s)"),
        "{message}"
    );
}

#[test]
fn a_reply_that_fails_costs_nothing() {
    let plan = plan(json!({ "tokens_per_minute": 10_000, "concurrent_requests": 1 }));
    let host = host(&plan);
    host.set_attribute("response.code_details", "via_upstream");
    for status in ["400", "429", "500", "503"] {
        let mut exchange = Exchange::new(&plan, &host);
        exchange.forward(&body(PRICED, 100, false));
        let got = exchange.receive(headers(&[(":status", status)]), [b"{}".as_slice()]);
        assert!(got.status >= 400, "{status}");
        assert_eq!(left_now(&plan, &host), 10_000, "{status}");
    }
    for (kind, body) in [("text/html", "<html>"), ("application/json", "{}")] {
        let mut exchange = Exchange::new(&plan, &host);
        exchange.forward(&self::body(PRICED, 100, false));
        assert_eq!(exchange.receive(ok(kind), [body.as_bytes()]).status, 502, "{kind}");
        exchange.whole.done(&host);
        assert_eq!(left_now(&plan, &host), 10_000, "{kind}");
    }
}

#[test]
fn counting_takes_none_of_the_tokens_that_it_counts() {
    let plan = plan(json!({ "tokens_per_minute": 100, "budget": { "usd": 1, "per": "1d" } }));
    let host = host(&plan);
    let text = "x".repeat(6000);
    let request =
        headers(&[(":method", "POST"), (":path", "/v1/messages/count_tokens"), ("x-api-key", "client-key")]);
    let mut whole = Whole::new(Rc::clone(&plan));
    assert_eq!(whole.request_headers(&host, &request, false), Step::Wait);
    let body =
        json!({ "model": "bedrock/anthropic.unpriced", "messages": [{ "role": "user", "content": text }] });
    assert!(matches!(whole.request_body(&host, body.to_string().as_bytes()), Step::Forward(_)));
}

const CHUNK: &str = r#"data: {"candidates":[{"content":{"role":"model","parts":[{"text":"12345678"}]}}]}

"#;

const END: &str = r#"data: {"candidates":[{"content":{"role":"model","parts":[{"text":"1"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":40,"candidatesTokenCount":60,"totalTokenCount":100}}

"#;

#[test]
fn a_stream_is_settled_by_its_usage_when_it_ends() {
    let plan = plan(json!({ "tokens_per_minute": 10_000 }));
    let host = host(&plan);
    let mut exchange = Exchange::new(&plan, &host);
    exchange.forward(&body("vertex_ai/gemini-2.5-flash", 5000, true));
    exchange.receive(ok("text/event-stream"), [CHUNK.as_bytes(), CHUNK.as_bytes(), END.as_bytes()]);
    assert_eq!(left_now(&plan, &host), 9900);
    exchange.whole.done(&host);
    assert_eq!(left_now(&plan, &host), 9900, "settled once");
}

#[test]
fn a_reply_that_passes_as_it_is_is_metered_and_each_of_several_reserved() {
    let plan = plan(json!({ "tokens_per_minute": 10_000 }));
    let host = host(&plan);
    let ask = |most: u64, replies: u64, stream: bool| {
        json!({
            "model": "openai/gpt-4.1", "max_completion_tokens": most, "n": replies, "stream": stream,
            "messages": [{ "role": "user", "content": "Hello" }]
        })
        .to_string()
        .into_bytes()
    };
    let usage = json!({ "prompt_tokens": 70, "completion_tokens": 30, "total_tokens": 100 });
    let send = |body: &[u8]| {
        let mut exchange = Exchange::new(&plan, &host);
        match exchange.send(body) {
            Step::Forward(_) => Ok(exchange),
            Step::Answer(reply) => Err(Got::from(reply)),
            other => panic!("{}", client::show(&other)),
        }
    };

    let choice =
        json!({ "index": 0, "message": { "role": "assistant", "content": "Hi" }, "finish_reason": "stop" });
    let whole = json!({ "id": "chatcmpl-1", "choices": [choice], "usage": usage }).to_string();
    let got = send(&ask(3000, 3, false)).unwrap().receive(ok("application/json"), [whole.as_bytes()]);
    assert_eq!((got.status, got.body.as_str()), (200, whole.as_str()));
    assert!(left(&got) < 1000, "three replies were reserved: {}", left(&got));
    assert_eq!(left_now(&plan, &host), 9900);

    // The client did not ask for the counts, and does not get them.
    let chunk = json!({ "id": "chatcmpl-2", "choices": [{ "index": 0, "delta": { "content": "Hi" }, "finish_reason": "stop" }] });
    let counts = json!({ "id": "chatcmpl-2", "choices": [], "usage": usage });
    let stream = format!("data: {chunk}\n\ndata: {counts}\n\ndata: [DONE]\n\n");
    let got = send(&ask(3000, 1, true)).unwrap().receive(ok("text/event-stream"), [stream.as_bytes()]);
    assert!(got.body.contains("Hi") && !got.body.contains("prompt_tokens"), "{}", got.body);
    assert_eq!(left_now(&plan, &host), 9800);

    assert_eq!(send(&ask(4000, 3, false)).err().unwrap().status, 429);
}

#[test]
fn a_client_that_leaves_pays_for_what_it_has_seen() {
    let plan = plan(json!({ "tokens_per_minute": 10_000, "concurrent_requests": 1 }));
    let host = host(&plan);
    let mut exchange = Exchange::new(&plan, &host);
    let request = body("vertex_ai/gemini-2.5-flash", 5000, true);
    exchange.forward(&request);
    let mut out = Vec::new();
    exchange.whole.response_headers(&host, ok("text/event-stream"), false);
    exchange.whole.response_chunk(&host, CHUNK.as_bytes(), false, &mut out);
    exchange.whole.response_chunk(&host, CHUNK.as_bytes(), false, &mut out);
    let blocked = self::exchange(&plan, &host, 10, (1, 1));
    assert_eq!(blocked.status, 429, "one at a time");
    exchange.whole.done(&host);
    let input = (request.len() as u64).div_ceil(4);
    assert!((9980 - input..=9996).contains(&left_now(&plan, &host)), "{}", left_now(&plan, &host));
}

#[test]
fn a_client_that_leaves_before_the_cloud_answers_pays_for_his_input() {
    let plan = plan(json!({ "tokens_per_minute": 10_000 }));
    let host = host(&plan);
    let mut exchange = Exchange::new(&plan, &host);
    exchange.forward(&body(PRICED, 100, false));
    let input = 10_000 - 100 - left_now(&plan, &host);
    assert!((1..20).contains(&input), "{input}");
    exchange.whole.done(&host);
    assert_eq!(left_now(&plan, &host), 10_000 - input);
    assert_eq!(host.field("input_tokens"), Some(input.to_string()));
    let labels = "team=blue;model=bedrock/*";
    assert_eq!(host.counts()[&format!("fairlead_requests_total;{labels};status=499")], 1);

    // The same with a reply that has begun and is of no use until it is whole.
    let mut exchange = Exchange::new(&plan, &host);
    exchange.forward(&body(PRICED, 100, false));
    exchange.whole.response_headers(&host, ok("application/json"), false);
    exchange.whole.response_chunk(&host, b"{", false, &mut Vec::new());
    exchange.whole.done(&host);
    assert_eq!(left_now(&plan, &host), 10_000 - 2 * input);
}

#[test]
fn a_request_that_never_left_costs_nothing() {
    let plan = plan(json!({ "tokens_per_minute": 10_000, "concurrent_requests": 1 }));
    // Nobody has fetched a token yet.
    let host = FakeHost::new();
    plan.prepare(&host);
    let mut exchange = Exchange::new(&plan, &host);
    assert_eq!(exchange.send(&body("vertex_ai/gemini-2.5-flash", 100, false)), Step::Park);
    exchange.whole.done(&host);
    assert_eq!(left_now(&plan, &host), 10_000);

    // The adapter could not do what it was told.
    let mut exchange = Exchange::new(&plan, &host);
    exchange.forward(&body(PRICED, 100, false));
    exchange.whole.fault("stuck");
    exchange.whole.done(&host);
    assert_eq!(left_now(&plan, &host), 10_000);
}

#[test]
fn what_envoy_says_in_place_of_the_cloud_costs_only_if_the_cloud_took_too_long() {
    let plan = plan(json!({ "tokens_per_minute": 10_000 }));
    let host = host(&plan);
    for (status, details, is_charged) in [
        ("503", "upstream_reset_before_response_started{connection_failure}", false),
        ("503", "cluster_not_found", false),
        ("504", "upstream_response_timeout", true),
    ] {
        host.set_attribute("response.code_details", details);
        let before = left_now(&plan, &host);
        let mut exchange = Exchange::new(&plan, &host);
        exchange.forward(&body(PRICED, 100, false));
        let got = exchange.receive(headers(&[(":status", status)]), [b"".as_slice()]);
        assert!(got.status >= 500, "{details}");
        exchange.whole.done(&host);
        assert_eq!(left_now(&plan, &host) < before, is_charged, "{details}");
    }
}

const EMBED: &str = "bedrock/amazon.titan-embed-text-v2:0";

/// Ten texts of 300 letters, a call for each; eight calls at a time.
fn embedding(plan: &Rc<Plan>, host: &FakeHost) -> (Whole, usize) {
    let request =
        headers(&[(":method", "POST"), (":path", "/v1/embeddings"), ("authorization", "Bearer client-key")]);
    let mut whole = Whole::new(Rc::clone(plan));
    assert_eq!(whole.request_headers(host, &request, false), Step::Wait);
    let body = json!({ "model": EMBED, "input": vec!["x".repeat(300); 10] });
    match whole.request_body(host, body.to_string().as_bytes()) {
        Step::Call(calls) => (whole, calls.len()),
        other => panic!("{}", client::show(&other)),
    }
}

#[test]
fn calls_under_way_are_paid_for_when_their_client_leaves_or_one_of_them_fails() {
    let plan = plan(json!({ "tokens_per_minute": 10_000 }));
    let host = host(&plan);
    let vector = json!({ "embedding": vec![0.5; 1024], "inputTextTokenCount": 7 }).to_string();
    let (mut whole, calls) = embedding(&plan, &host);
    assert_eq!(calls, 8);
    let each = (10_000 - left_now(&plan, &host)) / 10;
    assert!((100..110).contains(&each), "{each}");
    let good = ok("application/json");
    for number in 0..2 {
        let more = whole.called(&host, number, Some((&good, vector.as_bytes())));
        assert!(matches!(more, Step::Call(calls) if calls.len() == 1));
    }
    whole.done(&host);
    let used = 10_000 - left_now(&plan, &host);
    assert_eq!(used, 2 * 7 + 8 * each, "two have answered, eight are under way");

    // One that fails ends all, and costs nothing itself.
    host.advance(Duration::from_secs(100));
    let (mut whole, _) = embedding(&plan, &host);
    whole.called(&host, 0, Some((&good, vector.as_bytes())));
    let bad = headers(&[(":status", "500"), ("content-type", "application/json")]);
    assert!(matches!(whole.called(&host, 1, Some((&bad, b"{}"))), Step::Answer(_)));
    whole.done(&host);
    assert_eq!(10_000 - left_now(&plan, &host), 7 + 7 * each, "one has answered, seven are under way");
}

#[test]
fn images_under_way_are_paid_for_when_their_client_leaves() {
    let plan = plan(json!({ "budget": { "usd": 10, "per": "1d" } }));
    let host = host(&plan);
    let request = headers(&[
        (":method", "POST"),
        (":path", "/v1/images/generations"),
        ("authorization", "Bearer client-key"),
    ]);
    let mut whole = Whole::new(Rc::clone(&plan));
    assert_eq!(whole.request_headers(&host, &request, false), Step::Wait);
    let body = json!({ "model": "bedrock/amazon.nova-canvas-v1:0", "prompt": "a fox", "n": 3 });
    assert!(matches!(whole.request_body(&host, body.to_string().as_bytes()), Step::Forward(_)));
    whole.done(&host);
    // Six cents each, by the list that comes with the plugin.
    assert_eq!(host.field("cost_usd").as_deref(), Some("0.180000000"));
}

#[test]
fn a_dry_run_is_a_request_that_uses_nothing_else() {
    let plan = plan(json!({
        "requests_per_minute": 2, "tokens_per_minute": 100, "concurrent_requests": 1,
        "budget": { "usd": 0.0001, "per": "1d" }
    }));
    let host = host(&plan);
    let mut request = client::request_headers();
    request.add("x-fairlead-dry-run", "true");
    for remaining in ["1", "0"] {
        // More than the team may ever use.
        let mut dry = Exchange::with(request.clone(), &plan, &host);
        let Step::Answer(reply) = dry.send(&body(PRICED, 5000, false)) else { panic!("sent") };
        let got = Got::from(reply);
        assert_eq!(got.status, 200, "{}", got.body);
        assert_eq!(got.header("x-ratelimit-remaining-requests"), Some(remaining));
        assert_eq!(got.header("x-ratelimit-remaining-tokens"), Some("100"));
        dry.whole.done(&host);
        assert_eq!(host.field("tokens").as_deref(), Some("0"));
    }
    let Step::Answer(reply) = Exchange::with(request, &plan, &host).send(&body(PRICED, 10, false)) else {
        panic!("sent")
    };
    assert_eq!(reply.status, 429);
}

#[test]
fn a_budget_is_spent_by_the_prices_of_the_configuration() {
    // 100 tokens in for 10 and 10 out for 100 dollars a million: 0.002 dollars.
    let plan = plan(json!({ "budget": { "usd": 0.004, "per": "1d" } }));
    let host = host(&plan);
    for _ in 0..2 {
        assert_eq!(exchange(&plan, &host, 10, (100, 10)).status, 200);
    }
    let got = exchange(&plan, &host, 10, (100, 10));
    assert_eq!(got.status, 429);
    assert_eq!(got.header("x-should-retry"), Some("false"), "no SDK should try twice more");
    assert!(got.header("retry-after").unwrap().parse::<u64>().unwrap() > 80_000);
    let error = &got.json()["error"];
    assert_eq!(error["code"], "insufficient_quota");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("budget of team blue is reached (0.004 US dollars per 1d)"), "{message}");
}

#[test]
fn a_model_without_a_price_is_not_free_for_who_has_a_budget() {
    let plan = plan(json!({ "budget": { "usd": 1, "per": "1d" } }));
    let host = host(&plan);
    let Step::Answer(reply) = Exchange::new(&plan, &host).send(&body("bedrock/unheard.of", 10, false)) else {
        panic!("let through");
    };
    let got = Got::from(reply);
    assert_eq!((got.status, got.json()["error"]["code"].as_str()), (403, Some("model_not_allowed")));
    assert!(got.body.contains("prices"), "{}", got.body);
}

#[test]
fn a_client_is_warned_when_most_of_a_limit_is_used() {
    let plan = plan(json!({ "requests_per_minute": 10 }));
    let host = host(&plan);
    for number in 1..=10 {
        let got = exchange(&plan, &host, 10, (1, 1));
        let warning = (number >= 8).then(|| format!("{number}0% of requests_per_minute of team blue"));
        assert_eq!(got.header("x-fairlead-limit-warning"), warning.as_deref());
    }
    assert_eq!(host.counts()["fairlead_near_limit_total;team=blue;limit=requests_per_minute"], 3);
}

#[test]
fn a_key_a_model_and_everyone_have_limits_of_their_own() {
    let mut limited = key();
    limited["limits"] = json!({ "requests_per_minute": 3 });
    let team = |limits: Value| json!({ "blue": { "keys": [limited], "models": ["*"], "limits": limits } });
    let ask = |plan: &Rc<Plan>| {
        let host = host(plan);
        let mut last = exchange(plan, &host, 10, (1, 1));
        let mut count = 0;
        while last.status == 200 {
            count += 1;
            last = exchange(plan, &host, 10, (1, 1));
        }
        (
            count,
            last.json()["error"]["message"].as_str().unwrap().split(" is reached").next().unwrap().to_owned(),
        )
    };
    let of = |count, title: &str| (count, format!("requests_per_minute of {title}"));
    assert_eq!(ask(&compile(team(json!({})), json!({}))), of(3, "key number 1 of team blue"));
    let models = json!({ "models": { "bedrock/*": { "requests_per_minute": 2 }, "vertex_ai/*": { "requests_per_minute": 1 } } });
    assert_eq!(ask(&compile(team(models), json!({}))), of(2, "team blue for bedrock/*"));
    let total = json!({ "total": { "requests_per_minute": 1 } });
    assert_eq!(ask(&compile(team(json!({})), total)), of(1, "this gateway"));
}

#[test]
fn a_model_has_limits_of_everyone_together() {
    let hash = |key: &str| Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let team = |key: &str| json!({ "keys": [{ "sha256": hash(key) }], "models": ["*"] });
    let config = json!({
        "backends": { "aws": {
            "provider": "bedrock", "region": "us-east-1", "cluster": "c",
            "credentials": { "source": "static", "access_key_id": "A", "secret_access_key": "S" }
        } },
        "models": [
            { "name": "bedrock/*", "backend": "aws", "limits": { "requests_per_minute": 2 } },
            { "name": "fast", "backend": "aws", "model": "bedrock/us.amazon.nova-lite-v1:0", "limits": { "concurrent_requests": 1 } },
            { "name": "free", "backend": "aws", "model": "bedrock/us.amazon.nova-lite-v1:0" }
        ],
        "teams": { "blue": team("blue-key"), "red": team("red-key") },
        "admin": { "keys": [{ "sha256": hash("admin-key") }] }
    });
    let plan = client::compile(&config.to_string());
    let host = host(&plan);
    let ask = |key: &str, model: &str| {
        let request = headers(&[(":method", "POST"), (":path", "/v1/chat/completions"), ("x-api-key", key)]);
        let mut exchange = Exchange::with(request, &plan, &host);
        match exchange.send(&body(model, 10, false)) {
            Step::Forward(_) => Ok(exchange.whole),
            Step::Answer(reply) => Err(Got::from(reply)),
            other => panic!("{}", client::show(&other)),
        }
    };
    let nova = "bedrock/us.amazon.nova-pro-v1:0";
    assert!(ask("blue-key", nova).is_ok() && ask("red-key", "bedrock/us.amazon.nova-lite-v1:0").is_ok());
    let got = ask("red-key", nova).err().unwrap();
    assert_eq!((got.status, got.header("retry-after")), (429, Some("61")));
    let message = got.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with("requests_per_minute of model bedrock/* is reached (2 in any 60 s)"),
        "{message}"
    );

    let mut first = ask("blue-key", "fast").ok().unwrap();
    assert_eq!(ask("red-key", "fast").err().unwrap().status, 429);
    assert!(ask("red-key", "free").is_ok());
    first.done(&host);
    assert!(ask("red-key", "fast").is_ok());

    let gauge = |limit: u64, used: u64, reserved: u64, reset: u64| json!({ "limit": limit, "used": used, "reserved": reserved, "reset_seconds": reset });
    let models = json!([
        { "model": "bedrock/*", "limits": { "requests_per_minute": gauge(2, 2, 0, 61) } },
        { "model": "fast", "limits": { "concurrent_requests": gauge(1, 0, 1, 0) } }
    ]);
    assert_eq!(usage(&plan, &host, "admin-key").1["models"], models);
    assert_eq!(usage(&plan, &host, "blue-key").1.get("models"), None);
}

#[test]
fn limits_of_everyone_hold_without_teams() {
    let plan = compile(Value::Null, json!({ "total": { "requests_per_minute": 1 } }));
    let host = host(&plan);
    assert_eq!(exchange(&plan, &host, 10, (1, 1)).status, 200);
    assert_eq!(exchange(&plan, &host, 10, (1, 1)).status, 429);
}

#[test]
fn a_request_that_is_refused_takes_nothing() {
    let plan = plan(json!({ "requests_per_minute": 10 }));
    let host = host(&plan);
    for wrong in [&b"{"[..], br#"{"model":"bedrock/priced"}"#, br#"{"model":"nothing","messages":[]}"#] {
        let Step::Answer(reply) = Exchange::new(&plan, &host).send(wrong) else { panic!("let through") };
        assert!(reply.status < 429);
        let got = Got::from(reply);
        assert_eq!(got.header("x-ratelimit-remaining-requests"), Some("10"), "{}", got.body);
    }
    let got = exchange(&plan, &host, 10, (1, 1));
    assert_eq!(got.header("x-ratelimit-remaining-requests"), Some("9"));
}

#[test]
fn every_request_is_counted_by_team_and_rule_and_left_to_the_access_log() {
    let plan = plan(json!({}));
    let host = host(&plan);
    assert_eq!(exchange(&plan, &host, 10, (100, 10)).status, 200);
    let counts = host.counts();
    let of = |name: &str| counts.get(&format!("{name};team=blue;model=bedrock/*")).copied();
    assert_eq!(counts["fairlead_requests_total;team=blue;model=bedrock/*;status=200"], 1);
    assert_eq!(counts["gen_ai_client_token_usage_total;team=blue;model=bedrock/*;token_type=input"], 100);
    assert_eq!(counts["gen_ai_client_token_usage_total;team=blue;model=bedrock/*;token_type=output"], 10);
    assert_eq!(of("fairlead_cost_nanodollars_total"), Some(2_000_000));
    assert!(of("gen_ai_server_request_duration_milliseconds").is_some());
    assert!(of("gen_ai_server_time_to_first_token_milliseconds").is_some());
    let fields = [
        ("team", "blue"),
        ("model", PRICED),
        ("tokens", "110"),
        ("input_tokens", "100"),
        ("output_tokens", "10"),
        ("cost_usd", "0.002000000"),
        ("cost_micro_usd", "2000"),
        ("first_token_ms", "0"),
    ];
    assert_eq!(
        fields.map(|(field, _)| field).as_slice(),
        FIELDS.iter().map(|(name, _)| *name).collect::<Vec<_>>()
    );
    for (field, value) in fields {
        assert_eq!(host.field(field).as_deref(), Some(value), "{field}");
    }
}

#[test]
fn a_service_that_counts_whole_millionths_of_a_dollar_is_told_of_every_request_that_cost_something() {
    let plan = plan(json!({}));
    for (model, used, expected) in [
        ("bedrock/amazon.nova-micro-v1:0", (1, 1), "1"),
        (PRICED, (10, 0), "100"),
        (PRICED, (0, 0), "0"),
        ("bedrock/anthropic.unpriced", (1, 1), "0"),
    ] {
        let host = host(&plan);
        let mut exchange = Exchange::new(&plan, &host);
        exchange.forward(&body(model, 10, false));
        assert_eq!(exchange.receive(ok("application/json"), [reply(used).as_slice()]).status, 200);
        assert_eq!(host.field("cost_micro_usd").as_deref(), Some(expected), "{model} {used:?}");
    }
}

#[test]
fn a_stream_counts_the_time_to_its_first_bytes_and_to_its_end() {
    let plan = plan(json!({}));
    let host = host(&plan);
    let mut exchange = Exchange::new(&plan, &host);
    exchange.forward(&body("vertex_ai/gemini-2.5-flash", 5000, true));
    host.advance(Duration::from_millis(250));
    let mut out = Vec::new();
    exchange.whole.response_headers(&host, ok("text/event-stream"), false);
    exchange.whole.response_chunk(&host, CHUNK.as_bytes(), false, &mut out);
    host.advance(Duration::from_millis(750));
    exchange.whole.response_chunk(&host, END.as_bytes(), true, &mut out);
    exchange.whole.done(&host);
    let counts = host.counts();
    let labels = "team=blue;model=vertex_ai/*";
    assert_eq!(counts[&format!("gen_ai_server_time_to_first_token_milliseconds;{labels}")], 250);
    assert_eq!(counts[&format!("gen_ai_server_request_duration_milliseconds;{labels}")], 1000);
    assert_eq!(counts[&format!("fairlead_requests_total;{labels};status=200")], 1, "once");
}

#[test]
fn what_the_gateway_refuses_is_counted_by_its_reason() {
    let team =
        json!({ "blue": { "keys": [key()], "models": ["*"], "limits": { "requests_per_minute": 1 } } });
    let refusing = compile(team, json!({ "total": { "requests_per_minute": 100 } }));
    let host = host(&refusing);
    exchange(&refusing, &host, 10, (1, 1));
    let mut second = Exchange::new(&refusing, &host);
    assert!(matches!(second.send(&body(PRICED, 10, false)), Step::Answer(_)));
    second.whole.done(&host);
    let request = headers(&[(":method", "POST"), (":path", "/v1/chat/completions"), ("x-api-key", "wrong")]);
    let mut stranger = Whole::new(Rc::clone(&refusing));
    let Step::Answer(reply) = stranger.request_headers(&host, &request, false) else { panic!("let in") };
    assert!(reply.headers.iter().all(|(name, _)| !name.starts_with("x-ratelimit")), "{reply:?}");
    stranger.done(&host);
    let counts = host.counts();
    assert_eq!(counts["fairlead_refused_total;team=blue;reason=limit"], 1);
    assert_eq!(counts["fairlead_refused_total;team=none;reason=key"], 1);
    assert_eq!(counts["fairlead_requests_total;team=blue;model=bedrock/*;status=429"], 1);
    assert_eq!(counts["fairlead_requests_total;team=none;model=other;status=401"], 1);
}

/// What `GET /fairlead/usage` says to who sends this key.
fn usage(plan: &Rc<Plan>, host: &FakeHost, key: &str) -> (u16, Value) {
    let request = headers(&[
        (":method", "GET"),
        (":path", "/fairlead/usage"),
        ("authorization", &format!("Bearer {key}")),
    ]);
    let Step::Answer(reply) = Whole::new(Rc::clone(plan)).request_headers(host, &request, true) else {
        panic!("not answered");
    };
    let got = Got::from(reply);
    (got.status, got.json())
}

#[test]
fn a_member_sees_his_team_and_his_key_and_an_administrator_all() {
    let hash = |key: &str| Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut named = key();
    named["name"] = json!("ci");
    named["limits"] = json!({ "concurrent_requests": 7 });
    let limits = json!({ "tokens_per_minute": 10_000, "budget": { "usd": 2.5, "per": "1d" }, "models": { "*": { "requests_per_minute": 5 } } });
    let config = json!({
        "backends": { "aws": {
            "provider": "bedrock", "region": "us-east-1", "cluster": "c",
            "credentials": { "source": "static", "access_key_id": "A", "secret_access_key": "S" }
        } },
        "models": [{ "name": "bedrock/*", "backend": "aws" }],
        "prices": [{ "model": "bedrock/priced*", "input": 10.0, "output": 100.0 }],
        "teams": {
            "blue": { "keys": [named], "models": ["*"], "limits": limits },
            "red": { "keys": [{ "sha256": hash("red-key") }], "models": ["*"] }
        },
        "admin": { "keys": [{ "sha256": hash("admin-key") }] },
        "limits": { "total": { "requests_per_minute": 100 } }
    });
    let plan = client::compile(&config.to_string());
    let host = host(&plan);
    assert_eq!(exchange(&plan, &host, 10, (100, 10)).status, 200);

    let blue = json!({
        "name": "blue",
        "limits": {
            "tokens_per_minute": { "limit": 10_000, "used": 110, "reserved": 0, "reset_seconds": 61 },
            "budget": { "limit": 2.5, "used": 0.002, "reserved": 0, "reset_seconds": 87_840 - 1_767_323_045u64 % 1440 }
        },
        "models": [{
            "model": "*",
            "limits": { "requests_per_minute": { "limit": 5, "used": 1, "reserved": 0, "reset_seconds": 61 } }
        }]
    });
    let key = json!({
        "name": "ci",
        "limits": { "concurrent_requests": { "limit": 7, "used": 0, "reserved": 0, "reset_seconds": 0 } }
    });
    let total = json!({ "limits": { "requests_per_minute": { "limit": 100, "used": 1, "reserved": 0, "reset_seconds": 61 } } });
    let red = json!({ "name": "red", "limits": {}, "models": [] });
    assert_eq!(usage(&plan, &host, "client-key"), (200, json!({ "teams": [blue], "key": key })));
    assert_eq!(usage(&plan, &host, "red-key"), (200, json!({ "teams": [red], "key": { "limits": {} } })));
    assert_eq!(
        usage(&plan, &host, "admin-key"),
        (200, json!({ "teams": [blue, red], "models": [], "total": total }))
    );
    assert_eq!(usage(&plan, &host, "wrong-key").0, 401);
    // The administrator's key shows everything and opens nothing.
    let request =
        headers(&[(":method", "POST"), (":path", "/v1/chat/completions"), ("x-api-key", "admin-key")]);
    let step = Whole::new(Rc::clone(&plan)).request_headers(&host, &request, false);
    assert!(matches!(step, Step::Answer(reply) if reply.status == 401));
}
