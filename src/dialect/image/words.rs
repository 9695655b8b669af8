//! What a client says to the cloud itself about its images, such as `negative_prompt`: what each upstream
//! takes, by which names, and what it must look like.

use serde_json::value::RawValue;

use crate::base::error::{Error, Kind};
use crate::base::json::{Fields, Number, Text, Writer, read, wrong_type};
use crate::chat::Extra;
use crate::dialect::extra;

/// A field of a cloud's API that OpenAI's has no word for.
#[derive(Debug)]
pub struct Word {
    /// What the cloud calls it; the writer asks for it by this name.
    pub name: &'static str,
    /// What clients may call it besides: Google's SDKs have names of their own, and those of other gateways
    /// write all with underscores.
    pub aliases: &'static [&'static str],
    pub rule: Rule,
}

/// What the value of a [`Word`] must be. The clouds refuse anything else, in words about their own bodies.
#[derive(Debug)]
pub enum Rule {
    /// A text of at most so many characters.
    Text(usize),
    /// A whole number between these two.
    Whole(u64, u64),
    /// A number between these two.
    Number(f64, f64),
    /// One of these, in capitals or not.
    OneOf(&'static [&'static str]),
    Bool,
    /// An object whose members are texts.
    Labels,
    List,
    /// Nothing: the text says why.
    Refused(&'static str),
}

impl Word {
    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

/// The words of one request, checked.
#[derive(Debug, Default)]
pub struct Words<'r, 'a>(Vec<(&'static Word, &'r Extra<'a>)>);

impl<'r, 'a> Words<'r, 'a> {
    /// The value of a field, by the cloud's name of it.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.extra(name).map(|extra| extra.value)
    }

    /// Writes a field, if it is there.
    pub fn write(&self, name: &'static str, w: &mut Writer<'_>) {
        let Some((word, extra)) = self.said(name) else { return };
        let w = w.key(name);
        // Google's newer API takes its words in capitals only.
        match word.rule.spelt(extra.value) {
            Some(spelt) => w.string(spelt),
            None => w.raw(extra.value),
        }
    }

    /// Writes the seed of a call, if there is one: the client's own, moved on by as many images as were made
    /// before, and after the largest on from 1. `any` is the seed that stands for none.
    pub fn write_seed(&self, before: u64, any: Option<u64>, w: &mut Writer<'_>) {
        let Some((Word { name, rule: Rule::Whole(_, most), .. }, extra)) = self.said("seed") else { return };
        match extra.value.get().parse::<u64>() {
            Ok(seed) if before > 0 && any != Some(seed) => {
                let moved = seed.saturating_add(before);
                w.key(name).number(if moved > *most { moved - most } else { moved });
            }
            Ok(_) | Err(_) => self.write("seed", w),
        }
    }

    /// Refuses a field that does not go with the model, or with another.
    ///
    /// # Errors
    /// When the field is there, by the name and the place that the client gave it.
    pub fn refuse(&self, name: &str, problem: &str) -> Result<(), Error> {
        match self.extra(name) {
            Some(extra) => Err(Error::at(Kind::Unsupported, extra.path.clone(), problem)),
            None => Ok(()),
        }
    }

    /// Refuses a text that is longer than one model of several takes.
    ///
    /// # Errors
    /// When it is, by the name and the place that the client gave it.
    pub fn short(&self, name: &str, most: usize) -> Result<(), Error> {
        match self.extra(name) {
            Some(extra) => check(extra, &Rule::Text(most)),
            None => Ok(()),
        }
    }

    fn extra(&self, name: &str) -> Option<&'r Extra<'a>> {
        self.said(name).map(|(_, extra)| extra)
    }

    fn said(&self, name: &str) -> Option<(&'static Word, &'r Extra<'a>)> {
        self.0.iter().find(|(word, _)| word.name == name).copied()
    }
}

impl Rule {
    /// One of several words as the cloud spells it.
    fn spelt(&self, raw: &RawValue) -> Option<&'static str> {
        let Rule::OneOf(values) = self else { return None };
        let text = Text::from_raw(raw)?;
        values.iter().find(|value| value.eq_ignore_ascii_case(text.escaped())).copied()
    }
}

/// Finds every extra of a request in an upstream's table.
///
/// # Errors
/// An extra that is not there, that is said twice, or that is not what it must be.
pub fn choose<'r, 'a>(
    said: &'r [Extra<'a>],
    table: &'static [Word],
    upstream: &str,
) -> Result<Words<'r, 'a>, Error> {
    let mut words = Words::default();
    for extra in said {
        let Some(word) = table.iter().find(|word| word.is_called(extra.name.as_str())) else {
            return Err(extra::refusal(extra, upstream));
        };
        if words.get(word.name).is_some() {
            let problem = format!("says `{}` a second time", word.name);
            return Err(Error::at(Kind::WrongValue, extra.path.clone(), &problem));
        }
        check(extra, &word.rule)?;
        words.0.push((word, extra));
    }
    Ok(words)
}

