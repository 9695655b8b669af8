//! What the operator writes about teams: who they are, what they may ask for and how much.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::credentials::TeamCredentials;
use super::{entries, object, objects, optional};

/// People or applications that share limits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Team {
    /// What its members show to be let in.
    #[serde(default, deserialize_with = "objects")]
    pub keys: Vec<Key>,
    /// Values of the verified identity that belong to it; its own name when absent.
    pub identities: Option<Vec<String>>,
    /// Patterns of the models it may use, by the name asked for and by what that leads to.
    pub models: Vec<String>,
    #[serde(default, deserialize_with = "object")]
    pub limits: TeamQuota,
    /// What it calls a backend as, by the backend's name.
    #[serde(default, deserialize_with = "entries")]
    pub credentials: BTreeMap<String, TeamCredentials>,
}

/// A key of a team. Only its hash is known here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// SHA-256 of the key, 64 hexadecimal digits.
    pub sha256: String,
    /// For messages.
    pub name: Option<String>,
    /// From then on it is no key any more: a date and time of RFC 3339.
    pub expires: Option<String>,
    /// Limits of this key, within those of its team.
    #[serde(default, deserialize_with = "object")]
    pub limits: Quota,
}

/// How much may be used. What is absent is not limited.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    pub requests_per_minute: Option<u64>,
    /// Input and output together.
    pub tokens_per_minute: Option<u64>,
    pub concurrent_requests: Option<u64>,
    #[serde(default, deserialize_with = "optional")]
    pub budget: Option<Budget>,
}

/// As [`Quota`], and for single models besides.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeamQuota {
    pub requests_per_minute: Option<u64>,
    pub tokens_per_minute: Option<u64>,
    pub concurrent_requests: Option<u64>,
    #[serde(default, deserialize_with = "optional")]
    pub budget: Option<Budget>,
    /// Limits of the models that match a pattern, all together, within those of the team.
    #[serde(default, deserialize_with = "entries")]
    pub models: BTreeMap<String, Quota>,
}

impl TeamQuota {
    /// What the team may use of all models together.
    pub fn total(&self) -> Quota {
        Quota {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            concurrent_requests: self.concurrent_requests,
            budget: self.budget.clone(),
        }
    }
}

/// So much money in such a time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    pub usd: f64,
    /// A number and one of `s`, `m`, `h`, `d`, which slides along, or `1mo`, the calendar month in UTC.
    pub per: String,
}

/// Where a request says who sends it, if not by a key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The path below Envoy's dynamic metadata at which another filter leaves who it is, such as
    /// `["envoy.filters.http.jwt_authn", "jwt_payload", "team"]`.
    pub metadata: Option<Vec<String>>,
    /// A header that another filter sets, and takes from every client that sends it by itself.
    pub header: Option<String>,
}

/// Who may see everybody's use.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    #[serde(deserialize_with = "objects")]
    pub keys: Vec<AdminKey>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminKey {
    /// SHA-256 of the key, 64 hexadecimal digits.
    pub sha256: String,
}

/// What the tokens of some models cost, in US dollars for a million.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// A pattern of full names, such as `bedrock/*anthropic.claude-sonnet-4*`. The longest match wins.
    pub model: String,
    pub input: Option<f64>,
    pub output: Option<f64>,
    /// Input that was read from the cache; as `input` when absent.
    pub cache_read: Option<f64>,
    /// Input that was written to the cache; as `input` when absent.
    pub cache_write: Option<f64>,
    /// Input that was written to the cache for an hour; as `cache_write` when absent.
    pub cache_write_hour: Option<f64>,
    /// One image, in dollars.
    pub image: Option<f64>,
    /// Prices of very long requests.
    #[serde(default, deserialize_with = "optional")]
    pub long: Option<Long>,
    #[serde(default, deserialize_with = "object")]
    pub tiers: Tiers,
}

/// What all tokens of a request cost whose input is longer than so many, with what comes from the cache; as for
/// other requests where a price is absent.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Long {
    pub above: u64,
    pub input: Option<f64>,
    pub output: Option<f64>,
    pub cache_read: Option<f64>,
    pub cache_write: Option<f64>,
    pub cache_write_hour: Option<f64>,
}

/// Prices of the clouds' service tiers; as the standard one where they are absent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tiers {
    #[serde(default, deserialize_with = "optional")]
    pub flex: Option<Tariff>,
    #[serde(default, deserialize_with = "optional")]
    pub priority: Option<Tariff>,
}

/// Prices of a service tier; as the standard one where one is absent.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tariff {
    pub input: Option<f64>,
    pub output: Option<f64>,
    pub cache_read: Option<f64>,
    pub cache_write: Option<f64>,
    pub cache_write_hour: Option<f64>,
    #[serde(default, deserialize_with = "optional")]
    pub long: Option<Long>,
}
