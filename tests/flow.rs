//! Stories of the pipeline: tokens among workers that race, limits, and answers that Envoy makes itself.
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

use common::cases;
use common::client::{self, Exchange, Got, REQUEST_ID, SECRETS, headers, request_headers};
use common::envoy::FakeHost;
use fairlead::base::headers::Headers;
use fairlead::base::host::{Callout, Outgoing, ReplyStep, Step};
use fairlead::dialect::Upstream;
use fairlead::pipeline::{Plan, Position, Whole};

const HELLO: &[u8] = br#"{"model":"chat","messages":[{"role":"user","content":"Hi"}]}"#;
const STREAM: &[u8] = br#"{"model":"chat","messages":[{"role":"user","content":"Hi"}],"stream":true}"#;

fn vertex() -> Rc<Plan> {
    client::plan(Upstream::Gemini)
}

fn bedrock() -> Rc<Plan> {
    client::plan(Upstream::Converse)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A process whose plugin has been configured, and some more of its workers.
fn process(plan: &Plan, workers: usize) -> Vec<FakeHost> {
    let first = FakeHost::new();
    plan.prepare(&first);
    let more: Vec<FakeHost> = (1..workers).map(|_| first.worker()).collect();
    std::iter::once(first).chain(more).collect()
}

/// The token came, or did not.
fn answer(plan: &Plan, host: &FakeHost, answer: Option<(u16, &[u8])>) {
    client::answer(&plan.sources()[0], host, answer);
}

fn parked<'h>(plan: &Rc<Plan>, host: &'h FakeHost) -> Exchange<'h> {
    let mut exchange = Exchange::new(plan, host);
    assert_eq!(exchange.send(HELLO), Step::Park);
    exchange
}

fn bearer(outgoing: &Outgoing) -> &str {
    outgoing.headers.get("authorization").unwrap().strip_prefix("Bearer ").unwrap()
}

fn forwarded(step: Step) -> Outgoing {
    match step {
        Step::Forward(outgoing) => outgoing,
        other => panic!("not forwarded: {}", client::show(&other)),
    }
}

fn answered(step: Step) -> Got {
    match step {
        Step::Answer(reply) => reply.into(),
        other => panic!("not answered: {}", client::show(&other)),
    }
}

/// The answer is an error in OpenAI's shape; gives its status and code.
fn error(got: &Got) -> (u16, String) {
    assert!(got.answered);
    assert_eq!(got.header("content-type"), Some("application/json"));
    assert_eq!(got.header("x-request-id"), Some(REQUEST_ID), "{}", got.body);
    let error = got.json()["error"].clone();
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
    assert!(error["type"].is_string() && error.get("param").is_some(), "{error}");
    (got.status, error["code"].as_str().unwrap_or_default().to_owned())
}

fn no_credentials(got: &Got) {
    assert_eq!(error(got), (503, "credentials_unavailable".to_owned()));
    let wait: u32 = got.header("retry-after").expect("a client is told when to come back").parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
}

// Tokens.

#[test]
fn a_hundred_cold_requests_on_four_workers_cause_one_call_for_a_token() {
    let plan = vertex();
    let workers = process(&plan, 4);
    let mut waiting: Vec<Exchange<'_>> =
        workers.iter().flat_map(|worker| (0..25).map(|_| parked(&plan, worker))).collect();
    let calls: Vec<Callout> = workers.iter().filter_map(|worker| client::fetch(&plan, worker)).collect();
    let [call] = calls.as_slice() else { panic!("{} calls", calls.len()) };
    assert_eq!(call.cluster, "gcp_metadata");
    assert_eq!(call.timeout, seconds(3));
    let expected = [
        (":method", "GET"),
        (":path", "/computeMetadata/v1/instance/service-accounts/default/token"),
        (":authority", "metadata.google.internal"),
        ("metadata-flavor", "Google"),
    ];
    assert_eq!(call.headers, expected.map(|(name, value)| (name, value.to_owned())));

    workers[0].advance(Duration::from_millis(500));
    for exchange in &mut waiting {
        assert_eq!(exchange.whole.wake(exchange.host), Step::Park, "the token has not come yet");
    }
    assert!(workers.iter().all(|worker| client::fetch(&plan, worker).is_none()), "it is being fetched");

    answer(&plan, &workers[0], Some((200, &client::token("fresh", 3599))));
    for exchange in &mut waiting {
        let outgoing = forwarded(exchange.whole.wake(exchange.host));
        assert_eq!(bearer(&outgoing), "fresh");
        assert_eq!(outgoing.headers.get(":authority"), Some("us-central1-aiplatform.googleapis.com"));
        assert_eq!(exchange.whole.wake(exchange.host), Step::Pass, "woken once more");
    }
    assert_eq!(
        bearer(&Exchange::new(&plan, &workers[3]).forward(HELLO)),
        "fresh",
        "and later ones do not wait"
    );
    assert!(workers.iter().all(|worker| client::fetch(&plan, worker).is_none()));
}

