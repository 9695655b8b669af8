//! Cohere Embed by InvokeModel, up to 96 texts a call.
//!
//! docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed-v3.html and …/model-parameters-embed-v4.html.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ENCODED, Word, garbled, images, texts, words};
use crate::base::error::{Error, Kind};
use crate::base::json::{self, Count, Text, Writer};
use crate::dialect::fates::Fate::{self, Dropped, Mapped};
use crate::embedding::{Answer, Input, Request, Vector};

/// What becomes of each field of a request.
pub const FATES: &[(&str, Fate)] = &[
    ("model", Mapped("the model of the path")),
    ("input", Mapped("`texts`, `images`")),
    ("dimensions", Mapped("`output_dimension`")),
    ("encoding_format", ENCODED),
    ("user", Dropped),
];

/// What clients may say to the models themselves.
const WORDS: &[Word] = &[INPUT_TYPE, TRUNCATE];
const WORDS_4: &[Word] = &[INPUT_TYPE, TRUNCATE, ("max_tokens", &["max_tokens"])];
const INPUT_TYPE: Word = ("input_type", &["input_type"]);
const TRUNCATE: Word = ("truncate", &["truncate"]);

/// A model of this family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    Three,
    Four,
}

/// The longest text of version 3, in characters: longer ones are refused before `truncate` is looked at.
const LONGEST: usize = 2048;

/// Writes the body of a call. `first` is the number of its first text in the request, `dimensions` what the
/// model can be asked for.
///
/// # Errors
/// For words of other clouds, and for texts that are too long.
pub fn write(
    version: Version,
    request: &Request<'_>,
    first: usize,
    inputs: &[Input<'_>],
    dimensions: Option<Count<'_>>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let known = match version {
        Version::Three => WORDS,
        Version::Four => WORDS_4,
    };
    let said = words(request, known, "Cohere Embed")?;
    let too_long =
        |text: &Text<'_>| text.escaped().len() > LONGEST && text.unescape().chars().count() > LONGEST;
    if let Some(at) = texts(inputs).position(|text| version == Version::Three && too_long(&text)) {
        let path = request.path(first.saturating_add(at));
        let problem = format!("has more than {LONGEST} characters, the most that Cohere Embed v3 takes");
        return Err(Error::at(Kind::TooLong, path, &problem));
    }
    Writer::new(out).object(|w| {
        let pictures = images(inputs).count() > 0;
        if pictures {
            w.key("images").array(|w| images(inputs).for_each(|image| w.text(image.url)));
        } else {
            w.key("texts").array(|w| texts(inputs).for_each(|text| w.text(text)));
        }
        let is_said = |name: &str| said.iter().any(|(known, _)| *known == name);
        if !is_said("input_type") {
            // Bedrock demands one, OpenAI's API knows none: most texts are there to be found.
            let kind = if pictures && version == Version::Three { "image" } else { "search_document" };
            w.key("input_type").string(kind);
        }
        if !pictures && !is_said("truncate") {
            // Too long a text is an error at OpenAI, too, rather than half a vector.
            w.key("truncate").string("NONE");
        }
        for (name, value) in &said {
            w.key(name).raw(value);
        }
        if let Some(dimensions) = dimensions {
            w.key("output_dimension").token(dimensions.token());
        }
    });
    Ok(())
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    embeddings: Option<&'a RawValue>,
}

/// The form of a reply that names its types.
#[derive(Deserialize)]
struct ByType<'a> {
    #[serde(borrow)]
    float: Option<Vec<Vector<'a>>>,
}

/// Reads a reply of status 200; Bedrock tells the tokens in a header.
///
/// # Errors
/// When it is none.
pub fn decode(body: &str) -> Result<Answer<'_>, Error> {
    let reply: Reply<'_> = json::read(body).map_err(|_| garbled())?;
    let embeddings = reply.embeddings.ok_or_else(garbled)?.get();
    let vectors = if embeddings.starts_with('{') {
        json::read::<ByType<'_>>(embeddings).map_err(|_| garbled())?.float
    } else {
        json::read(embeddings).map_err(|_| garbled())?
    };
    Ok(Answer { vectors: vectors.ok_or_else(garbled)?, tokens: None })
}
