//! What goes beyond Converse's common ground: thinking, effort, `top_k`, by family of models.
//!
//! Claude: [`crate::dialect::claude`]. Nova: docs.aws.amazon.com/nova/latest/nova2-userguide/
//! using-converse-api.html and …/nova/latest/userguide/complete-request-schema.html. gpt-oss:
//! docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html. The others:
//! `reasoning_effort_additional_fields` and the profiles of models in AWS's langchain-aws 1.9.

use super::model::{Choice, Family, family};
use super::offer::Offer;
use super::own::Own;
use crate::base::error::{Error, Kind};
use crate::base::json::{Count, Number, Writer};
use crate::chat::{Effort, LeftOut, ReasoningMode, Request};
use crate::dialect::claude::{self, Version};

/// What one request says to its model in words of the model's own.
pub struct Extra<'a> {
    thinking: Thinking<'a>,
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
enum Thinking<'a> {
    /// Not a word.
    Unsaid,
    Claude(claude::Words<'a>),
    /// Nova 2: `reasoningConfig`.
    Nova(&'static str),
    /// gpt-oss, Kimi, DeepSeek: `reasoning_effort`.
    Effort(&'static str),
    /// OpenAI's own models: `reasoning`.
    Gpt(&'static str),
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

/// The first Claude on Bedrock that can be told to make one call at most; older ones refuse it ("extraneous
/// key [disable_parallel_tool_use] is not permitted", anthropic-sdk-python issue 739).
const SINGLE: Version = Version(4, 5);

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
    /// Chooses the words for a request to the model `base` that makes this offer of tools; notes what the model has
    /// none for.
    pub fn choose(request: &Request<'a>, offer: &Offer<'_, '_>, base: &str, left_out: &mut LeftOut) -> Self {
        let family = family(base);
        let sampling = &request.sampling;
        let version = family.claude();
        let mut chosen = Self {
            thinking: Thinking::Unsaid,
            effort: None,
            top_k: None,
            single: None,
            betas: Vec::new(),
            name_stop: version.is_some() && sampling.name_stop && !sampling.stop.is_empty(),
            room: None,
            temperature: sampling.temperature,
            top_p: sampling.top_p,
        };
        if matches!(family, Family::Claude(_) | Family::Untold) {
            let name = version.and_then(|_| claude::name(base));
            let words = claude::Words::choose(request, name, offer.choice.is_some(), left_out);
            (chosen.effort, chosen.room) = (words.effort, words.room);
            (chosen.temperature, chosen.top_p) = (words.temperature, words.top_p);
            chosen.top_k = words.top_k.filter(|_| version.is_some()).map(|top_k| (TopK::Claude, top_k));
            if words.thinking != claude::Thinking::Unsaid {
                chosen.thinking = Thinking::Claude(words);
            }
        } else {
            chosen.thinking = think(request, family, offer.choice.is_some(), left_out);
            if request.reasoning.effort.is_some() && matches!(chosen.thinking, Thinking::Unsaid) {
                left_out.note(request.spelling.effort);
            }
            // "Unsupported parameter", where it reasons.
            if family == Family::Gpt && !matches!(chosen.thinking, Thinking::Gpt("none")) {
                chosen.temperature = unless_picked(chosen.temperature, "temperature", left_out);
                chosen.top_p = unless_picked(chosen.top_p, "top_p", left_out);
            }
            // "Temperature, topP and topK cannot be used with maxReasoningEffort set to high": the user guide of
            // Nova 2.
            let is_high = matches!(chosen.thinking, Thinking::Nova("high"));
            for (given, name) in [(&mut chosen.temperature, "temperature"), (&mut chosen.top_p, "top_p")] {
                if given.take_if(|_| is_high).is_some() {
                    left_out.note(name);
                }
            }
            let takes = matches!(family, Family::Nova | Family::Nova2) && !is_high;
            chosen.top_k = sampling.top_k.filter(|_| takes).map(|top_k| (TopK::Nova, top_k));
        }
        if sampling.top_k.is_some() && chosen.top_k.is_none() {
            left_out.note("top_k");
        }
        if request.parallel_tool_calls == Some(false) && !offer.tools.is_empty() {
            if version.is_some_and(|version| version >= SINGLE) {
                chosen.single = Some(match offer.choice {
                    None | Some(Choice::None) => Single::OfItsOwn,
                    Some(Choice::Any | Choice::Named) => Single::Beside,
                });
            } else {
                left_out.note(request.spelling.parallel);
            }
        }
        let (known, others): (Vec<&str>, Vec<&str>) =
            request.betas.iter().copied().partition(|beta| version.is_some() && BETAS.contains(beta));
        chosen.betas = known;
        if !others.is_empty() {
            left_out.note("anthropic-beta");
        }
        // Most models refuse a tool that has the member (litellm#31943, #32455), and those that take it refuse
        // ordinary schemas with it (#39115); agents' SDKs put it on every tool.
        if request.tools.iter().any(|tool| tool.strict == Some(true)) {
            left_out.note(request.spelling.strict);
        }
        chosen
    }

    /// The names of the members that [`Extra::fields`] writes.
    fn names(&self) -> Vec<&'static str> {
        let thinking = match self.thinking {
            Thinking::Unsaid => None,
            Thinking::Claude(_) => Some("thinking"),
            Thinking::Nova(_) => Some("reasoningConfig"),
            Thinking::Effort(_) => Some("reasoning_effort"),
            Thinking::Gpt(_) => Some("reasoning"),
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
        match &self.thinking {
            Thinking::Unsaid => {}
            Thinking::Claude(words) => words.write_thinking(w),
            Thinking::Nova(effort) => w.key("reasoningConfig").object(|w| {
                w.key("type").string("enabled");
                w.key("maxReasoningEffort").string(effort);
            }),
            Thinking::Effort(effort) => w.key("reasoning_effort").string(effort),
            Thinking::Gpt(effort) => w.key("reasoning").object(|w| w.key("effort").string(effort)),
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
fn think<'a>(request: &Request<'_>, family: Family, forced: bool, left_out: &mut LeftOut) -> Thinking<'a> {
    let Some(mode) = request.reasoning.mode else { return Thinking::Unsaid };
    let effort = request.reasoning.effort_of(mode);
    match (family, mode) {
        (Family::Gpt, ReasoningMode::Off) => return Thinking::Gpt("none"),
        // These always think.
        (Family::GptOss | Family::Kimi, ReasoningMode::Off) => {
            left_out.note(request.spelling.thinking);
            return Thinking::Effort("low");
        }
        // All that can be turned off is off unless asked for.
        (_, ReasoningMode::Off) => return Thinking::Unsaid,
        (Family::Nova2, _) => {
            // With `high` it takes no bound of the reply's length.
            let most = if request.sampling.max_tokens.is_some() { Effort::Medium } else { Effort::High };
            return Thinking::Nova(three_words(effort.min(most)));
        }
        (Family::GptOss, _) => return Thinking::Effort(three_words(effort)),
        (Family::Gpt, _) if effort > Effort::High => return Thinking::Gpt("xhigh"),
        (Family::Gpt, _) => return Thinking::Gpt(three_words(effort)),
        (Family::Kimi, _) => return Thinking::Effort(if effort > Effort::Low { "high" } else { "low" }),
        // Its one word: whatever is less does not make it think, and then it does as it likes although it is made to
        // call a tool (langchain-ai/langchain-aws#1261).
        (Family::DeepSeek, _) if effort > Effort::Low && !forced => return Thinking::Effort("high"),
        (Family::DeepSeek | Family::Nova | Family::Other | Family::Claude(_) | Family::Untold, _) => {}
    }
    left_out.note(request.spelling.thinking);
    Thinking::Unsaid
}

/// A number that a model which picks its words by itself takes: the default.
fn unless_picked<'a>(
    number: Option<Number<'a>>,
    name: &'static str,
    left_out: &mut LeftOut,
) -> Option<Number<'a>> {
    if number.is_some_and(|number| number.value() != 1.0) {
        left_out.note(name);
    }
    None
}

fn three_words(effort: Effort) -> &'static str {
    match effort {
        Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::ExtraHigh | Effort::Max => "high",
    }
}
