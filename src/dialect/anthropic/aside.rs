//! What Anthropic's clients say of a request in headers.

use crate::base::headers::Headers;

/// What stands beside a request.
#[derive(Clone, Default, Debug)]
pub struct Aside {
    /// `anthropic-beta`.
    betas: String,
    /// On whose behalf the request is made, if the client says.
    profile: Option<String>,
    /// A workspace was chosen.
    workspace: bool,
}

/// The field that the SDKs send in a header of this name.
pub const PROFILE: &str = "user_profile_id";
pub const PROFILE_HEADER: &str = "anthropic-user-profile-id";

/// Experiments that are over since 2024-12-17: what they had belongs to the API, and has fates of its own.
/// `beta.messages.count_tokens` of the `anthropic` package says the first with every request, and older clients the
/// others: platform.claude.com/docs/en/release-notes/overview.
const SETTLED: &[&str] = &[
    "token-counting-2024-11-01",
    "message-batches-2024-09-24",
    "pdfs-2024-09-25",
    "prompt-caching-2024-07-31",
];

impl Aside {
    /// Reads the headers of a request.
    pub fn read(headers: &Headers) -> Self {
        let given = |name| headers.get(name).filter(|value| !value.is_empty());
        Self {
            betas: headers.all("anthropic-beta"),
            profile: given(PROFILE_HEADER).map(str::to_owned),
            workspace: given("anthropic-workspace-id").is_some(),
        }
    }

    /// The names of the experimental features that are not everyone's by now.
    pub fn wishes(&self) -> impl Iterator<Item = &str> {
        self.betas().filter(|beta| !SETTLED.contains(beta))
    }

    /// The names of the experimental features.
    pub fn betas(&self) -> impl Iterator<Item = &str> {
        self.betas.split(',').map(str::trim).filter(|name| !name.is_empty())
    }

    /// On whose behalf the request is made.
    pub fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    /// The fields of a request that are said here: what the SDKs call parameters of it (`messages.create` of the
    /// `anthropic` package).
    pub fn fields(&self) -> impl Iterator<Item = &'static str> {
        let given = [(PROFILE, self.profile.is_some()), ("workspace_id", self.workspace)];
        given.into_iter().filter_map(|(name, is_given)| is_given.then_some(name))
    }
}
