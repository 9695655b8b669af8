//! How many tokens a request may use, before anybody has counted them.
//!
//! No tokenizer: the models have a dozen, and reserving needs no more than the right size. What was
//! estimated is replaced by what the cloud counted when the reply ends.

use memchr::{memchr, memchr_iter};

/// Bytes of text for a token: about four in English and in code, three in languages of which every
/// character takes three bytes and is a token of its own, where the estimate is a quarter too low.
const BYTES: u64 = 4;

/// A string of this many bytes without a space is a picture or a document in base64 rather than text.
const OPAQUE: usize = 1024;

/// What a picture takes: at most about 1,600 tokens with Claude
/// (docs.claude.com/en/docs/build-with-claude/vision), 258 for a tile with Gemini.
const PICTURE: u64 = 1600;

/// Bytes of base64 for a token more, beside [`PICTURE`]: a document of 10 MB has some hundred pages.
const OPAQUE_BYTES: u64 = 256;

/// What a reply may take when the client sets no bound: more than most replies have; the models' own
/// bounds of 64k and more would let a team of 100,000 tokens a minute have one request at a time.
pub const OUTPUT: u64 = 4096;

/// The input tokens of a request, from the bytes of its JSON body.
pub fn input_tokens(body: &[u8]) -> u64 {
    let (mut text, mut opaque, mut start) = (0u64, 0u64, 0);
    let mut count = |piece: &[u8]| {
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if piece.len() >= OPAQUE && memchr(b' ', piece).is_none() {
            opaque += PICTURE + length / OPAQUE_BYTES;
        } else {
            text += length;
        }
    };
    for quote in memchr_iter(b'"', body) {
        count(body.get(start..quote).unwrap_or_default());
        start = quote + 1;
    }
    count(body.get(start..).unwrap_or_default());
    text.div_ceil(BYTES) + opaque
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_a_token_for_every_four_bytes() {
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#,
            "four words of text. ".repeat(1000)
        );
        let tokens = input_tokens(body.as_bytes());
        assert!((5000..5020).contains(&tokens), "{tokens}");
    }

    #[test]
    fn a_picture_is_not_taken_for_a_long_text() {
        let picture = "iVBORw0KGgo".repeat(100_000);
        let body =
            format!(r#"{{"type":"text","text":"What is it?"}},{{"url":"data:image/png;base64,{picture}"}}"#);
        let tokens = input_tokens(body.as_bytes());
        assert!((1600..8000).contains(&tokens), "{tokens}");
    }

    #[test]
    fn anything_at_all_has_an_estimate() {
        assert_eq!(input_tokens(b""), 0);
        assert_eq!(input_tokens(b"\"\"\"\""), 0);
        assert_eq!(input_tokens(&[0xff; 9]), 3);
    }
}
