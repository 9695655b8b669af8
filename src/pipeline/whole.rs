//! The client's side of Envoy: the positions `fairlead`, which does the whole way from the client's request to the
//! cloud's and back, and `fairlead.gate`, which leaves the tries to `fairlead.attempt`.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::host::{Host, Reply, ReplyStep, Step};
use crate::credential::source;
use crate::dialect::{Aside, Client, Task};
use crate::policy::identity::Viewer;

use super::Plan;
use super::aim::Aim;
use super::attempt::{Asked, Attempt, CLUSTER_HEADER};
use super::caller::{Caller, Look};
use super::fan::{Fan, Progress, Rest};
use super::meter::Meter;
use super::position::Position;
use super::reply::{self, Failure, Incoming, Next};
use super::report::{self, Report};
use super::route::{self, Route};
use super::ticket::{Desk, Issued, Ticket};
use super::{dry, gate, health, leave, models, usage};
use crate::policy::choice::Choice;

/// How long a request waits for credentials. The call for them takes three seconds at most; a little more
/// lets its outcome reach the request.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// By this header the route tells requests that are answered by streams: silence means something else there.
const STREAM_HEADER: &str = "x-fairlead-stream";

/// How often Envoy's router may try again:
/// envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter. Without it the route decides.
const RETRIES_HEADER: &str = "x-envoy-max-retries";

/// One request and its reply, at one of the client's positions.
pub struct Whole {
    plan: Rc<Plan>,
    /// At the gate: where the tickets of its requests are.
    desk: Option<Rc<Desk>>,
    phase: Phase,
    caller: Caller,
    meter: Rc<Meter>,
    report: Report,
    /// Index of the backend that it was written for first.
    backend: usize,
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
    /// On its way in tries of Envoy's, each of which translates it and its reply.
    Handed(Issued),
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
    /// For the position `fairlead`.
    pub fn new(plan: Rc<Plan>) -> Self {
        Self {
            plan,
            desk: None,
            phase: Phase::Idle,
            caller: Caller::default(),
            meter: Rc::default(),
            report: Report::default(),
            backend: usize::MAX,
        }
    }

    /// For the position `fairlead.gate`.
    pub fn gate(plan: Rc<Plan>, desk: Rc<Desk>) -> Self {
        Self { desk: Some(desk), ..Self::new(plan) }
    }

    /// Goes on with a reply, unless the client is answered in its place.
    fn replying(&mut self, host: &dyn Host, incoming: Box<Incoming>, next: Next) -> ReplyStep {
        match next {
            Next::Fail(failure) => ReplyStep::Answer(self.failed(host, *failure)),
            Next::Begin(mut headers) => {
                for (name, value) in self.caller.headers() {
                    headers.add(name, value);
                }
                self.report.first(host.now());
                self.plan.hear(host, self.backend, "ok");
                self.phase = Phase::Replying(incoming);
                ReplyStep::Begin(headers)
            }
            Next::Hold => {
                self.phase = Phase::Replying(incoming);
                ReplyStep::Hold
            }
            Next::Continue => {
                self.phase = Phase::Replying(incoming);
                ReplyStep::Continue
            }
        }
    }

    /// The client's answer to a request that has come to nothing.
    fn failed(&mut self, host: &dyn Host, failure: Failure) -> Reply {
        self.plan.hear_failure(host, &failure);
        self.finished(failure.reply(&self.caller))
    }

    /// Writes the request for the first place that can take it.
    fn translate(&self, host: &dyn Host, body: &[u8]) -> Result<(Attempt, Vec<Choice>), Error> {
        let aim = Aim::new(&self.plan, &self.caller, host, body)?;
        let mut first = None;
        loop {
            match Attempt::translate(&aim, body) {
                Ok(attempt) => {
                    let window = self.plan.window(&attempt.asked.model);
                    let is_long = window.is_some_and(|window| attempt.estimate > window);
                    if is_long && !aim.is_wider() && aim.next(|choice| choice.wider) {
                        continue;
                    }
                    return Ok((attempt, aim.into_choices()));
                }
                Err(error) => {
                    // Another place may have what this one has not.
                    let may_help = matches!(error.kind, Kind::Unsupported | Kind::UnknownModel);
                    let wider = aim.is_wider();
                    let helps = may_help && aim.next(|choice| choice.wider == wider);
                    let error = first.unwrap_or(error);
                    if !helps {
                        return Err(error);
                    }
                    first = Some(error);
                }
            }
        }
    }

