//! The editions of chat completions that upstreams speak, and what a model's name tells of what it takes.
//!
//! OpenAI: developers.openai.com/api/docs/guides/reasoning and the types of the `openai` package 3.52. Open
//! models on Vertex AI: docs.cloud.google.com/vertex-ai/generative-ai/docs/maas/call-open-model-apis and
//! …/maas/capabilities/thinking. Mistral on Vertex AI: …/partner-models/mistral and the types of Mistral's own
//! client for Google Cloud (`mistralai.gcp`).

use crate::chat::Effort;

/// Who speaks chat completions, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edition {
    /// OpenAI's own API.
    OpenAi,
    /// Vertex AI's endpoint for open models: Llama, DeepSeek, Qwen, gpt-oss, Kimi and others.
    OpenModels,
    /// Mistral's models on Vertex AI, by `rawPredict`.
    Mistral,
}

impl Edition {
    /// The name in file names of golden cases and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Edition::OpenAi => "openai",
            Edition::OpenModels => "open-models",
            Edition::Mistral => "mistral",
        }
    }

    /// The heading of its tables.
    pub const fn title(self) -> &'static str {
        match self {
            Edition::OpenAi => "OpenAI",
            Edition::OpenModels => "Vertex open models",
            Edition::Mistral => "Vertex Mistral",
        }
    }

    /// What a person calls whoever answers.
    pub const fn company(self) -> &'static str {
        match self {
            Edition::OpenAi => "OpenAI",
            Edition::OpenModels | Edition::Mistral => "Vertex AI",
        }
    }

    /// It is the dialect that clients speak. Mistral's differs in more than the top of a request.
    pub const fn is_openais(self) -> bool {
        match self {
            Edition::OpenAi | Edition::OpenModels => true,
            Edition::Mistral => false,
        }
    }

    /// The token counts of a stream have to be asked for; Mistral's always come.
    pub const fn asks_for_usage(self) -> bool {
        match self {
            Edition::OpenAi | Edition::OpenModels => true,
            Edition::Mistral => false,
        }
    }

    /// Fields that the vocabulary has no word for and a client may say in `extra`: of OpenAI the optional members of
    /// `CompletionCreateParams`, of vLLM, which serves most open models, its extra parameters.
    pub const fn own(self) -> &'static [&'static str] {
        match self {
            Edition::OpenAi => &[
                "logit_bias",
                "logprobs",
                "metadata",
                "moderation",
                "prediction",
                "prompt_cache_key",
                "prompt_cache_options",
                "prompt_cache_retention",
                "safety_identifier",
                "service_tier",
                "store",
                "top_logprobs",
                "user",
                "verbosity",
                "web_search_options",
            ],
            Edition::OpenModels => &[
                "chat_template_kwargs",
                "extra_body",
                "logit_bias",
                "logprobs",
                "min_p",
                "repetition_penalty",
                "top_k",
                "top_logprobs",
                "user",
            ],
            Edition::Mistral => &["guardrails", "metadata", "prediction", "prompt_mode", "safe_prompt"],
        }
    }

    /// Thoughts may come as words of the answer, between `<think>` and `</think>`: "For DeepSeek R1 0528,
    /// reasoning is surrounded by <think></think> tags in the content field".
    pub const fn tags_thoughts(self) -> bool {
        match self {
            Edition::OpenModels => true,
            Edition::OpenAi | Edition::Mistral => false,
        }
    }
}

/// A family of models, as far as its members differ in what they take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// OpenAI's models that answer at once: GPT up to 4.1, and those made for chatting.
    Gpt,
    /// OpenAI's o1, o3, o4.
    O,
    /// OpenAI's GPT from 5 on, which reasons; major and minor version.
    Reasoner(u32, u32),
    /// gpt-oss, which reasons as much as it is told.
    GptOss,
    /// Kimi K2, which reads the names of functions out of the ids of calls (sgl-project/sglang#33343).
    Kimi,
    Mistral,
    /// Mistral's models whose reasoning can be turned on (pydantic/pydantic-ai#5285).
    MistralReasoner,
    Other,
}

/// Whether an operator's word for what a model is begins like the name of one that [`family`] or Vertex AI's paths
/// tell apart.
pub fn is_family(word: &str) -> bool {
    const BEGINNINGS: &[&str] =
        &["gpt-", "kimi-k2", "codestral-", "ministral-", "magistral-", "devstral-", "pixtral-"];
    BEGINNINGS.iter().any(|beginning| word.starts_with(beginning)) || openai(word) == Family::O
}

/// Reads a model's name, such as `gpt-5.1-2025-11-13` or `openai/gpt-oss-120b-maas`.
pub fn family(edition: Edition, model: &str) -> Family {
    let name = model.rsplit('/').next().unwrap_or(model);
    match edition {
        Edition::OpenAi => openai(name),
        Edition::OpenModels if name.starts_with("gpt-oss") => Family::GptOss,
        Edition::OpenModels if name.starts_with("kimi-k2") => Family::Kimi,
        Edition::OpenModels => Family::Other,
        Edition::Mistral if name.starts_with("mistral-small-4") || name.starts_with("mistral-medium-3-5") => {
            Family::MistralReasoner
        }
        Edition::Mistral => Family::Mistral,
    }
}

fn openai(name: &str) -> Family {
    // `ft:gpt-4.1-mini-2025-04-14:my-org::id` is a model of that kind.
    let name = name.strip_prefix("ft:").unwrap_or(name);
    if name.strip_prefix('o').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
        return Family::O;
    }
    let Some(version) = name.strip_prefix("gpt-") else { return Family::Gpt };
    let number = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (major, rest) = version.split_at_checked(number(version)).unwrap_or((version, ""));
    let minor = rest.strip_prefix('.').unwrap_or_default();
    let minor = minor.get(..number(minor)).unwrap_or_default();
    match (major.parse(), minor.parse().unwrap_or(0)) {
        (Ok(major @ 5..), minor) if !name.contains("-chat") => Family::Reasoner(major, minor),
        _ => Family::Gpt,
    }
}

