//! How large a request is, as far as its tokens hang on it.

use memchr::memmem;

use crate::chat::{Content, Document, DocumentSource, Format, Part, Request};
use crate::policy::estimate::Size;

/// The size of a conversation: what it holds, not what an upstream makes of it.
pub fn conversation(request: &Request<'_>) -> Size {
    let mut size = Size { turns: request.turns.len(), tools: request.tools.len(), ..Size::default() };
    request.system.iter().for_each(|one| part(one, &mut size));
    request.turns.iter().flat_map(|turn| &turn.parts).for_each(|one| part(one, &mut size));
    for tool in &request.tools {
        size.text += tool.name.as_str().len();
        size.text += tool.description.map_or(0, |text| text.escaped().len());
        size.text += tool.parameters.map_or(0, |schema| schema.get().len());
    }
    match &request.format {
        Format::Text | Format::JsonObject => {}
        Format::JsonSchema { schema, .. } => size.text += schema.get().len(),
    }
    size
}

/// The size of a body that nobody reads: its bytes, less those of files in base64, which are known by the
/// word before them in the dialects of all clients.
pub fn unread(body: &[u8]) -> Size {
    let mut size = Size { text: body.len(), ..Size::default() };
    let mut rest = body;
    while let Some(at) = memmem::find(rest, b"base64") {
        rest = rest.get(at + b"base64".len()..).unwrap_or_default();
        let Some(file) = file(rest) else { continue };
        let length = memchr::memchr(b'"', file).unwrap_or(file.len());
        size.text = size.text.saturating_sub(length);
        // `%PDF-`
        if file.starts_with(b"JVBERi0") {
            size.documents = size.documents.saturating_add(length / 4 * 3);
        } else {
            size.images += 1;
        }
        rest = file.get(length..).unwrap_or_default();
    }
    size
}

/// Where a file begins behind the word: behind the comma of a data URL, or in the member `data` close by.
fn file(rest: &[u8]) -> Option<&[u8]> {
    /// `","media_type":"application/pdf","data":"`, and white space in between.
    const NEAR: usize = 256;
    /// What is shorter is no picture worth the name; it counts as text.
    const LEAST: usize = 256;
    let file = match rest {
        [b',', file @ ..] => file,
        _ => {
            let near = rest.get(..NEAR.min(rest.len()))?;
            let (_, after) = rest.split_at_checked(memmem::find(near, b"\"data\"")? + b"\"data\"".len())?;
            after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?
        }
    };
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'\\');
    file.get(..LEAST)?.iter().all(is_base64).then_some(file)
}

fn part(part: &Part<'_>, size: &mut Size) {
    match &part.content {
        Content::Text(text) => size.text += text.escaped().len(),
        Content::Image(_) => size.images += 1,
        Content::Document(Document { source, title, context, .. }) => {
            size.text += title.iter().chain(context).map(|text| text.escaped().len()).sum::<usize>();
            match source {
                DocumentSource::Inline { media_type, data } => {
                    // Base64 has four bytes for three.
                    let bytes = data.escaped().len() / 4 * 3;
                    if media_type.starts_with("audio/") || media_type.starts_with("video/") {
                        size.media += bytes;
                    } else {
                        size.documents += bytes;
                    }
                }
                DocumentSource::Texts(texts) => {
                    size.text += texts.iter().map(|text| text.escaped().len()).sum::<usize>();
                }
                // Nobody knows what is there.
                DocumentSource::Address(_) => {}
            }
        }
        Content::SearchResult(found) => {
            let texts = [found.source, found.title];
            size.text += texts.iter().chain(&found.texts).map(|text| text.escaped().len()).sum::<usize>();
        }
        Content::Thinking(thinking) => size.text += thinking.text.escaped().len(),
        Content::Redacted(data) => size.text += data.escaped().len() / 4 * 3,
        Content::ToolCall(call) => size.text += call.name.as_str().len() + call.arguments.len(),
        Content::ToolResult(result) => {
            size.text += result.name.as_str().len();
            result.parts.iter().for_each(|inner| self::part(inner, size));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_a_body_that_nobody_reads_are_not_counted_as_text() {
        let data = "A".repeat(4000);
        let pdf = format!("JVBERi0{}", "A".repeat(3993));
        let image = r#"{"source":{"type":"base64","media_type":"image/png","data":"#;
        let url = r#"{"image_url":{"url":"data:image/png;base64,"#;
        let body = format!("[{image} \"{data}\"}}}},{url}{data}\"}}}},{image}\"{pdf}\"}}}}]");
        let size = unread(body.as_bytes());
        assert_eq!((size.images, size.documents), (2, 3000));
        assert_eq!(size.text, body.len() - 3 * 4000);
    }

    #[test]
    fn words_about_base64_are_text() {
        for text in
            ["base64", "base64,", "base64, \"data\": \"x\"", "\"base64\",\"data\":1", &"base64,".repeat(1000)]
        {
            assert_eq!(unread(text.as_bytes()), Size { text: text.len(), ..Size::default() }, "{text}");
        }
    }
}
