//! The position `fairlead.attempt`: one try of Envoy's, at the cluster that it has chosen for it.
//!
//! Envoy gives every try the untouched body again, but the headers as the try before has left them. So nothing is
//! read from them: all that is known of the request comes with its ticket.

use std::rc::Rc;
use std::time::SystemTime;

use super::aim::Aim;
use super::attempt::{Asked, Attempt};
use super::gate;
use super::outcome::{Again, Outcome};
use super::position::Position;
use super::reply::{self, Failure, Incoming, Next};
use super::report;
use super::ticket::{Desk, FOUND, Ticket};
use super::whole::PATIENCE;
use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::host::{Host, Outgoing, Reply, ReplyStep, Step};
use crate::credential::source;

/// The response header that makes Envoy try again (`retriable_headers` in the route's retry policy).
const RETRY_HEADER: &str = "x-fairlead-retry";

/// One try.
pub struct Trial {
    desk: Rc<Desk>,
    ticket: Option<Rc<Ticket>>,
    /// The number of the place that it is for.
    place: Option<usize>,
    phase: Phase,
}

enum Phase {
    /// Not ours.
    Idle,
    /// The body is coming, for this place.
    Gathering(usize),
    /// Translated; credentials are coming.
    Parked {
        attempt: Box<Attempt>,
        deadline: SystemTime,
    },
    /// On its way to the cloud.
    Sent(Box<Asked>),
    /// It cannot be sent as it should. Only the cloud's side of Envoy can make Envoy try again, so something without
    /// content or credentials goes there, and whatever comes back stands for this.
    Doomed(Failure),
    Replying(Box<Incoming>),
    /// The try has failed; what still comes is nobody's concern.
    Spent,
    /// The client was answered in place of the cloud.
    Answered,
}

impl Trial {
    pub fn new(desk: Rc<Desk>) -> Self {
        Self { desk, ticket: None, place: None, phase: Phase::Idle }
    }

    /// Which backend Envoy has chosen: as the endpoint's metadata says, else by the name of its cluster.
    fn backend(ticket: &Ticket, host: &dyn Host) -> Option<usize> {
        let paths: [&[&str]; 2] = [
            &["xds", "upstream_host_metadata", "filter_metadata", "fairlead", "backend"],
            &["xds", "cluster_name"],
        ];
        paths.iter().find_map(|path| {
            let name = host.property(path).filter(|name| !name.is_empty())?;
            ticket.plan.backend_called(std::str::from_utf8(&name).ok()?)
        })
    }

    /// Writes the request for a place that the gate has not written it for.
    fn written(ticket: &Ticket, host: &dyn Host, place: usize, body: &[u8]) -> Result<Box<Attempt>, Error> {
        let choice = ticket.place(place).filter(|_| !ticket.passes_over(place));
        let Some(choice) = choice else {
            return Err(Error::new(Kind::Unreachable, "the cloud could not be reached; try again shortly"));
        };
        let attempt = Attempt::translate(&Aim::at(&ticket.plan, &ticket.caller, host, choice.clone()), body)?;
        if !attempt.more.is_empty() {
            let problem = "the model's first backend cannot be reached, and another one takes this only in several \
                           calls; try again shortly, or ask for less at a time";
            return Err(Error::new(Kind::Unreachable, problem));
        }
        Ok(Box::new(attempt))
    }

    /// Why there is nothing to be done at a backend that Envoy has chosen.
    fn misplaced(ticket: &Ticket, backend: Option<usize>) -> Failure {
        if let Some(failure) = ticket.failure() {
            // The places of this request are used up, and the chain goes on.
            return failure;
        }
        let error = if backend.is_some_and(|backend| ticket.plan.leads_to(&ticket.cluster, backend)) {
            let problem = "the model's backends have failed too often and are left alone for a while; try again shortly";
            Error::new(Kind::Unreachable, problem)
        } else {
            let problem = "Envoy has chosen a backend that this model has no place at; the operator should compare the \
                           members of the aggregate cluster, and the names in their endpoints' metadata, with `chains`";
            Error::new(Kind::Internal, problem)
        };
        Failure::new(None, error)
    }

    fn send(&mut self, host: &dyn Host, mut attempt: Box<Attempt>, deadline: SystemTime) -> Step {
        let Some(ticket) = self.ticket.clone() else { return Step::Pass };
        match attempt.authorise(&ticket.plan, host) {
            Ok(Some(outgoing)) => {
                self.phase = Phase::Sent(Box::new(attempt.asked));
                Step::Forward(outgoing)
            }
            Ok(None) if host.now() < deadline => {
                self.phase = Phase::Parked { attempt, deadline };
                Step::Park
            }
            Ok(None) => self.unauthorised(host, &ticket, &attempt, source::unavailable(1000)),
            Err(error) => self.unauthorised(host, &ticket, &attempt, error),
        }
    }

