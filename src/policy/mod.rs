//! Who may ask, for what, how much. Never sees a body.

pub mod resolve;
