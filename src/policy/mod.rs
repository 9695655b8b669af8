//! Who may ask, for what, how much. Never sees a body.

pub mod estimate;
pub mod resolve;
