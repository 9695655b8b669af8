//! The JSON Schema of a tool's parameters, as upstreams take it.

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
    let Ok(members) = json::read::<Fields<'_>>(schema.get()) else {
        let problem = "must be a JSON Schema that describes an object";
        return Err(tool.place.error(Kind::WrongType, spelling.tool_schema, problem));
    };
    if members.0.is_empty() {
        w.token(NO_PARAMETERS);
    } else if members.0.iter().any(|(name, _)| name.as_str() == "type") {
        w.raw(schema);
    } else {
        w.object(|w| {
            w.key("type").string("object");
            for (name, value) in &members.0 {
                w.foreign_key(name.as_str()).raw(value);
            }
        });
    }
    Ok(())
}
