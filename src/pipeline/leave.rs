//! Asking the filters behind this one whether a request may pass, where its calls are made beside its own way.
//!
//! A request that takes several calls would never meet a filter behind this one, such as a fleet's limits. So it goes on
//! empty, to a cluster without hosts: what lets it pass lets it reach Envoy's router, which finds none and says so. (The
//! rate limit filter asks nothing for a request whose cluster does not exist at all; tried on 1.36.2 and 1.40.0.) From
//! then on the route's `idle_timeout` runs, which in envoy/fleet.yaml is longer than all calls may take.

use crate::base::headers::Headers;
use crate::base::host::{Host, Outgoing};

use super::attempt::CLUSTER_HEADER;

/// How Envoy's router says that a cluster has no hosts
/// (envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/response_code_details).
const REACHED: &[u8] = b"no_healthy_upstream";

/// The request that goes on. Nothing of the client's is in it.
pub fn ask(cluster: &str) -> Outgoing {
    let mut headers = Headers::default();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", cluster),
        (":path", "/"),
        // Envoy's router finds no route for a request without it.
        ("x-forwarded-proto", "https"),
        ("content-length", "0"),
        (CLUSTER_HEADER, cluster),
    ] {
        headers.add(name, value);
    }
    Outgoing { headers, body: Vec::new() }
}

/// Whether the answer to it says that everything has let it pass.
pub fn is_given(host: &dyn Host) -> bool {
    host.property(&["response", "code_details"]).is_some_and(|details| details == REACHED)
}
