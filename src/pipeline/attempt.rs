//! One request on its way to one backend: translated, and then authorised.

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::host::{Callout, Host, Outgoing};
use crate::base::metric::{Counter, OTHER};
use crate::chat::Delivery;
use crate::credential::Credential;
use crate::dialect::fates::{Fate, Given};
use crate::dialect::names::Names;
use crate::dialect::openai::own::Api;
use crate::dialect::{Cloud, Task, Upstream, embedding, image as images};
use crate::embedding::Encoding;
use crate::provider::{Address, Authorisation, Backend};

use super::aim::{Aim, Target};
use super::caller::Caller;
use super::gate::{self, Wish};
use super::meter::{Meter, Pending};
use super::{Plan, chat, count, embed, image};

/// The header by which Envoy's route chooses the cluster (`cluster_header`).
pub const CLUSTER_HEADER: &str = "x-fairlead-cluster";

/// Headers that every request to a cloud has.
const FIXED: &[(&str, &str)] = &[("content-type", "application/json")];

/// A translated request that is not sent yet.
#[derive(Debug)]
pub struct Attempt {
    pub address: Address,
    /// Those that this upstream wants besides the usual ones; covered by the signature, if there is one.
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// The bodies of further calls to the same address, where one call cannot hold all that is asked.
    pub more: Vec<Vec<u8>>,
    pub asked: Asked,
    /// The most tokens that the reply may have, as the client says.
    pub most_output: Option<u64>,
    /// How many tokens the request may have.
    pub estimate: u64,
}

/// What the reply needs to know of its request.
#[derive(Debug)]
pub struct Asked {
    /// Index of the backend in the plan.
    pub backend: usize,
    pub expects: Expects,
    /// Whose errors may come.
    pub cloud: Cloud,
    /// The model as the client asked for it.
    pub model: String,
    /// The name of the model that stands in for it.
    pub stands_in: Option<String>,
    /// The operator's name of the backend, and the backend's own name of the model: for response headers.
    pub backend_name: String,
    pub backend_model: String,
    /// The model by its full name, such as `bedrock/us.amazon.nova-lite-v1:0`.
    pub full_model: String,
    /// How often Envoy has sent it; known when the reply begins.
    pub attempts: u64,
    /// What becomes of the fields that were given.
    pub given: Vec<Given>,
    /// What it uses.
    pub meter: Rc<Meter>,
    /// What it goes out with.
    pub credential: Credential,
    /// When that was written into it, or into the last of its calls.
    pub signed: Cell<SystemTime>,
    /// It was refused for its credentials, and the next request goes out with others.
    pub is_renewed: bool,
}

/// How the reply of status 200 is to be read, and to be written for the client.
#[derive(Debug)]
pub enum Expects {
    /// The next message of a conversation.
    Chat {
        upstream: Upstream,
        /// How the client wants it.
        delivery: Delivery,
        /// The upstream was asked for a stream.
        streamed: bool,
        names: Names,
    },
    /// The same in the client's own dialect: it passes as it is.
    Relay { upstream: Upstream, delivery: Delivery },
    /// The number of a request's tokens.
    Count { upstream: Upstream },
    /// Vectors; `calls` are the numbers of the texts of each call.
    Embeddings { upstream: embedding::Upstream, encoding: Encoding, calls: Vec<Range<usize>> },
    /// Images; `calls` is how many of each call.
    Images { upstream: images::Upstream, calls: Vec<u64> },
    /// What an API of OpenAI's gives, which passes as it is; `images` were asked for.
    Own { api: Api, images: u64 },
}

impl Expects {
    /// How many images were asked for.
    fn images(&self) -> u64 {
        match self {
            Expects::Images { calls, .. } => calls.iter().fold(0, |all, count| all.saturating_add(*count)),
            Expects::Own { images, .. } => *images,
            Expects::Chat { .. }
            | Expects::Relay { .. }
            | Expects::Count { .. }
            | Expects::Embeddings { .. } => 0,
        }
    }

    /// Whether the reply comes as a stream.
    pub fn is_streamed(&self) -> bool {
        match self {
            Expects::Chat { streamed, .. } => *streamed,
            Expects::Relay { delivery, .. } => delivery.is_stream(),
            Expects::Count { .. }
            | Expects::Embeddings { .. }
            | Expects::Images { .. }
            | Expects::Own { .. } => false,
        }
    }

