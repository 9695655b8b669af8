//! Golden cases: every folder of `golden/<client>/`, against every upstream.
//!
//! `request.json` is what the client sends, `headers.json` the headers that it sends besides. For every upstream there is `request.<upstream>.json`, what
//! the cloud must receive (`body`, laid out but byte for byte as it leaves otherwise; `path`; `dropped`
//! is the header of that name), or `refuse.<upstream>.json`, what the client gets instead. What a cloud
//! says is in `reply`, `stream` and `error` files, named in `common/cases.rs`; beside each stands what
//! the client gets. `UPDATE=1` rewrites what is expected; the diff is the review.
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

use common::blocks;
use common::cases::{self, Case, Input, Said};
use common::client::{self, Exchange, Got, REQUEST_ID, SECRETS};
use common::envoy::FakeHost;
use common::layout::layout;
use common::strict;
use fairlead::base::headers::Headers;
use fairlead::base::host::{Outgoing, Step};
use fairlead::dialect::openai::Edition as Completions;
use fairlead::dialect::{Client, Edition, Upstream};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Expected files: name and text.
type Files = BTreeMap<String, String>;

#[test]
fn every_case_gives_what_its_files_say() {
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let mut problems = Vec::new();
    for case in cases::cases() {
        let expected = outcome(&case);
        assert!(outcome(&case) == expected, "{}: a second run gave other bytes", case.name);
        if update {
            rewrite(&case, &expected);
        } else {
            problems.extend(differences(&case, &expected));
        }
    }
    assert!(problems.is_empty(), "{} problems\n\n{}", problems.len(), problems.join("\n\n"));
}

/// All that a case must have beside its inputs.
fn outcome(case: &Case) -> Files {
    let mut files = Files::new();
    for &upstream in Upstream::ALL {
        let name = upstream.name();
        let (file, text) = match request(case, upstream) {
            Ok(text) => (format!("request.{name}.json"), text),
            Err(refusal) => (format!("refuse.{name}.json"), written(&refusal)),
        };
        // The others were held against the rules of their cloud nevertheless.
        let wanted = [format!("request.{name}.json"), format!("refuse.{name}.json")];
        if cases::is_in_every_case(upstream) || wanted.iter().any(|file| case.files.contains_key(file)) {
            files.insert(file, text);
        }
    }
    for said in case.said() {
        let got = reply(case, &said);
        let stem = said.stem;
        if got.header("content-type") == Some("text/event-stream") {
            let place = format!("{}/{stem}", case.name);
            match said.upstream {
                Upstream::Messages(_) if case.client == Client::Anthropic => {
                    check_relayed(&said, &got.body, &place);
                }
                _ => check_stream(case.client, &got.body, &place),
            }
            files.insert(format!("{stem}.out.sse"), got.body);
        } else {
            let relayed = matches!(said.upstream, Upstream::Messages(_)) && case.client == Client::Anthropic;
            if relayed && said.input == Input::Reply && got.status == 200 {
                assert_eq!(got.body.as_bytes(), said.bytes, "{}/{stem}: came changed", case.name);
            }
            files.insert(format!("{stem}.out.json"), written(&got));
        }
    }
    files
}

