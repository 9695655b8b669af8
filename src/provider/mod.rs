//! Where a model lives and how to knock: address and authorisation of each backend.

pub mod bedrock;
pub mod direct;
pub mod vertex;

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::SystemTime;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::base::host::Host;
use crate::config::teams::Team;
use crate::config::{self, Environment, Problems, Provider};
use crate::credential::clock::Clock;
use crate::credential::source::Standing;
use crate::credential::{self, Credential, Grant, Source, google, sigv4};
use crate::dialect::{Client, Edition, Model, Upstream, embedding, image, openai};

/// One cloud in one region, checked and ready.
#[derive(Debug)]
pub struct Backend {
    /// The operator's name for it.
    pub name: String,
    /// Envoy's cluster.
    pub cluster: String,
    /// What the names of its models begin with for clients, such as `bedrock/`.
    pub prefix: &'static str,
    /// `:authority` of requests.
    pub host: String,
    site: Site,
    credential: Credential,
    /// Of the teams that call as themselves, by their names.
    teams: HashMap<String, Credential>,
    clock: Rc<Clock>,
}

/// What backends are compiled from besides what is written about each.
pub struct Surroundings<'a> {
    pub environment: &'a Environment,
    pub clock: &'a Rc<Clock>,
    pub sources: &'a credential::Sources,
    pub teams: &'a BTreeMap<String, Team>,
}

#[derive(Debug)]
enum Site {
    Bedrock(bedrock::Site),
    Vertex(vertex::Site),
    Direct(direct::Site),
}

/// Path and query of a call; percent-encoded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub path: String,
    /// Without `?`; may be empty.
    pub query: &'static str,
}

impl Address {
    /// As `:path` has it.
    pub fn target(&self) -> String {
        match self.query {
            "" => self.path.clone(),
            query => format!("{}?{query}", self.path),
        }
    }
}

