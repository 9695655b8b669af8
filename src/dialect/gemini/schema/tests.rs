//! What becomes of schemas, keyword by keyword.

use super::*;

fn written(role: Role, promised: bool, schema: &str) -> Result<String, Error> {
    let raw: &RawValue = serde_json::from_str(schema).unwrap();
    let purpose = Purpose { role, promised, place: &|| "schema".to_owned() };
    let mut out = Vec::new();
    write(raw, &purpose, &mut Writer::new(&mut out))?;
    serde_json::from_slice::<serde::de::IgnoredAny>(&out).unwrap();
    Ok(String::from_utf8(out).unwrap())
}

/// The schema of a property `x` of a tool that promises nothing.
fn property(schema: &str) -> Result<String, Error> {
    let whole = format!(r#"{{"type":"object","properties":{{"x":{schema}}}}}"#);
    let written = written(Role::Parameters, false, &whole)?;
    let inside = written.strip_prefix(r#"{"type":"object","properties":{"x":"#);
    Ok(inside.and_then(|rest| rest.strip_suffix("}}")).unwrap_or(&written).to_owned())
}

fn reply(schema: &str) -> Result<String, Error> {
    written(Role::Reply, true, schema)
}

#[track_caller]
fn becomes(schema: &str, expected: &str) {
    assert_eq!(property(schema).as_deref(), Ok(expected), "{schema}");
}

#[track_caller]
fn is_refused(outcome: Result<String, Error>, path: &str, why: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.param.as_deref(), Some(path), "{}", error.message);
    assert!(error.message.contains(why), "{}", error.message);
}

/// What Google lists, written by hand, by pydantic and by zod.
const PLAIN: &[&str] = &[
    r#"{ "type" : "object" }"#,
    r#"{"type":"object","properties":{"a":{"type":["string","null"],"default":null},"b":{}},"required":["a"],"additionalProperties":false,"title":"T","description":"D"}"#,
    r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"n":{"type":"integer","minimum":-9007199254740991,"maximum":9007199254740991,"enum":[1,2.0e0,3]}}}"#,
    r##"{"$defs":{"Node":{"properties":{"value":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/Node"},{"type":"null"}],"default":null}},"required":["value"],"type":"object"}},"properties":{"head":{"$ref":"#/$defs/Node"}},"required":["head"],"type":"object"}"##,
    r#"{"type":"object","properties":{"p":{"type":"array","prefixItems":[{"type":"number","format":"double"},{"type":"string","format":"date"}],"minItems":2,"maxItems":2},"u":{"oneOf":[{"type":"string","enum":["a"]},{"type":"array","items":{"type":"boolean"}}]},"bare":{"type":"array"}}}"#,
];

#[test]
fn what_gemini_takes_leaves_byte_for_byte() {
    for &schema in PLAIN {
        let expected = if schema.contains("2.0e0") { continue } else { schema };
        assert_eq!(written(Role::Parameters, false, schema).as_deref(), Ok(expected));
    }
}

/// The look that spares a schema the repair and the repair itself must agree on what is right.
#[test]
fn repairing_what_gemini_takes_changes_nothing_but_order_and_white_space() {
    for &schema in PLAIN {
        let tape = Tape::read(schema).unwrap();
        let purpose = Purpose { role: Role::Parameters, promised: true, place: &String::new };
        let mut repair = Repair::new(&tape, &purpose);
        let mut out = Vec::new();
        repair.write_root(&mut Writer::new(&mut out)).unwrap();
        let value = |json: &[u8]| {
            let mut value: serde_json::Value = serde_json::from_slice(json).unwrap();
            value.as_object_mut().unwrap().remove("$schema");
            value
        };
        if !schema.contains("2.0e0") {
            assert_eq!(value(&out), value(schema.as_bytes()), "{schema}");
        }
    }
}

