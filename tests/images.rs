//! Golden cases of image generation: every folder of `golden_images/`, against every upstream.
//!
//! As `golden.rs` has it for chats: `request.json` is what the client sends; for every upstream there is
//! `request.<upstream>.json`, what its cloud must receive, or `refuse.<upstream>.json`, what the client gets
//! instead. Where a request takes several calls the file has all their bodies. `reply.<upstream>[.<variant>].json`
//! is a reply of status 200, or a list of those to several calls; `error.<upstream>[.<variant>].json` is the
//! body of one of status 400. Beside each stands what the client gets. A model `new` is a newer one of
//! each family, `old` an older or a smaller one. `UPDATE=1` rewrites what is expected; the diff is the review.
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

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use common::client::{self, Exchange, Got, SECRETS};
use common::damage::{Chance, damage, is_json};
use common::envoy::FakeHost;
use common::layout::layout;
use fairlead::base::host::Step;
use fairlead::dialect::image;
use fairlead::pipeline::{Plan, Position};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Whose models make the images.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upstream {
    Cloud(image::Upstream),
    /// What OpenAI's own get and give passes as it is.
    OpenAi,
}

use image::Upstream::{Canvas, Gemini, Imagen, Stability};

impl Upstream {
    const ALL: &[Upstream] = &[
        Upstream::Cloud(Canvas),
        Upstream::Cloud(Stability),
        Upstream::Cloud(Imagen),
        Upstream::Cloud(Gemini),
        Upstream::OpenAi,
    ];

    fn name(self) -> &'static str {
        match self {
            Upstream::Cloud(upstream) => upstream.name(),
            Upstream::OpenAi => "openai",
        }
    }
}

#[test]
fn no_upstream_is_forgotten() {
    assert!(image::Upstream::ALL.iter().all(|upstream| Upstream::ALL.contains(&Upstream::Cloud(*upstream))));
}

/// Names and texts of the files of one folder.
type Files = BTreeMap<String, String>;

#[test]
fn every_case_gives_what_its_files_say() {
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let mut problems = Vec::new();
    for (case, folder, files) in cases() {
        let expected = outcome(&case, &files);
        assert_eq!(outcome(&case, &files), expected, "{case}: a second run gave other bytes");
        if update {
            for (file, text) in &expected {
                fs::write(folder.join(file), text).unwrap();
            }
            for file in unknown(&files, &expected) {
                fs::remove_file(folder.join(file)).unwrap();
            }
            continue;
        }
        for (file, text) in &expected {
            match files.get(file) {
                None => problems.push(format!("{case}/{file} is missing; with UPDATE=1 it would be\n{text}")),
                Some(known) if known == text => {}
                Some(known) => problems.push(format!("{case}/{file}\nexpected:\n{known}\ngot:\n{text}")),
            }
        }
        problems.extend(unknown(&files, &expected).map(|file| format!("{case}/{file}: what is it?")));
    }
    assert!(problems.is_empty(), "{} problems\n\n{}", problems.len(), problems.join("\n\n"));
}

/// Rounds for each case: all of them together take a second or two unoptimised.
const ROUNDS: u64 = 40;

#[test]
fn a_damaged_request_is_sent_as_json_or_refused_as_json() {
    for (case, _, files) in cases() {
        for &upstream in Upstream::ALL {
            let (plan, host) = signed_in(upstream);
            for round in 0..ROUNDS {
                let body = damage(files["request.json"].as_bytes(), &mut Chance::new(&case, round));
                let what = format!("{case} to {} in round {round}", upstream.name());
                let played = play(&plan, &host, &body, &[(REPLY, plainest(upstream).as_bytes().to_vec())], 0);
                assert!(played.bodies.iter().all(|body| is_json(body.as_bytes())), "{what}");
                let expected = if played.bodies.is_empty() { 400..500 } else { 200..201 };
                assert!(expected.contains(&played.got.status), "{what}: {:?}", played.got);
                assert!(is_json(played.got.body.as_bytes()), "{what}");
            }
        }
    }
}

#[test]
fn a_damaged_reply_is_never_an_empty_success() {
    for (case, _, files) in cases() {
        for (file, text) in &files {
            let Some((what, upstream, stem)) = said(file) else { continue };
            let (plan, host) = signed_in(upstream);
            for round in 0..ROUNDS * 4 {
                let mut chance = Chance::new(stem, round);
                let bytes = damage(text.as_bytes(), &mut chance);
                let cut = chance.below(bytes.len() + 1);
                let answers = [(if what == "reply" { REPLY } else { REFUSAL }, bytes)];
                let Played { got, .. } = play(&plan, &host, files["request.json"].as_bytes(), &answers, cut);
                let what = format!("{case}/{stem} in round {round}: {}", got.body);
                assert!(is_json(got.body.as_bytes()), "{what}");
                if got.status == 200 {
                    assert!(!got.json()["data"].as_array().unwrap().is_empty(), "{what}");
                } else {
                    assert!(got.json()["error"]["message"].is_string(), "{what}");
                }
            }
        }
    }
}

