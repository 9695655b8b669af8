//! What the name of a model on Bedrock tells of what it takes: less than Converse has, or more.

use std::borrow::Cow;

use crate::dialect::claude::{self, Version};

/// A family of models, as far as its members differ in what they take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    Claude(Version),
    Nova,
    /// Nova from its second generation on, which reasons.
    Nova2,
    GptOss,
    /// OpenAI's own models.
    Gpt,
    Kimi,
    /// From V3.1 on, which thinks if it is asked to.
    DeepSeek,
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
    } else if model.contains("openai.gpt-") {
        Family::Gpt
    } else if model.contains("moonshot.kimi") || model.contains("moonshotai.kimi") {
        Family::Kimi
    } else if model.contains("deepseek.v3") {
        Family::DeepSeek
    } else if model.starts_with("arn:") {
        Family::Untold
    } else {
        Family::Other
    }
}

/// Where families come from: how a word of an operator begins, and what stands before it in Bedrock's names.
const VENDORS: &[(&str, &str)] = &[
    ("claude", "anthropic."),
    ("nova", "amazon."),
    ("titan", "amazon."),
    ("gpt-oss", "openai."),
    ("llama", "meta."),
    ("mistral", "mistral."),
    ("mixtral", "mistral."),
    ("jamba", "ai21."),
    ("command", "cohere."),
    ("deepseek", "deepseek."),
    ("qwen", "qwen."),
];

/// Whether an operator's word for what a model is begins like a family.
pub fn is_family(word: &str) -> bool {
    VENDORS.iter().any(|(name, vendor)| word.starts_with(name) || word.contains(vendor))
}

/// An operator's word for what a model is as Bedrock's names have it: `anthropic.claude-` for `claude`.
pub fn full_name(word: &str) -> Cow<'_, str> {
    let known = VENDORS.iter().find(|(name, _)| word.starts_with(name));
    match known {
        Some((_, vendor)) if !word.contains(vendor) => {
            let dash = if word.contains('-') { "" } else { "-" };
            Cow::Owned(format!("{vendor}{word}{dash}"))
        }
        Some(_) | None => Cow::Borrowed(word),
    }
}

/// What of Converse a model takes. What is not known to be refused counts as taken: Bedrock says itself what
/// it does not, and its list grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Takes {
    /// Instructions apart from the conversation.
    pub system: bool,
    pub images: bool,
    pub tools: bool,
    pub choice: Choice,
    /// Tools in ConverseStream ("This model doesn't support tool use in streaming mode").
    pub streamed_tools: bool,
    pub schema: Schema,
}

/// To what calls a model can be made ("This model doesn't support the toolConfig.toolChoice.any field").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Choice {
    None,
    /// To one of any tool.
    Any,
    /// To one of a certain tool.
    Named,
}

/// How a model is brought to answer by a schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Schema {
    /// `outputConfig.textFormat`.
    Native,
    /// By a tool that it is made to call.
    Tool,
    None,
}

const ALL: Takes = Takes {
    system: true,
    images: true,
    tools: true,
    choice: Choice::Named,
    streamed_tools: true,
    schema: Schema::Native,
};

/// "Only supported by Anthropic Claude 3 and Amazon Nova models", says botocore's model of `ToolChoice` of a
/// certain tool.
const OTHERS: Takes = Takes { choice: Choice::Any, ..ALL };

/// Claude before it knew tools, and others that only talk.
const TALKS: Takes = Takes { images: false, tools: false, choice: Choice::None, schema: Schema::None, ..ALL };

/// What belongs to the beginning of a model's name; the first that fits counts.
///
/// docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-supported-models-features.html,
/// …/structured-output.html and …/APIReference/API_runtime_ToolChoice.html. What choices Llama and Mistral
/// take, and which models stream no calls, was seen by their users (strands-agents/sdk-python issue 1241,
/// langchain-aws's table of `supports_tool_choice_values`, bifrost's `IsLlamaModel`).
const TAKES: &[(&str, Takes)] = &[
    ("anthropic.claude-v2", TALKS),
    ("anthropic.claude-instant", TALKS),
    ("amazon.nova-micro", Takes { images: false, schema: Schema::Tool, ..ALL }),
    ("amazon.nova-", Takes { schema: Schema::Tool, ..ALL }),
    ("amazon.titan-text", Takes { system: false, ..TALKS }),
    ("openai.gpt-oss", Takes { images: false, ..OTHERS }),
    ("meta.llama4", Takes { images: true, ..LLAMA }),
    ("meta.llama3-2-11b", Takes { images: true, ..LLAMA }),
    ("meta.llama3-2-90b", Takes { images: true, ..LLAMA }),
    ("meta.llama3-2-", TALKS),
    ("meta.llama3-1-", LLAMA),
    ("meta.llama3-3-", LLAMA),
    ("meta.llama3-", TALKS),
    ("meta.llama2-", TALKS),
    ("mistral.mistral-7b", Takes { system: false, ..TALKS }),
    ("mistral.mixtral", Takes { system: false, ..TALKS }),
    (
        "mistral.mistral-large-24",
        Takes { images: false, choice: Choice::Any, streamed_tools: false, schema: Schema::Tool, ..ALL },
    ),
    ("ai21.jamba-instruct", TALKS),
    ("ai21.jamba", Takes { images: false, streamed_tools: false, schema: Schema::None, ..OTHERS }),
    ("cohere.command-r", Takes { images: false, schema: Schema::None, ..OTHERS }),
    ("deepseek.r1", Takes { images: false, streamed_tools: false, schema: Schema::None, ..OTHERS }),
];

