"""Google Cloud Storage, by a server on loopback: what is read from a bucket is what is read from a folder."""

import importlib

import pytest

from headwater.core import objects
from headwater.core.errors import DataError, StorageError
from headwater.core.trace.payload import read_collected
from headwater.core.verify.report import verify_run
from headwater.data.export import Wanted, export

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def server():
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    pytest.importorskip("gcsfs")
    running = emulator.create_server("127.0.0.1", 0, in_memory=True)
    running.start()
    yield f"http://127.0.0.1:{running._api._httpd.server_port}"
    running.stop()


@pytest.fixture
def bucket(server, monkeypatch):
    """A new bucket's file system; the bucket is called corpus."""
    import fsspec

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server)
    monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})  # asks nobody for credentials
    system = importlib.import_module("gcsfs").GCSFileSystem
    system.clear_instance_cache()
    found = system(token="anon")
    found.mkdir("corpus")
    yield found
    found.rm("corpus", recursive=True)
    system.clear_instance_cache()


RECORDS = [{"text": f"Line {i} of the corpus.", "url": f"http://x/{i}"} for i in range(53)]


def problems(run):
    return [finding.problem for finding in verify_run(run.layout.root).errors]


@pytest.fixture
def collected(bucket, run, other_run, tmp_path, make):
    """Collects the same files from the bucket (run) and from a folder (other_run)."""
    json_lines, parquet_bytes = make
    kinds = {"jsonl": (json_lines, {}), "parquet": (parquet_bytes, {"row_group_size": 8})}

    def collect(kind, checksum="sha256"):
        write, options = kinds[kind]
        both = {"a": write(RECORDS[:50], **options), "b/c": write(RECORDS[50:])}
        for name, content in both.items():
            bucket.pipe(f"corpus/in/{name}.{kind}", content)
            path = tmp_path / "in" / f"{name}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        local = other_run.collect(format=kind, url="url", uris=[f"{tmp_path}/in/**/*.{kind}"], root=f"{tmp_path}/in")
        wanted = {"format": kind, "url": "url", "uris": [f"gs://corpus/in/**/*.{kind}"], "root": "gs://corpus/in"}
        remote = run.collect(checksum=checksum, **wanted)
        assert not run.collect(checksum=checksum, **wanted).fresh
        return local.manifest.digest, remote.manifest.digest

    return collect


@pytest.mark.parametrize("checksum", ["sha256", "etag"])
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_bucket_gives_the_documents_of_a_folder(collected, run, other_run, kind, checksum):
    local, remote = collected(kind, checksum)
    assert (local == remote) == (checksum == "sha256")
    assert len(run.units(1000)) > 1 and run.rows(1000) == other_run.rows() and problems(run) == []
    (mine, *tables), (theirs, *others) = run.documents(partition_bytes=1000), other_run.documents()
    assert len(tables[0]) == len(RECORDS) and tables == others
    assert (mine.manifest.digest == theirs.manifest.digest) == (checksum == "sha256")


def test_records_are_read_again_by_ranges(collected, bucket, run):
    collected("jsonl")
    row = run.rows()[20]
    assert b"Line 20 " in read_collected(run.layout.raw("s"), row["warc_file"], row["warc_offset"], "")
    bucket.pipe("corpus/big", bytes(range(256)) * 1000)
    assert objects.read_range("gs://corpus/big", 1000, 1010) == (bytes(range(256)) * 4)[1000:1010]


def test_an_object_that_changed_or_vanished_is_named(collected, bucket, run, make):
    collected("jsonl", "etag")
    bucket.pipe("corpus/in/b/c.jsonl", make[0](RECORDS[50:]).replace(b"corpus", b"CORPUS"))
    with pytest.raises(DataError, match=r"b/c\.jsonl has changed since it was collected"):
        run.rows()
    assert problems(run) == ["has changed since it was collected"]
    bucket.rm("corpus/in/b/c.jsonl")
    with pytest.raises(StorageError, match=r"gs://corpus/in/b/c\.jsonl: it is not there"):
        run.rows()


@pytest.mark.parametrize("form", ["jsonl.zst", "parquet"])
def test_an_export_into_a_bucket_has_the_bytes_of_one_into_a_folder(collected, bucket, run, other_run, tmp_path, form):
    collected("jsonl")
    run.documents()
    wanted = Wanted(form)
    local, _ = export(run.layout, str(tmp_path / "out"), wanted)
    remote, fresh = export(run.layout, "gs://corpus/out", wanted)
    assert fresh and remote == local and remote["documents"] == len(RECORDS)
    for shard in remote["shards"]:
        assert bucket.cat(f"corpus/out/{shard['file']}") == (tmp_path / "out" / shard["file"]).read_bytes()
    assert not export(run.layout, "gs://corpus/out", wanted)[1]
