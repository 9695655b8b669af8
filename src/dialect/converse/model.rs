//! What the name of a model on Bedrock tells of what it takes beyond Converse's common ground.

use crate::dialect::claude::Version;

/// A family of models, as far as its members differ in what they take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    Claude(Version),
    Nova,
    /// Nova from its second generation on, which reasons.
    Nova2,
    GptOss,
    Other,
    /// Something that the operator has given a name of its own, most often a Claude.
    Untold,
}

/// Reads a model id, an inference profile's id or the ARN of one. The ARNs of application inference
/// profiles, provisioned models and prompts tell nothing.
pub fn family(model: &str) -> Family {
    if let Some((_, name)) = model.split_once("anthropic.claude-") {
        Family::Claude(Version::of(name))
    } else if model.contains("amazon.nova-2") {
        Family::Nova2
    } else if model.contains("amazon.nova-") {
        Family::Nova
    } else if model.contains("openai.gpt-oss") {
        Family::GptOss
    } else if model.starts_with("arn:") {
        Family::Untold
    } else {
        Family::Other
    }
}

impl Family {
    /// It takes marks of the prompt cache. Bedrock refuses them for other models ("You invoked an
    /// unsupported model or your request did not allow prompt caching", litellm pull request 39210):
    /// docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html.
    pub fn caches(self) -> bool {
        match self {
            Family::Claude(version) => version >= Version(3, 5),
            Family::Nova | Family::Nova2 | Family::Untold => true,
            Family::GptOss | Family::Other => false,
        }
    }

    /// It takes them among the tools too.
    pub fn caches_tools(self) -> bool {
        matches!(self, Family::Claude(_) | Family::Untold) && self.caches()
    }

    /// It keeps what is marked for an hour, if asked to.
    pub fn caches_for_an_hour(self) -> bool {
        match self {
            Family::Claude(version) => version >= Version(4, 5),
            Family::Untold => true,
            Family::Nova | Family::Nova2 | Family::GptOss | Family::Other => false,
        }
    }

    /// It knows `toolResult.status`: botocore's model of `ToolResultBlock`.
    pub fn knows_failures(self) -> bool {
        matches!(self, Family::Claude(_) | Family::Nova | Family::Nova2 | Family::Untold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_and_a_version_are_read_from_every_form_of_a_name() {
        let claude = |major, minor| Family::Claude(Version(major, minor));
        for (model, expected) in [
            ("us.anthropic.claude-sonnet-4-20250514-v1:0", claude(4, 0)),
            ("anthropic.claude-3-7-sonnet-20250219-v1:0", claude(3, 7)),
            ("anthropic.claude-3-haiku-20240307-v1:0", claude(3, 0)),
            ("anthropic.claude-opus-4-1-20250805-v1:0", claude(4, 1)),
            ("global.anthropic.claude-opus-4-6-v1", claude(4, 6)),
            ("anthropic.claude-sonnet-4-6", claude(4, 6)),
            ("anthropic.claude-opus-10-12-v1:0", claude(10, 12)),
            ("anthropic.claude-v2:1", claude(2, 0)),
            ("anthropic.claude-mythos-preview", Family::Claude(Version::NEWEST)),
            ("anthropic.claude-fable-5", claude(5, 0)),
            (
                "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
                claude(4, 5),
            ),
            ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3", Family::Untold),
            ("amazon.nova-pro-v1:0", Family::Nova),
            ("us.amazon.nova-2-lite-v1:0", Family::Nova2),
            ("openai.gpt-oss-120b-1:0", Family::GptOss),
            ("us.meta.llama3-3-70b-instruct-v1:0", Family::Other),
            ("", Family::Other),
        ] {
            assert_eq!(family(model), expected, "{model}");
        }
    }
}
