//! Google's metadata server: GCE, GKE with Workload Identity, Cloud Run.

use std::time::SystemTime;

use super::super::source::Recipe;
use super::super::{Answer, Carry, Problem, Step};
use super::file::Report;
use super::place::{Endpoint, Place};
use super::{Made, token};
use crate::base::host::Callout;
use crate::config::credentials::Credentials;

/// Checks what is written.
pub fn compile(written: &Credentials, report: &mut Report<'_>) -> Option<Made> {
    if written.cluster.is_some() && written.clusters.metadata.is_some() {
        let problem = "says the same as `clusters.metadata`; remove one of them";
        report.problems.add(&format!("{}.cluster", report.path), problem);
    }
    let cluster = written.cluster.as_ref().or(written.clusters.metadata.as_ref());
    let cluster = report.cluster(cluster, "cluster", "metadata.google.internal:80")?;
    let place = Place {
        host: "metadata.google.internal".to_owned(),
        target: "/computeMetadata/v1/instance/service-accounts/default/token".to_owned(),
    };
    let recipe = Recipe {
        name: format!("metadata_server, cluster {cluster}"),
        identity: format!("metadata_server {cluster:?}"),
        base: None,
        steps: vec![Box::new(MetadataServer(Endpoint { cluster, place }))],
    };
    Some(Made { recipe, quota_project: None })
}

#[derive(Debug)]
struct MetadataServer(Endpoint);

impl Step for MetadataServer {
    fn name(&self) -> String {
        "the metadata server".to_owned()
    }

    /// cloud.google.com/compute/docs/access/authenticate-workloads#applications.
    fn call(&self, _: &mut Carry, _: SystemTime) -> Result<Option<Callout>, Problem> {
        // Without it the server refuses: it tells that no browser was tricked into asking.
        Ok(Some(self.0.get([("metadata-flavor", "Google".to_owned())])))
    }

    fn read(&self, carry: &mut Carry, answer: &Answer<'_>, now: SystemTime) -> Result<(), Problem> {
        token::read(carry, answer, now)
    }
}
