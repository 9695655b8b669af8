//! AWS's credentials: from the configuration to keys, or to the steps by which they are fetched.

mod chain;
mod container;
mod federated;
mod file;
mod first;
mod instance;
mod keys;
mod place;
mod role;
mod sts;
mod team;

use super::source::Recipe;
use super::{Credential, Shop, api_key};
use crate::config::credentials::{Credentials, Source};
use crate::config::{Problems, superfluous};
pub use federated::{Federated, federated};
pub use place::{Area, domain};
use role::Start;
use sts::{AssumeRole, Role, Sts};
pub use team::of_team;

/// What an operator reads who has written one of them for another provider or source.
const OWNER: &str = "this source of AWS keys";

/// The names of errors (without the `Exception` that some end in) by which AWS says that keys have ended or are unknown,
/// or that a signature is of another time:
/// docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html and
/// docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html.
const OF_CREDENTIALS: &[&str] = &[
    "ExpiredToken",
    "InvalidClientTokenId",
    "InvalidSignature",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClient",
];

/// Whether an error of this name may be of the credentials rather than of the request.
pub fn is_of_credentials(name: &str) -> bool {
    OF_CREDENTIALS.contains(&name.strip_suffix("Exception").unwrap_or(name))
}

/// Checks the credentials of a backend of AWS's. With `assume_role` they are those of the role, and begin with those of
/// the source ([`super::Source::base`]).
pub fn compile(
    shop: &Shop<'_>,
    area: &Area<'_>,
    written: &Credentials,
    path: &str,
    problems: &mut Problems,
) -> Option<Credential> {
    let Some((begin, fields)) = known(written.source) else {
        let problem = "must be `static`, `environment`, `instance`, `container`, `web_identity`, `default` or \
                       `api_key` for provider `bedrock`";
        problems.add(&format!("{path}.source"), problem);
        return None;
    };
    if written.source == Source::ApiKey {
        return api_key(written, "an API key of Amazon Bedrock", shop.environment, path, problems);
    }
    let others: Vec<(&str, bool)> =
        written.given().into_iter().filter(|(name, _)| !fields.contains(name)).collect();
    superfluous(&others, path, OWNER, problems);
    let (begin, because) = begin.map_or_else(|| chain::first(shop), |begin| (begin, String::new()));
    Reader { shop, area, written, begin, because, path, problems }.credential()
}

/// What gives the first keys: a source of AWS's, when it is known which one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Begin {
    Written,
    Environment,
    Instance,
    Container,
    WebIdentity,
    ApiKey,
}

/// What a source begins with, unless the environment decides, and its fields. `None`: it is another cloud's.
const fn known(source: Source) -> Option<(Option<Begin>, &'static [&'static str])> {
    Some(match source {
        Source::Static => (
            Some(Begin::Written),
            &["access_key_id", "secret_access_key", "session_token", "clusters.sts", "assume_role"],
        ),
        Source::Environment => (Some(Begin::Environment), &["clusters.sts", "assume_role"]),
        Source::Instance => {
            (Some(Begin::Instance), &["clusters.instance", "clusters.sts", "role_name", "assume_role"])
        }
        Source::Container => (
            Some(Begin::Container),
            &["clusters.container", "clusters.file", "clusters.sts", "path", "token_path", "assume_role"],
        ),
        Source::WebIdentity => (
            Some(Begin::WebIdentity),
            &["clusters.file", "clusters.sts", "role_arn", "session_name", "token_path", "assume_role"],
        ),
        Source::Default => (
            None,
            &["clusters.instance", "clusters.container", "clusters.file", "clusters.sts", "assume_role"],
        ),
        Source::ApiKey => (Some(Begin::ApiKey), &["api_key"]),
        Source::MetadataServer
        | Source::ServiceAccount
        | Source::AuthorizedUser
        | Source::ExternalAccount => return None,
    })
}

/// What the operator has written, and all that it is checked with.
struct Reader<'a> {
    shop: &'a Shop<'a>,
    area: &'a Area<'a>,
    written: &'a Credentials,
    begin: Begin,
    /// Why it is that, behind the words of a problem.
    because: String,
    path: &'a str,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn credential(&mut self) -> Option<Credential> {
        let first = self.first();
        if self.begin == Begin::ApiKey {
            if self.written.assume_role.is_some() {
                let problem = format!(
                    "cannot be done with an API key of Amazon Bedrock{}; remove it, or choose a `source` of keys",
                    self.because
                );
                self.add("assume_role", &problem);
            }
            return first;
        }
        let of_teams = team::check(self.shop, self.written, self.problems);
        let sts = match &self.written.assume_role {
            Some(_) => self.sts("`assume_role`"),
            None if of_teams => self.sts("a team's own role"),
            None => {
                let is_used = matches!(self.written.source, Source::WebIdentity | Source::Default);
                if !is_used && self.written.clusters.sts.is_some() {
                    self.add(
                        "clusters.sts",
                        "has no meaning without `assume_role` or a role of a team's; remove it",
                    );
                }
                return first;
            }
        };
        let Some(written) = &self.written.assume_role else { return first.filter(|_| sts.is_some()) };
        let path = format!("{}.assume_role", self.path);
        let start = match self.begin {
            Begin::Instance | Begin::Container | Begin::WebIdentity => Start::Role,
            Begin::Written | Begin::Environment | Begin::ApiKey => Start::Keys,
        };
        if written.per_team && self.shop.teams.is_empty() {
            self.add(
                "assume_role.per_team",
                "has no meaning without `teams`; remove it, or write down who they are",
            );
        }
        if of_teams {
            role::check_room_for_team(&written.tags, &format!("{path}.tags"), self.problems);
        }
        let role = role::compile(written, start, self.area, self.shop.environment, &path, self.problems);
        // With a session for each team this one is nobody's: it is not fetched before somebody asks.
        Some(assume(self.shop, sts?, &role?, "assume_role", first?, !written.per_team))
    }
}

/// A role that is taken on with what `base` gives.
fn assume(shop: &Shop<'_>, sts: Sts, role: &Role, name: &str, base: Credential, eager: bool) -> Credential {
    let step = AssumeRole::new(sts, role);
    let recipe = Recipe {
        name: name.to_owned(),
        identity: step.identity(),
        base: Some(base),
        steps: vec![Box::new(step)],
    };
    shop.source(recipe, eager)
}
