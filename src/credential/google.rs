//! Google's credentials: from the configuration to the steps by which access tokens are fetched.

mod authorized_user;
mod aws;
mod federation;
mod file;
mod impersonation;
mod jwt;
mod metadata;
mod place;
mod service_account;
mod subject;
mod token;

use super::source::Recipe;
use super::{Credential, Shop};
use crate::config::credentials::{Credentials, Source, TeamCredentials};
use crate::config::{Problems, superfluous};
use file::Report;
use impersonation::Impersonation;

/// Names the project whose quota is used and that pays: cloud.google.com/apis/docs/system-parameters.
pub const QUOTA_PROJECT: &str = "x-goog-user-project";

/// What a backend calls Google with.
pub struct Compiled {
    pub credential: Credential,
    /// The one that the JSON names.
    pub quota_project: Option<String>,
}

/// What a source is made of.
struct Made {
    recipe: Recipe,
    quota_project: Option<String>,
}

/// Checks the credentials of a backend of Google's.
pub fn compile(
    shop: &Shop<'_>,
    written: &Credentials,
    path: &str,
    problems: &mut Problems,
) -> Option<Compiled> {
    // Of a team, or of everyone.
    let is_taken_on = written.impersonate.is_some()
        || shop.teams.values().any(|team| team.credentials.contains_key(shop.backend));
    let report = &mut Report { path, problems };
    let made = match written.source {
        Source::MetadataServer => {
            refuse(written, "metadata_server", &["cluster", "clusters.metadata"], is_taken_on, report);
            metadata::compile(written, report)
        }
        Source::ServiceAccount => {
            refuse(written, "service_account", &["json", "clusters.token"], is_taken_on, report);
            service_account::compile(shop, written, report)
        }
        Source::AuthorizedUser => {
            refuse(written, "authorized_user", &["json", "clusters.token"], is_taken_on, report);
            authorized_user::compile(shop, written, report)
        }
        Source::ExternalAccount => {
            // Which of them is for its JSON to say.
            let known = ["json", "clusters.sts", "clusters.file", "clusters.subject", "clusters.instance"];
            refuse(written, "external_account", &known, true, report);
            federation::compile(shop, written, is_taken_on, report)
        }
        Source::Static
        | Source::Environment
        | Source::Instance
        | Source::Container
        | Source::WebIdentity
        | Source::Default
        | Source::ApiKey => {
            let problem = "must be `metadata_server`, `service_account`, `authorized_user` or `external_account` for \
                           provider `vertex`";
            report.problems.add(&format!("{path}.source"), problem);
            return None;
        }
    };
    let project = made.as_ref().and_then(|made| made.quota_project.clone());
    let impersonation = match &written.impersonate {
        Some(impersonate) => {
            let cluster = report.iam(written);
            Some(Impersonation::compile(impersonate, cluster, project.clone(), report)?)
        }
        None => None,
    };
    let credential = shop.source(made?.recipe, true);
    let credential = match impersonation {
        Some(impersonation) => shop.source(impersonation.recipe(credential), true),
        None => credential,
    };
    Some(Compiled { credential, quota_project: project })
}

/// Reports what a source does not take.
fn refuse(written: &Credentials, source: &str, known: &[&str], is_taken_on: bool, report: &mut Report<'_>) {
    let is_known = |name: &str| known.contains(&name) || ["impersonate", "quota_project"].contains(&name);
    let others: Vec<(&str, bool)> =
        written.given().into_iter().filter(|(name, _)| !is_known(name) && *name != "clusters.iam").collect();
    superfluous(&others, report.path, &format!("source `{source}`"), report.problems);
    if !is_taken_on {
        refuse_iam(written, report);
    }
}

/// Reports a way to the service that gives tokens of other accounts, where nobody becomes another.
fn refuse_iam(written: &Credentials, report: &mut Report<'_>) {
    let iam = [("clusters.iam", written.clusters.iam.is_some())];
    superfluous(&iam, report.path, "a backend where no account is impersonated", report.problems);
}

/// What a team calls a backend as, if it is not what everyone does: a service account of its own. Whoever the backend's
/// source is takes it on, in the place of the account under `impersonate`: so one identity of the gateway's is all that
/// the teams' accounts have to let in. With `base` comes the project that its JSON names.
pub fn of_team(
    shop: &Shop<'_>,
    written: &Credentials,
    (base, quota_project): (&Credential, Option<&str>),
    own: Option<&TeamCredentials>,
    path: &str,
    problems: &mut Problems,
) -> Option<Credential> {
    let own = own?;
    let of_aws = [("role_arn", own.role_arn.is_some()), ("external_id", own.external_id.is_some())];
    superfluous(&of_aws, path, "a backend of provider `vertex`", problems);
    let at = format!("{path}.service_account");
    let Some(account) = &own.service_account else {
        problems.add(&at, "is missing; write the address of the team's service account");
        return None;
    };
    let good = impersonation::check(account, &at, problems);
    let at_backend = format!("backends.{}.credentials", shop.backend);
    let cluster = Report { path: &at_backend, problems }.iam(written).filter(|_| good)?;
    let base = match (&written.impersonate, base) {
        (Some(_), Credential::Fetched(source)) => source.begins_with()?.clone(),
        (Some(_), Credential::Fixed(_)) | (None, _) => base.clone(),
    };
    let lifetime = written.impersonate.as_ref().and_then(|written| written.lifetime_seconds);
    let lifetime = lifetime.unwrap_or(impersonation::LIFETIME);
    let call = Impersonation::new(account, lifetime, cluster, quota_project.map(str::to_owned));
    Some(shop.source(call.recipe(base), false))
}