fn check(extra: &Extra<'_>, rule: &Rule) -> Result<(), Error> {
    let raw = extra.value;
    let wrong = |kind, problem: &str| Err(Error::at(kind, extra.path.clone(), problem));
    let text = Text::from_raw(raw);
    match rule {
        Rule::Text(most) => match text {
            Some(text) if text.is_blank() => wrong(Kind::WrongValue, "is blank; leave it out"),
            Some(text) if is_longer(text, *most) => wrong(Kind::WrongValue, &too_long(*most)),
            Some(_) => Ok(()),
            None => wrong(Kind::WrongType, &wrong_type(raw, "a string")),
        },
        Rule::Whole(least, most) => match raw.get().parse::<u64>() {
            Ok(number) if (*least..=*most).contains(&number) => Ok(()),
            _ if Number::from_raw(raw).is_none() => {
                wrong(Kind::WrongType, &wrong_type(raw, "a whole number"))
            }
            _ => wrong(Kind::WrongValue, &format!("must be a whole number from {least} to {most}")),
        },
        Rule::Number(least, most) => match Number::from_raw(raw) {
            Some(number) if (*least..=*most).contains(&number.value()) => Ok(()),
            Some(_) => wrong(Kind::WrongValue, &format!("must be a number from {least} to {most}")),
            None => wrong(Kind::WrongType, &wrong_type(raw, "a number")),
        },
        Rule::OneOf(values) => match text {
            Some(_) if rule.spelt(raw).is_some() => Ok(()),
            Some(_) => wrong(Kind::WrongValue, &format!("must be one of {}", values.join(", "))),
            None => wrong(Kind::WrongType, &wrong_type(raw, "a string")),
        },
        Rule::Bool if matches!(raw.get(), "true" | "false") => Ok(()),
        Rule::Bool => wrong(Kind::WrongType, &wrong_type(raw, "a boolean")),
        Rule::Labels => match read::<Fields<'_>>(raw.get()) {
            Ok(labels) if labels.0.iter().all(|(_, value)| Text::from_raw(value).is_some()) => Ok(()),
            Ok(_) => wrong(Kind::WrongType, "must be an object whose members are strings"),
            Err(_) => wrong(Kind::WrongType, &wrong_type(raw, "an object")),
        },
        Rule::List if raw.get().starts_with('[') => Ok(()),
        Rule::List => wrong(Kind::WrongType, &wrong_type(raw, "an array")),
        Rule::Refused(reason) => wrong(Kind::Unsupported, reason),
    }
}

/// Refuses a prompt that a model would refuse for its length.
pub fn short(prompt: Text<'_>, most: usize) -> Result<(), Error> {
    if is_longer(prompt, most) {
        return Err(Error::at(Kind::WrongValue, "prompt", &too_long(most)));
    }
    Ok(())
}

fn is_longer(text: Text<'_>, most: usize) -> bool {
    // No character takes less than a byte.
    text.escaped().len() > most && text.unescape().chars().count() > most
}

