//! A chat request: read in the client's dialect, written in the upstream's, and its whole reply back.

use crate::base::error::{Error, Kind};
use crate::chat::Delivery;
use crate::dialect::names::Names;
use crate::dialect::{self, Client, Title, Upstream, Written, fates, relay};

use super::Plan;
use super::attempt::{Asked, Attempt, Expects};
use super::caller::Caller;

/// Reads a client's body and writes the upstream's.
pub fn translate(plan: &Plan, caller: &Caller, client: Client, body: &[u8]) -> Result<Attempt, Error> {
    if let Some(attempt) = pass(plan, caller, client, body)? {
        return Ok(attempt);
    }
    let dialect::Asked { model, mut request } = client.parse(body, &caller.betas)?;
    let target @ (_, backend, backend_model) = plan.find(model.as_str())?;
    let upstream = backend.upstream(client, backend_model);
    let fields = std::mem::take(&mut request.fields);
    let mut dropped = fates::settle(fields.iter().map(AsRef::as_ref), upstream.fates(client))?;
    // The bodies differ by little more than their member names.
    let mut written = Vec::with_capacity(body.len() + body.len() / 8 + 256);
    let Written { left_out, names } = upstream.write(&mut request, backend_model, &mut written)?;
    for name in left_out.0 {
        if !dropped.contains(&name) {
            dropped.push(name);
        }
    }
    let delivery = request.delivery;
    let address = backend.address(upstream, backend_model, delivery.is_stream())?;
    let headers = upstream.headers(&caller.betas);
    let expects = Expects::Chat { upstream, delivery, names };
    let asked = Asked::new(target, model.as_str().to_owned(), upstream.cloud(), expects, &dropped);
    Ok(Attempt { address, headers, body: written, more: Vec::new(), asked })
}

/// The way of a request to an upstream that speaks the client's dialect; `None` if there is none, or if the
/// other way has to say what is wrong.
fn pass(plan: &Plan, caller: &Caller, client: Client, body: &[u8]) -> Result<Option<Attempt>, Error> {
    if !plan.may_speak(client) {
        return Ok(None);
    }
    let Some(top) = relay::Body::peek(body) else { return Ok(None) };
    let Ok(target @ (_, backend, backend_model)) = plan.find(top.model.as_str()) else { return Ok(None) };
    let upstream = backend.upstream(client, backend_model);
    if !upstream.speaks(client) {
        return Ok(None);
    }
    let mut written = Vec::with_capacity(body.len() + 256);
    let dropped = upstream.pass(&top, backend_model, &caller.betas, &mut written)?;
    let delivery =
        if top.stream { Delivery::Stream { usage: client.wants_usage(&top) } } else { Delivery::Whole };
    let address = backend.address(upstream, backend_model, top.stream)?;
    let headers = upstream.headers(&caller.betas);
    let expects = Expects::Relay { upstream, delivery };
    let asked = Asked::new(target, top.model.as_str().to_owned(), upstream.cloud(), expects, &dropped);
    Ok(Some(Attempt { address, headers, body: written, more: Vec::new(), asked }))
}

/// Checks a whole reply of status 200 that leaves as it came.
pub fn passed(upstream: Upstream, body: &[u8]) -> Result<Vec<u8>, Error> {
    upstream.decode(text(body)?, &mut relay::Deaf)?;
    Ok(body.to_vec())
}

/// A whole reply of status 200 in the client's dialect.
pub fn whole(
    client: Client,
    upstream: Upstream,
    names: &Names,
    title: &Title,
    body: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut writer = client.whole(title.clone());
    let body = text(body)?;
    names.restored(writer.sink(), |sink| upstream.decode(body, sink))?;
    let mut out = Vec::with_capacity(body.len() + 512);
    writer.finish(&mut out);
    Ok(out)
}

/// The body of a whole reply, checked once for all.
pub fn text(body: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(body)
        .map_err(|_| Error::new(Kind::UpstreamGarbled, "the cloud answered with something that is not UTF-8"))
}
