"""Writes dist/image: the plugin as an OCI image layout that Istio pulls, made without a container engine.

The layout is that of github.com/opencontainers/image-spec (image-layout.md). Of the variants of
github.com/solo-io/wasm/blob/master/spec it is "compat": one gzipped tar with plugin.wasm in it, which every registry takes.
The same plugin gives the same bytes.
"""

import gzip
import hashlib
import io
import json
import re
import shutil
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WASM = ROOT / "dist" / "fairlead.wasm"
IMAGE = ROOT / "dist" / "image"

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
INDEX = "application/vnd.oci.image.index.v1+json"


def version():
    """The plugin's version, which is the image's tag."""
    return re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]


def layer(wasm):
    """A tar with the plugin where Istio looks for it, of nobody and at no time."""
    file = tarfile.TarInfo("plugin.wasm")
    file.size, file.mode = len(wasm), 0o644
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(file, io.BytesIO(wasm))
    return packed.getvalue()


def write(wasm, folder):
    """Writes the layout; gives the digest of its manifest."""
    shutil.rmtree(folder, ignore_errors=True)
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(kind, content):
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    def document(kind, value):
        return blob(kind, json.dumps(value, indent=1).encode())

    tar = layer(wasm)
    labels = {"org.opencontainers.image.title": "fairlead", "org.opencontainers.image.version": version()}
    labels["org.opencontainers.image.licenses"] = "Apache-2.0"
    config = {
        "architecture": "wasm",
        "os": "wasip1",
        "config": {"Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": document(CONFIG, config),
        "layers": [blob(LAYER, gzip.compress(tar, 9, mtime=0))],
        "annotations": labels,
    }
    named = document(MANIFEST, manifest)
    named["annotations"] = {"org.opencontainers.image.ref.name": version()}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}
    (folder / "index.json").write_text(json.dumps(index, indent=1))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return named["digest"]


def main():
    if not WASM.is_file():
        print(f"fairlead: there is no {WASM.relative_to(ROOT)}; type: make build", file=sys.stderr)
        return 1
    digest = write(WASM.read_bytes(), IMAGE)
    print(f"dist/image: fairlead:{version()}, {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
