//! The upstream side of image generation: a file for each body that the clouds' models want.

mod canvas;
mod gemini;
mod imagen;
mod shape;
mod stability;
pub mod words;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Cloud;
use super::fates::Fate;
use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::json;
use crate::chat::LeftOut;
use crate::image::{Images, Request};
use words::{Rule, Word};

/// A dialect of models that make images.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upstream {
    /// Amazon's Nova Canvas and Titan Image Generator.
    Canvas,
    /// Stability's models on Bedrock.
    Stability,
    /// Google's Imagen.
    Imagen,
    /// Gemini's image models.
    Gemini,
}

/// The images of one of several calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Portion {
    pub count: u64,
    /// How many the calls before it make. A seed moves on by so much, or the calls would make the same images.
    pub before: u64,
}

/// What a reply of status 200 is read to.
///
/// # Errors
/// [`Kind::UpstreamGarbled`] when it is no such reply, [`Kind::UpstreamFailed`] when it says so.
type Made<'a> = Result<Images<'a>, Error>;

impl Upstream {
    /// Every one, for tables and tests.
    pub const ALL: &[Upstream] = &[Upstream::Canvas, Upstream::Stability, Upstream::Imagen, Upstream::Gemini];

    /// The name in file names of golden cases.
    pub const fn name(self) -> &'static str {
        match self {
            Upstream::Canvas => "canvas",
            Upstream::Stability => "stability",
            Upstream::Imagen => "imagen",
            Upstream::Gemini => "gemini",
        }
    }

    /// What a person calls it.
    pub const fn title(self) -> &'static str {
        match self {
            Upstream::Canvas => "Bedrock Nova Canvas, Titan Image",
            Upstream::Stability => "Bedrock Stability",
            Upstream::Imagen => "Vertex Imagen",
            Upstream::Gemini => "Vertex Gemini image models",
        }
    }

    /// What becomes of each field of `POST /v1/images/generations`.
    pub const fn fates(self) -> &'static [(&'static str, Fate)] {
        match self {
            Upstream::Canvas => canvas::FATES,
            Upstream::Stability => stability::FATES,
            Upstream::Imagen => imagen::FATES,
            Upstream::Gemini => gemini::FATES,
        }
    }

    /// What clients may say to the models themselves.
    pub const fn words(self) -> &'static [Word] {
        match self {
            Upstream::Canvas => canvas::WORDS,
            Upstream::Stability => stability::WORDS,
            Upstream::Imagen => imagen::WORDS,
            Upstream::Gemini => gemini::WORDS,
        }
    }

    /// Whose errors it sends.
    pub const fn cloud(self) -> Cloud {
        match self {
            Upstream::Canvas | Upstream::Stability => Cloud::Aws,
            Upstream::Imagen | Upstream::Gemini => Cloud::Google,
        }
    }

    /// How many images the models make in a call.
    const fn most_in_a_call(self) -> u64 {
        match self {
            Upstream::Canvas => 5,
            Upstream::Imagen => 4,
            Upstream::Stability | Upstream::Gemini => 1,
        }
    }

    /// The calls that so many images take.
    pub fn portions(self, count: u64) -> Vec<Portion> {
        let mut portions = Vec::new();
        let mut before = 0;
        while before < count {
            let next = self.most_in_a_call().min(count - before);
            portions.push(Portion { count: next, before });
            before += next;
        }
        portions
    }

    /// Writes the upstream's body of one call for `model`, the upstream's own name of it, into an empty
    /// buffer. Gives what this model made it leave out.
    ///
    /// # Errors
    /// What the model does not make or take, named by its path in the client's body.
    pub fn write(
        self,
        request: &Request<'_>,
        model: &str,
        portion: Portion,
        out: &mut Vec<u8>,
    ) -> Result<LeftOut, Error> {
        match self {
            Upstream::Canvas => canvas::write(request, model, portion, out),
            Upstream::Stability => stability::write(request, model, portion, out),
            Upstream::Imagen => imagen::write(request, model, portion, out),
            Upstream::Gemini => gemini::write(request, model, portion, out),
        }
    }

    /// Reads a reply of status 200 to a call for so many images: at least one image, or some withheld.
    ///
    /// # Errors
    /// [`Kind::UpstreamGarbled`] when it is no such reply; [`Kind::UpstreamFailed`] when the model failed.
    pub fn decode(self, body: &str, asked: u64) -> Result<Images<'_>, Error> {
        let images = match self {
            Upstream::Canvas => canvas::decode(body, asked),
            Upstream::Stability => stability::decode(body),
            Upstream::Imagen => imagen::decode(body, asked),
            Upstream::Gemini => gemini::decode(body),
        }?;
        if images.images.is_empty() && images.withheld == 0 {
            return Err(Error::new(Kind::UpstreamGarbled, "the cloud's reply holds no image"));
        }
        Ok(images)
    }

    /// Reads what a reply of a status other than success says went wrong.
    pub fn refusal(self, status: u16, headers: &Headers, body: &[u8]) -> Error {
        let mut error = self.cloud().refusal(status, headers, body);
        if error.kind == Kind::BadRequest && BLOCKED.iter().any(|words| error.message.contains(words)) {
            error.kind = Kind::Filtered;
        }
        error
    }
}

/// How the clouds say that they refuse a prompt for what it shows; all come as an ordinary bad request.
/// docs.aws.amazon.com/nova/latest/userguide/image-gen-errors.html; googleapis/js-genai issue 321;
/// epam/ai-dial-adapter-vertexai issue 48.
const BLOCKED: &[&str] = &[
    "blocked by our content filters",
    "violate Google's Responsible AI practices",
    "violates our usage guidelines",
    "may violate our policies",
];

/// Where Google would put the images instead of into its reply.
const NO_BUCKET: Word = Word {
    name: "storageUri",
    aliases: &["storage_uri", "output_gcs_uri", "outputGcsUri"],
    rule: Rule::Refused("would put the images into a bucket rather than into the reply; leave it out"),
};

/// Refuses a size beside a shape: one of them would have to be overlooked.
fn size_or_ratio(shape: Option<&RawValue>) -> Result<(), Error> {
    if shape.is_some() {
        let problem = "says the shape a second time; leave it out, or send the cloud's own fields alone";
        return Err(Error::at(Kind::WrongValue, "size", problem));
    }
    Ok(())
}

/// Reads a reply, which holds megabytes of base64 that nobody here looks at.
fn reply<'a, T: Deserialize<'a>>(body: &'a str, cloud: &str) -> Result<T, Error> {
    json::read(body).map_err(|fault| {
        let place = if fault.path.is_empty() { String::new() } else { format!("{}: ", fault.path) };
        let message = format!("{cloud}'s answer could not be understood: {place}{}", fault.problem);
        Error::new(Kind::UpstreamGarbled, message)
    })
}
