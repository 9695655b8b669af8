//! `GET /health`: whether the plugin lives, and which backends have no credentials to be called with.

use super::Plan;
use crate::base::host::{Host, Reply};
use crate::base::json::Writer;
use crate::credential::source::Standing;

/// The answer. Its status is 200 as long as there is one: a process that is ended because a source fails would only be
/// followed by one that has no credentials at all.
pub fn reply(plan: &Plan, host: &dyn Host) -> Reply {
    let ailing: Vec<(&str, &str)> = plan
        .backends()
        .iter()
        .filter_map(|backend| {
            let word = match backend.standing(host)? {
                Standing::Good => return None,
                Standing::Waiting => "waiting",
                Standing::Ending => "ending",
                Standing::Failing => "failing",
            };
            Some((backend.name.as_str(), word))
        })
        .collect();
    let mut body = Vec::with_capacity(64);
    Writer::new(&mut body).object(|w| {
        w.key("status").string(if ailing.is_empty() { "ok" } else { "degraded" });
        if !ailing.is_empty() {
            w.key("credentials").object(|w| {
                for (backend, word) in &ailing {
                    w.foreign_key(backend).string(word);
                }
            });
        }
    });
    Reply { status: 200, headers: vec![("content-type", "application/json".to_owned())], body }
}
