//! Writes a schema keyword by keyword, in Gemini's words.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::keyword::{
    Bound, Keyword, Owner, Type, Way, is_count, is_known_format, is_string_list, keyword, listed, rules_out,
    says_nothing_of_names,
};
use super::{NOTHING_FITS, Repair, Role};
use crate::base::error::{Error, Kind};
use crate::base::json::{Text, Writer};
use crate::dialect::schema;
use crate::dialect::tape::Value;

impl<'t, 'a> Repair<'t, 'a> {
    pub fn write_root(&mut self, w: &mut Writer<'_>) -> Result<(), Error> {
        let root = self.tape.root();
        if !root.is_object() {
            return Err(self.refuse(Kind::WrongType, root, "must be a JSON Schema that describes an object"));
        }
        let members = self.members(root, true)?;
        w.object(|w| {
            self.write_members(root, &members, None, Some(self.purpose.role), w)?;
            if self.kept.is_empty() {
                return Ok(());
            }
            w.key("$defs").object(|w| {
                // Definitions may refer to others, which join at the end.
                let mut written = 0;
                while let Some((name, target)) =
                    self.kept.get(written).and_then(|&kept| self.targets.get(kept))
                {
                    let target = *target;
                    w.foreign_key(name);
                    self.write_schema(target, None, w)?;
                    written += 1;
                }
                Ok(())
            })
        })
    }

    /// `implied`: the type that what surrounds the schema gives it.
    fn write_schema(
        &mut self,
        schema: Value<'t, 'a>,
        implied: Option<Type>,
        w: &mut Writer<'_>,
    ) -> Result<(), Error> {
        if schema.is("true") {
            w.token("{}");
            return Ok(());
        }
        if schema.is("false") {
            return Err(self.refuse(Kind::Unsupported, schema, NOTHING_FITS));
        }
        if !schema.is_object() {
            return Err(self.refuse(Kind::WrongType, schema, "must be a JSON Schema"));
        }
        let members = self.members(schema, false)?;
        w.object(|w| self.write_members(schema, &members, implied, None, w))
    }

    /// Writes the members of the schema `at`, which is the root if it has a role.
    fn write_members(
        &mut self,
        at: Value<'t, 'a>,
        members: &[Value<'t, 'a>],
        implied: Option<Type>,
        role: Option<Role>,
        w: &mut Writer<'_>,
    ) -> Result<(), Error> {
        let find = |name: &str| members.iter().copied().find(|member| member.key().escaped() == name);
        let is_nullable = find("nullable").is_some_and(|value| value.is("true"));
        let mut rest = Vec::new();
        if let Some(reference) = find("$ref") {
            self.write_reference(reference, is_nullable, members, w)?;
        } else if let Some(choice) = self.choice(at, members, role, &mut rest)? {
            let outer = find("type").map(|kind| self.types(kind)).transpose()?;
            let outer = outer.and_then(|types| types.first().copied()).or(implied);
            let has_null = is_nullable && role.is_none();
            w.key(if choice.key().escaped() == "oneOf" && !has_null { "oneOf" } else { "anyOf" });
            w.array(|w| {
                for branch in choice.children() {
                    self.write_schema(branch, outer, w)?;
                }
                if has_null {
                    w.object(|w| w.key("type").string("null"));
                }
                Ok::<(), Error>(())
            })?;
        } else {
            let mut ways = self.ways(at, members, implied, is_nullable, &mut rest)?;
            if role == Some(Role::Parameters) {
                ways = vec![self.parameters(at, ways)?];
            }
            self.sort_out(members, &ways, &mut rest)?;
            self.write_ways(members, &ways, w)?;
        }
        self.write_notes(members, &rest, w)
    }

