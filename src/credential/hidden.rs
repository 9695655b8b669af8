//! A text that no output shows, and that is wiped when it goes.

use std::fmt;
use std::ops::Deref;

use serde::Deserialize;
use zeroize::Zeroizing;

/// A key, a token, a password. ([`Zeroizing`] alone would show it in debug output.)
#[derive(Clone, Default, Deserialize)]
pub struct Hidden(Zeroizing<String>);

impl Hidden {
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl Deref for Hidden {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
