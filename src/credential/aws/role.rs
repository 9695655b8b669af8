//! A role as the operator writes it, checked by the rules of AWS's STS before STS is asked.
//!
//! Lengths and patterns are those of botocore's service-2.json (sts, 2011-06-15).

use std::collections::{BTreeMap, HashSet};

use zeroize::Zeroizing;

use super::place::Area;
use super::sts::Role;
use crate::config::credentials::AssumeRole;
use crate::config::{Environment, Problems, Secret};

/// How long a role's keys may live, in seconds.
const SHORTEST: u64 = 900;
const LONGEST: u64 = 12 * 3600;

/// As long, where the keys that it is taken on with are a role's themselves ("role chaining",
/// docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html).
const LONGEST_CHAINED: u64 = 3600;

/// How many tags a session may have.
const MOST_TAGS: usize = 50;

/// The tag of a session that is a team's own.
pub const TEAM: &str = "team";

/// Whose keys a role is taken on with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// A user's, or nobody knows whose.
    Keys,
    /// Those of another role.
    Role,
}

/// Checks `assume_role`; adds every problem.
pub fn compile(
    written: &AssumeRole,
    start: Start,
    area: &Area<'_>,
    environment: &Environment,
    path: &str,
    problems: &mut Problems,
) -> Option<Role> {
    let before = problems.0.len();
    let arn = arn(&written.role_arn, area, &format!("{path}.role_arn"), problems);
    let session = written.session_name.as_deref().unwrap_or(SESSION);
    check_session(session, &format!("{path}.session_name"), problems);
    let external_id = match &written.external_id {
        Some(secret) => Some(external_id(secret, environment, &format!("{path}.external_id"), problems)?),
        None => None,
    };
    let longest = if start == Start::Role { LONGEST_CHAINED } else { LONGEST };
    if let Some(seconds) = written.duration_seconds
        && !(SHORTEST..=longest).contains(&seconds)
    {
        let why = match start {
            Start::Role => ": AWS lets a role that was taken on with another role's keys last no longer",
            Start::Keys => "",
        };
        let problem = format!("must be {SHORTEST} to {longest}{why}");
        problems.add(&format!("{path}.duration_seconds"), problem);
    }
    check_tags(&written.tags, &format!("{path}.tags"), problems);
    if problems.0.len() > before {
        return None;
    }
    Some(Role {
        arn: arn?,
        session: session.to_owned(),
        external_id,
        duration: written.duration_seconds,
        tags: written.tags.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
    })
}

/// The name of a session that has no other.
pub const SESSION: &str = "fairlead";

/// The name of a role, in the partition of the region.
pub fn arn(text: &str, area: &Area<'_>, path: &str, problems: &mut Problems) -> Option<String> {
    let Some(partition) = partition_of(text) else {
        problems.add(path, "must be the ARN of a role, such as `arn:aws:iam::123456789012:role/fairlead`");
        return None;
    };
    // Where the region is missing that has been said already.
    if !area.region.is_empty() && partition != area.partition() {
        let problem = format!(
            "is of the partition `{partition}`, and the region of `{}`: roles of one do not exist in the other",
            area.partition()
        );
        problems.add(path, problem);
        return None;
    }
    Some(text.to_owned())
}

/// The partition that an ARN of a role names.
fn partition_of(arn: &str) -> Option<&str> {
    /// `arnType`.
    const LONGEST: usize = 2048;
    let mut parts = arn.splitn(6, ':');
    let [scheme, partition, service, region, account, resource] = std::array::from_fn(|_| parts.next());
    let sound = scheme? == "arn"
        && service? == "iam"
        && region?.is_empty()
        && account
            .is_some_and(|account| account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()))
        && resource?.strip_prefix("role/").is_some_and(|name| !name.is_empty())
        && arn.len() <= LONGEST
        && arn.bytes().all(|byte| byte.is_ascii_graphic());
    partition.filter(|partition| sound && partition.starts_with("aws"))
}

/// `roleSessionNameType`.
pub fn check_session(text: &str, path: &str, problems: &mut Problems) {
    if !(2..=64).contains(&text.len()) || !text.chars().all(is_of_session) {
        problems
            .add(path, "must have 2 to 64 letters, digits and `_+=,.@-`; it is what AWS's CloudTrail shows");
    }
}

fn is_of_session(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)
}

/// The name of a session for a team: what may not stand in it is a `-`.
pub fn session_of(team: &str) -> String {
    let mut name: String = team.chars().take(64).map(|c| if is_of_session(c) { c } else { '-' }).collect();
    while name.len() < 2 {
        name.push('-');
    }
    name
}

