//! Vertex AI's text embeddings by `:predict`, several texts a call.
//!
//! cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api.

use serde::Deserialize;

use super::{ENCODED, Word, garbled, texts, words};
use crate::base::error::Error;
use crate::base::json::{self, Count, Number, Writer};
use crate::dialect::fates::Fate::{self, Dropped, Mapped};
use crate::embedding::{Answer, Input, Request, Vector};

/// What becomes of each field of a request.
pub const FATES: &[(&str, Fate)] = &[
    ("model", Mapped("the model of the path")),
    ("input", Mapped("`instances[].content`")),
    ("dimensions", Mapped("`parameters.outputDimensionality`")),
    ("encoding_format", ENCODED),
    ("user", Dropped),
];

const TRUNCATE: &str = "autoTruncate";

/// What clients may say to the models themselves: of each text, and of the call.
const WORDS: &[Word] = &[
    ("task_type", &["task_type", "taskType"]),
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
    Writer::new(out).object(|w| {
        w.key("instances").array(|w| {
            for text in texts(inputs) {
                w.object(|w| {
                    w.key("content").text(text);
                    for (name, value) in said.iter().filter(|(name, _)| *name != TRUNCATE) {
                        w.key(name).raw(value);
                    }
                });
            }
        });
        w.key("parameters").object(|w| {
            if let Some(dimensions) = dimensions {
                w.key("outputDimensionality").token(dimensions.token());
            }
            w.key(TRUNCATE);
            match said.iter().find(|(name, _)| *name == TRUNCATE) {
                Some((_, value)) => w.raw(value),
                // Too long a text is an error at OpenAI, too, rather than half a vector.
                None => w.bool(false),
            }
        });
    });
    Ok(())
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    predictions: Option<Vec<Prediction<'a>>>,
}

#[derive(Deserialize)]
struct Prediction<'a> {
    #[serde(borrow)]
    embeddings: Option<Embeddings<'a>>,
}

#[derive(Deserialize)]
struct Embeddings<'a> {
    #[serde(borrow)]
    values: Option<Vector<'a>>,
    #[serde(borrow)]
    statistics: Option<Statistics<'a>>,
}

#[derive(Deserialize)]
struct Statistics<'a> {
    #[serde(borrow)]
    token_count: Option<Number<'a>>,
}

/// Reads a reply of status 200.
///
/// # Errors
/// When it is none.
pub fn decode(body: &str) -> Result<Answer<'_>, Error> {
    let reply: Reply<'_> = json::read(body).map_err(|_| garbled())?;
    let mut vectors = Vec::new();
    let mut tokens = Some(0u64);
    for prediction in reply.predictions.ok_or_else(garbled)? {
        let embeddings = prediction.embeddings.ok_or_else(garbled)?;
        vectors.push(embeddings.values.ok_or_else(garbled)?);
        // Google's own types have a float here.
        let count = embeddings.statistics.and_then(|all| all.token_count).map(|count| count.value() as u64);
        tokens = tokens.zip(count).map(|(all, more)| all.saturating_add(more));
    }
    Ok(Answer { vectors, tokens })
}
