"""`make image`: an image layout that holds the plugin, whole, where Istio looks for it."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from . import gateway

spec = importlib.util.spec_from_file_location("image", gateway.ROOT / "scripts" / "image.py")
assert spec and spec.loader
image: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(image)


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("oci") / "image"
    image.write(gateway.WASM.read_bytes(), folder)
    return folder


def blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    """What a descriptor points to; fails unless digest and size are right."""
    assert {"mediaType", "digest", "size"} <= set(descriptor) <= {"mediaType", "digest", "size", "annotations"}
    algorithm, _, digest = descriptor["digest"].partition(":")
    assert algorithm == "sha256" and re.fullmatch("[0-9a-f]{64}", digest)
    content = (layout / "blobs" / algorithm / digest).read_bytes()
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (digest, descriptor["size"])
    return content


def manifest(layout: Path) -> dict[str, Any]:
    index = json.loads((layout / "index.json").read_text())
    assert (index["schemaVersion"], index["mediaType"]) == (2, "application/vnd.oci.image.index.v1+json")
    (named,) = index["manifests"]
    assert named["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert named["annotations"] == {"org.opencontainers.image.ref.name": image.version()}
    return json.loads(blob(layout, named))


def test_the_layout_is_that_of_the_specification(layout: Path) -> None:
    assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    found = manifest(layout)
    assert (found["schemaVersion"], found["mediaType"]) == (2, "application/vnd.oci.image.manifest.v1+json")
    assert found["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    config = json.loads(blob(layout, found["config"]))
    assert config["architecture"] and config["os"] and config["rootfs"]["type"] == "layers"
    (layer,) = found["layers"]
    tar = gzip.decompress(blob(layout, layer))
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(tar).hexdigest()}"]
    used = {found["config"]["digest"], layer["digest"]}
    used |= {one["digest"] for one in json.loads((layout / "index.json").read_text())["manifests"]}
    assert {f"sha256:{path.name}" for path in (layout / "blobs" / "sha256").iterdir()} == used


def test_istio_finds_the_plugin_in_it_byte_for_byte(layout: Path) -> None:
    """As pkg/wasm/imagefetcher.go does: the last layer, of this type, and in it a file of this name."""
    layer = manifest(layout)["layers"][-1]
    assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    with tarfile.open(fileobj=io.BytesIO(blob(layout, layer)), mode="r:gz") as tar:
        (entry,) = tar.getmembers()
        file = tar.extractfile(entry)
        assert entry.name == "plugin.wasm" and file is not None
        assert file.read() == gateway.WASM.read_bytes()


def test_the_same_plugin_gives_the_same_image(tmp_path: Path) -> None:
    first, second = (image.write(b"\0asm\1\0\0\0", tmp_path / name) for name in ("a", "b"))
    assert first == second != image.write(b"\0asm\1\0\0\1", tmp_path / "a")
    assert len(list((tmp_path / "a" / "blobs" / "sha256").iterdir())) == 3, "nothing of what was there before remains"
