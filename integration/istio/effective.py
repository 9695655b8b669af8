"""Resources of Istio to the Envoy configuration that Istio's control plane and agent make of them, for one gateway.

Only what envoy/istio/ uses is known; anything else is an error, so that no field is without effect here. Sources, in
github.com/istio/istio: pilot/pkg/networking/core/listener_builder.go (the order of filters), pilot/pkg/model/extensions.go
(WasmPlugin), pilot/pkg/networking/core/envoyfilter/ (patches), pilot/pkg/networking/core/route/route.go and cluster_builder.go.

What Envoy's own build cannot run is left out: Istio's filters for statistics and metadata, which touch neither bodies
nor routes. Configurations that Envoy fetches by name (ECDS, RDS) stand where they would arrive.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import yaml

MANAGER = "envoy.filters.network.http_connection_manager"
ROUTER = "envoy.filters.http.router"
TYPE = "type.googleapis.com/"

#: The phases of WasmPlugins in the order of the chain; between them stand filters that the examples do not use.
PHASES = ["AUTHN", "AUTHZ", "STATS", "UNSPECIFIED_PHASE"]


def read(*paths: Path) -> list[dict[str, Any]]:
    """The resources in files of YAML."""
    return [one for path in paths for one in yaml.safe_load_all(path.read_text()) if one]


def proxy_headers(values: Path) -> dict[str, Any]:
    """What the values of the gateway's chart say of the headers that the mesh adds."""
    annotations = yaml.safe_load(values.read_text())["podAnnotations"]
    return yaml.safe_load(annotations["proxy.istio.io/config"])["proxyHeaders"]


def effective(resources: list[dict[str, Any]], headers: dict[str, Any]) -> dict[str, Any]:
    """A whole configuration of Envoy; `headers`: the `proxyHeaders` of the gateway's pods."""

    def of(kind: str) -> list[dict[str, Any]]:
        return [one for one in resources if one["kind"] == kind]

    known = {"Gateway", "VirtualService", "ServiceEntry", "DestinationRule", "WasmPlugin", "EnvoyFilter"}
    assert {one["kind"] for one in resources} <= known
    rules = {one["spec"]["host"]: one["spec"]["trafficPolicy"] for one in of("DestinationRule")}
    config = {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 15000}}},
        "static_resources": {
            "listeners": [
                listener(gateway, of("VirtualService"), of("WasmPlugin"), headers) for gateway in of("Gateway")
            ],
            "clusters": [cluster(entry, rules) for entry in of("ServiceEntry")],
        },
    }
    patch(config, [each for one in of("EnvoyFilter") for each in one["spec"]["configPatches"]])
    return config


def listener(
    gateway: dict[str, Any], services: list[dict[str, Any]], plugins: list[dict[str, Any]], headers: dict[str, Any]
) -> dict[str, Any]:
    """The one listener of a gateway, with its routes, and without its certificate."""
    (server,) = gateway["spec"]["servers"]
    assert server["hosts"] == ["*"]
    labels = gateway["spec"]["selector"]
    manager = {
        "@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "llm",
        "use_remote_address": True,
        # Istio cuts no stream for its silence.
        "stream_idle_timeout": "0s",
        "http_filters": [
            *wasm_filters([one for one in plugins if one["spec"]["selector"]["matchLabels"] == labels]),
            _filter("envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault"),
            _filter("envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors"),
            _filter(
                ROUTER, "envoy.extensions.filters.http.router.v3.Router",
                suppress_envoy_headers=headers.get("envoyDebugHeaders", {}).get("disabled", False),
            ),
        ],
        "route_config": {
            "name": f"https.{server['port']['number']}",
            "virtual_hosts": [
                virtual_host(one, headers) for one in services if gateway["metadata"]["name"] in one["spec"]["gateways"]
            ],
        },
    }  # fmt: skip
    port = server["port"]["number"]
    return {
        "name": f"0.0.0.0_{port}",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},
        "filter_chains": [{"filters": [{"name": MANAGER, "typed_config": manager}]}],
    }


