//! A request that takes several calls: a few of them at a time, and their answers in the order of the texts.
//!
//! One call that fails is the end of all: an application has no use for half of its vectors. Envoy makes the
//! calls for the worker rather than for the request, so a client that leaves does not cut them off; what
//! answers then is not listened to, and no further call is made.

use std::time::{Duration, SystemTime};

use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::host::{Callout, Host, Reply};
use crate::chat::Usage;
use crate::dialect::embedding;
use crate::provider::{Address, token};

use super::Plan;
use super::attempt::{self, Asked, Attempt, Expects};
use super::embed::{self, Part};
use super::reply;

/// How many calls are under way at a time. At some 100 ms a call a hundred texts take about a second; more at
/// once would let one request use up what an account may call: 2,000 a minute for many of Bedrock's models
/// (docs.aws.amazon.com/general/latest/gr/bedrock.html).
const AT_ONCE: usize = 8;

/// How long one call may take. Vectors come within a second; what takes longer waits for a model to wake up.
const CALL: Duration = Duration::from_secs(60);

/// How long all of them may take: 2,048 texts, a second for each eight of them, and a little more. Clients
/// built on OpenAI's wait ten minutes.
const ALL: Duration = Duration::from_secs(300);

/// The most bytes of answers that one request may gather: 2,048 vectors of 1,536 numbers are 41 MB as text
/// and 17 MB in base64.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// The largest answer to a single call: 96 vectors of 1,536 numbers have 3 MB.
pub const MOST_ANSWER: usize = 16 * 1024 * 1024;

/// The calls of one request.
#[derive(Debug)]
pub struct Fan {
    asked: Box<Asked>,
    address: Address,
    /// By the number of the call; empty once it is under way.
    bodies: Vec<Vec<u8>>,
    /// By the number of the call.
    parts: Vec<Option<Part>>,
    /// The number of the next call.
    next: usize,
    /// How many calls have been answered.
    answered: usize,
    /// The tokens of all that are answered, as long as the cloud tells them.
    tokens: Option<u64>,
    /// How many bytes are held.
    held: usize,
    deadline: SystemTime,
}

/// What a call brought.
pub enum Progress {
    /// Further calls, if any; others are under way.
    More(Vec<(usize, Callout)>),
    /// Everything is there.
    Whole(Reply),
}

impl Fan {
    /// Makes one of a translated request that takes several calls.
    pub fn new(attempt: Attempt, now: SystemTime) -> Self {
        let Attempt { address, body, more, asked, .. } = attempt;
        let bodies: Vec<Vec<u8>> = std::iter::once(body).chain(more).collect();
        let parts = bodies.iter().map(|_| None).collect();
        let held = bodies.iter().map(Vec::len).sum();
        let deadline = now.checked_add(ALL).unwrap_or(now);
        Self {
            asked: Box::new(asked),
            address,
            bodies,
            parts,
            next: 0,
            answered: 0,
            tokens: Some(0),
            held,
            deadline,
        }
    }

    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// How many bytes are held of requests and answers.
    pub fn held(&self) -> usize {
        self.held
    }

    /// The calls to be made now, or that credentials are on their way.
    ///
    /// # Errors
    /// When there is no time left for them, or no right to call.
    pub fn launch(&mut self, plan: &Plan, host: &dyn Host) -> Result<Option<Vec<(usize, Callout)>>, Error> {
        let mut calls = Vec::new();
        while self.next < self.bodies.len() && self.next - self.answered < AT_ONCE {
            let left = self.deadline.duration_since(host.now()).unwrap_or_default();
            if left.as_millis() == 0 {
                let problem = "the cloud did not give all vectors in time; send fewer texts at a time";
                return Err(Error::new(Kind::TimedOut, problem));
            }
            let number = self.next;
            let Some(body) = self.bodies.get_mut(number) else { break };
            let timeout = left.min(CALL);
            let Some(call) = attempt::call(plan, host, self.asked.backend, &self.address, body, timeout)?
            else {
                break;
            };
            self.held = self.held.saturating_sub(call.body.len());
            calls.push((number, call));
            self.next = number.saturating_add(1);
        }
        self.asked.attempts = self.next as u64;
        Ok((self.next > self.answered).then_some(calls))
    }

    /// Takes the answer to a call; `None`: there was none.
    ///
    /// # Errors
    /// Why the whole request has failed.
    pub fn answer(
        &mut self,
        plan: &Plan,
        host: &dyn Host,
        number: usize,
        answer: Option<(&Headers, &[u8])>,
    ) -> Result<Progress, Error> {
        let part = self.part(plan, host, number, answer).map_err(|error| self.locate(number, error))?;
        // Whatever becomes of the others, this call will be billed.
        self.tokens = self.tokens.zip(part.tokens).map(|(all, more)| all.saturating_add(more));
        if let Some(input) = self.tokens {
            self.asked.meter.counted(Usage { input, ..Usage::default() });
        }
        self.held = self.held.saturating_add(part.items.len());
        if self.held > MOST_BYTES {
            let problem = "holds so many texts that their vectors do not fit the gateway; send fewer at a time, \
                           or ask for base64";
            return Err(Error::at(Kind::WrongValue, "input", problem));
        }
        let Some(place @ None) = self.parts.get_mut(number) else {
            return Err(Error::new(Kind::Internal, "a call was answered twice"));
        };
        *place = Some(part);
        self.answered = self.answered.saturating_add(1);
        if self.answered < self.bodies.len() {
            // Nobody wakes a request in the midst of its calls; a token that ends has been replaced before.
            let calls = self.launch(plan, host)?.ok_or_else(|| token::unavailable(1000))?;
            return Ok(Progress::More(calls));
        }
        let parts = std::mem::take(&mut self.parts).into_iter().flatten().collect();
        let body = embed::whole(parts, &self.asked, host);
        Ok(Progress::Whole(reply::made(&self.asked, body)))
    }

    fn part(
        &self,
        plan: &Plan,
        host: &dyn Host,
        number: usize,
        answer: Option<(&Headers, &[u8])>,
    ) -> Result<Part, Error> {
        let Some((headers, body)) = answer else {
            return Err(Error::new(Kind::Unreachable, "the cloud could not be reached; try again shortly"));
        };
        if headers.status() != 200 {
            return Err(reply::call_refused(&self.asked, plan, host, headers, body));
        }
        if body.len() > MOST_ANSWER {
            return Err(Error::new(Kind::UpstreamGarbled, "the cloud's reply is larger than 16 MiB"));
        }
        self.asked.meter.answered();
        let Expects::Embeddings { upstream, encoding, calls } = &self.asked.expects else {
            return Err(Error::new(Kind::Internal, "a reply came to several calls where one was made"));
        };
        let texts = calls.get(number).cloned().unwrap_or_default();
        embed::part(*upstream, *encoding, &texts, embedding::tokens(headers), body)
    }

    /// Says which text it was that the cloud did not like, where that is certain.
    fn locate(&self, number: usize, mut error: Error) -> Error {
        let about_text = matches!(error.kind, Kind::BadRequest | Kind::TooLong);
        let calls = match &self.asked.expects {
            Expects::Embeddings { calls, .. } => calls.as_slice(),
            Expects::Chat { .. } | Expects::Relay { .. } | Expects::Count { .. } | Expects::Images { .. } => {
                &[]
            }
        };
        let only = calls.get(number).filter(|texts| texts.len() == 1);
        if let Some(text) = only.filter(|_| about_text && error.param.is_none()) {
            let path = format!("input[{}]", text.start);
            error.message = format!("{path}: {}", error.message);
            error.param = Some(path);
        }
        error
    }
}
