//! Every refusal of a configuration, with its JSON path and without its secrets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::indexing_slicing,
    reason = "in a test a panic is the message"
)]

use std::fs;

use fairlead::config::{Environment, Problems};
use fairlead::pipeline::{Caller, Plan};
use serde_json::{Value, json};

/// A configuration with nothing wrong in it.
fn good() -> Value {
    json!({
        "backends": {
            "aws": {
                "provider": "bedrock", "region": "us-east-1", "cluster": "bedrock_us_east_1",
                "credentials": { "source": "static", "access_key_id": "AKIDEXAMPLE", "secret_access_key": "S3CRETKEY" }
            },
            "gcp": {
                "provider": "vertex", "project": "my-project", "location": "us-central1",
                "cluster": "vertex_us_central1",
                "credentials": { "source": "metadata_server", "cluster": "gcp_metadata" }
            }
        },
        "models": [
            { "name": "bedrock/*", "backend": "aws" },
            { "name": "vertex_ai/*", "backend": "gcp" },
            { "name": "sonnet", "backend": "aws", "model": "bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0" }
        ]
    })
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn compile(config: &Value, variables: &[(&str, &str)]) -> Result<Plan, Problems> {
    Plan::compile(config.to_string().as_bytes(), &environment(variables))
}

/// The good configuration with a value put in, or taken out with `null`, at a JSON pointer.
fn with(changes: &[(&str, Value)]) -> Value {
    let mut config = good();
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = config.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
        match (parent, value) {
            (Value::Object(members), Value::Null) => drop(members.remove(key)),
            (Value::Object(members), value) => drop(members.insert(key.to_owned(), value.clone())),
            (Value::Array(items), value) if key == "-" => items.push(value.clone()),
            (Value::Array(items), value) => items[key.parse::<usize>().unwrap()] = value.clone(),
            (other, _) => panic!("{other}"),
        }
    }
    config
}

/// The paths and texts of what is wrong; the text that an operator reads names every one.
fn problems(config: &Value, variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let problems = compile(config, variables).expect_err(&config.to_string());
    let shown = problems.to_string();
    for (path, problem) in &problems.0 {
        assert!(shown.contains(path.as_str()) && shown.contains(problem.as_str()), "{shown}");
        assert!(!problem.is_empty(), "{path}");
    }
    assert!(!shown.contains("S3CRET"), "shows a secret: {shown}");
    assert!(!shown.contains("struct ") && !shown.contains("enum "), "speaks of Rust: {shown}");
    problems.0
}

/// One problem, at this path, whose text has these words.
#[track_caller]
fn refuses(changes: &[(&str, Value)], path: &str, words: &str) {
    let found = problems(&with(changes), &[]);
    let [(at, problem)] = found.as_slice() else { panic!("{changes:?}: {found:?}") };
    assert_eq!(at, path, "{changes:?}: {problem}");
    assert!(problem.contains(words), "{changes:?}: {path}: {problem}");
}

#[test]
fn a_good_configuration_is_accepted() {
    compile(&good(), &[]).unwrap();
}

#[test]
fn envoys_plugin_json_is_accepted_and_says_what_it_needs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/envoy/plugin.json");
    let text = fs::read(path).unwrap();
    let variables = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "S3CRETKEY")];
    let plan = Plan::compile(&text, &environment(&variables)).unwrap();
    for model in ["bedrock/amazon.nova-lite-v1:0", "vertex_ai/gemini-2.5-flash"] {
        assert!(plan.find(&Caller::default(), model).is_ok(), "{model}");
    }
    let missing = Plan::compile(&text, &Environment::new()).unwrap_err();
    let paths: Vec<&str> = missing.0.iter().map(|(path, _)| path.as_str()).collect();
    let credentials = "backends.bedrock-us-east-1.credentials";
    assert_eq!(paths, [credentials, credentials]);
    assert!(missing.to_string().contains("AWS_ACCESS_KEY_ID"), "{missing}");
}

#[test]
fn what_is_no_json_object_is_refused() {
    for text in ["", "{", "[]", "null", "\"S3CRET\"", "{} {}", "{'a': 1}", "\u{feff}{}"] {
        let problems = Plan::compile(text.as_bytes(), &Environment::new()).expect_err(text);
        assert_eq!(problems.0.len(), 1, "{text}");
        assert!(!problems.to_string().contains("S3CRET"), "{problems}");
    }
    assert!(Plan::compile(b"{\"backends\": \xff}", &Environment::new()).is_err());
}

