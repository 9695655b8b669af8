//! Google Vertex AI: hosts and paths of a project.

use super::{Address, word};
use crate::config::{Backend, Problems, superfluous};
use crate::credential::{Credential, Shop, google};
use crate::dialect::openai::Edition as Completions;
use crate::dialect::{Edition, Upstream, image};

/// A project in a location.
#[derive(Debug)]
pub struct Site {
    project: String,
    location: String,
    /// Whose quota is used and who pays, where it is not the caller's own project.
    pub quota_project: Option<String>,
    /// The same as the JSON of the credentials has it: who pays for what is done with it itself.
    pub own_project: Option<String>,
}

impl Site {
    /// Checks the configuration; gives the site, its host name and the credentials.
    pub fn compile(
        written: &Backend,
        shop: &Shop<'_>,
        path: &str,
        problems: &mut Problems,
    ) -> Option<(Self, String, Credential)> {
        let fields = [
            ("region", written.region.is_some()),
            ("endpoint", written.endpoint.is_some()),
            ("api", written.api.is_some()),
        ];
        superfluous(&fields, path, "provider `vertex`", problems);
        // Projects of old domains are named `example.com:project`.
        let project =
            word(written.project.as_ref(), &format!("{path}.project"), b".:", "my-project", problems);
        let location =
            word(written.location.as_ref(), &format!("{path}.location"), b"", "us-central1", problems);
        let path = format!("{path}.credentials");
        let quota = written.credentials.quota_project.as_ref();
        let quota = match quota {
            Some(_) => Some(word(quota, &format!("{path}.quota_project"), b".:", "my-project", problems)?),
            None => None,
        };
        let compiled = google::compile(shop, &written.credentials, &path, problems);
        let (project, location, compiled) = (project?, location?, compiled?);
        let host = host(&location);
        let google::Compiled { credential, quota_project: own_project } = compiled;
        let quota_project = quota.or_else(|| own_project.clone());
        Some((Self { project, location, quota_project, own_project }, host, credential))
    }

    /// cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.publishers.models/generateContent
    /// and …/streamGenerateContent, whose `alt=sse` turns a JSON array into events; for Claude …/rawPredict and
    /// …/streamRawPredict, and so for Mistral's models; for other open models
    /// docs.cloud.google.com/vertex-ai/generative-ai/docs/maas/call-open-model-apis. `model` is a path segment.
    pub fn address(&self, upstream: Upstream, model: &str, stream: bool) -> Address {
        let (publisher, method, query) = match (upstream, stream) {
            // The model is in the body.
            (Upstream::Completions(Completions::OpenAi | Completions::OpenModels), _) => {
                return Address { path: self.root() + "/endpoints/openapi/chat/completions", query: "" };
            }
            (Upstream::Completions(Completions::Mistral), false) => ("mistralai", "rawPredict", ""),
            (Upstream::Completions(Completions::Mistral), true) => ("mistralai", "streamRawPredict", ""),
            (Upstream::Messages(_), false) => ("anthropic", "rawPredict", ""),
            (Upstream::Messages(_), true) => ("anthropic", "streamRawPredict", ""),
            (Upstream::Gemini | Upstream::Converse, false) => ("google", "generateContent", ""),
            (Upstream::Gemini | Upstream::Converse, true) => ("google", "streamGenerateContent", "alt=sse"),
        };
        // Some write Mistral's models with their publisher.
        let model = model.strip_prefix("mistralai%2F").unwrap_or(model);
        Address { query, ..self.published(publisher, model, method) }
    }

    /// …/projects.locations.publishers.models/countTokens, which open models do not have. `model` is a path segment.
    pub fn count_address(&self, upstream: Upstream, model: &str) -> Option<Address> {
        match upstream {
            // `_prepare_options` of the `anthropic` package's client for Vertex AI; the body names the model.
            Upstream::Messages(_) => Some(self.published("anthropic", "count-tokens", "rawPredict")),
            Upstream::Converse | Upstream::Gemini => Some(self.method(model, "countTokens")),
            Upstream::Completions(_) => None,
        }
    }

    /// Where a method of one of Google's models is; `model` is a path segment.
    pub fn method(&self, model: &str, method: &str) -> Address {
        self.published("google", model, method)
    }

    fn published(&self, publisher: &str, model: &str, method: &str) -> Address {
        // The `@` before a model's version stays as Google's own documents and clients write it.
        let model = model.replace("%40", "@");
        let path = format!("{}/publishers/{publisher}/models/{model}:{method}", self.root());
        Address { path, query: "" }
    }

    fn root(&self) -> String {
        let (project, location) = (self.project.replace(':', "%3A"), &self.location);
        format!("/v1/projects/{project}/locations/{location}")
    }

