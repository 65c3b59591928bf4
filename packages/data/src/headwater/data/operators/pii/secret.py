"""Keys and tokens: those with a known form, and long random values that are assigned to names such as `api_key`.

Hashes, UUIDs and serial numbers have the same letters; what tells them apart is the name that they are assigned to, so
a value without a form of its own and without such a name stays.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections import Counter
from itertools import pairwise

from headwater.data.operators.pii.email import RESERVED, user_info

TOKENS: dict[bytes, bytes] = {  # beginning → the whole token
    b"AKIA": rb"AKIA[0-9A-Z]{16}",  # AWS access key ids
    b"ASIA": rb"ASIA[0-9A-Z]{16}",
    b"ABIA": rb"ABIA[0-9A-Z]{16}",
    b"ghp_": rb"ghp_[A-Za-z0-9]{36,255}",  # GitHub
    b"gho_": rb"gho_[A-Za-z0-9]{36,255}",
    b"ghu_": rb"ghu_[A-Za-z0-9]{36,255}",
    b"ghs_": rb"ghs_[A-Za-z0-9]{36,255}",
    b"ghr_": rb"ghr_[A-Za-z0-9]{36,255}",
    b"github_pat_": rb"github_pat_[A-Za-z0-9_]{82}",
    b"glpat-": rb"glpat-[0-9A-Za-z_\-]{20,64}",  # GitLab
    b"xox": rb"xox[abeoprs]-[A-Za-z0-9\-]{10,250}",  # Slack
    b"xapp-": rb"xapp-\d-[A-Za-z0-9\-]{20,250}",
    b"hooks.slack.com": rb"hooks\.slack\.com/services/T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/[A-Za-z0-9]{20,30}",
    b"AIza": rb"AIza[0-9A-Za-z_\-]{35}",  # Google
    b"GOCSPX-": rb"GOCSPX-[0-9A-Za-z_\-]{28}",
    b"ya29.": rb"ya29\.[0-9A-Za-z_\-]{30,500}",
    b"sk_live_": rb"sk_live_[0-9A-Za-z]{24,99}",  # Stripe
    b"sk_test_": rb"sk_test_[0-9A-Za-z]{24,99}",
    b"rk_live_": rb"rk_live_[0-9A-Za-z]{24,99}",
    b"whsec_": rb"whsec_[0-9A-Za-z]{32,64}",
    b"npm_": rb"npm_[A-Za-z0-9]{36}",
    b"pypi-": rb"pypi-AgE[A-Za-z0-9_\-]{50,250}",
    b"hf_": rb"hf_[A-Za-z0-9]{34,40}",  # Hugging Face
    b"sk-": rb"sk-(?:(?:proj|ant|svcacct|or)-[A-Za-z0-9_\-]{20,200}|[A-Za-z0-9]{40,64})",  # model providers
    b"SG.": rb"SG\.[A-Za-z0-9_\-]{22}\.[A-Za-z0-9_\-]{43}",  # SendGrid
    b"dop_v1_": rb"dop_v1_[0-9a-f]{64}",  # DigitalOcean
    b"shpat_": rb"shpat_[0-9a-fA-F]{32}",  # Shopify
    b"dapi": rb"dapi[0-9a-f]{32}",  # Databricks
    b"AGE-SECRET-KEY-1": rb"AGE-SECRET-KEY-1[0-9A-Z]{58}",
    b"AccountKey=": rb"AccountKey=[A-Za-z0-9+/]{86}==",  # Azure storage
}
PREFIXES = (*TOKENS, b"BEGIN ", b"eyJ", b"Bearer ", b"bearer ", b"Basic ", b"PuTTY-User-Key")
NAMES = (b"secret", b"token", b"passw", b"passphrase", b"api_key", b"apikey", b"api-key", b"credential", b"private_key",
         b"privatekey", b"access_key", b"accesskey", b"access-key", b"auth_key", b"authkey", b"encryption_key",
         b"signing_key", b"bearer")  # fmt: skip

_TOKENS = {begin: re.compile(body + rb"(?![A-Za-z0-9_])") for begin, body in TOKENS.items()}
_BOT = re.compile(rb"\d{8,10}:AA[A-Za-z0-9_\-]{33}(?![A-Za-z0-9_\-])")  # Telegram
_JWT = re.compile(rb"eyJ[A-Za-z0-9_\-]{8,2000}\.(eyJ[A-Za-z0-9_\-]{4,8000})\.[A-Za-z0-9_\-]{16,2000}(?![A-Za-z0-9_\-])")
_AUTHORIZED = re.compile(rb"(?:[Bb]earer|Basic)[ \t]{1,2}([A-Za-z0-9+/_.~\-]{16,2000}={0,2})(?![A-Za-z0-9])")
_HEADER = re.compile(rb"authorization[\"']?\s{0,2}[:=,]?\s{0,2}[\"']?\Z", re.I)
_KEY_BEGIN = re.compile(rb"BEGIN (?:[A-Z0-9]{2,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(rb"-----END (?:[A-Z0-9]{2,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BODY = re.compile(
    rb"(?:\\n|\s){0,4}[A-Za-z0-9+/=]{32}(?:[A-Za-z0-9+/=\s]|\\n){0,16000}"
)  # of a key that was cut off
_KEY_TEXT, _KEY_SHORT = re.compile(rb"[A-Za-z0-9+/]{32}"), re.compile(rb"(?:[A-Za-z0-9+/=\s]|\\n)*")
_KEY_BYTES = 16_384
_VALUE = re.compile(rb"[A-Za-z0-9+/_=.\-~%!@$]{16,512}(?![A-Za-z0-9+/_=.\-~%!@$(\[{*])")
_ASSIGNED = re.compile(
    rb"(?<![a-z])(?:[A-Za-z0-9]{0,24}[_\-.])?(?:[A-Za-z0-9]{0,16})"
    rb"(?:secret|token|passwo?r?d|passwd|passphrase|api[_\-]?key|credentials?|(?:private|access|auth|encryption|signing)[_\-]?key"
    rb"|bearer)(?:[_\-. ]?(?:key|value|string|secret|token|base64|hex|prod|dev|live|test|access|id|\d))?"
    rb"[\"'`]?\]?\s{0,4}(?::[ ]?[A-Za-z]{1,12}\s{0,2})?(?:=>|:=|==?|:)[ \t]{0,4}[\"'`]?\Z",
    re.I,
)
_NO_SECRET_NAME = re.compile(
    rb"public|hash|digest|sha\d|md5|checksum|fingerprint|etag|tokeni[sz]|_url|_file|_path|_name|next|page|cursor|continu"
    rb"|client.?(?:request.?)?token|request.?token|idempoten|marker|import.?token|cancel|:secret:",
    re.I,
)  # places in a list, keys of a request and the like are no secrets
_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z", re.I)
_STRONG_NAME = re.compile(rb"secret|passw|api[_\-]?key|auth", re.I)
_SAMPLE_TOKEN = re.compile(rb"example|x{6}|\.\.\.|0{12}|your", re.I)
_SAMPLE = re.compile(
    _SAMPLE_TOKEN.pattern
    + rb"|sample|dummy|placeholder|change.?me|xxxx|0{6}|1234567890?abc|abcdefgh|12345678|redacted|env\."
    rb"|process\.",
    re.I,
)
_WORDS_OF_MIXED = re.compile(rb"[A-Za-z][a-z]{4,}|[A-Z]{5,}")
_WORDS_OF_ONE_CASE = re.compile(rb"[a-z]{6,}|[A-Z]{6,}|(?<![^\-_./])(?:[a-z]{3,}|[A-Z]{3,})(?![^\-_./])")
_PASSWORD = re.compile(rb":([^:@/\s<>${}*\[\]]{1,128})\Z")
_NO_PASSWORDS = (b"password", b"passwd", b"pass", b"pwd", b"secret")
_HOST = re.compile(rb"(?:[A-Za-z0-9\-]{1,63}\.){1,8}[A-Za-z0-9\-]{1,63}")


def token_at(text: bytes, place: int, min_entropy_bits: float) -> tuple[int, int] | None:
    """The key or token whose beginning, one of `PREFIXES` or a digit, is at text[place]."""
    if text[place : place + 6] == b"BEGIN ":
        return _private_key(text, place)
    if text[place : place + 3] == b"eyJ":
        match = _JWT.match(text, place)
        return match.span() if match and _is_json(match[1]) else None
    if text[place : place + 6] in (b"Bearer", b"bearer", b"Basic "):
        return _authorized(text, place, min_entropy_bits)
    if 48 <= text[place] <= 57:
        match = _BOT.match(text, place)
        return match.span() if match else None
    for begin, pattern in _TOKENS.items():
        if text.startswith(begin, place):
            match = pattern.match(text, place)
            if match and not _SAMPLE_TOKEN.search(match[0]) and entropy_bits(match[0][len(begin) :]) >= 2.5:
                return match.span()
    return None


def assigned_at(text: bytes, place: int, name: int, min_entropy_bits: float) -> tuple[int, int] | None:
    """The value at text[place], when the name before it, from text[name] on, says that it is a secret."""
    value = _VALUE.match(text, place)
    before = text[name:place]
    line = before[before.rfind(b"\n") + 1 :]
    declared = _ASSIGNED.search(line)
    if not value or not declared or _NO_SECRET_NAME.search(declared[0]):
        return None
    if line[: declared.start()].endswith(b":") or (b"." in value[0] and text[place - 1] not in b"\"'`"):
        return None  # names of types, Cloud::Secret; attributes, x25519.PrivateKey
    if _UUID.match(value[0]) and not _STRONG_NAME.search(declared[0]):
        return None
    return value.span() if random_looking(value[0], min_entropy_bits) else None


def password_at(text: bytes, place: int) -> tuple[int, int] | None:
    """The password of a URL such as ftp://user:password@host, whose @ is text[place]."""
    start = user_info(text, place)
    match = _PASSWORD.search(text[start:place]) if start >= 0 else None
    host = _HOST.match(text, place + 1, place + 256)
    if not match or not host or RESERVED.search(host[0]) or match[1].lower() in _NO_PASSWORDS:  # documentation
        return None
    return start + match.start(1), place


