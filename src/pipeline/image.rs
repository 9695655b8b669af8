//! A request for images: read from OpenAI's images API, written for one call or several, and their replies
//! back.

use std::time::UNIX_EPOCH;

use crate::base::error::Error;
use crate::base::host::Host;
use crate::chat;
use crate::dialect::fates;
use crate::dialect::image::{Portion, Upstream};
use crate::dialect::openai::image::{self, Asked as Parsed, Made};
use crate::dialect::openai::own::Api;
use crate::image::Usage;
use crate::policy::estimate::{self, Size};

use super::aim::Aim;
use super::attempt::{Asked, Attempt, Expects};
use super::chat::text;
use super::meter::Meter;
use super::own;

/// Reads a client's body and writes the bodies of the calls.
pub fn translate(aim: &Aim<'_>, body: &[u8]) -> Result<Attempt, Error> {
    if let Some(attempt) = own::translate(aim, Api::Images, body)? {
        return Ok(attempt);
    }
    let Parsed { model, request } = image::parse(body)?;
    let target = aim.find(model.as_str())?;
    if target.backend.own(Api::Images).is_some() {
        return Err(own::unclear());
    }
    let (upstream, address) = target.backend.images(target.model)?;
    let fields = request.fields.iter().map(AsRef::as_ref);
    let mut given = fates::settle(fields, upstream.fates())?;
    fates::own(&mut given, &request.extra, |_| true);
    let portions = upstream.portions(request.count);
    let mut bodies = Vec::with_capacity(portions.len());
    for portion in &portions {
        let mut written = Vec::with_capacity(body.len() + 256);
        fates::also(&mut given, upstream.write(&request, target.model, *portion, &mut written)?);
        bodies.push(written);
    }
    let more = bodies.split_off(1.min(bodies.len()));
    let first = bodies.pop().unwrap_or_default();
    // Each call reads the prompt.
    let size =
        Size { text: request.prompt.escaped().len().saturating_mul(portions.len()), ..Size::default() };
    let estimate = estimate::tokens(&size);
    let calls = portions.iter().map(|Portion { count, .. }| *count).collect();
    let expects = Expects::Images { upstream, calls };
    let asked = Asked::new(target, model.as_str().to_owned(), upstream.cloud(), expects, given);
    // The reply has no text: images have a price of their own.
    let headers = Vec::new();
    Ok(Attempt { address, headers, body: first, more, asked, estimate, most_output: Some(0) })
}

/// A reply of status 200 in OpenAI's words, and how many images the cloud has withheld from it. `created` is the
/// Unix time in seconds.
pub fn whole(
    upstream: Upstream,
    count: u64,
    created: u64,
    meter: &Meter,
    body: &[u8],
) -> Result<(Vec<u8>, u64), Error> {
    let images = upstream.decode(text(body)?, count)?;
    meter.pictured(u64::try_from(images.images.len()).unwrap_or(u64::MAX));
    if let Some(Usage { input, output, .. }) = images.usage {
        meter.counted(chat::Usage { input, output, ..chat::Usage::default() });
    }
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
