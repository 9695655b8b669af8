//! What a model said comes back to it as it was: reply to client, and the client's next request.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::indexing_slicing,
    clippy::unreachable,
    reason = "in a test a panic is the message"
)]

mod common;

use common::blocks;
use common::cases::{self, Case};
use common::client::{self, Exchange};
use common::envoy::FakeHost;
use fairlead::dialect::{Client, Edition, Upstream};
use serde_json::{Value, json};

/// Thoughts in every form, text and calls in between, as Claude's interleaved thinking has them.
fn claude() -> Value {
    json!([
        {"reasoningContent": {"reasoningText": {"text": "Hm. \"é\"", "signature": "c2lnMQ=="}}},
        {"reasoningContent": {"redactedContent": "cmVkYWN0ZWQ="}},
        {"text": "Looking."},
        {"toolUse": {"toolUseId": "tooluse_1", "name": "get_weather", "input": {"city": "Rome", "n": 1.0}}},
        {"reasoningContent": {"reasoningText": {"text": "", "signature": "c2lnMg=="}}},
        {"toolUse": {"toolUseId": "tooluse_2", "name": "now", "input": {}}},
        {"text": "One "},
        {"text": "two."}
    ])
}

/// The events of the same reply, its texts and arguments in pieces.
fn claude_stream() -> Vec<u8> {
    let mut lines = vec![json!({"event": "messageStart", "payload": {"role": "assistant"}})];
    for (index, block) in claude().as_array().unwrap().iter().enumerate() {
        let mut delta = |delta: Value| {
            let payload = json!({"contentBlockIndex": index, "delta": delta});
            lines.push(json!({"event": "contentBlockDelta", "payload": payload}));
        };
        let mut pieces = |text: &str, wrap: &dyn Fn(&str) -> Value| {
            let middle = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
            delta(wrap(&text[..middle]));
            delta(wrap(&text[middle..]));
        };
        if let Some(text) = block["text"].as_str() {
            pieces(text, &|text| json!({"text": text}));
        } else if let Some(call) = block.get("toolUse") {
            let start = json!({"toolUse": {"toolUseId": call["toolUseId"], "name": call["name"]}});
            let payload = json!({"contentBlockIndex": index, "start": start});
            lines.push(json!({"event": "contentBlockStart", "payload": payload}));
            let mut delta = |input: &str| {
                let delta = json!({"toolUse": {"input": input}});
                let payload = json!({"contentBlockIndex": index, "delta": delta});
                lines.push(json!({"event": "contentBlockDelta", "payload": payload}));
            };
            let input = call["input"].to_string();
            delta("");
            if input != "{}" {
                delta(&input[..input.len() / 2]);
                delta(&input[input.len() / 2..]);
            }
        } else if let Some(thought) = block["reasoningContent"].get("reasoningText") {
            pieces(thought["text"].as_str().unwrap(), &|text| json!({"reasoningContent": {"text": text}}));
            delta(json!({"reasoningContent": {"signature": thought["signature"]}}));
        } else {
            delta(json!({"reasoningContent": block["reasoningContent"]}));
        }
        lines.push(json!({"event": "contentBlockStop", "payload": {"contentBlockIndex": index}}));
    }
    lines.push(json!({"event": "messageStop", "payload": {"stopReason": "tool_use"}}));
    lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes()
}

/// One of them has a name that Bedrock refuses.
fn tools(client: Client) -> Value {
    let (weather, now) = (json!({"type": "object"}), json!({"type": "object"}));
    match client {
        Client::Anthropic => json!([
            {"name": "get.weather", "input_schema": weather}, {"name": "now", "input_schema": now},
        ]),
        Client::OpenAi => json!([
            {"type": "function", "function": {"name": "get.weather", "parameters": weather}},
            {"type": "function", "function": {"name": "now", "parameters": now}},
        ]),
    }
}

fn case(client: Client, body: &Value) -> Case {
    let files = [("request.json".to_owned(), body.to_string().into_bytes())].into();
    Case { name: "round trip".to_owned(), client, folder: "nowhere".into(), files }
}

/// A request in a client's dialect, the conversation so far.
fn asking(client: Client, messages: &Value, stream: bool) -> Case {
    let body = json!({"model": "chat-new", "max_tokens": 4000, "messages": messages, "stream": stream,
        "tools": tools(client)});
    case(client, &body)
}

/// What the client gets.
fn said(upstream: Upstream, case: &Case, reply: &[u8], stream: bool) -> String {
    let (plan, host) = (client::plan(upstream), FakeHost::new());
    client::sign_in(&plan, &host);
    let mut exchange = Exchange::of(case, &plan, &host);
    exchange.forward(case.request());
    let got = if stream {
        let frames = cases::frames(upstream, reply);
        exchange.receive(cases::stream_headers(upstream), frames.iter().map(Vec::as_slice))
    } else {
        exchange.receive(cases::reply_headers(upstream), [reply])
    };
    assert_eq!(got.status, 200, "{}", got.body);
    got.body
}

