"""From the anchors of a batch to the spans of each text that has any."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.data.operators.pii import card, email, iban, ip, name, phone, secret
from headwater.data.operators.pii.config import PiiConfig
from headwater.data.operators.pii.spans import Span, merged, replaced

_GAP = rb"[ .\-()/\xc2\xa0\xe2\x80\x90-\x93\xaf]{1,3}"
_BESIDE, _BEHIND = re.compile(rb"\d" + _GAP + rb"\Z"), re.compile(_GAP + rb"\d")

Anchor = tuple[int, int, int]  # kind, place, extra: see `kernels.pii_anchors`


def found_in(texts: pa.Array, config: PiiConfig) -> Iterator[tuple[int, bytes, list[Span]]]:
    """For each text with something to redact: its place in the array, its bytes, and its spans, merged."""
    from headwater.data.operators.kernels.texts import texts_of_array

    data, offsets = texts_of_array(texts)
    rows, *columns = _anchors(data, offsets)
    bounds = np.searchsorted(rows, np.arange(len(texts) + 1))
    for row in range(len(texts)) if config.name_model else np.unique(rows).tolist():
        text = data[offsets[row] : offsets[row + 1]].tobytes()
        anchors = zip(*(column[bounds[row] : bounds[row + 1]].tolist() for column in columns), strict=True)
        spans = merged([*_spans(text, anchors, config), *name.names_in(text, config)])
        # Groups of digits near together are taken for one number: what is one of them may hide the next.
        while any(
            _BESIDE.search(text[max(0, span.start - 4) : span.start]) or _BEHIND.match(text, span.stop)
            for span in spans
        ):
            more = merged([*spans, *_uncovered(text, spans, config)])
            if more == spans:
                break
            spans = more
        if spans:
            yield row, text, spans


def _uncovered(text: bytes, spans: Sequence[Span], config: PiiConfig) -> Iterator[Span]:
    """What is found once spans are replaced, in places of the text."""
    from headwater.data.operators.kernels.texts import texts_of_array

    redacted, _ = replaced(text, spans, config.placeholder_of())
    data, offsets = texts_of_array(pa.array([redacted], pa.binary()).cast(pa.string()))
    _, *columns = _anchors(data, offsets)
    ends, shifts, place = [0], [0], 0  # where each placeholder ends, and how much further that is in the text
    for start, stop, kind in spans:
        place = start - shifts[-1] + len(config.placeholder_of()[kind].encode())
        ends.append(place)
        shifts.append(stop - place)
    for found in _spans(redacted, zip(*(column.tolist() for column in columns), strict=True), config):
        first, last = bisect_right(ends, found.start) - 1, bisect_right(ends, found.stop) - 1
        yield Span(found.start + shifts[first], found.stop + shifts[last], found.kind)


def _spans(text: bytes, anchors: Iterator[Anchor], config: PiiConfig) -> Iterator[Span]:
    from headwater.data.operators.kernels import pii_anchors as anchor

    wanted, region, entropy = frozenset(config.kinds), config.phone_region, config.min_entropy_bits
    for kind, place, extra in anchors:
        found: list[tuple[str, Any]] = []
        if kind == anchor.AT:
            if "email" in wanted:
                found.append(("email", email.email_at(text, place)))
            if "secret" in wanted and text[place] == 64:
                found.append(("secret", secret.password_at(text, place)))
        elif kind == anchor.NUMBER:
            cards = list(card.cards_in(text, place, extra)) if "card" in wanted else []
            found += [("card", span) for span in cards]
            if "phone" in wanted:
                stop = next((first - 1 for first, _ in cards if first > place), extra)
                found.append(("phone", phone.number_in(text, place, stop, region)))
        elif kind == anchor.PLUS and "phone" in wanted:
            found.append(("phone", phone.plus_at(text, place)))
        elif kind == anchor.AREA and "phone" in wanted:
            found.append(("phone", phone.area_at(text, place, region)))
        elif kind == anchor.IPV4 and "ip" in wanted:
            found.append(("ip", ip.ipv4_at(text, place)))
        elif kind == anchor.IPV6 and "ip" in wanted:
            found.append(("ip", ip.ipv6_at(text, place)))
        elif kind == anchor.IBAN and "iban" in wanted:
            found.append(("iban", iban.iban_at(text, place)))
        elif kind == anchor.PREFIX and "secret" in wanted:
            found.append(("secret", secret.token_at(text, place, entropy)))
        elif kind == anchor.ASSIGNED and "secret" in wanted:
            found.append(("secret", secret.assigned_at(text, place, extra, entropy)))
        for each, span in found:
            if span:
                yield Span(span[0], span[1], each)  # pyright: ignore[reportArgumentType]


def _anchors(data: Any, offsets: Any) -> tuple[Any, Any, Any, Any]:
    from headwater.data.operators.kernels.pii_anchors import pii_anchors

    room = 1024 + len(data) // 64
    while True:
        columns = [np.empty(room, kind) for kind in (np.int32, np.uint8, np.int32, np.int32)]
        count = pii_anchors(data, offsets, *_tables(), *columns)
        if count <= room:
            rows, kinds, places, extras = (column[:count] for column in columns)
            return rows, kinds, places, extras
        room = count


@lru_cache(maxsize=1)
def _tables() -> tuple[Any, ...]:
    from headwater.data.operators.kernels.pii_anchors import packed

    return (*packed(secret.PREFIXES), *packed(secret.NAMES))
