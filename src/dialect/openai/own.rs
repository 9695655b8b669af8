//! OpenAI's embeddings and images APIs as upstreams: requests and replies pass as they came, but for the top of a
//! request. developers.openai.com/api/reference/resources/embeddings and …/images.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::answer::count;
use crate::base::error::{Error, Kind};
use crate::base::json;
use crate::chat::Usage;
use crate::dialect::fates::Fate::{self, Mapped, Refused};
use crate::dialect::fates::{self, Given};
use crate::dialect::{extra, relay};

/// An API of OpenAI's whose dialect clients speak as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Api {
    Embeddings,
    Images,
}

/// What becomes of what passes.
const AS_IT_IS: Fate = Mapped("as it is");

/// Fields of `POST /v1/embeddings`.
const EMBEDDINGS: &[(&str, Fate)] = &[
    ("model", Mapped("`model`")),
    ("input", AS_IT_IS),
    ("dimensions", AS_IT_IS),
    ("encoding_format", AS_IT_IS),
    ("user", AS_IT_IS),
];

/// A part of an image is as large as a whole one, and a stream's frames must fit the worker's memory.
const NO_PARTS: Fate = Refused("asks for images while they are made, which do not pass here; leave it out");

/// Fields of `POST /v1/images/generations`.
const IMAGES: &[(&str, Fate)] = &[
    ("model", Mapped("`model`")),
    ("prompt", AS_IT_IS),
    ("n", AS_IT_IS),
    ("size", AS_IT_IS),
    ("quality", AS_IT_IS),
    ("style", AS_IT_IS),
    ("response_format", Mapped("`b64_json`, which is how all images come; `url` is refused")),
    ("output_format", AS_IT_IS),
    ("output_compression", AS_IT_IS),
    ("background", AS_IT_IS),
    ("moderation", AS_IT_IS),
    ("stream", NO_PARTS),
    ("partial_images", NO_PARTS),
    ("user", AS_IT_IS),
    ("safety_identifier", AS_IT_IS),
    ("complexity", AS_IT_IS),
    ("frame_count", AS_IT_IS),
    ("frame_duration_ms", AS_IT_IS),
    ("svg", AS_IT_IS),
];

/// What says nothing, written as a JSON token.
const DEFAULTS: &[(&str, &str)] = &[("stream", "false"), ("partial_images", "0")];

const DELIVERY: &str = "response_format";

impl Api {
    /// The name in metrics and in file names of golden cases.
    pub const fn name(self) -> &'static str {
        match self {
            Api::Embeddings => "openai_embeddings",
            Api::Images => "openai_images",
        }
    }

    /// Where it is.
    pub const fn path(self) -> &'static str {
        match self {
            Api::Embeddings => "/v1/embeddings",
            Api::Images => "/v1/images/generations",
        }
    }

    /// What becomes of each field that the API documents.
    pub const fn fates(self) -> &'static [(&'static str, Fate)] {
        match self {
            Api::Embeddings => EMBEDDINGS,
            Api::Images => IMAGES,
        }
    }

    const fn foreign(self) -> &'static [&'static str] {
        match self {
            Api::Embeddings => extra::EMBEDDINGS,
            Api::Images => extra::IMAGES,
        }
    }

    /// Edits the top of a request into an empty buffer: the model, and what the API would refuse. Gives what
    /// becomes of the fields that were given.
    ///
    /// # Errors
    /// What the API has no place for, named by its path.
    pub fn pass(self, body: &relay::Body<'_>, model: &str, out: &mut Vec<u8>) -> Result<Vec<Given>, Error> {
        if let Some((name, _)) = body.given().find(|(name, _)| extra::is_extra(name, self.foreign())) {
            let problem = "is no field that OpenAI takes from here; leave it out for this model";
            return Err(Error::at(Kind::Unsupported, name, problem));
        }
        let delivery = body.get(DELIVERY).filter(|_| self == Api::Images).map(RawValue::get);
        if delivery.is_some_and(|delivery| delivery != r#""b64_json""#) {
            let problem = "must be `b64_json`: OpenAI's models give images in no other way";
            return Err(Error::at(Kind::WrongValue, DELIVERY, problem));
        }
        let says = |(name, value): &(&str, &RawValue)| !DEFAULTS.contains(&(*name, value.get()));
        let names = body.given().filter(says).map(|(name, _)| name);
        let mut given = fates::settle(names, self.fates())?;
        // OpenAI adds fields; it names one that it does not know.
        given.iter_mut().filter(|field| field.fate == Fate::Dropped).for_each(|field| field.fate = AS_IT_IS);
        // "Unknown parameter: 'response_format'", say the models that are left (vercel/ai issue 6102).
        let is_kept = |name: &str| {
            name != "model" && (delivery.is_none() || name != DELIVERY) && !fates::OURS.contains(&name)
        };
        body.write(out, is_kept, |w| w.key("model").string(model));
        Ok(given)
    }

    /// Looks through a reply of status 200 for what is to be paid.
    ///
    /// # Errors
    /// [`Kind::UpstreamGarbled`] when it is no such reply, or an empty one.
    pub fn count(self, body: &str) -> Result<Counted, Error> {
        let garbled = || Error::new(Kind::UpstreamGarbled, "OpenAI answered with something that is no reply");
        let reply: Reply<'_> = json::read(body).map_err(|_| garbled())?;
        let items = reply.data.map_or(0, |data| data.len());
        if items == 0 {
            return Err(garbled());
        }
        let usage = reply.usage.and_then(|counts| {
            let input = count(counts.prompt_tokens).or_else(|| count(counts.input_tokens))?;
            let output = count(counts.output_tokens).unwrap_or(0);
            Some(Usage { input, output, ..Usage::default() })
        });
        Ok(Counted { items: u64::try_from(items).unwrap_or(u64::MAX), usage })
    }
}

/// What a reply holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counted {
    /// Vectors or images; at least one.
    pub items: u64,
    /// `None`: not told.
    pub usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Reply<'a> {
    /// Nobody here looks at the megabytes: a list of these takes no room.
    data: Option<Vec<IgnoredAny>>,
    #[serde(borrow)]
    usage: Option<Counts<'a>>,
}

#[derive(Deserialize)]
struct Counts<'a> {
    /// Of texts.
    #[serde(borrow)]
    prompt_tokens: Option<&'a RawValue>,
    /// Of images.
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
}
