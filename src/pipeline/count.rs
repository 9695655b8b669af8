//! A request to count tokens: read as the chat request that it stands for, counted by the upstream itself.

use crate::base::error::{Error, Kind};
use crate::dialect::{self, Client, Model, Upstream, fates, relay};
use crate::policy::estimate;

use super::attempt::{Asked, Attempt, Expects};
use super::caller::Caller;
use super::{Plan, measure};

/// Reads a client's body and writes the upstream's.
pub fn translate(plan: &Plan, caller: &Caller, body: &[u8]) -> Result<Attempt, Error> {
    if let Some(attempt) = pass(plan, caller, body)? {
        return Ok(attempt);
    }
    let dialect::Asked { model, mut request } = dialect::anthropic::parse_count(body, &caller.betas)?;
    let target @ (_, backend, backend_model) = plan.find(caller, model.as_str())?;
    let kind = Model { name: backend_model, family: plan.family(model.as_str()) };
    let upstream = backend.count_upstream(kind.base());
    let address = backend.count_address(kind)?;
    let headers = upstream.headers(&caller.betas);
    let estimate = estimate::tokens(&measure::conversation(&request));
    let fields = std::mem::take(&mut request.fields);
    let mut given = fates::settle(fields.iter().map(AsRef::as_ref), upstream.count_fates())?;
    let mut written = Vec::with_capacity(body.len() + body.len() / 8 + 256);
    fates::also(&mut given, upstream.write_count(&mut request, kind, &mut written)?);
    fates::own(&mut given, &request.extra, |name| upstream.count_members().contains(&name));
    let expects = Expects::Count { upstream };
    let asked = Asked::new(target, model.as_str().to_owned(), upstream.cloud(), expects, given);
    // Counting is free, and takes none of the tokens that it counts.
    Ok(Attempt { address, headers, body: written, more: Vec::new(), asked, estimate, most_output: Some(0) })
}

/// The way of a request to an upstream that speaks the client's dialect; `None` if there is none, or if the
/// other way has to say what is wrong.
fn pass(plan: &Plan, caller: &Caller, body: &[u8]) -> Result<Option<Attempt>, Error> {
    if !plan.may_speak(Client::Anthropic) {
        return Ok(None);
    }
    let Some(top) = relay::Body::peek(body) else { return Ok(None) };
    let Ok(target @ (_, backend, backend_model)) = plan.find(caller, top.model.as_str()) else {
        return Ok(None);
    };
    let kind = Model { name: backend_model, family: plan.family(top.model.as_str()) };
    let upstream = backend.count_upstream(kind.base());
    if !upstream.speaks(Client::Anthropic) {
        return Ok(None);
    }
    let mut written = Vec::with_capacity(body.len() + 256);
    let given = upstream.pass_count(&top, backend_model, &mut written)?;
    let address = backend.count_address(kind)?;
    let (headers, expects) = (upstream.headers(&caller.betas), Expects::Count { upstream });
    let asked = Asked::new(target, top.model.as_str().to_owned(), upstream.cloud(), expects, given);
    let estimate = estimate::tokens(&measure::unread(body));
    let (body, more, most_output) = (written, Vec::new(), Some(0));
    Ok(Some(Attempt { address, headers, body, more, asked, estimate, most_output }))
}

/// The upstream's reply of status 200 as the client wants it.
pub fn whole(upstream: Upstream, body: &[u8]) -> Result<Vec<u8>, Error> {
    let text = std::str::from_utf8(body)
        .map_err(|_| Error::new(Kind::UpstreamGarbled, "the cloud's answer is not UTF-8"))?;
    let mut out = Vec::with_capacity(32);
    dialect::count::write(upstream.read_count(text)?, &mut out);
    Ok(out)
}
