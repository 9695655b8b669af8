//! What Google's federation begins with on AWS: keys, and the region in which they are to be shown.
//!
//! From the environment, else from EC2's metadata service, as `_DefaultAwsSecurityCredentialsSupplier` of google-auth
//! does it.

use std::time::SystemTime;

use super::chain::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, set};
use super::{Area, Begin, Reader, instance};
use crate::base::host::Callout;
use crate::config::Problems;
use crate::config::credentials::Credentials;
use crate::credential::{Answer, Carry, Credential, Problem, Shop, Step};

/// What a signature takes.
pub struct Federated {
    pub keys: Credential,
    /// They leave the name of the region in [`Carry::name`].
    pub region: Vec<Box<dyn Step>>,
}

/// Where the environment names the region.
const REGIONS: &[&str] = &["AWS_REGION", "AWS_DEFAULT_REGION"];

/// Looks what there is.
pub fn federated(
    shop: &Shop<'_>,
    written: &Credentials,
    path: &str,
    problems: &mut Problems,
) -> Option<Federated> {
    let has_keys = [ACCESS_KEY_ID, SECRET_ACCESS_KEY].iter().all(|name| set(shop, name).is_some());
    let begin = if has_keys { Begin::Environment } else { Begin::Instance };
    let because = format!(
        ", as {ACCESS_KEY_ID} and {SECRET_ACCESS_KEY}, or {}, are not in Envoy's environment",
        REGIONS.join(" and ")
    );
    // No role is taken on, so nobody asks where it would be.
    let area = &Area { region: "", fips: false };
    let mut reader = Reader { shop, area, written, begin, because, path, problems };
    let keys = reader.first();
    let region: Vec<Box<dyn Step>> = match REGIONS.iter().find_map(|name| set(shop, name)) {
        Some(region) => vec![Box::new(Region(region.to_owned()))],
        None => instance::region(&reader.metadata_service()?),
    };
    Some(Federated { keys: keys?, region })
}

/// The region is known beforehand.
#[derive(Debug)]
struct Region(String);

impl Step for Region {
    fn name(&self) -> String {
        "the region".to_owned()
    }

    fn call(&self, carry: &mut Carry, _: SystemTime) -> Result<Option<Callout>, Problem> {
        self.0.clone_into(&mut carry.name);
        Ok(None)
    }

    /// Nothing was asked.
    fn read(&self, _: &mut Carry, _: &Answer<'_>, _: SystemTime) -> Result<(), Problem> {
        Ok(())
    }
}