#[test]
fn a_request_for_bedrock_waits_for_no_token() {
    let host = FakeHost::new();
    Exchange::new(&bedrock(), &host).forward(HELLO);
    assert!(bedrock().sources().is_empty());
}

#[test]
fn a_token_source_that_fails_gives_every_waiting_request_one_503() {
    let page = b"<html>Not a token</html>".as_slice();
    let failures: &[Option<(u16, &[u8])>] = &[
        None,
        Some((500, b"")),
        Some((404, page)),
        Some((200, page)),
        Some((200, b"")),
        Some((200, b"{}")),
        Some((200, br#"{"access_token":"","expires_in":3599}"#)),
        Some((200, br#"{"access_token":"two words","expires_in":3599}"#)),
        Some((200, br#"{"access_token":"x\r\ny: z","expires_in":3599}"#)),
        Some((200, br#"{"access_token":"token","expires_in":"soon"}"#)),
    ];
    for failure in failures {
        let plan = vertex();
        let workers = process(&plan, 2);
        let mut waiting: Vec<Exchange<'_>> = workers.iter().map(|worker| parked(&plan, worker)).collect();
        assert!(client::fetch(&plan, &workers[1]).is_some());
        answer(&plan, &workers[1], *failure);
        for exchange in &mut waiting {
            no_credentials(&answered(exchange.whole.wake(exchange.host)));
            assert_eq!(exchange.whole.wake(exchange.host), Step::Pass, "answered once");
        }
        // Nobody asks again at once, and nobody waits for what will not come.
        no_credentials(&answered(Exchange::new(&plan, &workers[0]).send(HELLO)));
        assert!(workers.iter().all(|worker| client::fetch(&plan, worker).is_none()));
        let log = workers[1].take_log();
        assert_eq!(log.len(), 1, "{log:?}");
        assert!(log[0].1.contains("gcp_metadata"), "{log:?}");
        for secret in ["Not a token", "two words", "x\r\n"] {
            assert!(!log[0].1.contains(secret), "{log:?}");
        }

        workers[0].advance(seconds(1));
        assert!(client::fetch(&plan, &workers[0]).is_some(), "but a second later somebody does");
        answer(&plan, &workers[0], Some((200, &client::token("late", 3599))));
        assert_eq!(bearer(&Exchange::new(&plan, &workers[1]).forward(HELLO)), "late");
    }
}

#[test]
fn a_source_that_goes_on_failing_is_asked_ever_less_often_but_at_least_twice_a_minute() {
    let plan = vertex();
    let host = &process(&plan, 1)[0];
    let mut waits = Vec::new();
    for _ in 0..12 {
        let mut waited = 0;
        while client::fetch(&plan, host).is_none() {
            host.advance(Duration::from_millis(100));
            waited += 100;
        }
        waits.push(waited);
        answer(&plan, host, None);
    }
    assert!(waits.is_sorted(), "{waits:?}");
    assert!(waits[1] >= 500 && waits[11] == 30_000, "{waits:?}");
}

#[test]
fn a_request_waits_five_seconds_for_a_token_and_no_longer() {
    let plan = vertex();
    let workers = process(&plan, 2);
    let mut exchange = parked(&plan, &workers[0]);
    assert!(client::fetch(&plan, &workers[1]).is_some());
    workers[0].advance(Duration::from_millis(4999));
    assert_eq!(exchange.whole.wake(&workers[0]), Step::Park);
    workers[0].advance(Duration::from_millis(1));
    no_credentials(&answered(exchange.whole.wake(&workers[0])));
}

#[test]
fn when_the_worker_that_fetches_dies_another_one_takes_over() {
    let plan = vertex();
    let workers = process(&plan, 2);
    assert!(client::fetch(&plan, &workers[1]).is_some());
    workers[0].advance(Duration::from_millis(3999));
    assert!(client::fetch(&plan, &workers[0]).is_none(), "the call may take three seconds");
    workers[0].advance(Duration::from_millis(1));
    assert!(client::fetch(&plan, &workers[0]).is_some());
}

#[test]
fn a_token_is_replaced_ahead_of_its_end_while_the_old_one_serves() {
    let plan = vertex();
    let workers = process(&plan, 3);
    let used = |worker: &FakeHost| bearer(&Exchange::new(&plan, worker).forward(HELLO)).to_owned();
    assert!(client::fetch(&plan, &workers[0]).is_some());
    answer(&plan, &workers[0], Some((200, &client::token("old", 3600))));
    workers[0].advance(seconds(3600 - 241));
    assert!(workers.iter().all(|worker| client::fetch(&plan, worker).is_none()), "not due yet");
    workers[0].advance(seconds(1));
    let calls = workers.iter().filter_map(|worker| client::fetch(&plan, worker)).count();
    assert_eq!(calls, 1, "one worker fetches");
    assert_eq!(used(&workers[1]), "old", "and nobody waits for it");
    // It fails, and nobody notices.
    answer(&plan, &workers[0], Some((503, b"")));
    assert_eq!(used(&workers[2]), "old");
    workers[0].advance(seconds(2));
    assert!(client::fetch(&plan, &workers[2]).is_some());
    answer(&plan, &workers[2], Some((200, &client::token("new", 3600))));
    assert!(workers.iter().all(|worker| used(worker) == "new"));
}

#[test]
fn a_token_that_is_about_to_end_is_not_sent() {
    let plan = vertex();
    let host = &process(&plan, 1)[0];
    assert!(client::fetch(&plan, host).is_some());
    answer(&plan, host, Some((200, &client::token("short", 60))));
    host.advance(seconds(57));
    Exchange::new(&plan, host).forward(HELLO);
    host.advance(seconds(1));
    let mut exchange = parked(&plan, host);
    // The source fails until after the end: the old token is of no use any more.
    assert!(client::fetch(&plan, host).is_some());
    answer(&plan, host, None);
    no_credentials(&answered(exchange.whole.wake(host)));
}

/// A reply of status 401 to a request with a token of this age; gives what the client gets.
fn unauthorised(plan: &Rc<Plan>, host: &FakeHost) -> Got {
    let mut exchange = Exchange::new(plan, host);
    exchange.forward(HELLO);
    host.set_attribute("response.code_details", "via_upstream");
    let body =
        br#"{"error":{"code":401,"message":"ya29.token is bad","status":"UNAUTHENTICATED"}}"#.as_slice();
    exchange.receive(headers(&[(":status", "401"), ("content-type", "application/json")]), [body])
}

#[test]
fn a_401_makes_a_new_token_be_fetched_once() {
    let plan = vertex();
    let workers = process(&plan, 2);
    client::sign_in(&plan, &workers[0]);
    workers[0].advance(seconds(60));
    let mut late = Exchange::new(&plan, &workers[1]);
    late.forward(HELLO);
    let got = unauthorised(&plan, &workers[0]);
    assert_eq!(error(&got), (503, "credentials_unavailable".to_owned()));
    assert!(!got.body.contains(client::TOKEN), "{}", got.body);

    let mut next = parked(&plan, &workers[0]);
    assert_eq!(workers.iter().filter_map(|worker| client::fetch(&plan, worker)).count(), 1);
    answer(&plan, &workers[1], Some((200, &client::token("second", 3599))));
    assert_eq!(bearer(&forwarded(next.whole.wake(&workers[0]))), "second");
    // What was sent with the first token and comes back now says nothing of the second.
    let refused = headers(&[(":status", "401"), ("content-type", "application/json")]);
    late.receive(refused, []);
    assert!(workers.iter().all(|worker| client::fetch(&plan, worker).is_none()));
    assert_eq!(bearer(&Exchange::new(&plan, &workers[0]).forward(HELLO)), "second");
}

#[test]
fn a_401_to_a_token_that_has_just_come_is_not_the_fault_of_the_token() {
    let plan = vertex();
    let host = &process(&plan, 1)[0];
    client::sign_in(&plan, host);
    host.advance(seconds(4));
    unauthorised(&plan, host);
    assert!(client::fetch(&plan, host).is_none(), "the source would give the same again");
    Exchange::new(&plan, host).forward(HELLO);
}

#[test]
fn a_lost_race_for_the_lease_means_that_another_worker_makes_the_call() {
    let plan = vertex();
    let host = &process(&plan, 1)[0];
    host.lose(1);
    assert!(client::fetch(&plan, host).is_none());
    assert!(client::fetch(&plan, host).is_some(), "unless nobody did");
}

#[test]
fn a_token_is_stored_through_lost_races() {
    let plan = vertex();
    let host = &process(&plan, 1)[0];
    assert!(client::fetch(&plan, host).is_some());
    host.lose(5);
    answer(&plan, host, Some((200, &client::token("stored", 3599))));
    assert_eq!(host.races_left(), 0);
    assert_eq!(bearer(&Exchange::new(&plan, host).forward(HELLO)), "stored");
    assert_eq!(host.take_log(), []);
}

#[test]
fn races_that_never_end_cost_a_token_and_not_the_worker() {
    let plan = vertex();
    let host = &process(&plan, 1)[0];
    assert!(client::fetch(&plan, host).is_some());
    host.lose(1_000_000);
    answer(&plan, host, Some((200, &client::token("lost", 3599))));
    assert!(host.races_left() > 999_900, "tries are bounded");
    assert_eq!(host.take_log().len(), 1);
    host.lose(0);
    host.advance(seconds(4));
    assert!(client::fetch(&plan, host).is_some(), "the next one brings it");
}

#[test]
fn a_new_configuration_keeps_the_token() {
    let host = &process(&vertex(), 1)[0];
    client::sign_in(&vertex(), host);
    let again = vertex();
    again.prepare(host);
    assert_eq!(bearer(&Exchange::new(&again, host).forward(HELLO)), client::TOKEN);
}

#[test]
fn two_sources_have_tokens_of_their_own() {
    let plan = client::compile(
        r#"{"backends":{
            "a":{"provider":"vertex","project":"a","location":"global","cluster":"v","credentials":{"source":"metadata_server","cluster":"m1"}},
            "b":{"provider":"vertex","project":"b","location":"global","cluster":"v","credentials":{"source":"metadata_server","cluster":"m2"}},
            "c":{"provider":"vertex","project":"c","location":"global","cluster":"v","credentials":{"source":"metadata_server","cluster":"m2"}}},
            "models":[{"name":"chat","backend":"a"},{"name":"other","backend":"b"},{"name":"third","backend":"c"}]}"#,
    );
    let host = FakeHost::new();
    plan.prepare(&host);
    let sources = plan.sources();
    assert_eq!(sources.len(), 2);
    for (source, cluster) in sources.iter().zip(["m1", "m2"]) {
        assert_eq!(source.fetch(&host).unwrap().cluster, cluster);
    }
    client::answer(&sources[1], &host, Some((200, &client::token("second", 3599))));
    let asking = |model: &str| String::from_utf8(HELLO.to_vec()).unwrap().replace("chat", model);
    assert_eq!(Exchange::new(&plan, &host).send(asking("chat").as_bytes()), Step::Park);
    for model in ["other", "third"] {
        assert_eq!(bearer(&Exchange::new(&plan, &host).forward(asking(model).as_bytes())), "second");
    }
}

// What goes where.

#[test]
fn nothing_of_the_clients_headers_reaches_a_cloud() {
    for &upstream in Upstream::ALL {
        let (plan, host) = (client::plan(upstream), FakeHost::new());
        client::sign_in(&plan, &host);
        let outgoing = Exchange::new(&plan, &host).forward(HELLO);
        for (name, value) in &outgoing.headers.0 {
            let value = String::from_utf8(value.clone()).unwrap();
            for secret in SECRETS {
                assert!(!value.contains(secret), "{name}: {value}");
            }
            let count = outgoing.headers.0.iter().filter(|(other, _)| other == name).count();
            assert_eq!(count, 1, "{name}");
        }
        assert!(outgoing.headers.get("x-request-id").is_none() && outgoing.headers.get("host").is_none());
    }
}

#[test]
fn nothing_of_the_clouds_headers_reaches_the_client() {
    let host = FakeHost::new();
    let mut exchange = Exchange::new(&bedrock(), &host);
    exchange.forward(HELLO);
    let mut reply = cases::reply_headers(Upstream::Converse);
    reply.add("set-cookie", "a=b");
    reply.add("content-length", "9999");
    reply.add("transfer-encoding", "chunked");
    host.set_attribute("upstream.request_attempt_count", 2_u64.to_le_bytes());
    let body = br#"{"output":{"message":{"content":[{"text":"Hi"}]}},"stopReason":"end_turn"}"#.as_slice();
    let got = exchange.receive(reply, [body]);
    let expected = [
        ("content-type", "application/json"),
        ("x-fairlead-backend", "cloud"),
        ("x-fairlead-model", "us.anthropic.claude-sonnet-4-20250514-v1:0"),
        ("x-fairlead-attempts", "2"),
        ("content-length", &got.body.len().to_string()),
        ("x-request-id", REQUEST_ID),
    ];
    let mut names: Vec<(&str, &str)> = got.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let mut expected = expected.to_vec();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn a_stream_is_told_to_proxies_as_one() {
    let host = FakeHost::new();
    let mut exchange = Exchange::new(&bedrock(), &host);
    exchange.forward(STREAM);
    let frames =
        cases::frames(Upstream::Converse, br#"{"event":"messageStop","payload":{"stopReason":"end_turn"}}"#);
    let got = exchange.receive(cases::stream_headers(Upstream::Converse), frames.iter().map(Vec::as_slice));
    assert_eq!(got.status, 200);
    assert_eq!(got.header("content-type"), Some("text/event-stream"));
    assert_eq!(got.header("cache-control"), Some("no-cache"));
    assert_eq!(got.header("content-length"), None);
}

#[test]
fn what_is_not_ours_passes_untouched_both_ways() {
    let host = FakeHost::new();
    for (method, path) in
        [("GET", "/"), ("POST", "/v1/other"), ("OPTIONS", "/v1/chat/completions"), ("POST", "/health")]
    {
        let mut whole = Whole::new(bedrock());
        assert_eq!(
            whole.request_headers(&host, &headers(&[(":method", method), (":path", path)]), false),
            Step::Pass
        );
        assert_eq!(whole.request_growing(1 << 40), Step::Pass);
        assert_eq!(whole.request_body(&host, b"not json"), Step::Pass);
        assert_eq!(whole.wake(&host), Step::Pass);
        assert_eq!(whole.response_headers(&host, headers(&[(":status", "503")]), false), ReplyStep::Pass);
        let mut out = Vec::new();
        assert_eq!(whole.response_chunk(&host, b"no healthy upstream", true, &mut out), ReplyStep::Pass);
        assert!(out.is_empty());
    }
}

#[test]
fn an_answer_of_our_own_passes_our_own_filter() {
    let host = FakeHost::new();
    let mut exchange = Exchange::new(&bedrock(), &host);
    answered(exchange.send(b"{"));
    // Envoy sends what the filter answers through the filter.
    assert_eq!(
        exchange.whole.response_headers(&host, headers(&[(":status", "400")]), false),
        ReplyStep::Pass
    );
    let mut out = Vec::new();
    assert_eq!(exchange.whole.response_chunk(&host, b"{}", true, &mut out), ReplyStep::Pass);
    assert_eq!(exchange.whole.wake(&host), Step::Pass);
}

#[test]
fn what_the_host_cannot_do_is_a_500() {
    let host = FakeHost::new();
    let mut exchange = Exchange::new(&bedrock(), &host);
    exchange.forward(HELLO);
    let got = exchange.whole.fault("Envoy did not let us").into();
    assert_eq!(error(&got), (500, "internal_error".to_owned()));
    assert_eq!(
        exchange.whole.response_headers(&host, headers(&[(":status", "500")]), false),
        ReplyStep::Pass
    );
}

#[test]
fn a_request_without_an_id_of_envoys_gets_no_empty_one() {
    let host = FakeHost::new();
    let mut whole = Whole::new(bedrock());
    let request = headers(&[(":method", "POST"), (":path", "/v1/chat/completions")]);
    assert_eq!(whole.request_headers(&host, &request, false), Step::Wait);
    let got = answered(whole.request_body(&host, b"{"));
    assert_eq!(got.header("x-request-id"), None);
}

// Limits.

#[test]
fn a_body_over_the_limit_is_refused_as_soon_as_that_is_known() {
    let json = r#"{"backends":{"aws":{"provider":"bedrock","region":"us-east-1","cluster":"c","credentials":
        {"source":"static","access_key_id":"A","secret_access_key":"S"}}},
        "models":[{"name":"chat","backend":"aws"}],"limits":{"request_bytes":59}}"#;
    let plan = client::compile(json);
    let host = FakeHost::new();
    let too_large = |step| assert_eq!(error(&answered(step)), (413, "request_too_large".to_owned()));
    assert_eq!(HELLO.len(), 60);

    let declaring = |length: &str| {
        let mut declared = request_headers();
        declared.add("content-length", length);
        Whole::new(Rc::clone(&plan)).request_headers(&host, &declared, false)
    };
    too_large(declaring("60"));
    assert_eq!(declaring("59"), Step::Wait);

    let mut growing = Whole::new(Rc::clone(&plan));
    assert_eq!(growing.request_headers(&host, &request_headers(), false), Step::Wait);
    assert_eq!(growing.request_growing(59), Step::Wait);
    too_large(growing.request_growing(60));
    assert_eq!(growing.request_growing(61), Step::Pass, "answered once");
    assert_eq!(growing.request_body(&host, HELLO), Step::Pass);

    too_large(Exchange::new(&plan, &host).send(HELLO));
    let got = answered(Exchange::new(&plan, &host).send(&HELLO[..59]));
    assert_eq!(error(&got), (400, "invalid_json".to_owned()), "a byte less is looked at");
}

#[test]
fn a_reply_that_never_ends_does_not_fill_the_memory() {
    let host = FakeHost::new();
    let mut exchange = Exchange::new(&bedrock(), &host);
    exchange.forward(HELLO);
    let mebibyte = vec![b' '; 1024 * 1024];
    let got =
        exchange.receive(cases::reply_headers(Upstream::Converse), (0..17).map(|_| mebibyte.as_slice()));
    assert_eq!(error(&got), (502, "upstream_invalid_response".to_owned()));
}

#[test]
fn an_error_page_that_never_ends_is_read_to_its_end_and_not_kept() {
    let host = FakeHost::new();
    let mut exchange = Exchange::new(&bedrock(), &host);
    exchange.forward(HELLO);
    host.set_attribute("response.code_details", "via_upstream");
    let page = vec![b'<'; 1024 * 1024];
    let got = exchange.receive(
        headers(&[(":status", "500"), ("content-type", "text/html")]),
        (0..17).map(|_| page.as_slice()),
    );
    assert_eq!(error(&got), (502, "upstream_error".to_owned()));
    assert!(got.body.len() < 1000);
}

#[test]
fn a_model_name_of_any_length_is_the_clients_mistake_and_nobody_elses() {
    let plan = bedrock();
    let host = FakeHost::new();
    for length in [2048, 10_000, 1_000_000] {
        let body = format!(
            r#"{{"model":"bedrock/{}","messages":[{{"role":"user","content":"Hi"}}]}}"#,
            "é".repeat(length)
        );
        match Exchange::new(&plan, &host).send(body.as_bytes()) {
            Step::Forward(_) => {}
            step => {
                let got = answered(step);
                assert!((400..500).contains(&got.status), "{length}: {} {}", got.status, got.body);
            }
        }
    }
}

// Replies that are none.

/// A request that was sent, answered with these headers and this body.
fn replied(request: &[u8], reply: Headers, body: Option<&[u8]>) -> Got {
    let host = FakeHost::new();
    let mut exchange = Exchange::new(&bedrock(), &host);
    exchange.forward(request);
    exchange.receive(reply, body)
}

#[test]
fn a_200_that_is_no_reply_becomes_a_502_and_never_an_empty_200() {
    let json = ("content-type", "application/json");
    let stream = ("content-type", "application/vnd.amazon.eventstream");
    let good = br#"{"output":{"message":{"content":[{"text":"Hi"}]}},"stopReason":"end_turn"}"#.as_slice();
    for (request, reply, body) in [
        (HELLO, [json, ("x", "")], None),
        (HELLO, [json, ("x", "")], Some(b"".as_slice())),
        (HELLO, [json, ("content-encoding", "gzip")], Some(good)),
        (HELLO, [("content-type", "text/html"), ("x", "")], Some(good)),
        (HELLO, [("x", ""), ("y", "")], Some(good)),
        (HELLO, [stream, ("x", "")], Some(good)),
        (STREAM, [stream, ("x", "")], None),
        (STREAM, [stream, ("x", "")], Some(b"")),
        (STREAM, [json, ("x", "")], Some(good)),
        (STREAM, [stream, ("content-encoding", "gzip")], Some(good)),
        (STREAM, [stream, ("x", "")], Some(good)),
    ] {
        let mut list = headers(&[(":status", "200")]);
        for (name, value) in reply {
            list.add(name, value);
        }
        let got = replied(request, list, body);
        assert_eq!(error(&got), (502, "upstream_invalid_response".to_owned()), "{reply:?} {body:?}");
        assert_eq!(got.header("x-fairlead-backend"), Some("cloud"));
    }
}

#[test]
fn what_envoy_answers_itself_becomes_openais_error_and_its_details_stay_in_the_log() {
    for (status, details, text, expected, code) in [
        (503, "no_healthy_upstream", "no healthy upstream", 503, "upstream_unreachable"),
        (
            503,
            "upstream_reset_before_response_started{connection_failure|delayed_connect_error:_111_10.1.2.4}",
            "upstream connect error or disconnect/reset before headers. transport failure reason: 10.1.2.4",
            503,
            "upstream_unreachable",
        ),
        (503, "cluster_not_found", "", 500, "internal_error"),
        (503, "upstream_reset_before_response_started{overflow}", "overflow", 503, "upstream_overloaded"),
        (
            502,
            "upstream_reset_before_response_started{protocol_error}",
            "upstream error",
            503,
            "upstream_unreachable",
        ),
        (504, "response_timeout", "upstream request timeout", 504, "upstream_timeout"),
        (504, "upstream_per_try_timeout", "upstream request timeout", 504, "upstream_timeout"),
        (408, "request_overall_timeout", "request timeout", 504, "upstream_timeout"),
        (404, "route_not_found", "", 500, "internal_error"),
        (413, "request_payload_too_large", "Payload Too Large", 413, "request_too_large"),
        (429, "request_rate_limited", "local_rate_limited", 429, "rate_limit_exceeded"),
        (503, "rate_limiter_error", "", 503, "upstream_overloaded"),
        (403, "rbac_access_denied_matched_policy[none]", "RBAC: access denied", 403, "upstream_denied"),
        (400, "low_version", "", 400, ""),
    ] {
        let host = FakeHost::new();
        let mut exchange = Exchange::new(&bedrock(), &host);
        exchange.forward(HELLO);
        host.set_attribute("response.code_details", details);
        let head = headers(&[(":status", &status.to_string()), ("content-type", "text/plain")]);
        let body = (!text.is_empty()).then_some(text.as_bytes());
        let got = exchange.receive(head, body);
        assert_eq!(error(&got), (expected, code.to_owned()), "{status} {details}");
        assert!(!got.body.contains("10.1.2.4") && !got.body.contains(details), "{}", got.body);
        let log = host.take_log();
        assert_eq!(log.len(), 1, "{log:?}");
        assert!(log[0].1.contains(details), "{log:?}");
    }
}

#[test]
fn what_envoy_answers_before_the_request_has_left_becomes_openais_error_too() {
    // The body is coming; Envoy's buffer is full, or the client is too slow.
    for (status, expected) in [(413, (413, "request_too_large")), (408, (504, "upstream_timeout"))] {
        let host = FakeHost::new();
        let mut whole = Whole::new(bedrock());
        assert_eq!(whole.request_headers(&host, &request_headers(), false), Step::Wait);
        host.set_attribute("response.code_details", "by_envoy");
        let mut exchange = Exchange::begun(whole, &host);
        let got =
            exchange.receive(headers(&[(":status", &status.to_string())]), [b"Payload Too Large".as_slice()]);
        assert_eq!(error(&got), (expected.0, expected.1.to_owned()));
    }
    // It waits for a token.
    let plan = vertex();
    let host = &process(&plan, 1)[0];
    let mut exchange = parked(&plan, host);
    host.set_attribute("response.code_details", "request_overall_timeout");
    let got = exchange.receive(headers(&[(":status", "408")]), []);
    assert_eq!(error(&got).0, 504);
    assert_eq!(exchange.whole.wake(host), Step::Pass, "and it is over then");
}

#[test]
fn an_error_of_the_cloud_keeps_its_request_id_but_not_one_that_is_none() {
    for (id, kept) in [("0f1e2d3c-aaaa-bbbb", true), ("x\" y", false), (&*"a".repeat(65), false)] {
        let got = replied(
            HELLO,
            headers(&[
                (":status", "429"),
                ("x-amzn-errortype", "ThrottlingException"),
                ("x-amzn-requestid", id),
            ]),
            Some(br#"{"message":"Slow down."}"#),
        );
        let message = got.json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(message.contains("request id"), kept, "{message}");
        assert_eq!(message.contains(id), kept, "{message}");
    }
}

// The routes.

#[test]
fn routes_of_ours_that_are_called_wrongly_are_answered_at_once() {
    for (method, path, more, last, expected) in [
        ("GET", "/v1/chat/completions", ("x", ""), true, (405, "method_not_allowed")),
        ("PUT", "/chat/completions", ("x", ""), false, (405, "method_not_allowed")),
        ("POST", "/v1/chat/completions", ("x", ""), true, (400, "invalid_json")),
        (
            "POST",
            "/v1/chat/completions?x=1",
            ("content-encoding", "gzip"),
            false,
            (415, "unsupported_encoding"),
        ),
    ] {
        let request = headers(&[(":method", method), (":path", path), ("x-request-id", REQUEST_ID), more]);
        let got = answered(Whole::new(bedrock()).request_headers(&FakeHost::new(), &request, last));
        assert_eq!(error(&got), (expected.0, expected.1.to_owned()), "{method} {path}");
        assert_eq!(got.header("allow"), (expected.0 == 405).then_some("POST"));
    }
    let health = headers(&[(":method", "GET"), (":path", "/health"), ("x-request-id", REQUEST_ID)]);
    let got = answered(Whole::new(bedrock()).request_headers(&FakeHost::new(), &health, true));
    assert_eq!((got.status, got.body.as_str()), (200, r#"{"status":"ok"}"#));
}

#[test]
fn the_health_of_a_gateway_names_the_backends_that_have_no_credentials() {
    let plan = vertex();
    let host = &process(&plan, 1)[0];
    let health = || {
        let request = headers(&[(":method", "GET"), (":path", "/health")]);
        let got = answered(Whole::new(Rc::clone(&plan)).request_headers(host, &request, true));
        assert_eq!(got.status, 200, "a restart would not help");
        (got.json()["status"].clone(), got.json()["credentials"]["cloud"].clone())
    };
    assert_eq!(health(), ("degraded".into(), "waiting".into()));
    assert!(client::fetch(&plan, host).is_some());
    answer(&plan, host, None);
    assert_eq!(health(), ("degraded".into(), "failing".into()));
    host.advance(seconds(1));
    client::sign_in(&plan, host);
    assert_eq!(health(), ("ok".into(), serde_json::Value::Null));
    host.advance(seconds(3599 - 100));
    assert!(client::fetch(&plan, host).is_some());
    answer(&plan, host, Some((500, b"")));
    assert_eq!(health(), ("degraded".into(), "ending".into()));
    let fetches: Vec<(String, u64)> =
        host.counts().into_iter().filter(|(name, _)| name.contains("credential")).collect();
    let name = |outcome: &str| format!("fairlead_credential_fetches_total;backend=cloud;outcome={outcome}");
    assert_eq!(fetches, [(name("failed"), 1), (name("ok"), 1), (name("unreachable"), 1)]);
}

#[test]
fn an_answer_that_is_envoys_own_says_that_the_source_cannot_be_reached() {
    let plan = vertex();
    let host = &process(&plan, 1)[0];
    for (status, body, said) in [
        (503, "upstream connect error or disconnect/reset before headers.", "cannot be reached"),
        (503, "no healthy upstream", "cannot be reached"),
        (504, "upstream request timeout", "did not answer in time"),
    ] {
        host.advance(seconds(60));
        assert!(client::fetch(&plan, host).is_some());
        answer(&plan, host, Some((status, body.as_bytes())));
        let log = host.take_log();
        assert!(log.len() == 1 && log[0].1.contains(said), "{log:?}");
    }
    let name = "fairlead_credential_fetches_total;backend=cloud;outcome=unreachable";
    assert_eq!(host.counts().get(name), Some(&3));
}

#[test]
fn tokens_that_came_together_are_replaced_apart() {
    let plan = vertex();
    let dues: std::collections::BTreeSet<u64> = (0..20)
        .map(|part| {
            let host = &process(&plan, 1)[0];
            host.advance(Duration::from_millis(part * 50));
            client::sign_in(&plan, host);
            let begin = 3599 - 300;
            host.advance(seconds(begin));
            assert!(client::fetch(&plan, host).is_none(), "the source has no new one before");
            (begin..3599).find(|_| {
                host.advance(seconds(1));
                client::fetch(&plan, host).is_some()
            })
        })
        .map(Option::unwrap)
        .collect();
    assert!(dues.len() > 5 && *dues.last().unwrap() <= 3599 - 240, "{dues:?}");
}

// What is left out.

const LOSSY: &[u8] =
    br#"{"model":"chat","messages":[{"role":"user","content":"Hi"}],"seed":1,"user":"u","xyzzy":2}"#;

#[test]
fn what_is_left_out_is_counted_by_the_names_of_the_documentation_alone() {
    let host = FakeHost::new();
    let worker = host.worker();
    for host in [&host, &worker] {
        Exchange::new(&bedrock(), host).forward(LOSSY);
    }
    let counted = |field: &str| (format!("fairlead_dropped_total;field={field};upstream=converse"), 2);
    assert_eq!(host.counts().into_iter().collect::<Vec<_>>(), ["other", "seed", "user"].map(counted));
    Exchange::new(&bedrock(), &host).forward(HELLO);
    assert_eq!(host.counts().len(), 3);
}

#[test]
fn what_a_request_waits_with_is_counted_once() {
    let plan = vertex();
    let host = &process(&plan, 1)[0];
    let mut exchange = Exchange::new(&plan, host);
    assert_eq!(exchange.send(LOSSY), Step::Park);
    assert_eq!(exchange.whole.wake(host), Step::Park);
    assert!(client::fetch(&plan, host).is_some());
    answer(&plan, host, Some((200, &client::token("late", 3599))));
    forwarded(exchange.whole.wake(host));
    assert_eq!(host.counts().get("fairlead_dropped_total;field=user;upstream=gemini"), Some(&1));
}

#[test]
fn a_gateway_that_leaves_nothing_out_refuses_with_the_paths_of_all_that_it_would() {
    let plan = client::compile(
        r#"{
            "backends": { "aws": {
                "provider": "bedrock", "region": "us-east-1", "cluster": "bedrock_us_east_1",
                "credentials": { "source": "static", "access_key_id": "AKIDEXAMPLE", "secret_access_key": "x" }
            } },
            "models": [{ "name": "bedrock/*", "backend": "aws" }],
            "drop_params": false
        }"#,
    );
    let host = FakeHost::new();
    let send = |fields: &str, path: &str| {
        let model = "bedrock/anthropic.claude-opus-4-8";
        let body = format!(
            r#"{{"model":"{model}","max_tokens":9,"messages":[{{"role":"user","content":"Hi"}}]{fields}}}"#
        );
        let mut whole = Whole::new(Rc::clone(&plan));
        let request = headers(&[(":method", "POST"), (":path", path), ("x-request-id", REQUEST_ID)]);
        assert_eq!(whole.request_headers(&host, &request, false), Step::Wait);
        whole.request_body(&host, body.as_bytes())
    };
    let chat = "/v1/chat/completions";
    forwarded(send("", chat));
    let got = answered(send(r#","seed":1,"user":"u","xyzzy":2"#, chat));
    assert_eq!(error(&got), (400, "unsupported_parameter".to_owned()));
    let refusal = got.json()["error"].clone();
    assert_eq!(refusal["param"], "seed");
    assert!(refusal["message"].as_str().unwrap().starts_with("seed, user, xyzzy: "), "{refusal}");
    // What only this model makes the upstream leave out counts as well.
    let got = answered(send(r#","temperature":0.5"#, chat));
    assert_eq!(got.json()["error"]["param"], "temperature");
    let got = answered(send(r#","speed":"fast""#, "/v1/messages"));
    assert_eq!(got.status, 400);
    assert_eq!(got.json()["error"]["type"], "invalid_request_error");
    assert!(got.body.contains("speed: "), "{}", got.body);
    assert!(host.counts().is_empty(), "nothing was left out");
}
