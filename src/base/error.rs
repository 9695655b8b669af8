//! The one table of what can go wrong, and the error a client gets.

use super::host::Reply;
use super::json::Writer;

/// Declares [`Kind`] and its table, so that the README's copy can be held against it.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $status:literal, $type:literal, $code:expr, $meaning:literal;)*) => {
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
                        status: $status, openai_type: $type, openai_code: $code, meaning: $meaning,
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
    /// One line for the README.
    pub meaning: &'static str,
}

kinds! {
    NotJson: 400, "invalid_request_error", Some("invalid_json"),
        "the body is not JSON, or not UTF-8";
    WrongType: 400, "invalid_request_error", Some("invalid_type"),
        "a field has the wrong type; `param` is its path";
    WrongValue: 400, "invalid_request_error", Some("invalid_value"),
        "a field has a value that cannot be meant; `param` is its path";
    Missing: 400, "invalid_request_error", Some("missing_required_parameter"),
        "a required field is missing; `param` is its path";
    Unsupported: 400, "invalid_request_error", Some("unsupported_parameter"),
        "the model's cloud has no counterpart and leaving the field out would change the meaning";
    BadRequest: 400, "invalid_request_error", None,
        "the cloud refused the request; its reason is the message";
    TooLong: 400, "invalid_request_error", Some("context_length_exceeded"),
        "the conversation does not fit the model";
    UnknownModel: 404, "invalid_request_error", Some("model_not_found"),
        "no rule of the configuration, or no model of the cloud, has this name";
    WrongMethod: 405, "invalid_request_error", Some("method_not_allowed"),
        "the route takes another method";
    TooLarge: 413, "invalid_request_error", Some("request_too_large"),
        "the body is larger than `limits.request_bytes`";
    Encoded: 415, "invalid_request_error", Some("unsupported_encoding"),
        "the body is compressed; send it plain";
    Denied: 403, "permission_error", Some("upstream_denied"),
        "the cloud refused the gateway's credentials, or they lack the right to this model";
    Throttled: 429, "rate_limit_error", Some("rate_limit_exceeded"),
        "the cloud asks to slow down";
    NoCredentials: 503, "server_error", Some("credentials_unavailable"),
        "the gateway has no valid cloud credentials at the moment";
    Unreachable: 503, "server_error", Some("upstream_unreachable"),
        "Envoy could not reach the cloud";
    Overloaded: 503, "server_error", Some("upstream_overloaded"),
        "the cloud is overloaded, or the model is not ready";
    TimedOut: 504, "server_error", Some("upstream_timeout"),
        "the cloud did not answer in time";
    UpstreamFailed: 502, "server_error", Some("upstream_error"),
        "the cloud failed";
    UpstreamGarbled: 502, "server_error", Some("upstream_invalid_response"),
        "the cloud's answer could not be understood, or stopped half-way";
    Internal: 500, "server_error", Some("internal_error"),
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
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), param: None, retry_after: None }
    }

    /// An error about one field; the message starts with its path.
    pub fn at(kind: Kind, param: impl Into<String>, problem: &str) -> Self {
        let param = param.into();
        Self { kind, message: format!("{param}: {problem}"), param: Some(param), retry_after: None }
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
        let mut headers = vec![("content-type", "application/json".to_owned())];
        if let Some(seconds) = self.retry_after {
            headers.push(("retry-after", seconds.to_string()));
        }
        Reply { status: self.kind.row().status, headers, body }
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
