"""Phone numbers. Their form finds them, the numbering plans of the `phonenumbers` package (Google's libphonenumber)
decide whether they are valid.

Three forms count: with a country code (+49 30 …, 0049 30 …); grouped as in North America; and after a word such as
"Tel.", which also says in which language, and so for which countries, the number is written.
"""

from __future__ import annotations

import re
from functools import lru_cache

_SPACE = rb"(?:[ .\-/]|\xc2\xa0|\xe2\x80[\x90-\x93\xaf])"
_DIGIT_GROUPS = rb"\(?\d{1,13}\)?(?:" + _SPACE + rb"{0,2}\(?\d{1,13}\)?){0,7}"
_PLUS = re.compile(rb"\+\(?[1-9]\d{0,13}\)?(?:" + _SPACE + rb"{0,2}\(?\d{1,13}\)?){0,7}")
_NATIONAL = re.compile(rb"\(?" + _DIGIT_GROUPS)
_AREA = re.compile(
    rb"(?:(?<![\w+./\-])1[ .\-])?(?:\(\d{3}\)[ ]?|\d{3}(" + _SPACE + rb")(?=\d{3}\1))\d{3}" + _SPACE + rb"\d{4}"
)
_GROUP_END = re.compile(rb"\d\)?(?!\d)")
_DECIMAL = re.compile(rb"\+\d\.\d{6,}\Z|[+\d]\d*\.\d{1,2}\Z")
_DAY, _MONTH, _YEAR = rb"(?:0?[1-9]|[12]\d|3[01])", rb"(?:0?[1-9]|1[0-2])", rb"(?:(?:19|20)\d\d|\d\d)"
_DATE = re.compile(
    rb"\(?(?:"
    + _DAY
    + rb"([./\-])"
    + _MONTH
    + rb"\1"
    + _YEAR
    + rb"|(?:19|20)\d\d([./\-])"
    + _MONTH
    + rb"\2"
    + _DAY
    + rb")(?![./\-]?\d)"
)
_WORDS = {
    rb"tel|phones?|telephone|fax|whatsapp|hotline|helpline|toll.free": (
        "US", "GB", "AU", "IN", "DE", "FR", "IT", "ES", "NL", "AT", "CH", "BE", "BR", "JP", "PL", "SE"),
    rb"mobile|cell|cellphone|call(?: us)?(?: at| on)?|text|dial|ring": ("US", "GB", "AU", "IN"),
    rb"telefon(?:nummer)?|fon|telefax|handy(?:nummer)?|mobil|mobiltelefon|rufnummer|ruf": ("DE", "AT", "CH", "SE", "DK",
                                                                                      "NO", "CZ", "PL", "HU"),
    rb"t\xc3\xa9l(?:\xc3\xa9phone)?|t\xc3\xa9l\xc3\xa9copie|portable|appelez(?: le)?": ("FR", "BE", "CH", "CA"),
    rb"tel\xc3\xa9fono|m\xc3\xb3vil|celular|ll\xc3\xa1m[ae](?:nos|me)?(?: al)?": ("ES", "MX", "AR", "CO", "CL", "PE"),
    rb"telefone|telem\xc3\xb3vel|ligue(?: para)?": ("BR", "PT"),
    rb"telefono|cellulare|chiam[aei]\w{0,3}(?: al| il)?": ("IT", "CH"),
    rb"telefoon(?:nummer)?|mobiel|gsm|bel": ("NL", "BE"),
    rb"\xd1\x82\xd0\xb5\xd0\xbb(?:\xd0\xb5\xd1\x84\xd0\xbe\xd0\xbd)?|\xd0\xa2\xd0\xb5\xd0\xbb(?:\xd0\xb5\xd1\x84\xd0\xbe\xd0\xbd)?":  # тел, Телефон  # noqa: E501
        ("RU", "UA", "BG"),
    "电话|手机|联系电话|热线".encode(): ("CN",),
    "電話(?:番号)?|携帯|携帯電話".encode(): ("JP", "TW"),
    "전화|휴대폰|연락처".encode(): ("KR",),
}  # fmt: skip


def _before(words: bytes) -> re.Pattern[bytes]:
    """Matches the end of what stands before a number, when it is one of these words."""
    number = rb"(?:[ ]?(?:number|no|nr|n\xc2\xba|\([a-z ]{1,12}\)|is|unter))?"
    return re.compile(rb"(?<![A-Za-z])(?:" + words + rb")\.?" + number + rb"[^A-Za-z0-9<>\[\]{}\n]{0,6}\Z", re.I)


