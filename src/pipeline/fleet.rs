//! What Envoy's own rate limit filter says: a limit that several Envoys share is reached, or cannot be looked up.

use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;

/// The longest wait in seconds that the SDKs of OpenAI and Anthropic sit out when `retry-after` asks for it. Above
/// it they go on by short waits of their own, which are of no use then.
const LONGEST_WAIT: u32 = 60;

/// The longest name of a limit, in bytes, that a client is told; names are the operator's.
const LONGEST_NAME: usize = 64;

/// The error for a 429 of the filter. With `enable_x_ratelimit_headers` it says which limit is nearest and when that
/// begins anew: `x-ratelimit-limit: 10, 10;w=60;name="requests", 500;w=86400` and `x-ratelimit-reset: 12`
/// (envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/rate_limit_filter). Envoy's filter for local
/// limits says the same of its own, or nothing.
pub fn reached(headers: &Headers) -> Error {
    let limit = headers.get("x-ratelimit-limit").and_then(limit);
    let limit = limit.unwrap_or_else(|| "Envoy's rate limit".to_owned());
    let seconds = |name| headers.get(name).and_then(|value| value.trim().parse::<u32>().ok());
    let Some(wait) = seconds("retry-after").or_else(|| seconds("x-ratelimit-reset")) else {
        return Error::new(Kind::Exhausted, format!("{limit} is reached; try again later"));
    };
    let message = format!("{limit} is reached; try again in {wait} s");
    Error { retry_after: Some(wait), futile: wait > LONGEST_WAIT, ..Error::new(Kind::Exhausted, message) }
}

/// The error for a limit that nobody could look up, where `failure_mode_deny` says that it holds then.
pub fn unknown() -> Error {
    let problem = "the gateway could not look up the limits that it shares with others; try again shortly";
    Error { retry_after: Some(1), ..Error::new(Kind::Overloaded, problem) }
}

/// The limit that a header's first number belongs to, in words: `the shared limit requests of 10 in 60 s`.
fn limit(header: &str) -> Option<String> {
    let (most, policies) = header.split_once(',').unwrap_or((header, ""));
    let most = most.trim().parse::<u32>().ok()?.to_string();
    let mut policies = policies.split(',').map(|policy| policy.split(';').map(str::trim));
    let parameters = policies.find(|policy| policy.clone().next() == Some(&most)).into_iter().flatten();
    let (mut name, mut window) = (String::new(), String::new());
    for (key, value) in parameters.filter_map(|parameter| parameter.split_once('=')) {
        let value = value.trim_matches('"');
        match key {
            "name" if value.len() <= LONGEST_NAME => name = format!(" {value}"),
            "w" if value.parse::<u32>().is_ok() => window = format!(" in {value} s"),
            _ => {}
        }
    }
    Some(format!("the shared limit{name} of {most}{window}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pairs: &[(&str, &str)]) -> (String, Option<u32>, bool) {
        let mut headers = Headers::default();
        pairs.iter().for_each(|(name, value)| headers.add(name, *value));
        let error = reached(&headers);
        (error.message, error.retry_after, error.futile)
    }

    #[test]
    fn the_limit_its_value_and_the_wait_are_named_as_far_as_envoy_tells_them() {
        let of = |limit: &str| {
            let (message, wait, futile) = told(&[("x-ratelimit-limit", limit), ("x-ratelimit-reset", "12")]);
            assert_eq!((wait, futile), (Some(12), false));
            message
        };
        assert_eq!(of("10"), "the shared limit of 10 is reached; try again in 12 s");
        assert_eq!(of("10, 10;w=60"), "the shared limit of 10 in 60 s is reached; try again in 12 s");
        let nearest = r#"500, 10;w=60;name="requests", 500;w=86400;name="tokens", 500;w=1"#;
        assert_eq!(of(nearest), "the shared limit tokens of 500 in 86400 s is reached; try again in 12 s");
        for strange in ["", ",", "ten", "-1, 1;w=1"] {
            assert_eq!(of(strange), "Envoy's rate limit is reached; try again in 12 s");
        }
        let long = format!("7, 7;w=x;name=\"{}\"", "n".repeat(65));
        assert_eq!(of(&long), "the shared limit of 7 is reached; try again in 12 s");
        assert_eq!(told(&[]), ("Envoy's rate limit is reached; try again later".to_owned(), None, false));
    }

    #[test]
    fn a_wait_that_no_sdk_sits_out_is_told_to_be_of_no_use() {
        assert_eq!(told(&[("x-ratelimit-reset", "60")]).1, Some(60));
        assert!(!told(&[("x-ratelimit-reset", "60")]).2);
        assert!(told(&[("x-ratelimit-reset", "61")]).2);
        let (_, wait, _) = told(&[("x-ratelimit-reset", "61"), ("retry-after", "2")]);
        assert_eq!(wait, Some(2));
    }
}
