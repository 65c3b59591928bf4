"""Weights that are there already: what a folder holds, and whether a run may start from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from headwater.core.errors import ConfigError, ManifestError
from headwater.core.layout import RunLayout
from headwater.core.manifest import Manifest, is_artifact, read_manifest
from headwater.core.run import ModelShape, read_run
from headwater.train.model import recipe_of

MODEL_KEY = "model"
"""Where the manifest of imported weights keeps the model's shape."""
IMPORTED = "imported"
"""What `train.init_from` calls the weights in RUN/init."""
_MAY_DIFFER = {"max_seq_len", "rope_theta", "rope_scaling", "dropout"}
"""What a run may change: none of it is in the weights, and training for a longer context needs it."""


@dataclass(frozen=True)
class Weights:
    """The weights in a folder, as its manifest describes them.

    Attributes:
        path: The folder: a checkpoint, or weights that were imported.
        manifest: Its manifest.
        shape: The model's shape.
        digest: Identity of the weights: SHA-256 over their names, types, shapes and bytes.
    """

    path: Path
    manifest: Manifest
    shape: ModelShape
    digest: str


def describe(path: Path) -> Weights:
    """What the manifest of a folder says of its weights; nothing is unpickled.

    Raises:
        ManifestError: The folder is neither a checkpoint nor imported weights, or its manifest is damaged.
    """
    manifest = read_manifest(path)
    if manifest.kind == "checkpoint":
        info = read_run(path)
        return Weights(path, manifest, info.model, info.weights_digest)
    if manifest.kind == "model" and MODEL_KEY in manifest.config:
        shape = ModelShape.model_validate(manifest.config[MODEL_KEY])
        return Weights(path, manifest, shape, str(manifest.counters["weights_digest"]))
    raise ManifestError(
        f"{path} holds no weights that training can read", found=f"an artifact of kind {manifest.kind}",
        expected="a checkpoint (RUN/train/checkpoints/step-…), or weights that headwater import made (RUN/init)",
    )  # fmt: skip


def initial_weights(run: RunLayout, init_from: str, shape: ModelShape, tokenizer_digest: str) -> Weights:
    """The weights that a run starts from, checked against what the recipe says.

    Args:
        run: The run folder.
        init_from: `train.init_from`; a path is relative to the working directory.
        shape: The model's shape by the recipe.
        tokenizer_digest: Manifest digest of the run's tokenizer.

    Raises:
        ConfigError: The recipe describes another model than the weights are of, or the run has another tokenizer.
        ManifestError: As `describe`.
    """
    path = run.init if init_from == IMPORTED else Path(init_from)
    try:
        found = describe(path)
    except ManifestError as error:
        if init_from == IMPORTED and error.hint:
            error.hint = f"run: headwater import hf FOLDER --run {run.root}"
        elif inside := sorted(each.name for each in path.glob("step-*") if is_artifact(each)):
            error.hint = f"name one of the checkpoints in it: {', '.join(inside)}"
        elif not path.exists():
            error.hint = "train.init_from, as every path in a recipe, is relative to the folder the command runs in"
        raise
    ours, theirs = _comparable(shape), _comparable(found.shape)
    for name in ours:
        if ours[name] != theirs[name]:
            section = yaml.safe_dump({"train": {"model": recipe_of(found.shape)}}, sort_keys=False)
            raise ConfigError(
                f"train.model.{name} is not that of the weights in {path}", found=ours[name], expected=theirs[name],
                hint="the weights need this in the recipe:\n" + section,
            )  # fmt: skip
    made_for = [parent.digest for parent in found.manifest.parents if parent.kind == "tokenizer"]
    if made_for != [tokenizer_digest]:
        raise ConfigError(
            f"the weights in {path} belong to another tokenizer than {run.tokenizer}",
            found=f"tokenizer {tokenizer_digest}", expected=f"tokenizer {', '.join(made_for) or 'unknown'}",
            hint="copy the tokenizer's folder into the run before the tokens are made, or import into this run",
        )  # fmt: skip
    return found


def _comparable(shape: ModelShape) -> dict[str, Any]:
    # The positions that GPT-2 learns are weights.
    values = shape.model_dump(mode="json", exclude=_MAY_DIFFER - ({"max_seq_len"} if shape.family == "gpt2" else set()))
    return {**values, "head_dim": shape.head_width}
