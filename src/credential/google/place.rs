//! Places of the web, as Google's files name them: URLs in, what a call through a cluster needs out.

use super::super::source::CALL;
use crate::base::host::Callout;

/// The longest URL that is one; those of GitHub's and Azure's tokens are below 512 bytes.
const LONGEST: usize = 4096;

/// Where something is: the parts of a URL that a call names. The way there is the cluster's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// `:authority`.
    pub host: String,
    /// `:path`, with the query.
    pub target: String,
}

impl Place {
    /// Reads a URL of one of these schemes; `None` for what is none, and for what has a user or a fragment in it.
    pub fn parse(url: &str, schemes: &[&str]) -> Option<Self> {
        let sound = url.len() <= LONGEST
            && url.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\\\"<>^`{|}".contains(&byte));
        let (scheme, rest) = url.split_once("://")?;
        let (host, target) = rest.split_at_checked(rest.find(['/', '?']).unwrap_or(rest.len()))?;
        let is_host = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte));
        if !sound || !is_host || !schemes.contains(&scheme) {
            return None;
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Some(Self { host: host.to_ascii_lowercase(), target: [slash, target].concat() })
    }

    /// Reads a URL of Google's. What goes there is secret, so another host is a mistake or an attack; names such as
    /// `sts-x.p.googleapis.com` are those of private endpoints. `accounts.google.com` is what old keys name.
    pub fn of_google(url: &str) -> Option<Self> {
        let place = Self::parse(url, &["https"])?;
        let known = place.host.ends_with(".googleapis.com") || place.host == "accounts.google.com";
        (known && !place.host.contains([':', '['])).then_some(place)
    }
}

/// A place, and the way there.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Envoy's name of the cluster.
    pub cluster: String,
    pub place: Place,
}

impl Endpoint {
    /// A call that asks.
    pub fn get(&self, headers: impl IntoIterator<Item = (&'static str, String)>) -> Callout {
        self.call("GET", headers, b"")
    }

    /// A call that tells.
    pub fn post(
        &self,
        content_type: &str,
        headers: impl IntoIterator<Item = (&'static str, String)>,
        body: &[u8],
    ) -> Callout {
        let content_type = [("content-type", content_type.to_owned())];
        self.call("POST", content_type.into_iter().chain(headers), body)
    }

    fn call(
        &self,
        method: &str,
        headers: impl IntoIterator<Item = (&'static str, String)>,
        body: &[u8],
    ) -> Callout {
        let Place { host, target } = &self.place;
        let pseudo =
            [(":method", method.to_owned()), (":path", target.clone()), (":authority", host.clone())];
        let headers = pseudo.into_iter().chain(headers).collect();
        Callout { cluster: self.cluster.clone(), headers, body: body.to_vec(), timeout: CALL }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_its_host_and_its_target() {
        for (url, host, target) in [
            ("https://sts.googleapis.com/v1/token", "sts.googleapis.com", "/v1/token"),
            ("https://STS.us-east-1.amazonaws.com?A=b&C=d", "sts.us-east-1.amazonaws.com", "/?A=b&C=d"),
            ("http://169.254.169.254/a?b=c%20d", "169.254.169.254", "/a?b=c%20d"),
            ("http://[fd00:ec2::254]:80/a", "[fd00:ec2::254]:80", "/a"),
            ("http://localhost:8080", "localhost:8080", "/"),
        ] {
            let place = Place::parse(url, &["http", "https"]);
            assert_eq!(place, Some(Place { host: host.to_owned(), target: target.to_owned() }), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_or_would_mislead_is_none() {
        let long = format!("https://a.example/{}", "x".repeat(LONGEST));
        for url in [
            "",
            "https://",
            "https:///a",
            "ftp://a.example/",
            "//a.example",
            "a.example/b",
            "https://user@a.example/",
            "https://a.example/#b",
            "https://a.example/ b",
            "https://a.example/\r\nx: y",
            "https://a.example\\b",
            "https://é.example/",
            &long,
        ] {
            assert_eq!(Place::parse(url, &["http", "https"]), None, "{url}");
        }
        assert_eq!(Place::parse("http://a.example/", &["https"]), None);
    }

    #[test]
    fn secrets_go_to_hosts_of_googles_alone() {
        for url in [
            "https://sts.googleapis.com/v1/token",
            "https://sts-mine.p.googleapis.com/v1/token",
            "https://accounts.google.com/o/oauth2/token",
        ] {
            assert!(Place::of_google(url).is_some(), "{url}");
        }
        for url in [
            "http://sts.googleapis.com/v1/token",
            "https://sts.googleapis.com.evil.example/v1/token",
            "https://evilgoogleapis.com/v1/token",
            "https://googleapis.com.:443/v1/token",
            "https://sts.googleapis.com:8443/v1/token",
        ] {
            assert_eq!(Place::of_google(url), None, "{url}");
        }
    }
}