#[test]
fn a_constant_is_a_list_of_one() {
    becomes(r#"{"const":"city"}"#, r#"{"type":"string","enum":["city"]}"#);
    becomes(r#"{"const":7,"type":"integer"}"#, r#"{"type":"integer","enum":[7]}"#);
    becomes(r#"{"const":1.50}"#, r#"{"type":"number","enum":[1.50]}"#);
    becomes(r#"{"const":null}"#, r#"{"type":"null"}"#);
    becomes(r#"{"const":true}"#, r#"{"type":"boolean","description":"In JSON Schema: {\"const\":true}"}"#);
}

#[test]
fn lists_of_values_are_told_by_type() {
    becomes(r#"{"enum":["a","b"]}"#, r#"{"type":"string","enum":["a","b"]}"#);
    becomes(r#"{"enum":[true,false]}"#, r#"{"type":"boolean"}"#);
    becomes(
        r#"{"enum":["a",1,null],"description":"D"}"#,
        r#"{"anyOf":[{"type":"string","enum":["a"]},{"type":"integer","enum":[1]},{"type":"null"}],"description":"D"}"#,
    );
    becomes(
        r#"{"type":["string","null"],"enum":["a",null]}"#,
        r#"{"anyOf":[{"type":"string","enum":["a"]},{"type":"null"}]}"#,
    );
    becomes(r#"{"type":"string","enum":["a",1]}"#, r#"{"type":"string","enum":["a"]}"#);
    is_refused(property(r#"{"type":"string","enum":[]}"#), "schema.properties.x.enum", "no value");
    is_refused(property(r#"{"enum":"a"}"#), "schema.properties.x.enum", "array");
    becomes(r#"{"enum":[{"a":1}]}"#, r#"{"description":"In JSON Schema: {\"enum\":[{\"a\":1}]}"}"#);
}

#[test]
fn several_types_are_several_ways_each_with_its_own_keywords() {
    becomes(
        r#"{"type":["string","array"],"items":{"type":"string"},"description":"Paths"}"#,
        r#"{"anyOf":[{"type":"string"},{"type":"array","items":{"type":"string"}}],"description":"Paths"}"#,
    );
    becomes(r#"{"type":"string","nullable":true}"#, r#"{"type":["string","null"]}"#);
    becomes(r#"{"type":"string","nullable":false}"#, r#"{"type":"string"}"#);
    becomes(r#"{"type":"string","items":{"type":"string"}}"#, r#"{"type":"string"}"#);
    becomes(r#"{"properties":{"a":{}}}"#, r#"{"type":"object","properties":{"a":{}}}"#);
    is_refused(property(r#"{"type":"any"}"#), "schema.properties.x.type", "must be object");
}

#[test]
fn whole_numbers_above_nought_are_those_from_one_on() {
    becomes(
        r#"{"type":"integer","exclusiveMinimum":0,"exclusiveMaximum":10}"#,
        r#"{"type":"integer","minimum":1,"maximum":9}"#,
    );
    becomes(r#"{"type":"integer","minimum":5,"exclusiveMinimum":0}"#, r#"{"type":"integer","minimum":5}"#);
    becomes(
        r#"{"type":"number","exclusiveMinimum":0.50}"#,
        r#"{"type":"number","minimum":0.50,"description":"In JSON Schema: {\"exclusiveMinimum\":0.50}"}"#,
    );
    becomes(r#"{"type":"integer","minimum":3,"exclusiveMinimum":true}"#, r#"{"type":"integer","minimum":4}"#);
}

#[test]
fn what_gemini_has_no_word_for_is_said_in_words() {
    becomes(
        r#"{"type":"string","format":"email","pattern":"^\\S+@\\S+$","minLength":3,"description":"Who"}"#,
        r#"{"type":"string","description":"Who\nIn JSON Schema: {\"format\":\"email\",\"pattern\":\"^\\\\S+@\\\\S+$\",\"minLength\":3}"}"#,
    );
    becomes(
        r#"{"type":"array","items":{},"uniqueItems":true,"examples":[[1]]}"#,
        r#"{"type":"array","items":{},"description":"In JSON Schema: {\"uniqueItems\":true,\"examples\":[[1]]}"}"#,
    );
    becomes(r#"{"type":"string","$comment":"for us","description":null}"#, r#"{"type":"string"}"#);
}

#[test]
fn what_decides_about_the_shape_is_a_wish_unless_it_was_promised() {
    let schema = r#"{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},"anyOf":[{"required":["a"]},{"required":["b"]}]}"#;
    assert_eq!(
        written(Role::Parameters, false, schema).as_deref(),
        Ok(
            r#"{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},"description":"In JSON Schema: {\"anyOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}]}"}"#
        )
    );
    is_refused(written(Role::Parameters, true, schema), "schema.anyOf", "Gemini has no counterpart");
    let schema = r#"{"type":"object","properties":{"x":{"type":"string","not":{"const":"y"}}}}"#;
    is_refused(reply(schema), "schema.properties.x.not", "Gemini has no counterpart");
    becomes(r#"{"not":{}}"#, r#"{"description":"In JSON Schema: {\"not\":{}}"}"#);
}

#[test]
fn a_reference_stands_alone() {
    let wrapped = |property: &str| {
        written(
            Role::Parameters,
            false,
            &format!(
                r#"{{"type":"object","properties":{{"x":{property}}},"$defs":{{"A":{{"type":"string"}}}}}}"#
            ),
        )
    };
    let defs = r#"},"$defs":{"A":{"type":"string"}}}"#;
    for (property, expected) in [
        (
            r##"{"$ref":"#/$defs/A","description":"D","default":"a"}"##,
            r##"{"anyOf":[{"$ref":"#/$defs/A"}],"default":"a","description":"D"}"##,
        ),
        (
            r##"{"allOf":[{"$ref":"#/$defs/A"}],"description":"D"}"##,
            r##"{"anyOf":[{"$ref":"#/$defs/A"}],"description":"D"}"##,
        ),
        (
            r##"{"$ref":"#/$defs/A","nullable":true}"##,
            r##"{"anyOf":[{"$ref":"#/$defs/A"},{"type":"null"}]}"##,
        ),
        (r##"{"allOf":[{"$ref":"#/$defs/A"}]}"##, r##"{"$ref":"#/$defs/A"}"##),
    ] {
        let expected = format!(r#"{{"type":"object","properties":{{"x":{expected}{defs}"#);
        assert_eq!(wrapped(property), Ok(expected), "{property}");
    }
    assert_eq!(
        wrapped(r##"{"$ref":"#/$defs/A","type":"string","minLength":1}"##).as_deref(),
        Ok(
            r#"{"type":"object","properties":{"x":{"type":"string","description":"In JSON Schema: {\"minLength\":1}"}}}"#
        )
    );
    is_refused(wrapped(r##"{"$ref":"#/$defs/B"}"##), "schema.properties.x.$ref", "refers to nothing");
    is_refused(wrapped(r#"{"$ref":"other.json"}"#), "schema.properties.x.$ref", "outside");
    is_refused(wrapped(r#"{"$ref":7}"#), "schema.properties.x.$ref", "string");
}

#[test]
fn references_to_anywhere_become_definitions() {
    // zod 3 refers to where a schema stood first, and to the whole by `#`.
    let schema = r##"{"type":"object","properties":{"a":{"type":"object","properties":{"deep":{"type":"string"}}},"b":{"$ref":"#/properties/a"},"self":{"$ref":"#"}}}"##;
    let a = r#"{"type":"object","properties":{"deep":{"type":"string"}}}"#;
    let properties = format!(
        r##""properties":{{"a":{a},"b":{{"$ref":"#/$defs/properties_a"}},"self":{{"$ref":"#/$defs/root"}}}}"##
    );
    assert_eq!(
        written(Role::Parameters, false, schema),
        Ok(format!(
            r#"{{"type":"object",{properties},"$defs":{{"properties_a":{a},"root":{{"type":"object",{properties}}}}}}}"#
        ))
    );
    let schema = r##"{"type":"object","properties":{"a":{"$ref":"#/definitions/A%3CB%3E~1c"}},"definitions":{"A<B>/c":{"type":"string"},"unused":{"type":"string"}}}"##;
    assert_eq!(
        written(Role::Parameters, false, schema).as_deref(),
        Ok(
            r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/A_3CB_3E_1c"}},"$defs":{"A_3CB_3E_1c":{"type":"string"}}}"##
        )
    );
}

#[test]
fn a_schema_that_is_a_reference_is_what_it_refers_to() {
    let schema = r##"{"$ref":"#/$defs/Tree","$defs":{"Tree":{"type":"object","properties":{"children":{"type":"array","items":{"$ref":"#/$defs/Tree"}}},"required":["children"]}}}"##;
    let tree = r##""type":"object","properties":{"children":{"type":"array","items":{"$ref":"#/$defs/Tree"}}},"required":["children"]"##;
    assert_eq!(reply(schema), Ok(format!(r#"{{{tree},"$defs":{{"Tree":{{{tree}}}}}}}"#)));
}

#[test]
fn circles_without_an_end_are_refused() {
    let linked = |next: &str, required: &str| {
        reply(&format!(
            r##"{{"type":"object","properties":{{"head":{{"$ref":"#/$defs/N"}}}},"$defs":{{"N":{{"type":"object","properties":{{"next":{next}}}{required}}}}}}}"##
        ))
    };
    let node = r##"{"$ref":"#/$defs/N"}"##;
    let required = r#","required":["next"]"#;
    assert!(linked(node, "").is_ok());
    assert!(linked(&format!(r#"{{"anyOf":[{node},{{"type":"null"}}]}}"#), required).is_ok());
    assert!(linked(&format!(r#"{{"type":"array","items":{node}}}"#), required).is_ok());
    let why = "all required";
    is_refused(linked(node, required), "schema.$defs.N", why);
    is_refused(
        linked(&format!(r#"{{"anyOf":[{node},{{"type":"string"}}]}}"#), required),
        "schema.$defs.N",
        why,
    );
    is_refused(
        linked(&format!(r#"{{"type":"array","minItems":1,"items":{node}}}"#), required),
        "schema.$defs.N",
        why,
    );
    let made_of_itself =
        r##"{"type":"object","properties":{"x":{"allOf":[{"$ref":"#/properties/x"},{"type":"object"}]}}}"##;
    is_refused(reply(made_of_itself), "schema.properties.x", "in circles");
}

#[test]
fn all_of_is_one_object() {
    becomes(
        r#"{"allOf":[{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]},{"type":"object","properties":{"b":{"type":"string"}},"required":["b","a"]}],"description":"D"}"#,
        r#"{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},"required":["a","b"],"description":"D"}"#,
    );
    is_refused(
        property(r#"{"allOf":[{"type":"string"},{"type":"number"}]}"#),
        "schema.properties.x.allOf[1].type",
        "said differently",
    );
    is_refused(
        property(
            r#"{"allOf":[{"properties":{"a":{"type":"string"}}},{"properties":{"a":{"type":"number"}}}]}"#,
        ),
        "schema.properties.x.allOf[1].properties.a",
        "described differently",
    );
}

#[test]
fn tuples_maps_and_booleans_of_every_draft() {
    becomes(
        r#"{"type":"array","items":[{"type":"string"},true],"additionalItems":false}"#,
        r#"{"type":"array","prefixItems":[{"type":"string"},{}],"maxItems":2}"#,
    );
    becomes(
        r#"{"type":"object","patternProperties":{"^.*$":{"type":"number"}},"additionalProperties":false}"#,
        r#"{"type":"object","additionalProperties":{"type":"number"}}"#,
    );
    becomes(
        r#"{"type":"object","propertyNames":{"type":"string"},"additionalProperties":{}}"#,
        r#"{"type":"object","additionalProperties":{}}"#,
    );
    becomes(
        r#"{"type":"object","patternProperties":{"^x-":{"type":"number"}}}"#,
        r#"{"type":"object","description":"In JSON Schema: {\"patternProperties\":{\"^x-\":{\"type\":\"number\"}}}"}"#,
    );
    becomes("true", "{}");
    is_refused(property("false"), "schema.properties.x", "no value at all");
    is_refused(property("7"), "schema.properties.x", "must be a JSON Schema");
}

#[test]
fn what_is_required_is_described() {
    becomes(
        r#"{"type":"object","properties":{"a":{}},"required":["b","a","b"]}"#,
        r#"{"type":"object","properties":{"a":{},"b":{}},"required":["b","a"]}"#,
    );
    is_refused(property(r#"{"type":"object","required":true}"#), "schema.properties.x.required", "array");
}

#[test]
fn a_reply_is_written_in_the_order_in_which_it_is_described() {
    let ordered = r#"{"type":"object","properties":{"why":{"type":"string"},"what":{"type":"string"}},"required":["why"]}"#;
    assert_eq!(reply(ordered).as_deref(), Ok(ordered));
    let members = r#""type":"object","properties":{"why":{"type":"string"},"what":{"type":"string"}},"required":["what"]"#;
    let schema = format!("{{{members}}}");
    assert_eq!(reply(&schema), Ok(format!(r#"{{{members},"propertyOrdering":["why","what"]}}"#)));
    assert_eq!(written(Role::Parameters, true, &schema), Ok(schema));
}

#[test]
fn parameters_are_an_object() {
    let parameters = |schema: &str| written(Role::Parameters, false, schema);
    let kind = |schema: &str| parameters(schema);
    assert_eq!(
        kind(r#"{"properties":{"a":{}}}"#).as_deref(),
        Ok(r#"{"type":"object","properties":{"a":{}}}"#)
    );
    assert_eq!(kind(r#"{"description":"D"}"#).as_deref(), Ok(r#"{"type":"object","description":"D"}"#));
    assert_eq!(kind(r#"{"type":["object","null"]}"#).as_deref(), Ok(r#"{"type":"object"}"#));
    is_refused(kind(r#"{"type":"string"}"#), "schema", "an object");
    is_refused(kind(r#"{"anyOf":[{"type":"object"}]}"#), "schema", "one object");
    is_refused(kind("[]"), "schema", "an object");
    assert!(reply(r#"{"anyOf":[{"type":"object"},{"type":"array"}]}"#).is_ok());
}

#[test]
fn no_parameters_are_no_schema() {
    let is_empty = |schema: &str| super::is_empty(serde_json::from_str(schema).unwrap());
    assert!(is_empty("{}"));
    assert!(is_empty(r#"{"type":"object","properties":{}}"#));
    assert!(is_empty(
        r#"{"$schema":"s","type":"object","properties":{},"required":[],"additionalProperties":false}"#
    ));
    assert!(!is_empty(r#"{"type":"object"}"#));
    assert!(!is_empty(r#"{"type":"object","properties":{},"additionalProperties":true}"#));
    assert!(!is_empty(r#"{"type":"object","properties":{"a":{}}}"#));
}

#[test]
fn names_given_twice_are_refused() {
    is_refused(property(r#"{"type":"string","type":"number"}"#), "schema.properties.x.type", "second time");
}

#[test]
fn a_small_schema_cannot_grow_without_end() {
    // Each level repeats the one below it twice.
    let level = |n: usize| {
        format!(
            r##""L{n}":{{"type":"object","properties":{{"a":{{"$ref":"#/$defs/L{m}","type":"object"}},"b":{{"$ref":"#/$defs/L{m}","type":"object"}}}}}}"##,
            m = n + 1
        )
    };
    let levels: Vec<String> = (0..40).map(level).collect();
    let schema = format!(
        r##"{{"type":"object","properties":{{"x":{{"$ref":"#/$defs/L0"}}}},"$defs":{{{},"L40":{{"type":"object"}}}}}}"##,
        levels.join(",")
    );
    let error = reply(&schema).unwrap_err();
    assert!(error.message.contains("too large"), "{}", error.message);
}
