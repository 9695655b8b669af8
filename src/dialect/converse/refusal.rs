//! What Bedrock says went wrong, into the one table of errors: replies of another status than 200, and
//! the exceptions that end a stream.

use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::json::{self, Fields, Text};

/// Names of errors without the `Exception` that most of them end in. They come from the service's model
/// and from the errors that all AWS services share
/// (<https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>).
const NAMES: &[(&str, Kind)] = &[
    ("AccessDenied", Kind::Denied),
    ("ExpiredToken", Kind::NoCredentials),
    ("IncompleteSignature", Kind::Denied),
    ("InternalFailure", Kind::UpstreamFailed),
    ("InternalServer", Kind::UpstreamFailed),
    ("InvalidClientTokenId", Kind::Denied),
    ("InvalidSignature", Kind::Denied),
    ("MissingAuthenticationToken", Kind::Denied),
    ("ModelError", Kind::UpstreamFailed),
    ("ModelNotReady", Kind::Overloaded),
    ("ModelStreamError", Kind::UpstreamFailed),
    ("ModelTimeout", Kind::TimedOut),
    ("NotAuthorized", Kind::Denied),
    ("OptInRequired", Kind::Denied),
    ("RequestEntityTooLarge", Kind::TooLarge),
    ("RequestExpired", Kind::Denied),
    ("RequestTimeout", Kind::TimedOut),
    ("ResourceNotFound", Kind::UnknownModel),
    ("ServiceQuotaExceeded", Kind::Throttled),
    ("ServiceUnavailable", Kind::Overloaded),
    ("SignatureDoesNotMatch", Kind::Denied),
    ("Throttling", Kind::Throttled),
    ("TooManyRequests", Kind::Throttled),
    ("UnrecognizedClient", Kind::Denied),
    ("Validation", Kind::BadRequest),
    ("ValidationError", Kind::BadRequest),
];

/// How models and Bedrock say that the conversation is too long, in lower case. All come as
/// `ValidationException`, each vendor's model with words of its own.
const TOO_LONG: &[&str] = &[
    "input is too long",
    "prompt is too long",
    "too many input tokens",
    "input tokens exceeded",
    "context limit",
    "context length",
    "context window",
];

/// How Bedrock says that it has no such model, in lower case; as `ValidationException`, not as 404.
const UNKNOWN_MODEL: &str = "model identifier is invalid";

/// Reasons are a sentence or two. The bound keeps a strange body from becoming a long answer to the
/// client; in characters.
const MAX_REASON: usize = 2000;

/// Reads a reply of another status than 200.
pub fn refusal(status: u16, headers: &Headers, body: &[u8]) -> Error {
    let fields = object(body);
    let name = headers
        .get("x-amzn-errortype")
        .map(str::to_owned)
        .or_else(|| string(&fields, "__type"))
        .or_else(|| string(&fields, "code"));
    let name = name.as_deref().and_then(bare).unwrap_or_default();
    let kind = named(name).unwrap_or_else(|| by_status(status));
    let mut error = match reason(&fields) {
        Some(reason) => explained(kind, name, &reason),
        None => {
            let of = if name.is_empty() { String::new() } else { format!(" ({name})") };
            let problem = format!("Amazon Bedrock answered {status}{of} without a reason that could be read");
            Error::new(kind, problem)
        }
    };
    // The other form, a date, would need a clock.
    error.retry_after = headers.get("retry-after").and_then(|seconds| seconds.trim().parse().ok());
    error
}

/// Reads an exception frame of a stream: its `:exception-type` and its payload.
pub fn exception(name: &str, payload: &[u8]) -> Error {
    broken_off(name, &reason(&object(payload)).unwrap_or_default())
}

/// What a frame that ends a stream says: its type or code, and the reason if there is one.
pub fn broken_off(name: &str, reason: &str) -> Error {
    let name = bare(name).unwrap_or("an unnamed error");
    let kind = named(name).unwrap_or(Kind::UpstreamFailed);
    if reason.is_empty() {
        Error::new(kind, format!("Amazon Bedrock: the reply broke off with {name}"))
    } else {
        explained(kind, name, reason)
    }
}

/// An error with Bedrock's own words, except where these are not for clients.
fn explained(kind: Kind, name: &str, reason: &str) -> Error {
    let kind = if kind == Kind::BadRequest { refine(reason) } else { kind };
    let name = if name.is_empty() { "no name given" } else { name };
    // AWS names the gateway's role, and after a wrong signature it repeats the headers that should have
    // been signed, of which the session token is one.
    let message = if kind == Kind::Denied {
        format!(
            "refused the gateway's credentials or their right to this model ({name}); \
             AWS CloudTrail shows the operator why"
        )
    } else if kind == Kind::NoCredentials {
        format!("the gateway's session token has expired ({name})")
    } else {
        reason.chars().take(MAX_REASON).collect()
    };
    Error::new(kind, format!("Amazon Bedrock: {message}"))
}

