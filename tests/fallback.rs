//! Stories of a gate and the tries behind it: who is asked next, what the client hears, and what it costs.
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

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use common::cases;
use common::client::{self, Got, compile, headers, request_headers, show};
use common::envoy::FakeHost;
use fairlead::base::headers::Headers;
use fairlead::base::host::{Outgoing, ReplyStep, Step};
use fairlead::dialect::Upstream;
use fairlead::pipeline::{Desk, Plan, Position, Trial, Whole};
use serde_json::{Value, json};

const KEYS: [(&str, &str); 2] = [("access_key_id", "AKIDEXAMPLE"), ("secret_access_key", "wJalrXUtnFEMI")];

/// Three backends, a group that all of them have, and two chains.
fn config() -> Value {
    let bedrock = |region: &str, cluster: &str| {
        let mut credentials = json!({ "source": "static" });
        KEYS.iter().for_each(|(name, value)| credentials[*name] = json!(value));
        json!({ "provider": "bedrock", "region": region, "cluster": cluster, "credentials": credentials })
    };
    json!({
        "backends": {
            "east": bedrock("us-east-1", "aws_east"),
            "west": bedrock("us-west-2", "aws_west"),
            "own": {
                "provider": "anthropic", "cluster": "anthropic",
                "credentials": { "source": "api_key", "api_key": client::API_KEY }
            }
        },
        "models": [
            { "name": "bedrock/*", "backend": "east" },
            { "name": "claude", "targets": [
                { "backend": "east", "model": "bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0", "order": 1 },
                { "backend": "west", "model": "bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0", "order": 2 },
                { "backend": "own", "model": "anthropic/claude-sonnet-4-20250514", "order": 3 }
            ] },
            { "name": "nova", "backend": "east", "model": "bedrock/us.amazon.nova-lite-v1:0", "fallbacks": ["claude"] },
            { "name": "small", "backend": "east", "model": "bedrock/us.amazon.nova-micro-v1:0",
                "context_window": 1000, "context_window_fallbacks": ["big"] },
            { "name": "big", "backend": "own", "model": "anthropic/claude-sonnet-4-20250514" }
        ],
        "chains": [
            { "cluster": "all", "backends": ["east", "west", "own"] },
            { "cluster": "from_west", "backends": ["west", "east", "own"] },
            { "cluster": "two", "backends": ["east", "own"] },
            { "cluster": "aws_east", "backends": ["east"] },
            { "cluster": "anthropic", "backends": ["own"] }
        ]
    })
}

fn plan() -> Rc<Plan> {
    compile(&config().to_string())
}

/// One request at the gate, and its tries.
struct Story<'h> {
    host: &'h FakeHost,
    desk: Rc<Desk>,
    gate: Whole,
    body: Vec<u8>,
    /// What a try has told the client itself.
    told: RefCell<Option<Got>>,
}

/// What Envoy is told of a request at the gate.
struct Routed {
    cluster: String,
    streamed: bool,
    retries: Option<usize>,
}

impl<'h> Story<'h> {
    fn begin(plan: &Rc<Plan>, host: &'h FakeHost, body: &str) -> (Self, Step) {
        let desk = Rc::<Desk>::default();
        let mut gate = Whole::gate(Rc::clone(plan), Rc::clone(&desk));
        assert_eq!(gate.request_headers(host, &request_headers(), false), Step::Wait);
        let step = gate.request_body(host, body.as_bytes());
        (Self { host, desk, gate, body: body.as_bytes().to_vec(), told: RefCell::default() }, step)
    }

    fn routed(plan: &Rc<Plan>, host: &'h FakeHost, body: &str) -> (Self, Routed) {
        let (story, step) = Self::begin(plan, host, body);
        let Step::Route(headers) = step else { panic!("not routed: {}", show(&step)) };
        let get =
            |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let routed = Routed {
            cluster: get("x-fairlead-cluster").unwrap(),
            streamed: get("x-fairlead-stream").unwrap() == "true",
            retries: get("x-envoy-max-retries").map(|retries| retries.parse().unwrap()),
        };
        (story, routed)
    }

    /// A try at a backend, with what the try before has left of the headers.
    fn trial(&self, backend: &str) -> (Trial, Step) {
        let path = "xds.upstream_host_metadata.filter_metadata.fairlead.backend";
        self.host.set_attribute(path, backend);
        let mut trial = Trial::new(Rc::clone(&self.desk));
        let left =
            headers(&[(":method", "POST"), (":path", "/model/x/converse"), ("authorization", "AWS4 x")]);
        match trial.request_headers(self.host, &left, false) {
            Step::Wait => {}
            other => return (trial, other),
        }
        let body = if trial.needs_body() { self.body.clone() } else { Vec::new() };
        let step = trial.request_body(self.host, &body);
        (trial, step)
    }

    fn sent(&self, backend: &str) -> (Trial, Outgoing) {
        match self.trial(backend) {
            (trial, Step::Forward(outgoing)) => (trial, outgoing),
            (_, other) => panic!("not sent to {backend}: {}", show(&other)),
        }
    }

    /// A try whose cloud answers so; gives the status that Envoy's router sees, and whether it is to try again.
    fn fails(&self, backend: &str, reply: Headers, pieces: &[&[u8]]) -> (u16, bool) {
        let (mut trial, _) = self.sent(backend);
        let mut step = trial.response_headers(self.host, reply, pieces.is_empty());
        for (index, piece) in pieces.iter().enumerate() {
            let mut out = Vec::new();
            if let ReplyStep::Hold = step {
                step = trial.response_chunk(self.host, piece, index + 1 == pieces.len(), &mut out);
                if let ReplyStep::Begin(headers) = &step {
                    self.told.replace(Some(whole(headers, &out)));
                } else {
                    assert!(out.is_empty(), "{}", String::from_utf8_lossy(&out));
                }
            }
        }
        trial.done(self.host);
        match step {
            ReplyStep::Fail(headers) => {
                assert_eq!(headers.get("content-type"), None, "the gate writes the answer");
                (headers.status(), headers.get("x-fairlead-retry").is_some())
            }
            ReplyStep::Begin(headers) => (headers.status(), false),
            other => panic!("{other:?}"),
        }
    }

    fn refuses(&self, backend: &str, status: u16, kind: &str) -> (u16, bool) {
        self.refuses_for(backend, status, kind, "a reason")
    }

    /// The same of a request that is longer than its model takes.
    fn finds_too_long(&self, backend: &str) -> (u16, bool) {
        self.refuses_for(backend, 400, "ValidationException", "Input is too long for requested model.")
    }

