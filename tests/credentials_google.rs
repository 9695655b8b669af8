//! Stories of Google's credentials: what each source asks, in which order, and what comes of the answers.
//!
//! The shapes are those of google-auth 2.62.2 and of the pages that the steps name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::indexing_slicing,
    clippy::unreachable,
    reason = "in a test a panic is the message"
)]

mod common;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use common::client::headers;
use common::envoy::{FakeHost, NOW};
use fairlead::base::host::{Callout, Level};
use fairlead::config::{Environment, Problems};
use fairlead::credential::source::Standing;
use fairlead::credential::{Grant, Source};
use fairlead::pipeline::Plan;
use percent_encoding::percent_decode_str;
use rsa::RsaPrivateKey;
use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::pkcs8::DecodePrivateKey;
use rsa::signature::Verifier;
use serde_json::{Value, json};
use sha2::Sha256;

/// A key that was made for these tests, and is good for nothing else.
const KEY: &str = include_str!("keys/service-account.pem");

const EMAIL: &str = "gateway@my-project.iam.gserviceaccount.com";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const AUDIENCE: &str =
    "//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/pool/providers/p";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const IAM: &str = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts";

/// Everything that is secret in these stories; nothing of it may be in a log, a metric or debug output.
const SECRETS: &[&str] = &[
    "MIIEv",
    "S3CRET-refresh",
    "S3CRET-client",
    "S3CRET-header",
    "S3CRET-subject",
    "S3CRET-aws",
    "ya29.first",
    "ya29.second",
    "S3CRET-described",
];

fn service_account() -> Value {
    json!({
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "0123abcd",
        "private_key": KEY,
        "client_email": EMAIL,
        "client_id": "123456789012345678901",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token",
        "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
        "client_x509_cert_url": "https://www.googleapis.com/robot/v1/metadata/x509/gateway",
        "universe_domain": "googleapis.com"
    })
}

fn authorized_user() -> Value {
    json!({
        "type": "authorized_user",
        "account": "",
        "client_id": "764086051850.apps.googleusercontent.com",
        "client_secret": "S3CRET-client",
        "refresh_token": "1//S3CRET-refresh",
        "quota_project_id": "its-project",
        "universe_domain": "googleapis.com"
    })
}

fn external_account(source: Value) -> Value {
    json!({
        "type": "external_account",
        "universe_domain": "googleapis.com",
        "audience": AUDIENCE,
        "subject_token_type": JWT,
        "token_url": "https://sts.googleapis.com/v1/token",
        "token_info_url": "https://sts.googleapis.com/v1/introspect",
        "credential_source": source
    })
}

fn aws_source() -> Value {
    json!({
        "environment_id": "aws1",
        "region_url": "http://169.254.169.254/latest/meta-data/placement/availability-zone",
        "url": "http://169.254.169.254/latest/meta-data/iam/security-credentials",
        "regional_cred_verification_url":
            "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
        "imdsv2_session_token_url": "http://169.254.169.254/latest/api/token"
    })
}

/// Credentials with a JSON.
fn with_json(source: &str, json: &Value, clusters: Value) -> Value {
    json!({ "source": source, "json": json.to_string(), "clusters": clusters })
}

fn by_key() -> Value {
    with_json("service_account", &service_account(), json!({ "token": "google_oauth2" }))
}

/// The same with more said.
fn and(mut value: Value, more: Value) -> Value {
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    value
}

fn configuration(credentials: Value) -> Value {
    json!({
        "backends": { "gcp": {
            "provider": "vertex", "project": "my-project", "location": "us-central1", "cluster": "vertex",
            "credentials": credentials
        } },
        "models": [{ "name": "vertex_ai/*", "backend": "gcp" }]
    })
}

fn compile(config: &Value, variables: &[(&str, &str)]) -> Result<Plan, Problems> {
    let environment: Environment =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Plan::compile(config.to_string().as_bytes(), &environment)
}

/// A worker of a gateway whose plugin has been configured.
struct Gateway {
    plan: Plan,
    host: FakeHost,
}

/// A call that a source has made.
struct Call {
    source: Rc<Source>,
    call: Callout,
}

impl Gateway {
    fn new(credentials: Value) -> Self {
        Self::of(&configuration(credentials), &[])
    }

    fn of(config: &Value, variables: &[(&str, &str)]) -> Self {
        let plan = compile(config, variables).unwrap_or_else(|problems| panic!("{problems}"));
        let host = FakeHost::new();
        plan.prepare(&host);
        for secret in SECRETS {
            assert!(!format!("{plan:?}").contains(secret), "debug output shows {secret}");
        }
        Self { plan, host }
    }

    /// What all sources do at a tick.
    fn due(&self) -> Vec<Call> {
        let sources = self.plan.sources().into_iter();
        sources.filter_map(|source| source.fetch(&self.host).map(|call| Call { source, call })).collect()
    }

    fn only(&self) -> Call {
        let mut due = self.due();
        assert_eq!(due.len(), 1, "{:?}", due.iter().map(|call| &call.call).collect::<Vec<_>>());
        due.remove(0)
    }

    /// The answer to a call; gives the next call of the same source.
    fn answer(&self, call: &Call, status: u16, body: &str) -> Option<Call> {
        self.answer_at(call, status, body, None)
    }

    /// The same from a cloud that tells its time.
    fn answer_at(&self, call: &Call, status: u16, body: &str, date: Option<&str>) -> Option<Call> {
        let mut head = headers(&[(":status", &status.to_string()), ("content-type", "application/json")]);
        date.iter().for_each(|date| head.add("date", *date));
        let source = Rc::clone(&call.source);
        source.answered(&self.host, Some((&head, body.as_bytes()))).map(|call| Call { source, call })
    }

    /// The token that requests of a team go out with.
    fn token(&self, backend: usize, team: Option<&str>) -> Option<String> {
        let grant = self.plan.backend(backend).unwrap().credential(team).grant(&self.host).unwrap()?;
        match &*grant {
            Grant::Token(token) => Some(token.to_string()),
            Grant::Keys(_) => panic!("keys of AWS's"),
        }
    }

    /// What the log says; it is forgotten.
    fn log(&self) -> String {
        let lines: Vec<String> = self
            .host
            .take_log()
            .into_iter()
            .map(|(level, line)| {
                assert!(matches!(level, Level::Error | Level::Warn), "{line}");
                line
            })
            .collect();
        let text = lines.join("\n");
        for secret in SECRETS {
            assert!(!text.contains(secret), "the log shows {secret}: {text}");
        }
        text
    }
}

impl Call {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.call.headers.iter().filter(|(known, _)| *known == name);
        let values: Vec<&str> = found.map(|(_, value)| value.as_str()).collect();
        assert!(values.len() < 2, "{name} comes twice");
        values.first().copied()
    }

    /// Cluster, method, host and path.
    fn place(&self) -> (&str, &str, &str, &str) {
        let of = |name| self.header(name).unwrap_or_default();
        assert_eq!(self.call.timeout, Duration::from_secs(3));
        (&self.call.cluster, of(":method"), of(":authority"), of(":path"))
    }

    /// Names and values of all other headers.
    fn others(&self) -> Vec<(&str, &str)> {
        let all = self.call.headers.iter().map(|(name, value)| (*name, value.as_str()));
        all.filter(|(name, _)| !name.starts_with(':')).collect()
    }

    /// The fields of a form.
    fn form(&self) -> BTreeMap<String, String> {
        assert_eq!(self.header("content-type"), Some("application/x-www-form-urlencoded"));
        let body = std::str::from_utf8(&self.call.body).unwrap();
        let decoded = |text| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        let fields = body.split('&').map(|pair| pair.split_once('=').unwrap());
        fields.map(|(name, value)| (decoded(name), decoded(value))).collect()
    }

    fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.call.body).unwrap()
    }
}

fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn token(token: &str, seconds: u64) -> String {
    json!({ "access_token": token, "expires_in": seconds, "token_type": "Bearer" }).to_string()
}

/// The answer of generateAccessToken.
fn impersonated(token: &str, end: &str) -> String {
    json!({ "accessToken": token, "expireTime": end }).to_string()
}

/// Checks an assertion's signature; gives its header and its claims.
fn verified(assertion: &str) -> (Value, Value) {
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let key = RsaPrivateKey::from_pkcs8_pem(KEY).unwrap().to_public_key();
    let signature = Base64UrlUnpadded::decode_vec(signature).unwrap();
    let signature = Signature::try_from(signature.as_slice()).unwrap();
    VerifyingKey::<Sha256>::new(key).verify(signed.as_bytes(), &signature).unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let json = |part| serde_json::from_slice(&Base64UrlUnpadded::decode_vec(part).unwrap()).unwrap();
    (json(header), json(claims))
}

// A service account's key.

#[test]
fn a_service_accounts_key_signs_for_an_hours_token() {
    let gateway = Gateway::new(by_key());
    assert_eq!(gateway.token(0, None), None);
    let call = gateway.only();
    assert_eq!(call.place(), ("google_oauth2", "POST", "oauth2.googleapis.com", "/token"));
    assert_eq!(call.others(), [("content-type", "application/x-www-form-urlencoded")]);
    let form = call.form();
    let expected = fields(&[
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("assertion", &form["assertion"]),
    ]);
    assert_eq!(form, expected);
    let (header, claims) = verified(&form["assertion"]);
    assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT", "kid": "0123abcd" }));
    let iat = NOW.as_secs() - 10;
    let expected = json!({
        "iss": EMAIL, "scope": SCOPE, "aud": "https://oauth2.googleapis.com/token", "iat": iat, "exp": iat + 3600
    });
    assert_eq!(claims, expected);

    assert!(gateway.answer(&call, 200, &token("ya29.first", 3599)).is_none());
    assert_eq!(gateway.token(0, None).as_deref(), Some("ya29.first"));
    assert!(gateway.due().is_empty());
    gateway.host.advance(Duration::from_secs(3599 - 200));
    let next = gateway.only();
    let (_, claims) = verified(&next.form()["assertion"]);
    assert_eq!(claims["iat"], iat + 3399, "by then another one");
    assert_eq!(gateway.token(0, None).as_deref(), Some("ya29.first"), "the old one serves meanwhile");
    gateway.answer(&next, 200, &token("ya29.second", 3599));
    assert_eq!(gateway.token(0, None).as_deref(), Some("ya29.second"));
    assert_eq!(gateway.log(), "");
}

#[test]
fn an_assertion_goes_where_the_key_says_and_has_no_name_if_the_key_has_none() {
    let key = and(
        service_account(),
        json!({ "token_uri": "https://www.googleapis.com/oauth2/v4/token", "private_key_id": null }),
    );
    let gateway = Gateway::new(with_json("service_account", &key, json!({ "token": "t" })));
    let call = gateway.only();
    assert_eq!(call.place(), ("t", "POST", "www.googleapis.com", "/oauth2/v4/token"));
    let (header, claims) = verified(&call.form()["assertion"]);
    assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT" }));
    assert_eq!(claims["aud"], "https://oauth2.googleapis.com/token", "as google-auth has it");
}

#[test]
fn a_refusal_is_told_by_its_code_alone_and_tried_again_later() {
    let gateway = Gateway::new(by_key());
    let refusal = json!({ "error": "invalid_grant", "error_description": "S3CRET-described" });
    assert!(gateway.answer(&gateway.only(), 400, &refusal.to_string()).is_none());
    let said = gateway.log();
    let expected = "credentials of backend gcp (service_account, cluster google_oauth2): the token endpoint answered 400 \
                    (invalid_grant); the next try is in 0.5 s";
    assert_eq!(said, expected);
    assert_eq!(gateway.plan.backend(0).unwrap().standing(&gateway.host), Some(Standing::Failing));
    assert!(gateway.due().is_empty());
    gateway.host.advance(Duration::from_millis(500));
    let call = gateway.only();
    gateway.answer(&call, 200, &token("ya29.first", 3599));
    assert_eq!(gateway.token(0, None).as_deref(), Some("ya29.first"));
    let counts = gateway.host.counts();
    let count = |outcome: &str| {
        let found = counts.iter().find(|(name, _)| {
            name.starts_with("fairlead_credential_fetches_total")
                && name.contains(&format!("outcome={outcome}"))
        });
        found.map_or(0, |(_, count)| *count)
    };
    assert_eq!((count("refused"), count("ok")), (1, 1), "{counts:?}");
}

#[test]
fn a_clock_that_is_wrong_is_corrected_by_the_refusal_and_the_assertion_signed_anew() {
    for (date, ahead) in [("Fri, 02 Jan 2026 05:04:05 GMT", 7200), ("Fri, 02 Jan 2026 01:04:05 GMT", -7200)] {
        let gateway = Gateway::new(by_key());
        let call = gateway.only();
        let refusal = json!({ "error": "invalid_grant", "error_description": "Invalid JWT: Token must be a short-lived token" });
        let next = gateway.answer_at(&call, 400, &refusal.to_string(), Some(date)).expect("at once");
        let (_, claims) = verified(&next.form()["assertion"]);
        assert_eq!(claims["iat"], NOW.as_secs().checked_add_signed(ahead - 10).unwrap());
        assert!(gateway.answer(&next, 200, &token("ya29.first", 3599)).is_none());
        assert_eq!(gateway.token(0, None).as_deref(), Some("ya29.first"));
        assert!(gateway.due().is_empty(), "its hour is that of this machine's clock");
        gateway.host.advance(Duration::from_secs(3590));
        assert_eq!(gateway.due().len(), 1);
        assert!(gateway.log().contains("7200 s"));
    }
}

#[test]
fn a_key_that_is_none_is_a_problem_of_the_configuration() {
    let path = "backends.gcp.credentials.json";
    let with = |key: &str| {
        let file = and(service_account(), json!({ "private_key": key }));
        let config = configuration(with_json("service_account", &file, json!({ "token": "t" })));
        compile(&config, &[]).map(|_| ()).map_err(|problems| problems.0)
    };
    let lines: Vec<&str> = KEY.lines().collect();
    let without_line_ends = lines.concat();
    let mut cut = lines.clone();
    cut.remove(5);
    let other = KEY.replace("PRIVATE KEY", "RSA PRIVATE KEY");
    let public = KEY.replace("PRIVATE KEY", "PUBLIC KEY");
    for key in ["", "S3CRET", &without_line_ends, &cut.join("\n"), &other, &public, &KEY.replace('\n', "\\n")]
    {
        let found = with(key).expect_err(key);
        let [(at, problem)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(at, path);
        assert!(problem.contains("`private_key` must be an RSA key"), "{problem}");
        assert!(!problem.contains("MII") && !problem.contains("S3CRET"), "{problem}");
    }
    with(&KEY.replace('\n', "\r\n")).unwrap();
}

#[test]
fn a_key_with_any_byte_changed_is_refused_or_signs_and_never_traps() {
    let body: String = KEY.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64ct::Base64::decode_vec(&body).unwrap();
    let mut refused = 0;
    // All lengths and tags are among the first bytes of each number; whole keys take long to check.
    for at in (0..der.len()).step_by(37).chain(0..48) {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = der.clone();
            changed[at] ^= change;
            let text = base64ct::Base64::encode_string(&changed);
            let lines: Vec<&str> =
                text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
            let pem =
                format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
            let file = and(service_account(), json!({ "private_key": pem }));
            let config = configuration(with_json("service_account", &file, json!({ "token": "t" })));
            refused += usize::from(compile(&config, &[]).is_err());
        }
    }
    assert!(refused > 100, "{refused}");
}