/// The cases with their folders and files, in order.
fn cases() -> Vec<(String, PathBuf, Files)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden_images");
    let list = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut folders = list(&root);
    folders.sort();
    assert!(!folders.is_empty());
    let read = |folder: PathBuf| {
        let files =
            list(&folder).iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect();
        (name(&folder), folder, files)
    };
    folders.into_iter().map(read).collect()
}

/// A plan and a host that may call its cloud.
fn signed_in(upstream: Upstream) -> (Rc<Plan>, FakeHost) {
    let (plan, host) = (plan(upstream), FakeHost::new());
    client::sign_in(&plan, &host);
    (plan, host)
}

/// What a cloud says in a file, told by its name.
fn said(file: &str) -> Option<(&str, Upstream, &str)> {
    let stem = file.strip_suffix(".json")?;
    let mut words = stem.split('.');
    let what = words.next().filter(|what| ["reply", "error"].contains(what))?;
    let name = words.next()?;
    let upstream = *Upstream::ALL.iter().find(|upstream| upstream.name() == name)?;
    (words.next_back() != Some("out")).then_some((what, upstream, stem))
}

/// Files that are neither inputs nor expected.
fn unknown<'f>(files: &'f Files, expected: &'f Files) -> impl Iterator<Item = &'f String> {
    files.keys().filter(|file| {
        *file != "request.json" && said(file).is_none() && !expected.contains_key(file.as_str())
    })
}

