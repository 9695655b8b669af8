//! Vendors' own APIs, called with a key: Anthropic's and OpenAI's.

use super::{Address, superfluous};
use crate::config::{Backend, Environment, Problems, Source};
use crate::dialect::openai::own::Api;

/// An API and the right to call it.
#[derive(Debug)]
pub struct Site {
    vendor: Vendor,
    key: Key,
}

/// Whose API it is.
#[derive(Clone, Copy, Debug)]
pub enum Vendor {
    Anthropic,
    OpenAi,
}

/// A header's value that is never shown.
struct Key(String);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl Vendor {
    const fn host(self) -> &'static str {
        match self {
            Vendor::Anthropic => "api.anthropic.com",
            Vendor::OpenAi => "api.openai.com",
        }
    }

    const fn provider(self) -> &'static str {
        match self {
            Vendor::Anthropic => "provider `anthropic`",
            Vendor::OpenAi => "provider `openai`",
        }
    }
}

impl Site {
    /// Checks the configuration; gives the site and its host name.
    pub fn compile(
        vendor: Vendor,
        written: &Backend,
        environment: &Environment,
        path: &str,
        problems: &mut Problems,
    ) -> Option<(Self, String)> {
        let fields = [
            ("region", written.region.is_some()),
            ("project", written.project.is_some()),
            ("location", written.location.is_some()),
            ("api", written.api.is_some()),
        ];
        superfluous(&fields, path, vendor.provider(), problems);
        let path = format!("{path}.credentials");
        let given = &written.credentials;
        let fields = [
            ("access_key_id", given.access_key_id.is_some()),
            ("secret_access_key", given.secret_access_key.is_some()),
            ("session_token", given.session_token.is_some()),
            ("cluster", given.cluster.is_some()),
        ];
        superfluous(&fields, &path, vendor.provider(), problems);
        match given.source {
            Source::ApiKey => {}
            Source::Static | Source::Environment | Source::MetadataServer => {
                let problem = format!("must be `api_key` for {}", vendor.provider());
                problems.add(&format!("{path}.source"), problem);
                return None;
            }
        }
        let path = format!("{path}.api_key");
        let Some(secret) = &given.api_key else {
            problems.add(
                &path,
                "is missing; write it, or {\"env\": \"NAME\"} to take it from Envoy's environment",
            );
            return None;
        };
        let key = secret.resolve(environment, &path, problems)?;
        // What cannot stand in a header would make Envoy drop the whole request.
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            problems.add(&path, "must be a key: letters, digits and marks, without blanks or line ends");
            return None;
        }
        let key = Key(match vendor {
            Vendor::Anthropic => key,
            Vendor::OpenAi => format!("Bearer {key}"),
        });
        Some((Self { vendor, key }, vendor.host().to_owned()))
    }

    /// The header that holds the key: docs.claude.com/en/api/overview,
    /// developers.openai.com/api/reference/overview.
    pub fn authorise(&self) -> (&'static str, String) {
        let name = match self.vendor {
            Vendor::Anthropic => "x-api-key",
            Vendor::OpenAi => "authorization",
        };
        (name, self.key.0.clone())
    }

    /// The name of the header that [`Site::authorise`] gives.
    pub const fn proof_names(&self) -> &'static [&'static str] {
        match self.vendor {
            Vendor::Anthropic => &["x-api-key"],
            Vendor::OpenAi => &["authorization"],
        }
    }

    /// Whose API it is.
    pub const fn vendor(&self) -> Vendor {
        self.vendor
    }

    /// The same path for every model, which stands in the body.
    pub fn address(&self) -> Address {
        let path = match self.vendor {
            Vendor::Anthropic => "/v1/messages",
            Vendor::OpenAi => "/v1/chat/completions",
        };
        Address { path: path.to_owned(), query: "" }
    }

    /// Where an API of OpenAI's other than chat completions is.
    pub fn own(&self, api: Api) -> Option<Address> {
        match self.vendor {
            Vendor::OpenAi => Some(Address { path: api.path().to_owned(), query: "" }),
            Vendor::Anthropic => None,
        }
    }

    /// docs.claude.com/en/api/messages-count-tokens; OpenAI counts for its Responses API only.
    pub fn count_address(&self) -> Option<Address> {
        match self.vendor {
            Vendor::Anthropic => Some(Address { path: "/v1/messages/count_tokens".to_owned(), query: "" }),
            Vendor::OpenAi => None,
        }
    }
}
