//! The golden cases: where their files are, what their names mean, and their streams as bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fairlead::base::headers::Headers;
use fairlead::dialect::openai::Edition as Completions;
use fairlead::dialect::{Client, Edition, Upstream};
use fairlead::frame::eventstream::{Kind, encode};
use serde_json::value::RawValue;

use super::client::headers;

/// One folder.
pub struct Case {
    /// The folder's name, below that of the client's dialect unless that is OpenAI's.
    pub name: String,
    pub client: Client,
    pub folder: PathBuf,
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Whether every case must say what becomes of its request. Other editions of a dialect differ at the top of
/// the body alone: the cases that are about it have files for them.
pub fn is_in_every_case(upstream: Upstream) -> bool {
    match upstream {
        Upstream::Converse
        | Upstream::Gemini
        | Upstream::Messages(Edition::Anthropic)
        | Upstream::Completions(Completions::OpenAi | Completions::Mistral) => true,
        Upstream::Completions(Completions::OpenModels) => false,
        Upstream::Messages(Edition::InvokeModel | Edition::Mantle | Edition::Vertex) => false,
    }
}

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// `reply.<upstream>[.<variant>].json`: a whole reply of status 200.
    Reply,
    /// `stream.<upstream>[.<variant>].jsonl`: a streamed reply, one frame a line.
    Stream,
    /// `error.<upstream>[.<variant>].json`: status, headers and body of an error.
    Error,
}

/// Something that an upstream says in a case.
pub struct Said<'c> {
    pub input: Input,
    pub upstream: Upstream,
    /// The file's name up to its last dot; its output is `<stem>.out.json` or `<stem>.out.sse`.
    pub stem: &'c str,
    pub bytes: &'c [u8],
}

/// All cases, in order.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &client in Client::ALL {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(client.name());
        let folders = fs::read_dir(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
        let before = cases.len();
        cases.extend(folders.map(|entry| read(client, &entry.unwrap().path())));
        assert!(cases.len() > before, "no cases in {}", root.display());
    }
    cases.sort_by(|a: &Case, b: &Case| a.name.cmp(&b.name));
    cases
}

fn read(client: Client, folder: &Path) -> Case {
    let files = fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())
    });
    let files = files.collect();
    let folder_name = folder.file_name().unwrap().to_str().unwrap();
    let name = match client {
        Client::OpenAi => folder_name.to_owned(),
        Client::Anthropic => format!("{}/{folder_name}", client.name()),
    };
    Case { name, client, folder: folder.to_owned(), files }
}

impl Case {
    /// What the client sends.
    pub fn request(&self) -> &[u8] {
        self.files.get("request.json").unwrap_or_else(|| panic!("{}: request.json is missing", self.name))
    }

    /// Headers that the client sends besides, from `headers.json`.
    pub fn headers(&self) -> BTreeMap<String, String> {
        let file = self.files.get("headers.json");
        file.map_or_else(BTreeMap::new, |bytes| serde_json::from_slice(bytes).unwrap())
    }

    /// What upstreams say, in order.
    pub fn said(&self) -> impl Iterator<Item = Said<'_>> {
        self.files.iter().filter_map(|(file, bytes)| {
            let (stem, ending) = file.rsplit_once('.')?;
            let mut words = stem.split('.');
            let input = match (words.next()?, ending) {
                ("reply", "json") => Input::Reply,
                ("stream", "jsonl") => Input::Stream,
                ("error", "json") => Input::Error,
                _ => return None,
            };
            let upstream = words.next()?;
            let upstream = *Upstream::ALL.iter().find(|known| known.name() == upstream)?;
            let is_output = words.next_back() == Some("out");
            (!is_output).then_some(Said { input, upstream, stem, bytes })
        })
    }
}

/// The request id of all replies of Bedrock.
const REQUEST_ID: &str = "5f5f2d5e-0b1a-4c60-8f9b-1c2d3e4f5a6b";

/// Headers of a whole reply of status 200.
pub fn reply_headers(upstream: Upstream) -> Headers {
    match upstream {
        Upstream::Converse => headers(&[
            (":status", "200"),
            ("content-type", "application/json"),
            ("x-amzn-requestid", REQUEST_ID),
            ("server", "cloud"),
        ]),
        Upstream::Gemini
        | Upstream::Messages(Edition::Vertex)
        | Upstream::Completions(Completions::OpenModels | Completions::Mistral) => headers(&[
            (":status", "200"),
            ("content-type", "application/json; charset=UTF-8"),
            ("server", "cloud"),
        ]),
        Upstream::Completions(Completions::OpenAi) => headers(&[
            (":status", "200"),
            ("content-type", "application/json"),
            ("x-request-id", "req_0f7a6c1e3b524d8f9a106b1f2e3d4c5b"),
            ("openai-organization", "acme"),
            ("server", "cloud"),
        ]),
        Upstream::Messages(Edition::InvokeModel | Edition::Mantle) => reply_headers(Upstream::Converse),
        Upstream::Messages(Edition::Anthropic) => headers(&[
            (":status", "200"),
            ("content-type", "application/json"),
            ("request-id", "req_011CSHoEeqs5C35K2UUqR7Fy"),
            ("anthropic-organization-id", "5c0a5b1e-0000-4000-8000-000000000000"),
            ("server", "cloud"),
        ]),
    }
}

