//! AWS Signature Version 4: time, credentials and request in, headers out.
//!
//! Keys and signatures are AWS's own `aws-sigv4`. The canonical request is ours: what the crate makes of
//! any request took a third of a 2 kB call's time in the plugin, and ours are all alike. The test vectors
//! are botocore's. The rules:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use aws_sigv4::sign::v4;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// The names of the headers that [`sign`] gives with the keys of a session.
pub const SESSION_HEADERS: &[&str] = &["x-amz-date", "authorization", "x-amz-security-token"];

/// An AWS access key, long-lived or of a session. Its `Debug` shows the id only.
pub struct Credentials {
    keys: aws_credential_types::Credentials,
    /// The signing key that was made last, and its scope. It is good for a day and takes four HMACs.
    derived: RefCell<(String, Zeroizing<Vec<u8>>)>,
}

impl Credentials {
    /// Keys as AWS hands them out. A `session_token` belongs to the temporary ones.
    ///
    /// # Errors
    /// [`SignError`] naming the part that no AWS key can be: empty, or with blanks, line ends or other
    /// characters that do not go into a header. (Keys read from files like to end in a line feed.)
    pub fn new(
        access_key_id: &str,
        secret_access_key: &str,
        session_token: Option<&str>,
    ) -> Result<Self, SignError> {
        let printable = |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        if !printable(access_key_id) {
            return Err(SignError("the access key id is empty, or has a blank or a line end in it"));
        }
        if !printable(secret_access_key) {
            return Err(SignError("the secret access key is empty, or has a blank or a line end in it"));
        }
        if !session_token.is_none_or(printable) {
            return Err(SignError("the session token is empty, or has a blank or a line end in it"));
        }
        let keys = aws_credential_types::Credentials::new(
            access_key_id,
            secret_access_key,
            session_token.map(str::to_owned),
            None, // when they expire is for the one who fetches them
            "fairlead",
        );
        Ok(Self { keys, derived: RefCell::default() })
    }

    /// The access key id, the secret access key and the session token.
    pub(super) fn parts(&self) -> (&str, &str, Option<&str>) {
        (self.keys.access_key_id(), self.keys.secret_access_key(), self.keys.session_token())
    }

    /// The names of the headers that [`sign`] gives.
    pub fn header_names(&self) -> &'static [&'static str] {
        match self.keys.session_token() {
            Some(_) => SESSION_HEADERS,
            None => &["x-amz-date", "authorization"],
        }
    }

    /// Signs a text with the key of a scope.
    fn sign(&self, scope: &str, now: SystemTime, region: &str, service: &str, text: &str) -> String {
        let mut derived = self.derived.borrow_mut();
        let (of, key) = &mut *derived;
        if of != scope {
            let secret = self.keys.secret_access_key();
            *key = Zeroizing::new(v4::generate_signing_key(secret, now, region, service).as_ref().to_vec());
            scope.clone_into(of);
        }
        v4::calculate_signature(key.as_slice(), text.as_bytes())
    }

    /// The public half of the key.
    #[must_use]
    pub fn access_key_id(&self) -> &str {
        self.keys.access_key_id()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id()).finish_non_exhaustive()
    }
}

/// What is signed: the request exactly as it goes over the wire.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// In capitals.
    pub method: &'a str,
    /// The `host` header (`:authority`), with the port only if it is not the scheme's own.
    pub host: &'a str,
    /// Begins with `/` and is percent-encoded once: a model id is one segment with `:` as `%3A` and `/` as
    /// `%2F`. Signing encodes it once more, as every AWS service but S3 demands.
    pub path: &'a str,
    /// Without `?`; encoded, and sorted by name, as it is sent. No operation of Bedrock's runtime has one.
    pub query: &'a str,
    /// Further headers to sign, `content-type` above all. Only such as nobody changes on the way, so
    /// never `content-length`, which Envoy writes after us, and none that [`sign`] gives back.
    pub headers: &'a [(&'a str, &'a str)],
    /// The whole body; it is hashed where it lies.
    pub body: &'a [u8],
}