#[test]
fn unknown_keys_are_refused_by_their_path() {
    refuses(&[("/frobnicate", json!(1))], "frobnicate", "unknown field `frobnicate`");
    refuses(&[("/backends/aws/frobnicate", json!(1))], "backends.aws.frobnicate", "unknown field");
    refuses(
        &[("/backends/aws/credentials/S3CRE", json!(1))],
        "backends.aws.credentials.S3CRE",
        "unknown field",
    );
    refuses(&[("/models/1/order", json!(1))], "models[1].order", "unknown field");
    let odd = json!([{ "backend": "aws", "model": "bedrock/x", "prio": 1 }]);
    refuses(&[("/models/2", json!({ "name": "n", "targets": odd }))], "models[2].targets[0].prio", "unknown");
    refuses(&[("/limits", json!({ "request_byte": 1 }))], "limits.request_byte", "unknown field");
}

#[test]
fn missing_keys_are_named_with_what_they_belong_to() {
    refuses(&[("/models", Value::Null)], "(the configuration)", "missing field `models`");
    refuses(&[("/backends", Value::Null)], "(the configuration)", "missing field `backends`");
    refuses(&[("/backends/aws/cluster", Value::Null)], "backends.aws", "missing field `cluster`");
    refuses(&[("/backends/aws/provider", Value::Null)], "backends.aws", "missing field `provider`");
    refuses(&[("/backends/gcp/credentials", Value::Null)], "backends.gcp", "missing field `credentials`");
    refuses(
        &[("/backends/gcp/credentials/source", Value::Null)],
        "backends.gcp.credentials",
        "missing field `source`",
    );
    refuses(&[("/models/0/name", Value::Null)], "models[0]", "missing field `name`");
    refuses(&[("/models/0/backend", Value::Null)], "models[0].backend", "list `targets`");
}

#[test]
fn wrong_types_are_named_by_path_and_kind_and_never_shown() {
    let key = "/backends/aws/credentials/secret_access_key";
    let path = "backends.aws.credentials.secret_access_key";
    refuses(&[(key, json!(12345))], path, "a number");
    refuses(&[(key, json!(["S3CRET"]))], path, "an array");
    refuses(&[(key, json!(true))], path, "a boolean");
    refuses(&[("/backends/aws/credentials", json!("S3CRET"))], "backends.aws.credentials", "a string");
    refuses(&[("/backends/aws/region", json!({ "S3CRET": 1 }))], "backends.aws.region", "an object");
    refuses(&[("/backends", json!("S3CRET"))], "backends", "a string");
    refuses(&[("/backends", json!([1]))], "backends", "an array");
    refuses(&[("/models", json!({ "S3CRET": 1 }))], "models", "expected an array, found an object");
    refuses(&[("/models/2", json!("S3CRET"))], "models[2]", "a string");
    refuses(&[("/limits", json!({ "request_bytes": "S3CRET" }))], "limits.request_bytes", "a string");
    refuses(&[("/limits", json!({ "request_bytes": -1 }))], "limits.request_bytes", "");
    refuses(&[("/limits", json!({ "request_bytes": 1.5 }))], "limits.request_bytes", "a number");
}

#[test]
fn a_list_is_no_object_even_if_its_items_would_fit() {
    refuses(
        &[("/models/0", json!(["bedrock/*", "aws", null]))],
        "models[0]",
        "expected an object, found an array",
    );
    refuses(&[("/limits", json!([1000]))], "limits", "expected an object, found an array");
    let credentials = json!(["static", "A", "S3CRET", null, null]);
    refuses(
        &[("/backends/aws/credentials", credentials)],
        "backends.aws.credentials",
        "expected an object, found an array",
    );
}

#[test]
fn words_that_are_not_among_the_choices_are_refused_with_the_choices() {
    refuses(&[("/backends/aws/provider", json!("azure"))], "backends.aws.provider", "`bedrock`");
    refuses(&[("/backends/aws/provider", json!("Bedrock"))], "backends.aws.provider", "`vertex`");
    let source = "/backends/aws/credentials/source";
    refuses(&[(source, json!("magic"))], "backends.aws.credentials.source", "`environment`");
}

