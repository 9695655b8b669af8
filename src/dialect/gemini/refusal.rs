//! What Google says went wrong, as an error for the client: the body of a refused request, or an error
//! object in the middle of a stream. Statuses and names: cloud.google.com/apis/design/errors and
//! docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/api-errors.

use super::wire::{self, Detail, Failure};
use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::json::Str;

/// Reads the answer of a status other than 200.
pub fn refusal(status: u16, headers: &Headers, body: &[u8]) -> Error {
    let body = std::str::from_utf8(body).unwrap_or_default();
    let mut failure = None;
    // A body that cannot be read is HTML of something in between, or nothing: the status has to do.
    let _ = wire::each(body, |piece| {
        failure = failure.take().or(piece.error);
        Ok(())
    });
    let mut error = describe(status, failure.as_ref());
    // The other form of the header, a date, would need a clock; Google sends seconds.
    if let Some(seconds) = headers.get("retry-after").and_then(|value| value.trim().parse().ok()) {
        error.retry_after = Some(seconds);
    }
    error
}

/// Reads an error object that stood where a piece of a reply should have been.
pub fn broken_off(failure: &Failure<'_>) -> Error {
    describe(failure.code.unwrap_or_default(), Some(failure))
}

/// More of Google's message is cut off: the longest useful ones, with a link, have some 300 characters.
const LONGEST_MESSAGE: usize = 1000;

fn describe(status: u16, failure: Option<&Failure<'_>>) -> Error {
    let name = failure.and_then(|failure| failure.status.as_ref()).and_then(word);
    let status = match failure {
        Some(_) if status < 400 => name.map_or(500, status_of),
        _ => status,
    };
    let details = failure.map(details).unwrap_or_default();
    let reason = details.iter().find_map(|detail| detail.reason.as_ref().and_then(word));
    let message = failure.and_then(|failure| failure.message).map(|text| text.unescape()).unwrap_or_default();
    let message = message.trim();
    let end = message.char_indices().nth(LONGEST_MESSAGE).map_or(message.len(), |(end, _)| end);
    let message = message.get(..end).unwrap_or_default();

    // `503 UNAVAILABLE`: for whoever has to look into it.
    let known = [name, reason].into_iter().flatten().fold(status.to_string(), |all, next| all + " " + next);
    let quoted = || match message {
        "" => format!("Vertex AI answered {known} without a reason that could be read"),
        message => format!("Vertex AI: {message}"),
    };
    let (kind, message) = match status {
        401 => (
            Kind::NoCredentials,
            format!(
                "Vertex AI does not accept the gateway's access token ({known}); if it has just expired, \
                trying again helps"
            ),
        ),
        403 => (
            Kind::Denied,
            format!(
                "Vertex AI denies this to the gateway's service account ({known}); it needs the role Vertex \
                AI User in the project, where the Vertex AI API must be enabled"
            ),
        ),
        404 => (Kind::UnknownModel, quoted()),
        429 => (Kind::Throttled, quoted()),
        400 if is_too_long(message) => (Kind::TooLong, quoted()),
        400..=498 => (Kind::BadRequest, quoted()),
        503 => (Kind::Overloaded, format!("Vertex AI is overloaded ({known}); try again later")),
        504 => (Kind::TimedOut, format!("Vertex AI did not finish in time ({known}); try again")),
        499.. => (Kind::UpstreamFailed, format!("Vertex AI failed ({known}); try again")),
        _ => (
            Kind::UpstreamGarbled,
            format!("Vertex AI answered {known}, which is neither a reply nor an error"),
        ),
    };
    let mut error = Error::new(kind, message);
    error.retry_after = details.iter().find_map(|detail| seconds(detail.retry_delay.as_ref()?.as_str()));
    error
}

/// Whether a conversation was longer than its model takes. Gemini: `The input token count (1200293) exceeds the maximum
/// number of tokens allowed (1048576).`, as quoted in googleapis/python-genai issue 2050. Servers of open models: vLLM's
/// "This model's maximum context length is 8192 tokens", which Google passes on, Mistral's "Prompt contains 40000 tokens
/// … too large for model with 32768 maximum context length".
pub fn is_too_long(message: &str) -> bool {
    ["exceeds the maximum number of tokens", "maximum context length"]
        .iter()
        .any(|words| message.contains(words))
}

/// The HTTP status that goes with a `google.rpc.Code`.
fn status_of(name: &str) -> u16 {
    match name {
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => 400,
        "UNAUTHENTICATED" => 401,
        "PERMISSION_DENIED" => 403,
        "NOT_FOUND" => 404,
        "ABORTED" | "ALREADY_EXISTS" => 409,
        "RESOURCE_EXHAUSTED" => 429,
        "CANCELLED" => 499,
        "UNAVAILABLE" => 503,
        "DEADLINE_EXCEEDED" => 504,
        // INTERNAL, UNKNOWN, DATA_LOSS and UNIMPLEMENTED, or a new one: whatever it is, it is an error.
        _ => 500,
    }
}

fn details<'a>(failure: &Failure<'a>) -> Vec<Detail<'a>> {
    failure.details.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// A name of Google's in capitals; anything else is not repeated to a client.
fn word<'a>(name: &'a Str<'_>) -> Option<&'a str> {
    let name = name.as_str();
    let plain = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    (plain && (1..=64).contains(&name.len())).then_some(name)
}

