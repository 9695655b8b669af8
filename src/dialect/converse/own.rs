//! What a client says to Bedrock in Bedrock's own words, and what stands beside the conversation:
//! guardrails, tiers, metadata, variables of prompts. Shapes are those of botocore's model of Converse, and of
//! InvokeModel, which takes some of them as headers.

use serde_json::value::RawValue;

use crate::base::error::{Error, Kind};
use crate::base::json::{self, Fields, Str, Text, Writer, wrong_type};
use crate::chat::{Extra, Format, LeftOut, Request, Tier};
use crate::dialect::{HeaderList, extra};

/// `AdditionalModelResponseFieldPathsList` and its items have at most so many members.
const MOST_PATHS: usize = 10;
const LONGEST_PATH: usize = 256;

/// `RequestMetadata` and its keys and values have at most so many members.
const MOST_METADATA: usize = 16;
const LONGEST_METADATA: usize = 256;

/// The words of one request, checked.
#[derive(Default)]
pub struct Own<'r> {
    guardrail: Members<'r>,
    performance: Option<&'r RawValue>,
    metadata: Option<&'r RawValue>,
    variables: Option<&'r RawValue>,
    tier: Option<&'static str>,
    /// `additionalModelRequestFields`, and where the client wrote it.
    pub fields: Members<'r>,
    pub fields_path: &'r str,
    /// `additionalModelResponseFieldPaths`.
    pub paths: Vec<Text<'r>>,
}

/// Members of an object, in order.
type Members<'r> = Vec<(Str<'r>, &'r RawValue)>;

/// `model` is the ARN of a prompt of Bedrock's Prompt management.
pub fn is_prompt(model: &str) -> bool {
    model.starts_with("arn:") && model.contains(":prompt/")
}

impl<'r> Own<'r> {
    /// Gathers and checks them.
    ///
    /// # Errors
    /// The first that Converse does not take, by its path.
    pub fn read(request: &'r Request<'r>, model: &str, left_out: &mut LeftOut) -> Result<Self, Error> {
        let mut own =
            Self::gather(&request.extra, request.tier, request.delivery.is_stream(), model, left_out)?;
        match request.metadata.filter(|raw| !matches!(raw.get(), "{}" | "null")) {
            Some(metadata) if own.metadata.is_none() && is_metadata(metadata) => {
                own.metadata = Some(metadata);
            }
            Some(_) => left_out.note("metadata"),
            None => {}
        }
        Ok(own)
    }

    fn gather(
        extra: &'r [Extra<'r>],
        asked: Option<Tier>,
        stream: bool,
        model: &str,
        left_out: &mut LeftOut,
    ) -> Result<Self, Error> {
        let mut own = Self { tier: asked.and_then(tier), ..Self::default() };
        for (index, field) in extra.iter().enumerate() {
            let name = field.name.as_str();
            if extra.iter().take(index).any(|other| other.name == field.name) {
                return Err(wrong(&field.path, "is said twice; leave one of them out"));
            }
            match name {
                "guardrailConfig" => {
                    own.guardrail = guardrail(field, stream, left_out)?;
                }
                "performanceConfig" => {
                    members(field, &[("latency", &["standard", "optimized"])])?;
                    own.performance = Some(field.value);
                }
                "requestMetadata" => {
                    if !is_metadata(field.value) {
                        let problem = "must be 1 to 16 pairs of strings of up to 256 letters, digits, white \
                            space and `:_@$#=/+,-.`";
                        return Err(wrong(&field.path, problem));
                    }
                    own.metadata = Some(field.value);
                }
                "promptVariables" => {
                    check_variables(field, model)?;
                    own.variables = Some(field.value);
                }
                "serviceTier" => {
                    if own.tier.is_some() {
                        let problem = "is said by `service_tier` too; leave one of them out";
                        return Err(wrong(&field.path, problem));
                    }
                    own.tier = service_tier(field)?;
                }
                "additionalModelRequestFields" => {
                    (own.fields, own.fields_path) = (object(field)?.0, &field.path);
                }
                "additionalModelResponseFieldPaths" => own.paths = paths(field)?,
                _ => return Err(extra::refusal(field, "Bedrock's Converse")),
            }
        }
        Ok(own)
    }

    /// Writes all but what is for the model itself.
    pub fn write(&self, w: &mut Writer<'_>) {
        if !self.guardrail.is_empty() {
            w.key("guardrailConfig").object(|w| {
                self.guardrail.iter().for_each(|(name, value)| w.foreign_key(name.as_str()).raw(value));
            });
        }
        let raws = [
            ("performanceConfig", self.performance),
            ("requestMetadata", self.metadata),
            ("promptVariables", self.variables),
        ];
        for (key, raw) in raws {
            if let Some(raw) = raw {
                w.key(key).raw(raw);
            }
        }
        if let Some(tier) = self.tier {
            w.key("serviceTier").object(|w| w.key("type").string(tier));
        }
    }
}