/// What the cloud gets.
fn sent(upstream: Upstream, case: &Case) -> Value {
    let (plan, host) = (client::plan(upstream), FakeHost::new());
    client::sign_in(&plan, &host);
    let outgoing = Exchange::of(case, &plan, &host).forward(case.request());
    serde_json::from_slice(&outgoing.body).unwrap()
}

fn results(client: Client) -> Vec<Value> {
    match client {
        Client::Anthropic => vec![json!({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "tooluse_2", "content": "noon"},
            {"type": "tool_result", "tool_use_id": "tooluse_1", "content": "18"},
        ]})],
        Client::OpenAi => vec![
            json!({"role": "tool", "tool_call_id": "tooluse_2", "content": "noon"}),
            json!({"role": "tool", "tool_call_id": "tooluse_1", "content": "18"}),
        ],
    }
}

fn conversation(client: Client, reply: Value) -> Value {
    let mut messages = vec![json!({"role": "user", "content": "Weather?"}), reply];
    messages.extend(results(client));
    Value::Array(messages)
}

#[test]
fn anthropic_to_converse_and_back_keeps_thoughts_signatures_ids_and_order() {
    let whole = json!({"output": {"message": {"role": "assistant", "content": claude()}},
        "stopReason": "tool_use", "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}});
    let hello = json!([{"role": "user", "content": "Weather?"}]);
    for stream in [false, true] {
        let first = asking(Client::Anthropic, &hello, stream);
        let reply = if stream { claude_stream() } else { whole.to_string().into_bytes() };
        let body = said(Upstream::Converse, &first, &reply, stream);
        let message = if stream {
            blocks::check(&body, "round trip").unwrap()
        } else {
            serde_json::from_str(&body).unwrap()
        };
        assert_eq!(message["stop_reason"], "tool_use");
        let messages =
            conversation(Client::Anthropic, json!({"role": "assistant", "content": message["content"]}));
        let next = sent(Upstream::Converse, &asking(Client::Anthropic, &messages, stream));
        assert_eq!(
            next["messages"][1],
            json!({"role": "assistant", "content": claude()}),
            "stream: {stream}"
        );
        let answers: Vec<&str> = next["messages"][2]["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(|block| block["toolResult"]["toolUseId"].as_str().unwrap())
            .collect();
        assert_eq!(answers, ["tooluse_1", "tooluse_2"]);
    }
}

#[test]
fn openai_to_converse_and_back_keeps_thoughts_and_signatures_before_all_else() {
    let hello = json!([{"role": "user", "content": "Weather?"}]);
    let first = asking(Client::OpenAi, &hello, true);
    let body = said(Upstream::Converse, &first, &claude_stream(), true);
    // As an application that knows `thinking_blocks` would gather them.
    let mut blocks = Vec::new();
    let mut text = String::new();
    let mut calls: Vec<Value> = Vec::new();
    for event in body.split_terminator("\n\n").filter(|event| !event.contains("[DONE]")) {
        let chunk: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        let delta = &chunk["choices"][0]["delta"];
        blocks.extend(delta["thinking_blocks"].as_array().into_iter().flatten().cloned());
        text += delta["content"].as_str().unwrap_or_default();
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            if call.get("id").is_some() {
                calls.push(call.clone());
            } else {
                let known = &mut calls[usize::try_from(call["index"].as_u64().unwrap()).unwrap()];
                let arguments = known["function"]["arguments"].as_str().unwrap().to_owned();
                known["function"]["arguments"] =
                    json!(arguments + call["function"]["arguments"].as_str().unwrap());
            }
        }
    }
    for call in &mut calls {
        call.as_object_mut().unwrap().remove("index");
    }
    let reply = json!({"role": "assistant", "content": text, "tool_calls": calls, "thinking_blocks": blocks});
    let messages = conversation(Client::OpenAi, reply);
    let next = sent(Upstream::Converse, &asking(Client::OpenAi, &messages, true));
    let kinds = |content: &Value, kind: &str| -> Vec<Value> {
        let blocks = content.as_array().unwrap().iter();
        blocks.filter(|block| block.get(kind).is_some()).cloned().collect()
    };
    let content = &next["messages"][1]["content"];
    for kind in ["reasoningContent", "toolUse"] {
        assert_eq!(kinds(content, kind), kinds(&claude(), kind), "{kind}");
    }
    assert!(content[0].get("reasoningContent").is_some());
    assert_eq!(kinds(content, "text"), [json!({"text": "Looking.One two."})]);
}

#[test]
fn anthropic_to_gemini_and_back_keeps_the_signatures_of_calls() {
    let parts = json!([
        {"text": "Let me think.", "thought": true},
        {"text": "Looking."},
        {"functionCall": {"name": "weather", "args": {"city": "Rome"}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "now", "args": {}}}
    ]);
    let reply =
        json!({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}], "responseId": "r"});
    let hello = json!([{"role": "user", "content": "Weather?"}]);
    for stream in [false, true] {
        let first = asking(Client::Anthropic, &hello, stream);
        let body = said(Upstream::Gemini, &first, reply.to_string().as_bytes(), stream);
        let message = if stream {
            blocks::check(&body, "round trip").unwrap()
        } else {
            serde_json::from_str::<Value>(&body).unwrap()
        };
        let results: Vec<Value> = message["content"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|block| block["type"] == "tool_use")
            .map(|block| json!({"type": "tool_result", "tool_use_id": block["id"], "content": "x"}))
            .collect();
        let messages = json!([hello[0], {"role": "assistant", "content": message["content"]},
            {"role": "user", "content": results}]);
        let next = sent(Upstream::Gemini, &asking(Client::Anthropic, &messages, stream));
        // Thoughts themselves stay behind: Gemini wants back their signatures only.
        assert_eq!(next["contents"][1]["parts"], json!([parts[1], parts[2], parts[3]]), "stream: {stream}");
        // Claude is never shown a signature of Google's.
        let other = sent(Upstream::Converse, &asking(Client::Anthropic, &messages, stream)).to_string();
        assert!(!other.contains("c2ln") && !other.contains("reasoningContent"), "{other}");
    }
}

