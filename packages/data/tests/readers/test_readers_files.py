import gzip
import json
import os
import pickle
import shutil

import pytest
from click.testing import CliRunner

from headwater.core.cli import headwater
from headwater.core.errors import ConfigError, DataError, StorageError
from headwater.core.verify.report import verify_run


def problems(run):
    return [(finding.artifact, finding.problem) for finding in verify_run(run.layout.root).errors]


@pytest.fixture
def lines(tmp_path, make):
    json_lines, _ = make
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for name in ("a", "deep/b", "deep/c"):
        (folder / f"{name}.jsonl").write_bytes(json_lines([{"text": f"{name} {i}"} for i in range(4)]))
    return folder


def test_the_artifact_does_not_depend_on_where_the_files_are(run, other_run, lines, tmp_path):
    first = run.collect(format="jsonl", uris=[f"{lines}/**/*.jsonl"])
    shutil.copytree(lines, tmp_path / "elsewhere")
    second = other_run.collect(format="jsonl", uris=["a.jsonl", "deep/*.jsonl"], root=str(tmp_path / "elsewhere"))
    assert first.fresh and second.fresh and first.manifest.digest == second.manifest.digest
    assert run.rows() == other_run.rows()
    moved = run.collect(format="jsonl", uris=[f"{tmp_path}/elsewhere/**/*.jsonl"])
    assert moved.manifest.digest == first.manifest.digest
    shutil.rmtree(lines)
    assert run.rows() == other_run.rows() and not problems(run)
    assert not run.collect(format="jsonl", uris=[f"{tmp_path}/elsewhere/**/*.jsonl"]).fresh


def test_only_files_that_were_touched_are_hashed_again(run, lines, monkeypatch):
    source = {"format": "jsonl", "uris": [f"{lines}/**/*.jsonl"]}
    run.collect(**source)
    from headwater.data.collect import files

    hashed = []
    real = files.sha256
    monkeypatch.setattr(files, "sha256", lambda uri, **options: hashed.append(uri) or real(uri, **options))
    assert not run.collect(**source).fresh and hashed == []
    os.utime(lines / "a.jsonl", ns=(1, 1))
    run.collect(**source)
    assert hashed == [str(lines / "a.jsonl")]


def test_verify_names_files_that_changed_or_are_gone(run, lines):
    run.collect(format="jsonl", uris=[f"{lines}/**/*.jsonl"])
    run.documents()
    assert problems(run) == []
    content = (lines / "a.jsonl").read_bytes()
    (lines / "a.jsonl").write_bytes(content.replace(b"a 1", b"a 9"))
    (lines / "deep/b.jsonl").unlink()
    assert problems(run) == [
        ("raw/s", "has changed since it was collected"),
        ("raw/s", f"cannot read {lines}/deep/b.jsonl: it is not there"),
    ]


def test_a_changed_file_is_refused_by_the_documents_stage(run, lines):
    run.collect(format="jsonl", uris=[f"{lines}/**/*.jsonl"])
    (lines / "a.jsonl").write_bytes(b'{"text": "more"}\n' * 9)
    with pytest.raises(DataError, match="has changed since it was collected"):
        run.rows()
    (lines / "a.jsonl").unlink()
    with pytest.raises(StorageError, match="it is not there"):
        run.rows()


def test_trace_prints_the_record_as_it_was_collected(run, lines):
    run.collect(format="jsonl", uris=[f"{lines}/**/*.jsonl"])
    _, kept, _ = run.documents()
    row = next(row for row in kept if row["text"] == "deep/b 2")
    command = ["trace", "doc", row["id"], "--run", str(run.layout.root)]
    raw = CliRunner().invoke(headwater, [*command, "--raw"], catch_exceptions=False)
    assert json.loads(raw.output) == {"text": "deep/b 2"}
    shown = CliRunner().invoke(headwater, command, catch_exceptions=False)
    assert f"raw/s/deep/b.jsonl, record at {row['warc_offset']}" in shown.output


def test_a_sample_of_the_files_is_stable(run, other_run, tmp_path, make):
    json_lines, _ = make
    for i in range(30):
        (tmp_path / f"{i}.jsonl").write_bytes(json_lines([{"text": str(i)}]))
    run.collect(format="jsonl", uris=[f"{tmp_path}/*.jsonl"], max_files=10)
    taken = {row["warc_file"] for row in run.rows()}
    assert len(taken) == 10
    (tmp_path / "30.jsonl").write_bytes(json_lines([{"text": "new"}]))
    other_run.collect(format="jsonl", uris=[f"{tmp_path}/*.jsonl"], max_files=10)
    assert len(taken & {row["warc_file"] for row in other_run.rows()}) >= 9


