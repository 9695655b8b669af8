//! OpenAI's chat completions: what clients speak, and upstreams in several editions.

mod answer;
mod decode;
mod edition;
pub mod fates;
pub mod fields;
mod foreign;
mod pass;
mod refusal;
mod reply;
mod request;
mod tags;
mod wire;
mod write;

pub use decode::{StreamDecoder, decode};
pub use edition::Edition;
pub use pass::{pass, wants_usage};
pub use refusal::refusal;
pub use reply::{StreamWriter, WholeWriter};
pub use request::parse;
pub use write::write;
