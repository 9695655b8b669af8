//! References: what they lead to, what stands in their place, and whether they come to an end.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;

use super::keyword::rules_out;
use super::{MOST_DEFINITIONS, NOTHING_FITS, Repair};
use crate::base::error::{Error, Kind};
use crate::base::json::Text;
use crate::dialect::tape::{MOST_DEPTH, Value};

/// How often what was referred to may refer on, where a reference has to be replaced by what it means.
const MOST_UNFOLDED: usize = 16;

/// How many links a walk follows before it gives up; it recurses as deep.
const MOST_LINKS: usize = 256;

/// How many members an object may have that is put together from several.
const MOST_MERGED: usize = 256;

impl<'t, 'a> Repair<'t, 'a> {
    /// The number of what a reference refers to.
    pub fn target(&mut self, reference: Value<'t, 'a>) -> Result<usize, Error> {
        let Some(text) = reference.text() else {
            return Err(self.refuse(Kind::WrongType, reference, "must be a string"));
        };
        let pointer = text.unescape();
        if let Some(&known) = self.pointers.get(&pointer) {
            return Ok(known);
        }
        if !(pointer == "#" || pointer.starts_with("#/")) {
            let problem = "refers to something outside, or by another name than its path; refer to a \
                definition of this schema, `#/$defs/Name`";
            return Err(self.refuse(Kind::Unsupported, reference, problem));
        }
        let mut here = self.tape.root();
        for segment in pointer.split('/').skip(1) {
            let segment =
                percent_decode_str(segment).decode_utf8_lossy().replace("~1", "/").replace("~0", "~");
            let found = if here.is_array() {
                segment.parse().ok().and_then(|index| here.children().take(MOST_DEFINITIONS).nth(index))
            } else {
                here.children().take(MOST_DEFINITIONS).find(|child| child.key().unescape() == segment)
            };
            let Some(found) = found else {
                return Err(self.refuse(Kind::WrongValue, reference, "refers to nothing in this schema"));
            };
            here = found;
        }
        let index = match self.targets.iter().position(|(_, value)| *value == here) {
            Some(index) => index,
            None if self.targets.len() >= MOST_DEFINITIONS => {
                let problem = format!("is one definition too many; {MOST_DEFINITIONS} is the most");
                return Err(self.refuse(Kind::Unsupported, reference, &problem));
            }
            None => {
                let name = self.free_name(&pointer);
                self.targets.push((name, here));
                self.targets.len() - 1
            }
        };
        self.pointers.insert(pointer, index);
        Ok(index)
    }

    /// A name for a definition: its own, or its path with underscores for what a name may not have.
    fn free_name(&self, pointer: &str) -> String {
        let path = pointer.trim_start_matches(['#', '/']);
        let own = path.strip_prefix("$defs/").or_else(|| path.strip_prefix("definitions/"));
        let mut name: String = own.unwrap_or(path).chars().take(LONGEST_NAME).collect();
        name = name.replace(|c: char| !c.is_ascii_alphanumeric() && !"_.-".contains(c), "_");
        if name.is_empty() {
            name.push_str("root");
        }
        while self.targets.iter().any(|(known, _)| *known == name) {
            name.push('_');
        }
        name
    }

    fn resolve(&mut self, reference: Value<'t, 'a>) -> Result<Value<'t, 'a>, Error> {
        let index = self.target(reference)?;
        self.targets
            .get(index)
            .map(|(_, value)| *value)
            .ok_or_else(|| self.refuse(Kind::WrongValue, reference, "refers to nothing in this schema"))
    }

    /// The members of a schema, with those of `allOf` among them. A reference stays one where nothing
    /// beside it rules anything out, unless it must be `unfolded`.
    pub fn members(&mut self, schema: Value<'t, 'a>, unfolded: bool) -> Result<Vec<Value<'t, 'a>>, Error> {
        let mut members = Vec::new();
        let mut sources = 0;
        self.gather(schema, &mut members, &mut sources, 0)?;
        for _ in 0..MOST_UNFOLDED {
            let is_reference = |member: &Value<'_, '_>| member.key().escaped() == "$ref";
            let references: Vec<_> = members.iter().copied().filter(is_reference).collect();
            let is_alone = !members.iter().any(|member| rules_out(member.key().escaped()));
            if references.is_empty() || (references.len() == 1 && is_alone && !unfolded) {
                return if sources > 1 { self.merged(&members) } else { Ok(members) };
            }
            members.retain(|member| !is_reference(member));
            for reference in references {
                let target = self.resolve(reference)?;
                if target.is("false") {
                    return Err(self.refuse(Kind::Unsupported, reference, NOTHING_FITS));
                }
                self.gather(target, &mut members, &mut sources, 0)?;
            }
        }
        Err(self.refuse(Kind::Unsupported, schema, "refers in circles to what it is made of"))
    }