// A person.

#[test]
fn a_persons_consent_is_refreshed_and_its_project_pays() {
    let credentials = with_json("authorized_user", &authorized_user(), json!({ "token": "google_oauth2" }));
    let gateway = Gateway::new(credentials.clone());
    let call = gateway.only();
    assert_eq!(call.place(), ("google_oauth2", "POST", "oauth2.googleapis.com", "/token"));
    assert_eq!(call.others(), [("content-type", "application/x-www-form-urlencoded")]);
    let expected = fields(&[
        ("grant_type", "refresh_token"),
        ("client_id", "764086051850.apps.googleusercontent.com"),
        ("client_secret", "S3CRET-client"),
        ("refresh_token", "1//S3CRET-refresh"),
    ]);
    assert_eq!(call.form(), expected);
    let mut answer: Value = serde_json::from_str(&token("ya29.first", 3599)).unwrap();
    answer["scope"] = json!(SCOPE);
    answer["id_token"] = json!("S3CRET-described");
    gateway.answer(&call, 200, &answer.to_string());
    assert_eq!(gateway.token(0, None).as_deref(), Some("ya29.first"));
    assert_eq!(gateway.log(), "");

    let project = |credentials: Value| {
        let gateway = Gateway::new(credentials);
        gateway.answer(&gateway.only(), 200, &token("ya29.first", 3599));
        let backend = gateway.plan.backend(0).unwrap();
        let credential = backend.credential(None);
        let address = fairlead::provider::Address { path: "/v1/x".to_owned(), query: "" };
        let proof = backend.authorise(credential, &gateway.host, &address, &[], b"").unwrap();
        let fairlead::provider::Authorisation::Headers(proof) = proof else { panic!("{proof:?}") };
        let names: Vec<&str> = proof.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, backend.proof_names(credential));
        assert_eq!(proof[0], ("authorization", "Bearer ya29.first".to_owned()));
        proof.get(1).map(|(_, project)| project.clone())
    };
    assert_eq!(project(credentials.clone()).as_deref(), Some("its-project"));
    assert_eq!(project(and(credentials, json!({ "quota_project": "mine" }))).as_deref(), Some("mine"));
    assert_eq!(project(by_key()), None);
}

// Federation.

fn federated(source: Value, clusters: Value) -> Gateway {
    Gateway::new(with_json("external_account", &external_account(source), clusters))
}

/// The exchange of a token, but for the token.
fn exchange<'a>(more: &[(&'a str, &'a str)]) -> BTreeMap<String, String> {
    let mut expected = fields(&[
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("audience", AUDIENCE),
        ("scope", SCOPE),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("subject_token_type", JWT),
    ]);
    expected.extend(fields(more));
    expected
}

#[test]
fn a_token_from_a_file_is_exchanged_and_read_afresh_each_time() {
    let gateway =
        federated(json!({ "file": "/var/run/sa/token" }), json!({ "file": "files", "sts": "google_sts" }));
    let call = gateway.only();
    assert_eq!(call.place(), ("files", "GET", "localhost", "/var/run/sa/token"));
    assert!(call.others().is_empty() && call.call.body.is_empty());
    let call = gateway.answer(&call, 200, "S3CRET-subject.a+b/c\n").unwrap();
    assert_eq!(call.place(), ("google_sts", "POST", "sts.googleapis.com", "/v1/token"));
    assert_eq!(call.others(), [("content-type", "application/x-www-form-urlencoded")]);
    assert_eq!(call.form(), exchange(&[("subject_token", "S3CRET-subject.a+b/c")]));
    let answer = json!({
        "access_token": "ya29.first", "expires_in": 3599, "token_type": "Bearer",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"
    });
    assert!(gateway.answer(&call, 200, &answer.to_string()).is_none());
    assert_eq!(gateway.token(0, None).as_deref(), Some("ya29.first"));

    gateway.host.advance(Duration::from_secs(3590));
    let call = gateway.only();
    assert_eq!(call.place().0, "files", "another one may be there by now");
    let call = gateway.answer(&call, 200, "S3CRET-subject.next").unwrap();
    assert_eq!(call.form()["subject_token"], "S3CRET-subject.next");
    assert_eq!(gateway.log(), "");
}

#[test]
fn a_token_from_a_url_is_asked_for_with_the_headers_of_the_file() {
    let source = json!({
        "url": "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api%3A%2F%2Fx",
        "headers": { "Metadata": "True", "Authorization": "Bearer S3CRET-header" },
        "format": { "type": "json", "subject_token_field_name": "access_token" }
    });
    let gateway = federated(source, json!({ "subject": "azure", "sts": "google_sts" }));
    let call = gateway.only();
    let path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api%3A%2F%2Fx";
    assert_eq!(call.place(), ("azure", "GET", "169.254.169.254", path));
    assert_eq!(call.others(), [("authorization", "Bearer S3CRET-header"), ("metadata", "True")]);
    let answer = json!({ "access_token": "S3CRET-subject", "expires_in": "86399", "resource": "api://x" });
    let call = gateway.answer(&call, 200, &answer.to_string()).unwrap();
    assert_eq!(call.form(), exchange(&[("subject_token", "S3CRET-subject")]));
    gateway.answer(&call, 200, &token("ya29.first", 3599));
    assert_eq!(gateway.token(0, None).as_deref(), Some("ya29.first"));
}

