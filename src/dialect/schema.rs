//! The JSON Schema of a tool's parameters, as upstreams take it, and what a schema says in words.

use serde_json::value::RawValue;

use crate::base::error::{Error, Kind};
use crate::base::json::{self, Fields, Text, Writer, compact};
use crate::chat::{Spelling, Tool};
use crate::dialect::tape::Value;

/// The tool that stands for an answer by a schema, where a model gives one in no other way. No other is offered beside
/// it.
pub const ANSWER: &str = "json_answer";

pub const NOT_BESIDE_TOOLS: &str =
    "this model answers by a schema only where it has no tools; leave one of them out";

/// The schema of a function without parameters: some upstreams demand one, and that of an object.
const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;

/// Pastes the schema. Upstreams demand the type `object` at its top, which OpenAI's API implies.
///
/// # Errors
/// [`Kind::WrongType`] when it is no object, named by its path.
pub fn write_parameters(tool: &Tool<'_>, spelling: &Spelling, w: &mut Writer<'_>) -> Result<(), Error> {
    let Some(schema) = tool.parameters else {
        w.token(NO_PARAMETERS);
        return Ok(());
    };
    let wrong = |problem: &str| tool.place.error(Kind::WrongType, spelling.tool_schema, problem);
    write_object(schema, wrong, w)
}

/// The same for a schema that the reply must fit, where a tool stands for it.
///
/// # Errors
/// [`Kind::WrongType`] when it is no object, named by its path.
pub fn write_answer(schema: &RawValue, spelling: &Spelling, w: &mut Writer<'_>) -> Result<(), Error> {
    write_object(schema, |problem| Error::at(Kind::WrongType, spelling.format, problem), w)
}

/// Writes a description, with what the upstream has no word for at its end, as a JSON Schema of its own: models read
/// that.
pub fn write_description(description: Option<Text<'_>>, rest: &[Value<'_, '_>], w: &mut Writer<'_>) {
    if rest.is_empty() {
        if let Some(text) = description {
            w.key("description").text(text);
        }
        return;
    }
    let mut words = Vec::new();
    Writer::new(&mut words).object(|w| {
        for member in rest {
            w.foreign_key(&member.key().unescape()).token(&compact(member.token()));
        }
    });
    let words = serde_json::to_string(&String::from_utf8_lossy(&words)).unwrap_or_default();
    let words = words.strip_prefix('"').and_then(|words| words.strip_suffix('"')).unwrap_or_default();
    let words = Text::from_escaped(words);
    let lead = Text::from_escaped(IN_WORDS);
    w.key("description");
    match description.filter(|text| !text.is_blank()) {
        Some(text) => w.texts(&[text, Text::from_escaped("\\n"), lead, words]),
        None => w.texts(&[lead, words]),
    }
}

/// What stands before the rest of a schema in its description.
const IN_WORDS: &str = "In JSON Schema: ";

/// Writes the name of [`ANSWER`] and what it does, in the client's words if it has any.
pub fn name_answer(name: Option<Text<'_>>, description: Option<Text<'_>>, w: &mut Writer<'_>) {
    w.key("name").string(ANSWER);
    match description.or(name).filter(|text| !text.is_blank()) {
        Some(text) => w.key("description").text(text),
        None => w.key("description").string("Gives the answer."),
    }
}

fn write_object(
    schema: &RawValue,
    wrong: impl FnOnce(&str) -> Error,
    w: &mut Writer<'_>,
) -> Result<(), Error> {
    if describes_object(schema.get()) {
        w.raw(schema);
        return Ok(());
    }
    let Ok(members) = json::read::<Fields<'_>>(schema.get()) else {
        return Err(wrong("must be a JSON Schema that describes an object"));
    };
    match members.get("type").map(RawValue::get) {
        _ if members.0.is_empty() => w.token(NO_PARAMETERS),
        Some(r#""object""#) => w.raw(schema),
        Some(_) => return Err(wrong("must describe an object; put what it is into a member of one")),
        None => w.object(|w| {
            w.key("type").string("object");
            for (name, value) in &members.0 {
                w.foreign_key(name.as_str()).raw(value);
            }
        }),
    }
    Ok(())
}

/// Whether a schema says at its very end or beginning that it describes an object, as those of nearly all tools do: a
/// glance, where splitting it would mean to read all of it. (Who says first that, and later something else, hears of it
/// from the upstream.)
fn describes_object(schema: &str) -> bool {
    says_at_its_end(schema).is_some() || says_at_its_beginning(schema).is_some()
}

/// What stands before the last brace belongs to the outermost object, and what stands there last counts.
fn says_at_its_end(schema: &str) -> Option<&str> {
    let value = schema.strip_suffix('}')?.trim_end();
    let colon = value.strip_suffix(r#""object""#)?.trim_end();
    let name = colon.strip_suffix(':')?.trim_end();
    name.strip_suffix(r#""type""#)?.trim_end().strip_suffix([',', '{'])
}

fn says_at_its_beginning(schema: &str) -> Option<&str> {
    let name = schema.strip_prefix('{')?.trim_start();
    let colon = name.strip_prefix(r#""type""#)?.trim_start();
    let value = colon.strip_prefix(':')?.trim_start();
    value.strip_prefix(r#""object""#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_of_an_object_is_known_by_either_end() {
        for (schema, known) in [
            (r#"{"type":"object"}"#, true),
            (r#"{"type":"object","properties":{"a":{"type":"string"}}}"#, true),
            (r#"{"properties":{},"type":"object"}"#, true),
            (r#"{"properties":{"a":{"type":"object"}}}"#, false),
            (r#"{"a,\"type":"object"}"#, false),
            (r#"{ "type" : "object" , "properties": {} }"#, true),
            ("{\n\"properties\": {},\n\"type\": \"object\"\n}", true),
            (r#"{"type":"array"}"#, false),
            (r#"{"type":"string","items":{}}"#, false),
            ("{}", false),
        ] {
            assert_eq!(describes_object(schema), known, "{schema}");
        }
    }
}
