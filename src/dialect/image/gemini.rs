//! Gemini's image models on Vertex AI: `:generateContent` that answers with an image.
//!
//! docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/image-generation;
//! `GenerationConfig.imageConfig` as in google-genai's types.

use serde::Deserialize;

use super::shape::{Shape, Tier, fit, shape, sized};
use super::words::{Rule, Word, choose};
use super::{Made, NO_BUCKET, Portion};
use crate::base::error::{Error, Kind};
use crate::base::json::{Str, Text, Writer};
use crate::chat::LeftOut;
use crate::dialect::fates::Fate::{self, Dropped, Mapped};
use crate::dialect::fates::{NO_ANIMATION, NO_STREAM, NO_TRANSPARENCY, NO_VECTORS};
use crate::image::{Format, Image, Images, Request, Usage};

/// Fields of `POST /v1/images/generations`.
pub const FATES: &[(&str, Fate)] = &[
    ("model", Mapped("the model of the path")),
    ("prompt", Mapped("`contents`")),
    ("n", Mapped("a call for each")),
    ("size", Mapped("`generationConfig.imageConfig.aspectRatio`, `.imageSize`")),
    ("quality", Dropped),
    ("style", Dropped),
    ("response_format", Mapped("`b64_json`; `url` is refused")),
    (
        "output_format",
        Mapped(
            "`generationConfig.imageConfig.imageOutputOptions.mimeType`: `png`, `jpeg`; others are refused",
        ),
    ),
    ("output_compression", Mapped("`generationConfig.imageConfig.imageOutputOptions.compressionQuality`")),
    ("background", NO_TRANSPARENCY),
    ("moderation", Dropped),
    ("stream", NO_STREAM),
    ("partial_images", NO_STREAM),
    ("user", Dropped),
    ("safety_identifier", Dropped),
    ("complexity", Dropped),
    ("frame_count", NO_ANIMATION),
    ("frame_duration_ms", NO_ANIMATION),
    ("svg", NO_VECTORS),
];

/// What clients may say to the models themselves. The names with underscores are those of Google's SDKs.
pub const WORDS: &[Word] = &[
    Word { name: "seed", aliases: &[], rule: Rule::Whole(0, 2_147_483_647) },
    Word {
        name: "aspectRatio",
        aliases: &["aspect_ratio"],
        rule: Rule::OneOf(&[
            "1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9", "1:4", "4:1", "1:8",
            "8:1",
        ]),
    },
    Word { name: "imageSize", aliases: &["image_size"], rule: Rule::OneOf(&["512", "1K", "2K", "4K"]) },
    Word {
        name: "personGeneration",
        aliases: &["person_generation"],
        rule: Rule::OneOf(&["ALLOW_ALL", "ALLOW_ADULT", "ALLOW_NONE"]),
    },
    Word { name: "safetySettings", aliases: &["safety_settings"], rule: Rule::List },
    Word { name: "labels", aliases: &[], rule: Rule::Labels },
    Word {
        name: "imageConfig",
        aliases: &["image_config"],
        rule: Rule::Refused("say its members themselves, such as `aspect_ratio` and `image_size`"),
    },
    NO_BUCKET,
];

/// Of the other shapes the documentation has pixels that differ from page to page.
const SHAPES: &[Shape] = &[
    sized("1:1", (1, 1), (1024, 1024)),
    shape("2:3", (2, 3)),
    shape("3:2", (3, 2)),
    shape("3:4", (3, 4)),
    shape("4:3", (4, 3)),
    shape("4:5", (4, 5)),
    shape("5:4", (5, 4)),
    shape("9:16", (9, 16)),
    shape("16:9", (16, 9)),
    shape("21:9", (21, 9)),
];

/// Gemini 3 and later make images of twice and four times the sides, too.
const TIERS: &[Tier] = &[("1K", 1), ("2K", 2), ("4K", 4)];
const ONE_TIER: &[Tier] = &[("1K", 1)];

