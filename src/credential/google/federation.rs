//! Workload and workforce identity federation, `external_account`: a token of somebody else's, whom Google trusts, for
//! one of Google's.
//!
//! The file: google.aip.dev/auth/4117, and for AWS …/4116. The exchange: RFC 8693 and
//! cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token.

use std::time::SystemTime;

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::super::hidden::Hidden;
use super::super::source::Recipe;
use super::super::{Answer, Carry, Problem, Shop, Step, form};
use super::Made;
use super::aws::CallerIdentity;
use super::file::{File, Report};
use super::impersonation::{self, Impersonation};
use super::place::{Endpoint, Place};
use super::subject::{CredentialSource, Shown};
use super::token::{self, SCOPE};
use crate::base::host::Callout;
use crate::config::credentials::Credentials;

#[derive(Deserialize)]
struct Account {
    audience: Option<String>,
    subject_token_type: Option<String>,
    token_url: Option<String>,
    credential_source: Option<CredentialSource>,
    service_account_impersonation_url: Option<String>,
    service_account_impersonation: Option<Options>,
    workforce_pool_user_project: Option<String>,
    client_id: Option<Hidden>,
    client_secret: Option<Hidden>,
}

#[derive(Deserialize)]
struct Options {
    token_lifetime_seconds: Option<u64>,
}

/// As google-auth has it.
const TOKEN_URL: &str = "https://sts.googleapis.com/v1/token";

/// Checks what is written.
pub fn compile(
    shop: &Shop<'_>,
    written: &Credentials,
    is_taken_on: bool,
    report: &mut Report<'_>,
) -> Option<Made> {
    let cluster = report.cluster(written.clusters.sts.as_ref(), "clusters.sts", "sts.googleapis.com:443");
    let File { content, quota_project, fingerprint } =
        report.read::<Account>(shop, written, "external_account")?;
    let audience = report.required(content.audience, "audience").filter(|audience| {
        let good = audience.starts_with("//iam.googleapis.com/") && is_plain(audience);
        if !good {
            report.of_file(
                "its `audience` must be that of a pool's provider, and begin with `//iam.googleapis.com/`",
            );
        }
        good
    });
    let kind = report.required(content.subject_token_type, "subject_token_type").filter(|kind| {
        let good = kind.starts_with("urn:") && is_plain(kind);
        if !good {
            report.of_file(
                "its `subject_token_type` must be a URN such as `urn:ietf:params:oauth:token-type:jwt`",
            );
        }
        good
    });
    let place = Place::of_google(content.token_url.as_deref().unwrap_or(TOKEN_URL));
    if place.is_none() {
        report.of_file(&format!("its `token_url` is no address of Google's, such as {TOKEN_URL}"));
    }
    let user_project = content.workforce_pool_user_project;
    let is_of_workforce = |audience: &String| {
        audience.starts_with("//iam.googleapis.com/locations/") && audience.contains("/workforcePools/")
    };
    if user_project.is_some() && !audience.as_ref().is_none_or(is_of_workforce) {
        report.of_file("its `workforce_pool_user_project` has no meaning for a pool of workloads; remove it");
        return None;
    }
    let authorization = match (&content.client_id, &content.client_secret) {
        (Some(id), secret) => Some(basic(id, secret.as_deref().unwrap_or_default())),
        (None, Some(_)) => {
            report.of_file("its `client_secret` has no meaning without `client_id`");
            return None;
        }
        (None, None) => None,
    };
    // A client tells the project by itself, as google-auth has it.
    let options = user_project.filter(|_| authorization.is_none()).and_then(options);
    let shown = report.required(content.credential_source, "credential_source");
    let shown = shown.and_then(|source| source.compile(shop, written, report));
    let impersonation = match content.service_account_impersonation_url {
        Some(url) => {
            let options = content.service_account_impersonation;
            Some(impersonation(&url, options, written, quota_project.clone(), report)?)
        }
        None if is_taken_on => None,
        None => {
            super::refuse_iam(written, report);
            None
        }
    };
    let Shown { cluster: shown_by, base, mut steps, identity } = shown?;
    let (cluster, audience, kind, place) = (cluster?, audience?, kind?, place?);
    let name = format!("external_account, cluster {cluster}");
    let iam = impersonation.as_ref().map(Impersonation::cluster);
    let alike = format!("external_account {:?}", (&cluster, iam, &shown_by, &fingerprint));
    let endpoint = Endpoint { cluster, place };
    steps.push(Box::new(Exchange { endpoint, audience, kind, options, authorization, identity }));
    steps.extend(impersonation.map(|step| Box::new(step) as Box<dyn Step>));
    let recipe = Recipe { name, identity: alike, base, steps };
    Some(Made { recipe, quota_project })
}

/// The service account that a file names, as the last step.
fn impersonation(
    url: &str,
    options: Option<Options>,
    written: &Credentials,
    quota_project: Option<String>,
    report: &mut Report<'_>,
) -> Option<Impersonation> {
    let cluster = report.iam(written);
    let lifetime = options.and_then(|options| options.token_lifetime_seconds);
    let lifetime = lifetime.unwrap_or(impersonation::LIFETIME);
    if !impersonation::is_lifetime(lifetime) {
        let problem = "its `service_account_impersonation.token_lifetime_seconds` is too small or too large";
        report.of_file(problem);
        return None;
    }
    let found = Impersonation::at(url, lifetime, cluster?, quota_project);
    if found.is_none() {
        report.of_file(
            "its `service_account_impersonation_url` is no address of a service account's generateAccessToken at \
             iamcredentials.googleapis.com",
        );
    }
    found
}

/// A word that goes into headers and forms.
pub fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// RFC 7617.
fn basic(id: &str, secret: &str) -> Hidden {
    let pair = Zeroizing::new([id, ":", secret].concat());
    let encoded = Zeroizing::new(Base64::encode_string(pair.as_bytes()));
    Hidden::new(["Basic ", encoded.as_str()].concat())
}

/// What Google's STS takes beside RFC 8693.
fn options(user_project: String) -> Option<String> {
    #[derive(Serialize)]
    struct Options {
        #[serde(rename = "userProject")]
        user_project: String,
    }
    serde_json::to_string(&Options { user_project }).ok()
}

/// The call for a federated token.
#[derive(Debug)]
struct Exchange {
    endpoint: Endpoint,
    audience: String,
    kind: String,
    options: Option<String>,
    authorization: Option<Hidden>,
    /// Makes the token that is shown; else it is the one in `carry.text`.
    identity: Option<CallerIdentity>,
}

impl Step for Exchange {
    fn name(&self) -> String {
        "the token exchange".to_owned()
    }

    fn call(&self, carry: &mut Carry, now: SystemTime) -> Result<Option<Callout>, Problem> {
        let signed = self.identity.as_ref().map(|identity| identity.token(carry, &self.audience, now));
        let signed = signed.transpose()?;
        let mut fields = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("audience", self.audience.as_str()),
            ("scope", SCOPE),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token_type", self.kind.as_str()),
            ("subject_token", signed.as_ref().unwrap_or(&carry.text).as_str()),
        ];
        fields.extend(self.options.as_deref().map(|options| ("options", options)));
        let headers = self.authorization.iter().map(|value| ("authorization", (**value).to_owned()));
        Ok(Some(self.endpoint.post(form::CONTENT_TYPE, headers, form::write(&fields).as_bytes())))
    }

    fn read(&self, carry: &mut Carry, answer: &Answer<'_>, now: SystemTime) -> Result<(), Problem> {
        token::read(carry, answer, now)
    }
}
