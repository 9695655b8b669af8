//! Subject tokens: what an external account shows to be let in, from a file, from a URL, or signed with keys of AWS's.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::super::hidden::Hidden;
use super::super::{Answer, Carry, Credential, Problem, Shop, Step, aws};
use super::aws::CallerIdentity;
use super::federation::is_plain;
use super::file::Report;
use super::place::{Endpoint, Place};
use super::token;
use crate::base::host::Callout;
use crate::config::credentials::{Clusters, Credentials};
use crate::config::superfluous;

/// Where a file says that the token is: the `credential_source` of google.aip.dev/auth/4117, and of …/4116 for AWS.
#[derive(Deserialize)]
pub struct CredentialSource {
    file: Option<String>,
    url: Option<String>,
    headers: Option<BTreeMap<String, Hidden>>,
    format: Option<Format>,
    environment_id: Option<String>,
    region_url: Option<String>,
    regional_cred_verification_url: Option<String>,
    executable: Option<IgnoredAny>,
    certificate: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Format {
    #[serde(rename = "type")]
    kind: Option<String>,
    subject_token_field_name: Option<String>,
}

/// What a subject token takes.
pub struct Shown {
    /// The cluster that it comes through.
    pub cluster: String,
    pub base: Option<Credential>,
    pub steps: Vec<Box<dyn Step>>,
    /// Where the token is made here.
    pub identity: Option<CallerIdentity>,
}

/// Longer than the path of any token.
const LONGEST_PATH: usize = 1024;

/// Azure and GitHub want one or two.
const MOST_HEADERS: usize = 16;

/// GitHub's token for tokens is the longest, some 2 kB.
const LONGEST_HEADER: usize = 8192;

/// Where EC2's metadata service has keys and the availability zone. Files that Google writes name these alone.
const KEYS: &str = "/latest/meta-data/iam/security-credentials";
const ZONE: &str = "/latest/meta-data/placement/availability-zone";

impl CredentialSource {
    /// Checks it.
    pub fn compile(self, shop: &Shop<'_>, written: &Credentials, report: &mut Report<'_>) -> Option<Shown> {
        let clusters = &written.clusters;
        let unusable = [
            (
                self.executable.is_some(),
                "executable` is a program, and a plugin runs none; let it write a file, and name that",
            ),
            (
                self.certificate.is_some(),
                "certificate` takes client certificates, and the plugin has none; use a token",
            ),
        ];
        if let Some((_, why)) = unusable.into_iter().find(|(given, _)| *given) {
            report.of_file(&format!("its `credential_source.{why}"));
            return None;
        }
        match (&self.file, &self.url, &self.environment_id) {
            (Some(_), None, None) => {
                refuse_all_but("clusters.file", "a token from a file", clusters, report);
                self.of_file(clusters, report)
            }
            (None, Some(_), None) => {
                refuse_all_but("clusters.subject", "a token from a URL", clusters, report);
                self.of_url(clusters, report)
            }
            (None, _, Some(_)) => {
                refuse_all_but("clusters.instance", "an account of AWS", clusters, report);
                self.of_aws(shop, written, report)
            }
            _ => {
                report.of_file("its `credential_source` must have one of `file`, `url` and `environment_id`");
                None
            }
        }
    }

    fn of_file(self, clusters: &Clusters, report: &mut Report<'_>) -> Option<Shown> {
        let leads_to = "the listener that serves token files";
        let cluster = report.cluster(clusters.file.as_ref(), "clusters.file", leads_to);
        let field = field(self.format, report);
        let is_path = |path: &String| {
            path.starts_with('/')
                && path.len() <= LONGEST_PATH
                && is_plain(path)
                && !path.contains(['?', '#', '%'])
        };
        let Some(path) = self.file.filter(is_path) else {
            report.of_file(
                "its `credential_source.file` must be a whole path, without blanks, `?`, `#` and `%`",
            );
            return None;
        };
        let name = format!("the token file {path}");
        let place = Place { host: "localhost".to_owned(), target: path };
        Some(Shown::by(Subject {
            name,
            endpoint: Endpoint { cluster: cluster?, place },
            headers: Vec::new(),
            field: field?,
        }))
    }

