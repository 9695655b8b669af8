//! Bedrock's CountTokens, of which a Converse request is one form:
//! docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html.

use serde::Deserialize;

use crate::base::error::Error;
use crate::base::json::{self, Writer};
use crate::chat::{LeftOut, Request};
use crate::dialect::count;

/// `ConverseTokensRequest` of botocore's model.
pub const TAKEN: &[&str] = &["messages", "system", "toolConfig", "additionalModelRequestFields"];

/// Writes the body that asks how many tokens a request has for a model.
///
/// # Errors
/// Those of [`super::write`].
pub fn write_count(request: &Request<'_>, model: &str, out: &mut Vec<u8>) -> Result<LeftOut, Error> {
    let mut chat = Vec::new();
    let left_out = super::write(request, model, &mut chat)?;
    Writer::new(out)
        .object(|w| w.key("input").object(|w| w.key("converse").object(|w| count::pick(&chat, TAKEN, w))))?;
    Ok(left_out)
}

/// Reads the count.
///
/// # Errors
/// [`crate::base::error::Kind::UpstreamGarbled`] when there is none.
pub fn read_count(body: &str) -> Result<u64, Error> {
    #[derive(Deserialize)]
    struct Reply {
        #[serde(rename = "inputTokens")]
        input: u64,
    }
    json::read(body).map(|Reply { input }| input).map_err(|_| count::garbled())
}
