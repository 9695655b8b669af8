//! The client side: Anthropic's Messages API.

pub mod fields;
mod reply;
mod request;
mod wire;

pub use reply::{StreamWriter, WholeWriter};
pub use request::{parse, parse_count};

/// What stands before Google's proof of a thought where Anthropic's clients see it: as the signature of a
/// thinking block, which they keep and send back as it is. It tells Google's proofs from Anthropic's when
/// a conversation moves from one model to the other. No base64 has a colon in it.
const GOOGLE_PROOF: &str = "google:";
