//! The key of a service account: signed assertions for tokens.

use std::time::SystemTime;

use serde::Deserialize;

use super::super::form;
use super::super::hidden::Hidden;
use super::super::source::Recipe;
use super::super::{Answer, Carry, Problem, Shop, Step};
use super::Made;
use super::file::{File, Report};
use super::impersonation::is_account;
use super::jwt::Signer;
use super::place::{Endpoint, Place};
use super::token;
use crate::base::host::Callout;
use crate::config::credentials::Credentials;

/// The file that Google's console gives for a new key: cloud.google.com/iam/docs/keys-create-delete.
#[derive(Deserialize)]
struct Key {
    client_email: Option<String>,
    private_key: Option<Hidden>,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

/// Where the endpoint is, for people.
pub const LEADS_TO: &str = "oauth2.googleapis.com:443";

/// Checks what is written.
pub fn compile(shop: &Shop<'_>, written: &Credentials, report: &mut Report<'_>) -> Option<Made> {
    let cluster = report.cluster(written.clusters.token.as_ref(), "clusters.token", LEADS_TO);
    let File { content, quota_project, fingerprint } =
        report.read::<Key>(shop, written, "service_account")?;
    let email = report.required(content.client_email, "client_email");
    let email = email.filter(|email| {
        let good = is_account(email);
        if !good {
            report.of_file("its `client_email` is no address of a service account");
        }
        good
    });
    let place = report.required(content.token_uri, "token_uri").and_then(|uri| {
        let place = Place::of_google(&uri);
        if place.is_none() {
            report.of_file(
                "its `token_uri` is no address of Google's, such as https://oauth2.googleapis.com/token",
            );
        }
        place
    });
    let key = report.required(content.private_key, "private_key");
    let signer = Signer::new(&key?, content.private_key_id.as_deref(), &email?)
        .map_err(|problem| report.of_file(&format!("its `private_key` {problem}")))
        .ok()?;
    let (cluster, place) = (cluster?, place?);
    let recipe = Recipe {
        name: format!("service_account, cluster {cluster}"),
        identity: format!("service_account {:?}", (&cluster, &fingerprint)),
        base: None,
        steps: vec![Box::new(Assertion { endpoint: Endpoint { cluster, place }, signer })],
    };
    Some(Made { recipe, quota_project })
}

/// The call with an assertion: developers.google.com/identity/protocols/oauth2/service-account#httprest.
#[derive(Debug)]
struct Assertion {
    endpoint: Endpoint,
    signer: Signer,
}

impl Step for Assertion {
    fn name(&self) -> String {
        "the token endpoint".to_owned()
    }

    fn call(&self, _: &mut Carry, now: SystemTime) -> Result<Option<Callout>, Problem> {
        let assertion = self.signer.assertion(now)?;
        let fields =
            [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &*assertion)];
        Ok(Some(self.endpoint.post(form::CONTENT_TYPE, [], form::write(&fields).as_bytes())))
    }

    fn read(&self, carry: &mut Carry, answer: &Answer<'_>, now: SystemTime) -> Result<(), Problem> {
        token::read(carry, answer, now)
    }
}
