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

    /// Notes a call that will have to be answered.
    pub fn call(&mut self, place: Place, id: &Str<'a>, name: &Str<'a>) -> Result<(), Error> {
        if self.calls.len() >= MOST_TOOLS {
            return Err(place.error(Kind::WrongValue, "", "is one call too many for a message"));
        }
        reading::short(place, ".id", id)?;
        if self.calls.iter().any(|known| known.id == *id) {
            let problem = "is the id of another call of this message too";
            return Err(place.error(Kind::WrongValue, ".id", problem));
        }
        self.calls.push(Call { place, id: id.clone(), name: name.clone(), result: None });
        Ok(())
    }

    /// Notes the answer to a call; `path` names where its id stands, below `part.place`.
    pub fn result(&mut self, path: &str, id: Str<'a>, part: Answer<'a>) -> Result<(), Error> {
        let Answer { place, parts, failed, cache } = part;
        let Some(call) = self.calls.iter_mut().find(|call| call.id == id) else {
            let problem = "names no tool call of the assistant message before it";
            return Err(place.error(Kind::WrongValue, path, problem));
        };
        if call.result.is_some() {
            let problem = "names a call that has its result already";
            return Err(place.error(Kind::WrongValue, path, problem));
        }
        let result = ToolResult { id, name: call.name.clone(), parts, failed };
        call.result = Some(Part { place, content: Content::ToolResult(result), cache });
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

/// A tool result that is not yet matched to its call.
pub struct Answer<'a> {
    pub place: Place,
    pub parts: Vec<Part<'a>>,
    pub failed: bool,
    pub cache: Option<crate::chat::Cache>,
}
