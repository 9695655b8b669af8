//! The same dialect on both sides: requests and replies pass as they came, but for the top of a request.
//!
//! # Requests
//! [`Body::peek`] splits the top level into names and raw values, [`Body::write`] joins them again without
//! those that the upstream must not see and with those that it wants besides. No value is looked into but
//! `model` and `stream`. What cannot be split safely is no [`Body`]; the way through the vocabulary takes
//! it, or says what is wrong with it.
//!
//! # Replies
//! The upstream's decoder reads a stream as it does for any client, so that errors, the end and the token
//! counts are known, and hands every frame that it has understood to [`Sink::frame`] after its events.
//! [`Writer`] passes the frames on, whole ones only: a stream that breaks off ends in the client's own error
//! event, and a frame that was cut never reaches anybody. A whole reply is decoded for the same reasons
//! and leaves as the bytes that came.

use memchr::memmem;
use serde_json::value::RawValue;

use super::{Client, reading};
use crate::base::json::{Fields, Str, Text, Writer as Json};
use crate::chat::{Event, Frame, Sink};
use crate::frame::sse;

/// The most members at the top of a request. Each is compared with those before it; the APIs document some
/// thirty.
const MOST_MEMBERS: usize = 128;

/// The top of a request.
#[derive(Debug)]
pub struct Body<'a> {
    /// As the client wrote it.
    pub model: Str<'a>,
    /// The reply is to be a stream.
    pub stream: bool,
    members: Fields<'a>,
}

impl<'a> Body<'a> {
    /// Splits a body. `None` unless it is a JSON object that names a model and names nothing twice: an
    /// upstream might read the other of two members than we do.
    pub fn peek(body: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let members: Fields<'a> = serde_json::from_str(text).ok()?;
        let names = || members.0.iter().map(|(name, _)| name.as_str());
        let twice =
            || names().enumerate().any(|(index, name)| names().take(index).any(|known| known == name));
        if members.0.len() > MOST_MEMBERS || twice() {
            return None;
        }
        let find = |wanted: &str| members.given().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        let model = reading::model(Str(Text::from_raw(find("model")?)?.unescape()));
        let stream = match find("stream").map(RawValue::get) {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return None,
        };
        Some(Self { model, stream, members })
    }

    /// The members that say something: not those that are `null`.
    pub fn given(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.members.given()
    }

    /// All members.
    pub fn members(&self) -> &Fields<'a> {
        &self.members
    }

    /// A member that says something.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.given().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The most tokens that a reply may have, under any of its names, if the client says.
    pub fn most_output(&self) -> Option<u64> {
        self.count("max_completion_tokens").or_else(|| self.count("max_tokens"))
    }

    /// How many replies are asked for.
    pub fn replies(&self) -> u64 {
        self.count("n").unwrap_or(1).max(1)
    }

    fn count(&self, name: &str) -> Option<u64> {
        self.get(name)?.get().parse().ok()
    }

    /// Writes an object of what `add` writes and of the given members that `keep` holds on to, as they
    /// came and in their order. `add` must not write a member that `keep` keeps.
    pub fn write(&self, out: &mut Vec<u8>, keep: impl Fn(&str) -> bool, add: impl FnOnce(&mut Json<'_>)) {
        Json::new(out).object(|w| {
            add(w);
            for (name, value) in self.given().filter(|(name, _)| keep(name)) {
                w.foreign_key(name).raw(value);
            }
        });
    }
}

/// How many members `model` a glance looks at; real bodies have one.
const MOST_MODELS: usize = 8;

/// The longest name that a glance reads, in bytes. Models' names have up to 2,048 characters, and some stand there
/// percent-encoded; a longer one is left to those who read the body.
const LONGEST_MODEL: usize = 8 * 1024;