    fn of_url(self, clusters: &Clusters, report: &mut Report<'_>) -> Option<Shown> {
        let leads_to = "the host of the file's `credential_source.url`";
        let cluster = report.cluster(clusters.subject.as_ref(), "clusters.subject", leads_to);
        let field = field(self.format, report);
        let headers = headers(self.headers.unwrap_or_default(), report);
        let Some(place) = self.url.and_then(|url| Place::parse(&url, &["http", "https"])) else {
            report.of_file("its `credential_source.url` is no URL of http or https");
            return None;
        };
        let name = format!("the subject token at {}", place.host);
        Some(Shown::by(Subject {
            name,
            endpoint: Endpoint { cluster: cluster?, place },
            headers: headers?,
            field: field?,
        }))
    }

    fn of_aws(self, shop: &Shop<'_>, written: &Credentials, report: &mut Report<'_>) -> Option<Shown> {
        // google-auth knows one version, too.
        if self.environment_id.as_deref() != Some("aws1") {
            report.of_file("its `credential_source.environment_id` must be `aws1`");
            return None;
        }
        for (name, url, path) in [("url", self.url, KEYS), ("region_url", self.region_url, ZONE)] {
            let place = url.map(|url| Place::parse(&url, &["http"]));
            if place.is_some_and(|place| place.is_none_or(|place| place.target.trim_end_matches('/') != path))
            {
                report.of_file(&format!(
                    "its `credential_source.{name}` is not that of EC2's metadata service"
                ));
                return None;
            }
        }
        let url = self.regional_cred_verification_url;
        let url = report.required(url, "credential_source.regional_cred_verification_url")?;
        let Some(identity) = CallerIdentity::new(&url) else {
            report.of_file(
                "its `credential_source.regional_cred_verification_url` is not that of AWS's GetCallerIdentity, \
                 https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
            );
            return None;
        };
        let aws::Federated { keys, region } = aws::federated(shop, written, report.path, report.problems)?;
        let cluster = written.clusters.instance.clone().unwrap_or_default();
        Some(Shown { cluster, base: Some(keys), steps: region, identity: Some(identity) })
    }
}

/// Reports ways to other places than the token's.
fn refuse_all_but(used: &str, owner: &str, clusters: &Clusters, report: &mut Report<'_>) {
    let all = [
        ("clusters.file", clusters.file.is_some()),
        ("clusters.subject", clusters.subject.is_some()),
        ("clusters.instance", clusters.instance.is_some()),
    ];
    let others: Vec<(&str, bool)> = all.into_iter().filter(|(name, _)| *name != used).collect();
    superfluous(&others, report.path, owner, report.problems);
}

/// The field that has the token in it; `Some(None)`: it is all that is there.
fn field(format: Option<Format>, report: &mut Report<'_>) -> Option<Option<String>> {
    let Some(Format { kind, subject_token_field_name }) = format else { return Some(None) };
    match kind.as_deref() {
        None | Some("text") => Some(None),
        Some("json") => {
            let name = "credential_source.format.subject_token_field_name";
            report.required(subject_token_field_name, name).map(Some)
        }
        Some(_) => {
            report.of_file("its `credential_source.format.type` must be `text` or `json`");
            None
        }
    }
}

/// The headers that a URL wants.
fn headers(
    written: BTreeMap<String, Hidden>,
    report: &mut Report<'_>,
) -> Option<Vec<(&'static str, Hidden)>> {
    // What frames a request is Envoy's to say, and whom it is for the URL's.
    const NOT_THESE: &[&str] = &["connection", "content-length", "host", "transfer-encoding", "upgrade"];
    let is_name = |name: &str| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !NOT_THESE.contains(&name.to_ascii_lowercase().as_str())
    };
    let is_value = |value: &str| {
        (1..=LONGEST_HEADER).contains(&value.len()) && value.bytes().all(|byte| (0x20..0x7f).contains(&byte))
    };
    let good =
        written.len() <= MOST_HEADERS && written.iter().all(|(name, value)| is_name(name) && is_value(value));
    if !good {
        report.of_file(
            "its `credential_source.headers` cannot be sent: each must be a name and a text of one line",
        );
        return None;
    }
    // The names of a call's headers live for ever, and so do these: a few words each time that a configuration is read,
    // at most `MOST_HEADERS` of 64 letters.
    let name = |name: String| -> &'static str { name.to_ascii_lowercase().leak() };
    Some(written.into_iter().map(|(key, value)| (name(key), value)).collect())
}

