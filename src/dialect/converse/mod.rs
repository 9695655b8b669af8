//! Amazon Bedrock's Converse and ConverseStream: requests out, replies and refusals in.
//!
//! Shapes and bounds are those of the service's own model, `bedrock-runtime` 2023-09-30 in botocore
//! 1.44.5, and of <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>.

pub mod count;
mod decode;
mod extra;
pub mod fates;
mod model;
mod offer;
pub(in crate::dialect) mod own;
mod refusal;
mod request;
mod wire;

pub use decode::{StreamDecoder, decode};
pub use model::is_family;
pub use refusal::{broken_off, exception, refusal};
pub use request::{Outcome, write};

use super::names::{Rule, Word};

/// `ToolName` and `ToolUseId`. The latter may have `.` and `:` too, but not for Claude: "String should match
/// pattern '^[a-zA-Z0-9_-]+$'".
pub const WORDS: Rule = Rule { name: WORD, id: WORD };

const WORD: Word = Word { also: b"", most: 64, begins: false };