#[test]
fn a_backend_of_bedrock_needs_its_region_and_keys() {
    let region = "backends.aws.region";
    refuses(&[("/backends/aws/region", Value::Null)], region, "us-east-1");
    for wrong in ["", "us east 1", "us-east-1/x", "us-east-1.evil.example", "é"] {
        refuses(&[("/backends/aws/region", json!(wrong))], region, "us-east-1");
    }
    let at = |field: &str| format!("backends.aws.credentials.{field}");
    for field in ["access_key_id", "secret_access_key"] {
        let pointer = format!("/backends/aws/credentials/{field}");
        refuses(&[(&pointer, Value::Null)], &at(field), "is missing");
        for wrong in ["", "S3CRET\n", "S3CRET S3CRET", "S3CRETé"] {
            refuses(&[(&pointer, json!(wrong))], "backends.aws.credentials", "is empty, or has a blank");
        }
    }
    let token = "/backends/aws/credentials/session_token";
    refuses(&[(token, json!("S3CRET TOKEN"))], "backends.aws.credentials", "session token");
    refuses(&[("/backends/aws/credentials/source", json!("metadata_server"))], &at("source"), "`static`");
}

#[test]
fn a_backend_of_vertex_needs_its_project_location_and_token_source() {
    refuses(&[("/backends/gcp/project", Value::Null)], "backends.gcp.project", "my-project");
    refuses(&[("/backends/gcp/location", Value::Null)], "backends.gcp.location", "us-central1");
    for wrong in ["", "a/b", "a b", "../x"] {
        refuses(&[("/backends/gcp/project", json!(wrong))], "backends.gcp.project", "my-project");
        refuses(&[("/backends/gcp/location", json!(wrong))], "backends.gcp.location", "us-central1");
    }
    let cluster = "/backends/gcp/credentials/cluster";
    for wrong in [Value::Null, json!("")] {
        refuses(&[(cluster, wrong)], "backends.gcp.credentials.cluster", "metadata.google.internal:80");
    }
    for source in ["static", "environment"] {
        refuses(
            &[("/backends/gcp/credentials/source", json!(source))],
            "backends.gcp.credentials.source",
            "must be `metadata_server`",
        );
    }
    compile(&with(&[("/backends/gcp/project", json!("example.com:my-project"))]), &[]).unwrap();
}

/// A backend of a vendor's own API, in the place of Vertex AI's.
fn direct(provider: &str, credentials: Value) -> Value {
    let backend = json!({ "provider": provider, "cluster": provider, "credentials": credentials });
    with(&[
        ("/backends/gcp", backend),
        ("/models/1", json!({ "name": format!("{provider}/*"), "backend": "gcp" })),
    ])
}

#[test]
fn a_backend_of_a_vendors_own_api_needs_its_key_and_nothing_else() {
    for provider in ["anthropic", "openai"] {
        let key = |key: Value| direct(provider, json!({ "source": "api_key", "api_key": key }));
        compile(&key(json!("sk-S3CRET")), &[]).unwrap();
        let named = key(json!({ "env": "VENDOR_KEY" }));
        compile(&named, &[("VENDOR_KEY", "sk-S3CRET")]).unwrap();
        let found = |config: &Value| problems(config, &[]).into_iter().next().unwrap();
        assert_eq!(found(&named).0, "backends.gcp.credentials.api_key");
        for wrong in ["", "sk S3CRET", "sk-S3CRET\n", "sk-S3CRETé"] {
            let (path, problem) = found(&key(json!(wrong)));
            assert_eq!(path, "backends.gcp.credentials.api_key");
            assert!(!problem.contains("S3CRET"), "{problem}");
        }
        let (path, problem) = found(&direct(provider, json!({ "source": "api_key" })));
        assert!(path.ends_with(".api_key") && problem.contains("is missing"), "{path}: {problem}");
        for source in ["static", "environment", "metadata_server"] {
            let (path, problem) = found(&direct(provider, json!({ "source": source })));
            assert!(path.ends_with(".source") && problem.contains("must be `api_key`"), "{path}: {problem}");
        }
        let mut more = key(json!("sk-S3CRET"));
        more["backends"]["gcp"]["region"] = json!("us-east-1");
        more["backends"]["gcp"]["api"] = json!("mantle");
        let paths: Vec<String> = problems(&more, &[]).into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["backends.gcp.region", "backends.gcp.api"]);
    }
}

#[test]
fn bedrocks_api_is_one_of_four_words() {
    for api in ["auto", "converse", "invoke_model", "mantle"] {
        compile(&with(&[("/backends/aws/api", json!(api))]), &[]).unwrap();
    }
    refuses(&[("/backends/aws/api", json!("invoke"))], "backends.aws.api", "`invoke_model`");
    refuses(&[("/backends/gcp/api", json!("converse"))], "backends.gcp.api", "remove it");
}

