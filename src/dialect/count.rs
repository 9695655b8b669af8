//! Counting the tokens of a request: what the upstreams' counting APIs have in common.

use crate::base::error::{Error, Kind};
use crate::base::json::{self, Fields, Writer};

/// Writes those members of a chat request's body, which this gateway has written itself, that counting takes.
///
/// # Errors
/// [`Kind::Internal`] when the body is no object.
pub fn pick(body: &[u8], taken: &[&str], w: &mut Writer<'_>) -> Result<(), Error> {
    let broken = || Error::new(Kind::Internal, "the request to be counted could not be written");
    let text = std::str::from_utf8(body).map_err(|_| broken())?;
    let Fields(members) = json::read(text).map_err(|_| broken())?;
    for (name, value) in members.iter().filter(|(name, _)| taken.contains(&name.as_str())) {
        w.foreign_key(name.as_str()).raw(value);
    }
    Ok(())
}

/// The error about a reply in which the count is missing.
pub fn garbled() -> Error {
    Error::new(Kind::UpstreamGarbled, "the cloud's answer holds no count of tokens")
}

/// `{"input_tokens":…}`, as clients of Anthropic's API want it.
pub fn write(tokens: u64, out: &mut Vec<u8>) {
    Writer::new(out).object(|w| w.key("input_tokens").number(tokens));
}