/// What a `ValidationException` is about; its text is all there is to go by.
fn refine(reason: &str) -> Kind {
    let reason = reason.to_lowercase();
    if TOO_LONG.iter().any(|words| reason.contains(words)) {
        Kind::TooLong
    } else if reason.contains(UNKNOWN_MODEL) {
        Kind::UnknownModel
    } else {
        Kind::BadRequest
    }
}

/// The name alone, of `ValidationException:http://internal.amazon.com/…` in headers and of
/// `com.amazon.coral.service#ValidationException` in bodies. `None` for what is no name.
fn bare(name: &str) -> Option<&str> {
    let name = name.split(':').next()?;
    let name = name.rsplit('#').next()?.trim();
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
    is_name.then_some(name)
}

/// Streams write names with a small first letter, everything else with a capital.
fn named(name: &str) -> Option<Kind> {
    let stem = name.strip_suffix("Exception").unwrap_or(name);
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(stem)).map(|(_, kind)| *kind)
}

/// For replies that name no error: those of a load balancer or proxy on the way.
fn by_status(status: u16) -> Kind {
    match status {
        401 | 403 => Kind::Denied,
        404 => Kind::UnknownModel,
        408 | 504 => Kind::TimedOut,
        413 => Kind::TooLarge,
        424 => Kind::UpstreamFailed,
        429 => Kind::Throttled,
        503 => Kind::Overloaded,
        400..500 => Kind::BadRequest,
        _ => Kind::UpstreamFailed,
    }
}

/// The members of a body that is a JSON object; none of any other.
fn object(body: &[u8]) -> Fields<'_> {
    std::str::from_utf8(body).ok().and_then(|text| json::read(text).ok()).unwrap_or_default()
}

/// `message`; some of AWS's front ends write `Message`.
fn reason(fields: &Fields<'_>) -> Option<String> {
    let reason = string(fields, "message")?;
    let is_page = reason.trim_start().starts_with('<');
    (!reason.trim().is_empty() && !is_page).then_some(reason)
}

