//! How much a Gemini model is to think: budgets up to 2.5, levels from 3 on.
//!
//! docs.cloud.google.com/vertex-ai/generative-ai/docs/thinking; the budgets that stand for words are those
//! of Google's own OpenAI endpoint, ai.google.dev/gemini-api/docs/openai#thinking.

use super::request::{GEMINI_3, generation};
use crate::base::json::Writer;
use crate::chat::{Effort, LeftOut, Reasoning, ReasoningMode, Request};

/// `generationConfig.thinkingConfig`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Config {
    amount: Amount,
    /// `includeThoughts`: what was thought is told in the reply.
    shown: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Amount {
    /// As much as the question needs: a budget of -1.
    Dynamic,
    Budget(u64),
    Level(&'static str),
}

impl Config {
    pub fn write(self, w: &mut Writer<'_>) {
        match self.amount {
            Amount::Dynamic => w.key("thinkingBudget").token("-1"),
            Amount::Budget(budget) => w.key("thinkingBudget").number(budget),
            Amount::Level(level) => w.key("thinkingLevel").string(level),
        }
        if self.shown {
            w.key("includeThoughts").bool(true);
        }
    }
}

/// Whether a model is of the generations that think and check the arguments of their calls.
pub fn is_2_5_or_later(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    generation(model) >= GEMINI_3 || name.starts_with("gemini-2.5")
}

/// Chooses for a request; notes what the model has no word for.
pub fn choose(model: &str, request: &Request<'_>, left_out: &mut LeftOut) -> Option<Config> {
    let reasoning = &request.reasoning;
    let mode = match (reasoning.mode, reasoning.effort) {
        (Some(mode), _) => mode,
        // To Gemini the trouble that it takes is the thinking.
        (None, Some(_)) => ReasoningMode::Adaptive,
        (None, None) => return None,
    };
    let name = model.rsplit('/').next().unwrap_or(model);
    let amount = match generation(model) {
        GEMINI_3.. => Amount::Level(level(name, reasoning, mode)),
        2 if name.starts_with("gemini-2.5") => budget(name, request, mode),
        _ if mode == ReasoningMode::Off => return None,
        _ => {
            left_out.note(request.spelling.thinking);
            return None;
        }
    };
    // A model that always thinks gets the least that it takes.
    if mode == ReasoningMode::Off && matches!(amount, Amount::Level("LOW") | Amount::Budget(1..)) {
        left_out.note(request.spelling.thinking);
    }
    let asked = reasoning.mode.is_some() && mode != ReasoningMode::Off;
    Some(Config { amount, shown: asked && reasoning.shown.unwrap_or(true) })
}

/// The words of Gemini 3 and later; Gemini 3 Pro knows no `MEDIUM`.
fn level(name: &str, reasoning: &Reasoning<'_>, mode: ReasoningMode<'_>) -> &'static str {
    let effort = if mode == ReasoningMode::Off { Effort::Minimal } else { reasoning.effort_of(mode) };
    match effort {
        Effort::Minimal if knows_minimal(name) => "MINIMAL",
        Effort::Minimal | Effort::Low => "LOW",
        Effort::Medium if name.starts_with("gemini-3-pro") => "HIGH",
        Effort::Medium => "MEDIUM",
        Effort::High | Effort::ExtraHigh | Effort::Max => "HIGH",
    }
}

/// Flash-Lite does, and Flash up to 3.6: "'minimal' is not a supported thinking level for this model"
/// (fishjar/kiss-translator#1048, BerriAI/litellm-docs#1505).
fn knows_minimal(name: &str) -> bool {
    let version = name.strip_prefix("gemini-3").unwrap_or_default();
    let minor = version.strip_prefix('.').and_then(|rest| rest.split('-').next()).unwrap_or("0");
    name.contains("-lite") || (version.contains("-flash") && minor.parse().is_ok_and(|minor: u32| minor <= 6))
}

