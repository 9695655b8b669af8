//! How large a request is, as far as its tokens hang on it.

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
