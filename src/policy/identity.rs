//! Who asks: from a key, or from what another of Envoy's filters has verified, to a team.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::limits;
use super::pattern::Pattern;
use super::quota::{Limits, Scope};
use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::host::Host;
use crate::config::teams;
use crate::config::{Config, Problems};

/// Everyone who may call.
#[derive(Debug, Default)]
pub struct Directory {
    teams: Vec<Rc<Team>>,
    /// Hashes of keys by their first bytes, which nobody can choose.
    keys: HashMap<u64, Vec<Entry>>,
    /// Verified identities, and whose they are.
    identities: HashMap<String, usize>,
    verified: Option<Verified>,
    admins: Vec<Hash>,
}

/// A team, checked.
#[derive(Debug)]
pub struct Team {
    pub name: String,
    /// The models that it may use.
    models: Vec<Pattern>,
    pub scope: Rc<Scope>,
    /// Scopes of single models.
    pub model_scopes: Vec<(Pattern, Rc<Scope>)>,
}

type Hash = [u8; 32];

#[derive(Debug)]
struct Entry {
    hash: Hash,
    team: usize,
    key: Rc<Key>,
}

/// A key of a team.
#[derive(Debug)]
pub struct Key {
    pub name: Option<String>,
    expires: Option<SystemTime>,
    pub scope: Rc<Scope>,
}

/// Where another filter leaves who asks.
#[derive(Debug)]
enum Verified {
    Metadata(Vec<String>),
    Header(String),
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub struct Member {
    pub team: Rc<Team>,
    pub key: Option<Rc<Key>>,
}

/// Whose use may be looked at.
#[derive(Clone, Debug)]
pub enum Viewer {
    Member(Member),
    Admin,
}

impl Directory {
    /// Checks what the operator wrote; adds every problem with its path.
    pub fn compile(config: &Config, problems: &mut Problems) -> Self {
        let mut directory = Self { verified: verified(config, problems), ..Self::default() };
        for (index, (name, written)) in config.teams.iter().flatten().enumerate() {
            directory.team(index, name, written, problems);
        }
        if config.teams.as_ref().is_some_and(BTreeMap::is_empty) {
            let problem = "is empty, and everyone could call; name a team, or leave it out if that is meant";
            problems.add("teams", problem);
        }
        if config.teams.is_none() {
            for (name, given) in [("identity", config.identity.is_some()), ("admin", config.admin.is_some())]
            {
                if given {
                    problems
                        .add(name, "has no meaning without `teams`, and everyone could call; name a team");
                }
            }
        }
        for (index, key) in config.admin.iter().flat_map(|admin| &admin.keys).enumerate() {
            let path = format!("admin.keys[{index}].sha256");
            directory.admins.extend(hash(&key.sha256, &path, problems));
        }
        directory
    }

    fn team(&mut self, index: usize, name: &str, written: &teams::Team, problems: &mut Problems) {
        let path = format!("teams.{name}");
        if written.models.is_empty() {
            problems.add(
                &format!("{path}.models"),
                "is empty, so the team may use nothing; name patterns such as `bedrock/*`",
            );
        }
        for (number, key) in written.keys.iter().enumerate() {
            self.key(index, name, &format!("{path}.keys[{number}]"), number, key, problems);
        }
        let own = [name.to_owned()];
        let identities = written.identities.as_deref().unwrap_or(&own);
        if self.verified.is_some() {
            for identity in identities {
                if self.identities.insert(identity.clone(), index).is_some() {
                    let problem = format!("`{identity}` belongs to another team too; remove one of them");
                    problems.add(&format!("{path}.identities"), problem);
                }
            }
        } else if written.identities.is_some() {
            problems.add(
                &format!("{path}.identities"),
                "has no meaning without `identity`; add that, or remove this",
            );
        } else if written.keys.is_empty() {
            problems.add(
                &format!("{path}.keys"),
                "is empty, and there is no `identity`: nobody could be of this team",
            );
        }
        let quota = written.limits.total();
        let title = format!("team {name}");
        let scope =
            Scope::new("team", name, title, limits::compile(&quota, &format!("{path}.limits"), problems));
        let model_scopes = written.limits.models.iter().map(|(pattern, quota)| {
            let limits = limits::compile(quota, &format!("{path}.limits.models.{pattern}"), problems);
            let title = format!("team {name} for {pattern}");
            (
                Pattern::new(pattern),
                Rc::new(Scope::new("team_model", &format!("{name} {pattern}"), title, limits)),
            )
        });
        let model_scopes = model_scopes.collect();
        let models = written.models.iter().map(|pattern| Pattern::new(pattern)).collect();
        let scope = Rc::new(scope);
        self.teams.push(Rc::new(Team { name: name.to_owned(), models, scope, model_scopes }));
    }

