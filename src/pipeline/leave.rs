//! Asking the filters behind this one whether a request may pass, where its calls are made beside its own way.
//!
//! A request that takes several calls would never meet a filter behind this one, such as a fleet's limits. So it goes on
//! empty, to a cluster that does not exist: what lets it pass lets it reach Envoy's router, which says so.

use crate::base::headers::Headers;
use crate::base::host::{Host, Outgoing};

use super::attempt::CLUSTER_HEADER;

/// The cluster that no configuration has.
const NOWHERE: &str = "fairlead_leave";

/// How Envoy's router says that there is no such cluster
/// (envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/response_code_details).
const REACHED: &[u8] = b"cluster_not_found";

/// The request that goes on. Nothing of the client's is in it.
pub fn ask() -> Outgoing {
    let mut headers = Headers::default();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/"),
        (":authority", NOWHERE),
        // Envoy's router finds no route for a request without it.
        ("x-forwarded-proto", "https"),
        ("content-length", "0"),
        (CLUSTER_HEADER, NOWHERE),
    ] {
        headers.add(name, value);
    }
    Outgoing { headers, body: Vec::new() }
}

/// Whether the answer to it says that everything has let it pass.
pub fn is_given(host: &dyn Host) -> bool {
    host.property(&["response", "code_details"]).is_some_and(|details| details == REACHED)
}
