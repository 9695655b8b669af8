//! A chat completion request on its way to an upstream of the same dialect: its top edited, the rest as it came.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::edition::{Edition, family};
use super::fields::DEFAULTS;
use super::{fates, foreign};
use crate::base::error::{Error, Kind};
use crate::base::json::{self, Fields, Writer, wrong_type};
use crate::chat::LeftOut;
use crate::dialect::fates::{Fate, Given};
use crate::dialect::{Client, Model, extra, fates as settled, relay};

/// Edits the top of a request: the model, what the edition does not take, and the token counts, which are asked
/// for in any case. Gives what becomes of the fields that were given.
///
/// # Errors
/// What the edition has no place for, named by its path.
pub fn pass(
    edition: Edition,
    body: &relay::Body<'_>,
    model: Model<'_>,
    out: &mut Vec<u8>,
) -> Result<Vec<Given>, Error> {
    let more = extras(edition, body)?;
    let table = fates::fates(edition, Client::OpenAi);
    let takes = |name: &str| match table.iter().find(|(known, _)| *known == name) {
        Some((_, Fate::Mapped(_))) => true,
        Some((_, Fate::Dropped | Fate::Refused(_))) => false,
        // OpenAI adds fields, and servers of open models have their own; a refusal names one that they do not
        // know.
        None => name != EXTRA && !settled::OURS.contains(&name),
    };
    let says = |(name, value): &(&str, &RawValue)| !DEFAULTS.contains(&(*name, value.get()));
    let names = body.given().filter(says).map(|(name, _)| name).filter(|name| *name != EXTRA);
    let mut given = settled::settle(names, table)?;
    for field in given.iter_mut().filter(|field| field.fate == Fate::Dropped && takes(&field.path)) {
        field.fate = AS_IT_IS;
    }
    given.extend(
        more.0.iter().map(|(name, _)| Given {
            path: Cow::Owned(format!("{EXTRA}.{}", name.as_str())),
            fate: AS_IT_IS,
        }),
    );
    let counts = body.stream && edition.asks_for_usage();
    let bound =
        body.get(OLD_BOUND).filter(|_| family(edition, model.base()).picks() && body.get(BOUND).is_none());
    let lists: Vec<(&'static str, &RawValue, Vec<&'static str>)> = ["messages", "tools"]
        .into_iter()
        .filter_map(|name| body.get(name).map(|list| (name, list)))
        .filter(|_| edition == Edition::OpenAi)
        .filter_map(|(name, list)| Some((name, list, foreign::found(list)?)))
        .collect();
    let keeps = |name: &str| {
        let is_ours = name == "model"
            || (counts && name == OPTIONS)
            || (bound.is_some() && name == OLD_BOUND)
            || lists.iter().any(|(list, _, _)| *list == name);
        takes(name) && !is_ours && more.0.iter().all(|(other, _)| other.as_str() != name)
    };
    body.write(out, keeps, |w| {
        w.key("model").string(model.name);
        for (name, list, _) in &lists {
            foreign::write_without(list, w.key(name));
        }
        if let Some(bound) = bound {
            w.key(BOUND).raw(bound);
        }
        if counts {
            w.key(OPTIONS).object(|w| write_options(body.get(OPTIONS), w));
        }
        for (name, value) in &more.0 {
            w.foreign_key(name.as_str()).raw(value);
        }
    });
    for (_, _, found) in lists {
        settled::also(&mut given, LeftOut(found));
    }
    Ok(given)
}

/// Whether a request asks for the token counts of its stream.
pub fn wants_usage(body: &relay::Body<'_>) -> bool {
    members(body.get(OPTIONS)).given().any(|(name, value)| name == COUNTS && value.get() == "true")
}

const AS_IT_IS: Fate = Fate::Mapped("as it is");
const EXTRA: &str = "extra";
/// OpenAI's models that reason refuse the older name: "Unsupported parameter: 'max_tokens' is not supported with
/// this model" (getcmd-dev/cmd#36).
const OLD_BOUND: &str = "max_tokens";
const BOUND: &str = "max_completion_tokens";
const OPTIONS: &str = "stream_options";
const COUNTS: &str = "include_usage";

fn members<'a>(object: Option<&'a RawValue>) -> Fields<'a> {
    object.and_then(|raw| json::read(raw.get()).ok()).unwrap_or_default()
}

fn write_options(given: Option<&RawValue>, w: &mut Writer<'_>) {
    w.key(COUNTS).bool(true);
    for (name, value) in members(given).given().filter(|(name, _)| *name != COUNTS) {
        w.foreign_key(name).raw(value);
    }
}

/// The members of `extra`, which belong to the top.
fn extras<'a>(edition: Edition, body: &relay::Body<'a>) -> Result<Fields<'a>, Error> {
    if let Some((name, _)) =
        body.given().find(|(name, _)| *name != EXTRA && extra::is_extra(name, extra::CHAT))
    {
        return Err(foreign_field(edition, name));
    }
    let Some(raw) = body.get(EXTRA) else { return Ok(Fields::default()) };
    let Ok(more) = json::read::<Fields<'a>>(raw.get()) else {
        return Err(Error::at(Kind::WrongType, EXTRA, &wrong_type(raw, "an object")));
    };
    let twice = |(index, (name, _)): (usize, &(json::Str<'_>, &RawValue))| {
        more.0.iter().take(index).any(|(known, _)| known == name)
    };
    if more.0.len() > extra::MOST_EXTRA || more.0.iter().enumerate().any(twice) {
        return Err(Error::at(Kind::WrongValue, EXTRA, "names a field twice, or too many"));
    }
    match more.0.iter().find(|(name, _)| !edition.own().contains(&name.as_str())) {
        Some((name, _)) => Err(foreign_field(edition, &format!("{EXTRA}.{}", name.as_str()))),
        None => Ok(more),
    }
}

fn foreign_field(edition: Edition, path: &str) -> Error {
    let problem =
        format!("is no field that {} takes from here; leave it out for this model", edition.company());
    Error::at(Kind::Unsupported, path, &problem)
}
