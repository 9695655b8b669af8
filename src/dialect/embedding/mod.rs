//! The dialects in which the clouds take texts and give vectors, and the models that speak them.

mod cohere;
mod embed_content;
mod nova;
mod predict;
mod titan;

use std::ops::Range;

use serde_json::value::RawValue;

use super::Cloud;
use super::extra;
use super::fates::Fate;
use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::json::{Count, Text};
use crate::embedding::{Answer, Image, Input, Request};

/// A dialect in which a cloud gives vectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upstream {
    Titan(titan::Version),
    Cohere(cohere::Version),
    Nova,
    /// Vertex AI's `:predict`.
    Predict,
    /// Vertex AI's `:embedContent`.
    EmbedContent,
}

/// What is known of a model, or of several whose names begin alike.
#[derive(Debug)]
pub struct Model {
    /// The part of its name by which it is known.
    pub name: &'static str,
    pub upstream: Upstream,
    /// How many texts one call takes.
    pub texts: usize,
    /// How many pictures one call takes in their place.
    pub images: usize,
    /// How many numbers a vector may have; empty: as the cloud says.
    pub sizes: &'static [u64],
}

use Upstream::{Cohere, EmbedContent, Nova, Predict, Titan};

/// The models of Bedrock. Ids may have a region's prefix or stand in an ARN, so the name is looked for anywhere.
pub const BEDROCK: &[Model] = &[
    model("amazon.titan-embed-text-v2", Titan(titan::Version::Two), 1, 0, &[256, 512, 1024]),
    model("amazon.titan-embed-text-v1", Titan(titan::Version::One), 1, 0, &[1536]),
    model("amazon.titan-embed-g1-text-02", Titan(titan::Version::One), 1, 0, &[1536]),
    model("amazon.titan-embed-image-v1", Titan(titan::Version::Multimodal), 1, 1, &[256, 384, 1024]),
    model("cohere.embed-v4", Cohere(cohere::Version::Four), 96, 96, &[256, 512, 1024, 1536]),
    model("cohere.embed-english-v3", Cohere(cohere::Version::Three), 96, 1, &[1024]),
    model("cohere.embed-multilingual-v3", Cohere(cohere::Version::Three), 96, 1, &[1024]),
    model("amazon.nova-2-multimodal-embeddings", Nova, 1, 1, &[256, 384, 1024, 3072]),
];

/// The models of Vertex AI. The first name that fits is the one: one call of the Gemini models takes one text
/// (cloud.google.com/vertex-ai/generative-ai/docs/embeddings/get-text-embeddings).
pub const VERTEX: &[Model] = &[
    model("gemini-embedding-001", Predict, 1, 0, &[]),
    model("gemini-embedding-exp", Predict, 1, 0, &[]),
    model("gemini-embedding", EmbedContent, 1, 1, &[]),
    model("text-embedding", Predict, 250, 0, &[]),
    model("text-multilingual-embedding", Predict, 250, 0, &[]),
    model("textembedding-gecko", Predict, 5, 0, &[]),
];

const fn model(
    name: &'static str,
    upstream: Upstream,
    texts: usize,
    images: usize,
    sizes: &'static [u64],
) -> Model {
    Model { name, upstream, texts, images, sizes }
}

/// How many bytes of text go into one call of Vertex AI's `:predict`, which takes 20,000 tokens: a token has at
/// least one byte. A text that is longer goes alone.
const MOST_BYTES: usize = 20_000;

