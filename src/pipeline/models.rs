//! The models that a client may ask for: the names of the configuration's rules, listed or looked up.

use percent_encoding::percent_decode_str;

use super::Plan;
use super::caller::Caller;
use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::host::Reply;
use crate::base::json::Writer;
use crate::dialect::Client;
use crate::dialect::models::{Model, Page};

/// Whether a path is one of ours.
pub fn is_models(path: &str) -> bool {
    id(path).is_some()
}

/// Who asks: Anthropic's SDKs and Claude Code say which version of its API they mean, and no others do.
pub fn client(headers: &Headers) -> Client {
    if headers.get("anthropic-version").is_some() { Client::Anthropic } else { Client::OpenAi }
}

/// Answers a request for the list or for one model. `target` is path and query.
pub fn answer(plan: &Plan, caller: &Caller, method: &str, target: &str) -> Reply {
    let client = caller.client();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let result = match (method, id(path)) {
        ("GET" | "HEAD", None | Some("")) => list(plan, caller, query),
        ("GET" | "HEAD", Some(id)) => one(plan, caller, id),
        _ => Err(Error::new(Kind::WrongMethod, format!("{path} takes GET, not this method"))),
    };
    match result {
        Ok(body) => {
            Reply { status: 200, headers: vec![("content-type", "application/json".to_owned())], body }
        }
        Err(error) => {
            let mut reply = client.refuse(&error, &caller.request_id);
            if error.kind == Kind::WrongMethod {
                reply.headers.push(("allow", "GET, HEAD".to_owned()));
            }
            reply
        }
    }
}

/// What stands behind `/models/`; empty for the list. Ids hold slashes and colons, plain or encoded.
fn id(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/v1").unwrap_or(path).strip_prefix("/models")?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

/// The models that this caller may ask for, in the order of the configuration. Patterns stand as they are
/// written: what they match is known to the clouds alone.
fn visible<'p>(plan: &'p Plan, caller: &Caller) -> impl Iterator<Item = Model<'p>> {
    plan.models().filter(|model| plan.find(caller, model.id).is_ok())
}

fn one(plan: &Plan, caller: &Caller, id: &str) -> Result<Vec<u8>, Error> {
    let id = percent_decode_str(id).decode_utf8_lossy();
    let mut out = Vec::new();
    plan.find(caller, &id)?;
    caller.client().write_model(plan.model(&id)?, &mut Writer::new(&mut out));
    Ok(out)
}

fn list(plan: &Plan, caller: &Caller, query: &str) -> Result<Vec<u8>, Error> {
    let models: Vec<Model<'_>> = visible(plan, caller).collect();
    let page = match caller.client() {
        Client::OpenAi => Page { models: &models, more: false },
        Client::Anthropic => Cursor::read(query)?.page(&models)?,
    };
    let mut out = Vec::new();
    caller.client().write_models(&page, &mut Writer::new(&mut out));
    Ok(out)
}

/// Which part of the list Anthropic's API is asked for: docs.claude.com/en/api/models-list.
struct Cursor {
    limit: usize,
    from: From,
    /// Models that are in use were asked for, and all of these are.
    active: bool,
}

enum From {
    Start,
    After(String),
    Before(String),
}

impl Cursor {
    const DEFAULT: usize = 20;
    const MOST: usize = 1000;

    fn read(query: &str) -> Result<Self, Error> {
        let mut cursor = Self { limit: Self::DEFAULT, from: From::Start, active: true };
        let mut stages: Vec<String> = Vec::new();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = decoded(value);
            match decoded(name).as_str() {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=Self::MOST).contains(limit));
                    cursor.limit = limit.ok_or_else(|| {
                        let problem = format!("must be a whole number from 1 to {}", Self::MOST);
                        Error::at(Kind::WrongValue, "limit", &problem)
                    })?;
                }
                name @ ("after_id" | "before_id") => {
                    if !matches!(cursor.from, From::Start) {
                        let problem = "cannot stand beside another cursor";
                        return Err(Error::at(Kind::WrongValue, name, problem));
                    }
                    cursor.from = if name == "after_id" { From::After(value) } else { From::Before(value) };
                }
                "lifecycle" | "lifecycle[]" => stages.extend(value.split(',').map(str::to_owned)),
                // Whatever else a client says has no bearing on the list.
                _ => {}
            }
        }
        cursor.active = stages.is_empty() || stages.iter().any(|stage| stage == "active");
        Ok(cursor)
    }

    fn page<'a>(&self, models: &'a [Model<'a>]) -> Result<Page<'a>, Error> {
        if !self.active {
            return Ok(Page { models: &[], more: false });
        }
        let place = |id: &str, name: &str| {
            models
                .iter()
                .position(|model| model.id == id)
                .ok_or_else(|| Error::at(Kind::WrongValue, name, "is the id of no model of this list"))
        };
        let (rest, backwards) = match &self.from {
            From::Start => (models, false),
            From::After(id) => {
                let place = place(id, "after_id")?;
                (models.get(place.saturating_add(1)..).unwrap_or_default(), false)
            }
            From::Before(id) => (models.get(..place(id, "before_id")?).unwrap_or_default(), true),
        };
        let more = rest.len() > self.limit;
        let start = if backwards { rest.len().saturating_sub(self.limit) } else { 0 };
        let end = start.saturating_add(self.limit).min(rest.len());
        Ok(Page { models: rest.get(start..end).unwrap_or_default(), more })
    }
}

/// A word of a query, in which `+` stands for a blank.
fn decoded(word: &str) -> String {
    percent_decode_str(&word.replace('+', " ")).decode_utf8_lossy().into_owned()
}
