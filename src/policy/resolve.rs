//! From the model name a client asks for to the backends that have it, and their own names of it.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::limits;
use super::quota::{Limits, Scope};
use crate::base::error::{Error, Kind};
use crate::config::{self, Model, Problems, Provider};

/// How many targets a request may have, those of the models that stand in among them. Each is a try, and a client
/// waits for all of them.
pub const MOST_TARGETS: usize = 16;

/// The longest name that a model may have at its cloud, in bytes: that of `ConversationalModelId` in Bedrock's service
/// model. Names are remembered, with their prices for one, and under a pattern they are a client's.
const LONGEST_NAME: usize = 2048;

/// The compiled `models` list. An exact name wins over a pattern, a longer pattern over a shorter one.
#[derive(Debug, Default)]
pub struct Rules {
    /// A request looks its model up several times; comparing some names is quicker than hashing one.
    exact: BTreeMap<String, Rule>,
    /// Prefixes that a trailing `*` left, the longest first.
    prefixes: Vec<(String, Rule)>,
    /// All names and patterns as they are written, each with its provider's name.
    names: Vec<(String, &'static str)>,
    /// For rules that have no fallbacks of their own.
    default_fallbacks: Vec<String>,
}

#[derive(Debug)]
struct Rule {
    /// The name or pattern as the operator wrote it.
    label: String,
    /// At least one.
    places: Vec<Place>,
    fallbacks: Option<Vec<String>>,
    context_window: Option<u64>,
    context_window_fallbacks: Vec<String>,
    /// Limits of everyone together.
    scope: Option<Rc<Scope>>,
}

/// A backend, as a rule names it.
#[derive(Debug)]
struct Place {
    /// Index of the backend.
    backend: usize,
    /// Prefix that names the backend's provider, such as `bedrock/`.
    provider: &'static str,
    /// What to ask for instead, without the provider's prefix.
    model: Option<String>,
    /// What the model is, where its name does not tell.
    family: Option<String>,
    order: u32,
    weight: u32,
}

/// Where a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Index of the backend.
    pub backend: usize,
    /// Prefix that names the backend's provider, such as `bedrock/`.
    pub provider: &'static str,
    /// The provider's own name of the model.
    pub model: &'a str,
    /// The provider's name, as clients know it.
    pub owner: &'static str,
    /// What the model is, where its name does not tell.
    pub family: Option<&'a str>,
    /// Those of the lowest number go first.
    pub order: u32,
    /// How often it goes first among those of its order.
    pub weight: u32,
}

