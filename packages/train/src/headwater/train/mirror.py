"""Copies of a run's checkpoints and logs that outlive its machine: in any store that fsspec knows, or another folder.

URI/step-00000100/…      the files of the checkpoint, its manifest last
URI/losses.jsonl, URI/events.jsonl, URI/guard/… (documents that events name)
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from headwater.core import objects
from headwater.core.errors import ManifestError
from headwater.core.manifest import MANIFEST, is_artifact
from headwater.core.run import RUN_FILE, RunInfo, read_run
from headwater.core.storage import storage_errors
from headwater.train.guard.evidence import FOLDER

LOGS = ("losses.jsonl", "events.jsonl")
"""What a run needs, besides a checkpoint, to go on elsewhere."""

THREADS = 4
_FILE = re.compile(r"step-(\d{8})/([^/]+)")
_EVIDENCE = re.compile(rf"{FOLDER}/[^/]+\.jsonl")


class Mirror:
    """The copies of one run.

    Args:
        uri: Where they are. No other run may use it.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")

    def steps(self) -> dict[int, list[str]]:
        """The files of every checkpoint that is there, whole or not; the manifest comes last.

        Raises:
            StorageError, ConfigError: The store refused, or nothing here can speak to it.
        """
        found: dict[int, list[str]] = {}
        for name in self._names():
            if match := _FILE.fullmatch(name):
                found.setdefault(int(match.group(1)), []).append(match.group(2))
        return {step: sorted(names, key=lambda name: (name == MANIFEST, name)) for step, names in found.items()}

    def whole(self) -> set[int]:
        """Steps of the checkpoints whose copy was finished."""
        return {step for step, names in self.steps().items() if MANIFEST in names}

    def infos(self) -> dict[int, RunInfo]:
        """What `run.json` says of every checkpoint whose copy was finished; one that cannot be read is left out."""
        found: dict[int, RunInfo] = {}
        with tempfile.TemporaryDirectory() as folder:
            for step in sorted(self.whole()):
                objects.get(self._name(step, RUN_FILE), Path(folder) / RUN_FILE)
                with suppress(ManifestError):
                    found[step] = read_run(Path(folder))
        return found

    def sync(self, checkpoints: Path, keep: Collection[int], logs: Path, written: int | None = None) -> None:
        """Makes the mirror hold the logs and the checkpoints that are kept: copies those it lacks, deletes the others.

        Args:
            checkpoints: The run's folder of checkpoints.
            keep: Steps of those that are kept.
            logs: The folder of the logs.
            written: Step of the checkpoint that was just written: after a rollback it takes the place of an older copy.
        """
        there = self.steps()
        if written in there:
            self.remove(written)
            del there[written]
        self._put_logs(logs)
        for step in sorted(keep):
            folder = checkpoints / f"step-{step:08d}"
            if MANIFEST not in there.get(step, []) and is_artifact(folder):
                self._put(step, folder)
        for step in sorted(there.keys() - set(keep)):
            self.remove(step)

    def fetch(self, step: int, folder: Path) -> None:
        """Copies a checkpoint here, its manifest last, in the place of what is there.

        Args:
            step: Its step.
            folder: Its folder in the run.
        """
        names = self.steps()[step]
        with storage_errors("write", folder):
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.iterdir(), key=lambda path: path.name != MANIFEST):
                path.unlink()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda name: objects.get(self._name(step, name), folder / name), names[:-1]))
        objects.get(self._name(step, names[-1]), folder / names[-1])

    def fetch_logs(self, folder: Path) -> None:
        """Copies the logs here, those that there are."""
        for name in self._logs():
            with storage_errors("write", folder / name):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
            objects.get(objects.join(self.uri, name), folder / name)

    def remove(self, step: int) -> None:
        """Deletes a copy, its manifest first, so that a kill in between leaves none that looks whole."""
        for name in reversed(self.steps().get(step, [])):
            objects.delete(self._name(step, name))
        if not objects.is_remote(self.uri):
            folder = objects.local_path(self._name(step, MANIFEST)).parent
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def clear(self) -> None:
        """Deletes all copies of checkpoints, and the logs."""
        for step in self.steps():
            self.remove(step)
        for name in self._logs():
            objects.delete(objects.join(self.uri, name))

    def _put(self, step: int, folder: Path) -> None:
        names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda name: objects.put(folder / name, self._name(step, name)), names))
        objects.put(folder / MANIFEST, self._name(step, MANIFEST))

    def _put_logs(self, folder: Path) -> None:
        copied = set(self._logs()) - set(LOGS)  # which grow; the documents of an event stay as they are
        names = [*LOGS, *sorted(f"{FOLDER}/{path.name}" for path in (folder / FOLDER).glob("*.jsonl"))]
        for name in names:
            if name not in copied and (folder / name).is_file():
                objects.put(folder / name, objects.join(self.uri, name))

    def _logs(self) -> list[str]:
        return [name for name in self._names() if name in LOGS or _EVIDENCE.fullmatch(name)]

    def _names(self) -> list[str]:
        """Every file that is there, by its name below the URI."""
        root = self.uri if objects.is_remote(self.uri) else str(objects.local_path(self.uri))
        return [name.removeprefix(root).lstrip("/") for name in objects.listing(self.uri)]

    def _name(self, step: int, name: str) -> str:
        return objects.join(self.uri, f"step-{step:08d}/{name}")
