//! Bedrock's CountTokens, of which a Converse request is one form:
//! docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html.

use serde::Deserialize;

use crate::base::error::Error;
use crate::base::json;
use crate::dialect::count;

/// `ConverseTokensRequest` of botocore's model.
pub const TAKEN: &[&str] = &["messages", "system", "toolConfig", "additionalModelRequestFields"];

/// Reads the count.
///
/// # Errors
/// [`crate::base::error::Kind::UpstreamGarbled`] when there is none.
pub fn read(body: &str) -> Result<u64, Error> {
    #[derive(Deserialize)]
    struct Reply {
        #[serde(rename = "inputTokens")]
        input: u64,
    }
    json::read(body).map(|Reply { input }| input).map_err(|_| count::garbled())
}