    fn gather(
        &mut self,
        schema: Value<'t, 'a>,
        members: &mut Vec<Value<'t, 'a>>,
        sources: &mut usize,
        depth: usize,
    ) -> Result<(), Error> {
        self.spend(schema)?;
        *sources += 1;
        let mut parts = None;
        for member in schema.children() {
            match member.key().escaped() {
                "default" | "const" => members.push(member),
                _ if member.is("null") => {}
                "allOf" => parts = Some(member),
                _ => members.push(member),
            }
        }
        if *sources > 1 && members.len() > MOST_MERGED {
            let problem = format!("is put together from more than {MOST_MERGED} members");
            return Err(self.refuse(Kind::Unsupported, schema, &problem));
        }
        let Some(parts) = parts else { return Ok(()) };
        if !parts.is_array() || depth >= MOST_DEPTH {
            return Err(self.refuse(Kind::WrongType, parts, "must be an array of JSON Schemas"));
        }
        for part in parts.children() {
            if part.is_object() {
                self.gather(part, members, sources, depth + 1)?;
            } else if !part.is("true") {
                return Err(self.refuse(Kind::WrongType, part, "must be a JSON Schema that something fits"));
            }
        }
        Ok(())
    }

    /// Members from several places as those of one object. Where two say different things of the same, the
    /// schema asks for both at once, which no keyword of Gemini's can.
    fn merged(&self, members: &[Value<'t, 'a>]) -> Result<Vec<Value<'t, 'a>>, Error> {
        let mut merged: Vec<Value<'t, 'a>> = Vec::with_capacity(members.len());
        for &member in members {
            let name = member.key().escaped();
            let known = merged.iter().find(|known| known.key().escaped() == name);
            match (name, known) {
                (_, None) | ("properties" | "required", Some(_)) => merged.push(member),
                (_, Some(known)) if known.token() == member.token() || !rules_out(name) => {}
                (_, Some(_)) => {
                    let problem = "is said differently elsewhere in what `allOf` or `$ref` put together; \
                        Gemini knows no schema that is two at once";
                    return Err(self.refuse(Kind::Unsupported, member, problem));
                }
            }
        }
        Ok(merged)
    }

    /// Refuses references that lead back to where they stand through nothing but what must be there: no
    /// value has an end then, and Google refuses the whole request ("ref loops are only supported if they
    /// include optional or nullable property values, or a potentially-zero-length array items").
    pub fn check_circles(&mut self) -> Result<(), Error> {
        if self.targets.is_empty() {
            return Ok(());
        }
        let mut states = vec![State::New; self.tape.len()];
        self.follow(self.tape.root(), &mut states, 0)?;
        let mut next = 0;
        while let Some((_, target)) = self.targets.get(next) {
            let target = *target;
            self.follow(target, &mut states, 0)?;
            next += 1;
        }
        Ok(())
    }

    fn follow(&mut self, schema: Value<'t, 'a>, states: &mut [State], depth: usize) -> Result<(), Error> {
        match states.get(schema.at()) {
            Some(State::New) if schema.is_object() => {}
            Some(State::Open) => {
                let problem = "leads back to itself through properties that are all required; Gemini wants \
                    one of them to be optional, nullable or in an array";
                return Err(self.refuse(Kind::Unsupported, schema, problem));
            }
            Some(State::New | State::Done) | None => return Ok(()),
        }
        if depth >= MOST_LINKS {
            return Err(self.refuse(Kind::Unsupported, schema, "is too deep"));
        }
        let set = |states: &mut [State], state| {
            if let Some(known) = states.get_mut(schema.at()) {
                *known = state;
            }
        };
        set(states, State::Open);
        let may_be_empty = schema.get("minItems").is_none_or(|least| least.is("0"));
        for member in schema.children() {
            match member.key().escaped() {
                "$ref" => {
                    let target = self.resolve(member)?;
                    self.follow(target, states, depth + 1)?;
                }
                "properties" => {
                    let required = schema.get("required").into_iter().flat_map(Value::children);
                    let required: BTreeSet<_> =
                        required.filter_map(|r| r.text()).map(Text::unescape).collect();
                    for property in member.children() {
                        if required.contains(&property.key().unescape()) {
                            self.follow(property, states, depth + 1)?;
                        }
                    }
                }
                "anyOf" | "oneOf" if member.children().any(is_null) => {}
                "items" | "prefixItems" if may_be_empty => {}
                "items" if member.is_object() => self.follow(member, states, depth + 1)?,
                "anyOf" | "oneOf" | "allOf" | "prefixItems" | "items" => {
                    for part in member.children() {
                        self.follow(part, states, depth + 1)?;
                    }
                }
                _ => {}
            }
        }
        set(states, State::Done);
        Ok(())
    }
}

/// The longest name of a definition, in characters.
const LONGEST_NAME: usize = 64;

/// How far [`Repair::follow`] is with a schema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

fn is_null(schema: Value<'_, '_>) -> bool {
    schema.get("type").is_some_and(|kind| kind.is(r#""null""#))
}
