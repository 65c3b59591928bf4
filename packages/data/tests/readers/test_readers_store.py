"""Stores: S3 by a server on loopback; others by fsspec's file system in memory, which has no entity tags."""

import functools
import http.server
import importlib
import threading

import pytest

from headwater.core import objects
from headwater.core.errors import ConfigError, DataError, StorageError
from headwater.core.external import ExternalFile, difference
from headwater.core.trace.payload import read_collected
from headwater.core.verify.report import verify_run


@pytest.fixture(scope="module")
def server():
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def s3(server, monkeypatch, tmp_path):
    """Writes objects into a new bucket: put(name, content)."""
    import boto3

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    importlib.import_module("s3fs").S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="corpus")

    class Bucket:
        def put(self, name, content):
            client.put_object(Bucket="corpus", Key=name, Body=content)

        def delete(self, name):
            client.delete_object(Bucket="corpus", Key=name)

    yield Bucket()
    for entry in client.list_objects_v2(Bucket="corpus").get("Contents", []):
        client.delete_object(Bucket="corpus", Key=entry["Key"])
    client.delete_bucket(Bucket="corpus")
    importlib.import_module("s3fs").S3FileSystem.clear_instance_cache()


services = pytest.mark.services


def records(count=50):
    return [{"text": f"Line {i} of the corpus.", "url": f"http://x/{i}"} for i in range(count)]


def problems(run):
    return [finding.problem for finding in verify_run(run.layout.root).errors]


@services
@pytest.mark.parametrize("checksum", ["sha256", "etag"])
def test_a_bucket_gives_the_same_rows_as_a_folder(s3, run, other_run, tmp_path, make, checksum):
    json_lines, _ = make
    files = {"a.jsonl": json_lines(records()), "b/c.jsonl": json_lines(records(3))}
    for name, content in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
        s3.put(f"in/{name}", content)
    local = other_run.collect(format="jsonl", uris=[f"{tmp_path}/in/**/*.jsonl"])
    remote = run.collect(format="jsonl", uris=["s3://corpus/in/**/*.jsonl"], checksum=checksum)
    assert (remote.manifest.digest == local.manifest.digest) == (checksum == "sha256")
    assert run.rows(500) == run.rows() == other_run.rows() and len(run.rows()) == 53
    assert problems(run) == []
    row = run.rows()[20]
    assert b"Line 20 " in read_collected(run.layout.raw("s"), row["warc_file"], row["warc_offset"], "")
    assert not run.collect(format="jsonl", uris=["s3://corpus/in/**/*.jsonl"], checksum=checksum).fresh


@services
def test_row_groups_and_warc_files_of_a_bucket(s3, run, other_run, make, warc):
    _, parquet_bytes = make
    member, page, prose, _ = warc
    s3.put("a.parquet", parquet_bytes(records(), row_group_size=8))
    run.collect(format="parquet", uris=["s3://corpus/a.parquet"], url="url")
    assert len(run.units(1000)) > 1 and run.rows(1000) == run.rows() and len(run.rows()) == 50
    s3.put("x.warc.gz", b"".join(member(f"http://w/{i}", page(prose(i)), "text/html", 200) for i in range(5)))
    other_run.collect(format="warc", uris=["s3://corpus/*.warc.gz"])
    _, kept, _ = other_run.documents(partition_bytes=1000)
    assert sorted(row["url"] for row in kept) == [f"http://w/{i}" for i in range(5)]
    raw = read_collected(other_run.layout.raw("s"), "x.warc.gz", kept[0]["warc_offset"], kept[0]["payload_sha256"])
    assert raw.startswith(b"HTTP/1.1 200")


@services
def test_reads_are_ranges(s3):
    s3.put("big", bytes(range(256)) * 1000)
    assert objects.read_range("s3://corpus/big", 1000, 1010) == (bytes(range(256)) * 4)[1000:1010]
    with objects.open_object("s3://corpus/big") as stream:
        stream.seek(255_990)
        assert stream.read() == bytes(range(246, 256))


@services
def test_an_object_that_changed_or_vanished_is_named(s3, run, make):
    json_lines, _ = make
    s3.put("a.jsonl", json_lines(records(5)))
    run.collect(format="jsonl", uris=["s3://corpus/*.jsonl"], checksum="etag")
    s3.put("a.jsonl", json_lines(records(5)).replace(b"corpus", b"CORPUS"))
    with pytest.raises(DataError, match="has changed since it was collected") as caught:
        run.rows()
    assert "ETag" in str(caught.value.found) and problems(run) == ["has changed since it was collected"]
    s3.delete("a.jsonl")
    with pytest.raises(StorageError, match=r"s3://corpus/a\.jsonl: it is not there"):
        run.rows()
    assert problems(run) == ["cannot read s3://corpus/a.jsonl: it is not there"]
    s3.put("a.jsonl", json_lines(records(6)))
    assert run.collect(format="jsonl", uris=["s3://corpus/*.jsonl"], checksum="etag").fresh and len(run.rows()) == 6


