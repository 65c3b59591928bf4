"""The weights of a checkpoint, read one at a time: the memory they need is that of the largest tensor."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

from headwater.core.errors import ManifestError, TrainError
from headwater.core.huggingface import Weight, stored_prefix, weights_of
from headwater.core.manifest import Parent
from headwater.train.resume import find_damage
from headwater.train.weights import Weights, describe


class _Reader(FileSystemReader):
    """torch's reader; the metadata, which it would read for every tensor anew, is read once."""

    _metadata: Metadata | None = None

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        if self._metadata is None:
            self._metadata = super().read_metadata(*args, **kwargs)
        return self._metadata


@dataclass(frozen=True)
class StoredWeights(Weights):
    """The weights in a folder, whatever layout wrote them.

    Attributes:
        dtypes: Training name of each weight → the type it is stored in.
    """

    dtypes: dict[str, torch.dtype]
    _reader: _Reader
    _prefix: str

    @property
    def tokenizer(self) -> Parent:
        """The tokenizer that the weights belong to, as the manifest names it.

        Raises:
            ManifestError: The manifest names none.
        """
        for parent in self.manifest.parents:
            if parent.kind == "tokenizer":
                return parent
        raise ManifestError(f"the manifest of {self.path} names no tokenizer", hint="use another checkpoint")

    def read(self, weight: Weight) -> torch.Tensor:
        """One weight, whole, on the CPU, in the type it is stored in."""
        tensor = torch.empty(weight.size, dtype=self.dtypes[weight.name])
        with warnings.catch_warnings():
            # torch warns that it assumes a single process: that is what is meant.
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            dcp.load({self._prefix + weight.name: tensor}, storage_reader=self._reader, no_dist=True)
        return tensor


def open_weights(path: Path) -> StoredWeights:
    """Opens the weights in a folder. Every file is compared with its checksum before any of it is unpickled.

    Raises:
        ManifestError: The folder is not what `describe` expects, or a file of it was changed.
        TrainError: The weights are not those of the model that the folder describes.
    """
    found = describe(path)
    if damage := find_damage(path):
        raise ManifestError(f"{path} is damaged: {damage}", hint="use another checkpoint, or restore it from a copy")
    reader = _Reader(str(path))
    stored = reader.read_metadata().state_dict_metadata
    prefix = stored_prefix(stored) or ""
    dtypes: dict[str, torch.dtype] = {}
    for weight in weights_of(found.shape):
        entry = stored.get(prefix + weight.name)
        if not isinstance(entry, TensorStorageMetadata) or tuple(entry.size) != weight.size:
            raise TrainError(
                f"{path} does not hold the weights of the model that it describes",
                found=f"{weight.name}: {list(entry.size) if isinstance(entry, TensorStorageMetadata) else 'nothing'}",
                expected=f"{weight.name}: {list(weight.size)}",
            )  # fmt: skip
        dtypes[weight.name] = entry.properties.dtype
    return StoredWeights(path, found.manifest, found.shape, found.digest, dtypes, reader, prefix)
