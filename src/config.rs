//! What the operator writes: the shape of the filter's JSON. Names here are the contract's.
//!
//! Shapes only. What a backend of some provider needs is checked by that provider, what a model rule
//! may say by the resolver; every problem is reported at once, each with its JSON path.

pub mod credentials;
pub mod teams;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, Visitor};
use zeroize::Zeroizing;

/// The whole configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Clouds and regions, by a name of the operator's choice.
    #[serde(deserialize_with = "entries")]
    pub backends: BTreeMap<String, Backend>,
    /// Which backend serves which model; the longest match wins.
    #[serde(deserialize_with = "objects")]
    pub models: Vec<Model>,
    /// Where the position `fairlead.gate` sends what may be tried at several backends.
    #[serde(default, deserialize_with = "objects")]
    pub chains: Vec<Chain>,
    /// Names of models that stand in for every model whose rule has no `fallbacks` of its own.
    #[serde(default)]
    pub default_fallbacks: Vec<String>,
    /// Whether a field of a request that the model's cloud has no counterpart for is left out. Else the request
    /// is refused.
    #[serde(default = "drop_params")]
    pub drop_params: bool,
    /// Whether the filter `fairlead.latch` stands directly behind this one and holds headers for it.
    #[serde(default)]
    pub latch: bool,
    #[serde(default, deserialize_with = "object")]
    pub limits: Limits,
    /// Who may call; without any, everyone may.
    #[serde(default, deserialize_with = "optional_entries")]
    pub teams: Option<BTreeMap<String, teams::Team>>,
    /// How a filter before this one says who calls.
    #[serde(default, deserialize_with = "optional")]
    pub identity: Option<teams::Identity>,
    /// Who may see what all teams use.
    #[serde(default, deserialize_with = "optional")]
    pub admin: Option<teams::Admin>,
    /// What models cost; goes before the list that comes with the plugin.
    #[serde(default, deserialize_with = "objects")]
    pub prices: Vec<teams::Price>,
}

/// As in other gateways: clients send more than they need, and what is left out is named in the reply.
fn drop_params() -> bool {
    true
}

/// One cloud in one region, behind one Envoy cluster.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    pub provider: Provider,
    /// Envoy's name of the cluster that leads there.
    pub cluster: String,
    /// Sent as `:authority` and signed; the cloud's own name for the region when absent.
    pub host: Option<String>,
    /// Bedrock: the AWS region.
    pub region: Option<String>,
    /// Bedrock: which of the region's endpoints is called.
    pub endpoint: Option<Endpoint>,
    /// Bedrock: in which of its dialects Claude is asked.
    pub api: Option<Api>,
    /// Vertex AI: the Google Cloud project.
    pub project: Option<String>,
    /// Vertex AI: the location, such as `us-central1` or `global`.
    pub location: Option<String>,
    #[serde(deserialize_with = "object")]
    pub credentials: credentials::Credentials,
    /// What this account may use there. When it is used up, other backends go first.
    #[serde(default, deserialize_with = "object")]
    pub limits: teams::Quota,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    Bedrock,
    Vertex,
    /// Anthropic's own API.
    Anthropic,
    /// OpenAI's own API.
    #[serde(rename = "openai")]
    OpenAi,
}

impl Provider {
    pub const ALL: &[Provider] =
        &[Provider::Bedrock, Provider::Vertex, Provider::Anthropic, Provider::OpenAi];

    /// What the names of its models begin with for clients.
    pub const fn prefix(self) -> &'static str {
        match self {
            Provider::Bedrock => "bedrock/",
            Provider::Vertex => "vertex_ai/",
            Provider::Anthropic => "anthropic/",
            Provider::OpenAi => "openai/",
        }
    }
}

/// An endpoint of an AWS region.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    #[default]
    Standard,
    /// With cryptography that is validated by FIPS 140.
    Fips,
}

/// An API of Amazon Bedrock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// InvokeModel for Claude where the client speaks Anthropic's dialect, else Converse.
    Auto,
    /// Converse for everything.
    #[default]
    Converse,
    /// InvokeModel for Claude, whatever the client speaks; else Converse.
    InvokeModel,
    /// `bedrock-mantle`, Bedrock's own edition of Anthropic's API. It serves nothing but Claude.
    Mantle,
}

/// A rule that leads from the name a client asks for to a backend, or to several of which one is chosen.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// What the client asks for; a trailing `*` stands for any ending.
    pub name: String,
    /// One of `backends`. Absent where there are `targets`.
    pub backend: Option<String>,
    /// The model to call instead of the name asked for, such as
    /// `bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0`.
    pub model: Option<String>,
    /// What the model is, where its name does not tell: its base model, such as `claude-sonnet-4-5`.
    pub family: Option<String>,
    /// What everyone together may use of what the name matches.
    #[serde(default, deserialize_with = "object")]
    pub limits: teams::Quota,
    /// Several places where it can be had.
    #[serde(default, deserialize_with = "objects")]
    pub targets: Vec<Target>,
    /// Names of models that stand in when all targets have failed, in this order.
    pub fallbacks: Option<Vec<String>>,
    /// How many tokens the model takes; for `context_window_fallbacks` before anything is sent.
    pub context_window: Option<u64>,
    /// Names of models that stand in for requests that are too long for this one.
    #[serde(default)]
    pub context_window_fallbacks: Vec<String>,
}

/// One of the places where a model can be had.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// One of `backends`.
    pub backend: String,
    /// As [`Model::model`].
    pub model: Option<String>,
    /// As [`Model::family`].
    pub family: Option<String>,
    /// Those of the lowest number go first; 1 when absent.
    pub order: Option<u32>,
    /// How often it goes first among those of the same order, against the weights of the others; 1 when absent,
    /// and 0 for one that only stands in.
    pub weight: Option<u32>,
}

