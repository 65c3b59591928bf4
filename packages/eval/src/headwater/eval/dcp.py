"""Reads tensors out of a DCP folder (torch's distributed checkpoints) of any layout, in one process.

torch's own reader brings its distributed tensors along, whose import takes longer than reading a small checkpoint, and
opens `.metadata` as a pickle that may do anything. Here only the classes that describe tensors can be in it.

The format is that of torch 2.13, `torch/distributed/checkpoint/{metadata,filesystem}.py`: `.metadata` holds of every
tensor its dtype, its size and its chunks, and for each chunk the file and the bytes in it that `torch.save` wrote.
"""

from __future__ import annotations

import io
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from headwater.eval.errors import UnusableCheckpoint

_DESCRIBING = {
    "torch.distributed.checkpoint.metadata": (
        "Metadata", "MetadataIndex", "StorageMeta", "TensorStorageMetadata", "TensorProperties",
        "ChunkStorageMetadata", "BytesStorageMetadata", "_MEM_FORMAT_ENCODING",
    ),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.serialization": ("_get_layout",),
    "pathlib": ("PosixPath", "WindowsPath"),
}  # fmt: skip
"""Module → the names in it that a `.metadata` may hold, besides torch's sizes and dtypes."""


@dataclass(frozen=True)
class Chunk:
    """A box of a tensor, and where it lies.

    Attributes:
        offsets: Its first element in the tensor.
        sizes: Its shape.
        file: Name of the file.
        start: Its first byte in the file.
        length: Its bytes there.
    """

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    start: int
    length: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a checkpoint.

    Attributes:
        size: Its shape.
        dtype: Of its elements.
        chunks: The boxes that it is made of.
    """

    size: tuple[int, ...]
    dtype: torch.dtype
    chunks: tuple[Chunk, ...]


def read_index(folder: Path) -> dict[str, StoredTensor | None]:
    """What a checkpoint holds: name → the tensor, or None where it is something else.

    Raises:
        UnusableCheckpoint: There is no `.metadata`, or it is damaged or of another format.
    """
    try:
        with (folder / ".metadata").open("rb") as stream:
            metadata = _Unpickler(stream).load()
        places = {(index.fqn, _offset(index)): info for index, info in metadata.storage_data.items()}
        return {
            name: _tensor(name, entry, places) if hasattr(entry, "chunks") else None
            for name, entry in metadata.state_dict_metadata.items()
        }
    except UnusableCheckpoint:
        raise
    except Exception as error:  # damaged bytes can raise anything
        raise UnusableCheckpoint(
            f"{folder} has no readable DCP metadata: {error}", expected="a torch DCP checkpoint"
        ) from error


def read_tensor(folder: Path, name: str, stored: StoredTensor) -> torch.Tensor:
    """Puts a tensor together, on the CPU.

    Args:
        folder: The checkpoint.
        name: For messages.
        stored: Where it lies.

    Raises:
        UnusableCheckpoint: A file is missing or holds something else, or the chunks do not make up the tensor.
    """
    tensor = torch.empty(stored.size, dtype=stored.dtype)
    if sum(math.prod(chunk.sizes) for chunk in stored.chunks) != tensor.numel():
        raise UnusableCheckpoint(f"{name} in {folder} is not whole", found=f"chunks {stored.chunks}")
    for chunk in stored.chunks:
        try:
            with (folder / chunk.file).open("rb") as stream:
                stream.seek(chunk.start)
                part = torch.load(io.BytesIO(stream.read(chunk.length)), map_location="cpu", weights_only=True)
            if tuple(part.shape) != chunk.sizes:
                raise ValueError(f"a tensor of shape {tuple(part.shape)} where {chunk.sizes} should be")
        except Exception as error:  # damaged bytes can raise anything
            raise UnusableCheckpoint(f"{name} in {folder / chunk.file} cannot be read: {error}") from error
        box = tuple(slice(first, first + size) for first, size in zip(chunk.offsets, chunk.sizes, strict=True))
        tensor[box] = part
    return tensor


class _Described:
    """Stands for an object of one of torch's describing classes: its attributes, and no code."""

    fqn: str
    offset: Any

    def __init__(self, *given: Any) -> None:
        self.given = given

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)
        else:
            self.given = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and (name == "Size" or isinstance(getattr(torch, name, None), torch.dtype)):
            return getattr(torch, name)
        if name in _DESCRIBING.get(module, ()):
            return _Described
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which describes no tensor")


def _offset(index: _Described) -> tuple[int, ...]:
    return tuple(getattr(index, "offset", None) or ())


def _tensor(name: str, entry: Any, places: dict[tuple[str, tuple[int, ...]], Any]) -> StoredTensor:
    chunks: list[Chunk] = []
    for chunk in entry.chunks:
        place = places[name, tuple(chunk.offsets)]
        if getattr(place, "transform_descriptors", None):
            raise ValueError(f"{name} was changed when it was written ({place.transform_descriptors})")
        chunks.append(
            Chunk(tuple(chunk.offsets), tuple(chunk.sizes), place.relative_path, place.offset, place.length)
        )  # fmt: skip
    return StoredTensor(tuple(entry.size), entry.properties.given[0], tuple(chunks))
