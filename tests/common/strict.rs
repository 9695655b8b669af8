//! Rules of the clouds that a body must keep, read from their documentation and not from our writers.
//! The stand-in cloud of the integration run checks more; these are the ones that cost nothing.

use fairlead::dialect::openai::Edition as Completions;
use fairlead::dialect::{Client, Edition, Upstream};
use serde_json::{Map, Value};

/// Fails unless the cloud would take the body.
pub fn check(upstream: Upstream, client: Client, body: &str, case: &str) {
    let value: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{case}: {error}: {body}"));
    match upstream {
        Upstream::Converse => converse(&value, case),
        Upstream::Gemini => gemini(&value, case),
        Upstream::Messages(edition) => {
            messages_top(edition, &value, case);
            // What a client says in the cloud's own dialect is between the two of them.
            if !upstream.speaks(client) {
                messages(&value, case);
            }
        }
        Upstream::Completions(edition) => {
            if !upstream.speaks(client) {
                completions(edition, &value, case);
            }
        }
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

/// A name or an id as Bedrock and Claude take it.
fn word<'v>(value: &'v Value, case: &str) -> &'v str {
    let word = text(value, case);
    assert!(word.len() <= 64, "{case}: {word}");
    assert!(word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'), "{case}: {word}");
    word
}

fn unique(names: &[&str], case: &str) {
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), names.len(), "{case}: {names:?}");
}

/// docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and its types.
fn converse(body: &Value, case: &str) {
    let known = [
        "system",
        "messages",
        "inferenceConfig",
        "toolConfig",
        "outputConfig",
        "additionalModelRequestFields",
        "additionalModelResponseFieldPaths",
        "guardrailConfig",
        "performanceConfig",
        "requestMetadata",
        "promptVariables",
        "serviceTier",
    ];
    members(body, &known, case);
    if let Some(system) = body.get("system") {
        cache_points(list(system, case), case);
        for block in list(system, case) {
            if let ("text", words) = one(block, &["text", "cachePoint"], case) {
                text(words, case);
            }
        }
    }
    converse_extra(body, case);
    let mut documents = Vec::new();
    let (mut calls, mut all_calls): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for (index, message) in list(&body["messages"], case).iter().enumerate() {
        members(message, &["role", "content"], case);
        let role = if index % 2 == 0 { "user" } else { "assistant" };
        assert_eq!(message["role"], role, "{case}: turns alternate and a user begins");
        let mut results = Vec::new();
        let mut asked = Vec::new();
        let content = list(&message["content"], case);
        cache_points(content, case);
        let holds = |kind| content.iter().any(|block| block.get(kind).is_some());
        assert!(!holds("document") || holds("text"), "{case}: a document without a text beside it");
        for block in content {
            let known = [
                "text",
                "image",
                "document",
                "video",
                "audio",
                "searchResult",
                "reasoningContent",
                "cachePoint",
                "toolUse",
                "toolResult",
            ];
            match one(block, &known, case) {
                ("text", words) => {
                    text(words, case);
                }
                ("image", image) => converse_image(image, case),
                ("document", document) => documents.push(converse_document(document, case)),
                ("video" | "audio", recording) => {
                    members(recording, &["format", "source"], case);
                    text(&recording["format"], case);
                    let (_, data) = one(&recording["source"], &["bytes"], case);
                    base64(data, case);
                }
                ("searchResult", result) => converse_search_result(result, case),
                ("cachePoint", _) => {}
                ("reasoningContent", thought) => {
                    assert_eq!(role, "assistant", "{case}");
                    match one(thought, &["reasoningText", "redactedContent"], case) {
                        ("reasoningText", thought) => {
                            members(thought, &["text", "signature"], case);
                            // Claude takes no thought without its signature.
                            text(&thought["signature"], case);
                        }
                        (_, data) => base64(data, case),
                    }
                }
                ("toolUse", call) => {
                    assert_eq!(role, "assistant", "{case}");
                    members(call, &["toolUseId", "name", "input"], case);
                    assert!(call["input"].is_object(), "{case}: {call}");
                    word(&call["name"], case);
                    asked.push(word(&call["toolUseId"], case));
                }
                (_, result) => {
                    assert_eq!(role, "user", "{case}");
                    members(result, &["toolUseId", "content", "status"], case);
                    let content = result["content"].as_array().expect(case);
                    if let Some(status) = result.get("status") {
                        assert!(status == "error" && !content.is_empty(), "{case}: {result}");
                    }
                    for block in content {
                        match one(block, &["text", "image", "document", "searchResult"], case) {
                            ("text", words) => drop(text(words, case)),
                            ("image", image) => converse_image(image, case),
                            ("document", document) => documents.push(converse_document(document, case)),
                            (_, result) => converse_search_result(result, case),
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
        all_calls.extend(&asked);
        calls = asked;
        if !(results.is_empty() && calls.is_empty()) {
            assert!(body.get("toolConfig").is_some(), "{case}: tool blocks without toolConfig");
        }
    }
    assert!(calls.is_empty(), "{case}: {calls:?} unanswered");
    unique(&all_calls, case);
    unique(&documents, case);
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
        cache_points(list(&config["tools"], case), case);
        let tools =
            list(&config["tools"], case).iter().map(|tool| one(tool, &["toolSpec", "cachePoint"], case));
        let specs = tools.filter(|(kind, _)| *kind == "toolSpec").map(|(_, spec)| spec);
        let names: Vec<&str> = specs
            .map(|spec| {
                members(spec, &["name", "description", "inputSchema", "strict"], case);
                let (_, schema) = one(&spec["inputSchema"], &["json"], case);
                assert_eq!(schema["type"], "object", "{case}");
                word(&spec["name"], case)
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
        let output = members(output, &["textFormat", "effort"], case);
        assert!(!output.is_empty(), "{case}");
        if let Some(effort) = output.get("effort") {
            assert!(["low", "medium", "high", "xhigh", "max"].contains(&text(effort, case)), "{case}");
        }
        let Some(format) = output.get("textFormat") else { return };
        members(format, &["type", "structure"], case);
        let (_, schema) = one(&format["structure"], &["jsonSchema"], case);
        members(schema, &["schema", "name", "description"], case);
        promised(&serde_json::from_str(text(&schema["schema"], case)).expect(case), case);
    }
}

/// Structured output takes only objects that are closed, and no bounds of values.
fn promised(schema: &Value, case: &str) {
    let Some(members) = schema.as_object() else { return };
    let is_object = schema["type"] == "object"
        || schema["type"].as_array().is_some_and(|types| types.contains(&Value::from("object")));
    assert!(!is_object || schema["additionalProperties"] == false, "{case}: an open object: {schema}");
    for name in ["minimum", "maximum", "minLength", "maxLength", "maxItems", "not", "oneOf", "$schema"] {
        assert!(!members.contains_key(name), "{case}: {name}");
    }
    for (name, member) in members {
        match name.as_str() {
            "properties" | "$defs" => {
                member.as_object().expect(case).values().for_each(|inner| promised(inner, case));
            }
            "anyOf" | "allOf" => list(member, case).iter().for_each(|inner| promised(inner, case)),
            "items" => promised(member, case),
            _ => {}
        }
    }
}

/// A mark stands behind what it marks, and there are at most four.
fn cache_points(blocks: &[Value], case: &str) {
    let is_point = |block: &Value| block.get("cachePoint").is_some();
    let points = blocks.iter().filter(|block| is_point(block));
    assert!(points.clone().count() <= 4, "{case}");
    for point in points {
        let point = members(&point["cachePoint"], &["type", "ttl"], case);
        assert_eq!(point["type"], "default", "{case}");
        assert!(point.get("ttl").is_none_or(|ttl| ttl == "5m" || ttl == "1h"), "{case}");
    }
    for (index, block) in blocks.iter().enumerate() {
        if is_point(block) {
            let before = index.checked_sub(1).and_then(|before| blocks.get(before));
            let before = before.unwrap_or_else(|| panic!("{case}: a mark of nothing"));
            assert!(!is_point(before) && before.get("document").is_none(), "{case}: {before}");
        }
    }
}

/// What goes beyond Converse, as Claude takes it.
fn converse_extra(body: &Value, case: &str) {
    if let Some(paths) = body.get("additionalModelResponseFieldPaths") {
        let paths = list(paths, case);
        assert!(paths.len() <= 10 && paths.iter().all(|path| text(path, case).starts_with('/')), "{case}");
    }
    let Some(extra) = body.get("additionalModelRequestFields") else { return };
    let known = [
        "thinking",
        "top_k",
        "tool_choice",
        "anthropic_beta",
        "reasoningConfig",
        "reasoning",
        "reasoning_effort",
        "inferenceConfig",
        // Of the cases that say something of their own.
        "vendor",
    ];
    assert!(!members(extra, &known, case).is_empty(), "{case}");
    if let Some(choice) = extra.get("tool_choice") {
        // litellm issues 36536 and 22637.
        let beside = body["toolConfig"].get("toolChoice").is_some();
        assert_eq!(choice.get("type").is_some(), !beside, "{case}: {choice}");
    }
    let Some(thinking) = extra.get("thinking") else { return };
    members(thinking, &["type", "budget_tokens", "display"], case);
    if thinking["type"] == "enabled" {
        let (budget, most) = (&thinking["budget_tokens"], &body["inferenceConfig"]["maxTokens"]);
        assert!(budget.as_u64() >= Some(1024), "{case}: {budget}");
        let interleaved = extra.get("anthropic_beta").is_some();
        assert!(interleaved || budget.as_u64() < most.as_u64(), "{case}: {budget} of {most}");
    } else {
        let kind = text(&thinking["type"], case);
        assert!(["adaptive", "disabled", "between_tools"].contains(&kind), "{case}: {kind}");
    }
    assert!(extra.get("top_k").is_none(), "{case}: top_k beside thinking");
    let temperature = body["inferenceConfig"].get("temperature");
    assert!(temperature.is_none_or(|value| value.as_f64() == Some(1.0)), "{case}");
    // Newer models think although they are made to call.
    let choice = &body["toolConfig"]["toolChoice"];
    assert!(
        thinking["type"] != "enabled" || (choice.get("any").is_none() && choice.get("tool").is_none()),
        "{case}: thinking and a forced tool"
    );
}

/// A document; gives its name.
fn converse_document<'v>(document: &'v Value, case: &str) -> &'v str {
    members(document, &["format", "name", "source", "context", "citations"], case);
    let formats = ["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"];
    assert!(formats.contains(&text(&document["format"], case)), "{case}");
    match one(&document["source"], &["bytes", "text", "content"], case) {
        ("bytes", data) => base64(data, case),
        ("text", words) => drop(text(words, case)),
        (_, pieces) => {
            list(pieces, case).iter().for_each(|piece| assert!(!text(&piece["text"], case).is_empty()))
        }
    }
    let name = text(&document["name"], case);
    let words = name.split(' ').all(|word| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-()[]".contains(&b))
    });
    assert!(words && name.len() <= 200, "{case}: {name}");
    name
}

fn converse_search_result(result: &Value, case: &str) {
    members(result, &["source", "title", "content", "citations"], case);
    text(&result["source"], case);
    text(&result["title"], case);
    list(&result["content"], case).iter().for_each(|piece| assert!(!text(&piece["text"], case).is_empty()));
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
    let known = [
        "systemInstruction",
        "contents",
        "tools",
        "toolConfig",
        "generationConfig",
        "safetySettings",
        "labels",
        "cachedContent",
        "modelArmorConfig",
    ];
    members(body, &known, case);
    for (name, value) in body.get("labels").and_then(Value::as_object).into_iter().flatten() {
        let fits = |word: &str| {
            word.len() <= 63
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
        };
        assert!(fits(name) && fits(text(value, case)), "{case}: {name}: {value}");
    }
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
            let (signature, resolution) = (part.remove("thoughtSignature"), part.remove("mediaResolution"));
            let part = Value::Object(part);
            let (kind, value) =
                one(&part, &["text", "inlineData", "fileData", "functionCall", "functionResponse"], case);
            assert!(signature.is_none() || matches!(kind, "functionCall" | "text"), "{case}");
            if let Some(resolution) = resolution {
                assert!(matches!(kind, "inlineData" | "fileData"), "{case}");
                members(&resolution, &["level"], case);
                text(&resolution["level"], case);
            }
            match kind {
                "text" => drop(text(value, case)),
                "inlineData" | "fileData" => gemini_data(&part, case),
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
                        list(parts, case).iter().for_each(|part| gemini_data(part, case));
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
        let (kind, tool) = one(&tools[0], &["functionDeclarations", "googleSearch"], case);
        let functions = if kind == "googleSearch" { &[] } else { list(tool, case) };
        for function in functions {
            members(function, &["name", "description", "parametersJsonSchema"], case);
            if let Some(schema) = function.get("parametersJsonSchema") {
                assert_eq!(schema["type"], "object", "{case}");
                gemini_schema(schema, schema, case);
            }
            names.push(text(&function["name"], case));
        }
        unique(&names, case);
    }
    if let Some(config) = body.get("toolConfig") {
        members(config, &["functionCallingConfig", "retrievalConfig"], case);
    }
    if let Some(config) = body["toolConfig"].get("functionCallingConfig") {
        assert!(!names.is_empty(), "{case}: functionCallingConfig without functions");
        members(config, &["mode", "allowedFunctionNames"], case);
        let mode = text(&config["mode"], case);
        assert!(["AUTO", "ANY", "NONE", "VALIDATED"].contains(&mode), "{case}: {mode}");
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
            "topK",
            "thinkingConfig",
            "candidateCount",
            "responseLogprobs",
            "logprobs",
            "mediaResolution",
        ];
        assert!(!members(config, &known, case).is_empty(), "{case}");
        if let Some(stops) = config.get("stopSequences") {
            assert!(list(stops, case).len() <= 5, "{case}");
        }
        if let Some(thinking) = config.get("thinkingConfig") {
            members(thinking, &["thinkingBudget", "thinkingLevel", "includeThoughts"], case);
            let (budget, level) = (thinking.get("thinkingBudget"), thinking.get("thinkingLevel"));
            assert!(budget.is_some() != level.is_some(), "{case}: {thinking}");
        }
        if let Some(schema) = config.get("responseJsonSchema") {
            assert_eq!(config["responseMimeType"], "application/json", "{case}");
            gemini_schema(schema, schema, case);
        }
    }
}

/// A part that is a file.
fn gemini_data(part: &Value, case: &str) {
    let (kind, data) = one(part, &["inlineData", "fileData"], case);
    let content = if kind == "inlineData" { "data" } else { "fileUri" };
    members(data, &["mimeType", content], case);
    let media_type = text(&data["mimeType"], case);
    let known = ["application/pdf", "text/plain"];
    let is_known = ["image/", "audio/", "video/"].iter().any(|kind| media_type.starts_with(kind));
    assert!(is_known || known.contains(&media_type), "{case}: {media_type}");
    if kind == "inlineData" {
        base64(&data["data"], case);
    } else {
        let uri = text(&data["fileUri"], case);
        assert!(
            ["https://", "http://", "gs://"].iter().any(|scheme| uri.starts_with(scheme)),
            "{case}: {uri}"
        );
    }
}

/// What editions take at the top: the pages named in `src/dialect/anthropic`.
fn messages_top(edition: Edition, body: &Value, case: &str) {
    let mut known = vec![
        "max_tokens",
        "messages",
        "system",
        "stop_sequences",
        "temperature",
        "top_p",
        "top_k",
        "tools",
        "tool_choice",
        "thinking",
        "metadata",
        "output_config",
        "context_management",
    ];
    match edition {
        Edition::InvokeModel => {
            known.extend(["anthropic_version", "anthropic_beta"]);
            assert_eq!(body["anthropic_version"], "bedrock-2023-05-31", "{case}");
        }
        Edition::Vertex => {
            known.extend(["anthropic_version", "stream"]);
            assert_eq!(body["anthropic_version"], "vertex-2023-10-16", "{case}");
        }
        Edition::Mantle => known.extend(["model", "stream", "user_profile_id"]),
        // It names what it does not know.
        Edition::Anthropic => {
            assert!(body["model"].is_string(), "{case}");
            return;
        }
    }
    members(body, &known, case);
    assert_eq!(body.get("model").is_some(), edition == Edition::Mantle, "{case}");
}

/// platform.claude.com/docs/en/api/messages, and what its refusals say.
fn messages(body: &Value, case: &str) {
    assert!(body["max_tokens"].as_u64().is_some_and(|most| most > 0), "{case}: max_tokens");
    let offered: Vec<&str> = body["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|tool| {
            members(tool, &["name", "description", "input_schema", "strict", "cache_control"], case);
            assert_eq!(tool["input_schema"]["type"], "object", "{case}");
            text(&tool["name"], case)
        })
        .collect();
    unique(&offered, case);
    if let Some(choice) = body.get("tool_choice") {
        assert!(!offered.is_empty(), "{case}: tool_choice without tools");
        members(choice, &["type", "name", "disable_parallel_tool_use"], case);
        assert!(["auto", "any", "tool", "none"].contains(&text(&choice["type"], case)), "{case}");
        let named = choice["type"] == "tool";
        assert_eq!(named, choice["name"].as_str().is_some_and(|name| offered.contains(&name)), "{case}");
    }
    if let Some(schema) = body["output_config"]["format"].get("schema") {
        promised(schema, case);
    }
    if let Some(thinking) = body.get("thinking") {
        members(thinking, &["type", "budget_tokens", "display"], case);
        if let Some(budget) = thinking["budget_tokens"].as_u64() {
            assert!((1024..body["max_tokens"].as_u64().unwrap()).contains(&budget), "{case}: {thinking}");
        }
        assert!(body.get("temperature").is_none_or(|temperature| *temperature == 1.0), "{case}");
        assert!(body.get("top_k").is_none(), "{case}");
    }
    for block in body["system"].as_array().into_iter().flatten() {
        assert_eq!(block["type"], "text", "{case}");
        text(&block["text"], case);
    }
    let mut calls: Vec<&str> = Vec::new();
    for (index, message) in list(&body["messages"], case).iter().enumerate() {
        members(message, &["role", "content"], case);
        let role = if index % 2 == 0 { "user" } else { "assistant" };
        assert_eq!(message["role"], role, "{case}: turns alternate and a user begins");
        let (mut results, mut asked) = (Vec::new(), Vec::new());
        for block in list(&message["content"], case) {
            match text(&block["type"], case) {
                "text" => {
                    members(block, &["type", "text", "cache_control"], case);
                    text(&block["text"], case);
                }
                "image" => {
                    members(block, &["type", "source", "cache_control"], case);
                    messages_source(
                        &block["source"],
                        &["image/png", "image/jpeg", "image/gif", "image/webp"],
                        case,
                    );
                }
                "document" => {
                    let known = ["type", "source", "title", "context", "citations", "cache_control"];
                    members(block, &known, case);
                    messages_source(&block["source"], &["application/pdf"], case);
                }
                "thinking" => {
                    assert_eq!(role, "assistant", "{case}");
                    members(block, &["type", "thinking", "signature"], case);
                    text(&block["signature"], case);
                }
                "redacted_thinking" => {
                    assert_eq!(role, "assistant", "{case}");
                    members(block, &["type", "data"], case);
                    base64(&block["data"], case);
                }
                "tool_use" => {
                    assert_eq!(role, "assistant", "{case}");
                    members(block, &["type", "id", "name", "input", "cache_control"], case);
                    assert!(block["input"].is_object() && !offered.is_empty(), "{case}: {block}");
                    text(&block["name"], case);
                    asked.push(text(&block["id"], case));
                }
                "tool_result" => {
                    assert_eq!(role, "user", "{case}");
                    members(block, &["type", "tool_use_id", "content", "is_error", "cache_control"], case);
                    if let Some(content) = block.get("content") {
                        list(content, case);
                    }
                    results.push(text(&block["tool_use_id"], case));
                }
                other => panic!("{case}: a block of type {other}"),
            }
        }
        assert_eq!(results, calls, "{case}: results of the calls of the turn before, all of them");
        calls = asked;
    }
    assert!(calls.is_empty(), "{case}: {calls:?} unanswered");
}

fn messages_source(source: &Value, media_types: &[&str], case: &str) {
    match text(&source["type"], case) {
        "base64" => {
            members(source, &["type", "media_type", "data"], case);
            assert!(media_types.contains(&text(&source["media_type"], case)), "{case}: {source}");
            base64(&source["data"], case);
        }
        "text" => {
            members(source, &["type", "media_type", "data"], case);
            assert_eq!(source["media_type"], "text/plain", "{case}");
            text(&source["data"], case);
        }
        "content" => drop(list(&source["content"], case)),
        "url" => assert!(text(&source["url"], case).starts_with("http"), "{case}"),
        other => panic!("{case}: a source of type {other}"),
    }
}

/// `GenerationConfig.response_json_schema` of google-genai: Gemini overlooks other keywords.
fn gemini_schema(schema: &Value, root: &Value, case: &str) {
    let notes = ["title", "description", "default"];
    let mut rules = schema.as_object().unwrap_or_else(|| panic!("{case}: {schema}")).clone();
    rules.retain(|name, _| !notes.contains(&name.as_str()));
    if std::ptr::eq(schema, root) {
        rules.remove("$schema");
        let definitions = rules.remove("$defs").into_iter();
        let definitions = definitions.flat_map(|all| all.as_object().expect(case).clone());
        definitions.for_each(|(_, schema)| gemini_schema(&schema, root, case));
    }
    if let Some(reference) = rules.get("$ref") {
        let name = text(reference, case).strip_prefix("#/$defs/").expect(case);
        assert!(root["$defs"].get(name).is_some(), "{case}: {name} is not defined");
        assert_eq!(schema.as_object().unwrap().len(), 1, "{case}: {schema}");
        return;
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(branches) = rules.get(choice) {
            list(branches, case).iter().for_each(|branch| gemini_schema(branch, root, case));
            assert_eq!(rules.len(), 1, "{case}: {schema}");
            return;
        }
    }
    let Some(kind) = rules.remove("type") else {
        assert!(rules.is_empty(), "{case}: {schema}");
        return;
    };
    let known: &[&str] = match text(kind.get(0).unwrap_or(&kind), case) {
        "object" => &["properties", "required", "additionalProperties", "propertyOrdering"],
        "array" => &["items", "prefixItems", "minItems", "maxItems"],
        "number" | "integer" => &["minimum", "maximum", "enum", "format"],
        "string" => &["enum", "format"],
        "boolean" | "null" => &[],
        other => panic!("{case}: {other}"),
    };
    members(&Value::Object(rules.clone()), known, case);
    let inner = ["properties", "prefixItems"].iter().filter_map(|name| rules.get(*name));
    for inner in inner.flat_map(|inner| match inner {
        Value::Object(members) => members.values().collect(),
        inner => list(inner, case).iter().collect::<Vec<_>>(),
    }) {
        gemini_schema(inner, root, case);
    }
    for inner in ["items", "additionalProperties"].iter().filter_map(|name| rules.get(*name)) {
        if !inner.is_boolean() {
            gemini_schema(inner, root, case);
        }
    }
    for name in rules.get("required").map(|names| list(names, case)).into_iter().flatten() {
        assert!(rules["properties"].get(text(name, case)).is_some(), "{case}: {name} is not described");
    }
}

/// developers.openai.com/api/reference/resources/chat, and where editions differ the pages named in
/// `src/dialect/openai/edition.rs`.
fn completions(edition: Completions, body: &Value, case: &str) {
    let mut known = vec![
        "model",
        "messages",
        "stream",
        "temperature",
        "top_p",
        "stop",
        "presence_penalty",
        "frequency_penalty",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
    ];
    known.extend(match edition {
        Completions::OpenAi => {
            ["stream_options", "max_completion_tokens", "seed", "service_tier", "safety_identifier"]
                .as_slice()
        }
        Completions::OpenModels => &["stream_options", "max_tokens", "seed"],
        Completions::Mistral => &["max_tokens", "random_seed"],
    });
    members(body, &known, case);
    if let Some(user) = body.get("safety_identifier") {
        assert!((1..=64).contains(&text(user, case).chars().count()), "{case}");
    }
    assert_eq!(
        body.get("stream_options").is_some(),
        body["stream"] == true && edition != Completions::Mistral
    );
    let functions: Vec<&str> = match body.get("tools") {
        Some(tools) => list(tools, case).iter().map(|tool| completions_function(tool, case)).collect(),
        None => Vec::new(),
    };
    unique(&functions, case);
    for field in ["tool_choice", "parallel_tool_calls"] {
        assert!(body.get(field).is_none() || !functions.is_empty(), "{case}: {field} without tools");
    }
    if let Some(name) = body["tool_choice"]["function"].get("name") {
        assert!(functions.contains(&text(name, case)), "{case}");
    }
    if body["response_format"]["type"] == "json_schema" {
        let schema = &body["response_format"]["json_schema"];
        members(schema, &["name", "description", "schema", "strict"], case);
        text(&schema["name"], case);
        assert!(schema["schema"].is_object(), "{case}");
    }
    let messages = list(&body["messages"], case);
    let mut open: Vec<&str> = Vec::new();
    let mut before = "system";
    for (index, message) in messages.iter().enumerate() {
        let role = text(&message["role"], case);
        assert!(role == "tool" || open.is_empty(), "{case}: {open:?} unanswered");
        match role {
            "system" => {
                assert_eq!(index, 0, "{case}");
                members(message, &["role", "content"], case);
            }
            "user" => {
                members(message, &["role", "content"], case);
                let follows = before == "tool" && edition == Completions::Mistral;
                assert!(!follows, "{case}: a user behind a tool");
            }
            "assistant" => {
                members(message, &["role", "content", "tool_calls", "prefix"], case);
                let prefix = edition == Completions::Mistral && index + 1 == messages.len();
                assert_eq!(message.get("prefix").is_some(), prefix, "{case}");
                for call in message.get("tool_calls").map_or(&[][..], |calls| list(calls, case)) {
                    members(call, &["id", "type", "function"], case);
                    members(&call["function"], &["name", "arguments"], case);
                    let arguments = text(&call["function"]["arguments"], case);
                    assert!(serde_json::from_str::<Map<String, Value>>(arguments).is_ok(), "{case}");
                    open.push(text(&call["id"], case));
                }
                unique(&open, case);
            }
            "tool" => {
                let known = ["role", "tool_call_id", "content", "name"];
                members(message, &known, case);
                assert_eq!(message.get("name").is_some(), edition == Completions::Mistral, "{case}");
                let id = text(&message["tool_call_id"], case);
                assert_eq!(open.first(), Some(&id), "{case}: results stand in the order of their calls");
                open.remove(0);
            }
            other => panic!("{case}: {other}"),
        }
        if edition == Completions::Mistral {
            assert!(open.iter().all(|id| id.len() == 9 && !id.contains(['_', '-'])), "{case}: {open:?}");
        }
        completions_content(edition, message, case);
        before = role;
    }
    assert!(open.is_empty(), "{case}: {open:?} unanswered");
}

fn completions_function<'v>(tool: &'v Value, case: &str) -> &'v str {
    members(tool, &["type", "function"], case);
    let function = &tool["function"];
    members(function, &["name", "description", "parameters", "strict"], case);
    assert_eq!(function["parameters"]["type"], "object", "{case}");
    text(&function["name"], case)
}

fn completions_content(edition: Completions, message: &Value, case: &str) {
    let content = match &message["content"] {
        Value::Null => return assert!(message.get("tool_calls").is_some(), "{case}"),
        Value::String(_) => return,
        content => list(content, case),
    };
    let words = content.iter().all(|part| part["type"] == "text");
    assert!(!words || edition != Completions::OpenModels, "{case}: a list of words");
    for part in content {
        match text(&part["type"], case) {
            "text" => drop(text(&part["text"], case)),
            "image_url" => {
                let url = text(&part["image_url"]["url"], case);
                assert!(
                    url.starts_with("http") || url.starts_with("gs:") || url.starts_with("data:image/"),
                    "{case}"
                );
            }
            "file" => {
                members(&part["file"], &["filename", "file_data"], case);
                let is_pdf =
                    text(&part["file"]["file_data"], case).starts_with("data:application/pdf;base64,");
                assert!(is_pdf && edition == Completions::OpenAi, "{case}");
            }
            other => panic!("{case}: a part of type {other}"),
        }
    }
}
