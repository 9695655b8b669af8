//! Google's Imagen on Vertex AI: `:predict`.
//!
//! docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/imagen-api and
//! …/docs/reference/rest/Shared.Types/VisionGenerativeModelParams.

use serde::Deserialize;

use super::shape::{Shape, Tier, fit, sized};
use super::words::{Rule, Word, Words, choose};
use super::{Made, NO_BUCKET, Portion};
use crate::base::error::{Error, Kind};
use crate::base::json::{Text, Writer};
use crate::chat::LeftOut;
use crate::dialect::fates::Fate::{self, Dropped, Mapped};
use crate::dialect::fates::{NO_ANIMATION, NO_STREAM, NO_TRANSPARENCY, NO_VECTORS};
use crate::image::{Format, Image, Images, Request};

/// Fields of `POST /v1/images/generations`.
pub const FATES: &[(&str, Fate)] = &[
    ("model", Mapped("the model of the path")),
    ("prompt", Mapped("`instances[0].prompt`")),
    ("n", Mapped("`parameters.sampleCount`; a call for each four")),
    ("size", Mapped("`parameters.aspectRatio`, `.sampleImageSize`")),
    ("quality", Dropped),
    ("style", Dropped),
    ("response_format", Mapped("`b64_json`; `url` is refused")),
    ("output_format", Mapped("`parameters.outputOptions.mimeType`: `png`, `jpeg`; others are refused")),
    ("output_compression", Mapped("`parameters.outputOptions.compressionQuality`")),
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
    Word { name: "negativePrompt", aliases: &["negative_prompt"], rule: Rule::Text(PROMPT) },
    Word { name: "seed", aliases: &[], rule: Rule::Whole(0, 2_147_483_647) },
    Word {
        name: "aspectRatio",
        aliases: &["aspect_ratio"],
        rule: Rule::OneOf(&["1:1", "3:4", "4:3", "9:16", "16:9"]),
    },
    Word {
        name: "sampleImageSize",
        aliases: &["image_size", "imageSize", "sample_image_size"],
        rule: Rule::OneOf(&["1K", "2K"]),
    },
    Word { name: "guidanceScale", aliases: &["guidance_scale"], rule: Rule::Number(0.0, 500.0) },
    Word {
        name: "personGeneration",
        aliases: &["person_generation"],
        rule: Rule::OneOf(&["dont_allow", "allow_adult", "allow_all"]),
    },
    Word {
        name: "safetySetting",
        aliases: &["safety_setting", "safety_filter_level", "safetyFilterLevel"],
        rule: Rule::OneOf(&[
            "block_low_and_above",
            "block_medium_and_above",
            "block_only_high",
            "block_none",
        ]),
    },
    Word { name: "addWatermark", aliases: &["add_watermark"], rule: Rule::Bool },
    Word { name: "enhancePrompt", aliases: &["enhance_prompt"], rule: Rule::Bool },
    Word {
        name: "language",
        aliases: &[],
        rule: Rule::OneOf(&["auto", "en", "zh", "zh-CN", "zh-TW", "hi", "ja", "ko", "pt", "es"]),
    },
    Word { name: "labels", aliases: &[], rule: Rule::Labels },
    NO_BUCKET,
];

/// The members of `parameters` that are words as they are.
const PARAMETERS: &[&str] = &[
    "negativePrompt",
    "aspectRatio",
    "sampleImageSize",
    "guidanceScale",
    "personGeneration",
    "safetySetting",
    "addWatermark",
    "enhancePrompt",
    "language",
];

/// Imagen counts 480 tokens and refuses more itself; no token is longer than this many characters.
const PROMPT: usize = 10_000;

/// docs.cloud.google.com/vertex-ai/generative-ai/docs/image/generate-images.
const SHAPES: &[Shape] = &[
    sized("1:1", (1, 1), (1024, 1024)),
    sized("3:4", (3, 4), (896, 1280)),
    sized("4:3", (4, 3), (1280, 896)),
    sized("9:16", (9, 16), (768, 1408)),
    sized("16:9", (16, 9), (1408, 768)),
];

/// Imagen 4 but its fast model makes images of twice the sides, too.
const TIERS: &[Tier] = &[("1K", 1), ("2K", 2)];
const ONE_TIER: &[Tier] = &[("1K", 1)];