impl Rules {
    /// Compiles the lists. `backends` are names and providers, in the order of their indices.
    pub fn compile(
        models: &[Model],
        default_fallbacks: &[String],
        backends: &[(&str, Provider)],
        problems: &mut Problems,
    ) -> Self {
        let mut rules = Self { default_fallbacks: default_fallbacks.to_vec(), ..Self::default() };
        if models.is_empty() {
            problems.add(
                "models",
                "is empty; name at least one, such as {\"name\": \"bedrock/*\", \"backend\": \"…\"}",
            );
        }
        for (index, model) in models.iter().enumerate() {
            let path = format!("models[{index}]");
            let Some(rule) = Rule::compile(model, &path, backends, problems) else { continue };
            rules.names.push((model.name.clone(), rule.owner()));
            let at = format!("{path}.name");
            match model.name.strip_suffix('*') {
                Some(rest) if rest.contains('*') => {
                    problems.add(&at, "may have one `*`, at its end");
                }
                Some(rest) => {
                    if rules.prefixes.iter().any(|(known, _)| known == rest) {
                        problems.add(&at, "is the pattern of another rule too; remove one of them");
                    }
                    rules.prefixes.push((rest.to_owned(), rule));
                }
                None if model.name.is_empty() || model.name.contains('*') => {
                    problems.add(&at, "must be a name, or end in its one `*`");
                }
                None => {
                    if rules.exact.insert(model.name.clone(), rule).is_some() {
                        problems.add(&at, "is the name of another rule too; remove one of them");
                    }
                }
            }
        }
        rules.prefixes.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then(a.cmp(b)));
        for (index, name) in default_fallbacks.iter().enumerate() {
            rules.must_lead_somewhere(name, &format!("default_fallbacks[{index}]"), problems);
        }
        for (index, model) in models.iter().enumerate() {
            let lists = [
                ("fallbacks", model.fallbacks.as_deref().unwrap_or_default()),
                ("context_window_fallbacks", model.context_window_fallbacks.as_slice()),
            ];
            for (list, names) in lists {
                for (at, name) in names.iter().enumerate() {
                    rules.must_lead_somewhere(name, &format!("models[{index}].{list}[{at}]"), problems);
                }
            }
        }
        rules
    }

    fn must_lead_somewhere(&self, name: &str, path: &str, problems: &mut Problems) {
        if let Err(error) = self.targets(name) {
            let problem = error.message.strip_prefix("model: ").unwrap_or(&error.message);
            problems.add(path, problem);
        }
    }

    /// The rule that matches a name, as the operator wrote it.
    pub fn label(&self, asked: &str) -> Option<&str> {
        self.rule(asked).map(|rule| rule.label.as_str())
    }

    /// The limits that everyone has together of what the rule for a name matches.
    pub fn scope(&self, asked: &str) -> Option<&Rc<Scope>> {
        self.rule(asked)?.scope.as_ref()
    }

    /// All such limits, each with its name or pattern, in the order in which they are written.
    pub fn scopes(&self) -> impl Iterator<Item = (&str, &Rc<Scope>)> {
        self.names.iter().filter_map(|(name, _)| {
            let prefix = |rest| self.prefixes.iter().find(|(known, _)| known == rest).map(|(_, rule)| rule);
            let rule = name.strip_suffix('*').map_or_else(|| self.exact.get(name), prefix)?;
            Some((name.as_str(), rule.scope.as_ref()?))
        })
    }

    fn rule(&self, asked: &str) -> Option<&Rule> {
        self.exact.get(asked).or_else(|| {
            let (_, rule) = self.prefixes.iter().find(|(prefix, _)| asked.starts_with(prefix.as_str()))?;
            Some(rule)
        })
    }

    /// All names and patterns, in the order in which they are written, each with its provider's name.
    pub fn names(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.names.iter().map(|(name, owner)| (name.as_str(), *owner))
    }

    /// The models that stand in for `asked`: when all its targets have failed, and when a request is too long for it.
    pub fn stand_ins(&self, asked: &str) -> (&[String], &[String]) {
        let rule = self.rule(asked);
        let own = rule.and_then(|rule| rule.fallbacks.as_ref());
        let wider = rule.map_or(&[][..], |rule| &rule.context_window_fallbacks);
        (own.unwrap_or(&self.default_fallbacks), wider)
    }

    /// How many tokens `asked` takes, if the operator has written it down.
    pub fn context_window(&self, asked: &str) -> Option<u64> {
        self.rule(asked)?.context_window
    }

    /// Finds where `asked` goes, as the operator has written it: the first target.
    ///
    /// # Errors
    /// Those of [`Rules::targets`].
    pub fn find<'a>(&'a self, asked: &'a str) -> Result<Target<'a>, Error> {
        self.targets(asked)?.next().ok_or_else(unknown)
    }

    /// All the places where `asked` may go, in the order in which they are written.
    ///
    /// # Errors
    /// [`Kind::UnknownModel`] when no rule matches, the name ends where the model should stand, or it is too long.
    pub fn targets<'a>(&'a self, asked: &'a str) -> Result<impl Iterator<Item = Target<'a>>, Error> {
        let rule = self.rule(asked).ok_or_else(unknown)?;
        let target = move |place: &'a Place| Target {
            backend: place.backend,
            provider: place.provider,
            model: match &place.model {
                Some(model) => model.as_str(),
                None => asked.strip_prefix(place.provider).unwrap_or(asked),
            },
            owner: place.owner(),
            family: place.family.as_deref(),
            order: place.order,
            weight: place.weight,
        };
        let is_none = |target: Target<'_>| target.model.is_empty() || target.model.len() > LONGEST_NAME;
        if rule.places.iter().map(target).any(is_none) {
            return Err(unknown());
        }
        Ok(rule.places.iter().map(target))
    }
}

