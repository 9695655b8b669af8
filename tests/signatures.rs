//! AWS's own test suite of Signature Version 4, as far as it is about requests that this gateway could send.
//!
//! The vectors are AWS's published test data: github.com/awslabs/aws-c-auth, tests/aws-signing-test-suite/v4 of v0.9.0,
//! as the crate `aws-sigv4` 1.6.4 has them in aws-signing-test-suite/ (`request.txt`, `context.json` and
//! `header-signature.txt` of each case). The paths of `normalize: true` are compared; those without are S3's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test a panic is the message"
)]

use std::time::{Duration, UNIX_EPOCH};

use fairlead::credential::sigv4::{Credentials, Request, sign};

/// Of every case: 2015-08-30T12:36:00Z, us-east-1, a service called `service`, at this host and with this key.
const NOW: Duration = Duration::from_secs(1_440_938_160);
const HOST: &str = "example.amazonaws.com";
const KEY: (&str, &str) = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");

const TOKEN: &str = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
const STS_TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

/// A case: what it is called, method, path, query, headers beside the signer's own, body, token, signature.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
    Option<&'static str>,
    &'static str,
);

const UNRESERVED: &str = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const UNRESERVED_PATH: &str = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The hash of `Param1=value1`, which the two cases with a body send and sign, as they do their `content-length`.
const BODY_HASH: (&str, &str) =
    ("X-Amz-Content-Sha256", "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e");
const LENGTH: (&str, &str) = ("Content-Length", "13");

/// Queries are as they are sent here: encoded and sorted.
#[rustfmt::skip]
const CASES: &[Case] = &[
    ("get-header-value-trim", "GET", "/", "", &[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")], "", None, "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"),
    ("get-slash-normalized", "GET", "//", "", &[], "", None, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("get-slashes-normalized", "GET", "//example//", "", &[], "", None, "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
    ("get-unreserved", "GET", UNRESERVED_PATH, "", &[], "", None, "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
    ("get-vanilla", "GET", "/", "", &[], "", None, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("get-vanilla-empty-query-key", "GET", "/", "Param1=value1", &[], "", None, "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"),
    ("get-vanilla-query", "GET", "/", "", &[], "", None, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("get-vanilla-query-order-encoded", "GET", "/", "%E1%88%B4=Value1&Param=Value2&Param-3=Value3", &[], "", None, "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"),
    ("get-vanilla-query-order-key-case", "GET", "/", "Param1=value1&Param2=value2", &[], "", None, "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    ("get-vanilla-query-unreserved", "GET", "/", UNRESERVED, &[], "", None, "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"),
    ("get-vanilla-utf8-query", "GET", "/", "%E1%88%B4=bar", &[], "", None, "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
    ("get-vanilla-with-session-token", "GET", "/", "", &[], "", Some(TOKEN), "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"),
    ("post-header-key-case", "POST", "/", "", &[], "", None, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ("post-header-key-sort", "POST", "/", "", &[("My-Header1", "value1")], "", None, "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"),
    ("post-header-value-case", "POST", "/", "", &[("My-Header1", "VALUE1")], "", None, "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"),
    // The token is added after the signing there; then it is as if there were none.
    ("post-sts-header-after", "POST", "/", "", &[], "", None, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ("post-sts-header-before", "POST", "/", "", &[], "", Some(STS_TOKEN), "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"),
    ("post-vanilla", "POST", "/", "", &[], "", None, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ("post-vanilla-empty-query-value", "POST", "/", "Param1=value1", &[], "", None, "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"),
    ("post-vanilla-query", "POST", "/", "Param1=value1", &[], "", None, "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"),
    ("post-x-www-form-urlencoded", "POST", "/", "", &[("Content-Type", "application/x-www-form-urlencoded"), LENGTH, BODY_HASH], "Param1=value1", None, "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b"),
    ("post-x-www-form-urlencoded-parameters", "POST", "/", "", &[("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"), LENGTH, BODY_HASH], "Param1=value1", None, "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422"),
];

/// The others, and why no request of the gateway's is like them.
const OTHERS: &[(&str, &[&str])] = &[
    // A header twice: every header is set once here.
    ("repeated headers", &["get-header-key-duplicate", "get-header-value-order"]),
    // RFC 9110 section 5.5 forbids to send it, and the signer refuses line feeds.
    ("a header folded over lines", &["get-header-value-multiline"]),
    // The signer refuses them: signers and proxies disagree on where they lead.
    (
        "paths with `.` or `..`",
        &[
            "get-relative-normalized",
            "get-relative-relative-normalized",
            "get-slash-dot-slash-normalized",
            "get-slash-pointless-dot-normalized",
        ],
    ),
    // S3's way.
    (
        "paths that are not normalised",
        &[
            "get-relative-unnormalized",
            "get-relative-relative-unnormalized",
            "get-slash-dot-slash-unnormalized",
            "get-slash-pointless-dot-unnormalized",
            "get-slash-unnormalized",
            "get-slashes-unnormalized",
        ],
    ),
    // In these the path is encoded once, by the signer or as it was; here it is encoded when it is made, and once more
    // when it is signed, as all services but S3 demand.
    ("paths that are encoded once", &["get-space-normalized", "get-space-unnormalized", "get-utf8"]),
    // They have a canonical request and no signature. botocore's vectors in src/credential/sigv4.rs are about the same.
    ("without a signature", &["double-encode-path", "double-url-encode"]),
];

#[test]
fn signatures_are_those_of_awss_test_suite() {
    for (name, method, path, query, headers, body, token, signature) in CASES {
        let credentials = Credentials::new(KEY.0, KEY.1, *token).unwrap();
        let request = Request { method, host: HOST, path, query, headers, body: body.as_bytes() };
        let signed = sign(UNIX_EPOCH + NOW, &credentials, "us-east-1", "service", &request).expect(name);
        let (_, authorization) =
            signed.iter().find(|(known, _)| *known == "authorization").expect("a signature");
        let mut names: Vec<String> = headers.iter().map(|(name, _)| name.to_lowercase()).collect();
        names.extend(["host".to_owned(), "x-amz-date".to_owned()]);
        names.extend(token.map(|_| "x-amz-security-token".to_owned()));
        names.sort_unstable();
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={}, \
             Signature={signature}",
            names.join(";")
        );
        assert_eq!(*authorization, expected, "{name}");
        assert!(signed.contains(&("x-amz-date", "20150830T123600Z".to_owned())), "{name}");
    }
}

#[test]
fn every_case_of_the_suite_is_known() {
    let others = OTHERS.iter().flat_map(|(_, names)| names.iter().copied());
    let mut names: Vec<&str> = CASES.iter().map(|case| case.0).chain(others).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 40);
}

/// What the suite asks of signers that take such paths and headers, this one does not take at all.
#[test]
fn what_no_request_has_is_refused() {
    let credentials = Credentials::new(KEY.0, KEY.1, None).unwrap();
    let refuses = |path: &str, headers: &[(&str, &str)]| {
        let request = Request { method: "GET", host: HOST, path, query: "", headers, body: b"" };
        sign(UNIX_EPOCH + NOW, &credentials, "us-east-1", "service", &request).is_err()
    };
    assert!(!refuses("/", &[]));
    for path in
        ["/example/..", "/example1/example2/../..", "/./", "/./example", "/example space/", "/\u{1234}"]
    {
        assert!(refuses(path, &[]), "{path}");
    }
    assert!(refuses("/", &[("My-Header1", "value1\n  value2\n     value3")]));
}