    /// The function's parameters: one object, whatever else the schema would allow.
    fn parameters(&self, at: Value<'_, '_>, ways: Vec<Way<'a>>) -> Result<Way<'a>, Error> {
        if ways.is_empty() {
            return Ok(Way { kind: Type::Object, values: Vec::new() });
        }
        ways.into_iter()
            .find(|way| way.kind == Type::Object)
            .ok_or_else(|| self.refuse(Kind::WrongType, at, "must be a JSON Schema that describes an object"))
    }

    /// A reference stands alone (`GenerationConfig.response_json_schema`), so what is said beside it stands
    /// around it.
    fn write_reference(
        &mut self,
        reference: Value<'t, 'a>,
        is_nullable: bool,
        members: &[Value<'t, 'a>],
        w: &mut Writer<'_>,
    ) -> Result<(), Error> {
        let index = self.target(reference)?;
        if !self.kept.contains(&index) {
            self.kept.push(index);
        }
        let name = self.targets.get(index).map(|(name, _)| format!("#/$defs/{name}")).unwrap_or_default();
        let is_noted = members.iter().any(|member| match keyword(member.key().escaped()) {
            Keyword::Note | Keyword::Unknown => true,
            Keyword::Silent | Keyword::Shape(_) | Keyword::Decisive => false,
        });
        if !is_noted && !is_nullable {
            w.key("$ref").string(&name);
            return Ok(());
        }
        w.key("anyOf").array(|w| {
            w.object(|w| w.key("$ref").string(&name));
            if is_nullable {
                w.object(|w| w.key("type").string("null"));
            }
        });
        Ok(())
    }

    /// The choice that a schema is; one beside other rules becomes a part of `rest`. Google takes a choice
    /// only where it is all ("When using any_of, it must be the only field set").
    fn choice(
        &self,
        at: Value<'t, 'a>,
        members: &[Value<'t, 'a>],
        role: Option<Role>,
        rest: &mut Vec<Value<'t, 'a>>,
    ) -> Result<Option<Value<'t, 'a>>, Error> {
        let is_choice = |member: &Value<'_, '_>| matches!(member.key().escaped(), "anyOf" | "oneOf");
        let choices: Vec<_> = members.iter().copied().filter(is_choice).collect();
        if choices.is_empty() {
            return Ok(None);
        }
        for choice in &choices {
            if !choice.is_array() || choice.children().next().is_none() {
                return Err(self.refuse(Kind::WrongType, *choice, "must be an array of JSON Schemas"));
            }
        }
        let types = members.iter().filter(|member| member.key().escaped() == "type");
        let is_ruled = members.iter().any(|member| {
            let name = member.key().escaped();
            rules_out(name) && !matches!(name, "type" | "anyOf" | "oneOf")
        });
        let lists_types = types.clone().any(|kind| kind.is_array());
        if let [choice] = choices.as_slice()
            && !is_ruled
            && !lists_types
        {
            if role == Some(Role::Parameters) {
                let problem = "the parameters of a function are one object; describe its `properties`, and \
                    put the choice inside one of them";
                return Err(self.refuse(Kind::Unsupported, at, problem));
            }
            return Ok(Some(*choice));
        }
        for choice in choices {
            self.wish(choice, Keyword::Decisive, rest)?;
        }
        Ok(None)
    }

    /// Puts into words what cannot be said otherwise; refuses where the client relies on it.
    fn wish(
        &self,
        member: Value<'t, 'a>,
        keyword: Keyword,
        rest: &mut Vec<Value<'t, 'a>>,
    ) -> Result<(), Error> {
        if keyword == Keyword::Decisive && self.purpose.promised {
            let problem = "Gemini has no counterpart and could not be held to it; describe the shape without \
                it, or do without the promise (`strict`)";
            return Err(self.refuse(Kind::Unsupported, member, problem));
        }
        rest.push(member);
        Ok(())
    }

    fn types(&self, value: Value<'_, '_>) -> Result<Vec<Type>, Error> {
        let one = |value: Value<'_, '_>| {
            let name = value.text().map(Text::unescape);
            name.and_then(|name| Type::of(&name)).ok_or_else(|| {
                let problem =
                    "must be object, array, string, number, integer, boolean or null, or a list of them";
                self.refuse(Kind::WrongValue, value, problem)
            })
        };
        if !value.is_array() {
            return Ok(vec![one(value)?]);
        }
        let mut types: Vec<Type> = Vec::new();
        for item in value.children() {
            let kind = one(item)?;
            if !types.contains(&kind) {
                types.push(kind);
            }
        }
        Ok(types)
    }

    /// The ways in which a value may be right, by type; none: any value is.
    fn ways(
        &self,
        at: Value<'t, 'a>,
        members: &[Value<'t, 'a>],
        implied: Option<Type>,
        is_nullable: bool,
        rest: &mut Vec<Value<'t, 'a>>,
    ) -> Result<Vec<Way<'a>>, Error> {
        let find = |name: &str| members.iter().copied().find(|member| member.key().escaped() == name);
        let declared = find("type").map(|kind| self.types(kind)).transpose()?;
        let mut ways: Vec<Way<'a>> = Vec::new();
        let mut is_listed = false;
        if let Some(list) = find("const").or_else(|| find("enum")) {
            let is_constant = list.key().escaped() == "const";
            if !is_constant && !list.is_array() {
                return Err(self.refuse(Kind::WrongType, list, "must be an array"));
            }
            let own = is_constant.then_some(list);
            let values = own.into_iter().chain(list.children().filter(|_| !is_constant));
            match listed(values, declared.as_deref()) {
                Some(listed) if listed.is_empty() => {
                    return Err(self.refuse(Kind::WrongValue, list, "holds no value of the type"));
                }
                Some(listed) => {
                    is_listed = true;
                    ways = listed;
                    // Google lists values of strings and numbers only.
                    if let Some(way) = ways.iter_mut().find(|way| way.kind == Type::Boolean) {
                        if way.values.len() == 1 {
                            self.wish(list, Keyword::Unknown, rest)?;
                        }
                        way.values.clear();
                    }
                }
                None => self.wish(list, Keyword::Decisive, rest)?,
            }
        }
        if !is_listed {
            let has =
                |owner| members.iter().any(|member| keyword(member.key().escaped()) == Keyword::Shape(owner));
            let guessed = || {
                // Who describes properties means an object, and Google wants to read it.
                implied.or(if has(Owner::Object) {
                    Some(Type::Object)
                } else if has(Owner::Array) {
                    Some(Type::Array)
                } else {
                    None
                })
            };
            let types = declared.unwrap_or_else(|| guessed().into_iter().collect());
            ways = types.into_iter().map(|kind| Way { kind, values: Vec::new() }).collect();
        }
        if is_nullable && !ways.is_empty() && !ways.iter().any(|way| way.kind == Type::Null) {
            ways.push(Way { kind: Type::Null, values: Vec::new() });
        }
        if find("type").is_some() && ways.is_empty() {
            return Err(self.refuse(Kind::WrongValue, at, NOTHING_FITS));
        }
        Ok(ways)
    }

