//! What a team calls AWS as: a session of its own, in the backend's role or in the team's.
//!
//! Either role is taken on with what the backend's source gives, and not with the keys of the backend's own
//! `assume_role`: a team's role trusts the gateway, the backend's role need not be allowed to become any team, and AWS
//! ends chains of roles after an hour. The session has the team's name, and the tag `team`, by which policies, bills and
//! CloudTrail tell teams apart; so the role's trust policy must allow `sts:TagSession` beside `sts:AssumeRole`. Other
//! tags and the duration are those of the backend's `assume_role`.

use std::collections::BTreeMap;

use crate::config::Problems;
use crate::config::credentials::{Credentials, Source, TeamCredentials};

use super::super::{Credential, Grant, Shop};
use super::role::{self, Start};
use super::sts::{Role, Sts};
use super::{Area, OWNER, assume};

/// Whether each team has a session of its own.
fn is_per_team(written: &Credentials) -> bool {
    written.assume_role.as_ref().is_some_and(|role| role.per_team)
}

/// Checks that the sessions of a backend's teams can be told apart. `true`: there are some.
pub fn check(shop: &Shop<'_>, written: &Credentials, problems: &mut Problems) -> bool {
    let mut known = BTreeMap::new();
    for (team, own) in shop.teams {
        if !is_per_team(written) && !own.credentials.contains_key(shop.backend) {
            continue;
        }
        if let Some(other) = known.insert(role::session_of(team), team) {
            let problem = format!("is called the same at AWS as the team `{other}`; rename one of them");
            problems.add(&format!("teams.{team}"), problem);
        }
    }
    !known.is_empty()
}

/// What a team calls a backend as, if it is not what everyone does. `whole` is the backend's own credential.
pub fn of_team(
    shop: &Shop<'_>,
    area: &Area<'_>,
    written: &Credentials,
    whole: &Credential,
    (team, own): (&str, Option<&TeamCredentials>),
    path: &str,
    problems: &mut Problems,
) -> Option<Credential> {
    let is_key = matches!(whole, Credential::Fixed(grant) if matches!(**grant, Grant::Token(_)));
    if is_key || written.source == Source::ApiKey {
        if own.is_some() {
            problems.add(path, "has no meaning for a backend that is called with an API key; remove it");
        }
        return None;
    }
    if own.is_none() && !is_per_team(written) {
        return None;
    }
    if own.is_some_and(|own| own.service_account.is_some()) {
        problems.add(&format!("{path}.service_account"), format!("has no meaning for {OWNER}; remove it"));
    }
    // It was checked with the backend.
    let shared = written.assume_role.as_ref().and_then(|shared| {
        role::compile(shared, Start::Keys, area, shop.environment, "", &mut Problems::default())
    });
    let mut role = match own.and_then(|own| own.role_arn.as_deref()) {
        Some(arn) => {
            let arn = role::arn(arn, area, &format!("{path}.role_arn"), problems)?;
            let (duration, tags) = shared.map(|shared| (shared.duration, shared.tags)).unwrap_or_default();
            Role { arn, session: role::session_of(team), external_id: None, duration, tags }
        }
        None if own.is_some_and(|own| own.external_id.is_none()) => {
            problems.add(path, "names no role; write `role_arn`, or remove it");
            return None;
        }
        None => match shared {
            Some(shared) => Role { session: role::session_of(team), ..shared },
            None => {
                problems.add(&format!("{path}.role_arn"), "is missing; write the ARN of the team's role");
                return None;
            }
        },
    };
    if let Some(secret) = own.and_then(|own| own.external_id.as_ref()) {
        let path = format!("{path}.external_id");
        role.external_id = Some(role::external_id(secret, shop.environment, &path, problems)?);
    }
    role::tag_team(&mut role.tags, team);
    let sts = Sts::new(written.clusters.sts.clone()?, area);
    let base = match whole.source() {
        Some(source) if written.assume_role.is_some() => source.begins_with()?.clone(),
        Some(_) | None => whole.clone(),
    };
    // A team may never come.
    Some(assume(shop, sts, &role, &format!("assume_role, team {team}"), base, false))
}