/// A budget within the bounds of the model.
fn budget(name: &str, request: &Request<'_>, mode: ReasoningMode<'_>) -> Amount {
    let (least, most) = if name.contains("-pro") {
        (128, 32768)
    } else if name.contains("-lite") {
        (512, 24576)
    } else {
        (1, 24576)
    };
    // The thoughts count towards the length of the reply, and half of it is left for the answer.
    let half = request.sampling.max_tokens.map_or(u64::MAX, |most| most.value() / 2);
    let wanted = match (mode, request.reasoning.effort) {
        // Pro always thinks.
        (ReasoningMode::Off, _) if name.contains("-pro") => least,
        (ReasoningMode::Off, _) => return Amount::Budget(0),
        (ReasoningMode::Budget(budget), _) => budget.value(),
        (ReasoningMode::Adaptive, None) => return Amount::Dynamic,
        (ReasoningMode::Adaptive, Some(effort)) => half.min(match effort {
            Effort::Minimal | Effort::Low => 1024,
            Effort::Medium => 8192,
            Effort::High => 24576,
            Effort::ExtraHigh | Effort::Max => most,
        }),
    };
    Amount::Budget(wanted.clamp(least, most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::json::Count;
    use crate::dialect::{Aside, Client};

    fn chosen(model: &str, reasoning: Reasoning<'static>) -> (String, Vec<&'static str>) {
        let body = br#"{"model":"m","messages":[{"role":"user","content":"Hello"}]}"#;
        let aside = Aside::default();
        let mut request = Client::OpenAi.parse(body, &aside).unwrap().request;
        request.reasoning = reasoning;
        let mut left_out = LeftOut::default();
        let config = choose(model, &request, &mut left_out);
        let mut out = Vec::new();
        if let Some(config) = config {
            Writer::new(&mut out).object(|w| config.write(w));
        }
        (String::from_utf8(out).unwrap(), left_out.0)
    }

    fn with(mode: ReasoningMode<'static>, effort: Option<Effort>) -> Reasoning<'static> {
        Reasoning { mode: Some(mode), effort, shown: None }
    }

    fn tokens(digits: &'static str) -> ReasoningMode<'static> {
        ReasoningMode::Budget(serde_json::from_str::<Count<'_>>(digits).unwrap())
    }

    #[test]
    fn every_way_to_ask_for_thoughts_has_a_word_in_every_generation() {
        use Effort::{High, Low, Max, Medium, Minimal};
        use ReasoningMode::{Adaptive, Off};
        for (mode, effort, flash_25, pro_25, flash_3, pro_3) in [
            (Off, None, "0", "128", "MINIMAL", "LOW"),
            (Adaptive, None, "-1", "-1", "HIGH", "HIGH"),
            (Adaptive, Some(Minimal), "1024", "1024", "MINIMAL", "LOW"),
            (Adaptive, Some(Low), "1024", "1024", "LOW", "LOW"),
            (Adaptive, Some(Medium), "8192", "8192", "MEDIUM", "HIGH"),
            (Adaptive, Some(High), "24576", "24576", "HIGH", "HIGH"),
            (Adaptive, Some(Max), "24576", "32768", "HIGH", "HIGH"),
            (tokens("2000"), None, "2000", "2000", "LOW", "LOW"),
            (tokens("90000"), None, "24576", "32768", "HIGH", "HIGH"),
            (tokens("4096"), Some(Low), "4096", "4096", "LOW", "LOW"),
        ] {
            let shown = if mode == Off { "" } else { r#","includeThoughts":true"# };
            for (model, expected) in [
                ("gemini-2.5-flash", format!(r#"{{"thinkingBudget":{flash_25}{shown}}}"#)),
                ("gemini-2.5-pro", format!(r#"{{"thinkingBudget":{pro_25}{shown}}}"#)),
                ("gemini-3-flash-preview", format!(r#"{{"thinkingLevel":"{flash_3}"{shown}}}"#)),
                ("gemini-3-pro-preview", format!(r#"{{"thinkingLevel":"{pro_3}"{shown}}}"#)),
            ] {
                let always_thinks = model.contains("-pro");
                let left_out = if mode == Off && always_thinks { vec!["reasoning_effort"] } else { vec![] };
                let got = chosen(model, with(mode, effort));
                assert_eq!(got, (expected, left_out), "{model} {mode:?} {effort:?}");
            }
        }
        for (model, least) in [
            ("gemini-3.6-flash", "MINIMAL"),
            ("gemini-3.7-flash", "LOW"),
            ("gemini-3.8-flash", "LOW"),
            ("gemini-3.8-flash-lite", "MINIMAL"),
            ("gemini-flash-latest", "LOW"),
            ("gemini-4-flash", "LOW"),
        ] {
            let left_out = if least == "LOW" { vec!["reasoning_effort"] } else { vec![] };
            let got = chosen(model, with(Off, None));
            assert_eq!(got, (format!(r#"{{"thinkingLevel":"{least}"}}"#), left_out), "{model}");
        }
        assert_eq!(
            chosen("gemini-3.1-pro-preview", with(Adaptive, Some(Medium))).0,
            r#"{"thinkingLevel":"MEDIUM","includeThoughts":true}"#
        );
    }

    #[test]
    fn a_model_that_does_not_think_is_not_asked_to_and_the_client_is_told() {
        let none = || String::new();
        let adaptive = with(ReasoningMode::Adaptive, Some(Effort::High));
        assert_eq!(chosen("gemini-2.0-flash-001", adaptive), (none(), vec!["reasoning_effort"]));
        assert_eq!(chosen("gemini-2.0-flash-001", with(ReasoningMode::Off, None)), (none(), vec![]));
        assert_eq!(chosen("gemini-2.5-flash", Reasoning::default()), (none(), vec![]));
    }

    #[test]
    fn thoughts_are_told_only_to_those_who_asked_to_see_them() {
        let hidden = Reasoning { shown: Some(false), ..with(ReasoningMode::Adaptive, None) };
        assert_eq!(chosen("gemini-2.5-flash", hidden).0, r#"{"thinkingBudget":-1}"#);
        let effort = Reasoning { mode: None, effort: Some(Effort::Low), shown: None };
        assert_eq!(chosen("gemini-2.5-flash", effort).0, r#"{"thinkingBudget":1024}"#);
    }
}
