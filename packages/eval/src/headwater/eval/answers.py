"""What a model has answered so far, kept batch by batch, so that a killed evaluation goes on where it stopped.

A file holds the answers to one list of requests. Its name is a digest of all that decides them: the weights, the
tokenizer, the task and its version, every prompt, the number format, the software. Another model, or the same one
asked otherwise, has another file. Batches are cut in the same way each time: what is kept fits what is missing, to the
bit.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.core.storage import json_digest, storage_errors


class Kept:
    """The answers to one list of requests, by number of the batch.

    Args:
        path: A file of lines, each a SHA-256 and the JSON that it is of, made with the first answer. A line that a kill
            has torn is cut off, and one that is damaged is passed over: its batch is computed again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: dict[int, Any] = {}
        if not path.is_file():
            return
        with storage_errors("read", path):
            content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with storage_errors("repair", path):
                os.truncate(path, whole)
        for line in content[:whole].splitlines():
            digest, _, row = line.partition(b" ")
            if digest == _digest(row):
                batch, answers = json.loads(row)
                self._found[batch] = answers

    def get(self, batch: int) -> Any:
        """The answers of a batch, or None."""
        return self._found.get(batch)

    def put(self, batch: int, answers: Any) -> None:
        """Keeps the answers of a batch: they are on the disk when this returns."""
        with storage_errors("write", self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            row = json.dumps([batch, answers]).encode()
            with self.path.open("ab") as file:
                file.write(_digest(row) + b" " + row + b"\n")
                file.flush()
                os.fsync(file.fileno())
        self._found[batch] = answers


def _digest(row: bytes) -> bytes:
    return hashlib.sha256(row).hexdigest().encode()


class Answers:
    """Where answers are kept.

    Args:
        folder: Survives a kill.
        identity: What decides answers besides the requests: weights, tokenizer, number format, software.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self.identity = dict(identity)

    def of(self, **asked: Any) -> Kept:
        """The answers to what is asked: the task, its version and all its requests."""
        return Kept(self.folder / f"{json_digest([self.identity, asked])[:32]}.jsonl")
