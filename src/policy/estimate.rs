//! How many tokens a request may have, told without a tokenizer.
//!
//! Every family of models counts with a tokenizer of its own, some megabytes of tables each, and most of them are
//! secret. What is wanted here is a number for a budget to reserve until the cloud has told the real one: quickly
//! made, seldom too low, and not so high that it refuses what would fit. So bytes are counted, not words.

/// What a request holds, as far as its tokens hang on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Size {
    /// Bytes of text, as it stands in the JSON: instructions, messages, calls and results, definitions of tools.
    pub text: usize,
    pub turns: usize,
    pub tools: usize,
    pub images: usize,
    /// Bytes of documents that are no text.
    pub documents: usize,
    /// Bytes of sounds and films.
    pub media: usize,
}

/// Bytes of text for a token. English has some four (ai.google.dev/gemini-api/docs/tokens), with Claude's newer
/// tokenizers three; code and JSON have about three, and a Chinese or Japanese character, which is three
/// bytes, is about one token.
const TEXT: u64 = 3;

/// What a turn costs besides its text: the marks of its role, its beginning and its end.
const TURN: u64 = 4;

/// What tools cost besides their definitions: the instructions that the cloud adds. Anthropic's example of
/// one tool has 389 tokens more than that without, for 290 bytes of definition:
/// platform.claude.com/docs/en/build-with-claude/token-counting.
const TOOLS: u64 = 350;

/// An image as large as most models look at: Claude makes 1,568 of it, Gemini from 258 to 1,120, Nova up to
/// 2,560. Sizes in pixels would have to be read from the image itself.
const IMAGE: u64 = 1_600;

/// Bytes of a document for a token. Claude makes 1,500 to 3,000 of a PDF's page
/// (platform.claude.com/docs/en/build-with-claude/pdf-support), which has some 50 kB.
const DOCUMENT: u64 = 20;

/// Bytes of a sound or a film for a token. Gemini makes 32 of a second of sound and some 300 of one of film
/// (ai.google.dev/gemini-api/docs/tokens), which have 8 kB and more, and 100 kB and more.
const MEDIA: u64 = 250;

/// An estimate of the input's tokens.
pub fn tokens(size: &Size) -> u64 {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let tools = if size.tools == 0 { 0 } else { TOOLS };
    [
        number(size.text).div_ceil(TEXT),
        number(size.turns).saturating_mul(TURN),
        tools,
        number(size.images).saturating_mul(IMAGE),
        number(size.documents).div_ceil(DOCUMENT),
        number(size.media).div_ceil(MEDIA),
    ]
    .into_iter()
    .fold(0, u64::saturating_add)
}

/// What a reply may take when the client sets no bound: more than most replies have; the models' own
/// bounds of 64k and more would let a team of 100,000 tokens a minute have one request at a time.
pub const OUTPUT: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of platform.claude.com/docs/en/build-with-claude/token-counting, with the counts that
    /// stand there.
    #[test]
    fn an_estimate_is_near_what_anthropic_counts_in_its_own_examples_and_not_below() {
        let hello = Size { text: 19 + 13, turns: 2, ..Size::default() };
        let tool = Size { text: 45 + 290, turns: 1, tools: 1, ..Size::default() };
        let image = Size { text: 19, turns: 1, images: 1, ..Size::default() };
        for (size, counted) in [(hello, 14), (tool, 403), (image, 1551)] {
            let estimate = tokens(&size);
            assert!(estimate >= counted && estimate <= counted + counted / 2, "{estimate} for {counted}");
        }
    }

    #[test]
    fn nothing_is_nothing_and_too_much_does_not_wrap() {
        assert_eq!(tokens(&Size::default()), 0);
        let all = usize::MAX;
        assert!(
            tokens(&Size { text: all, turns: all, tools: all, images: all, documents: all, media: all })
                > u64::MAX / 4
        );
    }
}
