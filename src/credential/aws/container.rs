//! The role of a container, by the endpoint that its platform gives it: ECS's agent, EKS's Pod Identity agent.
//!
//! docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html.

use std::fmt;
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::keys;
use crate::base::host::Callout;
use crate::credential::source::CALL;
use crate::credential::{Answer, Carry, Problem, Step};

/// Where ECS's agent is; in `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` there is a path of it.
const ECS: &str = "169.254.170.2";

/// Where EKS's agent is, and the one path that it has. It looks at the host that it is called by
/// (github.com/aws/eks-pod-identity-agent, internal/validation/request.go).
const EKS: &str = "169.254.170.23";
const EKS_PATH: &str = "/v1/credentials";

/// An address of keys. The path is all that keeps other containers from the keys of ECS's agent, and is never shown.
#[derive(Clone)]
pub struct Place {
    pub authority: String,
    pub path: Zeroizing<String>,
}

impl Place {
    /// A path alone; the agent follows from it.
    pub fn of_path(path: &str) -> Option<Self> {
        let authority = if path == EKS_PATH { EKS } else { ECS };
        is_path(path).then(|| Self { authority: authority.to_owned(), path: Zeroizing::new(path.to_owned()) })
    }

    /// A whole URL. Envoy's cluster decides where it really leads, and whether by TLS.
    pub fn of_url(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(at)?;
        let path = if path.is_empty() { "/" } else { path };
        let is_sound = !authority.is_empty()
            && authority.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
        (is_sound && is_path(path))
            .then(|| Self { authority: authority.to_owned(), path: Zeroizing::new(path.to_owned()) })
    }

    /// Whether it answers nobody without a token.
    pub fn wants_token(&self) -> bool {
        self.path.as_str() == EKS_PATH
    }
}

/// Whether a text can be a request's path, maybe with a query.
pub fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// What `authorization` is.
pub enum Token {
    /// There is none.
    None,
    /// What the step before has left in `carry.text`.
    Carried,
    Fixed(Zeroizing<String>),
}

pub struct Keys {
    pub cluster: String,
    pub place: Place,
    pub token: Token,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Step for Keys {
    fn name(&self) -> String {
        format!("the container's credentials at {}", self.place.authority)
    }

    fn call(&self, carry: &mut Carry, _: SystemTime) -> Result<Option<Callout>, Problem> {
        let mut headers = vec![
            (":method", "GET".to_owned()),
            (":path", self.place.path.as_str().to_owned()),
            (":authority", self.place.authority.clone()),
            ("accept", "application/json".to_owned()),
        ];
        match &self.token {
            Token::None => {}
            Token::Carried => headers.push(("authorization", carry.text.as_str().to_owned())),
            Token::Fixed(token) => headers.push(("authorization", token.as_str().to_owned())),
        }
        Ok(Some(Callout { cluster: self.cluster.clone(), headers, body: Vec::new(), timeout: CALL }))
    }

    fn read(&self, carry: &mut Carry, answer: &Answer<'_>, _: SystemTime) -> Result<(), Problem> {
        keys::read(carry, answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_agents_path_or_a_whole_url() {
        let shown =
            |place: Option<Place>| place.map(|place| (place.authority, place.path.as_str().to_owned()));
        let expected = |authority: &str, path: &str| Some((authority.to_owned(), path.to_owned()));
        assert_eq!(shown(Place::of_path("/v2/credentials/a-b?c")), expected(ECS, "/v2/credentials/a-b?c"));
        assert_eq!(shown(Place::of_path("/v1/credentials")), expected(EKS, "/v1/credentials"));
        for (url, authority, path) in [
            ("http://169.254.170.23/v1/credentials", EKS, "/v1/credentials"),
            ("http://[fd00:ec2::23]/v1/credentials", "[fd00:ec2::23]", "/v1/credentials"),
            ("https://localhost:8443/get?a=b", "localhost:8443", "/get?a=b"),
            ("http://localhost", "localhost", "/"),
        ] {
            assert_eq!(shown(Place::of_url(url)), expected(authority, path), "{url}");
        }
        for path in ["", "v1", "/a b", "/a\r\nx: y", "/a#b", "/\u{e9}"] {
            assert!(Place::of_path(path).is_none(), "{path:?}");
        }
        for url in ["", "/v1", "ftp://a/b", "http:///a", "http://a b/", "http://user@a/", "http://a/b c"] {
            assert!(Place::of_url(url).is_none(), "{url:?}");
        }
    }
}