/// Whether a call may go out.
#[derive(Debug, PartialEq, Eq)]
pub enum Authorisation {
    /// With these headers.
    Headers(Vec<(&'static str, String)>),
    /// Not yet: a token is on its way.
    Pending,
}

impl Backend {
    /// Checks what the operator wrote about a backend; adds every problem with its path.
    pub fn compile(
        name: &str,
        written: &config::Backend,
        around: &Surroundings<'_>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let path = format!("backends.{name}");
        if written.cluster.is_empty() {
            problems.add(
                &format!("{path}.cluster"),
                "is empty; name the Envoy cluster that leads to this backend",
            );
        }
        let Surroundings { environment, clock, sources, teams } = *around;
        let shop = credential::Shop { backend: name, environment, clock, sources, teams };
        let direct = |vendor, problems: &mut Problems| {
            let compiled = direct::Site::compile(vendor, written, around.environment, &path, problems);
            compiled.map(|(site, host, credential)| (Site::Direct(site), host, credential))
        };
        let (site, host, credential) = match written.provider {
            Provider::Bedrock => {
                let (site, host, credential) = bedrock::Site::compile(written, &shop, &path, problems)?;
                (Site::Bedrock(site), host, credential)
            }
            Provider::Vertex => {
                let (site, host, credential) = vertex::Site::compile(written, &shop, &path, problems)?;
                (Site::Vertex(site), host, credential)
            }
            Provider::Anthropic => direct(direct::Vendor::Anthropic, problems)?,
            Provider::OpenAi => direct(direct::Vendor::OpenAi, problems)?,
        };
        let host = written.host.clone().unwrap_or(host);
        if !is_host(&host) {
            let problem = "must be a host name such as `vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com`, with a port at most";
            problems.add(&format!("{path}.host"), problem);
        }
        let mut teams = HashMap::new();
        for (team, of) in around.teams {
            let own = of.credentials.get(name);
            let at = format!("teams.{team}.credentials.{name}");
            let credentials = &written.credentials;
            let own = match &site {
                Site::Bedrock(site) => credential::aws::of_team(
                    &shop,
                    &site.area(),
                    credentials,
                    &credential,
                    (team, own),
                    &at,
                    problems,
                ),
                Site::Vertex(site) => {
                    let base = (&credential, site.own_project.as_deref());
                    google::of_team(&shop, credentials, base, own, &at, problems)
                }
                Site::Direct(_) => {
                    if own.is_some() {
                        problems
                            .add(&at, "has no meaning for a backend that is called with a key; remove it");
                    }
                    None
                }
            };
            teams.extend(own.map(|own| (team.clone(), own)));
        }
        Some(Self {
            name: name.to_owned(),
            cluster: written.cluster.clone(),
            prefix: written.provider.prefix(),
            host,
            site,
            credential,
            teams,
            clock: Rc::clone(around.clock),
        })
    }

    /// The dialect in which this backend takes chat requests for a model, from clients of a dialect.
    pub fn upstream(&self, client: Client, model: &str) -> Upstream {
        match &self.site {
            Site::Bedrock(site) => site.upstream(client, model),
            Site::Vertex(_) => vertex::Site::upstream(model),
            Site::Direct(site) => match site.vendor() {
                direct::Vendor::Anthropic => Upstream::Messages(Edition::Anthropic),
                direct::Vendor::OpenAi => Upstream::Completions(openai::Edition::OpenAi),
            },
        }
    }

    /// Whether [`Backend::upstream`] may be of the client's own dialect for some model.
    pub fn may_speak(&self, client: Client) -> bool {
        match (&self.site, client) {
            (Site::Bedrock(_), Client::OpenAi) => false,
            (Site::Bedrock(site), Client::Anthropic) => site.may_speak_messages(),
            (Site::Vertex(_), Client::OpenAi | Client::Anthropic) => true,
            (Site::Direct(site), client) => match site.vendor() {
                direct::Vendor::Anthropic => client == Client::Anthropic,
                direct::Vendor::OpenAi => client == Client::OpenAi,
            },
        }
    }

    /// Where to send a chat with `model` in the dialect that [`Backend::upstream`] gave.
    ///
    /// # Errors
    /// [`Kind::UnknownModel`] for what cannot be the name of a model, [`Kind::Unsupported`] for one that
    /// answers with images: a chat has no place for them.
    pub fn address(&self, upstream: Upstream, model: &str, stream: bool) -> Result<Address, Error> {
        self.talks(model)?;
        let model = segment(model)?;
        Ok(match &self.site {
            Site::Bedrock(_) => bedrock::address(upstream, &model, stream),
            Site::Vertex(site) => site.address(upstream, &model, stream),
            Site::Direct(site) => site.address(),
        })
    }

    /// The dialect in which this backend counts the tokens of a chat with `model`.
    pub fn count_upstream(&self, model: &str) -> Upstream {
        match self.upstream(Client::Anthropic, model) {
            // Its CountTokens takes what Converse would get.
            Upstream::Messages(Edition::InvokeModel) => Upstream::Converse,
            upstream @ (Upstream::Converse
            | Upstream::Gemini
            | Upstream::Messages(_)
            | Upstream::Completions(_)) => upstream,
        }
    }

    /// Where to ask how many tokens a chat with `model` has.
    ///
    /// # Errors
    /// As [`Backend::address`], and [`Kind::Unsupported`] for a name that the provider does not count for.
    pub fn count_address(&self, model: Model<'_>) -> Result<Address, Error> {
        self.talks(model.name)?;
        let address = match &self.site {
            Site::Bedrock(site) => Some(site.count_address(model)?),
            Site::Vertex(site) => {
                site.count_address(self.upstream(Client::Anthropic, model.base()), &segment(model.name)?)
            }
            Site::Direct(site) => site.count_address(),
        };
        address.ok_or_else(|| {
            let problem = "has no API that counts its tokens; a dry run of the request estimates them";
            Error::at(Kind::Unsupported, "model", problem)
        })
    }

    /// What is known of an embedding model, and where to send texts for it.
    ///
    /// # Errors
    /// [`Kind::UnknownModel`] for a model that makes no embeddings, as far as is known.
    pub fn embeddings(&self, model: &str) -> Result<(&'static embedding::Model, Address), Error> {
        let segment = segment(model)?;
        Ok(match &self.site {
            Site::Bedrock(_) => (embedding::Model::of_bedrock(model)?, bedrock::invoke(&segment)),
            Site::Vertex(site) => {
                let known = embedding::Model::of_vertex(model)?;
                (known, site.method(&segment, known.upstream.method()))
            }
            Site::Direct(_) => {
                let problem =
                    "makes no embeddings, as far as the gateway knows; ask another provider's model";
                return Err(Error::at(Kind::UnknownModel, "model", problem));
            }
        })
    }

    /// The dialect in which this backend makes images with `model`, and where to ask for them.
    ///
    /// # Errors
    /// [`Kind::UnknownModel`] for a model that makes no images from texts, as far as is known.
    pub fn images(&self, model: &str) -> Result<(image::Upstream, Address), Error> {
        let Some(upstream) = self.draws(model) else {
            let known = match &self.site {
                Site::Bedrock(_) => bedrock::IMAGE_MODELS,
                Site::Vertex(_) => vertex::IMAGE_MODELS,
                Site::Direct(_) => "none",
            };
            let problem = format!(
                "makes no images from texts, as far as the gateway knows; those here that do are {known}"
            );
            return Err(Error::at(Kind::UnknownModel, "model", &problem));
        };
        let model = segment(model)?;
        let address = match &self.site {
            Site::Bedrock(_) => bedrock::invoke(&model),
            Site::Vertex(site) if upstream == image::Upstream::Imagen => site.method(&model, "predict"),
            Site::Vertex(site) => site.address(Upstream::Gemini, &model, false),
            Site::Direct(site) => site.address(),
        };
        Ok((upstream, address))
    }

    /// Refuses to chat with a model that would answer with images, or in a dialect that nobody here speaks.
    fn talks(&self, model: &str) -> Result<(), Error> {
        // docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/ai21
        if matches!(self.site, Site::Vertex(_))
            && model.rsplit('/').next().is_some_and(|name| name.starts_with("jamba"))
        {
            let problem =
                "is AI21's, which this gateway does not ask on Vertex AI; ask it on Bedrock (`ai21.jamba-…`)";
            return Err(Error::at(Kind::Unsupported, "model", problem));
        }
        if self.draws(model).is_none() {
            return Ok(());
        }
        let problem =
            "makes images, and a chat has no place for them; ask for them at /v1/images/generations";
        Err(Error::at(Kind::Unsupported, "model", problem))
    }

    /// The dialect of a model that makes images from texts, as far as is known.
    fn draws(&self, model: &str) -> Option<image::Upstream> {
        match &self.site {
            Site::Bedrock(_) => bedrock::images(model),
            Site::Vertex(_) => vertex::images(model),
            Site::Direct(_) => None,
        }
    }

    /// Where an API of OpenAI's is, if this backend has it: what clients say in its dialect passes.
    pub fn own(&self, api: openai::own::Api) -> Option<Address> {
        match &self.site {
            Site::Direct(site) => site.own(api),
            Site::Bedrock(_) | Site::Vertex(_) => None,
        }
    }

    /// What a team's requests go out with; `None` is somebody of no team.
    pub fn credential(&self, team: Option<&str>) -> &Credential {
        team.and_then(|team| self.teams.get(team)).unwrap_or(&self.credential)
    }

    /// Gives the headers that prove the right to call. `headers` go out with the call and are covered by
    /// the proof where the provider's scheme does that.
    ///
    /// # Errors
    /// [`crate::base::error::Kind::NoCredentials`] when there are none that could work.
    pub fn authorise(
        &self,
        credential: &Credential,
        host: &dyn Host,
        address: &Address,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Authorisation, Error> {
        let Some(grant) = credential.grant(host)? else { return Ok(Authorisation::Pending) };
        let proof = match (&self.site, &*grant) {
            (Site::Bedrock(site), Grant::Keys(keys)) => {
                let request = sigv4::Request {
                    method: "POST",
                    host: &self.host,
                    path: &address.path,
                    query: "",
                    headers,
                    body,
                };
                site.sign(self.clock.now(host), keys, &request)?
            }
            (Site::Bedrock(_), Grant::Token(token)) => vec![("authorization", bearer(token))],
            (Site::Vertex(site), Grant::Token(token)) => {
                let project =
                    site.quota_project.iter().map(|project| (google::QUOTA_PROJECT, project.clone()));
                std::iter::once(("authorization", bearer(token))).chain(project).collect()
            }
            (Site::Direct(site), Grant::Token(key)) => vec![site.authorise(key)],
            (Site::Vertex(_) | Site::Direct(_), Grant::Keys(_)) => {
                return Err(Error::new(
                    Kind::Internal,
                    "the backend's credentials are those of another cloud",
                ));
            }
        };
        Ok(Authorisation::Headers(proof))
    }

    /// The names of the headers that [`Backend::authorise`] gives.
    pub fn proof_names(&self, credential: &Credential) -> Vec<&'static str> {
        match (&self.site, credential) {
            (Site::Bedrock(_), Credential::Fixed(grant)) => match &**grant {
                Grant::Keys(keys) => keys.header_names().to_vec(),
                Grant::Token(_) => vec!["authorization"],
            },
            // What is fetched ends, and has a session token.
            (Site::Bedrock(_), Credential::Fetched(_)) => sigv4::SESSION_HEADERS.to_vec(),
            (Site::Vertex(site), _) => {
                let project = site.quota_project.iter().map(|_| google::QUOTA_PROJECT);
                std::iter::once("authorization").chain(project).collect()
            }
            (Site::Direct(site), _) => site.proof_names().to_vec(),
        }
    }

    /// Whether a refusal is of the credentials that a request went out with, and the next one goes out with others: a
    /// token that is kept may have been revoked, a clock may be wrong. `since`: when the request was signed.
    pub fn renews(
        &self,
        credential: &Credential,
        host: &dyn Host,
        refusal: &Headers,
        since: SystemTime,
    ) -> bool {
        let (is_doubtful, told) = match &self.site {
            Site::Bedrock(_) => {
                let is_doubtful = bedrock::is_of_credentials(refusal);
                (is_doubtful, is_doubtful && self.clock.told(host, refusal, since))
            }
            Site::Vertex(_) => (refusal.status() == 401, false),
            Site::Direct(_) => (false, false),
        };
        told || (is_doubtful && credential.source().is_some_and(|source| source.distrust(host, since)))
    }

    /// Where this backend's credentials come from, those of its teams after its own.
    pub fn sources(&self) -> impl Iterator<Item = &Rc<Source>> {
        std::iter::once(&self.credential).chain(self.teams.values()).filter_map(Credential::source)
    }

    /// How its own credentials stand; `None`: they are written down.
    pub fn standing(&self, host: &dyn Host) -> Option<Standing> {
        self.credential.source().map(|source| source.standing(host))
    }
}

fn bearer(token: &str) -> String {
    ["Bearer ", token].concat()
}

/// Everything that may not stand in a path segment as it is; RFC 3986 leaves these four unreserved marks.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `ConversationalModelId` of Bedrock's service model has at most so many characters; Google's names are
/// shorter.
const LONGEST_MODEL: usize = 2048;

/// Makes one path segment of a model id: ARNs have `:` and `/`. What clients send encoded was decoded when
/// it was read, before anything was compared with it.
fn segment(model: &str) -> Result<String, Error> {
    // The two names of folders would climb out of their place in the path.
    if model.len() > LONGEST_MODEL || model == "." || model == ".." {
        return Err(Error::at(Kind::UnknownModel, "model", "is no name that a model could have"));
    }
    Ok(utf8_percent_encode(model, SEGMENT).to_string())
}

/// A field that the operator must fill with a plain word: letters, digits, `-` and what else is allowed.
fn word(
    value: Option<&String>,
    path: &str,
    marks: &[u8],
    example: &str,
    problems: &mut Problems,
) -> Option<String> {
    let good = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || marks.contains(&b))
    };
    match value {
        Some(text) if good(text) => return Some(text.clone()),
        Some(_) => problems.add(path, format!("must be a word such as `{example}`")),
        None => problems.add(path, format!("is missing; write one such as `{example}`")),
    }
    None
}

fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "443"));
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_id_is_one_segment_encoded_once() {
        let segment = |model| segment(model).unwrap();
        assert_eq!(
            segment("anthropic.claude-3-haiku-20240307-v1:0"),
            "anthropic.claude-3-haiku-20240307-v1%3A0"
        );
        let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2";
        let encoded = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fa1b2";
        assert_eq!(segment(arn), encoded);
        assert_eq!(segment("a?b#c d/../é"), "a%3Fb%23c%20d%2F..%2F%C3%A9");
    }

    #[test]
    fn what_no_model_can_be_called_is_an_unknown_model() {
        for model in [".", "..", &"x".repeat(LONGEST_MODEL + 1)] {
            assert_eq!(segment(model).unwrap_err().kind, Kind::UnknownModel, "{model}");
        }
        assert!(segment(&"é".repeat(LONGEST_MODEL / 2)).is_ok());
    }

    #[test]
    fn a_host_has_no_scheme_and_no_path() {
        for host in ["a.example", "localhost:8080", "10.0.0.1:1"] {
            assert!(is_host(host), "{host}");
        }
        for host in ["", "https://a.example", "a.example/x", "a b", "a:b", ":80"] {
            assert!(!is_host(host), "{host}");
        }
    }
}
