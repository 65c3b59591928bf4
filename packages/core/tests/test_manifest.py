import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.core import manifest as manifests
from headwater.core import storage
from headwater.core.errors import ManifestError, StorageError
from headwater.core.manifest import ArtifactWriter, changed_files, is_artifact, parent_of, read_manifest, read_volatile


def writer(folder: Path, **changes) -> ArtifactWriter:
    fields = {"kind": "raw", "name": "web", "producer": "test 1", "config": {"a": 1}, "parents": []} | changes
    return ArtifactWriter(folder, **fields)


def make(folder: Path, content: bytes = b"hello", **changes):
    artifact = writer(folder, **changes)
    artifact.begin()
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub" / "data.bin").write_bytes(content)
    (folder / "log.txt").write_text("took 3 s")
    return artifact.commit({"documents": 1}, volatile=[folder / "log.txt"])


def test_commit_lists_files_and_volatile_files_apart(tmp_path):
    manifest = make(tmp_path / "a")
    assert [entry.path for entry in manifest.files] == ["sub/data.bin"]
    assert [entry.path for entry in read_volatile(tmp_path / "a").files] == ["log.txt"]
    assert read_manifest(tmp_path / "a") == manifest
    assert not (tmp_path / "a" / "_work").exists()


def test_same_content_gives_the_same_bytes_whatever_the_log_says(tmp_path):
    make(tmp_path / "a")
    artifact = writer(tmp_path / "b")
    artifact.begin()
    (tmp_path / "b" / "sub").mkdir()
    (tmp_path / "b" / "sub" / "data.bin").write_bytes(b"hello")
    (tmp_path / "b" / "log.txt").write_text("took 500 s")
    artifact.commit({"documents": 1}, volatile=[tmp_path / "b" / "log.txt"])
    assert (tmp_path / "a" / "manifest.json").read_bytes() == (tmp_path / "b" / "manifest.json").read_bytes()


def test_what_a_kill_left_of_a_write_is_no_part_of_the_artifact(tmp_path):
    right = make(tmp_path / "a")
    folder = tmp_path / "b"
    for name in (".volatile.json.28924.tmp", "sub/.data.bin.7.tmp"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"ha")
    assert make(folder) == right
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == [
        "data.bin", "log.txt", "manifest.json", "volatile.json"
    ]  # fmt: skip


def test_up_to_date_only_for_the_same_key_and_whole_files(tmp_path):
    folder = tmp_path / "a"
    assert writer(folder).up_to_date() is None
    make(folder)
    assert writer(folder).up_to_date() is not None
    assert writer(folder, config={"a": 2}).up_to_date() is None
    assert writer(folder, producer="test 2").up_to_date() is None
    (folder / "sub" / "data.bin").write_bytes(b"hell")
    assert writer(folder).up_to_date() is None


@pytest.mark.parametrize("name", ["sub/data.bin", "log.txt"])
@pytest.mark.parametrize("times", ["as they come", "set back"])
def test_a_file_edited_in_place_is_not_up_to_date(tmp_path, capsys, name, times):
    folder = tmp_path / "a"
    make(folder)
    path = folder / name
    before = path.stat()
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    if times == "set back":
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert writer(folder).up_to_date() is None
    assert f"{path} was changed or removed after it was written" in capsys.readouterr().err
    assert changed_files(folder) == [name]


def test_files_that_nobody_touched_are_not_hashed_and_copies_once(tmp_path, monkeypatch):
    make(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)
    for path in ("sub/data.bin", "log.txt"):  # copied after the manifest
        os.utime(tmp_path / "b" / path)
    hashed = []
    monkeypatch.setattr(manifests, "file_sha256", lambda path: hashed.append(path) or storage.file_sha256(path))
    assert writer(tmp_path / "b").up_to_date() is not None
    assert {path.name for path in hashed} == {"data.bin", "log.txt"}
    hashed.clear()
    assert writer(tmp_path / "b").up_to_date() is not None
    assert hashed == []


def test_begin_leaves_the_files_that_the_new_artifact_goes_on_with(tmp_path):
    folder = tmp_path / "a"
    make(folder)
    writer(folder, config={"a": 2}).begin(keep=[folder / "log.txt"])
    assert not is_artifact(folder)
    assert (folder / "log.txt").exists() and not (folder / "sub" / "data.bin").exists()