    fn unauthorised(&mut self, host: &dyn Host, ticket: &Ticket, attempt: &Attempt, error: Error) -> Step {
        let failure = Failure::new(Some(&attempt.asked), error);
        ticket.plan.hear_failure(host, &failure);
        self.doom(ticket, attempt.asked.backend, failure)
    }

    /// Lets Envoy try elsewhere, if there is such a place.
    fn doom(&mut self, ticket: &Ticket, backend: usize, failure: Failure) -> Step {
        let backend = ticket.plan.backend(backend);
        let (true, Ok(backend)) = (ticket.has_more(), backend) else { return self.answer(failure) };
        let mut headers = Headers::default();
        headers.add(":method", "GET");
        headers.add(":scheme", "https");
        headers.add(":authority", backend.host.as_str());
        headers.add(":path", "/");
        self.phase = Phase::Doomed(failure);
        Step::Forward(Outgoing { headers, body: Vec::new() })
    }

    /// Answers the client at once: nothing is tried after that.
    fn answer(&mut self, failure: Failure) -> Step {
        Step::Answer(self.refuse(failure))
    }

    fn refuse(&mut self, failure: Failure) -> Reply {
        self.phase = Phase::Answered;
        match &self.ticket {
            Some(ticket) => {
                let mut reply = failure.reply(&ticket.caller);
                reply.headers.extend(ticket.caller.headers());
                reply
            }
            None => failure.error.openai_reply(),
        }
    }

    /// Goes on with a reply. One that is none leaves its reason with the ticket, for the gate to tell it to the
    /// client, and Envoy is told whether to try again.
    fn replying(
        &mut self,
        host: &dyn Host,
        incoming: Box<Incoming>,
        next: Next,
        out: &mut Vec<u8>,
        moment: Moment,
    ) -> ReplyStep {
        let Some(ticket) = self.ticket.clone() else { return ReplyStep::Pass };
        match next {
            Next::Hold => {
                self.phase = Phase::Replying(incoming);
                ReplyStep::Hold
            }
            Next::Continue => {
                self.phase = Phase::Replying(incoming);
                ReplyStep::Continue
            }
            Next::Begin(mut headers) => {
                ticket.begin();
                if let Some(choice) = self.place.and_then(|place| ticket.place(place)) {
                    ticket.plan.hear(host, choice.backend, "ok");
                    if let (true, Ok(backend)) = (self.place > Some(0), ticket.plan.backend(choice.backend)) {
                        // The gate has told of the first place.
                        report::serves(host, &format!("{}{}", backend.prefix, choice.model));
                    }
                }
                for (name, value) in ticket.caller.headers() {
                    headers.add(name, value);
                }
                self.phase = Phase::Replying(incoming);
                ReplyStep::Begin(headers)
            }
            Next::Fail(failure) => {
                out.clear();
                ticket.plan.hear_failure(host, &failure);
                let helps = failure.place.is_some() && ticket.may_help(failure.error.kind);
                let passes = match moment {
                    Moment::Early => true,
                    Moment::InItsBody => (helps && ticket.has_tries()) || survives(host),
                    Moment::AtItsEnd => helps && survives(host),
                };
                if passes { self.fail(&ticket, *failure, helps) } else { self.end(&ticket, *failure, out) }
            }
        }
    }

    /// Tells the client why, as it stands: the gate would answer in its place, and Envoy 1.36.2 dies of that in the
    /// midst of a reply (tried; 1.40.0 does not).
    fn end(&mut self, ticket: &Ticket, failure: Failure, out: &mut Vec<u8>) -> ReplyStep {
        ticket.begin();
        let reply = self.refuse(failure);
        self.phase = Phase::Spent;
        out.extend_from_slice(&reply.body);
        let mut headers = Headers::default();
        headers.add(":status", reply.status.to_string());
        reply.headers.into_iter().for_each(|(name, value)| headers.add(name, value));
        headers.add("content-length", out.len().to_string());
        ReplyStep::Begin(headers)
    }

    /// Leaves the reason with the ticket; `again`: Envoy is to try once more.
    fn fail(&mut self, ticket: &Ticket, failure: Failure, again: bool) -> ReplyStep {
        self.phase = Phase::Spent;
        let error = &failure.error;
        let mut headers = Headers::default();
        headers.add(":status", error.kind.row().status.to_string());
        if again {
            headers.add(RETRY_HEADER, "true");
            // Elsewhere nobody has asked for time.
            if let Some(seconds) = error.retry_after.filter(|_| !ticket.has_more()) {
                headers.add("retry-after", seconds.to_string());
            }
        }
        ticket.fail(failure);
        ReplyStep::Fail(headers)
    }
}