    /// Leaves the tries to the clusters' side of Envoy.
    fn hand_over(
        &mut self,
        host: &dyn Host,
        desk: &Rc<Desk>,
        attempt: Attempt,
        choices: Vec<Choice>,
    ) -> Step {
        let (cluster, tries) = match self.plan.cluster(&choices) {
            Ok((cluster, tries)) => (cluster.to_owned(), tries),
            Err(error) => return self.answer(&error),
        };
        let streamed = attempt.asked.expects.is_streamed();
        let mut headers = vec![(CLUSTER_HEADER, cluster.clone()), (STREAM_HEADER, streamed.to_string())];
        // Where the gate has no say the route has.
        if tries != 1 {
            headers.push((RETRIES_HEADER, tries.saturating_sub(1).to_string()));
        }
        let (plan, caller) = (Rc::clone(&self.plan), self.caller.clone());
        let ticket = Ticket::new(plan, caller, Rc::clone(&self.meter), cluster, choices, attempt, tries);
        self.phase = Phase::Handed(desk.issue(host, ticket));
        Step::Route(headers)
    }

    /// The last try has come to an end, or there was none: Envoy has something for the client.
    fn handed_back(&mut self, host: &dyn Host, issued: Issued, headers: Headers, last: bool) -> ReplyStep {
        if issued.ticket.has_begun() {
            match headers.status() {
                200 => self.report.first(host.now()),
                status => self.report.answered(status),
            }
            self.phase = Phase::Handed(issued);
            return ReplyStep::Pass;
        }
        if reply::is_own(host) {
            self.report.answered(headers.status());
            self.phase = Phase::Answered;
            return ReplyStep::Pass;
        }
        if let Some(failure) = issued.ticket.failure().filter(|_| reply::is_of_upstream(host)) {
            // The try itself has counted it.
            return ReplyStep::Answer(self.finished(failure.reply(&self.caller)));
        }
        if !matches!(headers.status(), 408 | 504) {
            // It did not get there. What takes too long has, and may be billed.
            self.meter.failed();
        }
        let (incoming, next) = reply::refused(None, host, headers, last);
        self.replying(host, Box::new(incoming), next)
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
            Ready::One(attempt) => attempt.address_router(&self.plan, host).map(|one| one.map(Step::Forward)),
            Ready::Several(fan) => {
                let calls = fan.launch(&self.plan, host);
                calls.map(|calls| calls.map(Step::Call))
            }
        };
        let error = match step {
            Ok(Some(step)) => {
                self.phase = match ready {
                    Ready::One(attempt) => Phase::Sent(Box::new(attempt.asked)),
                    Ready::Several(fan) => Phase::Fanned(fan),
                };
                return step;
            }
            Ok(None) if host.now() < deadline => {
                self.phase = Phase::Parked { ready, deadline };
                return Step::Park;
            }
            Ok(None) => source::unavailable(1000),
            Err(error) => error,
        };
        match ready {
            Ready::One(_) => self.answer(&error),
            Ready::Several(fan) => self.turn(host, fan, error),
        }
    }

    /// Makes the calls of a request that has failed at one place at another, or tells the client why not.
    fn turn(&mut self, host: &dyn Host, mut fan: Box<Fan>, error: Error) -> Step {
        let failure = Failure::new(Some(fan.asked()), error);
        self.plan.hear_failure(host, &failure);
        if let Some(calls) = fan.turn(&self.plan, &self.caller, host, failure.error.kind) {
            self.backend = fan.asked().backend;
            report::serves(host, &fan.asked().full_model);
            self.phase = Phase::Fanned(fan);
            return Step::Call(calls);
        }
        let step = Step::Answer(self.finished(failure.reply(&self.caller)));
        self.settle(host);
        step
    }

    fn settle(&mut self, host: &dyn Host) {
        self.meter.settle(host);
        self.report.end(host, &self.meter);
    }

    /// Refuses on the gateway's own account.
    fn refuse(&mut self, host: &dyn Host, error: &Error) -> Step {
        self.report.refused(host, error);
        if self.caller.limits.is_empty() && error.kind != Kind::Unauthenticated {
            gate::tell(&self.plan, &mut self.caller, host);
        }
        self.answer(error)
    }

    fn answer(&mut self, error: &Error) -> Step {
        Step::Answer(self.finished(self.caller.refuse(error)))
    }
}