fn too_long(most: usize) -> String {
    format!("is longer than the {most} characters that this model takes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Word] = &[
        Word { name: "negativeText", aliases: &["negative_prompt"], rule: Rule::Text(4) },
        Word { name: "seed", aliases: &[], rule: Rule::Whole(1, 9) },
        Word { name: "cfgScale", aliases: &[], rule: Rule::Number(1.1, 10.0) },
        Word { name: "personGeneration", aliases: &[], rule: Rule::OneOf(&["dont_allow", "allow_all"]) },
        Word { name: "addWatermark", aliases: &[], rule: Rule::Bool },
        Word { name: "labels", aliases: &[], rule: Rule::Labels },
        Word { name: "safetySettings", aliases: &[], rule: Rule::List },
        Word { name: "storageUri", aliases: &[], rule: Rule::Refused("no") },
    ];

    fn chosen(members: &str) -> Result<Vec<&'static str>, String> {
        let fields: Fields<'_> = serde_json::from_str(members).unwrap();
        let said: Vec<Extra<'_>> = fields
            .0
            .into_iter()
            .map(|(name, value)| Extra { path: name.as_str().to_owned(), name, value })
            .collect();
        choose(&said, TABLE, "It")
            .map(|words| words.0.iter().map(|(word, _)| word.name).collect())
            .map_err(|error| error.message)
    }

    #[test]
    fn every_name_of_a_word_is_known_at_the_top_of_a_request_and_no_other() {
        let tables = super::super::Upstream::ALL.iter().flat_map(|upstream| upstream.words());
        let mut names: Vec<&str> =
            tables.flat_map(|word| word.aliases.iter().chain([&word.name])).copied().collect();
        let mut known = extra::IMAGES.to_vec();
        names.sort_unstable();
        names.dedup();
        known.sort_unstable();
        assert_eq!(names, known);
    }

    #[test]
    fn a_word_is_found_by_any_of_its_names_and_checked() {
        for (members, expected) in [
            (
                r#"{"negative_prompt":"fogs","seed":9,"cfgScale":1.1}"#,
                vec!["negativeText", "seed", "cfgScale"],
            ),
            (
                r#"{"personGeneration":"ALLOW_ALL","addWatermark":false}"#,
                vec!["personGeneration", "addWatermark"],
            ),
            (r#"{"labels":{"team":"blue"},"safetySettings":[]}"#, vec!["labels", "safetySettings"]),
            (r#"{"negativeText":"\u00e9\ud83c\udf88éé"}"#, vec!["negativeText"]),
        ] {
            assert_eq!(chosen(members), Ok(expected), "{members}");
        }
    }

    #[test]
    fn a_word_that_is_not_what_it_must_be_is_refused_by_its_path() {
        for (members, problem) in [
            (
                r#"{"negativeText":"foggy"}"#,
                "negativeText: is longer than the 4 characters that this model takes",
            ),
            (r#"{"negativeText":" "}"#, "negativeText: is blank; leave it out"),
            (r#"{"negativeText":1}"#, "negativeText: expected a string, found a number"),
            (r#"{"seed":0}"#, "seed: must be a whole number from 1 to 9"),
            (r#"{"seed":-1}"#, "seed: must be a whole number from 1 to 9"),
            (r#"{"seed":1.5}"#, "seed: must be a whole number from 1 to 9"),
            (r#"{"seed":"1"}"#, "seed: expected a whole number, found a string"),
            (r#"{"cfgScale":1}"#, "cfgScale: must be a number from 1.1 to 10"),
            (r#"{"personGeneration":"all"}"#, "personGeneration: must be one of dont_allow, allow_all"),
            (r#"{"addWatermark":"no"}"#, "addWatermark: expected a boolean, found a string"),
            (r#"{"labels":{"a":1}}"#, "labels: must be an object whose members are strings"),
            (r#"{"labels":[]}"#, "labels: expected an object, found an array"),
            (r#"{"safetySettings":{}}"#, "safetySettings: expected an array, found an object"),
            (r#"{"storageUri":"gs://b"}"#, "storageUri: no"),
            (
                r#"{"negativeText":"fog","negative_prompt":"fog"}"#,
                "negative_prompt: says `negativeText` a second time",
            ),
            (r#"{"strange":1}"#, "strange: is no field that It takes from here; leave it out for this model"),
        ] {
            assert_eq!(chosen(members), Err(problem.to_owned()), "{members}");
        }
    }
}