def _filter(name: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": TYPE + kind, **more}}


def virtual_host(service: dict[str, Any], headers: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": f"{service['spec']['hosts'][0]}:443",
        "domains": service["spec"]["hosts"],
        "include_request_attempt_count": not headers.get("attemptCount", {}).get("disabled", False),
        "routes": [route(http) for http in service["spec"]["http"]],
    }


def route(http: dict[str, Any]) -> dict[str, Any]:
    """One route of a VirtualService."""
    http = copy.deepcopy(http)
    match: dict[str, Any] = {"prefix": "/"}
    for one in http.pop("match", []):
        for name, wanted in one.pop("headers").items():
            match.setdefault("headers", []).append({"name": name, "string_match": {"exact": wanted["exact"]}})
        assert not one, one
    made: dict[str, Any] = {"name": http.pop("name"), "match": match}
    headers = http.pop("headers", {})
    if removed := headers.get("request", {}).get("remove"):
        made["request_headers_to_remove"] = removed
    made["response_headers_to_add"] = [
        {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for name, value in headers.get("response", {}).get("set", {}).items()
    ]
    if "directResponse" in http:
        answer = http.pop("directResponse")
        made["direct_response"] = {"status": answer["status"], "body": {"inline_string": answer["body"]["string"]}}
    else:
        (to,) = http.pop("route")
        retries = http.pop("retries")
        made["route"] = {
            "cluster": cluster_name(to["destination"]["host"], to["destination"]["port"]["number"]),
            # A VirtualService without a timeout has none.
            "timeout": http.pop("timeout", "0s"),
            "retry_policy": {"retry_on": retries["retryOn"], "num_retries": retries["attempts"]},
        }
    assert not http, http
    return made


def cluster_name(host: str, port: int) -> str:
    return f"outbound|{port}||{host}"


def cluster(entry: dict[str, Any], rules: dict[str, Any]) -> dict[str, Any]:
    """The cluster of a ServiceEntry, with what its DestinationRule says."""
    (host,), (port,) = entry["spec"]["hosts"], entry["spec"]["ports"]
    assert entry["spec"]["resolution"] == "DNS"
    name = cluster_name(host, port["number"])
    endpoint = {"address": {"socket_address": {"address": host, "port_value": port["number"]}}}
    made: dict[str, Any] = {
        "name": name, "type": "STRICT_DNS", "dns_lookup_family": "V4_ONLY", "connect_timeout": "10s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    }  # fmt: skip
    policy = copy.deepcopy(rules.get(host, {}))
    if tls := policy.pop("tls", None):
        assert tls["mode"] == "SIMPLE"
        names = [{"san_type": "DNS", "matcher": {"exact": name}} for name in tls["subjectAltNames"]]
        # Without `caCertificates`: those of the image.
        trust = {"trusted_ca": {"filename": "/etc/ssl/certs/ca-certificates.crt"}, "match_typed_subject_alt_names": names}
        made["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": TYPE + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": tls["sni"],
                "common_tls_context": {"validation_context": trust},
            },
        }
    if pool := policy.pop("connectionPool", None):
        made["connect_timeout"] = pool["tcp"]["connectTimeout"]
        limits = {
            "max_connections": pool["tcp"]["maxConnections"],
            "max_pending_requests": pool["http"]["http1MaxPendingRequests"],
            "max_requests": pool["http"]["http2MaxRequests"],
        }
        made["circuit_breakers"] = {"thresholds": [limits]}
    assert not policy, policy
    return made


def wasm_filters(plugins: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The filters of WasmPlugins: by phase, and in a phase the higher priority first."""

    def place(plugin: dict[str, Any]) -> tuple[int, int]:
        spec = plugin["spec"]
        return PHASES.index(spec.get("phase", "UNSPECIFIED_PHASE")), -spec.get("priority", 0)

    return [wasm_filter(plugin) for plugin in sorted(plugins, key=place)]


def wasm_filter(plugin: dict[str, Any]) -> dict[str, Any]:
    meta, spec = plugin["metadata"], plugin["spec"]
    name = f"{meta['namespace']}.{meta['name']}"
    environment = spec.get("vmConfig", {}).get("env", [])
    # The control plane adds ISTIO_META_ variables, different for each plugin, and the agent takes them away again.
    variables = {one["name"]: one["value"] for one in environment if one.get("valueFrom", "INLINE") == "INLINE"}
    config = {
        "name": name,
        "root_id": spec["pluginName"],
        "failure_policy": {"FAIL_CLOSE": "FAIL_CLOSED"}.get(spec["failStrategy"], spec["failStrategy"]),
        # There is no vm_id: what has the same code and (from Envoy 1.40 on) the same variables shares a VM.
        "vm_config": {
            "runtime": "envoy.wasm.runtime.v8",
            "code": pulled(spec["url"]),
            "environment_variables": {
                "key_values": variables,
                "host_env_keys": [one["name"] for one in environment if one.get("valueFrom") == "HOST"],
            },
        },
    }
    if "pluginConfig" in spec:
        text = json.dumps(spec["pluginConfig"], sort_keys=True)
        config["configuration"] = {"@type": TYPE + "google.protobuf.StringValue", "value": text}
    return {
        "name": f"extensions.istio.io/wasmplugin/{name}",
        "typed_config": {"@type": TYPE + "envoy.extensions.filters.http.wasm.v3.Wasm", "config": config},
    }


def pulled(url: str) -> dict[str, Any]:
    """Istio's agent pulls the image and shows Envoy a file."""
    assert url.startswith("oci://"), url
    return {"local": {"filename": "/var/lib/istio/data/fairlead.wasm"}}


# EnvoyFilter


def patch(config: dict[str, Any], patches: list[dict[str, Any]]) -> None:
    """Applies the patches of all EnvoyFilters together; listeners that they add come last, and nothing patches those."""
    # An EXTENSION_CONFIG can only be added; MERGE has no effect on what a WasmPlugin made.
    named = {}
    for one in patches:
        if one["applyTo"] == "EXTENSION_CONFIG":
            assert one["patch"]["operation"] == "ADD", "nothing but ADD has an effect"
            added = copy.deepcopy(one["patch"]["value"])
            code = added["typed_config"]["config"]["vm_config"]["code"]
            added["typed_config"]["config"]["vm_config"]["code"] = pulled(code["remote"]["http_uri"]["uri"])
            named[added["name"]] = added["typed_config"]
    for one in patches:
        assert one["match"]["context"] == "GATEWAY"
        match one["applyTo"], one["patch"]["operation"]:
            case ("EXTENSION_CONFIG", _) | ("LISTENER", "ADD"):
                pass
            case "LISTENER", "MERGE":
                for each in config["static_resources"]["listeners"]:
                    merge(each, one["patch"]["value"])
            case "CLUSTER", "ADD":
                config["static_resources"]["clusters"].append(fetched(one["patch"]["value"], named))
            case "HTTP_ROUTE", "INSERT_FIRST":
                insert_first(config, one["match"]["routeConfiguration"], one["patch"]["value"])
            case "HTTP_FILTER", "INSERT_BEFORE":
                insert_before(config, one["match"]["listener"], fetched(one["patch"]["value"], named))
            case other:
                raise NotImplementedError(other)
    # listener_patch.go: patchListeners goes through what is there, and appends afterwards.
    config["static_resources"]["listeners"] += [
        copy.deepcopy(one["patch"]["value"])
        for one in patches
        if (one["applyTo"], one["patch"]["operation"]) == ("LISTENER", "ADD")
    ]


def fetched(node: Any, named: dict[str, Any]) -> Any:
    """A copy, in which configurations to be fetched by name have come."""
    if isinstance(node, list):
        return [fetched(one, named) for one in node]
    if not isinstance(node, dict):
        return node
    if "config_discovery" in node:
        return {"name": node["name"], "typed_config": copy.deepcopy(named[node["name"]])}
    return {name: fetched(one, named) for name, one in node.items()}


def insert_first(config: dict[str, Any], where: dict[str, Any], new: dict[str, Any]) -> None:
    for each in config["static_resources"]["listeners"]:
        (manager,) = each["filter_chains"][0]["filters"]
        for host in manager["typed_config"]["route_config"]["virtual_hosts"]:
            if where["vhost"]["name"] == host["name"]:
                host["routes"].insert(0, copy.deepcopy(new))


def insert_before(config: dict[str, Any], where: dict[str, Any], new: dict[str, Any]) -> None:
    network = where["filterChain"]["filter"]
    assert network["name"] == MANAGER
    for each in config["static_resources"]["listeners"]:
        for chain in each["filter_chains"]:
            (manager,) = chain["filters"]
            filters = manager["typed_config"]["http_filters"]
            names = [one["name"] for one in filters]
            filters.insert(names.index(network["subFilter"]["name"]), copy.deepcopy(new))


def merge(into: dict[str, Any], value: dict[str, Any]) -> None:
    """Protobuf's merge: messages are merged, lists grow, all else is replaced."""
    for name, new in value.items():
        if isinstance(new, dict) and isinstance(into.get(name), dict):
            merge(into[name], new)
        elif isinstance(new, list) and isinstance(into.get(name), list):
            into[name] += copy.deepcopy(new)
        else:
            into[name] = copy.deepcopy(new)