/// What InvokeModel takes of it, as headers; the others belong to Converse.
///
/// # Errors
/// The first that InvokeModel does not take, by its path.
pub fn headers(extra: &[Extra<'_>], tier: Option<Tier>, left_out: &mut LeftOut) -> Result<HeaderList, Error> {
    const TAKEN: &[&str] = &["guardrailConfig", "performanceConfig", "requestMetadata", "serviceTier"];
    if let Some(field) = extra.iter().find(|field| !TAKEN.contains(&field.name.as_str())) {
        return Err(extra::refusal(field, "Bedrock's InvokeModel"));
    }
    // How the pieces of a stream are looked at has no header: they are held until they were looked at.
    let own = Own::gather(extra, tier, false, "", left_out)?;
    let mut headers = Vec::new();
    for (name, value) in &own.guardrail {
        let text = Text::from_raw(value).map(Text::unescape).unwrap_or_default();
        headers.push(match name.as_str() {
            "guardrailIdentifier" => ("x-amzn-bedrock-guardrailidentifier", text.into_owned()),
            "guardrailVersion" => ("x-amzn-bedrock-guardrailversion", text.into_owned()),
            _ => ("x-amzn-bedrock-trace", text.to_ascii_uppercase()),
        });
    }
    let latency = own.performance.and_then(|raw| json::read::<Fields<'_>>(raw.get()).ok());
    if let Some(latency) = latency.as_ref().and_then(|members| Text::from_raw(members.get("latency")?)) {
        headers.push(("x-amzn-bedrock-performanceconfig-latency", latency.escaped().to_owned()));
    }
    if let Some(tier) = own.tier {
        headers.push(("x-amzn-bedrock-service-tier", tier.to_owned()));
    }
    if let Some(Ok(Fields(pairs))) = own.metadata.map(|raw| json::read(raw.get())) {
        // Without the line ends that a client may have set between the pairs.
        let mut text = Vec::new();
        Writer::new(&mut text).object(|w| {
            pairs.iter().for_each(|(name, value)| w.foreign_key(name.as_str()).raw(value));
        });
        headers.push(("x-amzn-bedrock-request-metadata", String::from_utf8(text).unwrap_or_default()));
    }
    Ok(headers)
}

fn wrong(path: &str, problem: &str) -> Error {
    Error::at(Kind::WrongValue, path.to_owned(), problem)
}

/// `ServiceTierType`. The standard one comes by itself, and to name it may be refused by a model that has
/// no others.
fn tier(tier: Tier) -> Option<&'static str> {
    match tier {
        Tier::Standard => None,
        Tier::Priority => Some("priority"),
        Tier::Flex => Some("flex"),
        Tier::Reserved => Some("reserved"),
    }
}

fn object<'r>(field: &'r Extra<'r>) -> Result<Fields<'r>, Error> {
    json::read(field.value.get())
        .map_err(|_| Error::at(Kind::WrongType, field.path.clone(), &wrong_type(field.value, "an object")))
}

/// An object whose members are strings, each one of a few words, or any where none are listed.
fn members<'r>(field: &'r Extra<'r>, known: &[(&str, &[&str])]) -> Result<Fields<'r>, Error> {
    let fields = object(field)?;
    for (name, value) in &fields.0 {
        let path = format!("{}.{}", field.path, name.as_str());
        let Some((_, words)) = known.iter().find(|(known, _)| *known == name.as_str()) else {
            let known: Vec<&str> = known.iter().map(|(known, _)| *known).collect();
            return Err(wrong(&path, &format!("is no member of it; there is {}", known.join(", "))));
        };
        let Some(text) = Text::from_raw(value) else {
            return Err(Error::at(Kind::WrongType, path, &wrong_type(value, "a string")));
        };
        if !words.is_empty() && !words.contains(&text.escaped()) {
            return Err(wrong(&path, &format!("must be {}", words.join(" or "))));
        }
    }
    Ok(fields)
}

/// `GuardrailConfiguration`, or `GuardrailStreamConfiguration`, which has one member more. It tells how the
/// pieces of a stream are looked at, so that a whole reply is the same without it.
fn guardrail<'r>(field: &'r Extra<'r>, stream: bool, left_out: &mut LeftOut) -> Result<Members<'r>, Error> {
    const MODE: &str = "streamProcessingMode";
    let Fields(mut given) = members(
        field,
        &[
            ("guardrailIdentifier", &[]),
            ("guardrailVersion", &[]),
            ("trace", &["enabled", "disabled", "enabled_full"]),
            (MODE, &["sync", "async"]),
        ],
    )?;
    for (name, value) in given.iter().filter(|(name, _)| name.as_str().starts_with("guardrail")) {
        // It may have to stand in a header.
        let is_good = |c: char| c.is_ascii_alphanumeric() || ":/-".contains(c);
        if Text::from_raw(value).is_some_and(|text| !text.unescape().chars().all(is_good)) {
            let path = format!("{}.{}", field.path, name.as_str());
            return Err(wrong(
                &path,
                "must be the id or the ARN of a guardrail, and its version a number or DRAFT",
            ));
        }
    }
    if !stream && given.iter().any(|(name, _)| name.as_str() == MODE) {
        given.retain(|(name, _)| name.as_str() != MODE);
        left_out.note("guardrailConfig.streamProcessingMode");
    }
    Ok(given)
}

fn service_tier(field: &Extra<'_>) -> Result<Option<&'static str>, Error> {
    const TIERS: &[&str] = &["default", "priority", "flex", "reserved"];
    let fields = members(field, &[("type", TIERS)])?;
    let given = fields.0.first().and_then(|(_, value)| Text::from_raw(value));
    let Some(given) = given else {
        return Err(Error::at(
            Kind::Missing,
            format!("{}.type", field.path),
            "is missing; it names the tier",
        ));
    };
    Ok(TIERS.iter().copied().find(|tier| *tier == given.escaped()))
}

/// `PromptVariableMap`. Bedrock ignores it beside a model that is no prompt.
fn check_variables(field: &Extra<'_>, model: &str) -> Result<(), Error> {
    if !is_prompt(model) {
        let problem = "fills in a prompt, but this model is none: its name must be the ARN of a prompt";
        return Err(wrong(&field.path, problem));
    }
    for (name, value) in object(field)?.0 {
        let text = json::read::<Fields<'_>>(value.get()).ok();
        let text = text.as_ref().and_then(|Fields(members)| match members.as_slice() {
            [(key, text)] if key.as_str() == "text" => Text::from_raw(text),
            _ => None,
        });
        if text.is_none() {
            let path = format!("{}.{}", field.path, name.as_str());
            return Err(Error::at(Kind::WrongType, path, "must be an object such as {\"text\":\"…\"}"));
        }
    }
    Ok(())
}

fn paths<'r>(field: &'r Extra<'r>) -> Result<Vec<Text<'r>>, Error> {
    let paths: Result<Vec<Text<'r>>, _> = json::read(field.value.get());
    let fits = |path: &Text<'_>| path.escaped().starts_with('/') && path.escaped().len() <= LONGEST_PATH;
    match paths {
        Ok(paths) if paths.len() <= MOST_PATHS && paths.iter().all(fits) => Ok(paths),
        Ok(_) | Err(_) => {
            let problem = "must be up to 10 JSON pointers such as \"/stop_sequence\"";
            Err(wrong(&field.path, problem))
        }
    }
}

/// Whether an object can be a `RequestMetadata`.
fn is_metadata(raw: &RawValue) -> bool {
    let fits = |text: &str| {
        let allowed =
            |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":_@$#=/+,-.".contains(c);
        text.len() <= LONGEST_METADATA && text.chars().all(allowed)
    };
    let Ok(Fields(pairs)) = json::read::<Fields<'_>>(raw.get()) else { return false };
    (1..=MOST_METADATA).contains(&pairs.len())
        && pairs.iter().all(|(name, value)| {
            let value = Text::from_raw(value).map(Text::unescape);
            !name.as_str().is_empty() && fits(name.as_str()) && value.is_some_and(|value| fits(&value))
        })
}

/// Checks a request to a prompt of Prompt management, and notes what it leaves out: "If you use a prompt from
/// Prompt management, you can't include the following fields in the request: additionalModelRequestFields,
/// inferenceConfig, system, or toolConfig" (docs.aws.amazon.com/bedrock/latest/APIReference/
/// API_runtime_Converse.html).
///
/// # Errors
/// What would be missed, by its path.
pub fn leave_to_prompt(request: &Request<'_>, own: &Own<'_>, left_out: &mut LeftOut) -> Result<(), Error> {
    let spelling = request.spelling;
    if matches!(request.format, Format::JsonObject) {
        let problem = "this model is a prompt with instructions of its own; ask for JSON there";
        return Err(Error::at(Kind::Unsupported, spelling.format, problem));
    }
    if let Some(part) = request.system.first() {
        let problem = "this model is a prompt with instructions of its own; leave them out";
        return Err(part.place.error(Kind::Unsupported, "", problem));
    }
    for (said, path, problem) in [
        (!request.tools.is_empty(), "tools", "this model is a prompt with tools of its own; leave them out"),
        (
            !request.sampling.stop.is_empty(),
            spelling.stop,
            "this model is a prompt with stop sequences of its own; leave them out",
        ),
        (
            !own.fields.is_empty(),
            own.fields_path,
            "is not taken beside a prompt; set it in the prompt itself",
        ),
    ] {
        if said {
            return Err(Error::at(Kind::Unsupported, path.to_owned(), problem));
        }
    }
    let (sampling, reasoning) = (&request.sampling, &request.reasoning);
    for (said, name) in [
        (sampling.max_tokens.is_some(), spelling.max_tokens),
        (sampling.temperature.is_some(), "temperature"),
        (sampling.top_p.is_some(), "top_p"),
        (sampling.top_k.is_some(), "top_k"),
        (reasoning.mode.is_some(), spelling.thinking),
        (reasoning.effort.is_some(), spelling.effort),
        (!request.betas.is_empty(), "anthropic-beta"),
    ] {
        if said {
            left_out.note(name);
        }
    }
    Ok(())
}
