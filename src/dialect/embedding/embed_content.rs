//! Vertex AI's Gemini embeddings by `:embedContent`, one text or picture a call.
//!
//! cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.publishers.models/embedContent. (Google's
//! SDK sends several texts by `:batchEmbedContents`, of which no limits are documented.)

use serde::Deserialize;

use super::{ENCODED, Word, garbled, one, words};
use crate::base::error::Error;
use crate::base::json::{self, Count, Writer};
use crate::dialect::fates::Fate::{self, Dropped, Mapped};
use crate::embedding::{Answer, Input, Request, Vector};

/// What becomes of each field of a request.
pub const FATES: &[(&str, Fate)] = &[
    ("model", Mapped("the model of the path")),
    ("input", Mapped("`content.parts[0].text`, `.inlineData`")),
    ("dimensions", Mapped("`embedContentConfig.outputDimensionality`")),
    ("encoding_format", ENCODED),
    ("user", Dropped),
];

const TRUNCATE: &str = "autoTruncate";

/// What clients may say to the models themselves.
const WORDS: &[Word] = &[
    ("taskType", &["taskType", "task_type"]),
    ("title", &["title"]),
    (TRUNCATE, &[TRUNCATE, "auto_truncate"]),
];

/// Writes the body of a call.
///
/// # Errors
/// For words of other clouds.
pub fn write(
    request: &Request<'_>,
    inputs: &[Input<'_>],
    dimensions: Option<Count<'_>>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let said = words(request, WORDS, "Vertex AI")?;
    let input = one(inputs)?;
    Writer::new(out).object(|w| {
        w.key("content").object(|w| {
            w.key("role").string("user");
            w.key("parts").array(|w| {
                w.object(|w| match input {
                    Input::Text(text) => w.key("text").text(*text),
                    Input::Image(image) => w.key("inlineData").object(|w| {
                        w.key("mimeType").string(&image.media_type);
                        w.key("data").text(image.data);
                    }),
                });
            });
        });
        w.key("embedContentConfig").object(|w| {
            if let Some(dimensions) = dimensions {
                w.key("outputDimensionality").token(dimensions.token());
            }
            for (name, value) in &said {
                w.key(name).raw(value);
            }
            if !said.iter().any(|(name, _)| *name == TRUNCATE) {
                // Too long a text is an error at OpenAI, too, rather than half a vector.
                w.key(TRUNCATE).bool(false);
            }
        });
    });
    Ok(())
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    embedding: Option<Embedding<'a>>,
    #[serde(borrow, rename = "usageMetadata")]
    usage: Option<Usage<'a>>,
}

#[derive(Deserialize)]
struct Embedding<'a> {
    #[serde(borrow)]
    values: Option<Vector<'a>>,
}

#[derive(Deserialize)]
struct Usage<'a> {
    #[serde(borrow, rename = "promptTokenCount")]
    prompt: Option<Count<'a>>,
}

/// Reads a reply of status 200.
///
/// # Errors
/// When it is none.
pub fn decode(body: &str) -> Result<Answer<'_>, Error> {
    let reply: Reply<'_> = json::read(body).map_err(|_| garbled())?;
    let vectors = vec![reply.embedding.and_then(|embedding| embedding.values).ok_or_else(garbled)?];
    Ok(Answer { vectors, tokens: reply.usage.and_then(|usage| usage.prompt).map(Count::value) })
}