/// When in a reply a try is known to have failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// By its head.
    Early,
    InItsBody,
    /// All of the reply is there.
    AtItsEnd,
}

/// Whether Envoy's router can be told to try again when all of a reply is there. 1.36.2 dies of it, 1.40.0 does not
/// (tried); mended in 1.37 by github.com/envoyproxy/envoy/pull/41879.
fn survives(host: &dyn Host) -> bool {
    let number = |name| {
        let bytes = host.property(&["xds", "node", "user_agent_build_version", "version", name])?;
        Some(u32::from_le_bytes(*bytes.first_chunk()?))
    };
    matches!((number("major_number"), number("minor_number")), (Some(major), Some(minor)) if (major, minor) >= (1, 37))
}

impl Ticket {
    /// The same by the status alone, where a later try tells more: it may read what is written in its reply.
    fn may_help_early(&self, kind: Kind) -> bool {
        kind != Kind::TooLong && self.has_tries() && self.may_help(kind)
    }

    /// Whether another try may have another end.
    fn may_help(&self, kind: Kind) -> bool {
        match Outcome::of(kind).again {
            Again::Anywhere => true,
            Again::Elsewhere => self.has_more(),
            Again::Wider => self.widen(),
            Again::Never => false,
        }
    }
}

impl Position for Trial {
    fn request_headers(&mut self, host: &dyn Host, _: &Headers, _: bool) -> Step {
        let number =
            host.property(&["filter_state", FOUND]).and_then(|number| String::from_utf8(number).ok());
        self.ticket = number.and_then(|number| self.desk.find(&number));
        let Some(ticket) = self.ticket.clone() else {
            let problem = "a request has come to `fairlead.attempt` past `fairlead.gate`; the operator should check \
                           that the route's requests pass the gate, and that the vm_config of both positions is the same";
            return self.answer(Failure::new(None, Error::new(Kind::Internal, problem)));
        };
        let backend = Self::backend(&ticket, host);
        let Some(place) = backend.and_then(|backend| ticket.choose(backend)) else {
            return self.answer(Self::misplaced(&ticket, backend));
        };
        self.place = Some(place);
        self.phase = Phase::Gathering(place);
        Step::Wait
    }

    fn request_growing(&mut self, _: usize) -> Step {
        match self.phase {
            // The gate has seen to its size.
            Phase::Gathering(_) => Step::Wait,
            Phase::Idle
            | Phase::Parked { .. }
            | Phase::Sent(_)
            | Phase::Doomed(_)
            | Phase::Replying(_)
            | Phase::Spent
            | Phase::Answered => Step::Pass,
        }
    }

    fn needs_body(&self) -> bool {
        match &self.phase {
            Phase::Gathering(place) => !self.ticket.as_ref().is_some_and(|ticket| ticket.is_ready(*place)),
            Phase::Idle
            | Phase::Parked { .. }
            | Phase::Sent(_)
            | Phase::Doomed(_)
            | Phase::Replying(_)
            | Phase::Spent
            | Phase::Answered => true,
        }
    }

