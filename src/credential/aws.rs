//! AWS's credentials: from the configuration to keys, or to the steps by which they are fetched.

use std::rc::Rc;
use std::time::SystemTime;

use super::{Answer, Carry, Credential, Grant, Problem, Shop, Step, api_key, sigv4};
use crate::base::host::Callout;
use crate::config::credentials::{Credentials, Source, TeamCredentials};
use crate::config::{Environment, Problems, Secret, superfluous, variable};

/// Where in AWS.
#[derive(Clone, Copy, Debug)]
pub struct Area<'a> {
    pub region: &'a str,
    /// FIPS endpoints are wanted.
    pub fips: bool,
}

/// The domain of a region's hosts; China's regions have one of their own:
/// docs.aws.amazon.com/general/latest/gr/rande.html.
pub fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// What an operator reads who has written one of them for another provider.
const OWNER: &str = "this source of AWS keys";

/// Checks the credentials of a backend of AWS's.
pub fn compile(
    shop: &Shop<'_>,
    _area: &Area<'_>,
    written: &Credentials,
    path: &str,
    problems: &mut Problems,
) -> Option<Credential> {
    let refuse = |known: &[&str], problems: &mut Problems| {
        let others: Vec<(&str, bool)> =
            written.given().into_iter().filter(|(name, _)| !known.contains(name)).collect();
        superfluous(&others, path, OWNER, problems);
    };
    match written.source {
        Source::Static => {
            refuse(&["access_key_id", "secret_access_key", "session_token"], problems);
            let id = key(
                written.access_key_id.as_ref(),
                shop.environment,
                &format!("{path}.access_key_id"),
                problems,
            );
            let secret = key(
                written.secret_access_key.as_ref(),
                shop.environment,
                &format!("{path}.secret_access_key"),
                problems,
            );
            let token = match &written.session_token {
                Some(_) => {
                    let path = format!("{path}.session_token");
                    Some(key(written.session_token.as_ref(), shop.environment, &path, problems)?)
                }
                None => None,
            };
            keys(&id?, &secret?, token.as_deref(), path, problems)
        }
        Source::Environment => {
            refuse(&[], problems);
            let id = variable("AWS_ACCESS_KEY_ID", shop.environment, path, problems);
            let secret = variable("AWS_SECRET_ACCESS_KEY", shop.environment, path, problems);
            let token = shop.environment.get("AWS_SESSION_TOKEN").filter(|token| !token.is_empty());
            keys(&id?, &secret?, token.map(String::as_str), path, problems)
        }
        Source::ApiKey => api_key(written, "an API key of Amazon Bedrock", shop.environment, path, problems),
        Source::Instance
        | Source::Container
        | Source::WebIdentity
        | Source::Default
        | Source::MetadataServer
        | Source::ServiceAccount
        | Source::AuthorizedUser
        | Source::ExternalAccount => {
            problems.add(
                &format!("{path}.source"),
                "must be `static`, `environment` or `api_key` for provider `bedrock`",
            );
            None
        }
    }
}

/// What a team calls a backend as, if it is not what everyone does.
pub fn of_team(
    _shop: &Shop<'_>,
    _area: &Area<'_>,
    _written: &Credentials,
    _base: &Credential,
    (_team, _own): (&str, Option<&TeamCredentials>),
    _path: &str,
    _problems: &mut Problems,
) -> Option<Credential> {
    None
}

/// What an external account of Google's begins with on AWS.
pub struct Federated {
    pub keys: Credential,
    /// They leave the name of the region in [`Carry::name`].
    pub region: Vec<Box<dyn Step>>,
}

/// Keys and region from Envoy's environment, where Google's own libraries look first: `_DefaultAwsSecurityCredentialsSupplier`
/// of google-auth.
pub fn federated(shop: &Shop<'_>, path: &str, problems: &mut Problems) -> Option<Federated> {
    // To be joined with `instance`: where the environment has no keys they are those of the instance's role, and where it
    // has no region that is the availability zone at …/latest/meta-data/placement/availability-zone without its last
    // letter; both through `clusters.instance`.
    let id = variable("AWS_ACCESS_KEY_ID", shop.environment, path, problems);
    let secret = variable("AWS_SECRET_ACCESS_KEY", shop.environment, path, problems);
    let filled = |name: &str| shop.environment.get(name).filter(|value| !value.is_empty());
    let region = match filled("AWS_REGION").or_else(|| filled("AWS_DEFAULT_REGION")) {
        Some(region) => Some(region.clone()),
        None => variable("AWS_REGION", shop.environment, path, problems),
    };
    let keys = keys(&id?, &secret?, filled("AWS_SESSION_TOKEN").map(String::as_str), path, problems)?;
    Some(Federated { keys, region: vec![Box::new(KnownRegion(region?))] })
}

/// The region is known beforehand.
#[derive(Debug)]
struct KnownRegion(String);

impl Step for KnownRegion {
    fn name(&self) -> String {
        "the region".to_owned()
    }

    fn call(&self, carry: &mut Carry, _: SystemTime) -> Result<Option<Callout>, Problem> {
        self.0.clone_into(&mut carry.name);
        Ok(None)
    }

    fn read(&self, _: &mut Carry, _: &Answer<'_>, _: SystemTime) -> Result<(), Problem> {
        Ok(())
    }
}

fn key(
    secret: Option<&Secret>,
    environment: &Environment,
    path: &str,
    problems: &mut Problems,
) -> Option<String> {
    match secret {
        Some(secret) => secret.resolve(environment, path, problems),
        None => {
            problems.add(
                path,
                "is missing; write it, or {\"env\": \"NAME\"} to take it from Envoy's environment",
            );
            None
        }
    }
}

fn keys(
    id: &str,
    secret: &str,
    token: Option<&str>,
    path: &str,
    problems: &mut Problems,
) -> Option<Credential> {
    sigv4::Credentials::new(id, secret, token)
        .map_err(|problem| problems.add(path, problem.to_string()))
        .ok()
        .map(|keys| Credential::Fixed(Rc::new(Grant::Keys(keys))))
}
