//! AWS's security token service: keys of a role, for a token or for other keys.
//!
//! docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html and …/API_AssumeRoleWithWebIdentity.html; the
//! shapes are those of botocore's service-2.json (sts, 2011-06-15, protocol `query`).

use std::fmt;
use std::time::SystemTime;

use roxmltree::{Document, Node};
use zeroize::Zeroizing;

use super::{Area, is_of_credentials, keys};
use crate::base::host::Callout;
use crate::credential::source::CALL;
use crate::credential::{Answer, Carry, Grant, Outcome, Problem, Step, form, sigv4};

/// The service of a region.
#[derive(Clone, Debug)]
pub struct Sts {
    /// Envoy's cluster that leads there.
    pub cluster: String,
    host: String,
    region: String,
}

/// A role, and as whom it is taken on.
pub struct Role {
    pub arn: String,
    pub session: String,
    pub external_id: Option<Zeroizing<String>>,
    pub duration: Option<u64>,
    pub tags: Vec<(String, String)>,
}

/// As botocore writes it.
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// Names of errors with status 400 by which the service says that another try may do: AWS's common ones, and that the
/// identity provider could not be asked.
const PASSING: &[&str] =
    &["IDPCommunicationError", "RequestLimitExceeded", "Throttling", "ThrottlingException"];

impl Sts {
    pub fn new(cluster: String, area: &Area<'_>) -> Self {
        Self { cluster, host: area.sts_host(), region: area.region.to_owned() }
    }

    fn call(&self, form: &str, proof: Vec<(&'static str, String)>) -> Callout {
        let mut headers = vec![
            (":method", "POST".to_owned()),
            (":path", "/".to_owned()),
            (":authority", self.host.clone()),
            ("content-type", FORM.to_owned()),
        ];
        headers.extend(proof);
        Callout { cluster: self.cluster.clone(), headers, body: form.as_bytes().to_vec(), timeout: CALL }
    }
}

/// Keys of a role for the token in `carry.text`; nothing is signed.
#[derive(Debug)]
pub struct WebIdentity {
    pub sts: Sts,
    pub role: String,
    pub session: String,
}

impl Step for WebIdentity {
    fn name(&self) -> String {
        format!("AssumeRoleWithWebIdentity of {}, cluster {},", self.role, self.sts.cluster)
    }

    fn call(&self, carry: &mut Carry, _: SystemTime) -> Result<Option<Callout>, Problem> {
        let fields = [
            ("RoleArn", self.role.as_str()),
            ("RoleSessionName", &self.session),
            ("WebIdentityToken", &carry.text),
        ];
        Ok(Some(self.sts.call(&form("AssumeRoleWithWebIdentity", &fields), Vec::new())))
    }

    fn read(&self, carry: &mut Carry, answer: &Answer<'_>, _: SystemTime) -> Result<(), Problem> {
        read(carry, answer)
    }
}

/// Keys of a role for those in `carry.grant`, with which the call is signed.
pub struct AssumeRole {
    sts: Sts,
    role: String,
    /// The whole body; it never changes.
    form: Zeroizing<String>,
}

impl AssumeRole {
    pub fn new(sts: Sts, role: &Role) -> Self {
        let duration = role.duration.map(|seconds| seconds.to_string());
        let names: Vec<(String, String)> = (1..=role.tags.len())
            .map(|index| (format!("Tags.member.{index}.Key"), format!("Tags.member.{index}.Value")))
            .collect();
        let mut fields = vec![("RoleArn", role.arn.as_str()), ("RoleSessionName", &role.session)];
        fields.extend(role.external_id.as_ref().map(|id| ("ExternalId", id.as_str())));
        fields.extend(duration.as_deref().map(|seconds| ("DurationSeconds", seconds)));
        for ((key, value), (name, tag)) in names.iter().zip(&role.tags) {
            fields.extend([(key.as_str(), name.as_str()), (value.as_str(), tag.as_str())]);
        }
        Self { sts, role: role.arn.clone(), form: form("AssumeRole", &fields) }
    }

    /// All that makes two of them the same, but for the keys that they begin with.
    pub fn identity(&self) -> String {
        format!("assume_role {:?}", (&self.sts, self.form.as_str()))
    }
}

impl fmt::Debug for AssumeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Step for AssumeRole {
    fn name(&self) -> String {
        format!("AssumeRole of {}, cluster {},", self.role, self.sts.cluster)
    }

    fn call(&self, carry: &mut Carry, now: SystemTime) -> Result<Option<Callout>, Problem> {
        let failed = |words: String| Problem { outcome: Outcome::Failed, words };
        let Some(Grant::Keys(keys)) = carry.grant.as_deref() else {
            return Err(failed("has no keys to be signed with".to_owned()));
        };
        let request = sigv4::Request {
            method: "POST",
            host: &self.sts.host,
            path: "/",
            query: "",
            headers: &[("content-type", FORM)],
            body: self.form.as_bytes(),
        };
        let proof = sigv4::sign(now, keys, &self.sts.region, "sts", &request)
            .map_err(|problem| failed(format!("could not be signed: {problem}")))?;
        Ok(Some(self.sts.call(&self.form, proof)))
    }

    fn read(&self, carry: &mut Carry, answer: &Answer<'_>, _: SystemTime) -> Result<(), Problem> {
        read(carry, answer)
    }
}

/// A call as the query protocol has it.
fn form(action: &str, fields: &[(&str, &str)]) -> Zeroizing<String> {
    let fields: Vec<(&str, &str)> =
        [("Action", action), ("Version", "2011-06-15")].iter().chain(fields).copied().collect();
    form::write(&fields)
}

/// Takes the keys out of an answer.
fn read(carry: &mut Carry, answer: &Answer<'_>) -> Result<(), Problem> {
    // Nothing is copied out of the answer, unless it has references where no key has any.
    let text = std::str::from_utf8(answer.body).unwrap_or_default();
    let document = Document::parse(text).ok();
    let find = |name| {
        document.iter().flat_map(Document::descendants).find(|node: &Node<'_, '_>| node.has_tag_name(name))
    };
    if answer.status != 200 {
        return Err(refusal(answer.status, find("Error").and_then(|error| child(error, "Code"))));
    }
    let Some(told) = find("Credentials") else {
        return Err(Problem::garbled("with something that has no keys"));
    };
    let part = |name| child(told, name).unwrap_or_default();
    let keys = keys::Keys {
        access_key_id: part("AccessKeyId"),
        secret_access_key: part("SecretAccessKey"),
        session_token: part("SessionToken"),
        expiration: part("Expiration"),
    };
    keys.put(carry)
}

/// The text of an element below another.
fn child<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.children().find(|child| child.has_tag_name(name))?.text()
}

fn refusal(status: u16, code: Option<&str>) -> Problem {
    let problem = Problem::status(status, code);
    let outcome = match code {
        Some(code) if PASSING.contains(&code) => Outcome::Failed,
        Some(code) if is_of_credentials(code) => Outcome::Stale,
        Some(_) | None => problem.outcome,
    };
    Problem { outcome, ..problem }
}
