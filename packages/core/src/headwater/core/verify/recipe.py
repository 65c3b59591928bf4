"""The seal of `recipe.yaml`: a first line with the checksum of the rest, so that a later edit shows.

The sealed file is still a valid recipe, since the seal is a YAML comment.
"""

from __future__ import annotations

import hashlib

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