    /// Whether a good reply costs its caller tokens or money.
    pub const fn is_billed(&self) -> bool {
        match self {
            Expects::Chat { .. }
            | Expects::Relay { .. }
            | Expects::Embeddings { .. }
            | Expects::Images { .. }
            | Expects::Own { .. } => true,
            // The clouds count for nothing.
            Expects::Count { .. } => false,
        }
    }

    /// The name of the dialect that the upstream was addressed in.
    pub const fn upstream(&self) -> &'static str {
        match self {
            Expects::Chat { upstream, .. }
            | Expects::Relay { upstream, .. }
            | Expects::Count { upstream } => upstream.name(),
            Expects::Embeddings { upstream, .. } => upstream.name(),
            Expects::Images { upstream, .. } => upstream.name(),
            Expects::Own { api, .. } => api.name(),
        }
    }
}

impl Attempt {
    /// Reads a client's body and writes the upstream's.
    ///
    /// # Errors
    /// What is wrong with the body, or cannot be said to this upstream.
    pub fn translate(aim: &Aim<'_>, body: &[u8]) -> Result<Self, Error> {
        let attempt = match aim.caller().task {
            Task::Chat(client) => chat::translate(aim, client, body)?,
            Task::CountTokens => count::translate(aim, body)?,
            Task::Embeddings => embed::translate(aim, body)?,
            Task::Images => image::translate(aim, body)?,
        };
        if !aim.plan().drop_params {
            attempt.asked.must_be_whole()?;
        }
        Ok(attempt)
    }

    /// Takes what the request may use from the limits that it counts against.
    pub fn admit(mut self, plan: &Plan, caller: &mut Caller, host: &dyn Host) -> Result<Self, Error> {
        let wish = self.wish();
        let meter = gate::admit(plan, caller, host, wish)?;
        if caller.look.is_none() {
            meter.draw(gate::account(plan, host, self.asked.backend, wish));
        }
        self.asked.meter = Rc::new(meter);
        Ok(self)
    }

    /// What it may use at most.
    pub fn wish(&self) -> Wish<'_> {
        // Counting is free: it takes none of the tokens that it counts.
        let billed = self.asked.expects.is_billed();
        Wish {
            asked: &self.asked.model,
            stands_in: self.asked.stands_in.as_deref(),
            full: &self.asked.full_model,
            input: if billed { self.estimate } else { 0 },
            billed,
            output: self.most_output,
            images: self.asked.expects.images(),
        }
    }

    /// What the cloud may bill from the moment on in which the request has left.
    pub fn pending(&self) -> Pending {
        if self.asked.expects.is_billed() {
            Pending { input: self.estimate, images: self.asked.expects.images() }
        } else {
            Pending::default()
        }
    }

    /// Makes the request that leaves, or says that credentials are on their way. Nothing of the client's
    /// headers is in it. From now on the cloud may bill it.
    pub fn authorise(&mut self, plan: &Plan, host: &dyn Host) -> Result<Option<Outgoing>, Error> {
        let Self { address, headers: more, body, asked, .. } = self;
        let Some(signed) = sign(plan, host, asked, address, more, body)? else {
            return Ok(None);
        };
        let mut headers = Headers::default();
        for (name, value) in signed {
            headers.add(name, value);
        }
        headers.add("content-length", self.body.len().to_string());
        self.asked.meter.sent(self.pending());
        Ok(Some(Outgoing { headers, body: std::mem::take(&mut self.body) }))
    }

    /// As [`Attempt::authorise`], for Envoy's router, which chooses the cluster by what is added here.
    pub fn address_router(&mut self, plan: &Plan, host: &dyn Host) -> Result<Option<Outgoing>, Error> {
        let Some(mut outgoing) = self.authorise(plan, host)? else { return Ok(None) };
        // The router finds no route for a request without it (`route_not_found`, tried on 1.36.2 and
        // 1.40.0); the route in envoy/gateway.yaml removes it again.
        outgoing.headers.add("x-forwarded-proto", "https");
        outgoing.headers.add(CLUSTER_HEADER, plan.backend(self.asked.backend)?.cluster.as_str());
        Ok(Some(outgoing))
    }

    /// The names of the headers that reach the cloud.
    pub fn header_names(&self, backend: &Backend) -> impl Iterator<Item = &'static str> {
        let fixed = FIXED.iter().map(|(name, _)| *name).chain(["content-length"]);
        let more = self.headers.iter().map(|(name, _)| *name);
        fixed.chain(more).chain(backend.proof_names(&self.asked.credential))
    }
}