/// What the cloud receives, or the refusal.
fn request(case: &Case, upstream: Upstream) -> Result<String, Got> {
    let (plan, host) = (client::plan(upstream), FakeHost::new());
    client::sign_in(&plan, &host);
    let mut exchange = Exchange::of(case, &plan, &host);
    let outgoing = match exchange.send(case.request()) {
        Step::Forward(outgoing) => outgoing,
        Step::Answer(reply) => return Err(reply.into()),
        other => panic!("{}: neither sent nor refused: {}", case.name, client::show(&other)),
    };
    let upstream = client::asked(outgoing.headers.get(":path").unwrap(), upstream);
    check_headers(&outgoing, upstream);
    let body = String::from_utf8(outgoing.body.clone()).unwrap();
    strict::check(upstream, case.client, &body, &case.name);
    for secret in SECRETS {
        assert!(!body.contains(secret), "{}: a header's value is in the body", case.name);
    }

    let raw = |text: String| RawValue::from_string(text).unwrap();
    let mut file = format!(r#"{{"path":{}"#, json!(outgoing.headers.get(":path").unwrap()));
    for (name, value) in outgoing.headers.0.iter().filter(|(name, _)| is_the_requests(name)) {
        file += &format!(r#",{}:{}"#, json!(name), json!(String::from_utf8_lossy(value)));
    }
    if let Some(dropped) = plainly(&mut exchange, upstream, &outgoing).header("x-fairlead-dropped") {
        file += &format!(r#","dropped":{}"#, json!(dropped));
    }
    file += &format!(r#","body":{}}}"#, raw(body));
    Ok(layout(&file))
}

/// A header that is there for what one request says.
fn is_the_requests(name: &str) -> bool {
    ["anthropic-beta", "anthropic-user-", "x-amzn-bedrock-", "x-vertex-ai-llm-"]
        .iter()
        .any(|start| name.starts_with(start))
}

const AWS: &[&str] = &["x-amz-date", "authorization", "x-amz-security-token"];

/// Nothing of the client's, and nothing that is not asked for by the cloud.
fn check_headers(Outgoing { headers, body }: &Outgoing, upstream: Upstream) {
    let names: Vec<&str> = headers.0.iter().map(|(name, _)| name.as_str()).collect();
    let mut expected = vec![":method", ":scheme", ":authority", ":path", "content-type", "content-length"];
    // Envoy's router wants it; the route removes it again.
    expected.push("x-forwarded-proto");
    expected.extend(match upstream {
        Upstream::Converse | Upstream::Messages(Edition::InvokeModel) => AWS,
        Upstream::Gemini | Upstream::Messages(Edition::Vertex) | Upstream::Completions(_) => {
            &["authorization"]
        }
        Upstream::Messages(Edition::Mantle) => {
            &["x-amz-date", "authorization", "x-amz-security-token", "anthropic-version"]
        }
        Upstream::Messages(Edition::Anthropic) => &["x-api-key", "anthropic-version"],
    });
    for name in names.iter().filter(|name| is_the_requests(name)) {
        let owner = match upstream {
            Upstream::Messages(Edition::InvokeModel) => "x-amzn-bedrock-",
            Upstream::Messages(_) => "anthropic-",
            Upstream::Gemini => "x-vertex-ai-llm-",
            Upstream::Converse | Upstream::Completions(_) => "nothing",
        };
        assert!(name.starts_with(owner), "{name} to {}", upstream.name());
        expected.push(name);
    }
    expected.push("x-fairlead-cluster");
    assert_eq!(sorted(&names), sorted(&expected));
    let (authority, cluster) = client::address(upstream);
    let get = |name| headers.get(name).unwrap();
    assert_eq!([get(":method"), get(":scheme"), get("content-type")], ["POST", "https", "application/json"]);
    assert_eq!((get(":authority"), get("x-fairlead-cluster")), (authority, cluster));
    assert_eq!((get("content-length"), get("x-forwarded-proto")), (body.len().to_string().as_str(), "https"));
    let mut bedrocks: Vec<&str> =
        names.iter().copied().filter(|name| name.starts_with("x-amzn-bedrock-")).collect();
    bedrocks.sort_unstable();
    let bedrocks: String = bedrocks.iter().map(|name| format!(";{name}")).collect();
    let signed = |service: &str, more: &str| {
        assert_eq!((get("x-amz-date"), get("x-amz-security-token")), ("20260102T030405Z", "c2Vzc2lvbg=="));
        let start = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-east-1/{service}/aws4_request, \
             SignedHeaders={more}content-type;host;x-amz-date;x-amz-security-token{bedrocks}, Signature="
        );
        assert!(get("authorization").starts_with(&start), "{}", get("authorization"));
    };
    let version = || assert_eq!(get("anthropic-version"), "2023-06-01");
    match upstream {
        Upstream::Converse | Upstream::Messages(Edition::InvokeModel) => signed("bedrock", ""),
        Upstream::Gemini
        | Upstream::Messages(Edition::Vertex)
        | Upstream::Completions(Completions::OpenModels | Completions::Mistral) => {
            assert_eq!(get("authorization"), format!("Bearer {}", client::TOKEN));
        }
        Upstream::Completions(Completions::OpenAi) => {
            assert_eq!(get("authorization"), format!("Bearer {}", client::API_KEY));
        }
        Upstream::Messages(Edition::Mantle) => {
            version();
            let more = if headers.get("anthropic-beta").is_some() {
                "anthropic-beta;anthropic-version;"
            } else {
                "anthropic-version;"
            };
            signed("bedrock-mantle", more);
        }
        Upstream::Messages(Edition::Anthropic) => {
            version();
            assert_eq!(get("x-api-key"), client::API_KEY);
        }
    }
}

fn sorted<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

/// The plainest reply that there is, to see what the client is told beside it.
fn plainly(exchange: &mut Exchange<'_>, upstream: Upstream, outgoing: &Outgoing) -> Got {
    let got = if is_streamed(outgoing) {
        let frames = cases::frames(
            upstream,
            match upstream {
                Upstream::Converse => br#"{"event":"messageStop","payload":{"stopReason":"end_turn"}}"#,
                Upstream::Gemini => br#"{"candidates":[{"finishReason":"STOP"}]}"#,
                Upstream::Messages(_) => {
                    b"{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n{\"type\":\"message_stop\"}"
                }
                Upstream::Completions(_) => br#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            },
        );
        exchange.receive(cases::stream_headers(upstream), frames.iter().map(Vec::as_slice))
    } else {
        let body: &[u8] = match upstream {
            Upstream::Converse => {
                br#"{"output":{"message":{"role":"assistant","content":[]}},"stopReason":"end_turn"}"#
            }
            Upstream::Gemini => br#"{"candidates":[{"finishReason":"STOP"}]}"#,
            Upstream::Messages(_) => br#"{"type":"message","content":[],"stop_reason":"end_turn"}"#,
            Upstream::Completions(_) => br#"{"choices":[{"message":{},"finish_reason":"stop"}]}"#,
        };
        exchange.receive(cases::reply_headers(upstream), [body])
    };
    assert_eq!(got.status, 200, "{}", got.body);
    got
}

/// The path tells, or the body.
fn is_streamed(outgoing: &Outgoing) -> bool {
    let body: Value = serde_json::from_slice(&outgoing.body).unwrap_or_default();
    body["stream"] == true || outgoing.headers.get(":path").unwrap().to_ascii_lowercase().contains("stream")
}

/// What the client gets of something that a cloud says.
fn reply(case: &Case, said: &Said<'_>) -> Got {
    let (plan, host) = (client::plan(said.upstream), FakeHost::new());
    client::sign_in(&plan, &host);
    let mut exchange = Exchange::of(case, &plan, &host);
    let streamed = is_streamed(&exchange.forward(case.request()));
    let got = match said.input {
        Input::Reply => {
            assert!(!streamed, "{}: a whole reply to a request for a stream", case.name);
            // In two pieces, because Envoy's end of a body may come by itself.
            exchange.receive(cases::reply_headers(said.upstream), [said.bytes, b""])
        }
        Input::Stream => {
            assert!(streamed, "{}: a stream for a request without `stream`", case.name);
            let frames = cases::frames(said.upstream, said.bytes);
            let pieces = frames.iter().map(Vec::as_slice).chain([b"".as_slice()]);
            exchange.receive(cases::stream_headers(said.upstream), pieces)
        }
        Input::Error => error(&mut exchange, said),
    };
    let log = format!("{:?}", host.take_log());
    for secret in SECRETS.iter().chain([&client::TOKEN]) {
        assert!(!log.contains(secret) && !got.body.contains(secret), "{}: told a secret", case.name);
    }
    assert!(got.header("x-fairlead-backend").is_some(), "{}: does not say who answered", case.name);
    assert_eq!(got.header("x-request-id"), Some(REQUEST_ID), "{}", case.name);
    got
}

/// `{"status":…,"headers":{…},"body":…}`; a body that is no JSON is a string.
fn error(exchange: &mut Exchange<'_>, said: &Said<'_>) -> Got {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Answer {
        status: u16,
        #[serde(default)]
        headers: BTreeMap<String, String>,
        body: Option<Box<RawValue>>,
    }
    let answer: Answer = serde_json::from_slice(said.bytes).unwrap_or_else(|e| panic!("{}: {e}", said.stem));
    let mut headers = Headers::default();
    headers.add(":status", answer.status.to_string());
    for (name, value) in &answer.headers {
        headers.add(name, value.as_str());
    }
    let body = answer.body.map(|raw| match serde_json::from_str::<String>(raw.get()) {
        Ok(text) => text,
        Err(_) => raw.get().to_owned(),
    });
    exchange.host.set_attribute("response.code_details", "via_upstream");
    exchange.receive(headers, body.as_deref().map(str::as_bytes))
}

/// A client's reply that is no stream, as a file.
fn written(got: &Got) -> String {
    assert_eq!(got.header("content-type"), Some("application/json"));
    let mut file = format!(r#"{{"status":{}"#, got.status);
    if let Some(seconds) = got.header("retry-after") {
        file += &format!(r#","retry-after":{}"#, json!(seconds));
    }
    layout(&format!(r#"{file},"body":{}}}"#, RawValue::from_string(got.body.clone()).unwrap()))
}

/// Every stream is made of events that the SDKs of its dialect can read, and ends in one of two ways.
fn check_stream(client: Client, body: &str, case: &str) {
    match client {
        Client::OpenAi => check_openai_stream(body, case),
        Client::Anthropic => drop(blocks::check(body, case)),
    }
}

/// A stream of the client's own dialect comes as it was, byte for byte, until its end or an error.
fn check_relayed(said: &Said<'_>, body: &str, case: &str) {
    let lines = std::str::from_utf8(said.bytes).unwrap().lines();
    let lines = lines.filter(|line| !line.starts_with(r#"{"exception""#) && !line.starts_with(r#"{"cut""#));
    let mut rest = body;
    let mut last = "";
    for line in lines {
        // Which Bedrock tells for itself.
        let data = line
            .find(r#","amazon-bedrock-invocationMetrics"#)
            .map_or(line.to_owned(), |at| line[..at].to_owned() + "}");
        let kind = serde_json::from_str::<Value>(line).unwrap()["type"].clone();
        let frame = format!("event: {}\ndata: {data}\n\n", kind.as_str().unwrap());
        let Some(after) = rest.strip_prefix(&frame) else { break };
        (rest, last) = (after, line);
    }
    if rest.is_empty() {
        assert!(last.contains("message_stop"), "{case}: ended at {last}");
    } else {
        assert!(rest.starts_with("event: error\n") && rest.ends_with("\n\n"), "{case}: {rest}");
        assert_eq!(rest.matches("\n\n").count(), 1, "{case}: {rest}");
    }
}

fn check_openai_stream(body: &str, case: &str) {
    let events: Vec<&str> = body.split_terminator("\n\n").collect();
    assert!(body.ends_with("\n\n"), "{case}: ends within an event");
    let (last, chunks) = events.split_last().unwrap();
    let data =
        |event: &str| event.strip_prefix("data: ").unwrap_or_else(|| panic!("{case}: {event}")).to_owned();
    let chunks: Vec<Value> =
        chunks.iter().map(|event| serde_json::from_str(&data(event)).expect(case)).collect();
    if data(last) == "[DONE]" {
        let stops = chunks.iter().filter(|chunk| chunk["choices"][0]["finish_reason"].is_string());
        assert_eq!(stops.count(), 1, "{case}: finish reasons");
    } else {
        let error: Value = serde_json::from_str(&data(last)).expect(case);
        assert!(error["error"]["message"].is_string(), "{case}: {last}");
    }
    for (index, chunk) in chunks.iter().enumerate() {
        assert_eq!(chunk["object"], "chat.completion.chunk", "{case}");
        assert_eq!(chunk["id"], chunks[0]["id"], "{case}: the id changed");
        let choice = &chunk["choices"][0];
        let role = if index == 0 { json!("assistant") } else { Value::Null };
        assert_eq!(choice["delta"]["role"], role, "{case}: chunk {index}");
    }
}

/// How a case's folder differs from what it should hold.
fn differences(case: &Case, expected: &Files) -> Vec<String> {
    let mut problems = Vec::new();
    for (file, text) in expected {
        let place = format!("{}/{file}", case.name);
        match case.files.get(file) {
            None => problems.push(format!("{place} is missing; with UPDATE=1 it would be\n{text}")),
            Some(bytes) if bytes == text.as_bytes() => {}
            Some(bytes) => {
                let known = String::from_utf8_lossy(bytes);
                let alike = serde_json::from_str::<Value>(&known).ok() == serde_json::from_str(text).ok();
                let how =
                    if alike && file.ends_with(".json") { "only in its writing" } else { "in what it means" };
                problems.push(format!("{place} differs {how}\nexpected:\n{known}\ngot:\n{text}"));
            }
        }
    }
    problems.extend(unknown(case, expected).map(|file| format!("{}/{file}: what is it?", case.name)));
    problems
}

/// Files that are neither inputs nor expected.
fn unknown<'c>(case: &'c Case, expected: &'c Files) -> impl Iterator<Item = &'c str> {
    let inputs: Vec<String> = case.said().map(|said| said.stem.to_owned()).collect();
    case.files.keys().map(String::as_str).filter(move |file| {
        let stem = file.rsplit_once('.').map_or(*file, |(stem, _)| stem);
        let is_input = ["request.json", "headers.json"].contains(file);
        !is_input && !inputs.iter().any(|input| input == stem) && !expected.contains_key(*file)
    })
}

fn rewrite(case: &Case, expected: &Files) {
    for file in unknown(case, expected) {
        // What an earlier run wrote; any other stays, and fails the next run.
        if file.starts_with("request.") || file.starts_with("refuse.") || file.contains(".out.") {
            fs::remove_file(case.folder.join(file)).unwrap();
        }
    }
    for (file, text) in expected {
        if case.files.get(file).is_none_or(|known| known != text.as_bytes()) {
            fs::write(case.folder.join(file), text).unwrap();
        }
    }
}