/// What [`Body::peek`] could find to be the model, without reading the body: the texts of all members of that name,
/// however deep they stand. `None` where a glance cannot tell.
pub fn models(body: &[u8]) -> Option<Vec<Str<'_>>> {
    const NAME: &[u8] = br#""model""#;
    let first = body.trim_ascii_start().strip_prefix(b"{").map_or(body, <[u8]>::trim_ascii_start);
    if let Some(rest) = first.strip_prefix(NAME) {
        // Two of them would be refused by whoever reads the body.
        return Some(name(rest)?.into_iter().collect());
    }
    // The letters of the name may be written as escapes, which nobody does: they are `\u0064` to `\u006f`.
    if memmem::find(body, br"\u006").is_some() {
        return None;
    }
    let mut names = Vec::new();
    for at in memmem::find_iter(body, NAME) {
        let (_, rest) = body.split_at_checked(at.saturating_add(NAME.len()))?;
        let Some(name) = name(rest)? else { continue };
        if names.len() == MOST_MODELS {
            return None;
        }
        names.push(name);
    }
    Some(names)
}

/// The text of a member, given from behind its name: `Some(None)` where it is no member, or no text and so no name;
/// `None` where a glance cannot tell.
fn name(rest: &[u8]) -> Option<Option<Str<'_>>> {
    let Some(value) = rest.trim_ascii_start().strip_prefix(b":") else { return Some(None) };
    let Some(text) = value.trim_ascii_start().strip_prefix(b"\"") else { return Some(None) };
    let text = std::str::from_utf8(inside(text)?).ok()?;
    Some(Some(reading::model(Str(Text::from_escaped(text).unescape()))))
}

/// The inside of a JSON string, given from behind its first quote.
fn inside(text: &[u8]) -> Option<&[u8]> {
    let mut escaped = false;
    let end = text.iter().take(LONGEST_MODEL).position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })?;
    text.get(..end)
}

/// Lets the frames of a stream pass.
pub struct Writer {
    client: Client,
    /// The client wants frames that hold token counts alone.
    usage: bool,
    out: Vec<u8>,
}

impl Writer {
    /// `usage`: the client has asked for token counts. They are listened to in any case.
    pub fn new(client: Client, usage: bool) -> Self {
        Self { client, usage, out: Vec::new() }
    }

    /// What was written since the last call; the caller clears it.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Whose dialect it is.
    pub const fn client(&self) -> Client {
        self.client
    }
}

