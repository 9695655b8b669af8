"""EnvoyFilters of the gateway, written from configurations for Envoy alone."""

from __future__ import annotations

from typing import Any

import yaml


def patch(apply_to: str, operation: str, value: dict[str, Any], **match: Any) -> dict[str, Any]:
    return {
        "applyTo": apply_to,
        "match": {"context": "GATEWAY", **match},
        "patch": {"operation": operation, "value": value},
    }


def written(head: str, name: str, patches: list[dict[str, Any]]) -> str:
    """A whole file: its comment, and the resource."""
    resource = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": name, "namespace": "llm"},
        "spec": {"workloadSelector": {"labels": {"istio": "llm-gateway"}}, "configPatches": patches},
    }
    return head + block(resource)


def block(value: Any) -> str:
    """YAML as a person would write it."""
    return yaml.dump(value, Dumper=Plain, sort_keys=False, width=1000, indent=2)


class Plain(yaml.SafeDumper):
    """YAML without anchors, and with texts of several lines as they are."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def text(dumper: yaml.Dumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


Plain.add_representer(str, text)
