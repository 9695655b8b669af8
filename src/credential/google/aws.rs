//! Who Envoy is on AWS, as a token for Google: a signed request to AWS's GetCallerIdentity, which Google sends to learn
//! who has signed it.
//!
//! `subjectToken` of cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token.

use std::time::SystemTime;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use zeroize::Zeroizing;

use super::super::sigv4::{self, Request};
use super::super::{Carry, Grant, Outcome, Problem};
use super::place::Place;

/// The request, but for its region and its signature.
#[derive(Debug)]
pub struct CallerIdentity {
    /// With `{region}` in it.
    url: String,
}

/// For which provider of a pool the request is. It is signed too, as Google recommends, so the token is of no use
/// elsewhere.
const TARGET: &str = "x-goog-cloud-target-resource";

/// What needs no code: RFC 3986 section 2.3.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Google's form of a request.
#[derive(Serialize)]
struct Signed<'a> {
    url: &'a str,
    method: &'a str,
    headers: Vec<Header<'a>>,
}

#[derive(Serialize)]
struct Header<'a> {
    key: &'a str,
    value: &'a str,
}

impl CallerIdentity {
    /// Takes a file's `regional_cred_verification_url`; `None` if it is none of AWS's security token service, for which
    /// alone it may be signed.
    pub fn new(url: &str) -> Option<Self> {
        let place = Place::parse(&url.replace("{region}", "us-east-1"), &["https"])?;
        let is_sts = place.host.starts_with("sts.") || place.host.starts_with("sts-fips.");
        let is_aws = place.host.ends_with(".amazonaws.com") || place.host.ends_with(".amazonaws.com.cn");
        let (_, query) = parts(&place)?;
        let asks = query.split('&').any(|part| part == "Action=GetCallerIdentity");
        (is_sts && is_aws && asks).then(|| Self { url: url.to_owned() })
    }

    /// Signs it with the keys in `carry.grant`, in the region in `carry.name`, for a provider of a pool.
    ///
    /// # Errors
    /// When one of these is none.
    pub fn token(
        &self,
        carry: &Carry,
        audience: &str,
        now: SystemTime,
    ) -> Result<Zeroizing<String>, Problem> {
        let failed = |words: &str| Problem { outcome: Outcome::Failed, words: words.to_owned() };
        let Some(Grant::Keys(keys)) = carry.grant.as_deref() else {
            return Err(failed("has no keys to be signed with"));
        };
        let url = self.url.replace("{region}", &carry.name);
        let place = Place::parse(&url, &["https"]).ok_or_else(|| failed("has no region to be signed in"))?;
        let (path, query) = parts(&place).ok_or_else(|| failed("has no address to be signed for"))?;
        let headers = [(TARGET, audience)];
        let request =
            Request { method: "POST", host: &place.host, path, query: &query, headers: &headers, body: b"" };
        let proof = sigv4::sign(now, keys, &carry.name, "sts", &request)
            .map_err(|problem| failed(&format!("could not be signed: {problem}")))?;
        // Google's documents spell the names so, with one capital letter.
        let name = |name: &'static str| if name == "authorization" { "Authorization" } else { name };
        let mut headers: Vec<Header<'_>> =
            proof.iter().map(|(key, value)| Header { key: name(key), value }).collect();
        headers.push(Header { key: "host", value: &place.host });
        headers.push(Header { key: TARGET, value: audience });
        let signed = Signed { url: &url, method: "POST", headers };
        let json = serde_json::to_string(&signed).map(Zeroizing::new).map_err(|_| failed("is no text"))?;
        // A buffer that grows would leave pieces behind.
        let mut token = Zeroizing::new(String::with_capacity(json.len() * 3));
        token.extend(utf8_percent_encode(&json, PLAIN));
        Ok(token)
    }
}

