//! Keys as AWS's services hand them out, and when they end.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::credential::{Answer, Carry, Grant, Outcome, Problem, is_token, sigv4};

/// Keys of a session: those without a token never end, and nobody hands them out.
pub struct Keys<'a> {
    pub access_key_id: &'a str,
    pub secret_access_key: &'a str,
    pub session_token: &'a str,
    /// As in RFC 3339.
    pub expiration: &'a str,
}

impl Keys<'_> {
    /// Puts them into the carry.
    ///
    /// # Errors
    /// When they can be none.
    pub fn put(&self, carry: &mut Carry) -> Result<(), Problem> {
        let Self { access_key_id, secret_access_key, session_token, expiration } = self;
        let sound = [access_key_id, secret_access_key, session_token].into_iter().all(|part| is_token(part));
        let keys = sigv4::Credentials::new(access_key_id, secret_access_key, Some(session_token)).ok();
        let Some(keys) = keys.filter(|_| sound) else {
            return Err(Problem::garbled("with something that is no key"));
        };
        let Some(expires) = moment(expiration) else {
            return Err(Problem::garbled("with keys whose end is no time"));
        };
        carry.grant = Some(Rc::new(Grant::Keys(keys)));
        carry.expires = Some(expires);
        Ok(())
    }
}

fn moment(text: &str) -> Option<SystemTime> {
    let seconds = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp();
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// Reads the JSON of EC2's metadata service and of the endpoints of containers.
pub fn read(carry: &mut Carry, answer: &Answer<'_>) -> Result<(), Problem> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Told {
        /// `Success` where EC2 gives keys, and why there are none where it does not; the agent of ECS writes the name
        /// in small letters.
        #[serde(alias = "code")]
        code: Option<String>,
        access_key_id: Zeroizing<String>,
        secret_access_key: Zeroizing<String>,
        token: Zeroizing<String>,
        expiration: String,
    }
    let told: Told = serde_json::from_slice(answer.body).unwrap_or_default();
    let code = told.code.as_deref().filter(|code| *code != "Success");
    if answer.status != 200 {
        return Err(Problem::status(answer.status, code));
    }
    if code.is_some() {
        return Err(Problem { outcome: Outcome::Refused, ..Problem::status(answer.status, code) });
    }
    let keys = Keys {
        access_key_id: &told.access_key_id,
        secret_access_key: &told.secret_access_key,
        session_token: &told.token,
        expiration: &told.expiration,
    };
    keys.put(carry)
}
