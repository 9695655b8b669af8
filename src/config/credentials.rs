//! What the operator writes about credentials: where the right to call a backend comes from.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Secret, object, optional};

/// Where the right to call a backend comes from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    pub source: Source,
    pub access_key_id: Option<Secret>,
    pub secret_access_key: Option<Secret>,
    pub session_token: Option<Secret>,
    pub api_key: Option<Secret>,
    /// Google's key file, of whatever type: its whole JSON.
    pub json: Option<Secret>,
    /// As `clusters.metadata`.
    pub cluster: Option<String>,
    /// Envoy's names of the clusters that lead to the places where credentials are fetched.
    #[serde(default, deserialize_with = "object")]
    pub clusters: Clusters,
    /// `instance`: the name of the role, if the metadata service is not to be asked for it.
    pub role_name: Option<String>,
    /// `web_identity`: the role; `AWS_ROLE_ARN` when absent.
    pub role_arn: Option<String>,
    /// `web_identity`: the name of the session; `AWS_ROLE_SESSION_NAME` or `fairlead` when absent.
    pub session_name: Option<String>,
    /// `container`: the path of the credentials; that of AWS's environment variables when absent. `/v1/credentials` is that
    /// of EKS's agent, every other one of ECS's.
    pub path: Option<String>,
    /// `web_identity` and `container`: the file with the token, as a path on the listener that serves it; that of AWS's
    /// environment variables when absent.
    pub token_path: Option<String>,
    /// AWS: a role that is taken on with what the source gives.
    #[serde(default, deserialize_with = "optional")]
    pub assume_role: Option<AssumeRole>,
    /// Google: a service account that is taken on with what the source gives.
    #[serde(default, deserialize_with = "optional")]
    pub impersonate: Option<Impersonate>,
    /// Google: the project that quota and bill go to, where it is not that of the caller; the JSON's own when absent.
    pub quota_project: Option<String>,
}

impl Credentials {
    /// The fields besides `source`, and whether each is given.
    pub fn given(&self) -> Vec<(&'static str, bool)> {
        vec![
            ("access_key_id", self.access_key_id.is_some()),
            ("secret_access_key", self.secret_access_key.is_some()),
            ("session_token", self.session_token.is_some()),
            ("api_key", self.api_key.is_some()),
            ("json", self.json.is_some()),
            ("cluster", self.cluster.is_some()),
            ("clusters.instance", self.clusters.instance.is_some()),
            ("clusters.container", self.clusters.container.is_some()),
            ("clusters.file", self.clusters.file.is_some()),
            ("clusters.sts", self.clusters.sts.is_some()),
            ("clusters.metadata", self.clusters.metadata.is_some()),
            ("clusters.token", self.clusters.token.is_some()),
            ("clusters.iam", self.clusters.iam.is_some()),
            ("clusters.subject", self.clusters.subject.is_some()),
            ("role_name", self.role_name.is_some()),
            ("role_arn", self.role_arn.is_some()),
            ("session_name", self.session_name.is_some()),
            ("path", self.path.is_some()),
            ("token_path", self.token_path.is_some()),
            ("assume_role", self.assume_role.is_some()),
            ("impersonate", self.impersonate.is_some()),
            ("quota_project", self.quota_project.is_some()),
        ]
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// AWS keys in this configuration.
    Static,
    /// AWS keys in `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    Environment,
    /// The role of an EC2 instance, by its metadata service (IMDSv2).
    Instance,
    /// The role of a container: ECS tasks, and EKS Pod Identity.
    Container,
    /// A role by a token that Kubernetes projects into a file: IRSA.
    WebIdentity,
    /// The first of AWS's default chain that Envoy's environment speaks for.
    Default,
    /// Google's metadata server: GCE, GKE with Workload Identity, Cloud Run.
    MetadataServer,
    /// The key of a Google service account.
    ServiceAccount,
    /// A person's consent, as `gcloud auth application-default login` leaves it.
    AuthorizedUser,
    /// Workload identity federation: a token of somebody else's that Google trusts.
    ExternalAccount,
    /// A key of the vendor's own API, or of Amazon Bedrock, in this configuration.
    ApiKey,
}

/// Envoy's clusters, by what they lead to.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clusters {
    /// EC2's metadata service, `169.254.169.254:80`.
    pub instance: Option<String>,
    /// The container's credentials endpoint: ECS `169.254.170.2:80`, EKS `169.254.170.23:80`.
    pub container: Option<String>,
    /// The listener of this Envoy's that serves token files.
    pub file: Option<String>,
    /// The security token service: AWS's of the region, or Google's, `sts.googleapis.com:443`.
    pub sts: Option<String>,
    /// Google's metadata server, `metadata.google.internal:80`.
    pub metadata: Option<String>,
    /// Google's token endpoint, `oauth2.googleapis.com:443`.
    pub token: Option<String>,
    /// Google's `iamcredentials.googleapis.com:443`.
    pub iam: Option<String>,
    /// The place whose token an external account shows, where it is a URL.
    pub subject: Option<String>,
}

/// A role that is taken on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssumeRole {
    pub role_arn: String,
    /// What the role's trust policy demands of strangers.
    pub external_id: Option<Secret>,
    /// `fairlead` when absent.
    pub session_name: Option<String>,
    /// How long the keys live; an hour when absent, and at most where the source's own keys are a role's.
    pub duration_seconds: Option<u64>,
    /// Session tags, of teams' sessions too.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Each team has a session of its own, with its name as the session's and as the tag `team`.
    #[serde(default)]
    pub per_team: bool,
}

/// A Google service account that is taken on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Impersonate {
    /// Its e-mail address.
    pub service_account: String,
    /// Service accounts on the way there.
    #[serde(default)]
    pub delegates: Vec<String>,
    /// How long the tokens live; an hour when absent.
    pub lifetime_seconds: Option<u64>,
}

/// What a team calls a backend as.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeamCredentials {
    /// AWS: its own role, taken on with what the backend's source gives.
    pub role_arn: Option<String>,
    /// AWS: what the role's trust policy demands.
    pub external_id: Option<Secret>,
    /// Google: its own service account, which the backend's source takes on in the place of `impersonate`'s.
    pub service_account: Option<String>,
}