/// Why a request could not be signed: words for the operator, without any value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignError(&'static str);

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for SignError {}

/// The longest path that is signed, in bytes. A model id of Bedrock has up to 2,048 characters, three
/// times that when percent-encoded.
const MAX_TARGET: usize = 8 * 1024;

/// The headers to add to `request`, by name: `x-amz-date`, `authorization`, and for credentials with a
/// session token `x-amz-security-token`. AWS accepts them for five minutes around `now`.
///
/// Signed are `host`, `x-amz-date`, `x-amz-security-token`, the headers of the request and its body.
///
/// # Errors
/// [`SignError`] if the request is none that could be sent, or the clock is off by millennia.
pub fn sign(
    now: SystemTime,
    credentials: &Credentials,
    region: &str,
    service: &str,
    request: &Request<'_>,
) -> Result<Vec<(&'static str, String)>, SignError> {
    let seconds = now.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs());
    let moment = seconds.and_then(moment).ok_or(SignError("the clock is before 1970 or after 9999"))?;
    let (date, _) = moment.split_at_checked(8).ok_or(SignError("the clock has no date"))?;
    let scope = [date, "/", region, "/", service, "/aws4_request"].concat();

    let mut headers: Vec<(String, Cow<'_, str>)> =
        vec![("host".to_owned(), request.host.into()), ("x-amz-date".to_owned(), moment.as_str().into())];
    if let Some(token) = credentials.keys.session_token() {
        headers.push(("x-amz-security-token".to_owned(), token.into()));
    }
    for (name, value) in request.headers {
        headers.push((name.to_ascii_lowercase(), folded(value)));
    }
    headers.sort_unstable();
    for (name, value) in &headers {
        let sound = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
            && !value.bytes().any(|byte| byte.is_ascii_control());
        if !sound {
            return Err(SignError("a header to be signed has characters that no header may have"));
        }
    }
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");

    // Name for name as in the rules: method, path, query, headers, their names, hash of the body.
    let mut canonical = String::with_capacity(512 + request.path.len() * 3);
    canonical.push_str(request.method);
    canonical.push('\n');
    path(request.path, &mut canonical)?;
    canonical.extend(["\n", request.query, "\n"]);
    for (name, value) in &headers {
        canonical.extend([name.as_str(), ":", value, "\n"]);
    }
    canonical.extend(["\n", &names, "\n"]);
    hex(&Sha256::digest(request.body), &mut canonical);

    let mut text = String::with_capacity(192);
    text.extend(["AWS4-HMAC-SHA256\n", &moment, "\n", &scope, "\n"]);
    hex(&Sha256::digest(canonical.as_bytes()), &mut text);

    let signature = credentials.sign(&scope, now, region, service, &text);
    let id = credentials.access_key_id();
    let authorization = [
        "AWS4-HMAC-SHA256 Credential=",
        id,
        "/",
        &scope,
        ", SignedHeaders=",
        &names,
        ", Signature=",
        &signature,
    ]
    .concat();
    let mut signed = vec![("x-amz-date", moment), ("authorization", authorization)];
    if let Some(token) = credentials.keys.session_token() {
        signed.push(("x-amz-security-token", token.to_owned()));
    }
    Ok(signed)
}

/// `20250101T000000Z`; `None` for what the calendar does not reach.
fn moment(seconds: u64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second) = time.to_hms();
    Some(format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z"))
}

/// Signing encodes the path once more and drops empty segments, as every AWS service but S3 demands.
fn path(path: &str, out: &mut String) -> Result<(), SignError> {
    const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    if path.len() > MAX_TARGET {
        return Err(SignError("the path is longer than 8 KiB"));
    }
    if !path.starts_with('/')
        || !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#')
    {
        return Err(SignError("the path does not begin with '/', or has characters that no path may have"));
    }
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        // A model id of ".." would climb out of its place; signers and proxies disagree on where to.
        if matches!(segment, "." | "..") {
            return Err(SignError("the path has a segment '.' or '..'"));
        }
        out.push('/');
        out.extend(utf8_percent_encode(segment, UNRESERVED));
    }
    if path.ends_with('/') {
        out.push('/');
    }
    Ok(())
}