_WORD_PATTERNS = [(_before(words), regions) for words, regions in _WORDS.items()]
_SOME_WORD = _before(b"|".join(_WORDS))
_ANY_WORD = 40  # bytes before a number in which its word stands
_MOST_DIGITS, _TRIES = 16, 4
_LONGEST = 64  # bytes of one number with what groups its digits
_TABLE_DIGITS = 24  # more of them near together are a table rather than one number


def plus_at(text: bytes, place: int) -> tuple[int, int] | None:
    """The number whose + is text[place]."""
    if place and (_is_word(text[place - 1]) or text[place - 1] in b"+.-/"):
        return None
    match = _PLUS.match(text, place, place + 48)
    if not match:
        return None
    for stop in _stops(text, match.start(), match.end()):
        if _DECIMAL.match(text, place, stop) and not _regions_by_word(text, place):
            continue  # +1.2345678901, +35236450.6
        if _valid(text[place:stop], None):
            return place, stop
    return None


def area_at(text: bytes, place: int, region: str) -> tuple[int, int] | None:
    """The North American number 650-253-0000, (650) 253-0000 or 1-650-253-0000 around its first group, text[place]."""
    start = place - 1 if text[place - 1 : place] == b"(" and place else place
    if start >= 2 and text[start - 2 : start] in (b"1-", b"1.", b"1 ") and _AREA.match(text, start - 2):
        start -= 2
    match = _AREA.match(text, start)
    if not match and start < place:
        start = place  # (650-253-0000)
        match = _AREA.match(text, start)
    if not match or not _ends(text, match.end()):
        return None
    before = text[start - 1 : start]
    if before and (_is_word(before[0]) or before in b"+-/=._"):
        return None
    by_word = _regions_by_word(text, start)
    if match[1] not in (b"-", b".", None) and not by_word:
        return None  # three numbers with spaces between
    if _country_code(region) == 1 or by_word:
        return match.span() if _valid(match[0], region if _country_code(region) == 1 else "US") else None
    return None


def number_in(text: bytes, start: int, stop: int, region: str) -> tuple[int, int] | None:
    """The number that begins at text[start], a digit, and has a word before it, 00 and a country code, or a trunk 0."""
    if start and text[start - 1] == ord("("):
        start -= 1
    if start and (_is_word(text[start - 1]) or text[start - 1] in b"+-/=._,"):
        return None
    if text[start : start + 2] == b"00" and text[start + 2 : start + 3] not in b"0":
        for end in _stops(text, start, stop):
            if _valid(b"+" + text[start + 2 : end], None) and (len(re.findall(rb"\d+", text[start:end])) > 2):
                return start, end
    regions = _regions_by_word(text, start)
    trunk = text[start : start + 1] == b"0" or text[start : start + 2] == b"(0"
    trunk = trunk and _digits(text[start:stop]) <= _TABLE_DIGITS
    if regions:
        regions = (region, *regions)
    elif trunk and _country_code(region) != 1:
        regions = (region,)  # whoever names a region wants numbers as they are written there
    if not regions or _DATE.match(text, start, stop + 1):
        return None
    for end in _stops(text, start, stop):
        for each in regions:
            if _valid(text[start:end], each):
                return start, end
    return None


def _stops(text: bytes, start: int, stop: int) -> list[int]:
    """Where the number may end: after each of its last groups that a word or a decimal does not go on from."""
    stop = min(len(text), stop, start + _LONGEST)
    ends = [match.end() for match in _GROUP_END.finditer(text, start, min(len(text), stop + 1))]
    good = [end for end in ends if _ends(text, end) and 7 <= _digits(text[start:end]) <= _MOST_DIGITS]
    return good[: -_TRIES - 1 : -1]


def _ends(text: bytes, stop: int) -> bool:
    after = text[stop : stop + 2]
    return not after[:1] or not (
        _is_word(after[0]) or (after[:1] in b".-,:" and after[1:].isdigit()) or after[:1] == b"%"
    )


def _digits(text: bytes) -> int:
    return sum(48 <= byte <= 57 for byte in text)


def _is_word(byte: int) -> bool:
    return byte == 95 or (byte < 128 and chr(byte).isalnum())


def _regions_by_word(text: bytes, place: int) -> tuple[str, ...]:
    """The regions that the word before a number suggests; empty without one."""
    before = text[max(0, place - _ANY_WORD) : place]
    if not _SOME_WORD.search(before):
        return ()
    return next((regions for pattern, regions in _WORD_PATTERNS if pattern.search(before)), ())


@lru_cache(maxsize=64)
def _country_code(region: str) -> int:
    import phonenumbers

    return phonenumbers.country_code_for_region(region)


def _valid(written: bytes, region: str | None) -> bool:
    import phonenumbers

    if not 7 <= _digits(written) <= _MOST_DIGITS:
        return False
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(written.decode("utf-8", "replace"), region))
    except phonenumbers.NumberParseException:
        return False
