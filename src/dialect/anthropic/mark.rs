//! The mark of the cache for a whole request, which Anthropic itself puts at the last block that can be cached. On the
//! clouds it stands there already: they take it nowhere else.

use serde_json::value::RawValue;

use crate::base::json::{self, Fields, Text, Writer};

pub const MARK: &str = "cache_control";
/// Where a message, and the result of a tool, has its blocks.
pub const CONTENT: &str = "content";

/// Puts it at the last block of messages, both as JSON; `None` where no block of the last message can have it.
pub fn place(messages: &str, mark: &RawValue) -> Option<String> {
    let list = json::read::<Vec<&RawValue>>(messages).ok()?;
    let (last, before) = list.split_last()?;
    let message = json::read::<Fields<'_>>(last.get()).ok()?;
    let content = Content::read(message.get(CONTENT)?)?;
    let mut out = Vec::with_capacity(messages.len() + mark.get().len() + 64);
    Writer::new(&mut out).array(|w| {
        before.iter().for_each(|message| w.raw(message));
        w.object(|w| {
            for (name, value) in &message.0 {
                w.foreign_key(name.as_str());
                if name.as_str() == CONTENT { content.write(mark, w) } else { w.raw(value) }
            }
        });
    });
    String::from_utf8(out).ok()
}

/// What a message says, and where the mark goes.
enum Content<'a> {
    Text(Text<'a>),
    Blocks { before: Vec<&'a RawValue>, marked: Fields<'a>, after: Vec<&'a RawValue> },
}

impl<'a> Content<'a> {
    fn read(content: &'a RawValue) -> Option<Self> {
        if let Some(text) = Text::from_raw(content) {
            return (!text.is_blank()).then_some(Content::Text(text));
        }
        let mut before = json::read::<Vec<&RawValue>>(content.get()).ok()?;
        let mut after = Vec::new();
        loop {
            let block = before.pop()?;
            let marked = json::read::<Fields<'_>>(block.get()).ok()?;
            if takes_mark(&marked) {
                after.reverse();
                return Some(Content::Blocks { before, marked, after });
            }
            after.push(block);
        }
    }

    fn write(&self, mark: &RawValue, w: &mut Writer<'_>) {
        w.array(|w| match self {
            Content::Text(text) => w.object(|w| {
                w.key("type").string("text");
                w.key("text").text(*text);
                w.key(MARK).raw(mark);
            }),
            Content::Blocks { before, marked, after } => {
                before.iter().for_each(|block| w.raw(block));
                w.object(|w| {
                    let mut has_one = false;
                    for (name, value) in marked.given() {
                        has_one |= name == MARK;
                        w.foreign_key(name).raw(value);
                    }
                    if !has_one {
                        w.key(MARK).raw(mark);
                    }
                });
                after.iter().for_each(|block| w.raw(block));
            }
        });
    }
}

/// Thoughts take none, nor does a text that says nothing:
/// platform.claude.com/docs/en/build-with-claude/prompt-caching.
fn takes_mark(block: &Fields<'_>) -> bool {
    match block.text("type").map(Text::escaped) {
        Some("thinking" | "redacted_thinking") | None => false,
        Some("text") => block.text("text").is_some_and(|text| !text.is_blank()),
        Some(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(messages: &str) -> Option<String> {
        place(messages, serde_json::from_str(r#"{"type":"ephemeral","ttl":"1h"}"#).unwrap())
    }

    #[test]
    fn the_last_block_that_can_be_cached_gets_the_mark_and_the_rest_stays_as_it_came() {
        for (messages, expected) in [
            (
                r#"[{"role":"user","content":"\u0041"}]"#,
                r#"[{"role":"user","content":[{"type":"text","text":"\u0041","cache_control":{"type":"ephemeral","ttl":"1h"}}]}]"#,
            ),
            (
                r#"[ {"role":"user" , "content":"a"},{"x":1.0,"content":[{"type":"image"},{"type":"text","text":"b","cache_control":null},{"type":"text","text":" "}],"role":"user"}]"#,
                r#"[{"role":"user" , "content":"a"},{"x":1.0,"content":[{"type":"image"},{"type":"text","text":"b","cache_control":{"type":"ephemeral","ttl":"1h"}},{"type":"text","text":" "}],"role":"user"}]"#,
            ),
            (
                r#"[{"role":"user","content":[{"type":"tool_result","cache_control":{"type":"ephemeral"}}]}]"#,
                r#"[{"role":"user","content":[{"type":"tool_result","cache_control":{"type":"ephemeral"}}]}]"#,
            ),
        ] {
            assert_eq!(placed(messages).as_deref(), Some(expected));
        }
    }

    #[test]
    fn where_nothing_can_be_cached_there_is_no_mark() {
        for messages in [
            "[]",
            "{}",
            r#"[{"role":"user","content":" "}]"#,
            r#"[{"role":"user","content":[]}]"#,
            r#"[{"role":"assistant","content":[{"type":"thinking","thinking":"a"}]}]"#,
            r#"[{"role":"user"}]"#,
        ] {
            assert_eq!(placed(messages), None, "{messages}");
        }
    }
}