    fn request_body(&mut self, host: &dyn Host, body: &[u8]) -> Step {
        let Some(ticket) = self.ticket.clone() else { return Step::Pass };
        let place = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Gathering(place) => place,
            other @ (Phase::Idle
            | Phase::Parked { .. }
            | Phase::Sent(_)
            | Phase::Doomed(_)
            | Phase::Replying(_)
            | Phase::Spent
            | Phase::Answered) => {
                self.phase = other;
                return Step::Pass;
            }
        };
        let Some(choice) = ticket.place(place) else { return Step::Pass };
        let ready = if ticket.passes_over(place) { None } else { ticket.ready(place) };
        let mut attempt = match ready {
            // The gate has begun to meter it.
            Some(attempt) => attempt,
            None => match Self::written(&ticket, host, place, body) {
                Ok(attempt) => {
                    gate::again(&ticket.plan, &ticket.caller, host, &ticket.meter, &attempt);
                    attempt
                }
                // Said only here, and the client asked for something else: he hears why that failed.
                Err(error) => {
                    let failure = ticket.failure().unwrap_or_else(|| Failure::new(None, error));
                    return self.doom(&ticket, choice.backend, failure);
                }
            },
        };
        attempt.asked.meter = Rc::clone(&ticket.meter);
        let deadline = host.now().checked_add(PATIENCE).unwrap_or(SystemTime::UNIX_EPOCH);
        self.send(host, attempt, deadline)
    }

    fn wake(&mut self, host: &dyn Host) -> Step {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Parked { attempt, deadline } => self.send(host, attempt, deadline),
            other @ (Phase::Idle
            | Phase::Gathering(_)
            | Phase::Sent(_)
            | Phase::Doomed(_)
            | Phase::Replying(_)
            | Phase::Spent
            | Phase::Answered) => {
                self.phase = other;
                Step::Pass
            }
        }
    }

    fn called(&mut self, _: &dyn Host, _: usize, _: Option<(&Headers, &[u8])>) -> Step {
        // Calls are the gate's.
        Step::Pass
    }

    fn response_headers(&mut self, host: &dyn Host, headers: Headers, last: bool) -> ReplyStep {
        let Some(ticket) = self.ticket.clone() else { return ReplyStep::Pass };
        match std::mem::replace(&mut self.phase, Phase::Spent) {
            Phase::Idle => {
                self.phase = Phase::Idle;
                ReplyStep::Pass
            }
            Phase::Answered => {
                self.phase = Phase::Answered;
                ReplyStep::Pass
            }
            Phase::Sent(mut asked) => {
                if let (true, Some(place)) =
                    (reply::renew(&mut asked, &ticket.plan, host, &headers), self.place)
                {
                    ticket.reopen(place);
                }
                // The reason is for the last try to read: it is the one that the client hears.
                let is_refusal = !(200..300).contains(&headers.status());
                let decided = is_refusal && ticket.may_help_early(reply::kind_of_head(&asked, &headers));
                let last = last || decided;
                let (incoming, next) = reply::begin(asked, &ticket.caller, &ticket.plan, host, headers, last);
                self.replying(host, Box::new(incoming), next, &mut Vec::new(), Moment::Early)
            }
            Phase::Doomed(failure) => self.fail(&ticket, failure, true),
            Phase::Gathering(_) | Phase::Parked { .. } => {
                let (incoming, next) = reply::refused(None, host, headers, last);
                self.replying(host, Box::new(incoming), next, &mut Vec::new(), Moment::Early)
            }
            Phase::Replying(incoming) => {
                self.phase = Phase::Replying(incoming);
                ReplyStep::Hold
            }
            Phase::Spent => ReplyStep::Hold,
        }
    }

    fn response_chunk(&mut self, host: &dyn Host, bytes: &[u8], last: bool, out: &mut Vec<u8>) -> ReplyStep {
        let Some(ticket) = self.ticket.clone() else { return ReplyStep::Pass };
        match std::mem::replace(&mut self.phase, Phase::Spent) {
            Phase::Replying(mut incoming) => {
                let next = incoming.chunk(&ticket.caller, host, bytes, last, out);
                let moment = if last { Moment::AtItsEnd } else { Moment::InItsBody };
                self.replying(host, incoming, next, out, moment)
            }
            Phase::Spent => ReplyStep::Hold,
            other @ (Phase::Idle
            | Phase::Gathering(_)
            | Phase::Parked { .. }
            | Phase::Sent(_)
            | Phase::Doomed(_)
            | Phase::Answered) => {
                self.phase = other;
                ReplyStep::Pass
            }
        }
    }

    fn reads(&self) -> bool {
        !matches!(self.phase, Phase::Idle | Phase::Answered)
    }

    fn calls(&self) -> bool {
        false
    }

    fn held(&self) -> usize {
        match &self.phase {
            Phase::Parked { attempt, .. } => attempt.body.len(),
            Phase::Idle
            | Phase::Gathering(_)
            | Phase::Sent(_)
            | Phase::Doomed(_)
            | Phase::Replying(_)
            | Phase::Spent
            | Phase::Answered => 0,
        }
    }

    fn fault(&mut self, problem: &str) -> Reply {
        self.refuse(Failure::new(None, Error::new(Kind::Internal, problem)))
    }

    fn overloaded(&mut self) -> Reply {
        self.crowded()
    }

    fn crowded(&mut self) -> Reply {
        self.refuse(Failure::new(None, source::unavailable(1000)))
    }

    fn done(&mut self, host: &dyn Host) {
        match std::mem::replace(&mut self.phase, Phase::Spent) {
            Phase::Sent(asked) => {
                if let Some(ticket) = &self.ticket {
                    ticket.plan.hear(host, asked.backend, "lost");
                }
            }
            // The client has nothing of it yet.
            Phase::Replying(_) => {
                let unheard = self.ticket.as_ref().filter(|ticket| !ticket.has_begun());
                let place = self.place.and_then(|place| unheard?.place(place));
                if let (Some(ticket), Some(choice)) = (unheard, place) {
                    ticket.plan.hear(host, choice.backend, "lost");
                }
            }
            Phase::Idle
            | Phase::Gathering(_)
            | Phase::Parked { .. }
            | Phase::Doomed(_)
            | Phase::Spent
            | Phase::Answered => {}
        }
    }
}
