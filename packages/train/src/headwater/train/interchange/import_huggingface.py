"""`headwater import hf`: weights and tokenizer of a Hugging Face folder become artifacts of a run."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import DefaultSavePlanner
from torch.distributed.checkpoint.planner import WriteItem

from headwater.core.console import progress
from headwater.core.errors import TrainError
from headwater.core.huggingface import Weight
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, Manifest, is_artifact, parent_of
from headwater.core.run import ModelShape
from headwater.core.storage import file_sha256, storage_errors
from headwater.train import PRODUCER
from headwater.train.dcp import save_state, weights_digest
from headwater.train.interchange.import_tokenizer import TokenizerImport
from headwater.train.interchange.read_config import read_config, shape_of
from headwater.train.interchange.safetensors_folder import SafetensorsFolder
from headwater.train.weights import MODEL_KEY


@dataclass(frozen=True)
class Imported:
    """What an import made.

    Attributes:
        shape: The model's shape.
        weights: Manifest of RUN/init.
        tokenizer: Manifest of RUN/tokenizer.
        fresh: Whether anything was written.
    """

    shape: ModelShape
    weights: Manifest
    tokenizer: Manifest
    fresh: bool


def import_huggingface(folder: Path, run: RunLayout, end_of_text: str | None = None) -> Imported:
    """Makes RUN/tokenizer and RUN/init from a Hugging Face folder.

    The weights keep their type; they go through memory one at a time. Nothing is unpickled, and no code of the folder
    is run.

    Args:
        folder: `config.json`, safetensors and `tokenizer.json`.
        run: The run folder.
        end_of_text: The token that ends a document; default: what its family calls it.

    Raises:
        ConfigError: The run has another tokenizer already, or `end_of_text` is no token of this one.
        TrainError: The folder is not what training can start from; the message names the key or the weight.
        StorageError: The disk refused.
    """
    config = read_config(folder)
    shape = shape_of(config)
    weights = SafetensorsFolder(folder, shape)
    tokenizer = TokenizerImport(folder, end_of_text)
    if tokenizer.vocabulary.size > shape.vocab_size:
        raise TrainError(
            "the tokenizer has more entries than the embedding has rows", found=f"{tokenizer.vocabulary.size:,}",
            expected=f"{shape.vocab_size:,} or fewer", hint="the tokenizer may be another model's",
        )  # fmt: skip
    made, new_tokenizer = tokenizer.write(run)
    manifest, new_weights = _write(folder, run, shape, weights)
    return Imported(shape, manifest, made, new_tokenizer or new_weights)


def _write(folder: Path, run: RunLayout, shape: ModelShape, weights: SafetensorsFolder) -> tuple[Manifest, bool]:
    sources = [folder / "config.json", *weights.files]
    with storage_errors("read", folder):
        hashes = {path.name: file_sha256(path) for path in sources}
    parents = [parent_of(run.init, run.tokenizer, "tokenizer")]
    if is_artifact(folder):  # an export: the lineage goes on
        parents.append(parent_of(run.init, folder, "source"))
    writer = ArtifactWriter(
        run.init, kind="model", name="initial weights", producer=PRODUCER, parents=parents,
        config={"format": "dcp", "source": "huggingface", MODEL_KEY: shape.model_dump(mode="json"), "files": hashes},
    )  # fmt: skip
    if (finished := writer.up_to_date()) is not None:
        return finished, False
    writer.begin()
    by_name = {weight.name: weight for weight in weights.weights}
    with progress(len(by_name), "import") as bar:

        def read(name: str) -> torch.Tensor:
            bar.advance(1, name)
            return weights.read(by_name[name])

        with storage_errors("write", run.init), warnings.catch_warnings():
            # torch warns that it assumes a single process: that is what is meant.
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            placeholders = {weight.name: _placeholder(weight, weights) for weight in weights.weights}
            save_state(placeholders, run.init, planner=_OneAtATime(read))
            digest = weights_digest(run.init, others=())
    counters: dict[str, Any] = {
        "parameters": sum(weight.count for weight in weights.weights), "weights_digest": digest
    }  # fmt: skip
    return writer.commit(counters), True


def _placeholder(weight: Weight, weights: SafetensorsFolder) -> torch.Tensor:
    return torch.empty(weight.size, dtype=weights.dtypes[weight.name], device="meta")


class _OneAtATime(DefaultSavePlanner):
    """Plans with tensors that have no data, and reads each when it is written."""

    def __init__(self, read: Callable[[str], torch.Tensor]) -> None:
        super().__init__()
        self._read = read

    def resolve_data(self, write_item: WriteItem) -> torch.Tensor:
        return self._read(write_item.index.fqn)