    /// Claude and Mistral's models are asked in the dialects of their makers; other open models, whose names
    /// begin with their publisher, in OpenAI's; everything else in Google's.
    pub fn upstream(model: &str) -> Upstream {
        let is_mistral = |name: &str| MISTRALS.iter().any(|family| name.starts_with(family));
        match model.split_once('/') {
            None if model.starts_with("claude") => Upstream::Messages(Edition::Vertex),
            None if is_mistral(model) => Upstream::Completions(Completions::Mistral),
            Some(("mistralai", _)) => Upstream::Completions(Completions::Mistral),
            Some(_) => Upstream::Completions(Completions::OpenModels),
            None => Upstream::Gemini,
        }
    }
}

/// How the names of Mistral's models begin: docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/mistral.
const MISTRALS: &[&str] = &["mistral-", "codestral-", "ministral-", "magistral-", "devstral-", "pixtral-"];

/// cloud.google.com/vertex-ai/generative-ai/docs/learn/locations: the global endpoint has no location in
/// its name, the multi-regions have names of their own.
fn host(location: &str) -> String {
    match location {
        "global" => "aiplatform.googleapis.com".to_owned(),
        "us" | "eu" => format!("aiplatform.{location}.rep.googleapis.com"),
        region => format!("{region}-aiplatform.googleapis.com"),
    }
}

/// What [`images`] knows, for people.
pub const IMAGE_MODELS: &str = "`imagen-…-generate-…` and `gemini-…-image`";

/// The body that a model which makes images wants. Imagen's `capability` models change an image that is
/// there.
pub fn images(model: &str) -> Option<image::Upstream> {
    let is_imagen = model.starts_with("imagen-") && model.contains("generate");
    if is_imagen || model.starts_with("imagegeneration@") {
        Some(image::Upstream::Imagen)
    } else if model.starts_with("gemini-") && model.contains("-image") {
        Some(image::Upstream::Gemini)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_paths_are_those_of_the_location_and_the_method() {
        assert_eq!(host("global"), "aiplatform.googleapis.com");
        assert_eq!(host("eu"), "aiplatform.eu.rep.googleapis.com");
        assert_eq!(host("europe-west4"), "europe-west4-aiplatform.googleapis.com");
        let site = Site {
            project: "example.com:p".into(),
            location: "us-central1".into(),
            quota_project: None,
            own_project: None,
        };
        assert_eq!(
            site.address(Upstream::Gemini, "gemini-2.5-flash", true).target(),
            "/v1/projects/example.com%3Ap/locations/us-central1/publishers/google/models/\
             gemini-2.5-flash:streamGenerateContent?alt=sse"
        );
        let claude = Site::upstream("claude-sonnet-4@20250514");
        assert_eq!(
            site.address(claude, "claude-sonnet-4%4020250514", false).target(),
            "/v1/projects/example.com%3Ap/locations/us-central1/publishers/anthropic/models/\
             claude-sonnet-4@20250514:rawPredict"
        );
        for (model, segment, stream, path) in [
            ("meta/llama-3.3-70b-instruct-maas", "meta%2Fllama", true, "endpoints/openapi/chat/completions"),
            (
                "mistral-medium-3",
                "mistral-medium-3",
                false,
                "publishers/mistralai/models/mistral-medium-3:rawPredict",
            ),
            (
                "mistralai/codestral-2",
                "mistralai%2Fcodestral-2",
                true,
                "publishers/mistralai/models/codestral-2:streamRawPredict",
            ),
        ] {
            let address = site.address(Site::upstream(model), segment, stream);
            assert_eq!(
                address.target(),
                format!("/v1/projects/example.com%3Ap/locations/us-central1/{path}")
            );
        }
        assert_eq!(
            site.method("imagen-4.0-generate-001", "predict").target(),
            "/v1/projects/example.com%3Ap/locations/us-central1/publishers/google/models/\
             imagen-4.0-generate-001:predict"
        );
    }

    #[test]
    fn a_model_that_makes_images_is_known_by_its_name() {
        for (model, expected) in [
            ("imagen-4.0-fast-generate-001", Some(image::Upstream::Imagen)),
            ("imagen-3.0-generate-002", Some(image::Upstream::Imagen)),
            ("imagegeneration@006", Some(image::Upstream::Imagen)),
            ("imagen-3.0-capability-001", None),
            ("gemini-2.5-flash-image", Some(image::Upstream::Gemini)),
            ("gemini-3-pro-image-preview", Some(image::Upstream::Gemini)),
            ("gemini-2.5-flash", None),
        ] {
            assert_eq!(images(model), expected, "{model}");
        }
    }
}