/// The same reply in Anthropic's own words.
fn claudes_own(name: &str) -> Value {
    json!([
        {"type": "thinking", "thinking": "Hm. \"é\"", "signature": "c2lnMQ=="},
        {"type": "redacted_thinking", "data": "cmVkYWN0ZWQ="},
        {"type": "text", "text": "Looking."},
        {"type": "tool_use", "id": "toolu_1", "name": name, "input": {"city": "Rome", "n": 1.0}},
        {"type": "thinking", "thinking": "", "signature": "c2lnMg=="},
        {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}}
    ])
}

fn own_reply(name: &str) -> Vec<u8> {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": claudes_own(name),
        "stop_reason": "tool_use", "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 2}})
    .to_string()
    .into_bytes()
}

#[test]
fn anthropic_to_every_edition_and_back_is_the_same_byte_for_byte() {
    let hello = json!([{"role": "user", "content": "Weather?"}]);
    for &edition in Edition::ALL {
        let upstream = Upstream::Messages(edition);
        let body =
            said(upstream, &asking(Client::Anthropic, &hello, false), &own_reply("get.weather"), false);
        assert_eq!(body.as_bytes(), own_reply("get.weather"), "{edition:?}");
        let message: Value = serde_json::from_str(&body).unwrap();
        let reply = json!({"role": "assistant", "content": message["content"]});
        let messages = conversation(Client::Anthropic, reply);
        let next = sent(upstream, &asking(Client::Anthropic, &messages, false));
        assert_eq!(next["messages"].to_string(), messages.to_string(), "{edition:?}");
    }
}

#[test]
fn openai_to_every_edition_and_back_keeps_thoughts_signatures_and_ids() {
    let hello = json!([{"role": "user", "content": "Weather?"}]);
    for &edition in Edition::ALL {
        let upstream = Upstream::Messages(edition);
        let first = asking(Client::OpenAi, &hello, false);
        // What the cloud knows the tool by, and the client does not.
        let name = sent(upstream, &first)["tools"][0]["name"].as_str().unwrap().to_owned();
        let body = said(upstream, &first, &own_reply(&name), false);
        let message = serde_json::from_str::<Value>(&body).unwrap()["choices"][0]["message"].clone();
        assert_eq!(message["tool_calls"][0]["function"]["name"], "get.weather");
        let messages = json!([hello[0], message,
            {"role": "tool", "tool_call_id": "toolu_2", "content": "noon"},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "18"}]);
        let next = sent(upstream, &asking(Client::OpenAi, &messages, false));
        let content = next["messages"][1]["content"].as_array().unwrap();
        let kinds = |blocks: &[Value], kind: &str| -> Vec<Value> {
            blocks.iter().filter(|block| block["type"] == kind).cloned().collect()
        };
        let before = claudes_own(&name);
        for kind in ["thinking", "redacted_thinking", "text", "tool_use"] {
            assert_eq!(kinds(content, kind), kinds(before.as_array().unwrap(), kind), "{edition:?}: {kind}");
        }
        assert_eq!(content[0]["type"], "thinking", "{edition:?}");
        let answers = next["messages"][2]["content"].as_array().unwrap();
        assert_eq!([&answers[0]["tool_use_id"], &answers[1]["tool_use_id"]], ["toolu_1", "toolu_2"]);
    }
}
