//! A request for images: bytes in, vocabulary out.

use super::fields::{DEFAULTS, FIELDS};
use crate::base::error::{Error, Kind};
use crate::base::json::{Count, Str, Text, object};
use crate::dialect::extra;
use crate::dialect::reading::{self, Seen, missing};
use crate::image::{Format, Quality, Request, Size};

object! {
    /// The members that are looked at. Everything is optional here; what is required is asked for where a
    /// missing member can be named by its path.
    struct Body<'a> {
        model: Str<'a>,
        prompt: Text<'a>,
        n: Count<'a>,
        size: Str<'a>,
        quality: Str<'a>,
        style: Str<'a>,
        response_format: Str<'a>,
        output_format: Str<'a>,
        output_compression: Count<'a>,
    }
}

/// A request and the model that it asks for.
#[derive(Debug)]
pub struct Asked<'a> {
    /// As the client wrote it.
    pub model: Str<'a>,
    pub request: Request<'a>,
}

/// How many images OpenAI's API makes at most.
const MOST: u64 = 10;

/// Reads a request for images.
///
/// # Errors
/// The first thing that is wrong, named by its path.
pub fn parse(body: &[u8]) -> Result<Asked<'_>, Error> {
    let text = reading::text(body)?;
    let body: Body<'_> = reading::body(text)?;
    let fields = given(&body).0;
    let extra = extra::collect(&body.other, extra::IMAGES)?;

    let Some(model) = body.model else { return Err(missing("model", "names the model to ask")) };
    let Some(prompt) = body.prompt else { return Err(missing("prompt", "describes the image")) };
    if prompt.is_blank() {
        return Err(Error::at(Kind::WrongValue, "prompt", "is blank; it describes the image"));
    }
    let count = body.n.map_or(1, Count::value);
    if !(1..=MOST).contains(&count) {
        return Err(Error::at(Kind::WrongValue, "n", "must be from 1 to 10"));
    }
    delivered(body.response_format.as_ref().map(Str::as_str))?;
    let format = body.output_format.as_ref().map(|format| file_format(format.as_str())).transpose()?;
    if let Some(compression) = body.output_compression {
        if compression.value() > 100 {
            return Err(Error::at(Kind::WrongValue, "output_compression", "must be from 0 to 100"));
        }
        if format != Some(Format::Jpeg) {
            let problem = "goes with `output_format` `jpeg` only";
            return Err(Error::at(Kind::WrongValue, "output_compression", problem));
        }
    }
    let request = Request {
        prompt,
        count,
        size: body.size.as_ref().map_or(Ok(None), |size| in_pixels(size.as_str()))?,
        quality: body.quality.as_ref().map_or(Ok(None), |word| quality(word.as_str()))?,
        style: body.style,
        format,
        compression: body.output_compression,
        extra,
        fields,
    };
    Ok(Asked { model: reading::model(model), request })
}

/// Images leave as base64 and in no other way.
fn delivered(response_format: Option<&str>) -> Result<(), Error> {
    let (kind, problem) = match response_format {
        None | Some("b64_json") => return Ok(()),
        Some("url") => (
            Kind::Unsupported,
            "asks for an address, but the images are kept nowhere; send `b64_json`, or leave it out",
        ),
        Some(_) => (Kind::WrongValue, "must be `b64_json`"),
    };
    Err(Error::at(kind, "response_format", problem))
}

fn file_format(name: &str) -> Result<Format, Error> {
    match name {
        "png" => Ok(Format::Png),
        "jpeg" => Ok(Format::Jpeg),
        "webp" => Ok(Format::Webp),
        "gif" | "svg" => Err(Error::at(
            Kind::Unsupported,
            "output_format",
            "is made by models of OpenAI's own alone; send `png` or `jpeg`",
        )),
        _ => Err(Error::at(Kind::WrongValue, "output_format", "must be `png`, `jpeg` or `webp`")),
    }
}

/// `WIDTHxHEIGHT`; `None` for `auto`.
fn in_pixels(size: &str) -> Result<Option<Size>, Error> {
    if size == "auto" {
        return Ok(None);
    }
    let side = |digits: &str| {
        // More digits would be no image, and could overflow.
        let is_side = (1..=5).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        is_side.then(|| digits.parse::<u64>().ok()).flatten().filter(|side| *side > 0)
    };
    let (width, height) = size.split_once('x').unwrap_or_default();
    match (side(width), side(height)) {
        (Some(width), Some(height)) => Ok(Some(Size { width, height })),
        _ => {
            let problem = "must be `auto`, or width and height in pixels such as `1024x1024`";
            Err(Error::at(Kind::WrongValue, "size", problem))
        }
    }
}

/// `None` for `auto`.
fn quality(word: &str) -> Result<Option<Quality>, Error> {
    match word {
        "auto" => Ok(None),
        "low" | "medium" | "standard" => Ok(Some(Quality::Ordinary)),
        "high" | "xhigh" | "max" | "hd" => Ok(Some(Quality::Fine)),
        _ => {
            let problem = "must be auto, low, medium, high, xhigh, max, standard or hd";
            Err(Error::at(Kind::WrongValue, "quality", problem))
        }
    }
}

/// The top-level fields that say something other than the API's own default.
fn given<'a>(body: &Body<'a>) -> Seen<'a> {
    let mut fields = Seen::default();
    let is_auto = |word: &Option<Str<'_>>| word.as_ref().is_some_and(|word| word.as_str() == "auto");
    for name in body.known() {
        let silent = match name {
            "n" => body.n.is_some_and(|n| n.value() == 1),
            "size" => is_auto(&body.size),
            "quality" => is_auto(&body.quality),
            _ => false,
        };
        if !silent {
            fields.must_see(name);
        }
    }
    for (name, value) in body.other.given() {
        if DEFAULTS.contains(&(name, value.get())) || extra::is_extra(name, extra::IMAGES) {
            continue;
        }
        match FIELDS.iter().find(|field| **field == name) {
            Some(field) => fields.must_see(field),
            None => fields.see(|| name.to_owned()),
        }
    }
    fields
}
