//! Which of the places of a model a request is written for.

use std::cell::{Cell, OnceCell};

use memchr::memmem;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Plan;
use super::caller::Caller;
use crate::base::error::{Error, Kind};
use crate::base::host::Host;
use crate::credential::Credential;
use crate::dialect::{Client, Model, relay};
use crate::policy::choice::Choice;
use crate::policy::resolve::MOST_TARGETS;
use crate::provider::Backend;

/// The backend of a request, and that backend's own name of the model.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Index of the backend in the plan.
    pub index: usize,
    pub backend: &'a Backend,
    pub model: &'a str,
    /// What the model is, where its name does not tell.
    pub family: Option<&'a str>,
    /// The name of the model that stands in for the one asked for.
    pub stands_in: Option<&'a str>,
    /// What the caller's requests go out with there.
    pub credential: &'a Credential,
}

/// One place after another, until one can take the request.
pub struct Aim<'p> {
    plan: &'p Plan,
    caller: &'p Caller,
    host: &'p dyn Host,
    wish: Wish,
    /// Known as soon as the model is.
    choices: OnceCell<Vec<Choice>>,
    at: Cell<usize>,
}

/// What a client says about the models that may stand in for the one it asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Instead of those of the configuration.
    pub fallbacks: Option<Vec<String>>,
    pub disable_fallbacks: bool,
}

impl Wish {
    /// Reads it from a body; what is wrong with the rest is somebody else's to say.
    fn read(client: Client, body: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Top<'a> {
            #[serde(borrow, default)]
            fallbacks: Option<&'a RawValue>,
            #[serde(borrow, default)]
            disable_fallbacks: Option<&'a RawValue>,
        }
        // Nearly no body has it, and a look is cheaper than another reading.
        if memmem::find(body, b"fallbacks\"").is_none() {
            return Ok(Self::default());
        }
        let Ok(Top { fallbacks, disable_fallbacks }) = serde_json::from_slice(body) else {
            return Ok(Self::default());
        };
        let fallbacks = match client {
            Client::OpenAi => {
                member::<Vec<String>>(fallbacks, "fallbacks", "must be a list of names of models")?
            }
            // It has a field of this name itself.
            Client::Anthropic => None,
        };
        if fallbacks.as_ref().is_some_and(|names| names.len() > MOST_TARGETS) {
            let problem = format!("names more than {MOST_TARGETS} models; no more are ever tried");
            return Err(Error::at(Kind::WrongValue, "fallbacks", &problem));
        }
        let disabled = member(disable_fallbacks, "disable_fallbacks", "must be true or false")?;
        Ok(Self { fallbacks, disable_fallbacks: disabled.unwrap_or_default() })
    }
}

fn member<T: DeserializeOwned>(
    raw: Option<&RawValue>,
    name: &str,
    problem: &str,
) -> Result<Option<T>, Error> {
    let wrong = |_| Error::at(Kind::WrongType, name, problem);
    raw.filter(|raw| raw.get() != "null")
        .map(|raw| serde_json::from_str(raw.get()).map_err(wrong))
        .transpose()
}

impl<'p> Aim<'p> {
    /// For a request that has just come.
    ///
    /// # Errors
    /// [`Kind::WrongType`] for what it says of models that may stand in.
    pub fn new(plan: &'p Plan, caller: &'p Caller, host: &'p dyn Host, body: &[u8]) -> Result<Self, Error> {
        let wish = Wish::read(caller.client(), body)?;
        Ok(Self { plan, caller, host, wish, choices: OnceCell::new(), at: Cell::new(0) })
    }

    /// For a request whose place is known.
    pub fn at(plan: &'p Plan, caller: &'p Caller, host: &'p dyn Host, choice: Choice) -> Self {
        let choices = OnceCell::from(vec![choice]);
        Self { plan, caller, host, wish: Wish::default(), choices, at: Cell::new(0) }
    }

    pub fn plan(&self) -> &'p Plan {
        self.plan
    }

    pub fn caller(&self) -> &'p Caller {
        self.caller
    }

    /// Where the request goes that asks for this model.
    ///
    /// # Errors
    /// Those of [`Plan::choose`].
    pub fn find(&self, asked: &str) -> Result<Target<'_>, Error> {
        let choices = match self.choices.get() {
            Some(choices) => choices,
            None => {
                let choices = self.plan.choose(self.caller, self.host, asked, &self.wish)?;
                self.choices.get_or_init(|| choices)
            }
        };
        let none = || Error::new(Kind::Internal, "there is no place left where the request could go");
        self.target(choices.get(self.at.get()).ok_or_else(none)?)
    }

    fn target<'c>(&'c self, choice: &'c Choice) -> Result<Target<'c>, Error> {
        let backend = self.plan.backend(choice.backend)?;
        Ok(Target {
            index: choice.backend,
            backend,
            credential: backend.credential(self.caller.own_team()),
            model: &choice.model,
            family: choice.family.as_deref(),
            stands_in: choice.stands_in.as_deref(),
        })
    }

    /// Whether a body that nobody has read may go to a place that passes a test: a glance, which finds nearly always
    /// that splitting the body first would be in vain. `true` also where it cannot tell.
    pub fn may_lead(&self, body: &[u8], passes: impl Fn(&Backend, Model<'_>) -> bool) -> bool {
        if let Some(choices) = self.choices.get() {
            let target = choices.get(self.at.get()).and_then(|choice| self.target(choice).ok());
            return target.is_some_and(|target| {
                passes(target.backend, Model { name: target.model, family: target.family })
            });
        }
        if self.wish.fallbacks.is_some() {
            return true;
        }
        relay::models(body)
            .is_none_or(|names| names.iter().any(|name| self.plan.may_lead(name.as_str(), &passes)))
    }

    /// Whether the place is one for requests that are too long for others.
    pub fn is_wider(&self) -> bool {
        self.choices.get().and_then(|choices| choices.get(self.at.get())).is_some_and(|choice| choice.wider)
    }

    /// Goes on to the next place that fits; `false`: there is none.
    pub fn next(&self, fits: impl Fn(&Choice) -> bool) -> bool {
        let choices = self.choices.get().map_or(&[][..], Vec::as_slice);
        let from = self.at.get().saturating_add(1);
        let next = choices.iter().enumerate().skip(from).find(|(_, choice)| fits(choice));
        if let Some((next, _)) = next {
            self.at.set(next);
        }
        next.is_some()
    }

    /// The places that are left, the one first for which the request was written.
    pub fn into_choices(self) -> Vec<Choice> {
        let mut choices = self.choices.into_inner().unwrap_or_default();
        choices.drain(..self.at.get().min(choices.len()));
        choices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_from_anywhere_in_the_body() {
        let body = br#"{"model":"m","messages":[{"content":"\"fallbacks\""}],"disable_fallbacks":true}"#;
        assert_eq!(Wish::read(Client::OpenAi, body), Ok(Wish { fallbacks: None, disable_fallbacks: true }));
        let body = br#"{"fallbacks":["a","b"],"model":"m"}"#;
        let fallbacks = Some(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(Wish::read(Client::OpenAi, body), Ok(Wish { fallbacks, disable_fallbacks: false }));
        assert_eq!(Wish::read(Client::Anthropic, body), Ok(Wish::default()), "Anthropic's own");
        assert_eq!(Wish::read(Client::OpenAi, br#"{"model":"m"}"#), Ok(Wish::default()));
        let wrong = Wish::read(Client::OpenAi, br#"{"fallbacks":"a"}"#).unwrap_err();
        assert_eq!((wrong.kind, wrong.param.as_deref()), (Kind::WrongType, Some("fallbacks")));
    }
}
