//! From a client's request to an upstream's and back: what happens at each callback of Envoy.

mod attempt;
mod caller;
mod chat;
mod embed;
mod fan;
mod image;
mod plan;
mod reply;
mod room;
mod route;
mod whole;

pub use plan::Plan;
pub use reply::MOST_ANSWER;
pub use whole::Whole;
