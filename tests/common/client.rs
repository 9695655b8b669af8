//! A client's request and its reply, driven through the pipeline as the plugin's adapter drives it.

use std::rc::Rc;

use fairlead::base::headers::Headers;
use fairlead::base::host::{Callout, Outgoing, Reply, ReplyStep, Step};
use fairlead::config::Environment;
use fairlead::credential::Source;
use fairlead::dialect::openai::Edition as Completions;
use fairlead::dialect::{Client, Edition, Upstream};
use fairlead::pipeline::{Plan, Position, Whole};

use super::cases::Case;
use super::envoy::FakeHost;

/// The token that the plans of [`plan`] call Vertex AI with, once [`sign_in`] has run.
pub const TOKEN: &str = "ya29.token";

/// A small configuration for a compiled plan.
pub fn compile(json: &str) -> Rc<Plan> {
    Rc::new(Plan::compile(json.as_bytes(), &Environment::new()).unwrap())
}

/// Two models of one cloud under names of our own, and the cloud's own prefix.
pub fn plan(upstream: Upstream) -> Rc<Plan> {
    let (prefix, chat, new) = match upstream {
        Upstream::Converse | Upstream::Messages(Edition::InvokeModel) => (
            "bedrock/",
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        Upstream::Messages(Edition::Mantle) => {
            ("bedrock/", "anthropic.claude-sonnet-4", "anthropic.claude-sonnet-4-5")
        }
        Upstream::Gemini => ("vertex_ai/", "gemini-2.5-flash", "gemini-3-pro-preview"),
        Upstream::Messages(Edition::Vertex) => {
            ("vertex_ai/", "claude-sonnet-4@20250514", "claude-sonnet-4-5@20250929")
        }
        Upstream::Messages(Edition::Anthropic) => {
            ("anthropic/", "claude-sonnet-4-20250514", "claude-sonnet-4-5-20250929")
        }
        Upstream::Completions(Completions::OpenAi) => ("openai/", "gpt-4.1", "gpt-5.1"),
        Upstream::Completions(Completions::OpenModels) => {
            ("vertex_ai/", "meta/llama-3.3-70b-instruct-maas", "openai/gpt-oss-120b-maas")
        }
        Upstream::Completions(Completions::Mistral) => {
            ("vertex_ai/", "mistral-medium-3", "mistral-medium-3-5")
        }
    };
    let (_, cluster) = address(upstream);
    let backend = match upstream {
        Upstream::Converse | Upstream::Messages(Edition::InvokeModel | Edition::Mantle) => {
            let api = match upstream {
                Upstream::Converse => "converse",
                Upstream::Messages(Edition::Mantle) => "mantle",
                _ => "invoke_model",
            };
            format!(
                r#""provider": "bedrock", "region": "us-east-1", "api": "{api}",
                "credentials": {{ "source": "static", "access_key_id": "AKIDEXAMPLE",
                    "secret_access_key": "wJalrXUtnFEMI", "session_token": "c2Vzc2lvbg==" }}"#
            )
        }
        Upstream::Gemini
        | Upstream::Messages(Edition::Vertex)
        | Upstream::Completions(Completions::OpenModels | Completions::Mistral) => {
            r#""provider": "vertex", "project": "my-project", "location": "us-central1",
            "credentials": { "source": "metadata_server", "cluster": "gcp_metadata" }"#
                .to_owned()
        }
        Upstream::Messages(Edition::Anthropic) => format!(
            r#""provider": "anthropic", "credentials": {{ "source": "api_key", "api_key": "{API_KEY}" }}"#
        ),
        Upstream::Completions(Completions::OpenAi) => format!(
            r#""provider": "openai", "credentials": {{ "source": "api_key", "api_key": "{API_KEY}" }}"#
        ),
    };
    // A name that tells nothing, and the operator who does.
    let profile = match upstream {
        Upstream::Converse => {
            r#", { "name": "profile", "backend": "cloud", "family": "claude-sonnet-4-5",
                "model": "bedrock/arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3" }"#
        }
        Upstream::Gemini | Upstream::Messages(_) | Upstream::Completions(_) => "",
    };
    compile(&format!(
        r#"{{
            "backends": {{ "cloud": {{ "cluster": "{cluster}", {backend} }} }},
            "models": [
                {{ "name": "chat", "backend": "cloud", "model": "{prefix}{chat}" }},
                {{ "name": "chat-new", "backend": "cloud", "model": "{prefix}{new}" }},
                {{ "name": "{prefix}*", "backend": "cloud" }}{profile}
            ]
        }}"#
    ))
}

