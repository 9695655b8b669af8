//! What stands in messages for other models, and OpenAI refuses: gateways add it to replies, clients send it back,
//! and a conversation may move.

use memchr::memmem;
use serde_json::value::RawValue;

use crate::base::json::{self, Fields, Writer};

/// Members that OpenAI's API has nowhere, and what they are called when they are left out. The other way round
/// its API would answer `Unknown parameter: 'messages[1].reasoning_content'`.
const FOREIGN: &[(&str, &str)] = &[
    ("cache_control", "cache_control"),
    ("extra_content", "messages[].tool_calls[].extra_content"),
    ("reasoning", "messages[].reasoning"),
    ("reasoning_content", "messages[].reasoning_content"),
    ("thinking_blocks", "messages[].thinking_blocks"),
];

/// The names of the foreign members that a list holds, in its objects or in lists of objects there. Names within
/// texts are not meant: their quotes are escaped.
pub fn found(list: &RawValue) -> Vec<&'static str> {
    let holds = |name: &str| {
        memmem::find_iter(list.get().as_bytes(), name).any(|at| {
            let after = at.saturating_add(name.len());
            let before = at.checked_sub(1).and_then(|before| list.get().as_bytes().get(before));
            before == Some(&b'"') && list.get().as_bytes().get(after) == Some(&b'"')
        })
    };
    if !FOREIGN.iter().any(|(name, _)| holds(name)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    strip(list, &mut Writer::new(&mut Vec::new()), &mut found);
    found
}

/// Writes the list without them.
pub fn write_without(list: &RawValue, w: &mut Writer<'_>) {
    strip(list, w, &mut Vec::new());
}

/// Writes a list of objects without foreign members, at the top of the objects and in lists right there:
/// messages with their parts and calls, tools. Schemas and arguments stand deeper.
fn strip(list: &RawValue, w: &mut Writer<'_>, found: &mut Vec<&'static str>) {
    let Ok(items) = json::read::<Vec<&RawValue>>(list.get()) else { return w.raw(list) };
    w.array(|w| {
        for item in items {
            match json::read::<Fields<'_>>(item.get()) {
                Ok(members) => w.object(|w| strip_object(&members, w, found)),
                Err(_) => w.raw(item),
            }
        }
    });
}

fn strip_object(members: &Fields<'_>, w: &mut Writer<'_>, found: &mut Vec<&'static str>) {
    for (name, value) in &members.0 {
        if let Some((_, told)) = FOREIGN.iter().find(|(foreign, _)| *foreign == name.as_str()) {
            if value.get() != "null" && !found.contains(told) {
                found.push(told);
            }
            continue;
        }
        w.foreign_key(name.as_str());
        if value.get().starts_with('[') { strip(value, w, found) } else { w.raw(value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_models_want_is_taken_out_of_messages_and_the_rest_stays_as_it_came() {
        let list = r#"[{"role":"user","content":[{"type":"text","text":"\"cache_control\" 1.0","cache_control":{"type":"ephemeral"}}]},
            {"role":"assistant","content":null,"thinking_blocks":[{"type":"thinking"}],"reasoning_content":null,
             "tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"reasoning\":1}"},"extra_content":{"google":{}}}]}, 7]"#;
        let list: &RawValue = serde_json::from_str(list).unwrap();
        assert_eq!(
            found(list),
            ["cache_control", "messages[].thinking_blocks", "messages[].tool_calls[].extra_content"]
        );
        let mut out = Vec::new();
        write_without(list, &mut Writer::new(&mut out));
        let expected = r#"[{"role":"user","content":[{"type":"text","text":"\"cache_control\" 1.0"}]},{"role":"assistant","content":null,"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"reasoning\":1}"}}]},7]"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn words_of_a_prompt_are_not_taken_for_members() {
        for list in [r#"[{"content":"\"reasoning\""}]"#, r#"[{"content":"cache_control"}]"#, "[]", "{}"] {
            assert!(found(serde_json::from_str(list).unwrap()).is_empty(), "{list}");
        }
    }
}