fn string(fields: &Fields<'_>, name: &str) -> Option<String> {
    let (_, raw) = fields.given().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(Text::from_raw(raw)?.unescape().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, headers: &[(&str, &str)], body: &str) -> Error {
        let mut list = Headers::default();
        for (name, value) in headers {
            list.add(name, *value);
        }
        refusal(status, &list, body.as_bytes())
    }

    #[test]
    fn every_error_of_the_service_has_its_kind() {
        // Names and statuses of the operation's errors in the service's model, then AWS's common ones.
        let cases = [
            ("AccessDeniedException", 403, Kind::Denied),
            ("ThrottlingException", 429, Kind::Throttled),
            ("ResourceNotFoundException", 404, Kind::UnknownModel),
            ("ModelTimeoutException", 408, Kind::TimedOut),
            ("InternalServerException", 500, Kind::UpstreamFailed),
            ("ServiceUnavailableException", 503, Kind::Overloaded),
            ("ValidationException", 400, Kind::BadRequest),
            ("ModelNotReadyException", 429, Kind::Overloaded),
            ("ModelErrorException", 424, Kind::UpstreamFailed),
            ("ServiceQuotaExceededException", 400, Kind::Throttled),
            ("UnrecognizedClientException", 403, Kind::Denied),
            ("InvalidSignatureException", 403, Kind::Denied),
            ("ExpiredTokenException", 403, Kind::NoCredentials),
        ];
        for (name, status, kind) in cases {
            let error = refused(status, &[("x-amzn-errortype", name)], r#"{"message":"why"}"#);
            assert_eq!(error.kind, kind, "{name}");
            assert!(error.message.starts_with("Amazon Bedrock: "), "{name}: {}", error.message);
        }
    }

    #[test]
    fn the_name_is_found_wherever_aws_puts_it() {
        let in_header = [("x-amzn-ErrorType", "ModelNotReadyException:http://internal.amazon.com/coral/")];
        let body = r#"{"message":"wait"}"#;
        assert_eq!(refused(429, &in_header, body).kind, Kind::Overloaded);
        let body = r#"{"__type":"com.amazon.coral.service#ModelNotReadyException","Message":"wait"}"#;
        assert_eq!(refused(429, &[], body).kind, Kind::Overloaded);
        assert_eq!(refused(429, &[], body).message, "Amazon Bedrock: wait");
        let body = r#"{"code":"ModelNotReadyException","message":"wait"}"#;
        assert_eq!(refused(429, &[], body).kind, Kind::Overloaded);
        let body = r#"{"code":429,"message":"wait"}"#;
        assert_eq!(refused(429, &[], body).kind, Kind::Throttled);
    }

    #[test]
    fn a_conversation_that_does_not_fit_is_told_from_other_bad_requests() {
        let texts = [
            "Input is too long for requested model.",
            "The model returned the following errors: prompt is too long: 200049 tokens > 200000 maximum",
            "Too many input tokens. Max input tokens: 128000, request input token count: 137142 ",
            "The model returned the following errors: Input Tokens Exceeded: Number of input tokens exceeds \
             maximum length.",
            "input length and `max_tokens` exceed context limit: 90402 + 116650 > 204648",
        ];
        for text in texts {
            let body = format!(r#"{{"message":"{text}"}}"#);
            let error = refused(400, &[("x-amzn-errortype", "ValidationException")], &body);
            assert_eq!(error.kind, Kind::TooLong, "{text}");
            assert!(error.message.ends_with(text));
        }
        // Not that one: it asks to slow down.
        let body = r#"{"message":"Too many tokens, please wait before trying again."}"#;
        let error = refused(429, &[("x-amzn-errortype", "ThrottlingException")], body);
        assert_eq!(error.kind, Kind::Throttled);
    }

    #[test]
    fn an_unknown_model_is_one_although_bedrock_calls_it_a_bad_request() {
        let body = r#"{"message":"The provided model identifier is invalid."}"#;
        let error = refused(400, &[("x-amzn-errortype", "ValidationException")], body);
        assert_eq!(error.kind, Kind::UnknownModel);
    }

    #[test]
    fn what_aws_says_of_the_gateways_own_keys_does_not_reach_the_client() {
        let body = r#"{"message":"User: arn:aws:sts::123456789012:assumed-role/gw/x is not authorized;
            x-amz-security-token:SECRET"}"#;
        let body = body.replace('\n', " ");
        for name in ["AccessDeniedException", "InvalidSignatureException", "ExpiredTokenException"] {
            let error = refused(403, &[("x-amzn-errortype", name)], &body);
            assert!(!error.message.contains("SECRET") && !error.message.contains("arn:"), "{name}");
            assert!(error.message.contains(name), "{name}: {}", error.message);
        }
    }

    #[test]
    fn a_reply_that_is_no_json_is_never_shown() {
        let page = "<html><body>502 Bad Gateway, request for secret</body></html>";
        let json_with_page = format!(r#"{{"message":"{page}"}}"#);
        for (status, body, kind) in [
            (502, page, Kind::UpstreamFailed),
            (502, json_with_page.as_str(), Kind::UpstreamFailed),
            (503, "", Kind::Overloaded),
            (504, "[]", Kind::TimedOut),
            (403, "\u{0}", Kind::Denied),
            (413, "null", Kind::TooLarge),
            (400, r#"{"message":{}}"#, Kind::BadRequest),
            (400, r#"{"message":"  "}"#, Kind::BadRequest),
        ] {
            let error = refused(status, &[], body);
            assert_eq!(error.kind, kind, "{status} {body}");
            let expected = format!("Amazon Bedrock answered {status} without a reason that could be read");
            assert_eq!(error.message, expected, "{body}");
        }
        let bytes = refusal(500, &Headers::default(), &[0xff, 0xfe]);
        assert_eq!(bytes.kind, Kind::UpstreamFailed);
    }

    #[test]
    fn a_name_without_a_reason_is_named() {
        let error = refused(429, &[("x-amzn-errortype", "ThrottlingException")], "{}");
        let expected =
            "Amazon Bedrock answered 429 (ThrottlingException) without a reason that could be read";
        assert_eq!(error.message, expected);
        let error = refused(429, &[("x-amzn-errortype", "<b>")], "{}");
        assert_eq!(error.message, "Amazon Bedrock answered 429 without a reason that could be read");
    }

    #[test]
    fn the_wait_that_bedrock_asks_for_is_kept_when_it_is_in_seconds() {
        let wait = |value| refused(429, &[("retry-after", value)], "{}").retry_after;
        assert_eq!(wait("17"), Some(17));
        assert_eq!(wait("Fri, 31 Dec 1999 23:59:59 GMT"), None);
        assert_eq!(wait("-1"), None);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let body = format!(r#"{{"message":"{}"}}"#, "é".repeat(MAX_REASON * 2));
        let error = refused(400, &[], &body);
        assert_eq!(error.message.chars().count(), "Amazon Bedrock: ".len() + MAX_REASON);
    }

    #[test]
    fn exceptions_of_streams_have_small_first_letters_and_the_same_kinds() {
        for (name, kind) in [
            ("throttlingException", Kind::Throttled),
            ("serviceUnavailableException", Kind::Overloaded),
            ("internalServerException", Kind::UpstreamFailed),
            ("modelStreamErrorException", Kind::UpstreamFailed),
            ("modelTimeoutException", Kind::TimedOut),
            ("validationException", Kind::BadRequest),
            ("somethingNewException", Kind::UpstreamFailed),
        ] {
            let error = exception(name, br#"{"message":"why"}"#);
            assert_eq!((error.kind, error.message.as_str()), (kind, "Amazon Bedrock: why"), "{name}");
            let error = exception(name, b"");
            assert_eq!(error.kind, kind, "{name}");
            assert_eq!(error.message, format!("Amazon Bedrock: the reply broke off with {name}"));
        }
        let error =
            exception("validationException", br#"{"message":"Input is too long for requested model"}"#);
        assert_eq!(error.kind, Kind::TooLong);
    }
}
