//! The client side: OpenAI's chat completions.

pub mod fields;
mod reply;
mod request;
mod wire;

pub use reply::{StreamWriter, WholeWriter};
pub use request::parse;