impl Model {
    /// Finds a model of Bedrock by its id.
    ///
    /// # Errors
    /// [`Kind::UnknownModel`] when no embedding model is known by such a name.
    pub fn of_bedrock(id: &str) -> Result<&'static Self, Error> {
        let found = BEDROCK.iter().find(|model| id.contains(model.name));
        found.ok_or_else(|| unknown("Titan, Cohere Embed and Nova Multimodal Embeddings"))
    }

    /// Finds a model of Vertex AI by its name.
    ///
    /// # Errors
    /// [`Kind::UnknownModel`] when no embedding model is known by such a name.
    pub fn of_vertex(id: &str) -> Result<&'static Self, Error> {
        let found = VERTEX.iter().find(|model| id.starts_with(model.name));
        found.ok_or_else(|| unknown("text-embedding, text-multilingual-embedding and gemini-embedding"))
    }

    /// Cuts the inputs of a request into those of each call, in order. No call has texts and pictures.
    pub fn calls(&self, inputs: &[Input<'_>]) -> Vec<Range<usize>> {
        let most_bytes = match self.upstream {
            Predict => MOST_BYTES,
            Titan(_) | Cohere(_) | Nova | EmbedContent => usize::MAX,
        };
        let mut calls: Vec<Range<usize>> = Vec::new();
        let (mut bytes, mut kind) = (0usize, None);
        for (index, input) in inputs.iter().enumerate() {
            let most = match input {
                Input::Text(_) => self.texts,
                Input::Image(_) => self.images,
            };
            let (more, its_kind) = (input.written_bytes(), Some(std::mem::discriminant(input)));
            match calls.last_mut() {
                Some(call)
                    if call.len() < most && kind == its_kind && bytes.saturating_add(more) <= most_bytes =>
                {
                    call.end = index.saturating_add(1);
                    bytes = bytes.saturating_add(more);
                }
                _ => {
                    calls.push(index..index.saturating_add(1));
                    (bytes, kind) = (more, its_kind);
                }
            }
        }
        calls
    }

    /// Writes the body of one call into an empty buffer; `call` is one of [`Model::calls`].
    ///
    /// # Errors
    /// What this model has no way to say, named by its path in the client's body.
    pub fn write(&self, request: &Request<'_>, call: &Range<usize>, out: &mut Vec<u8>) -> Result<(), Error> {
        let inputs = request.inputs.get(call.clone()).unwrap_or_default();
        if self.images == 0 && inputs.iter().any(|input| matches!(input, Input::Image(_))) {
            let problem = "is a picture, and this model makes vectors of texts only";
            return Err(Error::at(Kind::Unsupported, request.path(call.start), problem));
        }
        let size = self.size(request)?;
        match self.upstream {
            Titan(version) => titan::write(version, request, inputs, size, out),
            Cohere(version) => cohere::write(version, request, call.start, inputs, size, out),
            Nova => nova::write(request, call.start, inputs, size, out),
            Predict => predict::write(request, inputs, size, out),
            EmbedContent => embed_content::write(request, inputs, size, out),
        }
    }

    /// The size that is to be asked for. What makes vectors of one size only need not be asked for it, and
    /// does not let itself be.
    fn size<'a>(&self, request: &Request<'a>) -> Result<Option<Count<'a>>, Error> {
        let Some(wanted) = request.dimensions else { return Ok(None) };
        if !self.sizes.is_empty() && !self.sizes.contains(&wanted.value()) {
            let sizes: Vec<String> = self.sizes.iter().map(u64::to_string).collect();
            let problem = format!("must be {} for this model", sizes.join(" or "));
            return Err(Error::at(Kind::WrongValue, "dimensions", &problem));
        }
        if !(1..=self.longest()).contains(&wanted.value()) {
            let problem = format!("must be from 1 to {} for this model", self.longest());
            return Err(Error::at(Kind::WrongValue, "dimensions", &problem));
        }
        Ok((self.sizes.len() != 1).then_some(wanted))
    }

    /// The longest vector that a model makes which makes them of any size:
    /// cloud.google.com/vertex-ai/generative-ai/docs/embeddings/get-text-embeddings.
    fn longest(&self) -> u64 {
        match self.upstream {
            Predict | EmbedContent if self.name.starts_with("gemini-embedding") => 3072,
            Predict | EmbedContent => 768,
            Titan(_) | Cohere(_) | Nova => u64::MAX,
        }
    }
}

impl Upstream {
    /// What a person calls it.
    pub const fn title(self) -> &'static str {
        match self {
            Titan(_) => "Titan",
            Cohere(_) => "Cohere Embed",
            Nova => "Nova",
            Predict => "Vertex `:predict`",
            EmbedContent => "Vertex `:embedContent`",
        }
    }

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Titan(_) => "titan_embed",
            Cohere(_) => "cohere_embed",
            Nova => "nova_embed",
            Predict => "vertex_predict",
            EmbedContent => "vertex_embed_content",
        }
    }

    /// What becomes of each of the [`FIELDS`].
    pub const fn fates(self) -> &'static [(&'static str, Fate)] {
        match self {
            Titan(_) => titan::FATES,
            Cohere(_) => cohere::FATES,
            Nova => nova::FATES,
            Predict => predict::FATES,
            EmbedContent => embed_content::FATES,
        }
    }

    /// Whose errors it sends.
    pub const fn cloud(self) -> Cloud {
        match self {
            Titan(_) | Cohere(_) | Nova => Cloud::Aws,
            Predict | EmbedContent => Cloud::Google,
        }
    }

    /// The last word of the path.
    pub const fn method(self) -> &'static str {
        match self {
            Titan(_) | Cohere(_) | Nova => "invoke",
            Predict => "predict",
            EmbedContent => "embedContent",
        }
    }

    /// Decodes a reply of status 200 to a call with so many texts.
    ///
    /// # Errors
    /// [`Kind::UpstreamGarbled`] when it is no such reply, or has not a vector for each text.
    pub fn decode(self, body: &str, texts: usize) -> Result<Answer<'_>, Error> {
        let answer = match self {
            Titan(_) => titan::decode(body),
            Cohere(_) => cohere::decode(body),
            Nova => nova::decode(body),
            Predict => predict::decode(body),
            EmbedContent => embed_content::decode(body),
        }?;
        if answer.vectors.len() == texts { Ok(answer) } else { Err(garbled()) }
    }
}

/// The tokens of a call's texts, where the headers of its reply tell them, as with Bedrock's InvokeModel.
pub fn tokens(headers: &Headers) -> Option<u64> {
    headers.get("x-amzn-bedrock-input-token-count")?.trim().parse().ok()
}

