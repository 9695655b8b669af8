//! Images for the client: vocabulary in, bytes out. One reply may be made of the replies to several calls.

use crate::base::error::{Error, Kind};
use crate::base::json::Writer;
use crate::image::{Format, Image, Images, Usage};

/// Room for what is written besides the images.
const ROOM: usize = 1024;

/// Reasons of filters are a sentence or two, in characters; a longer one is cut.
const LONGEST_REASON: usize = 1000;

/// Writes the whole reply to a request that took one call; `created` is the Unix time in seconds.
///
/// # Errors
/// [`Kind::Filtered`] when every image was withheld.
pub fn write(images: &Images<'_>, created: u64) -> Result<Vec<u8>, Error> {
    let about = About::of(images);
    about.check()?;
    // A buffer that grew would hold the images twice for a while.
    let mut out = Vec::with_capacity(size(images).saturating_add(ROOM));
    about.write(created, &mut out, |w| images.images.iter().for_each(|image| item(image, w)));
    Ok(out)
}

/// What came of one of several calls.
#[derive(Debug)]
pub struct Made {
    /// The members of `data`.
    pub items: Vec<u8>,
    /// How many images are in them.
    pub images: u64,
    /// How many images the cloud's filter has withheld.
    pub withheld: u64,
    about: About,
}

impl Made {
    /// Writes down what came of a call.
    pub fn new(images: &Images<'_>) -> Self {
        let mut items = Vec::with_capacity(size(images));
        let mut w = Writer::new(&mut items);
        images.images.iter().for_each(|image| item(image, &mut w));
        Self {
            items,
            images: u64::try_from(images.images.len()).unwrap_or(u64::MAX),
            withheld: images.withheld,
            about: About::of(images),
        }
    }

    /// The token counts of the call, of models that count any.
    pub fn usage(&self) -> Option<Usage> {
        self.about.usage
    }
}

/// Writes the whole reply to a request that took several calls.
///
/// # Errors
/// As [`write`].
pub fn join(parts: Vec<Made>, created: u64) -> Result<Vec<u8>, Error> {
    let mut about = About::default();
    parts.iter().for_each(|part| about.add(&part.about));
    about.check()?;
    let size = parts.iter().fold(ROOM, |size, part| size.saturating_add(part.items.len()).saturating_add(1));
    let mut out = Vec::with_capacity(size);
    about.write(created, &mut out, |w| {
        // Dropped as soon as it is written: there may be megabytes of them.
        parts.into_iter().filter(|part| !part.items.is_empty()).for_each(|part| w.written(&part.items));
    });
    Ok(out)
}

/// What a reply says besides its images.
#[derive(Debug, Default)]
struct About {
    first: Option<First>,
    usage: Option<Usage>,
    /// Why the cloud's filter has withheld images, in its own words.
    reason: Option<String>,
}

/// The first image, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
struct First {
    format: Option<Format>,
    /// Width and height in pixels.
    size: Option<(u32, u32)>,
}

impl About {
    fn of(images: &Images<'_>) -> Self {
        let first = images.images.first().map(|image| image.data.escaped());
        let reason = images.reason.map(|reason| reason.unescape().chars().take(LONGEST_REASON).collect());
        let first = first.map(|data| First { format: format(data), size: png_size(data) });
        Self { first, usage: images.usage, reason }
    }

    /// Adds what another call says.
    fn add(&mut self, other: &Self) {
        self.first = self.first.or(other.first);
        self.usage = match (self.usage, other.usage) {
            (Some(one), Some(two)) => Some(one.plus(two)),
            (one, two) => one.or(two),
        };
        if self.reason.is_none() {
            self.reason.clone_from(&other.reason);
        }
    }

    /// Refuses a reply without an image.
    fn check(&self) -> Result<(), Error> {
        if self.first.is_some() {
            return Ok(());
        }
        let reason = self.reason.as_deref().filter(|reason| !reason.is_empty());
        let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
        Err(Error::new(Kind::Filtered, format!("the cloud's filter has withheld every image{reason}")))
    }