#[test]
fn a_workforce_names_its_users_project_unless_a_client_tells_it() {
    let pool = "//iam.googleapis.com/locations/global/workforcePools/w/providers/p";
    let json = and(
        external_account(json!({ "file": "/t" })),
        json!({ "audience": pool, "workforce_pool_user_project": "users-project" }),
    );
    let clusters = json!({ "file": "files", "sts": "google_sts" });
    let call = |json: &Value| {
        let gateway = Gateway::new(with_json("external_account", json, clusters.clone()));
        gateway.answer(&gateway.only(), 200, "S3CRET-subject").unwrap()
    };
    let form = call(&json).form();
    let expected = [
        ("audience", pool),
        ("subject_token", "S3CRET-subject"),
        ("options", r#"{"userProject":"users-project"}"#),
    ];
    assert_eq!(form, exchange(&expected));

    let client = and(json, json!({ "client_id": "id", "client_secret": "S3CRET-client" }));
    let call = call(&client);
    assert_eq!(call.form(), exchange(&[("audience", pool), ("subject_token", "S3CRET-subject")]));
    assert_eq!(call.header("authorization"), Some("Basic aWQ6UzNDUkVULWNsaWVudA=="));
}

#[test]
fn keys_of_aws_sign_the_question_who_they_are() {
    let json = and(
        external_account(aws_source()),
        json!({ "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request" }),
    );
    let config = configuration(with_json("external_account", &json, json!({ "sts": "google_sts" })));
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "S3CRET-aws"),
        ("AWS_SESSION_TOKEN", "c2Vzc2lvbg=="),
        ("AWS_REGION", "eu-west-1"),
    ];
    let gateway = Gateway::of(&config, &variables);
    let call = gateway.only();
    assert_eq!(call.place(), ("google_sts", "POST", "sts.googleapis.com", "/v1/token"));
    let signed = |call: &Call| {
        let form = call.form();
        assert_eq!(form["subject_token_type"], "urn:ietf:params:aws:token-type:aws4_request");
        // Encoded once more than the form is.
        assert!(!form["subject_token"].contains(['{', '"', ' ']));
        let json = percent_decode_str(&form["subject_token"]).decode_utf8().unwrap().into_owned();
        serde_json::from_str::<Value>(&json).unwrap()
    };
    let request = signed(&call);
    let date = |request: &Value| {
        let headers = request["headers"].as_array().unwrap();
        let names: Vec<&str> = headers.iter().map(|header| header["key"].as_str().unwrap()).collect();
        let expected =
            ["x-amz-date", "Authorization", "x-amz-security-token", "host", "x-goog-cloud-target-resource"];
        assert_eq!(names, expected);
        headers[0]["value"].as_str().unwrap().to_owned()
    };
    let url = "https://sts.eu-west-1.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15";
    assert_eq!((&request["url"], &request["method"]), (&json!(url), &json!("POST")));
    assert_eq!(date(&request), "20260102T030405Z");

    // What AWS finds too old is signed anew, not sent again.
    let refusal =
        json!({ "error": "invalid_grant", "error_description": "AWS answered SignatureDoesNotMatch" });
    let date_of_google = Some("Fri, 02 Jan 2026 04:04:05 GMT");
    let call = gateway.answer_at(&call, 400, &refusal.to_string(), date_of_google).unwrap();
    assert_eq!(date(&signed(&call)), "20260102T040405Z");
    gateway.answer(&call, 200, &token("ya29.first", 3599));
    assert_eq!(gateway.token(0, None).as_deref(), Some("ya29.first"));

    let region = |name, value| {
        let variables = [variables[0], variables[1], (name, value)];
        signed(&Gateway::of(&config, &variables).only())["url"].as_str().unwrap().to_owned()
    };
    assert!(region("AWS_DEFAULT_REGION", "us-east-2").starts_with("https://sts.us-east-2.amazonaws.com?"));
}

/// The credentials of EC2 through the cluster that leads to its metadata service.
fn on_ec2() -> Value {
    let clusters = json!({ "sts": "google_sts", "instance": "aws_imds" });
    with_json("external_account", &external_account(aws_source()), clusters)
}

#[test]
fn the_role_of_an_instance_signs_in_the_instances_region() {
    let gateway = Gateway::new(on_ec2());
    let at = |call: &Call, method: &str, path: &str| {
        assert_eq!(call.place(), ("aws_imds", method, "169.254.169.254", path));
    };
    let call = gateway.only();
    at(&call, "PUT", "/latest/api/token");
    let call = gateway.answer(&call, 200, "imds-session").unwrap();
    at(&call, "GET", "/latest/meta-data/iam/security-credentials/");
    let call = gateway.answer(&call, 200, "gateway").unwrap();
    at(&call, "GET", "/latest/meta-data/iam/security-credentials/gateway");
    let keys = json!({
        "Code": "Success", "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "S3CRET-aws", "Token": "c2Vzc2lvbg==",
        "Expiration": "2026-01-02T09:04:05Z"
    });
    assert!(gateway.answer(&call, 200, &keys.to_string()).is_none());

    let call = gateway.only();
    at(&call, "PUT", "/latest/api/token");
    let call = gateway.answer(&call, 200, "imds-session").unwrap();
    at(&call, "GET", "/latest/meta-data/placement/availability-zone");
    assert_eq!(call.header("x-aws-ec2-metadata-token"), Some("imds-session"));
    let call = gateway.answer(&call, 200, "us-west-2b").unwrap();
    assert_eq!(call.place(), ("google_sts", "POST", "sts.googleapis.com", "/v1/token"));
    let subject = call.form()["subject_token"].clone();
    let subject = percent_decode_str(&subject).decode_utf8().unwrap().into_owned();
    assert!(subject.contains("https://sts.us-west-2.amazonaws.com?Action=GetCallerIdentity"), "{subject}");
    assert!(subject.contains("Credential=ASIAEXAMPLE/20260102/us-west-2/sts/aws4_request"), "{subject}");
    gateway.answer(&call, 200, &token("ya29.first", 3599));
    assert_eq!(gateway.token(0, None).as_deref(), Some("ya29.first"));

    gateway.host.advance(Duration::from_secs(3590));
    at(&gateway.only(), "PUT", "/latest/api/token");
    assert_eq!(gateway.log(), "");
}

#[test]
fn a_zone_tells_its_region_and_nothing_else_does() {
    let region = |zone: &str| {
        let config = configuration(on_ec2());
        let keys = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "S3CRET-aws")];
        let gateway = Gateway::of(&config, &keys);
        let call = gateway.answer(&gateway.only(), 200, "imds-session").unwrap();
        let call = gateway.answer(&call, 200, zone);
        let said = gateway.log();
        assert_eq!(call.is_none(), said.contains("answered with something that is no zone"), "{said}");
        let subject = call?.form()["subject_token"].clone();
        let host = subject.split("sts.").nth(1)?.split(".amazonaws").next()?.to_owned();
        Some(host)
    };
    for (zone, expected) in [
        ("us-west-2b", Some("us-west-2")),
        ("us-gov-west-1a\n", Some("us-gov-west-1")),
        ("us-west-2-lax-1a", Some("us-west-2")),
        ("", None),
        ("nowhere", None),
        ("<html> 1", None),
        ("us-west.evil.example/2b", None),
    ] {
        assert_eq!(region(zone).as_deref(), expected, "{zone}");
    }
}

