//! The whole way in one filter: from the client's request to the cloud's, and from its reply back.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::host::{Host, Reply, ReplyStep, Step};
use crate::dialect::{Client, Task};
use crate::policy::identity::Viewer;
use crate::provider::token;

use super::Plan;
use super::attempt::{Asked, Attempt};
use super::caller::{Caller, Look};
use super::fan::{Fan, Progress};
use super::meter::Meter;
use super::reply::{self, Incoming};
use super::report::Report;
use super::route::{self, Route};
use super::{dry, leave, models, usage};

/// How long a request waits for credentials. The call for them takes three seconds at most; a little more
/// lets its outcome reach the request.
const PATIENCE: Duration = Duration::from_secs(5);

/// One request and its reply, at the position `fairlead`.
pub struct Whole {
    plan: Rc<Plan>,
    phase: Phase,
    caller: Caller,
    meter: Rc<Meter>,
    report: Report,
}

enum Phase {
    /// Not ours.
    Idle,
    /// The body is coming.
    Gathering,
    /// Translated; credentials are coming.
    Parked {
        ready: Ready,
        deadline: SystemTime,
    },
    /// Needs several calls; the filters behind this one are asked whether it may pass.
    Asking(Box<Fan>),
    /// On its way to the cloud.
    Sent(Box<Asked>),
    /// On its way in several calls.
    Fanned(Box<Fan>),
    Replying(Box<Incoming>),
    /// The client was answered in place of the cloud; what comes now is that answer.
    Answered,
}

/// A translated request.
enum Ready {
    /// To be sent on the client's own way.
    One(Box<Attempt>),
    /// To be sent in several calls.
    Several(Box<Fan>),
}

impl Whole {
    pub fn new(plan: Rc<Plan>) -> Self {
        Self {
            plan,
            phase: Phase::Idle,
            caller: Caller::default(),
            meter: Rc::default(),
            report: Report::default(),
        }
    }

    /// The request's headers have come; `last`: it has no body.
    pub fn request_headers(&mut self, host: &dyn Host, headers: &Headers, last: bool) -> Step {
        let route = route::route(headers, last, self.plan.request_bytes);
        if route != Route::NotOurs {
            self.caller.request_id = headers.get("x-request-id").unwrap_or_default().to_owned();
        }
        match route {
            Route::NotOurs => Step::Pass,
            Route::Answer(reply) => Step::Answer(self.finished(reply)),
            Route::Usage => match self.plan.directory.viewer(host, headers) {
                Ok(viewer) => {
                    let reply = usage::reply(&self.plan, host, viewer.as_ref());
                    Step::Answer(self.finished(reply))
                }
                Err(error) => self.refuse(host, &error),
            },
            Route::Models(client) => {
                self.caller.task = Task::Chat(client);
                match self.plan.directory.identify(host, headers) {
                    Ok(member) => self.caller.member = member,
                    Err(error) => return self.refuse(host, &error),
                }
                let header = |name| headers.get(name).unwrap_or_default();
                let reply = models::answer(&self.plan, &self.caller, header(":method"), header(":path"));
                Step::Answer(self.finished(reply))
            }
            Route::Refuse(task, error) => {
                self.report.begin(host.now());
                self.caller.task = task;
                self.answer(&error)
            }
            Route::Ask(task) => {
                self.report.begin(host.now());
                self.caller.task = task;
                let is_dry = dry::is_asked(headers);
                let viewer = if is_dry {
                    self.plan.directory.viewer(host, headers)
                } else {
                    self.plan.directory.identify(host, headers).map(|member| member.map(Viewer::Member))
                };
                match viewer {
                    Ok(Some(Viewer::Member(member))) => {
                        self.caller.look = is_dry.then_some(Look::Mapping);
                        self.report.team(host, &member.team.name);
                        self.caller.member = Some(member);
                    }
                    Ok(Some(Viewer::Admin) | None) => {
                        self.caller.look = is_dry.then_some(Look::Everything);
                    }
                    Err(error) => return self.refuse(host, &error),
                }
                if task.client() == Client::Anthropic {
                    self.caller.betas = headers.all("anthropic-beta");
                }
                self.phase = Phase::Gathering;
                Step::Wait
            }
        }
    }

    /// Whether the bytes of this exchange are for us to read: not those of a request that is not ours, nor
    /// those of an answer that we gave.
    pub fn reads(&self) -> bool {
        !matches!(self.phase, Phase::Idle | Phase::Answered)
    }

    /// So many bytes of the body have come, and it is not complete.
    pub fn request_growing(&mut self, bytes: usize) -> Step {
        match self.phase {
            Phase::Gathering if bytes > self.plan.request_bytes => {
                self.answer(&route::too_large(self.plan.request_bytes))
            }
            Phase::Gathering => Step::Wait,
            Phase::Idle
            | Phase::Parked { .. }
            | Phase::Asking(_)
            | Phase::Sent(_)
            | Phase::Fanned(_)
            | Phase::Replying(_)
            | Phase::Answered => Step::Pass,
        }
    }

