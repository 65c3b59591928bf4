"""torch's distributed checkpoint format (DCP), written so that equal state gives equal bytes."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from headwater.core.errors import HeadwaterError

_READ_BYTES = 1 << 29
"""So many bytes of weights are read at a time to digest them."""


class ReproducibleWriter(FileSystemWriter):
    """torch's writer, less what differs between two equal saves.

    torch puts a random id and the absolute path into `.metadata`, and pickles by object identity, so that equal
    values can give different bytes. Here there is no id and no path, and the pickle has no memo.
    """

    def storage_meta(self) -> StorageMeta | None:
        """Neither a random id nor an absolute path."""
        return StorageMeta()

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """As torch's; what the disk says comes out as it was."""
        try:
            return super().write_data(plan, planner)
        except RuntimeError as error:
            # torch.save closes its archive after a failed write, and raises what that fails with instead.
            cause = error.__context__
            while cause is not None and not isinstance(cause, OSError):
                cause = cause.__context__
            if cause is None:
                raise
            raise cause from error

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Writes `.metadata`, from rank 0."""
        metadata.version = "1.0.0"
        written = [result for part in results for result in part]
        metadata.storage_data = {result.index: result.storage_data for result in written}
        metadata.storage_meta = self.storage_meta()
        path = Path(self.path) / ".metadata"
        with open(path, "wb") as stream:
            pickler = pickle.Pickler(stream, protocol=4)
            pickler.fast = True
            pickler.dump(metadata)
            stream.flush()
            os.fsync(stream.fileno())


def save_state(state: dict[str, Any], folder: Path, group: Any = None, planner: SavePlanner | None = None) -> None:
    """Writes a state; every rank of the group has to call it. Without a process group, this process writes it alone.

    Args:
        state: This rank's part.
        folder: Where to.
        group: The process group that the ranks talk over; default: that of the training.
        planner: Says what is written of the state, where it is not all that is there.

    Raises:
        OSError: A disk refused, on whichever rank.
        HeadwaterError: The planner refused.
    """
    try:
        writer = ReproducibleWriter(folder, thread_count=1)
        dcp.save(state, storage_writer=writer, process_group=group, planner=planner)
    except dcp.api.CheckpointException as error:
        # torch wraps what each rank raised; a full disk should read as one.
        causes = [cause for cause, _ in error.failures.values()]
        raise next((cause for cause in causes if isinstance(cause, OSError | HeadwaterError)), error) from error


def weights_digest(folder: Path, others: Collection[str]) -> str:
    """SHA-256 over the tensors of a written checkpoint, in order of name: name, dtype, shape, bytes.

    They are read back from the files, so it does not depend on how the state was cut up among processes, and it is the
    digest of what a reader will find.

    Args:
        folder: The checkpoint.
        others: Names, up to the first dot, that are no weights, such as "optimizer".
    """
    reader = FileSystemReader(folder)
    found = reader.read_metadata().state_dict_metadata
    entries = {
        name: entry
        for name, entry in sorted(found.items())
        if isinstance(entry, TensorStorageMetadata) and name.partition(".")[0] not in others
    }
    digest = hashlib.sha256()
    waiting: dict[str, torch.Tensor] = {}
    size = 0
    for name, entry in entries.items():
        waiting[name] = torch.empty(entry.size, dtype=entry.properties.dtype)
        size += waiting[name].nbytes
        if size >= _READ_BYTES:
            _digest(waiting, reader, digest)
            waiting, size = {}, 0
    _digest(waiting, reader, digest)
    return digest.hexdigest()


def _digest(tensors: dict[str, torch.Tensor], reader: FileSystemReader, digest: Any) -> None:
    dcp.load(dict(tensors), storage_reader=reader, no_dist=True)
    for name, tensor in tensors.items():
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
