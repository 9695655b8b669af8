//! Service accounts that are taken on: a token of somebody who may be one, for a token of its own.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::super::clock;
use super::super::source::Recipe;
use super::super::{Answer, Carry, Credential, Grant, Outcome, Problem, Step, is_token};
use super::QUOTA_PROJECT;
use super::file::Report;
use super::place::{Endpoint, Place};
use super::token::{self, SCOPE};
use crate::base::host::Callout;
use crate::config::Problems;
use crate::config::credentials::Impersonate;

/// How long tokens live if nobody says, in seconds: Google's own default.
pub const LIFETIME: u64 = 3600;

/// The longest life of a token. More than an hour takes a policy of the organisation.
const LONGEST: u64 = 43200;

/// The call for a token of a service account:
/// cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken.
#[derive(Debug)]
pub struct Impersonation {
    endpoint: Endpoint,
    /// Whom it takes on: an e-mail address, or a unique id.
    account: String,
    /// The accounts on the way there.
    delegates: Vec<String>,
    /// In seconds.
    lifetime: u64,
    /// Who pays for the call, where it is not the project of the one that asks.
    quota_project: Option<String>,
}

impl Impersonation {
    /// Of an account that the configuration names. `quota_project` is that of the one that takes it on.
    pub fn new(account: &str, lifetime: u64, cluster: String, quota_project: Option<String>) -> Self {
        let place = Place {
            host: "iamcredentials.googleapis.com".to_owned(),
            target: format!("/v1/projects/-/serviceAccounts/{account}:generateAccessToken"),
        };
        let endpoint = Endpoint { cluster, place };
        Self { endpoint, account: account.to_owned(), delegates: Vec::new(), lifetime, quota_project }
    }

    /// Checks what is written under `impersonate`.
    pub fn compile(
        written: &Impersonate,
        cluster: Option<String>,
        quota_project: Option<String>,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let path = format!("{}.impersonate", report.path);
        let account = &written.service_account;
        let mut good = check(account, &format!("{path}.service_account"), report.problems);
        for (index, delegate) in written.delegates.iter().enumerate() {
            good &= check(delegate, &format!("{path}.delegates[{index}]"), report.problems);
        }
        let lifetime = written.lifetime_seconds.unwrap_or(LIFETIME);
        if !is_lifetime(lifetime) {
            good = false;
            let problem = format!("must be a number of seconds from 1 to {LONGEST}");
            report.problems.add(&format!("{path}.lifetime_seconds"), problem);
        }
        let cluster = cluster.filter(|_| good)?;
        let delegates = written.delegates.clone();
        Some(Self { delegates, ..Self::new(account, lifetime, cluster, quota_project) })
    }

    /// At the URL that a file names; `None` for what is none of this call.
    pub fn at(url: &str, lifetime: u64, cluster: String, quota_project: Option<String>) -> Option<Self> {
        let place = Place::of_google(url)?;
        let account = place.target.strip_prefix("/v1/projects/-/serviceAccounts/")?;
        let account = account.strip_suffix(":generateAccessToken").filter(|account| is_account(account))?;
        let account = account.to_owned();
        let endpoint = Endpoint { cluster, place };
        Some(Self { endpoint, account, delegates: Vec::new(), lifetime, quota_project })
    }

    /// The way there.
    pub fn cluster(&self) -> &str {
        &self.endpoint.cluster
    }

    /// A source of its own. `base` is who takes the account on.
    pub fn recipe(self, base: Credential) -> Recipe {
        let Self { endpoint: Endpoint { cluster, place }, account, delegates, lifetime, quota_project } =
            &self;
        let alike = (cluster, place, delegates, lifetime, quota_project);
        Recipe {
            name: format!("impersonate {account}, cluster {cluster}"),
            identity: format!("impersonate {alike:?}"),
            base: Some(base),
            steps: vec![Box::new(self)],
        }
    }
}

/// Whether something can be a service account's address or unique id, and a segment of a path as it is.
pub fn is_account(name: &str) -> bool {
    let is_sound = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._@".contains(&byte));
    let is_id = name.bytes().all(|byte| byte.is_ascii_digit());
    let is_address =
        name.split_once('@').is_some_and(|(name, domain)| !name.is_empty() && domain.contains('.'));
    is_sound && !name.is_empty() && (is_id || is_address)
}

