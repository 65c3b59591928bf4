"""International bank account numbers: the country's length and the check digits modulo 97 (ISO 13616, ISO 7064)."""

from __future__ import annotations

import re

_COUNTRIES = """
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18
FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20
LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24
SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
"""
_LENGTHS = {each[:2]: int(each[2:]) for each in _COUNTRIES.split()}
_IBAN = re.compile(rb"[A-Z]{2}\d{2}(?:[A-Z0-9]{11,30}|(?:(?: |-|\xc2\xa0|\xe2\x80\xaf)[A-Z0-9]{1,4}){3,8})")
_BETWEEN = re.compile(rb"[^A-Z0-9]")


def iban_at(text: bytes, place: int) -> tuple[int, int] | None:
    """The account number that begins at text[place]."""
    match = _IBAN.match(text, place)
    length = _LENGTHS.get(text[place : place + 2].decode()) if match else None
    if not match or not length:
        return None
    digits, stop = 0, place
    while digits < length and stop < match.end():
        byte = text[stop]
        if byte < 128 and chr(byte).isalnum():
            digits += 1
        elif digits % 4:
            return None  # groups are of four
        stop += 1
    number = _BETWEEN.sub(b"", text[place:stop])
    after = text[stop : stop + 1]
    if len(number) != length or after.isalnum() or after == b"_" or not 2 <= int(number[2:4]) <= 98:
        return None
    moved = "".join(str(int(chr(byte), 36)) for byte in number[4:] + number[:4])
    return (place, stop) if int(moved) % 97 == 1 else None
