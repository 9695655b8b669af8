//! Base64 as RFC 4648, section 4 has it: with padding, without line ends.

/// The text is no base64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotBase64;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What no character stands for.
const NONE: u8 = 0xff;

/// The value of each byte.
const VALUES: [u8; 256] = values();

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn values() -> [u8; 256] {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
}

/// Appends the bytes that `text` stands for. After an error `out` holds some of them.
///
/// # Errors
/// [`NotBase64`] on any other character, and on padding that is missing or too much.
pub fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), NotBase64> {
    let value = |byte: u8| VALUES.get(usize::from(byte)).map_or(NONE, |value| *value);
    let Some((whole, last)) = text.split_last_chunk::<4>() else {
        return if text.is_empty() { Ok(()) } else { Err(NotBase64) };
    };
    if !text.len().is_multiple_of(4) {
        return Err(NotBase64);
    }
    out.reserve(text.len() / 4 * 3);
    let (quads, _) = whole.as_chunks::<4>();
    for quad in quads {
        let [a, b, c, d] = quad.map(value);
        if (a | b | c | d) > 63 {
            return Err(NotBase64);
        }
        out.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]);
    }
    let [a, b, c, d] = last.map(value);
    match (*last, (a | b) > 63, c > 63, d > 63) {
        (_, false, false, false) => out.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]),
        ([.., b'='], false, false, true) => out.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2]),
        ([.., b'=', b'='], false, true, true) => out.push(a << 2 | b >> 4),
        _ => return Err(NotBase64),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Result<Vec<u8>, NotBase64> {
        let mut out = b"before".to_vec();
        decode(text.as_bytes(), &mut out).map(|()| out.split_off(6))
    }

    #[test]
    fn the_vectors_of_the_rfc_are_decoded() {
        for (text, plain) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decoded(text), Ok(plain.as_bytes().to_vec()), "{text}");
        }
        assert_eq!(decoded("+/+/AAD/"), Ok(vec![0xfb, 0xff, 0xbf, 0, 0, 0xff]));
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for text in [
            "Z",
            "Zg",
            "Zg=",
            "Zg===",
            "=",
            "====",
            "Zg==Zg==",
            "Zm9v\n",
            "Zm-_",
            "Zm 9",
            "Zm9\u{e9}",
            "Z=9v",
        ] {
            assert_eq!(decoded(text), Err(NotBase64), "{text}");
        }
    }
}
