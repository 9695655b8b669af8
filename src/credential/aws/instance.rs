//! The role of an EC2 instance, by its metadata service. Version 2 only: a session first, which nobody gets who can
//! merely make the gateway ask for a page.
//!
//! docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html and
//! …/instance-metadata-security-credentials.html.

use std::time::SystemTime;

use zeroize::Zeroizing;

use super::keys;
use crate::base::host::Callout;
use crate::credential::source::CALL;
use crate::credential::{Answer, Carry, Problem, Step, is_token};

/// Where the names of roles are, and below them their keys.
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

/// Where the instance's availability zone is.
const ZONE: &str = "/latest/meta-data/placement/availability-zone";

/// How long a session lasts, in seconds: it is for the next two calls.
const SESSION: &str = "60";

/// The whole way from nothing to keys. Without a role's name the service is asked for it.
pub fn steps(cluster: &str, role: Option<&str>) -> Vec<Box<dyn Step>> {
    let cluster = cluster.to_owned();
    let mut steps: Vec<Box<dyn Step>> = vec![Box::new(Session { cluster: cluster.clone() })];
    if role.is_none() {
        steps.push(Box::new(RoleName { cluster: cluster.clone() }));
    }
    steps.push(Box::new(Keys { cluster, role: role.map(str::to_owned) }));
    steps
}

/// The way to the name of the region, which goes into `carry.name`.
pub fn region(cluster: &str) -> Vec<Box<dyn Step>> {
    let cluster = cluster.to_owned();
    vec![Box::new(Session { cluster: cluster.clone() }), Box::new(Zone { cluster })]
}

/// What the name of a role may be: `roleNameType` of AWS's IAM.
pub fn is_role_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte))
}

/// Takes a session's token into `carry.text`.
#[derive(Debug)]
struct Session {
    cluster: String,
}

/// Takes the name of the instance's role into `carry.name`.
#[derive(Debug)]
struct RoleName {
    cluster: String,
}

/// Takes the name of the instance's region into `carry.name`.
#[derive(Debug)]
struct Zone {
    cluster: String,
}

#[derive(Debug)]
struct Keys {
    cluster: String,
    /// The operator's; else the one in `carry.name`.
    role: Option<String>,
}

impl Step for Session {
    fn name(&self) -> String {
        "PUT /latest/api/token of EC2's metadata service".to_owned()
    }

    fn call(&self, _: &mut Carry, _: SystemTime) -> Result<Option<Callout>, Problem> {
        let lifetime = ("x-aws-ec2-metadata-token-ttl-seconds", SESSION.to_owned());
        Ok(Some(call(&self.cluster, "PUT", "/latest/api/token".to_owned(), lifetime)))
    }

    fn read(&self, carry: &mut Carry, answer: &Answer<'_>, _: SystemTime) -> Result<(), Problem> {
        let token = text(answer)?;
        if !is_token(token) {
            return Err(Problem::garbled("with something that is no token"));
        }
        carry.text = Zeroizing::new(token.to_owned());
        Ok(())
    }
}

impl Step for RoleName {
    fn name(&self) -> String {
        "the role's name at EC2's metadata service".to_owned()
    }

    fn call(&self, carry: &mut Carry, _: SystemTime) -> Result<Option<Callout>, Problem> {
        Ok(Some(call(&self.cluster, "GET", ROLES.to_owned(), session(carry))))
    }

    fn read(&self, carry: &mut Carry, answer: &Answer<'_>, _: SystemTime) -> Result<(), Problem> {
        let name = text(answer)?;
        if !is_role_name(name) {
            return Err(Problem::garbled("with something that is no role's name"));
        }
        name.clone_into(&mut carry.name);
        Ok(())
    }
}

impl Step for Keys {
    fn name(&self) -> String {
        "the role's keys at EC2's metadata service".to_owned()
    }

    fn call(&self, carry: &mut Carry, _: SystemTime) -> Result<Option<Callout>, Problem> {
        let path = [ROLES, self.role.as_deref().unwrap_or(&carry.name)].concat();
        Ok(Some(call(&self.cluster, "GET", path, session(carry))))
    }

    fn read(&self, carry: &mut Carry, answer: &Answer<'_>, _: SystemTime) -> Result<(), Problem> {
        keys::read(carry, answer)
    }
}

impl Step for Zone {
    fn name(&self) -> String {
        "the availability zone at EC2's metadata service".to_owned()
    }

    fn call(&self, carry: &mut Carry, _: SystemTime) -> Result<Option<Callout>, Problem> {
        Ok(Some(call(&self.cluster, "GET", ZONE.to_owned(), session(carry))))
    }

    fn read(&self, carry: &mut Carry, answer: &Answer<'_>, _: SystemTime) -> Result<(), Problem> {
        // `us-west-2b`; local zones, `us-west-2-lax-1a`, have more behind their region.
        let zone = text(answer)?;
        let end = zone.find(|c: char| c.is_ascii_digit()).map_or(zone.len(), |digit| digit + 1);
        let region = zone.get(..end).unwrap_or_default();
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !region.ends_with(|c: char| c.is_ascii_digit()) || !region.chars().all(is_word) {
            return Err(Problem::garbled("with something that is no zone"));
        }
        region.clone_into(&mut carry.name);
        Ok(())
    }
}

fn session(carry: &Carry) -> (&'static str, String) {
    ("x-aws-ec2-metadata-token", carry.text.as_str().to_owned())
}

fn call(cluster: &str, method: &str, path: String, header: (&'static str, String)) -> Callout {
    Callout {
        cluster: cluster.to_owned(),
        headers: vec![
            (":method", method.to_owned()),
            (":path", path),
            (":authority", "169.254.169.254".to_owned()),
            header,
        ],
        body: Vec::new(),
        timeout: CALL,
    }
}

/// A plain answer, without the line's end that it may have.
fn text<'a>(answer: &Answer<'a>) -> Result<&'a str, Problem> {
    if answer.status != 200 {
        return Err(Problem::status(answer.status, None));
    }
    Ok(std::str::from_utf8(answer.body).unwrap_or_default().trim_end_matches(['\r', '\n']))
}
