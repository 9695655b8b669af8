//! Stability's models on Bedrock: Stable Image Core and Ultra, Stable Diffusion 3 and 3.5 Large.
//!
//! docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-diffusion-3-5-large.html,
//! …/model-parameters-diffusion-stable-ultra-text-image-request-response.html,
//! …/model-parameters-diffusion-stable-image-core-text-image-request-response.html.

use serde::Deserialize;

use super::shape::{Fit, Shape, fit, shape, sized};
use super::words::{Rule, Word, choose, short};
use super::{Made, Portion};
use crate::base::error::{Error, Kind};
use crate::base::json::{Str, Text, Writer};
use crate::chat::LeftOut;
use crate::dialect::fates::Fate::{self, Dropped, Mapped};
use crate::dialect::fates::{NO_ANIMATION, NO_STREAM, NO_TRANSPARENCY, NO_VECTORS};
use crate::image::{Format, Image, Images, Request};

/// Fields of `POST /v1/images/generations`.
pub const FATES: &[(&str, Fate)] = &[
    ("model", Mapped("the model of the path")),
    ("prompt", Mapped("`prompt`")),
    ("n", Mapped("a call for each")),
    ("size", Mapped("`aspect_ratio`")),
    ("quality", Dropped),
    ("style", Dropped),
    ("response_format", Mapped("`b64_json`; `url` is refused")),
    ("output_format", Mapped("`output_format`: `png`, `jpeg`; others are refused")),
    ("output_compression", Dropped),
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

/// What clients may say to the models themselves.
pub const WORDS: &[Word] = &[
    Word { name: "negative_prompt", aliases: &["negativePrompt"], rule: Rule::Text(PROMPT) },
    Word { name: "seed", aliases: &[], rule: Rule::Whole(0, 4_294_967_294) },
    Word { name: "aspect_ratio", aliases: &["aspectRatio"], rule: Rule::OneOf(RATIOS) },
];

/// The longest prompt in characters, and the longest negative one.
const PROMPT: usize = 10_000;

const RATIOS: &[&str] = &["16:9", "1:1", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21"];

/// The documentation names ratios and, for Ultra and 3.5, a megapixel; only of the square is it clear then
/// which pixels these are.
const MEGAPIXEL: &[Shape] = &[
    sized("1:1", (1, 1), (1024, 1024)),
    shape("16:9", (16, 9)),
    shape("21:9", (21, 9)),
    shape("2:3", (2, 3)),
    shape("3:2", (3, 2)),
    shape("4:5", (4, 5)),
    shape("5:4", (5, 4)),
    shape("9:16", (9, 16)),
    shape("9:21", (9, 21)),
];

/// Writes the body of `InvokeModel`.
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
    let words = choose(&request.extra, WORDS, "Stability's model")?;
    short(request.prompt, PROMPT)?;
    match request.format {
        None | Some(Format::Png | Format::Jpeg) => {}
        Some(Format::Webp) => {
            return Err(Error::at(
                Kind::Unsupported,
                "output_format",
                "must be `png` or `jpeg` for this model",
            ));
        }
    }
    let fitted = match request.size {
        Some(size) => {
            super::size_or_ratio(words.get("aspect_ratio"))?;
            let Fit { shape, exact, .. } = fit(size, MEGAPIXEL, &[("", 1)])?;
            // Core makes images of one and a half megapixels.
            if !exact || model.contains("stable-image-core") {
                left_out.note("size");
            }
            Some(shape)
        }
        None => None,
    };
    Writer::new(out).object(|w| {
        w.key("prompt").text(request.prompt);
        if model.contains("sd3") {
            w.key("mode").string("text-to-image");
        }
        if let Some(shape) = fitted {
            w.key("aspect_ratio").string(shape);
        }
        words.write_seed(portion.before, Some(0), w);
        for name in ["aspect_ratio", "negative_prompt"] {
            words.write(name, w);
        }
        if let Some(format) = request.format {
            w.key("output_format").string(format.name());
        }
    });
    Ok(left_out)
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    images: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    finish_reasons: Option<Vec<Option<Str<'a>>>>,
}

/// Reads a reply of status 200. An image that was filtered is missing, or there but blurred: its finish
/// reason tells.
pub fn decode(body: &str) -> Made<'_> {
    let reply: Reply<'_> = super::reply(body, "Amazon Bedrock")?;
    let reasons = reply.finish_reasons.unwrap_or_default();
    let reason = |index: usize| reasons.get(index).and_then(Option::as_ref).map(Str::as_str);
    let mut images = Images::default();
    for (index, data) in reply.images.into_iter().flatten().enumerate() {
        if reason(index).is_none() {
            images.images.push(Image { data, prompt: None });
        }
    }
    for reason in reasons.iter().flatten().map(Str::as_str) {
        if !reason.starts_with("Filter reason") {
            let problem = "Stability's model failed to make the image (Inference error); try again";
            return Err(Error::new(Kind::UpstreamFailed, problem));
        }
        images.withheld = images.withheld.saturating_add(1);
        images.reason = images.reason.or(Some(Text::from_escaped(which(reason))));
    }
    Ok(images)
}

/// The documented reasons; of another only the first words are known.
fn which(reason: &str) -> &'static str {
    match reason {
        "Filter reason: prompt" => "Filter reason: prompt",
        "Filter reason: output image" => "Filter reason: output image",
        "Filter reason: input image" => "Filter reason: input image",
        _ => "Filter reason",
    }
}