/// Clouds ask some models in another of their dialects; the path tells.
pub fn asked(path: &str, upstream: Upstream) -> Upstream {
    match path.rsplit(['/', ':']).next().unwrap() {
        "converse" | "converse-stream" | "count-tokens" => Upstream::Converse,
        "generateContent" | "streamGenerateContent?alt=sse" | "countTokens" => Upstream::Gemini,
        "rawPredict" | "streamRawPredict" if path.contains("/anthropic/") => {
            Upstream::Messages(Edition::Vertex)
        }
        "rawPredict" | "streamRawPredict" => Upstream::Completions(Completions::Mistral),
        "completions" if path.starts_with("/v1/projects") => Upstream::Completions(Completions::OpenModels),
        _ => upstream,
    }
}

/// The key that the plan for Anthropic's own API calls it with.
pub const API_KEY: &str = "sk-ant-api03-plan";

/// What a plan calls its cloud by: `:authority` and Envoy's cluster.
pub fn address(upstream: Upstream) -> (&'static str, &'static str) {
    match upstream {
        Upstream::Converse | Upstream::Messages(Edition::InvokeModel) => {
            ("bedrock-runtime.us-east-1.amazonaws.com", "bedrock_us_east_1")
        }
        Upstream::Gemini
        | Upstream::Messages(Edition::Vertex)
        | Upstream::Completions(Completions::OpenModels | Completions::Mistral) => {
            ("us-central1-aiplatform.googleapis.com", "vertex_us_central1")
        }
        Upstream::Messages(Edition::Mantle) => ("bedrock-mantle.us-east-1.api.aws", "mantle_us_east_1"),
        Upstream::Messages(Edition::Anthropic) => ("api.anthropic.com", "anthropic"),
        Upstream::Completions(Completions::OpenAi) => ("api.openai.com", "openai"),
    }
}

/// Fetches a token for every source of the plan that has none.
pub fn sign_in(plan: &Plan, host: &FakeHost) {
    plan.prepare(host);
    for source in plan.sources() {
        if source.fetch(host).is_some() {
            answer(&source, host, Some((200, &token(TOKEN, 3599))));
        }
    }
}

/// What comes of a source's call: status and body, or nothing. Gives its next call.
pub fn answer(source: &Source, host: &FakeHost, answer: Option<(u16, &[u8])>) -> Option<Callout> {
    let answer = answer.map(|(status, body)| (headers(&[(":status", &status.to_string())]), body));
    source.answered(host, answer.as_ref().map(|(headers, body)| (headers, *body)))
}

/// As the metadata server answers.
pub fn token(token: &str, seconds: u32) -> Vec<u8> {
    serde_json::json!({ "access_token": token, "expires_in": seconds, "token_type": "Bearer" })
        .to_string()
        .into_bytes()
}

/// The call for a token that is due, if this worker is to make it.
pub fn fetch(plan: &Plan, host: &FakeHost) -> Option<Callout> {
    plan.sources()[0].fetch(host)
}

/// A list of headers.
pub fn headers(pairs: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in pairs {
        headers.add(name, *value);
    }
    headers
}

/// Values that a client sends and no cloud may see.
pub const SECRETS: &[&str] = &["client-key", "client-cookie", "client-api-key", "evil_cluster", "10.1.2.3"];

/// Envoy's id of every request.
pub const REQUEST_ID: &str = "0f7a6c1e-3b52-4d8f-9a10-6b1f2e3d4c5b";

/// What a client's headers may look like at worst.
pub fn request_headers() -> Headers {
    request_headers_of(Client::OpenAi)
}

fn request_headers_of(client: Client) -> Headers {
    request_headers_at(match client {
        Client::OpenAi => "/v1/chat/completions",
        Client::Anthropic => "/v1/messages?beta=true",
    })
}

fn request_headers_at(path: &str) -> Headers {
    headers(&[
        (":method", "POST"),
        (":path", path),
        (":authority", "gateway.example"),
        (":scheme", "http"),
        ("content-type", "application/json"),
        ("authorization", "Bearer client-key"),
        ("x-api-key", "client-api-key"),
        ("cookie", "session=client-cookie"),
        ("user-agent", "OpenAI/Python"),
        ("accept-encoding", "gzip, br"),
        ("x-forwarded-for", "10.1.2.3"),
        ("x-request-id", REQUEST_ID),
        ("x-fairlead-cluster", "evil_cluster"),
        ("x-amz-date", "20000101T000000Z"),
        ("x-amz-security-token", "client-key"),
        ("x-goog-api-key", "client-key"),
        ("x-goog-user-project", "client-key"),
        ("expect", "100-continue"),
    ])
}

/// What a client got, at the end.
#[derive(Debug, PartialEq)]
pub struct Got {
    pub status: u16,
    /// All headers but `:status`.
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// The client was told by an answer of our own, in place of the upstream's reply.
    pub answered: bool,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The JSON of the body.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl From<Reply> for Got {
    fn from(reply: Reply) -> Self {
        let headers = reply.headers.into_iter().map(|(name, value)| (name.to_owned(), value));
        let body = String::from_utf8(reply.body).unwrap();
        Self { status: reply.status, headers: headers.collect(), body, answered: true }
    }
}

/// One request at the position `fairlead`.
pub struct Exchange<'h> {
    pub whole: Whole,
    pub host: &'h FakeHost,
    headers: Headers,
}

