//! Amazon Nova Multimodal Embeddings by InvokeModel, one text or picture a call.
//!
//! docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html.

use serde::Deserialize;

use super::{ENCODED, Word, garbled, one, words};
use crate::base::error::{Error, Kind};
use crate::base::json::{self, Count, Writer};
use crate::dialect::fates::Fate::{self, Dropped, Mapped};
use crate::embedding::{Answer, Input, Request, Vector};

/// What becomes of each field of a request.
pub const FATES: &[(&str, Fate)] = &[
    ("model", Mapped("the model of the path")),
    ("input", Mapped("`singleEmbeddingParams.text.value`, `.image.source`")),
    ("dimensions", Mapped("`singleEmbeddingParams.embeddingDimension`")),
    ("encoding_format", ENCODED),
    ("user", Dropped),
];

const PURPOSE: &str = "embeddingPurpose";
const TRUNCATION: &str = "truncationMode";

/// What clients may say to the model itself.
const WORDS: &[Word] = &[(PURPOSE, &[PURPOSE]), (TRUNCATION, &[TRUNCATION])];

/// Writes the body of a call. `first` is the number of its input in the request.
///
/// # Errors
/// For words of other clouds.
pub fn write(
    request: &Request<'_>,
    first: usize,
    inputs: &[Input<'_>],
    dimensions: Option<Count<'_>>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let said = words(request, WORDS, "Nova")?;
    let input = one(inputs)?;
    let format = match input {
        Input::Text(_) => None,
        Input::Image(image) => Some(format(&image.media_type).ok_or_else(|| {
            let problem = "must be a PNG, JPEG, GIF or WebP for this model";
            Error::at(Kind::WrongValue, request.path(first), problem)
        })?),
    };
    let or_else = |w: &mut Writer<'_>, name: &'static str, default: &str| {
        w.key(name);
        match said.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => w.raw(value),
            None => w.string(default),
        }
    };
    Writer::new(out).object(|w| {
        w.key("schemaVersion").string("nova-multimodal-embed-v1");
        w.key("taskType").string("SINGLE_EMBEDDING");
        w.key("singleEmbeddingParams").object(|w| {
            // Must be said; this one is for texts that are there to be found, whatever they are found by.
            or_else(w, PURPOSE, "GENERIC_INDEX");
            if let Some(dimensions) = dimensions {
                w.key("embeddingDimension").token(dimensions.token());
            }
            match input {
                Input::Text(text) => w.key("text").object(|w| {
                    // Too long a text is an error at OpenAI, too, rather than half a vector.
                    or_else(w, TRUNCATION, "NONE");
                    w.key("value").text(*text);
                }),
                Input::Image(image) => w.key("image").object(|w| {
                    w.key("format").string(format.unwrap_or_default());
                    w.key("source").object(|w| w.key("bytes").text(image.data));
                }),
            }
        });
    });
    Ok(())
}

/// What Nova calls the format of a picture.
fn format(media_type: &str) -> Option<&'static str> {
    match media_type {
        "image/png" => Some("png"),
        "image/jpeg" | "image/jpg" => Some("jpeg"),
        "image/gif" => Some("gif"),
        "image/webp" => Some("webp"),
        _ => None, // Nova reads no other.
    }
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    embeddings: Option<Vec<Embedding<'a>>>,
}

#[derive(Deserialize)]
struct Embedding<'a> {
    #[serde(borrow)]
    embedding: Option<Vector<'a>>,
}

/// Reads a reply of status 200; Bedrock tells the tokens in a header.
///
/// # Errors
/// When it is none.
pub fn decode(body: &str) -> Result<Answer<'_>, Error> {
    let reply: Reply<'_> = json::read(body).map_err(|_| garbled())?;
    let embeddings = reply.embeddings.ok_or_else(garbled)?;
    let vectors: Result<_, Error> =
        embeddings.into_iter().map(|item| item.embedding.ok_or_else(garbled)).collect();
    Ok(Answer { vectors: vectors?, tokens: None })
}