    fn key(
        &mut self,
        team: usize,
        name: &str,
        path: &str,
        number: usize,
        key: &teams::Key,
        problems: &mut Problems,
    ) {
        let limits = limits::compile(&key.limits, &format!("{path}.limits"), problems);
        let expires =
            key.expires.as_deref().and_then(|text| moment(text, &format!("{path}.expires"), problems));
        let Some(hash) = hash(&key.sha256, &format!("{path}.sha256"), problems) else { return };
        if self.find(&hash).is_some() {
            problems.add(
                &format!("{path}.sha256"),
                "is the hash of another key too; each key belongs to one team",
            );
        }
        let called = key.name.clone().unwrap_or_else(|| format!("number {}", number + 1));
        let title = format!("key {called} of team {name}");
        // By its hash and not its place: another key before it in the list must not get its counts.
        let scope = Scope::new("key", &key.sha256.to_ascii_lowercase(), title, limits);
        let key = Rc::new(Key { name: key.name.clone(), expires, scope: Rc::new(scope) });
        self.keys.entry(head(&hash)).or_default().push(Entry { hash, team, key });
    }

    /// Whether anyone may call, because no team was written down.
    pub fn is_open(&self) -> bool {
        self.teams.is_empty()
    }

    /// Every scope with counters of its own.
    pub fn scopes(&self) -> impl Iterator<Item = &Rc<Scope>> {
        let teams = self.teams.iter().flat_map(|team| {
            std::iter::once(&team.scope).chain(team.model_scopes.iter().map(|(_, scope)| scope))
        });
        teams.chain(self.keys.values().flatten().map(|entry| &entry.key.scope))
    }

    /// Every team, in the order of their names.
    pub fn teams(&self) -> &[Rc<Team>] {
        &self.teams
    }

    /// Who sent a request with these headers; `None` when anyone may call.
    ///
    /// # Errors
    /// [`Kind::Unauthenticated`] for everyone who is no member of a team.
    pub fn identify(&self, host: &dyn Host, headers: &Headers) -> Result<Option<Member>, Error> {
        if self.is_open() {
            return Ok(None);
        }
        if let Some(identity) = self.verified.as_ref().and_then(|verified| verified.read(host, headers)) {
            let team = self.identities.get(&identity).and_then(|team| self.teams.get(*team));
            return match team {
                Some(team) => Ok(Some(Member { team: Rc::clone(team), key: None })),
                None => Err(unauthenticated("the verified identity belongs to no team of this gateway")),
            };
        }
        self.by_key(host, headers).map(Some)
    }

    /// Who wants to see what is used; `None` when anyone may call.
    ///
    /// # Errors
    /// As [`Directory::identify`].
    pub fn viewer(&self, host: &dyn Host, headers: &Headers) -> Result<Option<Viewer>, Error> {
        let hash = credential(headers).map(digest);
        if hash.is_some_and(|hash| self.admins.iter().any(|admin| same(admin, &hash))) {
            return Ok(Some(Viewer::Admin));
        }
        Ok(self.identify(host, headers)?.map(Viewer::Member))
    }

    fn by_key(&self, host: &dyn Host, headers: &Headers) -> Result<Member, Error> {
        let Some(key) = credential(headers) else {
            return Err(unauthenticated(
                "no key was sent; send yours as `authorization: Bearer …` or `x-api-key`",
            ));
        };
        let unknown =
            || unauthenticated("the key is unknown to this gateway; check it, or ask its operator for one");
        let entry = self.find(&digest(key)).ok_or_else(unknown)?;
        if entry.key.expires.is_some_and(|expires| host.now() >= expires) {
            return Err(unauthenticated(
                "the key has expired; ask the operator of this gateway for a new one",
            ));
        }
        let team = self.teams.get(entry.team).ok_or_else(unknown)?;
        Ok(Member { team: Rc::clone(team), key: Some(Rc::clone(&entry.key)) })
    }

