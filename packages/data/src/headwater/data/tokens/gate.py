"""Whether the fast encoder gives the reference's tokens: the texts on which they are compared before it is trusted.

A byte-level BPE is a split of the text into words, by the classes of its characters, and merges inside a word. So the
texts are: every sequence of up to three of the classes that splits tell apart; every length of run around the widths
that vector instructions work at; whole documents of each source and language; and the odd things that crawls hold.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.core.storage import storage_errors
from headwater.core.tokens import CHAT_TOKENS, SPECIAL_TOKENS, UNKNOWN
from headwater.data.arrow import values
from headwater.data.tokens.encoder import Encoder, Ids

# One or two characters of every class: letters of either case, with and without case, marks, digits and other numbers,
# punctuation, the apostrophe and letters of contractions, every kind of white space and of control character.
CLASSES = (
    "a", "Z", "s", "t", "'", "’", "é", "ß", "ſ", "K", "日", "ا", "ก", "́", "्", "7", "٣", "½", "Ⅷ", "²", ".", "_",
    "-", "<", "€", "🎉", "👩‍🔬", " ", "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085", "\t", "\n", "\r",
    "\r\n", "\x0b", "\x1c", "\x00", "\x7f", "\u200b", "\u200d", "\ufeff", "\ufffd", "\ue000", "\U0010ffff",
    "\u0378", "\u088f", "\U000323b0",
)  # fmt: skip
_FEW = ("a", "Z", "7", "'", "s", "é", "日", ".", " ", "\u00a0", "\t", "\n", "\r", "́", "\x00", "🎉")
_DOCUMENTS = 4  # of each source and language
_LONGEST = 20_000  # characters of a document that are compared
_ROW_GROUPS = 12  # of each source that are looked at


def adversarial(specials: tuple[str, ...] = ()) -> Iterator[str]:
    """Texts that tell splits and merges apart, some 10,000 short ones and a few hundred longer."""
    yield ""
    yield from CLASSES
    for pair in itertools.product(CLASSES, repeat=2):
        yield "x" + "".join(pair) + "y"
    for triple in itertools.product(_FEW, repeat=3):
        yield "".join(triple)
    for name in (*SPECIAL_TOKENS, *CHAT_TOKENS, UNKNOWN, *specials):
        yield from (name, f"a {name} b", f"{name}{name}\n", name[:-1], name[1:])
    for run, length in itertools.product(
        (" ", "\n", "a", "é", "日", "7", ".", "\t ", "aB", " a", "\u3000", "\u00a0"),
        (3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 257, 1000),
    ):  # fmt: skip
        yield f"x{run * length}y 1"
    for gap in range(70):  # a class that changes at every place of a vector
        yield "a" * gap + " \n b'll 12345é日"
        yield "word " * 3 + " " * gap + "\u00a0\u2003x" + "7" * gap
    yield from (
        "I'm WE'RE they'd it'S don't 'tis 'S'T", "1,234.5678e-9 0x7FFF", "a\u0301e\u0308o\u0302" * 20,
        "<0x0A> ▁ Ġ Ċ ## [UNK]", "ﬁ ǅ Ⓐ İı ẞ", "https://a.b/c?d=e&f=%20#g", "".join(map(chr, range(0x20))),
    )  # fmt: skip
    yield from characters(0, 0x3000)


def characters(start: int, stop: int) -> Iterator[str]:
    """Every character of a range between letters, spaces and digits, a few in each text."""
    for first in range(start, stop, 16):
        codes = [code for code in range(first, min(first + 16, stop)) if not 0xD800 <= code < 0xE000]
        if codes:
            yield "".join(f"a{chr(code)} {chr(code)}b7{chr(code)}{chr(code)}'s" for code in codes)


def of_documents(documents: Path) -> Iterator[str]:
    """The beginnings of a few documents of every source and language that the first row groups of each source hold."""
    seen: dict[tuple[str, str], int] = {}
    groups: dict[str, int] = {}
    with storage_errors("read", documents):
        for path in sorted(documents.glob("part-*.parquet")):
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    kinds = file.read_row_group(group, columns=["source", "language"])
                    keys = list(zip(values(kinds, "source"), values(kinds, "language"), strict=True))
                    sources = {source for source, _ in keys}
                    if not any(groups.get(source, 0) < _ROW_GROUPS for source in sources):
                        continue
                    groups |= {source: groups.get(source, 0) + 1 for source in sources}
                    wanted = [place for place, key in enumerate(keys) if _wanted(seen, key)]
                    if wanted:
                        texts = values(file.read_row_group(group, columns=["text"]), "text")
                        yield from (texts[place][:_LONGEST] for place in wanted)


def _wanted(seen: dict[tuple[str, str], int], key: tuple[str, str]) -> bool:
    seen[key] = seen.get(key, 0) + 1
    return seen[key] <= _DOCUMENTS


def difference(encoder: Encoder, reference: Encoder, texts: list[str]) -> str:
    """What the first text is on which two encoders differ, for people; empty when they agree on all."""
    for start in range(0, len(texts), 1000):
        part = pa.array(texts[start : start + 1000], pa.large_string())
        try:
            ours = encoder.encode(part)
        except BaseException as error:  # a panic of the library is no Exception
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            return f"it fails: {error}"[:300]
        place = differs(ours, reference.encode(part))
        if place is not None:
            return f"other tokens for {texts[start + place][:60]!r}"
    return ""


def differs(ours: Ids, theirs: Ids) -> int | None:
    """The number of the first text whose ids differ; none if all are equal."""
    if np.array_equal(ours.offsets, theirs.offsets) and np.array_equal(ours.flat, theirs.flat):
        return None
    for place in range(len(theirs.offsets) - 1):
        mine, right = (ids.flat[ids.offsets[place] : ids.offsets[place + 1]] for ids in (ours, theirs))
        if not np.array_equal(mine, right):
            return place
    return len(theirs.offsets) - 1
