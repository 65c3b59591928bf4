"""Cutting spans out of texts, on any engine: lines that recur across a host, and lines that other documents have.

Every kind of cut is a set of byte spans of rows. They are gathered by row, joined to the rows, and removed there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import ClassVar

import numpy as np
import pyarrow as pa

from headwater.data.arrow import column, table, take, values
from headwater.data.engine import Dataset, Engine, Needs
from headwater.data.operators.host_boilerplate import HostBoilerplateConfig, hosts_of, lines_of
from headwater.data.operators.line_dedup import LineDedupConfig, spans_of_lines
from headwater.data.rows import is_whole
from headwater.data.shuffle import plain

CUTS = pa.schema([pa.field("row", pa.binary()), pa.field("start", pa.int64()), pa.field("stop", pa.int64())])
"""Bytes [start, stop) of a row's text."""
GATHERED = pa.schema([pa.field("row", pa.binary()), pa.field("cuts", pa.binary())])
"""All cuts of a row: pairs of 64-bit integers, little end first, in order and apart."""

_LINES = pa.schema([pa.field("key", pa.binary()), *CUTS])
_HOST_LINES = pa.schema([pa.field("host", pa.binary()), pa.field("line", pa.int64()), *CUTS])
_HOST_ROWS = pa.schema([pa.field("host", pa.binary()), pa.field("rows", pa.int64())])


def repeated_lines(engine: Engine, alive: Dataset, config: LineDedupConfig) -> Dataset:
    """Cuts (`GATHERED`) of the lines or paragraphs that a preferred document, or the text before, has already."""
    lines = engine.derive(alive, Lines(config))
    again = engine.group_by_key("lines", lines, ["key"], ["row", "start"], AllButFirst())
    return engine.group_by_key("line-cuts", again, ["row"], ["start", "stop"], Gather())


def host_templates(engine: Engine, alive: Dataset, config: HostBoilerplateConfig) -> Dataset:
    """Cuts (`GATHERED`) of the lines that recur in many documents of their host."""
    hosts = engine.group_by_key("hosts", engine.derive(alive, Hosts(config)), ["host"], [], AddRows())
    lines = engine.join(engine.derive(alive, HostLines(config)), hosts, left_on="host", right_on="host", prefix="host_")
    often = engine.group_by_key("templates", lines, ["host", "line"], ["row", "start"], Templates(config))
    return engine.group_by_key("template-cuts", often, ["row"], ["start", "stop"], Gather())


@dataclass(frozen=True)
class Lines:
    """The lines (or paragraphs) of each text, by the hash of their words."""

    config: LineDedupConfig
    needs: ClassVar[Needs] = Needs(("row", "text", "content_type"))
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"lines": _LINES})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `row`, `text` and `content_type`."""
        found: dict[str, list[object]] = {name: [] for name in _LINES.names}
        columns = (values(batch, name) for name in ("row", "text", "content_type"))
        for row, text, media_type in zip(*columns, strict=True):
            if is_whole(media_type, self.config.exempt_types):
                continue
            for words, start, stop in spans_of_lines(text, self.config):
                found["key"].append(blake2b(words.encode("utf-8", "surrogatepass"), digest_size=16).digest())
                found["row"].append(row)
                found["start"].append(start)
                found["stop"].append(stop)
        return {"lines": table(found, _LINES)}


@dataclass(frozen=True)
class AllButFirst:
    """The rows of each group after its first."""

    output: pa.Schema = CUTS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads lines by key, in order of preference and then of place."""
        keys = plain(groups.column("key"))
        again = np.zeros(len(keys), np.bool_)
        again[1:] = keys[1:] == keys[:-1]
        return groups.filter(pa.array(again)).select(CUTS.names)


@dataclass(frozen=True)
class Hosts:
    """The number of rows of each host in a batch."""

    config: HostBoilerplateConfig
    needs: ClassVar[Needs] = Needs(("url", "content_type"))
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"hosts": _HOST_ROWS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `url` and `content_type`."""
        found = [_host_key(host) for host in hosts_of(batch, self.config) if host is not None]
        return {"hosts": table({"host": pa.array(found, pa.binary()), "rows": [1] * len(found)}, _HOST_ROWS)}


@dataclass(frozen=True)
class AddRows:
    """The sum for each host."""

    output: pa.Schema = _HOST_ROWS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads `_HOST_ROWS`."""
        sums = groups.group_by("host", use_threads=False).aggregate([("rows", "sum")])
        return sums.rename_columns(["host", "rows"])


@dataclass(frozen=True)
class HostLines:
    """The lines of each document that has a host."""

    config: HostBoilerplateConfig
    needs: ClassVar[Needs] = Needs(("row", "url", "text", "content_type"))
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"lines": _HOST_LINES})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `row`, `url`, `text` and `content_type`."""
        lines = lines_of(batch, self.config)
        hosts = pa.array([_host_key(host) for host in hosts_of(batch, self.config)], pa.binary())
        columns = {"host": take(hosts, lines.owners), "line": pa.array(lines.keys.view(np.int64)),
                   "row": take(column(batch, "row"), lines.owners),
                   "start": pa.array(lines.starts), "stop": pa.array(lines.stops)}  # fmt: skip
        return {"lines": table(columns, _HOST_LINES)}


@dataclass(frozen=True)
class Templates:
    """The lines that occur in enough documents of their host."""

    config: HostBoilerplateConfig
    output: pa.Schema = CUTS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads lines with `host_rows`, by host and line, ordered by row."""
        host, row = plain(groups.column("host")), plain(groups.column("row"))
        line = groups.column("line").to_numpy()
        fresh = np.ones(len(line), np.bool_)
        fresh[1:] = (line[1:] != line[:-1]) | (host[1:] != host[:-1])
        other = np.ones(len(line), np.bool_)
        other[1:] = fresh[1:] | (row[1:] != row[:-1])
        group = np.cumsum(fresh) - 1
        documents = np.bincount(group[other], minlength=int(group[-1]) + 1)[group] if len(group) else group
        of_host = groups.column("host_rows").to_numpy()
        often = (documents >= self.config.min_documents) & (documents >= self.config.min_share * of_host)
        return groups.filter(pa.array(often)).select(CUTS.names)


@dataclass(frozen=True)
class Gather:
    """The cuts of each row as one value; cuts that touch become one."""

    output: pa.Schema = GATHERED

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads `CUTS` by row, ordered by place."""
        rows, spans = values(groups, "row"), zip(values(groups, "start"), values(groups, "stop"), strict=True)
        found: dict[bytes, list[int]] = {}
        for row, (start, stop) in zip(rows, spans, strict=True):
            mine = found.setdefault(row, [])
            if mine and start <= mine[-1]:
                mine[-1] = max(mine[-1], stop)
            else:
                mine += [start, stop]
        cuts = pa.array([np.array(each, "<i8").tobytes() for each in found.values()], pa.binary())
        return table({"row": pa.array(list(found), pa.binary()), "cuts": cuts}, GATHERED)


def cuts_of(batch: pa.RecordBatch) -> dict[bytes, bytes]:
    """The cuts that were joined to a batch's rows."""
    return {row: cuts for row, cuts in zip(values(batch, "row"), values(batch, "cuts"), strict=True) if cuts}


def _host_key(host: str | None) -> bytes | None:
    return None if host is None else blake2b(host.encode(), digest_size=16).digest()
