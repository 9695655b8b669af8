//! What goes beyond Converse's common ground: thinking, effort, `top_k`, by family of models.
//!
//! Claude: docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html and
//! …/claude-messages-adaptive-thinking.html. Nova: docs.aws.amazon.com/nova/latest/nova2-userguide/
//! using-converse-api.html and …/nova/latest/userguide/complete-request-schema.html. gpt-oss:
//! docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html.

use super::model::{Choice, Family, Version};
use super::offer::Offer;
use super::own::Own;
use crate::base::error::{Error, Kind};
use crate::base::json::{Count, Number, Writer};
use crate::chat::{Content, Effort, LeftOut, Reasoning, ReasoningMode, Request, Role};

/// What one request says to its model in words of the model's own.
pub struct Extra<'a> {
    thinking: Thinking,
    /// `thinking.display`.
    display: Option<&'static str>,
    /// `outputConfig.effort`.
    pub effort: Option<&'static str>,
    top_k: Option<(TopK, Count<'a>)>,
    single: Option<Single>,
    betas: Vec<&'a str>,
    /// The reply is to name the stop sequence that ended it.
    name_stop: bool,
    /// `inferenceConfig.maxTokens` where the client set none and the thoughts need room.
    pub room: Option<u64>,
    pub temperature: Option<Number<'a>>,
    pub top_p: Option<Number<'a>>,
}

