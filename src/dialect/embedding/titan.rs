//! Amazon Titan Text Embeddings and Titan Multimodal Embeddings by InvokeModel, one text or picture a call.
//!
//! docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html and
//! …/model-parameters-titan-embed-mm.html.

use serde::Deserialize;

use super::{ENCODED, Word, garbled, one, words};
use crate::base::error::Error;
use crate::base::json::{self, Count, Writer};
use crate::dialect::fates::Fate::{self, Dropped, Mapped};
use crate::embedding::{Answer, Input, Request, Vector};

/// What becomes of each field of a request.
pub const FATES: &[(&str, Fate)] = &[
    ("model", Mapped("the model of the path")),
    ("input", Mapped("`inputText`, `inputImage`")),
    ("dimensions", Mapped("`dimensions`; of the multimodal model `embeddingConfig.outputEmbeddingLength`")),
    ("encoding_format", ENCODED),
    ("user", Dropped),
];

/// What clients may say to version 2 itself.
const WORDS: &[Word] = &[("normalize", &["normalize"])];

/// A model of this family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    One,
    Two,
    Multimodal,
}

/// Writes the body of a call. `dimensions` is what the model can be asked for.
///
/// # Errors
/// For words of other clouds.
pub fn write(
    version: Version,
    request: &Request<'_>,
    inputs: &[Input<'_>],
    dimensions: Option<Count<'_>>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let known = match version {
        Version::Two => WORDS,
        Version::One | Version::Multimodal => &[],
    };
    let said = words(request, known, "this Titan model")?;
    let input = one(inputs)?;
    Writer::new(out).object(|w| {
        match input {
            Input::Text(text) => w.key("inputText").text(*text),
            Input::Image(image) => w.key("inputImage").text(image.data),
        }
        if let Some(dimensions) = dimensions {
            match version {
                Version::Multimodal => w
                    .key("embeddingConfig")
                    .object(|w| w.key("outputEmbeddingLength").token(dimensions.token())),
                Version::One | Version::Two => w.key("dimensions").token(dimensions.token()),
            }
        }
        for (name, value) in said {
            w.key(name).raw(value);
        }
    });
    Ok(())
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    embedding: Option<Vector<'a>>,
    #[serde(borrow, rename = "inputTextTokenCount")]
    tokens: Option<Count<'a>>,
}

/// Reads a reply of status 200.
///
/// # Errors
/// When it is none.
pub fn decode(body: &str) -> Result<Answer<'_>, Error> {
    let reply: Reply<'_> = json::read(body).map_err(|_| garbled())?;
    let vectors = vec![reply.embedding.ok_or_else(garbled)?];
    Ok(Answer { vectors, tokens: reply.tokens.map(Count::value) })
}
