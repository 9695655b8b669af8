//! Gemini: Google Vertex AI's `generateContent` and `streamGenerateContent?alt=sse`, REST v1.

pub mod count;
mod decode;
mod extra;
pub mod fates;
mod grounding;
mod media;
mod refusal;
mod request;
mod schema;
mod thinking;
mod wire;

pub use decode::{StreamDecoder, decode};
pub use refusal::{is_too_long, refusal};
pub use request::{headers, write};

use super::names::{Rule, Word};

/// Functions have names of 64 characters at most in the API's own words ("Must start with a letter or an
/// underscore. Must be a-z, A-Z, 0-9, or contain underscores, dots, colons, or dashes", cline issue 7339),
/// though google-genai 3.4 says 128. Ids of calls are not sent.
pub const WORDS: Rule = Rule {
    name: Word { also: b".:", most: 64, begins: true },
    id: Word { also: b"", most: 64, begins: false },
};