/// An aggregate cluster of Envoy's, which leads to several backends one after another.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// Envoy's name of it.
    pub cluster: String,
    /// Whose clusters are its members, in their order.
    pub backends: Vec<String>,
}

/// Bounds that operators may want to move.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Largest request body in bytes. Envoy's `per_connection_buffer_limit_bytes` must be as large.
    #[serde(default = "request_bytes")]
    pub request_bytes: usize,
    /// What everyone together may use.
    #[serde(default, deserialize_with = "object")]
    pub total: teams::Quota,
    /// Envoy's name of a cluster without hosts, by which the filters behind this one are asked to let a request pass
    /// that takes several calls.
    pub leave_cluster: Option<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request_bytes: request_bytes(), total: teams::Quota::default(), leave_cluster: None }
    }
}

/// Bedrock takes 20 images of 3.75 MB, Vertex AI requests of 20 MB; base64 adds a third.
fn request_bytes() -> usize {
    32 * 1024 * 1024
}

/// A value that is never shown, and is wiped when it goes: written down, or named as an environment variable of Envoy's
/// process.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    Written(Zeroizing<String>),
    Environment(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Written(_) => f.write_str("(secret)"),
            Secret::Environment(name) => write!(f, "${name}"),
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or {\"env\": \"NAME\"}")
            }
            fn visit_str<E>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::Written(Zeroizing::new(text.to_owned())))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
                let mut name = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != "env" || name.is_some() {
                        return Err(de::Error::unknown_field(&key, &["env"]));
                    }
                    name = Some(map.next_value()?);
                }
                name.map(Secret::Environment).ok_or_else(|| de::Error::missing_field("env"))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// A struct that is written as an object. serde's derived ones would take a list of their members as well.
struct Object<T>(T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<T>(PhantomData<T>);
        impl<'de, T: DeserializeOwned> Visitor<'de> for Read<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Read(PhantomData))
    }
}

fn object<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|Object(value)| value)
}

fn optional<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|Object(value)| value))
}

fn objects<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let objects = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|Object(value)| value).collect())
}

/// Objects by name. A map of serde's would let the last of two entries of one name win in silence.
fn entries<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    struct Read<T>(PhantomData<T>);
    impl<'de, T: DeserializeOwned> Visitor<'de> for Read<T> {
        type Value = BTreeMap<String, T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = BTreeMap::new();
            while let Some(name) = map.next_key::<String>()? {
                let Object(value) = map.next_value()?;
                if entries.contains_key(&name) {
                    return Err(de::Error::custom(format!("`{name}` is written twice; remove one of them")));
                }
                entries.insert(name, value);
            }
            Ok(entries)
        }
    }
    deserializer.deserialize_map(Read(PhantomData))
}

fn optional_entries<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, T>>, D::Error> {
    entries(deserializer).map(Some)
}

/// Environment variables that Envoy handed to the plugin (`vm_config.environment_variables`).
pub type Environment = BTreeMap<String, String>;

impl Secret {
    /// The value; a problem when the variable is not there.
    pub fn resolve(
        &self,
        environment: &Environment,
        path: &str,
        problems: &mut Problems,
    ) -> Option<Zeroizing<String>> {
        match self {
            Secret::Written(value) => Some(value.clone()),
            Secret::Environment(name) => variable(name, environment, path, problems).map(Zeroizing::new),
        }
    }
}

/// Reports fields that belong to another provider or source: they would do nothing.
pub fn superfluous(given: &[(&str, bool)], path: &str, owner: &str, problems: &mut Problems) {
    for (field, given) in given {
        if *given {
            problems.add(&format!("{path}.{field}"), format!("has no meaning for {owner}; remove it"));
        }
    }
}

/// How an environment variable comes to the plugin.
pub const HAND_OVER: &str =
    "set it for Envoy's process and name it in vm_config.environment_variables.host_env_keys";

/// Looks up an environment variable that must be there.
pub fn variable(
    name: &str,
    environment: &Environment,
    path: &str,
    problems: &mut Problems,
) -> Option<String> {
    let value = environment.get(name).filter(|value| !value.is_empty());
    if value.is_none() {
        problems.add(path, format!("the environment variable {name} is not set; {HAND_OVER}"));
    }
    value.cloned()
}

/// What is wrong with a configuration: JSON path and what would be right.
#[derive(Debug, Default, PartialEq)]
pub struct Problems(pub Vec<(String, String)>);

impl Problems {
    pub fn add(&mut self, path: &str, problem: impl Into<String>) {
        self.0.push((path.to_owned(), problem.into()));
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration was refused")?;
        for (path, problem) in &self.0 {
            write!(f, "; {path}: {problem}")?;
        }
        Ok(())
    }
}

/// Reads the JSON.
///
/// # Errors
/// The first thing that has the wrong shape.
pub fn parse(json: &[u8]) -> Result<Config, Problems> {
    let deserializer = &mut serde_json::Deserializer::from_slice(json);
    let Object(config) = serde_path_to_error::deserialize(&mut *deserializer).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { "(the configuration)".to_owned() } else { path };
        let error = error.into_inner();
        // A wrong type would be shown with its value, and the value may be a secret.
        let problem = if error.is_data() { crate::base::json::describe(&error) } else { error.to_string() };
        Problems(vec![(path, problem)])
    })?;
    deserializer
        .end()
        .map_err(|error| Problems(vec![("(the configuration)".to_owned(), error.to_string())]))?;
    Ok(config)
}