/// Writes the body of `:generateContent`.
///
/// # Errors
/// What the model does not make, by its path.
pub fn write(
    request: &Request<'_>,
    model: &str,
    portion: Portion,
    out: &mut Vec<u8>,
) -> Result<LeftOut, Error> {
    let mut left_out = LeftOut::default();
    let words = choose(&request.extra, WORDS, "Gemini's image model")?;
    if request.format == Some(Format::Webp) {
        return Err(Error::at(Kind::Unsupported, "output_format", "must be `png` or `jpeg` for this model"));
    }
    let fitted = match request.size {
        Some(size) => {
            super::size_or_ratio(words.get("aspectRatio").or(words.get("imageSize")))?;
            let tiers = if model.starts_with("gemini-2") { ONE_TIER } else { TIERS };
            let fitted = fit(size, SHAPES, tiers)?;
            if !fitted.exact {
                left_out.note("size");
            }
            Some(fitted)
        }
        None => None,
    };
    let image_words = ["aspectRatio", "imageSize", "personGeneration"];
    let has_config = fitted.is_some()
        || request.format.is_some()
        || image_words.iter().any(|name| words.get(name).is_some());
    Writer::new(out).object(|w| {
        w.key("contents").array(|w| {
            w.object(|w| {
                w.key("role").string("user");
                w.key("parts").array(|w| w.object(|w| w.key("text").text(request.prompt)));
            });
        });
        w.key("generationConfig").object(|w| {
            w.key("responseModalities").array(|w| w.string("IMAGE"));
            words.write_seed(portion.before, None, w);
            if !has_config {
                return;
            }
            w.key("imageConfig").object(|w| {
                if let Some(fitted) = fitted {
                    w.key("aspectRatio").string(fitted.shape);
                    if let Some(tier) = fitted.tier {
                        w.key("imageSize").string(tier);
                    }
                }
                for name in image_words {
                    words.write(name, w);
                }
                if let Some(format) = request.format {
                    w.key("imageOutputOptions").object(|w| {
                        w.key("mimeType").string(format.media_type());
                        if let Some(compression) = request.compression {
                            w.key("compressionQuality").token(compression.token());
                        }
                    });
                }
            });
        });
        for name in ["safetySettings", "labels"] {
            words.write(name, w);
        }
    });
    Ok(left_out)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply<'a> {
    #[serde(borrow)]
    candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow)]
    prompt_feedback: Option<PromptFeedback<'a>>,
    #[serde(borrow)]
    usage_metadata: Option<Counts<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow)]
    content: Option<Content<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    parts: Option<Vec<Part<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    /// It is a sketch that the model made while it thought.
    thought: Option<bool>,
    #[serde(borrow)]
    inline_data: Option<Data<'a>>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    data: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback<'a> {
    #[serde(borrow)]
    block_reason: Option<Str<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts<'a> {
    prompt_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    #[serde(borrow)]
    prompt_tokens_details: Option<Vec<Detail<'a>>>,
    #[serde(borrow)]
    candidates_tokens_details: Option<Vec<Detail<'a>>>,
}

/// How many tokens were of one kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    #[serde(borrow)]
    modality: Option<Str<'a>>,
    token_count: Option<u64>,
}

/// Reads a reply of status 200.
pub fn decode(body: &str) -> Made<'_> {
    let reply: Reply<'_> = super::reply(body, "Vertex AI")?;
    let mut images = Images { usage: reply.usage_metadata.as_ref().map(usage), ..Images::default() };
    let blocked = reply.prompt_feedback.and_then(|feedback| feedback.block_reason);
    if blocked.is_some_and(|reason| reason.as_str() != "BLOCKED_REASON_UNSPECIFIED") {
        images.withheld = 1;
        images.reason = Some(Text::from_escaped("the prompt was blocked"));
        return Ok(images);
    }
    for candidate in reply.candidates.into_iter().flatten() {
        let parts = candidate.content.and_then(|content| content.parts).into_iter().flatten();
        for part in parts.filter(|part| part.thought != Some(true)) {
            if let Some(data) = part.inline_data.and_then(|inline| inline.data) {
                images.images.push(Image { data, prompt: None });
            }
        }
        if let Some(reason) = candidate.finish_reason.as_ref().and_then(|reason| filtered(reason.as_str())) {
            images.withheld = 1;
            images.reason = Some(Text::from_escaped(reason));
        }
    }
    if images.images.is_empty() && images.withheld == 0 {
        // Finish reason NO_IMAGE and its like, or words in the place of an image.
        return Err(Error::new(
            Kind::UpstreamFailed,
            "Gemini made no image; try again, or say more in `prompt`",
        ));
    }
    Ok(images)
}

/// The name of a filter; `None` for any other end.
fn filtered(reason: &str) -> Option<&'static str> {
    const FILTERS: &[&str] = &[
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MODEL_ARMOR",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    ];
    FILTERS.iter().find(|known| **known == reason).copied()
}

fn usage(counts: &Counts<'_>) -> Usage {
    let images = |details: &Option<Vec<Detail<'_>>>| {
        let of_images =
            |detail: &&Detail<'_>| detail.modality.as_ref().is_some_and(|it| it.as_str() == "IMAGE");
        let counts = details.iter().flatten().filter(of_images).filter_map(|detail| detail.token_count);
        counts.fold(0, u64::saturating_add)
    };
    let output = counts.candidates_token_count.unwrap_or(0);
    Usage {
        input: counts.prompt_token_count.unwrap_or(0),
        input_images: images(&counts.prompt_tokens_details),
        output: output.saturating_add(counts.thoughts_token_count.unwrap_or(0)),
        output_images: images(&counts.candidates_tokens_details),
    }
}
