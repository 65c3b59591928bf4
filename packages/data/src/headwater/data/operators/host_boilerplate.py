"""Boilerplate of a host: lines that recur in many of its documents, such as menus, footers and cookie notices.

The steps, each a pure function of a batch or of whole groups, whatever their order:

    host_lines(batch)                                      (host, line, row)          one row a distinct line
    host_rows(batch)                                       (host, row)                one row a document
    count_documents(groups of host_lines by host, line)    (host, line, documents)
    count_documents(groups of host_rows by host)           (host, documents)
    recurring(both counts joined by host)                  (host, line)
    HostBoilerplate(config, host → lines).process(batch)   removes these lines

Count after deduplication: a page that was fetched ten times would otherwise be a template of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from headwater.core.config import Whole
from headwater.core.hashing import U64, mix64, powers
from headwater.data.arrow import compute, table, utf8, values
from headwater.data.operators.base import REJECT, Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.rows import CODE_TYPES, with_column

LINES = pa.schema([pa.field("host", pa.string()), pa.field("line", pa.uint64()), pa.field("row", pa.string())])
ROWS_OF_HOSTS = pa.schema([pa.field("host", pa.string()), pa.field("row", pa.string())])

I64 = npt.NDArray[np.int64]
_HOST = r"^[A-Za-z][A-Za-z0-9+.\-]*://(?:[^/?#@]*@)?(?P<host>\[[^\]]*\]|[^/?#:]+)"
_BASE = 0xC2B2AE3D27D4EB4F  # odd, so it has an inverse modulo 2**64
_SPACE, _DIGIT = ord(" "), ord("0")


class HostBoilerplateConfig(OperatorConfig):
    """Options of `host_boilerplate`.

    Attributes:
        min_documents: In how many documents of a host a line occurs at least to be a template.
        min_share: In which share of the host's documents.
        min_line_bytes: Shorter lines (without white space, a number counted as one digit) always stay.
        min_characters: Documents that lost lines and have fewer characters left are set aside; 0: none.
        exempt_types: Media type prefixes whose lines neither count nor go: programs repeat lines by nature.
    """

    min_documents: Whole = Field(default=10, ge=2)
    min_share: float = Field(default=0.2, ge=0, le=1)
    min_line_bytes: Whole = Field(default=3, ge=1)
    min_characters: Whole = Field(default=200, ge=0)
    exempt_types: tuple[str, ...] = CODE_TYPES


def host_lines(batch: pa.RecordBatch, config: HostBoilerplateConfig) -> pa.Table:
    """The distinct lines of each document, as `LINES`. Documents without a host have none."""
    hosts, considered = _hosts(batch), _considered(batch, config)
    keys, owners = _line_keys(batch.column("text"), config.min_line_bytes)
    used = (keys != 0) & considered[owners]
    keys, owners = keys[used], owners[used]
    order = np.lexsort((keys, owners))
    keys, owners = keys[order], owners[order]
    fresh = np.ones(len(keys), dtype=np.bool_)
    fresh[1:] = (keys[1:] != keys[:-1]) | (owners[1:] != owners[:-1])
    places = pa.array(owners[fresh], pa.int64())
    return table({"host": hosts.take(places), "line": pa.array(keys[fresh], pa.uint64()),
                  "row": batch.column("row").take(places)}, LINES)  # fmt: skip


def host_rows(batch: pa.RecordBatch, config: HostBoilerplateConfig) -> pa.Table:
    """Each document with its host, as `ROWS_OF_HOSTS`."""
    used = pa.array(_considered(batch, config))
    return table({"host": _hosts(batch).filter(used), "row": batch.column("row").filter(used)}, ROWS_OF_HOSTS)


def count_documents(groups: pa.Table, keys: tuple[str, ...]) -> pa.Table:
    """How many documents each group has, for whole groups: the columns `keys` and `documents`, ordered by `keys`."""
    counts = groups.group_by(list(keys), use_threads=False).aggregate([("row", "count_distinct")])
    counts = counts.rename_columns([*keys, "documents"]).select([*keys, "documents"])
    return counts.sort_by([(key, "ascending") for key in keys])


def recurring(joined: pa.Table, config: HostBoilerplateConfig) -> pa.Table:
    """The templates among counted lines.

    Args:
        joined: Columns host, line, documents (with the line) and host_documents (of the host).
        config: Options.

    Returns:
        The columns host and line of those that recur often enough, in their order.
    """
    documents, of_host = (joined.column(n).to_numpy().astype(np.int64) for n in ("documents", "host_documents"))
    often = (documents >= config.min_documents) & (documents >= config.min_share * of_host)
    return joined.filter(pa.array(often, pa.bool_())).select(["host", "line"])


def templates_of(lines: pa.Table) -> dict[str, U64]:
    """Host → its templates, sorted, from what `recurring` found."""
    found: dict[str, list[int]] = {}
    for host, line in zip(values(lines, "host"), values(lines, "line"), strict=True):
        found.setdefault(host, []).append(line)
    return {host: np.unique(np.array(mine, dtype=np.uint64)) for host, mine in found.items()}


class HostBoilerplate(Operator):
    """Removes the templates of each document's host, with the blank lines after them.

    Args:
        config: Options.
        templates: Host → the sorted lines that recur there.
    """

    name = "host_boilerplate"
    reasons = frozenset({"host_boilerplate", "too_short"})
    changes = True
    config: HostBoilerplateConfig

    def __init__(self, config: HostBoilerplateConfig, templates: Mapping[str, U64]) -> None:
        super().__init__(config)
        self.templates = templates

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `text`, `url` and `content_type`; changes `text`."""
        decided, old = Decisions(self, batch), batch.column("text")
        gone, owners, lines = self._gone(batch)
        removed = np.bincount(owners[gone], minlength=batch.num_rows)
        if not removed.any():
            return decided.verdicts()
        new = _joined(lines, owners, ~(gone | _blank_after(lines, owners, gone)), batch.num_rows)
        before, after = (compute.utf8_length(texts).to_numpy(zero_copy_only=False) for texts in (old, new))
        for row in np.flatnonzero(removed).tolist():
            figures = f"{removed[row]:,} lines, {before[row] - after[row]:,} characters removed"
            if after[row] < self.config.min_characters:
                left = f"{after[row]:,} characters left < {self.config.min_characters:,}"
                decided.reject(row, "too_short", f"{left}; {figures}")
                continue
            decided.change(row, "host_boilerplate", figures)
            decided.count("lines_removed", int(removed[row]))
            decided.count("characters_removed", int(before[row] - after[row]))
        rejected = pa.array([outcome == REJECT for outcome in decided.outcomes])
        return decided.verdicts(with_column(batch, "text", compute.if_else(rejected, old, new)))

    def _gone(self, batch: pa.RecordBatch) -> tuple[npt.NDArray[np.bool_], I64, pa.Array]:
        """Which lines are templates of their document's host, each line's document, and the lines."""
        text = batch.column("text")
        keys, owners = _line_keys(text, self.config.min_line_bytes)
        gone = np.zeros(len(keys), dtype=np.bool_)
        hosts = _hosts(batch).dictionary_encode()
        numbers = hosts.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        numbers = np.where(_considered(batch, self.config), numbers, -1)[owners]
        for number, host in enumerate(hosts.dictionary.to_pylist()):
            templates = self.templates.get(str(host))
            if templates is not None:
                mine = np.flatnonzero(numbers == number)
                gone[mine] = np.isin(keys[mine], templates)
        return gone, owners, compute.split_pattern(text, "\n").flatten()


