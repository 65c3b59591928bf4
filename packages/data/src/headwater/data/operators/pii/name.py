"""Names of people, by a token classifier (`models.names`)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from headwater.data.models import names
from headwater.data.operators.pii.config import PiiConfig
from headwater.data.operators.pii.spans import Span


def names_in(text: bytes, config: PiiConfig) -> Iterator[Span]:
    """The names in a text, none where no model is given; what stands in a placeholder is none."""
    if config.name_model is None:
        return
    characters = text.decode()
    marks = re.compile("|".join(map(re.escape, config.placeholder_of().values())))
    taken = {place for found in marks.finditer(characters) for place in range(*found.span())}
    place = position = 0  # in characters and in bytes
    for start, stop in names.load(config.name_model).find(characters, config.min_name_score):
        if start in taken or stop - 1 in taken:
            continue
        begin = position + len(characters[place:start].encode())
        place, position = stop, begin + len(characters[start:stop].encode())
        yield Span(begin, position, "name")
