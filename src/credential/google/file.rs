//! Google's JSON files: what all of them have, and how one is read. No problem shows a value of a file.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::super::{Shop, sigv4};
use crate::base::json;
use crate::config::Problems;
use crate::config::credentials::Credentials;

/// A file that has been read.
pub struct File<T> {
    pub content: T,
    /// The project whose quota is used and that pays.
    pub quota_project: Option<String>,
    /// Another file has another one; it tells nothing of what is in it.
    pub fingerprint: String,
}

/// What files of every type have. Fields that neither this nor the type has are ignored, as Google's own libraries do.
#[derive(Deserialize)]
struct Common {
    #[serde(rename = "type")]
    kind: Option<String>,
    quota_project_id: Option<String>,
    universe_domain: Option<String>,
}

/// The types that Google has.
const TYPES: &[&str] = &[
    "service_account",
    "authorized_user",
    "external_account",
    "external_account_authorized_user",
    "impersonated_service_account",
    "gdch_service_account",
];

/// Where all of Google's hosts are but those of clouds that partners run with its software, as google-auth has it.
const UNIVERSE: &str = "googleapis.com";

/// Where problems of a file are told.
pub struct Report<'d> {
    /// JSON path of the credentials.
    pub path: &'d str,
    pub problems: &'d mut Problems,
}

impl Report<'_> {
    /// Something about the file.
    pub fn of_file(&mut self, problem: &str) {
        self.problems.add(&format!("{}.json", self.path), problem);
    }

    /// A field that the file must have.
    pub fn required<T>(&mut self, value: Option<T>, field: &str) -> Option<T> {
        if value.is_none() {
            self.of_file(&format!("its `{field}` is missing; take the whole JSON as Google gives it out"));
        }
        value
    }

    /// The name of a cluster.
    pub fn cluster(&mut self, name: Option<&String>, field: &str, leads_to: &str) -> Option<String> {
        let name = name.filter(|name| !name.is_empty());
        if name.is_none() {
            let problem = format!("is missing; name the Envoy cluster that leads to {leads_to}");
            self.problems.add(&format!("{}.{field}", self.path), problem);
        }
        name.cloned()
    }

    /// The name of the cluster that leads to the service which gives tokens of other accounts.
    pub fn iam(&mut self, written: &Credentials) -> Option<String> {
        self.cluster(written.clusters.iam.as_ref(), "clusters.iam", "iamcredentials.googleapis.com:443")
    }

    /// Reads the file that is `written` for a source of that name.
    pub fn read<T: DeserializeOwned>(
        &mut self,
        shop: &Shop<'_>,
        written: &Credentials,
        source: &str,
    ) -> Option<File<T>> {
        let Some(secret) = &written.json else {
            self.of_file(
                "is missing; name the variable of Envoy's environment that has it: {\"env\": \"NAME\"}",
            );
            return None;
        };
        let at = format!("{}.json", self.path);
        let text = secret.resolve(shop.environment, &at, self.problems)?;
        let common: Common = self.parse(&text)?;
        let kind = self.required(common.kind.as_deref(), "type")?;
        if kind != source {
            // What is none of them might be anything, and is not shown.
            let known = TYPES.iter().find(|known| **known == kind);
            let found = known.map_or_else(|| "of an unknown type".to_owned(), |kind| format!("a `{kind}`"));
            self.of_file(&format!("is {found}, and `source` says `{source}`; change one of them"));
            return None;
        }
        if common.universe_domain.is_some_and(|domain| domain != UNIVERSE) {
            self.of_file(&format!(
                "its `universe_domain` is another than {UNIVERSE}, which this gateway cannot call"
            ));
            return None;
        }
        let is_project = |name: &String| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b))
        };
        if common.quota_project_id.as_ref().is_some_and(|project| !is_project(project)) {
            self.of_file("its `quota_project_id` must be a word such as `my-project`");
            return None;
        }
        let content = self.parse(&text)?;
        let mut fingerprint = String::new();
        sigv4::hex(&Sha256::digest(text.as_bytes()), &mut fingerprint);
        Some(File { content, quota_project: common.quota_project_id, fingerprint })
    }

    fn parse<T: DeserializeOwned>(&mut self, text: &str) -> Option<T> {
        if !text.trim_start().starts_with('{') {
            self.of_file("is no JSON object; give the text of the file, and not its name or its base64");
            return None;
        }
        let deserializer = &mut serde_json::Deserializer::from_str(text);
        let value = serde_path_to_error::deserialize(&mut *deserializer).map_err(|error| {
            let (path, error) = (error.path().to_string(), error.into_inner());
            let problem = if error.is_data() { json::describe(&error) } else { error.to_string() };
            self.of_file(&format!("cannot be read: {}{problem}", Self::place(&path)));
        });
        let value = value.ok()?;
        deserializer.end().map_err(|error| self.of_file(&format!("cannot be read: {error}"))).ok()?;
        Some(value)
    }

    /// Where in the file; names of fields that are not ours might be anything.
    fn place(path: &str) -> String {
        let known = path.bytes().all(|byte| byte.is_ascii_lowercase() || b"_.".contains(&byte));
        if path == "." || !known { String::new() } else { format!("`{path}`: ") }
    }
}
