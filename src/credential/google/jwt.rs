//! Assertions of service accounts: JWTs that are signed with their keys, RFC 7523.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding};
use rsa::RsaPrivateKey;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::signature::{SignatureEncoding, Signer as _};
use rsa::traits::PublicKeyParts;
use serde::Serialize;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::super::hidden::Hidden;
use super::super::{Outcome, Problem};
use super::token::SCOPE;

/// For whom assertions are, wherever they are sent: google-auth's `_GOOGLE_OAUTH2_TOKEN_ENDPOINT`.
const AUDIENCE: &str = "https://oauth2.googleapis.com/token";

/// The longest that one may be good for: developers.google.com/identity/protocols/oauth2/service-account#httprest.
const LIFETIME: u64 = 3600;

/// Google refuses what was signed in its future, so clocks that are a little fast are forgiven: as golang.org/x/oauth2
/// has it in jws.go.
const EARLIER: u64 = 10;

/// With Google's own keys, of 2048 bits, a signature takes V8 15 to 35 milliseconds, and the worker does nothing else
/// meanwhile: once an hour in the whole process. With 4096 bits it takes 75 to 200, and with more eight times that for
/// twice as many.
const LONGEST_KEY: usize = 4096 / 8;

/// The key of a service account.
pub struct Signer {
    key: SigningKey<Sha256>,
    /// The header of every assertion, encoded.
    header: String,
    email: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("email", &self.email).finish_non_exhaustive()
    }
}

/// RFC 7515 section 4.1.
#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'static str,
    aud: &'static str,
    iat: u64,
    exp: u64,
}

impl Signer {
    /// Takes a key as Google's files have it, PKCS #8 in PEM, with its name.
    ///
    /// # Errors
    /// What is wrong with the key, without any of it.
    pub fn new(pem: &str, name: Option<&str>, email: &str) -> Result<Self, &'static str> {
        let key = RsaPrivateKey::from_pkcs8_pem(pem).map_err(|_| {
            "must be an RSA key as Google gives it out: PEM that begins with `-----BEGIN PRIVATE KEY-----`, with its line \
             ends"
        })?;
        if key.size() > LONGEST_KEY {
            return Err(
                "has more than 4096 bits, and signing with it would hold up requests; make one of 2048",
            );
        }
        let header = Header { alg: "RS256", typ: "JWT", kid: name };
        let header = encoded(&header).ok_or("cannot be used")?;
        Ok(Self { key: SigningKey::new(key), header, email: email.to_owned() })
    }

    /// An assertion that is good for an hour.
    pub fn assertion(&self, now: SystemTime) -> Result<Hidden, Problem> {
        let failed =
            || Problem { outcome: Outcome::Failed, words: "could not be asked: no signature".to_owned() };
        let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let iat = now.saturating_sub(EARLIER);
        let claims =
            Claims { iss: &self.email, scope: SCOPE, aud: AUDIENCE, iat, exp: iat.saturating_add(LIFETIME) };
        let signed = [&self.header, ".", &encoded(&claims).ok_or_else(failed)?].concat();
        let signature = self.key.try_sign(signed.as_bytes()).map_err(|_| failed())?;
        let signature = Zeroizing::new(Base64UrlUnpadded::encode_string(&signature.to_bytes()));
        Ok(Hidden::new([&signed, ".", signature.as_str()].concat()))
    }
}

fn encoded(value: &impl Serialize) -> Option<String> {
    serde_json::to_vec(value).ok().map(|json| Base64UrlUnpadded::encode_string(&json))
}
