//! The JSON Schema of a tool's parameters, as upstreams take it.

use serde_json::value::RawValue;

use crate::base::error::{Error, Kind};
use crate::base::json::{self, Fields, Writer};
use crate::chat::{Spelling, Tool};

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

fn write_object(
    schema: &RawValue,
    wrong: impl FnOnce(&str) -> Error,
    w: &mut Writer<'_>,
) -> Result<(), Error> {
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
