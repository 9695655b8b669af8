//! Images, documents, sounds and films for Gemini: the data itself, or an address that Google fetches.

use std::borrow::Cow;

use crate::base::error::{Error, Kind};
use crate::base::json::{Text, Writer};
use crate::chat::{Content, Detail, Document, DocumentSource, Image, ImageSource, Part, Request, Spelling};

/// docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/image-understanding; no GIF among them.
const IMAGES: &[&str] = &["image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"];

/// …/multimodal/document-understanding.
const DOCUMENTS: &[&str] = &["application/pdf", "text/plain"];

/// …/multimodal/audio-understanding.
const SOUNDS: &[&str] = &[
    "audio/x-aac",
    "audio/flac",
    "audio/mp3",
    "audio/m4a",
    "audio/mpeg",
    "audio/mpga",
    "audio/mp4",
    "audio/ogg",
    "audio/pcm",
    "audio/wav",
    "audio/webm",
];

/// …/multimodal/video-understanding.
const FILMS: &[&str] = &[
    "video/x-flv",
    "video/quicktime",
    "video/mpeg",
    "video/mpegps",
    "video/mpg",
    "video/mp4",
    "video/webm",
    "video/wmv",
    "video/3gpp",
];

/// Names that are widely sent, and those that Google knows.
const ALIASES: &[(&str, &str)] = &[
    ("image/jpg", "image/jpeg"),
    ("audio/aac", "audio/x-aac"),
    ("audio/x-wav", "audio/wav"),
    ("audio/wave", "audio/wav"),
    ("audio/x-m4a", "audio/m4a"),
    ("audio/x-flac", "audio/flac"),
    ("video/mov", "video/quicktime"),
    ("video/x-ms-wmv", "video/wmv"),
    // Text is text to a model, and Google takes no other kind of it.
    ("text/csv", "text/plain"),
    ("text/html", "text/plain"),
    ("text/markdown", "text/plain"),
    ("text/xml", "text/plain"),
    ("application/json", "text/plain"),
    ("application/xml", "text/plain"),
];

/// What the ends of names tell.
const ENDINGS: &[(&str, &str)] = &[
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("webp", "image/webp"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("gif", "image/gif"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("md", "text/plain"),
    ("csv", "text/plain"),
    ("html", "text/plain"),
    ("json", "text/plain"),
    ("xml", "text/plain"),
    ("aac", "audio/x-aac"),
    ("flac", "audio/flac"),
    ("mp3", "audio/mp3"),
    ("m4a", "audio/m4a"),
    ("ogg", "audio/ogg"),
    ("wav", "audio/wav"),
    ("flv", "video/x-flv"),
    ("mov", "video/quicktime"),
    ("mpeg", "video/mpeg"),
    ("mpg", "video/mpg"),
    ("mp4", "video/mp4"),
    ("webm", "video/webm"),
    ("wmv", "video/wmv"),
    ("3gp", "video/3gpp"),
];

/// Google fetches films from here, whose addresses have no ending.
const YOUTUBE: &[&str] = &["https://www.youtube.com/", "https://youtube.com/", "https://youtu.be/"];

/// Where a file stands: in a message, or in the result of a tool, where Gemini takes fewer kinds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Within {
    Message,
    /// …/multimodal/function-calling, multimodal function responses.
    Result,
}

impl Within {
    fn takes(self, mime_type: &str) -> bool {
        match self {
            Within::Message => [IMAGES, DOCUMENTS, SOUNDS, FILMS].iter().any(|all| all.contains(&mime_type)),
            Within::Result => {
                matches!(mime_type, "image/png" | "image/jpeg" | "image/webp")
                    || DOCUMENTS.contains(&mime_type)
            }
        }
    }
}

/// A file as Gemini takes it.
pub enum File<'a> {
    Inline { mime_type: Cow<'a, str>, data: Text<'a> },
    Address { mime_type: Cow<'a, str>, uri: Text<'a> },
}

impl File<'_> {
    /// A part of a content or of a function's response.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.object(|w| self.members(w));
    }

    /// A part of a content that is to be looked at in some detail.
    pub fn write_in_detail(&self, detail: Option<Detail>, w: &mut Writer<'_>) {
        w.object(|w| {
            self.members(w);
            if let Some(detail) = detail {
                w.key("mediaResolution").object(|w| w.key("level").string(resolution(detail)));
            }
        });
    }

    fn members(&self, w: &mut Writer<'_>) {
        match self {
            File::Inline { mime_type, data } => w.key("inlineData").object(|w| {
                w.key("mimeType").string(mime_type);
                w.key("data").text(*data);
            }),
            File::Address { mime_type, uri } => w.key("fileData").object(|w| {
                w.key("mimeType").string(mime_type);
                w.key("fileUri").text(*uri);
            }),
        }
    }
}

/// `Part.MediaResolution.Level` of Vertex AI's v1; `GenerationConfig.MediaResolution` has the same but for the last.
pub const fn resolution(detail: Detail) -> &'static str {
    match detail {
        Detail::Low => "MEDIA_RESOLUTION_LOW",
        Detail::Medium => "MEDIA_RESOLUTION_MEDIUM",
        Detail::High => "MEDIA_RESOLUTION_HIGH",
        Detail::Original => "MEDIA_RESOLUTION_ULTRA_HIGH",
    }
}

