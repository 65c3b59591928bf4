"""The licence of each file of a source tree, from the licence files above it."""

from __future__ import annotations

import importlib.util
import json
import posixpath
import re
import tempfile
from pathlib import Path

from headwater.core.errors import ConfigError
from headwater.core.objects import find, join, open_object

_NAMES = re.compile(r"(?:un)?licen[sc]e(?:[-._].*)?|copying(?:[-._].*)?", re.IGNORECASE)
_GLOB = "[LlCcUu][IiOoNn][CcPpLl][EeYyIi]*"  # licen[sc]e, copying, unlicense: what the store has to list
_SOURCE = re.compile(r"\.(?:py|js|ts|go|rs|c|h|cc|cpp|java|rb|php|html?)$", re.IGNORECASE)
_SPDX = re.compile(r"SPDX-License-Identifier:\s*([^\n*#/]{1,120})")
_MAX_BYTES = 200_000
UNKNOWN = "unknown"


def licenses(root: str, names: list[str], *, anonymous: bool) -> dict[str, str]:
    """For each file that has a licence file beside it or above it: what is known, as a JSON object.

    The nearest folder with a licence file decides; several files in one folder are alternatives (the custom of
    LICENSE-MIT beside LICENSE-APACHE). A text that is none of the common licences (5% of it may differ) is "unknown".

    Args:
        root: Folder or URI that the names are relative to.
        names: The files.
        anonymous: Whether the store is asked without credentials.

    Raises:
        ConfigError: The package that knows the texts of licences is not installed.
        StorageError: A licence file cannot be read.
    """
    base = join(root, "")
    found: dict[str, dict[str, str]] = {}  # folder → licence file → licence
    for pattern in (join(root, _GLOB), join(root, f"**/{_GLOB}")):
        for uri in find(pattern, anonymous=anonymous):
            name = uri[len(base) :] if uri.startswith(base) else posixpath.basename(uri)
            if _NAMES.fullmatch(posixpath.basename(name)) and not _SOURCE.search(name):
                found.setdefault(posixpath.dirname(name), {})[name] = ""
    for files in found.values():
        for name in files:
            files[name] = _identified(join(root, name), anonymous)
    result: dict[str, str] = {}
    for name in names:
        folder = posixpath.dirname(name)
        while folder not in found and folder:
            folder = posixpath.dirname(folder)
        if folder in found:
            ids = sorted(set(found[folder].values()))
            known = [each for each in ids if each != UNKNOWN] or [UNKNOWN]
            said = {"license": " OR ".join(known), "license_file": min(found[folder])}
            result[name] = json.dumps(said, ensure_ascii=False, sort_keys=True)
    return result


def _identified(uri: str, anonymous: bool) -> str:
    with open_object(uri, anonymous=anonymous) as stream:
        text = stream.read(_MAX_BYTES).decode("utf-8", "replace")
    if found := _SPDX.search(text[:2000]):
        return found[1].strip()
    if importlib.util.find_spec("identify") is None or importlib.util.find_spec("ukkonen") is None:
        raise ConfigError("telling licences by their texts needs a package that is not installed", found=uri,
                          hint="pip install 'headwater-data[code]'")  # fmt: skip
    from identify.identify import license_id

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "license"
        path.write_text(text, encoding="utf-8")
        return license_id(str(path)) or UNKNOWN
