"""Bytes to text: which encoding a page is in, and whether its bytes really are text.

The order follows the WHATWG Encoding Standard (byte order mark, transport, meta tag, detection) with one change:
bytes with non-ASCII characters that are valid UTF-8 are UTF-8 whatever the label says, because other text
is valid UTF-8 by accident almost never, and false labels are common.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
         (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))  # fmt: skip
_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-_.a-zA-Z0-9]{1,40})")  # PEP 263, first two lines
_SEVEN_BIT = ("iso-2022", "hz-gb", "hz", "utf-7", "iso2022")  # escape sequences: ASCII bytes that are not ASCII text
_WHATWG = {"iso8859-1": "cp1252", "ascii": "cp1252", "iso8859-9": "cp1254", "gb2312": "gb18030", "gbk": "gb18030"}
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


@dataclass(frozen=True, slots=True)
class Decoded:
    """Text, the encoding that gave it, and how many characters had to be replaced."""

    text: str
    encoding: str
    replaced: int = 0


def decode(payload: bytes, declared: str, *, html: bool, max_replaced: float) -> Decoded | None:
    """Decodes a payload.

    Args:
        payload: The bytes.
        declared: The charset that the transport declared, or "".
        html: Whether a meta tag may name the charset; otherwise a PEP 263 cookie may.
        max_replaced: The share (0–1) of characters that may be undecodable.

    Returns:
        The text, or None when no candidate encoding decodes it.
    """
    for mark, encoding in _BOMS:
        if payload.startswith(mark):
            return _lossy(payload[len(mark) :], encoding, max_replaced)
    labels = [label for label in (declared, _inner_label(payload, html)) if label]
    if not any(label.lower().startswith(_SEVEN_BIT) for label in labels):
        try:
            return Decoded(payload.decode("utf-8"), "utf-8")
        except UnicodeDecodeError:
            pass
    for label in labels:
        found = _strict(payload, label)
        if found is not None:
            return found
    if b"\0" in payload[:65536]:
        return None  # no multi-byte encoding without a mark or a label has NUL in it
    labels += [label for label in (_detected(payload),) if label]
    for label in labels[-1:]:
        found = _strict(payload, label)
        if found is not None:
            return found
    for label in [*labels, "utf-8"]:  # a few damaged bytes in an otherwise good page
        found = _lossy(payload, label, max_replaced)
        if found is not None:
            return found
    return None


def looks_binary(text: str, max_control: float) -> bool:
    """Whether more than `max_control` (0–1) of the first 64k characters are control characters."""
    head = text[:65536]
    return bool(head) and len(_CONTROL.findall(head)) > max_control * len(head)


def _strict(payload: bytes, label: str) -> Decoded | None:
    for name in _codecs(label):
        try:
            return Decoded(payload.decode(name), name)
        except (UnicodeDecodeError, ValueError):
            continue
    return None


def _lossy(payload: bytes, label: str, max_replaced: float) -> Decoded | None:
    for name in _codecs(label):
        text = payload.decode(name, "replace")
        own = payload.count(b"\xef\xbf\xbd") if name == "utf-8" else 0
        replaced = max(text.count("\ufffd") - own, 0)
        if replaced <= max_replaced * max(len(text), 1):
            return Decoded(text, name, replaced)
    return None


def _codecs(label: str) -> list[str]:
    """Python's names for a label: what the WHATWG standard takes it for (Latin-1 is windows-1252), then itself."""
    from resiliparse.parse.encoding import map_encoding_to_html5

    try:
        own = codecs.lookup(label)
    except (LookupError, ValueError):
        own = None
    if own is not None and not getattr(own, "_is_text_encoding", True):
        return []
    names: list[str] = []
    for candidate in (_WHATWG.get(own.name) if own else None, map_encoding_to_html5(label, fallback_utf8=False), label):
        try:
            name = codecs.lookup(candidate).name if candidate else None
        except (LookupError, ValueError):
            continue
        if name and name not in names:
            names.append(name)
    return names


def _inner_label(payload: bytes, html: bool) -> str:
    if html:
        head = payload[:1024]
        found = re.search(
            rb"<meta[^>]{0,200}?charset\s{0,8}=\s{0,8}[\"']?\s{0,8}([-_.:a-zA-Z0-9]{1,40})", head, re.IGNORECASE
        )
        return found[1].decode("ascii") if found else ""
    for line in payload[:1024].splitlines()[:2]:
        found = _COOKIE.match(line)
        if found:
            return found[1].decode("ascii")
    return ""


def _detected(payload: bytes) -> str | None:
    from resiliparse.parse.encoding import detect_encoding

    return detect_encoding(payload, html5_compatible=False, from_html_meta=False)