impl Family {
    /// It picks its words by itself: "Unsupported parameter: 'temperature' is not supported with this model"
    /// (OpenHands/software-agent-sdk#1837), and so are `top_p`, the penalties and `stop`
    /// (EleutherAI/lm-evaluation-harness#3247, and the type of `stop`).
    pub const fn picks(self) -> bool {
        match self {
            Family::O | Family::Reasoner(..) => true,
            Family::Gpt
            | Family::GptOss
            | Family::Kimi
            | Family::Mistral
            | Family::MistralReasoner
            | Family::Other => false,
        }
    }

    /// It knows `parallel_tool_calls`, which OpenAI's first reasoning models refuse.
    pub const fn knows_parallel(self) -> bool {
        !matches!(self, Family::O)
    }

    /// Its word for so much trouble in `reasoning_effort`; no effort is none at all. `None` where it has no
    /// word: it does not reason, or as it likes.
    pub const fn effort(self, effort: Option<Effort>) -> Option<&'static str> {
        match (self, effort) {
            (Family::Gpt | Family::Kimi | Family::Mistral | Family::Other, _) => None,
            // These always reason.
            (Family::O | Family::GptOss, None) => None,
            (Family::Reasoner(5, 0), None | Some(Effort::Minimal)) => Some("minimal"),
            (Family::Reasoner(..), None) => Some("none"),
            (Family::MistralReasoner, None | Some(Effort::Minimal | Effort::Low)) => Some("none"),
            (Family::MistralReasoner, Some(_)) => Some("high"),
            (Family::Reasoner(5, 0 | 1) | Family::O | Family::GptOss, Some(effort)) => {
                Some(three_words(effort))
            }
            (Family::Reasoner(..), Some(Effort::ExtraHigh | Effort::Max)) => Some("xhigh"),
            (Family::Reasoner(..), Some(effort)) => Some(three_words(effort)),
        }
    }
}

const fn three_words(effort: Effort) -> &'static str {
    match effort {
        Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::ExtraHigh | Effort::Max => "high",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_read_from_every_form_of_a_name() {
        for (edition, model, expected) in [
            (Edition::OpenAi, "gpt-4o-mini", Family::Gpt),
            (Edition::OpenAi, "gpt-4.1-2025-04-14", Family::Gpt),
            (Edition::OpenAi, "gpt-3.5-turbo-0125", Family::Gpt),
            (Edition::OpenAi, "chatgpt-4o-latest", Family::Gpt),
            (Edition::OpenAi, "o3-mini", Family::O),
            (Edition::OpenAi, "o4-mini-2025-04-16", Family::O),
            (Edition::OpenAi, "gpt-5", Family::Reasoner(5, 0)),
            (Edition::OpenAi, "gpt-5-mini-2025-08-07", Family::Reasoner(5, 0)),
            (Edition::OpenAi, "gpt-5.1", Family::Reasoner(5, 1)),
            (Edition::OpenAi, "gpt-5.12-pro", Family::Reasoner(5, 12)),
            (Edition::OpenAi, "gpt-6-sol", Family::Reasoner(6, 0)),
            (Edition::OpenAi, "gpt-5.2-chat-latest", Family::Gpt),
            (Edition::OpenAi, "ft:gpt-4.1-mini-2025-04-14:acme::x1", Family::Gpt),
            (Edition::OpenAi, "ours", Family::Gpt),
            (Edition::OpenModels, "openai/gpt-oss-120b-maas", Family::GptOss),
            (Edition::OpenModels, "moonshotai/kimi-k2-thinking-maas", Family::Kimi),
            (Edition::OpenModels, "deepseek-ai/deepseek-r1-0528-maas", Family::Other),
            (Edition::Mistral, "mistral-medium-3", Family::Mistral),
        ] {
            assert_eq!(family(edition, model), expected, "{model}");
        }
    }

    #[test]
    fn an_operators_word_is_a_family_if_it_tells_something() {
        for word in
            ["gpt-5.1", "gpt-4.1-mini", "gpt-oss-20b", "o3", "o4-mini", "kimi-k2-thinking", "codestral-2"]
        {
            assert!(is_family(word), "{word}");
        }
        for word in ["ours", "g", "openai", "opus", ""] {
            assert!(!is_family(word), "{word}");
        }
    }

    #[test]
    fn every_amount_of_trouble_has_the_word_that_a_model_knows() {
        use Effort::{High, Low, Max, Medium, Minimal};
        for (family, words) in [
            (Family::Gpt, [None; 6]),
            (Family::O, [None, Some("low"), Some("low"), Some("medium"), Some("high"), Some("high")]),
            (
                Family::Reasoner(5, 0),
                [Some("minimal"), Some("minimal"), Some("low"), Some("medium"), Some("high"), Some("high")],
            ),
            (
                Family::Reasoner(5, 1),
                [Some("none"), Some("low"), Some("low"), Some("medium"), Some("high"), Some("high")],
            ),
            (
                Family::Reasoner(6, 0),
                [Some("none"), Some("low"), Some("low"), Some("medium"), Some("high"), Some("xhigh")],
            ),
        ] {
            let asked = [None, Some(Minimal), Some(Low), Some(Medium), Some(High), Some(Max)];
            assert_eq!(asked.map(|effort| family.effort(effort)), words, "{family:?}");
        }
    }
}
