//! A chat request: read in the client's dialect, written in the upstream's, and its whole reply back.

use crate::base::error::{Error, Kind};
use crate::dialect::{self, Client, Title, Upstream, fates};
use crate::policy::estimate;

use super::attempt::{Asked, Attempt, Expects};
use super::caller::Caller;
use super::{Plan, measure};

/// Reads a client's body and writes the upstream's.
pub fn translate(plan: &Plan, caller: &Caller, client: Client, body: &[u8]) -> Result<Attempt, Error> {
    let dialect::Asked { model, request } = client.parse(body, &caller.betas)?;
    let target @ (_, backend, backend_model) = plan.find(model.as_str())?;
    let upstream = backend.upstream(client, backend_model);
    let fields = request.fields.iter().map(AsRef::as_ref);
    let mut given = fates::settle(fields, upstream.fates(client))?;
    // The bodies differ by little more than their member names.
    let mut written = Vec::with_capacity(body.len() + body.len() / 8 + 256);
    fates::also(&mut given, upstream.write(&request, backend_model, &mut written)?);
    let delivery = request.delivery;
    let address = backend.address(backend_model, delivery.is_stream())?;
    let expects = Expects::Chat { upstream, delivery };
    let asked = Asked::new(target, model.as_str().to_owned(), upstream.cloud(), expects, given);
    Ok(Attempt {
        address,
        body: written,
        asked,
        estimate: estimate::tokens(&measure::conversation(&request)),
    })
}

/// A whole reply of status 200 in the client's dialect.
pub fn whole(client: Client, upstream: Upstream, title: &Title, body: &[u8]) -> Result<Vec<u8>, Error> {
    let mut writer = client.whole(title.clone());
    upstream.decode(text(body)?, writer.sink())?;
    let mut out = Vec::with_capacity(body.len() + 512);
    writer.finish(&mut out);
    Ok(out)
}

/// The body of a whole reply, checked once for all.
fn text(body: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(body)
        .map_err(|_| Error::new(Kind::UpstreamGarbled, "the cloud answered with something that is not UTF-8"))
}
