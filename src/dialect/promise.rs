//! The JSON Schema that an answer is promised to fit, as Claude and Bedrock hold a model to it: every object is closed,
//! and bounds of values, which they do not enforce, stand in words.
//!
//! platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations,
//! docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html, and what the `anthropic` package 2.11 makes of
//! schemas before it sends them (`transform_schema`). What they do not know they refuse, such as an object that is not
//! closed: "For 'object' type, 'additionalProperties' must be explicitly set to false" (future-agi pull request 412).

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::base::error::{Error, Kind};
use crate::base::json::Writer;
use crate::dialect::schema::write_description;
use crate::dialect::tape::{MOST_DEPTH, Tape, Value};

/// The schema as it came, if it can be promised so, or with its objects closed and the rest in words. `path` is where
/// it stands in the client's body.
///
/// # Errors
/// What decides about the shape of the answer and cannot be promised, by its path.
pub fn keep<'a>(schema: &'a RawValue, path: &str) -> Result<Cow<'a, str>, Error> {
    let Some(tape) = Tape::read(schema.get()) else {
        let problem = format!("is deeper than {MOST_DEPTH} levels");
        return Err(Error::at(Kind::Unsupported, path, &problem));
    };
    if is_kept(tape.root()) {
        return Ok(Cow::Borrowed(schema.get()));
    }
    let mut out = Vec::with_capacity(schema.get().len());
    write(tape.root(), path, &mut Writer::new(&mut out))?;
    // It was made of text.
    Ok(Cow::Owned(String::from_utf8(out).unwrap_or_default()))
}

/// Whether a schema can be promised as it is.
pub fn can_be_kept(schema: &RawValue) -> bool {
    Tape::read(schema.get()).is_some_and(|tape| is_kept(tape.root()))
}

/// What a member of a schema does.
enum Part {
    /// It is taken as it is.
    Taken,
    /// It says nothing to a model.
    Silent,
    /// A schema.
    Schema,
    /// Schemas, by name or in a list.
    Schemas,
    /// A list of schemas, of which `anyOf` is the one that is taken.
    Choice,
    /// Whether objects may have more members than are named.
    Others,
    /// It decides about the shape, and is not enforced.
    Decisive,
    /// It is not enforced, and stands in words.
    Wish,
}

fn part(member: Value<'_, '_>) -> Part {
    match member.key().escaped() {
        "type" | "enum" | "const" | "required" | "title" | "description" | "default" | "$ref" => Part::Taken,
        "minItems" if member.is("0") || member.is("1") => Part::Taken,
        "format" if member.text().is_some_and(|format| FORMATS.contains(&format.escaped())) => Part::Taken,
        "pattern" if member.text().is_some_and(|pattern| is_simple(pattern.escaped())) => Part::Taken,
        "$schema" | "$id" | "$anchor" | "$comment" => Part::Silent,
        "items" if member.is_object() => Part::Schema,
        "properties" | "$defs" | "definitions" | "anyOf" | "allOf" => Part::Schemas,
        "oneOf" => Part::Choice,
        "additionalProperties" => Part::Others,
        "not" | "if" | "then" | "else" | "patternProperties" | "propertyNames" | "prefixItems" | "items"
        | "contains" | "dependentRequired" | "dependentSchemas" | "dependencies" | "$dynamicRef"
        | "$recursiveRef" => Part::Decisive,
        _ => Part::Wish,
    }
}

