//! The configuration, checked and compiled: what requests see.

use crate::base::error::{Error, Kind};
use crate::base::host::Host;
use crate::config::{self, Environment, Problems};
use crate::dialect::Client;
use crate::policy::resolve::{Rules, Target};
use crate::provider::{Backend, token};

/// Everything that requests need of the configuration.
#[derive(Debug)]
pub struct Plan {
    backends: Vec<Backend>,
    rules: Rules,
    /// Largest request body in bytes.
    pub request_bytes: usize,
}

impl Plan {
    /// Reads and checks the filter's JSON.
    ///
    /// # Errors
    /// Every problem that was found, with its JSON path.
    pub fn compile(json: &[u8], environment: &Environment) -> Result<Self, Problems> {
        let config = config::parse(json)?;
        let mut problems = Problems::default();
        let providers: Vec<_> =
            config.backends.iter().map(|(name, backend)| (name.as_str(), backend.provider)).collect();
        let backends: Vec<Backend> = config
            .backends
            .iter()
            .filter_map(|(name, written)| Backend::compile(name, written, environment, &mut problems))
            .collect();
        let rules = Rules::compile(&config.models, &providers, &mut problems);
        if config.limits.request_bytes == 0 {
            problems.add("limits.request_bytes", "is zero, which would refuse everything");
        }
        if problems.0.is_empty() {
            Ok(Self { backends, rules, request_bytes: config.limits.request_bytes })
        } else {
            Err(problems)
        }
    }

    /// Where a request for a model goes, and what the model is called there.
    pub fn find<'a>(&'a self, asked: &'a str) -> Result<(usize, &'a Backend, &'a str), Error> {
        let Target { backend: index, model } = self.rules.find(asked)?;
        let backend = self
            .backends
            .get(index)
            .ok_or_else(|| Error::new(Kind::Internal, "a model rule leads to no backend"))?;
        Ok((index, backend, model))
    }

    /// Whether a client's own dialect could be spoken by any backend.
    pub fn may_speak(&self, client: Client) -> bool {
        self.backends.iter().any(|backend| backend.may_speak(client))
    }

    /// The backend of an index that [`Plan::find`] gave.
    pub fn backend(&self, index: usize) -> Option<&Backend> {
        self.backends.get(index)
    }

    /// The sources of tokens, each once.
    pub fn token_sources(&self) -> Vec<token::Source> {
        let mut sources: Vec<token::Source> = Vec::new();
        for source in self.backends.iter().filter_map(Backend::token_source) {
            if !sources.contains(source) {
                sources.push(source.clone());
            }
        }
        sources
    }

    /// Makes ready what the workers share. For the one thread that configures the plugin first.
    pub fn prepare(&self, host: &dyn Host) {
        for source in self.token_sources() {
            source.prepare(host);
        }
    }
}
