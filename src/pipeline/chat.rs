//! A chat request: read in the client's dialect, written in the upstream's, and its whole reply back.

use crate::base::error::{Error, Kind};
use crate::base::json::Count;
use crate::chat::{Delivery, Sink};
use crate::dialect::names::Names;
use crate::dialect::{self, Client, Model, Passed, Title, Upstream, Written, fates, relay};
use crate::policy::estimate;
use crate::provider::Backend;

use super::aim::Aim;
use super::attempt::{Asked, Attempt, Expects};
use super::measure;
use super::meter::Meter;

/// Reads a client's body and writes the upstream's.
pub fn translate(aim: &Aim<'_>, client: Client, body: &[u8]) -> Result<Attempt, Error> {
    let caller = aim.caller();
    if let Some(attempt) = pass(aim, client, body)? {
        return Ok(attempt);
    }
    let dialect::Asked { model, mut request } = client.parse(body, &caller.aside)?;
    let target = aim.find(model.as_str())?;
    let (backend, kind) = (target.backend, Model { name: target.model, family: target.family });
    let upstream = backend.upstream(client, kind.base());
    let estimate = estimate::tokens(&measure::conversation(&request));
    let fields = std::mem::take(&mut request.fields);
    let mut given = fates::settle(fields.iter().map(AsRef::as_ref), upstream.fates(client))?;
    // The bodies differ by little more than their member names.
    let mut written = Vec::with_capacity(body.len() + body.len() / 8 + 256);
    let Written { left_out, names, whole, headers: more } =
        upstream.write(&mut request, kind, &mut written)?;
    // What an upstream does not take of these it has refused.
    fates::own(&mut given, &request.extra, |_| true);
    fates::also(&mut given, left_out);
    let delivery = request.delivery;
    let replies = request.sampling.replies.map_or(1, Count::value).max(1);
    let each = request.sampling.max_tokens.map_or(estimate::OUTPUT, Count::value);
    let most_output = Some(each.saturating_mul(replies));
    let streamed = delivery.is_stream() && !whole;
    let address = backend.address(upstream, target.model, streamed)?;
    let mut headers = upstream.headers(&caller.aside);
    headers.extend(more);
    let expects = Expects::Chat { upstream, delivery, streamed, names };
    let asked = Asked::new(target, model.as_str().to_owned(), upstream.cloud(), expects, given);
    Ok(Attempt { address, headers, body: written, more: Vec::new(), asked, estimate, most_output })
}

/// The way of a request to an upstream that speaks the client's dialect; `None` if there is none, or if the
/// other way has to say what is wrong.
fn pass(aim: &Aim<'_>, client: Client, body: &[u8]) -> Result<Option<Attempt>, Error> {
    let caller = aim.caller();
    let speaks = |backend: &Backend, model: Model<'_>| backend.upstream(client, model.base()).speaks(client);
    if !aim.plan().may_speak(client) || !aim.may_lead(body, speaks) {
        return Ok(None);
    }
    let Some(top) = relay::Body::peek(body) else { return Ok(None) };
    let Ok(target) = aim.find(top.model.as_str()) else { return Ok(None) };
    let (backend, kind) = (target.backend, Model { name: target.model, family: target.family });
    let upstream = backend.upstream(client, kind.base());
    if !upstream.speaks(client) {
        return Ok(None);
    }
    let mut written = Vec::with_capacity(body.len() + 256);
    let Passed { given, headers: more } = upstream.pass(&top, kind, &caller.aside, &mut written)?;
    let delivery =
        if top.stream { Delivery::Stream { usage: client.wants_usage(&top) } } else { Delivery::Whole };
    let address = backend.address(upstream, target.model, top.stream)?;
    let mut headers = upstream.headers(&caller.aside);
    headers.extend(more);
    let expects = Expects::Relay { upstream, delivery };
    let asked = Asked::new(target, top.model.as_str().to_owned(), upstream.cloud(), expects, given);
    let estimate = estimate::tokens(&measure::unread(body));
    let each = top.most_output().unwrap_or(estimate::OUTPUT);
    let most_output = Some(each.saturating_mul(top.replies()));
    Ok(Some(Attempt { address, headers, body: written, more: Vec::new(), asked, estimate, most_output }))
}

/// Checks a whole reply of status 200 that leaves as it came.
pub fn passed(upstream: Upstream, meter: &Meter, body: &mut Vec<u8>) -> Result<Vec<u8>, Error> {
    upstream.decode(text(body)?, &mut meter.tap(&mut relay::Deaf))?;
    Ok(std::mem::take(body))
}

/// A whole reply of status 200 in the client's dialect, and its media type. A client that wants a stream
/// gets all of it at once.
pub fn whole(
    client: Client,
    upstream: Upstream,
    delivery: Delivery,
    names: &mut Names,
    title: &Title,
    meter: &Meter,
    body: &[u8],
) -> Result<(Vec<u8>, &'static str), Error> {
    let text = text(body)?;
    let mut decode =
        |sink: &mut dyn Sink| names.restored(&mut meter.tap(sink), |sink| upstream.decode(text, sink));
    match delivery {
        Delivery::Whole => {
            let mut writer = client.whole(title.clone());
            decode(writer.sink())?;
            let mut out = Vec::with_capacity(body.len() + 512);
            writer.finish(&mut out);
            Ok((out, "application/json"))
        }
        Delivery::Stream { usage } => {
            let mut writer = client.stream(title.clone(), usage);
            decode(writer.sink())?;
            writer.finish();
            Ok((std::mem::take(writer.out()), "text/event-stream"))
        }
    }
}

/// The body of a whole reply, checked once for all.
pub fn text(body: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(body)
        .map_err(|_| Error::new(Kind::UpstreamGarbled, "the cloud answered with something that is not UTF-8"))
}
