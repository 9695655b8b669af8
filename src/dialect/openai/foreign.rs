//! What stands in messages for other models, and OpenAI refuses: gateways add it to replies, clients send it back,
//! and a conversation may move. So do ids of calls that hold more than a name, such as Google's proof of a thought.

use memchr::memmem;
use serde_json::value::RawValue;

use crate::base::json::{self, Fields, Text, Writer};
use crate::dialect::call_ids::{LONGEST_ID, short};

/// Members that OpenAI's API has nowhere, and what they are called when they are left out. The other way round
/// its API would answer `Unknown parameter: 'messages[1].reasoning_content'`.
const FOREIGN: &[(&str, &str)] = &[
    ("cache_control", "cache_control"),
    ("extra_content", "messages[].tool_calls[].extra_content"),
    ("reasoning", "messages[].reasoning"),
    ("reasoning_content", "messages[].reasoning_content"),
    ("thinking_blocks", "messages[].thinking_blocks"),
];

/// The member of a message that names the call whose result it is.
const RESULT_OF: &str = "tool_call_id";

/// What a list has to lose, in its objects or in lists of objects there: the names of foreign members, none where
/// only ids are too long. Names within texts are not meant: their quotes are escaped.
pub fn found(list: &RawValue) -> Option<Vec<&'static str>> {
    let holds = |name: &str| {
        memmem::find_iter(list.get().as_bytes(), name).any(|at| {
            let after = at.saturating_add(name.len());
            let before = at.checked_sub(1).and_then(|before| list.get().as_bytes().get(before));
            before == Some(&b'"') && list.get().as_bytes().get(after) == Some(&b'"')
        })
    };
    let is_long = has_long_id(list);
    if !is_long && !FOREIGN.iter().any(|(name, _)| holds(name)) {
        return None;
    }
    let mut found = Vec::new();
    strip(list, &mut Writer::new(&mut Vec::new()), &mut found);
    (is_long || !found.is_empty()).then_some(found)
}

/// Whether a result is of a call with an id that OpenAI does not take. Every call has its result.
fn has_long_id(list: &RawValue) -> bool {
    let after = |at: usize| list.get().get(at.saturating_add(RESULT_OF.len())..);
    memmem::find_iter(list.get().as_bytes(), RESULT_OF).filter_map(after).any(|rest| {
        let value = rest.trim_start_matches(['"', ':', ' ', '\t', '\r', '\n']);
        memchr::memchr(b'"', value.as_bytes()).is_some_and(|end| end > LONGEST_ID)
    })
}

/// Writes the list without them, and with ids that OpenAI takes.
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
        if ["id", RESULT_OF].contains(&name.as_str())
            && let Some(id) = Text::from_raw(value).filter(|id| id.escaped().len() > LONGEST_ID)
        {
            w.string(&short(id.escaped()));
            continue;
        }
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
            found(list).unwrap(),
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
            assert_eq!(found(serde_json::from_str(list).unwrap()), None, "{list}");
        }
    }

    #[test]
    fn long_ids_get_short_and_stay_those_of_the_same_call() {
        let long = "call_".to_owned() + &"x".repeat(900);
        let list = format!(
            r#"[{{"role":"assistant","tool_calls":[{{"id":"{long}","type":"function"}},{{"id":"b"}}]}},
                {{"role":"tool","tool_call_id" : "{long}","content":""}}]"#
        );
        let list: &RawValue = serde_json::from_str(&list).unwrap();
        assert_eq!(found(list), Some(Vec::new()));
        let mut out = Vec::new();
        write_without(list, &mut Writer::new(&mut out));
        let id = short(&long);
        let expected = format!(
            r#"[{{"role":"assistant","tool_calls":[{{"id":"{id}","type":"function"}},{{"id":"b"}}]}},{{"role":"tool","tool_call_id":"{id}","content":""}}]"#
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let short =
            r#"[{"role":"tool","tool_call_id":"call_1","content":"a long, long, long, long, long text"}]"#;
        assert_eq!(found(serde_json::from_str(short).unwrap()), None);
    }
}
