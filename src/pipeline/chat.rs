//! A chat request: read in the client's dialect, written in the upstream's, and its whole reply back.

use crate::base::error::{Error, Kind};
use crate::base::json::Count;
use crate::dialect::{self, Client, Title, Upstream, fates};

use super::Plan;
use super::attempt::{Asked, Attempt, Expects};
use super::caller::Caller;
use super::meter::Meter;

/// Reads a client's body and writes the upstream's.
pub fn translate(plan: &Plan, caller: &Caller, client: Client, body: &[u8]) -> Result<Attempt, Error> {
    let dialect::Asked { model, request } = client.parse(body, &caller.betas)?;
    let target @ (_, backend, backend_model) = plan.find(caller, model.as_str())?;
    let upstream = backend.upstream(client, backend_model);
    let fields = request.fields.iter().map(AsRef::as_ref);
    let mut lost = fates::settle(fields, upstream.fates(client))?;
    // The bodies differ by little more than their member names.
    let mut written = Vec::with_capacity(body.len() + body.len() / 8 + 256);
    fates::also(&mut lost, upstream.write(&request, backend_model, &mut written)?);
    let delivery = request.delivery;
    let most_output = request.sampling.max_tokens.map(Count::value);
    let address = backend.address(backend_model, delivery.is_stream())?;
    let expects = Expects::Chat { upstream, delivery };
    let asked = Asked::new(target, model.as_str().to_owned(), upstream.cloud(), expects, &lost);
    Ok(Attempt { address, body: written, asked, most_output })
}

/// A whole reply of status 200 in the client's dialect.
pub fn whole(
    client: Client,
    upstream: Upstream,
    title: &Title,
    meter: &Meter,
    body: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut writer = client.whole(title.clone());
    upstream.decode(text(body)?, &mut meter.tap(writer.sink()))?;
    let mut out = Vec::with_capacity(body.len() + 512);
    writer.finish(&mut out);
    Ok(out)
}

/// The body of a whole reply, checked once for all.
fn text(body: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(body)
        .map_err(|_| Error::new(Kind::UpstreamGarbled, "the cloud answered with something that is not UTF-8"))
}