def random_looking(value: bytes, min_entropy_bits: float) -> bool:
    """Whether a value is drawn at random rather than written: mixed, of high entropy, and without words."""
    if _SAMPLE.search(value) or entropy_bits(value) < min_entropy_bits:
        return False
    letters = sum(chr(byte).isalpha() for byte in value)
    digits = sum(48 <= byte <= 57 for byte in value)
    if not digits or not letters:
        return False
    # Words have long stretches of letters in one case; random values in base 64 or 16 seldom have.
    mixed = re.search(rb"[a-z]", value) and re.search(rb"[A-Z]", value)
    in_words = sum(len(word) for word in (_WORDS_OF_MIXED if mixed else _WORDS_OF_ONE_CASE).findall(value))
    changes = sum(_sort(a) != _sort(b) for a, b in pairwise(value))
    return in_words * 2 < len(value) and changes * 8 >= len(value)


def entropy_bits(value: bytes) -> float:
    """Shannon entropy of a value's bytes, in bits a byte."""
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts)


def _sort(byte: int) -> int:
    return 0 if 48 <= byte <= 57 else 1 if 65 <= byte <= 90 else 2 if 97 <= byte <= 122 else 3


def _private_key(text: bytes, place: int) -> tuple[int, int] | None:
    begin = _KEY_BEGIN.match(text, place)
    if not begin or text[max(0, place - 5) : place] != b"-----":
        return None
    end = _KEY_END.search(text, begin.end(), begin.end() + _KEY_BYTES)
    if not end:
        cut_off = _KEY_BODY.match(text, begin.end())
        return (place - 5, cut_off.end()) if cut_off else None
    body = text[begin.end() : end.start()]
    if _KEY_TEXT.search(body[:256]) or (len(body) < 256 and _KEY_SHORT.fullmatch(body)):
        return place - 5, end.end()
    return None  # the two lines are only spoken of


def _authorized(text: bytes, place: int, min_entropy_bits: float) -> tuple[int, int] | None:
    match = _AUTHORIZED.match(text, place)
    if not match or _SAMPLE.search(match[1]):
        return None
    named = _HEADER.search(text[max(0, place - 24) : place])
    if match[0][:1] == b"B" and match[0].startswith(b"Basic"):
        return match.span(1) if named and _is_user_and_password(match[1]) else None
    return match.span(1) if random_looking(match[1], min_entropy_bits) else None


def _is_user_and_password(value: bytes) -> bool:
    try:
        return b":" in base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error:
        return False


def _is_json(part: bytes) -> bool:
    """Whether the second part of a JWT (RFC 7519) is a JSON object."""
    try:
        return isinstance(json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))), dict)
    except (binascii.Error, ValueError):
        return False
