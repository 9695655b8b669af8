//! The vocabulary of embeddings between the two edges: texts and pictures in, vectors out.
//!
//! A vector is carried as the numbers that the cloud wrote: they leave as they came, or as the four bytes
//! of each.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{self, Deserializer};
use serde_json::value::RawValue;

use crate::base::json::{Count, Text, wrong_type};
use crate::chat::Extra;

/// What a client wants embedded.
#[derive(Debug)]
pub struct Request<'a> {
    /// Each gets a vector of its own. There is at least one.
    pub inputs: Vec<Input<'a>>,
    /// The client sent them as a list, be it of one only.
    pub listed: bool,
    /// How many numbers a vector is to have; at least one. `None`: as many as the model likes.
    pub dimensions: Option<Count<'a>>,
    pub encoding: Encoding,
    /// What the client says to the cloud itself. An upstream takes every one of them or refuses the request.
    pub extra: Vec<Extra<'a>>,
    /// The names of all top-level fields that were given and say something; each upstream's table gives
    /// every one of them a fate.
    pub fields: Vec<Cow<'a, str>>,
}

impl Request<'_> {
    /// Where in the client's body an input stands.
    pub fn path(&self, index: usize) -> String {
        if self.listed { format!("input[{index}]") } else { "input".to_owned() }
    }
}

/// What gets a vector.
#[derive(Clone, PartialEq, Debug)]
pub enum Input<'a> {
    /// Never empty.
    Text(Text<'a>),
    Image(Image<'a>),
}

/// A picture, from a data URL.
#[derive(Clone, PartialEq, Debug)]
pub struct Image<'a> {
    pub url: Text<'a>,
    /// As declared, lower case, such as `image/png`.
    pub media_type: Cow<'a, str>,
    /// Base64.
    pub data: Text<'a>,
}

impl Input<'_> {
    /// How many bytes it takes in the client's body.
    pub fn written_bytes(&self) -> usize {
        match self {
            Input::Text(text) => text.escaped().len(),
            Input::Image(image) => image.url.escaped().len(),
        }
    }
}

/// How the client wants the vectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// JSON numbers.
    Float,
    /// Base64 of 32-bit floats, little end first.
    Base64,
}

/// What an upstream answers to one call.
#[derive(Debug, PartialEq)]
pub struct Answer<'a> {
    /// In the order of the texts.
    pub vectors: Vec<Vector<'a>>,
    /// How many tokens the texts had, where the body tells.
    pub tokens: Option<u64>,
}

/// The inside of a JSON array of numbers: without the brackets, white space as the cloud set it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Vector<'a>(&'a str);

impl<'a> Vector<'a> {
    /// Reads a JSON token; `None` unless it is an array of nothing but numbers, and of one at least.
    pub fn from_raw(raw: &'a RawValue) -> Option<Self> {
        let inside = raw.get().strip_prefix('[')?.strip_suffix(']')?;
        // The token is valid JSON, so bytes of numbers and of what stands between them make numbers.
        let plain = |b: u8| {
            b.is_ascii_digit()
                || b.is_ascii_whitespace()
                || matches!(b, b',' | b'.' | b'-' | b'+' | b'e' | b'E')
        };
        (inside.bytes().any(|b| b.is_ascii_digit()) && inside.bytes().all(plain)).then_some(Self(inside))
    }

    /// The numbers, each as it was written.
    pub fn numbers(self) -> impl Iterator<Item = &'a str> {
        self.0.split(',').map(str::trim_ascii)
    }

    /// How many bytes the numbers take, and the white space between them.
    pub fn written_bytes(self) -> usize {
        self.0.len()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Vector<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Vector::from_raw(raw).ok_or_else(|| de::Error::custom(wrong_type(raw, "an array of numbers")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_numbers_and_nothing_else_each_as_it_was_written() {
        let vector: Vector<'_> = serde_json::from_str("[ -0.10,\n 1e-7 ,2E+3,0]").unwrap();
        assert_eq!(vector.numbers().collect::<Vec<_>>(), ["-0.10", "1e-7", "2E+3", "0"]);
        for strange in
            ["[]", "[ ]", "1", r#""1""#, "[null]", "[true]", "[[1]]", r#"["1"]"#, r#"[1,{"a":1}]"#, "{}"]
        {
            assert!(serde_json::from_str::<Vector<'_>>(strange).is_err(), "{strange}");
        }
    }
}
