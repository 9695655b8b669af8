//! From a client's request to an upstream's and back: what happens at each callback of Envoy.

mod aim;
mod attempt;
mod caller;
mod chat;
mod count;
mod dry;
mod embed;
mod fan;
mod fleet;
mod gate;
mod health;
mod image;
mod leave;
mod measure;
mod meter;
mod models;
mod outcome;
mod own;
mod plan;
mod position;
mod reply;
mod report;
mod room;
mod route;
mod ticket;
mod trial;
mod usage;
mod whole;

pub use caller::Caller;
pub use plan::Plan;
pub use position::Position;
pub use reply::MOST_ANSWER;
pub use report::FIELDS;
pub use ticket::Desk;
pub use trial::Trial;
pub use whole::Whole;
