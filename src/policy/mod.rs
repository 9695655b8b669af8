//! Who may ask, for what, how much. Never sees a body.

pub mod quota;
pub mod resolve;
pub mod window;
