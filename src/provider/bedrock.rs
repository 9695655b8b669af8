//! Amazon Bedrock: hosts, paths, and AWS keys from the configuration or the environment.

use std::time::SystemTime;

use super::sigv4::{self, Credentials};
use super::{Address, superfluous, word};
use crate::base::error::{Error, Kind};
use crate::config::{Backend, Environment, Problems, Source, variable};
use crate::dialect::image::Upstream;

/// A region and the right to call it.
#[derive(Debug)]
pub struct Site {
    region: String,
    credentials: Credentials,
}

impl Site {
    /// Checks the configuration; gives the site and its host name.
    pub fn compile(
        written: &Backend,
        environment: &Environment,
        path: &str,
        problems: &mut Problems,
    ) -> Option<(Self, String)> {
        superfluous(
            &[("project", written.project.is_some()), ("location", written.location.is_some())],
            path,
            "provider `bedrock`",
            problems,
        );
        let region = word(written.region.as_ref(), &format!("{path}.region"), b"", "us-east-1", problems);
        let credentials = credentials(written, environment, &format!("{path}.credentials"), problems);
        let (region, credentials) = (region?, credentials?);
        let host = host(&region);
        Some((Self { region, credentials }, host))
    }

    /// The names of the headers that make a signature.
    pub fn proof_names(&self) -> &'static [&'static str] {
        self.credentials.header_names()
    }

    /// Signs a call.
    pub fn sign(
        &self,
        now: SystemTime,
        request: &sigv4::Request<'_>,
    ) -> Result<Vec<(&'static str, String)>, Error> {
        sigv4::sign(now, &self.credentials, &self.region, "bedrock", request).map_err(|problem| {
            Error::new(Kind::Internal, format!("the request could not be signed: {problem}"))
        })
    }
}

/// docs.aws.amazon.com/general/latest/gr/bedrock.html; China's regions have a domain of their own.
fn host(region: &str) -> String {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("bedrock-runtime.{region}.{domain}")
}

/// docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and …_ConverseStream.html.
/// `model` is a path segment.
pub fn address(model: &str, stream: bool) -> Address {
    let operation = if stream { "converse-stream" } else { "converse" };
    Address { path: format!("/model/{model}/{operation}"), query: "" }
}

/// docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html. `model` is a path segment.
pub fn count_address(model: &str) -> Address {
    Address { path: format!("/model/{model}/count-tokens"), query: "" }
}

/// What stands before a model's id in that of an inference profile:
/// docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html.
const GEOGRAPHIES: &[&str] = &["global.", "us.", "us-gov.", "eu.", "apac.", "jp.", "au.", "ca."];

/// The foundation model behind an id or an ARN, or the one that the operator names. CountTokens takes nothing
/// else ("The provided model doesn't support counting tokens", pydantic-ai issue 4001), and an inference profile of
/// AWS has its model's tokenizer.
///
/// # Errors
/// [`Kind::Unsupported`] for an ARN that does not tell its model.
pub fn foundation_model<'m>(model: &'m str, family: Option<&'m str>) -> Result<&'m str, Error> {
    let id = match model.split_once('/') {
        Some((arn, id)) if arn.ends_with(":foundation-model") || arn.ends_with(":inference-profile") => id,
        Some(_) | None if model.starts_with("arn:") => {
            // A short word such as `claude-sonnet-4-5` is no id.
            let Some(id) = family.filter(|family| family.contains('.')) else {
                let problem = "Bedrock counts tokens for foundation models only, and this ARN does not tell which \
                               one it stands for; name the model by its id, or ask the operator to write its \
                               whole id as the `family` of this name";
                return Err(Error::at(Kind::Unsupported, "model", problem));
            };
            id
        }
        Some(_) | None => model,
    };
    Ok(GEOGRAPHIES.iter().find_map(|geography| id.strip_prefix(geography)).unwrap_or(id))
}

/// docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html. `model` is a path segment.
pub fn invoke(model: &str) -> Address {
    Address { path: format!("/model/{model}/invoke"), query: "" }
}

/// What [`images`] knows, for people.
pub const IMAGE_MODELS: &str = "`amazon.nova-canvas-…`, `amazon.titan-image-generator-…`, `stability.sd3-…`, \
                                `stability.stable-image-core-…` and `stability.stable-image-ultra-…`";

/// The body that a model which makes images wants. Stability's other models change an image that is there.
pub fn images(model: &str) -> Option<Upstream> {
    const FAMILIES: &[(&str, Upstream)] = &[
        ("amazon.nova-canvas-", Upstream::Canvas),
        ("amazon.titan-image-generator-", Upstream::Canvas),
        ("stability.sd3-", Upstream::Stability),
        ("stability.stable-image-core-", Upstream::Stability),
        ("stability.stable-image-ultra-", Upstream::Stability),
    ];
    FAMILIES.iter().find(|(family, _)| model.contains(family)).map(|(_, upstream)| *upstream)
}

