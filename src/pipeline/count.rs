//! A request to count tokens: read as the chat request that it stands for, counted by the upstream itself.

use crate::base::error::{Error, Kind};
use crate::dialect::{self, Client, Model, Upstream, fates, relay};
use crate::policy::estimate;
use crate::provider::Backend;

use super::aim::Aim;
use super::attempt::{Asked, Attempt, Expects};
use super::measure;

/// Reads a client's body and writes the upstream's.
pub fn translate(aim: &Aim<'_>, body: &[u8]) -> Result<Attempt, Error> {
    let caller = aim.caller();
    if let Some(attempt) = pass(aim, body)? {
        return Ok(attempt);
    }
    let dialect::Asked { model, mut request } = dialect::anthropic::parse_count(body, &caller.aside)?;
    let target = aim.find(model.as_str())?;
    let (backend, kind) = (target.backend, Model { name: target.model, family: target.family });
    let upstream = backend.count_upstream(kind.base());
    let address = backend.count_address(kind)?;
    let headers = upstream.headers(&caller.aside);
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
fn pass(aim: &Aim<'_>, body: &[u8]) -> Result<Option<Attempt>, Error> {
    let caller = aim.caller();
    let speaks =
        |backend: &Backend, model: Model<'_>| backend.count_upstream(model.base()).speaks(Client::Anthropic);
    if !aim.plan().may_speak(Client::Anthropic) || !aim.may_lead(body, speaks) {
        return Ok(None);
    }
    let Some(top) = relay::Body::peek(body) else { return Ok(None) };
    let Ok(target) = aim.find(top.model.as_str()) else { return Ok(None) };
    let (backend, kind) = (target.backend, Model { name: target.model, family: target.family });
    let upstream = backend.count_upstream(kind.base());
    if !upstream.speaks(Client::Anthropic) {
        return Ok(None);
    }
    let mut written = Vec::with_capacity(body.len() + 256);
    let given = upstream.pass_count(&top, target.model, &caller.aside, &mut written)?;
    let address = backend.count_address(kind)?;
    let (headers, expects) = (upstream.headers(&caller.aside), Expects::Count { upstream });
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
