//! Stories of AWS's credentials: every source from the configuration to the signature of a request.
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

use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use common::aws::*;
use common::client::{self, Exchange, headers};
use common::envoy::FakeHost;
use fairlead::base::headers::Headers;
use fairlead::base::host::{Callout, Host, Level, Outgoing, Step};
use fairlead::credential::Source;
use fairlead::credential::source::Standing;
use fairlead::pipeline::{Plan, Position};
use serde_json::{Value, json};
use time::OffsetDateTime;

const HELLO: &[u8] = br#"{"model":"chat","messages":[{"role":"user","content":"Hi"}]}"#;
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

// The stage.

/// A process that has been configured.
fn begin(plan: &Plan) -> FakeHost {
    let host = FakeHost::new();
    plan.prepare(&host);
    host
}

/// The only source of a plan.
fn only(plan: &Plan) -> Rc<Source> {
    let sources = plan.sources();
    let [source] = sources.as_slice() else { panic!("{} sources", sources.len()) };
    Rc::clone(source)
}

/// Keys that are fetched, told apart by a word.
fn keys(word: &str) -> (String, String, String) {
    (format!("ASIA{}", word.to_uppercase()), format!("S3CRET{word}"), format!("S3CRETTOKEN{word}"))
}

/// A time so many seconds from now, as AWS writes it.
fn stamp(host: &FakeHost, seconds: i64) -> String {
    let now = host.now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let end = OffsetDateTime::from_unix_timestamp(i64::try_from(now).unwrap() + seconds).unwrap();
    let (hour, minute, second) = end.to_hms();
    format!(
        "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
        end.year(),
        u8::from(end.month()),
        end.day()
    )
}

/// As EC2's metadata service tells keys.
fn instance_keys(host: &FakeHost, word: &str, seconds: i64) -> String {
    let (id, secret, token) = keys(word);
    json!({
        "Code": "Success", "LastUpdated": stamp(host, -60), "Type": "AWS-HMAC", "AccessKeyId": id,
        "SecretAccessKey": secret, "Token": token, "Expiration": stamp(host, seconds)
    })
    .to_string()
}

/// As STS tells keys: the whole answer of the example in its reference, with others' in the middle.
fn role_keys(host: &FakeHost, action: &str, word: &str, seconds: i64) -> String {
    let (id, secret, token) = keys(word);
    format!(
        r#"<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <{action}Result>
    <SourceIdentity>Alice</SourceIdentity>
    <AssumedRoleUser>
      <Arn>arn:aws:sts::123456789012:assumed-role/fairlead/fairlead</Arn>
      <AssumedRoleId>AROA123EXAMPLE123EXAMPLE:fairlead</AssumedRoleId>
    </AssumedRoleUser>
    <Credentials>
      <AccessKeyId>{id}</AccessKeyId>
      <SecretAccessKey>{secret}</SecretAccessKey>
      <SessionToken>{token}</SessionToken>
      <Expiration>{}</Expiration>
    </Credentials>
    <PackedPolicySize>8</PackedPolicySize>
  </{action}Result>
  <ResponseMetadata>
    <RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId>
  </ResponseMetadata>
</{action}Response>
"#,
        stamp(host, seconds)
    )
}

/// As STS refuses.
fn refusal(code: &str) -> String {
    format!(
        r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <Error>
    <Type>Sender</Type>
    <Code>{code}</Code>
    <Message>User: arn:aws:iam::123456789012:user/S3CRETUSER is not authorized</Message>
  </Error>
  <RequestId>2f0a8e7c-0f1c-4d3b-9c5e-3f6f0d1a2b3c</RequestId>
</ErrorResponse>"#
    )
}

fn answer(source: &Source, host: &FakeHost, status: u16, body: &str) -> Option<Callout> {
    client::answer(source, host, Some((status, body.as_bytes())))
}

fn header<'a>(call: &'a Callout, name: &str) -> Option<&'a str> {
    let mut found = call.headers.iter().filter(|(known, _)| *known == name);
    let (_, value) = found.next()?;
    assert!(found.next().is_none(), "{name} twice");
    Some(value)
}

fn body(call: &Callout) -> &str {
    std::str::from_utf8(&call.body).unwrap()
}

