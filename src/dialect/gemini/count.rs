//! Vertex AI's countTokens:
//! docs.cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/projects.locations.publishers.models/countTokens.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire;
use crate::base::error::Error;
use crate::base::json;
use crate::dialect::count;

/// What `CountTokensRequest` has of a `GenerateContentRequest`; google-genai writes no others.
pub const TAKEN: &[&str] = &["contents", "systemInstruction", "tools", "generationConfig"];

/// Reads the count.
///
/// # Errors
/// [`crate::base::error::Kind::UpstreamGarbled`] when there is none.
pub fn read(body: &str) -> Result<u64, Error> {
    #[derive(Deserialize)]
    struct Reply<'a> {
        #[serde(borrow, rename = "totalTokens")]
        total: Option<&'a RawValue>,
    }
    let Reply { total } = json::read(body).map_err(|_| count::garbled())?;
    // proto3 JSON leaves out a zero.
    total.map_or(Ok(0), |total| wire::count(total).ok_or_else(count::garbled))
}