    fn find(&self, hash: &Hash) -> Option<&Entry> {
        self.keys.get(&head(hash))?.iter().find(|entry| same(&entry.hash, hash))
    }
}

impl Member {
    /// Whether the member may use a model: by the name asked for, and by every name it leads to.
    pub fn may_use(&self, name: &str) -> bool {
        self.team.models.iter().any(|pattern| pattern.matches(name))
    }

    /// Whose limits a request for a model counts against, the narrowest first: it is refused by what the
    /// member can change most easily.
    pub fn scopes(&self, asked: &str, full: &str) -> Vec<Rc<Scope>> {
        let key = self.key.as_ref().map(|key| &key.scope);
        let models = self.model_scopes(asked, full);
        let all = key.into_iter().chain(models).chain(std::iter::once(&self.team.scope));
        all.filter(|scope| scope.limits != Limits::default()).map(Rc::clone).collect()
    }

    /// Those of them that are for the model alone.
    pub fn model_scopes(&self, asked: &str, full: &str) -> impl Iterator<Item = &Rc<Scope>> {
        let hit = move |pattern: &Pattern| pattern.matches(asked) || pattern.matches(full);
        self.team.model_scopes.iter().filter(move |(pattern, _)| hit(pattern)).map(|(_, scope)| scope)
    }
}

impl Verified {
    fn read(&self, host: &dyn Host, headers: &Headers) -> Option<String> {
        match self {
            Verified::Metadata(path) => {
                let mut whole = vec!["metadata", "filter_metadata"];
                whole.extend(path.iter().map(String::as_str));
                String::from_utf8(host.property(&whole)?).ok()
            }
            Verified::Header(name) => headers.get(name).map(str::to_owned),
        }
        .filter(|identity| !identity.is_empty())
    }
}

fn verified(config: &Config, problems: &mut Problems) -> Option<Verified> {
    let written = config.identity.as_ref()?;
    match (&written.metadata, &written.header) {
        (Some(path), None) if path.len() >= 2 => Some(Verified::Metadata(path.clone())),
        (Some(_), None) => {
            problems.add("identity.metadata", "must name a filter and a member of what it leaves, such as [\"envoy.filters.http.jwt_authn\", \"jwt_payload\", \"team\"]");
            None
        }
        (None, Some(header)) if !header.is_empty() => Some(Verified::Header(header.clone())),
        _ => {
            problems.add("identity", "must have either `metadata` or `header`");
            None
        }
    }
}

/// The key that a client sends, in the ways of OpenAI's, Anthropic's and Azure's SDKs.
fn credential(headers: &Headers) -> Option<&str> {
    let bearer = headers.get("authorization").and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        let key = key.trim();
        // Some SDKs send an empty one beside their own header.
        (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
    });
    let key = bearer.or_else(|| headers.get("x-api-key")).or_else(|| headers.get("api-key"))?;
    (!key.is_empty()).then_some(key)
}

fn unauthenticated(problem: &str) -> Error {
    Error::new(Kind::Unauthenticated, problem)
}

fn digest(key: &str) -> Hash {
    Sha256::digest(key.as_bytes()).into()
}

/// What hashes are found by. An attacker learns at most how the hash of his own guess begins.
fn head(hash: &Hash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Compares in a time that does not depend on where they differ.
fn same(a: &Hash, b: &Hash) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| black_box(difference | (a ^ b)));
    difference == 0
}

fn hash(hex: &str, path: &str, problems: &mut Problems) -> Option<Hash> {
    let mut hash = Hash::default();
    let digits = hex.len() == 64 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !digits {
        problems.add(
            path,
            "must be the SHA-256 of the key as 64 hexadecimal digits: printf %s \"$KEY\" | sha256sum",
        );
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = hex.get(2 * index..2 * index + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok())?;
    }
    Some(hash)
}

fn moment(text: &str, path: &str, problems: &mut Problems) -> Option<SystemTime> {
    match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(moment) => {
            let seconds = u64::try_from(moment.unix_timestamp()).unwrap_or(0);
            UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
        }
        Err(_) => {
            problems.add(path, "must be a date and time such as `2027-01-31T00:00:00Z`");
            None
        }
    }
}
