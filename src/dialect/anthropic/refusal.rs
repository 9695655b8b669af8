//! What an edition of the Messages API says went wrong, in Anthropic's own shape:
//! platform.claude.com/docs/en/api/errors. Clouds use it for what the model says, and their own for the rest.

use super::Edition;
use super::message::{Failure, Refusal};
use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::json::{self, Str};

/// Reads a reply of another status than 200; `None` if it is in another shape.
pub fn refusal(server: &str, status: u16, headers: &Headers, body: &[u8]) -> Option<Error> {
    let refusal: Refusal<'_> = json::read(std::str::from_utf8(body).ok()?).ok()?;
    let failure = refusal.error?;
    // Others have an `error`, too, but name its kind in another way.
    let kind = failure.kind.as_ref().filter(|_| refusal.kind.is_some_and(|kind| kind.as_str() == "error"))?;
    let mut error = describe(server, by_name(kind.as_str()).unwrap_or_else(|| by_status(status)), &failure);
    error.retry_after = retry_after(headers);
    Some(error)
}

/// Reads a reply in no shape that is known: a page of something in between, or nothing.
pub fn unreadable(server: &str, status: u16, headers: &Headers) -> Error {
    let problem = format!("{server} answered {status} without a reason that could be read");
    let mut error = Error::new(by_status(status), problem);
    error.retry_after = retry_after(headers);
    error
}

/// Reads an error event of a stream.
pub fn broken_off(edition: Edition, failure: Option<&Failure<'_>>) -> Error {
    let server = edition.server();
    match failure {
        Some(failure) => {
            let kind = failure.kind.as_ref().and_then(|kind| by_name(kind.as_str()));
            describe(server, kind.unwrap_or(Kind::UpstreamFailed), failure)
        }
        None => Error::new(Kind::UpstreamFailed, format!("{server}: the reply broke off without a reason")),
    }
}

/// How Anthropic says that the conversation is too long, in lower case; all come as `invalid_request_error`.
const TOO_LONG: &[&str] = &["prompt is too long", "exceed context limit", "context window"];

/// How it says that the account is empty, in lower case; as `invalid_request_error`, too.
const UNPAID: &str = "credit balance is too low";

/// Reasons are a sentence or two, and those about schemas a little more; in characters.
const MOST_REASON: usize = 2000;

fn describe(server: &str, kind: Kind, failure: &Failure<'_>) -> Error {
    let reason = failure.message.map(|text| text.unescape()).unwrap_or_default();
    let reason = reason.trim();
    let lower = reason.to_lowercase();
    let kind = if kind != Kind::BadRequest {
        kind
    } else if TOO_LONG.iter().any(|words| lower.contains(words)) {
        Kind::TooLong
    } else if lower.contains(UNPAID) {
        Kind::Denied
    } else {
        kind
    };
    let name = failure.kind.as_ref().map_or("", Str::as_str);
    let name = if name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') { name } else { "" };
    let message = if kind == Kind::Denied || kind == Kind::NoCredentials {
        // It may name the account.
        format!("{server} denies this to the gateway's credentials ({name})")
    } else if reason.is_empty() || reason.starts_with('<') {
        format!("{server} said {name} without a reason that could be read")
    } else {
        let reason: String = reason.chars().take(MOST_REASON).collect();
        format!("{server}: {reason}")
    };
    Error::new(kind, message)
}

fn by_name(name: &str) -> Option<Kind> {
    Some(match name {
        "invalid_request_error" | "conflict_error" => Kind::BadRequest,
        "authentication_error" | "permission_error" | "billing_error" => Kind::Denied,
        "not_found_error" => Kind::UnknownModel,
        "request_too_large" => Kind::TooLarge,
        "rate_limit_error" => Kind::Throttled,
        "timeout_error" => Kind::TimedOut,
        "overloaded_error" => Kind::Overloaded,
        "api_error" => Kind::UpstreamFailed,
        _ => return None,
    })
}

fn by_status(status: u16) -> Kind {
    match status {
        401..=403 => Kind::Denied,
        404 => Kind::UnknownModel,
        408 | 504 => Kind::TimedOut,
        413 => Kind::TooLarge,
        429 => Kind::Throttled,
        503 | 529 => Kind::Overloaded,
        400..500 => Kind::BadRequest,
        _ => Kind::UpstreamFailed,
    }
}

/// The other form of the header, a date, would need a clock.
fn retry_after(headers: &Headers) -> Option<u32> {
    headers.get("retry-after").and_then(|seconds| seconds.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(kind: &str, message: &str) -> String {
        format!(
            r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_1"}}"#
        )
    }

    fn refused(status: u16, body: &str) -> Option<Error> {
        refusal("Anthropic", status, &Headers::default(), body.as_bytes())
    }

    #[test]
    fn every_error_of_the_api_has_its_kind() {
        for (name, status, kind) in [
            ("invalid_request_error", 400, Kind::BadRequest),
            ("authentication_error", 401, Kind::Denied),
            ("billing_error", 402, Kind::Denied),
            ("permission_error", 403, Kind::Denied),
            ("not_found_error", 404, Kind::UnknownModel),
            ("request_too_large", 413, Kind::TooLarge),
            ("rate_limit_error", 429, Kind::Throttled),
            ("api_error", 500, Kind::UpstreamFailed),
            ("timeout_error", 504, Kind::TimedOut),
            ("overloaded_error", 529, Kind::Overloaded),
            ("something_new", 529, Kind::Overloaded),
            ("something_new", 418, Kind::BadRequest),
        ] {
            let error = refused(status, &body(name, "why")).unwrap();
            assert_eq!(error.kind, kind, "{name}");
            let is_told = error.message == "Anthropic: why";
            assert_eq!(is_told, kind != Kind::Denied, "{name}: {}", error.message);
        }
    }

    #[test]
    fn what_does_not_fit_and_what_is_not_paid_are_told_from_other_bad_requests() {
        for (message, kind) in [
            ("prompt is too long: 208310 tokens > 200000 maximum", Kind::TooLong),
            ("input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000", Kind::TooLong),
            ("Your credit balance is too low to access the Anthropic API.", Kind::Denied),
            ("max_tokens: 9 > 8, which is the maximum", Kind::BadRequest),
        ] {
            assert_eq!(
                refused(400, &body("invalid_request_error", message)).unwrap().kind,
                kind,
                "{message}"
            );
        }
    }

    #[test]
    fn other_shapes_are_left_to_others() {
        for body in [
            "",
            "<html>",
            "[]",
            r#"{"message":"no"}"#,
            r#"{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}"#,
            r#"{"type":"error"}"#,
            r#"{"error":{"type":"api_error"}}"#,
        ] {
            assert_eq!(refused(400, body), None, "{body}");
        }
    }
}