/// All that a case must have beside its inputs.
fn outcome(case: &str, files: &Files) -> Files {
    let request = files.get("request.json").unwrap_or_else(|| panic!("{case}: request.json is missing"));
    let mut expected = Files::new();
    for &upstream in Upstream::ALL {
        let (plan, host) = signed_in(upstream);
        let answers = [(REPLY, plainest(upstream).as_bytes().to_vec())];
        let Played { path, bodies, got } = play(&plan, &host, request.as_bytes(), &answers, 0);
        if bodies.is_empty() {
            expected.insert(format!("refuse.{}.json", upstream.name()), written(&got));
            continue;
        }
        assert_eq!(got.status, 200, "{case}: {}", got.body);
        let mut file = format!(r#"{{"path":{}"#, json!(path));
        if let Some(dropped) = got.header("x-fairlead-dropped") {
            file += &format!(r#","dropped":{}"#, json!(dropped));
        }
        let bodies = if let [body] = bodies.as_slice() {
            format!(r#","body":{body}}}"#)
        } else {
            format!(r#","bodies":[{}]}}"#, bodies.join(","))
        };
        expected.insert(format!("request.{}.json", upstream.name()), layout(&(file + &bodies)));
    }
    for (file, text) in files {
        let Some((what, upstream, stem)) = said(file) else { continue };
        let (plan, host) = signed_in(upstream);
        host.set_attribute("response.code_details", "via_upstream");
        let headers = if what == "reply" { REPLY } else { REFUSAL };
        let several: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
        let answers: Vec<Answer> = match several.as_slice() {
            [] => vec![(headers, text.as_bytes().to_vec())],
            several => several.iter().map(|raw| (headers, raw.get().as_bytes().to_vec())).collect(),
        };
        // The end of a body may come by itself.
        let Played { got, .. } = play(&plan, &host, request.as_bytes(), &answers, text.len());
        assert!(!format!("{:?}", host.take_log()).contains("fox"), "{case}: a prompt in the log");
        expected.insert(format!("{stem}.out.json"), written(&got));
    }
    expected
}

/// Headers and body of what a cloud answers.
type Answer = (&'static [(&'static str, &'static str)], Vec<u8>);

/// A request, what its cloud got, and what the client got.
struct Played {
    path: String,
    /// Of each call; none when the request was refused.
    bodies: Vec<String>,
    got: Got,
}

/// Plays a request. The calls get the answers in their order, and the last one again if they are more; the
/// answer to a single one comes in two pieces.
fn play(plan: &Rc<Plan>, host: &FakeHost, request: &[u8], answers: &[Answer], cut: usize) -> Played {
    let mut exchange = Exchange::at(PATH, plan, host);
    let (mut path, mut bodies) = (String::new(), Vec::new());
    let mut told = |body: Vec<u8>| {
        let body = String::from_utf8(body).unwrap();
        assert!(SECRETS.iter().all(|secret| !body.contains(secret)), "{body}");
        bodies.push(body);
    };
    let mut calls = VecDeque::new();
    let got = match exchange.send(request) {
        Step::Answer(reply) => reply.into(),
        Step::Forward(outgoing) => {
            outgoing.headers.get(":path").unwrap().clone_into(&mut path);
            told(outgoing.body);
            let (headers, answer) = &answers[0];
            exchange.receive(client::headers(headers), [&answer[..cut], &answer[cut..]])
        }
        Step::Call(first) => {
            calls.extend(first);
            let mut made = 0;
            loop {
                let (number, call) = calls.pop_front().expect("a call is under way");
                path = call.headers.iter().find(|(name, _)| *name == ":path").unwrap().1.clone();
                told(call.body.clone());
                let (headers, answer) = answers.get(made).or(answers.last()).unwrap();
                made += 1;
                match exchange.whole.called(host, number, Some((&client::headers(headers), answer))) {
                    Step::Call(more) => calls.extend(more),
                    Step::Answer(reply) => break reply.into(),
                    other => panic!("{}", client::show(&other)),
                }
            }
        }
        other => panic!("neither sent nor refused: {}", client::show(&other)),
    };
    Played { path, bodies, got }
}

const PATH: &str = "/v1/images/generations";
const REPLY: &[(&str, &str)] = &[(":status", "200"), ("content-type", "application/json")];
const REFUSAL: &[(&str, &str)] = &[(":status", "400"), ("content-type", "application/json")];

/// The plainest reply that there is, to see what the client is told beside it.
fn plainest(upstream: Upstream) -> &'static str {
    match upstream {
        Upstream::Cloud(Canvas | Stability) => r#"{"images":["AAAA"]}"#,
        Upstream::Cloud(Imagen) => r#"{"predictions":[{"bytesBase64Encoded":"AAAA"}]}"#,
        Upstream::OpenAi => r#"{"created":1,"data":[{"b64_json":"AAAA"}]}"#,
        Upstream::Cloud(Gemini) => {
            r#"{"candidates":[{"content":{"parts":[{"inlineData":{"data":"AAAA"}}]}}]}"#
        }
    }
}

/// A client's reply as a file.
fn written(got: &Got) -> String {
    assert_eq!(got.header("content-type"), Some("application/json"));
    let mut file = format!(r#"{{"status":{}"#, got.status);
    if let Some(withheld) = got.header("x-fairlead-withheld") {
        file += &format!(r#","withheld":{}"#, json!(withheld));
    }
    let body: &RawValue = serde_json::from_str(&got.body).unwrap();
    layout(&format!(r#"{file},"body":{body}}}"#))
}

/// The cloud of an upstream, with a newer and an older model of its family.
fn plan(upstream: Upstream) -> Rc<Plan> {
    let (prefix, new, old) = match upstream {
        Upstream::Cloud(Canvas) => {
            ("bedrock/", "amazon.nova-canvas-v1:0", "amazon.titan-image-generator-v2:0")
        }
        Upstream::Cloud(Stability) => {
            ("bedrock/", "stability.sd3-5-large-v1:0", "stability.stable-image-core-v1:1")
        }
        Upstream::Cloud(Imagen) => ("vertex_ai/", "imagen-4.0-generate-001", "imagen-3.0-generate-001"),
        Upstream::Cloud(Gemini) => ("vertex_ai/", "gemini-3-pro-image-preview", "gemini-2.5-flash-image"),
        Upstream::OpenAi => ("openai/", "gpt-image-2", "gpt-image-1-mini"),
    };
    let backend: Value = if prefix == "bedrock/" {
        json!({ "provider": "bedrock", "region": "us-east-1", "cluster": "bedrock_us_east_1", "credentials": {
            "source": "static", "access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI" } })
    } else if prefix == "openai/" {
        json!({ "provider": "openai", "cluster": "openai",
            "credentials": { "source": "api_key", "api_key": "sk-plan" } })
    } else {
        json!({ "provider": "vertex", "project": "my-project", "location": "us-central1",
            "cluster": "vertex_us_central1",
            "credentials": { "source": "metadata_server", "cluster": "gcp_metadata" } })
    };
    let rule = |name: &str, model: &str| json!({ "name": name, "backend": "cloud", "model": format!("{prefix}{model}") });
    let models =
        [rule("new", new), rule("old", old), json!({ "name": format!("{prefix}*"), "backend": "cloud" })];
    client::compile(&json!({ "backends": { "cloud": backend }, "models": models }).to_string())
}
