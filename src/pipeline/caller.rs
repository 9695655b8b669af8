//! Who asks, and how they want to be answered.

use crate::base::error::{Error, Kind};
use crate::base::host::Reply;
use crate::dialect::{Aside, Client, Task};
use crate::policy::identity::Member;

/// What is shown of a request in place of sending it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// What becomes of the request, for its team.
    Mapping,
    /// Where it would go, too, for an operator: names of clusters, hosts and projects.
    Everything,
}

/// What stands for a team where there are none.
pub const NOBODY: &str = "none";

/// The client of one request.
#[derive(Clone, Debug)]
pub struct Caller {
    pub task: Task,
    /// Envoy's id of the request; clients quote it when they ask what went wrong.
    pub request_id: String,
    /// What a client of Anthropic's says in headers.
    pub aside: Aside,
    /// Who it is, where not everyone may call.
    pub member: Option<Member>,
    /// What the client is told of his limits.
    pub limits: Vec<(&'static str, String)>,
    /// Whether only a look at what would be sent is asked for.
    pub look: Option<Look>,
}

impl Default for Caller {
    fn default() -> Self {
        Self {
            task: Task::Chat(Client::OpenAi),
            request_id: String::new(),
            aside: Aside::default(),
            look: None,
            member: None,
            limits: Vec::new(),
        }
    }
}

impl Caller {
    /// The name of the team for metrics.
    pub fn team(&self) -> &str {
        self.member.as_ref().map_or(NOBODY, |member| &member.team.name)
    }

    /// The team, where not everyone may call.
    pub fn own_team(&self) -> Option<&str> {
        self.member.as_ref().map(|member| member.team.name.as_str())
    }

    /// The dialect of errors.
    pub fn client(&self) -> Client {
        self.task.client()
    }

    /// Refuses a model that the caller may not use.
    pub fn may_use(&self, model: &str) -> Result<(), Error> {
        match &self.member {
            Some(member) if !member.may_use(model) => {
                let problem = format!(
                    "team {} may not use this model, or not what it stands for here; ask the operator of \
                     this gateway, or list the models that you may use with GET /v1/models",
                    member.team.name
                );
                Err(Error::at(Kind::NotAllowed, "model", &problem))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The headers of every reply: Envoy's id of the request, of which the SDKs show the one that they know
    /// with every exception, and what is left of the caller's limits.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = self.limits.clone();
        if self.request_id.is_empty() {
            return headers;
        }
        headers.push(("x-request-id", self.request_id.clone()));
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
