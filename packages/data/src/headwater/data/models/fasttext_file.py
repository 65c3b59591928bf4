"""fastText's model files (Joulin et al., EACL 2017): looked through before they are loaded, and scored with.

The library reads a file without looking at its sizes: a damaged one takes the process down or gives wrong scores. So
the layout is walked here first. Any supervised model of fastText's own format works, also those of others, such as
DCLM's (Li et al., 2024).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from headwater.core.errors import ConfigError
from headwater.core.storage import storage_errors

MAGIC = 793_712_314
VERSIONS = (11, 12)
LABEL = "__label__"
SUPERVISED = 3
ARGUMENTS = struct.Struct("<2i12id")  # magic, version, twelve integers, the sampling threshold
_SIZES = struct.Struct("<3i2q")  # entries, words, labels, tokens, pruned
_MATRIX = struct.Struct("<2q")


def line_of(text: str) -> str:
    """A text as the line that fastText reads; nothing in it can be taken for a label or for the end of the line."""
    words = " ".join(text.replace("\0", " ").split()).replace(LABEL, "label ").replace("</s>", "< /s>")
    return words.encode("utf-8", "replace").decode("utf-8") + "\n"


def is_fasttext(path: Path) -> bool:
    """Whether a file begins as fastText's do."""
    with storage_errors("read", path), open(path, "rb") as stream:
        return stream.read(4) == struct.pack("<i", MAGIC)


def labels_of(path: Path) -> tuple[str, ...]:
    """The labels of a model, in its order, after walking through the file.

    Raises:
        ConfigError: It is no supervised fastText model, or is damaged.
    """
    try:
        with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return tuple(_walk(path, data))
    except (ValueError, struct.error) as error:  # empty, or it ends too early
        raise _damaged(path, f"it ends too early ({path.stat().st_size:,} bytes)") from error


def _walk(path: Path, data: Any) -> Iterator[str]:
    magic, version, *numbers, _ = ARGUMENTS.unpack_from(data)
    if magic != MAGIC or version not in VERSIONS:
        raise ConfigError(f"{path} is no fastText model", found=f"first bytes {bytes(data[:4]).hex()}",
                          expected="a .bin or .ftz file; headwater data model train quality makes one")  # fmt: skip
    if numbers[7] != SUPERVISED:
        raise ConfigError(f"{path} holds word vectors, no classifier", expected="a supervised fastText model")
    place = ARGUMENTS.size
    entries, words, labels, _, pruned = _SIZES.unpack_from(data, place)
    place += _SIZES.size
    if min(words, labels - 1) < 0 or words + labels != entries or entries > len(data):
        raise _damaged(path, f"{entries:,} entries, of them {words:,} words and {labels:,} labels")
    for number in range(entries):
        end = data.find(b"\0", place)
        if end < 0 or end + 10 > len(data) or data[end + 9] != (number >= words):
            raise _damaged(path, f"entry {number:,} of {entries:,} of its dictionary")
        if number >= words:
            yield data[place:end].decode("utf-8", "replace").removeprefix(LABEL)
        place = end + 10
    place += 8 * max(pruned, 0)
    if not data[place]:  # not quantised: two matrices of known size
        place += 1
        for _ in range(2):
            rows, columns = _MATRIX.unpack_from(data, place)
            place += _MATRIX.size + 4 * rows * columns + (_ == 0)
        if place != len(data):
            raise _damaged(path, f"{len(data):,} bytes where its matrices end after {place:,}")


def _damaged(path: Path, found: str) -> ConfigError:
    return ConfigError(f"the fastText model {path} is damaged", found=found, hint="restore it, or train it again")


def scores(path: str, label: str, texts: Iterable[str]) -> list[float]:
    """The probability of a label for each text, 0–1, rounded to four decimals.

    A text's score depends on that text and the model only.

    Raises:
        StorageError: The model cannot be read.
    """
    model, wanted = _open(path), LABEL + label
    found = (model.predict(line_of(text), -1, 0.0, "strict") for text in texts)
    return [next((min(round(float(p), 4), 1.0) for p, name in row if name == wanted), 0.0) for row in found]


def best_labels(path: str, texts: Iterable[str]) -> list[tuple[str, float]]:
    """The most probable label of each text, and its probability, as `scores`; ("", 0.0) where there is none.

    Raises:
        StorageError: The model cannot be read.
    """
    model = _open(path)
    found = (model.predict(line_of(text), 1, 0.0, "strict") for text in texts)
    best = (row[0] if row else (0.0, LABEL) for row in found)
    return [(name.removeprefix(LABEL), min(round(float(p), 4), 1.0)) for p, name in best]


def _open(path: str) -> Any:
    with storage_errors("read the model", path):
        state = Path(path).stat()
    return _load(path, state.st_size, state.st_mtime_ns).f


@lru_cache(maxsize=4)
def _load(path: str, size: int, modified: int) -> Any:
    import fasttext

    return fasttext.load_model(path)
