//! Amazon Bedrock: hosts, paths, and AWS keys from the configuration or the environment.

use std::time::SystemTime;

use super::sigv4::{self, Credentials};
use super::{Address, segment, superfluous, word};
use crate::base::error::{Error, Kind};
use crate::config::{Api, Backend, Environment, Problems, Source, variable};
use crate::dialect::{Client, Edition, Model, Upstream, image};

/// A region and the right to call it.
#[derive(Debug)]
pub struct Site {
    region: String,
    api: Api,
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
        let api = written.api.unwrap_or_default();
        let host = host(&region, api);
        Some((Self { region, api, credentials }, host))
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

    /// The names of the headers that make a signature.
    pub fn proof_names(&self) -> &'static [&'static str] {
        self.credentials.header_names()
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
        request: &sigv4::Request<'_>,
    ) -> Result<Vec<(&'static str, String)>, Error> {
        // `DEFAULT_SERVICE_NAME` of the `anthropic` package's client for mantle.
        let service = match self.api {
            Api::Mantle => "bedrock-mantle",
            Api::Auto | Api::Converse | Api::InvokeModel => "bedrock",
        };
        sigv4::sign(now, &self.credentials, &self.region, service, request).map_err(|problem| {
            Error::new(Kind::Internal, format!("the request could not be signed: {problem}"))
        })
    }
}

/// docs.aws.amazon.com/general/latest/gr/bedrock.html; China's regions have a domain of their own. Mantle:
/// docs.aws.amazon.com/bedrock/latest/userguide/inference-messages-api.html.
fn host(region: &str, api: Api) -> String {
    if api == Api::Mantle {
        return format!("bedrock-mantle.{region}.api.aws");
    }
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("bedrock-runtime.{region}.{domain}")
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
    let others = [("cluster", given.cluster.is_some()), ("api_key", given.api_key.is_some())];
    superfluous(&others, path, "AWS keys", problems);
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
        Source::MetadataServer | Source::ApiKey => {
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
        assert_eq!(host("us-gov-west-1", Api::Auto), "bedrock-runtime.us-gov-west-1.amazonaws.com");
        assert_eq!(host("cn-north-1", Api::Converse), "bedrock-runtime.cn-north-1.amazonaws.com.cn");
        assert_eq!(host("us-east-1", Api::Mantle), "bedrock-mantle.us-east-1.api.aws");
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
            let credentials = Credentials::new("AKIDEXAMPLE", "secret", None).unwrap();
            Site { region: "us-east-1".into(), api, credentials }.upstream(client, model)
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
