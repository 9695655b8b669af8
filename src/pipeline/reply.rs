//! An upstream's reply on its way to the client: decoded, and written in the client's dialect.

use std::time::UNIX_EPOCH;

use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::host::{Host, Level, OWN_DETAILS, Reply};
use crate::chat::Delivery;
use crate::dialect::names::Names;
use crate::dialect::{StreamDecoder, StreamWriter, Title, embedding};

use super::attempt::{Asked, Expects};
use super::caller::Caller;
use super::meter::Pending;
use super::room::Share;
use super::{Plan, chat, count, embed, fleet, image, own};

/// The largest whole reply in bytes. The longest outputs are some 128k tokens, well below 2 MiB of JSON;
/// a broken upstream must not fill the worker's memory, which never shrinks.
const MOST_REPLY: usize = 16 * 1024 * 1024;

/// The same for images. Bedrock sends 25,000,000 bytes at most (`InvokeModel` in botocore's service model); four
/// PNGs of four megapixels each, Imagen's most, or Gemini's largest one are some 40 MB of base64.
const MOST_IMAGES: usize = 48 * 1024 * 1024;

/// The same for what OpenAI gives in a single call: 2,048 vectors of 3,072 numbers are 34 MB in base64, as numbers
/// three times that, which no client asks for; ten images of four megapixels are some 50 MB of base64.
const MOST_OWN: usize = 64 * 1024 * 1024;

/// The largest answer of any kind to one of several calls.
pub const MOST_ANSWER: usize = MOST_IMAGES;

/// How much of an error body is read for its reason. Clouds send a few hundred bytes; what is longer is
/// some proxy's page.
const MOST_REFUSAL: usize = 64 * 1024;

/// A reply as it comes in.
pub enum Incoming {
    /// Chunks to be translated one by one.
    Stream(Box<Stream>),
    /// A whole reply, gathered. `tokens`: how many of them its headers say that the request had.
    Whole { asked: Box<Asked>, title: Title, tokens: Option<u64>, body: Vec<u8>, share: Share },
    /// The reason of an error, gathered. Nothing was asked when Envoy answers before the request left.
    Refusal { asked: Option<Box<Asked>>, headers: Headers, body: Vec<u8> },
    /// The client has its answer; what still comes is ignored.
    Over,
}

/// A stream being translated.
pub struct Stream {
    asked: Box<Asked>,
    names: Names,
    decoder: StreamDecoder,
    writer: StreamWriter,
    /// The client has the headers and some of the reply.
    begun: bool,
}

/// What happens to a piece of a reply next.
pub enum Next {
    /// Nothing for the client yet.
    Hold,
    /// The client gets these headers, and what is in `out`.
    Begin(Headers),
    /// The client gets what is in `out`; the headers have gone.
    Continue,
    /// Nothing has gone to the client yet, and nothing of this reply ever will.
    Fail(Box<Failure>),
}

/// A reply that is none.
#[derive(Debug)]
pub struct Failure {
    pub error: Error,
    /// At which backend, and what model by its full name; `None` when it never left, or no backend is to blame.
    pub place: Option<(usize, String)>,
    /// What is said of the request's way.
    pub about: Vec<(&'static str, String)>,
}

impl Failure {
    /// `asked` is absent when the request never left.
    pub fn new(asked: Option<&Asked>, error: Error) -> Self {
        let place = asked.map(|asked| (asked.backend, asked.full_model.clone()));
        Self { error, place, about: asked.map(about).unwrap_or_default() }
    }

