//! Answers of token endpoints: a token for a while, or a word why not.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::super::{Answer, Carry, Grant, Problem, is_token};

/// What tokens are good for. It is what Vertex AI wants, and what impersonation takes:
/// cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken.
pub const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Reads `{"access_token":…,"expires_in":…}`, the answer of every token endpoint: RFC 6749 section 5.1.
pub fn read(carry: &mut Carry, answer: &Answer<'_>, now: SystemTime) -> Result<(), Problem> {
    #[derive(Deserialize)]
    struct Token {
        access_token: Zeroizing<String>,
        expires_in: u64,
    }
    if answer.status != 200 {
        return Err(refusal(answer));
    }
    let read = serde_json::from_slice::<Token>(answer.body).ok();
    let Some(token) = read.filter(|token| is_token(&token.access_token)) else {
        return Err(no_token());
    };
    carry.expires = now.checked_add(Duration::from_secs(token.expires_in));
    carry.grant = Some(Rc::new(Grant::Token(token.access_token)));
    Ok(())
}

/// What was answered with a good status is none.
pub fn no_token() -> Problem {
    Problem::garbled("with something that is no token")
}

/// Why there is none: the `error` of RFC 6749 section 5.2, or the `status` of Google's own APIs (google.aip.dev/193).
/// What else an answer says may quote the request.
pub fn refusal(answer: &Answer<'_>) -> Problem {
    #[derive(Deserialize)]
    struct Refusal<'a> {
        #[serde(borrow)]
        error: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Status {
        status: String,
    }
    let error = serde_json::from_slice::<Refusal<'_>>(answer.body).ok().map(|refusal| refusal.error.get());
    let code = error.and_then(|error| {
        let status = serde_json::from_str::<Status>(error).map(|error| error.status);
        status.or_else(|_| serde_json::from_str::<String>(error)).ok()
    });
    Problem::status(answer.status, code.as_deref())
}