    fn refuses_for(&self, backend: &str, status: u16, kind: &str, reason: &str) -> (u16, bool) {
        let status = status.to_string();
        let reply = headers(&[
            (":status", &status),
            ("content-type", "application/json"),
            ("x-amzn-errortype", kind),
            ("x-amzn-requestid", "aws-1"),
        ]);
        self.fails(backend, reply, &[json!({ "message": reason }).to_string().as_bytes()])
    }

    /// A try that gives the client a whole reply of Converse's.
    fn succeeds(&mut self, backend: &str) -> Got {
        let (mut trial, _) = self.sent(backend);
        let body = br#"{"output":{"message":{"role":"assistant","content":[{"text":"Yes"}]}},"stopReason":"end_turn","usage":{"inputTokens":7,"outputTokens":3,"totalTokens":10}}"#;
        let reply = headers(&[(":status", "200"), ("content-type", "application/json")]);
        assert_eq!(trial.response_headers(self.host, reply, false), ReplyStep::Hold);
        let mut out = Vec::new();
        let ReplyStep::Begin(headers) = trial.response_chunk(self.host, body, true, &mut out) else {
            panic!()
        };
        self.host.set_attribute("response.code_details", "via_upstream");
        assert_eq!(self.gate.response_headers(self.host, headers.clone(), false), ReplyStep::Pass);
        assert!(!self.gate.reads(), "the gate does not look at the reply");
        self.gate.passed(self.host);
        trial.done(self.host);
        whole(&headers, &out)
    }

    /// What the client hears when the last try has failed.
    fn ends(&mut self, status: u16) -> Got {
        self.host.set_attribute("response.code_details", "via_upstream");
        if let Some(told) = self.told.take() {
            let head = headers(&[(":status", &status.to_string())]);
            assert_eq!(self.gate.response_headers(self.host, head, false), ReplyStep::Pass);
            assert_eq!(told.status, status);
            return told;
        }
        match self.gate.response_headers(self.host, headers(&[(":status", &status.to_string())]), true) {
            ReplyStep::Answer(reply) => reply.into(),
            other => panic!("{other:?}"),
        }
    }
}

/// What a client gets of these.
fn whole(headers: &Headers, body: &[u8]) -> Got {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let others = headers.0.iter().filter(|(name, _)| name != ":status");
    Got {
        status: headers.status(),
        headers: others.map(|(name, value)| (name.clone(), text(value))).collect(),
        body: text(body),
        answered: false,
    }
}

/// An Envoy that survives a retry when all of a reply is there.
fn envoy() -> FakeHost {
    let host = FakeHost::new();
    for (name, number) in [("major_number", 1u64), ("minor_number", 40)] {
        let path = format!("xds.node.user_agent_build_version.version.{name}");
        host.set_attribute(&path, number.to_le_bytes());
    }
    host
}

fn chat(model: &str) -> String {
    json!({ "model": model, "messages": [{ "role": "user", "content": "Hi" }] }).to_string()
}

fn code(got: &Got) -> (u16, String) {
    let code = got.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
    (got.status, code)
}

#[test]
fn the_gate_names_the_chain_and_the_first_try_sends_what_it_has_translated() {
    let (plan, host) = (plan(), envoy());
    let (mut story, routed) = Story::routed(&plan, &host, &chat("claude"));
    assert_eq!((routed.cluster.as_str(), routed.streamed, routed.retries), ("all", false, Some(2)));
    let (trial, outgoing) = story.sent("east");
    drop(trial);
    assert_eq!(outgoing.headers.get(":authority"), Some("bedrock-runtime.us-east-1.amazonaws.com"));
    for internal in ["x-fairlead-cluster", "x-forwarded-proto", "x-fairlead-stream", "x-envoy-max-retries"] {
        assert_eq!(outgoing.headers.get(internal), None, "{internal}");
    }
    let body: Value = serde_json::from_slice(&outgoing.body).unwrap();
    assert_eq!(body["messages"][0]["content"][0]["text"], "Hi");
    let got = story.succeeds("west");
    assert_eq!((got.status, got.header("x-fairlead-backend")), (200, Some("west")));
    assert_eq!(got.json()["model"], "claude");
}

#[test]
fn every_try_is_signed_and_written_for_its_own_backend() {
    let (plan, host) = (plan(), envoy());
    let (mut story, _) = Story::routed(&plan, &host, &chat("claude"));
    assert_eq!(story.refuses("east", 503, "ServiceUnavailableException"), (503, true));
    let (trial, outgoing) = story.sent("west");
    drop(trial);
    assert_eq!(outgoing.headers.get(":authority"), Some("bedrock-runtime.us-west-2.amazonaws.com"));
    assert!(outgoing.headers.get("authorization").unwrap().contains("/us-west-2/bedrock/"));
    let (trial, outgoing) = story.sent("own");
    drop(trial);
    assert_eq!(outgoing.headers.get(":path"), Some("/v1/messages"));
    assert_eq!(outgoing.headers.get("x-api-key"), Some(client::API_KEY));
    assert_eq!(outgoing.headers.get("authorization"), None, "the last try's signature is gone");
    let body: Value = serde_json::from_slice(&outgoing.body).unwrap();
    assert_eq!(body["model"], "claude-sonnet-4-20250514");
    story.gate.done(&host);
}

#[test]
fn what_the_client_did_wrong_is_tried_once_and_answered_in_its_dialect() {
    let (plan, host) = (plan(), envoy());
    let (mut story, _) = Story::routed(&plan, &host, &chat("claude"));
    assert_eq!(story.refuses("east", 400, "ValidationException"), (400, false));
    let got = story.ends(400);
    assert_eq!(code(&got), (400, String::new()));
    assert!(got.json()["error"]["message"].as_str().unwrap().contains("a reason"), "{}", got.body);
    assert_eq!(got.header("x-fairlead-backend"), Some("east"));
    assert!(got.header("x-fairlead-retry").is_none());
}

#[test]
fn refused_credentials_and_unknown_models_are_tried_elsewhere_and_not_where_there_is_no_elsewhere() {
    for (status, kind, outcome) in
        [(403, "AccessDeniedException", "denied"), (404, "ResourceNotFoundException", "refused")]
    {
        let (plan, host) = (plan(), envoy());
        let (story, _) = Story::routed(&plan, &host, &chat("claude"));
        assert_eq!(story.refuses("east", status, kind), (status, true), "{kind}");
        assert_eq!(story.refuses("west", status, kind), (status, true), "{kind}");
        let (alone, routed) = Story::routed(&plan, &host, &chat("bedrock/amazon.nova-lite-v1:0"));
        assert_eq!((routed.cluster.as_str(), routed.retries), ("aws_east", None));
        assert_eq!(alone.refuses("east", status, kind), (status, false), "{kind}");
        let name = format!("fairlead_tries_total;backend=east;outcome={outcome}");
        assert_eq!(host.counts().get(&name), Some(&2), "{:?}", host.counts());
    }
}

