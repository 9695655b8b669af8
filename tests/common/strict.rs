//! Rules of the clouds that a body must keep, read from their documentation and not from our writers.
//! The stand-in cloud of the integration run checks more; these are the ones that cost nothing.

use fairlead::dialect::Upstream;
use serde_json::{Map, Value};

/// Fails unless the cloud would take the body.
pub fn check(upstream: Upstream, body: &str, case: &str) {
    let value: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{case}: {error}: {body}"));
    match upstream {
        Upstream::Converse => converse(&value, case),
        Upstream::Gemini => gemini(&value, case),
    }
}

fn members<'v>(value: &'v Value, known: &[&str], case: &str) -> &'v Map<String, Value> {
    let map = value.as_object().unwrap_or_else(|| panic!("{case}: {value} is no object"));
    for key in map.keys() {
        assert!(known.contains(&key.as_str()), "{case}: `{key}` among {known:?}");
    }
    map
}

/// The one member of a union.
fn one<'v>(value: &'v Value, known: &[&str], case: &str) -> (&'v str, &'v Value) {
    let map = members(value, known, case);
    assert_eq!(map.len(), 1, "{case}: a union has one member: {value}");
    let (key, value) = map.iter().next().unwrap();
    (key, value)
}

fn list<'v>(value: &'v Value, case: &str) -> &'v [Value] {
    let items = value.as_array().unwrap_or_else(|| panic!("{case}: {value} is no array"));
    assert!(!items.is_empty(), "{case}: an empty list");
    items
}

fn text<'v>(value: &'v Value, case: &str) -> &'v str {
    let text = value.as_str().unwrap_or_else(|| panic!("{case}: {value} is no string"));
    assert!(!text.trim().is_empty(), "{case}: a blank text");
    text
}

fn unique(names: &[&str], case: &str) {
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), names.len(), "{case}: {names:?}");
}

/// docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and its types.
fn converse(body: &Value, case: &str) {
    members(body, &["system", "messages", "inferenceConfig", "toolConfig", "outputConfig"], case);
    if let Some(system) = body.get("system") {
        list(system, case).iter().for_each(|block| {
            text(one(block, &["text"], case).1, case);
        });
    }
    let mut calls: Vec<&str> = Vec::new();
    for (index, message) in list(&body["messages"], case).iter().enumerate() {
        members(message, &["role", "content"], case);
        let role = if index % 2 == 0 { "user" } else { "assistant" };
        assert_eq!(message["role"], role, "{case}: turns alternate and a user begins");
        let mut results = Vec::new();
        let mut asked = Vec::new();
        for block in list(&message["content"], case) {
            match one(block, &["text", "image", "toolUse", "toolResult"], case) {
                ("text", words) => {
                    text(words, case);
                }
                ("image", image) => converse_image(image, case),
                ("toolUse", call) => {
                    assert_eq!(role, "assistant", "{case}");
                    members(call, &["toolUseId", "name", "input"], case);
                    assert!(call["input"].is_object(), "{case}: {call}");
                    text(&call["name"], case);
                    asked.push(text(&call["toolUseId"], case));
                }
                (_, result) => {
                    assert_eq!(role, "user", "{case}");
                    members(result, &["toolUseId", "content"], case);
                    for block in result["content"].as_array().expect(case) {
                        match one(block, &["text", "image"], case) {
                            ("text", words) => drop(text(words, case)),
                            (_, image) => converse_image(image, case),
                        }
                    }
                    results.push(text(&result["toolUseId"], case));
                }
            }
        }
        assert_eq!(results, calls, "{case}: results of the calls of the turn before, all of them");
        assert!(
            calls.is_empty() || !message["content"][0]["toolResult"].is_null(),
            "{case}: results come first"
        );
        unique(&asked, case);
        calls = asked;
        if !(results.is_empty() && calls.is_empty()) {
            assert!(body.get("toolConfig").is_some(), "{case}: tool blocks without toolConfig");
        }
    }
    assert!(calls.is_empty(), "{case}: {calls:?} unanswered");
    if let Some(config) = body.get("inferenceConfig") {
        let known = ["maxTokens", "temperature", "topP", "stopSequences"];
        assert!(!members(config, &known, case).is_empty(), "{case}");
        assert!(config.get("maxTokens").is_none_or(|count| count.as_i64() >= Some(1)), "{case}");
        if let Some(stops) = config.get("stopSequences") {
            assert!(list(stops, case).iter().all(|stop| stop.as_str().is_some_and(|text| !text.is_empty())));
        }
    }
    if let Some(config) = body.get("toolConfig") {
        members(config, &["tools", "toolChoice"], case);
        let specs = list(&config["tools"], case).iter().map(|tool| one(tool, &["toolSpec"], case).1);
        let names: Vec<&str> = specs
            .map(|spec| {
                members(spec, &["name", "description", "inputSchema", "strict"], case);
                let (_, schema) = one(&spec["inputSchema"], &["json"], case);
                assert_eq!(schema["type"], "object", "{case}");
                text(&spec["name"], case)
            })
            .collect();
        unique(&names, case);
        if let Some(choice) = config.get("toolChoice")
            && let ("tool", tool) = one(choice, &["auto", "any", "tool"], case)
        {
            assert!(names.contains(&text(&tool["name"], case)), "{case}");
        }
    }
    if let Some(output) = body.get("outputConfig") {
        let (_, format) = one(output, &["textFormat"], case);
        members(format, &["type", "structure"], case);
        let (_, schema) = one(&format["structure"], &["jsonSchema"], case);
        members(schema, &["schema", "name", "description"], case);
        assert!(serde_json::from_str::<Map<String, Value>>(text(&schema["schema"], case)).is_ok(), "{case}");
    }
}

