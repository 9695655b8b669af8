//! The client side of image generation: OpenAI's images API.

pub mod fields;
mod reply;
mod request;

pub use reply::{Made, join, write};
pub use request::{Asked, parse};
