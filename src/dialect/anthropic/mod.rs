//! Anthropic's Messages API: the client side, and the editions of it that serve Claude as an upstream.

mod aside;
mod decode;
mod edition;
pub mod fates;
pub mod fields;
mod foreign;
mod mark;
mod message;
mod refusal;
mod reply;
mod request;
mod source;
mod wire;
mod write;

pub use aside::Aside;
pub use decode::{StreamDecoder, decode, read_count};
pub use edition::Edition;
pub use refusal::{refusal, unreadable};
pub use reply::{StreamWriter, WholeWriter};
pub use request::{parse, parse_count};
pub use write::{Outcome, WORDS, counted, pass, pass_count, write};

/// What stands before Google's proof of a thought where Anthropic's clients see it: as the signature of a
/// thinking block, which they keep and send back as it is. It tells Google's proofs from Anthropic's when
/// a conversation moves from one model to the other. No base64 has a colon in it.
const GOOGLE_PROOF: &str = "google:";