fn unknown(known: &str) -> Error {
    let problem = format!("makes no embeddings, as far as the gateway knows; those here that do are {known}");
    Error::at(Kind::UnknownModel, "model", &problem)
}

fn garbled() -> Error {
    Error::new(Kind::UpstreamGarbled, "the cloud answered with something that is not the vectors asked for")
}

/// The only input of a call that takes no more.
fn one<'i, 'a>(inputs: &'i [Input<'a>]) -> Result<&'i Input<'a>, Error> {
    match inputs {
        [input] => Ok(input),
        _ => Err(Error::new(Kind::Internal, "a call that takes one text was to have another number of them")),
    }
}

/// The texts of a call that has no picture.
fn texts<'i, 'a>(inputs: &'i [Input<'a>]) -> impl Iterator<Item = Text<'a>> + 'i {
    inputs.iter().filter_map(|input| match input {
        Input::Text(text) => Some(*text),
        Input::Image(_) => None,
    })
}

/// The pictures of a call that has no text.
fn images<'i, 'a>(inputs: &'i [Input<'a>]) -> impl Iterator<Item = &'i Image<'a>> {
    inputs.iter().filter_map(|input| match input {
        Input::Text(_) => None,
        Input::Image(image) => Some(image),
    })
}

/// A field of the cloud's own: its name there, and the names by which clients say it.
type Word = (&'static str, &'static [&'static str]);

/// Finds the cloud's own names of what a client says to it; no two of them are alike.
fn words<'a>(
    request: &Request<'a>,
    known: &[Word],
    upstream: &str,
) -> Result<Vec<(&'static str, &'a RawValue)>, Error> {
    let mut said: Vec<(&'static str, &'a RawValue)> = Vec::new();
    for field in &request.extra {
        let Some((name, _)) = known.iter().find(|(_, names)| names.contains(&field.name.as_str())) else {
            return Err(extra::refusal(field, upstream));
        };
        if said.iter().any(|(other, _)| other == name) {
            return Err(Error::at(
                Kind::WrongValue,
                field.path.clone(),
                "is said twice; leave one of them out",
            ));
        }
        said.push((name, field.value));
    }
    Ok(said)
}

/// The fate of `encoding_format`, which no cloud needs to know.
const ENCODED: Fate = Fate::Mapped("`float` as the cloud writes it, `base64` made by the gateway");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_known_whatever_stands_around_its_name() {
        for (id, name) in [
            ("amazon.titan-embed-text-v2:0", "amazon.titan-embed-text-v2"),
            ("us.cohere.embed-v4:0", "cohere.embed-v4"),
            ("arn:aws:bedrock:eu-west-1:1:inference-profile/eu.cohere.embed-v4:0", "cohere.embed-v4"),
            (
                "arn%3Aaws%3Abedrock%3Aus-east-1%3A%3Afoundation-model%2Fcohere.embed-english-v3",
                "cohere.embed-english-v3",
            ),
        ] {
            assert_eq!(Model::of_bedrock(id).unwrap().name, name, "{id}");
        }
        for (id, name) in [
            ("gemini-embedding-001", "gemini-embedding-001"),
            ("gemini-embedding-2-preview", "gemini-embedding"),
            ("text-embedding-005", "text-embedding"),
            ("text-embedding-large-exp-03-07", "text-embedding"),
        ] {
            assert_eq!(Model::of_vertex(id).unwrap().name, name, "{id}");
        }
        for id in [
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            "arn:aws:bedrock:us-east-1:1:application-inference-profile/x",
        ] {
            assert_eq!(Model::of_bedrock(id).unwrap_err().kind, Kind::UnknownModel, "{id}");
        }
        assert_eq!(Model::of_vertex("gemini-2.5-flash").unwrap_err().param.as_deref(), Some("model"));
    }

    #[test]
    fn texts_are_cut_into_calls_by_number_and_by_size_and_none_is_lost() {
        let calls = |id: &str, inputs: &[&'static str]| {
            let texts: Vec<Input<'_>> =
                inputs.iter().map(|text| Input::Text(Text::from_escaped(text))).collect();
            let model = Model::of_vertex(id).or_else(|_| Model::of_bedrock(id)).unwrap();
            model.calls(&texts).into_iter().map(|range| range.len()).collect::<Vec<_>>()
        };
        assert_eq!(calls("amazon.titan-embed-text-v2:0", &["a"; 3]), [1, 1, 1]);
        assert_eq!(calls("cohere.embed-v4:0", &["a"; 96]), [96]);
        assert_eq!(calls("cohere.embed-v4:0", &["a"; 193]), [96, 96, 1]);
        assert_eq!(calls("gemini-embedding-001", &["a"; 2]), [1, 1]);
        assert_eq!(calls("text-embedding-005", &["a"; 501]), [250, 250, 1]);
        let long: &'static str = Box::leak("x".repeat(9_000).into_boxed_str());
        let longer: &'static str = Box::leak("x".repeat(MOST_BYTES + 1).into_boxed_str());
        assert_eq!(calls("text-embedding-005", &[long, long, long, longer, "a", long]), [2, 1, 1, 2]);
    }
}
