//! Sources of images and documents that only Anthropic itself reads: what is at an address, and files that it keeps.
//! The clouds take "base64 image sources only": platform.claude.com/docs/en/build-with-claude/vision.

use memchr::memmem;
use serde_json::value::RawValue;

use super::mark::CONTENT;
use crate::base::error::{Error, Kind};
use crate::base::json::{self, Fields};
use crate::chat::Place;

/// The types of such sources, and the way out.
const SOURCES: &[(&str, &str, &str)] = &[
    ("url", ".source", "this model's cloud does not fetch files; send the file itself"),
    ("file", ".source.type", "is a file that only Anthropic keeps; send the data itself"),
];

/// Refuses the first of them in messages, by its path. What else is wrong with messages is for the cloud to say.
///
/// # Errors
/// The source, and what to send in its place.
pub fn check(messages: &RawValue) -> Result<(), Error> {
    if !is_suspicious(messages) {
        return Ok(());
    }
    for (number, message) in list::<&RawValue>(Some(messages)).into_iter().enumerate() {
        let Some(message) = Some(message).filter(|message| is_suspicious(message)) else { continue };
        let content = json::read::<Fields<'_>>(message.get()).ok().and_then(|members| members.get(CONTENT));
        for (part, block) in list::<Fields<'_>>(content).iter().enumerate() {
            check_block(block, Place::Part(number, part))?;
            for (inner, block) in list::<Fields<'_>>(block.get(CONTENT)).iter().enumerate() {
                check_block(block, Place::Inner(number, part, inner))?;
            }
        }
    }
    Ok(())
}

/// A list of such things; empty for what is none.
fn list<'a, T: serde::Deserialize<'a>>(raw: Option<&'a RawValue>) -> Vec<T> {
    raw.and_then(|raw| json::read(raw.get()).ok()).unwrap_or_default()
}

fn check_block(block: &Fields<'_>, place: Place) -> Result<(), Error> {
    if !block.text("type").is_some_and(|kind| ["image", "document"].contains(&kind.escaped())) {
        return Ok(());
    }
    let source = block.get("source").and_then(|source| json::read::<Fields<'_>>(source.get()).ok());
    let kind = source.and_then(|source| source.text("type"));
    let known = kind.and_then(|kind| SOURCES.iter().find(|(name, ..)| *name == kind.escaped()));
    match known {
        Some((_, below, way_out)) => Err(place.error(Kind::Unsupported, below, way_out)),
        None => Ok(()),
    }
}

/// Whether it is worth a look: such a word stands there as a value.
fn is_suspicious(json: &RawValue) -> bool {
    let json = json.get();
    SOURCES.iter().any(|(name, ..)| {
        memmem::find_iter(json.as_bytes(), name).any(|at| {
            let before = json.get(..at).is_some_and(|before| before.ends_with('"'));
            let after = json.get(at.saturating_add(name.len())..).and_then(|after| after.strip_prefix('"'));
            before && after.is_some_and(|after| !after.trim_start().starts_with(':'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(messages: &str) -> Option<String> {
        check(serde_json::from_str(messages).unwrap()).err().and_then(|error| error.param)
    }

    #[test]
    fn what_only_anthropic_reads_is_refused_by_its_path() {
        for (messages, path) in [
            (
                r#"[{"content":"a"},{"content":[{"type":"text","text":"b"},{"type":"image","source":{"type" : "url" ,"url":"https://a"}}]}]"#,
                "messages[1].content[1].source",
            ),
            (
                r#"[{"content":[{"type":"document","source":{"type":"file","file_id":"f"}}]}]"#,
                "messages[0].content[0].source.type",
            ),
            (
                r#"[{"content":[{"type":"tool_result","content":[{"type":"image","source":{"type":"url","url":"https://a"}}]}]}]"#,
                "messages[0].content[0].content[0].source",
            ),
        ] {
            assert_eq!(refused(messages).as_deref(), Some(path), "{messages}");
        }
    }

    #[test]
    fn words_and_arguments_are_not_taken_for_sources() {
        for messages in [
            "[]",
            "{}",
            r#"[{"content":"url"}]"#,
            r#"[{"content":[{"type":"tool_use","input":{"url":"https://a","source":{"type":"url"}}}]}]"#,
            r#"[{"content":[{"type":"search_result","source":"url"}]}]"#,
            r#"[{"content":[{"type":"image","source":{"type":"base64","data":"url"}}]}]"#,
        ] {
            assert_eq!(refused(messages), None, "{messages}");
        }
    }
}
