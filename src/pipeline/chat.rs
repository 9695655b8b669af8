//! A chat request: read in the client's dialect, written in the upstream's, and its whole reply back.

use crate::base::error::{Error, Kind};
use crate::base::json::Count;
use crate::chat::Delivery;
use crate::dialect::names::Names;
use crate::dialect::{self, Client, Title, Upstream, Written, fates, relay};
use crate::policy::estimate;

use super::attempt::{Asked, Attempt, Expects};
use super::caller::Caller;
use super::meter::Meter;
use super::{Plan, measure};

/// Reads a client's body and writes the upstream's.
pub fn translate(plan: &Plan, caller: &Caller, client: Client, body: &[u8]) -> Result<Attempt, Error> {
    if let Some(attempt) = pass(plan, caller, client, body)? {
        return Ok(attempt);
    }
    let dialect::Asked { model, mut request } = client.parse(body, &caller.betas)?;
    let target @ (_, backend, backend_model) = plan.find(caller, model.as_str())?;
    let upstream = backend.upstream(client, backend_model);
    let estimate = estimate::tokens(&measure::conversation(&request));
    let fields = std::mem::take(&mut request.fields);
    let mut given = fates::settle(fields.iter().map(AsRef::as_ref), upstream.fates(client))?;
    // The bodies differ by little more than their member names.
    let mut written = Vec::with_capacity(body.len() + body.len() / 8 + 256);
    let Written { left_out, names } = upstream.write(&mut request, backend_model, &mut written)?;
    // What an upstream does not take of these it has refused.
    fates::own(&mut given, &request.extra, |_| true);
    fates::also(&mut given, left_out);
    let delivery = request.delivery;
    let address = backend.address(upstream, backend_model, delivery.is_stream())?;
    let headers = upstream.headers(&caller.betas);
    let most_output = request.sampling.max_tokens.map(Count::value);
    let expects = Expects::Chat { upstream, delivery, names };
    let asked = Asked::new(target, model.as_str().to_owned(), upstream.cloud(), expects, given);
    Ok(Attempt { address, headers, body: written, more: Vec::new(), asked, estimate, most_output })
}

/// The way of a request to an upstream that speaks the client's dialect; `None` if there is none, or if the
/// other way has to say what is wrong.
fn pass(plan: &Plan, caller: &Caller, client: Client, body: &[u8]) -> Result<Option<Attempt>, Error> {
    if !plan.may_speak(client) {
        return Ok(None);
    }
    let Some(top) = relay::Body::peek(body) else { return Ok(None) };
    let Ok(target @ (_, backend, backend_model)) = plan.find(caller, top.model.as_str()) else {
        return Ok(None);
    };
    let upstream = backend.upstream(client, backend_model);
    if !upstream.speaks(client) {
        return Ok(None);
    }
    let mut written = Vec::with_capacity(body.len() + 256);
    let given = upstream.pass(&top, backend_model, &caller.betas, &mut written)?;
    let delivery =
        if top.stream { Delivery::Stream { usage: client.wants_usage(&top) } } else { Delivery::Whole };
    let address = backend.address(upstream, backend_model, top.stream)?;
    let headers = upstream.headers(&caller.betas);
    let expects = Expects::Relay { upstream, delivery };
    let asked = Asked::new(target, top.model.as_str().to_owned(), upstream.cloud(), expects, given);
    let (estimate, most_output) = (estimate::tokens(&measure::unread(body)), top.most_output());
    Ok(Some(Attempt { address, headers, body: written, more: Vec::new(), asked, estimate, most_output }))
}

/// Checks a whole reply of status 200 that leaves as it came.
pub fn passed(upstream: Upstream, meter: &Meter, body: &[u8]) -> Result<Vec<u8>, Error> {
    upstream.decode(text(body)?, &mut meter.tap(&mut relay::Deaf))?;
    Ok(body.to_vec())
}

/// A whole reply of status 200 in the client's dialect.
pub fn whole(
    client: Client,
    upstream: Upstream,
    names: &Names,
    title: &Title,
    meter: &Meter,
    body: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut writer = client.whole(title.clone());
    let body = text(body)?;
    names.restored(&mut meter.tap(writer.sink()), |sink| upstream.decode(body, sink))?;
    let mut out = Vec::with_capacity(body.len() + 512);
    writer.finish(&mut out);
    Ok(out)
}

/// The body of a whole reply, checked once for all.
pub fn text(body: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(body)
        .map_err(|_| Error::new(Kind::UpstreamGarbled, "the cloud answered with something that is not UTF-8"))
}