impl<'h> Exchange<'h> {
    pub fn new(plan: &Rc<Plan>, host: &'h FakeHost) -> Self {
        Self { whole: Whole::new(Rc::clone(plan)), host, headers: request_headers() }
    }

    /// One with headers of its own.
    pub fn with(headers: Headers, plan: &Rc<Plan>, host: &'h FakeHost) -> Self {
        Self { headers, ..Self::new(plan, host) }
    }

    /// One that has begun already.
    pub fn begun(whole: Whole, host: &'h FakeHost) -> Self {
        Self { whole, host, headers: request_headers() }
    }

    /// The same at another path.
    pub fn at(path: &str, plan: &Rc<Plan>, host: &'h FakeHost) -> Self {
        Self { headers: request_headers_at(path), ..Self::new(plan, host) }
    }

    /// The same for the client of a case.
    pub fn of(case: &Case, plan: &Rc<Plan>, host: &'h FakeHost) -> Self {
        let mut headers = request_headers_of(case.client);
        case.headers().iter().for_each(|(name, value)| headers.add(name, value.as_str()));
        Self { headers, ..Self::new(plan, host) }
    }

    /// Sends a chat request.
    pub fn send(&mut self, body: &[u8]) -> Step {
        let step = self.whole.request_headers(self.host, &self.headers, false);
        assert_eq!(step, Step::Wait, "a chat request waits for its body");
        self.whole.request_body(self.host, body)
    }

    /// Sends a chat request that must reach its cloud.
    pub fn forward(&mut self, body: &[u8]) -> Outgoing {
        match self.send(body) {
            Step::Forward(outgoing) => outgoing,
            other => panic!("the request was not forwarded: {}", show(&other)),
        }
    }

    /// Takes the reply of the cloud, cut into these pieces. The last piece ends the reply; without any it
    /// ends with its headers. Holds the pipeline to the order of its steps.
    pub fn receive<'b>(&mut self, headers: Headers, pieces: impl IntoIterator<Item = &'b [u8]>) -> Got {
        let mut pieces = pieces.into_iter().peekable();
        let mut begun: Option<Headers> = None;
        let mut body = Vec::new();
        match self.whole.response_headers(self.host, headers, pieces.peek().is_none()) {
            ReplyStep::Hold => {}
            ReplyStep::Answer(reply) => return reply.into(),
            other => panic!("headers of a reply must be held or answered: {other:?}"),
        }
        let mut out = Vec::new();
        while let Some(piece) = pieces.next() {
            let last = pieces.peek().is_none();
            out.clear();
            match self.whole.response_chunk(self.host, piece, last, &mut out) {
                ReplyStep::Hold => assert!(out.is_empty(), "held back, but there is something to send"),
                ReplyStep::Begin(headers) => {
                    assert!(begun.replace(headers).is_none(), "begun twice");
                    assert!(!out.is_empty(), "begun with nothing to send");
                }
                ReplyStep::Continue => assert!(begun.is_some() && !out.is_empty(), "went on with nothing"),
                ReplyStep::Answer(reply) => {
                    assert!(begun.is_none(), "answered after the headers were sent");
                    return reply.into();
                }
                ReplyStep::Fail(_) => panic!("only tries fail for others to answer"),
                ReplyStep::Pass | ReplyStep::Instead(_) => {
                    panic!("a piece of the cloud's reply was passed on untranslated")
                }
            }
            body.append(&mut out);
        }
        let headers = begun.expect("the client got something");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let others = headers.0.iter().filter(|(name, _)| name != ":status");
        Got {
            status: headers.status(),
            headers: others.map(|(name, value)| (name.clone(), text(value))).collect(),
            body: text(&body),
            answered: false,
        }
    }
}

/// The calls that a step makes.
pub fn calls(step: Step) -> Vec<(usize, Callout)> {
    match step {
        Step::Call(calls) => calls,
        other => panic!("no calls: {}", show(&other)),
    }
}

/// A step without the bytes of its body, for messages.
pub fn show(step: &Step) -> String {
    match step {
        Step::Pass => "pass".to_owned(),
        Step::Wait => "wait".to_owned(),
        Step::Park => "park".to_owned(),
        Step::Route(headers) => format!("route {headers:?}"),
        Step::Call(calls) => format!("{} calls", calls.len()),
        Step::Forward(outgoing) => format!("forward {}", String::from_utf8_lossy(&outgoing.body)),
        Step::Answer(reply) => format!("answer {} {}", reply.status, String::from_utf8_lossy(&reply.body)),
    }
}
