//! A request for embeddings in OpenAI's dialect: bytes in, vocabulary out.
//! platform.openai.com/docs/api-reference/embeddings/create.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::base::error::{Error, Kind};
use crate::base::json::{Count, Str, Text, object, wrong_type};
use crate::dialect::extra::{self, EMBEDDINGS};
use crate::dialect::openai::request::data_url;
use crate::dialect::reading::{self, Seen, missing, read};
use crate::embedding::{Encoding, Image, Input, Request};

/// Every documented field, in the order of the README's table.
pub const FIELDS: &[&str] = &["model", "input", "dimensions", "encoding_format", "user"];

/// How many texts a request may have: as many as OpenAI's API takes.
const MOST_INPUTS: usize = 2048;

/// A request and the model that it asks for.
#[derive(Debug)]
pub struct Asked<'a> {
    /// As the client wrote it.
    pub model: Str<'a>,
    pub request: Request<'a>,
}

object! {
    struct Body<'a> {
        model: Str<'a>,
        input: &'a RawValue,
        dimensions: Count<'a>,
        encoding_format: Str<'a>,
        user: &'a RawValue,
    }
}

/// Reads a request for embeddings.
///
/// # Errors
/// The first thing that is wrong, named by its path.
pub fn parse(body: &[u8]) -> Result<Asked<'_>, Error> {
    let text = reading::text(body)?;
    let body: Body<'_> = reading::body(text)?;
    let mut fields = Seen::default();
    body.known().for_each(|name| fields.must_see(name));
    for (name, _) in body.other.given() {
        if !extra::is_extra(name, EMBEDDINGS) {
            fields.see(|| name.to_owned());
        }
    }
    let Some(model) = body.model else { return Err(missing("model", "names the model to ask")) };
    let Some(input) = body.input else { return Err(missing("input", "holds the texts")) };
    if body.dimensions.is_some_and(|dimensions| dimensions.value() == 0) {
        return Err(Error::at(Kind::WrongValue, "dimensions", "must be at least 1"));
    }
    let request = Request {
        inputs: inputs(input)?,
        listed: input.get().starts_with('['),
        dimensions: body.dimensions,
        encoding: encoding(body.encoding_format.as_ref())?,
        extra: extra::collect(&body.other, EMBEDDINGS)?,
        fields: fields.0,
    };
    Ok(Asked { model: reading::model(model), request })
}

fn encoding(format: Option<&Str<'_>>) -> Result<Encoding, Error> {
    match format.map(Str::as_str) {
        None | Some("float") => Ok(Encoding::Float),
        Some("base64") => Ok(Encoding::Base64),
        Some(_) => Err(Error::at(Kind::WrongValue, "encoding_format", "must be float or base64")),
    }
}

fn inputs(input: &RawValue) -> Result<Vec<Input<'_>>, Error> {
    let texts = match input.get().strip_prefix('[') {
        Some(inside) if is_tokens(inside) => return Err(tokens()),
        Some(_) => read::<Texts<'_>>(input, || "input".to_owned())?,
        None => {
            let wrong = || wrong_type(input, "a string or an array of strings");
            let text = Text::from_raw(input).ok_or_else(|| Error::at(Kind::WrongType, "input", &wrong()))?;
            Texts { kept: vec![text], counted: 1 }
        }
    };
    if texts.counted == 0 {
        return Err(Error::at(Kind::WrongValue, "input", "is empty; send at least one text"));
    }
    if texts.counted > MOST_INPUTS {
        let problem =
            format!("holds {} texts; at most {MOST_INPUTS} go into one request, send several", texts.counted);
        return Err(Error::at(Kind::WrongValue, "input", &problem));
    }
    if let Some(index) = texts.kept.iter().position(|text| text.is_empty()) {
        let path = if input.get().starts_with('[') { format!("input[{index}]") } else { "input".to_owned() };
        return Err(Error::at(Kind::WrongValue, path, "is empty, and no model has a vector for nothing"));
    }
    Ok(texts.kept.into_iter().map(|text| picture(text).map_or(Input::Text(text), Input::Image)).collect())
}