/// Whether tokens can live so many seconds.
pub fn is_lifetime(seconds: u64) -> bool {
    (1..=LONGEST).contains(&seconds)
}

/// Reports what is no service account.
pub fn check(account: &str, path: &str, problems: &mut Problems) -> bool {
    let good = is_account(account);
    if !good {
        let problem =
            "must be the address of a service account, such as `name@my-project.iam.gserviceaccount.com`";
        problems.add(path, problem);
    }
    good
}

#[derive(Serialize)]
struct Asked<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    delegates: Vec<String>,
    scope: [&'a str; 1],
    lifetime: String,
}

#[derive(Deserialize)]
struct Given {
    #[serde(rename = "accessToken")]
    token: Zeroizing<String>,
    #[serde(rename = "expireTime")]
    end: String,
}

impl Step for Impersonation {
    fn name(&self) -> String {
        format!("the impersonation of {}", self.account)
    }

    fn call(&self, carry: &mut Carry, _: SystemTime) -> Result<Option<Callout>, Problem> {
        let failed = || Problem { outcome: Outcome::Failed, words: "has no token to begin with".to_owned() };
        let Some(Grant::Token(token)) = carry.grant.as_deref() else { return Err(failed()) };
        let delegates =
            self.delegates.iter().map(|name| format!("projects/-/serviceAccounts/{name}")).collect();
        let asked = Asked { delegates, scope: [SCOPE], lifetime: format!("{}s", self.lifetime) };
        let body = serde_json::to_vec(&asked).map_err(|_| failed())?;
        let project = self.quota_project.iter().map(|project| (QUOTA_PROJECT, project.clone()));
        let headers = std::iter::once(("authorization", ["Bearer ", token].concat())).chain(project);
        Ok(Some(self.endpoint.post("application/json", headers, &body)))
    }

    fn read(&self, carry: &mut Carry, answer: &Answer<'_>, now: SystemTime) -> Result<(), Problem> {
        if answer.status != 200 {
            let refusal = token::refusal(answer);
            // The token that was shown may have been revoked.
            let outcome = if answer.status == 401 { Outcome::Stale } else { refusal.outcome };
            return Err(Problem { outcome, ..refusal });
        }
        let given = serde_json::from_slice::<Given>(answer.body).ok();
        let given = given.filter(|given| is_token(&given.token)).ok_or_else(token::no_token)?;
        let end = moment(&given.end).ok_or_else(|| Problem::garbled("with a token without an end"))?;
        // By Google's own clock: a machine whose clock is wrong, and whom no cloud has told so, would count from its own.
        let life = end.duration_since(clock::date(answer.headers).unwrap_or(now)).unwrap_or_default();
        carry.expires = now.checked_add(life);
        carry.grant = Some(Rc::new(Grant::Token(given.token)));
        Ok(())
    }
}

/// `2014-10-02T15:01:23.045123456Z`, RFC 3339; parts of a second do not matter.
fn moment(text: &str) -> Option<SystemTime> {
    let seconds = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp();
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_an_address_or_a_number() {
        for name in ["a@my-project.iam.gserviceaccount.com", "123456789012345678901", "x@y.example.com.z"] {
            assert!(is_account(name), "{name}");
        }
        for name in [
            "",
            "a",
            "@a.b",
            "a@",
            "a@b",
            "a/b@c.d",
            "a@b.c:generateAccessToken",
            "a b@c.d",
            "é@a.b",
            "a%40b.c",
        ] {
            assert!(!is_account(name), "{name}");
        }
    }

    #[test]
    fn the_url_of_a_file_is_that_of_the_call_and_of_nothing_else() {
        let at = |url: &str| Impersonation::at(url, LIFETIME, "c".to_owned(), None).map(|call| call.account);
        let good =
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b.c:generateAccessToken";
        assert_eq!(at(good).as_deref(), Some("a@b.c"));
        for url in [
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b.c:signBlob",
            "https://iamcredentials.googleapis.com/v1/projects/p/serviceAccounts/a@b.c:generateAccessToken",
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/../a@b.c:generateAccessToken",
            "https://iam.example/v1/projects/-/serviceAccounts/a@b.c:generateAccessToken",
        ] {
            assert_eq!(at(url), None, "{url}");
        }
    }
}