def _hosts(batch: pa.RecordBatch) -> pa.Array:
    """The host name of each URL in lower case; null where there is none."""
    return compute.utf8_lower(compute.struct_field(compute.extract_regex(batch.column("url"), _HOST), "host"))


def _considered(batch: pa.RecordBatch, config: HostBoilerplateConfig) -> npt.NDArray[np.bool_]:
    """Documents that have a host and no exempt type, shape [rows]."""
    exempt = [media_type.startswith(config.exempt_types) for media_type in values(batch, "content_type")]
    return compute.is_valid(_hosts(batch)).to_numpy(zero_copy_only=False) & ~np.array(exempt, dtype=np.bool_)


def _line_keys(texts: pa.Array, least: int) -> tuple[U64, I64]:
    """A 64-bit hash of each line of each text, normalised, 0 for lines that are too short; and each line's text.

    Normalised means: ASCII letters in lower case, white space left out, each number as one digit, so that lines
    that differ in a date or a counter are equal. A polynomial hash over prefix sums: no Python string a line.
    """
    split = compute.split_pattern(texts, "\n")
    content, bounds = utf8(split.flatten())  # the line feeds are no part of it
    folded = _fold()[content[: bounds[-1]]]
    kept = folded != _SPACE
    kept[1:] &= ~((folded[1:] == _DIGIT) & (folded[:-1] == _DIGIT))
    first = bounds[:-1][bounds[:-1] < len(kept)]
    kept[first] |= folded[first] == _DIGIT  # the digit before it is on another line
    places = np.zeros(len(kept) + 1, dtype=np.int64)
    np.cumsum(kept, out=places[1:])
    starts, stops = places[bounds[:-1]], places[bounds[1:]]
    forward, backward = powers(_BASE, max(1024, 1 << int(places[-1]).bit_length()))
    sums = np.zeros(int(places[-1]) + 1, dtype=np.uint64)
    np.cumsum(_mixed()[folded[kept]] * forward[: places[-1]], out=sums[1:])
    keys = mix64((sums[stops] - sums[starts]) * backward[starts] + (stops - starts).astype(np.uint64))
    owners = compute.list_parent_indices(split).to_numpy().astype(np.int64)
    return np.where(stops - starts < least, np.uint64(0), keys), owners


def _blank_after(lines: pa.Array, owners: I64, gone: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Blank lines whose last line before them that is not blank goes, in the same document."""
    blank = compute.equal(compute.utf8_trim_whitespace(lines), "").to_numpy(zero_copy_only=False)
    last = np.maximum.accumulate(np.where(blank, -1, np.arange(len(blank))))
    return blank & (last >= 0) & gone[last] & (owners[last] == owners)


def _joined(lines: pa.Array, owners: I64, kept: npt.NDArray[np.bool_], rows: int) -> pa.Array:
    """The kept lines of each document as one text, shape [rows]."""
    offsets = np.zeros(rows + 1, dtype=np.int64)
    np.cumsum(np.bincount(owners[kept], minlength=rows), out=offsets[1:])
    grouped = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), lines.filter(pa.array(kept)))
    return compute.binary_join(grouped, "\n")


@lru_cache(maxsize=1)
def _fold() -> npt.NDArray[np.uint8]:
    """Each byte as it counts: letters in lower case, digits as 0, white space as a space."""
    fold = np.arange(256, dtype=np.uint8)
    for code in range(128):
        character = chr(code)
        fold[code] = _SPACE if character.isspace() else _DIGIT if character.isdigit() else ord(character.lower())
    return fold


@lru_cache(maxsize=1)
def _mixed() -> U64:
    """A 64-bit number for each byte."""
    return mix64(np.arange(1, 257, dtype=np.uint64))
