//! AWS's credentials: from the configuration to keys, or to the steps by which they are fetched.

mod container;
mod file;
mod instance;
mod keys;
mod place;
mod role;
mod sts;
mod team;

use std::rc::Rc;

use zeroize::Zeroizing;

use super::source::Recipe;
use super::{Credential, Grant, Shop, Step, api_key, sigv4, token};
use crate::config::credentials::{Credentials, Source};
use crate::config::{HAND_OVER, Problems, Secret, superfluous, variable};
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
    let (begin, because) = begin.map_or_else(|| first_of_chain(shop), |begin| (begin, String::new()));
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

/// AWS's environment variables.
const API_KEY: &str = "AWS_BEARER_TOKEN_BEDROCK";
const ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const CONTAINER_TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
const CONTAINER_TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";

/// The default chain of AWS's SDKs, as far as Envoy's environment speaks for a source: botocore's
/// `create_credential_resolver`, and before it the API key as in `_should_prefer_bearer_auth` and in the client for
/// mantle of the `anthropic` package. There are no profiles: the plugin has no files.
const CHAIN: &[(&str, Begin)] = &[
    (API_KEY, Begin::ApiKey),
    (ACCESS_KEY_ID, Begin::Environment),
    (TOKEN_FILE, Begin::WebIdentity),
    (RELATIVE_URI, Begin::Container),
    (FULL_URI, Begin::Container),
];

