//! Amazon's own models on Bedrock, Nova Canvas and Titan Image Generator: one body for `InvokeModel`.
//!
//! docs.aws.amazon.com/nova/latest/userguide/image-gen-req-resp-structure.html and …/image-gen-errors.html;
//! docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-image.html.

use serde::Deserialize;

use super::words::{Rule, Word, choose, short};
use super::{Made, Portion};
use crate::base::error::{Error, Kind};
use crate::base::json::{Text, Writer};
use crate::chat::LeftOut;
use crate::dialect::fates::Fate::{self, Dropped, Mapped};
use crate::dialect::fates::{NO_ANIMATION, NO_STREAM, NO_TRANSPARENCY, NO_VECTORS};
use crate::image::{Format, Image, Images, Quality, Request, Size};

/// Fields of `POST /v1/images/generations`.
pub const FATES: &[(&str, Fate)] = &[
    ("model", Mapped("the model of the path")),
    ("prompt", Mapped("`textToImageParams.text`")),
    ("n", Mapped("`imageGenerationConfig.numberOfImages`; a call for each five")),
    ("size", Mapped("`imageGenerationConfig.width`, `.height`")),
    ("quality", Mapped("`imageGenerationConfig.quality`: `premium` from `high` on, else `standard`")),
    ("style", Mapped("`textToImageParams.style` for Nova Canvas's own eight; others are left out")),
    ("response_format", Mapped("`b64_json`; `url` is refused")),
    ("output_format", Mapped("`png`; others are refused")),
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
    Word {
        name: "negativeText",
        aliases: &["negative_prompt", "negativePrompt", "negative_text"],
        rule: Rule::Text(NOVA_PROMPT),
    },
    Word { name: "seed", aliases: &[], rule: Rule::Whole(0, 2_147_483_646) },
    Word { name: "cfgScale", aliases: &["cfg_scale", "guidance_scale"], rule: Rule::Number(1.1, 10.0) },
];

/// The longest prompt in characters, and the longest negative one.
const NOVA_PROMPT: usize = 1024;
const TITAN_PROMPT: usize = 512;

/// Nova Canvas's own seed where a request has none: two calls would make the same images.
const SEED: u64 = 12;

/// Nova Canvas's visual styles: docs.aws.amazon.com/nova/latest/userguide/image-gen-styles.html.
const STYLES: &[&str] = &[
    "3D_ANIMATED_FAMILY_FILM",
    "DESIGN_SKETCH",
    "FLAT_VECTOR_ILLUSTRATION",
    "GRAPHIC_NOVEL_ILLUSTRATION",
    "MAXIMALISM",
    "MIDCENTURY_RETRO",
    "PHOTOREALISM",
    "SOFT_DIGITAL_PAINTING",
];

/// The only sizes that Titan makes.
const TITAN_SIZES: &[(u64, u64)] = &[
    (1024, 1024),
    (768, 768),
    (512, 512),
    (768, 1152),
    (384, 576),
    (1152, 768),
    (576, 384),
    (768, 1280),
    (384, 640),
    (1280, 768),
    (640, 384),
    (896, 1152),
    (448, 576),
    (1152, 896),
    (576, 448),
    (768, 1408),
    (384, 704),
    (1408, 768),
    (704, 384),
    (640, 1408),
    (320, 704),
    (1408, 640),
    (704, 320),
    (1152, 640),
    (1173, 640),
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
    let is_titan = model.contains("titan-image");
    let most = if is_titan { TITAN_PROMPT } else { NOVA_PROMPT };
    let words = choose(&request.extra, WORDS, "Amazon's image model")?;
    short(request.prompt, most)?;
    words.short("negativeText", most)?;
    if let Some(size) = request.size {
        if is_titan { titan_size(size)? } else { nova_size(size)? }
    }
    match request.format {
        None | Some(Format::Png) => {}
        Some(Format::Jpeg | Format::Webp) => {
            return Err(Error::at(
                Kind::Unsupported,
                "output_format",
                "must be `png`, all that this model makes",
            ));
        }
    }
    let style = request.style.as_ref().and_then(|style| {
        let known = STYLES.iter().find(|known| **known == style.as_str() && !is_titan);
        if known.is_none() {
            left_out.note("style");
        }
        known
    });
    Writer::new(out).object(|w| {
        w.key("taskType").string("TEXT_IMAGE");
        w.key("textToImageParams").object(|w| {
            w.key("text").text(request.prompt);
            words.write("negativeText", w);
            if let Some(style) = style {
                w.key("style").string(style);
            }
        });
        w.key("imageGenerationConfig").object(|w| {
            w.key("numberOfImages").number(portion.count);
            if let Some(size) = request.size {
                w.key("width").number(size.width);
                w.key("height").number(size.height);
            }
            match request.quality {
                Some(Quality::Ordinary) => w.key("quality").string("standard"),
                Some(Quality::Fine) => w.key("quality").string("premium"),
                None => {}
            }
            words.write("cfgScale", w);
            if words.get("seed").is_some() {
                words.write_seed(portion.before, None, w);
            } else if portion.before > 0 {
                w.key("seed").number(SEED.saturating_add(portion.before));
            }
        });
    });
    Ok(left_out)
}

/// docs.aws.amazon.com/nova/latest/userguide/image-gen-access.html#image-gen-resolutions.
fn nova_size(size: Size) -> Result<(), Error> {
    let Size { width, height } = size;
    let is_side = |side: u64| (320..=4096).contains(&side) && side.is_multiple_of(16);
    let is_broad = width.max(height) > width.min(height).saturating_mul(4);
    if is_side(width) && is_side(height) && !is_broad && width.saturating_mul(height) <= 4_194_304 {
        return Ok(());
    }
    let problem = "must have sides of 320 to 4096 pixels that 16 divides, a ratio from 1:4 to 4:1 and at most \
                   4194304 pixels for this model, such as 1024x1024, 1280x720 or 720x1280; or send `auto`";
    Err(Error::at(Kind::WrongValue, "size", problem))
}

fn titan_size(Size { width, height }: Size) -> Result<(), Error> {
    if TITAN_SIZES.contains(&(width, height)) {
        return Ok(());
    }
    let sizes: Vec<String> =
        TITAN_SIZES.iter().map(|&(width, height)| Size { width, height }.to_string()).collect();
    let problem = format!("is none that this model makes; send {}, or `auto`", sizes.join(", "));
    Err(Error::at(Kind::WrongValue, "size", &problem))
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    images: Option<Vec<Text<'a>>>,
    /// All or some of the images were blocked.
    #[serde(borrow)]
    error: Option<Text<'a>>,
}

/// Reads a reply of status 200.
pub fn decode(body: &str, asked: u64) -> Made<'_> {
    let reply: Reply<'_> = super::reply(body, "Amazon Bedrock")?;
    let images: Vec<Image<'_>> =
        reply.images.into_iter().flatten().map(|data| Image { data, prompt: None }).collect();
    let came = u64::try_from(images.len()).unwrap_or(u64::MAX);
    let withheld = if reply.error.is_some() { asked.saturating_sub(came).max(1) } else { 0 };
    Ok(Images { images, withheld, reason: reply.error, usage: None })
}
