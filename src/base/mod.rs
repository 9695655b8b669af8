//! Layer 0: the words that every other layer uses.

pub mod base64;
pub mod error;
pub mod headers;
pub mod host;
pub mod json;
pub mod metric;
