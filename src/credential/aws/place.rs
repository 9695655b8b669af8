//! Where in AWS: regions, the partitions that they belong to, and hosts.

/// A region, and which of its endpoints are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Area<'a> {
    pub region: &'a str,
    /// FIPS endpoints are wanted.
    pub fips: bool,
}

/// A part of AWS that shares neither accounts nor hosts with the others.
struct Partition {
    /// What the names of its regions begin with.
    regions: &'static str,
    /// Its name in ARNs.
    name: &'static str,
    domain: &'static str,
}

/// `regionRegex` and `dnsSuffix` of botocore 1.44.5, data/partitions.json.
const PARTITIONS: &[Partition] = &[
    Partition { regions: "cn-", name: "aws-cn", domain: "amazonaws.com.cn" },
    Partition { regions: "us-gov-", name: GOVERNMENT, domain: "amazonaws.com" },
    Partition { regions: "us-iso-", name: "aws-iso", domain: "c2s.ic.gov" },
    Partition { regions: "us-isob-", name: "aws-iso-b", domain: "sc2s.sgov.gov" },
    Partition { regions: "eu-isoe-", name: "aws-iso-e", domain: "cloud.adc-e.uk" },
    Partition { regions: "us-isof-", name: "aws-iso-f", domain: "csp.hci.ic.gov" },
    Partition { regions: "eusc-", name: "aws-eusc", domain: "amazonaws.eu" },
];

/// All other regions.
const COMMERCIAL: &Partition = &Partition { regions: "", name: "aws", domain: "amazonaws.com" };

const GOVERNMENT: &str = "aws-us-gov";

fn partition(region: &str) -> &'static Partition {
    PARTITIONS.iter().find(|partition| region.starts_with(partition.regions)).unwrap_or(COMMERCIAL)
}

/// The domain of a region's hosts.
pub fn domain(region: &str) -> &'static str {
    partition(region).domain
}

impl Area<'_> {
    /// The name of its partition, as ARNs have it.
    pub fn partition(&self) -> &'static str {
        partition(self.region).name
    }

    /// The region's own security token service, as `endpoint-rule-set-1.json` of botocore's sts has it. That of
    /// GovCloud has FIPS at its plain name; outside of it the other name answers in the United States only
    /// (docs.aws.amazon.com/general/latest/gr/sts.html).
    pub fn sts_host(&self) -> String {
        let Partition { name, domain, .. } = partition(self.region);
        let service = if self.fips && *name != GOVERNMENT { "sts-fips" } else { "sts" };
        format!("{service}.{}.{domain}", self.region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_the_security_token_service_are_those_of_botocore() {
        // What `endpoint_provider.resolve_endpoint` of botocore 1.44.5 gives for these.
        for (region, standard, fips) in [
            ("us-east-1", "sts.us-east-1.amazonaws.com", "sts-fips.us-east-1.amazonaws.com"),
            ("eu-central-1", "sts.eu-central-1.amazonaws.com", "sts-fips.eu-central-1.amazonaws.com"),
            ("us-gov-west-1", "sts.us-gov-west-1.amazonaws.com", "sts.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn", "sts-fips.cn-north-1.amazonaws.com.cn"),
            ("us-iso-east-1", "sts.us-iso-east-1.c2s.ic.gov", "sts-fips.us-iso-east-1.c2s.ic.gov"),
            ("us-isob-east-1", "sts.us-isob-east-1.sc2s.sgov.gov", "sts-fips.us-isob-east-1.sc2s.sgov.gov"),
            ("eu-isoe-west-1", "sts.eu-isoe-west-1.cloud.adc-e.uk", "sts-fips.eu-isoe-west-1.cloud.adc-e.uk"),
            (
                "us-isof-south-1",
                "sts.us-isof-south-1.csp.hci.ic.gov",
                "sts-fips.us-isof-south-1.csp.hci.ic.gov",
            ),
            ("eusc-de-east-1", "sts.eusc-de-east-1.amazonaws.eu", "sts-fips.eusc-de-east-1.amazonaws.eu"),
        ] {
            for (with, host) in [(false, standard), (true, fips)] {
                assert_eq!(Area { region, fips: with }.sts_host(), host, "{region}");
            }
        }
    }

    #[test]
    fn a_region_is_of_the_partition_that_its_arns_name() {
        for (region, name) in [
            ("us-east-1", "aws"),
            ("us-gov-east-1", "aws-us-gov"),
            ("us-iso-west-1", "aws-iso"),
            ("us-isob-west-1", "aws-iso-b"),
            ("cn-northwest-1", "aws-cn"),
        ] {
            assert_eq!(Area { region, fips: false }.partition(), name);
        }
    }
}