/// A header value with no blanks around it and single ones inside.
fn folded(value: &str) -> Cow<'_, str> {
    if value.trim_matches(' ').len() == value.len() && !value.contains("  ") {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8], out: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    out.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// AWS's published example key.
    const KEY: (&str, &str) = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4+a==";

    struct Vector {
        what: &'static str,
        seconds: u64,
        token: Option<&'static str>,
        region: &'static str,
        method: &'static str,
        host: &'static str,
        path: &'static str,
        headers: &'static [(&'static str, &'static str)],
        body: &'static str,
        date: &'static str,
        signed: &'static str,
        signature: &'static str,
    }

    /// What `botocore.auth.SigV4Auth` of botocore 1.44.5 made of these requests for service `bedrock`.
    const VECTORS: &[Vector] = &[
        Vector {
            what: "a model id with a colon",
            seconds: 1735689600,
            token: None,
            region: "us-east-1",
            method: "POST",
            host: "bedrock-runtime.us-east-1.amazonaws.com",
            path: "/model/anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse",
            headers: &[("content-type", "application/json")],
            body: "{\"messages\":[]}",
            date: "20250101T000000Z",
            signed: "content-type;host;x-amz-date",
            signature: "2a98d6b1efb3484eb889d76088223bf349abcf6e47d10f06188f673ef4e3da13",
        },
        Vector {
            what: "a session token",
            seconds: 1735689600,
            token: Some(TOKEN),
            region: "us-east-1",
            method: "POST",
            host: "bedrock-runtime.us-east-1.amazonaws.com",
            path: "/model/anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse",
            headers: &[("content-type", "application/json")],
            body: "{\"messages\":[]}",
            date: "20250101T000000Z",
            signed: "content-type;host;x-amz-date;x-amz-security-token",
            signature: "134b4dd562ced30d6bfed9db48bbd6ea080ec6caa3224041f6dccb5fe9067536",
        },
        Vector {
            what: "an ARN as one segment",
            seconds: 1735689600,
            token: Some(TOKEN),
            region: "us-east-1",
            method: "POST",
            host: "bedrock-runtime.us-east-1.amazonaws.com",
            path: "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc123/converse-stream",
            headers: &[("content-type", "application/json")],
            body: "{\"messages\":[]}",
            date: "20250101T000000Z",
            signed: "content-type;host;x-amz-date;x-amz-security-token",
            signature: "5ca91aa7edb9f58d6f646659122529ad3bad38c1f068359e03634fe22c913c38",
        },
        Vector {
            what: "the last second of a day",
            seconds: 1735689599,
            token: None,
            region: "us-east-1",
            method: "POST",
            host: "bedrock-runtime.us-east-1.amazonaws.com",
            path: "/model/anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse",
            headers: &[("content-type", "application/json")],
            body: "{\"messages\":[]}",
            date: "20241231T235959Z",
            signed: "content-type;host;x-amz-date",
            signature: "4ae05de7332354c9233ae054e5fae55861e82741184b6d0779f623b679edcfef",
        },
        Vector {
            what: "the last second of a leap day",
            seconds: 1709251199,
            token: None,
            region: "us-east-1",
            method: "POST",
            host: "bedrock-runtime.us-east-1.amazonaws.com",
            path: "/model/anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse",
            headers: &[("content-type", "application/json")],
            body: "{\"messages\":[]}",
            date: "20240229T235959Z",
            signed: "content-type;host;x-amz-date",
            signature: "6f4a3822fe4646da607c2868711074f0edccfc9a668551f54cccd82cf1f8a1ca",
        },
        Vector {
            what: "a body in many scripts",
            seconds: 1735689600,
            token: None,
            region: "us-east-1",
            method: "POST",
            host: "bedrock-runtime.us-east-1.amazonaws.com",
            path: "/model/anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse-stream",
            headers: &[("content-type", "application/json")],
            body: "{\"text\":\"Grüße 🦀 你好\"}",
            date: "20250101T000000Z",
            signed: "content-type;host;x-amz-date",
            signature: "663a34da94f88482aca600c32cfa4c9aadfd86a7c464562d7f30b9d94bbb3fcd",
        },
        Vector {
            what: "an empty body",
            seconds: 1735689600,
            token: None,
            region: "us-east-1",
            method: "POST",
            host: "bedrock-runtime.us-east-1.amazonaws.com",
            path: "/model/anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse",
            headers: &[("content-type", "application/json")],
            body: "",
            date: "20250101T000000Z",
            signed: "content-type;host;x-amz-date",
            signature: "199a8a230a303e6a15c6a301639ec28111ff7249b9c751df1137fac4054adc82",
        },
        Vector {
            what: "characters that a path may have unencoded",
            seconds: 1735689600,
            token: None,
            region: "us-east-1",
            method: "POST",
            host: "bedrock-runtime.us-east-1.amazonaws.com",
            path: "/model/a:b@c!$&'()*+,;=~-._/converse",
            headers: &[("content-type", "application/json")],
            body: "{\"messages\":[]}",
            date: "20250101T000000Z",
            signed: "content-type;host;x-amz-date",
            signature: "84d013dff27cb0ff48964532cb163c8bba0349e5c1e685420e160f04d5ff3c75",
        },
        Vector {
            what: "an empty segment and an encoded percent sign",
            seconds: 1735689600,
            token: None,
            region: "us-east-1",
            method: "POST",
            host: "bedrock-runtime.us-east-1.amazonaws.com",
            path: "/model//a%2525b/converse/",
            headers: &[("content-type", "application/json")],
            body: "{\"messages\":[]}",
            date: "20250101T000000Z",
            signed: "content-type;host;x-amz-date",
            signature: "0839614d910d43c4782a046532b1347e60e70b3f1e4d6b90cba3d839981e9f6d",
        },
        Vector {
            what: "more headers, one with blanks to fold",
            seconds: 1735689600,
            token: None,
            region: "us-east-1",
            method: "POST",
            host: "bedrock-runtime.us-east-1.amazonaws.com",
            path: "/model/anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse",
            headers: &[
                ("X-Amzn-Bedrock-Trace", "  ENABLED   now "),
                ("accept", "application/vnd.amazon.eventstream"),
                ("content-type", "application/json"),
            ],
            body: "{\"messages\":[]}",
            date: "20250101T000000Z",
            signed: "accept;content-type;host;x-amz-date;x-amzn-bedrock-trace",
            signature: "bc9b7579668599ddcd8b99a8639df48087a3601c9df2006906aa550e0b3c61ad",
        },
        Vector {
            what: "a host with a port",
            seconds: 1735689600,
            token: None,
            region: "us-east-1",
            method: "POST",
            host: "127.0.0.1:9000",
            path: "/model/anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse",
            headers: &[("content-type", "application/json")],
            body: "{\"messages\":[]}",
            date: "20250101T000000Z",
            signed: "content-type;host;x-amz-date",
            signature: "441e2e1e0c6dd5a29c14b8c5641e537586a0163098c9078bf812b496c02766a0",
        },
    ];

    fn credentials(token: Option<&str>) -> Credentials {
        Credentials::new(KEY.0, KEY.1, token).unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    const PLAIN: Request<'_> = Request {
        method: "POST",
        host: "bedrock-runtime.us-east-1.amazonaws.com",
        path: "/model/m/converse",
        query: "",
        headers: &[("content-type", "application/json")],
        body: b"{}",
    };

    fn refusal(request: &Request<'_>) -> Option<SignError> {
        sign(at(0), &credentials(None), "us-east-1", "bedrock", request).err()
    }

    #[test]
    fn signatures_are_those_of_botocore() {
        for vector in VECTORS {
            let Vector { what, method, host, path, headers, body, date, signed, signature, .. } = vector;
            let request = Request { method, host, path, query: "", headers, body: body.as_bytes() };
            let got =
                sign(at(vector.seconds), &credentials(vector.token), vector.region, "bedrock", &request)
                    .unwrap();
            let scope = format!("{}/{}/{}/bedrock/aws4_request", KEY.0, &date[..8], vector.region);
            let authorization =
                format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={signed}, Signature={signature}");
            let mut want = vec![("x-amz-date", (*date).to_owned()), ("authorization", authorization)];
            want.extend(vector.token.map(|token| ("x-amz-security-token", token.to_owned())));
            assert_eq!(got, want, "{what}");
        }
    }

    #[test]
    fn a_part_of_a_second_does_not_change_the_signature() {
        let sign = |now| sign(now, &credentials(None), "us-east-1", "bedrock", &PLAIN);
        assert_eq!(sign(at(1_735_689_599)), sign(at(1_735_689_599) + Duration::from_nanos(999_999_999)));
    }

    #[test]
    fn keys_that_no_aws_key_can_be_are_refused() {
        for bad in ["", "key\n", " key", "k\u{fc}", "a\r\nx-evil: 1"] {
            assert!(Credentials::new(bad, KEY.1, None).is_err(), "{bad:?}");
            assert!(Credentials::new(KEY.0, bad, None).is_err(), "{bad:?}");
            assert!(Credentials::new(KEY.0, KEY.1, Some(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn requests_that_cannot_be_sent_as_signed_are_refused() {
        assert_eq!(refusal(&PLAIN), None);
        for path in
            ["", "model", "/a?b", "/a#b", "/model/../converse", "/model/./converse", "/a b", "/a\n", "/.."]
        {
            assert!(refusal(&Request { path, ..PLAIN }).is_some(), "{path:?}");
        }
        for header in [("a b", "x"), ("", "x"), ("a", "x\n")] {
            assert!(refusal(&Request { headers: &[header], ..PLAIN }).is_some(), "{header:?}");
        }
        assert!(refusal(&Request { host: "evil\n", ..PLAIN }).is_some());
    }

    #[test]
    fn the_longest_target_is_signed_and_one_byte_more_is_refused() {
        let path = format!("/{}", "a".repeat(MAX_TARGET - 1));
        assert_eq!(refusal(&Request { path: &path, ..PLAIN }), None);
        assert!(refusal(&Request { path: &(path + "a"), ..PLAIN }).is_some());
    }

    #[test]
    fn the_key_is_that_of_the_day_and_the_region_whatever_was_signed_before() {
        let kept = credentials(None);
        for (seconds, region) in [(0, "a"), (86399, "a"), (86400, "a"), (86400, "b"), (0, "a")] {
            let sign = |with| sign(at(seconds), with, region, "bedrock", &PLAIN);
            assert_eq!(sign(&kept), sign(&credentials(None)), "{seconds} {region}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let days = [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (4_107_542_399, "21000228T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
            (253_402_300_799, "99991231T235959Z"),
        ];
        for (seconds, date) in days {
            assert_eq!(moment(seconds).as_deref(), Some(date));
        }
    }

    #[test]
    fn a_clock_out_of_range_is_refused_and_never_a_panic() {
        let sign = |now| sign(now, &credentials(None), "us-east-1", "bedrock", &PLAIN);
        assert!(sign(at(253_402_300_799)).is_ok());
        assert!(sign(at(253_402_300_800)).is_err());
        assert!(sign(UNIX_EPOCH - Duration::from_secs(1)).is_err());
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let shown = format!("{:?}", credentials(Some(TOKEN)));
        assert_eq!(shown, "Credentials { access_key_id: \"AKIDEXAMPLE\", .. }");
    }
}
