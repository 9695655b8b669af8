//! What Claude takes of a request, whoever serves it: thinking, effort and sampling, by model.
//!
//! docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html and
//! …/claude-messages-adaptive-thinking.html; platform.claude.com/docs/en/build-with-claude/thinking, and the pages
//! "What's new" of the models from …/models/opus-5 on.

use crate::base::json::{Count, Number, Writer};
use crate::chat::{Content, Effort, LeftOut, ReasoningMode, Request, Role};

/// Major and minor version; a name without one is that of a newer model than is known here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version(pub u32, pub u32);

impl Version {
    pub const NEWEST: Version = Version(u32::MAX, u32::MAX);

    /// The version in what stands behind `claude-`: `sonnet-4-20250514-v1:0`, `3-7-sonnet-20250219-v1:0`,
    /// `sonnet-4-5@20250929`, `opus-4-6-v1` or `v2:1`: the first number of one or two digits, and the one
    /// right behind it.
    pub fn of(name: &str) -> Self {
        let number = |word: &str| {
            let short = (1..=2).contains(&word.len());
            word.parse::<u32>().ok().filter(|_| short && word.bytes().all(|b| b.is_ascii_digit()))
        };
        let mut words =
            name.split(['-', ':', '.', '@']).skip_while(|word| number(word).is_none() && *word != "v2");
        let Some(major) = words.next() else { return Version::NEWEST };
        let minor = words.next().and_then(number).unwrap_or(0);
        number(major).map_or(Version(2, 0), |major| Version(major, minor))
    }
}

/// What stands behind `claude-` in the name of a model; `None` where the name tells nothing, such as the ARN of
/// an application inference profile.
pub fn name(model: &str) -> Option<&str> {
    model.rsplit_once("claude-").map(|(_, name)| name)
}

/// Models that answer a tool choice which demands a call with an error, and the version of each kind.
const NOT_MADE_TO_CALL: &[(&str, Version)] = &[
    ("opus", Version(5, 5)),
    ("sonnet", Version(5, 5)),
    ("fable", Version(5, 1)),
    ("mythos", Version(5, 1)),
];

/// Whether a model can be made to call a tool.
pub fn can_be_made_to_call(name: &str) -> bool {
    !NOT_MADE_TO_CALL.iter().any(|(kind, version)| name.starts_with(kind) && Version::of(name) == *version)
}

/// How the model is told to think.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Thinking {
    /// Not a word.
    Unsaid,
    /// Up to 4.6: so many tokens.
    Budget(u64),
    /// From 4.6 on.
    Adaptive,
    /// Not at all, for models that think of their own accord.
    Disabled,
    /// The same for those that think between calls in any case.
    BetweenTools,
}

impl Thinking {
    /// How a model is told not to think; `None` where it always does. From 5 on models think unless they are told
    /// not to.
    fn off(name: &str, version: Version) -> Option<Self> {
        match (name.split('-').next().unwrap_or_default(), version) {
            (_, version) if version < THINKS_UNASKED => Some(Thinking::Unsaid),
            ("sonnet", Version(5, 0)) | ("opus", Version(5, 0)) | ("haiku", Version(5, 5)) => {
                Some(Thinking::Disabled)
            }
            ("sonnet", Version(5, 5)) => Some(Thinking::BetweenTools),
            // Opus 5.5, Fable and Mythos; of what is newer nothing is known.
            _ => None,
        }
    }
}

/// The first Claude that answers by a schema of its own accord.
pub const SHAPES: Version = Version(4, 5);

/// The first Claude that thinks.
const THINKS: Version = Version(3, 7);

/// The first Claude that decides by itself how much to think, and the last that takes a budget.
const ADAPTS: Version = Version(4, 6);

/// The first Claude that thinks unless it is told not to.
const THINKS_UNASKED: Version = Version(5, 0);

/// The first Claude that thinks although it is made to call a tool: `thinking_forced_tool_use_unsupported` of AWS's
/// langchain-aws 1.9 names the older ones.
const THINKS_THOUGH_FORCED: Version = Version(4, 8);

/// The first Claude that takes either `temperature` or `top_p`, but not both (open-webui/pipelines#546,
/// aws-samples/bedrock-access-gateway#191).
const EITHER: Version = Version(4, 1);

/// The last Claude that takes any of them (promptfoo#10307, aws-samples/bedrock-chat#1102).
const PICKS: Version = Version(4, 6);

/// Claude refuses a smaller budget.
const LEAST_BUDGET: u64 = 1024;

/// Room for the answer behind the thoughts, where the client sets no bound of its own: with the largest
/// budget below it stays under the 32,000 tokens of Claude Opus 4.
const ANSWER: u64 = 8192;

/// What one request says to Claude.
pub struct Words<'a> {
    pub thinking: Thinking,
    /// `thinking.display`.
    display: Option<&'static str>,
    /// `output_config.effort`.
    pub effort: Option<&'static str>,
    pub temperature: Option<Number<'a>>,
    pub top_p: Option<Number<'a>>,
    pub top_k: Option<Count<'a>>,
    /// A bound of the reply's length where the client set none and the thoughts need room.
    pub room: Option<u64>,
}

