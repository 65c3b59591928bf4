import io
import json

import pyarrow.parquet as pq
import pytest
from backports import zstd
from click.testing import CliRunner

from headwater.core.cli import headwater
from headwater.core.config import validate
from headwater.core.documents import DOCUMENTS, REJECTED
from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.data.config import DocumentsConfig
from headwater.data.documents import make_documents
from headwater.data.export import Wanted, export


@pytest.fixture
def layout(tmp_path, warc):
    member, _, prose, raw_artifact = warc
    for source in ("a", "b"):
        records = [member(f"http://{source}/{i}", prose(i + (0 if source == "a" else 100)).encode()) for i in range(20)]
        raw_artifact(
            tmp_path / "run", source, {"x.warc.gz": b"".join([*records, member("http://bad", b"", "image/png")])}
        )
    config = {"sources": {"a": ["extract"], "b": ["extract"]}, "decontaminate": None, "rows_per_file": 6,
              "engine": {"workers": 1}}  # fmt: skip
    layout = RunLayout(tmp_path / "run")
    make_documents(layout, validate(DocumentsConfig, config, "documents"))
    return layout


def kept(layout):
    return [row for file in sorted(layout.documents.glob("part-*")) for row in pq.read_table(file).to_pylist()]


def lines(folder):
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl.zst")) for line in zstd.open(file, "rb")]


@pytest.mark.parametrize("verdicts", [False, True])
def test_json_lines_hold_every_document_in_order(layout, tmp_path, verdicts):
    result, fresh = export(layout, str(tmp_path / "out"), Wanted(verdicts=verdicts))
    found = lines(tmp_path / "out")
    assert fresh and result["documents"] == len(found) == 40 and len(result["shards"]) > 4
    for row, expected in zip(found, kept(layout), strict=True):
        if not verdicts:
            del expected["verdicts"]
        assert {**row, "language_score": pytest.approx(row["language_score"], rel=1e-5)} == expected


def test_parquet_holds_kept_and_rejected(layout, tmp_path):
    export(layout, str(tmp_path / "out"), Wanted("parquet", verdicts=True, rejected=True))
    first = sorted((tmp_path / "out").glob("*.parquet"))[0]
    assert pq.read_schema(first).equals(DOCUMENTS)
    (gone,) = (pq.read_table(file) for file in sorted((tmp_path / "out" / "rejected").glob("*.parquet"))[:1])
    assert gone.schema.equals(REJECTED) and gone.column("reason").to_pylist() == ["unsupported_type"]
    export(layout, str(tmp_path / "plain"), Wanted("parquet"))
    assert "verdicts" not in pq.read_schema(tmp_path / "plain" / first.name).names


def test_one_source_of_several(layout, tmp_path):
    result, _ = export(layout, str(tmp_path / "out"), Wanted(sources=("b",)))
    assert result["documents"] == 20 and {row["source"] for row in lines(tmp_path / "out")} == {"b"}
    with pytest.raises(ConfigError, match="no source c"):
        export(layout, str(tmp_path / "out"), Wanted(sources=("c",)))


def test_an_interrupted_export_goes_on_and_ends_the_same(layout, tmp_path, monkeypatch):
    whole, _ = export(layout, str(tmp_path / "whole"), Wanted())
    from headwater.data import export as module

    real, calls = module.put, []

    def killed(content, uri):
        calls.append(uri)
        if len(calls) == 4:
            raise KeyboardInterrupt
        real(content, uri)

    monkeypatch.setattr(module, "put", killed)
    with pytest.raises(KeyboardInterrupt):
        export(layout, str(tmp_path / "out"), Wanted())
    assert not (tmp_path / "out" / "export.json").exists()
    result, fresh = export(layout, str(tmp_path / "out"), Wanted())
    assert fresh and result == whole
    assert sum(uri.endswith(whole["shards"][0]["file"]) for uri in calls) == 1
    assert export(layout, str(tmp_path / "out"), Wanted()) == (whole, False)


def test_another_export_is_not_overwritten(layout, tmp_path):
    export(layout, str(tmp_path / "out"), Wanted())
    with pytest.raises(ConfigError, match="holds another export"):
        export(layout, str(tmp_path / "out"), Wanted("parquet"))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "export.json").write_bytes(b"{")
    with pytest.raises(ConfigError, match="no list of an export"):
        export(layout, str(tmp_path / "bad"), Wanted())


def test_a_foreign_file_under_the_name_of_a_shard_is_not_taken_for_it(layout, tmp_path):
    right, _ = export(layout, str(tmp_path / "right"), Wanted())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / right["shards"][0]["file"]).write_bytes(b"junk")
    result, _ = export(layout, str(tmp_path / "out"), Wanted())
    assert result == right


def test_a_store_gets_the_same_bytes(layout, tmp_path):
    import fsspec

    local, _ = export(layout, str(tmp_path / "out"), Wanted())
    remote, _ = export(layout, "memory://export-test/out", Wanted())
    store = fsspec.filesystem("memory")
    assert remote == local
    content = store.cat_file("/export-test/out/" + local["shards"][0]["file"])
    assert content == (tmp_path / "out" / local["shards"][0]["file"]).read_bytes()
    assert len(list(zstd.open(io.BytesIO(content)))) == local["shards"][0]["documents"]
    store.rm("/export-test", recursive=True)


def test_the_command(layout, tmp_path):
    command = ["data", "export", "--run", str(layout.root), "--out", str(tmp_path / "out"), "--source", "a"]
    first = CliRunner().invoke(headwater, command, catch_exceptions=False)
    assert first.exit_code == 0 and "export: 20 documents, " in first.output
    again = CliRunner().invoke(headwater, command, catch_exceptions=False)
    assert "up to date" in again.output
