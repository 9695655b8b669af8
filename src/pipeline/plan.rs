//! The configuration, checked and compiled: what requests see.

use std::rc::Rc;

use crate::base::error::{Error, Kind};
use crate::base::host::Host;
use crate::config::{self, Environment, Problems};
use crate::dialect::models::Model;
use crate::dialect::openai::own::Api;
use crate::dialect::{self, Client};
use crate::policy::identity::Directory;
use crate::policy::limits;
use crate::policy::prices::Prices;
use crate::policy::quota::{Limits, Scope};
use crate::policy::resolve::{Rules, Target};
use crate::provider::{Backend, token};

use super::caller::Caller;
use super::room::Room;

/// Everything that requests need of the configuration.
#[derive(Debug)]
pub struct Plan {
    backends: Vec<Backend>,
    rules: Rules,
    /// Who may call.
    pub directory: Directory,
    /// What models cost.
    pub prices: Prices,
    /// The limits of everyone together.
    pub total: Option<Rc<Scope>>,
    /// Largest request body in bytes.
    pub request_bytes: usize,
    /// The cluster without hosts by which the filters behind this one are asked for leave.
    pub leave_cluster: Option<String>,
    /// Whether fields without a counterpart are left out rather than refused.
    pub drop_params: bool,
    /// For replies that are gathered.
    pub room: Room,
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
        for (index, model) in config.models.iter().enumerate() {
            if model.family.as_deref().is_some_and(|family| !dialect::Model::is_family(family)) {
                let problem = "is no family that is known here; name the base model, such as `claude-sonnet-4-5`, \
                    `nova-pro` or `meta.llama3-3-70b-instruct`";
                problems.add(&format!("models[{index}].family"), problem);
            }
        }
        let directory = Directory::compile(&config, &mut problems);
        let prices = Prices::compile(&config.prices, &mut problems);
        let total = limits::compile(&config.limits.total, "limits.total", &mut problems);
        let total = (total != Limits::default())
            .then(|| Rc::new(Scope::new("total", "", "this gateway".to_owned(), total)));
        if config.limits.request_bytes == 0 {
            problems.add("limits.request_bytes", "is zero, which would refuse everything");
        }
        if config.limits.leave_cluster.as_deref() == Some("") {
            problems.add("limits.leave_cluster", "is empty; write the name of a cluster without hosts");
        }
        if problems.0.is_empty() {
            let (request_bytes, drop_params) = (config.limits.request_bytes, config.drop_params);
            Ok(Self {
                backends,
                rules,
                directory,
                prices,
                total,
                request_bytes,
                leave_cluster: config.limits.leave_cluster,
                drop_params,
                room: Room::default(),
            })
        } else {
            Err(problems)
        }
    }

    /// Where a caller's request for a model goes, and what the model is called there.
    ///
    /// # Errors
    /// [`Kind::UnknownModel`]; [`Kind::NotAllowed`] when the caller may not use it by this name, or not
    /// what the name leads to.
    pub fn find<'a>(
        &'a self,
        caller: &Caller,
        asked: &'a str,
    ) -> Result<(usize, &'a Backend, &'a str), Error> {
        let Target { backend: index, provider, model, .. } = self.rules.find(asked)?;
        caller.may_use(asked)?;
        if asked.strip_prefix(provider) != Some(model) {
            caller.may_use(&format!("{provider}{model}"))?;
        }
        Ok((index, self.backend(index)?, model))
    }

    /// The names and patterns that clients may ask for, in the order of the configuration.
    pub fn models(&self) -> impl Iterator<Item = Model<'_>> {
        self.rules.names().map(|(id, owner)| Model { id, owner })
    }

    /// A model that a client may ask for, listed by its name or not.
    ///
    /// # Errors
    /// Those of [`Plan::find`].
    pub fn model<'a>(&self, id: &'a str) -> Result<Model<'a>, Error> {
        let Target { owner, .. } = self.rules.find(id)?;
        Ok(Model { id, owner })
    }

    /// The rule that a model's name matches, as the operator wrote it.
    pub fn label(&self, asked: &str) -> &str {
        self.rules.label(asked).unwrap_or_default()
    }

    /// Whether a client's own dialect could be spoken by any backend.
    pub fn may_speak(&self, client: Client) -> bool {
        self.backends.iter().any(|backend| backend.may_speak(client))
    }

    /// Whether requests to an API of OpenAI's could pass to any backend.
    pub fn may_pass(&self, api: Api) -> bool {
        self.backends.iter().any(|backend| backend.own(api).is_some())
    }

    /// What a model is, where its name does not tell and the operator has written it down.
    pub fn family<'a>(&'a self, asked: &'a str) -> Option<&'a str> {
        self.rules.find(asked).ok().and_then(|target| target.family)
    }

    /// The backend of an index that [`Plan::find`] gave.
    pub fn backend(&self, index: usize) -> Result<&Backend, Error> {
        self.backends
            .get(index)
            .ok_or_else(|| Error::new(Kind::Internal, "the backend is no longer configured"))
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
        self.directory.scopes().chain(&self.total).for_each(|scope| scope.prepare(host));
    }
}
