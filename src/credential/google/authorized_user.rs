//! A person's consent, as `gcloud auth application-default login` leaves it: a refresh token for tokens.

use std::time::SystemTime;

use serde::Deserialize;

use super::super::form;
use super::super::hidden::Hidden;
use super::super::source::Recipe;
use super::super::{Answer, Carry, Problem, Shop, Step};
use super::Made;
use super::file::{File, Report};
use super::place::{Endpoint, Place};
use super::{service_account, token};
use crate::base::host::Callout;
use crate::config::credentials::Credentials;

/// What google-auth reads of such a file. It takes no `token_uri` from there, and neither does this.
#[derive(Deserialize)]
struct User {
    client_id: Option<String>,
    client_secret: Option<Hidden>,
    refresh_token: Option<Hidden>,
}

/// Checks what is written.
pub fn compile(shop: &Shop<'_>, written: &Credentials, report: &mut Report<'_>) -> Option<Made> {
    let cluster =
        report.cluster(written.clusters.token.as_ref(), "clusters.token", service_account::LEADS_TO);
    let File { content, quota_project, fingerprint } =
        report.read::<User>(shop, written, "authorized_user")?;
    let client_id = report.required(content.client_id, "client_id");
    let client_secret = report.required(content.client_secret, "client_secret");
    let refresh_token = report.required(content.refresh_token, "refresh_token");
    let place = Place { host: "oauth2.googleapis.com".to_owned(), target: "/token".to_owned() };
    let (cluster, client_id, client_secret, refresh_token) =
        (cluster?, client_id?, client_secret?, refresh_token?);
    let recipe = Recipe {
        name: format!("authorized_user, cluster {cluster}"),
        identity: format!("authorized_user {:?}", (&cluster, &fingerprint)),
        base: None,
        steps: vec![Box::new(Refresh {
            endpoint: Endpoint { cluster, place },
            client_id,
            client_secret,
            refresh_token,
        })],
    };
    Some(Made { recipe, quota_project })
}

/// RFC 6749 section 6. Google gives no new refresh token with the answer:
/// developers.google.com/identity/protocols/oauth2/web-server#offline.
#[derive(Debug)]
struct Refresh {
    endpoint: Endpoint,
    client_id: String,
    client_secret: Hidden,
    refresh_token: Hidden,
}

impl Step for Refresh {
    fn name(&self) -> String {
        "the token endpoint".to_owned()
    }

    fn call(&self, _: &mut Carry, _: SystemTime) -> Result<Option<Callout>, Problem> {
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", self.client_id.as_str()),
            ("client_secret", &*self.client_secret),
            ("refresh_token", &*self.refresh_token),
        ];
        Ok(Some(self.endpoint.post(form::CONTENT_TYPE, [], form::write(&fields).as_bytes())))
    }

    fn read(&self, carry: &mut Carry, answer: &Answer<'_>, now: SystemTime) -> Result<(), Problem> {
        token::read(carry, answer, now)
    }
}
