"""Container images for the test cluster, made without a container runtime.

They have what docker/train.Dockerfile and docker/data.Dockerfile put into theirs: Python and Java of Debian bookworm,
/opt/venv with the project and its dependencies, the user 10001, the entry point. The dependencies are copied from the
environment that the tests run in, since a build would fetch gigabytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

PACKAGES = {"headwater-core": "", "headwater-monitor": "", "headwater-k8s": "", "headwater-train": "",
            "headwater-data": "spark"}  # fmt: skip
"""Distributions of the images, each with an extra."""

VENV = "opt/venv"
SITE = f"{VENV}/lib/python3.11/site-packages"
ROOT = Path(__file__).resolve().parents[4]

_NOT_NEEDED = ("torch/include/", "torch/share/", "pyspark/examples/", "pyspark/data/")
"""Folders of distributions that nothing runs."""

ENVIRONMENT = [
    f"PATH=/{VENV}/bin:/usr/bin", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1",
    f"SPARK_HOME=/{SITE}/pyspark", f"PYSPARK_PYTHON=/{VENV}/bin/python", f"PYSPARK_DRIVER_PYTHON=/{VENV}/bin/python",
]  # fmt: skip

IMAGES: dict[str, dict[str, Any]] = {
    "docker.io/headwater/train:0.1.0": {"Entrypoint": ["headwater"], "User": "10001:10001"},
    "docker.io/headwater/data:0.1.0": {
        "Entrypoint": ["/opt/entrypoint.sh"], "User": "10001:10001", "WorkingDir": "/opt/spark/work-dir",
    },
    "docker.io/headwater/pause:0.1.0": {"Entrypoint": ["/usr/bin/sleep", "infinity"]},
}  # fmt: skip
"""Name → its settings; the last one holds a pod's namespaces."""


def closure(packages: Iterable[tuple[str, str]]) -> dict[str, Distribution]:
    """The installed distributions that some need, with themselves, by name.

    Args:
        packages: Name and extra of each.
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    todo = list(packages)
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            found[name] = installed = distribution(name)
        except PackageNotFoundError:
            continue  # a dependency of another system
        for text in installed.requires or ():
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                todo += [(need.name.lower().replace("_", "-").replace(".", "-"), each) for each in (*need.extras, "")]
    return found


def content_digest(root: Path) -> str:
    """A digest of what the images are made of: changes when they have to be made again.

    Args:
        root: The lowest layer.
    """
    about = root.stat()
    made = hashlib.sha256(repr((about.st_size, about.st_mtime_ns, _made(), IMAGES, ENVIRONMENT)).encode())
    for name, installed in sorted(closure(PACKAGES.items()).items()):
        made.update(f"{name} {installed.version}\n".encode())
    for package in _sources():
        for path in sorted(package.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                made.update(f"{path.relative_to(ROOT)} {_digest(path)}\n".encode())
    return made.hexdigest()


def _sources() -> list[Path]:
    return sorted(ROOT / "packages" / name.removeprefix("headwater-") / "src" for name in PACKAGES)


def write_layer(path: Path) -> None:
    """Writes the layer with /opt/venv, the user and the entry points."""
    with tarfile.open(path, "w") as tar:
        for name, content, mode in _made():
            _add(tar, name, content, mode)
        _link(tar, f"{VENV}/bin/python", "/usr/bin/python3.11")
        for folder in ("runs", "etc/headwater", "opt/spark/work-dir"):
            _folder(tar, folder)
        done: set[str] = set()
        for installed in closure(PACKAGES.items()).values():
            _distribution(tar, installed, done)
        for package in _sources():
            tar.add(package, SITE, filter=_plain)


def _distribution(tar: tarfile.TarFile, installed: Distribution, done: set[str]) -> None:
    for file in installed.files or ():
        name = str(file)
        source = Path(str(file.locate()))
        if name.startswith("../../../bin/"):
            name = f"../../../bin/{source.name}"
        ours = installed.name.startswith("headwater-") and ".dist-info/" not in name
        skipped = ours or name.endswith(".pyc") or name.startswith(_NOT_NEEDED) or "/tests/" in name
        target = f"{VENV}/bin/{source.name}" if name.startswith("../../../bin/") else f"{SITE}/{name}"
        if skipped or target in done or target == f"{VENV}/bin/headwater" or not source.is_file():
            continue
        done.add(target)
        tar.add(source, target, recursive=False, filter=_plain)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Root's, without times; no bytecode."""
    if "__pycache__" in entry.name:
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry


def _made() -> list[tuple[str, bytes, int]]:
    main = b"from headwater.core.cli import main\n\nmain()\n"
    return [
        (f"{VENV}/pyvenv.cfg", b"home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11\n", 0o644),
        (f"{VENV}/bin/headwater", f"#!/{VENV}/bin/python\n".encode() + main, 0o755),
        ("opt/headwater/headwater_submit.py", main, 0o644),
        ("opt/entrypoint.sh", (ROOT / "docker" / "spark-entrypoint.sh").read_bytes(), 0o555),
        ("opt/decom.sh", (ROOT / "docker" / "spark-decommission.sh").read_bytes(), 0o555),
        ("etc/passwd", b"root:x:0:0:root:/root:/bin/bash\nheadwater:x:10001:10001::/tmp:/usr/sbin/nologin\n", 0o644),
        ("etc/group", b"root:x:0:\nheadwater:x:10001:\n", 0o644),
        ("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n", 0o644),
    ]


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    tar.addfile(entry)


def _folder(tar: tarfile.TarFile, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    tar.addfile(entry)


def write_images(path: Path, layers: Sequence[Path]) -> None:
    """Writes an archive with all images, which share their layers, as `ctr images import` reads it.

    Args:
        path: The archive.
        layers: Uncompressed tar files, the lowest first.
    """
    digests = [_digest(layer) for layer in layers]
    manifest: list[dict[str, Any]] = []
    with tarfile.open(path, "w") as tar:
        for index, layer in enumerate(layers):
            tar.add(layer, f"layer-{index}.tar")
        for name, settings in IMAGES.items():
            config = {
                "architecture": "amd64", "os": "linux", "config": {"Env": ENVIRONMENT} | settings,
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
            }  # fmt: skip
            content = json.dumps(config).encode()
            file = f"{hashlib.sha256(content).hexdigest()}.json"
            _add(tar, file, content)
            files = [f"layer-{index}.tar" for index in range(len(layers))]
            manifest.append({"Config": file, "RepoTags": [name], "Layers": files})
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    _, root, out = sys.argv
    layer = Path(out).with_suffix(".layer")
    write_layer(layer)
    write_images(Path(out), [Path(root), layer])
    layer.unlink()
