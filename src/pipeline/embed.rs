//! A request for embeddings: read in OpenAI's dialect, written for one call or several, and their replies back.

use std::ops::Range;

use crate::base::error::Error;
use crate::base::host::{Host, Level};
use crate::chat::Usage;
use crate::dialect::openai::embedding as client;
use crate::dialect::openai::own::Api;
use crate::dialect::{embedding, fates};
use crate::embedding::{Encoding, Input};
use crate::policy::estimate::{self, Size};

use super::aim::Aim;
use super::attempt::{Asked, Attempt, Expects};
use super::chat::text;
use super::own;

/// Reads a client's body and writes the bodies of the calls.
pub fn translate(aim: &Aim<'_>, body: &[u8]) -> Result<Attempt, Error> {
    if let Some(attempt) = own::translate(aim, Api::Embeddings, body)? {
        return Ok(attempt);
    }
    let client::Asked { model, request } = client::parse(body)?;
    let target = aim.find(model.as_str())?;
    if target.backend.own(Api::Embeddings).is_some() {
        return Err(own::unclear());
    }
    let (known, address) = target.backend.embeddings(target.model)?;
    let upstream = known.upstream;
    let mut given = fates::settle(request.fields.iter().map(AsRef::as_ref), upstream.fates())?;
    fates::own(&mut given, &request.extra, |_| true);
    let calls = known.calls(&request.inputs);
    let mut bodies = Vec::with_capacity(calls.len());
    for texts in &calls {
        let mut written = Vec::with_capacity(256);
        known.write(&request, texts, &mut written)?;
        bodies.push(written);
    }
    let more = bodies.split_off(1.min(bodies.len()));
    let first = bodies.pop().unwrap_or_default();
    let expects = Expects::Embeddings { upstream, encoding: request.encoding, calls };
    let asked = Asked::new(target, model.as_str().to_owned(), upstream.cloud(), expects, given);
    let estimate = estimate::tokens(&size(&request.inputs));
    Ok(Attempt { address, headers: Vec::new(), body: first, more, asked, estimate, most_output: Some(0) })
}

/// What there is to embed.
fn size(inputs: &[Input<'_>]) -> Size {
    let mut size = Size::default();
    for input in inputs {
        match input {
            Input::Text(text) => size.text = size.text.saturating_add(text.escaped().len()),
            Input::Image(_) => size.images = size.images.saturating_add(1),
        }
    }
    size
}

/// The vectors of one call as the client gets them, and how many tokens its texts had.
#[derive(Debug)]
pub struct Part {
    pub items: Vec<u8>,
    /// `None`: the cloud does not tell.
    pub tokens: Option<u64>,
}

/// Reads the reply to a call, whose texts have the numbers `texts`. `counted` is what its headers say of tokens.
pub fn part(
    upstream: embedding::Upstream,
    encoding: Encoding,
    texts: &Range<usize>,
    counted: Option<u64>,
    body: &[u8],
) -> Result<Part, Error> {
    let answer = upstream.decode(text(body)?, texts.len())?;
    let items = client::items(texts.start, &answer.vectors, encoding)?;
    Ok(Part { items, tokens: counted.or(answer.tokens) })
}

/// The client's whole reply.
pub fn whole(parts: Vec<Part>, asked: &Asked, host: &dyn Host) -> Vec<u8> {
    let tokens = parts.iter().try_fold(0u64, |all, part| Some(all.saturating_add(part.tokens?)));
    if let Some(input) = tokens {
        asked.meter.counted(Usage { input, ..Usage::default() });
    } else {
        // Clients read the number without a look whether it is there; a sum of some calls only would be wrong.
        host.log(
            Level::Warn,
            "a cloud gave vectors and did not say of how many tokens; the client is told of none",
        );
    }
    let pieces = parts.into_iter().map(|part| part.items).collect();
    client::whole(pieces, &asked.model, tokens.unwrap_or_default())
}