/// How the model is told to think.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Thinking {
    /// Not a word.
    Unsaid,
    /// Claude up to 4.6: so many tokens.
    Budget(u64),
    /// Claude from 4.6 on.
    Adaptive,
    /// Nova 2: `reasoningConfig`.
    Nova(&'static str),
    /// gpt-oss: `reasoning_effort`.
    GptOss(&'static str),
}

/// Where `top_k` goes.
#[derive(Clone, Copy)]
enum TopK {
    Claude,
    Nova,
}

/// How Claude is told to make one call at most: in its own `tool_choice`, which Bedrock builds from
/// `toolConfig.toolChoice` too. What both would set, Bedrock refuses ("The additional field tool_choice/type
/// conflicts with the existing field toolConfig.toolChoice.tool", litellm issue 36536); what neither sets,
/// Claude misses ("tool_choice.type: Field required", litellm issue 22637).
#[derive(Clone, Copy, PartialEq)]
enum Single {
    /// The choice is its own, and all of it is said there.
    OfItsOwn,
    /// The choice stands in `toolConfig`.
    Beside,
}

/// The first Claude that thinks.
const THINKS: Version = Version(3, 7);

/// The first Claude that decides by itself how much to think, and the last that takes a budget.
const ADAPTS: Version = Version(4, 6);

/// The first Claude that takes either `temperature` or `top_p`, but not both (open-webui/pipelines#546,
/// aws-samples/bedrock-access-gateway#191).
const EITHER: Version = Version(4, 1);

/// The last Claude that takes any of them (promptfoo#10307, aws-samples/bedrock-chat#1102).
const PICKS: Version = Version(4, 6);

/// The first Claude on Bedrock that can be told to make one call at most; older ones refuse it ("extraneous
/// key [disable_parallel_tool_use] is not permitted", anthropic-sdk-python issue 739).
const SINGLE: Version = Version(4, 5);

/// Claude refuses a smaller budget.
const LEAST_BUDGET: u64 = 1024;

/// Room for the answer behind the thoughts, where the client sets no bound of its own: with the largest
/// budget below it stays under the 32,000 tokens of Claude Opus 4.
const ANSWER: u64 = 8192;

/// Experimental features that change what this request means and that Bedrock knows. It refuses a whole
/// request for one that it does not know, so that others are left out.
const BETAS: &[&str] = &[
    "context-1m-2025-08-07",
    "dev-full-thinking-2025-05-14",
    "fine-grained-tool-streaming-2025-05-14",
    "interleaved-thinking-2025-05-14",
    "model-context-window-exceeded-2025-08-26",
    "output-128k-2025-02-19",
    "token-efficient-tools-2025-02-19",
];

impl<'a> Extra<'a> {
    /// Chooses the words for a request that offers `tools`; notes what the model has none for.
    pub fn choose(
        request: &Request<'a>,
        offer: &Offer<'_, '_>,
        family: Family,
        left_out: &mut LeftOut,
    ) -> Self {
        let (sampling, reasoning) = (&request.sampling, &request.reasoning);
        let thinking = think(request, offer.choice.is_some(), family, left_out);
        let effort = effort(request, family, thinking, left_out);
        let is_claude = matches!(family, Family::Claude(_));
        let (mut temperature, mut top_p, mut top_k) = (sampling.temperature, sampling.top_p, sampling.top_k);
        let is_thinking = match thinking {
            Thinking::Budget(_) | Thinking::Adaptive => true,
            Thinking::Unsaid | Thinking::Nova(_) | Thinking::GptOss(_) => false,
        };
        // "`temperature` may only be set to 1 when thinking is enabled", and so on.
        let mut unless = |left: bool, name| {
            if left {
                left_out.note(name);
            }
            left
        };
        if unless(is_thinking && temperature.is_some_and(|number| number.value() != 1.0), "temperature") {
            temperature = None;
        }
        if unless(is_thinking && top_p.is_some_and(|number| number.value() < 0.95), "top_p") {
            top_p = None;
        }
        let version = match family {
            Family::Claude(version) => Some(version),
            Family::Nova | Family::Nova2 | Family::GptOss | Family::Other | Family::Untold => None,
        };
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
        let to = match family {
            Family::Claude(_) if !is_thinking && picks => Some(TopK::Claude),
            Family::Nova | Family::Nova2 => Some(TopK::Nova),
            Family::Claude(_) | Family::GptOss | Family::Other | Family::Untold => None,
        };
        if unless(to.is_none() && top_k.is_some(), "top_k") {
            top_k = None;
        }
        let alone = request.parallel_tool_calls == Some(false) && !offer.tools.is_empty();
        let can_be = version.is_some_and(|version| version >= SINGLE);
        unless(alone && !can_be, request.spelling.parallel);
        let single = (alone && can_be).then_some(match offer.choice {
            None | Some(Choice::None) => Single::OfItsOwn,
            Some(Choice::Any | Choice::Named) => Single::Beside,
        });
        let (betas, others): (Vec<&str>, Vec<&str>) =
            request.betas.iter().copied().partition(|beta| is_claude && BETAS.contains(beta));
        unless(!others.is_empty(), "anthropic-beta");
        // Most models refuse a tool that has the member (litellm#31943, #32455), and those that take it refuse
        // ordinary schemas with it (#39115); agents' SDKs put it on every tool.
        unless(request.tools.iter().any(|tool| tool.strict == Some(true)), request.spelling.strict);
        let shows = is_thinking && matches!(family, Family::Claude(version) if version >= ADAPTS);
        let room = match thinking {
            Thinking::Budget(budget) => Some(budget.saturating_add(ANSWER)),
            Thinking::Unsaid | Thinking::Adaptive | Thinking::Nova(_) | Thinking::GptOss(_) => None,
        };
        Self {
            thinking,
            display: reasoning.shown.filter(|_| shows).map(|it| if it { "summarized" } else { "omitted" }),
            effort,
            top_k: to.zip(top_k),
            single,
            betas,
            name_stop: is_claude && sampling.name_stop && !sampling.stop.is_empty(),
            room,
            temperature,
            top_p,
        }
    }

    /// The names of the members that [`Extra::fields`] writes.
    fn names(&self) -> Vec<&'static str> {
        let thinking = match self.thinking {
            Thinking::Unsaid => None,
            Thinking::Budget(_) | Thinking::Adaptive => Some("thinking"),
            Thinking::Nova(_) => Some("reasoningConfig"),
            Thinking::GptOss(_) => Some("reasoning_effort"),
        };
        let top_k = self.top_k.map(|(to, _)| match to {
            TopK::Claude => "top_k",
            TopK::Nova => "inferenceConfig",
        });
        let single = self.single.map(|_| "tool_choice");
        let betas = (!self.betas.is_empty()).then_some("anthropic_beta");
        [thinking, top_k, single, betas].into_iter().flatten().collect()
    }

    fn fields(&self, w: &mut Writer<'_>) {
        match self.thinking {
            Thinking::Unsaid => {}
            Thinking::Budget(_) | Thinking::Adaptive => w.key("thinking").object(|w| {
                if let Thinking::Budget(budget) = self.thinking {
                    w.key("type").string("enabled");
                    w.key("budget_tokens").number(budget);
                } else {
                    w.key("type").string("adaptive");
                }
                if let Some(display) = self.display {
                    w.key("display").string(display);
                }
            }),
            Thinking::Nova(effort) => w.key("reasoningConfig").object(|w| {
                w.key("type").string("enabled");
                w.key("maxReasoningEffort").string(effort);
            }),
            Thinking::GptOss(effort) => w.key("reasoning_effort").string(effort),
        }
        match self.top_k {
            Some((TopK::Claude, top_k)) => w.key("top_k").token(top_k.token()),
            Some((TopK::Nova, top_k)) => {
                w.key("inferenceConfig").object(|w| w.key("topK").token(top_k.token()));
            }
            None => {}
        }
        if let Some(single) = self.single {
            w.key("tool_choice").object(|w| {
                if single == Single::OfItsOwn {
                    w.key("type").string("auto");
                }
                w.key("disable_parallel_tool_use").bool(true);
            });
        }
        if !self.betas.is_empty() {
            w.key("anthropic_beta").array(|w| self.betas.iter().for_each(|beta| w.string(beta)));
        }
    }
}

