//! The first keys: what each source gives before any role is taken on, out of the configuration and the environment.

use std::rc::Rc;

use zeroize::Zeroizing;

use super::chain::{
    ACCESS_KEY_ID, API_KEY, CONTAINER_TOKEN, CONTAINER_TOKEN_FILE, FULL_URI, NO_METADATA, RELATIVE_URI, ROLE,
    SECRET_ACCESS_KEY, SESSION_NAME, SESSION_TOKEN, TOKEN_FILE, set,
};
use super::sts::{Sts, WebIdentity};
use super::{Begin, Reader, container, file, instance, role};
use crate::config::credentials::Source;
use crate::config::{HAND_OVER, Secret, variable};
use crate::credential::source::Recipe;
use crate::credential::{Credential, Grant, Step, sigv4, token};

impl Reader<'_> {
    /// What the source itself gives.
    pub fn first(&mut self) -> Option<Credential> {
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
        let secret = variable(SECRET_ACCESS_KEY, environment, self.path, self.problems).map(Zeroizing::new);
        self.fixed(&id?, &secret?, set(self.shop, SESSION_TOKEN))
    }

    fn instance(&mut self) -> Option<Credential> {
        let is_forbidden =
            set(self.shop, NO_METADATA).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if is_forbidden && self.written.source == Source::Default {
            let problem =
                format!("finds no keys: {NO_METADATA} forbids the only ones that are left{}", self.because);
            self.add("source", &problem);
            return None;
        }
        let role = self.written.role_name.as_deref();
        if role.is_some_and(|role| !instance::is_role_name(role)) {
            self.add("role_name", "must be the name of a role: 1 to 64 letters, digits and `_+=,.@-`");
            return None;
        }
        let cluster = self.metadata_service()?;
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

    /// The way to it.
    pub fn metadata_service(&mut self) -> Option<String> {
        self.cluster("instance", "EC2's metadata service, 169.254.169.254:80")
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
        let role = match (&self.written.role_arn, set(self.shop, ROLE)) {
            (Some(arn), _) => Some(arn.as_str()),
            (None, Some(arn)) => Some(arn),
            (None, None) => {
                self.missing("role_arn", ROLE);
                None
            }
        };
        let role =
            role.and_then(|arn| role::arn(arn, self.area, &format!("{}.role_arn", self.path), self.problems));
        let session = self.written.session_name.as_deref();
        let session = session.or(set(self.shop, SESSION_NAME)).unwrap_or(role::SESSION);
        role::check_session(session, &format!("{}.session_name", self.path), self.problems);
        let (file, sts, role) = (file?, sts?, role?);
        let recipe = Recipe {
            name: "web_identity".to_owned(),
            identity: format!("web_identity {:?}", (&file, &sts, &role, session)),
            base: None,
            steps: vec![Box::new(file), Box::new(WebIdentity { sts, role, session: session.to_owned() })],
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
    pub fn sts(&mut self, what: &str) -> Option<Sts> {
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
        let problem =
            format!("is missing; write it, or take it from the environment variable {name}: {HAND_OVER}");
        self.add(field, &problem);
    }

    pub fn add(&mut self, field: &str, problem: &str) {
        let path = format!("{}.{field}", self.path);
        // Two of them may want the same cluster.
        if !self.problems.0.iter().any(|(known, _)| *known == path) {
            self.problems.add(&path, problem);
        }
    }

    fn key(&mut self, field: &str, secret: Option<&Secret>) -> Option<Zeroizing<String>> {
        let path = format!("{}.{field}", self.path);
        match secret {
            Some(secret) => secret.resolve(self.shop.environment, &path, self.problems),
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
