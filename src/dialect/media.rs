//! What a picture is, whatever it is called.

use crate::base::json::Text;

/// The format of a picture: `png`, `jpeg`, `gif` or `webp`; `None` for any other. Its first bytes go before
/// the declared type: clients label whatever they have as PNG or JPEG, browsers do not mind, and models
/// refuse what is not as declared.
pub fn image_format(media_type: &str, data: Text<'_>) -> Option<&'static str> {
    /// The beginnings of files in base64. JSON may write the slash as `\/`.
    const BEGINNINGS: &[(&str, &str)] = &[
        ("iVBORw0KGgo", "png"),
        ("/9j/", "jpeg"),
        (r"\/9j\/", "jpeg"),
        ("R0lGOD", "gif"),
        // "RIFF", of which WebP is the only image.
        ("UklGR", "webp"),
    ];
    let known = BEGINNINGS.iter().find(|(beginning, _)| data.escaped().starts_with(beginning));
    known.map(|(_, format)| *format).or(match media_type {
        "image/png" => Some("png"),
        "image/jpeg" | "image/jpg" => Some("jpeg"),
        "image/gif" => Some("gif"),
        "image/webp" => Some("webp"),
        _ => None,
    })
}

/// Whether base64 holds a PDF, which begins with `%PDF-`.
pub fn is_pdf(data: Text<'_>) -> bool {
    data.escaped().starts_with("JVBERi0")
}
