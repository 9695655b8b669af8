"""Writes envoy/istio/attempts.yaml: the two positions of envoy/fallback.yaml, as an EnvoyFilter.

python -m integration.istio.attempts > envoy/istio/attempts.yaml; a test holds the file against this.
"""

from __future__ import annotations

import copy
import sys
from typing import Any

from .. import gateway
from . import envoyfilter
from .envoyfilter import patch

HEAD = """\
# fairlead in Istio (1.28 or newer) in two positions: when one cloud throttles, fails or is silent, Envoy's own retries go
# to the next. Apply mesh.yaml with it. fairlead.gate stands in the gateway's listener, fairlead.attempt in the clusters.
#
# Made from ../fallback.yaml, which explains every part: change that file, then type
# python -m integration.istio.attempts > envoy/istio/attempts.yaml
# The clusters are Envoy's own, because a ServiceEntry can neither be tried one after another nor name its backend.

"""

IMAGE = "oci://registry.example.com/fairlead:0.1.0"
WASM = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
ROUTER = "envoy.filters.http.router"
MANAGER = "envoy.filters.network.http_connection_manager"


def patches(fallback: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of the EnvoyFilter for a configuration of Envoy with gate and attempts."""
    fallback = copy.deepcopy(fallback)
    (listener,) = fallback["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    gate, _ = manager["http_filters"]
    # The last route of the example answers what is nobody's; mesh.yaml has its own. A patch goes before what is there.
    routes = manager["route_config"]["virtual_hosts"][0]["routes"][-2::-1]
    clusters = fallback["static_resources"]["clusters"]
    attempts = [filters[0] for filters in map(upstream_filters, clusters) if filters]
    made = [
        patch("HTTP_FILTER", "INSERT_BEFORE", discovered("llm.fairlead-gate"), listener={
            "filterChain": {"filter": {"name": MANAGER, "subFilter": {"name": ROUTER}}}
        }),
        patch("EXTENSION_CONFIG", "ADD", extension("llm.fairlead-gate", gate)),
        patch("EXTENSION_CONFIG", "ADD", extension("llm.fairlead-attempt", attempts[0])),
    ]  # fmt: skip
    where = {"gateway": "llm/llm", "vhost": {"name": "*:443"}}
    made += [patch("HTTP_ROUTE", "INSERT_FIRST", route, routeConfiguration=where) for route in routes]
    for cluster in clusters:
        if filters := upstream_filters(cluster):
            filters[0] = discovered("llm.fairlead-attempt")
        made.append(patch("CLUSTER", "ADD", cluster))
    size = listener["per_connection_buffer_limit_bytes"]
    made.append(patch("LISTENER", "MERGE", {"per_connection_buffer_limit_bytes": size}))
    return made


def upstream_filters(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    """The filters of a cluster, to be edited."""
    options = cluster.get("typed_extension_protocol_options", {})
    return options.get("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", {}).get("http_filters", [])


def discovered(name: str) -> dict[str, Any]:
    """A filter whose configuration Envoy fetches by its name, and waits for."""
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    return {"name": name, "config_discovery": {"config_source": source, "type_urls": [WASM]}}


def extension(name: str, one: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a filter under its name; Istio's agent pulls the image."""
    config = copy.deepcopy(one["typed_config"])
    config["config"]["vm_config"]["code"] = {
        "remote": {"http_uri": {"uri": IMAGE, "cluster": "_", "timeout": "30s"}}
    }  # fmt: skip
    return {"name": name, "typed_config": config}


def written() -> str:
    """The whole file."""
    return envoyfilter.written(HEAD, "fairlead", patches(gateway.load("fallback.yaml")))


if __name__ == "__main__":
    sys.stdout.write(written())