/// `SupportedStringFormats` of the `anthropic` package.
const FORMATS: &[&str] =
    &["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// Not taken in patterns are looks around, references to groups and the ends of words.
fn is_simple(pattern: &str) -> bool {
    let backslash = |pattern: &str| {
        let mut escaped = pattern.split("\\\\").skip(1);
        escaped.any(|rest| rest.starts_with(|c: char| matches!(c, 'b' | 'B' | 'k' | '1'..='9')))
    };
    !["(?=", "(?!", "(?<"].iter().any(|look| pattern.contains(look)) && !backslash(pattern)
}

/// The outline of a schema: what its members have to say together.
#[derive(Default)]
struct Outline<'t, 'a> {
    is_object: bool,
    is_closed: bool,
    names_members: bool,
    reference: Option<Value<'t, 'a>>,
    /// It says more than the reference does.
    says_more: bool,
}

fn outline<'t, 'a>(schema: Value<'t, 'a>) -> Outline<'t, 'a> {
    let mut outline = Outline::default();
    for member in schema.children() {
        match member.key().escaped() {
            "type" => {
                let object = |kind: Value<'_, '_>| kind.is(r#""object""#);
                outline.is_object |= object(member) || member.children().any(object);
                outline.says_more = true;
            }
            "properties" => {
                outline.is_object = true;
                outline.names_members = true;
                outline.says_more = true;
            }
            "additionalProperties" => {
                outline.is_closed = member.is("false");
                outline.says_more = true;
            }
            "$ref" => outline.reference = Some(member),
            "$defs" | "definitions" => {}
            _ => outline.says_more |= !matches!(part(member), Part::Silent),
        }
    }
    outline
}

fn is_kept(schema: Value<'_, '_>) -> bool {
    if !schema.is_object() {
        return true;
    }
    let Outline { is_object, is_closed, reference, says_more, .. } = outline(schema);
    (is_closed || !is_object)
        && (reference.is_none() || !says_more)
        && schema.children().all(|member| match part(member) {
            Part::Taken => true,
            Part::Schema => is_kept(member),
            Part::Schemas => member.children().all(is_kept),
            Part::Others => is_closed,
            Part::Silent | Part::Choice | Part::Decisive | Part::Wish => false,
        })
}

fn write(schema: Value<'_, '_>, path: &str, w: &mut Writer<'_>) -> Result<(), Error> {
    if !schema.is_object() {
        w.token(schema.token());
        return Ok(());
    }
    let refuse = |at: Value<'_, '_>, problem: &str| {
        Err(Error::at(Kind::Unsupported, format!("{path}{}", at.path()), problem))
    };
    let outline = outline(schema);
    if outline.is_object && !outline.is_closed && !outline.names_members {
        return refuse(
            schema,
            "an object of any members cannot be promised for this model; name its `properties`",
        );
    }
    let chooses = |member: &Value<'_, '_>| match member.key().escaped() {
        "anyOf" | "oneOf" => true,
        "$ref" => outline.says_more,
        _ => false,
    };
    if let Some(second) = schema.children().filter(chooses).nth(1) {
        return refuse(
            second,
            "stands beside another choice, which cannot be promised for this model; join the two",
        );
    }
    w.object(|w| {
        let mut rest = Vec::new();
        for member in schema.children() {
            let name = member.key();
            match part(member) {
                Part::Silent => {}
                Part::Taken if name.escaped() == "description" => {}
                Part::Taken if name.escaped() == "$ref" && outline.says_more => {
                    // A reference stands alone, so what is said beside it stands around it.
                    w.key("anyOf").array(|w| w.object(|w| w.key("$ref").token(member.token())));
                }
                Part::Taken => w.foreign_key(name.escaped()).token(member.token()),
                Part::Schema => write(member, path, w.foreign_key(name.escaped()))?,
                Part::Schemas | Part::Choice => {
                    let is_choice = name.escaped() == "oneOf";
                    w.foreign_key(if is_choice { "anyOf" } else { name.escaped() });
                    write_all(member, path, w)?;
                }
                Part::Others if outline.names_members && (member.is("true") || member.is("false")) => {}
                Part::Others if !outline.is_object || member.is("false") => {
                    w.key("additionalProperties").token(member.token());
                }
                Part::Others => {
                    let problem = "members without a name cannot be promised for this model; make it an array of \
                        objects with a name and a value";
                    return refuse(member, problem);
                }
                Part::Decisive => {
                    return refuse(member, "cannot be promised for this model; describe the shape without it");
                }
                Part::Wish => rest.push(member),
            }
        }
        if outline.names_members {
            w.key("additionalProperties").bool(false);
        }
        let description = schema.get("description").and_then(Value::text);
        write_description(description, &rest, w);
        Ok(())
    })
}

fn write_all(schemas: Value<'_, '_>, path: &str, w: &mut Writer<'_>) -> Result<(), Error> {
    if schemas.is_object() {
        return w.object(|w| {
            schemas.children().try_for_each(|one| write(one, path, w.foreign_key(&one.key().unescape())))
        });
    }
    if !schemas.is_array() {
        w.token(schemas.token());
        return Ok(());
    }
    w.array(|w| schemas.children().try_for_each(|one| write(one, path, w)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    fn kept(json: &str) -> String {
        keep(raw(json), "schema").unwrap().into_owned()
    }

    #[test]
    fn what_can_be_promised_keeps_its_bytes() {
        for json in [
            r#"{ "type":"object", "properties":{"a":{"type":["string","null"],"pattern":"^[a-z]+$"}},"required":["a"],"additionalProperties":false}"#,
            r##"{"$defs":{"T":{"type":"object","properties":{},"additionalProperties":false}},"$ref":"#/$defs/T"}"##,
            r#"{"type":"array","items":{"anyOf":[{"const":1},{"enum":["a"],"default":"a"}]},"minItems":1}"#,
            r#"{"type":"string","format":"date-time","title":"t","description":"d"}"#,
        ] {
            assert!(matches!(keep(raw(json), "schema"), Ok(Cow::Borrowed(same)) if same == json), "{json}");
            assert!(can_be_kept(raw(json)), "{json}");
        }
    }

    #[test]
    fn every_object_is_closed_and_keeps_its_order() {
        assert_eq!(
            kept(
                r#"{"$schema":"x","properties":{"b":{"type":["object","null"],"properties":{"x":{}}},"a":{"type":"array","items":{"type":"object","properties":{}}}},"required":["b"],"additionalProperties":true}"#
            ),
            r#"{"properties":{"b":{"type":["object","null"],"properties":{"x":{}},"additionalProperties":false},"a":{"type":"array","items":{"type":"object","properties":{},"additionalProperties":false}}},"required":["b"],"additionalProperties":false}"#,
        );
    }

    #[test]
    fn what_is_not_enforced_stands_in_words() {
        for (json, expected) in [
            (
                r#"{"type":"integer","minimum":1,"maximum":5,"description":"Stars."}"#,
                r#"{"type":"integer","description":"Stars.\nIn JSON Schema: {\"minimum\":1,\"maximum\":5}"}"#,
            ),
            (
                r#"{"type":"array","minItems":2,"items":{"type":"string","maxLength":9}}"#,
                r#"{"type":"array","items":{"type":"string","description":"In JSON Schema: {\"maxLength\":9}"},"description":"In JSON Schema: {\"minItems\":2}"}"#,
            ),
            (
                r#"{"type":"string","pattern":"^(?!x)"}"#,
                r#"{"type":"string","description":"In JSON Schema: {\"pattern\":\"^(?!x)\"}"}"#,
            ),
            (
                r#"{"type":"string","pattern":"\\bx"}"#,
                r#"{"type":"string","description":"In JSON Schema: {\"pattern\":\"\\\\bx\"}"}"#,
            ),
            (
                r#"{"oneOf":[{"type":"string"},{"type":"null"}]}"#,
                r#"{"anyOf":[{"type":"string"},{"type":"null"}]}"#,
            ),
            (
                r##"{"$ref":"#/$defs/T","description":"d","$defs":{"T":{"type":"string"}}}"##,
                r##"{"anyOf":[{"$ref":"#/$defs/T"}],"$defs":{"T":{"type":"string"}},"description":"d"}"##,
            ),
        ] {
            assert_eq!(kept(json), expected);
            assert!(!can_be_kept(raw(json)), "{json}");
        }
    }

    #[test]
    fn what_decides_about_the_shape_is_refused_by_its_path() {
        for (json, path) in [
            (r#"{"properties":{"a":{"type":"object"}}}"#, "schema.properties.a"),
            (
                r#"{"properties":{"a":{"type":"object","additionalProperties":{"type":"string"}}}}"#,
                "schema.properties.a",
            ),
            (
                r#"{"type":"object","properties":{"a":{}},"additionalProperties":{"type":"string"}}"#,
                "schema.additionalProperties",
            ),
            (r#"{"type":"array","items":[{"type":"string","minLength":1}]}"#, "schema.items"),
            (r#"{"anyOf":[{"not":{"type":"string"}}]}"#, "schema.anyOf[0].not"),
            (r#"{"anyOf":[{}],"oneOf":[{}]}"#, "schema.oneOf"),
        ] {
            let error = keep(raw(json), "schema").unwrap_err();
            assert_eq!(error.param.as_deref(), Some(path), "{json}");
        }
    }
}
