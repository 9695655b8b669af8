//! Thoughts that come as words of the answer, between `<think>` and `</think>` at its beginning.
//! docs.cloud.google.com/vertex-ai/generative-ai/docs/maas/capabilities/thinking, DeepSeek R1.

use crate::base::json::{Text, Writer};
use crate::chat::{Event, Sink};

const OPENING: &str = "<think>";
const CLOSING: &str = "</think>";

/// Parts thoughts from words as they come. Holds as much as may still become a tag.
#[derive(Default)]
pub struct Tags {
    place: Place,
    /// The beginning of something that may be a tag, not escaped.
    held: String,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Place {
    /// Nothing was said but what may be the opening tag.
    #[default]
    Opening,
    /// White space behind the opening tag belongs to the tag.
    Opened,
    Thoughts,
    /// White space behind the closing tag belongs to the tag.
    Closed,
    Words,
}

impl Tags {
    /// Takes the next words.
    pub fn take(&mut self, words: Text<'_>, sink: &mut dyn Sink) {
        if words.is_empty() {
            return;
        }
        if self.place == Place::Words {
            return sink.event(Event::Text(words));
        }
        self.held.push_str(&words.unescape());
        if self.place == Place::Opening {
            let start = self.held.trim_start();
            if let Some(rest) = start.strip_prefix(OPENING) {
                self.held = rest.to_owned();
                self.place = Place::Opened;
            } else if OPENING.starts_with(start) {
                return;
            } else {
                self.place = Place::Words;
            }
        }
        if self.place == Place::Opened {
            self.held = self.held.trim_start().to_owned();
            if !self.held.is_empty() {
                self.place = Place::Thoughts;
            }
        }
        if self.place == Place::Thoughts {
            if let Some((thoughts, rest)) = self.held.split_once(CLOSING) {
                say(thoughts.trim_end(), What::Thoughts, sink);
                self.held = rest.to_owned();
                self.place = Place::Closed;
            } else {
                let keep = unfinished(&self.held);
                let tail = self.held.split_off(self.held.len().saturating_sub(keep));
                say(&self.held, What::Thoughts, sink);
                self.held = tail;
            }
        }
        if self.place == Place::Closed {
            self.held = self.held.trim_start().to_owned();
            if !self.held.is_empty() {
                self.place = Place::Words;
            }
        }
        if self.place == Place::Words {
            say(&std::mem::take(&mut self.held), What::Words, sink);
        }
    }

    /// No more words come, or something else comes first: what was held is no tag.
    pub fn flush(&mut self, sink: &mut dyn Sink) {
        let held = std::mem::take(&mut self.held);
        match self.place {
            Place::Opening | Place::Words | Place::Closed => say(&held, What::Words, sink),
            Place::Opened | Place::Thoughts => say(&held, What::Thoughts, sink),
        }
    }
}

/// How many bytes at the end of thoughts may belong to the closing tag, with the white space before it.
fn unfinished(thoughts: &str) -> usize {
    let starts = (1..CLOSING.len()).rev().filter_map(|length| CLOSING.get(..length));
    let tag = starts.into_iter().find(|start| thoughts.ends_with(start)).map_or(0, str::len);
    let before = thoughts.get(..thoughts.len().saturating_sub(tag)).unwrap_or_default();
    tag + (before.len() - before.trim_end().len())
}

enum What {
    Thoughts,
    Words,
}

/// Tells words that are not escaped.
fn say(words: &str, what: What, sink: &mut dyn Sink) {
    if words.is_empty() {
        return;
    }
    let mut quoted = Vec::with_capacity(words.len() + 2);
    Writer::new(&mut quoted).string(words);
    let inside = quoted.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let inside = std::str::from_utf8(inside.unwrap_or_default()).unwrap_or_default();
    let text = Text::from_escaped(inside);
    sink.event(match what {
        What::Thoughts => Event::Reasoning(text),
        What::Words => Event::Text(text),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard {
        thoughts: String,
        words: String,
    }

    impl Sink for Heard {
        fn event(&mut self, event: Event<'_>) {
            if let Event::Reasoning(text) = event {
                assert!(self.words.is_empty(), "a thought after words");
                self.thoughts += &text.unescape();
            } else if let Event::Text(text) = event {
                self.words += &text.unescape();
            }
        }
    }

    fn heard<'a>(pieces: impl IntoIterator<Item = &'a str>) -> (String, String) {
        let (mut tags, mut heard) = (Tags::default(), Heard::default());
        for piece in pieces {
            tags.take(Text::plain(piece).unwrap_or_else(|| panic!("{piece:?}")), &mut heard);
        }
        tags.flush(&mut heard);
        (heard.thoughts, heard.words)
    }

    #[test]
    fn thoughts_are_parted_from_words_wherever_they_are_cut() {
        for (said, thoughts, words) in [
            (
                "<think> Let me < see. </thin </think>  It is 4. </think>",
                "Let me < see. </thin",
                "It is 4. </think>",
            ),
            (" <think></think>4", "", "4"),
            ("<think>endless", "endless", ""),
            ("<thin ice>", "", "<thin ice>"),
            ("It is <think>4</think>", "", "It is <think>4</think>"),
            ("<thi", "", "<thi"),
        ] {
            assert_eq!(heard([said]), (thoughts.to_owned(), words.to_owned()), "{said}");
            for cut in 0..=said.len() {
                let (one, two) = said.split_at(cut);
                assert_eq!(heard([one, two]), (thoughts.to_owned(), words.to_owned()), "{said} cut at {cut}");
            }
            let letters: Vec<String> = said.chars().map(String::from).collect();
            assert_eq!(
                heard(letters.iter().map(String::as_str)),
                (thoughts.to_owned(), words.to_owned()),
                "{said}"
            );
        }
    }

    #[test]
    fn tags_are_known_in_every_spelling_of_json() {
        let (mut tags, mut heard) = (Tags::default(), Heard::default());
        tags.take(
            Text::from_escaped(r"\u003cthink\u003e\nHm.\n\u003c/think\u003e\n\nYes \ud83e\udd80"),
            &mut heard,
        );
        assert_eq!((heard.thoughts.as_str(), heard.words.as_str()), ("Hm.", "Yes 🦀"));
    }
}