/// Writes `additionalModelRequestFields` and `additionalModelResponseFieldPaths`, if there is anything to say:
/// what was chosen, and what the client says to the model itself.
///
/// # Errors
/// A member that the client says twice, in its own words and in Bedrock's.
pub fn write(extra: Option<&Extra<'_>>, own: &Own<'_>, w: &mut Writer<'_>) -> Result<(), Error> {
    let ours = extra.map(Extra::names).unwrap_or_default();
    if let Some((name, _)) = own.fields.iter().find(|(name, _)| ours.contains(&name.as_str())) {
        let path = format!("{}.{}", own.fields_path, name.as_str());
        let problem = "is said by another field of the request too; leave one of them out";
        return Err(Error::at(Kind::WrongValue, path, problem));
    }
    if !ours.is_empty() || !own.fields.is_empty() {
        w.key("additionalModelRequestFields").object(|w| {
            if let Some(extra) = extra {
                extra.fields(w);
            }
            own.fields.iter().for_each(|(name, value)| w.foreign_key(name.as_str()).raw(value));
        });
    }
    let stop = extra.is_some_and(|extra| extra.name_stop)
        && !own.paths.iter().any(|path| path.escaped() == STOP_SEQUENCE);
    if stop || !own.paths.is_empty() {
        w.key("additionalModelResponseFieldPaths").array(|w| {
            if stop {
                w.string(STOP_SEQUENCE);
            }
            own.paths.iter().for_each(|path| w.text(*path));
        });
    }
    Ok(())
}

/// Where Claude tells which sequence ended its reply.
const STOP_SEQUENCE: &str = "/stop_sequence";

/// `forced`: the model is made to call a tool.
fn think(request: &Request<'_>, forced: bool, family: Family, left_out: &mut LeftOut) -> Thinking {
    let Some(mode) = request.reasoning.mode else { return Thinking::Unsaid };
    let chosen = match (family, mode) {
        // All that can be turned off is off unless asked for.
        (
            Family::Claude(_) | Family::Nova | Family::Nova2 | Family::Other | Family::Untold,
            ReasoningMode::Off,
        ) => return Thinking::Unsaid,
        (Family::Claude(version), mode) => claude(request, forced, version, mode),
        (Family::Nova2, mode) => {
            // With `high` it takes no bound of the reply's length.
            let most = if request.sampling.max_tokens.is_some() { Effort::Medium } else { Effort::High };
            Some(Thinking::Nova(three_words(request.reasoning.effort_of(mode).min(most))))
        }
        (Family::GptOss, ReasoningMode::Off) => None,
        (Family::GptOss, mode) => Some(Thinking::GptOss(three_words(request.reasoning.effort_of(mode)))),
        // Only Claude has budgets, so whoever names one knows what the name stands for.
        (Family::Untold, ReasoningMode::Budget(budget)) => Some(Thinking::Budget(budget.value())),
        (Family::Nova | Family::Other | Family::Untold, _) => None,
    };
    chosen.unwrap_or_else(|| {
        left_out.note(request.spelling.thinking);
        Thinking::Unsaid
    })
}

/// `None` where Claude would refuse the request for it.
fn claude(
    request: &Request<'_>,
    forced: bool,
    version: Version,
    mode: ReasoningMode<'_>,
) -> Option<Thinking> {
    let prefilled = request.turns.last().is_some_and(|turn| turn.role == Role::Assistant);
    if version < THINKS || forced || prefilled {
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

/// `outputConfig.effort`, which Claude knows from 4.6 on.
fn effort(
    request: &Request<'_>,
    family: Family,
    thinking: Thinking,
    left_out: &mut LeftOut,
) -> Option<&'static str> {
    let Reasoning { mode, effort, .. } = request.reasoning;
    let version = match (family, thinking) {
        (Family::Claude(version), _) if version >= ADAPTS => version,
        // The effort has become something else.
        (_, Thinking::Budget(_) | Thinking::Nova(_) | Thinking::GptOss(_)) => return None,
        (
            Family::Claude(_)
            | Family::Nova
            | Family::Nova2
            | Family::GptOss
            | Family::Other
            | Family::Untold,
            _,
        ) => {
            if effort.is_some() {
                left_out.note(request.spelling.effort);
            }
            return None;
        }
    };
    let effort = match (effort, mode) {
        (Some(effort), _) => effort,
        // The budget has become an effort.
        (None, Some(mode @ ReasoningMode::Budget(_))) if thinking == Thinking::Adaptive => {
            request.reasoning.effort_of(mode)
        }
        (None, _) => return None,
    };
    Some(match effort {
        Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        // "When extended thinking is disabled, the effort level is capped at high": botocore's model of
        // `OutputConfig`.
        Effort::ExtraHigh | Effort::Max if thinking == Thinking::Unsaid => "high",
        Effort::ExtraHigh if version == ADAPTS => "high",
        Effort::ExtraHigh => "xhigh",
        Effort::Max => "max",
    })
}

fn three_words(effort: Effort) -> &'static str {
    match effort {
        Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::ExtraHigh | Effort::Max => "high",
    }
}
