//! How the bodies of clients are read, whatever their dialect: problems by path, and names of the unknown.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde::de::DeserializeSeed;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::base::error::{Error, Kind};
use crate::base::json::{self, Each, Fields, First, Str, Unreadable, object};
use crate::chat::{Cache, Place};

/// The body as text, checked once for all: slices of it need no check of their own.
pub fn text(body: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(body)
        .map_err(|e| Error::new(Kind::NotJson, format!("the body is not UTF-8 at byte {}", e.valid_up_to())))
}

/// Reads the whole body.
pub fn body<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
    json::read(text).map_err(|fault| {
        // What is no JSON at all is told so, though something before the place where it breaks off was wrong, too.
        let whole = if fault.syntax { None } else { json::read::<&RawValue>(text).err() };
        unreadable("", whole.unwrap_or(fault))
    })
}

/// Reads a part of the body that stands at `place`.
pub fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue, place: impl FnOnce() -> String) -> Result<T, Error> {
    json::read(raw.get()).map_err(|fault| unreadable(&place(), fault))
}

/// Reads an array of the body that stands at `place`, item by item.
pub fn each<'a, T: Deserialize<'a>>(
    raw: &'a RawValue,
    place: impl FnOnce() -> String,
    mut take: impl FnMut(usize, T) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut taken = Ok(());
    let mut index = 0;
    let read = json::each(raw.get(), |item| {
        if taken.is_ok() {
            taken = take(index, item);
            index = index.saturating_add(1);
        }
    });
    read.map_err(|fault| unreadable(&place(), fault)).and(taken)
}

/// What grows with every item of an array.
pub trait Gather<'a>: Default {
    type Item: Deserialize<'a>;
    fn take(&mut self, index: usize, item: Self::Item, fields: &mut Seen<'a>) -> Result<(), Error>;
}

/// An array of the body, gathered as the body is read: so that it is read once.
pub struct Gathered<'a, G> {
    gathered: G,
    fields: Seen<'a>,
    count: usize,
    /// What was wrong first. All that comes after it need only be JSON of the right shape.
    fault: Option<Error>,
}

impl<'de: 'a, 'a, G: Gather<'a>> Deserialize<'de> for Gathered<'a, G>
where
    G::Item: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut all = Self { gathered: G::default(), fields: Seen::default(), count: 0, fault: None };
        let take = |item: G::Item| {
            if all.fault.is_none() {
                all.fault = all.gathered.take(all.count, item, &mut all.fields).err();
                all.count = all.count.saturating_add(1);
            }
        };
        Each::new(take).deserialize(deserializer)?;
        Ok(all)
    }
}

impl<'a, G> Gathered<'a, G> {
    /// What was gathered.
    ///
    /// # Errors
    /// What is wrong with an item, named by its path.
    pub fn finish(self, fields: &mut Seen<'a>) -> Result<G, Error> {
        for name in self.fields.0 {
            fields.see(|| name.into_owned());
        }
        self.fault.map_or(Ok(self.gathered), Err)
    }
}

fn unreadable(place: &str, fault: Unreadable) -> Error {
    if fault.syntax && place.is_empty() {
        return Error::new(Kind::NotJson, format!("the body is not JSON: {}", fault.problem));
    }
    let dot = if place.is_empty() || fault.path.is_empty() || fault.path.starts_with('[') { "" } else { "." };
    let path = format!("{place}{dot}{}", fault.path);
    if path.is_empty() {
        return Error::new(Kind::WrongType, format!("the body: {}", fault.problem));
    }
    Error::at(Kind::WrongType, path, &fault.problem)
}

/// The name of a model, decoded: some clients send an ARN percent-encoded. Everything that compares names
/// (rules, allow lists, limits, prices) sees what the cloud will see, so that no letter can be hidden.
pub fn model(name: Str<'_>) -> Str<'_> {
    match percent_decode_str(name.as_str()).decode_utf8_lossy() {
        Cow::Borrowed(_) => name,
        Cow::Owned(decoded) => Str(Cow::Owned(decoded)),
    }
}

/// The error about a member that must be there.
pub fn missing(path: &str, purpose: &str) -> Error {
    Error::at(Kind::Missing, path, &format!("is missing; it {purpose}"))
}

object! {
    /// Anthropic's `cache_control`, which clients of OpenAI's API borrow:
    /// docs.claude.com/en/docs/build-with-claude/prompt-caching.
    pub struct CacheControl<'a> {
        kind as "type": Str<'a>,
        ttl: Str<'a>,
    }
}

impl<'a> CacheControl<'a> {
    /// What the mark says; `place` is the part that carries it.
    pub fn read(self, place: impl Fn() -> String, fields: &mut Seen<'a>) -> Result<Cache, Error> {
        fields.keep("cache_control.", &self.other);
        if self.kind.is_none_or(|kind| kind.as_str() != "ephemeral") {
            let path = format!("{}cache_control.type", place());
            return Err(Error::at(Kind::WrongValue, path, "must be `ephemeral`"));
        }
        match self.ttl.as_ref().map(Str::as_str) {
            None | Some("5m") => Ok(Cache::Short),
            Some("1h") => Ok(Cache::Hour),
            Some(_) => {
                let path = format!("{}cache_control.ttl", place());
                Err(Error::at(Kind::WrongValue, path, "must be `5m` or `1h`"))
            }
        }
    }
}

