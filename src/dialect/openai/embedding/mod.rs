//! OpenAI's embeddings API: platform.openai.com/docs/api-reference/embeddings.

mod reply;
mod request;

pub use reply::{items, whole};
pub use request::{Asked, FIELDS, parse};
