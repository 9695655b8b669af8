//! A reply with embeddings in OpenAI's dialect, made of one piece for each call to the cloud.
//! platform.openai.com/docs/api-reference/embeddings/object.

use crate::base::error::{Error, Kind};
use crate::base::json::Writer;
use crate::embedding::{Encoding, Vector};

/// Writes the members of `data` for vectors of which the first has the number `first`.
///
/// # Errors
/// [`Kind::UpstreamGarbled`] for a number that no 32-bit float can hold, when base64 is wanted.
pub fn items(first: usize, vectors: &[Vector<'_>], encoding: Encoding) -> Result<Vec<u8>, Error> {
    let bytes = vectors.iter().map(|vector| vector.written_bytes().saturating_add(64)).sum();
    let mut out = Vec::with_capacity(bytes);
    let mut floats = Vec::new();
    for (index, vector) in vectors.iter().enumerate() {
        let mut w = Writer::new(&mut out);
        w.object(|w| {
            w.key("object").string("embedding");
            w.key("index").number(first.saturating_add(index) as u64);
            w.key("embedding");
            match encoding {
                Encoding::Float => w.array(|w| vector.numbers().for_each(|number| w.token(number))),
                Encoding::Base64 => {
                    floats.clear();
                    for number in vector.numbers() {
                        floats.extend_from_slice(&float(number)?.to_le_bytes());
                    }
                    w.base64(&floats);
                }
            }
            Ok::<_, Error>(())
        })?;
    }
    out.shrink_to_fit();
    Ok(out)
}

fn float(number: &str) -> Result<f32, Error> {
    number
        .parse()
        .ok()
        .filter(|float: &f32| float.is_finite())
        .ok_or_else(|| Error::new(Kind::UpstreamGarbled, "the cloud answered with a number that is none"))
}

/// Puts the pieces together.
pub fn whole(pieces: Vec<Vec<u8>>, model: &str, tokens: u64) -> Vec<u8> {
    let bytes: usize = pieces.iter().map(Vec::len).sum();
    let mut out = Vec::with_capacity(bytes.saturating_add(pieces.len()).saturating_add(256));
    Writer::new(&mut out).object(|w| {
        w.key("object").string("list");
        w.key("data").array(|w| {
            for piece in pieces {
                // Dropped as soon as it is written: there may be megabytes of them.
                w.written(&piece);
            }
        });
        w.key("model").string(model);
        w.key("usage").object(|w| {
            w.key("prompt_tokens").number(tokens);
            w.key("total_tokens").number(tokens);
        });
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(json: &str) -> Vector<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn numbers_leave_as_the_cloud_wrote_them() {
        let vectors = [vector("[\n  0.10,\n  -1e-7\n]"), vector("[1,2]")];
        let piece = items(3, &vectors, Encoding::Float).unwrap();
        let reply = String::from_utf8(whole(vec![piece], "m\"", 7)).unwrap();
        assert_eq!(
            reply,
            r#"{"object":"list","data":[{"object":"embedding","index":3,"embedding":[0.10,-1e-7]},"#
                .to_owned()
                + r#"{"object":"embedding","index":4,"embedding":[1,2]}],"model":"m\"","#
                + r#""usage":{"prompt_tokens":7,"total_tokens":7}}"#
        );
    }

    #[test]
    fn base64_is_of_32_bit_floats_with_the_little_end_first() {
        // As numpy has it: base64.b64encode(numpy.array([1, -0.5, 0.1], "<f4").tobytes()).
        let piece = items(0, &[vector("[1,-0.5,0.1]")], Encoding::Base64).unwrap();
        assert_eq!(
            String::from_utf8(piece).unwrap(),
            r#"{"object":"embedding","index":0,"embedding":"AACAPwAAAL/NzMw9"}"#
        );
        let error = items(0, &[vector("[1e99]")], Encoding::Base64).unwrap_err();
        assert_eq!(error.kind, Kind::UpstreamGarbled);
    }
}
