//! Vertex AI's countTokens:
//! docs.cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/projects.locations.publishers.models/countTokens.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire;
use crate::base::error::Error;
use crate::base::json::{self, Writer};
use crate::chat::{LeftOut, Request};
use crate::dialect::count;

/// What `CountTokensRequest` has of a `GenerateContentRequest`; google-genai writes no others.
pub const TAKEN: &[&str] = &["contents", "systemInstruction", "tools", "generationConfig"];

/// Writes the body that asks how many tokens a request has for a model.
///
/// # Errors
/// Those of [`super::write`].
pub fn write_count(request: &Request<'_>, model: &str, out: &mut Vec<u8>) -> Result<LeftOut, Error> {
    let mut chat = Vec::new();
    let left_out = super::write(request, model, &mut chat)?;
    Writer::new(out).object(|w| count::pick(&chat, TAKEN, w))?;
    Ok(left_out)
}

/// Reads the count.
///
/// # Errors
/// [`crate::base::error::Kind::UpstreamGarbled`] when there is none.
pub fn read_count(body: &str) -> Result<u64, Error> {
    #[derive(Deserialize)]
    struct Reply<'a> {
        #[serde(borrow, rename = "totalTokens")]
        total: Option<&'a RawValue>,
    }
    let Reply { total } = json::read(body).map_err(|_| count::garbled())?;
    // proto3 JSON leaves out a zero.
    total.map_or(Ok(0), |total| wire::count(total).ok_or_else(count::garbled))
}
