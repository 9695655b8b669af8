//! A request to an API of OpenAI's whose dialect the client speaks: it passes, and so does its reply.

use crate::base::error::{Error, Kind};
use crate::dialect::openai::Edition;
use crate::dialect::openai::own::{Api, Counted};
use crate::dialect::{Cloud, relay};
use crate::policy::estimate;

use super::aim::Aim;
use super::attempt::{Asked, Attempt, Expects};
use super::chat::text;
use super::measure;
use super::meter::Meter;

/// Edits a client's body; `None` if its model is no one of OpenAI's own, or if the body has to be read to say what
/// is wrong with it.
///
/// # Errors
/// What the API has no place for, named by its path.
pub fn translate(aim: &Aim<'_>, api: Api, body: &[u8]) -> Result<Option<Attempt>, Error> {
    if !aim.plan().may_pass(api) || !aim.may_lead(body, |backend, _| backend.own(api).is_some()) {
        return Ok(None);
    }
    let Some(top) = relay::Body::peek(body) else { return Ok(None) };
    let Ok(target) = aim.find(top.model.as_str()) else { return Ok(None) };
    let Some(address) = target.backend.own(api) else { return Ok(None) };
    let mut written = Vec::with_capacity(body.len() + 64);
    let given = api.pass(&top, target.model, &mut written)?;
    let (images, most_output) = match api {
        Api::Embeddings => (0, 0),
        Api::Images => (top.replies(), estimate::OUTPUT.saturating_mul(top.replies())),
    };
    let expects = Expects::Own { api, images };
    let cloud = Cloud::Completions(Edition::OpenAi);
    let asked = Asked::new(target, top.model.as_str().to_owned(), cloud, expects, given);
    let estimate = estimate::tokens(&measure::unread(body));
    let headers = Vec::new();
    let most_output = Some(most_output);
    Ok(Some(Attempt { address, headers, body: written, more: Vec::new(), asked, estimate, most_output }))
}

/// The refusal of a body that does not pass because it could be read in two ways.
pub fn unclear() -> Error {
    Error::new(
        Kind::WrongValue,
        "the body names a field twice, or more fields than the API has; say each once",
    )
}

/// Checks a reply of status 200, which leaves as it came.
///
/// # Errors
/// [`Kind::UpstreamGarbled`] when it is no such reply, or an empty one.
pub fn passed(api: Api, meter: &Meter, body: &mut Vec<u8>) -> Result<Vec<u8>, Error> {
    let Counted { items, usage } = api.count(text(body)?)?;
    match api {
        Api::Embeddings => {}
        Api::Images => meter.pictured(items),
    }
    usage.into_iter().for_each(|usage| meter.counted(usage));
    Ok(std::mem::take(body))
}
