//! Rules that every stream of Anthropic's Messages API keeps, read from its documentation and from the
//! accumulator of the `anthropic` package 2.11 (`lib/streaming/_messages.py`), not from our writer.

use serde_json::{Value, json};

/// Fails unless the events are in the order that the SDKs accept. Gives the message that the SDK's
/// accumulator would have built, unless the stream ends in an error.
pub fn check(body: &str, case: &str) -> Option<Value> {
    assert!(body.ends_with("\n\n"), "{case}: ends within an event");
    let mut message: Option<Value> = None;
    let mut open: Vec<bool> = Vec::new();
    let mut inputs: Vec<String> = Vec::new();
    let (mut told, mut over) = (false, false);
    for event in body.split_terminator("\n\n") {
        assert!(!over, "{case}: something after the end: {event}");
        let (name, data) = event
            .strip_prefix("event: ")
            .and_then(|rest| rest.split_once("\ndata: "))
            .unwrap_or_else(|| panic!("{case}: {event}"));
        let data: Value =
            serde_json::from_str(data).unwrap_or_else(|error| panic!("{case}: {error}: {data}"));
        assert_eq!(data["type"], name, "{case}");
        if name == "error" {
            assert!(data["error"]["message"].is_string() && data["error"]["type"].is_string(), "{case}");
            return None;
        }
        if name == "message_start" {
            assert!(message.is_none(), "{case}: started twice");
            let start = data["message"].clone();
            assert_eq!(start["role"], "assistant", "{case}");
            assert!(start["id"].as_str().unwrap().starts_with("msg_"), "{case}");
            assert!(start["usage"]["input_tokens"].is_u64() && start["content"] == json!([]), "{case}");
            message = Some(start);
            continue;
        }
        let message = message.as_mut().unwrap_or_else(|| panic!("{case}: {name} before message_start"));
        let index = || usize::try_from(data["index"].as_u64().expect(case)).unwrap();
        let content = message["content"].as_array_mut().unwrap();
        match name {
            "content_block_start" => {
                assert_eq!(index(), content.len(), "{case}: blocks are numbered as they start");
                assert!(!told, "{case}: a block after message_delta");
                content.push(data["content_block"].clone());
                open.push(true);
                inputs.push(String::new());
            }
            "content_block_delta" => {
                let at = index();
                assert!(open[at], "{case}: a delta for a block that is not open: {event}");
                let (block, delta) = (&mut content[at], &data["delta"]);
                let grow = |block: &mut Value, key: &str| {
                    let text = block[key].as_str().expect(case).to_owned() + delta[key].as_str().expect(case);
                    block[key] = json!(text);
                };
                match (delta["type"].as_str().unwrap(), block["type"].as_str().unwrap()) {
                    ("text_delta", "text") => grow(block, "text"),
                    ("citations_delta", "text") => {
                        let cited = &delta["citation"];
                        assert!(cited["type"].is_string() && cited["cited_text"].is_string(), "{case}");
                        match block["citations"].as_array_mut() {
                            Some(all) => all.push(cited.clone()),
                            None => block["citations"] = json!([cited]),
                        }
                    }
                    ("thinking_delta", "thinking") => grow(block, "thinking"),
                    ("signature_delta", "thinking") => block["signature"] = delta["signature"].clone(),
                    ("input_json_delta", "tool_use") => inputs[at] += delta["partial_json"].as_str().unwrap(),
                    other => panic!("{case}: {other:?}"),
                }
            }
            "content_block_stop" => {
                let at = index();
                assert!(std::mem::take(&mut open[at]), "{case}: block {at} stopped twice");
                if content[at]["type"] == "tool_use" {
                    content[at]["input"] = serde_json::from_str(&inputs[at])
                        .unwrap_or_else(|e| panic!("{case}: {e}: {}", inputs[at]));
                    assert!(content[at]["input"].is_object(), "{case}");
                }
            }
            "message_delta" => {
                assert!(!std::mem::replace(&mut told, true), "{case}: two message_delta");
                assert!(open.iter().all(|open| !open), "{case}: a block is open at the end");
                assert!(data["delta"]["stop_reason"].is_string(), "{case}");
                for key in ["stop_reason", "stop_sequence"] {
                    message[key] = data["delta"][key].clone();
                }
                for (key, count) in data["usage"].as_object().unwrap() {
                    message["usage"][key] = count.clone();
                }
            }
            "message_stop" => {
                assert!(told, "{case}: message_stop before message_delta");
                over = true;
            }
            _ => panic!("{case}: {name}"),
        }
    }
    assert!(over, "{case}: neither message_stop nor error");
    message
}
