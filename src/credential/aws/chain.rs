//! The default chain of AWS's SDKs, as far as Envoy's environment speaks for a source; the variables of that.

use super::Begin;
use crate::credential::Shop;

pub const API_KEY: &str = "AWS_BEARER_TOKEN_BEDROCK";
pub const ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
pub const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
pub const RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
pub const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
pub const CONTAINER_TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
pub const CONTAINER_TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
pub const SECRET_ACCESS_KEY: &str = "AWS_SECRET_ACCESS_KEY";
pub const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";
pub const NO_METADATA: &str = "AWS_EC2_METADATA_DISABLED";
pub const ROLE: &str = "AWS_ROLE_ARN";
pub const SESSION_NAME: &str = "AWS_ROLE_SESSION_NAME";

/// botocore's `create_credential_resolver`, and before it the API key as in its `_should_prefer_bearer_auth` and in the
/// client for mantle of the `anthropic` package. There are no profiles: the plugin has no files.
const CHAIN: &[(&str, Begin)] = &[
    (API_KEY, Begin::ApiKey),
    (ACCESS_KEY_ID, Begin::Environment),
    (TOKEN_FILE, Begin::WebIdentity),
    (RELATIVE_URI, Begin::Container),
    (FULL_URI, Begin::Container),
];

/// What `default` begins with, and why, for an operator.
pub fn first(shop: &Shop<'_>) -> (Begin, String) {
    match CHAIN.iter().find(|(name, _)| set(shop, name).is_some()) {
        Some((name, begin)) => (*begin, format!(", as {name} is set and `default` goes by it")),
        None => {
            let names: Vec<&str> = CHAIN.iter().map(|(name, _)| *name).collect();
            let because = format!(
                ", as `default` takes the keys of the EC2 instance where none of {} is in Envoy's environment and named \
                 in vm_config.environment_variables.host_env_keys",
                names.join(", ")
            );
            (Begin::Instance, because)
        }
    }
}

/// The value of a variable that says something.
pub fn set<'a>(shop: &Shop<'a>, name: &str) -> Option<&'a str> {
    shop.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
}
