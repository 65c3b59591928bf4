"""Redaction of personal data and secrets: e-mail addresses, public IP addresses, phone numbers, keys, tokens, passwords
of URLs.

Every pattern is linear in the text's length: fixed or bounded repetitions, and anchors found by plain search.
Placeholders never match a pattern, so redacting twice changes nothing.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import AfterValidator, Field

from headwater.core.config import NotValid, nearest
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.rows import texts_of, with_column

Kind = Literal["email", "ip", "phone", "secret"]
Span = tuple[int, int, Kind]

PLACEHOLDERS: dict[str, str] = {"email": "<EMAIL>", "ip": "<IP_ADDRESS>", "phone": "<PHONE>", "secret": "<SECRET>"}

_LOCAL_END = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._%+\-]{0,63})$")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,62})\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9\-])")
_RESERVED = re.compile(r"(?:^|\.)(?:example(?:\.(?:com|net|org))?|test|invalid|localhost)$", re.IGNORECASE)  # RFC 2606
_IPV4_MIDDLE = re.compile(r"\.\d{1,3}\.\d{1,3}\.\d")
# Not the beginning of a host name (1.0.0.127.in-addr.arpa); what begins with a capital is the next sentence.
_IPV4 = re.compile(r"(?<![\w.\-])\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w\-]|\.(?:[a-z\d_]|IN-ADDR))")
_IPV6_MIDDLE = re.compile(r":[0-9A-Fa-f]{0,4}:")
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{1,34}(?![\w:])")  # 2000::/3 is all that is in use
_IPV6_BEFORE = re.compile(r"[0-9A-Fa-f:]{0,38}$")
_VERSION_BEFORE = re.compile(
    r"(?:versions?|release|(?<![a-z])(?:v|vers?|rev|oid))(?:[ _](?:is|no|number))?[\s:=\"'(>_.]{0,6}$", re.IGNORECASE
)
_MARK = "|".join(PLACEHOLDERS.values())
# The user and password of a URL (RFC 3986, 3.2.1), which may hold placeholders already.
_USERINFO = re.compile(rf"(?:[^\s/?#\"'<>@:]|{_MARK}){{0,64}}:((?:[^\s/?#\"'<>@]|{_MARK}){{1,128}})@")
_HOST = re.compile(r"(?:[A-Za-z0-9\-]{1,63}\.){1,8}[A-Za-z0-9\-]{1,63}")
_PHONES = (  # each begins with a literal, which the regular expression engine finds fast
    (re.compile(r"\+\d{1,3}[ .\-]?(?:\(\d{1,4}\)[ .\-]?)?(?:\d{2,4}[ .\-]?){2,4}\d{2,4}(?![\w\-]|\.\d)"), 0),
    (re.compile(r"\(\d{3}\)[ ]?\d{3}[ .\-]\d{4}(?![\w\-]|\.\d)"), 0),  # (650) 253-0000
    (re.compile(r"-\d{3}-\d{4}(?![\w\-]|\.\d)"), 3),  # 650-253-0000, found by its middle
    (re.compile(r"\.\d{3}\.\d{4}(?![\w\-]|\.\d)"), 3),
)
_BEFORE_NUMBER = frozenset("+-/=._")
_KEY_BEGIN = re.compile(r"-----BEGIN (?:[A-Z]{2,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(r"-----END (?:[A-Z]{2,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BYTES = 16_384
_TOKENS = {  # literal beginning → the token, not inside a longer word
    "AKIA": r"AKIA[0-9A-Z]{16}",  # AWS access key id
    "ASIA": r"ASIA[0-9A-Z]{16}",
    "gh": r"gh[pousr]_[A-Za-z0-9]{36,255}",  # GitHub
    "github_pat_": r"github_pat_[A-Za-z0-9_]{82}",
    "xox": r"xox[abeoprs]-[A-Za-z0-9\-]{10,250}",  # Slack
    "AIza": r"AIza[0-9A-Za-z_\-]{35}",  # Google API key
    "sk_live_": r"sk_live_[0-9A-Za-z]{24,99}",  # Stripe
    "glpat-": r"glpat-[0-9A-Za-z_\-]{20}",  # GitLab
}
_TOKEN_PATTERNS = {begin: re.compile(f"{body}(?![A-Za-z0-9_])") for begin, body in _TOKENS.items()}
_NAMES = ("apikey", "api_key", "secret", "token", "passwd", "password", "credential")
_ASSIGNED = re.compile(r"[\w\-]{0,20}[\"']?[ \t]{0,4}(?:=>|=|:)[ \t]{0,4}[\"']([A-Za-z0-9+/_=.\-]{16,200})[\"']")


def _region(value: str) -> str:
    from phonenumbers import SUPPORTED_REGIONS

    if value in SUPPORTED_REGIONS:
        return value
    near = nearest(value.upper(), sorted(SUPPORTED_REGIONS))
    raise NotValid(
        "a region that has phone numbers: ISO 3166-1 alpha-2, such as US, DE, JP",
        f"did you mean {near}?" if near else None,
    )


Region = Annotated[str, AfterValidator(_region)]


class PiiConfig(OperatorConfig):
    """Options of `pii`.

    Attributes:
        kinds: What is redacted.
        phone_region: Region (ISO 3166) for numbers written without a country code.
        min_entropy_bits: Least Shannon entropy, in bits a character, of a quoted value that is assigned to a name
            such as `api_key` for it to count as a secret; 3.5 leaves words alone.
    """

    kinds: tuple[Kind, ...] = ("email", "ip", "phone", "secret")
    phone_region: Region = "US"
    min_entropy_bits: float = Field(default=3.5, ge=0, le=8)


class Pii(Operator):
    """Replaces personal data and secrets by placeholders, and counts them."""

    name = "pii"
    reasons = frozenset({"redacted"})
    changes = True
    config: PiiConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads and changes `text`."""
        decided, texts = Decisions(self, batch), []
        for row, text in enumerate(texts_of(batch)):
            redacted, counts = redact(text, self.config)
            texts.append(redacted)
            if counts:
                decided.change(row, "redacted", " ".join(f"{kind}={n}" for kind, n in sorted(counts.items())))
                for kind, n in counts.items():
                    decided.count(f"redacted_{kind}", n)
        return decided.verdicts(with_column(batch, "text", pa.array(texts, pa.string())))


