//! What a client says to the cloud itself, in the cloud's own words.
//!
//! Two spellings: members of the object `extra`, and a few fields that clients already send at the top of
//! a request because other gateways read them there.

use crate::base::error::{Error, Kind};
use crate::base::json::{self, Fields, wrong_type};
use crate::chat::Extra;

/// The object whose members are meant for the cloud.
const EXTRA: &str = "extra";

/// Fields of the clouds that stand at the top of a request.
const AT_TOP: &[&str] = &[
    "guardrailConfig",
    "performanceConfig",
    "requestMetadata",
    "promptVariables",
    "safety_settings",
    "safetySettings",
    "labels",
    "cached_content",
    "cachedContent",
];

/// How many fields a request may say to the cloud; each is looked for in a list.
pub const MOST_EXTRA: usize = 64;

/// Whether a top-level field belongs here.
pub fn is_extra(name: &str) -> bool {
    name == EXTRA || AT_TOP.contains(&name)
}

/// Gathers what is said to the cloud from the members that a client's dialect does not know.
///
/// # Errors
/// When `extra` is no object, or says too much.
pub fn collect<'a>(other: &Fields<'a>) -> Result<Vec<Extra<'a>>, Error> {
    let mut all = Vec::new();
    for (name, value) in &other.0 {
        if value.get() == "null" {
            continue;
        }
        if name.as_str() == EXTRA {
            let Ok(members) = json::read::<Fields<'a>>(value.get()) else {
                return Err(Error::at(Kind::WrongType, EXTRA, &wrong_type(value, "an object")));
            };
            for (name, value) in members.0 {
                all.push(Extra { path: format!("{EXTRA}.{}", name.as_str()), name, value });
            }
        } else if AT_TOP.contains(&name.as_str()) {
            all.push(Extra { path: name.as_str().to_owned(), name: name.clone(), value });
        }
    }
    if all.len() > MOST_EXTRA {
        let problem = format!("says more than {MOST_EXTRA} things to the cloud");
        return Err(Error::at(Kind::WrongValue, EXTRA, &problem));
    }
    Ok(all)
}

/// The refusal of a field that an upstream has no place for: leaving it out would change the meaning.
pub fn refusal(extra: &Extra<'_>, upstream: &str) -> Error {
    let problem = format!("is no field that {upstream} takes from here; leave it out for this model");
    Error::at(Kind::Unsupported, extra.path.clone(), &problem)
}
