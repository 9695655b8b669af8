//! `GET /fairlead/usage`: what is used of the limits, for who may see it.

use std::rc::Rc;

use crate::base::host::{Host, Reply};
use crate::base::json::Writer;
use crate::policy::identity::{Team, Viewer};
use crate::policy::quota::{Gauge, NANO_USD, Scope};

use super::Plan;

/// The path of the page.
pub const PATH: &str = "/fairlead/usage";

/// What a viewer may see: a member his team and his key, an administrator every team. Where everyone may
/// call there are no teams, and `viewer` is `None`.
pub fn reply(plan: &Plan, host: &dyn Host, viewer: Option<&Viewer>) -> Reply {
    let mut body = Vec::new();
    Writer::new(&mut body).object(|w| {
        w.key("teams").array(|w| match viewer {
            Some(Viewer::Admin) => plan.directory.teams().iter().for_each(|team| write_team(team, host, w)),
            Some(Viewer::Member(member)) => write_team(&member.team, host, w),
            None => {}
        });
        if let Some(Viewer::Member(member)) = viewer
            && let Some(key) = &member.key
        {
            w.key("key").object(|w| {
                if let Some(name) = &key.name {
                    w.key("name").string(name);
                }
                write_limits(&key.scope, host, w);
            });
        }
        if let Some(Viewer::Admin) | None = viewer {
            w.key("models").array(|w| write_models(plan.model_scopes(), host, w));
            if let Some(total) = &plan.total {
                w.key("total").object(|w| write_limits(total, host, w));
            }
        }
    });
    let headers = vec![
        ("content-type", "application/json".to_owned()),
        // It is true for this moment only.
        ("cache-control", "no-store".to_owned()),
    ];
    Reply { status: 200, headers, body }
}

fn write_team(team: &Team, host: &dyn Host, w: &mut Writer<'_>) {
    w.object(|w| {
        w.key("name").string(&team.name);
        write_limits(&team.scope, host, w);
        let models = team.model_scopes.iter().map(|(pattern, scope)| (pattern.as_str(), scope));
        w.key("models").array(|w| write_models(models, host, w));
    });
}

fn write_models<'s>(
    models: impl Iterator<Item = (&'s str, &'s Rc<Scope>)>,
    host: &dyn Host,
    w: &mut Writer<'_>,
) {
    for (name, scope) in models {
        w.object(|w| {
            w.key("model").string(name);
            write_limits(scope, host, w);
        });
    }
}

fn write_limits(scope: &Scope, host: &dyn Host, w: &mut Writer<'_>) {
    let standing = scope.standing(host);
    w.key("limits").object(|w| {
        let counts = [
            ("requests_per_minute", standing.requests),
            ("tokens_per_minute", standing.tokens),
            ("concurrent_requests", standing.concurrent),
        ];
        for (name, gauge) in counts {
            if let Some(gauge) = gauge {
                w.foreign_key(name).object(|w| write_gauge(gauge, |w, count| w.number(count), w));
            }
        }
        if let Some(gauge) = standing.budget {
            w.key("budget").object(|w| write_gauge(gauge, write_dollars, w));
        }
    });
}

fn write_gauge(gauge: Gauge, write: fn(&mut Writer<'_>, u64), w: &mut Writer<'_>) {
    for (name, value) in [("limit", gauge.limit), ("used", gauge.used), ("reserved", gauge.reserved)] {
        write(w.foreign_key(name), value);
    }
    w.key("reset_seconds").number(gauge.reset);
}

/// Dollars with the digits that they have.
fn write_dollars(w: &mut Writer<'_>, nano_usd: u64) {
    let digits = format!("{}.{:09}", nano_usd / NANO_USD, nano_usd % NANO_USD);
    w.token(digits.trim_end_matches('0').trim_end_matches('.'));
}
