"""Redaction of personal data and secrets: e-mail addresses, public IP addresses, phone numbers, keys and tokens.

Every pattern is linear in the text's length: fixed or bounded repetitions, and anchors found by plain search.
Placeholders never match a pattern, so redacting twice changes nothing.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Literal

import pyarrow as pa
from pydantic import Field

from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.rows import texts_of, with_column

Kind = Literal["email", "ip", "phone", "secret"]
Span = tuple[int, int, Kind]

PLACEHOLDERS: dict[str, str] = {"email": "<EMAIL>", "ip": "<IP_ADDRESS>", "phone": "<PHONE>", "secret": "<SECRET>"}

_LOCAL_END = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._%+\-]{0,63})$")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,62})\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9\-])")
_RESERVED = re.compile(r"(?:^|\.)(?:example(?:\.(?:com|net|org))?|test|invalid|localhost)$", re.IGNORECASE)  # RFC 2606
_IPV4 = re.compile(r"(?<![\w.\-])\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w\-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:]{6,39}(?![\w:])")
_VERSION_BEFORE = re.compile(r"(?:version|release|oid)[\s:=\"']{0,3}$", re.IGNORECASE)
_PHONE = re.compile(
    r"(?<![\w.+\-/=])(?:\+\d{1,3}[ .\-]?(?:\(\d{1,4}\)[ .\-]?)?(?:\d{2,4}[ .\-]?){2,4}\d{2,4}"  # +44 20 7946 0958
    r"|\(\d{3}\)[ ]?\d{3}[ .\-]\d{4}|\d{3}[.\-]\d{3}[.\-]\d{4})(?![\w\-]|\.\d)"  # (650) 253-0000, 650-253-0000
)
_KEY_BEGIN = re.compile(r"-----BEGIN (?:[A-Z]{2,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(r"-----END (?:[A-Z]{2,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BYTES = 16_384
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9_])(?:(?:AKIA|ASIA)[0-9A-Z]{16}"  # AWS access key id
    r"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{82}"  # GitHub
    r"|xox[abeoprs]-[A-Za-z0-9\-]{10,250}"  # Slack
    r"|AIza[0-9A-Za-z_\-]{35}"  # Google API key
    r"|sk_live_[0-9A-Za-z]{24,99}|glpat-[0-9A-Za-z_\-]{20})(?![A-Za-z0-9_])"  # Stripe, GitLab
)
_ASSIGNMENT = re.compile(
    r"(?:api_?key|apikey|secret|token|passwd|password|credential)[\w\-]{0,20}[\"']?[ \t]{0,4}(?:=|:|=>)[ \t]{0,4}[\"']"
    r"([A-Za-z0-9+/_=.\-]{16,200})[\"']",
    re.IGNORECASE,
)


class PiiConfig(OperatorConfig):
    """Options of `pii`.

    Attributes:
        kinds: What is redacted.
        phone_region: Region (ISO 3166) for numbers written without a country code.
        min_entropy_bits: Least Shannon entropy, in bits a character, of a quoted value that is assigned to a name
            such as `api_key` for it to count as a secret; 3.5 leaves words alone.
    """

    kinds: tuple[Kind, ...] = ("email", "ip", "phone", "secret")
    phone_region: str = Field(default="US", min_length=2, max_length=2)
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
    spans = sorted(find(text, config))
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
    if "secret" in config.kinds:
        yield from _secrets(text, config.min_entropy_bits)
    if "email" in config.kinds:
        yield from _emails(text)
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


def _addresses(text: str) -> Iterator[Span]:
    for match in _IPV4.finditer(text):
        if _public(match[0]) and not _VERSION_BEFORE.search(text[max(0, match.start() - 16) : match.start()]):
            yield match.start(), match.end(), "ip"
    if "::" in text or text.count(":") > 6:
        for match in _IPV6.finditer(text):
            if match[0].count(":") >= 2 and _public(match[0]):
                yield match.start(), match.end(), "ip"


def _public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _phones(text: str, region: str) -> Iterator[Span]:
    for match in _PHONE.finditer(text):
        import phonenumbers

        try:
            number = phonenumbers.parse(match[0], region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            yield match.start(), match.end(), "phone"


def _secrets(text: str, min_entropy_bits: float) -> Iterator[Span]:
    for begin in _KEY_BEGIN.finditer(text) if "PRIVATE KEY" in text else ():
        end = _KEY_END.search(text, begin.end(), begin.end() + _KEY_BYTES)
        yield begin.start(), end.end() if end else begin.end(), "secret"
    for match in _TOKENS.finditer(text):
        yield match.start(), match.end(), "secret"
    for match in _ASSIGNMENT.finditer(text):
        value = match[1]
        if (
            any(c.isdigit() for c in value)
            and any(c.isalpha() for c in value)
            and entropy_bits(value) >= min_entropy_bits
        ):
            yield match.start(1), match.end(1), "secret"


def entropy_bits(value: str) -> float:
    """Shannon entropy of a string's characters, in bits a character."""
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts)
