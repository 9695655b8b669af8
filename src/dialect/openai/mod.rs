//! OpenAI's chat completions, which clients speak and upstreams in several editions, and its embeddings and
//! images APIs.

mod answer;
mod decode;
mod edition;
pub mod embedding;
pub mod fates;
pub mod fields;
mod foreign;
pub mod image;
pub mod own;
mod pass;
mod refusal;
mod reply;
mod request;
mod tags;
mod wire;
mod write;

pub use decode::{StreamDecoder, decode};
pub use edition::{Edition, is_family};
pub use pass::{pass, wants_usage};
pub use refusal::refusal;
pub use reply::{StreamWriter, WholeWriter};
pub use request::parse;
pub use write::write;

use super::names::{Rule, Word};

/// `FunctionDefinition.name` has at most 64 characters, and of ids OpenAI says "Expected a string with maximum
/// length 40" (vercel/ai#5171). Mistral's ids are shorter still, and Kimi's have a form of their own: see
/// `write.rs`.
pub const WORDS: Rule = Rule {
    name: Word { also: b"", most: 64, begins: false },
    id: Word { also: b"", most: 40, begins: false },
};
