//! The one table of what can go wrong, and the error a client gets.

use super::host::Reply;
use super::json::Writer;

/// Declares [`Kind`] and its table, so that the README's copy can be held against it.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $status:literal, $type:literal, $code:expr, $anthropic:expr, $meaning:literal;)*) => {
        /// What went wrong, as far as the client's next step depends on it.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// Every kind, in the order of the table.
            pub const ALL: &[Kind] = &[$(Kind::$kind,)*];

            /// The row of this kind.
            pub const fn row(self) -> Row {
                match self {
                    $(Kind::$kind => Row {
                        status: $status,
                        openai_type: $type,
                        openai_code: $code,
                        anthropic_type: $anthropic,
                        meaning: $meaning,
                    },)*
                }
            }
        }
    };
}

/// What a client sees of a [`Kind`]. Statuses and names are those of OpenAI's error guide
/// (platform.openai.com/docs/guides/error-codes), because its SDKs choose exception and retry by them:
/// they retry 408, 409, 429 and every 5xx, and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    pub status: u16,
    /// `error.type`.
    pub openai_type: &'static str,
    /// `error.code`.
    pub openai_code: Option<&'static str>,
    /// `error.type` of Anthropic's API: docs.claude.com/en/api/errors.
    pub anthropic_type: &'static str,
    /// One line for the README.
    pub meaning: &'static str,
}

/// Anthropic's API has one type for all that is wrong with a request, and one for all that is wrong here.
const INVALID: &str = "invalid_request_error";
const FAILED: &str = "api_error";

kinds! {
    NotJson: 400, "invalid_request_error", Some("invalid_json"), INVALID,
        "the body is not JSON, or not UTF-8";
    WrongType: 400, "invalid_request_error", Some("invalid_type"), INVALID,
        "a field has the wrong type; `param` is its path";
    WrongValue: 400, "invalid_request_error", Some("invalid_value"), INVALID,
        "a field has a value that cannot be meant; `param` is its path";
    Missing: 400, "invalid_request_error", Some("missing_required_parameter"), INVALID,
        "a required field is missing; `param` is its path";
    Unsupported: 400, "invalid_request_error", Some("unsupported_parameter"), INVALID,
        "the model's cloud has no counterpart and leaving the field out would change the meaning";
    BadRequest: 400, "invalid_request_error", None, INVALID,
        "the cloud refused the request; its reason is the message";
    TooLong: 400, "invalid_request_error", Some("context_length_exceeded"), INVALID,
        "the conversation does not fit the model";
    Filtered: 400, "invalid_request_error", Some("content_policy_violation"), INVALID,
        "the cloud's filter withheld every image, or refused the prompt for what it shows";
    UnknownModel: 404, "invalid_request_error", Some("model_not_found"), "not_found_error",
        "no rule of the configuration, or no model of the cloud, has this name";
    Unauthenticated: 401, "invalid_request_error", Some("invalid_api_key"), "authentication_error",
        "the gateway does not know who asks: no key, an unknown one or an expired one";
    NotAllowed: 403, "invalid_request_error", Some("model_not_allowed"), "permission_error",
        "the team may not use this model";
    WrongMethod: 405, "invalid_request_error", Some("method_not_allowed"), INVALID,
        "the route takes another method";
    TooLarge: 413, "invalid_request_error", Some("request_too_large"), "request_too_large",
        "the body is larger than `limits.request_bytes`";
    Encoded: 415, "invalid_request_error", Some("unsupported_encoding"), INVALID,
        "the body is compressed; send it plain";
    Denied: 403, "permission_error", Some("upstream_denied"), "permission_error",
        "the cloud refused the gateway's credentials, or they lack the right to this model";
    Exhausted: 429, "rate_limit_error", Some("rate_limit_exceeded"), "rate_limit_error",
        "a limit of the team, its key, the model, everyone or the fleet is reached";
    OverBudget: 429, "insufficient_quota", Some("insufficient_quota"), "rate_limit_error",
        "the budget of the team, its key, the model or everyone is spent";
    Throttled: 429, "rate_limit_error", Some("rate_limit_exceeded"), "rate_limit_error",
        "the cloud asks to slow down";
    NoCredentials: 503, "server_error", Some("credentials_unavailable"), FAILED,
        "the gateway has no valid cloud credentials at the moment";
    Unreachable: 503, "server_error", Some("upstream_unreachable"), FAILED,
        "Envoy could not reach the cloud";
    Overloaded: 503, "server_error", Some("upstream_overloaded"), "overloaded_error",
        "the cloud is overloaded, or the model is not ready";
    TimedOut: 504, "server_error", Some("upstream_timeout"), "timeout_error",
        "the cloud did not answer in time";
    UpstreamFailed: 502, "server_error", Some("upstream_error"), FAILED,
        "the cloud failed";
    UpstreamGarbled: 502, "server_error", Some("upstream_invalid_response"), FAILED,
        "the cloud's answer could not be understood, or stopped half-way";
    Internal: 500, "server_error", Some("internal_error"), FAILED,
        "a fault of the gateway or of its configuration";
}

