//! Configurations with AWS's credentials, and the environments that go with them.

use std::rc::Rc;

use fairlead::config::Environment;
use fairlead::pipeline::Plan;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The role that the gateway takes on.
pub const ROLE: &str = "arn:aws:iam::123456789012:role/fairlead";

/// Where EKS puts a pod's tokens.
pub const IRSA_TOKEN_FILE: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token";
pub const POD_TOKEN_FILE: &str =
    "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token";

/// Keys of a user, in Envoy's environment.
pub const KEYS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "S3CRETKEY")];

/// A Bedrock backend with these credentials, and the rest of the configuration with these changes.
pub fn config(credentials: &Value, more: Value) -> Value {
    let mut config = json!({
        "backends": {
            "aws": { "provider": "bedrock", "region": "us-east-1", "cluster": "bedrock", "credentials": credentials }
        },
        "models": [{ "name": "chat", "backend": "aws", "model": "bedrock/amazon.nova-lite-v1:0" }]
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

pub fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub fn plan_with(config: &Value, variables: &[(&str, &str)]) -> Rc<Plan> {
    Rc::new(Plan::compile(config.to_string().as_bytes(), &environment(variables)).unwrap())
}

pub fn plan(credentials: &Value, variables: &[(&str, &str)]) -> Rc<Plan> {
    plan_with(&config(credentials, json!({})), variables)
}

/// A projected token that is taken to STS.
pub fn web_identity(more: Value) -> Value {
    let mut credentials = json!({ "source": "web_identity", "clusters": { "file": "files", "sts": "sts" } });
    credentials.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    credentials
}

/// Keys of the environment, and a role that is taken on with them.
pub fn assume_role(more: Value) -> Value {
    let mut role = json!({ "role_arn": ROLE });
    role.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "source": "environment", "clusters": { "sts": "sts" }, "assume_role": role })
}

/// AWS's default chain, and wherever it may lead.
pub fn default() -> Value {
    let clusters = json!({ "instance": "imds", "container": "agent", "file": "files", "sts": "sts" });
    json!({ "source": "default", "clusters": clusters })
}

/// A key of a team's member, and its hash.
pub fn member(team: &str) -> (String, String) {
    let key = format!("sk-{team}");
    let hash = Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    (key, hash)
}

/// Teams of these names, each with what it calls the backend as.
pub fn teams(names: &[(&str, Value)]) -> Value {
    let teams = names.iter().map(|(name, own)| {
        let mut team = json!({ "keys": [{ "sha256": member(name).1 }], "models": ["*"] });
        if !own.is_null() {
            team["credentials"] = json!({ "aws": own });
        }
        ((*name).to_owned(), team)
    });
    json!({ "teams": Value::Object(teams.collect()) })
}
