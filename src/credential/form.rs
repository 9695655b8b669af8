//! Forms, as the token services of the clouds take them: `application/x-www-form-urlencoded`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

/// What `content-type` says of a form.
pub const CONTENT_TYPE: &str = "application/x-www-form-urlencoded";

/// What stays as it is in every notion of a form.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// Writes a form.
pub fn write(fields: &[(&str, &str)]) -> Zeroizing<String> {
    // A buffer that grows would leave pieces of a token behind. A code takes three letters.
    let size = fields.iter().map(|(name, value)| name.len() + value.len() * 3 + 2).sum();
    let mut form = Zeroizing::new(String::with_capacity(size));
    for (name, value) in fields {
        if !form.is_empty() {
            form.push('&');
        }
        form.push_str(name);
        form.push('=');
        form.extend(utf8_percent_encode(value, PLAIN));
    }
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_encoded_once_and_whatever_it_is() {
        let form = write(&[("grant_type", "urn:a:b"), ("token", "a+b/c=&d e~é%41"), ("last", "x")]);
        assert_eq!(form.as_str(), "grant_type=urn%3Aa%3Ab&token=a%2Bb%2Fc%3D%26d%20e%7E%C3%A9%2541&last=x");
        assert!(write(&[]).is_empty());
    }
}
