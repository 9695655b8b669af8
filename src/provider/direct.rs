//! Vendors' own APIs, called with a key: Anthropic's and OpenAI's.

use super::Address;
use crate::config::credentials::Source;
use crate::config::{Backend, Environment, Problems, superfluous};
use crate::credential::{self, Credential};
use crate::dialect::openai::own::Api;

/// A vendor's API.
#[derive(Debug)]
pub struct Site {
    vendor: Vendor,
}

/// Whose API it is.
#[derive(Clone, Copy, Debug)]
pub enum Vendor {
    Anthropic,
    OpenAi,
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
    /// Checks the configuration; gives the site, its host name and its key.
    pub fn compile(
        vendor: Vendor,
        written: &Backend,
        environment: &Environment,
        path: &str,
        problems: &mut Problems,
    ) -> Option<(Self, String, Credential)> {
        let fields = [
            ("region", written.region.is_some()),
            ("endpoint", written.endpoint.is_some()),
            ("project", written.project.is_some()),
            ("location", written.location.is_some()),
            ("api", written.api.is_some()),
        ];
        superfluous(&fields, path, vendor.provider(), problems);
        let path = format!("{path}.credentials");
        if written.credentials.source != Source::ApiKey {
            let problem = format!("must be `api_key` for {}", vendor.provider());
            problems.add(&format!("{path}.source"), problem);
            return None;
        }
        let credential =
            credential::api_key(&written.credentials, vendor.provider(), environment, &path, problems)?;
        Some((Self { vendor }, vendor.host().to_owned(), credential))
    }

    /// The header that holds the key: docs.claude.com/en/api/overview,
    /// developers.openai.com/api/reference/overview.
    pub fn authorise(&self, key: &str) -> (&'static str, String) {
        match self.vendor {
            Vendor::Anthropic => ("x-api-key", key.to_owned()),
            Vendor::OpenAi => ("authorization", format!("Bearer {key}")),
        }
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