impl Shown {
    fn by(subject: Subject) -> Self {
        let cluster = subject.endpoint.cluster.clone();
        Self { cluster, base: None, steps: vec![Box::new(subject)], identity: None }
    }
}

/// The call for a token of another's, which goes into `carry.text`.
#[derive(Debug)]
struct Subject {
    /// For people.
    name: String,
    endpoint: Endpoint,
    headers: Vec<(&'static str, Hidden)>,
    /// The field of a JSON answer that has the token; `None`: the answer is the token.
    field: Option<String>,
}

impl Step for Subject {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn call(&self, _: &mut Carry, _: SystemTime) -> Result<Option<Callout>, Problem> {
        let headers = self.headers.iter().map(|(name, value)| (*name, (**value).to_owned()));
        Ok(Some(self.endpoint.get(headers)))
    }

    fn read(&self, carry: &mut Carry, answer: &Answer<'_>, _: SystemTime) -> Result<(), Problem> {
        if answer.status != 200 {
            return Err(token::refusal(answer));
        }
        carry.text = token_of(answer.body, self.field.as_deref())?;
        Ok(())
    }
}

fn token_of(body: &[u8], field: Option<&str>) -> Result<Zeroizing<String>, Problem> {
    /// Fields by name, unread: what else is there may be of any kind.
    #[derive(Deserialize)]
    struct Fields<'a>(#[serde(borrow)] BTreeMap<String, &'a RawValue>);

    let token = match field {
        None => std::str::from_utf8(body).ok().map(|text| Zeroizing::new(text.to_owned())),
        Some(field) => serde_json::from_slice::<Fields<'_>>(body)
            .ok()
            .and_then(|Fields(fields)| serde_json::from_str(fields.get(field)?.get()).ok()),
    };
    // Files like to end in a line feed.
    let token = token.map(|token| Zeroizing::new(token.trim_ascii().to_owned()));
    let is_token =
        |token: &Zeroizing<String>| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    token.filter(is_token).ok_or_else(token::no_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, field: Option<&str>) -> Option<String> {
        token_of(body.as_bytes(), field).ok().map(|token| token.to_string())
    }

    #[test]
    fn a_token_is_the_text_or_a_field_of_it() {
        assert_eq!(read("a.b.c", None).as_deref(), Some("a.b.c"));
        assert_eq!(read(" a.b.c\r\n", None).as_deref(), Some("a.b.c"));
        let json = r#"{"count":1,"value":"a.b\u002ec","more":{"value":[]}}"#;
        assert_eq!(read(json, Some("value")).as_deref(), Some("a.b.c"));
        for (body, field) in [
            ("", None),
            ("\n", None),
            ("<html> </html>", None),
            ("a\u{e9}", None),
            (json, Some("more")),
            (json, Some("count")),
            (json, Some("other")),
            ("[]", Some("value")),
            ("a.b.c", Some("value")),
        ] {
            assert_eq!(read(body, field), None, "{body} {field:?}");
        }
    }
}