/// Path and query, as they are signed: parameters in the order of their names. `None` where there is no query, or one
/// that would have to be encoded otherwise.
fn parts(place: &Place) -> Option<(&str, String)> {
    let (path, query) = place.target.split_once('?')?;
    let is_plain = query.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%=&".contains(&byte));
    let mut parameters: Vec<&str> = query.split('&').collect();
    parameters.sort_unstable();
    is_plain.then(|| (path, parameters.join("&")))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const AUDIENCE: &str =
        "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/aws";

    #[test]
    fn nothing_is_signed_but_the_question_to_awss_token_service() {
        for url in [
            "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
            "https://sts.{region}.amazonaws.com/?Version=2011-06-15&Action=GetCallerIdentity",
            "https://sts-fips.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
            "https://sts.{region}.amazonaws.com.cn?Action=GetCallerIdentity&Version=2011-06-15",
        ] {
            assert!(CallerIdentity::new(url).is_some(), "{url}");
        }
        for url in [
            "",
            "http://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
            "https://sts.{region}.amazonaws.com",
            "https://sts.{region}.amazonaws.com?Action=AssumeRole&Version=2011-06-15",
            "https://iam.amazonaws.com?Action=GetCallerIdentity",
            "https://sts.{region}.evil.example?Action=GetCallerIdentity",
            "https://sts.evil.example/.amazonaws.com?Action=GetCallerIdentity",
            "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&x=a+b",
        ] {
            assert!(CallerIdentity::new(url).is_none(), "{url}");
        }
    }

    /// `AWSRequest` and `SigV4Auth("sts", region)` of botocore 1.44.5 for the same request.
    #[test]
    fn the_signature_is_that_of_botocore() {
        let url = "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15";
        let keys = sigv4::Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            Some("c2Vzc2lvbg=="),
        );
        let carry = Carry {
            grant: Some(Rc::new(Grant::Keys(keys.unwrap()))),
            name: "eu-west-1".to_owned(),
            ..Carry::default()
        };
        let now = UNIX_EPOCH + Duration::from_secs(1_735_689_600);
        let token = CallerIdentity::new(url).unwrap().token(&carry, AUDIENCE, now).unwrap();
        let json = percent_encoding::percent_decode_str(&token).decode_utf8().unwrap().into_owned();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["url"], url.replace("{region}", "eu-west-1"));
        assert_eq!(json["method"], "POST");
        let header = |name: &str| {
            let found = json["headers"].as_array().unwrap().iter().find(|header| header["key"] == name);
            found.unwrap()["value"].as_str().unwrap().to_owned()
        };
        assert_eq!(json["headers"].as_array().unwrap().len(), 5);
        assert_eq!(header("host"), "sts.eu-west-1.amazonaws.com");
        assert_eq!(header("x-amz-date"), "20250101T000000Z");
        assert_eq!(header("x-amz-security-token"), "c2Vzc2lvbg==");
        assert_eq!(header(TARGET), AUDIENCE);
        let scope = "AKIDEXAMPLE/20250101/eu-west-1/sts/aws4_request";
        let names = "host;x-amz-date;x-amz-security-token;x-goog-cloud-target-resource";
        let signature = "8ef0c2d3d263dca21af835eb098e311a4ad3d72236edec8a208cf8340fb00c04";
        let expected =
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={names}, Signature={signature}");
        assert_eq!(header("Authorization"), expected);
    }

    #[test]
    fn without_keys_or_a_region_there_is_no_token() {
        let url = "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15";
        let identity = CallerIdentity::new(url).unwrap();
        let keys = |id| Grant::Keys(sigv4::Credentials::new(id, "secret", None).unwrap());
        for (grant, region) in [
            (None, "eu-west-1"),
            (Some(Grant::Token(Zeroizing::new("t".to_owned()))), "eu-west-1"),
            (Some(keys("AKID")), "eu-west-1/\r\n"),
        ] {
            let carry = Carry { grant: grant.map(Rc::new), name: region.to_owned(), ..Carry::default() };
            assert!(identity.token(&carry, AUDIENCE, UNIX_EPOCH).is_err(), "{region}");
        }
    }
}