    /// The body is complete.
    pub fn request_body(&mut self, host: &dyn Host, body: &[u8]) -> Step {
        match self.phase {
            Phase::Gathering => {}
            Phase::Idle
            | Phase::Parked { .. }
            | Phase::Asking(_)
            | Phase::Sent(_)
            | Phase::Fanned(_)
            | Phase::Replying(_)
            | Phase::Answered => {
                return Step::Pass;
            }
        }
        if body.len() > self.plan.request_bytes {
            return self.answer(&route::too_large(self.plan.request_bytes));
        }
        let admitted = Attempt::translate(&self.plan, &self.caller, body).and_then(|attempt| {
            self.report.model(host, self.plan.label(&attempt.asked.model), &attempt.asked.full_model);
            attempt.admit(&self.plan, &mut self.caller, host)
        });
        match admitted {
            Ok(attempt) => {
                self.meter = Rc::clone(&attempt.asked.meter);
                if let Some(look) = self.caller.look {
                    return match dry::show(&self.plan, &attempt, look) {
                        Ok(reply) => Step::Answer(self.finished(reply)),
                        Err(error) => self.answer(&error),
                    };
                }
                attempt.asked.count(host);
                let deadline = host.now().checked_add(PATIENCE).unwrap_or(SystemTime::UNIX_EPOCH);
                if attempt.more.is_empty() {
                    return self.send(host, Ready::One(Box::new(attempt)), deadline);
                }
                let fan = Box::new(Fan::new(attempt, host.now()));
                if let Some(cluster) = &self.plan.leave_cluster {
                    self.phase = Phase::Asking(fan);
                    return Step::Forward(leave::ask(cluster));
                }
                self.send(host, Ready::Several(fan), deadline)
            }
            Err(error) => self.refuse(host, &error),
        }
    }