#[test]
fn what_was_signed_by_a_wrong_clock_is_signed_again_by_the_clouds_and_tried_at_the_same_place() {
    let (plan, host) = (plan(), envoy());
    let (mut story, _) = Story::routed(&plan, &host, &chat("bedrock/us.amazon.nova-lite-v1:0"));
    let date = |outgoing: &Outgoing| outgoing.headers.get("x-amz-date").unwrap().to_owned();
    let an_hour_later = headers(&[
        (":status", "403"),
        ("content-type", "application/json"),
        ("x-amzn-errortype", "InvalidSignatureException"),
        ("date", "Fri, 02 Jan 2026 04:04:05 GMT"),
    ]);
    let body: &[u8] =
        br#"{"message":"Signature expired: 20260102T030405Z is now earlier than 20260102T035905Z"}"#;
    assert_eq!(story.fails("east", an_hour_later.clone(), &[body]), (503, true));
    let (_, outgoing) = story.sent("east");
    assert_eq!(date(&outgoing), "20260102T040405Z");
    story.succeeds("east");
    let log = host.take_log();
    assert!(log.len() == 1 && log[0].1.contains("3600 s slow"), "{log:?}");

    // Who is refused by the right clock gets no further try, and who is refused once more neither.
    let (story, _) = Story::routed(&plan, &host, &chat("bedrock/us.amazon.nova-lite-v1:0"));
    assert_eq!(story.fails("east", an_hour_later, &[body]), (403, false));

    // Another worker has heard of it; and a clock that is mended is believed again.
    let other = host.worker();
    let fresh = compile(&config().to_string());
    fresh.look(&other);
    let (story, _) = Story::routed(&fresh, &other, &chat("bedrock/us.amazon.nova-lite-v1:0"));
    assert_eq!(date(&story.sent("east").1), "20260102T040405Z");
    let right = headers(&[
        (":status", "403"),
        ("x-amzn-errortype", "InvalidSignatureException:http://internal.amazon.com/"),
        ("date", "Fri, 02 Jan 2026 03:04:06 GMT"),
    ]);
    assert_eq!(story.fails("east", right, &[]), (503, true));
    assert_eq!(date(&story.sent("east").1), "20260102T030405Z");
}

#[test]
fn a_token_that_was_revoked_is_fetched_again_and_its_try_repeated_once() {
    let plan = compile(
        &json!({
            "backends": { "google": {
                "provider": "vertex", "project": "p", "location": "global", "cluster": "google",
                "credentials": { "source": "metadata_server", "cluster": "metadata" }
            } },
            "models": [{ "name": "gemini", "backend": "google", "model": "vertex_ai/gemini-2.5-flash" }],
            "chains": [{ "cluster": "chain", "backends": ["google"] }]
        })
        .to_string(),
    );
    let host = envoy();
    client::sign_in(&plan, &host);
    host.advance(Duration::from_secs(60));
    let (story, _) = Story::routed(&plan, &host, &chat("gemini"));
    let refused = headers(&[(":status", "401"), ("content-type", "application/json")]);
    let body: &[u8] = br#"{"error":{"code":401,"message":"no","status":"UNAUTHENTICATED"}}"#;
    assert_eq!(story.fails("google", refused.clone(), &[body]), (503, true));

    let (mut trial, step) = story.trial("google");
    assert_eq!(step, Step::Park, "the next token is on its way");
    assert!(client::fetch(&plan, &host).is_some());
    client::answer(&plan.sources()[0], &host, Some((200, &client::token("second", 3599))));
    let Step::Forward(outgoing) = trial.wake(&host) else { panic!("the token is there") };
    assert_eq!(outgoing.headers.get("authorization"), Some("Bearer second"));
    let step = trial.response_headers(&host, refused, true);
    assert!(
        matches!(&step, ReplyStep::Fail(headers) if headers.get("x-fairlead-retry").is_none()),
        "{step:?}"
    );
}

#[test]
fn what_is_on_its_way_when_another_request_is_told_the_time_or_to_renew_its_token_is_tried_again_too() {
    let (plan, host) = (
        compile(
            &json!({
                "backends": {
                    "aws": {
                        "provider": "bedrock", "region": "us-east-1", "cluster": "aws",
                        "credentials": { "source": "static", "access_key_id": "AKID", "secret_access_key": "secret" }
                    },
                    "google": {
                        "provider": "vertex", "project": "p", "location": "global", "cluster": "google",
                        "credentials": { "source": "metadata_server", "cluster": "metadata" }
                    }
                },
                "models": [
                    { "name": "nova", "backend": "aws", "model": "bedrock/us.amazon.nova-lite-v1:0" },
                    { "name": "gemini", "backend": "google", "model": "vertex_ai/gemini-2.5-flash" }
                ],
                "chains": [
                    { "cluster": "one", "backends": ["aws"] }, { "cluster": "two", "backends": ["google"] }
                ]
            })
            .to_string(),
        ),
        envoy(),
    );
    client::sign_in(&plan, &host);
    host.advance(Duration::from_secs(60));
    for (model, backend, refused) in [
        (
            "nova",
            "aws",
            headers(&[
                (":status", "403"),
                ("x-amzn-errortype", "InvalidSignatureException"),
                ("date", "Fri, 02 Jan 2026 04:05:05 GMT"),
            ]),
        ),
        ("gemini", "google", headers(&[(":status", "401"), ("content-type", "application/json")])),
    ] {
        let stories: Vec<_> = (0..3).map(|_| Story::routed(&plan, &host, &chat(model)).0).collect();
        let tries: Vec<_> = stories.iter().map(|story| story.sent(backend).0).collect();
        for (index, mut trial) in tries.into_iter().enumerate() {
            host.advance(Duration::from_millis(10));
            if (backend, index) == ("google", 2) {
                // By now there is a new one, which is not meant.
                assert!(client::fetch(&plan, &host).is_some());
                client::answer(&plan.sources()[0], &host, Some((200, &client::token("second", 3599))));
            }
            let step = trial.response_headers(&host, refused.clone(), true);
            assert!(
                matches!(&step, ReplyStep::Fail(headers) if headers.get("x-fairlead-retry").is_some()),
                "{backend} {index}: {step:?}"
            );
        }
        assert!(client::fetch(&plan, &host).is_none(), "one token is enough for all");
    }
}