#[test]
fn fields_that_would_do_nothing_are_refused() {
    for (pointer, path) in [
        ("/backends/aws/project", "backends.aws.project"),
        ("/backends/aws/location", "backends.aws.location"),
        ("/backends/gcp/region", "backends.gcp.region"),
        ("/backends/aws/credentials/cluster", "backends.aws.credentials.cluster"),
        ("/backends/gcp/credentials/access_key_id", "backends.gcp.credentials.access_key_id"),
        ("/backends/gcp/credentials/secret_access_key", "backends.gcp.credentials.secret_access_key"),
        ("/backends/gcp/credentials/session_token", "backends.gcp.credentials.session_token"),
    ] {
        refuses(&[(pointer, json!("S3CRET"))], path, "remove it");
    }
}

#[test]
fn a_cluster_must_have_a_name_and_a_host_must_be_one() {
    refuses(&[("/backends/aws/cluster", json!(""))], "backends.aws.cluster", "is empty");
    for wrong in
        ["", "https://example.com", "example.com/x", "a b", "example.com:", "example.com:70000", "a\r\nb"]
    {
        refuses(&[("/backends/gcp/host", json!(wrong))], "backends.gcp.host", "must be a host name");
    }
    compile(&with(&[("/backends/gcp/host", json!("127.0.0.1:8443"))]), &[]).unwrap();
}

#[test]
fn secrets_come_from_the_environment_or_are_missed_there_by_name() {
    let key = "/backends/aws/credentials/secret_access_key";
    let path = "backends.aws.credentials.secret_access_key";
    let config = with(&[(key, json!({ "env": "MY_KEY" }))]);
    compile(&config, &[("MY_KEY", "S3CRETKEY")]).unwrap();
    for variables in [[].as_slice(), &[("MY_KEY", "")], &[("OTHER", "S3CRETKEY")]] {
        let found = problems(&config, variables);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, path);
        assert!(found[0].1.contains("MY_KEY") && found[0].1.contains("host_env_keys"), "{found:?}");
    }
    refuses(&[(key, json!({}))], path, "missing field `env`");
    refuses(&[(key, json!({ "file": "S3CRET" }))], path, "unknown field `file`");
    refuses(&[(key, json!({ "env": 1 }))], &format!("{path}.env"), "a number");
}

