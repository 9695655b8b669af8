//! What stands in messages for other models, and Claude refuses: thoughts that it has not signed ("Invalid `signature`
//! in `thinking` block"), and proofs in ids of calls. A conversation may move, and a model that stood in for Claude
//! leaves such things behind.

use memchr::memmem;
use serde_json::value::RawValue;

use super::GOOGLE_PROOF;
use super::mark::CONTENT;
use super::write::text_block;
use crate::base::json::{self, Fields, Str, Text, Writer};
use crate::dialect::proof;

/// Messages without it.
#[derive(Default)]
pub struct Stripped {
    /// JSON.
    pub messages: String,
    /// Thoughts are missing that said something.
    pub thoughts: bool,
    /// Those before the calls that the last message answers are among them. Beside a budget Claude wants them there:
    /// "Expected `thinking` or `redacted_thinking`, but found `tool_use`".
    pub of_last_calls: bool,
}

/// Takes it out of the messages of a request; `None` where there is nothing to take out, which is nearly always.
pub fn strip(messages: &RawValue) -> Option<Stripped> {
    if !is_suspicious(messages) {
        return None;
    }
    let list = json::read::<Vec<&RawValue>>(messages.get()).ok()?;
    let before_last = list.len().checked_sub(2);
    let answers_calls = list.last().is_some_and(|message| message.get().contains(r#""tool_result""#));
    let mut stripped = Stripped::default();
    let mut out = Vec::with_capacity(messages.get().len());
    Writer::new(&mut out).array(|w| {
        for (index, message) in list.into_iter().enumerate() {
            let lost = strip_message(message, w);
            stripped.thoughts |= lost == Lost::Words;
            stripped.of_last_calls |= lost != Lost::Nothing && answers_calls && Some(index) == before_last;
        }
    });
    stripped.messages = String::from_utf8(out).ok()?;
    Some(stripped)
}

/// Whether it is worth a look: a signature that is none of Claude's, or a mark that stands before a proof.
fn is_suspicious(json: &RawValue) -> bool {
    const SIGNATURE: &str = r#""signature""#;
    let json = json.get();
    let after = |at: usize| json.get(at.saturating_add(SIGNATURE.len())..);
    let is_foreign = |rest: &str| {
        let value = rest.trim_start().strip_prefix(':').map(str::trim_start);
        let text = value.and_then(|value| value.strip_prefix('"'));
        text.is_some_and(|text| text.starts_with('"') || text.starts_with(GOOGLE_PROOF))
    };
    memmem::find_iter(json.as_bytes(), SIGNATURE).filter_map(after).any(is_foreign)
        || proof::MARKS.iter().any(|mark| memmem::find(json.as_bytes(), mark.as_bytes()).is_some())
}

/// What a message has lost.
#[derive(Clone, Copy, PartialEq)]
enum Lost {
    Nothing,
    /// Proofs alone, which are of no use here.
    Proofs,
    Words,
}

/// Writes a message without it.
fn strip_message(message: &RawValue, w: &mut Writer<'_>) -> Lost {
    let Some((members, blocks)) = split(message).filter(|_| is_suspicious(message)) else {
        w.raw(message);
        return Lost::Nothing;
    };
    let (thoughts, others): (Vec<_>, Vec<_>) = blocks.iter().partition(|block| is_foreign(block));
    let words = || {
        let words = thoughts.iter().filter_map(|block| block.text("thinking"));
        words.filter(|words| !words.is_blank())
    };
    w.object(|w| {
        for (name, value) in &members.0 {
            w.foreign_key(name.as_str());
            if name.as_str() != CONTENT {
                w.raw(value);
            } else if !others.is_empty() {
                w.array(|w| others.iter().for_each(|block| write_block(block, w)));
            } else if words().next().is_some() {
                w.array(|w| words().for_each(|words| text_block(words, w)));
            } else {
                // A message must have something in it, or those around it would be neighbours.
                w.string("[thoughts]");
            }
        }
    });
    match (thoughts.is_empty(), others.is_empty() || words().next().is_none()) {
        (true, _) => Lost::Nothing,
        (false, true) => Lost::Proofs,
        (false, false) => Lost::Words,
    }
}

/// A message and its blocks; `None` where it is only text, or no message.
fn split(message: &RawValue) -> Option<(Fields<'_>, Vec<Fields<'_>>)> {
    let members = json::read::<Fields<'_>>(message.get()).ok()?;
    let blocks = json::read(members.get(CONTENT)?.get()).ok()?;
    Some((members, blocks))
}

/// A thought that is not Claude's.
fn is_foreign(block: &Fields<'_>) -> bool {
    let is = |name, wanted: fn(&str) -> bool| block.text(name).is_some_and(|text| wanted(text.escaped()));
    is("type", |kind| kind == "thinking")
        && is("signature", |signature| signature.is_empty() || signature.starts_with(GOOGLE_PROOF))
}

fn write_block(block: &Fields<'_>, w: &mut Writer<'_>) {
    w.object(|w| {
        for (name, value) in &block.0 {
            w.foreign_key(name.as_str());
            match Text::from_raw(value).filter(|_| ["id", "tool_use_id"].contains(&name.as_str())) {
                Some(id) => w.string(proof::split(Str(id.unescape())).0.as_str()),
                None => w.raw(value),
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(messages: &str) -> Option<Stripped> {
        strip(serde_json::from_str(messages).unwrap())
    }

    #[test]
    fn claudes_own_conversations_are_left_alone() {
        for messages in [
            "[]",
            r#"[{"role":"user","content":"\"signature\":\"\""}]"#,
            r#"[{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"c2ln"}]}]"#,
        ] {
            assert!(stripped(messages).is_none(), "{messages}");
        }
    }

    #[test]
    fn thoughts_of_others_are_taken_out_and_the_rest_stays_as_it_came() {
        let messages = r#"[{"role":"user","content":"\u0041"},
            {"role":"assistant","content":[{"type":"thinking","thinking":"a","signature" : ""},
              {"type":"text","text":"b","cache_control":{"type":"ephemeral"}}],"x":1.0},
            {"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"google:Zw=="}]},
            {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":""}]},
            {"role":"user","content":"c"}]"#;
        let stripped = stripped(messages).unwrap();
        let expected = r#"[{"role":"user","content":"\u0041"},{"role":"assistant","content":[{"type":"text","text":"b","cache_control":{"type":"ephemeral"}}],"x":1.0},{"role":"assistant","content":"[thoughts]"},{"role":"assistant","content":[{"type":"text","text":"hm"}]},{"role":"user","content":"c"}]"#;
        assert_eq!(stripped.messages, expected);
        assert!(stripped.thoughts && !stripped.of_last_calls);
    }

    #[test]
    fn ids_of_calls_lose_the_proofs_that_they_carry_with_those_of_their_results() {
        let id = proof::carry("call_1", Text::plain("c2ln").unwrap()).unwrap();
        let messages = format!(
            r#"[{{"role":"assistant","content":[{{"type":"thinking","thinking":"","signature":"google:Zw"}},{{"type":"tool_use","id":"{id}","name":"f","input":{{"id":"{id}"}}}}]}},
                {{"role":"user","content":[{{"type":"tool_result","tool_use_id":"{id}","content":"1"}}]}}]"#
        );
        let stripped = stripped(&messages).unwrap();
        let expected = format!(
            r#"[{{"role":"assistant","content":[{{"type":"tool_use","id":"call_1","name":"f","input":{{"id":"{id}"}}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"call_1","content":"1"}}]}}]"#
        );
        assert_eq!(stripped.messages, expected);
        assert!(stripped.of_last_calls && !stripped.thoughts);
    }
}