#[test]
fn a_stream_that_begins_with_an_exception_is_had_elsewhere_and_one_that_has_begun_is_not() {
    let (plan, host) = (plan(), envoy());
    let body = chat("claude").replace("\"messages\"", "\"stream\":true,\"messages\"");
    let (mut story, routed) = Story::routed(&plan, &host, &body);
    assert!(routed.streamed);
    let exception = br#"{"exception":"throttlingException","payload":{"message":"slow down"}}"#;
    let frames = cases::frames(Upstream::Converse, exception);
    let pieces: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let reply = cases::stream_headers(Upstream::Converse);
    assert_eq!(story.fails("east", reply.clone(), &pieces), (429, true));

    let (mut trial, _) = story.sent("west");
    let lines = concat!(
        r#"{"event":"messageStart","payload":{"role":"assistant"}}"#,
        "\n",
        r#"{"event":"contentBlockDelta","payload":{"contentBlockIndex":0,"delta":{"text":"Ye"}}}"#,
        "\n",
        r#"{"exception":"modelStreamErrorException","payload":{"message":"oh"}}"#,
    );
    let frames = cases::frames(Upstream::Converse, lines.as_bytes());
    assert_eq!(trial.response_headers(&host, reply, false), ReplyStep::Hold);
    let (mut text, mut begun) = (Vec::new(), false);
    for (index, frame) in frames.iter().enumerate() {
        let mut out = Vec::new();
        match trial.response_chunk(&host, frame, index + 1 == frames.len(), &mut out) {
            ReplyStep::Begin(headers) => {
                assert!(!std::mem::replace(&mut begun, true));
                assert_eq!(headers.get("x-fairlead-retry"), None);
                assert_eq!(story.gate.response_headers(&host, headers, false), ReplyStep::Pass);
            }
            ReplyStep::Hold | ReplyStep::Continue => {}
            other => panic!("{other:?}"),
        }
        text.append(&mut out);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(begun && text.contains("Ye") && text.contains("\"error\""), "{text}");
}

#[test]
fn tokens_of_failed_tries_are_counted_apart_and_the_reply_alone_is_charged() {
    let mut config = config();
    config["teams"] = json!({ "blue": { "keys": [], "identities": ["blue"], "models": ["*"],
        "limits": { "tokens_per_minute": 100_000 } } });
    config["identity"] = json!({ "header": "x-team" });
    let (plan, host) = (compile(&config.to_string()), envoy());
    plan.prepare(&host);
    let desk = Rc::<Desk>::default();
    let mut gate = Whole::gate(Rc::clone(&plan), Rc::clone(&desk));
    let mut said = request_headers();
    said.add("x-team", "blue");
    assert_eq!(gate.request_headers(&host, &said, false), Step::Wait);
    let body = chat("claude").into_bytes();
    assert!(matches!(gate.request_body(&host, &body), Step::Route(_)));
    let mut story = Story { host: &host, desk, gate, body, told: RefCell::default() };

    // It answers, and breaks off before there is a word for the client: that has cost something.
    let (mut trial, _) = story.sent("east");
    let reply = headers(&[(":status", "200"), ("content-type", "application/json")]);
    assert_eq!(trial.response_headers(&host, reply, false), ReplyStep::Hold);
    trial.done(&host);
    story.succeeds("west");
    story.gate.done(&host);

    let counts = host.counts();
    let count = |name: &str| counts.get(name).copied().unwrap_or_default();
    assert_eq!(count("gen_ai_client_token_usage_total;team=blue;model=claude;token_type=input"), 7);
    assert_eq!(count("gen_ai_client_token_usage_total;team=blue;model=claude;token_type=output"), 3);
    assert!(count("fairlead_failed_try_tokens_total;team=blue;model=claude") > 0, "{counts:?}");
    assert_eq!(count("fairlead_requests_total;team=blue;model=claude;status=200"), 1);
    assert_eq!(host.field("tokens").as_deref(), Some("10"));
    let limit = Exchange::limit(&plan, &host);
    assert_eq!(limit, 100_000 - 10, "reserved once, and settled by what the client got");
}

/// A look at what is left of team blue's tokens.
struct Exchange;

impl Exchange {
    fn limit(plan: &Plan, host: &FakeHost) -> u64 {
        let scope = plan.directory.scopes().find(|scope| scope.limits.tokens_per_minute.is_some()).unwrap();
        scope.standing(host).tokens.unwrap().remaining()
    }
}

#[test]
fn a_backend_that_asks_for_time_is_passed_over_until_it_is_up() {
    let (plan, host) = (plan(), envoy());
    let (story, routed) = Story::routed(&plan, &host, &chat("claude"));
    assert_eq!(routed.cluster, "all");
    let reply = headers(&[
        (":status", "429"),
        ("content-type", "application/json"),
        ("x-amzn-errortype", "ThrottlingException"),
        ("retry-after", "20"),
    ]);
    assert_eq!(story.fails("east", reply, &[b"{}"]), (429, true));
    let next = |host| Story::routed(&plan, host, &chat("claude")).1.cluster;
    assert_eq!(next(&host), "from_west");
    host.advance(Duration::from_secs(19));
    assert_eq!(next(&host), "from_west");
    host.advance(Duration::from_secs(1));
    assert_eq!(next(&host), "all");
    let (_, routed) = Story::routed(&plan, &host, &chat("bedrock/amazon.nova-lite-v1:0"));
    assert_eq!(
        routed.cluster, "aws_east",
        "other models of the backend, and requests without a choice, go there"
    );
}

#[test]
fn a_backend_whose_account_is_used_up_is_passed_over_until_there_is_room() {
    let mut config = config();
    config["backends"]["east"]["limits"] = json!({ "requests_per_minute": 2 });
    let (plan, host) = (compile(&config.to_string()), envoy());
    plan.prepare(&host);
    let next = || {
        let (mut story, routed) = Story::routed(&plan, &host, &chat("claude"));
        story.succeeds(if routed.cluster == "all" { "east" } else { "west" });
        story.gate.done(&host);
        routed.cluster
    };
    assert_eq!([next(), next(), next()], ["all", "all", "from_west"]);
    host.advance(Duration::from_secs(62));
    assert_eq!(next(), "all");
}

#[test]
fn the_models_that_stand_in_follow_and_a_client_may_name_its_own_or_none() {
    let (plan, host) = (plan(), envoy());
    let (story, routed) = Story::routed(&plan, &host, &chat("nova"));
    assert_eq!((routed.cluster.as_str(), routed.retries), ("all", Some(3)));
    assert_eq!(story.refuses("east", 500, "InternalServerException"), (502, true));
    let (_, outgoing) = story.sent("west");
    assert!(outgoing.headers.get(":path").unwrap().contains("claude-sonnet-4"), "{outgoing:?}");

    let with = |fields: Value| {
        let mut body: Value = serde_json::from_str(&chat("nova")).unwrap();
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body.to_string()
    };
    let (_, routed) = Story::routed(&plan, &host, &with(json!({ "disable_fallbacks": true })));
    assert_eq!((routed.cluster.as_str(), routed.retries), ("aws_east", None));
    let (story, routed) = Story::routed(&plan, &host, &with(json!({ "fallbacks": ["big"] })));
    assert_eq!((routed.cluster.as_str(), routed.retries), ("two", Some(1)));
    let (_, outgoing) = story.sent("own");
    let body: Value = serde_json::from_slice(&outgoing.body).unwrap();
    assert!(body.get("fallbacks").is_none(), "{body}");

    for (fields, path) in [
        (json!({ "fallbacks": ["nowhere"] }), "fallbacks[0]"),
        (json!({ "fallbacks": "big" }), "fallbacks"),
        (json!({ "disable_fallbacks": 1 }), "disable_fallbacks"),
    ] {
        let (_, step) = Story::begin(&plan, &host, &with(fields));
        let Step::Answer(reply) = step else { panic!("{}", show(&step)) };
        assert_eq!(Got::from(reply).json()["error"]["param"], path);
    }
}

#[test]
fn a_team_is_led_to_nothing_that_it_may_not_use() {
    let mut config = config();
    config["teams"] = json!({ "blue": { "identities": ["blue"], "limits": {},
        "models": ["nova", "claude", "bedrock/*"] } });
    config["identity"] = json!({ "header": "x-team" });
    let (plan, host) = (compile(&config.to_string()), envoy());
    plan.prepare(&host);
    let ask = |body: &str| {
        let mut gate = Whole::gate(Rc::clone(&plan), Rc::default());
        let mut said = request_headers();
        said.add("x-team", "blue");
        assert_eq!(gate.request_headers(&host, &said, false), Step::Wait);
        gate.request_body(&host, body.as_bytes())
    };
    let Step::Route(routed) = ask(&chat("nova")) else { panic!() };
    let told = |name: &str| &routed.iter().find(|(known, _)| *known == name).unwrap().1;
    assert_eq!(told("x-fairlead-cluster"), "all");
    assert_eq!(told("x-envoy-max-retries"), "1", "Anthropic's own would be the third of the chain");
    let wish = chat("nova").replace("\"messages\"", "\"fallbacks\":[\"big\"],\"messages\"");
    let Step::Answer(reply) = ask(&wish) else { panic!() };
    assert_eq!(Got::from(reply).status, 403);
}

#[test]
fn what_is_too_long_goes_to_a_wider_model_by_estimate_or_by_the_clouds_word() {
    let (plan, host) = (plan(), envoy());
    let long = chat("small").replace("Hi", &"word ".repeat(2000));
    let (story, routed) = Story::routed(&plan, &host, &long);
    assert_eq!(routed.cluster, "anthropic", "by the estimate, before anything is sent");
    let (_, outgoing) = story.sent("own");
    assert_eq!(outgoing.headers.get(":path"), Some("/v1/messages"));

    let (mut story, routed) = Story::routed(&plan, &host, &chat("small"));
    assert_eq!((routed.cluster.as_str(), routed.retries), ("two", Some(1)));
    assert_eq!(story.finds_too_long("east"), (400, true));
    let (_, outgoing) = story.sent("own");
    assert_eq!(outgoing.headers.get(":path"), Some("/v1/messages"));
    story.gate.done(&host);
}

#[test]
fn what_one_target_has_no_place_for_is_left_to_one_that_has() {
    let (plan, host) = (plan(), envoy());
    let json_mode = chat("claude").replace("\"messages\"", "\"logit_bias\":{\"1\":1},\"messages\"");
    let (_, step) = Story::begin(&plan, &host, &json_mode);
    let Step::Answer(reply) = step else { panic!("no target takes it: {}", show(&step)) };
    assert_eq!(Got::from(reply).json()["error"]["param"], "logit_bias");
}

/// With further models.
fn plan_with(models: Value, chains: Value) -> Rc<Plan> {
    let mut config = config();
    config["backends"]["open"] = json!({
        "provider": "openai", "cluster": "openai", "credentials": { "source": "api_key", "api_key": client::API_KEY }
    });
    config["models"].as_array_mut().unwrap().extend(models.as_array().unwrap().clone());
    config["chains"].as_array_mut().unwrap().extend(chains.as_array().unwrap().clone());
    compile(&config.to_string())
}

#[test]
fn of_several_wider_models_the_first_is_taken_and_the_others_stand_behind_it() {
    let mut config = config();
    config["models"][3]["context_window_fallbacks"] = json!(["big", "claude"]);
    let (plan, host) = (compile(&config.to_string()), envoy());
    let long = chat("small").replace("Hi", &"word ".repeat(2000));
    let (_, routed) = Story::routed(&plan, &host, &long);
    assert_eq!((routed.cluster.as_str(), routed.retries), ("anthropic", None));
}

#[test]
fn a_place_that_is_too_narrow_is_passed_over_on_the_way_to_a_wider_one() {
    let nova = "bedrock/us.amazon.nova-micro-v1:0";
    let targets = json!([{ "backend": "east", "model": nova, "order": 1 },
        { "backend": "west", "model": nova, "order": 2 }]);
    let mid = json!([{ "name": "mid", "targets": targets, "context_window_fallbacks": ["big"] }]);
    let (plan, host) = (plan_with(mid, json!([])), envoy());
    let (mut story, routed) = Story::routed(&plan, &host, &chat("mid"));
    assert_eq!((routed.cluster.as_str(), routed.retries), ("all", Some(2)));
    assert_eq!(story.finds_too_long("east"), (400, true));
    let nothing = headers(&[(":status", "403")]);
    assert_eq!(story.fails("west", nothing, &[]), (400, true), "what east has said still holds");
    let (_, outgoing) = story.sent("own");
    assert_eq!(outgoing.headers.get(":path"), Some("/v1/messages"));
    story.gate.done(&host);
}

#[test]
fn what_a_place_in_the_midst_has_no_room_for_is_had_from_the_next_one() {
    let targets = json!([
        { "backend": "open", "model": "openai/gpt-4.1", "order": 1 },
        { "backend": "east", "model": "bedrock/us.amazon.nova-lite-v1:0", "order": 2 },
        { "backend": "open", "model": "openai/gpt-4.1-mini", "order": 3 }]);
    let chain = json!([{ "cluster": "open_first", "backends": ["open", "east"] }]);
    let (plan, host) = (plan_with(json!([{ "name": "mixed", "targets": targets }]), chain), envoy());
    let body = chat("mixed").replace("\"messages\"", "\"logit_bias\":{\"1\":1},\"messages\"");
    let (story, routed) = Story::routed(&plan, &host, &body);
    assert_eq!((routed.cluster.as_str(), routed.retries), ("open_first", Some(2)));
    let down = || headers(&[(":status", "503"), ("content-type", "application/json")]);
    assert_eq!(story.fails("open", down(), &[b"{}"]), (503, true));
    assert_eq!(
        story.fails("east", headers(&[(":status", "404")]), &[]),
        (503, true),
        "why the first has failed"
    );
    let (_, outgoing) = story.sent("open");
    let body: Value = serde_json::from_slice(&outgoing.body).unwrap();
    assert_eq!(body["model"], "gpt-4.1-mini");
}

#[test]
fn what_takes_several_calls_elsewhere_is_not_answered_in_part() {
    let targets = json!([
        { "backend": "east", "model": "bedrock/cohere.embed-english-v3", "order": 1 },
        { "backend": "west", "model": "bedrock/amazon.titan-embed-text-v2:0", "order": 2 }]);
    let chain = json!([{ "cluster": "vectors", "backends": ["east", "west"] }]);
    let (plan, host) = (plan_with(json!([{ "name": "vectors", "targets": targets }]), chain), envoy());
    let desk = Rc::<Desk>::default();
    let mut gate = Whole::gate(Rc::clone(&plan), Rc::clone(&desk));
    let mut said = request_headers();
    said.0
        .iter_mut()
        .filter(|(name, _)| name == ":path")
        .for_each(|(_, path)| *path = b"/v1/embeddings".to_vec());
    assert_eq!(gate.request_headers(&host, &said, false), Step::Wait);
    let body = json!({ "model": "vectors", "input": ["a", "b", "c"] }).to_string().into_bytes();
    assert!(matches!(gate.request_body(&host, &body), Step::Route(_)));
    let story = Story { host: &host, desk, gate, body, told: RefCell::default() };
    assert_eq!(story.refuses("east", 503, "ServiceUnavailableException"), (503, true));
    let (_, step) = story.trial("west");
    let Step::Answer(reply) = step else { panic!("one of three texts was sent: {}", show(&step)) };
    assert_eq!(Got::from(reply).status, 503, "why the first has failed");
}

#[test]
fn a_client_names_no_more_models_than_are_ever_tried() {
    let (plan, host) = (plan(), envoy());
    let ask = |count: usize| {
        let names: Vec<String> = (0..count).map(|number| format!("bedrock/m{number}")).collect();
        let mut body: Value = serde_json::from_str(&chat("nova")).unwrap();
        body["fallbacks"] = json!(names);
        Story::begin(&plan, &host, &body.to_string()).1
    };
    assert!(matches!(ask(15), Step::Route(_)));
    let begun = std::time::Instant::now();
    let step = ask(20_000);
    eprintln!("20,000 names took {:?}", begun.elapsed());
    let Step::Answer(reply) = step else { panic!("{}", show(&step)) };
    let got = Got::from(reply);
    assert_eq!((got.status, &got.json()["error"]["param"]), (400, &json!("fallbacks")));
}

#[test]
fn a_model_that_stands_in_has_limits_too() {
    let mut config = config();
    config["models"][1]["limits"] = json!({ "requests_per_minute": 1 });
    let (plan, host) = (compile(&config.to_string()), envoy());
    plan.prepare(&host);
    let left = || plan.model_scope("claude").unwrap().standing(&host).requests.unwrap().remaining();
    let (mut story, routed) = Story::routed(&plan, &host, &chat("nova"));
    assert_eq!(routed.cluster, "all");
    assert_eq!(story.refuses("east", 500, "InternalServerException"), (502, true));
    assert_eq!(left(), 1);
    story.succeeds("west");
    assert_eq!(left(), 0, "it counts against the model that served it");
    story.gate.done(&host);
    assert_eq!(left(), 0);
    let (_, routed) = Story::routed(&plan, &host, &chat("nova"));
    assert_eq!((routed.cluster.as_str(), routed.retries), ("aws_east", None), "used up");
    // Nor does a request go there at once that the other one has no place for.
    let mut config = config_with_open();
    config["models"][1]["limits"] = json!({ "requests_per_minute": 1 });
    let (plan, host) = (compile(&config.to_string()), envoy());
    plan.prepare(&host);
    let body = chat("nova")
        .replace("\"messages\"", "\"logit_bias\":{\"1\":1},\"fallbacks\":[\"claude\"],\"messages\"");
    assert!(matches!(Story::begin(&plan, &host, &body).1, Step::Route(_)));
    let Step::Answer(reply) = Story::begin(&plan, &host, &body).1 else { panic!("past the limit") };
    assert!(matches!(reply.status, 400 | 429), "{}", reply.status);
}

/// Where `claude` is a model of OpenAI's, which takes what Nova does not.
fn config_with_open() -> Value {
    let mut config = config();
    config["backends"]["open"] = json!({
        "provider": "openai", "cluster": "openai", "credentials": { "source": "api_key", "api_key": client::API_KEY }
    });
    config["models"][1]["targets"] = json!([{ "backend": "open", "model": "openai/gpt-4.1" }]);
    config["chains"].as_array_mut().unwrap().push(json!({ "cluster": "openai", "backends": ["open"] }));
    config
}

#[test]
fn what_is_for_the_gateway_does_not_reach_a_cloud_whose_dialect_the_client_speaks() {
    let models =
        json!([{ "name": "openai/*", "backend": "open" }, { "name": "anthropic/*", "backend": "own" }]);
    let chain = json!([{ "cluster": "openai", "backends": ["open"] }]);
    let (plan, host) = (plan_with(models, chain), envoy());
    for (path, model, backend) in [
        ("/v1/chat/completions", "openai/gpt-4.1", "open"),
        ("/v1/embeddings", "openai/text-embedding-3-small", "open"),
        ("/v1/images/generations", "openai/gpt-image-1", "open"),
        ("/v1/messages", "anthropic/claude-sonnet-4-20250514", "own"),
        ("/v1/messages/count_tokens", "anthropic/claude-sonnet-4-20250514", "own"),
    ] {
        let mut body = json!({ "model": model, "disable_fallbacks": true });
        let asked = match path {
            "/v1/embeddings" => ("input", json!("a")),
            "/v1/images/generations" => ("prompt", json!("a")),
            _ => ("messages", json!([{ "role": "user", "content": "Hi" }])),
        };
        body[asked.0] = asked.1;
        if path == "/v1/messages" {
            body["max_tokens"] = json!(5);
        }
        let desk = Rc::<Desk>::default();
        let mut gate = Whole::gate(Rc::clone(&plan), Rc::clone(&desk));
        let mut said = request_headers();
        let paths = said.0.iter_mut().filter(|(name, _)| name == ":path");
        paths.for_each(|(_, known)| *known = path.as_bytes().to_vec());
        assert_eq!(gate.request_headers(&host, &said, false), Step::Wait);
        let body = body.to_string().into_bytes();
        let step = gate.request_body(&host, &body);
        assert!(matches!(step, Step::Route(_)), "{path}: {}", show(&step));
        let story = Story { host: &host, desk, gate, body, told: RefCell::default() };
        let (_, outgoing) = story.sent(backend);
        let sent: Value = serde_json::from_slice(&outgoing.body).unwrap();
        assert_eq!(sent.get("disable_fallbacks"), None, "{path}");
    }
}

#[test]
fn the_access_log_names_the_model_that_served() {
    let (plan, host) = (plan(), envoy());
    let (mut story, _) = Story::routed(&plan, &host, &chat("nova"));
    assert_eq!(host.field("model").as_deref(), Some("bedrock/us.amazon.nova-lite-v1:0"));
    assert_eq!(story.refuses("east", 500, "InternalServerException"), (502, true));
    story.succeeds("west");
    assert_eq!(host.field("model").as_deref(), Some("bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0"));
}

#[test]
fn a_look_at_a_request_takes_nothing_of_a_backends_account() {
    let mut config = config();
    config["backends"]["east"]["limits"] = json!({ "requests_per_minute": 1 });
    let (plan, host) = (compile(&config.to_string()), envoy());
    plan.prepare(&host);
    let mut gate = Whole::gate(Rc::clone(&plan), Rc::default());
    let mut said = request_headers();
    said.add("x-fairlead-dry-run", "true");
    assert_eq!(gate.request_headers(&host, &said, false), Step::Wait);
    assert!(matches!(gate.request_body(&host, chat("claude").as_bytes()), Step::Answer(_)));
    gate.done(&host);
    assert_eq!(Story::routed(&plan, &host, &chat("claude")).1.cluster, "all", "east is not used up");
}

#[test]
fn a_try_that_ends_while_its_reply_is_held_is_lost() {
    let (plan, host) = (plan(), envoy());
    let (story, _) = Story::routed(&plan, &host, &chat("claude"));
    let (mut trial, _) = story.sent("east");
    let reply = headers(&[(":status", "200"), ("content-type", "application/json")]);
    assert_eq!(trial.response_headers(&host, reply, false), ReplyStep::Hold);
    trial.done(&host);
    assert_eq!(host.counts().get("fairlead_tries_total;backend=east;outcome=lost"), Some(&1));
}

#[test]
fn a_gateway_that_is_full_does_not_blame_a_backend_for_it_nor_asks_another() {
    let (plan, host) = (plan(), envoy());
    let (story, _) = Story::routed(&plan, &host, &chat("claude"));
    let mut others = plan.room.share();
    assert!(others.grow(1 << 30));
    let reply = headers(&[(":status", "200"), ("content-type", "application/json"), ("content-length", "9")]);
    assert_eq!(story.fails("east", reply, &[b"{}"]), (503, false));
    drop(others);
    assert_eq!(Story::routed(&plan, &host, &chat("claude")).1.cluster, "all", "east is not passed over");
}

#[test]
fn a_request_that_did_not_pass_the_gate_is_refused() {
    let host = envoy();
    let mut trial = Trial::new(Rc::default());
    let Step::Answer(reply) = trial.request_headers(&host, &request_headers(), false) else { panic!() };
    let got = Got::from(reply);
    assert_eq!(code(&got), (500, "internal_error".to_owned()));
    assert!(got.body.contains("vm_config"), "{}", got.body);
}

#[test]
fn a_model_of_one_backend_goes_to_its_own_chain_or_to_none_but_the_first_of_a_longer_one() {
    let one = chat("bedrock/us.amazon.nova-lite-v1:0");
    let (plan, host) = (plan(), envoy());
    let (_, routed) = Story::routed(&plan, &host, &one);
    assert_eq!((routed.cluster.as_str(), routed.retries), ("aws_east", None));
    let (_, routed) = Story::routed(&plan, &host, &chat("claude"));
    assert_eq!(routed.cluster, "all");
    let mut config = config();
    config["chains"] = json!([{ "cluster": "all", "backends": ["east", "west", "own"] }]);
    let plan = compile(&config.to_string());
    let (story, routed) = Story::routed(&plan, &host, &one);
    assert_eq!((routed.cluster.as_str(), routed.retries), ("all", Some(0)));
    assert_eq!(story.refuses("east", 403, "AccessDeniedException"), (403, false));
}

#[test]
fn a_request_from_whose_backend_no_chain_begins_never_leaves() {
    let mut config = config();
    config["chains"] = json!([{ "cluster": "all", "backends": ["west", "east", "own"] }]);
    let (plan, host) = (compile(&config.to_string()), envoy());
    let (_, step) = Story::begin(&plan, &host, &chat("bedrock/us.amazon.nova-lite-v1:0"));
    let Step::Answer(reply) = step else { panic!("{}", show(&step)) };
    let got = Got::from(reply);
    assert_eq!(got.status, 500);
    assert!(got.body.contains("no chain of `chains` begins at backend east"), "{}", got.body);
}

#[test]
fn a_ticket_ends_with_its_request_and_is_of_no_use_to_another() {
    let (plan, host) = (plan(), envoy());
    let (story, _) = Story::routed(&plan, &host, &chat("claude"));
    let desk = Rc::clone(&story.desk);
    assert_eq!(desk.len(), 1);
    drop(story);
    assert!(desk.is_empty());
    let mut trial = Trial::new(desk);
    let step = trial.request_headers(&host, &request_headers(), false);
    assert!(
        matches!(step, Step::Answer(reply) if reply.status == 500),
        "its number is in the filter state still"
    );
}

#[test]
fn a_backend_that_is_no_place_of_the_model_is_a_fault_of_the_configuration() {
    let (plan, host) = (plan(), envoy());
    let (story, _) =
        Story::routed(&plan, &host, &chat("nova").replace("nova", "bedrock/amazon.nova-lite-v1:0"));
    let (_, step) = story.trial("own");
    let Step::Answer(reply) = step else { panic!("{}", show(&step)) };
    let got = Got::from(reply);
    assert_eq!(got.status, 500);
    assert!(got.body.contains("chains"), "{}", got.body);
}

#[test]
fn an_operator_is_told_of_models_from_which_no_chain_leads_on() {
    assert_eq!(plan().dead_ends(), Vec::<String>::new());
    let mut config = config();
    config["models"][1]["targets"][1]["order"] = json!(1);
    config["chains"] = json!([{ "cluster": "all", "backends": ["east", "west", "own"] }]);
    let warnings = compile(&config.to_string()).dead_ends();
    let refused = |name: &str, backend: &str| {
        let begin = format!("model {name} begins at backend {backend}");
        warnings.iter().any(|warning| warning.starts_with(&begin) && warning.ends_with("it is refused"))
    };
    assert!(refused("claude", "west") && refused("big", "own"), "{warnings:?}");
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    config["chains"] = json!([{ "cluster": "all", "backends": ["east"] }, { "cluster": "own", "backends": ["own"] },
        { "cluster": "west", "backends": ["west", "own"] }]);
    let warnings = compile(&config.to_string()).dead_ends();
    assert!(
        warnings.iter().any(|warning| warning.contains("east") && warning.contains("tried nowhere else"))
    );
}

#[test]
fn envoys_own_answer_is_told_as_such() {
    let (plan, host) = (plan(), envoy());
    let (mut story, _) = Story::routed(&plan, &host, &chat("claude"));
    let (mut trial, _) = story.sent("east");
    trial.done(&host);
    assert_eq!(host.counts().get("fairlead_tries_total;backend=east;outcome=lost"), Some(&1));
    host.set_attribute("response.code_details", "upstream_reset_before_response_started{connection_failure}");
    let reply = headers(&[(":status", "503"), ("content-type", "text/plain")]);
    let ReplyStep::Answer(reply) = story.gate.response_headers(&host, reply, true) else { panic!() };
    assert_eq!(code(&reply.into()), (503, "upstream_unreachable".to_owned()));
}

#[test]
fn a_chain_that_leads_further_serves_as_far_as_the_models_places_go() {
    let mut config = config();
    let model = "bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0";
    config["models"].as_array_mut().unwrap().push(json!({ "name": "aws", "targets": [
        { "backend": "east", "model": model, "order": 1 }, { "backend": "west", "model": model, "order": 2 }
    ] }));
    let (plan, host) = (compile(&config.to_string()), envoy());
    let (mut story, routed) = Story::routed(&plan, &host, &chat("aws"));
    assert_eq!((routed.cluster.as_str(), routed.retries), ("all", Some(1)));
    assert_eq!(story.refuses("east", 503, "ServiceUnavailableException"), (503, true));
    assert_eq!(story.refuses("west", 500, "InternalServerException"), (502, true));
    assert_eq!(code(&story.ends(502)), (502, "upstream_error".to_owned()));

    // Envoy leaves both alone.
    let (story, _) = Story::routed(&plan, &host, &chat("aws"));
    let (_, step) = story.trial("own");
    let Step::Answer(reply) = step else { panic!("{}", show(&step)) };
    assert_eq!(code(&reply.into()), (503, "upstream_unreachable".to_owned()));
}

#[test]
fn where_only_wider_models_are_left_the_client_hears_why_the_others_failed() {
    let mut config = config();
    config["chains"] = json!([{ "cluster": "two", "backends": ["east", "own"] }]);
    let (plan, host) = (compile(&config.to_string()), envoy());
    let (story, routed) = Story::routed(&plan, &host, &chat("small"));
    assert_eq!((routed.cluster.as_str(), routed.retries), ("two", Some(1)));
    assert_eq!(story.refuses("east", 429, "ThrottlingException"), (429, true));
    let (_, step) = story.trial("own");
    let Step::Answer(reply) = step else { panic!("{}", show(&step)) };
    assert_eq!(code(&reply.into()), (429, "rate_limit_exceeded".to_owned()));
}

#[test]
fn a_model_that_stands_in_for_failures_stands_in_for_what_is_too_long_as_well() {
    let mut config = config();
    config["default_fallbacks"] = json!(["big"]);
    let (plan, host) = (compile(&config.to_string()), envoy());
    let long = chat("small").replace("Hi", &"word ".repeat(2000));
    let (story, routed) = Story::routed(&plan, &host, &long);
    assert_eq!(routed.cluster, "anthropic");
    story.sent("own");
    let (story, routed) = Story::routed(&plan, &host, &chat("small"));
    assert_eq!((routed.cluster.as_str(), routed.retries), ("two", Some(1)));
    assert_eq!(story.refuses("east", 429, "ThrottlingException"), (429, true));
    story.sent("own");
}

#[test]
fn what_a_try_answers_itself_passes_the_gate() {
    let (plan, host) = (plan(), envoy());
    let (mut story, _) = Story::routed(&plan, &host, &chat("claude"));
    host.set_attribute("response.code_details", "fairlead");
    let answer = headers(&[(":status", "500"), ("content-type", "application/json")]);
    assert_eq!(story.gate.response_headers(&host, answer, false), ReplyStep::Pass);
    assert!(!story.gate.reads());
    story.gate.done(&host);
    let counts = host.counts();
    assert_eq!(
        counts.get("fairlead_requests_total;team=none;model=claude;status=500"),
        Some(&1),
        "{counts:?}"
    );
}

#[test]
fn a_chain_is_tried_as_long_as_its_next_member_has_something_new() {
    let mut config = config();
    config["models"][1]["fallbacks"] = json!(["bedrock/us.amazon.nova-pro-v1:0"]);
    let (plan, host) = (compile(&config.to_string()), envoy());
    let (story, routed) = Story::routed(&plan, &host, &chat("claude"));
    assert_eq!((routed.cluster.as_str(), routed.retries), ("all", Some(3)), "and once more at the first");
    for backend in ["east", "west", "own"] {
        story.sent(backend);
    }
    assert!(story.sent("east").1.headers.get(":path").unwrap().contains("nova-pro"));

    config["models"][1]["fallbacks"] = json!(["big", "small"]);
    config["models"][4]["model"] = json!("anthropic/claude-opus-4-1");
    config["models"][3]["backend"] = json!("west");
    let plan = compile(&config.to_string());
    let (_, routed) = Story::routed(&plan, &host, &chat("claude"));
    assert_eq!((routed.cluster.as_str(), routed.retries), ("all", Some(2)), "the first has nothing new");
}

#[test]
fn an_older_envoy_is_never_asked_to_retry_when_all_of_a_reply_is_there() {
    let (plan, host) = (plan(), FakeHost::new());
    let whole = || headers(&[(":status", "200"), ("content-type", "application/json")]);
    let (mut story, _) = Story::routed(&plan, &host, &chat("claude"));
    assert_eq!(story.fails("east", whole(), &[b"{}"]), (502, false));
    assert_eq!(code(&story.ends(502)), (502, "upstream_invalid_response".to_owned()));
    // What the head of a refusal tells needs no body.
    let (story, _) = Story::routed(&plan, &host, &chat("claude"));
    assert_eq!(story.refuses("east", 503, "ServiceUnavailableException"), (503, true));
    let newer = envoy();
    let (story, _) = Story::routed(&plan, &newer, &chat("claude"));
    assert_eq!(story.fails("east", whole(), &[b"{}"]), (502, true));
}
