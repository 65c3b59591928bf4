"""Bytes to text: which encoding a page is in, and whether its bytes really are text.

The order follows the WHATWG Encoding Standard (byte order mark, transport, meta tag, detection) with one change:
bytes with non-ASCII characters that are valid UTF-8 are UTF-8 whatever the label says, because other text
is valid UTF-8 by accident almost never, and false labels are common.
"""

from __future__ import annotations

import codecs
import contextlib
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
         (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))  # fmt: skip
_META = re.compile(rb"<meta[^>]{0,200}?charset\s{0,8}=\s{0,8}[\"']?\s{0,8}([-_.:a-zA-Z0-9]{1,40})", re.IGNORECASE)
_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-_.a-zA-Z0-9]{1,40})")  # PEP 263, first two lines
_SEVEN_BIT = ("iso-2022", "hz-gb", "hz", "utf-7", "iso2022")  # escape sequences: ASCII bytes that are not ASCII text
_WHATWG = {"iso8859-1": "cp1252", "ascii": "cp1252", "iso8859-9": "cp1254", "gb2312": "gb18030", "gbk": "gb18030"}
# Encodings of the WHATWG standard and their close kin. Python's codec registry also has ciphers of its own
# (punycode takes quadratic time, unicode_escape gives lone surrogates), and a label is what a stranger wrote.
_KNOWN = re.compile(
    r"(?:utf-(?:7|8|16|32)|ascii|cp\d{3,4}|iso8859-\d+|koi8|mac-|big5|gb|euc|shift_jis|iso2022_|hz|johab|tis-620|kz1048"
    r"|ptcp154|hp-roman8)"
)
_EBCDIC = re.compile(r"cp(?:037|273|424|500|875|1026|1140)$")
_HEAD_BYTES = 65536
_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Decoded:
    """Text, the same in UTF-8, the encoding that gave it, and how many characters had to be replaced."""

    text: str
    utf8: bytes
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
            return Decoded(payload.decode("utf-8"), payload, "utf-8")
        except UnicodeDecodeError:
            pass
    for label in labels:
        found = _strict(payload, label)
        if found is not None:
            return found
    if b"\0" in payload[:_HEAD_BYTES]:
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


def looks_binary(utf8: bytes, max_control: float) -> bool:
    """Whether more than `max_control` (0–1) of the first 64 KiB are control characters other than white space."""
    from headwater.data.operators.kernels.payloads import control_characters

    size = min(len(utf8), _HEAD_BYTES)
    controls, escapes = control_characters(np.frombuffer(utf8, np.uint8, size))
    return bool(controls - escapes > max_control * size)


def _strict(payload: bytes, label: str) -> Decoded | None:
    for name in _codecs(label):
        try:
            text = payload.decode(name)
            return Decoded(text, text.encode("utf-8"), name)
        except ValueError:  # undecodable, or decoded to lone surrogates
            continue
    return None


def _lossy(payload: bytes, label: str, max_replaced: float) -> Decoded | None:
    for name in _codecs(label):
        text = _replaced(payload, name, max_replaced)
        if text is None:
            continue
        own = payload.count(b"\xef\xbf\xbd") if name == "utf-8" else 0
        replaced = max(text.count("\ufffd") - own, 0)
        if replaced <= max_replaced * max(len(text), 1):
            with contextlib.suppress(UnicodeEncodeError):  # UTF-7 can give lone surrogates
                return Decoded(text, text.encode("utf-8"), name, replaced)
    return None


def _replaced(payload: bytes, name: str, max_replaced: float) -> str | None:
    """The text with U+FFFD for what cannot be decoded; None as soon as that is certainly too much of it."""
    try:
        if len(payload) <= _BLOCK_BYTES:
            return payload.decode(name, "replace")
        decoder, pieces, left = codecs.getincrementaldecoder(name)("replace"), [], max_replaced * len(payload)
        left += payload.count(b"\xef\xbf\xbd")  # it may be there before anything is replaced
        for start in range(0, len(payload), _BLOCK_BYTES):
            last = start + _BLOCK_BYTES >= len(payload)
            pieces.append(decoder.decode(payload[start : start + _BLOCK_BYTES], last))
            left -= pieces[-1].count("\ufffd")
            if left < 0:
                return None
    except ValueError:  # a few codecs fail on damage whatever they are told
        return None
    return "".join(pieces)


@lru_cache(maxsize=512)
def _codecs(label: str) -> tuple[str, ...]:
    """Python's names for a label: what the WHATWG standard takes it for (Latin-1 is windows-1252), then itself."""
    from resiliparse.parse.encoding import map_encoding_to_html5

    own = _lookup(label)
    try:
        html5 = _lookup(map_encoding_to_html5(label, fallback_utf8=False))
    except ValueError:  # a label with lone surrogates
        html5 = None
    return tuple(dict.fromkeys(name for name in (_WHATWG.get(own or ""), html5, own) if name))


def _lookup(label: str | None) -> str | None:
    """Python's name of an encoding, or None when there is none that text on the web is in."""
    try:
        name = codecs.lookup(label).name if label else ""
    except (LookupError, ValueError):
        return None
    return name if _KNOWN.match(name) and not _EBCDIC.match(name) else None


def _inner_label(payload: bytes, html: bool) -> str:
    if html:
        found = _META.search(payload[:1024])
        return found[1].decode("ascii") if found else ""
    for line in payload[:1024].splitlines()[:2]:
        found = _COOKIE.match(line)
        if found:
            return found[1].decode("ascii")
    return ""


def _detected(payload: bytes) -> str | None:
    from resiliparse.parse.encoding import detect_encoding

    return detect_encoding(payload, html5_compatible=False, from_html_meta=False)