    /// Decides of every member whether it can be said.
    fn sort_out(
        &self,
        members: &[Value<'t, 'a>],
        ways: &[Way<'a>],
        rest: &mut Vec<Value<'t, 'a>>,
    ) -> Result<(), Error> {
        let find = |name: &str| members.iter().copied().find(|member| member.key().escaped() == name);
        let numbers = ways.iter().find(|way| Owner::Number.owns(way.kind)).map(|way| way.kind);
        for &member in members {
            let name = member.key().escaped();
            match (name, keyword(name)) {
                (_, Keyword::Silent | Keyword::Note) => {}
                ("propertyNames", _) if says_nothing_of_names(member) => {}
                // Something about a value of any type has no place in one.
                (_, Keyword::Shape(_)) if ways.is_empty() => self.wish(member, Keyword::Unknown, rest)?,
                ("format", _) => {
                    let format = member.text().map(Text::unescape);
                    let Some(format) = format else {
                        return Err(self.refuse(Kind::WrongType, member, "must be a string"));
                    };
                    if !ways.iter().any(|way| is_known_format(way.kind, &format)) {
                        self.wish(member, Keyword::Unknown, rest)?;
                    }
                }
                ("exclusiveMinimum" | "exclusiveMaximum", _) if !member.is("false") => {
                    if numbers.is_some_and(|kind| Bound::of(name).exact(kind, members).is_none()) {
                        self.wish(member, Keyword::Unknown, rest)?;
                    }
                }
                ("patternProperties", _) if !self.is_map(member, find("additionalProperties")) => {
                    self.wish(member, Keyword::Decisive, rest)?;
                }
                ("unevaluatedProperties", _) if !(member.is("false") || member.is("true")) => {
                    self.wish(member, Keyword::Decisive, rest)?;
                }
                (_, Keyword::Shape(_)) => {}
                (_, keyword @ (Keyword::Unknown | Keyword::Decisive)) => self.wish(member, keyword, rest)?,
            }
        }
        Ok(())
    }

    /// Whether `patternProperties` describes the values under all names, as `additionalProperties` would.
    fn is_map(&self, patterns: Value<'_, '_>, others: Option<Value<'_, '_>>) -> bool {
        let mut patterns = patterns.children();
        let one = patterns.next().filter(|_| patterns.next().is_none());
        one.is_some_and(|one| matches!(one.key().escaped(), ".*" | "^.*$" | "^(.*)$" | ".+" | "^.+$"))
            && others.is_none_or(|others| others.is("false"))
    }

    fn write_ways(
        &mut self,
        members: &[Value<'t, 'a>],
        ways: &[Way<'a>],
        w: &mut Writer<'_>,
    ) -> Result<(), Error> {
        match ways {
            [] => Ok(()),
            [way] => {
                w.key("type").string(way.kind.name());
                self.write_way(members, way, w)
            }
            // The one list of types that Google documents.
            [way, null] | [null, way] if null.kind == Type::Null && way.values.is_empty() => {
                w.key("type").array(|w| {
                    w.string(way.kind.name());
                    w.string("null");
                });
                self.write_way(members, way, w)
            }
            ways => w.key("anyOf").array(|w| {
                for way in ways {
                    w.object(|w| {
                        w.key("type").string(way.kind.name());
                        self.write_way(members, way, w)
                    })?;
                }
                Ok(())
            }),
        }
    }

    fn write_way(
        &mut self,
        members: &[Value<'t, 'a>],
        way: &Way<'a>,
        w: &mut Writer<'_>,
    ) -> Result<(), Error> {
        if !way.values.is_empty() {
            w.key("enum").array(|w| way.values.iter().for_each(|value| w.token(value)));
        }
        let format = members.iter().find(|member| member.key().escaped() == "format");
        if let Some(format) = format.and_then(|format| format.text())
            && is_known_format(way.kind, &format.unescape())
        {
            w.key("format").text(format);
        }
        match way.kind {
            Type::Object => self.write_object(members, w),
            Type::Array => self.write_array(members, w),
            Type::Number | Type::Integer => self.write_number(members, way.kind, w),
            Type::String | Type::Boolean | Type::Null => Ok(()),
        }
    }

    fn write_object(&mut self, members: &[Value<'t, 'a>], w: &mut Writer<'_>) -> Result<(), Error> {
        let named =
            |name: &'static str| members.iter().copied().filter(move |member| member.key().escaped() == name);
        let mut names: Vec<Text<'a>> = Vec::new();
        // By name: what is described, and what is required beside it.
        let mut described: BTreeMap<Cow<'a, str>, Value<'t, 'a>> = BTreeMap::new();
        let mut properties: Vec<Value<'t, 'a>> = Vec::new();
        for group in named("properties") {
            if !group.is_object() {
                return Err(self.refuse(Kind::WrongType, group, "must be an object"));
            }
            for property in group.children() {
                match described.insert(property.key().unescape(), property) {
                    None => {
                        properties.push(property);
                        names.push(property.key());
                    }
                    Some(known) if known.token() == property.token() => {}
                    Some(_) => {
                        let problem = "is described differently elsewhere in what `allOf` or `$ref` put \
                            together; Gemini knows no schema that is two at once";
                        return Err(self.refuse(Kind::Unsupported, property, problem));
                    }
                }
            }
        }
        let mut required: Vec<Text<'a>> = Vec::new();
        let mut seen: BTreeSet<Cow<'a, str>> = BTreeSet::new();
        for list in named("required") {
            if !is_string_list(list) {
                return Err(self.refuse(Kind::WrongType, list, "must be an array of strings"));
            }
            let fresh = list.children().filter_map(Value::text).filter(|name| seen.insert(name.unescape()));
            required.extend(fresh);
        }
        // Google wants to know what is required; what is not described may be anything.
        let unknown = required.iter().filter(|name| !described.contains_key(&name.unescape()));
        let unknown: Vec<Text<'a>> = unknown.copied().collect();
        names.extend(&unknown);
        if !names.is_empty() {
            w.key("properties").object(|w| {
                for property in properties {
                    self.write_schema(property, None, w.foreign_key(&property.key().unescape()))?;
                }
                unknown.iter().for_each(|name| w.foreign_key(&name.unescape()).token("{}"));
                Ok::<(), Error>(())
            })?;
        }
        if !required.is_empty() {
            w.key("required").array(|w| required.iter().for_each(|name| w.text(*name)));
        }
        if let Some(order) = named("propertyOrdering").next() {
            if !is_string_list(order) {
                return Err(self.refuse(Kind::WrongType, order, "must be an array of strings"));
            }
            w.key("propertyOrdering").token(order.token());
        } else if self.purpose.role == Role::Reply && !names.starts_with(&required) {
            // Else the model would write what is required first: dev.to/artyomsv, "5 Undocumented Rules for
            // Gemini Structured Output".
            w.key("propertyOrdering").array(|w| names.iter().for_each(|name| w.text(*name)));
        }
        let others = named("additionalProperties").next();
        let pattern = named("patternProperties").next().filter(|patterns| self.is_map(*patterns, others));
        let pattern = pattern.and_then(|patterns| patterns.children().next());
        match pattern.or(others).or(named("unevaluatedProperties").next()) {
            Some(flag) if flag.is("true") || flag.is("false") => {
                w.key("additionalProperties").token(flag.token());
            }
            Some(other) if other.key().escaped() != "unevaluatedProperties" => {
                self.write_schema(other, None, w.key("additionalProperties"))?;
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    fn write_array(&mut self, members: &[Value<'t, 'a>], w: &mut Writer<'_>) -> Result<(), Error> {
        let find = |name: &str| members.iter().copied().find(|member| member.key().escaped() == name);
        // Until 2019 a tuple's members stood in `items`, and what follows in `additionalItems`.
        let (tuple, items) = match (find("prefixItems"), find("items")) {
            (None, Some(tuple)) if tuple.is_array() => (Some(tuple), find("additionalItems")),
            (tuple, items) => (tuple, items),
        };
        if let Some(tuple) = tuple {
            if !tuple.is_array() {
                return Err(self.refuse(Kind::WrongType, tuple, "must be an array of JSON Schemas"));
            }
            w.key("prefixItems")
                .array(|w| tuple.children().try_for_each(|item| self.write_schema(item, None, w)))?;
        }
        let is_closed = items.is_some_and(|items| items.is("false"));
        if let Some(items) = items.filter(|_| !is_closed) {
            self.write_schema(items, None, w.key("items"))?;
        }
        for name in ["minItems", "maxItems"] {
            if let Some(count) = find(name)
                && !is_count(count)
            {
                return Err(self.refuse(Kind::WrongType, count, "must be a whole number of zero or more"));
            }
        }
        if let Some(least) = find("minItems") {
            w.key("minItems").token(least.token());
        }
        let most = find("maxItems");
        if is_closed {
            let length = tuple.map_or(0, |tuple| tuple.children().count() as u64);
            let most = most.and_then(|most| most.token().parse().ok()).unwrap_or(u64::MAX);
            w.key("maxItems").number(length.min(most));
        } else if let Some(most) = most {
            w.key("maxItems").token(most.token());
        }
        Ok(())
    }

    fn write_number(
        &mut self,
        members: &[Value<'t, 'a>],
        kind: Type,
        w: &mut Writer<'_>,
    ) -> Result<(), Error> {
        for bound in [Bound::Least, Bound::Most] {
            for name in [bound.inclusive(), bound.exclusive()] {
                let member = members.iter().find(|member| member.key().escaped() == name);
                if let Some(member) = member.filter(|m| !(m.is_number() || m.is("true") || m.is("false"))) {
                    return Err(self.refuse(Kind::WrongType, *member, "must be a number"));
                }
            }
            if let Some(exact) = bound.exact(kind, members) {
                w.key(bound.inclusive()).token(&exact);
            } else if let Some(nearest) = bound.nearest(members) {
                w.key(bound.inclusive()).token(nearest);
            }
        }
        Ok(())
    }

    /// Title, default and description, with what Gemini has no word for at its end, as a JSON Schema of its
    /// own: models read that.
    fn write_notes(
        &self,
        members: &[Value<'t, 'a>],
        rest: &[Value<'t, 'a>],
        w: &mut Writer<'_>,
    ) -> Result<(), Error> {
        let mut description = None;
        for &member in members {
            match member.key().escaped() {
                "default" => w.key("default").token(member.token()),
                "title" | "description" => {
                    let Some(text) = member.text() else {
                        return Err(self.refuse(Kind::WrongType, member, "must be a string"));
                    };
                    if member.key().escaped() == "title" {
                        w.key("title").text(text);
                    } else {
                        description = Some(text);
                    }
                }
                _ => {}
            }
        }
        schema::write_description(description, rest, w);
        Ok(())
    }
}