/// The detail in which to look at all files of a request, which is all that a model before Gemini 3 can be told
/// (ai.google.dev/gemini-api/docs/media-resolution); `None` where they differ.
pub fn detail_of_all(request: &Request<'_>) -> Option<Detail> {
    let mut parts: Vec<&Part<'_>> = request.turns.iter().flat_map(|turn| &turn.parts).collect();
    let mut common = None;
    while let Some(part) = parts.pop() {
        let detail = match &part.content {
            Content::Image(image) => image.detail,
            Content::Document(Document { source: DocumentSource::Texts(_), .. }) => continue,
            Content::Document(_) => None,
            Content::ToolResult(result) => {
                parts.extend(&result.parts);
                continue;
            }
            Content::Text(_)
            | Content::SearchResult(_)
            | Content::Thinking(_)
            | Content::Redacted(_)
            | Content::ToolCall(_) => continue,
        };
        let detail = detail.filter(|detail| *detail != Detail::Original)?;
        if *common.get_or_insert(detail) != detail {
            return None;
        }
    }
    common
}

/// The file that an image is.
///
/// # Errors
/// When Gemini takes none of its kind here, or the kind cannot be told.
pub fn image<'a>(
    part: &Part<'_>,
    image: &Image<'a>,
    within: Within,
    spelling: &Spelling,
) -> Result<File<'a>, Error> {
    let file = match &image.source {
        ImageSource::Inline { media_type, data } => {
            File::Inline { mime_type: registered(media_type.clone()), data: *data }
        }
        ImageSource::Address(uri) => address(part, spelling.image, *uri, None)?,
    };
    let images = if within == Within::Message { IMAGES } else { IMAGES.get(..3).unwrap_or_default() };
    taken(part, spelling.image, file, |mime_type| within.takes(mime_type), &images.join(", "))
}

/// The file that a document, sound or film is; `None` for a text.
///
/// # Errors
/// As [`image`].
pub fn document<'a>(
    part: &Part<'_>,
    document: &Document<'a>,
    within: Within,
) -> Result<Option<File<'a>>, Error> {
    let file = match &document.source {
        DocumentSource::Texts(_) => return Ok(None),
        DocumentSource::Inline { media_type, data } => {
            File::Inline { mime_type: registered(media_type.clone()), data: *data }
        }
        DocumentSource::Address(uri) => address(part, document.below, *uri, document.media_type.clone())?,
    };
    let kinds = match within {
        Within::Message => "PDF, plain text, and the usual kinds of images, sounds and films",
        Within::Result => "PDF, plain text and images",
    };
    taken(part, document.below, file, |mime_type| within.takes(mime_type), kinds).map(Some)
}

fn taken<'a>(
    part: &Part<'_>,
    below: &str,
    file: File<'a>,
    takes: impl Fn(&str) -> bool,
    kinds: &str,
) -> Result<File<'a>, Error> {
    let (File::Inline { mime_type, .. } | File::Address { mime_type, .. }) = &file;
    if takes(mime_type) {
        return Ok(file);
    }
    let problem = format!("Gemini does not take this type of file here; it takes {kinds}");
    Err(part.place.error(Kind::Unsupported, below, &problem))
}

/// An address with the type of what is there, which Google does not find out by itself
/// (`FileData.mimeType` is required).
fn address<'a>(
    part: &Part<'_>,
    below: &str,
    uri: Text<'a>,
    declared: Option<Cow<'a, str>>,
) -> Result<File<'a>, Error> {
    let told = declared.map(registered).or_else(|| guess(&uri.unescape()).map(Cow::Borrowed));
    let Some(mime_type) = told else {
        let problem = "the address does not tell what is there; let its path end in .png or the like, tell the \
            media type as `format`, or send the data itself";
        return Err(part.place.error(Kind::Unsupported, below, problem));
    };
    Ok(File::Address { mime_type, uri })
}

/// Google's name for a media type.
fn registered(media_type: Cow<'_, str>) -> Cow<'_, str> {
    match ALIASES.iter().find(|(alias, _)| *alias == media_type) {
        Some((_, known)) => Cow::Borrowed(known),
        None => media_type,
    }
}

/// The media type by the end of an address's path.
fn guess(uri: &str) -> Option<&'static str> {
    if YOUTUBE.iter().any(|host| uri.starts_with(host)) {
        return Some("video/mp4");
    }
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let (_, path) = path.split_once("://")?;
    let (_, name) = path.rsplit_once('/')?;
    let (_, ending) = name.rsplit_once('.')?;
    ENDINGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(ending)).map(|(_, mime_type)| *mime_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_path_tells_what_is_there() {
        for (uri, expected) in [
            ("https://example.com/a/b.PNG?size=1.jpg#x.gif", Some("image/png")),
            ("gs://bucket/film.mp4", Some("video/mp4")),
            ("https://www.youtube.com/watch?v=abc", Some("video/mp4")),
            ("https://example.com/a.b/picture", None),
            ("https://example.png", None),
            ("https://example.com/a.exe", None),
            ("https://example.com/", None),
        ] {
            assert_eq!(guess(uri), expected, "{uri}");
        }
    }
}
