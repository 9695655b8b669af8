//! From a client's request to an upstream's and back: what happens at each callback of Envoy.

mod attempt;
mod caller;
mod chat;
mod embed;
mod fan;
mod image;
mod plan;
mod reply;
mod route;
mod whole;

pub use fan::MOST_ANSWER;
pub use plan::Plan;
pub use whole::Whole;
