//! Amazon Bedrock: hosts, paths and signatures.

use std::time::SystemTime;

use super::{Address, segment, word};
use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::config::{Api, Backend, Endpoint, Problems, superfluous};
use crate::credential::aws::Area;
use crate::credential::{Credential, Shop, aws, sigv4};
use crate::dialect::{Client, Edition, Model, Upstream, image};

/// A region.
#[derive(Debug)]
pub struct Site {
    region: String,
    endpoint: Endpoint,
    api: Api,
}

impl Site {
    /// Checks the configuration; gives the site, its host name and the credentials.
    pub fn compile(
        written: &Backend,
        shop: &Shop<'_>,
        path: &str,
        problems: &mut Problems,
    ) -> Option<(Self, String, Credential)> {
        superfluous(
            &[("project", written.project.is_some()), ("location", written.location.is_some())],
            path,
            "provider `bedrock`",
            problems,
        );
        let region = word(written.region.as_ref(), &format!("{path}.region"), b"", "us-east-1", problems);
        let (api, endpoint) = (written.api.unwrap_or_default(), written.endpoint.unwrap_or_default());
        // Nobody who wants FIPS may be served without it in silence.
        if api == Api::Mantle && endpoint == Endpoint::Fips && written.host.is_none() {
            let problem = "cannot be `fips` here: AWS has no such endpoint of bedrock-mantle; remove it, or write the \
                           `host` of one that you know";
            problems.add(&format!("{path}.endpoint"), problem);
        }
        let area = Area { region: region.as_deref().unwrap_or_default(), fips: endpoint == Endpoint::Fips };
        let path = format!("{path}.credentials");
        let credential = aws::compile(shop, &area, &written.credentials, &path, problems);
        let (region, credential) = (region?, credential?);
        let host = host(&region, api, endpoint);
        Some((Self { region, endpoint, api }, host, credential))
    }

    /// Where in AWS it is.
    pub fn area(&self) -> Area<'_> {
        Area { region: &self.region, fips: self.endpoint == Endpoint::Fips }
    }

    /// The dialect in which a client's chat with a model goes out.
    pub fn upstream(&self, client: Client, model: &str) -> Upstream {
        // Ids and ARNs of base models and inference profiles; the ARNs of application inference profiles,
        // provisioned models and prompts tell nothing, and Converse takes them all.
        let is_claude = model.contains("anthropic.claude") || model.starts_with("claude");
        match (self.api, client) {
            (Api::Mantle, _) => Upstream::Messages(Edition::Mantle),
            (Api::Auto, Client::Anthropic) | (Api::InvokeModel, _) if is_claude => {
                Upstream::Messages(Edition::InvokeModel)
            }
            (Api::Auto | Api::Converse | Api::InvokeModel, _) => Upstream::Converse,
        }
    }

    /// Whether any model may be asked in Anthropic's dialect.
    pub fn may_speak_messages(&self) -> bool {
        match self.api {
            Api::Auto | Api::InvokeModel | Api::Mantle => true,
            Api::Converse => false,
        }
    }

    /// Where the tokens of a chat with a model are counted.
    ///
    /// # Errors
    /// Those of [`foundation_model`].
    pub fn count_address(&self, model: Model<'_>) -> Result<Address, Error> {
        if self.api == Api::Mantle {
            return Ok(Address { path: "/anthropic/v1/messages/count_tokens".to_owned(), query: "" });
        }
        let name = model.name;
        Ok(count_address(&segment(foundation_model(name, model.family)?)?))
    }

    /// Signs a call.
    pub fn sign(
        &self,
        now: SystemTime,
        keys: &sigv4::Credentials,
        request: &sigv4::Request<'_>,
    ) -> Result<Vec<(&'static str, String)>, Error> {
        // `DEFAULT_SERVICE_NAME` of the `anthropic` package's client for mantle.
        let service = match self.api {
            Api::Mantle => "bedrock-mantle",
            Api::Auto | Api::Converse | Api::InvokeModel => "bedrock",
        };
        sigv4::sign(now, keys, &self.region, service, request).map_err(|problem| {
            Error::new(Kind::Internal, format!("the request could not be signed: {problem}"))
        })
    }
}

/// As `endpoint-rule-set-1.json` of botocore's bedrock-runtime has it; FIPS endpoints answer in some regions only
/// (docs.aws.amazon.com/general/latest/gr/bedrock.html). Mantle:
/// docs.aws.amazon.com/bedrock/latest/userguide/inference-messages-api.html.
fn host(region: &str, api: Api, endpoint: Endpoint) -> String {
    if api == Api::Mantle {
        return format!("bedrock-mantle.{region}.api.aws");
    }
    let service = match endpoint {
        Endpoint::Standard => "bedrock-runtime",
        Endpoint::Fips => "bedrock-runtime-fips",
    };
    format!("{service}.{region}.{}", aws::domain(region))
}

/// Whether a refusal may be of the credentials rather than of the request.
pub fn is_of_credentials(refusal: &Headers) -> bool {
    let name = refusal.get("x-amzn-errortype").unwrap_or_default();
    let name = name.split(':').next().unwrap_or_default();
    match refusal.status() {
        401 => true,
        400 | 403 => aws::is_of_credentials(name),
        _ => false,
    }
}

/// docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html, …_ConverseStream.html,
/// …_InvokeModel.html and …_InvokeModelWithResponseStream.html. `model` is a path segment.
pub fn address(upstream: Upstream, model: &str, stream: bool) -> Address {
    let operation = match (upstream, stream) {
        (Upstream::Messages(Edition::Mantle), _) => {
            return Address { path: "/anthropic/v1/messages".to_owned(), query: "" };
        }
        (Upstream::Messages(_), false) => "invoke",
        (Upstream::Messages(_), true) => "invoke-with-response-stream",
        (Upstream::Converse | Upstream::Gemini | Upstream::Completions(_), false) => "converse",
        (Upstream::Converse | Upstream::Gemini | Upstream::Completions(_), true) => "converse-stream",
    };
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
pub fn images(model: &str) -> Option<image::Upstream> {
    const FAMILIES: &[(&str, image::Upstream)] = &[
        ("amazon.nova-canvas-", image::Upstream::Canvas),
        ("amazon.titan-image-generator-", image::Upstream::Canvas),
        ("stability.sd3-", image::Upstream::Stability),
        ("stability.stable-image-core-", image::Upstream::Stability),
        ("stability.stable-image-ultra-", image::Upstream::Stability),
    ];
    FAMILIES.iter().find(|(family, _)| model.contains(family)).map(|(_, upstream)| *upstream)
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
        assert_eq!(
            host("us-gov-west-1", Api::Auto, Endpoint::Standard),
            "bedrock-runtime.us-gov-west-1.amazonaws.com"
        );
        assert_eq!(
            host("cn-north-1", Api::Converse, Endpoint::Standard),
            "bedrock-runtime.cn-north-1.amazonaws.com.cn"
        );
        assert_eq!(host("us-east-1", Api::Mantle, Endpoint::Standard), "bedrock-mantle.us-east-1.api.aws");
        // What botocore 1.44.5 gives with `use_fips_endpoint`.
        for (region, fips) in [
            ("us-east-1", "bedrock-runtime-fips.us-east-1.amazonaws.com"),
            ("ca-central-1", "bedrock-runtime-fips.ca-central-1.amazonaws.com"),
            ("us-gov-west-1", "bedrock-runtime-fips.us-gov-west-1.amazonaws.com"),
            ("us-iso-east-1", "bedrock-runtime-fips.us-iso-east-1.c2s.ic.gov"),
        ] {
            assert_eq!(host(region, Api::Auto, Endpoint::Fips), fips);
        }
        let target = |upstream, stream| address(upstream, "us.amazon.nova-lite-v1%3A0", stream).target();
        assert_eq!(target(Upstream::Converse, false), "/model/us.amazon.nova-lite-v1%3A0/converse");
        assert_eq!(target(Upstream::Converse, true), "/model/us.amazon.nova-lite-v1%3A0/converse-stream");
        let invoke = Upstream::Messages(Edition::InvokeModel);
        assert_eq!(target(invoke, false), "/model/us.amazon.nova-lite-v1%3A0/invoke");
        assert_eq!(target(invoke, true), "/model/us.amazon.nova-lite-v1%3A0/invoke-with-response-stream");
        assert_eq!(target(Upstream::Messages(Edition::Mantle), true), "/anthropic/v1/messages");
        assert_eq!(super::invoke("x").target(), "/model/x/invoke");
    }

    #[test]
    fn claude_is_asked_in_the_dialect_of_its_client_unless_the_operator_wants_it_otherwise() {
        let upstream = |api, client, model| {
            let (region, endpoint) = ("us-east-1".into(), Endpoint::Standard);
            Site { region, endpoint, api }.upstream(client, model)
        };
        let claude = "us.anthropic.claude-sonnet-4-20250514-v1:0";
        let profile = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2";
        let invoke = Upstream::Messages(Edition::InvokeModel);
        for (api, client, model, expected) in [
            (Api::Auto, Client::Anthropic, claude, invoke),
            (Api::Auto, Client::OpenAi, claude, Upstream::Converse),
            (Api::Auto, Client::Anthropic, profile, Upstream::Converse),
            (Api::Auto, Client::Anthropic, "us.amazon.nova-lite-v1:0", Upstream::Converse),
            (Api::Converse, Client::Anthropic, claude, Upstream::Converse),
            (Api::InvokeModel, Client::OpenAi, claude, invoke),
            (Api::InvokeModel, Client::OpenAi, "us.amazon.nova-lite-v1:0", Upstream::Converse),
            (Api::Mantle, Client::OpenAi, "anthropic.claude-opus-4-8", Upstream::Messages(Edition::Mantle)),
        ] {
            assert_eq!(upstream(api, client, model), expected, "{api:?} {client:?} {model}");
        }
    }

    #[test]
    fn a_model_that_makes_images_is_known_by_its_name_or_the_arn_of_its_profile() {
        let profile =
            "arn:aws:bedrock:us-west-2:123456789012:inference-profile/us.stability.sd3-5-large-v1:0";
        for (model, expected) in [
            ("amazon.nova-canvas-v1:0", Some(image::Upstream::Canvas)),
            ("amazon.titan-image-generator-v2:0", Some(image::Upstream::Canvas)),
            ("stability.stable-image-core-v1:1", Some(image::Upstream::Stability)),
            ("us.stability.stable-image-ultra-v1:1", Some(image::Upstream::Stability)),
            (profile, Some(image::Upstream::Stability)),
            ("us.stability.stable-image-remove-background-v1:0", None),
            ("amazon.nova-lite-v1:0", None),
            ("amazon.titan-embed-image-v1", None),
        ] {
            assert_eq!(images(model), expected, "{model}");
        }
    }
}
