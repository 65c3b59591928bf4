"""Copies of checkpoints: in a folder and in an S3 bucket (a server on loopback), and going on from them alone."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from train_fixtures import write_recipe

from headwater.core import objects
from headwater.core.errors import StorageError
from headwater.core.events import read_events
from headwater.core.layout import RunLayout
from headwater.core.manifest import read_manifest
from headwater.train.mirror import Mirror
from headwater.train.runner import train

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.services)])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the copies go: a folder, or a new bucket."""
    if request.param == "folder":
        yield str(tmp_path / "copies")
        return
    import boto3

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    settings = {
        "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "DEFAULT_REGION": "us-east-1",
        "ENDPOINT_URL": request.getfixturevalue("server"), "CONFIG_FILE": str(tmp_path / "none"),
        "SHARED_CREDENTIALS_FILE": str(tmp_path / "none"), "EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    importlib.import_module("s3fs").S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="runs")
    yield "s3://runs/mine"
    for entry in client.list_objects_v2(Bucket="runs").get("Contents", []):
        client.delete_object(Bucket="runs", Key=entry["Key"])
    client.delete_bucket(Bucket="runs")
    importlib.import_module("s3fs").S3FileSystem.clear_instance_cache()


def write(folder: Path, **files: bytes) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    return folder


def test_what_is_kept_is_copied_and_what_is_not_is_deleted(place: str, tmp_path: Path) -> None:
    mirror, checkpoints, logs = Mirror(place), tmp_path / "run" / "checkpoints", tmp_path / "run"
    assert mirror.steps() == {}
    for step in (3, 6):
        write(checkpoints / f"step-{step:08d}", a_bin=b"x" * step, manifest_json=b"{}")
    write(checkpoints / "step-00000009", a_bin=b"torn")
    (logs / "losses.jsonl").write_bytes(b"1\n2\n")
    write(logs / "guard", rollback_jsonl=b"documents\n")
    mirror.sync(checkpoints, {3, 6, 9}, logs)
    assert mirror.steps() == {3: ["a.bin", "manifest.json"], 6: ["a.bin", "manifest.json"]}
    mirror.sync(checkpoints, {6}, logs)
    assert mirror.whole() == {6}
    mirror.fetch(6, tmp_path / "here" / "step-00000006")
    mirror.fetch_logs(tmp_path / "here")
    assert (tmp_path / "here" / "step-00000006" / "a.bin").read_bytes() == b"x" * 6
    assert (tmp_path / "here" / "losses.jsonl").read_bytes() == b"1\n2\n"
    assert (tmp_path / "here" / "guard" / "rollback.jsonl").read_bytes() == b"documents\n"
    mirror.clear()
    assert objects.listing(place) == []


def test_the_manifest_goes_last_and_is_deleted_first(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, str]] = []
    put, delete = objects.put, objects.delete
    note = lambda what, uri: said.append((what, uri.rpartition("/")[2]))  # noqa: E731
    monkeypatch.setattr(objects, "put", lambda content, uri: (note("put", uri), put(content, uri)))
    monkeypatch.setattr(objects, "delete", lambda uri: (note("delete", uri), delete(uri)))
    folder = write(tmp_path / "checkpoints" / "step-00000003", manifest_json=b"{}", a_bin=b"a", z_bin=b"z")
    Mirror(place).sync(folder.parent, {3}, tmp_path)
    Mirror(place).remove(3)
    assert said[2] == ("put", "manifest.json") and said[3] == ("delete", "manifest.json") and len(said) == 6


