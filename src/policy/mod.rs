//! Who may ask, for what, how much. Never sees a body.

pub mod choice;
pub mod estimate;
pub mod identity;
pub mod limits;
pub mod pattern;
pub mod prices;
pub mod quota;
pub mod resolve;
pub mod window;
