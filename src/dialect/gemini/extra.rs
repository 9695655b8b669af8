//! What a client says to Gemini itself: fields of `generateContent` that no client's API has a word for.

use serde_json::value::RawValue;

use crate::base::error::{Error, Kind};
use crate::base::json::{self, Fields, Str, Text, Writer, wrong_type};
use crate::chat::{Extra, LeftOut, Request};
use crate::dialect::extra;

/// The fields of one request, by where they belong in the body.
#[derive(Default)]
pub struct Own<'r> {
    /// Members of the body, under Google's names.
    pub body: Vec<(&'static str, &'r RawValue)>,
    /// Members of `generationConfig`, under Google's names.
    pub generation: Vec<(String, &'r RawValue)>,
    /// Members of `toolConfig` besides `functionCallingConfig`, under Google's names.
    pub tools: Vec<(String, &'r RawValue)>,
    /// What the client calls the request in its own books, as far as Google takes it.
    labels: Vec<(Str<'r>, Text<'r>)>,
}

/// Fields of the body, and how their values begin.
const BODY: &[(&str, char)] =
    &[("safetySettings", '['), ("labels", '{'), ("cachedContent", '"'), ("modelArmorConfig", '{')];

/// Google's spelling of a name that may have underscores, as clients of its SDKs write them.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

/// Members of `generationConfig` that are written from fields of the client's own API.
const OURS: &[&str] = &[
    "candidateCount",
    "maxOutputTokens",
    "temperature",
    "topP",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "stopSequences",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseLogprobs",
    "logprobs",
];

/// Sorts the fields; notes metadata that Google would refuse.
///
/// # Errors
/// A field that Gemini does not have, or that the client's own API has a word for: by its path.
pub fn sort<'r>(request: &'r Request<'r>, left_out: &mut LeftOut) -> Result<Own<'r>, Error> {
    let mut own = Own::default();
    for (index, field) in request.extra.iter().enumerate() {
        let name = field.name.as_str();
        if request.extra.iter().take(index).any(|other| camel(other.name.as_str()) == camel(name)) {
            let problem = "is said twice; leave one of them out";
            return Err(Error::at(Kind::WrongValue, field.path.clone(), problem));
        }
        if let Some(&(google, begins)) = BODY.iter().find(|(known, _)| camel(name) == *known) {
            typed(field, begins)?;
            own.body.push((google, field.value));
        } else if camel(name) == "generationConfig" {
            let members = members(field)?;
            check_generation(request, field, &members)?;
            own.generation = googles(members);
        } else if camel(name) == "toolConfig" {
            let members = members(field)?;
            let is_choice = |(name, _): &&(Str<'_>, _)| camel(name.as_str()) == "functionCallingConfig";
            if let Some((name, _)) = members.iter().find(is_choice) {
                let path = format!("{}.{}", field.path, name.as_str());
                return Err(Error::at(Kind::Unsupported, path, "is what `tool_choice` says; send that"));
            }
            own.tools = googles(members);
        } else {
            return Err(extra::refusal(field, "Gemini"));
        }
    }
    check_cached(request, &own)?;
    own.label(request, left_out);
    Ok(own)
}

fn typed(field: &Extra<'_>, begins: char) -> Result<(), Error> {
    if field.value.get().starts_with(begins) {
        return Ok(());
    }
    let wanted = match begins {
        '[' => "an array",
        '{' => "an object",
        _ => "a string",
    };
    Err(Error::at(Kind::WrongType, field.path.clone(), &wrong_type(field.value, wanted)))
}

fn members<'r>(field: &Extra<'r>) -> Result<Vec<(Str<'r>, &'r RawValue)>, Error> {
    typed(field, '{')?;
    let members = json::read::<Fields<'r>>(field.value.get());
    members
        .map(|members| members.0)
        .map_err(|fault| Error::at(Kind::WrongType, field.path.clone(), &fault.problem))
}

fn googles<'r>(members: Vec<(Str<'r>, &'r RawValue)>) -> Vec<(String, &'r RawValue)> {
    members.into_iter().map(|(name, value)| (camel(name.as_str()), value)).collect()
}

fn check_generation(
    request: &Request<'_>,
    field: &Extra<'_>,
    members: &[(Str<'_>, &RawValue)],
) -> Result<(), Error> {
    let thinks = request.reasoning.mode.is_some() || request.reasoning.effort.is_some();
    for (index, (given, _)) in members.iter().enumerate() {
        let name = camel(given.as_str());
        let is_ours = OURS.contains(&name.as_str())
            || (name == "topK" && request.sampling.top_k.is_some())
            || (name == "thinkingConfig" && thinks);
        let is_double = members.iter().take(index).any(|(known, _)| camel(known.as_str()) == name);
        if is_ours || is_double {
            let problem =
                if is_ours { "has a field of its own in the request; send that" } else { "is given twice" };
            return Err(Error::at(Kind::Unsupported, format!("{}.{}", field.path, given.as_str()), problem));
        }
    }
    Ok(())
}

/// "cachedContent can not be used with system_instruction, tools or tool_config": what was cached holds them.
fn check_cached(request: &Request<'_>, own: &Own<'_>) -> Result<(), Error> {
    if !own.body.iter().any(|(name, _)| *name == "cachedContent") {
        return Ok(());
    }
    let problem = "stands in the cached content already, which takes no other; leave one of them out";
    if let Some(part) = request.system.first() {
        return Err(part.place.error(Kind::Unsupported, "", problem));
    }
    if let Some(tool) = request.tools.first() {
        return Err(tool.place.error(Kind::Unsupported, "", problem));
    }
    if let Some(field) = request.extra.iter().find(|field| camel(field.name.as_str()) == "toolConfig") {
        return Err(Error::at(Kind::Unsupported, field.path.clone(), problem));
    }
    Ok(())
}

impl<'r> Own<'r> {
    /// Metadata become labels, as far as Google takes them for its bills; labels that are given as such win.
    fn label(&mut self, request: &'r Request<'r>, left_out: &mut LeftOut) {
        let has_labels = self.body.iter().any(|(name, _)| *name == "labels");
        let metadata = request.metadata.and_then(|raw| json::read::<Fields<'r>>(raw.get()).ok());
        for (name, value) in metadata.into_iter().flat_map(|metadata| metadata.0) {
            let is_new = !self.labels.iter().any(|(known, _)| *known == name);
            let has_room = !has_labels && self.labels.len() < MOST_LABELS && is_new;
            match Text::from_raw(value) {
                Some(value) if has_room && is_label(name.as_str(), value) => {
                    self.labels.push((name, value));
                }
                _ => left_out.note("metadata"),
            }
        }
    }

    /// Writes the members of the body.
    pub fn write(&self, w: &mut Writer<'_>) {
        for (name, value) in &self.body {
            w.key(name).raw(value);
        }
        if !self.labels.is_empty() {
            w.key("labels").object(|w| {
                self.labels.iter().for_each(|(name, value)| w.foreign_key(name.as_str()).text(*value));
            });
        }
    }
}

/// cloud.google.com/resource-manager/docs/labels-overview#requirements.
const MOST_LABELS: usize = 64;

/// As there: of ASCII letters only small ones, and 63 characters at most.
fn is_label(name: &str, value: Text<'_>) -> bool {
    let fits = |word: &str| {
        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        word.len() <= 63 && word.bytes().all(known)
    };
    name.starts_with(|c: char| c.is_ascii_lowercase()) && fits(name) && fits(value.escaped())
}