#[test]
fn keys_of_aws_come_from_somewhere() {
    let json = external_account(aws_source());
    let config = configuration(with_json("external_account", &json, json!({ "sts": "google_sts" })));
    let (id, secret) = (("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "S3CRET-aws"));
    for variables in [&[][..], &[id], &[secret], &[id, secret], &[("AWS_REGION", "us-west-2")]] {
        let found = compile(&config, variables).unwrap_err().0;
        let [(path, problem)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(path, "backends.gcp.credentials.clusters.instance");
        assert!(problem.contains("169.254.169.254:80") && problem.contains("AWS_REGION"), "{problem}");
    }
}

#[test]
fn gateways_with_other_keys_of_aws_have_tokens_of_their_own() {
    let json = external_account(aws_source());
    let config = configuration(with_json("external_account", &json, json!({ "sts": "google_sts" })));
    let key = |id| {
        let variables = [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_REGION", "r-1")];
        Gateway::of(&config, &variables).plan.sources()[0].key().to_owned()
    };
    assert_eq!(key("AKIDEXAMPLE"), key("AKIDEXAMPLE"));
    assert_ne!(key("AKIDEXAMPLE"), key("AKIDOTHER"));
}

#[test]
fn whoever_takes_an_account_on_begins_with_the_same_token_as_who_does_not() {
    let json = external_account(json!({ "file": "/var/run/token" }));
    let clusters = json!({ "sts": "google_sts", "file": "token_files" });
    let plain = with_json("external_account", &json, clusters.clone());
    let taking_on = and(
        with_json("external_account", &json, and(clusters, json!({ "iam": "google_iam" }))),
        json!({ "impersonate": { "service_account": EMAIL } }),
    );
    let mut config = configuration(plain);
    config["backends"]["other"] = configuration(taking_on)["backends"]["gcp"].take();
    assert_eq!(Gateway::of(&config, &[]).plan.sources().len(), 2, "the pool's token, and the account's");
}

#[test]
fn a_file_that_names_a_service_account_ends_with_a_token_of_its() {
    let json = and(
        external_account(json!({ "file": "/t" })),
        json!({
            "service_account_impersonation_url": format!("{IAM}/{EMAIL}:generateAccessToken"),
            "service_account_impersonation": { "token_lifetime_seconds": 2800 },
            "quota_project_id": "its-project"
        }),
    );
    let clusters = json!({ "file": "files", "sts": "google_sts", "iam": "google_iam" });
    let gateway = Gateway::new(with_json("external_account", &json, clusters));
    let call = gateway.answer(&gateway.only(), 200, "S3CRET-subject").unwrap();
    let call = gateway.answer(&call, 200, &token("ya29.first", 3599)).unwrap();
    let path = format!("/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken");
    assert_eq!(call.place(), ("google_iam", "POST", "iamcredentials.googleapis.com", path.as_str()));
    let expected = [
        ("content-type", "application/json"),
        ("authorization", "Bearer ya29.first"),
        ("x-goog-user-project", "its-project"),
    ];
    assert_eq!(call.others(), expected);
    assert_eq!(call.json(), json!({ "scope": [SCOPE], "lifetime": "2800s" }));
    assert!(gateway.answer(&call, 200, &impersonated("ya29.second", "2026-01-02T03:50:45Z")).is_none());
    assert_eq!(gateway.token(0, None).as_deref(), Some("ya29.second"));
    gateway.host.advance(Duration::from_secs(2799));
    assert_eq!(gateway.token(0, None), None, "it ends when Google says");
    assert_eq!(gateway.only().place().0, "files");
}

#[test]
fn a_step_that_fails_is_told_by_its_name_and_all_begins_anew() {
    let json = and(
        external_account(json!({ "file": "/var/run/sa/token" })),
        json!({ "service_account_impersonation_url": format!("{IAM}/{EMAIL}:generateAccessToken") }),
    );
    let clusters = json!({ "file": "files", "sts": "google_sts", "iam": "google_iam" });
    let gateway = Gateway::new(with_json("external_account", &json, clusters));
    let denied =
        json!({ "error": { "code": 403, "message": "S3CRET-described", "status": "PERMISSION_DENIED" } });
    let good = [(200, "S3CRET-subject".to_owned()), (200, token("ya29.first", 3599))];
    for (step, status, body, words) in [
        (0, 404, String::new(), "the token file /var/run/sa/token answered 404;"),
        (0, 200, String::new(), "the token file /var/run/sa/token answered with something that is no token;"),
        (0, 200, "<html> S3CRET-subject".to_owned(), "answered with something that is no token;"),
        (1, 500, "S3CRET-described".to_owned(), "the token exchange answered 500;"),
        (1, 200, "{}".to_owned(), "the token exchange answered with something that is no token;"),
        (1, 200, token("S3CRET-described x", 1), "answered with something that is no token;"),
        (
            1,
            400,
            r#"{"error":"invalid_target"}"#.to_owned(),
            "the token exchange answered 400 (invalid_target);",
        ),
        (
            1,
            400,
            r#"{"error":"S3CRET-described of a very long text, not a code"}"#.to_owned(),
            "answered 400;",
        ),
        (2, 403, denied.to_string(), "answered 403 (PERMISSION_DENIED);"),
        (2, 200, impersonated("ya29.second", "soon"), "answered with a token without an end;"),
        (2, 200, impersonated("", "2026-01-02T03:50:45Z"), "answered with something that is no token;"),
        (
            2,
            200,
            impersonated("ya29.second", "2026-01-02T03:04:00Z"),
            "answered with a credential that has ended;",
        ),
    ] {
        let mut call = gateway.only();
        for (status, body) in good.iter().take(step) {
            call = gateway.answer(&call, *status, body).unwrap();
        }
        assert!(gateway.answer(&call, status, &body).is_none(), "{words}");
        let said = gateway.log();
        assert!(said.contains(words), "{said}");
        if step == 2 {
            assert!(said.contains(&format!("the impersonation of {EMAIL} answered")), "{said}");
        }
        assert!(gateway.due().is_empty(), "not at once again: {words}");
        gateway.host.advance(Duration::from_secs(30));
    }
    assert!(gateway.only().source.answered(&gateway.host, None).is_none());
    assert!(gateway.log().contains("the token file /var/run/sa/token did not answer"));
}

// Impersonation.

fn impersonating(more: Value) -> Value {
    json!({
        "source": "metadata_server", "clusters": { "metadata": "gcp_metadata", "iam": "google_iam" },
        "impersonate": and(json!({ "service_account": EMAIL }), more)
    })
}

#[test]
fn a_service_account_is_taken_on_with_what_any_source_gives() {
    let gateway = Gateway::new(impersonating(json!({
        "delegates": ["a@my-project.iam.gserviceaccount.com", "123456789012345678901"], "lifetime_seconds": 600
    })));
    assert_eq!(gateway.plan.sources().len(), 2);
    assert_eq!(gateway.token(0, None), None);
    let call = gateway.only();
    assert_eq!(call.place().0, "gcp_metadata");
    gateway.answer(&call, 200, &token("ya29.first", 3599));
    assert_eq!(gateway.token(0, None), None, "that is not the one");
    let call = gateway.only();
    let path = format!("/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken");
    assert_eq!(call.place(), ("google_iam", "POST", "iamcredentials.googleapis.com", path.as_str()));
    let expected = [("content-type", "application/json"), ("authorization", "Bearer ya29.first")];
    assert_eq!(call.others(), expected);
    let expected = json!({
        "delegates": [
            "projects/-/serviceAccounts/a@my-project.iam.gserviceaccount.com",
            "projects/-/serviceAccounts/123456789012345678901"
        ],
        "scope": [SCOPE], "lifetime": "600s"
    });
    assert_eq!(call.json(), expected);
    gateway.answer(&call, 200, &impersonated("ya29.second", "2026-01-02T03:14:05.123456789Z"));
    assert_eq!(gateway.token(0, None).as_deref(), Some("ya29.second"));

    gateway.host.advance(Duration::from_secs(590));
    let call = gateway.only();
    assert_eq!(call.place().0, "google_iam", "the base is good for long");
    assert_eq!(call.header("authorization"), Some("Bearer ya29.first"));
    gateway.answer(&call, 200, &impersonated("ya29.third", "2026-01-02T03:23:55Z"));
    assert_eq!(gateway.token(0, None).as_deref(), Some("ya29.third"));
    assert_eq!(gateway.log(), "");
}

#[test]
fn a_token_lives_by_googles_clock_whatever_this_machines_says() {
    for date in ["Fri, 02 Jan 2026 01:04:05 GMT", "Fri, 02 Jan 2026 05:04:05 GMT"] {
        let gateway = Gateway::new(impersonating(json!({})));
        gateway.answer(&gateway.only(), 200, &token("ya29.first", 86400));
        let end =
            date.replace("Fri, 02 Jan 2026 0", "2026-01-02T0").replace(" GMT", "Z").replace(":04:", ":14:");
        gateway.answer_at(&gateway.only(), 200, &impersonated("ya29.second", &end), Some(date));
        assert_eq!(gateway.token(0, None).as_deref(), Some("ya29.second"), "{date}");
        gateway.host.advance(Duration::from_secs(599));
        assert_eq!(gateway.token(0, None), None, "{date}");
    }
}

#[test]
fn a_base_that_fails_fails_what_begins_with_it_and_what_is_refused_of_it_is_fetched_anew() {
    let gateway = Gateway::new(impersonating(json!({})));
    gateway.answer(&gateway.only(), 500, "");
    assert!(gateway.due().is_empty());
    let backend = gateway.plan.backend(0).unwrap();
    assert_eq!(backend.standing(&gateway.host), Some(Standing::Failing));
    assert!(backend.credential(None).grant(&gateway.host).is_err(), "nobody waits for it");
    assert!(gateway.log().contains("the metadata server answered 500"));

    gateway.host.advance(Duration::from_secs(1));
    gateway.answer(&gateway.only(), 200, &token("ya29.first", 3599));
    gateway.host.advance(Duration::from_secs(60));
    let revoked = json!({ "error": { "code": 401, "status": "UNAUTHENTICATED" } });
    gateway.answer(&gateway.only(), 401, &revoked.to_string());
    assert!(gateway.log().contains("answered 401 (UNAUTHENTICATED); what that begins with is fetched anew"));
    // Who waits for it goes on waiting.
    assert_eq!(gateway.token(0, None), None);
    gateway.answer(&gateway.only(), 200, &token("ya29.second", 3599));
    let call = gateway.only();
    assert_eq!(call.header("authorization"), Some("Bearer ya29.second"));
    // That it is refused as well has another cause.
    gateway.answer(&call, 401, &revoked.to_string());
    assert!(gateway.log().contains("answered 401 (UNAUTHENTICATED); the next try is in 0.5 s"));
    assert!(gateway.due().is_empty());
}

// Teams.

/// Two backends of one source; `blue` calls both as itself, `green` one of them.
fn with_teams(credentials: Value) -> Value {
    let account =
        |name: &str| json!({ "service_account": format!("{name}@my-project.iam.gserviceaccount.com") });
    let mut config = configuration(credentials);
    config["backends"]["gcp-eu"] = config["backends"]["gcp"].clone();
    config["backends"]["gcp-eu"]["location"] = json!("europe-west4");
    let key = |digit: &str| json!([{ "sha256": digit.repeat(64) }]);
    config["teams"] = json!({
        "blue": { "keys": key("a"), "models": ["*"], "credentials": { "gcp": account("blue"), "gcp-eu": account("blue") } },
        "green": { "keys": key("b"), "models": ["*"], "credentials": { "gcp": account("green") } },
        "red": { "keys": key("c"), "models": ["*"] }
    });
    config
}

#[test]
fn a_team_calls_as_its_own_service_account_which_nobody_fetches_before_it_asks() {
    let credentials =
        json!({ "source": "metadata_server", "clusters": { "metadata": "m", "iam": "google_iam" } });
    let gateway = Gateway::of(&with_teams(credentials), &[]);
    gateway.answer(&gateway.only(), 200, &token("ya29.first", 3599));
    assert!(gateway.due().is_empty(), "no team has asked yet");
    for team in [None, Some("red")] {
        assert_eq!(gateway.token(0, team).as_deref(), Some("ya29.first"), "{team:?}");
    }
    assert_eq!(
        gateway.token(1, Some("green")).as_deref(),
        Some("ya29.first"),
        "it has none of its own there"
    );

    assert_eq!(gateway.token(0, Some("green")), None);
    let call = gateway.only();
    assert!(call.place().3.contains("/green@my-project"), "{:?}", call.place());
    assert_eq!(call.header("authorization"), Some("Bearer ya29.first"));
    assert_eq!(call.json()["lifetime"], "3600s");
    gateway.answer(&call, 200, &impersonated("ya29.green", "2026-01-02T04:04:05Z"));
    assert_eq!(gateway.token(0, Some("green")).as_deref(), Some("ya29.green"));

    // What two backends would fetch alike is one: whoever asks it of the second gets it.
    assert_eq!(gateway.token(1, Some("blue")), None);
    let call = gateway.only();
    assert!(call.place().3.contains("/blue@my-project"), "{:?}", call.place());
    gateway.answer(&call, 200, &impersonated("ya29.blue", "2026-01-02T04:04:05Z"));
    for backend in [0, 1] {
        assert_eq!(gateway.token(backend, Some("blue")).as_deref(), Some("ya29.blue"));
    }
    assert!(gateway.due().is_empty(), "and the base was fetched once");
    assert_eq!(gateway.plan.sources().len(), 3);

    gateway.host.advance(Duration::from_secs(3500));
    let due = gateway.due();
    let clusters: Vec<&str> = due.iter().map(|call| call.place().0).collect();
    assert_eq!(clusters, ["m"], "who does not ask any more is not fetched any more");
}

#[test]
fn a_team_is_taken_on_by_the_source_and_not_by_the_account_that_everyone_else_is() {
    let credentials = impersonating(
        json!({ "lifetime_seconds": 900, "delegates": ["a@my-project.iam.gserviceaccount.com"] }),
    );
    let gateway = Gateway::of(&with_teams(credentials), &[]);
    gateway.answer(&gateway.only(), 200, &token("ya29.first", 3599));
    gateway.answer(&gateway.only(), 200, &impersonated("ya29.second", "2026-01-02T03:19:05Z"));
    assert_eq!(gateway.token(0, Some("red")).as_deref(), Some("ya29.second"));
    assert_eq!(gateway.token(0, Some("blue")), None);
    let call = gateway.only();
    assert_eq!(call.header("authorization"), Some("Bearer ya29.first"));
    assert_eq!(call.json(), json!({ "scope": [SCOPE], "lifetime": "900s" }), "the delegates lead elsewhere");
}

#[test]
fn a_teams_account_is_paid_for_by_the_project_of_the_one_that_takes_it_on() {
    let credentials =
        with_json("authorized_user", &authorized_user(), json!({ "token": "t", "iam": "google_iam" }));
    let gateway = Gateway::of(&with_teams(credentials), &[]);
    gateway.answer(&gateway.only(), 200, &token("ya29.first", 3599));
    assert_eq!(gateway.token(0, Some("blue")), None);
    assert_eq!(gateway.only().header("x-goog-user-project"), Some("its-project"));
}

#[test]
fn backends_share_what_they_have_in_common_and_nothing_else() {
    let federation = |clusters: Value, file: &str| {
        with_json("external_account", &external_account(json!({ "file": file })), clusters)
    };
    let plain = federation(json!({ "file": "f", "sts": "s" }), "/t");
    let being = and(
        federation(json!({ "file": "f", "sts": "s", "iam": "i" }), "/t"),
        json!({ "impersonate": { "service_account": EMAIL } }),
    );
    let user = |token: &str| {
        let file = and(authorized_user(), json!({ "refresh_token": token }));
        with_json("authorized_user", &file, json!({ "token": "t" }))
    };
    let named = |cluster: &str| {
        let url =
            json!({ "service_account_impersonation_url": format!("{IAM}/{EMAIL}:generateAccessToken") });
        let file = and(external_account(json!({ "file": "/t" })), url);
        with_json("external_account", &file, json!({ "file": "f", "sts": "s", "iam": cluster }))
    };
    let metadata = |cluster: &str| json!({ "source": "metadata_server", "cluster": cluster });
    for (one, other, sources) in [
        (plain.clone(), plain.clone(), 1),
        (plain.clone(), being.clone(), 2),
        (being.clone(), and(being.clone(), json!({ "quota_project": "q" })), 2),
        (
            being.clone(),
            and(being, json!({ "impersonate": { "service_account": EMAIL, "lifetime_seconds": 9 } })),
            3,
        ),
        (plain.clone(), federation(json!({ "file": "f", "sts": "s" }), "/u"), 2),
        (plain.clone(), federation(json!({ "file": "f", "sts": "t" }), "/t"), 2),
        (plain, federation(json!({ "file": "g", "sts": "s" }), "/t"), 2),
        (named("i"), named("i"), 1),
        (named("i"), named("j"), 2),
        (user("one"), user("one"), 1),
        (user("one"), user("two"), 2),
        (metadata("m"), metadata("m"), 1),
        (metadata("m"), metadata("n"), 2),
    ] {
        let mut config = configuration(one);
        config["backends"]["other"] = config["backends"]["gcp"].clone();
        config["backends"]["other"]["credentials"] = other;
        let plan = compile(&config, &[]).unwrap();
        assert_eq!(plan.sources().len(), sources, "{config}");
    }
}

// Refusals of the configuration.

/// The one problem of a configuration: its path below the backend's credentials, and its words.
#[track_caller]
fn refused(credentials: Value) -> (String, String) {
    let config = configuration(credentials);
    let found = compile(&config, &[("BAD", "S3CRET")]).expect_err(&config.to_string()).0;
    let [(path, problem)] = found.as_slice() else { panic!("{found:?}") };
    assert!(!problem.contains("S3CRET") && !problem.contains("MII"), "{problem}");
    (path.strip_prefix("backends.gcp.credentials.").unwrap_or(path).to_owned(), problem.clone())
}

#[test]
fn what_a_file_lacks_or_has_wrong_is_named_and_never_shown() {
    let file = json!({ "file": "/t" });
    let json = |kind: &str, more: Value| {
        let (json, clusters) = match kind {
            "service_account" => (service_account(), json!({ "token": "t" })),
            "authorized_user" => (authorized_user(), json!({ "token": "t" })),
            _ => (external_account(file.clone()), json!({ "file": "f", "sts": "s" })),
        };
        with_json(kind, &and(json, more), clusters)
    };
    let source = |source: Value| {
        with_json("external_account", &external_account(source), json!({ "sts": "s", "subject": "u" }))
    };
    let url = |more: Value| source(and(json!({ "url": "https://a.example/" }), more));
    let long: BTreeMap<String, &str> = (0..17).map(|number| (format!("h{number}"), "x")).collect();
    for (credentials, words) in [
        (json("service_account", json!({ "client_email": null })), "`client_email` is missing"),
        (json("service_account", json!({ "private_key": null })), "`private_key` is missing"),
        (json("service_account", json!({ "token_uri": null })), "`token_uri` is missing"),
        (json("service_account", json!({ "type": null })), "`type` is missing"),
        (
            json("service_account", json!({ "type": "authorized_user" })),
            "is a `authorized_user`, and `source`",
        ),
        (json("service_account", json!({ "type": "S3CRET" })), "of an unknown type"),
        (json("service_account", json!({ "client_email": "S3CRET" })), "no address of a service account"),
        (
            json("service_account", json!({ "token_uri": "https://S3CRET.example/token" })),
            "no address of Google's",
        ),
        (
            json("service_account", json!({ "token_uri": "http://oauth2.googleapis.com/token" })),
            "no address of Google's",
        ),
        (
            json("service_account", json!({ "private_key": ["S3CRET"] })),
            "`private_key`: expected a string, found an array",
        ),
        (
            json("service_account", json!({ "universe_domain": "S3CRET.example" })),
            "another than googleapis.com",
        ),
        (
            json("service_account", json!({ "quota_project_id": "S3CRET x" })),
            "`quota_project_id` must be a word",
        ),
        (json("authorized_user", json!({ "client_id": null })), "`client_id` is missing"),
        (json("authorized_user", json!({ "client_secret": null })), "`client_secret` is missing"),
        (json("authorized_user", json!({ "refresh_token": null })), "`refresh_token` is missing"),
        (
            json("authorized_user", json!({ "refresh_token": 5 })),
            "`refresh_token`: expected a string, found a number",
        ),
        (json("external_account", json!({ "audience": null })), "`audience` is missing"),
        (json("external_account", json!({ "audience": "S3CRET" })), "begin with `//iam.googleapis.com/`"),
        (json("external_account", json!({ "subject_token_type": null })), "`subject_token_type` is missing"),
        (json("external_account", json!({ "subject_token_type": "S3CRET" })), "must be a URN"),
        (
            json("external_account", json!({ "token_url": "https://S3CRET.example/" })),
            "`token_url` is no address",
        ),
        (
            json("external_account", json!({ "workforce_pool_user_project": "p" })),
            "no meaning for a pool of workloads",
        ),
        (json("external_account", json!({ "client_secret": "S3CRET" })), "no meaning without `client_id`"),
        (json("external_account", json!({ "credential_source": null })), "`credential_source` is missing"),
        (source(json!({})), "one of `file`, `url` and `environment_id`"),
        (
            source(json!({ "file": "/t", "url": "https://a.example/" })),
            "one of `file`, `url` and `environment_id`",
        ),
        (source(json!({ "executable": { "command": "S3CRET" } })), "a plugin runs none"),
        (source(json!({ "certificate": { "use_default_certificate_config": true } })), "client certificates"),
        (url(json!({ "url": "file:///S3CRET" })), "no URL of http or https"),
        (url(json!({ "format": { "type": "json" } })), "subject_token_field_name` is missing"),
        (url(json!({ "format": { "type": "S3CRET" } })), "must be `text` or `json`"),
        (url(json!({ "headers": { "Host": "S3CRET" } })), "`credential_source.headers` cannot be sent"),
        (url(json!({ "headers": { "a b": "S3CRET" } })), "`credential_source.headers` cannot be sent"),
        (url(json!({ "headers": { "a": "S3CRET\r\nb: c" } })), "`credential_source.headers` cannot be sent"),
        (url(json!({ "headers": { "a": "" } })), "`credential_source.headers` cannot be sent"),
        (url(json!({ "headers": long })), "`credential_source.headers` cannot be sent"),
        (url(json!({ "headers": { "a": ["S3CRET"] } })), "expected a string, found an array"),
    ] {
        let (path, problem) = refused(credentials);
        assert_eq!(path, "json", "{problem}");
        assert!(problem.contains(words), "{words}: {problem}");
    }
    for path in ["token", "S3CRET", "/a b", "/a?b", "/a#b", "/a%41", &format!("/{}", "a".repeat(1024))] {
        let json = external_account(json!({ "file": path }));
        let (_, problem) = refused(with_json("external_account", &json, json!({ "sts": "s", "file": "f" })));
        assert!(problem.contains("`credential_source.file` must be a whole path"), "{problem}");
    }
}

#[test]
fn a_file_of_aws_must_be_one_that_google_writes() {
    let credentials = |more: Value| {
        let json = external_account(and(aws_source(), more));
        with_json("external_account", &json, json!({ "sts": "s" }))
    };
    let name = "regional_cred_verification_url";
    for (more, words) in [
        (json!({ "environment_id": "aws2" }), "must be `aws1`"),
        (json!({ "environment_id": "S3CRET" }), "must be `aws1`"),
        (json!({ "url": "http://169.254.169.254/S3CRET" }), "`credential_source.url` is not that of EC2's"),
        (json!({ "region_url": "S3CRET" }), "`credential_source.region_url` is not that of EC2's"),
        (json!({ name: null }), "regional_cred_verification_url` is missing"),
        (
            json!({ name: "https://S3CRET.example?Action=GetCallerIdentity" }),
            "is not that of AWS's GetCallerIdentity",
        ),
    ] {
        let config = configuration(credentials(more));
        let variables = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_REGION", "r")];
        let found = compile(&config, &variables).unwrap_err().0;
        let [(path, problem)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(path, "backends.gcp.credentials.json");
        assert!(problem.contains(words) && !problem.contains("S3CRET"), "{problem}");
    }
}

#[test]
fn the_json_is_the_text_of_a_file_and_comes_from_the_environment_too() {
    let base = json!({ "source": "service_account", "clusters": { "token": "t" } });
    for (json, words) in [
        (Value::Null, "is missing; name the variable"),
        (json!({ "env": "NOT_THERE" }), "NOT_THERE is not set"),
        (json!({ "env": "BAD" }), "is no JSON object; give the text of the file"),
        (json!("/etc/S3CRET.json"), "is no JSON object"),
        (json!("[]"), "is no JSON object"),
        (json!("{"), "cannot be read: EOF"),
        (json!("{} {}"), "cannot be read"),
        (json!(r#"{"type":"service_account","type":"x"}"#), "duplicate field `type`"),
    ] {
        let json = if json.is_null() { base.clone() } else { and(base.clone(), json!({ "json": json })) };
        let (path, problem) = refused(json);
        assert_eq!(path, "json");
        assert!(problem.contains(words), "{words}: {problem}");
    }
    let config = configuration(and(base, json!({ "json": { "env": "GOOGLE_CREDENTIALS_JSON" } })));
    let text = service_account().to_string();
    let gateway = Gateway::of(&config, &[("GOOGLE_CREDENTIALS_JSON", &text)]);
    verified(&gateway.only().form()["assertion"]);
}

#[test]
fn every_source_needs_its_clusters_and_refuses_what_it_does_not_use() {
    let user = |clusters| with_json("authorized_user", &authorized_user(), clusters);
    let account = |source, clusters| with_json("external_account", &external_account(source), clusters);
    let file = || json!({ "file": "/t" });
    let named = || {
        let url = format!("{IAM}/{EMAIL}:generateAccessToken");
        and(external_account(file()), json!({ "service_account_impersonation_url": url }))
    };
    let metadata = |more| and(json!({ "source": "metadata_server" }), more);
    for (credentials, path, words) in [
        (metadata(json!({})), "cluster", "metadata.google.internal:80"),
        (metadata(json!({ "clusters": { "metadata": "" } })), "cluster", "metadata.google.internal:80"),
        (
            metadata(json!({ "cluster": "a", "clusters": { "metadata": "a" } })),
            "cluster",
            "remove one of them",
        ),
        (metadata(json!({ "cluster": "a", "clusters": { "iam": "i" } })), "clusters.iam", "remove it"),
        (
            metadata(json!({ "cluster": "a", "json": "S3CRET" })),
            "json",
            "source `metadata_server`; remove it",
        ),
        (metadata(json!({ "cluster": "a", "role_arn": "x" })), "role_arn", "remove it"),
        (user(json!({})), "clusters.token", "oauth2.googleapis.com:443"),
        (user(json!({ "token": "" })), "clusters.token", "oauth2.googleapis.com:443"),
        (user(json!({ "token": "t", "sts": "s" })), "clusters.sts", "source `authorized_user`; remove it"),
        (and(user(json!({ "token": "t" })), json!({ "cluster": "c" })), "cluster", "remove it"),
        (and(by_key(), json!({ "clusters": {} })), "clusters.token", "oauth2.googleapis.com:443"),
        (and(by_key(), json!({ "access_key_id": "S3CRET" })), "access_key_id", "remove it"),
        (account(file(), json!({ "file": "f" })), "clusters.sts", "sts.googleapis.com:443"),
        (account(file(), json!({ "sts": "s" })), "clusters.file", "serves token files"),
        (
            account(file(), json!({ "sts": "s", "file": "f", "subject": "u" })),
            "clusters.subject",
            "a token from a file",
        ),
        (
            account(file(), json!({ "sts": "s", "file": "f", "instance": "i" })),
            "clusters.instance",
            "remove it",
        ),
        (account(file(), json!({ "sts": "s", "file": "f", "iam": "i" })), "clusters.iam", "remove it"),
        (
            account(json!({ "url": "https://a.example" }), json!({ "sts": "s" })),
            "clusters.subject",
            "credential_source.url",
        ),
        (
            with_json("external_account", &named(), json!({ "sts": "s", "file": "f" })),
            "clusters.iam",
            "iamcredentials",
        ),
        (
            and(impersonating(json!({})), json!({ "clusters": { "metadata": "m" } })),
            "clusters.iam",
            "iamcredentials",
        ),
        (
            impersonating(json!({ "service_account": "S3CRET" })),
            "impersonate.service_account",
            "name@my-project",
        ),
        (
            impersonating(json!({ "delegates": ["a@b.example", "S3CRET"] })),
            "impersonate.delegates[1]",
            "name@my-project",
        ),
        (impersonating(json!({ "lifetime_seconds": 0 })), "impersonate.lifetime_seconds", "from 1 to 43200"),
        (
            impersonating(json!({ "lifetime_seconds": 43201 })),
            "impersonate.lifetime_seconds",
            "from 1 to 43200",
        ),
        (json!({ "source": "static" }), "source", "`external_account` for provider `vertex`"),
        (
            json!({ "source": "api_key", "api_key": "S3CRET" }),
            "source",
            "`external_account` for provider `vertex`",
        ),
    ] {
        let (at, problem) = refused(credentials);
        assert_eq!(at, path, "{problem}");
        assert!(problem.contains(words), "{words}: {problem}");
    }
    let twice = and(named(), json!({ "service_account_impersonation": { "token_lifetime_seconds": 99999 } }));
    let clusters = json!({ "sts": "s", "file": "f", "iam": "i" });
    let (path, problem) = refused(with_json("external_account", &twice, clusters.clone()));
    assert!(path == "json" && problem.contains("token_lifetime_seconds"), "{path}: {problem}");
    let other =
        and(named(), json!({ "service_account_impersonation_url": format!("{IAM}/{EMAIL}:signBlob") }));
    let (path, problem) = refused(with_json("external_account", &other, clusters));
    assert!(path == "json" && problem.contains("generateAccessToken"), "{path}: {problem}");
}

#[test]
fn a_teams_account_is_checked_with_the_teams_path() {
    let good = json!({ "source": "metadata_server", "clusters": { "metadata": "m", "iam": "i" } });
    compile(&with_teams(good.clone()), &[]).unwrap();
    for (own, field, words) in [
        (json!({}), "service_account", "is missing"),
        (json!({ "service_account": "S3CRET" }), "service_account", "name@my-project"),
        (json!({ "service_account": EMAIL, "role_arn": "x" }), "role_arn", "provider `vertex`; remove it"),
        (json!({ "service_account": EMAIL, "external_id": "S3CRET" }), "external_id", "remove it"),
    ] {
        let mut config = with_teams(good.clone());
        config["teams"]["green"]["credentials"]["gcp"] = own;
        let found = compile(&config, &[]).unwrap_err().0;
        let [(path, problem)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(path, &format!("teams.green.credentials.gcp.{field}"));
        assert!(problem.contains(words) && !problem.contains("S3CRET"), "{problem}");
    }
    let without = json!({ "source": "metadata_server", "cluster": "m" });
    let found = compile(&with_teams(without), &[]).unwrap_err().0;
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    let (one, other) = ("backends.gcp.credentials.clusters.iam", "backends.gcp-eu.credentials.clusters.iam");
    assert_eq!(paths, [one, one, other], "for each team that needs it");
}