fn unknown() -> Error {
    Error::at(
        Kind::UnknownModel,
        "model",
        "is not a model of this gateway; names start with the cloud's prefix, such as `bedrock/` or \
         `vertex_ai/`, or are listed in its configuration",
    )
}

impl Rule {
    fn compile(
        model: &Model,
        path: &str,
        backends: &[(&str, Provider)],
        problems: &mut Problems,
    ) -> Option<Self> {
        let mut places = Vec::new();
        match (&model.backend, model.targets.as_slice()) {
            (None, []) => {
                problems
                    .add(&format!("{path}.backend"), "is missing; name one of `backends`, or list `targets`");
            }
            (Some(backend), []) => {
                let only = config::Target {
                    backend: backend.clone(),
                    model: model.model.clone(),
                    family: model.family.clone(),
                    order: None,
                    weight: None,
                };
                places.extend(Place::compile(&only, path, backends, problems));
            }
            (backend, targets) => {
                let beside = [
                    ("backend", backend.is_some()),
                    ("model", model.model.is_some()),
                    ("family", model.family.is_some()),
                ];
                for (field, _) in beside.iter().filter(|(_, given)| *given) {
                    problems
                        .add(&format!("{path}.{field}"), "stands beside `targets`; write it in each of them");
                }
                if targets.len() > MOST_TARGETS {
                    problems.add(&format!("{path}.targets"), format!("has more than {MOST_TARGETS} targets"));
                }
                for (index, target) in targets.iter().enumerate() {
                    places.extend(Place::compile(
                        target,
                        &format!("{path}.targets[{index}]"),
                        backends,
                        problems,
                    ));
                }
                if targets.iter().all(|target| target.weight == Some(0)) {
                    problems.add(&format!("{path}.targets"), "all have the weight 0; one must go first");
                }
            }
        }
        if model.context_window == Some(0) {
            problems.add(&format!("{path}.context_window"), "is zero; leave it out where it is not known");
        }
        let limits = limits::compile(&model.limits, &format!("{path}.limits"), problems);
        let scope = (limits != Limits::default())
            .then(|| Rc::new(Scope::new("model", &model.name, format!("model {}", model.name), limits)));
        let rule = Self {
            label: model.name.clone(),
            places,
            scope,
            fallbacks: model.fallbacks.clone(),
            context_window: model.context_window,
            context_window_fallbacks: model.context_window_fallbacks.clone(),
        };
        (!rule.places.is_empty()).then_some(rule)
    }

    /// The name of the first backend's provider, as clients know it.
    fn owner(&self) -> &'static str {
        self.places.first().map_or("", Place::owner)
    }
}

impl Place {
    fn compile(
        written: &config::Target,
        path: &str,
        backends: &[(&str, Provider)],
        problems: &mut Problems,
    ) -> Option<Self> {
        let at = |field: &str| format!("{path}.{field}");
        let Some(backend) = backends.iter().position(|(name, _)| *name == written.backend) else {
            let known: Vec<&str> = backends.iter().map(|(name, _)| *name).collect();
            problems.add(&at("backend"), format!("is none of `backends` ({})", known.join(", ")));
            return None;
        };
        let provider = backends.get(backend).map_or("", |(_, provider)| provider.prefix());
        let name = written.model.as_deref().map(|name| name.strip_prefix(provider).unwrap_or(name));
        if name.is_some_and(|name| name.is_empty() || name.contains('*')) {
            problems.add(&at("model"), "must be one model, such as `bedrock/us.amazon.nova-lite-v1:0`");
        }
        // Behind its own prefix a cloud may have models of other makers: `vertex_ai/openai/gpt-oss-20b-maas`.
        let bare = name.filter(|name| written.model.as_deref() == Some(*name));
        let foreign = |other: &&Provider| bare.is_some_and(|name| name.starts_with(other.prefix()));
        if let Some(other) = Provider::ALL.iter().find(foreign) {
            let problem =
                format!("is a model of `{}`; this backend's start with `{provider}`", other.prefix());
            problems.add(&at("model"), problem);
        }
        Some(Self {
            backend,
            provider,
            model: name.map(str::to_owned),
            family: written.family.clone(),
            order: written.order.unwrap_or(1),
            weight: written.weight.unwrap_or(1),
        })
    }

