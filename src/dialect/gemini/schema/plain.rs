//! The look that spares most schemas a repair: whether Gemini takes one as it is.

use super::keyword::{
    Keyword, Owner, Type, is_count, is_known_format, is_plain_name, is_string_list, is_whole, keyword,
};
use super::{Repair, Role};
use crate::dialect::tape::Value;

/// What a schema is, as far as [`Repair::is_plain`] has to compare its members with each other.
#[derive(Default)]
struct Outline<'t, 'a> {
    kind: Option<Value<'t, 'a>>,
    values: Option<Value<'t, 'a>>,
    properties: Option<Value<'t, 'a>>,
    required: Option<Value<'t, 'a>>,
    format: Option<Value<'t, 'a>>,
    is_ordered: bool,
    choices: usize,
    references: usize,
    owners: Vec<Owner>,
}

impl<'t, 'a> Repair<'t, 'a> {
    /// Whether Gemini takes this schema and all below it as they are. Says no where it is not sure.
    pub fn is_plain(&mut self, schema: Value<'t, 'a>, is_root: bool) -> bool {
        if !schema.is_object() {
            return false;
        }
        let mut outline = Outline::default();
        for member in schema.children() {
            let name = member.key().escaped();
            let is_fine = match name {
                "type" => outline.kind.replace(member).is_none(),
                "title" | "description" => member.text().is_some(),
                "default" => true,
                "$schema" => is_root && member.text().is_some(),
                "$defs" => {
                    is_root
                        && member.is_object()
                        && member
                            .children()
                            .all(|one| is_plain_name(one.key().escaped()) && self.is_plain(one, false))
                }
                "$ref" => {
                    outline.references += 1;
                    self.is_plain_reference(member)
                }
                "enum" => {
                    outline.values = Some(member);
                    member.is_array()
                }
                "anyOf" | "oneOf" => {
                    outline.choices += 1;
                    member.is_array()
                        && member.children().next().is_some()
                        && member.children().all(|one| self.is_plain(one, false))
                }
                "items" => self.is_plain(member, false),
                "prefixItems" => member.is_array() && member.children().all(|one| self.is_plain(one, false)),
                "properties" => {
                    outline.properties = Some(member);
                    member.is_object()
                        && member.children().next().is_some()
                        && member.children().all(|one| self.is_plain(one, false))
                }
                "additionalProperties" => {
                    member.is("true") || member.is("false") || self.is_plain(member, false)
                }
                "required" => {
                    outline.required = Some(member);
                    is_string_list(member)
                }
                "propertyOrdering" => {
                    outline.is_ordered = true;
                    is_string_list(member)
                }
                "minItems" | "maxItems" => is_count(member),
                "minimum" | "maximum" => member.is_number(),
                "format" => {
                    outline.format = Some(member);
                    true
                }
                _ => false,
            };
            if !is_fine {
                return false;
            }
            if let Keyword::Shape(owner) = keyword(name)
                && !outline.owners.contains(&owner)
            {
                outline.owners.push(owner);
            }
        }
        let count = schema.children().count();
        let is_object = outline.kind.is_some_and(|kind| kind.is(r#""object""#));
        let wants_object = is_root && self.purpose.role == Role::Parameters;
        (is_object || !wants_object)
            && (outline.references == 0 || count == 1)
            && self.is_consistent(&outline)
    }

    fn is_consistent(&self, outline: &Outline<'t, 'a>) -> bool {
        if outline.choices > 0 {
            let is_alone = outline.kind.is_none() && outline.values.is_none() && outline.owners.is_empty();
            return outline.choices == 1 && is_alone;
        }
        let Some(kind) = outline.kind else {
            return outline.values.is_none() && outline.owners.is_empty();
        };
        let (kind, is_nullable) = match kind.text() {
            Some(name) => (Type::of(name.escaped()), false),
            None => {
                let mut names =
                    kind.children().map(|one| one.text().and_then(|name| Type::of(name.escaped())));
                match (names.next(), names.next(), names.next()) {
                    (Some(Some(kind)), Some(Some(Type::Null)), None) => (Some(kind), true),
                    _ => (None, false),
                }
            }
        };
        let Some(kind) = kind else { return false };
        let fits = |value: Value<'_, '_>| match kind {
            Type::String => value.text().is_some(),
            Type::Number => value.is_number(),
            Type::Integer => is_whole(value.token()),
            Type::Object | Type::Array | Type::Boolean | Type::Null => false,
        };
        let are_values_fine = outline.values.is_none_or(|values| {
            !is_nullable && values.children().next().is_some() && values.children().all(fits)
        });
        let is_format_fine = outline.format.and_then(Value::text).map(|format| format.escaped());
        let is_format_fine =
            outline.format.is_none() || is_format_fine.is_some_and(|format| is_known_format(kind, format));
        are_values_fine
            && is_format_fine
            && outline.owners.iter().all(|owner| owner.owns(kind))
            && self.is_in_order(outline)
    }

    /// Whether all that is required is described, and in the order in which it is described. A model writes
    /// what is required first; in a reply that order matters, so there the two must begin alike.
    fn is_in_order(&self, outline: &Outline<'_, '_>) -> bool {
        let Some(required) = outline.required else { return true };
        let mut names = outline.properties.into_iter().flat_map(Value::children);
        let matters = self.purpose.role == Role::Reply && !outline.is_ordered;
        required.children().filter_map(Value::text).all(|name| {
            let found = names.position(|one| one.key() == name);
            if matters { found == Some(0) } else { found.is_some() }
        })
    }

    /// `#/$defs/Name`, and there is one.
    fn is_plain_reference(&mut self, reference: Value<'t, 'a>) -> bool {
        let name = reference.text().and_then(|text| text.escaped().strip_prefix("#/$defs/"));
        name.is_some_and(is_plain_name) && self.target(reference).is_ok()
    }
}