fn converse_image(image: &Value, case: &str) {
    members(image, &["format", "source"], case);
    assert!(["png", "jpeg", "gif", "webp"].contains(&text(&image["format"], case)), "{case}");
    base64(one(&image["source"], &["bytes"], case).1, case);
}

fn base64(value: &Value, case: &str) {
    let data = text(value, case).trim_end_matches('=');
    assert!(data.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/'), "{case}: {data}");
}

/// docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference and …/function-calling.
fn gemini(body: &Value, case: &str) {
    members(body, &["systemInstruction", "contents", "tools", "toolConfig", "generationConfig"], case);
    if let Some(system) = body.get("systemInstruction") {
        members(system, &["parts"], case);
        list(&system["parts"], case).iter().for_each(|part| {
            text(one(part, &["text"], case).1, case);
        });
    }
    let contents = list(&body["contents"], case);
    assert_eq!(contents[0]["role"], "user", "{case}: a user begins");
    let mut calls: Vec<&str> = Vec::new();
    for content in contents {
        members(content, &["role", "parts"], case);
        let role = text(&content["role"], case);
        assert!(["user", "model"].contains(&role), "{case}: {role}");
        let (mut results, mut asked) = (Vec::new(), Vec::new());
        for part in list(&content["parts"], case) {
            let mut part = part.as_object().expect(case).clone();
            let signature = part.remove("thoughtSignature");
            let part = Value::Object(part);
            let (kind, value) = one(&part, &["text", "inlineData", "functionCall", "functionResponse"], case);
            assert!(signature.is_none() || kind == "functionCall", "{case}");
            match kind {
                "text" => drop(text(value, case)),
                "inlineData" => gemini_image(value, case),
                "functionCall" => {
                    assert_eq!(role, "model", "{case}");
                    members(value, &["name", "args"], case);
                    assert!(value["args"].is_object(), "{case}");
                    asked.push(text(&value["name"], case).to_owned());
                }
                _ => {
                    assert_eq!(role, "user", "{case}");
                    members(value, &["name", "response", "parts"], case);
                    assert!(value["response"].is_object(), "{case}");
                    if let Some(parts) = value.get("parts") {
                        list(parts, case).iter().for_each(|part| gemini_image(&part["inlineData"], case));
                    }
                    results.push(text(&value["name"], case).to_owned());
                }
            }
        }
        assert_eq!(results, calls, "{case}: results of the calls of the turn before, all of them, in order");
        if !results.is_empty() {
            assert_eq!(list(&content["parts"], case).len(), results.len(), "{case}: results stand alone");
        }
        calls = asked.leak().iter().map(String::as_str).collect();
    }
    assert!(calls.is_empty(), "{case}: {calls:?} unanswered");
    let mut names = Vec::new();
    if let Some(tools) = body.get("tools") {
        assert_eq!(list(tools, case).len(), 1, "{case}: all functions in one tool");
        for function in list(one(&tools[0], &["functionDeclarations"], case).1, case) {
            members(function, &["name", "description", "parametersJsonSchema"], case);
            assert!(function.get("parametersJsonSchema").is_none_or(Value::is_object), "{case}");
            names.push(text(&function["name"], case));
        }
        unique(&names, case);
    }
    if let Some(config) = body.get("toolConfig") {
        assert!(!names.is_empty(), "{case}: toolConfig without tools");
        let (_, config) = one(config, &["functionCallingConfig"], case);
        members(config, &["mode", "allowedFunctionNames"], case);
        let mode = text(&config["mode"], case);
        assert!(["AUTO", "ANY", "NONE"].contains(&mode), "{case}: {mode}");
        if let Some(allowed) = config.get("allowedFunctionNames") {
            assert_eq!(mode, "ANY", "{case}: names only with ANY");
            assert!(list(allowed, case).iter().all(|name| names.contains(&text(name, case))), "{case}");
        }
    }
    if let Some(config) = body.get("generationConfig") {
        let known = [
            "maxOutputTokens",
            "temperature",
            "topP",
            "seed",
            "presencePenalty",
            "frequencyPenalty",
            "stopSequences",
            "responseMimeType",
            "responseJsonSchema",
        ];
        assert!(!members(config, &known, case).is_empty(), "{case}");
        if let Some(stops) = config.get("stopSequences") {
            assert!(list(stops, case).len() <= 5, "{case}");
        }
        if config.get("responseJsonSchema").is_some() {
            assert_eq!(config["responseMimeType"], "application/json", "{case}");
        }
    }
}

fn gemini_image(data: &Value, case: &str) {
    members(data, &["mimeType", "data"], case);
    assert!(text(&data["mimeType"], case).starts_with("image/"), "{case}");
    base64(&data["data"], case);
}