def test_begin_keeps_work_of_the_same_key_and_throws_away_other_work(tmp_path):
    folder = tmp_path / "a"
    (writer(folder).begin() / "part").write_text("half")
    assert (writer(folder).begin() / "part").read_text() == "half"
    assert not (writer(folder, config={"a": 2}).begin() / "part").exists()


def test_begin_removes_the_old_manifest_and_only_the_files_it_named(tmp_path):
    folder = tmp_path / "a"
    make(folder)
    (folder / "mine.txt").write_text("not the artifact's")
    writer(folder, config={"a": 2}).begin()
    assert not is_artifact(folder)
    assert not (folder / "sub" / "data.bin").exists()
    assert (folder / "mine.txt").exists()


@pytest.mark.parametrize("way", ["absolute", "above"])
def test_begin_removes_nothing_outside_the_folder(tmp_path, way):
    folder, precious = tmp_path / "a", tmp_path / "precious.txt"
    precious.write_text("mine")
    make(folder)
    path = str(precious) if way == "absolute" else "../precious.txt"
    (folder / "manifest.json").write_text(json.dumps({"files": [{"path": path}]}))
    writer(folder).begin()
    assert precious.read_text() == "mine"


def test_nested_artifacts_are_not_part_of_the_outer_one(tmp_path):
    make(tmp_path / "a" / "inner")
    manifest = make(tmp_path / "a")
    assert [entry.path for entry in manifest.files] == ["sub/data.bin"]


@pytest.mark.parametrize("name", ["manifest.json", "volatile.json"])
def test_every_flipped_byte_of_a_manifest_is_refused(tmp_path, name):
    make(tmp_path / "a")
    path = tmp_path / "a" / name
    original = path.read_bytes()
    read = read_manifest if name == "manifest.json" else read_volatile
    for position in range(0, len(original) - 1):
        if original[position : position + 1].isspace():
            continue  # white space between tokens carries nothing; `verify` compares the bytes too
        path.write_bytes(original[:position] + bytes([original[position] ^ 1]) + original[position + 1 :])
        with pytest.raises(ManifestError):
            read(tmp_path / "a")


def test_messages_for_missing_and_other_version(tmp_path):
    with pytest.raises(ManifestError, match="not a finished artifact"):
        read_manifest(tmp_path)
    make(tmp_path / "a")
    path = tmp_path / "a" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    with pytest.raises(ManifestError, match=r"(?s)another schema version.*found:\s+99.*expected:\s+1"):
        read_manifest(tmp_path / "a")


def test_parent_path_is_relative_so_that_a_run_can_be_moved(tmp_path):
    manifest = make(tmp_path / "run" / "raw" / "web")
    parent = parent_of(tmp_path / "run" / "documents", tmp_path / "run" / "raw" / "web", "raw/web")
    assert (parent.path, parent.digest) == ("../raw/web", manifest.digest)


def test_full_disk_leaves_no_manifest(tmp_path, monkeypatch):
    artifact = writer(tmp_path / "a")
    artifact.begin()
    (tmp_path / "a" / "data.bin").write_bytes(b"x" * 100)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(StorageError, match=r"(?s)No space left.*free some space"):
        artifact.commit({})
    monkeypatch.undo()
    assert not is_artifact(tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["_work", "data.bin"]


def test_killed_before_the_manifest_is_never_an_artifact(tmp_path):
    program = f"""
import os, signal
from pathlib import Path
from headwater.core import manifest
folder = Path({str(tmp_path / "a")!r})
artifact = manifest.ArtifactWriter(folder, kind="raw", name="web", producer="test 1", config={{}}, parents=[])
artifact.begin()
(folder / "data.bin").write_bytes(b"x")
real = manifest.atomic_write
def dies_on_manifest(path, content):
    if path.name == "manifest.json":
        os.kill(os.getpid(), signal.SIGKILL)
    real(path, content)
manifest.atomic_write = dies_on_manifest
artifact.commit({{}})
"""
    result = subprocess.run([sys.executable, "-c", program], check=False)
    assert result.returncode == -9
    assert not is_artifact(tmp_path / "a")
