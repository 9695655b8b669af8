//! The configuration, checked and compiled: what requests see.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use crate::base::error::{Error, Kind};
use crate::base::host::Host;
use crate::base::metric::Counter;
use crate::config::{self, Environment, Problems};
use crate::credential::clock::Clock;
use crate::credential::{Source, Sources};
use crate::dialect::models::Model;
use crate::dialect::openai::own::Api;
use crate::dialect::{self, Client};
use crate::policy::choice::{self, Choice, Dice};
use crate::policy::identity::Directory;
use crate::policy::limits;
use crate::policy::prices::Prices;
use crate::policy::quota::{Limits, Scope};
use crate::policy::resolve::{MOST_TARGETS, Rules, Target};
use crate::provider::{Backend, Surroundings};

use super::aim::Wish;
use super::caller::Caller;
use super::gate;
use super::outcome::Outcome;
use super::reply::Failure;
use super::room::Room;

/// Everything that requests need of the configuration.
#[derive(Debug)]
pub struct Plan {
    backends: Vec<Backend>,
    clock: Rc<Clock>,
    /// What each backend's account may use; in the order of the backends.
    accounts: Vec<Option<Rc<Scope>>>,
    rules: Rules,
    chains: Vec<Chain>,
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
    /// Whether another filter holds headers for this one.
    pub latch: bool,
    /// For replies that are gathered.
    pub room: Room,
}

/// An aggregate cluster of Envoy's, and the backends behind it.
#[derive(Debug)]
struct Chain {
    cluster: String,
    backends: Vec<usize>,
}

impl Chain {
    fn compile(
        written: &config::Chain,
        path: &str,
        backends: &[(&str, config::Provider)],
        problems: &mut Problems,
    ) -> Self {
        if written.cluster.is_empty() {
            problems.add(&format!("{path}.cluster"), "is empty; name Envoy's aggregate cluster");
        }
        if written.backends.is_empty() {
            problems.add(
                &format!("{path}.backends"),
                "is empty; list the backends of the cluster's members in order",
            );
        }
        let mut chain = Self { cluster: written.cluster.clone(), backends: Vec::new() };
        for (index, name) in written.backends.iter().enumerate() {
            let at = format!("{path}.backends[{index}]");
            match backends.iter().position(|(known, _)| known == name) {
                Some(backend) if chain.backends.contains(&backend) => {
                    problems.add(&at, "is in this chain already; a cluster is a member once");
                }
                Some(backend) => chain.backends.push(backend),
                None => {
                    let known: Vec<&str> = backends.iter().map(|(name, _)| *name).collect();
                    problems.add(&at, format!("is none of `backends` ({})", known.join(", ")));
                }
            }
        }
        chain
    }

