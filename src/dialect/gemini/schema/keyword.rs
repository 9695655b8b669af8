//! The keywords of JSON Schema: what each is about, and which of them Gemini knows.

use crate::dialect::tape::Value;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Object,
    Array,
    String,
    Number,
    Integer,
    Boolean,
    Null,
}

impl Type {
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "object" => Type::Object,
            "array" => Type::Array,
            "string" => Type::String,
            "number" => Type::Number,
            "integer" => Type::Integer,
            "boolean" => Type::Boolean,
            "null" => Type::Null,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Type::Object => "object",
            Type::Array => "array",
            Type::String => "string",
            Type::Number => "number",
            Type::Integer => "integer",
            Type::Boolean => "boolean",
            Type::Null => "null",
        }
    }
}

/// One of the ways in which a value may be right.
pub struct Way<'a> {
    pub kind: Type,
    /// As JSON tokens; empty: all of the type.
    pub values: Vec<&'a str>,
}

/// What a keyword does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keyword {
    /// Tells nothing that a model could use, or is dealt with elsewhere.
    Silent,
    /// Describes without ruling anything out, and Gemini has it.
    Note,
    /// Rules something out for values of some type, and Gemini has a way to say it.
    Shape(Owner),
    /// Gemini has no word for it.
    Unknown,
    /// The same, and it decides about the shape of the value.
    Decisive,
}

/// The type whose values a keyword is about; there is nothing that it says of others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Object,
    Array,
    Number,
    /// A format means something else for every type.
    Any,
}

impl Owner {
    pub fn owns(self, kind: Type) -> bool {
        match self {
            Owner::Object => kind == Type::Object,
            Owner::Array => kind == Type::Array,
            Owner::Number => matches!(kind, Type::Number | Type::Integer),
            Owner::Any => kind != Type::Null,
        }
    }
}

pub fn keyword(name: &str) -> Keyword {
    match name {
        // `type`, `enum` and the like are looked at on their own.
        "type" | "enum" | "const" | "nullable" | "anyOf" | "oneOf" | "allOf" | "$ref" => Keyword::Silent,
        // Definitions are written again where they are used. A discriminator repeats what the branches of
        // a choice say, and Google's service has failed over it (pydantic-ai pull request 3357).
        "$schema" | "$id" | "$anchor" | "$comment" | "$vocabulary" | "$defs" | "definitions"
        | "discriminator" => Keyword::Silent,
        "title" | "description" | "default" => Keyword::Note,
        "properties"
        | "required"
        | "additionalProperties"
        | "propertyOrdering"
        | "patternProperties"
        | "unevaluatedProperties" => Keyword::Shape(Owner::Object),
        "items" | "prefixItems" | "additionalItems" | "minItems" | "maxItems" => Keyword::Shape(Owner::Array),
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => Keyword::Shape(Owner::Number),
        "format" => Keyword::Shape(Owner::Any),
        "not" | "if" | "then" | "else" | "dependentRequired" | "dependentSchemas" | "dependencies"
        | "contains" | "minContains" | "maxContains" | "unevaluatedItems" | "contentSchema"
        | "$dynamicRef" | "$recursiveRef" => Keyword::Decisive,
        _ => Keyword::Unknown,
    }
}

/// Whether a member rules anything out, so that a reference beside it is not all there is.
pub fn rules_out(name: &str) -> bool {
    match keyword(name) {
        Keyword::Silent => matches!(name, "type" | "enum" | "const" | "anyOf" | "oneOf"),
        Keyword::Note => false,
        Keyword::Shape(_) | Keyword::Decisive => true,
        Keyword::Unknown => matches!(
            name,
            "minLength"
                | "maxLength"
                | "pattern"
                | "multipleOf"
                | "uniqueItems"
                | "minProperties"
                | "maxProperties"
                | "propertyNames"
                | "contentEncoding"
                | "contentMediaType"
        ),
    }
}

/// The formats that Google's page on structured outputs lists for text, ai.google.dev/gemini-api/docs/
/// structured-output, and those of `Schema.format` for numbers.
pub fn is_known_format(kind: Type, format: &str) -> bool {
    match kind {
        Type::String => matches!(format, "date-time" | "date" | "time"),
        Type::Number => matches!(format, "float" | "double"),
        Type::Integer => matches!(format, "int32" | "int64"),
        Type::Object | Type::Array | Type::Boolean | Type::Null => false,
    }
}

