//! Images for the client: vocabulary in, bytes out.

use crate::base::json::Writer;
use crate::image::{Format, Images, Usage};

/// Writes a reply; `created` is the Unix time in seconds.
pub fn write(images: &Images<'_>, created: u64, out: &mut Vec<u8>) {
    let first = images.images.first().map_or("", |image| image.data.escaped());
    Writer::new(out).object(|w| {
        w.key("created").number(created);
        if let Some(format) = format(first) {
            w.key("output_format").string(format.name());
        }
        if let Some((width, height)) = png_size(first) {
            w.key("size").string(&format!("{width}x{height}"));
        }
        w.key("data").array(|w| {
            for image in &images.images {
                w.object(|w| {
                    w.key("b64_json").text(image.data);
                    if let Some(prompt) = image.prompt {
                        w.key("revised_prompt").text(prompt);
                    }
                });
            }
        });
        if let Some(usage) = &images.usage {
            w.key("usage").object(|w| counts(usage, w));
        }
    });
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