/// Writes the body of `:predict`.
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
    let words = choose(&request.extra, WORDS, "Imagen")?;
    if request.format == Some(Format::Webp) {
        return Err(Error::at(Kind::Unsupported, "output_format", "must be `png` or `jpeg` for this model"));
    }
    agree(&words, model)?;
    let tiers = if has_tiers(model) { TIERS } else { ONE_TIER };
    let fitted = match request.size {
        Some(size) => {
            super::size_or_ratio(words.get("aspectRatio").or(words.get("sampleImageSize")))?;
            let fitted = fit(size, SHAPES, tiers)?;
            if !fitted.exact {
                left_out.note("size");
            }
            Some(fitted)
        }
        None => None,
    };
    Writer::new(out).object(|w| {
        w.key("instances").array(|w| w.object(|w| w.key("prompt").text(request.prompt)));
        w.key("parameters").object(|w| {
            w.key("sampleCount").number(portion.count);
            // Without it a filtered image is missing, and nobody says so.
            w.key("includeRaiReason").bool(true);
            if let Some(fitted) = fitted {
                w.key("aspectRatio").string(fitted.shape);
                if let Some(tier) = fitted.tier {
                    w.key("sampleImageSize").string(tier);
                }
            }
            words.write_seed(portion.before, None, w);
            for name in PARAMETERS {
                words.write(name, w);
            }
            if let Some(format) = request.format {
                w.key("outputOptions").object(|w| {
                    w.key("mimeType").string(format.media_type());
                    if let Some(compression) = request.compression {
                        w.key("compressionQuality").token(compression.token());
                    }
                });
            }
        });
        words.write("labels", w);
    });
    Ok(left_out)
}

/// Words that only some of the models take, or not together.
fn agree(words: &Words<'_, '_>, model: &str) -> Result<(), Error> {
    if words.get("addWatermark").is_none_or(|raw| raw.get() != "false") {
        let problem = "is taken for images without a watermark only; say `add_watermark` false beside it";
        words.refuse("seed", problem)?;
    }
    if !takes_negative_prompts(model) {
        let problem = "is not taken by this model; say in `prompt` what the image shows";
        words.refuse("negativePrompt", problem)?;
    }
    if !has_tiers(model) {
        let problem = "is not taken by this model, which makes images of one resolution";
        words.refuse("sampleImageSize", problem)?;
    }
    Ok(())
}

/// docs.cloud.google.com/vertex-ai/generative-ai/docs/image/omit-content-using-a-negative-prompt.
fn takes_negative_prompts(model: &str) -> bool {
    model.starts_with("imagegeneration@")
        || (model.starts_with("imagen-3.0-") && !model.starts_with("imagen-3.0-generate-002"))
}

/// ai.google.dev/gemini-api/docs/imagen: of Imagen 4 its standard and its ultra model.
fn has_tiers(model: &str) -> bool {
    model.starts_with("imagen-") && !model.starts_with("imagen-3") && !model.contains("-fast-")
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    predictions: Option<Vec<Prediction<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Prediction<'a> {
    #[serde(borrow)]
    bytes_base64_encoded: Option<Text<'a>>,
    /// As the model has rewritten it.
    #[serde(borrow)]
    prompt: Option<Text<'a>>,
    #[serde(borrow)]
    rai_filtered_reason: Option<Text<'a>>,
}

/// Reads a reply of status 200. One prediction may stand for several filtered images, so that those which
/// did not come are counted; of a reply that holds nothing at all the filter has left nothing.
pub fn decode(body: &str, asked: u64) -> Made<'_> {
    let reply: Reply<'_> = super::reply(body, "Vertex AI")?;
    if reply.predictions.is_none() && body.bytes().any(|b| !b.is_ascii_whitespace() && !b"{}".contains(&b)) {
        return Ok(Images::default());
    }
    let mut images = Images::default();
    for prediction in reply.predictions.into_iter().flatten() {
        if let Some(data) = prediction.bytes_base64_encoded {
            images.images.push(Image { data, prompt: prediction.prompt });
        }
        images.reason = images.reason.or(prediction.rai_filtered_reason);
    }
    images.withheld = asked.saturating_sub(u64::try_from(images.images.len()).unwrap_or(u64::MAX));
    Ok(images)
}
