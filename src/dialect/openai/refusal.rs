//! What OpenAI and those who speak its dialect say went wrong, as an error for the client: the body of a refused
//! request, or an error in the middle of a stream. Statuses and codes:
//! developers.openai.com/api/docs/guides/error-codes. On Vertex AI an error is Google's own or that of whoever
//! serves the model: an OpenAI-like object, the same without the `error` around it (Mistral, vLLM), or what
//! their web framework says of a field.

use serde_json::value::RawValue;

use super::answer::{Detail, Failure, count, text};
use super::edition::Edition;
use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::json::Text;
use crate::dialect::gemini;

/// Reads the answer of a status other than 200.
pub fn refusal(edition: Edition, status: u16, headers: &Headers, body: &[u8]) -> Error {
    let json = std::str::from_utf8(body).unwrap_or_default();
    let failure = read(json);
    let mut error = match edition {
        Edition::OpenModels | Edition::Mistral if is_googles(json, failure.as_ref()) => {
            return gemini::refusal(status, headers, body);
        }
        Edition::OpenAi | Edition::OpenModels | Edition::Mistral => {
            describe(edition, status, failure.as_ref())
        }
    };
    // The other form of the header, a date, would need a clock.
    if let Some(seconds) = headers.get("retry-after").and_then(|value| value.trim().parse().ok()) {
        error.retry_after = Some(seconds);
    }
    error
}

/// Reads an error that stood where a chunk of a reply should have been.
pub fn broken_off(edition: Edition, json: &str) -> Error {
    let failure = read(json);
    if is_googles(json, failure.as_ref()) {
        return gemini::refusal(0, &Headers::default(), json.as_bytes());
    }
    let status =
        failure.as_ref().and_then(|failure| count(failure.code)).and_then(|code| u16::try_from(code).ok());
    // Without a status there is still a name: `server_error`, `rate_limit_exceeded`.
    let status = status.filter(|status| (400..600).contains(status)).unwrap_or_else(|| {
        let names = failure.iter().flat_map(|failure| [text(failure.code), text(failure.kind)]).flatten();
        names.map(Text::escaped).find_map(status_of).unwrap_or(500)
    });
    describe(edition, status, failure.as_ref())
}

/// The object in `error`, or else the whole.
fn read(json: &str) -> Option<Failure<'_>> {
    #[derive(serde::Deserialize)]
    struct Outer<'a> {
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    let outer: Outer<'_> = serde_json::from_str(json).ok()?;
    match outer.error.filter(|raw| raw.get().starts_with('{')) {
        Some(inner) => serde_json::from_str(inner.get()).ok(),
        None => serde_json::from_str(json).ok(),
    }
}

