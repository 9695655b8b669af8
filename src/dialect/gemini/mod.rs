//! Gemini: Google Vertex AI's `generateContent` and `streamGenerateContent?alt=sse`, REST v1.

pub mod count;
mod decode;
pub mod fates;
mod refusal;
mod request;
mod thinking;
mod wire;

pub use decode::{StreamDecoder, decode};
pub use refusal::refusal;
pub use request::write;
