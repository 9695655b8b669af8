//! A request to count tokens: read as the chat request that it stands for, counted by the upstream itself.

use crate::base::error::{Error, Kind};
use crate::dialect::{self, Client, Model, Upstream, fates};
use crate::policy::estimate;

use super::attempt::{Asked, Attempt, Expects};
use super::caller::Caller;
use super::{Plan, measure};

/// Reads a client's body and writes the upstream's.
pub fn translate(plan: &Plan, caller: &Caller, body: &[u8]) -> Result<Attempt, Error> {
    let dialect::Asked { model, mut request } = dialect::anthropic::parse_count(body, &caller.betas)?;
    let target @ (_, backend, backend_model) = plan.find(caller, model.as_str())?;
    let kind = Model { name: backend_model, family: plan.family(model.as_str()) };
    let upstream = backend.upstream(Client::Anthropic, kind.base());
    let address = backend.count_address(kind)?;
    let estimate = estimate::tokens(&measure::conversation(&request));
    let fields = std::mem::take(&mut request.fields);
    let mut given = fates::settle(fields.iter().map(AsRef::as_ref), upstream.count_fates())?;
    let mut written = Vec::with_capacity(body.len() + body.len() / 8 + 256);
    fates::also(&mut given, upstream.write_count(&mut request, kind, &mut written)?);
    fates::own(&mut given, &request.extra, |name| upstream.count_members().contains(&name));
    let expects = Expects::Count { upstream };
    let asked = Asked::new(target, model.as_str().to_owned(), upstream.cloud(), expects, given);
    // Counting is free, and takes none of the tokens that it counts.
    Ok(Attempt { address, body: written, more: Vec::new(), asked, estimate, most_output: Some(0) })
}

/// The upstream's reply of status 200 as the client wants it.
pub fn whole(upstream: Upstream, body: &[u8]) -> Result<Vec<u8>, Error> {
    let text = std::str::from_utf8(body)
        .map_err(|_| Error::new(Kind::UpstreamGarbled, "the cloud's answer is not UTF-8"))?;
    let mut out = Vec::with_capacity(32);
    dialect::count::write(upstream.read_count(text)?, &mut out);
    Ok(out)
}
