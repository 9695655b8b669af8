//! A credential in shared data: what all workers of a process know of it.

use zeroize::{Zeroize, Zeroizing};

use super::{Grant, is_token, sigv4};

/// The shared value. Times are milliseconds since 1970 by Envoy's clock.
#[derive(Debug, Default)]
pub struct Slot {
    /// Until then the holder of the lease is fetching.
    pub lease: u64,
    /// When the credential came.
    pub fetched: u64,
    /// From then on a new one is due.
    pub due: u64,
    /// The end of its life.
    pub expires: u64,
    /// After failures: not before then again.
    pub retry: u64,
    /// Failures in a row.
    pub failures: u64,
    /// The credential as [`write`] has it; empty when there is none.
    pub secret: Zeroizing<String>,
}

impl Slot {
    /// What cannot be read counts as nothing: then it is fetched.
    pub fn read(value: &[u8]) -> Self {
        let text = std::str::from_utf8(value).unwrap_or_default();
        let mut parts = text.splitn(7, ' ');
        let mut number = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
        let (lease, fetched, due, expires, retry, failures) =
            (number(), number(), number(), number(), number(), number());
        let secret = Zeroizing::new(parts.next().unwrap_or_default().to_owned());
        Self { lease, fetched, due, expires, retry, failures, secret }
    }

    pub fn write(&self) -> Zeroizing<Vec<u8>> {
        let Self { lease, fetched, due, expires, retry, failures, secret } = self;
        // A buffer that grows would leave pieces behind.
        let mut out = Zeroizing::new(Vec::with_capacity(secret.len().saturating_add(6 * 21)));
        for number in [lease, fetched, due, expires, retry, failures] {
            out.extend_from_slice(number.to_string().as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(secret.as_bytes());
        out
    }

    /// Whether the credential can still be used, by a request that has this long to arrive.
    pub fn is_good(&self, now: u64, margin: u64) -> bool {
        !self.secret.is_empty() && now.saturating_add(margin) < self.expires
    }

    /// There is none any more.
    pub fn clear(&mut self) {
        self.secret.zeroize();
        self.due = 0;
    }
}

/// A credential as a word of shared data; none of its parts has a blank.
pub fn write(grant: &Grant) -> Zeroizing<String> {
    Zeroizing::new(match grant {
        Grant::Token(token) => ["token ", token.as_str()].concat(),
        Grant::Keys(keys) => {
            let (id, secret, session) = keys.parts();
            ["keys ", id, " ", secret, " ", session.unwrap_or_default()].concat()
        }
    })
}

/// The credential of [`write`].
pub fn read(secret: &str) -> Option<Grant> {
    let (kind, rest) = secret.split_once(' ')?;
    match kind {
        "token" => is_token(rest).then(|| Grant::Token(Zeroizing::new(rest.to_owned()))),
        "keys" => {
            let mut parts = rest.splitn(3, ' ');
            let (id, secret) = (parts.next()?, parts.next()?);
            let session = parts.next().filter(|session| !session.is_empty());
            sigv4::Credentials::new(id, secret, session).ok().map(Grant::Keys)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let keys = |session| Grant::Keys(sigv4::Credentials::new("AKID", "se/cr+et=", session).unwrap());
        for grant in [Grant::Token(Zeroizing::new("ya29.x".to_owned())), keys(None), keys(Some("a+b/c=="))] {
            let slot = Slot {
                lease: 1,
                fetched: 2,
                due: 3,
                expires: 4,
                retry: 5,
                failures: 6,
                secret: write(&grant),
            };
            let again = Slot::read(&slot.write());
            assert_eq!(
                (again.lease, again.fetched, again.due, again.expires, again.retry, again.failures),
                (1, 2, 3, 4, 5, 6)
            );
            assert_eq!(write(&read(&again.secret).unwrap()), write(&grant));
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_credential() {
        for value in [&b""[..], b"\xff", b"1 2 3", b"a b c d e f token x", b"1 2 3 4 5 6 keys one"] {
            let slot = Slot::read(value);
            assert!(read(&slot.secret).is_none() || slot.expires == 0, "{value:?}");
        }
        assert!(read("token ").is_none() && read("token a b").is_none() && read("keys a").is_none());
    }
}
