"""The Hugging Face Hub, by a server on loopback that knows the calls which reading makes (`fake_hub`)."""

import pytest
from fake_hub import Hub, serving

from headwater.core.errors import DataError, HeadwaterError, StorageError
from headwater.core.trace.payload import read_collected
from headwater.core.verify.report import verify_run

pytestmark = pytest.mark.services
ROOT = "hf://datasets/me/corpus"
RECORDS = [{"text": f"Line {i} of the corpus.", "url": f"http://x/{i}"} for i in range(53)]


@pytest.fixture
def hub(monkeypatch):
    import fsspec

    system = pytest.importorskip("huggingface_hub").HfFileSystem
    found = Hub()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # other tests work without the network
    with serving(found) as address:
        monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": address, "token": False})
        system.clear_instance_cache()
        yield found
        system.clear_instance_cache()


def problems(run):
    return [finding.problem for finding in verify_run(run.layout.root).errors]


@pytest.fixture
def collected(hub, run, other_run, tmp_path, make):
    """Collects the same files from the Hub (run) and from a folder (other_run)."""
    json_lines, parquet_bytes = make
    kinds = {"jsonl": (json_lines, {}), "parquet": (parquet_bytes, {"row_group_size": 8})}

    def collect(kind, checksum="sha256"):
        write, options = kinds[kind]
        for name, content in {"a": write(RECORDS[:50], **options), "b/c": write(RECORDS[50:])}.items():
            hub.files[f"data/{name}.{kind}"] = content
            path = tmp_path / "in" / f"{name}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        hub.files["README.md"] = b"# Corpus"
        hub.large.add(f"data/a.{kind}")
        local = other_run.collect(format="hf", url="url", uris=[f"{tmp_path}/in/**/*.{kind}"], root=f"{tmp_path}/in")
        wanted = {"format": "hf", "url": "url", "uris": [f"{ROOT}/data/**/*.{kind}"], "root": f"{ROOT}/data"}
        remote = run.collect(checksum=checksum, **wanted)
        assert not run.collect(checksum=checksum, **wanted).fresh
        return local.manifest.digest, remote.manifest.digest

    return collect


@pytest.mark.parametrize("checksum", ["sha256", "etag"])
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_data_set_gives_the_documents_of_a_folder(collected, hub, run, other_run, kind, checksum):
    local, remote = collected(kind, checksum)
    assert (local == remote) == (checksum == "sha256")
    assert len(run.units(1000)) > 1 and run.rows(1000) == other_run.rows() and problems(run) == []
    (mine, *tables), (theirs, *others) = run.documents(partition_bytes=1000), other_run.documents()
    assert len(tables[0]) == len(RECORDS) and tables == others
    assert (mine.manifest.digest == theirs.manifest.digest) == (checksum == "sha256")
    assert hub.ranges


def test_a_record_is_read_again_where_it_is(collected, run):
    collected("jsonl")
    row = run.rows()[20]
    assert b"Line 20 " in read_collected(run.layout.raw("s"), row["warc_file"], row["warc_offset"], "")


def test_a_file_that_changed_or_vanished_is_named(collected, hub, run):
    collected("jsonl", "etag")
    for name in ("a", "b/c"):  # one is known by its SHA-256, the other by its blob
        before = hub.files[f"data/{name}.jsonl"]
        hub.files[f"data/{name}.jsonl"] = before.replace(b"corpus", b"CORPUS")
        with pytest.raises(DataError, match=rf"{name}\.jsonl has changed since it was collected"):
            run.rows()
        assert problems(run) == ["has changed since it was collected"]
        hub.files[f"data/{name}.jsonl"] = before
    del hub.files["data/b/c.jsonl"]
    with pytest.raises(StorageError, match=r"data/b/c\.jsonl: it is not there"):
        run.rows()


def test_a_data_set_that_is_not_there_is_told(hub, run):
    with pytest.raises(HeadwaterError, match="hf://datasets/me/other"):
        run.collect(format="hf", uris=["hf://datasets/me/other/*.parquet"])
