"""torch's distributed checkpoint format (DCP), written so that equal state gives equal bytes."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

from torch.distributed.checkpoint import FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future


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
