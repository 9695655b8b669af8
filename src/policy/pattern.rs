//! Patterns of names: every `*` stands for any text, everything else for itself.

/// A pattern, ready to be compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern(String);

impl Pattern {
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How much of a name the pattern says: of two that match, the one that says more is meant.
    pub fn weight(&self) -> usize {
        self.0.bytes().filter(|byte| *byte != b'*').count()
    }

    /// Whether a name fits. Each piece between two stars is looked for once, as early as it fits.
    pub fn matches(&self, name: &str) -> bool {
        let mut pieces = self.0.split('*');
        let Some(mut rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else { return false };
        let Some(last) = pieces.next_back() else { return rest.is_empty() };
        for piece in pieces {
            match rest.split_once(piece) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_and_nothing_else_is() {
        for (pattern, names, others) in [
            ("bedrock/*", &["bedrock/x", "bedrock/"][..], &["bedrockz/x", "bedrock", "xbedrock/"][..]),
            ("*", &["", "a"], &[]),
            ("gpt", &["gpt"], &["gpt-4", "", "agpt"]),
            (
                "bedrock/*claude-sonnet-4*",
                &["bedrock/us.anthropic.claude-sonnet-4-1", "bedrock/claude-sonnet-4"],
                &["bedrock/claude-sonnet-3"],
            ),
            ("a*b*b", &["abb", "a-b-b", "abbbb"], &["ab", "abx", "b"]),
            ("*a", &["a", "aa"], &["ab"]),
            ("a**a", &["aa", "axa"], &["a"]),
        ] {
            for name in names {
                assert!(Pattern::new(pattern).matches(name), "{pattern} {name}");
            }
            for name in others {
                assert!(!Pattern::new(pattern).matches(name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn a_hostile_name_costs_no_more_than_its_length() {
        let pattern = Pattern::new(&"*a".repeat(50));
        assert!(!pattern.matches(&"ab".repeat(1000)));
    }
}