/// Google's objects have a `status` in capitals, and may stand in an array.
fn is_googles(json: &str, failure: Option<&Failure<'_>>) -> bool {
    let status = failure.and_then(|failure| text(failure.status));
    json.trim_start().starts_with('[')
        || status.is_some_and(|name| name.escaped().bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
}

/// A longer path of a field is passed over.
const LONGEST_PATH: usize = 256;

/// More of a message is cut off, in characters: the longest useful ones have some hundreds.
const LONGEST_MESSAGE: usize = 1000;

fn describe(edition: Edition, status: u16, failure: Option<&Failure<'_>>) -> Error {
    let company = edition.company();
    let reason = failure.and_then(reason).unwrap_or_default();
    let reason: String = reason.trim().chars().take(LONGEST_MESSAGE).collect();
    let code = failure.and_then(|failure| text(failure.code)).map_or("", Text::escaped);
    let known = if is_word(code) { format!("{status} {code}") } else { status.to_string() };
    let quoted = || match reason.as_str() {
        "" => format!("{company} answered {known} without a reason that could be read"),
        reason => format!("{company}: {reason}"),
    };
    // Their messages about keys quote a part of the key.
    let (kind, message) = match status {
        401 => (Kind::Denied, format!("{company} does not accept the gateway's key ({known})")),
        403 => (Kind::Denied, format!("{company} denies this to the gateway's account ({known})")),
        404 => (Kind::UnknownModel, quoted()),
        408 | 504 => (Kind::TimedOut, format!("{company} did not finish in time ({known}); try again")),
        413 => (Kind::TooLarge, quoted()),
        429 => (Kind::Throttled, quoted()),
        400..=498 if code == "context_length_exceeded" || gemini::is_too_long(&reason) => {
            (Kind::TooLong, quoted())
        }
        // "Your request was rejected by the safety system" (jeffstric/ZJT issue 480).
        400 if code == "moderation_blocked" || code == "content_policy_violation" => {
            (Kind::Filtered, quoted())
        }
        400 if code == "model_not_found" => (Kind::UnknownModel, quoted()),
        400..=498 => (Kind::BadRequest, quoted()),
        503 => (Kind::Overloaded, format!("{company} is overloaded ({known}); try again later")),
        499.. => (Kind::UpstreamFailed, format!("{company} failed ({known}); try again")),
        _ => (
            Kind::UpstreamGarbled,
            format!("{company} answered {known}, which is neither a reply nor an error"),
        ),
    };
    let param = failure.and_then(|failure| text(failure.param)).filter(|path| path.length() <= LONGEST_PATH);
    let param = param.map(|path| path.unescape().into_owned());
    Error { param, ..Error::new(kind, message) }
}

/// What is wrong, in their words.
fn reason(failure: &Failure<'_>) -> Option<String> {
    if let Some(message) = text(failure.message) {
        return Some(message.unescape().into_owned());
    }
    // FastAPI's list of fields; Mistral puts it into `message`.
    let inner: Failure<'_> =
        failure.message.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let details = failure.detail.or(inner.detail)?;
    if let Some(detail) = Text::from_raw(details) {
        return Some(detail.unescape().into_owned());
    }
    let details: Vec<Detail<'_>> = serde_json::from_str(details.get()).ok()?;
    let first = details.first()?;
    let path: Vec<&str> = first.loc.iter().flatten().map(|part| part.get().trim_matches('"')).collect();
    Some(format!("{}: {}", path.join("."), first.msg?.unescape()))
}

/// The HTTP status that goes with a name in an error of a stream.
fn status_of(name: &str) -> Option<u16> {
    Some(match name {
        "invalid_request_error" | "context_length_exceeded" | "BadRequestError" => 400,
        "rate_limit_error" | "rate_limit_exceeded" | "insufficient_quota" | "tokens" | "requests" => 429,
        "overloaded_error" | "service_unavailable" => 503,
        _ => return None,
    })
}

/// A name that is one; anything else is not repeated to a client.
fn is_word(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(edition: Edition, status: u16, body: &str) -> Error {
        refusal(edition, status, &Headers::default(), body.as_bytes())
    }

    #[test]
    fn every_status_of_openai_has_its_kind() {
        for (status, code, kind) in [
            (400, "null", Kind::BadRequest),
            (400, r#""unsupported_parameter""#, Kind::BadRequest),
            (400, r#""context_length_exceeded""#, Kind::TooLong),
            (401, r#""invalid_api_key""#, Kind::Denied),
            (403, r#""unsupported_country_region_territory""#, Kind::Denied),
            (404, r#""model_not_found""#, Kind::UnknownModel),
            (408, "null", Kind::TimedOut),
            (422, "null", Kind::BadRequest),
            (429, r#""insufficient_quota""#, Kind::Throttled),
            (500, "null", Kind::UpstreamFailed),
            (502, "null", Kind::UpstreamFailed),
            (503, "null", Kind::Overloaded),
            (504, "null", Kind::TimedOut),
            (302, "null", Kind::UpstreamGarbled),
        ] {
            let body = format!(r#"{{"error":{{"message":"why","type":"t","param":null,"code":{code}}}}}"#);
            assert_eq!(refused(Edition::OpenAi, status, &body).kind, kind, "{status} {code}");
            assert_eq!(
                refused(Edition::OpenAi, status, "<html>").kind,
                if status == 400 || status == 404 || status == 429 {
                    refused(Edition::OpenAi, status, "").kind
                } else {
                    kind
                }
            );
        }
    }

    #[test]
    fn every_shape_of_an_error_tells_its_reason() {
        for (edition, status, body, kind, message) in [
            (
                Edition::OpenAi,
                400,
                r#"{"error":{"message":"Say \u201cplease\u201d.","type":"invalid_request_error","param":"messages","code":null}}"#,
                Kind::BadRequest,
                "OpenAI: Say “please”.",
            ),
            (
                Edition::OpenModels,
                400,
                r#"[{"error":{"code":400,"message":"Request contains an invalid argument.","status":"INVALID_ARGUMENT"}}]"#,
                Kind::BadRequest,
                "Vertex AI: Request contains an invalid argument.",
            ),
            (
                Edition::OpenModels,
                400,
                r#"{"object":"error","message":"This model's maximum context length is 8192 tokens.","type":"BadRequestError","param":null,"code":400}"#,
                Kind::TooLong,
                "Vertex AI: This model's maximum context length is 8192 tokens.",
            ),
            (
                Edition::Mistral,
                400,
                r#"{"object":"error","message":"Unexpected role 'user' after role 'tool'","type":"invalid_request_message_order","param":null,"code":"3230"}"#,
                Kind::BadRequest,
                "Vertex AI: Unexpected role 'user' after role 'tool'",
            ),
            (
                Edition::Mistral,
                422,
                r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted"}]},"type":"invalid_request_error"}"#,
                Kind::BadRequest,
                "Vertex AI: body.seed: Extra inputs are not permitted",
            ),
            (Edition::Mistral, 404, r#"{"detail":"Not Found"}"#, Kind::UnknownModel, "Vertex AI: Not Found"),
            (
                Edition::OpenModels,
                404,
                "<!DOCTYPE html><title>Error 404</title>",
                Kind::UnknownModel,
                "Vertex AI answered 404 without a reason that could be read",
            ),
        ] {
            let error = refused(edition, status, body);
            assert_eq!((error.kind, error.message.as_str()), (kind, message), "{body}");
        }
    }

    #[test]
    fn of_keys_nothing_is_repeated() {
        let body = r#"{"error":{"message":"Incorrect API key provided: sk-proj-abc","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#;
        let error = refused(Edition::OpenAi, 401, body);
        assert_eq!(error.message, "OpenAI does not accept the gateway's key (401 invalid_api_key)");
    }

    #[test]
    fn an_error_in_a_stream_has_the_kind_of_its_name() {
        for (json, kind) in [
            (r#"{"error":{"message":"x","type":"server_error","code":null}}"#, Kind::UpstreamFailed),
            (r#"{"error":{"message":"x","type":"tokens","code":"rate_limit_exceeded"}}"#, Kind::Throttled),
            (r#"{"error":{"message":"x","type":"BadRequestError","code":400}}"#, Kind::BadRequest),
            (
                r#"{"object":"error","message":"x","type":"invalid_request_error","code":"3230"}"#,
                Kind::BadRequest,
            ),
            (r#"[{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}]"#, Kind::Overloaded),
            (r#"{"error":"went wrong"}"#, Kind::UpstreamFailed),
        ] {
            assert_eq!(broken_off(Edition::OpenModels, json).kind, kind, "{json}");
        }
    }

    #[test]
    fn the_wait_comes_from_the_header() {
        let mut headers = Headers::default();
        headers.add("retry-after", "7");
        assert_eq!(refusal(Edition::OpenAi, 429, &headers, b"").retry_after, Some(7));
    }
}
