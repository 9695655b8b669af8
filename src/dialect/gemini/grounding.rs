//! What a reply rests on when Gemini has searched the web: `groundingMetadata` to citations.
//! docs.cloud.google.com/vertex-ai/generative-ai/docs/grounding/grounding-with-google-search.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::base::json::{self, Text};
use crate::chat::{Citation, CitedSource, Event, Sink};

/// Listens to a reply until it can tell what its words rest on.
#[derive(Default)]
pub struct Grounding {
    ruler: Ruler,
    /// Where the parts of a whole reply begin, in bytes of its text.
    parts: Vec<u64>,
    /// The fullest that was told: a stream may begin with the mere questions of the search.
    metadata: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    grounding_chunks: Option<Vec<Chunk<'a>>>,
    grounding_supports: Option<Vec<Support>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(borrow)]
    web: Option<Page<'a>>,
    #[serde(borrow)]
    retrieved_context: Option<Page<'a>>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    uri: Option<Text<'a>>,
    #[serde(borrow)]
    title: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Support {
    segment: Option<Segment>,
    grounding_chunk_indices: Option<Vec<usize>>,
}

/// In bytes; what is absent is 0.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Segment {
    part_index: usize,
    start_index: u64,
    end_index: u64,
}

/// How many citations a reply may have: pages times places, which a broken upstream could make millions.
const MOST_CITATIONS: usize = 1024;

impl Grounding {
    /// A part of a whole reply begins.
    pub fn part(&mut self) {
        self.parts.push(self.ruler.bytes);
    }

    /// The next words of the reply.
    pub fn text(&mut self, text: Text<'_>) {
        self.ruler.add(text);
    }

    pub fn metadata(&mut self, metadata: &RawValue) {
        if self.metadata.as_ref().is_none_or(|known| known.len() <= metadata.get().len()) {
            self.metadata = Some(metadata.get().to_owned());
        }
    }

    /// Tells what the words rest on, once they are all there.
    pub fn tell(&mut self, sink: &mut dyn Sink) {
        let Some(json) = self.metadata.take() else { return };
        // Google wants its search suggestions shown, which are in here.
        sink.event(Event::Extra { name: "groundingMetadata", json: &json });
        let Ok(Metadata { grounding_chunks, grounding_supports }) = json::read::<Metadata<'_>>(&json) else {
            return;
        };
        let chunks = grounding_chunks.unwrap_or_default();
        let supports = grounding_supports.unwrap_or_default();
        let places = supports.iter().flat_map(|support| {
            let indices = support.grounding_chunk_indices.iter().flatten();
            indices.map(move |index| (support.segment.as_ref(), *index))
        });
        for (segment, index) in places.take(MOST_CITATIONS) {
            let page =
                chunks.get(index).and_then(|chunk| chunk.web.as_ref().or(chunk.retrieved_context.as_ref()));
            let Some((page, url)) = page.and_then(|page| Some((page, page.uri?))) else { continue };
            sink.event(Event::Citation(Citation {
                quoted: Vec::new(),
                title: page.title,
                source: CitedSource::Web { url },
                said: segment.and_then(|segment| self.characters(segment)),
            }));
        }
    }

    fn characters(&self, segment: &Segment) -> Option<(u64, u64)> {
        // A stream has its words in other parts than those that Google counts.
        let start = self.parts.get(segment.part_index).copied().unwrap_or(0);
        let place = |index: u64| self.ruler.character(start.saturating_add(index));
        Some((place(segment.start_index)?, place(segment.end_index)?))
    }
}

/// Where the bytes of a text are in its characters.
#[derive(Default)]
struct Ruler {
    bytes: u64,
    characters: u64,
    /// Where characters begin to have another width, in bytes and in characters, and that width.
    runs: Vec<(u64, u64, u64)>,
    is_lost: bool,
}

/// How often the width may change. Texts in two scripts change it a few times a word: this is enough for the
/// longest replies and some 400 kB.
const MOST_RUNS: usize = 16 * 1024;

impl Ruler {
    fn add(&mut self, text: Text<'_>) {
        let escaped = text.escaped();
        if escaped.is_ascii() && !escaped.contains('\\') {
            self.run(1, escaped.len() as u64);
        } else {
            text.unescape().chars().for_each(|c| self.run(c.len_utf8() as u64, 1));
        }
    }

    fn run(&mut self, width: u64, count: u64) {
        if self.runs.last().is_none_or(|(_, _, last)| *last != width) && !self.is_lost {
            if self.runs.len() >= MOST_RUNS {
                self.is_lost = true;
            } else {
                self.runs.push((self.bytes, self.characters, width));
            }
        }
        self.bytes = self.bytes.saturating_add(width.saturating_mul(count));
        self.characters = self.characters.saturating_add(count);
    }

    /// The number of the character that begins at a byte; `None` when nobody can tell any more.
    fn character(&self, byte: u64) -> Option<u64> {
        let after = self.runs.partition_point(|(start, _, _)| *start <= byte);
        let (start, first, width) = *after.checked_sub(1).and_then(|index| self.runs.get(index))?;
        let character = first + (byte - start) / width.max(1);
        (!self.is_lost).then_some(character.min(self.characters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_characters_whatever_the_script() {
        let mut ruler = Ruler::default();
        let text = r#"Grüße \"aus\" 東京 \ud83c\udf88!"#;
        let (one, other) = text.split_at(6);
        ruler.add(Text::from_escaped(one));
        ruler.add(Text::from_escaped(other));
        let plain = "Grüße \"aus\" 東京 🎈!";
        for (number, (byte, _)) in plain.char_indices().enumerate() {
            assert_eq!(ruler.character(byte as u64), Some(number as u64), "byte {byte}");
        }
        assert_eq!(ruler.character(plain.len() as u64), Some(plain.chars().count() as u64));
        assert_eq!(ruler.character(9999), Some(plain.chars().count() as u64));
    }

    #[test]
    fn a_text_that_changes_its_script_without_end_is_given_up() {
        let mut ruler = Ruler::default();
        ruler.add(Text::from_escaped(&"aé".repeat(MOST_RUNS)));
        assert_eq!((ruler.character(5), ruler.runs.len()), (None, MOST_RUNS));
    }
}
