//! Google's proof of a thought, carried in the id of the tool call that came of it.
//!
//! Gemini wants the proof back with the call, and from generation 3 on insists. It has a member of its own
//! in both client dialects, but many clients keep nothing of a call but id, name and arguments: for them it
//! stands in the id as well. Other gateways do the same and have shown what to look out for: ids are taken
//! apart before any other upstream sees them (litellm issues 18160 and 41534), hold only the characters that
//! Anthropic's API takes (litellm pull request 27873), and a client that shortens them must not make Google
//! refuse a torn proof (litellm issue 37849): a checksum tells, and without a proof there is Google's word
//! for calls that have none.

use std::borrow::Cow;

use memchr::memchr_iter;

use crate::base::json::{Str, Text};

/// Stands before checksum and proof.
const MARK: &str = "__signed_";

/// What stands there in the histories of LiteLLM's clients, who may have moved here in the middle of one.
const LITELLM_MARK: &str = "__thought__";

/// What an id has in it that carries a proof.
pub const MARKS: &[&str] = &[MARK, LITELLM_MARK];

/// Hexadecimal digits of the checksum.
const CHECKSUM: usize = 8;

/// The longest proof in bytes that goes into an id, which comes back twice with every turn. Most have about a
/// thousand; a longer one is only in its own member.
const LONGEST: usize = 8 * 1024;

/// The id of a call that carries a proof; `None` when it is too long, or is not base64.
pub fn carry(id: &str, proof: Text<'_>) -> Option<String> {
    let proof = proof.unescape();
    let proof = proof.trim_end_matches('=');
    if proof.is_empty() || proof.len() > LONGEST || !proof.bytes().all(is_base64) {
        return None;
    }
    let proof = proof.replace('+', "-").replace('/', "_");
    Some(format!("{id}{MARK}{:08x}_{proof}", crc32fast::hash(proof.as_bytes())))
}

/// The id as it was before, and the proof it carried, if that is whole.
pub fn split<'a>(id: Str<'a>) -> (Str<'a>, Option<Text<'a>>) {
    let find = |mark| find(id.as_str(), mark);
    let Some(at) = find(MARK).or_else(|| find(LITELLM_MARK)).filter(|&at| at > 0) else {
        return (id, None);
    };
    match id.0 {
        Cow::Borrowed(text) => {
            let (id, rest) = text.split_at_checked(at).unwrap_or((text, ""));
            (Str(Cow::Borrowed(id)), proof(rest).and_then(Text::plain))
        }
        // There are no escapes in ids of ours.
        Cow::Owned(mut text) => {
            text.truncate(at);
            (Str(Cow::Owned(text)), None)
        }
    }
}

/// Where a mark begins. Conversations are full of ids, and `str::find` first makes a table of what it looks for.
fn find(id: &str, mark: &str) -> Option<usize> {
    memchr_iter(b'_', id.as_bytes()).find(|at| id.get(*at..).is_some_and(|rest| rest.starts_with(mark)))
}

fn proof(rest: &str) -> Option<&str> {
    let Some(rest) = rest.strip_prefix(MARK) else {
        return rest
            .strip_prefix(LITELLM_MARK)
            .filter(|proof| !proof.is_empty() && proof.bytes().all(is_proof));
    };
    let (checksum, proof) = rest.split_at_checked(CHECKSUM)?;
    let proof = proof.strip_prefix('_')?;
    let checksum = u32::from_str_radix(checksum, 16).ok()?;
    (crc32fast::hash(proof.as_bytes()) == checksum).then_some(proof)
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte)
}

fn is_proof(byte: u8) -> bool {
    is_base64(byte) || byte == b'='
}

/// A carried proof in the base64 that Google gave it.
pub fn standard(proof: Text<'_>) -> Cow<'_, str> {
    let text = proof.escaped();
    let missing = (4 - text.len() % 4) % 4;
    if missing == 0 && !text.contains(['-', '_']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('-', "+").replace('_', "/") + "===".get(..missing).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Str<'_> {
        Str(Cow::Borrowed(text))
    }

    fn proof_of(id: Str<'_>) -> Option<String> {
        split(id).1.map(|proof| standard(proof).into_owned())
    }

    #[test]
    fn a_proof_comes_back_as_it_was() {
        for proof in ["AAAA", "ab+/", "qg==", "//8="] {
            let carried = carry("call_1", Text::plain(proof).unwrap()).unwrap();
            assert!(
                carried.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'),
                "{carried}"
            );
            let (short, _) = split(id(&carried));
            assert_eq!((short.as_str(), proof_of(id(&carried)).as_deref()), ("call_1", Some(proof)));
        }
    }

    #[test]
    fn an_id_that_was_shortened_loses_its_proof_but_not_itself() {
        let carried = carry("call_1", Text::plain("AAAABBBBCCCC").unwrap()).unwrap();
        for cut in "call_1".len() + MARK.len()..carried.len() {
            let (short, proof) = split(id(&carried[..cut]));
            assert_eq!((short.as_str(), proof), ("call_1", None), "cut at {cut}");
        }
    }

    #[test]
    fn ids_of_litellm_are_read() {
        let (short, proof) = split(id("call_1__thought__ab+/qg=="));
        assert_eq!((short.as_str(), proof), ("call_1", Text::plain("ab+/qg==")));
        assert_eq!(split(id("call_1__thought__a b")).1, None);
    }

    #[test]
    fn other_ids_and_what_is_no_proof_are_left_alone() {
        assert_eq!(split(id("call_1")), (id("call_1"), None));
        assert_eq!(split(id("__signed_")), (id("__signed_"), None));
        assert_eq!(carry("call_1", Text::plain("not base64").unwrap()), None);
        let long = "A".repeat(LONGEST + 4);
        assert_eq!(carry("call_1", Text::plain(&long).unwrap()), None);
    }
}