/// How many tools a request may offer and a message may call. The clouds take fewer (Gemini 512, Bedrock
/// less for most models); the bound keeps the look for doubles cheap.
pub const MOST_TOOLS: usize = 512;

/// As many tools, or calls of them.
pub type Tools<T> = First<T, MOST_TOOLS>;

/// The tools of a request.
///
/// # Errors
/// Those of too many.
pub fn all_tools<T>(tools: Tools<T>) -> Result<Vec<T>, Error> {
    if tools.count > MOST_TOOLS {
        let problem = format!("holds {} tools; {MOST_TOOLS} is the most", tools.count);
        return Err(Error::at(Kind::WrongValue, "tools", &problem));
    }
    Ok(tools.items)
}

/// The longest name of a tool or id of a call, in bytes. Bedrock takes 64 characters, Gemini 128, and other
/// gateways hide a signature of some hundred in the id; the bound keeps comparing them cheap.
const LONGEST_NAME: usize = 1024;

/// Refuses a name or an id that is too long to be compared with others.
pub fn short(place: Place, below: &str, name: &Str<'_>) -> Result<(), Error> {
    if name.as_str().len() > LONGEST_NAME {
        let problem = format!("is longer than {LONGEST_NAME} bytes");
        return Err(place.error(Kind::WrongValue, below, &problem));
    }
    Ok(())
}

/// How many unknown fields are named: a body of nothing else must not cost more than its size, and the
/// names leave in a header.
const MOST_NAMED: usize = 64;

/// Names of fields that were given, each once.
#[derive(Default)]
pub struct Seen<'a>(pub Vec<Cow<'a, str>>);

impl<'a> Seen<'a> {
    /// Notes members that the vocabulary has no word for.
    pub fn keep(&mut self, prefix: &str, other: &Fields<'a>) {
        for (name, _) in other.given() {
            self.see(|| format!("{prefix}{name}"));
        }
    }

    /// Notes a name, unless there are too many already.
    pub fn see(&mut self, name: impl FnOnce() -> String) {
        if self.0.len() >= MOST_NAMED {
            return;
        }
        let name = Cow::Owned(name());
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }

    /// Notes a field that has a fate of its own: it is never overlooked, however much else there is.
    pub fn must_see(&mut self, name: &'static str) {
        if !self.0.iter().any(|seen| seen == name) {
            self.0.push(Cow::Borrowed(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes even numbers, and is told of every one.
    #[derive(Default)]
    struct Evens(Vec<u64>);

    impl Gather<'_> for Evens {
        type Item = u64;
        fn take(&mut self, index: usize, item: u64, fields: &mut Seen<'_>) -> Result<(), Error> {
            fields.see(|| item.to_string());
            self.0.push(item);
            if item.is_multiple_of(2) {
                Ok(())
            } else {
                Err(Error::at(Kind::WrongValue, format!("[{index}]"), "is odd"))
            }
        }
    }

    fn gathered(text: &str) -> Result<(Vec<u64>, Vec<Cow<'_, str>>), Error> {
        let mut fields = Seen::default();
        fields.must_see("2");
        let evens = body::<Gathered<'_, Evens>>(text)?.finish(&mut fields)?;
        Ok((evens.0, fields.0))
    }

    #[test]
    fn what_is_gathered_comes_with_the_fields_that_were_seen_each_once() {
        let fields = ["2", "4", "6"].map(Cow::from).to_vec();
        assert_eq!(gathered("[4,2,6,4]"), Ok((vec![4, 2, 6, 4], fields)));
    }

    #[test]
    fn the_first_fault_is_told_and_nothing_is_taken_after_it() {
        let fault = gathered("[2,3,5]").unwrap_err();
        assert_eq!(fault.param.as_deref(), Some("[1]"));
        // What is no array of such things at all goes first.
        assert_eq!(gathered("[3,\"4\"]").unwrap_err().param.as_deref(), Some("[1]"));
        assert_eq!(gathered("[3,").unwrap_err().kind, Kind::NotJson);
        assert_eq!(gathered("[[").unwrap_err().kind, Kind::NotJson, "though a list is no number, either");
        assert_eq!(gathered("[[]]").unwrap_err().kind, Kind::WrongType);
    }

    #[test]
    fn too_many_tools_are_counted_and_not_kept() {
        let text = |count| format!("[{}0]", "0,".repeat(count - 1));
        let tools = |count| all_tools(body::<Tools<u8>>(&text(count)).unwrap());
        assert_eq!(tools(MOST_TOOLS).unwrap().len(), MOST_TOOLS);
        let fault = tools(MOST_TOOLS + 88).unwrap_err();
        assert!(fault.message.contains("holds 600 tools; 512 is the most"), "{}", fault.message);
    }
}
