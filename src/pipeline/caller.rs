//! Who asks, and how they want to be answered.

use crate::base::error::{Error, Kind};
use crate::base::host::Reply;
use crate::dialect::Client;

/// The client of one request.
#[derive(Debug)]
pub struct Caller {
    pub client: Client,
    /// Envoy's id of the request; clients quote it when they ask what went wrong.
    pub request_id: String,
    /// The value of the header `anthropic-beta`.
    pub betas: String,
}

impl Default for Caller {
    fn default() -> Self {
        Self { client: Client::OpenAi, request_id: String::new(), betas: String::new() }
    }
}

impl Caller {
    /// The whole answer to a request that failed.
    pub fn refuse(&self, error: &Error) -> Reply {
        let mut reply = self.client.refuse(error, &self.request_id);
        if error.kind == Kind::WrongMethod {
            reply.headers.push(("allow", "POST".to_owned()));
        }
        reply
    }
}