impl<'a> Words<'a> {
    /// Chooses the words for a request; notes what the model has none for. `name` is what stands behind `claude-`;
    /// without it the name of the model tells nothing, and it may be no Claude at all. `forced`: the model is made
    /// to call a tool.
    pub fn choose(request: &Request<'a>, name: Option<&str>, forced: bool, left_out: &mut LeftOut) -> Self {
        let sampling = &request.sampling;
        let version = name.map(Version::of);
        let thinking = think(request, name, forced, left_out);
        let effort = effort(request, version, thinking, left_out);
        let is_thinking = matches!(thinking, Thinking::Budget(_) | Thinking::Adaptive);
        let (mut temperature, mut top_p, mut top_k) = (sampling.temperature, sampling.top_p, sampling.top_k);
        let mut unless = |left: bool, name| {
            if left {
                left_out.note(name);
            }
            left
        };
        // "`temperature` may only be set to 1 when thinking is enabled", and so on.
        if unless(is_thinking && temperature.is_some_and(|number| number.value() != 1.0), "temperature") {
            temperature = None;
        }
        if unless(is_thinking && top_p.is_some_and(|number| number.value() < 0.95), "top_p") {
            top_p = None;
        }
        // "`temperature` is deprecated for this model", and `top_p` and `top_k` with it.
        let picks = version.is_none_or(|version| version <= PICKS);
        if unless(!picks && temperature.is_some(), "temperature") {
            temperature = None;
        }
        if unless(!picks && top_p.is_some(), "top_p") {
            top_p = None;
        }
        // "`temperature` and `top_p` cannot both be specified for this model."
        let either = version.is_some_and(|version| version >= EITHER) && temperature.is_some();
        if unless(either && top_p.is_some(), "top_p") {
            top_p = None;
        }
        if unless((is_thinking || !picks) && top_k.is_some(), "top_k") {
            top_k = None;
        }
        let shows = is_thinking && version.is_some_and(|version| version >= ADAPTS);
        let display = request.reasoning.shown.filter(|_| shows);
        Self {
            thinking,
            display: display.map(|shown| if shown { "summarized" } else { "omitted" }),
            effort,
            temperature,
            top_p,
            top_k,
            room: match thinking {
                Thinking::Budget(budget) => Some(budget.saturating_add(ANSWER)),
                Thinking::Unsaid | Thinking::Adaptive | Thinking::Disabled | Thinking::BetweenTools => None,
            },
        }
    }

    /// Writes the member `thinking`, if there is anything to say.
    pub fn write_thinking(&self, w: &mut Writer<'_>) {
        if self.thinking == Thinking::Unsaid {
            return;
        }
        w.key("thinking").object(|w| {
            match self.thinking {
                Thinking::Unsaid => {}
                Thinking::Budget(budget) => {
                    w.key("type").string("enabled");
                    w.key("budget_tokens").number(budget);
                }
                Thinking::Adaptive => w.key("type").string("adaptive"),
                Thinking::Disabled => w.key("type").string("disabled"),
                Thinking::BetweenTools => w.key("type").string("between_tools"),
            }
            if let Some(display) = self.display {
                w.key("display").string(display);
            }
        });
    }
}

fn think(request: &Request<'_>, name: Option<&str>, forced: bool, left_out: &mut LeftOut) -> Thinking {
    let chosen = match (name, request.reasoning.mode) {
        (_, None) | (None, Some(ReasoningMode::Off)) => return Thinking::Unsaid,
        (Some(name), Some(ReasoningMode::Off)) => Thinking::off(name, Version::of(name)),
        (Some(name), Some(mode)) => thinking(request, forced, Version::of(name), mode),
        // Only Claude has budgets, so whoever names one knows what the name stands for.
        (None, Some(ReasoningMode::Budget(budget))) => Some(Thinking::Budget(budget.value())),
        (None, Some(ReasoningMode::Adaptive)) => None,
    };
    chosen.unwrap_or_else(|| {
        left_out.note(request.spelling.thinking);
        Thinking::Unsaid
    })
}

/// `None` where Claude would refuse the request for it.
fn thinking(
    request: &Request<'_>,
    forced: bool,
    version: Version,
    mode: ReasoningMode<'_>,
) -> Option<Thinking> {
    let prefilled = request.turns.last().is_some_and(|turn| turn.role == Role::Assistant);
    if version < THINKS || (forced && version < THINKS_THOUGH_FORCED) || prefilled {
        return None;
    }
    let budget = match mode {
        ReasoningMode::Budget(_) if version > ADAPTS => return Some(Thinking::Adaptive),
        ReasoningMode::Adaptive if version >= ADAPTS => return Some(Thinking::Adaptive),
        ReasoningMode::Off => return Some(Thinking::Unsaid),
        ReasoningMode::Budget(budget) => budget.value(),
        ReasoningMode::Adaptive => {
            let wanted = match request.reasoning.effort.unwrap_or(Effort::High) {
                Effort::Minimal | Effort::Low => LEAST_BUDGET,
                Effort::Medium => 4096,
                Effort::High | Effort::ExtraHigh | Effort::Max => 16384,
            };
            // The thoughts count towards the bound, and half of it is left for the answer.
            let most = request.sampling.max_tokens.map_or(u64::MAX, |most| most.value() / 2);
            wanted.min(most)
        }
    };
    (budget >= LEAST_BUDGET && thinks_on(request)).then_some(Thinking::Budget(budget))
}

