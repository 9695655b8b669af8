//! The client side: OpenAI's chat completions.

mod reply;
mod request;
mod wire;

pub use reply::{StreamWriter, Title, WholeWriter};
pub use request::{Asked, parse};
