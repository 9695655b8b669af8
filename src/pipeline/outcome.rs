//! What a failed try is called in metrics, and where another one may have another end.

use crate::base::error::Kind;

/// How a try has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its name in metrics.
    pub name: &'static str,
    pub again: Again,
}

/// Where another try may have another end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Even at the same place.
    Anywhere,
    /// Where there are other credentials, and other models.
    Elsewhere,
    /// At a place for longer requests.
    Wider,
    /// Nowhere: the request is to blame.
    Never,
}

impl Outcome {
    /// The outcome of a try that has failed in this way.
    pub const fn of(kind: Kind) -> Self {
        let (name, again) = match kind {
            Kind::Throttled => ("throttled", Again::Anywhere),
            Kind::Overloaded => ("overloaded", Again::Anywhere),
            Kind::Unreachable => ("unreachable", Again::Anywhere),
            Kind::TimedOut => ("timeout", Again::Anywhere),
            Kind::UpstreamFailed => ("failed", Again::Anywhere),
            Kind::UpstreamGarbled => ("garbled", Again::Anywhere),
            Kind::Denied => ("denied", Again::Elsewhere),
            Kind::NoCredentials => ("no_credentials", Again::Elsewhere),
            Kind::UnknownModel => ("refused", Again::Elsewhere),
            Kind::TooLong => ("refused", Again::Wider),
            Kind::NotJson
            | Kind::WrongType
            | Kind::WrongValue
            | Kind::Missing
            | Kind::Unsupported
            | Kind::BadRequest
            | Kind::Filtered
            | Kind::Unauthenticated
            | Kind::NotAllowed
            | Kind::WrongMethod
            | Kind::TooLarge
            | Kind::Encoded
            | Kind::Exhausted
            | Kind::OverBudget
            | Kind::Internal => ("refused", Again::Never),
        };
        Self { name, again }
    }
}