/// Of thinking with a budget; adaptive thinking asks for nothing ("previous assistant turns don't need to start
/// with thinking blocks", platform.claude.com/docs/en/build-with-claude/adaptive-thinking).
/// "When thinking is enabled, a final assistant message must start with a thinking block": if results of
/// tools come last, the call must still have its thoughts. Many clients lose them.
fn thinks_on(request: &Request<'_>) -> bool {
    let [.., call, answer] = request.turns.as_slice() else { return true };
    let is_answer = answer.parts.iter().any(|part| matches!(part.content, Content::ToolResult(_)));
    !is_answer
        || match call.parts.first().map(|part| &part.content) {
            Some(Content::Thinking(thinking)) => thinking.signature.is_some(),
            Some(Content::Redacted(_)) => true,
            Some(
                Content::Text(_)
                | Content::Image(_)
                | Content::Document(_)
                | Content::SearchResult(_)
                | Content::ToolCall(_)
                | Content::ToolResult(_),
            )
            | None => false,
        }
}

/// Claude knows it from 4.6 on.
fn effort(
    request: &Request<'_>,
    version: Option<Version>,
    thinking: Thinking,
    left_out: &mut LeftOut,
) -> Option<&'static str> {
    let reasoning = &request.reasoning;
    let Some(version) = version.filter(|version| *version >= ADAPTS) else {
        // With a budget the effort has become something else.
        if reasoning.effort.is_some() && !matches!(thinking, Thinking::Budget(_)) {
            left_out.note(request.spelling.effort);
        }
        return None;
    };
    let effort = match (reasoning.effort, reasoning.mode) {
        (Some(effort), _) => effort,
        // It thinks in any case, and the least that it takes is as near as it comes.
        (None, Some(ReasoningMode::Off)) if thinking == Thinking::Unsaid && version >= THINKS_UNASKED => {
            Effort::Low
        }
        // The budget has become an effort.
        (None, Some(mode @ ReasoningMode::Budget(_))) if thinking == Thinking::Adaptive => {
            reasoning.effort_of(mode)
        }
        (None, _) => return None,
    };
    let thinks = match thinking {
        Thinking::Budget(_) | Thinking::Adaptive => true,
        Thinking::Unsaid => version >= THINKS_UNASKED,
        Thinking::Disabled | Thinking::BetweenTools => false,
    };
    Some(match effort {
        Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        // "When extended thinking is disabled, the effort level is capped at high": botocore's model of
        // `OutputConfig`.
        Effort::ExtraHigh | Effort::Max if !thinks => "high",
        Effort::ExtraHigh if version == ADAPTS => "high",
        Effort::ExtraHigh => "xhigh",
        Effort::Max => "max",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_every_form_of_a_name() {
        for (name, major, minor) in [
            ("sonnet-4-20250514-v1:0", 4, 0),
            ("3-7-sonnet-20250219-v1:0", 3, 7),
            ("opus-4-1-20250805-v1:0", 4, 1),
            ("opus-4-6-v1", 4, 6),
            ("sonnet-4-5@20250929", 4, 5),
            ("sonnet-4@20250514", 4, 0),
            ("3-5-haiku@20241022", 3, 5),
            ("haiku-5-5", 5, 5),
            ("opus-10-12-v1:0", 10, 12),
            ("v2:1", 2, 0),
        ] {
            assert_eq!(Version::of(name), Version(major, minor), "{name}");
        }
        assert_eq!(Version::of("mythos-preview"), Version::NEWEST);
    }

    #[test]
    fn a_model_that_thinks_of_its_own_accord_is_told_not_to_in_its_own_word() {
        for (name, expected) in [
            ("sonnet-4-5-20250929-v1:0", Some(Thinking::Unsaid)),
            ("opus-4-8", Some(Thinking::Unsaid)),
            ("opus-5", Some(Thinking::Disabled)),
            ("sonnet-5", Some(Thinking::Disabled)),
            ("haiku-5-5", Some(Thinking::Disabled)),
            ("sonnet-5-5", Some(Thinking::BetweenTools)),
            ("opus-5-5", None),
            ("fable-5", None),
            ("fable-5-1", None),
            ("mythos-preview", None),
        ] {
            assert_eq!(Thinking::off(name, Version::of(name)), expected, "{name}");
        }
    }

    #[test]
    fn some_models_cannot_be_made_to_call() {
        for name in ["opus-5-5", "sonnet-5-5", "fable-5-1", "mythos-5-1"] {
            assert!(!can_be_made_to_call(name), "{name}");
        }
        for name in ["opus-5", "haiku-5-5", "fable-5", "sonnet-4-5@20250929", "3-5-haiku@20241022"] {
            assert!(can_be_made_to_call(name), "{name}");
        }
    }
}