def test_a_list_names_the_files(run, lines):
    paths = lines / "paths.gz"
    paths.write_bytes(gzip.compress(b"a.jsonl\ndeep/c.jsonl\n\n# the end\n"))
    run.collect(format="jsonl", lists=[str(paths)], root=str(lines))
    assert {row["warc_file"] for row in run.rows()} == {"a.jsonl", "deep/c.jsonl"}
    with pytest.raises(ConfigError, match="below the root"):
        run.collect(format="jsonl", uris=[f"{lines}/a.jsonl"], root=str(lines / "deep"))


@pytest.mark.parametrize("partition_bytes", [1000, 3000, 10**7])
def test_warc_files_are_read_where_they_are(run, other_run, tmp_path, warc, partition_bytes):
    member, page, prose, raw_artifact = warc
    content = b"".join(member(f"http://w/{i}", page(prose(i)), "text/html", 200) for i in range(20)) + b"oh"
    (tmp_path / "x.warc.gz").write_bytes(content)
    raw_artifact(other_run.layout.root, "s", {"x.warc.gz": content})
    run.collect(format="warc", uris=[f"{tmp_path}/*.warc.gz"])
    assert run.rows(partition_bytes) == other_run.rows() and len(run.rows()) == 21
    assert not (run.layout.raw("s") / "x.warc.gz").exists()
    _, kept, rejected = run.documents(partition_bytes=partition_bytes)
    assert len(kept) == 20 and rejected[0]["operator"] == "read" and problems(run) == []
    command = ["trace", "doc", kept[0]["id"], "--raw", "--run", str(run.layout.root)]
    assert CliRunner().invoke(headwater, command, catch_exceptions=False).output.startswith("HTTP/1.1 200")


def test_wet_files_are_text(run, tmp_path, warc):
    member, _, prose, _ = warc
    record = gzip.decompress(member("http://w/1", prose(1).encode())).replace(
        b"WARC-Type: resource", b"WARC-Type: conversion"
    )
    (tmp_path / "x.warc.wet.gz").write_bytes(gzip.compress(record))
    run.collect(format="wet", uris=[f"{tmp_path}/*.wet.gz"])
    _, kept, _ = run.documents()
    assert kept[0]["text"] == prose(1) and kept[0]["url"] == "http://w/1"


@pytest.mark.parametrize("partition_bytes", [1000, 10**6])
def test_pages_and_texts_are_a_document_a_file(run, tmp_path, warc, partition_bytes):
    _, page, prose, _ = warc
    for i in range(5):
        (tmp_path / f"page {i}.html").write_bytes(page(prose(i)))
    run.collect(format="html", uris=[f"{tmp_path}/*.html"], base_url="https://x.org/")
    _, kept, _ = run.documents(partition_bytes=partition_bytes)
    assert sorted(row["url"] for row in kept) == [f"https://x.org/page%20{i}.html" for i in range(5)]
    assert all("<p>" not in row["text"] for row in kept)


def test_any_partition_gives_the_same_documents(run, other_run, tmp_path, make, warc):
    json_lines, _ = make
    _, _, prose, _ = warc
    lines = [{"text": prose(i), "url": f"http://x/{i}"} for i in range(30)]
    (tmp_path / "a.jsonl").write_bytes(json_lines(lines) + b"oh\n")
    digests = []
    for each, partition_bytes in ((run, 1000), (other_run, 7000)):
        each.collect(format="jsonl", uris=[f"{tmp_path}/*.jsonl"], url="url")
        outcome, kept, rejected = each.documents(partition_bytes=partition_bytes)
        assert len(kept) == 30 and len(rejected) == 1
        digests.append(outcome.manifest.digest)
    assert digests[0] == digests[1]


def test_units_can_be_sent_to_other_processes(run, lines):
    run.collect(format="jsonl", uris=[f"{lines}/**/*.jsonl"])
    (unit,) = run.units(10**6)
    sent = pickle.loads(pickle.dumps(unit))
    assert sent == unit and [batch.to_pylist() for batch in sent()] == [batch.to_pylist() for batch in unit()]