#[test]
fn the_source_environment_wants_awss_own_variables_and_no_keys_beside_them() {
    let credentials = |more: Value| {
        let mut credentials = json!({ "source": "environment" });
        credentials.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        with(&[("/backends/aws/credentials", credentials)])
    };
    let (id, key) = (("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "S3CRETKEY"));
    compile(&credentials(json!({})), &[id, key]).unwrap();
    compile(&credentials(json!({})), &[id, key, ("AWS_SESSION_TOKEN", "S3CRETTOKEN")]).unwrap();
    compile(&credentials(json!({})), &[id, key, ("AWS_SESSION_TOKEN", "")]).unwrap();
    let found = problems(&credentials(json!({})), &[]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|(path, _)| path == "backends.aws.credentials"), "{found:?}");
    assert!(
        found[0].1.contains("AWS_ACCESS_KEY_ID") && found[1].1.contains("AWS_SECRET_ACCESS_KEY"),
        "{found:?}"
    );
    let found = problems(&credentials(json!({ "access_key_id": "S3CRET" })), &[id, key]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "backends.aws.credentials.access_key_id");
}

#[test]
fn model_rules_lead_somewhere_and_match_differently() {
    refuses(&[("/models", json!([]))], "models", "is empty");
    refuses(&[("/models/0/backend", json!("azure"))], "models[0].backend", "(aws, gcp)");
    refuses(&[("/models/0/family", json!("clade"))], "models[0].family", "claude-sonnet-4-5");
    let targets =
        |more: Value| json!({ "name": "n", "targets": [{ "backend": "aws", "model": "bedrock/x" }, more] });
    let gcp = |fields: Value| {
        let mut target = json!({ "backend": "gcp", "model": "vertex_ai/x" });
        target.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        targets(target)
    };
    refuses(
        &[("/models/2", targets(json!({ "backend": "az" })))],
        "models[2].targets[1].backend",
        "(aws, gcp)",
    );
    refuses(&[("/models/2", gcp(json!({ "family": "clade" })))], "models[2].targets[1].family", "base model");
    refuses(
        &[("/models/2", gcp(json!({ "model": "bedrock/x" })))],
        "models[2].targets[1].model",
        "vertex_ai/",
    );
    let mut both = gcp(json!({}));
    both["backend"] = json!("aws");
    refuses(&[("/models/2", both)], "models[2].backend", "beside `targets`");
    let none = json!({ "name": "n", "targets": [{ "backend": "aws", "model": "bedrock/x", "weight": 0 }] });
    refuses(&[("/models/2", none)], "models[2].targets", "weight 0");
    for list in ["fallbacks", "context_window_fallbacks"] {
        let path = format!("models[0].{list}[1]");
        refuses(&[(&format!("/models/0/{list}"), json!(["sonnet", "sonet"]))], &path, "not a model");
    }
    refuses(&[("/default_fallbacks", json!(["sonet"]))], "default_fallbacks[0]", "not a model");
    refuses(&[("/models/0/context_window", json!(0))], "models[0].context_window", "is zero");
    let chain = |cluster: &str, backends: &[&str]| json!([{ "cluster": cluster, "backends": backends }]);
    refuses(&[("/chains", chain("", &["aws"]))], "chains[0].cluster", "aggregate");
    refuses(&[("/chains", chain("c", &[]))], "chains[0].backends", "is empty");
    refuses(&[("/chains", chain("c", &["aws", "az"]))], "chains[0].backends[1]", "(aws, gcp)");
    refuses(&[("/chains", chain("c", &["aws", "aws"]))], "chains[0].backends[1]", "already");
    compile(
        &with(&[("/chains", chain("c", &["aws", "gcp"])), ("/models/2", gcp(json!({ "order": 2 })))]),
        &[],
    )
    .unwrap();
    let rule = |name: &str| json!({ "name": name, "backend": "aws" });
    refuses(&[("/models/-", rule("sonnet"))], "models[3].name", "another rule");
    refuses(&[("/models/-", rule("bedrock/*"))], "models[3].name", "another rule");
    for wrong in ["", "a*b", "*a", "a**"] {
        refuses(&[("/models/-", rule(wrong))], "models[3].name", "`*`");
    }
    for wrong in ["", "bedrock/", "bedrock/*"] {
        refuses(&[("/models/2/model", json!(wrong))], "models[2].model", "must be one model");
    }
    compile(&with(&[("/models/-", rule("*")), ("/models/-", rule("bedrock/us.*"))]), &[]).unwrap();
}

#[test]
fn a_rule_of_one_cloud_with_a_model_of_another_is_refused() {
    refuses(&[("/models/2/model", json!("vertex_ai/gemini-2.5-flash"))], "models[2].model", "bedrock/");
}

#[test]
fn a_limit_of_zero_would_refuse_everything() {
    refuses(&[("/limits", json!({ "request_bytes": 0 }))], "limits.request_bytes", "zero");
    compile(&with(&[("/limits", json!({}))]), &[]).unwrap();
    compile(&with(&[("/limits", json!({ "request_bytes": 1 }))]), &[]).unwrap();
}

#[test]
fn keys_that_are_written_twice_are_refused() {
    let text = good().to_string();
    for (once, twice, path) in [
        (r#""cluster":"bedrock_us_east_1""#, r#""cluster":"a","cluster":"b""#, "backends.aws"),
        (r#""name":"sonnet""#, r#""name":"sonnet","name":"opus""#, "models[2]"),
        (
            r#""aws":{"#,
            r#""gcp":{"provider":"bedrock","cluster":"c","region":"r","credentials":{"source":"environment"}},"aws":{"#,
            "backends",
        ),
    ] {
        assert!(text.contains(once), "{once}");
        let problems = Plan::compile(text.replacen(once, twice, 1).as_bytes(), &Environment::new());
        let problems = problems.map(|_| ()).expect_err(twice);
        assert!(problems.0[0].0.starts_with(path), "{problems}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let config = with(&[
        ("/backends/aws/region", Value::Null),
        ("/backends/gcp/project", Value::Null),
        ("/backends/gcp/cluster", json!("")),
        ("/models/2/backend", json!("nowhere")),
        ("/limits", json!({ "request_bytes": 0, "leave_cluster": "" })),
    ]);
    let paths: Vec<String> = problems(&config, &[]).into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        paths,
        [
            "backends.aws.region",
            "backends.gcp.cluster",
            "backends.gcp.project",
            "models[2].backend",
            "limits.request_bytes",
            "limits.leave_cluster"
        ]
    );
}

#[test]
fn a_plan_never_shows_its_secrets() {
    let token = ("/backends/aws/credentials/session_token", json!("S3CRETTOKEN"));
    let shown = format!("{:?}", compile(&with(&[token]), &[]).unwrap());
    assert!(!shown.contains("S3CRET"), "{shown}");
}