impl Position for Whole {
    fn request_headers(&mut self, host: &dyn Host, headers: &Headers, last: bool) -> Step {
        let route = route::route(headers, last, self.plan.request_bytes);
        if route != Route::NotOurs {
            self.caller.request_id = headers.get("x-request-id").unwrap_or_default().to_owned();
        }
        match route {
            Route::NotOurs => Step::Pass,
            Route::Health => {
                let reply = health::reply(&self.plan, host);
                Step::Answer(self.finished(reply))
            }
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
                    self.caller.aside = Aside::read(headers);
                }
                self.phase = Phase::Gathering;
                Step::Wait
            }
        }
    }

    fn reads(&self) -> bool {
        !matches!(self.phase, Phase::Idle | Phase::Handed(_) | Phase::Answered)
    }

    fn request_growing(&mut self, bytes: usize) -> Step {
        match self.phase {
            Phase::Gathering if bytes > self.plan.request_bytes => {
                self.answer(&route::too_large(self.plan.request_bytes))
            }
            Phase::Gathering => Step::Wait,
            Phase::Idle
            | Phase::Parked { .. }
            | Phase::Asking(_)
            | Phase::Sent(_)
            | Phase::Handed(_)
            | Phase::Fanned(_)
            | Phase::Replying(_)
            | Phase::Answered => Step::Pass,
        }
    }

    fn request_body(&mut self, host: &dyn Host, body: &[u8]) -> Step {
        match self.phase {
            Phase::Gathering => {}
            Phase::Idle
            | Phase::Parked { .. }
            | Phase::Asking(_)
            | Phase::Sent(_)
            | Phase::Handed(_)
            | Phase::Fanned(_)
            | Phase::Replying(_)
            | Phase::Answered => {
                return Step::Pass;
            }
        }
        if body.len() > self.plan.request_bytes {
            return self.answer(&route::too_large(self.plan.request_bytes));
        }
        let admitted = self.translate(host, body).and_then(|(attempt, choices)| {
            self.report.model(host, self.plan.label(&attempt.asked.model), &attempt.asked.full_model);
            Ok((attempt.admit(&self.plan, &mut self.caller, host)?, choices))
        });
        match admitted {
            Ok((attempt, choices)) => {
                self.meter = Rc::clone(&attempt.asked.meter);
                self.backend = attempt.asked.backend;
                if let Some(look) = self.caller.look {
                    return match dry::show(&self.plan, &attempt, look) {
                        Ok(reply) => Step::Answer(self.finished(reply)),
                        Err(error) => self.answer(&error),
                    };
                }
                attempt.asked.count(host);
                if let Some(desk) = self.desk.clone().filter(|_| attempt.more.is_empty()) {
                    return self.hand_over(host, &desk, attempt, choices);
                }
                let deadline = host.now().checked_add(PATIENCE).unwrap_or(SystemTime::UNIX_EPOCH);
                if attempt.more.is_empty() {
                    return self.send(host, Ready::One(Box::new(attempt)), deadline);
                }
                // Without the gate there is one place for everything.
                let choices = if self.desk.is_some() { choices } else { Vec::new() };
                let fan = Box::new(Fan::new(attempt, Rest::new(body, choices), host.now()));
                if let Some(cluster) = &self.plan.leave_cluster {
                    self.phase = Phase::Asking(fan);
                    return Step::Forward(leave::ask(cluster));
                }
                self.send(host, Ready::Several(fan), deadline)
            }
            Err(error) => self.refuse(host, &error),
        }
    }

    fn wake(&mut self, host: &dyn Host) -> Step {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Parked { ready, deadline } => self.send(host, ready, deadline),
            other @ (Phase::Idle
            | Phase::Gathering
            | Phase::Asking(_)
            | Phase::Sent(_)
            | Phase::Handed(_)
            | Phase::Fanned(_)
            | Phase::Replying(_)
            | Phase::Answered) => {
                self.phase = other;
                Step::Pass
            }
        }
    }

    fn called(&mut self, host: &dyn Host, number: usize, answer: Option<(&Headers, &[u8])>) -> Step {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Fanned(mut fan) => match fan.answer(&self.plan, host, number, answer) {
                Ok(Progress::More(calls)) => {
                    self.phase = Phase::Fanned(fan);
                    Step::Call(calls)
                }
                Ok(Progress::Whole(reply)) => {
                    self.report.first(host.now());
                    self.plan.hear(host, self.backend, "ok");
                    let step = Step::Answer(self.finished(reply));
                    // Before the client has the end: his next request finds what this one left over.
                    self.settle(host);
                    step
                }
                Err(error) => self.turn(host, fan, error),
            },
            other @ (Phase::Idle
            | Phase::Gathering
            | Phase::Asking(_)
            | Phase::Parked { .. }
            | Phase::Sent(_)
            | Phase::Handed(_)
            | Phase::Replying(_)
            | Phase::Answered) => {
                self.phase = other;
                Step::Pass
            }
        }
    }

    fn response_headers(&mut self, host: &dyn Host, headers: Headers, last: bool) -> ReplyStep {
        let (incoming, step) = match std::mem::replace(&mut self.phase, Phase::Answered) {
            Phase::Idle => {
                self.phase = Phase::Idle;
                return ReplyStep::Pass;
            }
            Phase::Answered => return ReplyStep::Pass,
            Phase::Handed(issued) => return self.handed_back(host, issued, headers, last),
            Phase::Sent(asked) => reply::begin(asked, &self.caller, &self.plan, host, headers, last),
            Phase::Asking(fan) if leave::is_given(host) => {
                let deadline = host.now().checked_add(PATIENCE).unwrap_or(SystemTime::UNIX_EPOCH);
                return ReplyStep::Instead(self.send(host, Ready::Several(fan), deadline));
            }
            // The request has not left: Envoy speaks.
            Phase::Gathering | Phase::Parked { .. } | Phase::Asking(_) | Phase::Fanned(_) => {
                reply::refused(None, host, headers, last)
            }
            Phase::Replying(incoming) => (*incoming, Next::Hold),
        };
        self.replying(host, Box::new(incoming), step)
    }

    fn response_chunk(&mut self, host: &dyn Host, bytes: &[u8], last: bool, out: &mut Vec<u8>) -> ReplyStep {
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
            other @ (Phase::Idle
            | Phase::Gathering
            | Phase::Asking(_)
            | Phase::Sent(_)
            | Phase::Handed(_)
            | Phase::Answered) => {
                self.phase = other;
                ReplyStep::Pass
            }
        }
    }

    fn fault(&mut self, problem: &str) -> Reply {
        self.meter.failed();
        self.finished(self.caller.refuse(&Error::new(Kind::Internal, problem)))
    }

    fn overloaded(&mut self) -> Reply {
        self.finished(self.caller.refuse(&reply::crowded()))
    }

    fn crowded(&mut self) -> Reply {
        self.finished(self.caller.refuse(&source::unavailable(1000)))
    }

    fn done(&mut self, host: &dyn Host) {
        self.settle(host);
    }

    fn held(&self) -> usize {
        match &self.phase {
            Phase::Parked { ready: Ready::One(attempt), .. } => attempt.body.len(),
            Phase::Parked { ready: Ready::Several(fan), .. } | Phase::Asking(fan) | Phase::Fanned(fan) => {
                fan.held()
            }
            Phase::Idle
            | Phase::Gathering
            | Phase::Sent(_)
            | Phase::Handed(_)
            | Phase::Replying(_)
            | Phase::Answered => 0,
        }
    }

    fn calls(&self) -> bool {
        matches!(self.phase, Phase::Fanned(_))
    }

    fn passed(&mut self, host: &dyn Host) {
        // Before the client has the end: his next request finds what this one left over.
        if matches!(self.phase, Phase::Handed(_)) {
            self.settle(host);
        }
    }
}
