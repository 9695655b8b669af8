//! A request for images: read from OpenAI's images API, written for one call or several, and their replies
//! back.

use std::time::UNIX_EPOCH;

use crate::base::error::Error;
use crate::base::host::Host;
use crate::dialect::fates;
use crate::dialect::image::{Portion, Upstream};
use crate::dialect::openai::image::{self, Asked as Parsed, Made};

use super::Plan;
use super::attempt::{Asked, Attempt, Expects};
use super::chat::text;

/// Reads a client's body and writes the bodies of the calls.
pub fn translate(plan: &Plan, body: &[u8]) -> Result<Attempt, Error> {
    let Parsed { model, request } = image::parse(body)?;
    let target @ (_, backend, backend_model) = plan.find(model.as_str())?;
    let (upstream, address) = backend.images(backend_model)?;
    let fields = request.fields.iter().map(AsRef::as_ref);
    let mut dropped = fates::settle(fields, upstream.fates())?;
    let portions = upstream.portions(request.count);
    let mut bodies = Vec::with_capacity(portions.len());
    for portion in &portions {
        let mut written = Vec::with_capacity(body.len() + 256);
        let left_out = upstream.write(&request, backend_model, *portion, &mut written)?;
        for name in left_out.0 {
            if !dropped.contains(&name) {
                dropped.push(name);
            }
        }
        bodies.push(written);
    }
    let more = bodies.split_off(1.min(bodies.len()));
    let first = bodies.pop().unwrap_or_default();
    let calls = portions.iter().map(|Portion { count, .. }| *count).collect();
    let expects = Expects::Images { upstream, calls };
    let asked = Asked::new(target, model.as_str().to_owned(), upstream.cloud(), expects, &dropped);
    Ok(Attempt { address, body: first, more, asked })
}

/// A reply of status 200 in OpenAI's words, and how many images the cloud has withheld from it.
pub fn whole(upstream: Upstream, count: u64, created: u64, body: &[u8]) -> Result<(Vec<u8>, u64), Error> {
    let images = upstream.decode(text(body)?, count)?;
    Ok((image::write(&images, created)?, images.withheld))
}

/// The reply to one of several calls.
pub fn part(upstream: Upstream, count: u64, body: &[u8]) -> Result<Made, Error> {
    Ok(Made::new(&upstream.decode(text(body)?, count)?))
}

/// The same as [`whole`] of the replies to all calls.
pub fn joined(parts: Vec<Made>, host: &dyn Host) -> Result<(Vec<u8>, u64), Error> {
    let created = host.now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let withheld = parts.iter().fold(0, |all: u64, made| all.saturating_add(made.withheld));
    Ok((image::join(parts, created)?, withheld))
}
