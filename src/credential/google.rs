//! Google's access tokens: the steps by which they are fetched.

use std::time::{Duration, SystemTime};

use std::rc::Rc;

use zeroize::Zeroizing;

use super::source::{CALL, Recipe};
use super::{Answer, Carry, Credential, Grant, Problem, Shop, Step, is_token};
use crate::base::host::Callout;
use crate::config::credentials::{Credentials, Source, TeamCredentials};
use crate::config::{Problems, superfluous};

/// Checks the credentials of a backend of Google's.
pub fn compile(
    shop: &Shop<'_>,
    written: &Credentials,
    path: &str,
    problems: &mut Problems,
) -> Option<Credential> {
    let known = ["cluster", "clusters.metadata", "quota_project"];
    let others: Vec<(&str, bool)> =
        written.given().into_iter().filter(|(name, _)| !known.contains(name)).collect();
    superfluous(&others, path, "provider `vertex`", problems);
    match written.source {
        Source::MetadataServer => {}
        Source::Static
        | Source::Environment
        | Source::Instance
        | Source::Container
        | Source::WebIdentity
        | Source::Default
        | Source::ServiceAccount
        | Source::AuthorizedUser
        | Source::ExternalAccount
        | Source::ApiKey => {
            problems.add(&format!("{path}.source"), "must be `metadata_server` for provider `vertex`");
            return None;
        }
    }
    let cluster = written.cluster.as_deref().or(written.clusters.metadata.as_deref());
    match cluster {
        Some(cluster) if !cluster.is_empty() => Some(shop.source(metadata_server(cluster), true)),
        Some(_) | None => {
            problems.add(
                &format!("{path}.cluster"),
                "is missing; name the Envoy cluster that leads to metadata.google.internal:80",
            );
            None
        }
    }
}

/// What a team calls a backend as, if it is not what everyone does.
pub fn of_team(
    _shop: &Shop<'_>,
    _written: &Credentials,
    _base: &Credential,
    _own: Option<&TeamCredentials>,
    _path: &str,
    _problems: &mut Problems,
) -> Option<Credential> {
    None
}

/// Google's metadata server: GCE, GKE with Workload Identity, Cloud Run.
#[derive(Debug)]
struct MetadataServer {
    cluster: String,
}

/// Google's metadata server behind an Envoy cluster.
fn metadata_server(cluster: &str) -> Recipe {
    Recipe {
        name: format!("metadata_server, cluster {cluster}"),
        identity: format!("metadata_server {cluster}"),
        base: None,
        steps: vec![Box::new(MetadataServer { cluster: cluster.to_owned() })],
    }
}

impl Step for MetadataServer {
    fn name(&self) -> String {
        "the metadata server".to_owned()
    }

    /// cloud.google.com/compute/docs/access/authenticate-workloads#applications.
    fn call(&self, _: &mut Carry, _: SystemTime) -> Result<Option<Callout>, Problem> {
        Ok(Some(Callout {
            cluster: self.cluster.clone(),
            headers: vec![
                (":method", "GET".to_owned()),
                (":path", "/computeMetadata/v1/instance/service-accounts/default/token".to_owned()),
                (":authority", "metadata.google.internal".to_owned()),
                // Without it the server refuses: it tells that no browser was tricked into asking.
                ("metadata-flavor", "Google".to_owned()),
            ],
            body: Vec::new(),
            timeout: CALL,
        }))
    }

    fn read(&self, carry: &mut Carry, answer: &Answer<'_>, now: SystemTime) -> Result<(), Problem> {
        access_token(carry, answer, now)
    }
}

/// Reads `{"access_token":…,"expires_in":…}`, the answer of every token endpoint: RFC 6749 section 5.1.
fn access_token(carry: &mut Carry, answer: &Answer<'_>, now: SystemTime) -> Result<(), Problem> {
    #[derive(serde::Deserialize)]
    struct Token {
        access_token: Zeroizing<String>,
        expires_in: u64,
    }
    if answer.status != 200 {
        return Err(Problem::status(answer.status, None));
    }
    let read = serde_json::from_slice::<Token>(answer.body).ok();
    let Some(token) = read.filter(|token| is_token(&token.access_token)) else {
        return Err(Problem::garbled("with something that is no token"));
    };
    carry.expires = now.checked_add(Duration::from_secs(token.expires_in));
    carry.grant = Some(Rc::new(Grant::Token(token.access_token)));
    Ok(())
}
