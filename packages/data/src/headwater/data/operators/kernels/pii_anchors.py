"""One pass over the bytes of a batch that finds where personal data and secrets may be.

It marks places cheaply and generously; the recognisers in `operators/pii` look at these places only and decide. Most
texts have few or none, so they cost no more than this pass.
"""

from __future__ import annotations

import numpy as np

from headwater.data.operators.kernels.compiled import compiled

AT, IPV4, IPV6, PLUS, AREA, NUMBER, IBAN, PREFIX, ASSIGNED = range(9)
"""An @ (or "(at)") · a dotted quad · "2001:" · "+49" · a 3-3-4 group of digits · 7 digits or more near together ·
"DE89" · the beginning of a known token · a long value after = or : and a name such as api_key."""

_DIGIT, _ALNUM, _UPPER, _HEX, _SEPARATOR, _VALUE, _LETTER = 1, 2, 4, 8, 16, 32, 64
_GAP = 3  # bytes between groups of digits of one number
_NAME_BYTES, _VALUE_BYTES = 48, 16


def _classes():
    table = np.zeros(256, np.uint8)
    for code in range(256):
        character = chr(code) if code < 128 else ""
        table[code] = (
            _DIGIT * character.isdigit()
            | _ALNUM * (character.isalnum() or character == "_")
            | _UPPER * character.isupper()
            | _HEX * (character != "" and character in "0123456789abcdefABCDEF")
            | _VALUE * (character.isalnum() or (character != "" and character in "+/_=.-~%"))
            | _LETTER * character.isalpha()
        )
    table[list(b" .-()/\xc2\xa0\xe2\x80\x90\x91\x92\x93\xaf")] |= _SEPARATOR  # also no-break spaces and dashes
    return table


def packed(words):
    """Words as rows of bytes, with their lengths, ordered by first byte; and the rows of each first byte.

    Returns:
        bytes [words, 24], lengths [words], first row of each byte [257].
    """
    words = sorted(words)
    rows = np.zeros((len(words), 24), np.uint8)
    for row, word in enumerate(words):
        rows[row, : len(word)] = list(word)
    firsts = np.array([word[0] for word in words])
    return rows, np.array([len(word) for word in words]), np.searchsorted(firsts, np.arange(257))


_CLASSES = _classes()


@compiled
def _one_of(data, place, end, rows, sizes, firsts, lower):
    """Whether one of the packed words is at data[place:end]."""
    first = data[place]
    if lower and 65 <= first <= 90:
        first += np.uint8(32)
    for row in range(firsts[first], firsts[np.int64(first) + 1]):
        size = sizes[row]
        if place + size > end:
            continue
        k = 1
        while k < size:
            byte = data[place + k]
            if lower and 65 <= byte <= 90:
                byte += np.uint8(32)
            if byte != rows[row, k]:
                break
            k += 1
        if k == size:
            return True
    return False


@compiled
def _value(data, place, end):
    """Where a value of at least `_VALUE_BYTES` bytes with a digit begins after a sign of assignment, or -1."""
    if place < end and (data[place] == 61 or data[place] == 62):  # == or =>
        place += 1
    blanks = 0
    while place < end and blanks < 4 and (data[place] == 32 or data[place] == 9):
        place += 1
        blanks += 1
    if place < end and (data[place] == 34 or data[place] == 39 or data[place] == 96):
        place += 1
    digits, size = 0, 0
    while place + size < end and size < 64:
        kind = _CLASSES[data[place + size]]
        if not kind & _VALUE:
            break
        digits += kind & _DIGIT
        size += 1
    return place if size >= _VALUE_BYTES and digits else -1