/// A call with nothing but these headers, and no body.
fn get(cluster: &str, headers: &[(&'static str, &str)]) -> Callout {
    Callout {
        cluster: cluster.to_owned(),
        headers: headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        body: Vec::new(),
        timeout: Duration::from_secs(3),
    }
}

/// Whose keys a request to Bedrock was signed with. What is fetched has a session token.
fn signer(outgoing: &Outgoing) -> String {
    let authorization = outgoing.headers.get("authorization").unwrap();
    let id = authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=").unwrap().split('/').next().unwrap();
    let word = id.strip_prefix("ASIA").unwrap().to_lowercase();
    assert_eq!(outgoing.headers.get("x-amz-security-token"), Some(keys(&word).2.as_str()));
    assert!(authorization.contains("/us-east-1/bedrock/aws4_request, "), "{authorization}");
    assert!(authorization.contains(";x-amz-security-token, "), "{authorization}");
    word
}

fn sent(plan: &Rc<Plan>, host: &FakeHost) -> String {
    signer(&Exchange::new(plan, host).forward(HELLO))
}

/// What was logged, which names no secret.
fn log(host: &FakeHost) -> Vec<String> {
    let lines: Vec<String> = host.take_log().into_iter().map(|(_, line)| line).collect();
    for line in &lines {
        assert!(!line.contains("S3CRET"), "shows a secret: {line}");
    }
    lines
}

/// The fetches so far, by outcome.
fn fetches(host: &FakeHost, outcome: &str) -> u64 {
    let name = format!("fairlead_credential_fetches_total;backend=aws;outcome={outcome}");
    host.counts().get(&name).copied().unwrap_or(0)
}

// EC2.

fn instance() -> Rc<Plan> {
    plan(&json!({ "source": "instance", "clusters": { "instance": "imds" } }), &[])
}

#[test]
fn an_instances_keys_take_three_calls_to_its_metadata_service() {
    let plan = instance();
    let host = begin(&plan);
    let source = only(&plan);
    let mut waiting = Exchange::new(&plan, &host);
    assert_eq!(waiting.send(HELLO), Step::Park);
    let (method, path, authority) = (":method", ":path", ":authority");
    let host_of_imds = (authority, "169.254.169.254");
    assert_eq!(
        source.fetch(&host),
        Some(get(
            "imds",
            &[
                (method, "PUT"),
                (path, "/latest/api/token"),
                host_of_imds,
                ("x-aws-ec2-metadata-token-ttl-seconds", "60"),
            ]
        ))
    );
    let session = ("x-aws-ec2-metadata-token", "AQAEAS3CRET==");
    let roles = "/latest/meta-data/iam/security-credentials/";
    assert_eq!(
        answer(&source, &host, 200, "AQAEAS3CRET=="),
        Some(get("imds", &[(method, "GET"), (path, roles), host_of_imds, session]))
    );
    let keys = "/latest/meta-data/iam/security-credentials/gateway-role";
    assert_eq!(
        answer(&source, &host, 200, "gateway-role\n"),
        Some(get("imds", &[(method, "GET"), (path, keys), host_of_imds, session]))
    );
    assert_eq!(waiting.whole.wake(&host), Step::Park);
    assert_eq!(answer(&source, &host, 200, &instance_keys(&host, "one", 6 * 3600)), None);
    let Step::Forward(outgoing) = waiting.whole.wake(&host) else { panic!("not sent") };
    assert_eq!(signer(&outgoing), "one");
    assert_eq!((fetches(&host, "ok"), log(&host).len()), (1, 0));
}

#[test]
fn an_instance_whose_role_is_known_is_not_asked_for_its_name() {
    let credentials =
        json!({ "source": "instance", "clusters": { "instance": "imds" }, "role_name": "other" });
    let plan = plan(&credentials, &[]);
    let host = begin(&plan);
    let source = only(&plan);
    assert!(source.fetch(&host).is_some());
    let call = answer(&source, &host, 200, "session").unwrap();
    assert_eq!(header(&call, ":path"), Some("/latest/meta-data/iam/security-credentials/other"));
    assert_eq!(answer(&source, &host, 200, &instance_keys(&host, "one", 3600)), None);
    assert_eq!(sent(&plan, &host), "one");
}

/// Fetches keys of an instance with these answers to each of the three calls.
fn fetch_instance(plan: &Plan, host: &FakeHost, answers: &[(u16, String)]) {
    let source = Rc::clone(plan.sources().iter().find(|source| source.base().is_none()).unwrap());
    let mut call = source.fetch(host);
    for (status, body) in answers {
        assert_eq!(call.expect("there is a call to answer").cluster, "imds");
        call = answer(&source, host, *status, body);
    }
    assert_eq!(call, None);
}

/// Keys of an instance come.
fn sign_in_instance(plan: &Plan, host: &FakeHost, word: &str, seconds: i64) {
    let keys = instance_keys(host, word, seconds);
    fetch_instance(plan, host, &[(200, "session".to_owned()), (200, "role".to_owned()), (200, keys)]);
}

#[test]
fn keys_are_fetched_again_before_they_end_while_the_old_ones_serve() {
    let plan = instance();
    let host = begin(&plan);
    sign_in_instance(&plan, &host, "old", 3600);
    host.advance(Duration::from_secs(3600 - 300));
    assert!(only(&plan).fetch(&host).is_none(), "EC2 has new ones from five minutes before the end on");
    host.advance(Duration::from_secs(60));
    let workers = [host.worker(), host.worker(), host.worker()];
    let other = instance();
    assert!(only(&plan).fetch(&workers[0]).is_some());
    assert!(only(&other).fetch(&workers[1]).is_none(), "one worker is enough");
    assert_eq!(sent(&plan, &workers[2]), "old");
    answer(&only(&plan), &workers[0], 200, "session");
    answer(&only(&plan), &workers[0], 200, "role");
    answer(&only(&plan), &workers[0], 200, &instance_keys(&host, "new", 3600));
    assert_eq!((sent(&plan, &workers[0]), sent(&other, &workers[1])), ("new".to_owned(), "new".to_owned()));
}

#[test]
fn keys_that_do_not_change_though_they_are_about_to_end_are_asked_for_ever_sooner_but_not_without_end() {
    let plan = instance();
    let host = begin(&plan);
    sign_in_instance(&plan, &host, "same", 120);
    let mut fetches = 0;
    // Ten looks a second, as while requests wait; a tenth of a second before the end it is still the same.
    for tenth in 0..1200 {
        host.advance(Duration::from_millis(100));
        if only(&plan).fetch(&host).is_some() {
            fetches += 1;
            answer(&only(&plan), &host, 200, "session");
            answer(&only(&plan), &host, 200, "role");
            answer(&only(&plan), &host, 200, &instance_keys(&host, "same", 120 - (tenth + 1) / 10));
        }
    }
    assert!((5..=25).contains(&fetches), "{fetches}");
}

#[test]
fn what_is_no_answer_of_a_metadata_service_costs_a_try_and_shows_no_secret() {
    let good = FakeHost::new();
    let ok = |text: &str| (200, text.to_owned());
    let keys = |change: Value| {
        let mut keys: Value = serde_json::from_str(&instance_keys(&good, "one", 3600)).unwrap();
        keys.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        (200, keys.to_string())
    };
    let page = "<html>S3CRET page</html>";
    let (session, role) = (ok("session"), ok("role"));
    let before_keys = |last: (u16, String)| vec![session.clone(), role.clone(), last];
    for (answers, outcome, words) in [
        (
            vec![(403, page.to_owned())],
            "refused",
            "PUT /latest/api/token of EC2's metadata service answered 403",
        ),
        (vec![(500, page.to_owned())], "failed", "answered 500"),
        (vec![ok("")], "garbled", "no token"),
        (vec![ok(page)], "garbled", "no token"),
        (vec![ok("S3CRET\r\nx: y")], "garbled", "no token"),
        (
            vec![session.clone(), (404, page.to_owned())],
            "refused",
            "the role's name at EC2's metadata service answered 404",
        ),
        (vec![session.clone(), ok("")], "garbled", "no role's name"),
        (vec![session.clone(), ok("../S3CRET")], "garbled", "no role's name"),
        (vec![session.clone(), ok("role\nS3CRET")], "garbled", "no role's name"),
        (
            before_keys((401, page.to_owned())),
            "refused",
            "the role's keys at EC2's metadata service answered 401",
        ),
        (before_keys((429, String::new())), "failed", "answered 429"),
        (
            before_keys(ok(r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"S3CRET"}"#)),
            "refused",
            "answered 200 (AssumeRoleUnauthorizedAccess)",
        ),
        (before_keys(ok(r#"{"Code":"two words S3CRET"}"#)), "refused", "answered 200;"),
        (before_keys(ok(page)), "garbled", "no key"),
        (before_keys(ok("{}")), "garbled", "no key"),
        (before_keys(ok("[1]")), "garbled", "no key"),
        (before_keys(keys(json!({ "Token": "" }))), "garbled", "no key"),
        (before_keys(keys(json!({ "Token": null }))), "garbled", "no key"),
        (before_keys(keys(json!({ "Token": 7 }))), "garbled", "no key"),
        (before_keys(keys(json!({ "Token": "x".repeat(20_001) }))), "garbled", "no key"),
        (before_keys(keys(json!({ "AccessKeyId": "S3CRET\nid" }))), "garbled", "no key"),
        (before_keys(keys(json!({ "SecretAccessKey": "S3CRET key" }))), "garbled", "no key"),
        (before_keys(keys(json!({ "Expiration": "soon" }))), "garbled", "whose end is no time"),
        (
            before_keys(keys(json!({ "Expiration": "1969-12-31T23:59:59Z" }))),
            "garbled",
            "whose end is no time",
        ),
        (
            before_keys(keys(json!({ "Expiration": stamp(&good, -1) }))),
            "garbled",
            "with a credential that has ended",
        ),
        (
            before_keys(keys(json!({ "Expiration": stamp(&good, 2) }))),
            "garbled",
            "with a credential that has ended",
        ),
    ] {
        let plan = instance();
        let host = begin(&plan);
        fetch_instance(&plan, &host, &answers);
        let lines = log(&host);
        let [line] = lines.as_slice() else { panic!("{answers:?}: {lines:?}") };
        assert!(line.starts_with("credentials of backend aws (instance, cluster imds): "), "{line}");
        assert!(line.contains(words) && line.contains("; the next try is in 0.5 s"), "{answers:?}: {line}");
        assert_eq!(fetches(&host, outcome), 1, "{answers:?}: {:?}", host.counts());
        assert_eq!(only(&plan).standing(&host), Standing::Failing);
        assert!(only(&plan).fetch(&host).is_none(), "not at once");
        host.advance(Duration::from_millis(500));
        sign_in_instance(&plan, &host, "late", 3600);
        assert_eq!(sent(&plan, &host), "late");
    }
}

#[test]
fn a_metadata_service_that_is_silent_is_told_by_its_cluster() {
    let plan = instance();
    let host = begin(&plan);
    assert!(only(&plan).fetch(&host).is_some());
    assert_eq!(client::answer(&only(&plan), &host, None), None);
    let lines = log(&host);
    assert!(lines[0].contains("cluster imds") && lines[0].contains("did not answer"), "{lines:?}");
    assert_eq!(fetches(&host, "unreachable"), 1);
}

// Containers.

/// As the agents of ECS and EKS tell keys.
fn container_keys(host: &FakeHost, word: &str) -> String {
    let (id, secret, token) = keys(word);
    json!({
        "RoleArn": ROLE, "AccessKeyId": id, "SecretAccessKey": secret, "Token": token,
        "Expiration": stamp(host, 3600)
    })
    .to_string()
}

#[test]
fn a_containers_keys_come_from_where_its_platform_says() {
    let eks = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials");
    let file = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", POD_TOKEN_FILE);
    let ecs = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/S3CRET-id");
    let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic S3CRET");
    let local = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "https://localhost:8443/keys?a=b");
    let written = json!({ "path": "/v1/credentials", "token_path": "/token" });
    let nothing = json!({});
    for (more, variables, file, authority, path, authorization) in [
        (&nothing, vec![ecs], None, "169.254.170.2", "/v2/credentials/S3CRET-id", None),
        (
            &nothing,
            vec![ecs, eks, token],
            None,
            "169.254.170.2",
            "/v2/credentials/S3CRET-id",
            Some("Basic S3CRET"),
        ),
        (
            &nothing,
            vec![eks, file],
            Some(POD_TOKEN_FILE),
            "169.254.170.23",
            "/v1/credentials",
            Some("S3CRET.jwt"),
        ),
        (
            &nothing,
            vec![eks, file, token],
            Some(POD_TOKEN_FILE),
            "169.254.170.23",
            "/v1/credentials",
            Some("S3CRET.jwt"),
        ),
        (&nothing, vec![local, token], None, "localhost:8443", "/keys?a=b", Some("Basic S3CRET")),
        (&written, vec![], Some("/token"), "169.254.170.23", "/v1/credentials", Some("S3CRET.jwt")),
        (
            &written,
            vec![ecs, file, token],
            Some("/token"),
            "169.254.170.23",
            "/v1/credentials",
            Some("S3CRET.jwt"),
        ),
        (&json!({ "path": "/v2/x" }), vec![], None, "169.254.170.2", "/v2/x", None),
    ] {
        let mut credentials =
            json!({ "source": "container", "clusters": { "container": "agent", "file": "files" } });
        credentials.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let plan = plan(&credentials, &variables);
        let host = begin(&plan);
        let source = only(&plan);
        let mut call = source.fetch(&host);
        if let Some(file) = file {
            let read = get("files", &[(":method", "GET"), (":path", file), (":authority", "localhost")]);
            assert_eq!(call, Some(read), "{variables:?}");
            call = answer(&source, &host, 200, "S3CRET.jwt\n");
        }
        let mut expected = vec![
            (":method", "GET"),
            (":path", path),
            (":authority", authority),
            ("accept", "application/json"),
        ];
        expected.extend(authorization.map(|token| ("authorization", token)));
        assert_eq!(call, Some(get("agent", &expected)), "{variables:?}");
        assert_eq!(answer(&source, &host, 200, &container_keys(&host, "task")), None);
        assert_eq!(sent(&plan, &host), "task");
        assert!(log(&host).is_empty());
    }
}

#[test]
fn an_agents_refusal_is_told_by_its_code_and_never_by_the_path_that_is_a_secret() {
    let credentials = json!({ "source": "container", "clusters": { "container": "agent" } });
    let plan = plan(&credentials, &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/S3CRET-id")]);
    for (status, body, outcome, words) in [
        (
            400,
            r#"{"code":"InvalidIdInRequest","message":"S3CRET"}"#,
            "refused",
            "answered 400 (InvalidIdInRequest)",
        ),
        (403, "Access Denied. S3CRET", "refused", "answered 403;"),
        (500, "", "failed", "answered 500;"),
        (200, "", "garbled", "no key"),
    ] {
        let host = begin(&plan);
        assert!(only(&plan).fetch(&host).is_some());
        assert_eq!(answer(&only(&plan), &host, status, body), None);
        let lines = log(&host);
        assert!(lines[0].contains("the container's credentials at 169.254.170.2 "), "{lines:?}");
        assert!(lines[0].contains(words), "{lines:?}");
        assert_eq!(fetches(&host, outcome), 1, "{lines:?}");
    }
}

// Web identity.

#[test]
fn a_projected_token_becomes_keys_at_sts_without_a_signature() {
    let irsa = [("AWS_ROLE_ARN", ROLE), ("AWS_WEB_IDENTITY_TOKEN_FILE", IRSA_TOKEN_FILE)];
    let named = [irsa[0], irsa[1], ("AWS_ROLE_SESSION_NAME", "pod-7")];
    let other = "arn:aws:iam::210987654321:role/team/other";
    let written = json!({ "role_arn": other, "token_path": "/token", "session_name": "me@bank" });
    let encoded = "arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Ffairlead";
    let other = "arn%3Aaws%3Aiam%3A%3A210987654321%3Arole%2Fteam%2Fother";
    for (more, variables, file, role, session) in [
        (json!({}), &irsa[..], IRSA_TOKEN_FILE, encoded, "fairlead"),
        (json!({}), &named[..], IRSA_TOKEN_FILE, encoded, "pod-7"),
        (written.clone(), &[], "/token", other, "me%40bank"),
        (written, &named[..], "/token", other, "me%40bank"),
    ] {
        let plan = plan(&web_identity(more), variables);
        let host = begin(&plan);
        let source = only(&plan);
        let read = get("files", &[(":method", "GET"), (":path", file), (":authority", "localhost")]);
        assert_eq!(source.fetch(&host), Some(read));
        let call = answer(&source, &host, 200, "eyJ.S3CRET+/=.sig\r\n").unwrap();
        let form = format!(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={role}&RoleSessionName={session}\
             &WebIdentityToken=eyJ.S3CRET%2B%2F%3D.sig"
        );
        let headers = [
            (":method", "POST"),
            (":path", "/"),
            (":authority", "sts.us-east-1.amazonaws.com"),
            ("content-type", FORM),
        ];
        let mut expected = get("sts", &headers);
        expected.body = form.into_bytes();
        assert_eq!(call, expected);
        let keys = role_keys(&host, "AssumeRoleWithWebIdentity", "pod", 3600);
        assert_eq!(answer(&source, &host, 200, &keys), None);
        assert_eq!(sent(&plan, &host), "pod");
        // The next time the file is read again: it has changed meanwhile.
        host.advance(Duration::from_secs(3600 - 200));
        assert_eq!(source.fetch(&host).unwrap().cluster, "files");
        assert!(body(&answer(&source, &host, 200, "second").unwrap()).ends_with("=second"));
    }
}

#[test]
fn a_file_that_holds_no_token_and_a_refusal_of_sts_are_told() {
    let written = json!({ "role_arn": ROLE, "token_path": "/token" });
    let plan = plan(&web_identity(written), &[]);
    let long = "x".repeat(20_001);
    let nobody = refusal("InvalidIdentityToken");
    for (answers, outcome, words) in [
        (vec![(404, "")], "refused", "the token file /token, cluster files, answered 404"),
        (vec![(500, "")], "failed", "answered 500"),
        (vec![(200, "")], "garbled", "no token"),
        (vec![(200, "two S3CRET words")], "garbled", "no token"),
        (vec![(200, "S3CRET\n\nS3CRET\n")], "garbled", "no token"),
        (vec![(200, &long)], "garbled", "no token"),
        (
            vec![(200, "jwt"), (400, &nobody)],
            "refused",
            "AssumeRoleWithWebIdentity of arn:aws:iam::123456789012:role/fairlead, cluster sts, answered 400 (InvalidIdentityToken)",
        ),
        (vec![(200, "jwt"), (400, &refusal("IDPCommunicationError"))], "failed", "(IDPCommunicationError)"),
        (vec![(200, "jwt"), (400, &refusal("ExpiredTokenException"))], "refused", "(ExpiredTokenException)"),
    ] {
        let host = begin(&plan);
        let mut call = only(&plan).fetch(&host);
        for (status, body) in &answers {
            assert!(call.is_some(), "{answers:?}");
            call = answer(&only(&plan), &host, *status, body);
        }
        assert_eq!(call, None);
        let lines = log(&host);
        let [line] = lines.as_slice() else { panic!("{answers:?}: {lines:?}") };
        assert!(
            line.starts_with("credentials of backend aws (web_identity): ") && line.contains(words),
            "{line}"
        );
        assert_eq!(fetches(&host, outcome), 1, "{line}");
    }
}

// Roles that are taken on.

#[test]
fn a_role_is_taken_on_with_a_call_that_botocore_would_sign_alike() {
    let credentials = assume_role(json!({
        "external_id": { "env": "EXTERNAL_ID" }, "session_name": "gateway", "duration_seconds": 7200,
        "tags": { "cost centre": "42/a" }
    }));
    let id = ("EXTERNAL_ID", "ext:id/1");
    let token = ("AWS_SESSION_TOKEN", "S3CRETTOKEN=");
    // `botocore.auth.SigV4Auth` of botocore 1.44.5 at this time for this body.
    let alone = "812271abf496687be086968d8e6cedd38f45c65b3163ecf7782a8d7e0b12f8ca";
    let with_token = "fc0b6141ba1b65d506425bd5f4544c5381fd11a76037cd1c6b79a7e7a04fb7c6";
    for (variables, names, signature) in [
        (vec![KEYS[0], KEYS[1], id], "content-type;host;x-amz-date", alone),
        (vec![KEYS[0], KEYS[1], id, token], "content-type;host;x-amz-date;x-amz-security-token", with_token),
    ] {
        let plan = plan(&credentials, &variables);
        let host = begin(&plan);
        let source = only(&plan);
        let call = source.fetch(&host).unwrap();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-east-1/sts/aws4_request, SignedHeaders={names}, \
             Signature={signature}"
        );
        let mut expected = get(
            "sts",
            &[
                (":method", "POST"),
                (":path", "/"),
                (":authority", "sts.us-east-1.amazonaws.com"),
                ("content-type", FORM),
                ("x-amz-date", "20260102T030405Z"),
                ("authorization", &authorization),
            ],
        );
        if variables.contains(&token) {
            expected.headers.push(("x-amz-security-token", "S3CRETTOKEN=".to_owned()));
        }
        expected.body = b"Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Ffairlead\
            &RoleSessionName=gateway&ExternalId=ext%3Aid%2F1&DurationSeconds=7200\
            &Tags.member.1.Key=cost%20centre&Tags.member.1.Value=42%2Fa"
            .to_vec();
        assert_eq!(call, expected);
        assert_eq!(answer(&source, &host, 200, &role_keys(&host, "AssumeRole", "role", 7200)), None);
        assert_eq!(sent(&plan, &host), "role");
    }
}

#[test]
fn a_role_goes_with_every_source_of_keys() {
    let role = json!({ "role_arn": ROLE });
    let static_keys =
        json!({ "source": "static", "access_key_id": "AKIDEXAMPLE", "secret_access_key": "S3CRET" });
    let container = json!({ "source": "container", "path": "/x" });
    let web = json!({ "source": "web_identity", "role_arn": ROLE, "token_path": "/token" });
    for (mut credentials, variables, first) in [
        (static_keys, &[][..], None),
        (json!({ "source": "environment" }), &KEYS[..], None),
        (json!({ "source": "instance" }), &[], Some("imds")),
        (container, &[], Some("agent")),
        (web, &[], Some("files")),
        (json!({ "source": "default" }), &KEYS, None),
        (json!({ "source": "default" }), &[], Some("imds")),
    ] {
        credentials["assume_role"] = role.clone();
        let clusters = match credentials["source"].as_str().unwrap() {
            "static" | "environment" => json!({ "sts": "sts" }),
            "instance" => json!({ "sts": "sts", "instance": "imds" }),
            "container" => json!({ "sts": "sts", "container": "agent" }),
            "web_identity" => json!({ "sts": "sts", "file": "files" }),
            _ => json!({ "sts": "sts", "instance": "imds", "container": "agent", "file": "files" }),
        };
        credentials["clusters"] = clusters;
        let plan = plan(&credentials, variables);
        let host = begin(&plan);
        let clusters: Vec<String> =
            plan.sources().iter().filter_map(|source| Some(source.fetch(&host)?.cluster.clone())).collect();
        assert_eq!(clusters, [first.unwrap_or("sts")], "{credentials}");
        assert_eq!(plan.sources().len(), 1 + usize::from(first.is_some()), "{credentials}");
    }
}

/// An instance, and a role that is taken on with its keys.
fn role_of_instance() -> Rc<Plan> {
    let clusters = json!({ "instance": "imds", "sts": "sts" });
    plan(&json!({ "source": "instance", "clusters": clusters, "assume_role": { "role_arn": ROLE } }), &[])
}

/// The sources of a plan with a role: what it begins with, and the role.
fn both(plan: &Plan) -> (Rc<Source>, Rc<Source>) {
    let sources = plan.sources();
    let [first, role] = sources.as_slice() else { panic!("{} sources", sources.len()) };
    (Rc::clone(first), Rc::clone(role))
}

#[test]
fn a_role_waits_for_the_keys_that_it_is_taken_on_with_and_needs_them_again_only_when_they_end() {
    let plan = role_of_instance();
    let host = begin(&plan);
    let (_, role) = both(&plan);
    let mut waiting = Exchange::new(&plan, &host);
    assert_eq!(waiting.send(HELLO), Step::Park);
    assert!(role.fetch(&host).is_none());
    sign_in_instance(&plan, &host, "instance", 6 * 3600);
    let call = role.fetch(&host).unwrap();
    assert!(
        header(&call, "authorization").unwrap().contains("Credential=ASIAINSTANCE/20260102/us-east-1/sts/")
    );
    assert_eq!(header(&call, "x-amz-security-token"), Some("S3CRETTOKENinstance"));
    assert_eq!(answer(&role, &host, 200, &role_keys(&host, "AssumeRole", "role", 3600)), None);
    let Step::Forward(outgoing) = waiting.whole.wake(&host) else { panic!("not sent") };
    assert_eq!(signer(&outgoing), "role");

    for _ in 0..5 {
        host.advance(Duration::from_secs(3600 - 200));
        let (first, role) = both(&plan);
        assert!(first.fetch(&host).is_none(), "the instance's keys have hours left");
        assert!(role.fetch(&host).is_some());
        answer(&role, &host, 200, &role_keys(&host, "AssumeRole", "role", 3600));
    }
    assert_eq!(fetches(&host, "ok"), 7);
}

#[test]
fn a_refusal_of_sts_is_told_by_its_code_and_leaves_good_keys_alone() {
    let page = "<html><body>S3CRET</body></html>";
    let bomb = "<!DOCTYPE r [<!ENTITY a \"S3CRET\">]><r><Credentials>&a;</Credentials></r>";
    let host = FakeHost::new();
    let whole = role_keys(&host, "AssumeRole", "role", 3600);
    let without = |part: &str| whole.replace(part, "Other");
    let deep = "<a>".repeat(20_000);
    for (status, body, outcome, words) in [
        (403, refusal("AccessDenied"), "refused", "answered 403 (AccessDenied);"),
        (400, refusal("ValidationError"), "refused", "answered 400 (ValidationError);"),
        (400, refusal("Throttling"), "failed", "answered 400 (Throttling);"),
        (403, refusal("two words S3CRET"), "refused", "answered 403;"),
        (403, page.to_owned(), "refused", "answered 403;"),
        (403, String::new(), "refused", "answered 403;"),
        (503, refusal("ServiceUnavailable"), "failed", "answered 503 (ServiceUnavailable);"),
        (200, page.to_owned(), "garbled", "has no keys"),
        (200, bomb.to_owned(), "garbled", "has no keys"),
        (200, String::new(), "garbled", "has no keys"),
        (200, deep, "garbled", "has no keys"),
        (200, whole[..whole.len() - 30].to_owned(), "garbled", "has no keys"),
        (200, without("SessionToken"), "garbled", "no key"),
        (200, without("SecretAccessKey"), "garbled", "no key"),
        (200, without("Expiration"), "garbled", "whose end is no time"),
        (200, whole.replace("S3CRETrole", "S3CRET\nrole"), "garbled", "no key"),
        (200, refusal("AccessDenied"), "garbled", "has no keys"),
    ] {
        let plan = role_of_instance();
        let host = begin(&plan);
        sign_in_instance(&plan, &host, "instance", 6 * 3600);
        host.advance(Duration::from_secs(60));
        let (first, role) = both(&plan);
        assert!(role.fetch(&host).is_some());
        assert_eq!(answer(&role, &host, status, &body), None);
        let lines = log(&host);
        let [line] = lines.as_slice() else { panic!("{body}: {lines:?}") };
        let beginning = "credentials of backend aws (assume_role): AssumeRole of arn:aws:iam::123456789012:role/fairlead, \
                         cluster sts, ";
        assert!(line.starts_with(beginning) && line.contains(words), "{body}: {line}");
        assert_eq!(fetches(&host, outcome), 1, "{body}");
        assert_eq!(first.standing(&host), Standing::Good);
        assert!(first.fetch(&host).is_none());
    }
}

#[test]
fn keys_that_sts_does_not_know_any_more_are_fetched_anew() {
    for code in
        ["ExpiredToken", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"]
    {
        let plan = role_of_instance();
        let host = begin(&plan);
        sign_in_instance(&plan, &host, "old", 6 * 3600);
        host.advance(Duration::from_secs(60));
        let (first, role) = both(&plan);
        assert!(role.fetch(&host).is_some());
        assert_eq!(answer(&role, &host, 403, &refusal(code)), None);
        assert_eq!(fetches(&host, "refused"), 1);
        host.advance(Duration::from_millis(500));
        assert!(role.fetch(&host).is_none(), "there is nothing to sign with");
        assert_eq!(first.standing(&host), Standing::Waiting);
        sign_in_instance(&plan, &host, "new", 6 * 3600);
        let call = role.fetch(&host).unwrap();
        assert_eq!(header(&call, "x-amz-security-token"), Some("S3CRETTOKENnew"), "{code}");
        // Those have just come: it cannot be they.
        assert_eq!(answer(&role, &host, 403, &refusal(code)), None);
        assert_eq!(first.standing(&host), Standing::Good);
    }
}

#[test]
fn backends_share_what_they_have_in_common_and_nothing_else() {
    let keys = |id: &str, role: &str| {
        json!({
            "source": "static", "access_key_id": id, "secret_access_key": "S3CRET", "clusters": { "sts": "sts" },
            "assume_role": { "role_arn": format!("arn:aws:iam::123456789012:role/{role}") }
        })
    };
    let instance = |role_name: &str| {
        json!({
            "source": "instance", "clusters": { "instance": "imds", "sts": "sts" }, "role_name": role_name,
            "assume_role": { "role_arn": ROLE }
        })
    };
    for (credentials, sources) in [
        (vec![keys("AKIDONE", "x"), keys("AKIDONE", "x")], 1),
        (vec![keys("AKIDONE", "x"), keys("AKIDTWO", "x")], 2),
        (vec![keys("AKIDONE", "x"), keys("AKIDONE", "y")], 2),
        (vec![instance("x"), instance("x")], 2),
        (vec![instance("x"), instance("y")], 4),
    ] {
        let mut config = config(&credentials[0], json!({}));
        let mut other = config["backends"]["aws"].clone();
        other["credentials"] = credentials[1].clone();
        config["backends"]["other"] = other;
        let plan = plan_with(&config, &[]);
        let mut keys: Vec<String> = plan.sources().iter().map(|source| source.key().to_owned()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!((keys.len(), plan.sources().len()), (sources, sources), "{credentials:?}");
        assert!(keys.iter().all(|key| !key.contains("S3CRET") && !key.contains("AKID")), "{keys:?}");
    }
}

#[test]
fn the_service_is_the_regions_own_and_with_fips_where_bedrocks_is() {
    for (region, endpoint, sts, bedrock) in [
        (
            "eu-central-1",
            "standard",
            "sts.eu-central-1.amazonaws.com",
            "bedrock-runtime.eu-central-1.amazonaws.com",
        ),
        (
            "us-west-2",
            "fips",
            "sts-fips.us-west-2.amazonaws.com",
            "bedrock-runtime-fips.us-west-2.amazonaws.com",
        ),
        (
            "us-gov-west-1",
            "fips",
            "sts.us-gov-west-1.amazonaws.com",
            "bedrock-runtime-fips.us-gov-west-1.amazonaws.com",
        ),
        (
            "cn-north-1",
            "standard",
            "sts.cn-north-1.amazonaws.com.cn",
            "bedrock-runtime.cn-north-1.amazonaws.com.cn",
        ),
    ] {
        let partition = match region {
            "us-gov-west-1" => "aws-us-gov",
            "cn-north-1" => "aws-cn",
            _ => "aws",
        };
        let role = format!("arn:{partition}:iam::123456789012:role/fairlead");
        let mut config = config(&assume_role(json!({ "role_arn": role })), json!({}));
        config["backends"]["aws"]["region"] = json!(region);
        config["backends"]["aws"]["endpoint"] = json!(endpoint);
        let plan = plan_with(&config, &KEYS);
        let host = begin(&plan);
        let call = only(&plan).fetch(&host).unwrap();
        assert_eq!(header(&call, ":authority"), Some(sts));
        assert!(header(&call, "authorization").unwrap().contains(&format!("/{region}/sts/aws4_request")));
        answer(&only(&plan), &host, 200, &role_keys(&host, "AssumeRole", "role", 3600));
        let outgoing = Exchange::new(&plan, &host).forward(HELLO);
        assert_eq!(outgoing.headers.get(":authority"), Some(bedrock));
    }
}

// The default chain.

#[test]
fn the_default_chain_is_that_of_awss_sdks() {
    let irsa = [("AWS_ROLE_ARN", ROLE), ("AWS_WEB_IDENTITY_TOKEN_FILE", IRSA_TOKEN_FILE)];
    let ecs = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x");
    let eks = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials");
    let token_file = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", POD_TOKEN_FILE);
    let nobody = ("AWS_ACCESS_KEY_ID", "");
    for (variables, first) in [
        (vec![], ("imds", "/latest/api/token")),
        (vec![nobody, ("AWS_ROLE_ARN", ROLE)], ("imds", "/latest/api/token")),
        (vec![ecs], ("agent", "/v2/credentials/x")),
        (vec![eks, token_file], ("files", POD_TOKEN_FILE)),
        (vec![ecs, eks], ("agent", "/v2/credentials/x")),
        (vec![irsa[0], irsa[1], ecs], ("files", IRSA_TOKEN_FILE)),
        (vec![nobody, irsa[0], irsa[1], eks, token_file], ("files", IRSA_TOKEN_FILE)),
    ] {
        let plan = plan(&default(), &variables);
        let call = only(&plan).fetch(&begin(&plan)).unwrap();
        assert_eq!((call.cluster.as_str(), header(&call, ":path").unwrap()), first, "{variables:?}");
    }
    let plan = plan(&default(), &[KEYS[0], KEYS[1], irsa[0], irsa[1], ecs]);
    assert!(plan.sources().is_empty(), "keys in the environment go first");
    let outgoing = Exchange::new(&plan, &FakeHost::new()).forward(HELLO);
    assert!(outgoing.headers.get("authorization").unwrap().contains("Credential=AKIDEXAMPLE/"));
}

#[test]
fn an_api_key_of_bedrocks_goes_before_everything_and_into_requests_as_it_is() {
    let key = ("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-S3CRET==");
    let written = json!({ "source": "api_key", "api_key": { "env": "AWS_BEARER_TOKEN_BEDROCK" } });
    for (credentials, variables) in [(default(), vec![key, KEYS[0], KEYS[1]]), (written, vec![key])] {
        for (api, authority) in [
            ("converse", "bedrock-runtime.us-east-1.amazonaws.com"),
            ("mantle", "bedrock-mantle.us-east-1.api.aws"),
        ] {
            let mut config = config(&credentials, json!({}));
            config["backends"]["aws"]["api"] = json!(api);
            config["models"][0]["model"] = json!("bedrock/anthropic.claude-opus-4-8");
            let plan = plan_with(&config, &variables);
            assert!(plan.sources().is_empty());
            let outgoing = Exchange::new(&plan, &FakeHost::new()).forward(HELLO);
            assert_eq!(outgoing.headers.get(":authority"), Some(authority));
            assert_eq!(outgoing.headers.get("authorization"), Some("Bearer bedrock-api-key-S3CRET=="));
            let names: Vec<&str> = outgoing.headers.0.iter().map(|(name, _)| name.as_str()).collect();
            assert!(!names.iter().any(|name| name.starts_with("x-amz-")), "{names:?}");
        }
    }
}

// Teams.

/// A request of a team's member.
fn asking<'h>(team: &str, plan: &Rc<Plan>, host: &'h FakeHost) -> Exchange<'h> {
    let authorization = format!("Bearer {}", member(team).0);
    let headers = headers(&[
        (":method", "POST"),
        (":path", "/v1/chat/completions"),
        (":authority", "gateway.example"),
        ("content-type", "application/json"),
        ("authorization", &authorization),
    ]);
    Exchange::with(headers, plan, host)
}

/// What every source wants to ask now, by the session that it is for.
fn due(plan: &Plan, host: &FakeHost) -> Vec<(Rc<Source>, String)> {
    let session = |call: &Callout| {
        let rest = body(call).split("&RoleSessionName=").nth(1).unwrap_or(&call.cluster).to_owned();
        rest.split('&').next().unwrap().to_owned()
    };
    let sources = plan.sources();
    sources.iter().filter_map(|source| Some((Rc::clone(source), session(&source.fetch(host)?)))).collect()
}

#[test]
fn each_team_has_a_session_of_its_own_which_is_fetched_when_it_comes() {
    let clusters = json!({ "instance": "imds", "sts": "sts" });
    let role = json!({ "role_arn": ROLE, "external_id": "ext", "duration_seconds": 900, "tags": { "app": "llm" }, "per_team": true });
    let credentials = json!({ "source": "instance", "clusters": clusters, "assume_role": role });
    let plan =
        plan_with(&config(&credentials, teams(&[("blue", json!(null)), ("Cash & Co", json!(null))])), &[]);
    let host = begin(&plan);
    // The instance's keys, the role without a team, and a session for each of the two.
    assert_eq!(plan.sources().len(), 4);
    let first: Vec<String> = due(&plan, &host).into_iter().map(|(_, session)| session).collect();
    assert_eq!(first, ["imds"], "only what all of them need");
    let instance = Rc::clone(&plan.sources()[0]);
    answer(&instance, &host, 200, "session");
    answer(&instance, &host, 200, "role");
    answer(&instance, &host, 200, &instance_keys(&host, "instance", 6 * 3600));
    assert!(due(&plan, &host).is_empty(), "nobody has asked yet");

    let mut blue = asking("blue", &plan, &host);
    assert_eq!(blue.send(HELLO), Step::Park);
    let called = due(&plan, &host);
    let [(source, session)] = called.as_slice() else { panic!("{}", called.len()) };
    assert_eq!(session, "blue");
    assert_eq!(answer(source, &host, 200, &role_keys(&host, "AssumeRole", "blue", 900)), None);
    let Step::Forward(outgoing) = blue.whole.wake(&host) else { panic!("not sent") };
    assert_eq!(signer(&outgoing), "blue");

    let mut cash = asking("Cash & Co", &plan, &host);
    assert_eq!(cash.send(HELLO), Step::Park);
    let source = plan.sources().into_iter().find(|source| source.due_in(&host) == 0).unwrap();
    let call = source.fetch(&host).unwrap();
    assert_eq!(
        body(&call),
        "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Ffairlead\
         &RoleSessionName=Cash---Co&ExternalId=ext&DurationSeconds=900&Tags.member.1.Key=app&Tags.member.1.Value=llm\
         &Tags.member.2.Key=team&Tags.member.2.Value=Cash%20-%20Co"
    );
    assert!(header(&call, "authorization").unwrap().contains("Credential=ASIAINSTANCE/"));
    answer(&source, &host, 200, &role_keys(&host, "AssumeRole", "cash", 900));
    let Step::Forward(outgoing) = cash.whole.wake(&host) else { panic!("not sent") };
    assert_eq!(signer(&outgoing), "cash");
    assert_eq!(signer(&asking("blue", &plan, &host).forward(HELLO)), "blue", "and still its own");
    assert_eq!(fetches(&host, "ok"), 3, "the instance was asked once");
    assert!(plan.backends().iter().all(|backend| backend.standing(&host) == Some(Standing::Good)));

    // Who does not come any more costs nothing any more.
    host.advance(Duration::from_secs(60));
    asking("blue", &plan, &host).forward(HELLO);
    host.advance(Duration::from_secs(900 - 260));
    let sessions: Vec<String> = due(&plan, &host).into_iter().map(|(_, session)| session).collect();
    assert_eq!(sessions, ["blue"]);
}

#[test]
fn a_teams_own_role_is_taken_on_with_what_the_source_gives_and_not_with_the_backends_role() {
    let clusters = json!({ "instance": "imds", "sts": "sts" });
    let role = json!({ "role_arn": ROLE, "external_id": "backend", "tags": { "app": "llm" } });
    let credentials = json!({ "source": "instance", "clusters": clusters, "assume_role": role });
    let own =
        json!({ "role_arn": "arn:aws:iam::210987654321:role/blue", "external_id": { "env": "BLUE_ID" } });
    let only_id = json!({ "external_id": "green-id" });
    let config = config(&credentials, teams(&[("blue", own), ("green", only_id), ("red", json!(null))]));
    let plan = plan_with(&config, &[("BLUE_ID", "blue-id")]);
    let host = begin(&plan);
    assert_eq!(plan.sources().len(), 4, "the red team is like everyone");
    for team in ["blue", "green", "red"] {
        assert_eq!(asking(team, &plan, &host).send(HELLO), Step::Park);
    }
    sign_in_instance(&plan, &host, "instance", 6 * 3600);
    let mut bodies = Vec::new();
    for (index, source) in plan.sources().iter().enumerate().skip(1) {
        let call = source.fetch(&host).unwrap();
        assert!(
            header(&call, "authorization").unwrap().contains("Credential=ASIAINSTANCE/"),
            "no chain of roles"
        );
        bodies.push(
            body(&call).replace("Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A", ""),
        );
        answer(source, &host, 200, &role_keys(&host, "AssumeRole", &format!("n{index}"), 3600));
    }
    bodies.sort_unstable();
    let tags = "Tags.member.1.Key=app&Tags.member.1.Value=llm";
    let own = |team: &str| format!("&{tags}&Tags.member.2.Key=team&Tags.member.2.Value={team}");
    assert_eq!(
        bodies,
        [
            format!("123456789012%3Arole%2Ffairlead&RoleSessionName=fairlead&ExternalId=backend&{tags}"),
            format!(
                "123456789012%3Arole%2Ffairlead&RoleSessionName=green&ExternalId=green-id{}",
                own("green")
            ),
            format!("210987654321%3Arole%2Fblue&RoleSessionName=blue&ExternalId=blue-id{}", own("blue")),
        ]
    );
    let signers: Vec<String> = ["blue", "green", "red"]
        .map(|team| signer(&asking(team, &plan, &host).forward(HELLO)))
        .into_iter()
        .collect();
    assert!(signers[0] != signers[1] && signers[1] != signers[2] && signers[0] != signers[2], "{signers:?}");
    assert_eq!(signers[2], "n1", "the backend's own");
}

#[test]
fn a_backend_whose_sessions_are_all_teams_lacks_nothing_before_the_first_team_comes() {
    let plan =
        plan_with(&config(&assume_role(json!({ "per_team": true })), teams(&[("blue", json!(null))])), &KEYS);
    let host = begin(&plan);
    assert!(due(&plan, &host).is_empty());
    assert_eq!(plan.backends()[0].standing(&host), Some(Standing::Good));
}

#[test]
fn a_team_can_have_a_role_where_everyone_else_has_keys_that_never_end() {
    let credentials = json!({ "source": "environment", "clusters": { "sts": "sts" } });
    let own = json!({ "role_arn": "arn:aws:iam::210987654321:role/blue" });
    let plan = plan_with(&config(&credentials, teams(&[("blue", own), ("red", json!(null))])), &KEYS);
    let host = begin(&plan);
    let outgoing = asking("red", &plan, &host).forward(HELLO);
    assert!(outgoing.headers.get("authorization").unwrap().contains("Credential=AKIDEXAMPLE/"));
    let mut blue = asking("blue", &plan, &host);
    assert_eq!(blue.send(HELLO), Step::Park);
    let call = only(&plan).fetch(&host).unwrap();
    assert!(header(&call, "authorization").unwrap().contains("Credential=AKIDEXAMPLE/"));
    answer(&only(&plan), &host, 403, &refusal("AccessDenied"));
    let lines = log(&host);
    assert!(
        lines[0].starts_with("credentials of backend aws (assume_role, team blue): AssumeRole of "),
        "{lines:?}"
    );
    let Step::Answer(reply) = blue.whole.wake(&host) else { panic!("waits") };
    assert_eq!(reply.status, 503);
    asking("red", &plan, &host).forward(HELLO);
}

#[test]
fn a_hundred_teams_on_four_workers_ask_once_for_each_session_and_once_for_what_it_begins_with() {
    let clusters = json!({ "instance": "imds", "sts": "sts" });
    let role = json!({ "role_arn": ROLE, "per_team": true });
    let credentials = json!({ "source": "instance", "clusters": clusters, "assume_role": role });
    let names: Vec<String> = (0..100).map(|number| format!("team-{number}")).collect();
    let named: Vec<(&str, Value)> = names.iter().map(|name| (name.as_str(), Value::Null)).collect();
    let config = config(&credentials, teams(&named));
    let first = FakeHost::new();
    let workers: Vec<(FakeHost, Rc<Plan>)> =
        (0..4).map(|_| (first.worker(), plan_with(&config, &[]))).collect();
    workers[0].1.prepare(&first);
    let mut waiting = Vec::new();
    for (host, plan) in &workers {
        for name in &names {
            let mut exchange = asking(name, plan, host);
            assert_eq!(exchange.send(HELLO), Step::Park);
            waiting.push(exchange);
        }
    }
    let (mut instance_calls, mut sessions) = (0, Vec::new());
    for _ in 0..3 {
        for (host, plan) in &workers {
            for source in plan.sources() {
                let Some(call) = source.fetch(host) else { continue };
                if call.cluster == "imds" {
                    instance_calls += 1;
                    answer(&source, host, 200, "session");
                    answer(&source, host, 200, "role");
                    answer(&source, host, 200, &instance_keys(host, "instance", 6 * 3600));
                } else {
                    let session =
                        body(&call).split("RoleSessionName=").nth(1).unwrap().split('&').next().unwrap();
                    let word = session.replace('-', "");
                    sessions.push(session.to_owned());
                    answer(&source, host, 200, &role_keys(host, "AssumeRole", &word, 3600));
                }
            }
        }
    }
    assert_eq!((instance_calls, sessions.len()), (1, 100));
    let mut signers: Vec<String> = Vec::new();
    for exchange in &mut waiting {
        let Step::Forward(outgoing) = exchange.whole.wake(exchange.host) else { panic!("not sent") };
        signers.push(signer(&outgoing));
    }
    let expected: Vec<String> = names.iter().map(|name| name.replace('-', "")).collect();
    for chunk in signers.chunks(100) {
        assert_eq!(chunk, expected);
    }
}

// Clocks.

fn answer_dated(
    source: &Source,
    host: &FakeHost,
    (status, body): (u16, &str),
    date: &str,
) -> Option<Callout> {
    let headers: Headers = headers(&[(":status", &status.to_string()), ("date", date)]);
    source.answered(host, Some((&headers, body.as_bytes())))
}

#[test]
fn a_signature_by_a_wrong_clock_is_made_once_more_at_once_by_the_clouds() {
    let plan = plan(&assume_role(json!({})), &KEYS);
    let host = begin(&plan);
    let source = only(&plan);
    assert_eq!(header(&source.fetch(&host).unwrap(), "x-amz-date"), Some("20260102T030405Z"));
    // AWS is ten minutes ahead.
    let date = "Fri, 02 Jan 2026 03:14:05 GMT";
    let call = answer_dated(&source, &host, (403, &refusal("SignatureDoesNotMatch")), date).unwrap();
    assert_eq!(header(&call, "x-amz-date"), Some("20260102T031405Z"));
    assert!(body(&call).contains("Action=AssumeRole&"));
    let lines = host.take_log();
    assert!(matches!(lines.as_slice(), [(Level::Warn, line)] if line.contains("600 s slow")), "{lines:?}");
    assert_eq!((fetches(&host, "refused"), source.standing(&host)), (0, Standing::Waiting));
    // Its time, for an hour: ten minutes more by ours.
    assert_eq!(answer(&source, &host, 200, &role_keys(&host, "AssumeRole", "role", 4200)), None);
    let outgoing = Exchange::new(&plan, &host).forward(HELLO);
    assert_eq!(outgoing.headers.get("x-amz-date"), Some("20260102T031405Z"), "and so are requests");
    host.advance(Duration::from_secs(3600 - 300));
    assert!(source.fetch(&host).is_none());
    host.advance(Duration::from_secs(100));
    assert!(source.fetch(&host).is_some());
}

#[test]
fn clouds_that_disagree_on_the_time_are_asked_twice_and_no_more() {
    let plan = plan(&assume_role(json!({})), &KEYS);
    let host = begin(&plan);
    let source = only(&plan);
    assert!(source.fetch(&host).is_some());
    let refused = (403, refusal("SignatureDoesNotMatch"));
    let refused = (refused.0, refused.1.as_str());
    assert!(answer_dated(&source, &host, refused, "Fri, 02 Jan 2026 03:14:05 GMT").is_some());
    assert_eq!(answer_dated(&source, &host, refused, "Fri, 02 Jan 2026 02:14:05 GMT"), None);
    assert_eq!((fetches(&host, "refused"), source.standing(&host)), (1, Standing::Failing));
    assert!(source.fetch(&host).is_none(), "and then the source is left alone for a while");
}

#[test]
fn a_refusal_by_a_clock_that_is_right_is_one_of_the_request() {
    let plan = plan(&assume_role(json!({})), &KEYS);
    let host = begin(&plan);
    assert!(only(&plan).fetch(&host).is_some());
    let denied = refusal("AccessDenied");
    for date in ["Fri, 02 Jan 2026 03:05:05 GMT", "no date", ""] {
        let source = only(&plan);
        assert_eq!(answer_dated(&source, &host, (403, &denied), date), None);
        host.advance(Duration::from_secs(30));
        assert!(source.fetch(&host).is_some());
    }
}

#[test]
fn keys_that_seem_to_have_ended_when_they_come_tell_that_the_clock_is_wrong() {
    let plan = instance();
    let host = begin(&plan);
    let source = only(&plan);
    // This machine is eight hours fast.
    let keys = instance_keys(&host, "one", -2 * 3600);
    let date = "Thu, 01 Jan 2026 19:04:05 GMT";
    assert!(source.fetch(&host).is_some());
    assert!(answer_dated(&source, &host, (200, "session"), date).is_some());
    assert!(answer_dated(&source, &host, (200, "role"), date).is_some());
    assert_eq!(answer_dated(&source, &host, (200, &keys), date), None);
    let outgoing = Exchange::new(&plan, &host).forward(HELLO);
    assert_eq!(outgoing.headers.get("x-amz-date"), Some("20260101T190405Z"));
    assert!(source.fetch(&host).is_none());
}

// Secrets.

#[test]
fn nothing_that_is_secret_shows_in_debug_output() {
    let container = json!({ "source": "container", "clusters": { "container": "agent", "sts": "sts" },
        "assume_role": { "role_arn": ROLE, "external_id": "S3CRET-external" } });
    let own = json!({ "role_arn": ROLE, "external_id": "S3CRET-of-blue" });
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/S3CRET-id"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "S3CRET-token"),
    ];
    let plan = plan_with(&config(&container, teams(&[("blue", own)])), &variables);
    let host = begin(&plan);
    let source = Rc::clone(&plan.sources()[0]);
    assert!(source.fetch(&host).is_some());
    answer(&source, &host, 200, &container_keys(&host, "task"));
    let shown = format!("{plan:?}");
    assert!(shown.contains("AssumeRole of arn:aws:iam::123456789012:role/fairlead"), "{shown}");
    assert!(!shown.contains("S3CRET"), "{shown}");
}
