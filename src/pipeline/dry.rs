//! What would be sent, shown in place of being sent: the way to debug a mapping.

use super::Plan;
use super::attempt::{Attempt, Expects};
use super::caller::Look;
use super::reply::about;
use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::host::Reply;
use crate::base::json::Writer;
use crate::dialect::fates::Fate;

/// The header that asks for it. It goes no further than every other header of ours.
const HEADER: &str = "x-fairlead-dry-run";

/// Whether only a look is asked for. A value that cannot be meant asks for it too: the other way would cost money.
pub fn is_asked(headers: &Headers) -> bool {
    headers.get(HEADER).is_some_and(|value| !value.eq_ignore_ascii_case("false"))
}

/// The answer to a request that would be sent. No credential is in it, and none is looked for.
///
/// # Errors
/// [`Kind::Internal`] when what was translated is of no use.
pub fn show(plan: &Plan, attempt: &Attempt, look: Look) -> Result<Reply, Error> {
    let Attempt { address, body, more, asked, estimate, .. } = attempt;
    let backend = plan.backend(asked.backend)?;
    let text =
        |body| std::str::from_utf8(body).map_err(|_| Error::new(Kind::Internal, "the request is not UTF-8"));
    let first = text(body)?;
    let more = more.iter().map(|body| text(body)).collect::<Result<Vec<_>, _>>()?;
    let mut out = Vec::with_capacity(body.len().saturating_add(2048));
    Writer::new(&mut out).object(|w| {
        w.key("backend").string(&asked.backend_name);
        if look == Look::Everything {
            w.key("cluster").string(&backend.cluster);
        }
        w.key("model").string(&asked.backend_model);
        w.key("dialect").string(asked.expects.upstream());
        w.key("estimated_input_tokens").number(*estimate);
        w.key("fields").object(|w| {
            for given in &asked.given {
                let fate = match given.fate {
                    Fate::Mapped(to) => to,
                    Fate::Dropped => "left out",
                    Fate::Refused(_) => continue,
                };
                w.foreign_key(&given.path).string(fate);
            }
        });
        w.key("left_out").array(|w| asked.dropped().for_each(|given| w.string(&given.path)));
        if let Expects::Chat { names, .. } = &asked.expects
            && names.iter().next().is_some()
        {
            w.key("renamed_tools").object(|w| {
                names.iter().for_each(|(client, upstream)| w.foreign_key(&client).string(upstream))
            });
        }
        w.key("request").object(|w| {
            if look == Look::Everything {
                w.key("method").string("POST");
                w.key("host").string(&backend.host);
                w.key("path").string(&address.target());
                w.key("headers").array(|w| attempt.header_names(backend).for_each(|name| w.string(name)));
            }
            w.key("body").token(first);
            if !more.is_empty() {
                w.key("more_bodies").array(|w| more.iter().for_each(|body| w.token(body)));
            }
        });
    });
    let mut headers = vec![("content-type", "application/json".to_owned()), (HEADER, "true".to_owned())];
    headers.extend(about(asked));
    Ok(Reply { status: 200, headers, body: out })
}