    /// The client's answer.
    pub fn reply(self, caller: &Caller) -> Reply {
        let mut reply = caller.refuse(&self.error);
        reply.headers.extend(self.about);
        reply
    }
}

fn fail(asked: &Asked, error: Error) -> Next {
    Next::Fail(Box::new(Failure::new(Some(asked), error)))
}

/// The gateway has no room for a reply. No backend is to blame for it, and another one would not help.
fn full(asked: &Asked) -> Next {
    Next::Fail(Box::new(Failure { place: None, ..Failure::new(Some(asked), crowded()) }))
}

/// Decides from the headers what the reply is. `last`: there is no body.
pub fn begin(
    mut asked: Box<Asked>,
    caller: &Caller,
    plan: &Plan,
    host: &dyn Host,
    headers: Headers,
    last: bool,
) -> (Incoming, Next) {
    asked.attempts = attempts(host);
    let status = headers.status();
    renew(&mut asked, plan, host, &headers);
    if !(200..300).contains(&status) {
        return refused(Some(asked), host, headers, last);
    }
    let garbled = |asked: &Asked, problem: &str| {
        asked.meter.failed();
        let error = Error::new(Kind::UpstreamGarbled, format!("the cloud answered {problem}"));
        (Incoming::Over, fail(asked, error))
    };
    let encoding = headers.get("content-encoding").unwrap_or("identity");
    if last {
        return garbled(&asked, "without a body");
    }
    if !encoding.eq_ignore_ascii_case("identity") {
        return garbled(&asked, "in a compressed form that was not asked for");
    }
    let title = Title {
        // Bedrock's own id is in a header, Gemini's in the body if at all; Envoy's is as unique.
        id: headers.get("x-amzn-requestid").unwrap_or(&caller.request_id).to_owned(),
        created: host.now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        model: asked.model.clone(),
    };
    let media_type = headers.media_type();
    match &mut asked.expects {
        Expects::Chat { upstream, delivery: Delivery::Stream { usage }, streamed: true, names } => {
            if media_type != upstream.stream_media_type() {
                return garbled(&asked, "with something that is no stream");
            }
            let (names, decoder) = (std::mem::take(names), upstream.stream());
            let writer = caller.client().stream(title, *usage);
            asked.meter.answered(Pending::default());
            let stream = Stream { asked, names, decoder, writer, begun: false };
            (Incoming::Stream(Box::new(stream)), Next::Hold)
        }
        Expects::Relay { upstream, delivery: Delivery::Stream { usage } } => {
            if media_type != upstream.stream_media_type() {
                return garbled(&asked, "with something that is no stream");
            }
            let (names, decoder) = (Names::default(), upstream.stream());
            let writer = caller.client().relay(*usage);
            asked.meter.answered(Pending::default());
            let stream = Stream { asked, names, decoder, writer, begun: false };
            (Incoming::Stream(Box::new(stream)), Next::Hold)
        }
        Expects::Chat { .. }
        | Expects::Relay { delivery: Delivery::Whole, .. }
        | Expects::Count { .. }
        | Expects::Embeddings { .. }
        | Expects::Images { .. }
        | Expects::Own { .. } => {
            if media_type != "application/json" {
                return garbled(&asked, "with something that is not JSON");
            }
            // A buffer that grows holds most of its bytes twice while it does.
            let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            let length = asked.expects.most_bytes().min(length);
            let mut share = plan.room.share();
            if !share.grow(held(length)) {
                return (Incoming::Over, full(&asked));
            }
            let body = Vec::with_capacity(length);
            let tokens = embedding::tokens(&headers);
            (Incoming::Whole { asked, title, tokens, body, share }, Next::Hold)
        }
    }
}

/// A reply that is an error: the cloud's, or one that Envoy made itself (`asked` is absent when the
/// request never left).
pub fn refused(asked: Option<Box<Asked>>, host: &dyn Host, headers: Headers, last: bool) -> (Incoming, Next) {
    if last {
        let error = refusal(asked.as_deref(), host, &headers, &[]);
        return (Incoming::Over, Next::Fail(Box::new(Failure::new(asked.as_deref(), error))));
    }
    (Incoming::Refusal { asked, headers, body: Vec::new() }, Next::Hold)
}

impl Incoming {
    /// Takes the next bytes of the body; what is to be sent goes into `out`.
    pub fn chunk(
        &mut self,
        caller: &Caller,
        host: &dyn Host,
        bytes: &[u8],
        last: bool,
        out: &mut Vec<u8>,
    ) -> Next {
        let step = match self {
            Incoming::Stream(stream) => match stream.chunk(bytes, last) {
                Ok(()) => stream.send(out),
                Err(error) => {
                    let (backend, meaning) = (&stream.asked.backend_name, error.kind.row().meaning);
                    host.log(Level::Warn, &format!("a stream of {backend} broke: {meaning}"));
                    let step = stream.fail(caller, error, out);
                    *self = Incoming::Over;
                    step
                }
            },
            Incoming::Whole { asked, title, tokens, body, share } => {
                let (most, length) = (asked.expects.most_bytes(), body.len().saturating_add(bytes.len()));
                let fits = length <= most;
                if !fits || !share.grow(held(length)) {
                    let step = if fits { full(asked) } else { fail(asked, too_large(&asked.expects)) };
                    *self = Incoming::Over;
                    return step;
                }
                body.extend_from_slice(bytes);
                if !last {
                    return Next::Hold;
                }
                if asked.expects.is_billed() {
                    // Until here it was as if nothing had been seen of it.
                    asked.meter.answered(Pending::default());
                }
                match whole(asked, caller, host, title, *tokens, body) {
                    Ok(Finished { body: written, media_type, withheld }) => {
                        *out = written;
                        let mut headers = head(200, asked, media_type);
                        if let Some((name, value)) = told(withheld) {
                            headers.add(name, value);
                        }
                        headers.add("content-length", out.len().to_string());
                        Next::Begin(headers)
                    }
                    Err(error) => {
                        asked.meter.failed();
                        fail(asked, error)
                    }
                }
            }
            Incoming::Refusal { asked, headers, body } => {
                let room = MOST_REFUSAL.saturating_sub(body.len()).min(bytes.len());
                body.extend_from_slice(bytes.get(..room).unwrap_or_default());
                if !last {
                    return Next::Hold;
                }
                let error = refusal(asked.as_deref(), host, headers, body);
                Next::Fail(Box::new(Failure::new(asked.as_deref(), error)))
            }
            Incoming::Over => Next::Hold,
        };
        if last {
            *self = Incoming::Over;
        }
        step
    }
}

impl Stream {
    fn chunk(&mut self, bytes: &[u8], last: bool) -> Result<(), Error> {
        let Self { asked, names, decoder, writer, .. } = self;
        names.restored(&mut asked.meter.tap(writer.sink()), |sink| {
            decoder.feed(bytes, sink)?;
            if last { decoder.finish(sink) } else { Ok(()) }
        })?;
        if last {
            writer.finish();
        }
        Ok(())
    }