impl Sink for Writer {
    fn event(&mut self, _: Event<'_>) {}

    fn frame(&mut self, frame: Frame<'_>) {
        if self.usage || !frame.is_usage {
            sse::encode(frame.name, frame.data, &mut self.out);
        }
    }
}

/// Hears nothing: for a reply that is only checked.
pub struct Deaf;

impl Sink for Deaf {
    fn event(&mut self, _: Event<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(body: &str, keep: impl Fn(&str) -> bool, add: impl FnOnce(&mut Json<'_>)) -> String {
        let mut out = Vec::new();
        Body::peek(body.as_bytes()).unwrap().write(&mut out, keep, add);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_pass_as_they_came_and_the_top_is_edited() {
        let body = "{ \"max_tokens\" : 1e2,\n \"model\":\"a\\u002fb\", \"x\\\"y\": [1.0, \"\\ud83d\" ,{\"b\":1,\"a\":2}], \
                    \"nothing\":null,\"stream\":true}";
        let peeked = Body::peek(body.as_bytes()).unwrap();
        assert_eq!((peeked.model.as_str(), peeked.stream), ("a/b", true));
        assert_eq!(peeked.get("max_tokens").map(RawValue::get), Some("1e2"));
        assert!(peeked.get("nothing").is_none());
        let out = written(body, |name| name != "model", |w| w.key("model").string("c"));
        let expected =
            r#"{"model":"c","max_tokens":1e2,"x\"y":[1.0, "\ud83d" ,{"b":1,"a":2}],"stream":true}"#;
        assert_eq!(out, expected);
        assert_eq!(written(body, |_| false, |_| {}), "{}");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_not_split() {
        for body in [
            r#"{"model":"a","model":"b"}"#,
            r#"{"model":"a","\u006dodel":"b"}"#,
            r#"{"model":"a","x":1,"x":2}"#,
            r#"{"model":1}"#,
            r#"{"model":null}"#,
            "{}",
            "[]",
            "\"model\"",
            r#"{"model":"a""#,
            r#"{"model":"a"} {}"#,
            r#"{"model":"a","stream":"true"}"#,
            "",
        ] {
            assert!(Body::peek(body.as_bytes()).is_none(), "{body}");
        }
        assert!(Body::peek(b"{\"model\":\"\xff\"}").is_none());
        let many = |count| {
            let more: String = (1..count).map(|number| format!(",\"{number}\":0")).collect();
            format!("{{\"model\":\"a\"{more}}}")
        };
        assert!(Body::peek(many(MOST_MEMBERS).as_bytes()).is_some());
        assert!(Body::peek(many(MOST_MEMBERS + 1).as_bytes()).is_none());
    }

    #[test]
    fn a_glance_finds_every_text_that_could_be_the_model() {
        let found = |body: &[u8]| {
            models(body).map(|names| names.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>())
        };
        let of = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        for (body, names) in [
            (r#"{"model":"a"}"#, of(&["a"])),
            ("{\"messages\":[],\n \"model\" :\t\"a\\/b\\n\\\"c\"}", of(&["a/b\n\"c"])),
            (r#"{"model":"arn%3Aaws"}"#, of(&["arn:aws"])),
            // The first member of all is at the top.
            (r#" { "model":"a","metadata":{"model":"b"}}"#, of(&["a"])),
            (r#"{"model":"a","\u006dodel":"b"}"#, of(&["a"])),
            (r#"{"metadata":{"model":"b"},"model":"a"}"#, of(&["b", "a"])),
            (r#"{"n":1,"model":"a","model":"b"}"#, of(&["a", "b"])),
            // No members, or no names: nothing that `peek` would take for the model.
            (r#"{"messages":[{"content":"\"model\":\"x\""}],"required":["model"]}"#, of(&[])),
            (r#"{"model":{"type":"string"},"x":["model"]}"#, of(&[])),
            ("", of(&[])),
            // Perhaps the name, written otherwise.
            (r#"{"\u006dodel":"a"}"#, None),
            (r#"{"mo\u0064el":"a","model":"b"}"#, None),
            // Cut off.
            (r#"{"model":"a"#, None),
            (r#"{"model":"a\"#, None),
        ] {
            assert_eq!(found(body.as_bytes()), names, "{body}");
            if let (Some(names), Some(top)) = (&names, Body::peek(body.as_bytes())) {
                assert!(names.iter().any(|name| name == top.model.as_str()), "{body}");
            }
        }
        assert_eq!(found(b"{\"model\":\"\xff\"}"), None);
        let many = |count: usize| format!("{{{}", r#","model":"a""#.repeat(count));
        assert_eq!(found(many(MOST_MODELS).as_bytes()).map(|names| names.len()), Some(MOST_MODELS));
        assert_eq!(found(many(MOST_MODELS + 1).as_bytes()), None);
        let long = |length| format!("{{\"model\":\"{}\"}}", "x".repeat(length));
        assert!(found(long(LONGEST_MODEL - 1).as_bytes()).is_some());
        assert_eq!(found(long(LONGEST_MODEL).as_bytes()), None);
    }

    #[test]
    fn frames_pass_and_token_counts_only_if_asked_for() {
        for (usage, expected) in [(true, "data: 1\n\ndata: 2\n\n"), (false, "data: 1\n\n")] {
            let mut writer = Writer::new(Client::OpenAi, usage);
            writer.frame(Frame { name: "", data: "1", is_usage: false });
            writer.frame(Frame { name: "", data: "2", is_usage: true });
            assert_eq!(writer.out(), expected.as_bytes());
        }
    }
}
