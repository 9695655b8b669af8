//! A token in a file, which a listener of this Envoy's reads afresh for each call.

use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::base::host::Callout;
use crate::credential::source::CALL;
use crate::credential::{Answer, Carry, Problem, Step, is_token};

/// Takes the token into `carry.text`.
#[derive(Debug)]
pub struct TokenFile {
    pub cluster: String,
    /// The file's own path, under which it is served.
    pub path: String,
}

impl Step for TokenFile {
    fn name(&self) -> String {
        format!("the token file {}, cluster {},", self.path, self.cluster)
    }

    fn call(&self, _: &mut Carry, _: SystemTime) -> Result<Option<Callout>, Problem> {
        Ok(Some(Callout {
            cluster: self.cluster.clone(),
            headers: vec![
                (":method", "GET".to_owned()),
                (":path", self.path.clone()),
                (":authority", "localhost".to_owned()),
            ],
            body: Vec::new(),
            timeout: CALL,
        }))
    }

    fn read(&self, carry: &mut Carry, answer: &Answer<'_>, _: SystemTime) -> Result<(), Problem> {
        if answer.status != 200 {
            return Err(Problem::status(answer.status, None));
        }
        // Who writes such a file by hand ends it with a line.
        let text = std::str::from_utf8(answer.body).unwrap_or_default().trim_end_matches(['\r', '\n']);
        if !is_token(text) {
            return Err(Problem::garbled("with something that is no token"));
        }
        carry.text = Zeroizing::new(text.to_owned());
        Ok(())
    }
}
