"""Payment card numbers: an issuer's prefix and length, the Luhn check digit (ISO/IEC 7812), and the usual groups."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SPACE = rb"(?: |-|\xc2\xa0|\xe2\x80[\xaf\x91])"
_CARD = re.compile(
    rb"(?<![\w.+])(?:(\d{4}(" + _SPACE + rb")\d{4}\2\d{4}\2\d{4}(?:\2\d{3})?|\d{4}(" + _SPACE + rb")\d{6}\3\d{4,5})"
    rb"|\d{14,19})(?!\w|[.\-]\d)"
)
_WORD_BEFORE = re.compile(
    rb"(?:\b(?:cards?|visa|master ?card|maestro|amex|american express|discover|diners|jcb|unionpay|ccn?|pan"
    rb"|kreditkarten?|karten?|carte|tarjeta|carta|cart\xc3\xa3o)|\xe5\x8d\xa1)[^\n<>\[\]{}]{0,32}\Z",
    re.I,
)
_CODE_BEFORE = re.compile(rb"[/=#\-_:&?$@%(\[{<>+*,|] ?\Z")  # identifiers in addresses, numbers in programs
_CODE_AFTER = re.compile(rb" ?[)\]}*/+|]")


_ACCOUNT_BEFORE = re.compile(rb"\b[A-Z]{2}\d\d(?: |\xc2\xa0)\Z")  # these groups go on an account number


_MOST_DIGITS = 32  # near together: two numbers; more are a table
_NEAR = 3  # bytes between numbers


def cards_in(text: bytes, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The card numbers within text[start:stop], digits and what groups them.

    Where many digits are near together, as in a table, some groups have the form of a card number by chance: there,
    groups count after a word such as "Visa" and beside another card number only.
    """
    found = list(_cards(text, start, stop))
    table = sum(48 <= byte <= 57 for byte in text[start:stop]) > _MOST_DIGITS
    for place, ((first, last), grouped) in enumerate(found):
        before = found[place - 1][0][1] if place else -_NEAR - 1
        after = found[place + 1][0][0] if place + 1 < len(found) else last + _NEAR + 1
        beside = first - before <= _NEAR or after - last <= _NEAR
        if not (table and grouped) or beside or _word_before(text, first):
            yield first, last


def _cards(text: bytes, start: int, stop: int) -> Iterator[tuple[tuple[int, int], bool]]:
    """What may be a card number, and whether its digits are in groups."""
    for match in _CARD.finditer(text, start, min(len(text), stop + 2)):
        digits = re.sub(rb"\D", b"", match[0])
        before = text[max(0, match.start() - 6) : match.start()]
        if not _issued(digits) or not luhn(digits) or _ACCOUNT_BEFORE.search(before):
            continue
        free = len(digits) < 19 and not _in_code(text, match.start(), match.end())
        if match[1] or match[3] or free or _word_before(text, match.start()):
            yield match.span(), bool(match[1] or match[3])


def luhn(digits: bytes) -> bool:
    """Whether the last digit is the check digit of the others."""
    values = [digit - 48 for digit in digits]
    doubled = (value * 2 - 9 if value > 4 else value * 2 for value in values[-2::-2])
    return (sum(values[-1::-2]) + sum(doubled)) % 10 == 0


def _issued(digits: bytes) -> bool:
    """Whether an issuer gives out numbers with this beginning and this length."""
    size, two, three, four = len(digits), int(digits[:2]), int(digits[:3]), int(digits[:4])
    return (
        (digits[:1] == b"4" and size in (16, 19))  # Visa
        or (size == 16 and (51 <= two <= 55 or 2221 <= four <= 2720))  # Mastercard
        or (size == 15 and two in (34, 37))  # American Express
        or (size in (16, 19) and (four == 6011 or 644 <= three <= 649 or two == 65))  # Discover
        or (size in (16, 19) and 3528 <= four <= 3589)  # JCB
        or (size == 14 and (300 <= three <= 305 or two in (36, 38, 39)))  # Diners Club
        or (size in (16, 19) and two == 62)  # UnionPay
    )


def _word_before(text: bytes, place: int) -> bool:
    return _WORD_BEFORE.search(text[max(0, place - 48) : place]) is not None


def _in_code(text: bytes, start: int, stop: int) -> bool:
    return bool(_CODE_BEFORE.search(text[max(0, start - 2) : start]) or _CODE_AFTER.match(text, stop))