/// What `default` begins with, and why, for an operator.
fn first_of_chain(shop: &Shop<'_>) -> (Begin, String) {
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
fn set<'a>(shop: &Shop<'a>, name: &str) -> Option<&'a str> {
    shop.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
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
        let of_teams = self.shop.teams.values().any(|team| team.credentials.contains_key(self.shop.backend));
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
        if written.per_team || of_teams {
            role::check_room_for_team(&written.tags, &format!("{path}.tags"), self.problems);
        }
        let role = role::compile(written, start, self.area, self.shop.environment, &path, self.problems);
        // With a session for each team this one is nobody's: it is not fetched before somebody asks.
        Some(assume(self.shop, sts?, &role?, "assume_role", first?, !written.per_team))
    }

    /// What the source itself gives.
    fn first(&mut self) -> Option<Credential> {
        match self.begin {
            Begin::Written => self.written_keys(),
            Begin::Environment => self.keys_of_environment(),
            Begin::Instance => self.instance(),
            Begin::Container => self.container(),
            Begin::WebIdentity => self.web_identity(),
            Begin::ApiKey => {
                let secret = Secret::Environment(API_KEY.to_owned());
                token(&secret, self.shop.environment, self.path, self.problems)
            }
        }
    }

    fn written_keys(&mut self) -> Option<Credential> {
        let id = self.key("access_key_id", self.written.access_key_id.as_ref());
        let secret = self.key("secret_access_key", self.written.secret_access_key.as_ref());
        let session = match &self.written.session_token {
            Some(session) => Some(self.key("session_token", Some(session))?),
            None => None,
        };
        self.fixed(&id?, &secret?, session.as_deref().map(String::as_str))
    }

    fn keys_of_environment(&mut self) -> Option<Credential> {
        let environment = self.shop.environment;
        let id = variable(ACCESS_KEY_ID, environment, self.path, self.problems);
        let secret =
            variable("AWS_SECRET_ACCESS_KEY", environment, self.path, self.problems).map(Zeroizing::new);
        self.fixed(&id?, &secret?, set(self.shop, "AWS_SESSION_TOKEN"))
    }

    fn instance(&mut self) -> Option<Credential> {
        let is_forbidden = set(self.shop, "AWS_EC2_METADATA_DISABLED")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if is_forbidden && self.written.source == Source::Default {
            let problem = format!(
                "finds no keys: AWS_EC2_METADATA_DISABLED forbids the only ones that are left{}",
                self.because
            );
            self.add("source", &problem);
            return None;
        }
        let role = self.written.role_name.as_deref();
        if role.is_some_and(|role| !instance::is_role_name(role)) {
            self.add("role_name", "must be the name of a role: 1 to 64 letters, digits and `_+=,.@-`");
            return None;
        }
        let cluster = self.cluster("instance", "EC2's metadata service, 169.254.169.254:80")?;
        Some(self.shop.source(
            Recipe {
                name: format!("instance, cluster {cluster}"),
                identity: format!("instance {:?}", (&cluster, role)),
                base: None,
                steps: instance::steps(&cluster, role),
            },
            true,
        ))
    }

    fn container(&mut self) -> Option<Credential> {
        let cluster = self.cluster("container", "ECS's agent, 169.254.170.2:80, or EKS's, 169.254.170.23:80");
        let place = self.place();
        let file = match &self.written.token_path {
            Some(path) => Some(path.as_str()),
            None => set(self.shop, CONTAINER_TOKEN_FILE),
        };
        let fixed = set(self.shop, CONTAINER_TOKEN).filter(|_| file.is_none());
        let wants_token = place.as_ref().is_some_and(container::Place::wants_token);
        // EKS's agent gives keys for a token only.
        if wants_token && file.is_none() && fixed.is_none() {
            self.missing("token_path", CONTAINER_TOKEN_FILE);
            return None;
        }
        let file = match file {
            Some(path) => Some(self.file(path)?),
            None => None,
        };
        if fixed.is_some_and(|token| token.bytes().any(|byte| byte.is_ascii_control())) {
            self.add("source", &format!("{CONTAINER_TOKEN} is nothing that a header may have"));
            return None;
        }
        let (cluster, place) = (cluster?, place?);
        let identity =
            format!("container {:?}", (&cluster, &place.authority, place.path.as_str(), &file, fixed));
        let token = match (&file, fixed) {
            (Some(_), _) => container::Token::Carried,
            (None, Some(token)) => container::Token::Fixed(Zeroizing::new(token.to_owned())),
            (None, None) => container::Token::None,
        };
        let name = format!("container, cluster {cluster}");
        let keys: Box<dyn Step> = Box::new(container::Keys { cluster, place, token });
        let file = file.map(|file| Box::new(file) as Box<dyn Step>);
        let steps = file.into_iter().chain([keys]).collect();
        Some(self.shop.source(Recipe { name, identity, base: None, steps }, true))
    }

    /// Where a container's keys are.
    fn place(&mut self) -> Option<container::Place> {
        let (place, name) = match (&self.written.path, set(self.shop, RELATIVE_URI), set(self.shop, FULL_URI))
        {
            (Some(path), _, _) => (container::Place::of_path(path), None),
            (None, Some(path), _) => (container::Place::of_path(path), Some(RELATIVE_URI)),
            (None, None, Some(url)) => (container::Place::of_url(url), Some(FULL_URI)),
            (None, None, None) => {
                self.missing("path", &format!("{RELATIVE_URI} (ECS) or {FULL_URI} (EKS)"));
                return None;
            }
        };
        if place.is_none() {
            match name {
                Some(name) => self.add("path", &format!("{name} is no address of keys")),
                None => self.add("path", "must be the path of the keys, such as `/v1/credentials`"),
            }
        }
        place
    }

    fn web_identity(&mut self) -> Option<Credential> {
        let file = match &self.written.token_path {
            Some(path) => self.file(path),
            None => match set(self.shop, TOKEN_FILE) {
                Some(path) => self.file(path),
                None => {
                    self.missing("token_path", TOKEN_FILE);
                    None
                }
            },
        };
        let sts = self.sts("`web_identity`");
        let role = match (&self.written.role_arn, set(self.shop, "AWS_ROLE_ARN")) {
            (Some(arn), _) => Some(arn.as_str()),
            (None, Some(arn)) => Some(arn),
            (None, None) => {
                self.missing("role_arn", "AWS_ROLE_ARN");
                None
            }
        };
        let role =
            role.and_then(|arn| role::arn(arn, self.area, &format!("{}.role_arn", self.path), self.problems));
        let session = self.written.session_name.as_deref();
        let session = session.or(set(self.shop, "AWS_ROLE_SESSION_NAME")).unwrap_or(role::SESSION);
        role::check_session(session, &format!("{}.session_name", self.path), self.problems);
        let (file, sts, role) = (file?, sts?, role?);
        let recipe = Recipe {
            name: "web_identity".to_owned(),
            identity: format!("web_identity {:?}", (&file, &sts, &role, session)),
            base: None,
            steps: vec![
                Box::new(file),
                Box::new(sts::WebIdentity { sts, role, session: session.to_owned() }),
            ],
        };
        Some(self.shop.source(recipe, true))
    }

    /// A file that the operator or the environment names.
    fn file(&mut self, path: &str) -> Option<file::TokenFile> {
        let cluster = self.cluster("file", "the listener of this Envoy's that serves token files");
        if !container::is_path(path) || path.contains('?') {
            self.add("token_path", "must be the path of a file, such as `/var/run/secrets/token`");
            return None;
        }
        Some(file::TokenFile { cluster: cluster?, path: path.to_owned() })
    }

    /// The security token service. `what` wants it.
    fn sts(&mut self, what: &str) -> Option<Sts> {
        let leads_to = format!("{}:443, for {what}", self.area.sts_host());
        Some(Sts::new(self.cluster("sts", &leads_to)?, self.area))
    }

    /// One of `clusters`, which must be there.
    fn cluster(&mut self, name: &str, leads_to: &str) -> Option<String> {
        let clusters = &self.written.clusters;
        let written = match name {
            "instance" => &clusters.instance,
            "container" => &clusters.container,
            "file" => &clusters.file,
            _ => &clusters.sts,
        };
        let written = written.clone().filter(|cluster| !cluster.is_empty());
        if written.is_none() {
            let problem =
                format!("is missing; name the Envoy cluster that leads to {leads_to}{}", self.because);
            self.add(&format!("clusters.{name}"), &problem);
        }
        written
    }

    /// A field is absent, and so is the variable that would do; `default` has but the variable.
    fn missing(&mut self, field: &str, name: &str) {
        if self.written.source == Source::Default {
            variable(name, self.shop.environment, self.path, self.problems);
            return;
        }
        let problem = format!("is missing; write it, or for the environment variable {name}: {HAND_OVER}");
        self.add(field, &problem);
    }

    fn add(&mut self, field: &str, problem: &str) {
        let path = format!("{}.{field}", self.path);
        // Two of them may want the same cluster.
        if !self.problems.0.iter().any(|(known, _)| *known == path) {
            self.problems.add(&path, problem);
        }
    }

    fn key(&mut self, field: &str, secret: Option<&Secret>) -> Option<Zeroizing<String>> {
        let path = format!("{}.{field}", self.path);
        match secret {
            Some(secret) => secret.resolve(self.shop.environment, &path, self.problems).map(Zeroizing::new),
            None => {
                let problem =
                    "is missing; write it, or {\"env\": \"NAME\"} to take it from Envoy's environment";
                self.problems.add(&path, problem);
                None
            }
        }
    }

    fn fixed(&mut self, id: &str, secret: &str, session: Option<&str>) -> Option<Credential> {
        sigv4::Credentials::new(id, secret, session)
            .map_err(|problem| self.problems.add(self.path, problem.to_string()))
            .ok()
            .map(|keys| Credential::Fixed(Rc::new(Grant::Keys(keys))))
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
