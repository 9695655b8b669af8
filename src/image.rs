//! The vocabulary of image generation between the two edges: what a request asks, and what came of it.
//!
//! Like [`crate::chat`]: OpenAI's images API is read into it and written from it, and every upstream writes
//! its body from it and reads its reply into it. `'a` is the message being read.

use std::borrow::Cow;
use std::fmt;

use crate::base::json::{Count, Str, Text};
use crate::chat::Extra;

/// A request for images.
#[derive(Debug)]
pub struct Request<'a> {
    /// Never blank.
    pub prompt: Text<'a>,
    /// How many images; at least 1.
    pub count: u64,
    /// `None`: as the model likes.
    pub size: Option<Size>,
    /// `None`: as the model likes.
    pub quality: Option<Quality>,
    /// OpenAI's `vivid` or `natural`, or a word of the model's own.
    pub style: Option<Str<'a>>,
    /// `None`: as the model likes.
    pub format: Option<Format>,
    /// From 0 to 100, the best. Only beside [`Format::Jpeg`].
    pub compression: Option<Count<'a>>,
    /// What the client says to the cloud itself. An upstream takes every one of them or refuses the request.
    pub extra: Vec<Extra<'a>>,
    /// The names of all top-level fields that say something; each upstream's table gives every one a fate.
    pub fields: Vec<Cow<'a, str>>,
}

/// Width and height in pixels; neither is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    pub width: u64,
    pub height: u64,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// How much trouble to take: OpenAI's seven words, as far as any upstream tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quality {
    /// `low`, `medium`, `standard`.
    Ordinary,
    /// `high`, `xhigh`, `max`, `hd`.
    Fine,
}

/// A file format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Png,
    Jpeg,
    Webp,
}

impl Format {
    /// OpenAI's word for it, and Stability's.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Png => "png",
            Format::Jpeg => "jpeg",
            Format::Webp => "webp",
        }
    }

    /// Google's word for it.
    pub const fn media_type(self) -> &'static str {
        match self {
            Format::Png => "image/png",
            Format::Jpeg => "image/jpeg",
            Format::Webp => "image/webp",
        }
    }
}

/// What came of a request, borrowed from the upstream's reply.
#[derive(Debug, Default)]
pub struct Images<'a> {
    pub images: Vec<Image<'a>>,
    /// How many the cloud's filter has withheld, as far as it tells.
    pub withheld: u64,
    /// The cloud's own words about that.
    pub reason: Option<Text<'a>>,
    /// Token counts, of models that count any.
    pub usage: Option<Usage>,
}

/// One image.
#[derive(Debug)]
pub struct Image<'a> {
    /// Base64, unread.
    pub data: Text<'a>,
    /// The prompt that the image was made from in the end, where the model has rewritten it and tells.
    pub prompt: Option<Text<'a>>,
}

/// Token counts of a model that speaks and draws.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    pub input: u64,
    /// Part of `input` that was images rather than text.
    pub input_images: u64,
    pub output: u64,
    /// Part of `output` that was images rather than text and thought.
    pub output_images: u64,
}

impl Usage {
    /// The counts of two calls.
    pub fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            input_images: self.input_images.saturating_add(other.input_images),
            output: self.output.saturating_add(other.output),
            output_images: self.output_images.saturating_add(other.output_images),
        }
    }
}