    /// Hands over what was written since the last time.
    fn send(&mut self, out: &mut Vec<u8>) -> Next {
        out.append(self.writer.out());
        if out.is_empty() {
            return Next::Hold;
        }
        if std::mem::replace(&mut self.begun, true) {
            return Next::Continue;
        }
        let mut headers = head(200, &self.asked, "text/event-stream");
        // Proxies in between must not gather the pieces.
        headers.add("cache-control", "no-cache");
        Next::Begin(headers)
    }

    /// While nothing was sent the error still has a status of its own; later it is an event.
    fn fail(&mut self, caller: &Caller, error: Error, out: &mut Vec<u8>) -> Next {
        if !self.begun {
            self.asked.meter.failed();
            return fail(&self.asked, error);
        }
        self.writer.fail(&error, &caller.request_id);
        self.send(out)
    }
}

impl Expects {
    /// The largest whole reply in bytes.
    pub const fn most_bytes(&self) -> usize {
        match self {
            Expects::Chat { .. }
            | Expects::Relay { .. }
            | Expects::Count { .. }
            | Expects::Embeddings { .. } => MOST_REPLY,
            Expects::Images { .. } => MOST_IMAGES,
            Expects::Own { .. } => MOST_OWN,
        }
    }
}

/// The error for a reply that is over the limit.
pub fn too_large(expects: &Expects) -> Error {
    let problem = format!("the cloud's reply is larger than {} MiB", expects.most_bytes() >> 20);
    Error::new(Kind::UpstreamGarbled, problem)
}

/// How many bytes a reply of so many takes at most: it is there twice when it is written for the client.
fn held(length: usize) -> usize {
    length.saturating_mul(2)
}

/// The error for a reply that finds the worker full of others.
pub fn crowded() -> Error {
    let problem = "the gateway has its hands full at the moment; try again shortly";
    let mut error = Error::new(Kind::Overloaded, problem);
    error.retry_after = Some(1);
    error
}

/// The client's whole reply.
struct Finished {
    body: Vec<u8>,
    media_type: &'static str,
    /// How many of the images that it should hold the cloud has withheld.
    withheld: u64,
}

impl Finished {
    fn json(body: Vec<u8>) -> Self {
        Self { body, media_type: "application/json", withheld: 0 }
    }
}

fn whole(
    asked: &mut Asked,
    caller: &Caller,
    host: &dyn Host,
    title: &Title,
    tokens: Option<u64>,
    body: &mut Vec<u8>,
) -> Result<Finished, Error> {
    match &mut asked.expects {
        Expects::Chat { upstream, delivery, names, .. } => {
            let client = caller.client();
            let (body, media_type) =
                chat::whole(client, *upstream, *delivery, names, title, &asked.meter, body)?;
            Ok(Finished { body, media_type, withheld: 0 })
        }
        Expects::Relay { upstream, .. } => chat::passed(*upstream, &asked.meter, body).map(Finished::json),
        Expects::Embeddings { upstream, encoding, calls } => {
            let texts = calls.first().cloned().unwrap_or_default();
            let part = embed::part(*upstream, *encoding, &texts, tokens, body)?;
            Ok(Finished::json(embed::whole(vec![part], asked, host)))
        }
        Expects::Images { upstream, calls } => {
            let count = calls.first().copied().unwrap_or(1);
            let (body, withheld) = image::whole(*upstream, count, title.created, &asked.meter, body)?;
            Ok(Finished { withheld, ..Finished::json(body) })
        }
        Expects::Count { upstream } => count::whole(*upstream, body).map(Finished::json),
        Expects::Own { api, .. } => own::passed(*api, &asked.meter, body).map(Finished::json),
    }
}

/// How many images the cloud has withheld, as a header; `None` for none.
fn told(withheld: u64) -> Option<(&'static str, String)> {
    (withheld > 0).then(|| ("x-fairlead-withheld", withheld.to_string()))
}

/// A reply that was made of the answers to several calls.
pub fn made(asked: &Asked, withheld: u64, body: Vec<u8>) -> Reply {
    let mut headers = vec![("content-type", "application/json".to_owned())];
    headers.extend(about(asked));
    headers.extend(told(withheld));
    Reply { status: 200, headers, body }
}

/// The error behind the answer to one of several calls. Envoy answers with plain text when it could not reach
/// the cloud, and the clouds never do.
pub fn call_refused(asked: &Asked, plan: &Plan, host: &dyn Host, headers: &Headers, body: &[u8]) -> Error {
    let is_renewed = renews(asked, plan, host, headers);
    if headers.media_type() == "text/plain" && matches!(headers.status(), 503 | 504) {
        let text = std::str::from_utf8(body).unwrap_or_default();
        let details = if text.contains("overflow") { "overflow" } else { "" };
        return of_envoy(host, headers, details);
    }
    of_cloud(asked, headers, body.get(..MOST_REFUSAL).unwrap_or(body), is_renewed)
}

/// The error behind a reply that is none: the cloud's own, or what Envoy says in its place.
fn refusal(asked: Option<&Asked>, host: &dyn Host, headers: &Headers, body: &[u8]) -> Error {
    let details =
        host.property(&["response", "code_details"]).and_then(|bytes| String::from_utf8(bytes).ok());
    let details = details.unwrap_or_default();
    // https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/response_code_details
    if let Some(asked) = asked.filter(|_| details.is_empty() || details.starts_with("via_upstream")) {
        asked.meter.failed();
        return of_cloud(asked, headers, body, asked.is_renewed);
    }
    let error = of_envoy(host, headers, &details);
    if let Some(asked) = asked.filter(|_| error.kind != Kind::TimedOut) {
        // It did not get there. What takes too long has, and may be billed.
        asked.meter.failed();
    }
    error
}

/// Whether the reply in Envoy's hands came from a cloud, and is not Envoy's own.
pub fn is_of_upstream(host: &dyn Host) -> bool {
    // https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/response_code_details
    let details = host.property(&["response", "code_details"]).unwrap_or_default();
    details.is_empty() || details.starts_with(b"via_upstream")
}

/// Whether it is an answer that fairlead gave at another place, complete as it is.
pub fn is_own(host: &dyn Host) -> bool {
    host.property(&["response", "code_details"]).is_some_and(|details| details == OWN_DETAILS.as_bytes())
}

/// Looks whether a refusal is of the credentials. `true`: the next request goes out with others.
pub fn renew(asked: &mut Asked, plan: &Plan, host: &dyn Host, refusal: &Headers) -> bool {
    asked.is_renewed = asked.is_renewed || renews(asked, plan, host, refusal);
    asked.is_renewed
}

fn renews(asked: &Asked, plan: &Plan, host: &dyn Host, refusal: &Headers) -> bool {
    matches!(refusal.status(), 400 | 401 | 403)
        && plan
            .backend(asked.backend)
            .is_ok_and(|backend| backend.renews(&asked.credential, host, refusal, asked.signed.get()))
}

/// What a cloud's refusal is by its head alone.
pub fn kind_of_head(asked: &Asked, headers: &Headers) -> Kind {
    of_cloud(asked, headers, &[], asked.is_renewed).kind
}

fn of_cloud(asked: &Asked, headers: &Headers, body: &[u8], is_renewed: bool) -> Error {
    let mut error = match &asked.expects {
        Expects::Chat { .. }
        | Expects::Relay { .. }
        | Expects::Count { .. }
        | Expects::Embeddings { .. }
        | Expects::Own { .. } => asked.cloud.refusal(headers.status(), headers, body),
        Expects::Images { upstream, .. } => upstream.refusal(headers.status(), headers, body),
    };
    // Of a request that was translated it would be a path in another body.
    if matches!(asked.expects, Expects::Chat { .. }) {
        error.param = None;
    }
    if let Some(id) = upstream_id(headers) {
        error.message.push_str(&format!(" (request id {id})"));
    }
    if is_renewed && error.kind == Kind::Denied {
        error.kind = Kind::NoCredentials;
    }
    if error.kind == Kind::NoCredentials {
        // Another token is fetched as soon as one is refused.
        error.retry_after = error.retry_after.or(Some(1));
    }
    error
}

fn of_envoy(host: &dyn Host, headers: &Headers, details: &str) -> Error {
    let status = headers.status();
    // The reason may hold addresses of the inside: for the log only.
    host.log(Level::Warn, &format!("Envoy answered {status} itself: {details}"));
    let (kind, message) = match status {
        _ if details == "rate_limiter_error" => return fleet::unknown(),
        413 => (
            Kind::TooLarge,
            "the body is larger than Envoy's buffer; send less, or ask the operator to raise per_connection_buffer_limit_bytes",
        ),
        408 | 504 => (Kind::TimedOut, "the cloud did not answer in time; try again"),
        503 if details.contains("overflow") => {
            (Kind::Overloaded, "the gateway has too many requests to this cloud under way; try again shortly")
        }
        // Envoy's router answers 503 to a name that no cluster has, like to a cluster without hosts.
        503 if details == "cluster_not_found" => (
            Kind::Internal,
            "Envoy has no cluster of the name that the configuration gives for this model's backend; the operator should compare the two",
        ),
        404 => (
            Kind::Internal,
            "Envoy has no route or cluster for this model's backend; the operator finds the name it looked for in Envoy's log",
        ),
        429 => return fleet::reached(headers),
        401 | 403 => (Kind::Denied, "Envoy's own policy refused the request"),
        400..500 => (Kind::BadRequest, "Envoy refused the request as malformed"),
        _ => (Kind::Unreachable, "the cloud could not be reached; try again shortly"),
    };
    Error::new(kind, message)
}

/// How often Envoy has tried, as an eight-byte number, little end first:
/// envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes. Zero: not at all.
fn attempts(host: &dyn Host) -> u64 {
    let count = host.property(&["upstream", "request_attempt_count"]);
    count.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn upstream_id(headers: &Headers) -> Option<&str> {
    // AWS's, Anthropic's, OpenAI's.
    let mut ids = ["x-amzn-requestid", "request-id", "x-request-id"].into_iter();
    let id = ids.find_map(|name| headers.get(name))?;
    (id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))).then_some(id)
}

/// Headers of a reply to the client; nothing of the upstream's remains.
fn head(status: u16, asked: &Asked, content_type: &str) -> Headers {
    let mut headers = Headers::default();
    headers.add(":status", status.to_string());
    headers.add("content-type", content_type);
    for (name, value) in about(asked) {
        headers.add(name, value);
    }
    headers
}

/// What every reply says of the request's way.
pub fn about(asked: &Asked) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("x-fairlead-backend", asked.backend_name.clone()),
        ("x-fairlead-model", asked.backend_model.clone()),
        ("x-fairlead-attempts", asked.attempts.to_string()),
    ];
    let dropped = asked.paths();
    if !dropped.is_empty() {
        headers.push(("x-fairlead-dropped", dropped));
    }
    headers
}