const LLAMA: Takes =
    Takes { images: false, choice: Choice::None, streamed_tools: false, schema: Schema::None, ..ALL };

/// Reads the same names as [`family`].
pub fn takes(model: &str) -> Takes {
    let known = TAKES.iter().find(|(name, _)| model.contains(name));
    match (known, family(model)) {
        (Some((_, takes)), _) => *takes,
        (None, Family::Claude(version)) if version < claude::SHAPES => Takes { schema: Schema::Tool, ..ALL },
        (None, Family::Claude(_))
            if claude::name(model).is_some_and(|name| !claude::can_be_made_to_call(name)) =>
        {
            Takes { choice: Choice::None, ..ALL }
        }
        (None, Family::Claude(_) | Family::Nova | Family::Nova2 | Family::Gpt | Family::Untold) => ALL,
        (None, Family::GptOss | Family::Kimi | Family::DeepSeek | Family::Other) => OTHERS,
    }
}

impl Family {
    /// Which Claude it is, if it is one.
    pub fn claude(self) -> Option<Version> {
        if let Family::Claude(version) = self { Some(version) } else { None }
    }

    /// It takes marks of the prompt cache. Bedrock refuses them for other models ("You invoked an
    /// unsupported model or your request did not allow prompt caching", litellm pull request 39210):
    /// docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html.
    pub fn caches(self) -> bool {
        match self {
            Family::Claude(version) => version >= Version(3, 5),
            Family::Nova | Family::Nova2 | Family::Untold => true,
            Family::GptOss | Family::Gpt | Family::Kimi | Family::DeepSeek | Family::Other => false,
        }
    }

    /// It takes them among the tools too.
    pub fn caches_tools(self) -> bool {
        matches!(self, Family::Claude(_) | Family::Untold) && self.caches()
    }

    /// It keeps what is marked for an hour, if asked to.
    pub fn caches_for_an_hour(self) -> bool {
        self == Family::Untold || self.claude().is_some_and(|version| version >= Version(4, 5))
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
    fn an_operator_may_leave_out_the_vendor() {
        for (word, expected) in [
            ("claude-sonnet-4-5", Family::Claude(Version(4, 5))),
            ("anthropic.claude-opus-4-1", Family::Claude(Version(4, 1))),
            ("us.anthropic.claude-opus-4-1", Family::Claude(Version(4, 1))),
            ("claude", Family::Claude(Version::NEWEST)),
            ("nova", Family::Nova),
            ("nova-2-lite", Family::Nova2),
            ("gpt-oss-20b", Family::GptOss),
            ("qwen3-32b", Family::Other),
        ] {
            assert!(is_family(word), "{word}");
            assert_eq!(family(&full_name(word)), expected, "{word}");
        }
        assert_eq!(takes(&full_name("llama3-3-70b")), LLAMA);
        assert!(!is_family("clade"));
    }

    #[test]
    fn what_a_model_takes_is_read_from_its_name() {
        for (model, expected) in [
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", ALL),
            ("anthropic.claude-fable-5", ALL),
            ("global.anthropic.claude-opus-5-5", Takes { choice: Choice::None, ..ALL }),
            ("openai.gpt-5.6-sol", ALL),
            ("us.anthropic.claude-opus-4-1-20250805-v1:0", Takes { schema: Schema::Tool, ..ALL }),
            ("us.amazon.nova-pro-v1:0", Takes { schema: Schema::Tool, ..ALL }),
            ("us.meta.llama3-3-70b-instruct-v1:0", LLAMA),
            ("us.meta.llama3-2-3b-instruct-v1:0", TALKS),
            ("us.meta.llama3-2-90b-instruct-v1:0", Takes { images: true, ..LLAMA }),
            ("mistral.mistral-7b-instruct-v0:2", Takes { system: false, ..TALKS }),
            ("qwen.qwen3-235b-a22b-2507-v1:0", OTHERS),
            ("arn:aws:bedrock:us-east-1:123456789012:imported-model/a1b2c3", ALL),
        ] {
            assert_eq!(takes(model), expected, "{model}");
        }
    }

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
            ("in.openai.gpt-5.6-terra", Family::Gpt),
            ("moonshotai.kimi-k2.5", Family::Kimi),
            ("moonshot.kimi-k2-thinking", Family::Kimi),
            ("deepseek.v3-v1:0", Family::DeepSeek),
            ("us.deepseek.r1-v1:0", Family::Other),
            ("us.meta.llama3-3-70b-instruct-v1:0", Family::Other),
            ("", Family::Other),
        ] {
            assert_eq!(family(model), expected, "{model}");
        }
    }
}