/// `externalIdType`.
pub fn external_id(
    secret: &Secret,
    environment: &Environment,
    path: &str,
    problems: &mut Problems,
) -> Option<Zeroizing<String>> {
    let id = secret.resolve(environment, path, problems)?;
    let sound = |c: char| is_of_session(c) || ":/".contains(c);
    if !(2..=1224).contains(&id.len()) || !id.chars().all(sound) {
        problems.add(path, "must have 2 to 1224 letters, digits and `_+=,.@:/-`");
        return None;
    }
    Some(id)
}

/// `tagListType` and docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html.
fn check_tags(tags: &BTreeMap<String, String>, path: &str, problems: &mut Problems) {
    if tags.len() > MOST_TAGS {
        problems.add(path, format!("has {} tags; a session has {MOST_TAGS} at most", tags.len()));
    }
    let mut names = HashSet::new();
    for (name, value) in tags {
        let path = format!("{path}.{name}");
        let length = name.chars().count();
        if !(1..=128).contains(&length) || !name.chars().all(is_of_tag) || name.starts_with("aws:") {
            let problem = "must be named with 1 to 128 letters, digits, blanks and `_.:/=+-@`, and not with \
                           `aws:` before them";
            problems.add(&path, problem);
        }
        if value.chars().count() > 256 || !value.chars().all(is_of_tag) {
            problems.add(&path, "must have at most 256 letters, digits, blanks and `_.:/=+-@`");
        }
        if !names.insert(name.to_lowercase()) {
            problems.add(&path, "is there already: to AWS names of tags are the same in capitals");
        }
    }
}

/// What STS takes in tags: `[\p{L}\p{Z}\p{N}_.:/=+\-@]`. From U+0300 on there are marks among what Rust calls letters.
fn is_of_tag(c: char) -> bool {
    (c.is_alphanumeric() && c < '\u{300}') || " _.:/=+-@".contains(c)
}

/// Notes whose session it is, as far as tags can tell it.
pub fn tag_team(tags: &mut Vec<(String, String)>, team: &str) {
    let value = team.chars().take(256).map(|c| if is_of_tag(c) { c } else { '-' }).collect();
    tags.push((TEAM.to_owned(), value));
}

/// Checks that a team's session can have its own tag.
pub fn check_room_for_team(tags: &BTreeMap<String, String>, path: &str, problems: &mut Problems) {
    if let Some(name) = tags.keys().find(|name| name.eq_ignore_ascii_case(TEAM)) {
        problems.add(&format!("{path}.{name}"), "is the tag that each team's own name gets; remove it");
    }
    if tags.len() == MOST_TAGS {
        problems.add(
            path,
            format!("has {MOST_TAGS} tags, and with `{TEAM}` for each team a session has too many"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_known_by_its_arn() {
        for (arn, partition) in [
            ("arn:aws:iam::123456789012:role/fairlead", Some("aws")),
            ("arn:aws-us-gov:iam::123456789012:role/path/to/r_+=,.@-", Some("aws-us-gov")),
            ("arn:aws:iam::123456789012:user/fairlead", None),
            ("arn:aws:iam::123456789012:role/", None),
            ("arn:aws:iam::123456789012:role/a b", None),
            ("arn:aws:iam::12345678901:role/x", None),
            ("arn:aws:iam::12345678901x:role/x", None),
            ("arn:aws:iam:us-east-1:123456789012:role/x", None),
            ("arn:aws:sts::123456789012:assumed-role/x/y", None),
            ("arn:gcp:iam::123456789012:role/x", None),
            ("arn:aws:iam::123456789012", None),
            ("fairlead", None),
            ("", None),
        ] {
            assert_eq!(partition_of(arn), partition, "{arn}");
        }
    }

    #[test]
    fn a_teams_name_is_made_one_of_a_session_and_of_a_tag() {
        for (team, session, tag) in [
            ("blue", "blue", "blue"),
            ("a", "a-", "a"),
            ("Cash & Trade/EU", "Cash---Trade-EU", "Cash - Trade/EU"),
            ("S\u{fc}d, Ost", "S-d,-Ost", "S\u{fc}d- Ost"),
            ("e\u{301}\u{1f980}", "e--", "e--"),
            ("", "--", ""),
        ] {
            assert_eq!(session_of(team), session);
            let mut tags = Vec::new();
            tag_team(&mut tags, team);
            assert_eq!(tags, [(TEAM.to_owned(), tag.to_owned())]);
        }
        assert_eq!(session_of(&"x".repeat(65)).len(), 64);
    }
}