/// A call beside the client's own way, or that credentials are on their way; then the body stays where it is.
pub fn call(
    plan: &Plan,
    host: &dyn Host,
    asked: &Asked,
    address: &Address,
    body: &mut Vec<u8>,
    timeout: Duration,
) -> Result<Option<Callout>, Error> {
    let cluster = plan.backend(asked.backend)?.cluster.clone();
    let headers = sign(plan, host, asked, address, &[], body)?;
    Ok(headers.map(|headers| Callout { cluster, headers, body: std::mem::take(body), timeout }))
}

/// The headers by which the cloud knows a request. Those in `more` are signed too.
fn sign(
    plan: &Plan,
    host: &dyn Host,
    asked: &Asked,
    address: &Address,
    more: &[(&'static str, String)],
    body: &[u8],
) -> Result<Option<Vec<(&'static str, String)>>, Error> {
    let backend = plan.backend(asked.backend)?;
    let more = more.iter().map(|(name, value)| (*name, value.as_str()));
    let covered: Vec<(&'static str, &str)> = FIXED.iter().copied().chain(more).collect();
    let proof = match backend.authorise(&asked.credential, host, address, &covered, body)? {
        Authorisation::Headers(proof) => proof,
        Authorisation::Pending => return Ok(None),
    };
    asked.signed.set(host.now());
    let mut headers = Vec::with_capacity(proof.len().saturating_add(covered.len()).saturating_add(4));
    headers.push((":method", "POST".to_owned()));
    headers.push((":scheme", "https".to_owned()));
    headers.push((":authority", backend.host.clone()));
    headers.push((":path", address.target()));
    headers.extend(covered.into_iter().map(|(name, value)| (name, value.to_owned())));
    headers.extend(proof);
    Ok(Some(headers))
}

impl Asked {
    /// Notes where a request goes. `model` is what the client asked for, `given` what becomes of its fields.
    pub fn new(target: Target<'_>, model: String, cloud: Cloud, expects: Expects, given: Vec<Given>) -> Self {
        Self {
            backend: target.index,
            expects,
            cloud,
            attempts: 0,
            backend_name: target.backend.name.clone(),
            backend_model: header_value(target.model),
            full_model: [target.backend.prefix, target.model].concat(),
            given,
            model,
            stands_in: target.stands_in.map(str::to_owned),
            meter: Rc::default(),
            credential: target.credential.clone(),
            signed: Cell::new(SystemTime::UNIX_EPOCH),
            is_renewed: false,
        }
    }

    /// What was left out.
    pub fn dropped(&self) -> impl Iterator<Item = &Given> {
        self.given.iter().filter(|given| given.fate == Fate::Dropped)
    }

    /// The paths of all that was left out, as a header has them; empty when nothing was.
    pub fn paths(&self) -> String {
        self.dropped().map(|given| header_value(&given.path)).collect::<Vec<_>>().join(", ")
    }

    /// Counts what was left out.
    pub fn count(&self, host: &dyn Host) {
        for given in self.dropped() {
            let field = match given.path {
                Cow::Borrowed(path) => path,
                Cow::Owned(_) => OTHER,
            };
            host.count(Counter::Dropped { field, upstream: self.expects.upstream() }, 1);
        }
    }

    /// Refuses the request if something had to be left out.
    fn must_be_whole(&self) -> Result<(), Error> {
        let Some(first) = self.dropped().next() else { return Ok(()) };
        let message = format!(
            "{}: has no counterpart at this model's cloud, and this gateway leaves nothing out \
             (`drop_params` is false); leave it out of the request",
            self.paths()
        );
        Err(Error { param: Some(header_value(&first.path)), ..Error::new(Kind::Unsupported, message) })
    }
}

/// What may stand in a header of ours: names that came from a client are cut and cleaned, so that they
/// cannot end a header or fill one.
fn header_value(text: &str) -> String {
    const LONGEST: usize = 256;
    let clean = |c: char| if c.is_ascii_graphic() && c != ',' { c } else { '?' };
    text.chars().take(LONGEST).map(clean).collect()
}
