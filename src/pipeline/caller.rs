//! Who asks, and how they want to be answered.

use crate::base::error::{Error, Kind};
use crate::base::host::Reply;
use crate::dialect::{Client, Task};

/// The client of one request.
#[derive(Debug)]
pub struct Caller {
    pub task: Task,
    /// Envoy's id of the request; clients quote it when they ask what went wrong.
    pub request_id: String,
    /// The value of the header `anthropic-beta`.
    pub betas: String,
    /// Only a look at what would be sent is asked for.
    pub dry: bool,
}

impl Default for Caller {
    fn default() -> Self {
        Self { task: Task::Chat(Client::OpenAi), request_id: String::new(), betas: String::new(), dry: false }
    }
}

impl Caller {
    /// The dialect of errors.
    pub fn client(&self) -> Client {
        self.task.client()
    }

    /// The headers that tell the client Envoy's id of its request. The SDKs show the one that they know
    /// with every exception.
    pub fn ids(&self) -> Vec<(&'static str, String)> {
        if self.request_id.is_empty() {
            return Vec::new();
        }
        let mut headers = vec![("x-request-id", self.request_id.clone())];
        match self.client() {
            Client::OpenAi => {}
            Client::Anthropic => headers.push(("request-id", self.request_id.clone())),
        }
        headers
    }

    /// The whole answer to a request that failed.
    pub fn refuse(&self, error: &Error) -> Reply {
        let mut reply = self.client().refuse(error, &self.request_id);
        if error.kind == Kind::WrongMethod {
            reply.headers.push(("allow", "POST".to_owned()));
        }
        reply
    }
}