fn credentials(
    written: &Backend,
    environment: &Environment,
    path: &str,
    problems: &mut Problems,
) -> Option<Credentials> {
    let given = &written.credentials;
    let keys = [
        ("access_key_id", given.access_key_id.is_some()),
        ("secret_access_key", given.secret_access_key.is_some()),
        ("session_token", given.session_token.is_some()),
    ];
    superfluous(&[("cluster", given.cluster.is_some())], path, "AWS keys", problems);
    let (id, secret, token) = match given.source {
        Source::Static => {
            let mut key = |field: &str, value: &Option<crate::config::Secret>| {
                let path = format!("{path}.{field}");
                match value {
                    Some(secret) => secret.resolve(environment, &path, problems),
                    None => {
                        problems.add(&path, "is missing; write it, or {\"env\": \"NAME\"} to take it from Envoy's environment");
                        None
                    }
                }
            };
            let id = key("access_key_id", &given.access_key_id);
            let secret = key("secret_access_key", &given.secret_access_key);
            let token = match &given.session_token {
                Some(_) => Some(key("session_token", &given.session_token)?),
                None => None,
            };
            (id?, secret?, token)
        }
        Source::Environment => {
            superfluous(&keys, path, "source `environment`", problems);
            let id = variable("AWS_ACCESS_KEY_ID", environment, path, problems);
            let secret = variable("AWS_SECRET_ACCESS_KEY", environment, path, problems);
            let token = environment.get("AWS_SESSION_TOKEN").filter(|token| !token.is_empty()).cloned();
            (id?, secret?, token)
        }
        Source::MetadataServer => {
            problems
                .add(&format!("{path}.source"), "must be `static` or `environment` for provider `bedrock`");
            return None;
        }
    };
    Credentials::new(&id, &secret, token.as_deref())
        .map_err(|problem| problems.add(path, problem.to_string()))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_counted_for_the_foundation_model_behind_a_profile() {
        let arn = |kind: &str| format!("arn:aws:bedrock:us-east-1:123456789012:{kind}");
        let claude = "anthropic.claude-sonnet-4-5-20250929-v1:0";
        for model in [
            claude.to_owned(),
            format!("us.{claude}"),
            format!("global.{claude}"),
            format!("us-gov.{claude}"),
            arn(&format!("inference-profile/eu.{claude}")),
            format!("arn:aws:bedrock:us-east-1::foundation-model/{claude}"),
        ] {
            assert_eq!(foundation_model(&model, Some("meta.llama")), Ok(claude), "{model}");
        }
        assert_eq!(foundation_model("zai.glm-4.6", None), Ok("zai.glm-4.6"));
        for kind in
            ["application-inference-profile/a1b2", "provisioned-model/x", "prompt", "imported-model/us.x"]
        {
            let arn = arn(kind);
            for family in [None, Some("claude-sonnet-4-5")] {
                assert_eq!(foundation_model(&arn, family).unwrap_err().kind, Kind::Unsupported, "{kind}");
            }
            assert_eq!(foundation_model(&arn, Some("us.anthropic.x")), Ok("anthropic.x"), "{kind}");
        }
    }

    #[test]
    fn hosts_and_paths_are_those_of_the_region_and_the_operation() {
        assert_eq!(host("us-gov-west-1"), "bedrock-runtime.us-gov-west-1.amazonaws.com");
        assert_eq!(host("cn-north-1"), "bedrock-runtime.cn-north-1.amazonaws.com.cn");
        assert_eq!(
            address("us.amazon.nova-lite-v1%3A0", false).path,
            "/model/us.amazon.nova-lite-v1%3A0/converse"
        );
        assert_eq!(address("x", true).target(), "/model/x/converse-stream");
        assert_eq!(invoke("x").target(), "/model/x/invoke");
    }

    #[test]
    fn a_model_that_makes_images_is_known_by_its_name_or_the_arn_of_its_profile() {
        let profile =
            "arn:aws:bedrock:us-west-2:123456789012:inference-profile/us.stability.sd3-5-large-v1:0";
        for (model, expected) in [
            ("amazon.nova-canvas-v1:0", Some(Upstream::Canvas)),
            ("amazon.titan-image-generator-v2:0", Some(Upstream::Canvas)),
            ("stability.stable-image-core-v1:1", Some(Upstream::Stability)),
            ("us.stability.stable-image-ultra-v1:1", Some(Upstream::Stability)),
            (profile, Some(Upstream::Stability)),
            ("us.stability.stable-image-remove-background-v1:0", None),
            ("amazon.nova-lite-v1:0", None),
            ("amazon.titan-embed-image-v1", None),
        ] {
            assert_eq!(images(model), expected, "{model}");
        }
    }
}