    /// The name of the backend's provider, as clients know it.
    fn owner(&self) -> &'static str {
        self.provider.trim_end_matches('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKENDS: &[(&str, Provider)] = &[("aws", Provider::Bedrock), ("gcp", Provider::Vertex)];

    fn rules(json: &str) -> (Rules, Problems) {
        let models: Vec<Model> = serde_json::from_str(json).unwrap();
        let mut problems = Problems::default();
        let rules = Rules::compile(&models, &[], BACKENDS, &mut problems);
        (rules, problems)
    }

    #[test]
    fn the_exact_name_wins_and_then_the_longest_pattern() {
        let (rules, problems) = rules(
            r#"[{"name":"*","backend":"gcp"},{"name":"bedrock/*","backend":"aws"},
                {"name":"bedrock/eu.*","backend":"gcp"},
                {"name":"fast","backend":"aws","model":"bedrock/us.amazon.nova-lite-v1:0"}]"#,
        );
        assert_eq!(problems, Problems::default());
        let find = |name| rules.find(name).map(|target| (target.backend, target.model.to_owned()));
        assert_eq!(find("bedrock/us.x"), Ok((0, "us.x".to_owned())));
        assert_eq!(find("bedrock/eu.x"), Ok((1, "bedrock/eu.x".to_owned())));
        assert_eq!(find("fast"), Ok((0, "us.amazon.nova-lite-v1:0".to_owned())));
        assert_eq!(find("vertex_ai/gemini"), Ok((1, "gemini".to_owned())));
    }

    #[test]
    fn a_prefix_ends_at_its_slash() {
        let (rules, _) = rules(r#"[{"name":"bedrock/*","backend":"aws"}]"#);
        for name in ["bedrockz/x", "bedrock", "bedrock/", "", "Bedrock/x"] {
            assert_eq!(rules.find(name).unwrap_err().kind, Kind::UnknownModel, "{name}");
        }
    }

    #[test]
    fn a_name_longer_than_any_models_is_unknown() {
        let (rules, _) = rules(r#"[{"name":"bedrock/*","backend":"aws"}]"#);
        let named = |length| format!("bedrock/{}", "x".repeat(length));
        assert!(rules.find(&named(LONGEST_NAME)).is_ok());
        assert_eq!(rules.find(&named(LONGEST_NAME + 1)).unwrap_err().kind, Kind::UnknownModel);
    }

    #[test]
    fn rules_that_match_alike_or_lead_nowhere_are_refused_by_path() {
        let (_, problems) = rules(
            r#"[{"name":"a*","backend":"aws"},{"name":"a*","backend":"gcp"},{"name":"b","backend":"aws"},
                {"name":"b","backend":"aws"},{"name":"c","backend":"azure"},{"name":"*d*","backend":"aws"},
                {"name":"e*f","backend":"aws"},{"name":"g","backend":"aws","model":"bedrock/*"}]"#,
        );
        let paths: Vec<&str> = problems.0.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "models[1].name",
                "models[3].name",
                "models[4].backend",
                "models[5].name",
                "models[6].name",
                "models[7].model"
            ]
        );
    }
}
