//! What is refused of AWS's credentials, with its JSON path and the way out.
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

use std::fs;

use common::aws::*;
use fairlead::pipeline::Plan;
use serde_json::{Value, json};

/// The problems of a configuration, which show no secret.
fn problems(config: &Value, variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let problems = Plan::compile(config.to_string().as_bytes(), &environment(variables));
    let problems = problems.err().unwrap_or_else(|| panic!("accepted: {config}"));
    assert!(!problems.to_string().contains("S3CRET"), "{problems}");
    problems.0
}

#[test]
fn what_a_source_lacks_is_named_with_the_way_out() {
    let hand_over = "vm_config.environment_variables.host_env_keys";
    let irsa = ("AWS_WEB_IDENTITY_TOKEN_FILE", IRSA_TOKEN_FILE);
    let ecs = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x");
    let eks = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials");
    let eks_file = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", POD_TOKEN_FILE);
    let role = json!({ "role_arn": ROLE });
    let both = json!({ "file": "f", "sts": "s" });
    for (credentials, variables, expected) in [
        (json!({ "source": "instance" }), vec![], vec![("clusters.instance", "169.254.169.254:80")]),
        (
            json!({ "source": "container", "path": "/x" }),
            vec![],
            vec![("clusters.container", "169.254.170.2:80")],
        ),
        (
            json!({ "source": "container", "clusters": { "container": "c" } }),
            vec![],
            vec![("path", "AWS_CONTAINER_CREDENTIALS_FULL_URI")],
        ),
        (
            json!({ "source": "container", "clusters": { "container": "c" } }),
            vec![eks],
            vec![("token_path", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")],
        ),
        (
            json!({ "source": "container", "clusters": { "container": "c" } }),
            vec![eks, eks_file],
            vec![("clusters.file", "serves token files")],
        ),
        (
            json!({ "source": "web_identity" }),
            vec![],
            vec![
                ("token_path", hand_over),
                ("clusters.sts", "sts.us-east-1.amazonaws.com:443"),
                ("role_arn", "AWS_ROLE_ARN"),
            ],
        ),
        (
            json!({ "source": "web_identity", "role_arn": ROLE, "token_path": "/t", "clusters": { "sts": "s" } }),
            vec![],
            vec![("clusters.file", "serves token files")],
        ),
        (
            json!({ "source": "environment", "assume_role": role }),
            KEYS.to_vec(),
            vec![("clusters.sts", "sts.us-east-1.amazonaws.com:443, for `assume_role`")],
        ),
        (json!({ "source": "default" }), vec![], vec![("clusters.instance", "host_env_keys")]),
        (
            json!({ "source": "default" }),
            vec![("AWS_EC2_METADATA_DISABLED", "True")],
            vec![("source", "AWS_EC2_METADATA_DISABLED")],
        ),
        (
            json!({ "source": "default" }),
            vec![ecs],
            vec![("clusters.container", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")],
        ),
        (
            json!({ "source": "default", "clusters": both }),
            vec![irsa],
            vec![("", "the environment variable AWS_ROLE_ARN is not set")],
        ),
        (
            json!({ "source": "default", "clusters": { "sts": "s" } }),
            vec![irsa, ("AWS_ROLE_ARN", ROLE)],
            vec![("clusters.file", "as AWS_WEB_IDENTITY_TOKEN_FILE is set")],
        ),
        (json!({ "source": "default" }), vec![KEYS[0]], vec![("", "AWS_SECRET_ACCESS_KEY is not set")]),
    ] {
        let found = problems(&config(&credentials, json!({})), &variables);
        let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
        let wanted: Vec<String> = expected
            .iter()
            .map(|(field, _)| format!("backends.aws.credentials.{field}").trim_end_matches('.').to_owned())
            .collect();
        assert_eq!(paths, wanted, "{credentials}: {found:?}");
        for ((_, words), (_, problem)) in expected.iter().zip(&found) {
            assert!(problem.contains(words), "{credentials}: {problem}");
        }
    }
}

/// The fields of a source as the schema has them.
fn fields(source: &str) -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/envoy/plugin.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let sources = schema["$defs"]["credentials"]["oneOf"].as_array().unwrap();
    let found = sources.iter().find(|object| object["properties"]["source"]["const"] == source).unwrap();
    let words = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let clusters = words(&found["properties"]["clusters"]["propertyNames"]["enum"]);
    let mut fields: Vec<String> = clusters.iter().map(|cluster| format!("clusters.{cluster}")).collect();
    fields.extend(words(&found["propertyNames"]["enum"]));
    fields.retain(|name| !["source", "clusters"].contains(&name.as_str()));
    fields
}

#[test]
fn what_has_no_meaning_for_a_source_is_refused_by_its_path() {
    let everything = json!({
        "access_key_id": "a", "secret_access_key": "b", "session_token": "c", "api_key": "d", "json": "e",
        "cluster": "f", "role_name": "g", "role_arn": ROLE, "session_name": "hh", "path": "/i", "token_path": "/j",
        "assume_role": { "role_arn": ROLE }, "impersonate": { "service_account": "k" }, "quota_project": "l",
        "clusters": {
            "instance": "1", "container": "2", "file": "3", "sts": "4", "metadata": "5", "token": "6", "iam": "7",
            "subject": "8"
        }
    });
    for source in ["static", "environment", "instance", "container", "web_identity", "default", "api_key"] {
        let fields = fields(source);
        let mut credentials = everything.clone();
        credentials["source"] = json!(source);
        let found = problems(&config(&credentials, json!({})), &KEYS);
        let mut refused: Vec<String> = found
            .iter()
            .filter(|(_, problem)| problem.contains("has no meaning for"))
            .map(|(path, _)| path.strip_prefix("backends.aws.credentials.").unwrap().to_owned())
            .collect();
        refused.sort_unstable();
        let mut expected: Vec<String> = Vec::new();
        for (name, value) in everything.as_object().unwrap() {
            match (name.as_str(), value) {
                ("clusters", clusters) => {
                    expected
                        .extend(clusters.as_object().unwrap().keys().map(|name| format!("clusters.{name}")));
                }
                (name, _) => expected.push(name.to_owned()),
            }
        }
        expected.retain(|name| !fields.contains(name));
        expected.sort_unstable();
        assert_eq!(refused, expected, "{source}");
    }
    let sts = json!({ "source": "environment", "clusters": { "sts": "s" } });
    let found = problems(&config(&sts, json!({})), &KEYS);
    assert_eq!(found[0].0, "backends.aws.credentials.clusters.sts");
    assert!(found.len() == 1 && found[0].1.contains("without `assume_role`"), "{found:?}");
}

#[test]
fn what_aws_would_refuse_of_a_role_is_refused_before() {
    let role = |field: &str, value: Value| {
        let mut role = json!({ "role_arn": ROLE });
        role[field] = value;
        (format!("assume_role.{field}"), role)
    };
    let tags = |name: &str, value: &str| {
        let mut tags = json!({});
        tags[name] = json!(value);
        (format!("assume_role.tags.{name}"), json!({ "role_arn": ROLE, "tags": tags }))
    };
    let many: serde_json::Map<String, Value> = (0..51).map(|n| (format!("t{n}"), json!("v"))).collect();
    for ((field, role), words) in [
        (role("role_arn", json!("fairlead")), "must be the ARN of a role"),
        (role("role_arn", json!("arn:aws-cn:iam::123456789012:role/x")), "of the partition `aws-cn`"),
        (role("session_name", json!("two words")), "2 to 64"),
        (role("session_name", json!("x")), "2 to 64"),
        (role("session_name", json!("x".repeat(65))), "2 to 64"),
        (role("external_id", json!("S3CRET \n")), "2 to 1224"),
        (role("external_id", json!("x")), "2 to 1224"),
        (role("external_id", json!({ "env": "NOT_THERE" })), "NOT_THERE is not set"),
        (role("duration_seconds", json!(899)), "900 to 43200"),
        (role("duration_seconds", json!(43_201)), "900 to 43200"),
        (role("tags", json!(many)), "has 51 tags"),
        (tags("a;b", "x"), "must be named with"),
        (tags("aws:x", "x"), "must be named with"),
        (tags("", "x"), "must be named with"),
        (tags(&"x".repeat(129), "x"), "must be named with"),
        (tags("a", "x;y"), "at most 256"),
        (tags("a", &"x".repeat(257)), "at most 256"),
        (role("per_team", json!(true)), "without `teams`"),
    ] {
        let credentials = json!({ "source": "environment", "clusters": { "sts": "s" }, "assume_role": role });
        let found = problems(&config(&credentials, json!({})), &KEYS);
        let [(path, problem)] = found.as_slice() else { panic!("{role}: {found:?}") };
        assert_eq!(*path, format!("backends.aws.credentials.{field}"), "{problem}");
        assert!(problem.contains(words), "{role}: {problem}");
    }
    let twice = json!({ "source": "environment", "clusters": { "sts": "s" },
        "assume_role": { "role_arn": ROLE, "tags": { "App": "a", "app": "b" } } });
    assert!(problems(&config(&twice, json!({})), &KEYS)[0].1.contains("in capitals"));

    // A role that is taken on with a role's keys lasts an hour.
    for (mut credentials, longest) in [
        (json!({ "source": "instance", "clusters": { "instance": "i", "sts": "s" } }), 3600),
        (json!({ "source": "default", "clusters": { "instance": "i", "sts": "s" } }), 3600),
        (json!({ "source": "container", "path": "/x", "clusters": { "container": "c", "sts": "s" } }), 3600),
        (web_identity(json!({ "role_arn": ROLE, "token_path": "/t" })), 3600),
        (
            json!({ "source": "static", "access_key_id": "a", "secret_access_key": "b", "clusters": { "sts": "s" } }),
            43_200,
        ),
    ] {
        credentials["assume_role"] = json!({ "role_arn": ROLE, "duration_seconds": longest });
        plan(&credentials, &[]);
        credentials["assume_role"]["duration_seconds"] = json!(longest + 1);
        let found = problems(&config(&credentials, json!({})), &[]);
        assert_eq!(found[0].0, "backends.aws.credentials.assume_role.duration_seconds", "{found:?}");
        assert!(found[0].1.contains(&format!("900 to {longest}")), "{found:?}");
    }
}

#[test]
fn what_cannot_be_a_path_a_name_or_a_role_is_refused() {
    let container = |more: Value| {
        let mut credentials = json!({ "source": "container", "clusters": { "container": "c", "file": "f" } });
        credentials.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        credentials
    };
    let web = |field: &str, value: &str| {
        let mut credentials = web_identity(json!({ "role_arn": ROLE, "token_path": "/t" }));
        credentials[field] = json!(value);
        credentials
    };
    let odd = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "S3CRET");
    let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "S3CRET\n");
    for (credentials, variables, field) in [
        (
            json!({ "source": "instance", "clusters": { "instance": "i" }, "role_name": "a/b" }),
            vec![],
            "role_name",
        ),
        (container(json!({ "path": "x" })), vec![], "path"),
        (container(json!({ "path": "/x", "token_path": "t" })), vec![], "token_path"),
        (container(json!({ "path": "/x", "token_path": "/t?x" })), vec![], "token_path"),
        (container(json!({})), vec![odd], "path"),
        (container(json!({ "path": "/x" })), vec![token], "source"),
        (web("role_arn", "role/x"), vec![], "role_arn"),
        (web("session_name", "a b"), vec![], "session_name"),
        (web("token_path", ""), vec![], "token_path"),
    ] {
        let found = problems(&config(&credentials, json!({})), &variables);
        let [(path, problem)] = found.as_slice() else { panic!("{credentials}: {found:?}") };
        assert_eq!(*path, format!("backends.aws.credentials.{field}"), "{problem}");
    }
}

#[test]
fn what_a_team_cannot_call_a_backend_as_is_refused() {
    let keys = json!({ "source": "environment", "clusters": { "sts": "s" } });
    let bare = json!({ "source": "environment" });
    let with_role = assume_role(json!({}));
    let per_team = assume_role(json!({ "per_team": true }));
    let tagged = assume_role(json!({ "per_team": true, "tags": { "Team": "x" } }));
    let full: serde_json::Map<String, Value> = (0..50).map(|n| (format!("t{n}"), json!("v"))).collect();
    let full = assume_role(json!({ "per_team": true, "tags": full }));
    let api_key = json!({ "source": "api_key", "api_key": "S3CRET" });
    let own = |more: Value| vec![("blue", more)];
    let good = json!({ "role_arn": ROLE });
    let at = "teams.blue.credentials.aws";
    let role = "backends.aws.credentials.assume_role";
    for (credentials, teams_of, path, words) in [
        (&keys, own(json!({})), at.to_owned(), "names no role"),
        (&keys, own(json!({ "external_id": "xx" })), format!("{at}.role_arn"), "is missing"),
        (&with_role, own(json!({})), at.to_owned(), "names no role"),
        (&per_team, own(json!({})), at.to_owned(), "names no role"),
        (&keys, own(json!({ "role_arn": "blue" })), format!("{at}.role_arn"), "ARN of a role"),
        (
            &keys,
            own(json!({ "role_arn": "arn:aws-cn:iam::123456789012:role/x" })),
            format!("{at}.role_arn"),
            "partition",
        ),
        (
            &keys,
            own(json!({ "role_arn": ROLE, "external_id": "" })),
            format!("{at}.external_id"),
            "2 to 1224",
        ),
        (
            &keys,
            own(json!({ "role_arn": ROLE, "service_account": "x" })),
            format!("{at}.service_account"),
            "no meaning",
        ),
        (&bare, own(good.clone()), "backends.aws.credentials.clusters.sts".to_owned(), "a team's own role"),
        (&api_key, own(good.clone()), at.to_owned(), "called with an API key"),
        (&tagged, own(Value::Null), format!("{role}.tags.Team"), "each team's own name"),
        (&full, own(Value::Null), format!("{role}.tags"), "too many"),
    ] {
        let found = problems(&config(credentials, teams(&teams_of)), &KEYS);
        let [(found_at, problem)] = found.as_slice() else { panic!("{credentials} {teams_of:?}: {found:?}") };
        assert_eq!((found_at, problem.contains(words)), (&path, true), "{teams_of:?}: {problem}");
    }
    // Two names that AWS could not tell apart.
    let alike = [("a b", Value::Null), ("a-b", Value::Null)];
    let found = problems(&config(&per_team, teams(&alike)), &KEYS);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "teams.a-b");
    assert!(found[0].1.contains("`a b`"), "{found:?}");
    plan_with(&config(&with_role, teams(&alike)), &KEYS);
    // A key that `default` finds leaves no role to be taken on.
    let bearer = [("AWS_BEARER_TOKEN_BEDROCK", "S3CRET")];
    let mut credentials = default();
    credentials["assume_role"] = json!({ "role_arn": ROLE });
    let found = problems(&config(&credentials, json!({})), &bearer);
    assert_eq!(found[0].0, "backends.aws.credentials.assume_role");
    assert!(found[0].1.contains("as AWS_BEARER_TOKEN_BEDROCK is set"), "{found:?}");
    let found = problems(&config(&default(), teams(&own(good))), &bearer);
    assert_eq!(found[0].0, at);
}

#[test]
fn fips_is_never_promised_where_there_is_none() {
    let key = json!({ "source": "api_key", "api_key": "key" });
    let mut mantle = config(&key, json!({}));
    mantle["backends"]["aws"]["api"] = json!("mantle");
    mantle["backends"]["aws"]["endpoint"] = json!("fips");
    let found = problems(&mantle, &[]);
    assert_eq!(found[0].0, "backends.aws.endpoint");
    mantle["backends"]["aws"]["host"] = json!("mantle-fips.example");
    plan_with(&mantle, &[]);
}
