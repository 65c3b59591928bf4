"""The seal of `recipe.yaml`: a first line with the checksum of the rest, so that a later edit shows.

The sealed file is still a valid recipe, since the seal is a YAML comment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from headwater.core.layout import RunLayout
from headwater.core.verify.findings import Findings
from headwater.core.verify.walk import Walk

_PREFIX = "# resolved recipe, written by `headwater line run`; SHA-256 of the lines below: "


def seal(text: str) -> str:
    """The text with its seal as the first line."""
    return f"{_PREFIX}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def check_seal(content: bytes) -> tuple[str, str] | None:
    """Compares a sealed file with its seal.

    Returns:
        None if they agree, else what was found and what was expected.
    """
    head, newline, body = content.partition(b"\n")
    expected = _PREFIX + hashlib.sha256(body).hexdigest()
    if newline and head == expected.encode():
        return None
    return head.decode(errors="replace")[:200], expected


# Which section of a recipe each kind of artifact is made with.
_SECTIONS = {
    "items": "eval",
    "documents": "documents",
    "tokenizer": "tokenizer",
    "tokens": "tokens",
    "training": "train",
    "eval": "eval",
    "report": "report",
}


def check_recipe(run: RunLayout, walk: Walk, findings: Findings) -> None:
    """Checks the seal of `recipe.yaml`, then that the stages were run with what it says."""
    if not run.recipe.is_file():
        return
    name = run.recipe.name
    content = run.recipe.read_bytes()
    problem = check_seal(content)
    if problem is not None:
        findings.error(
            ".",
            name,
            "was changed after it was written",
            found=problem[0],
            expected=problem[1],
            hint="run the line again with the recipe that you want, or restore the file",
        )
        return
    recipe: dict[str, Any] = yaml.safe_load(content)
    for _, artifact in sorted(walk.artifacts.items()):
        section = _SECTIONS.get(artifact.manifest.kind)
        if section is None:
            continue
        config = artifact.manifest.config
        used = (
            config if section in config else {section: config}
        )  # a stage may write its section, or a part of a recipe
        for path, there, here in _differences(used, recipe, ""):
            findings.warning(
                artifact.label,
                f"{artifact.label}/manifest.json",
                f"was made with another {path} than recipe.yaml says",
                found=there,
                expected=here,
                hint="run the line again, or go on knowing that recipe.yaml is not its recipe",
            )


def _differences(used: Mapping[str, Any], planned: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
    """Values that both sides have and that differ; a stage may add keys, and may leave out what changes nothing."""
    for key in sorted(used.keys() & planned.keys()):
        sides: list[Any] = [used[key], planned[key]]
        if all(isinstance(side, dict) for side in sides):
            yield from _differences(sides[0], sides[1], f"{path}{key}.")
        elif sides[0] != sides[1]:
            yield f"{path}{key}", repr(sides[0]), repr(sides[1])
