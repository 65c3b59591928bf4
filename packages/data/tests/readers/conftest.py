"""Runs over sources that are read where they are."""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headwater.core.config import validate
from headwater.core.layout import RunLayout
from headwater.data.collect.collect import collect
from headwater.data.collect.sources import SourcesConfig
from headwater.data.config import DocumentsConfig
from headwater.data.documents import make_documents
from headwater.data.readers import part
from headwater.data.warc_parts import plan

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode adds no folder to the path


class Run:
    """A run folder with one source."""

    def __init__(self, folder):
        self.layout = RunLayout(folder)

    def collect(self, **source):
        sources = validate(SourcesConfig, {"s": {"kind": "files", **source}}, "sources").root
        return collect("s", sources["s"], self.layout.raw("s"))

    def rows(self, partition_bytes=10**9):
        """All rows of the source, unit after unit."""
        parts = plan([("s", self.layout.raw("s"))], partition_bytes, self.layout.root)
        return [row for each in parts for batch in each() for row in batch.to_pylist()]

    def units(self, partition_bytes):
        return part.plan("s", self.layout.raw("s"), partition_bytes)

    def documents(self, steps=({"extract": {}},), partition_bytes=2_000_000, **more):
        """Kept and rejected rows by id of a whole documents stage."""
        config = {
            "sources": {"s": list(steps)}, "exact_dedup": None, "minhash_dedup": None, "decontaminate": None,
            "allow_empty_sources": True, "engine": {"workers": 1, "partition_bytes": partition_bytes}, **more,
        }  # fmt: skip
        outcome = make_documents(self.layout, validate(DocumentsConfig, config, "documents"))
        tables = {}
        for name, folder in (("kept", self.layout.documents), ("rejected", self.layout.documents / "rejected")):
            files = sorted(folder.glob("part-*.parquet"))
            tables[name] = [row for file in files for row in pq.read_table(file).to_pylist()]
        return outcome, tables["kept"], tables["rejected"]


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


@pytest.fixture
def other_run(tmp_path):
    return Run(tmp_path / "other")


def json_lines(records):
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def parquet_bytes(records, **options):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(records), sink, **options)
    return sink.getvalue().to_pybytes()


@pytest.fixture
def make():
    """The functions that make files."""
    return json_lines, parquet_bytes