/// Headers of a streamed reply.
pub fn stream_headers(upstream: Upstream) -> Headers {
    match upstream {
        Upstream::Converse | Upstream::Messages(Edition::InvokeModel) => headers(&[
            (":status", "200"),
            ("content-type", "application/vnd.amazon.eventstream"),
            ("x-amzn-requestid", REQUEST_ID),
        ]),
        Upstream::Messages(Edition::Anthropic | Edition::Mantle) => headers(&[
            (":status", "200"),
            ("content-type", "text/event-stream; charset=utf-8"),
            ("cache-control", "no-cache"),
        ]),
        Upstream::Gemini | Upstream::Messages(Edition::Vertex) => {
            headers(&[(":status", "200"), ("content-type", "text/event-stream")])
        }
        Upstream::Completions(_) => {
            headers(&[(":status", "200"), ("content-type", "text/event-stream; charset=utf-8")])
        }
    }
}

/// The frames of a `stream.*.jsonl`, as bytes.
///
/// Converse: `{"event":…,"payload":…}`, `{"exception":…,"payload":…}` or `{"error":…,"message":…}`.
/// Gemini: a line is the data of an event; `{"bare":…}` is JSON that is no event. Messages: a line is the data
/// of an event, which InvokeModel puts into a `chunk`; its exceptions are as those of Converse. Completions: as
/// Gemini, and `{"done":1}` is `[DONE]`. All:
/// `{"cut":7}` takes the last seven bytes away.
pub fn frames(upstream: Upstream, lines: &[u8]) -> Vec<Vec<u8>> {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for line in std::str::from_utf8(lines).unwrap().lines().filter(|line| !line.trim().is_empty()) {
        let members: BTreeMap<String, &RawValue> =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let text = |key: &str| members.get(key).map(|raw| serde_json::from_str::<String>(raw.get()).unwrap());
        let mut frame = Vec::new();
        if let Some(bytes) = members.get("cut") {
            let last = frames.last_mut().expect("there is something to cut");
            last.truncate(
                last.len().checked_sub(bytes.get().parse().unwrap()).expect("the cut is in the last frame"),
            );
            continue;
        }
        match upstream {
            Upstream::Converse => {
                let payload = members.get("payload").map_or("", |raw| raw.get()).as_bytes();
                if let Some(name) = text("event") {
                    encode(Kind::Event, &name, payload, &mut frame);
                } else if let Some(name) = text("exception") {
                    encode(Kind::Exception, &name, payload, &mut frame);
                } else {
                    let (name, message) = (text("error").expect(line), text("message").expect(line));
                    encode(Kind::Error, &name, message.as_bytes(), &mut frame);
                }
            }
            Upstream::Messages(Edition::InvokeModel) => match text("exception") {
                Some(name) => encode(Kind::Exception, &name, members["payload"].get().as_bytes(), &mut frame),
                None => {
                    let chunk = format!(r#"{{"bytes":"{}","p":"abcdefg"}}"#, base64(line.as_bytes()));
                    encode(Kind::Event, "chunk", chunk.as_bytes(), &mut frame);
                }
            },
            Upstream::Messages(Edition::Anthropic | Edition::Mantle | Edition::Vertex) => {
                let name = text("type").expect(line);
                frame.extend_from_slice(format!("event: {name}\ndata: {line}\n\n").as_bytes());
            }
            Upstream::Completions(_) if members.contains_key("done") => {
                frame.extend_from_slice(b"data: [DONE]\n\n");
            }
            Upstream::Completions(_) => match members.get("bare") {
                Some(bare) => frame.extend_from_slice(bare.get().as_bytes()),
                None => frame.extend_from_slice(format!("data: {line}\n\n").as_bytes()),
            },
            Upstream::Gemini => match members.get("bare") {
                Some(bare) => frame.extend_from_slice(bare.get().as_bytes()),
                // Google ends its lines like this.
                None => frame.extend_from_slice(format!("data: {line}\r\n\r\n").as_bytes()),
            },
        }
        frames.push(frame);
    }
    frames
}

/// RFC 4648.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let quads = bytes.chunks(3).flat_map(|chunk| {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(*chunk.get(at).unwrap_or(&0)));
        let character = move |at: usize| {
            let value = usize::try_from(bits >> (18 - 6 * at) & 63).unwrap();
            if at <= chunk.len() { char::from(ALPHABET[value]) } else { '=' }
        };
        (0..4).map(character)
    });
    quads.collect()
}
