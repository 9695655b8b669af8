//! Header lists: looked up without regard to case, over bytes, because a client may send any bytes.

/// A list of headers as Envoy gives it: names in lower case, pseudo headers (`:path`) among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, Vec<u8>)>);

impl Headers {
    /// The first value of a header, if it is UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// All values of a header that is a list, as one.
    pub fn all(&self, name: &str) -> String {
        let values = self.0.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let texts: Vec<&str> = values.filter_map(|(_, value)| std::str::from_utf8(value).ok()).collect();
        texts.join(",")
    }

    /// The `:status` of a reply; 0 when there is none.
    pub fn status(&self) -> u16 {
        self.get(":status").and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// The media type of the body in lower case, without parameters; empty when not given.
    pub fn media_type(&self) -> String {
        let value = self.get("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// Adds a header; one of the same name stays.
    pub fn add(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.0.push((name.to_owned(), value.into()));
    }
}

/// Headers that only fairlead itself may write; a client's own are removed before anything reads them.
pub const INTERNAL_PREFIX: &str = "x-fairlead-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_found_whatever_its_case_and_bytes_that_are_no_text_are_no_value() {
        let mut headers = Headers::default();
        headers.add("X-Strange", vec![0xff, 0xfe]);
        headers.add("Content-Type", "Application/JSON; charset=utf-8");
        assert_eq!(headers.get("x-strange"), None);
        assert_eq!(headers.media_type(), "application/json");
        assert_eq!(headers.status(), 0);
    }
}
