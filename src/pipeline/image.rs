//! A request for images: read from OpenAI's images API, written for the upstream, and its reply back.

use crate::base::error::Error;
use crate::dialect::fates;
use crate::dialect::image::Upstream;
use crate::dialect::openai::image::{self, Asked as Parsed};
use crate::policy::estimate::{self, Size};

use super::Plan;
use super::attempt::{Asked, Attempt, Expects};
use super::caller::Caller;
use super::chat::text;

/// Reads a client's body and writes the upstream's.
pub fn translate(plan: &Plan, caller: &Caller, body: &[u8]) -> Result<Attempt, Error> {
    let Parsed { model, request } = image::parse(body)?;
    let target @ (_, backend, backend_model) = plan.find(caller, model.as_str())?;
    let (upstream, address) = backend.images(backend_model)?;
    let fields = request.fields.iter().map(AsRef::as_ref);
    let mut given = fates::settle(fields, upstream.fates())?;
    let mut written = Vec::with_capacity(body.len() + 256);
    let left_out = upstream.write(&request, backend_model, &mut written)?;
    fates::own(&mut given, &request.extra, |_| true);
    fates::also(&mut given, left_out);
    let expects = Expects::Images { upstream, count: request.count };
    let asked = Asked::new(target, model.as_str().to_owned(), upstream.cloud(), expects, given);
    let size = Size { text: request.prompt.escaped().len(), ..Size::default() };
    let estimate = estimate::tokens(&size);
    // The reply has no text: images have a price of their own.
    Ok(Attempt {
        address,
        headers: Vec::new(),
        body: written,
        more: Vec::new(),
        asked,
        estimate,
        most_output: Some(0),
    })
}

/// A reply of status 200 in OpenAI's words, and how many images the cloud has withheld from it.
pub fn whole(upstream: Upstream, count: u64, created: u64, body: &[u8]) -> Result<(Vec<u8>, u64), Error> {
    let images = upstream.decode(text(body)?, count)?;
    let size = images.images.iter().fold(0, |size: usize, image| {
        let prompt = image.prompt.map_or(0, |prompt| prompt.escaped().len());
        size.saturating_add(image.data.escaped().len()).saturating_add(prompt)
    });
    // The images and some words about them: a buffer that grew would hold them twice for a while.
    let mut out = Vec::with_capacity(size.saturating_add(4096));
    image::write(&images, created, &mut out);
    Ok((out, images.withheld))
}