    fn write(&self, created: u64, out: &mut Vec<u8>, items: impl FnOnce(&mut Writer<'_>)) {
        let First { format, size } = self.first.unwrap_or_default();
        Writer::new(out).object(|w| {
            w.key("created").number(created);
            if let Some(format) = format {
                w.key("output_format").string(format.name());
            }
            if let Some((width, height)) = size {
                w.key("size").string(&format!("{width}x{height}"));
            }
            w.key("data").array(items);
            if let Some(usage) = &self.usage {
                w.key("usage").object(|w| counts(usage, w));
            }
        });
    }
}

fn item(image: &Image<'_>, w: &mut Writer<'_>) {
    w.object(|w| {
        w.key("b64_json").text(image.data);
        if let Some(prompt) = image.prompt {
            w.key("revised_prompt").text(prompt);
        }
    });
}

/// How many bytes the images take when they are written.
fn size(images: &Images<'_>) -> usize {
    images.images.iter().fold(0, |size: usize, image| {
        let prompt = image.prompt.map_or(0, |prompt| prompt.escaped().len());
        size.saturating_add(image.data.escaped().len()).saturating_add(prompt).saturating_add(64)
    })
}

fn counts(usage: &Usage, w: &mut Writer<'_>) {
    let details = |images: u64, all: u64, w: &mut Writer<'_>| {
        w.object(|w| {
            w.key("image_tokens").number(images);
            w.key("text_tokens").number(all.saturating_sub(images));
        });
    };
    w.key("input_tokens").number(usage.input);
    details(usage.input_images, usage.input, w.key("input_tokens_details"));
    w.key("output_tokens").number(usage.output);
    details(usage.output_images, usage.output, w.key("output_tokens_details"));
    w.key("total_tokens").number(usage.input.saturating_add(usage.output));
}

/// The first bytes of each format, as base64: what a model makes is not always what it was asked for.
fn format(data: &str) -> Option<Format> {
    // A slash may be escaped.
    [("iVBORw0KGgo", Format::Png), ("/9j/", Format::Jpeg), (r"\/9j\/", Format::Jpeg), ("UklGR", Format::Webp)]
        .into_iter()
        .find_map(|(start, format)| data.starts_with(start).then_some(format))
}

/// Width and height of a PNG: bytes 16 to 23 of the file, in its `IHDR`.
fn png_size(data: &str) -> Option<(u32, u32)> {
    if format(data) != Some(Format::Png) {
        return None;
    }
    // Base64 of bytes 15 to 23. Two numbers below 65536 hold no slash that could be escaped, or they are not
    // read.
    let mut bits: u128 = 0;
    for digit in data.get(20..32)?.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u128::from(value);
    }
    let side = |shift: u32| u32::try_from(bits >> shift & u128::from(u32::MAX)).ok().filter(|side| *side > 0);
    Some((side(32)?, side(0)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_and_size_are_those_of_the_image() {
        // The first 33 bytes of a PNG of 1408 times 768 pixels.
        let png = "iVBORw0KGgoAAAANSUhEUgAABYAAAAMACAIAAAC";
        assert_eq!((format(png), png_size(png)), (Some(Format::Png), Some((1408, 768))));
        for (data, expected) in [
            ("/9j/4AAQSkZJRgABAQ", Some(Format::Jpeg)),
            (r"\/9j\/4AAQSkZJRgABAQ", Some(Format::Jpeg)),
            ("UklGRiQAAABXRUJQ", Some(Format::Webp)),
            ("R0lGODlh", None),
            ("", None),
            ("iVBORw0KGgo", Some(Format::Png)),
            ("iVBORw0KGgoAAAANSUhEUgAA\\u0041YAAAAM", Some(Format::Png)),
        ] {
            assert_eq!((format(data), png_size(data)), (expected, None), "{data}");
        }
    }
}
