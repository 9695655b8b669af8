//! From the model name a client asks for to a backend and that backend's own name of the model.

use std::collections::HashMap;
use std::rc::Rc;

use super::limits;
use super::quota::{Limits, Scope};
use crate::base::error::{Error, Kind};
use crate::config::{Model, Problems, Provider};

/// The compiled `models` list. An exact name wins over a pattern, a longer pattern over a shorter one.
#[derive(Debug, Default)]
pub struct Rules {
    exact: HashMap<String, Rule>,
    /// Prefixes that a trailing `*` left, the longest first.
    prefixes: Vec<(String, Rule)>,
    /// All names and patterns as they are written, each with its provider's name.
    names: Vec<(String, &'static str)>,
}

#[derive(Debug)]
struct Rule {
    /// The name or pattern as the operator wrote it.
    label: String,
    /// Index of the backend.
    backend: usize,
    /// Prefix that names the backend's provider, such as `bedrock/`.
    provider: &'static str,
    /// What to ask for instead, without the provider's prefix.
    model: Option<String>,
    /// What the model is, where its name does not tell.
    family: Option<String>,
    /// Limits of everyone together.
    scope: Option<Rc<Scope>>,
}

impl Rule {
    /// The name of the backend's provider, as clients know it.
    fn owner(&self) -> &'static str {
        self.provider.trim_end_matches('/')
    }
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
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
}

impl Rules {
    /// Compiles the list. `backends` are names and providers, in the order of their indices.
    pub fn compile(models: &[Model], backends: &[(&str, Provider)], problems: &mut Problems) -> Self {
        let mut rules = Self::default();
        if models.is_empty() {
            problems.add(
                "models",
                "is empty; name at least one, such as {\"name\": \"bedrock/*\", \"backend\": \"…\"}",
            );
        }
        for (index, model) in models.iter().enumerate() {
            let at = |field: &str| format!("models[{index}].{field}");
            let Some(backend) = backends.iter().position(|(name, _)| *name == model.backend) else {
                let known: Vec<&str> = backends.iter().map(|(name, _)| *name).collect();
                problems.add(&at("backend"), format!("is none of `backends` ({})", known.join(", ")));
                continue;
            };
            let provider = backends.get(backend).map_or("", |(_, provider)| provider.prefix());
            let name = model.model.as_deref().map(|name| name.strip_prefix(provider).unwrap_or(name));
            if name.is_some_and(|name| name.is_empty() || name.contains('*')) {
                problems.add(&at("model"), "must be one model, such as `bedrock/us.amazon.nova-lite-v1:0`");
            }
            // Behind its own prefix a cloud may have models of other makers: `vertex_ai/openai/gpt-oss-20b-maas`.
            let bare = name.filter(|name| model.model.as_deref() == Some(*name));
            let foreign = |other: &&Provider| bare.is_some_and(|name| name.starts_with(other.prefix()));
            if let Some(other) = Provider::ALL.iter().find(foreign) {
                let problem =
                    format!("is a model of `{}`; this backend's start with `{provider}`", other.prefix());
                problems.add(&at("model"), problem);
            }
            let limits = limits::compile(&model.limits, &at("limits"), problems);
            let scope = (limits != Limits::default())
                .then(|| Rc::new(Scope::new("model", &model.name, format!("model {}", model.name), limits)));
            let rule = Rule {
                label: model.name.clone(),
                backend,
                provider,
                model: name.map(str::to_owned),
                family: model.family.clone(),
                scope,
            };
            rules.names.push((model.name.clone(), rule.owner()));
            match model.name.strip_suffix('*') {
                Some(rest) if rest.contains('*') => {
                    problems.add(&at("name"), "may have one `*`, at its end");
                }
                Some(rest) => {
                    if rules.prefixes.iter().any(|(known, _)| known == rest) {
                        problems.add(&at("name"), "is the pattern of another rule too; remove one of them");
                    }
                    rules.prefixes.push((rest.to_owned(), rule));
                }
                None if model.name.is_empty() || model.name.contains('*') => {
                    problems.add(&at("name"), "must be a name, or end in its one `*`");
                }
                None => {
                    if rules.exact.insert(model.name.clone(), rule).is_some() {
                        problems.add(&at("name"), "is the name of another rule too; remove one of them");
                    }
                }
            }
        }
        rules.prefixes.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then(a.cmp(b)));
        rules
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

    /// Finds where `asked` goes.
    ///
    /// # Errors
    /// [`Kind::UnknownModel`] when no rule matches, or the name ends where the model should stand.
    pub fn find<'a>(&'a self, asked: &'a str) -> Result<Target<'a>, Error> {
        let rule = self.rule(asked);
        let model = rule.map(|rule| match &rule.model {
            Some(model) => model.as_str(),
            None => asked.strip_prefix(rule.provider).unwrap_or(asked),
        });
        match (rule, model) {
            (Some(rule), Some(model)) if !model.is_empty() => {
                let (owner, family) = (rule.owner(), rule.family.as_deref());
                Ok(Target { backend: rule.backend, provider: rule.provider, model, owner, family })
            }
            _ => Err(Error::at(
                Kind::UnknownModel,
                "model",
                "is not a model of this gateway; names start with the cloud's prefix, such as `bedrock/` or \
                 `vertex_ai/`, or are listed in its configuration",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKENDS: &[(&str, Provider)] = &[("aws", Provider::Bedrock), ("gcp", Provider::Vertex)];

    fn rules(json: &str) -> (Rules, Problems) {
        let models: Vec<Model> = serde_json::from_str(json).unwrap();
        let mut problems = Problems::default();
        let rules = Rules::compile(&models, BACKENDS, &mut problems);
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
