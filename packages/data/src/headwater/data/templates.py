"""Templates of hosts on any engine: lines that recur in many documents of a host are counted, and cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import ClassVar

import numpy as np
import pyarrow as pa

from headwater.data.arrow import column, compute, packed, table, take
from headwater.data.cuts import CUTS, Gather
from headwater.data.engine import Dataset, Engine, Needs
from headwater.data.operators.host_boilerplate import HostBoilerplateConfig, hosts_of, lines_of
from headwater.data.shuffle import differs

LINES = pa.schema([pa.field("key", pa.binary()), *CUTS])
"""A line: 8 bytes that stand for its words and 16 for its host, and where it is."""
COUNTS = pa.schema([pa.field("key", pa.binary()), pa.field("documents", pa.int64())])
"""In how many documents a line, or a host, occurs."""
_LINE_BYTES, _HOST_BYTES = 8, 16


def host_templates(engine: Engine, alive: Dataset, config: HostBoilerplateConfig) -> Dataset:
    """Cuts (`cuts.GATHERED`) of the lines that recur in many documents of their host."""
    found = engine.map_batches("host-lines", alive, HostLines(config))
    hosts = engine.group_by_key("hosts", found["hosts"], ["key"], [], AddDocuments())
    often = engine.group_by_key("templates", found["counts"], ["key"], [], AddDocuments(config.min_documents))
    often = engine.join(engine.derive(often, WithHost()), hosts, left_on="host", right_on="key", prefix="host_")
    templates = engine.derive(often, Templates(config.min_share))
    lines = engine.join(found["lines"], templates, left_on="key", right_on="key")
    cuts = engine.derive(lines, OfTemplates())
    return engine.group_by_key("template-cuts", cuts, ["row"], ["start", "stop"], Gather())


@dataclass(frozen=True)
class HostLines:
    """The lines of each document that has a host, and in how many documents of a batch each line and host occurs.

    A document lies in one batch whole: so what batches count adds up, and no host's lines need to meet.
    """

    config: HostBoilerplateConfig
    needs: ClassVar[Needs] = Needs(("row", "url", "text", "content_type"))
    outputs: Mapping[str, pa.Schema] = field(
        default_factory=lambda: {"lines": LINES, "counts": COUNTS, "hosts": COUNTS}
    )

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `row`, `url`, `text` and `content_type`."""
        names = hosts_of(batch, self.config)
        known = {name: number for number, name in enumerate(dict.fromkeys(name for name in names if name is not None))}
        digests = [blake2b(name.encode(), digest_size=_HOST_BYTES).digest() for name in known]
        owners = np.array([-1 if name is None else known[name] for name in names], np.int64)
        hosts = table({"key": pa.array(digests, pa.binary()),
                       "documents": np.bincount(owners[owners >= 0], minlength=len(known))}, COUNTS)  # fmt: skip
        lines = lines_of(batch, owners >= 0, self.config)
        halves = np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)
        keys = packed(np.column_stack([lines.keys, halves[owners[lines.owners]]]))
        columns = {"key": keys, "row": take(column(batch, "row"), lines.owners), "start": pa.array(lines.starts),
                   "stop": pa.array(lines.stops)}  # fmt: skip
        distinct = keys.dictionary_encode()
        pairs = np.sort(distinct.indices.to_numpy().astype(np.int64) * batch.num_rows + lines.owners)
        documents = np.bincount(pairs[differs(pairs)] // batch.num_rows, minlength=len(distinct.dictionary))
        counts = table({"key": distinct.dictionary, "documents": documents}, COUNTS)
        return {"lines": table(columns, LINES), "counts": counts, "hosts": hosts}


@dataclass(frozen=True)
class AddDocuments:
    """The sum for each key.

    Attributes:
        least: Keys of fewer documents are left out.
    """

    least: int = 0
    output: pa.Schema = COUNTS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads `COUNTS`."""
        sums = groups.group_by("key", use_threads=False).aggregate([("documents", "sum")])
        sums = sums.rename_columns(COUNTS.names)
        return sums.filter(compute.greater_equal(sums.column("documents"), self.least))


@dataclass(frozen=True)
class WithHost:
    """The counts of lines, with the key of the host."""

    outputs: Mapping[str, pa.Schema] = field(
        default_factory=lambda: {"counts": pa.schema([*COUNTS, pa.field("host", pa.binary())])}
    )

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.RecordBatch]:
        """Reads `COUNTS`."""
        hosts = compute.binary_slice(batch.column("key"), _LINE_BYTES, _LINE_BYTES + _HOST_BYTES)
        return {"counts": batch.append_column("host", hosts)}


@dataclass(frozen=True)
class Templates:
    """The lines that occur in a large enough share of their host's documents."""

    min_share: float
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"counts": COUNTS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.RecordBatch]:
        """Reads counts of lines, with `host_documents`."""
        least = self.min_share * column(batch, "host_documents").to_numpy()
        often = column(batch, "documents").to_numpy() >= least
        return {"counts": batch.filter(pa.array(often)).select(COUNTS.names)}


@dataclass(frozen=True)
class OfTemplates:
    """The lines that are templates."""

    needs: ClassVar[Needs] = Needs((*CUTS.names, "documents"), valid="documents")
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"cuts": CUTS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.RecordBatch]:
        """Reads `LINES` joined with `COUNTS`."""
        return {"cuts": batch.filter(compute.is_valid(batch.column("documents"))).select(CUTS.names)}