/// An error on its way to the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    pub kind: Kind,
    /// For people: what is wrong and the way out. Never a key, a prompt or an answer.
    pub message: String,
    /// `error.param`: path of the field in the client's body.
    pub param: Option<String>,
    /// Seconds to wait, as the upstream asked; becomes `retry-after`.
    pub retry_after: Option<u32>,
    /// To send it again is of no use for long, or ever: the SDKs are told not to.
    pub futile: bool,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), param: None, retry_after: None, futile: false }
    }

    /// An error about one field; the message starts with its path.
    pub fn at(kind: Kind, param: impl Into<String>, problem: &str) -> Self {
        let param = param.into();
        Self {
            kind,
            message: format!("{param}: {problem}"),
            param: Some(param),
            retry_after: None,
            futile: false,
        }
    }

    /// `{"error":{…}}` in OpenAI's shape.
    pub fn write_openai(&self, out: &mut Vec<u8>) {
        let row = self.kind.row();
        let optional = |w: &mut Writer<'_>, text: Option<&str>| match text {
            Some(text) => w.string(text),
            None => w.null(),
        };
        Writer::new(out).object(|w| {
            w.key("error").object(|w| {
                w.key("message").string(&self.message);
                w.key("type").string(row.openai_type);
                optional(w.key("param"), self.param.as_deref());
                optional(w.key("code"), row.openai_code);
            });
        });
    }

    /// The whole answer to a client of OpenAI's API.
    pub fn openai_reply(&self) -> Reply {
        let mut body = Vec::new();
        self.write_openai(&mut body);
        Reply { status: self.kind.row().status, headers: self.headers(), body }
    }
}

/// The field by which a client asks Anthropic to keep the conversation, and what its error carries where that
/// cannot be. The loop of tools in Anthropic's SDKs asks for it with its first request and recovers by this
/// code: it sends the whole conversation from then on (`lib/threads/_thread_state.py` of `anthropic` 2.11).
const THREAD: &str = "thread";
const NO_THREADS: &str = "thread_unsupported_request";

/// The status of Anthropic's API for an overload: its SDKs have an exception of that name, and agents built
/// on them wait longer after it than after any other.
const OVERLOADED: u16 = 529;

impl Error {
    /// `{"type":"error","error":{…}}` in Anthropic's shape.
    pub fn write_anthropic(&self, request_id: &str, out: &mut Vec<u8>) {
        Writer::new(out).object(|w| {
            w.key("type").string("error");
            w.key("error").object(|w| {
                w.key("type").string(self.kind.row().anthropic_type);
                if self.kind == Kind::TooLong {
                    // Agents shorten the conversation when they see these words of Anthropic's.
                    w.key("message").string(&format!("prompt is too long: {}", self.message));
                } else {
                    w.key("message").string(&self.message);
                }
                if self.kind == Kind::Unsupported && self.param.as_deref() == Some(THREAD) {
                    w.key("details").object(|w| {
                        w.key("error_code").string(NO_THREADS);
                    });
                }
            });
            if !request_id.is_empty() {
                w.key("request_id").string(request_id);
            }
        });
    }

    /// The whole answer to a client of Anthropic's API.
    pub fn anthropic_reply(&self, request_id: &str) -> Reply {
        let mut body = Vec::new();
        self.write_anthropic(request_id, &mut body);
        let status = if self.kind == Kind::Overloaded { OVERLOADED } else { self.kind.row().status };
        Reply { status, headers: self.headers(), body }
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("content-type", "application/json".to_owned())];
        if let Some(seconds) = self.retry_after {
            headers.push(("retry-after", seconds.to_string()));
        }
        if self.futile {
            // The SDKs would try twice more at once; this header of OpenAI's and Anthropic's stops them.
            headers.push(("x-should-retry", "false".to_owned()));
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_quotes_and_line_ends_is_still_json() {
        let error = Error::at(Kind::WrongValue, "messages[0]", "a \"quoted\"\nline \u{1} é 🎈");
        let reply = error.openai_reply();
        let value: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(value["error"]["message"], error.message.as_str());
        assert_eq!(value["error"]["param"], "messages[0]");
        assert_eq!(value["error"]["code"], "invalid_value");
        assert_eq!(reply.status, 400);
        let reply = error.anthropic_reply("0af7");
        let value: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        let inside = serde_json::json!({"type": "invalid_request_error", "message": error.message});
        assert_eq!(value, serde_json::json!({"type": "error", "error": inside, "request_id": "0af7"}));
        assert_eq!(reply.status, 400);
    }

    #[test]
    fn an_overload_has_the_status_and_the_name_that_anthropics_sdks_know() {
        let reply = Error::new(Kind::Overloaded, "later").anthropic_reply("");
        assert_eq!(reply.status, 529);
        assert_eq!(
            String::from_utf8(reply.body).unwrap(),
            r#"{"type":"error","error":{"type":"overloaded_error","message":"later"}}"#
        );
    }

    #[test]
    fn every_kind_is_an_error_status_and_has_a_meaning() {
        for kind in Kind::ALL {
            let row = kind.row();
            assert!((400..600).contains(&row.status), "{kind:?}");
            assert!(!row.meaning.is_empty() && !row.openai_type.is_empty(), "{kind:?}");
        }
    }
}