    /// How many of the first members are those that are wanted, in their order, and how many tries the chain is good
    /// for: it leads round and round, and ends where it comes to a member that has no place left. `None`: for no
    /// second one, though there are more members.
    fn fits(&self, choices: &[Choice], wanted: &[usize]) -> Option<(usize, usize)> {
        let same = self.backends.iter().zip(wanted).take_while(|(one, other)| one == other).count();
        let mut left: Vec<usize> = choices.iter().map(|choice| choice.backend).collect();
        let members = self.backends.iter().cycle();
        let served = members.map_while(|member| {
            let at = left.iter().position(|backend| backend == member)?;
            Some(left.swap_remove(at))
        });
        let tries = served.count();
        let is_alone = self.backends.len() == 1;
        (same > 0 && (tries > 1 || is_alone)).then_some((same, tries))
    }
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
        let clock = Rc::new(Clock::default());
        let (nobody, sources) = (BTreeMap::new(), Sources::default());
        let teams = config.teams.as_ref().unwrap_or(&nobody);
        let around = Surroundings { environment, clock: &clock, sources: &sources, teams };
        let backends: Vec<Backend> = config
            .backends
            .iter()
            .filter_map(|(name, written)| Backend::compile(name, written, &around, &mut problems))
            .collect();
        for (team, written) in config.teams.iter().flatten() {
            for backend in written.credentials.keys().filter(|name| !config.backends.contains_key(*name)) {
                problems.add(&format!("teams.{team}.credentials.{backend}"), "is none of `backends`");
            }
        }
        let rules = Rules::compile(&config.models, &config.default_fallbacks, &providers, &mut problems);
        for (index, model) in config.models.iter().enumerate() {
            check_family(model.family.as_deref(), &format!("models[{index}]"), &mut problems);
            for (target, written) in model.targets.iter().enumerate() {
                let path = format!("models[{index}].targets[{target}]");
                check_family(written.family.as_deref(), &path, &mut problems);
            }
        }
        let mut accounts = Vec::new();
        for (name, backend) in &config.backends {
            let limits = limits::compile(&backend.limits, &format!("backends.{name}.limits"), &mut problems);
            let title = format!("the gateway's account {name}");
            let limited = limits != Limits::default();
            accounts.push(limited.then(|| Rc::new(Scope::new("backend", name, title, limits))));
        }
        let mut chains = Vec::new();
        for (index, chain) in config.chains.iter().enumerate() {
            chains.push(Chain::compile(chain, &format!("chains[{index}]"), &providers, &mut problems));
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
            let latch = config.latch;
            Ok(Self {
                backends,
                clock,
                accounts,
                rules,
                chains,
                directory,
                prices,
                total,
                request_bytes,
                leave_cluster: config.limits.leave_cluster,
                drop_params,
                latch,
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
        let target = self.rules.find(asked)?;
        caller.may_use(asked)?;
        may_use(caller, asked, &target)?;
        Ok((target.backend, self.backend(target.backend)?, target.model))
    }

    /// The places where a caller's request for a model may go, in the order in which they are tried; at least one.
    /// Those that cannot serve now come last, and a model whose limits are used up does not stand in.
    ///
    /// # Errors
    /// Those of [`Plan::find`], for the model and for those that the client wants to stand in.
    pub fn choose(
        &self,
        caller: &Caller,
        host: &dyn Host,
        asked: &str,
        wish: &Wish,
    ) -> Result<Vec<Choice>, Error> {
        let now = || host.now();
        let mut dice = Dice::new(&caller.request_id, &now);
        let mut choices = Vec::new();
        self.add(&mut choices, caller, asked, false, &mut dice)?;
        if !wish.disable_fallbacks {
            for (index, name) in wish.fallbacks.iter().flatten().enumerate() {
                let from = choices.len();
                self.add(&mut choices, caller, name, false, &mut dice).map_err(|error| {
                    let problem = error.message.strip_prefix("model: ").unwrap_or(&error.message);
                    Error::at(error.kind, format!("fallbacks[{index}]"), problem)
                })?;
                self.stand_in(&mut choices, from, caller, host, name);
            }
            let (standing, wider) = self.rules.stand_ins(asked);
            for name in standing.iter().filter(|_| wish.fallbacks.is_none()) {
                // The operator's lists are for everyone; a team goes without what it may not use.
                let from = choices.len();
                let _ = self.add(&mut choices, caller, name, false, &mut dice);
                self.stand_in(&mut choices, from, caller, host, name);
            }
            for name in wider {
                let from = choices.len();
                let _ = self.add(&mut choices, caller, name, true, &mut dice);
                self.stand_in(&mut choices, from, caller, host, name);
            }
        }
        if choices.len() > 1 {
            choices.truncate(MOST_TARGETS);
            let closed = |choice: &Choice| !choice.wider && !self.is_open(caller, host, choice);
            choices.sort_by_cached_key(|choice| (choice.wider, closed(choice)));
        }
        Ok(choices)
    }

    /// Adds the places of one model that the caller may use.
    fn add(
        &self,
        choices: &mut Vec<Choice>,
        caller: &Caller,
        asked: &str,
        wider: bool,
        dice: &mut Dice<'_>,
    ) -> Result<(), Error> {
        let mut targets: Vec<Target<'_>> = self.rules.targets(asked)?.collect();
        caller.may_use(asked)?;
        choice::arrange(&mut targets, dice);
        let (mut added, mut refused) = (false, None);
        for target in &targets {
            match may_use(caller, asked, target) {
                Ok(()) => {
                    added = true;
                    let same = |known: &Choice| {
                        known.backend == target.backend && known.model == target.model && known.wider == wider
                    };
                    if !choices.iter().any(same) {
                        choices.push(Choice::new(target, wider));
                    }
                }
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        refused.filter(|_| !added).map_or(Ok(()), Err)
    }

    /// Notes that the places from one on are those of a model that stands in, as far as its limits have room.
    fn stand_in(&self, choices: &mut Vec<Choice>, from: usize, caller: &Caller, host: &dyn Host, name: &str) {
        let added = choices.split_off(from.min(choices.len()));
        choices.extend(added.into_iter().filter_map(|choice| {
            let prefix = self.backend(choice.backend).ok()?.prefix;
            let full = format!("{prefix}{}", choice.model);
            let mut limits = gate::of_model(self, caller, name, &full);
            let has_room = limits.all(|scope| scope.standing(host).has_room());
            has_room.then(|| Choice { stands_in: Some(name.to_owned()), ..choice })
        }));
    }

    /// Whether a place can serve now, as far as is known.
    fn is_open(&self, caller: &Caller, host: &dyn Host, choice: &Choice) -> bool {
        let Ok(backend) = self.backend(choice.backend) else { return false };
        !choice::is_paused(host, &backend.name, &choice.model)
            && backend.credential(caller.own_team()).grant(host).is_ok()
            && self.account(choice.backend).is_none_or(|account| account.standing(host).has_room())
    }

    /// What a backend's account may use, if the operator has written it down.
    pub fn account(&self, backend: usize) -> Option<&Rc<Scope>> {
        self.accounts.get(backend)?.as_ref()
    }

    /// The cluster of Envoy's that leads to these places one after another, and to how many of them: the chain that
    /// keeps their order best. Zero: it leads to the first of them, and then elsewhere.
    ///
    /// # Errors
    /// [`Kind::Internal`] when no chain begins at the first. A backend's own cluster would not do: nothing there
    /// translates the request or takes the client's key out of it.
    pub fn cluster(&self, choices: &[Choice]) -> Result<(&str, usize), Error> {
        let mut wanted: Vec<usize> = Vec::with_capacity(choices.len());
        for choice in choices {
            if !wanted.contains(&choice.backend) {
                wanted.push(choice.backend);
            }
        }
        let first = wanted.first().copied().unwrap_or(usize::MAX);
        let chains = self.chains.iter().filter(|chain| wanted.len() > 1 || chain.backends.len() == 1);
        let fitting = chains.filter_map(|chain| Some((chain.fits(choices, &wanted)?, chain)));
        // The first of those that fit alike.
        match fitting.rev().max_by_key(|(fit, _)| *fit) {
            Some(((_, tries), chain)) => Ok((&chain.cluster, tries)),
            None => {
                let begins = |chain: &&Chain| chain.backends.first() == Some(&first);
                let shortest = self.chains.iter().filter(begins).min_by_key(|chain| chain.backends.len());
                let none = || {
                    let name = self.backend(first).map_or("", |backend| &backend.name);
                    let problem =
                        format!("no chain of `chains` begins at backend {name}; the operator should add one");
                    Error::new(Kind::Internal, problem)
                };
                shortest.map(|chain| (chain.cluster.as_str(), 0)).ok_or_else(none)
            }
        }
    }

    /// Whether a backend is behind an aggregate cluster.
    pub fn leads_to(&self, cluster: &str, backend: usize) -> bool {
        self.chains.iter().any(|chain| chain.cluster == cluster && chain.backends.contains(&backend))
    }

    /// What an operator should know of the gate: models with several backends from one of which no chain leads on.
    pub fn dead_ends(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (name, _) in self.rules.names() {
            let Ok(targets) = self.rules.targets(name) else { continue };
            let own: Vec<Target<'_>> = targets.collect();
            let standing =
                self.rules.stand_ins(name).0.iter().filter_map(|name| self.rules.targets(name).ok());
            let mut wanted: Vec<usize> = own.iter().map(|target| target.backend).collect();
            wanted.extend(standing.flatten().map(|target| target.backend));
            let several = wanted.iter().any(|backend| Some(backend) != wanted.first());
            let lowest = own.iter().map(|target| target.order).min();
            let firsts = own.iter().filter(|target| Some(target.order) == lowest && target.weight > 0);
            for first in firsts {
                let Ok(backend) = self.backend(first.backend) else { continue };
                let begins = |chain: &&Chain| chain.backends.first() == Some(&first.backend);
                let leads_on =
                    |chain: &Chain| chain.backends.get(1).is_some_and(|next| wanted.contains(next));
                let begin = format!(
                    "model {name} begins at backend {}, and no chain of `chains` begins there",
                    backend.name
                );
                if !self.chains.iter().any(|chain| begins(&chain)) {
                    warnings.push(format!("{begin}: it is refused"));
                } else if several && !self.chains.iter().filter(begins).any(leads_on) {
                    warnings.push(format!(
                        "{begin} and goes on to another of the model's backends: it is tried nowhere else"
                    ));
                }
            }
        }
        warnings
    }

    /// The backend of this name, or, as Envoy gives it, of this cluster.
    pub fn backend_called(&self, name: &str) -> Option<usize> {
        let by_name = self.backends.iter().position(|backend| backend.name == name);
        by_name.or_else(|| self.backends.iter().position(|backend| backend.cluster == name))
    }

    /// Counts how a try at a backend has ended.
    pub fn hear(&self, host: &dyn Host, backend: usize, outcome: &str) {
        if let Ok(backend) = self.backend(backend) {
            host.count(Counter::Tries { backend: &backend.name, outcome }, 1);
        }
    }

    /// The same for one that has failed. A backend that asks for time gets it.
    pub fn hear_failure(&self, host: &dyn Host, failure: &Failure) {
        let Some((index, model)) = &failure.place else { return };
        self.hear(host, *index, Outcome::of(failure.error.kind).name);
        let asks = matches!(failure.error.kind, Kind::Throttled | Kind::Overloaded);
        if let (true, Some(seconds), Ok(backend)) = (asks, failure.error.retry_after, self.backend(*index)) {
            let model = model.strip_prefix(backend.prefix).unwrap_or(model);
            choice::pause(host, &backend.name, model, Duration::from_secs(u64::from(seconds)));
        }
    }

    /// How many tokens a model takes, where another stands in for requests that are too long for it.
    pub fn window(&self, asked: &str) -> Option<u64> {
        self.rules.context_window(asked)
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

    /// What everyone together may use of a model, if that is limited.
    pub fn model_scope(&self, asked: &str) -> Option<&Rc<Scope>> {
        self.rules.scope(asked)
    }

    /// All such limits, each with the name or pattern of its models.
    pub fn model_scopes(&self) -> impl Iterator<Item = (&str, &Rc<Scope>)> {
        self.rules.scopes()
    }

    /// Whether a client's own dialect could be spoken by any backend.
    pub fn may_speak(&self, client: Client) -> bool {
        self.backends.iter().any(|backend| backend.may_speak(client))
    }

    /// Whether requests to an API of OpenAI's could pass to any backend.
    pub fn may_pass(&self, api: Api) -> bool {
        self.backends.iter().any(|backend| backend.own(api).is_some())
    }

    /// Whether any place passes a test of those where a request for a model may go, by the operator's lists.
    pub fn may_lead(&self, asked: &str, passes: impl Fn(&Backend, dialect::Model<'_>) -> bool) -> bool {
        let (standing, wider) = self.rules.stand_ins(asked);
        let others = standing.iter().chain(wider).map(String::as_str);
        let targets = std::iter::once(asked).chain(others).filter_map(|name| self.rules.targets(name).ok());
        targets.flatten().any(|target| {
            let model = dialect::Model { name: target.model, family: target.family };
            self.backend(target.backend).is_ok_and(|backend| passes(backend, model))
        })
    }

    /// The backend of an index that [`Plan::find`] gave.
    pub fn backend(&self, index: usize) -> Result<&Backend, Error> {
        self.backends
            .get(index)
            .ok_or_else(|| Error::new(Kind::Internal, "the backend is no longer configured"))
    }

    /// Where credentials are fetched, each place once, and those that others begin with before them.
    pub fn sources(&self) -> Vec<Rc<Source>> {
        let (mut sources, mut known) = (Vec::new(), HashSet::new());
        for source in self.backends.iter().flat_map(Backend::sources) {
            let chain: Vec<&Rc<Source>> =
                std::iter::successors(Some(source), |source| source.base()).collect();
            for source in chain.into_iter().rev() {
                if known.insert(source.key()) {
                    sources.push(Rc::clone(source));
                }
            }
        }
        sources
    }

    /// Takes over what other workers have learnt of the clouds' clocks.
    pub fn look(&self, host: &dyn Host) {
        self.clock.look(host);
    }

    /// Every backend, in the order of their names.
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// Makes ready what the workers share. For the one thread that configures the plugin first.
    pub fn prepare(&self, host: &dyn Host) {
        for source in self.sources() {
            source.prepare(host);
        }
        self.directory
            .scopes()
            .chain(self.rules.scopes().map(|(_, scope)| scope))
            .chain(&self.total)
            .chain(self.accounts.iter().flatten())
            .for_each(|scope| scope.prepare(host));
    }
}

/// Whether a caller who may use a model by the name he asks for may use what it leads to.
fn may_use(caller: &Caller, asked: &str, target: &Target<'_>) -> Result<(), Error> {
    if asked.strip_prefix(target.provider) == Some(target.model) {
        return Ok(());
    }
    caller.may_use(&format!("{}{}", target.provider, target.model))
}

fn check_family(family: Option<&str>, path: &str, problems: &mut Problems) {
    if family.is_some_and(|family| !dialect::Model::is_family(family)) {
        let problem = "is no family that is known here; name the base model, such as `claude-sonnet-4-5`, \
            `nova-pro` or `meta.llama3-3-70b-instruct`";
        problems.add(&format!("{path}.family"), problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_may_lead_wherever_it_and_those_that_stand_in_for_it_go() {
        let json = br#"{"backends":{
            "aws":{"provider":"bedrock","region":"us-east-1","cluster":"aws",
                "credentials":{"source":"static","access_key_id":"AKID","secret_access_key":"secret"}},
            "own":{"provider":"openai","cluster":"own","credentials":{"source":"api_key","api_key":"secret"}}},
            "models":[
                {"name":"bedrock/*","backend":"aws"},
                {"name":"openai/*","backend":"own"},
                {"name":"two","targets":[{"backend":"aws","model":"bedrock/amazon.nova-lite-v1:0"},
                    {"backend":"own","model":"openai/gpt-5","weight":0}]},
                {"name":"held","backend":"aws","model":"bedrock/amazon.nova-lite-v1:0","fallbacks":["openai/gpt-5"]},
                {"name":"wide","backend":"aws","model":"bedrock/amazon.nova-lite-v1:0",
                    "context_window_fallbacks":["openai/gpt-5"]}]}"#;
        let plan = Plan::compile(json, &Environment::default()).unwrap();
        let speaks = |backend: &Backend, model: dialect::Model<'_>| {
            backend.upstream(Client::OpenAi, model.base()).speaks(Client::OpenAi)
        };
        for (model, leads) in [
            ("bedrock/amazon.nova-lite-v1:0", false),
            ("openai/gpt-5", true),
            ("two", true),
            ("held", true),
            ("wide", true),
            ("nobody's", false),
        ] {
            assert_eq!(plan.may_lead(model, speaks), leads, "{model}");
        }
    }
}
