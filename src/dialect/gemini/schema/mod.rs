//! JSON Schema as Gemini understands it. What its keywords cannot say stands in words in the description,
//! where the model reads it; what would break a promise or has no meaning is refused by its path.
//!
//! Schemas are always written in the JSON Schema form (`parametersJsonSchema`, `responseJsonSchema`), never
//! in Google's own dialect (`parameters`, `responseSchema`): that one knows no references, no numbers in
//! `enum`, no tuples and no list of types, and answers `Unknown name` to a single keyword more.
//! The JSON Schema form takes everything and overlooks in silence what it does not know (`const`:
//! google-genai issue 1093), which is worse: so nothing is sent that Google does not list. The list is that
//! of `GenerationConfig.response_json_schema` in google-genai 3.4, and `default`, which
//! `Schema` has besides. What is refused even there was seen in gemini-cli issues 13326 and 14945, opencode
//! issue 12295 and juspay-mcp pull request 132: references to nowhere, references beside other keywords,
//! and circles without an end.

mod keyword;
mod plain;
mod reference;
mod repair;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::base::error::{Error, Kind};
use crate::base::json::Writer;
use crate::dialect::tape::{MOST_DEPTH, Tape, Value};

/// What a schema is for.
pub struct Purpose<'p> {
    pub role: Role,
    /// The client relies on the shape: a keyword that decides about the shape may not become a wish.
    pub promised: bool,
    /// Where the schema stands in the client's body.
    pub place: &'p dyn Fn() -> String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The parameters of a function: an object.
    Parameters,
    /// The reply's text.
    Reply,
}

/// Writes the schema, byte for byte as it came where Gemini takes all of it.
///
/// # Errors
/// What is no JSON Schema, cannot be fulfilled, or cannot be said where it was promised: by its path.
pub fn write(schema: &RawValue, purpose: &Purpose<'_>, w: &mut Writer<'_>) -> Result<(), Error> {
    let Some(tape) = Tape::read(schema.get()) else {
        let problem = format!("is deeper than {MOST_DEPTH} levels");
        return Err(Error::at(Kind::Unsupported, (purpose.place)(), &problem));
    };
    let mut repair = Repair::new(&tape, purpose);
    if let Some(twice) = tape.duplicate() {
        return Err(repair.refuse(Kind::WrongValue, twice, "stands in its object a second time"));
    }
    if repair.is_plain(tape.root(), true) {
        repair.check_circles()?;
        w.raw(schema);
        return Ok(());
    }
    // The look may have met references before it found out.
    repair = Repair::new(&tape, purpose);
    repair.write_root(w)?;
    repair.check_circles()
}

/// Whether a schema of parameters says that there are none. Gemini wants no schema then.
pub fn is_empty(schema: &RawValue) -> bool {
    if schema.get().len() > LONGEST_EMPTY {
        return false;
    }
    let Some(tape) = Tape::read(schema.get()) else { return false };
    let root = tape.root();
    let no_more = |member: Value<'_, '_>| match member.key().escaped() {
        "type" => member.is(r#""object""#),
        "properties" | "required" => member.children().next().is_none(),
        "additionalProperties" => member.is("false"),
        "$schema" | "title" => true,
        _ => false,
    };
    root.is_object()
        && root.children().all(no_more)
        && (root.children().next().is_none() || root.get("properties").is_some())
}

/// A schema that says nothing says it in fewer bytes, and a longer one is not read for it.
const LONGEST_EMPTY: usize = 512;

/// How many definitions a schema may refer to, and how many may stand side by side where one is looked up:
/// each look is a walk along them.
const MOST_DEFINITIONS: usize = 1024;

/// How many nodes may be written for every one that was read: references that are replaced by what they
/// mean grow a schema, and without a bound twenty could make a million.
const MOST_GROWTH: usize = 4;

/// A schema on its way to Gemini.
struct Repair<'t, 'a> {
    tape: &'t Tape<'a>,
    purpose: &'t Purpose<'t>,
    /// References met so far, and the number of their target.
    pointers: BTreeMap<Cow<'a, str>, usize>,
    /// What is referred to, and its name among the definitions.
    targets: Vec<(String, Value<'t, 'a>)>,
    /// The numbers of those targets that stay references, in the order in which they are written.
    kept: Vec<usize>,
    /// Nodes looked at while writing.
    spent: usize,
}

impl<'t, 'a> Repair<'t, 'a> {
    fn new(tape: &'t Tape<'a>, purpose: &'t Purpose<'t>) -> Self {
        let (pointers, targets, kept) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { tape, purpose, pointers, targets, kept, spent: 0 }
    }

    fn refuse(&self, kind: Kind, value: Value<'_, '_>, problem: &str) -> Error {
        Error::at(kind, (self.purpose.place)() + &value.path(), problem)
    }

    /// Counts the work; a schema must not unfold into much more than it is.
    fn spend(&mut self, at: Value<'_, '_>) -> Result<(), Error> {
        self.spent += 1;
        if self.spent > self.tape.len().saturating_mul(MOST_GROWTH) + MOST_DEFINITIONS {
            let problem = "makes the schema too large, because what is referred to has to be repeated here; \
                let `$ref` stand alone";
            return Err(self.refuse(Kind::Unsupported, at, problem));
        }
        Ok(())
    }
}

const NOTHING_FITS: &str = "allows no value at all; leave it out";

#[cfg(test)]
mod tests;