/// Whole seconds of a `google.protobuf.Duration` such as `34.074824224s`, rounded up.
fn seconds(duration: &str) -> Option<u32> {
    let number = duration.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let more = fraction.bytes().any(|b| b != b'0');
    whole.parse::<u32>().ok()?.checked_add(u32::from(more))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn google(status: u16, name: &str, message: &str) -> String {
        format!(r#"{{"error":{{"code":{status},"message":"{message}","status":"{name}","details":[]}}}}"#)
    }

    fn refused(status: u16, body: &str) -> Error {
        refusal(status, &Headers::default(), body.as_bytes())
    }

    #[test]
    fn every_status_of_google_has_its_kind() {
        for (status, name, kind) in [
            (400, "INVALID_ARGUMENT", Kind::BadRequest),
            (400, "FAILED_PRECONDITION", Kind::BadRequest),
            (400, "OUT_OF_RANGE", Kind::BadRequest),
            (401, "UNAUTHENTICATED", Kind::NoCredentials),
            (403, "PERMISSION_DENIED", Kind::Denied),
            (404, "NOT_FOUND", Kind::UnknownModel),
            (409, "ABORTED", Kind::BadRequest),
            (429, "RESOURCE_EXHAUSTED", Kind::Throttled),
            (499, "CANCELLED", Kind::UpstreamFailed),
            (500, "INTERNAL", Kind::UpstreamFailed),
            (503, "UNAVAILABLE", Kind::Overloaded),
            (504, "DEADLINE_EXCEEDED", Kind::TimedOut),
        ] {
            let body = google(status, name, "why");
            assert_eq!(refused(status, &body).kind, kind, "{name}");
            assert_eq!(refused(status, &format!("[{body}\n]")).kind, kind, "{name} in an array");
            // Without a status of its own, as an error in a stream may be.
            let nameless: wire::Piece<'_> = serde_json::from_str(&body).unwrap();
            let failure = Failure { code: None, ..nameless.error.unwrap() };
            assert_eq!(broken_off(&failure).kind, kind, "{name} by name");
        }
        assert_eq!(refused(501, "").kind, Kind::UpstreamFailed);
        assert_eq!(refused(302, "").kind, Kind::UpstreamGarbled);
        assert_eq!(broken_off(&serde_json::from_str("{}").unwrap()).kind, Kind::UpstreamFailed);
    }

    #[test]
    fn clients_read_googles_own_words_about_their_request_and_its_model() {
        for status in [400, 404, 429] {
            let error = refused(status, &google(status, "X", r"Say \u201cplease\u201d.\n"));
            assert_eq!(error.message, "Vertex AI: Say “please”.");
        }
    }

    #[test]
    fn of_credentials_nothing_is_repeated_but_names_in_capitals() {
        let body = r#"{"error":{"code":403,"message":"token ya29.secret denied","status":"PERMISSION_DENIED","details":[
            {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"SERVICE_DISABLED","metadata":{"a":"b"}}]}}"#;
        let error = refused(403, body);
        assert!(error.message.contains("(403 PERMISSION_DENIED SERVICE_DISABLED)"), "{}", error.message);
        for status in [401, 403, 500, 503, 504] {
            let error = refused(status, &google(status, "ya29.secret", "ya29.secret"));
            assert!(!error.message.contains("secret"), "{}", error.message);
        }
    }

    #[test]
    fn a_conversation_that_is_too_long_is_told_from_other_bad_requests() {
        for message in [
            "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).",
            "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.",
        ] {
            assert_eq!(refused(400, &google(400, "INVALID_ARGUMENT", message)).kind, Kind::TooLong);
        }
    }

    #[test]
    fn html_and_nothing_give_the_status_and_no_markup() {
        for body in ["<!DOCTYPE html><title>Error 502</title>", "", "null", "[]", r#"{"error":"nope"}"#, "{"]
        {
            for status in [400, 404, 429, 502] {
                let error = refused(status, body);
                assert!(error.message.contains(&status.to_string()), "{}", error.message);
                assert!(!error.message.contains(['<', '{']), "{}", error.message);
            }
        }
        let error = refusal(400, &Headers::default(), b"\xff\xfe");
        assert_eq!(error.message, "Vertex AI answered 400 without a reason that could be read");
    }

    #[test]
    fn the_wait_comes_from_the_header_or_from_retry_info_rounded_up() {
        let body = |delay: &str| {
            format!(
                r#"{{"error":{{"code":429,"status":"RESOURCE_EXHAUSTED","message":"slow down","details":[
                {{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[]}},
                {{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{delay}"}}]}}}}"#
            )
        };
        for (delay, expected) in [
            ("34.074824224s", Some(35)),
            ("34s", Some(34)),
            ("0.5s", Some(1)),
            ("5.000s", Some(5)),
            ("-1s", None),
            ("soon", None),
            ("99999999999s", None),
        ] {
            assert_eq!(refused(429, &body(delay)).retry_after, expected, "{delay}");
        }
        let mut headers = Headers::default();
        headers.add("retry-after", "7");
        assert_eq!(refusal(429, &headers, body("34s").as_bytes()).retry_after, Some(7));
        let mut headers = Headers::default();
        headers.add("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT");
        assert_eq!(refusal(429, &headers, body("34s").as_bytes()).retry_after, Some(34));
    }

    #[test]
    fn strange_details_do_not_hide_the_message_and_a_long_message_is_cut() {
        let body = r#"{"error":{"code":400,"message":"why","status":"X","details":"none"}}"#;
        assert_eq!(refused(400, body).message, "Vertex AI: why");
        let error = refused(400, &google(400, "X", &"é".repeat(5000)));
        assert_eq!(error.message.chars().count(), LONGEST_MESSAGE + "Vertex AI: ".len());
    }
}
