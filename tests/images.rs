//! Golden cases of image generation: every folder of `golden_images/`, against every upstream.
//!
//! As `golden.rs` has it for chats: `request.json` is what the client sends; for every upstream there is
//! `request.<upstream>.json`, what its cloud must receive, or `refuse.<upstream>.json`, what the client gets
//! instead. `reply.<upstream>[.<variant>].json` is a reply of status 200, `error.<upstream>[.<variant>].json`
//! the body of one of status 400; beside each stands what the client gets. A model `new` is a newer one of
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

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::rc::Rc;

use common::client::{self, Exchange, Got, SECRETS};
use common::envoy::FakeHost;
use common::layout::layout;
use fairlead::base::host::Step;
use fairlead::dialect::image::Upstream;
use fairlead::pipeline::Plan;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Names and texts of the files of one folder.
type Files = BTreeMap<String, String>;

#[test]
fn every_case_gives_what_its_files_say() {
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden_images");
    let mut problems = Vec::new();
    let mut folders: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(!folders.is_empty());
    for folder in folders {
        let case = folder.file_name().unwrap().to_str().unwrap();
        let files: Files = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())
            })
            .collect();
        let expected = outcome(case, &files);
        assert_eq!(outcome(case, &files), expected, "{case}: a second run gave other bytes");
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
        let (plan, host) = (plan(upstream), FakeHost::new());
        client::sign_in(&plan, &host);
        let mut exchange = Exchange::at("/v1/images/generations", &plan, &host);
        match exchange.send(request.as_bytes()) {
            Step::Forward(outgoing) => {
                let body = String::from_utf8(outgoing.body).unwrap();
                assert!(SECRETS.iter().all(|secret| !body.contains(secret)), "{case}: {body}");
                let path = outgoing.headers.get(":path").unwrap();
                let mut file = format!(r#"{{"path":{}"#, json!(path));
                let got = exchange.receive(client::headers(REPLY), [plainest(upstream).as_bytes()]);
                assert_eq!(got.status, 200, "{case}: {}", got.body);
                if let Some(dropped) = got.header("x-fairlead-dropped") {
                    file += &format!(r#","dropped":{}"#, json!(dropped));
                }
                file += &format!(r#","body":{body}}}"#);
                expected.insert(format!("request.{}.json", upstream.name()), layout(&file));
            }
            Step::Answer(reply) => {
                expected.insert(format!("refuse.{}.json", upstream.name()), written(&reply.into()));
            }
            other => panic!("{case}: neither sent nor refused: {}", client::show(&other)),
        }
    }
    for (file, text) in files {
        let Some((what, upstream, stem)) = said(file) else { continue };
        let (plan, host) = (plan(upstream), FakeHost::new());
        client::sign_in(&plan, &host);
        let mut exchange = Exchange::at("/v1/images/generations", &plan, &host);
        exchange.forward(request.as_bytes());
        host.set_attribute("response.code_details", "via_upstream");
        let headers = client::headers(if what == "reply" { REPLY } else { REFUSAL });
        let got = exchange.receive(headers, [text.as_bytes(), b""]);
        assert!(!format!("{:?}", host.take_log()).contains("fox"), "{case}: a prompt in the log");
        expected.insert(format!("{stem}.out.json"), written(&got));
    }
    expected
}

const REPLY: &[(&str, &str)] = &[(":status", "200"), ("content-type", "application/json")];
const REFUSAL: &[(&str, &str)] = &[(":status", "400"), ("content-type", "application/json")];

/// The plainest reply that there is, to see what the client is told beside it.
fn plainest(upstream: Upstream) -> &'static str {
    match upstream {
        Upstream::Canvas | Upstream::Stability => r#"{"images":["AAAA"]}"#,
        Upstream::Imagen => r#"{"predictions":[{"bytesBase64Encoded":"AAAA"}]}"#,
        Upstream::Gemini => r#"{"candidates":[{"content":{"parts":[{"inlineData":{"data":"AAAA"}}]}}]}"#,
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
        Upstream::Canvas => ("bedrock/", "amazon.nova-canvas-v1:0", "amazon.titan-image-generator-v2:0"),
        Upstream::Stability => ("bedrock/", "stability.sd3-5-large-v1:0", "stability.stable-image-core-v1:1"),
        Upstream::Imagen => ("vertex_ai/", "imagen-4.0-generate-001", "imagen-3.0-generate-001"),
        Upstream::Gemini => ("vertex_ai/", "gemini-3-pro-image-preview", "gemini-2.5-flash-image"),
    };
    let backend: Value = if prefix == "bedrock/" {
        json!({ "provider": "bedrock", "region": "us-east-1", "cluster": "bedrock_us_east_1", "credentials": {
            "source": "static", "access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI" } })
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