def redact(text: str, config: PiiConfig) -> tuple[str, Counter[str]]:
    """The text with placeholders, and how many of each kind."""
    spans = sorted(find(text, config), key=lambda span: (span[0], -span[1], span[2]))  # the longest of a place
    pieces: list[str] = []
    counts: Counter[str] = Counter()
    place = 0
    for start, stop, kind in spans:
        if start < place:
            continue  # inside one already taken
        pieces += [text[place:start], PLACEHOLDERS[kind]]
        counts[kind] += 1
        place = stop
    return ("".join([*pieces, text[place:]]), counts) if counts else (text, counts)


def find(text: str, config: PiiConfig) -> Iterator[Span]:
    """Every span to redact, in no particular order; spans may overlap."""
    passwords = dict(_passwords(text))
    if "secret" in config.kinds:
        yield from _secrets(text, config.min_entropy_bits)
        for stop, start in passwords.items():
            host = _HOST.match(text, stop + 1)
            if host and not _RESERVED.search(host[0]) and "<" not in text[start:stop]:
                yield start, stop, "secret"
    if "email" in config.kinds:
        yield from (span for span in _emails(text) if text.find("@", span[0]) not in passwords)
    if "ip" in config.kinds:
        yield from _addresses(text)
    if "phone" in config.kinds:
        yield from _phones(text, config.phone_region)


def _emails(text: str) -> Iterator[Span]:
    place = text.find("@")
    while place >= 0:
        local = _LOCAL_END.search(text[max(0, place - 64) : place])
        domain = _DOMAIN.match(text, place + 1, place + 256)
        if local and domain and not _RESERVED.search(domain[0]):
            yield place - len(local[0]), domain.end(), "email"
        place = text.find("@", place + 1)


def _passwords(text: str) -> Iterator[tuple[int, int]]:
    """Passwords of URLs, `scheme://user:password@host`: where the `@` is, and where the password begins."""
    place = text.find("://")
    while place >= 0:
        match = _USERINFO.match(text, place + 3)
        if match:
            yield match.end() - 1, match.start(1)
        place = text.find("://", place + 3)


def _addresses(text: str) -> Iterator[Span]:
    for middle in _IPV4_MIDDLE.finditer(text):
        start = _digits_before(text, middle.start(), 3)
        match = _IPV4.match(text, start)
        if match and _public(match[0]) and not _VERSION_BEFORE.search(text[max(0, start - 24) : start]):
            yield match.start(), match.end(), "ip"
    for middle in _IPV6_MIDDLE.finditer(text):
        before = _IPV6_BEFORE.search(text[max(0, middle.start() - 38) : middle.start()])
        match = _IPV6.match(text, middle.start() - (len(before[0]) if before else 0))
        if match and _public(match[0]):
            yield match.start(), match.end(), "ip"


def _digits_before(text: str, place: int, most: int) -> int:
    """Where the run of at most `most` digits that ends at `place` begins."""
    start = place
    while start > 0 and place - start < most and text[start - 1] in "0123456789":
        start -= 1
    return start


def _public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _phones(text: str, region: str) -> Iterator[Span]:
    for pattern, digits in _PHONES:
        for match in pattern.finditer(text):
            start = _digits_before(text, match.start(), digits)
            before = text[start - 1 : start]
            if match.start() - start != digits or before.isalnum() or before in _BEFORE_NUMBER:
                continue
            if _valid_number(text[start : match.end()], region):
                yield start, match.end(), "phone"


def _valid_number(written: str, region: str) -> bool:
    import phonenumbers

    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(written, region))
    except phonenumbers.NumberParseException:
        return False


def _secrets(text: str, min_entropy_bits: float) -> Iterator[Span]:
    for begin in _KEY_BEGIN.finditer(text) if "PRIVATE KEY" in text else ():
        end = _KEY_END.search(text, begin.end(), begin.end() + _KEY_BYTES)
        yield begin.start(), end.end() if end else begin.end(), "secret"
    for pattern in (pattern for begin, pattern in _TOKEN_PATTERNS.items() if begin in text):
        for match in pattern.finditer(text):
            before = text[match.start() - 1 : match.start()]
            if not (before.isalnum() or before == "_"):
                yield match.start(), match.end(), "secret"
    for start, stop in _assigned(text):
        value = text[start:stop]
        mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
        if mixed and entropy_bits(value) >= min_entropy_bits:
            yield start, stop, "secret"


def _assigned(text: str) -> Iterator[tuple[int, int]]:
    """Quoted values that are assigned to names such as `api_key`."""
    lower = text.lower()
    if len(lower) != len(text):  # a few letters grow when lower-cased; places would shift
        lower = text
    for name in _NAMES:
        place = lower.find(name)
        while place >= 0:
            match = _ASSIGNED.match(text, place + len(name))
            if match:
                yield match.start(1), match.end(1)
            place = lower.find(name, place + len(name))


def entropy_bits(value: str) -> float:
    """Shannon entropy of a string's characters, in bits a character."""
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts)