/// A text that is nothing but a picture: OpenAI's API has no other place for one, and other gateways read it so.
fn picture(text: Text<'_>) -> Option<Image<'_>> {
    // Most texts are told apart by a look at their beginning.
    let (media_type, data) = data_url(text, "image/png").ok()?;
    media_type.starts_with("image/").then_some(Image { url: text, media_type, data })
}

/// OpenAI takes texts that the client has cut into tokens already, one or many.
fn is_tokens(inside: &str) -> bool {
    matches!(inside.trim_ascii_start().as_bytes().first(), Some(b'[' | b'-' | b'0'..=b'9'))
}

/// LangChain sends tokens unless it is told not to.
fn tokens() -> Error {
    Error::at(
        Kind::Unsupported,
        "input",
        "holds token numbers of OpenAI's tokenizer, which mean nothing to this model; send texts (LangChain: \
         OpenAIEmbeddings(check_embedding_ctx_length=False))",
    )
}

/// Strings of an array. What is over [`MOST_INPUTS`] is counted and not kept: 32 MB of empty strings would
/// else take half a gigabyte.
struct Texts<'a> {
    kept: Vec<Text<'a>>,
    counted: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Texts<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of strings")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut texts = Texts { kept: Vec::new(), counted: 0 };
                while let Some(text) = seq.next_element()? {
                    if texts.counted < MOST_INPUTS {
                        texts.kept.push(text);
                    }
                    texts.counted = texts.counted.saturating_add(1);
                }
                Ok(texts)
            }
        }
        deserializer.deserialize_seq(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(input: &str) -> (Kind, String) {
        let body = format!(r#"{{"model":"m","input":{input}}}"#);
        let error = parse(body.as_bytes()).map(|_| ()).unwrap_err();
        (error.kind, error.param.unwrap())
    }

    #[test]
    fn one_text_and_many_are_read_alike() {
        for input in [r#""a\n""#, r#"["a\n"]"#] {
            let body = format!(r#"{{"model":"m","input":{input}}}"#);
            let asked = parse(body.as_bytes()).unwrap();
            assert_eq!(asked.request.inputs, [Input::Text(Text::from_escaped("a\\n"))]);
            assert_eq!((asked.request.encoding, asked.request.dimensions), (Encoding::Float, None));
        }
    }

    #[test]
    fn a_data_url_of_a_picture_is_a_picture_and_a_text_about_one_is_a_text() {
        let kind = |text: &str| {
            let body = format!(r#"{{"model":"m","input":"{text}"}}"#);
            let asked = parse(body.as_bytes()).unwrap();
            matches!(&asked.request.inputs[0], Input::Image(image) if image.media_type == "image/png")
        };
        assert!(kind("data:image/png;base64,AAAA") && kind(r"DATA:image\/PNG;base64,AA\/A"));
        for text in
            ["data:image/png is a picture", "data:text/plain;base64,AAAA", "see data:image/png;base64,AAAA"]
        {
            assert!(!kind(text), "{text}");
        }
    }

    #[test]
    fn tokens_are_refused_with_the_way_out_for_langchain() {
        for input in ["[1,2]", "[[1,2],[3]]", "[ [ 1 ] ]", "[-1]"] {
            assert_eq!(refused(input), (Kind::Unsupported, "input".to_owned()), "{input}");
        }
        assert!(tokens().message.contains("check_embedding_ctx_length=False"));
    }

    #[test]
    fn what_is_no_text_is_refused_by_its_place() {
        for (input, kind, path) in [
            (r#""""#, Kind::WrongValue, "input"),
            ("[]", Kind::WrongValue, "input"),
            (r#"["a",""]"#, Kind::WrongValue, "input[1]"),
            (r#"["a",1]"#, Kind::WrongType, "input[1]"),
            (r#"["a",{"text":"b"}]"#, Kind::WrongType, "input[1]"),
            ("{}", Kind::WrongType, "input"),
            ("1", Kind::WrongType, "input"),
        ] {
            assert_eq!(refused(input), (kind, path.to_owned()), "{input}");
        }
    }

    #[test]
    fn a_request_has_as_many_texts_as_openai_takes_and_no_more() {
        let texts = |count: usize| format!("[{}]", vec![r#""a""#; count].join(","));
        assert_eq!(refused(&texts(MOST_INPUTS + 1)), (Kind::WrongValue, "input".to_owned()));
        let body = format!(r#"{{"model":"m","input":{}}}"#, texts(MOST_INPUTS));
        assert_eq!(parse(body.as_bytes()).unwrap().request.inputs.len(), MOST_INPUTS);
    }
}
