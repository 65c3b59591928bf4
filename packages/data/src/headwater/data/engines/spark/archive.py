"""One archive with all that a Spark worker needs: this Python, Headwater, and what Headwater depends on.

The archive is unpacked wherever Spark likes, so nothing in it knows its place: the interpreter finds its library beside
itself, and `bin/python` is a script that tells the loader where the interpreter's shared library is. pyspark is left
out: Spark brings its own.
"""

from __future__ import annotations

import importlib
import io
import re
import sys
import sysconfig
import tarfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from headwater.core.errors import ConfigError
from headwater.core.storage import storage_errors

OWN = {"headwater-core": "headwater.core", "headwater-data": "headwater.data"}
LEFT_OUT = frozenset({"pyspark", "py4j"})
_OF_THIS_MACHINE = ("direct_url.json", "RECORD")
_SKIPPED = ("test", "tests", "idlelib", "ensurepip", "turtledemo", "site-packages", "__pycache__")
_BUILDING = "config-"

_LAUNCHER = """#!/bin/sh
# The archive may be unpacked anywhere.
home=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd -P)
LD_LIBRARY_PATH="$home/lib${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}" exec "$home/bin/{python}" "$@"
"""

SUBMIT = """# What spark-submit starts: spark-submit … headwater_submit.py data run --recipe … --run … --engine spark
from headwater.core.cli import main

main()
"""


def write_archive(path: Path, extras: Sequence[str] = ()) -> list[str]:
    """Writes the archive and, beside it, `headwater_submit.py`.

    Args:
        path: Ends in `.tar.gz`.
        extras: Extras of headwater-data that the recipe needs, for example `trafilatura`.

    Returns:
        The distributions in it, as `name version`.

    Raises:
        ConfigError: A distribution that Headwater needs is not installed here.
        StorageError: The disk refused.
    """
    found = distributions(extras)
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = Path("lib") / name / "site-packages"
    hidden = path.with_name(f".{path.name}.tmp")
    with storage_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(hidden, "w:gz", compresslevel=1) as archive:
                _add_interpreter(archive, name)
                for distribution in found.values():
                    for place, file in files_of(distribution):
                        archive.add(file, str(site / place), recursive=False)
            hidden.replace(path)
        finally:
            hidden.unlink(missing_ok=True)
        path.with_name("headwater_submit.py").write_text(SUBMIT)
    return sorted(f"{each.metadata['Name']} {each.version}" for each in found.values())


def distributions(extras: Sequence[str] = ()) -> dict[str, metadata.Distribution]:
    """Headwater's data package and core, and everything installed here that they depend on.

    Raises:
        ConfigError: One is not installed.
    """
    from packaging.requirements import Requirement

    waiting: list[tuple[str, frozenset[str]]] = [(name, frozenset({"spark", *extras})) for name in OWN]
    found: dict[str, metadata.Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name, asked = wanted
        if wanted in seen or name in LEFT_OUT:
            continue
        seen.add(wanted)
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError as error:
            raise ConfigError(f"the archive needs {name}, which is not installed here", found=str(error),
                              hint=f"pip install {name}, or leave the extra out") from error  # fmt: skip
        for text in found[name].requires or []:
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*asked, "")):
                waiting.append((_normal(requirement.name), frozenset(requirement.extras)))
    return found


def files_of(distribution: metadata.Distribution) -> Iterator[tuple[Path, Path]]:
    """A distribution's files: the place under site-packages, and where the file is."""
    for entry in distribution.files or []:
        file = Path(str(distribution.locate_file(entry)))
        if (
            ".." in entry.parts
            or entry.suffix in (".pth", ".pyc")
            or entry.name in _OF_THIS_MACHINE
            or not file.is_file()
        ):
            continue  # commands, links to sources and their places, what Python makes again
        yield Path(*entry.parts), file
    package = OWN.get(_normal(distribution.metadata["Name"]))
    if package:  # it may be installed as a link to its source
        folder = Path(str(importlib.import_module(package).__file__)).parent
        listed = {str(entry) for entry in distribution.files or []}
        for file in sorted(folder.rglob("*")):
            place = Path(*package.split(".")) / file.relative_to(folder)
            if file.is_file() and "__pycache__" not in file.parts and str(place) not in listed:
                yield place, file


def _add_interpreter(archive: tarfile.TarFile, name: str) -> None:
    home = Path(sys.base_prefix)
    executable = Path(sys.executable).resolve()
    archive.add(executable, f"bin/{name}")
    for alias in ("python", "python3"):
        _add_text(archive, f"bin/{alias}", _LAUNCHER.format(python=name))
    library = sysconfig.get_config_var("INSTSONAME")
    for folder in (home / "lib", Path(sysconfig.get_config_var("LIBDIR") or "/")):
        if library and (folder / library).is_file():
            archive.add((folder / library).resolve(), f"lib/{library}")
            break
    standard = Path(sysconfig.get_path("stdlib"))
    for file in sorted(standard.rglob("*")):
        place = file.relative_to(standard)
        if file.is_file() and not set(place.parts) & set(_SKIPPED) and not place.parts[0].startswith(_BUILDING):
            archive.add(file.resolve(), str(Path("lib") / name / place), recursive=False)


def _add_text(archive: tarfile.TarFile, place: str, text: str) -> None:
    entry = tarfile.TarInfo(place)
    entry.size, entry.mode = len(text.encode()), 0o755
    archive.addfile(entry, io.BytesIO(text.encode()))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
