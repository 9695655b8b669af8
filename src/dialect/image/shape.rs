//! Sizes of images: what a client asks for in pixels, said to models that know only shapes.

use crate::base::error::{Error, Kind};
use crate::image::Size;

/// An aspect ratio that a model makes.
#[derive(Debug)]
pub struct Shape {
    /// Such as `16:9`.
    pub name: &'static str,
    /// Width and height of that ratio.
    pub ratio: (u64, u64),
    /// Width and height in pixels of its smallest image, where the vendor's documentation has them. They may
    /// be a little off the ratio.
    pub pixels: Option<(u64, u64)>,
}

/// A shape without documented pixels.
pub const fn shape(name: &'static str, ratio: (u64, u64)) -> Shape {
    Shape { name, ratio, pixels: None }
}

/// A shape with its pixels.
pub const fn sized(name: &'static str, ratio: (u64, u64), pixels: (u64, u64)) -> Shape {
    Shape { name, ratio, pixels: Some(pixels) }
}

/// A resolution: its name, and by how much its sides are longer than those of the smallest.
pub type Tier = (&'static str, u64);

/// How many pixels the smallest images have, more or less, where nothing better is documented.
const MEGAPIXEL: u64 = 1024 * 1024;

/// The shape, and the resolution where there are several, that a model is asked for.
#[derive(Debug)]
pub struct Fit {
    pub shape: &'static str,
    pub tier: Option<&'static str>,
    /// The image will have exactly the pixels that were asked for, rather than only their ratio.
    pub exact: bool,
}

/// Finds the shape of a size: the one with exactly these pixels, or else one of exactly this ratio in the
/// resolution whose pixels come nearest.
///
/// # Errors
/// [`Kind::WrongValue`] for a size of another ratio than the model makes, with those that it does.
pub fn fit(size: Size, shapes: &'static [Shape], tiers: &'static [Tier]) -> Result<Fit, Error> {
    let tier_of = |tier: &Tier| (tiers.len() > 1).then_some(tier.0);
    for shape in shapes {
        for tier in tiers {
            let Some((width, height)) = shape.pixels else { continue };
            if (width.saturating_mul(tier.1), height.saturating_mul(tier.1)) == (size.width, size.height) {
                return Ok(Fit { shape: shape.name, tier: tier_of(tier), exact: true });
            }
        }
    }
    let of_ratio = |shape: &&Shape| {
        let (width, height) = shape.ratio;
        size.width.saturating_mul(height) == size.height.saturating_mul(width)
    };
    let Some(shape) = shapes.iter().find(of_ratio) else { return Err(refusal(shapes, tiers)) };
    let pixels = size.width.saturating_mul(size.height);
    // Nearest by factor rather than by difference: twice as many is as far as half as many.
    let far = |tier: &&Tier| {
        let made = MEGAPIXEL.saturating_mul(tier.1).saturating_mul(tier.1);
        pixels.max(made).saturating_mul(1000) / pixels.min(made).max(1)
    };
    let tier = tiers.iter().min_by_key(far).and_then(tier_of);
    Ok(Fit { shape: shape.name, tier, exact: false })
}

#[cold]
fn refusal(shapes: &[Shape], tiers: &[Tier]) -> Error {
    let pixels = |shape: &Shape| {
        let (width, height) = shape.pixels?;
        let sizes =
            tiers.iter().map(move |(_, factor)| Size { width: width * factor, height: height * factor });
        Some(sizes.map(|size| size.to_string()))
    };
    let sizes: Vec<String> = shapes.iter().filter_map(pixels).flatten().collect();
    let ratios: Vec<&str> = shapes.iter().map(|shape| shape.name).collect();
    let sizes = if sizes.is_empty() { String::new() } else { format!("{}, ", sizes.join(", ")) };
    let problem = format!(
        "is none that this model makes; send {sizes}any other size of exactly the ratio {}, or `auto`",
        ratios.join(", ")
    );
    Error::at(Kind::WrongValue, "size", &problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: &[Shape] =
        &[sized("1:1", (1, 1), (1024, 1024)), sized("16:9", (16, 9), (1408, 768)), shape("3:2", (3, 2))];
    const TIERS: &[Tier] = &[("1K", 1), ("2K", 2)];

    fn fitted(width: u64, height: u64) -> (&'static str, Option<&'static str>, bool) {
        let fit = fit(Size { width, height }, SHAPES, TIERS).unwrap();
        (fit.shape, fit.tier, fit.exact)
    }

    #[test]
    fn pixels_that_the_model_makes_are_exact_though_they_are_off_the_ratio() {
        assert_eq!(fitted(1024, 1024), ("1:1", Some("1K"), true));
        assert_eq!(fitted(2816, 1536), ("16:9", Some("2K"), true));
    }

    #[test]
    fn a_size_of_a_ratio_gets_the_nearest_resolution_and_is_not_exact() {
        assert_eq!(fitted(512, 512), ("1:1", Some("1K"), false));
        assert_eq!(fitted(1920, 1080), ("16:9", Some("1K"), false));
        assert_eq!(fitted(3840, 2160), ("16:9", Some("2K"), false));
        assert_eq!(fitted(1536, 1024), ("3:2", Some("1K"), false));
        assert_eq!(fitted(u64::MAX, u64::MAX), ("1:1", Some("2K"), false));
    }

    #[test]
    fn a_size_of_another_ratio_is_refused_with_those_that_there_are() {
        let error = fit(Size { width: 1792, height: 1024 }, SHAPES, TIERS).unwrap_err();
        assert_eq!(
            error.message,
            "size: is none that this model makes; send 1024x1024, 2048x2048, 1408x768, 2816x1536, any other \
             size of exactly the ratio 1:1, 16:9, 3:2, or `auto`"
        );
        assert_eq!(error.param.as_deref(), Some("size"));
    }

    #[test]
    fn a_model_of_one_resolution_is_not_told_which() {
        assert_eq!(fit(Size { width: 3, height: 2 }, SHAPES, &[("", 1)]).unwrap().tier, None);
    }
}
