//! A conversation as it grows: turns that alternate, and every tool call answered in the turn that follows.

use crate::base::error::{Error, Kind};
use crate::base::json::Str;
use crate::chat::{Content, Part, Place, Role, ToolResult, Turn};

use super::reading::{self, MOST_TOOLS};

/// What was said so far.
#[derive(Default)]
pub struct Talk<'a> {
    pub turns: Vec<Turn<'a>>,
    /// The calls of the latest reply, each with its result once that has come.
    calls: Vec<Call<'a>>,
}

struct Call<'a> {
    place: Place,
    id: Str<'a>,
    name: Str<'a>,
    result: Option<Part<'a>>,
}

impl<'a> Talk<'a> {
    /// Adds to the turn, or begins the next one: the clouds want turns that alternate.
    pub fn push(&mut self, role: Role, parts: Vec<Part<'a>>) {
        if parts.is_empty() {
            return;
        }
        match self.turns.last_mut() {
            Some(turn) if turn.role == role => turn.parts.extend(parts),
            _ => self.turns.push(Turn { role, parts }),
        }
    }

    /// Notes a call that will have to be answered. Its id may be empty, or that of another call: then
    /// results are matched in their order. (Histories of Gemini have no ids, and some servers of open
    /// models give every call the same.)
    pub fn call(&mut self, place: Place, id: &Str<'a>, name: &Str<'a>) -> Result<(), Error> {
        if self.calls.len() >= MOST_TOOLS {
            return Err(one_too_many(place));
        }
        reading::short(place, ".id", id)?;
        self.calls.push(Call { place, id: id.clone(), name: name.clone(), result: None });
        Ok(())
    }

    /// Notes the answer to a call; `path` names where its id stands, below `part.place`. A call without an
    /// id is answered by the next result that names no other, and a result without one answers the next call.
    pub fn result(&mut self, path: &str, id: Str<'a>, part: Answer<'a>) -> Result<(), Error> {
        let Answer { place, parts, failed, cache } = part;
        let is_known = self.calls.iter().any(|call| call.id == id);
        let mut waiting = self.calls.iter_mut().filter(|call| call.result.is_none());
        let call = if is_known || !id.as_str().is_empty() {
            waiting.find(|call| if is_known { call.id == id } else { call.id.as_str().is_empty() })
        } else {
            waiting.next()
        };
        let Some(call) = call else {
            let problem = if is_known {
                "names a call that has its result already"
            } else {
                "names no tool call of the assistant message before it"
            };
            return Err(place.error(Kind::WrongValue, path, problem));
        };
        let result = ToolResult { id, name: call.name.clone(), parts, failed };
        call.result = Some(Part { place, content: Content::ToolResult(result), cache, proof: None });
        Ok(())
    }

    /// Puts the results of the latest calls into a user turn, in the order of the calls. `missing` is what
    /// a call without one is told.
    pub fn results_are_in(&mut self, missing: &str) -> Result<(), Error> {
        let mut results = Vec::with_capacity(self.calls.len());
        for call in self.calls.drain(..) {
            let Some(result) = call.result else {
                return Err(call.place.error(Kind::WrongValue, "", missing));
            };
            results.push(result);
        }
        self.push(Role::User, results);
        Ok(())
    }

    /// The turns, if a user begins.
    pub fn finish(self) -> Result<Vec<Turn<'a>>, Error> {
        let problem = match self.turns.first() {
            None => "needs at least one user message",
            Some(turn) if turn.role == Role::Assistant => "must have a user message before the first reply",
            Some(_) => return Ok(self.turns),
        };
        Err(Error::at(Kind::WrongValue, "messages", problem))
    }
}

/// The error about a message with more calls than [`MOST_TOOLS`].
pub fn one_too_many(place: Place) -> Error {
    place.error(Kind::WrongValue, "", "is one call too many for a message")
}

/// A tool result that is not yet matched to its call.
pub struct Answer<'a> {
    pub place: Place,
    pub parts: Vec<Part<'a>>,
    pub failed: bool,
    pub cache: Option<crate::chat::Cache>,
}