@compiled
def pii_anchors(data, offsets, prefixes, prefix_sizes, prefix_firsts, names, name_sizes, name_firsts, texts, kinds,
                places, extras):  # fmt: skip
    """Fills texts, kinds, places and extras with the anchors of each text in turn.

    Args:
        data, offsets: The texts.
        prefixes, prefix_sizes, prefix_firsts: Beginnings of tokens; see `packed`.
        names, name_sizes, name_firsts: Parts of names that secrets are assigned to, in lower case.
        texts, kinds: Of each anchor.
        places, extras: Bytes from the beginning of its text: where it is; where it ends (NUMBER), where the name's
            neighbourhood begins (ASSIGNED).

    Returns:
        How many there are; when more than the arrays hold, the rest is not noted.
    """
    found, room = 0, len(places)
    for text in range(len(offsets) - 1):
        begin, end = offsets[text], offsets[text + 1]
        start, stop, digits = -1, -1, 0  # the number so far: groups of digits near together
        group2, size2, group1, size1 = -1, 0, -1, 0  # the last two groups of it
        quad, dots = -1, 0  # groups with single dots between
        place = begin
        while place < end:
            byte = data[place]
            kind = _CLASSES[byte]
            anchor, where, extra = -1, place, 0
            if kind & _DIGIT:
                last = place + 1
                while last < end and _CLASSES[data[last]] & _DIGIT:
                    last += 1
                size = last - place
                near = start >= 0 and place - stop <= _GAP
                between = stop
                while near and between < place:
                    near = _CLASSES[data[between]] & _SEPARATOR != 0
                    between += 1
                if not near:
                    if digits >= 7:
                        if found < room:
                            texts[found], kinds[found] = text, NUMBER
                            places[found], extras[found] = start - begin, stop - begin
                        found += 1
                    start, digits, group2, group1 = place, 0, -1, -1
                if near and place == stop + 1 and data[stop] == 46:
                    dots += 1
                else:
                    quad, dots = place, 0
                digits += size
                stop = last
                if dots == 3:
                    anchor, where = IPV4, quad
                elif size == 4 and group1 >= 0 and size1 == 3 and group2 >= 0 and size2 == 3:
                    anchor, where = AREA, group2
                elif place > begin and data[place - 1] == 43:
                    anchor, where = PLUS, place - 1
                elif place > begin + 1 and data[place - 1] == 40 and data[place - 2] == 43:
                    anchor, where = PLUS, place - 2
                elif size >= 2 and place > begin + 1 and _CLASSES[data[place - 1]] & _CLASSES[data[place - 2]] & _UPPER:
                    if place - 2 == begin or not _CLASSES[data[place - 3]] & _ALNUM:
                        anchor, where = IBAN, place - 2
                elif 8 <= size <= 10 and last + 1 < end and data[last] == 58 and data[last + 1] == 65:
                    anchor = PREFIX  # the token of a Telegram bot: 123456789:AA…
                group2, size2, group1, size1 = group1, size1, place, size
                place = last
            else:
                if kind & _LETTER:
                    if (place == begin or not _CLASSES[data[place - 1]] & _ALNUM) and _one_of(
                        data, place, end, prefixes, prefix_sizes, prefix_firsts, False
                    ):
                        anchor = PREFIX
                elif byte == 64:  # @
                    if place > begin and place + 1 < end:
                        left, right = data[place - 1], data[place + 1]
                        if left > 32 and (_CLASSES[right] & _ALNUM or right >= 128):
                            anchor = AT
                elif byte == 40 or byte == 91:  # (at) or [at]
                    letter = place + 1 + (data[place + 1] == 32)
                    if letter + 2 < end and data[letter] | 32 == 97 and data[letter + 1] | 32 == 116:
                        anchor = AT
                elif byte == 61 or byte == 58:  # = or :
                    if (
                        byte == 58
                        and place - begin >= 4
                        and (data[place - 4] == 50 or data[place - 4] == 51)
                        and _CLASSES[data[place - 3]] & _CLASSES[data[place - 2]] & _CLASSES[data[place - 1]] & _HEX
                    ):
                        anchor, where = IPV6, place - 4
                    value = _value(data, place + 1, end) if anchor < 0 else -1
                    if value >= 0:
                        name = max(begin, place - _NAME_BYTES)
                        look = place - 1
                        while look >= name:
                            if data[look] == 10:
                                break
                            if _CLASSES[data[look]] & _LETTER and _one_of(
                                data, look, place, names, name_sizes, name_firsts, True
                            ):
                                anchor, where, extra = ASSIGNED, value, name
                                break
                            look -= 1
                place += 1
            if anchor >= 0:
                if found < room:
                    texts[found], kinds[found] = text, anchor
                    places[found], extras[found] = where - begin, max(extra - begin, 0)
                found += 1
        if digits >= 7:
            if found < room:
                texts[found], kinds[found], places[found], extras[found] = text, NUMBER, start - begin, stop - begin
            found += 1
    return found
