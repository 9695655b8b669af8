//! The client side: OpenAI's chat completions, and its embeddings and images APIs.

pub mod embedding;
pub mod fields;
pub mod image;
mod reply;
mod request;
mod wire;

pub use reply::{StreamWriter, WholeWriter};
pub use request::parse;
