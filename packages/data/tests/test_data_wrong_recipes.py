"""What is wrong with a recipe is said before a finished artifact is touched, and in words that lead on."""

import gzip
import hashlib
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from headwater.core.cli import headwater
from headwater.core.config import load_section
from headwater.core.errors import ConfigError, HeadwaterError
from headwater.core.layout import RunLayout
from headwater.data.config import DocumentsConfig
from headwater.data.documents import make_documents


def make(run, recipe, *overrides):
    return make_documents(RunLayout(run), load_section("documents", DocumentsConfig, recipe, overrides))


def digests(folder):
    files = (path for path in sorted(Path(folder).rglob("*")) if path.is_file() and "_work" not in path.parts)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(
    "overrides",
    [
        ["documents.earlier.x={run}/documents"],
        pytest.param(["documents.engine.name=beam", "documents.engine.beam.options=[--no_such_option=3]"],
                     marks=pytest.mark.beam),
        pytest.param(["documents.engine.name=spark", "documents.engine.spark.master=spark://127.0.0.1:1"],
                     marks=pytest.mark.spark),
    ],
    ids=["index", "beam", "spark"],
)  # fmt: skip
def test_finished_documents_survive_a_wrong_option(tiny, overrides):
    run, recipe = tiny()
    make(run, recipe)
    before = digests(run / "documents")
    with pytest.raises(HeadwaterError):
        make(run, recipe, "documents.rows_per_file=7", *(each.format(run=run) for each in overrides))
    assert digests(run / "documents") == before
    assert not make(run, recipe).fresh  # and they are still up to date


def test_an_operator_twice_is_refused(tiny):
    _, recipe = tiny()
    with pytest.raises(ConfigError) as caught:
        load_section("documents", DocumentsConfig, recipe, ["documents.sources.web=[extract, pii, pii]"])
    assert "web has the operator pii twice" in str(caught.value)


@pytest.fixture
def collect(tmp_path):
    """Runs `headwater data collect` and `run` on a source of files; returns what the last one said."""

    def go(*stages, **source):
        recipe = tmp_path / "recipe.yaml"
        documents = {"sources": {"s": ["extract"]}, "decontaminate": None, "engine": {"workers": 1}}
        sources = {"s": {"kind": "files", **source}}
        recipe.write_text(yaml.safe_dump({"name": "n", "seed": 0, "sources": sources, "documents": documents}))
        for stage in stages:
            done = CliRunner().invoke(
                headwater, ["data", stage, "--recipe", str(recipe), "--run", str(tmp_path / "run")]
            )
        return done

    return go


def said(done):
    return f"{done.output}{done.exception or ''}"


def test_a_parquet_file_without_the_text_column_says_so(collect, tmp_path):
    pq.write_table(pa.table({"content": ["a text"] * 3}), tmp_path / "x.parquet")
    done = collect("collect", "run", format="parquet", uris=[str(tmp_path / "x.parquet")])
    assert done.exit_code != 0
    assert "no column text in 3 rows (in x.parquet)" in said(done) and "sources.s" in said(done)


def test_a_list_in_several_gzip_members_is_read_whole_and_a_torn_one_is_refused(collect, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("some words")
    members = [gzip.compress(f"{tmp_path}/{name}.txt\n".encode()) for name in "ab"]
    (tmp_path / "list.gz").write_bytes(b"".join(members))
    done = collect("collect", format="text", lists=[str(tmp_path / "list.gz")])
    assert done.exit_code == 0 and "2 files" in said(done)
    (tmp_path / "list.gz").write_bytes(members[0][:-4])
    assert "is a damaged gzip file" in said(collect("collect", format="text", lists=[str(tmp_path / "list.gz")]))


def test_a_file_name_that_is_no_text_is_named(collect, tmp_path):
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / os.fsdecode(b"caf\xe9.txt")).write_text("some words")
    done = collect("collect", format="text", uris=[f"{tmp_path}/names/*"])
    assert done.exit_code != 0 and "a file's name is not UTF-8" in said(done) and "caf\\xe9" in said(done)
