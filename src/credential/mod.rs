//! The right to call a cloud: what it is, where it is fetched, and how it stays fresh.

pub mod aws;
pub mod clock;
mod form;
pub mod google;
mod hidden;
pub mod sigv4;
mod slot;
pub mod source;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::rc::Rc;
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::base::error::Error;
use crate::base::headers::Headers;
use crate::base::host::{Callout, Host};
use crate::config::credentials::Credentials;
use crate::config::teams::Team;
use crate::config::{Environment, Problems, Secret, superfluous};
use clock::Clock;
pub use source::Source;

/// What a source hands out. Its memory is wiped when it goes.
pub enum Grant {
    /// Keys that requests to AWS are signed with.
    Keys(sigv4::Credentials),
    /// Goes into requests as it is, behind `Bearer`.
    Token(Zeroizing<String>),
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Grant::Keys(keys) => keys.fmt(f),
            Grant::Token(_) => f.write_str("(secret)"),
        }
    }
}

/// The right to call a backend.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Written in the configuration, or in Envoy's environment.
    Fixed(Rc<Grant>),
    /// Fetched, and fetched again before it ends.
    Fetched(Rc<Source>),
}

impl Credential {
    /// What is there now; `None`: it is on its way.
    ///
    /// # Errors
    /// [`crate::base::error::Kind::NoCredentials`] when there are none, and none could be fetched lately.
    pub fn grant(&self, host: &dyn Host) -> Result<Option<Rc<Grant>>, Error> {
        match self {
            Credential::Fixed(grant) => Ok(Some(Rc::clone(grant))),
            Credential::Fetched(source) => source.grant(host),
        }
    }

    /// Where it is fetched, if it is.
    pub fn source(&self) -> Option<&Rc<Source>> {
        match self {
            Credential::Fixed(_) => None,
            Credential::Fetched(source) => Some(source),
        }
    }
}

/// For whom credentials are compiled, and from what besides what is written about them.
pub struct Shop<'a> {
    /// The name of the backend.
    pub backend: &'a str,
    pub environment: &'a Environment,
    pub clock: &'a Rc<Clock>,
    /// All teams, by their names.
    pub teams: &'a BTreeMap<String, Team>,
    pub sources: &'a Sources,
}

/// The sources of a plan, by their keys: what several backends would fetch alike is one source, and who asks any of
/// them for it asks that.
#[derive(Debug, Default)]
pub struct Sources(RefCell<HashMap<String, Rc<Source>>>);

impl Shop<'_> {
    /// A source for the backend itself (`eager`: it is fetched before somebody asks), or for one of its teams, who may
    /// never ask.
    fn source(&self, recipe: source::Recipe, eager: bool) -> Credential {
        let source = Rc::new(Source::new(recipe, self.backend, self.clock));
        let mut known = self.sources.0.borrow_mut();
        let source = known.entry(source.key().to_owned()).or_insert(source);
        if eager {
            source.hurry();
        }
        Credential::Fetched(Rc::clone(source))
    }
}

/// A key that goes into requests as it is.
pub fn api_key(
    written: &Credentials,
    owner: &str,
    environment: &Environment,
    path: &str,
    problems: &mut Problems,
) -> Option<Credential> {
    let others: Vec<(&str, bool)> =
        written.given().into_iter().filter(|(name, _)| *name != "api_key").collect();
    superfluous(&others, path, owner, problems);
    let path = format!("{path}.api_key");
    let Some(secret) = &written.api_key else {
        problems
            .add(&path, "is missing; write it, or {\"env\": \"NAME\"} to take it from Envoy's environment");
        return None;
    };
    token(secret, environment, &path, problems)
}

/// A key that goes into requests as it is, wherever it is written.
fn token(
    secret: &Secret,
    environment: &Environment,
    path: &str,
    problems: &mut Problems,
) -> Option<Credential> {
    let key = secret.resolve(environment, path, problems)?;
    // What cannot stand in a header would make Envoy drop the whole request.
    if !is_token(&key) {
        problems.add(path, "must be a key: letters, digits and marks, without blanks or line ends");
        return None;
    }
    Some(Credential::Fixed(Rc::new(Grant::Token(key))))
}

/// One step on the way to a credential: a call, and what is taken from its answer.
pub trait Step: fmt::Debug {
    /// What an operator reads when it fails, such as `AssumeRole of arn:aws:iam::123456789012:role/x`. No secret.
    fn name(&self) -> String;

    /// The call to make. `None`: there is nothing to ask, and all was done in `carry`. It is asked for once more
    /// when the clock turns out to have been wrong, so what it is made of stays in `carry`.
    ///
    /// # Errors
    /// What the step before did not bring, or what cannot be signed.
    fn call(&self, carry: &mut Carry, now: SystemTime) -> Result<Option<Callout>, Problem>;

    /// Takes what the next step goes on with from the answer. Leaves `carry` alone when there is nothing to take.
    ///
    /// # Errors
    /// Why it is none.
    fn read(&self, carry: &mut Carry, answer: &Answer<'_>, now: SystemTime) -> Result<(), Problem>;
}

/// The answer to a step's call.
pub struct Answer<'a> {
    pub status: u16,
    pub headers: &'a Headers,
    pub body: &'a [u8],
}

/// What the steps hand on to each other.
#[derive(Default)]
pub struct Carry {
    /// A text that opens the next step: a session token, a projected token.
    pub text: Zeroizing<String>,
    /// The name of a role.
    pub name: String,
    /// The last one is what the source gives.
    pub grant: Option<Rc<Grant>>,
    /// Its end.
    pub expires: Option<SystemTime>,
}

/// Why a step has failed, for the operator: words without a value of the answer's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The label of its metric.
    pub outcome: Outcome,
    /// Stand behind the step's name, as in `answered 403 AccessDenied`.
    pub words: String,
}

/// How a fetch has ended, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Ok,
    /// No answer.
    Unreachable,
    /// A status from 400 on: somebody has to change something.
    Refused,
    /// What the first step began with was refused: it has ended, or is not known any more.
    Stale,
    /// A status from 500 on, or too many calls.
    Failed,
    /// An answer that is none.
    Garbled,
}

impl Outcome {
    pub const fn label(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Unreachable => "unreachable",
            Outcome::Refused | Outcome::Stale => "refused",
            Outcome::Failed => "failed",
            Outcome::Garbled => "garbled",
        }
    }
}

impl Problem {
    /// The answer is not what it should be. `what` it lacks stands behind `answered`.
    pub fn garbled(what: &str) -> Self {
        Self { outcome: Outcome::Garbled, words: format!("answered {what}") }
    }

    /// The answer is an error. `code` is the service's own word for it, as it came.
    pub fn status(status: u16, code: Option<&str>) -> Self {
        // What a strange service writes there must not fill the log, and no token is so short.
        const LONGEST: usize = 48;
        let sound = |code: &&str| {
            code.len() <= LONGEST
                && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let code = code.filter(sound).map(|code| format!(" ({code})")).unwrap_or_default();
        let outcome =
            if (400..500).contains(&status) && status != 429 { Outcome::Refused } else { Outcome::Failed };
        Self { outcome, words: format!("answered {status}{code}") }
    }
}

/// AWS takes web identity tokens of up to so many characters (`clientTokenType` of its STS); no other token comes near.
const LONGEST: usize = 20_000;

/// Whether something can be a token or a key, and stand in a header as it is.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic())
}