/// The name of a definition that needs no escaping wherever it is written.
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

pub fn is_count(value: Value<'_, '_>) -> bool {
    value.token().bytes().all(|b| b.is_ascii_digit())
}

pub fn is_string_list(value: Value<'_, '_>) -> bool {
    value.is_array() && value.children().all(|item| item.text().is_some())
}

/// `{"type":"string"}`, as names are.
pub fn says_nothing_of_names(schema: Value<'_, '_>) -> bool {
    schema.is("true")
        || (schema.is_object()
            && schema.children().all(|member| member.key().escaped() == "type" && member.is(r#""string""#)))
}

pub fn is_whole(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Values by type, as far as they are of those declared; `None` when one is an object or an array.
pub fn listed<'t, 'a: 't>(
    values: impl Iterator<Item = Value<'t, 'a>> + Clone,
    declared: Option<&[Type]>,
) -> Option<Vec<Way<'a>>> {
    let all_whole = values.clone().filter(|value| value.is_number()).all(|value| is_whole(value.token()));
    let numbers = match declared {
        Some(types) if types.contains(&Type::Integer) && !types.contains(&Type::Number) => Type::Integer,
        Some(_) => Type::Number,
        None if all_whole => Type::Integer,
        None => Type::Number,
    };
    let mut ways: Vec<Way<'a>> = Vec::new();
    for value in values {
        let token = value.token();
        let kind = match token.as_bytes().first()? {
            b'"' => Type::String,
            b't' | b'f' => Type::Boolean,
            b'n' => Type::Null,
            b'{' | b'[' => return None,
            _ => numbers,
        };
        if declared.is_some_and(|types| !types.contains(&kind)) {
            continue;
        }
        let values = if kind == Type::Null { Vec::new() } else { vec![token] };
        match ways.iter_mut().find(|way| way.kind == kind) {
            Some(way) => way.values.extend(values),
            None => ways.push(Way { kind, values }),
        }
    }
    Some(ways)
}

/// One end of a range.
#[derive(Clone, Copy)]
pub enum Bound {
    Least,
    Most,
}

impl Bound {
    pub fn of(name: &str) -> Self {
        if name.ends_with("Minimum") { Bound::Least } else { Bound::Most }
    }

    pub fn inclusive(self) -> &'static str {
        match self {
            Bound::Least => "minimum",
            Bound::Most => "maximum",
        }
    }

    pub fn exclusive(self) -> &'static str {
        match self {
            Bound::Least => "exclusiveMinimum",
            Bound::Most => "exclusiveMaximum",
        }
    }

    /// The inclusive bound that says all: whole numbers above 0 are those from 1 on.
    pub fn exact(self, kind: Type, members: &[Value<'_, '_>]) -> Option<String> {
        let find = |name: &str| {
            members.iter().find(|member| member.key().escaped() == name).map(|member| member.token())
        };
        let inclusive = find(self.inclusive());
        let exclusive = match find(self.exclusive()) {
            None | Some("false") => return inclusive.map(str::to_owned),
            // Until 2013 this was a switch of the other.
            Some("true") => inclusive?,
            Some(number) => number,
        };
        if kind != Type::Integer {
            return None;
        }
        let exclusive: i64 = exclusive.parse().ok()?;
        let inclusive = inclusive.map(str::parse::<i64>).transpose().ok()?;
        let bound = match self {
            Bound::Least => exclusive.checked_add(1)?.max(inclusive.unwrap_or(i64::MIN)),
            Bound::Most => exclusive.checked_sub(1)?.min(inclusive.unwrap_or(i64::MAX)),
        };
        Some(bound.to_string())
    }

    /// The inclusive bound that comes nearest.
    pub fn nearest<'a>(self, members: &[Value<'_, 'a>]) -> Option<&'a str> {
        let find = |name: &str| members.iter().find(|member| member.key().escaped() == name);
        let number = find(self.inclusive()).or_else(|| find(self.exclusive()).filter(|m| m.is_number()));
        number.map(|member| member.token())
    }
}