    /// Something may have changed for a request that was told to [`Step::Park`].
    pub fn wake(&mut self, host: &dyn Host) -> Step {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Parked { ready, deadline } => self.send(host, ready, deadline),
            other @ (Phase::Idle
            | Phase::Gathering
            | Phase::Asking(_)
            | Phase::Sent(_)
            | Phase::Fanned(_)
            | Phase::Replying(_)
            | Phase::Answered) => {
                self.phase = other;
                Step::Pass
            }
        }
    }

    /// An answer to one of the calls of [`Step::Call`] has come, or, if it is `None`, will not come. What
    /// answers after the last step is nobody's concern.
    pub fn called(&mut self, host: &dyn Host, number: usize, answer: Option<(&Headers, &[u8])>) -> Step {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Fanned(mut fan) => match fan.answer(&self.plan, host, number, answer) {
                Ok(Progress::More(calls)) => {
                    self.phase = Phase::Fanned(fan);
                    Step::Call(calls)
                }
                Ok(Progress::Whole(reply)) => {
                    self.report.first(host.now());
                    let step = Step::Answer(self.finished(reply));
                    // Before the client has the end: his next request finds what this one left over.
                    self.settle(host);
                    step
                }
                Err(error) => {
                    let reply = reply::answer(&self.caller, fan.asked(), &error);
                    let step = Step::Answer(self.finished(reply));
                    self.settle(host);
                    step
                }
            },
            other @ (Phase::Idle
            | Phase::Gathering
            | Phase::Asking(_)
            | Phase::Parked { .. }
            | Phase::Sent(_)
            | Phase::Replying(_)
            | Phase::Answered) => {
                self.phase = other;
                Step::Pass
            }
        }
    }

    /// The upstream's headers have come, or those of an answer that Envoy made; `last`: without a body.
    pub fn response_headers(&mut self, host: &dyn Host, headers: Headers, last: bool) -> ReplyStep {
        let (incoming, step) = match std::mem::replace(&mut self.phase, Phase::Answered) {
            Phase::Idle => {
                self.phase = Phase::Idle;
                return ReplyStep::Pass;
            }
            Phase::Answered => return ReplyStep::Pass,
            Phase::Sent(asked) => reply::begin(asked, &self.caller, &self.plan, host, headers, last),
            Phase::Asking(fan) if leave::is_given(host) => {
                let deadline = host.now().checked_add(PATIENCE).unwrap_or(SystemTime::UNIX_EPOCH);
                return ReplyStep::Instead(self.send(host, Ready::Several(fan), deadline));
            }
            // The request has not left: Envoy speaks.
            Phase::Gathering | Phase::Parked { .. } | Phase::Asking(_) | Phase::Fanned(_) => {
                reply::refused(None, &self.caller, host, headers, last)
            }
            Phase::Replying(incoming) => (*incoming, ReplyStep::Hold),
        };
        self.replying(host, Box::new(incoming), step)
    }

    /// The next bytes of the reply; what is to be sent is left in `out`.
    pub fn response_chunk(
        &mut self,
        host: &dyn Host,
        bytes: &[u8],
        last: bool,
        out: &mut Vec<u8>,
    ) -> ReplyStep {
        match std::mem::replace(&mut self.phase, Phase::Answered) {
            Phase::Replying(mut incoming) => {
                let step = incoming.chunk(&self.caller, host, bytes, last, out);
                let step = self.replying(host, incoming, step);
                if last {
                    // Before the client has the end: his next request finds what this one left over.
                    self.settle(host);
                }
                step
            }
            // Of the leave to go on; the reply is still to come.
            other @ (Phase::Parked { .. } | Phase::Fanned(_)) => {
                self.phase = other;
                ReplyStep::Instead(Step::Wait)
            }
            other
            @ (Phase::Idle | Phase::Gathering | Phase::Asking(_) | Phase::Sent(_) | Phase::Answered) => {
                self.phase = other;
                ReplyStep::Pass
            }
        }
    }

    /// Goes on with a reply, unless the client is answered in its place.
    fn replying(&mut self, host: &dyn Host, incoming: Box<Incoming>, step: ReplyStep) -> ReplyStep {
        match step {
            ReplyStep::Answer(reply) => ReplyStep::Answer(self.finished(reply)),
            ReplyStep::Begin(mut headers) => {
                for (name, value) in self.caller.headers() {
                    headers.add(name, value);
                }
                self.report.first(host.now());
                self.phase = Phase::Replying(incoming);
                ReplyStep::Begin(headers)
            }
            step @ (ReplyStep::Pass | ReplyStep::Hold | ReplyStep::Continue | ReplyStep::Instead(_)) => {
                self.phase = Phase::Replying(incoming);
                step
            }
        }
    }

    /// Readies an answer of our own; after it nothing of the cloud's may reach the client.
    fn finished(&mut self, mut reply: Reply) -> Reply {
        self.phase = Phase::Answered;
        self.report.answered(reply.status);
        reply.headers.extend(self.caller.headers());
        reply
    }

    fn send(&mut self, host: &dyn Host, mut ready: Ready, deadline: SystemTime) -> Step {
        let step = match &mut ready {
            Ready::One(attempt) => attempt.authorise(&self.plan, host).map(|one| one.map(Step::Forward)),
            Ready::Several(fan) => fan.launch(&self.plan, host).map(|several| several.map(Step::Call)),
        };
        match step {
            Ok(Some(step)) => {
                self.phase = match ready {
                    Ready::One(attempt) => {
                        attempt.asked.meter.sent(attempt.pending());
                        Phase::Sent(Box::new(attempt.asked))
                    }
                    Ready::Several(fan) => Phase::Fanned(fan),
                };
                step
            }
            Ok(None) if host.now() < deadline => {
                self.phase = Phase::Parked { ready, deadline };
                Step::Park
            }
            Ok(None) => self.answer(&token::unavailable(1000)),
            Err(error) => self.answer(&error),
        }
    }

    /// The answer to a request for which the host could not do what it was told.
    pub fn fault(&mut self, problem: &str) -> Reply {
        self.meter.failed();
        self.finished(self.caller.refuse(&Error::new(Kind::Internal, problem)))
    }

    /// The answer to a request whose answers do not fit the worker's memory beside those of others.
    pub fn overloaded(&mut self) -> Reply {
        self.finished(self.caller.refuse(&reply::crowded()))
    }

    /// The answer to a request that would have to wait where too many do.
    pub fn crowded(&mut self) -> Reply {
        self.finished(self.caller.refuse(&token::unavailable(1000)))
    }

    /// The exchange is over, one way or another: what it used is settled.
    pub fn done(&mut self, host: &dyn Host) {
        self.settle(host);
    }

    fn settle(&mut self, host: &dyn Host) {
        self.meter.settle(host);
        self.report.end(host, &self.meter);
    }

    /// How many bytes a request holds that was told to [`Step::Park`] or [`Step::Call`].
    pub fn held(&self) -> usize {
        match &self.phase {
            Phase::Parked { ready: Ready::One(attempt), .. } => attempt.body.len(),
            Phase::Parked { ready: Ready::Several(fan), .. } | Phase::Asking(fan) | Phase::Fanned(fan) => {
                fan.held()
            }
            Phase::Idle | Phase::Gathering | Phase::Sent(_) | Phase::Replying(_) | Phase::Answered => 0,
        }
    }

    /// Refuses on the gateway's own account.
    fn refuse(&mut self, host: &dyn Host, error: &Error) -> Step {
        self.report.refused(host, error);
        self.answer(error)
    }

    /// Whether answers to calls are still waited for.
    pub fn calls(&self) -> bool {
        matches!(self.phase, Phase::Fanned(_))
    }

    fn answer(&mut self, error: &Error) -> Step {
        Step::Answer(self.finished(self.caller.refuse(error)))
    }
}