@slow
def test_a_run_that_lost_its_folder_goes_on_from_the_copies_to_the_same_bytes(
    place: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(
        tmp_path / "r.yaml", steps=8, checkpoint={"every": 2, "keep_last": 3, "keep_best": 0, "mirror": place}
    )
    run = Path(shutil.copytree(data, tmp_path / "run"))
    whole = train(recipe, run).manifest
    assert whole is not None and Mirror(place).whole() == {4, 6, 8}
    digests = {step: read_manifest(RunLayout(run).checkpoint(step)).digest for step in (4, 6, 8)}

    shutil.rmtree(run / "train")
    objects.delete(f"{place}/step-00000008/manifest.json")  # the machine went away while it was copied
    wrong = tmp_path / "wrong"
    wrong.write_bytes(b"another byte")
    for name in ("__0_0.distcp", "run.json"):
        objects.put(wrong, f"{place}/step-00000006/{name}")
    again = train(recipe, run).manifest
    said = capsys.readouterr().err
    assert f"removed a copy in {place} that was not finished" in said
    assert "passed over a damaged checkpoint: __0_0.distcp does not have the checksum" in said
    assert f"the checkpoint of step 4 was not here or not whole: it was taken from {place}" in said
    resumed = [event["step"] for event in read_events(run / "train" / "events.jsonl") if event["kind"] == "resume"]
    assert resumed == [4] and again is not None and again.digest == whole.digest
    assert {step: read_manifest(RunLayout(run).checkpoint(step)).digest for step in (4, 6, 8)} == digests
    assert Mirror(place).whole() == {4, 6, 8}

    train(recipe, run, ["train.steps=2"], fresh=True)
    assert Mirror(place).whole() == {2}


@slow
def test_copies_that_retention_keeps_outlive_the_run_folder(place: str, data: Path, tmp_path: Path) -> None:
    kept = {"every": 2, "keep_last": 2, "keep_best": 0, "keep_every": 4, "mirror": place}
    recipe = write_recipe(tmp_path / "r.yaml", steps=8, checkpoint=kept)
    run = Path(shutil.copytree(data, tmp_path / "run"))
    train(recipe, run)
    assert Mirror(place).whole() == {4, 6, 8}
    shutil.rmtree(run / "train")
    objects.delete(f"{place}/step-00000008/manifest.json")
    train(recipe, run)  # from step 6: the checkpoint of step 4 is nowhere but in the mirror
    assert Mirror(place).whole() == {4, 6, 8}


def test_copies_of_another_run_below_are_no_copies_of_this_one(tmp_path: Path) -> None:
    write(tmp_path / "copies" / "another" / "step-00000003", a_bin=b"a", manifest_json=b"{}")
    write(tmp_path / "copies" / "step-00000006", a_bin=b"a", manifest_json=b"{}")
    assert Mirror(str(tmp_path / "copies")).whole() == {6}


@slow
def test_a_store_that_refuses_stops_training_with_the_checkpoint_kept_here(
    place: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", steps=4, checkpoint={"every": 2, "mirror": place})
    run = Path(shutil.copytree(data, tmp_path / "run"))

    put = objects.put

    def refuse(content: Path, uri: str) -> None:
        with objects.object_errors("write", uri):
            if "step-" in uri:
                raise PermissionError("not for you")
        put(content, uri)

    monkeypatch.setattr(objects, "put", refuse)
    with pytest.raises(StorageError, match=r"cannot write .*: access was denied"):
        train(recipe, run)
    assert read_manifest(RunLayout(run).checkpoint(2)).kind == "checkpoint"


@slow
def test_a_store_that_refuses_is_heard_of_before_the_first_step(place: str, data: Path, tmp_path: Path) -> None:
    """Reading it may go well: there is nothing in it yet."""
    if objects.is_remote(place):
        place = "s3://nobody-made-this/mine"
    else:
        Path(place).write_bytes(b"no folder")
    recipe = write_recipe(tmp_path / "r.yaml", steps=4, checkpoint={"every": 2, "mirror": place})
    run = Path(shutil.copytree(data, tmp_path / "run"))
    with pytest.raises(StorageError, match=f"cannot (list|write) {place}"):
        train(recipe, run)
    losses = run / "train" / "losses.jsonl"
    assert not losses.is_file() or losses.read_bytes() == b""


@slow
def test_the_last_copy_is_made_when_the_run_goes_on(
    place: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no step left to do, after which it would be made."""
    recipe = write_recipe(tmp_path / "r.yaml", steps=4, checkpoint={"every": 2, "keep_best": 0, "mirror": place})
    run = Path(shutil.copytree(data, tmp_path / "run"))
    put = objects.put

    def gone(content: Path, uri: str) -> None:
        if "step-00000004" in uri:
            raise StorageError(f"cannot write {uri}")
        put(content, uri)

    with monkeypatch.context() as patch:  # `place` patches too, and that has to stay
        patch.setattr(objects, "put", gone)
        with pytest.raises(StorageError, match="cannot write"):
            train(recipe, run)
    assert Mirror(place).whole() == {2}
    assert train(recipe, run).state == "finished"
    assert Mirror(place).whole() == {2, 4}