@services
def test_missing_credentials_are_told_with_what_to_set(s3, run, monkeypatch):
    s3.put("a.jsonl", b'{"text": "a"}\n')
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    importlib.import_module("s3fs").S3FileSystem.clear_instance_cache()
    with pytest.raises(StorageError, match="no credentials were found") as caught:
        run.collect(format="jsonl", uris=["s3://corpus/a.jsonl"])
    assert "AWS_ACCESS_KEY_ID" in str(caught.value)


@services
def test_a_bucket_that_is_not_there_is_told(s3, run):
    with pytest.raises((ConfigError, StorageError), match="s3://nowhere"):
        run.collect(format="jsonl", uris=["s3://nowhere/*.jsonl"])
    with pytest.raises(ConfigError, match="no file matches"):
        run.collect(format="jsonl", uris=["s3://corpus/*.nothing"])


@pytest.fixture
def memory():
    import fsspec

    store = fsspec.filesystem("memory")
    yield store
    store.store.clear()


def test_any_other_store_of_fsspec_works_too(memory, run, make):
    json_lines, _ = make
    memory.pipe("/corpus/a.jsonl", json_lines(records()))
    run.collect(format="jsonl", uris=["memory://corpus/*.jsonl"])
    assert run.rows(500) == run.rows() and len(run.rows()) == 50 and run.rows()[0]["warc_file"] == "a.jsonl"
    assert problems(run) == []
    memory.pipe("/corpus/a.jsonl", json_lines(records()).replace(b"Line 7", b"Lime 7"))
    assert problems(run) == ["has changed since it was collected"]


def test_a_store_without_entity_tags_says_so(memory, run):
    memory.pipe("/corpus/a.jsonl", b"{}")
    with pytest.raises(DataError, match="no ETag") as caught:
        run.collect(format="jsonl", uris=["memory://corpus/*.jsonl"], checksum="etag")
    assert "checksum: sha256" in str(caught.value)


@pytest.mark.parametrize(("uri", "extra"), [("s3://b/k", "s3"), ("gs://b/k", "gs"), ("hf://datasets/a/b", "hf")])
def test_a_missing_client_is_told_with_the_extra(monkeypatch, uri, extra):
    import fsspec

    def missing(*_, **__):
        raise ImportError(f"Install the client for {uri}")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(ConfigError, match="needs a package that is not installed") as caught:
        objects.filesystem(uri)
    assert caught.value.hint.startswith(f"pip install 'headwater-data[{extra}]'")


def test_a_protocol_that_nobody_knows_is_refused(run):
    with pytest.raises(ConfigError, match="no URI that can be opened"):
        run.collect(format="jsonl", uris=["oops://a/b.jsonl"])


@pytest.mark.parametrize(
    ("info", "etag"),
    [
        ({"size": 3, "ETag": '"abc"'}, "abc"),
        ({"size": 3, "etag": "CPju", "md5Hash": "x"}, "CPju"),
        ({"size": 3, "lfs": {"sha256": "ffee", "size": 3}, "blob_id": "b"}, "ffee"),
        ({"size": 3, "lfs": None, "blob_id": "b"}, "b"),
        ({"size": 3}, ""),
    ],
)
def test_what_stores_call_an_entity_tag(info, etag):
    assert objects._stat(info) == objects.Stat(3, etag)


def test_a_size_that_the_store_does_not_know_is_no_difference():
    listed = ExternalFile("a", 10, "ab", "")
    assert difference(listed, objects._stat({"size": None})) is None
    assert difference(listed, objects._stat({"size": 0})) == ("0 bytes", "10 bytes")


@services
def test_a_web_server_gives_the_same_rows_as_a_folder(run, other_run, tmp_path, make):
    pytest.importorskip("aiohttp")
    json_lines, _ = make
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(json_lines(records()))
    (tmp_path / "in" / "paths.txt").write_text("a.jsonl\n")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "in"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}"
        remote = run.collect(format="jsonl", lists=[f"{root}/paths.txt"], root=root)
        local = other_run.collect(format="jsonl", uris=[f"{tmp_path}/in/*.jsonl"])
        assert remote.manifest.digest == local.manifest.digest
        assert run.rows() == other_run.rows() and problems(run) == []
        server.shutdown()
