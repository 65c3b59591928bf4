"""`headwater export hf`: a checkpoint as a folder that transformers loads, with a manifest of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from headwater.core.console import Progress, progress
from headwater.core.errors import ConfigError, TrainError
from headwater.core.huggingface import Weight, config_of, rows_to_huggingface, weights_of
from headwater.core.manifest import WORK, ArtifactWriter, Manifest, is_artifact, parent_of, read_manifest
from headwater.core.run import NOT_LEFT_TO_RIGHT, RUN_FILE, read_run
from headwater.core.storage import atomic_write, storage_errors
from headwater.core.tokenizer import read_vocabulary
from headwater.train import PRODUCER
from headwater.train.interchange.stored import StoredWeights, open_weights
from headwater.train.interchange.tokenizer_files import (
    CONFIG_FILE,
    FILES,
    find_tokenizer,
    generation_config,
    read_config,
)

DTYPES = ("stored", "float32", "bfloat16", "float16")
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class Wanted:
    """How a model is exported.

    Attributes:
        dtype: Of the weights, of `DTYPES`; "stored": as the checkpoint has them.
        max_shard_bytes: A file of weights is closed before it grows beyond this; a larger tensor has one of its own.
    """

    dtype: str = "stored"
    max_shard_bytes: int = 5 * 10**9


def export_huggingface(
    checkpoint: Path, out: Path, wanted: Wanted, tokenizer: Path | None = None
) -> tuple[Manifest, bool]:
    """Writes a model into a folder that transformers loads, with its tokenizer.

    The weights go through memory one shard at a time.

    Args:
        checkpoint: A checkpoint of any layout, or imported weights.
        out: The folder to write.
        wanted: How.
        tokenizer: Where the checkpoint's tokenizer is, if it was moved.

    Returns:
        The manifest, and whether anything was written: an export that is there already is left as it is.

    Raises:
        ConfigError: `out` holds something else, or the model was trained to read no text from left to right.
        ManifestError: The checkpoint or its tokenizer is missing, damaged, or not what it should be.
        TrainError: A weight is not finite in the wanted type.
        StorageError: The disk refused.
    """
    _refuse_other_files(out)
    weights = open_weights(checkpoint)
    _refuse_objective(checkpoint)
    folder = find_tokenizer(weights, tokenizer)
    shape = weights.shape
    dtypes = {
        name: stored if wanted.dtype == "stored" else getattr(torch, wanted.dtype)
        for name, stored in weights.dtypes.items()
    }
    dtype = str(dtypes["tok_embeddings.weight"]).removeprefix("torch.")
    writer = ArtifactWriter(
        out, kind="model", name="Hugging Face", producer=PRODUCER,
        config={"format": "huggingface", "dtype": dtype, "max_shard_bytes": wanted.max_shard_bytes},
        parents=[parent_of(out, checkpoint, "weights"), parent_of(out, folder, "tokenizer")],
    )  # fmt: skip
    if (finished := writer.up_to_date()) is not None:
        return finished, False
    writer.begin()
    for path in out.glob("*.safetensors*"):  # of an export that was interrupted
        path.unlink()
    _write_json(out / "config.json", {**config_of(shape, dtype), **_ids(folder)})
    _write_tokenizer(folder, out)
    with progress(len(weights.dtypes), "export") as bar:
        files = _write_weights(weights, out, dtypes, wanted.max_shard_bytes, bar)
    counters: dict[str, Any] = {
        "parameters": sum(weight.count for weight in weights_of(shape)), "weight_files": files,
        "weights_digest": weights.digest,
    }  # fmt: skip
    return writer.commit(counters), True


def _refuse_objective(checkpoint: Path) -> None:
    if (checkpoint / RUN_FILE).is_file() and (kind := read_run(checkpoint).objective) in NOT_LEFT_TO_RIGHT:
        raise ConfigError(
            f"{checkpoint} holds a model that transformers' causal classes would read wrongly",
            found=f"train.objective {kind}", expected="an objective that trains it to read from left to right",
        )  # fmt: skip


def _refuse_other_files(out: Path) -> None:
    if not out.is_dir() or (is_artifact(out) and read_manifest(out).config.get("format") == "huggingface"):
        return
    other = sorted(path.name for path in out.iterdir())
    if other and not (WORK in other and not is_artifact(out)):
        raise ConfigError(f"{out} holds other files", found=", ".join(other[:5]), expected="an empty or a new folder",
                          hint="choose another --out")  # fmt: skip


def _ids(tokenizer: Path) -> dict[str, Any]:
    return generation_config(read_config(tokenizer), read_vocabulary(tokenizer))


def _write_tokenizer(folder: Path, out: Path) -> None:
    """Copies the tokenizer's files, and writes how a text ends."""
    with storage_errors("copy the tokenizer to", out):
        for name in FILES:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, out / name)
    if not (out / CONFIG_FILE).is_file():  # transformers would guess the class by the model's
        end = read_vocabulary(folder).end_of_text
        _write_json(out / CONFIG_FILE, {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end})
    _write_json(out / "generation_config.json", _ids(folder))


def _write_weights(weights: StoredWeights, out: Path, dtypes: dict[str, torch.dtype], limit: int, bar: Progress) -> int:
    """Writes the files of weights and, when there are several, their index; returns how many."""
    sizes = {weight: weight.count * dtypes[weight.name].itemsize for weight in weights_of(weights.shape)}
    shards = list(_shards(sizes, limit))
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = SINGLE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        tensors: dict[str, torch.Tensor] = {}
        for weight in shard:
            tensors[weight.hf_name] = _converted(weights, weight, dtypes[weight.name])
            places[weight.hf_name] = name
            bar.advance(1, weight.hf_name)
        _save(tensors, out / name)
    if len(shards) > 1:
        _write_json(out / INDEX, {"metadata": {"total_size": sum(sizes.values())}, "weight_map": places})
    return len(shards)


def _shards(sizes: dict[Weight, int], limit: int) -> Iterator[list[Weight]]:
    shard: list[Weight] = []
    total = 0
    for weight, size in sizes.items():
        if shard and total + size > limit:
            yield shard
            shard, total = [], 0
        shard.append(weight)
        total += size
    yield shard


def _converted(weights: StoredWeights, weight: Weight, dtype: torch.dtype) -> torch.Tensor:
    tensor, rows = weights.read(weight), rows_to_huggingface(weight)
    tensor = (tensor if rows is None else tensor[torch.from_numpy(rows)]).to(dtype)
    if not bool(torch.isfinite(tensor).all()):
        raise TrainError(f"{weight.name} holds values that are not finite in {str(dtype).removeprefix('torch.')}",
                         hint="choose --dtype float32 or bfloat16, or another checkpoint")  # fmt: skip
    return tensor.contiguous()


def _save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    with storage_errors("write", path):
        try:
            save_file(tensors, path, metadata={"format": "pt"})
        except SafetensorError as error:  # what the disk says is inside
            raise OSError(str(error)) from error
        # The library makes a file that only its owner may read; a server often runs as somebody else.
        path.chmod(path.with_name("config.json").stat().st_mode)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    atomic_write(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
