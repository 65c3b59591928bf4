"""Loads a training checkpoint (DCP), or a model of transformers from a Hugging Face folder, ready to score.

A Headwater checkpoint is read as it lies on disk, whatever layout wrote it: no conversion, no process group, no
training framework and no transformers. Every file is checked against the checkpoint's manifest before it is opened.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from headwater.core.errors import ManifestError
from headwater.core.huggingface import FAMILIES, rows_to_huggingface, stored_prefix, weights_of
from headwater.core.manifest import Manifest, read_manifest
from headwater.core.run import NOT_LEFT_TO_RIGHT, ModelShape, RunInfo, read_run
from headwater.core.storage import file_sha256
from headwater.eval.config import Precision
from headwater.eval.dcp import read_index, read_tensor
from headwater.eval.decoder import Decoder, Model
from headwater.eval.errors import UnusableCheckpoint

_DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_USUAL_LENGTH = 2048  # of a model that names none (Bloom, MPT), as in lm-eval


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A model ready to score, and what is known of where it came from.

    Attributes:
        path: The folder it was read from.
        model: The model, in evaluation mode, in the precision asked for.
        weights_digest: Identity of the weights (for a Headwater checkpoint the one in its run.json).
        run: The checkpoint's run.json; None for a Hugging Face folder.
        manifest: The checkpoint's manifest; None for a Hugging Face folder.
    """

    path: Path
    model: Model
    weights_digest: str
    run: RunInfo | None
    manifest: Manifest | None

    @property
    def max_length(self) -> int:
        """Most tokens that the model reads."""
        found = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return int(found or _USUAL_LENGTH)


def load(path: Path, device: str = "cpu", precision: Precision = "float32") -> LoadedCheckpoint:
    """Loads whichever kind of checkpoint lies in `path`.

    Args:
        path: A Headwater checkpoint (`…/checkpoints/step-…`) or a Hugging Face folder (with `config.json`).
        device: Where the weights go, `cpu` or `cuda`.
        precision: Of the weights and of what is computed with them.

    Raises:
        UnusableCheckpoint: The folder is neither, its weights do not fit its description, or are no finite numbers, or
            the model was trained to read no text from left to right.
        ManifestError: A Headwater checkpoint that is unfinished, damaged or of another schema version.
    """
    if (path / "run.json").is_file() or (path / ".metadata").is_file():
        loaded = load_checkpoint(path, device, precision)
    elif (path / "config.json").is_file():
        loaded = load_huggingface(path, device, precision)
    elif (path / "adapter_config.json").is_file():
        raise UnusableCheckpoint(
            f"{path} holds an adapter (LoRA or the like), which cannot be evaluated by itself yet",
            hint="merge it into its model and give that folder: peft's merge_and_unload(), then save_pretrained()",
        )
    else:
        raise UnusableCheckpoint(
            f"{path} holds no model",
            found="neither run.json (a Headwater checkpoint) nor config.json (a Hugging Face folder)",
            hint="give the folder of one checkpoint, for example RUN/train/checkpoints/step-00000100",
        )
    _require_finite(path, loaded.model)
    return loaded


def load_checkpoint(path: Path, device: str = "cpu", precision: Precision = "float32") -> LoadedCheckpoint:
    """Loads a Headwater checkpoint. See `load`."""
    manifest = verify_files(path)
    run = read_run(path)
    if run.model.family not in FAMILIES:
        raise UnusableCheckpoint(
            f"{path} holds a model that evaluation cannot load", found=f"family {run.model.family}",
            expected=" or ".join(FAMILIES),
        )  # fmt: skip
    if run.objective in NOT_LEFT_TO_RIGHT:
        raise UnusableCheckpoint(
            f"{path} holds a model that reads no text from left to right: no score would mean anything",
            found=f"train.objective {run.objective}",
            expected="an objective that trains it, as causal, causal_and_masked, prefix, fill_in_the_middle or ul2",
        )  # fmt: skip
    state = to_transformers(read_weights(path, run.model), run.model, _DTYPES[precision])
    model = Decoder(run.model, state)
    return LoadedCheckpoint(path, _placed(model, device), run.weights_digest, run, manifest)


def load_huggingface(path: Path, device: str = "cpu", precision: Precision = "float32") -> LoadedCheckpoint:
    """Loads a causal language model from a Hugging Face folder, without the network. See `load`."""
    # Imported here: it takes as long as all the rest of a short evaluation.
    from transformers import AutoModelForCausalLM

    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path, dtype=_DTYPES[precision], local_files_only=True, output_loading_info=True, trust_remote_code=False
        )
        model, told = loaded
    except Exception as error:  # damaged files make transformers and safetensors raise anything
        raise UnusableCheckpoint(
            f"{path} cannot be loaded as a Hugging Face model", found=f"{type(error).__name__}: {error}",
            expected="a config.json that transformers knows, and whole files of weights",
            hint="export or download the model again",
        ) from error  # fmt: skip
    # transformers gives weights that are not there random values.
    if absent := sorted(str(name) for kind in ("missing_keys", "mismatched_keys") for name in told[kind]):
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        raise UnusableCheckpoint(
            f"{path} lacks weights of the model that its config.json describes",
            found=f"none that fit for {', '.join(absent[:5])}{more}",
            expected="every weight of a causal language model",
            hint="export or download the model again",
        )  # fmt: skip
    digest = _state_digest(model.state_dict())
    return LoadedCheckpoint(path, _placed(model, device), digest, None, None)


def verify_files(path: Path) -> Manifest:
    """Checks a checkpoint's files against its manifest: kind, presence, size and SHA-256.

    Raises:
        ManifestError: Naming the first file that is missing, changed or not listed.
    """
    manifest = read_manifest(path)
    if manifest.kind != "checkpoint":
        raise ManifestError(f"{path} is not a checkpoint", found=f"an artifact of kind {manifest.kind}")
    for entry in manifest.files:
        file = path / entry.path
        if not file.is_file():
            raise ManifestError(f"{file} is missing", hint="use another checkpoint, or train again from an earlier one")
        found = file_sha256(file)
        if found != entry.sha256:
            raise ManifestError(
                f"{file} was changed after it was written",
                found=f"sha256 {found}",
                expected=f"sha256 {entry.sha256}",
                hint="use another checkpoint, or restore this one from a copy",
            )
    # What the manifest does not vouch for must not be opened.
    listed = {entry.path for entry in manifest.files}
    extra = sorted(p.name for p in path.iterdir() if p.name == ".metadata" or p.suffix == ".distcp")
    if unlisted := [name for name in extra if name not in listed]:
        raise ManifestError(f"{path} holds files that its manifest does not list", found=", ".join(unlisted))
    return manifest


def read_weights(path: Path, shape: ModelShape) -> dict[str, torch.Tensor]:
    """Reads the model's tensors, and nothing else, out of a DCP folder of any layout.

    Returns:
        Training weight name → tensor, on the CPU, in the dtype they were saved in.

    Raises:
        UnusableCheckpoint: A weight of the described shape is absent, or the folder is no DCP checkpoint.
    """
    index = read_index(path)
    prefix = stored_prefix(index)
    wanted = weights_of(shape)
    missing = [weight.name for weight in wanted if prefix is None or prefix + weight.name not in index]
    if prefix is None or missing:
        raise UnusableCheckpoint(
            f"{path} lacks weights of the model that its run.json describes",
            found=f"{len(index)} entries, for example {', '.join(sorted(index)[:3])}",
            expected=f"{', '.join(sorted(missing)[:5])}{' …' if len(missing) > 5 else ''}",
        )
    found: dict[str, torch.Tensor] = {}
    for weight in wanted:
        stored = index[prefix + weight.name]
        if stored is None or stored.size != weight.size:
            raise UnusableCheckpoint(
                f"{weight.name} in {path} is not as its run.json describes it",
                found="no tensor" if stored is None else f"shape {stored.size}", expected=f"shape {weight.size}",
            )  # fmt: skip
        found[weight.name] = read_tensor(path, weight.name, stored)
    return found


def to_transformers(
    weights: dict[str, torch.Tensor], shape: ModelShape, dtype: torch.dtype = torch.float32
) -> dict[str, torch.Tensor]:
    """Renames training weights and reorders the rotary dimensions (see `headwater.core.huggingface`)."""
    state: dict[str, torch.Tensor] = {}
    for weight in weights_of(shape):
        tensor, rows = weights[weight.name], rows_to_huggingface(weight)
        state[weight.hf_name] = (tensor if rows is None else tensor[torch.from_numpy(rows)]).to(dtype)
    return state


def _require_finite(path: Path, model: Model) -> None:
    wrong = [name for name, tensor in model.named_parameters() if not bool(tensor.isfinite().all())]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UnusableCheckpoint(
            f"the weights in {path} are not all finite numbers (NaN or infinite): no score would mean anything",
            found=f"{', '.join(wrong[:3])}{more}", hint="evaluate a checkpoint from before the training went wrong",
        )  # fmt: skip


def _placed(model: Model, device: str) -> Model:
    torch.nn.Module.to(model, torch.device(device))
    return model.eval()


def _state_digest(state: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        # The same numbers have the same digest in every precision; numpy has no bfloat16.
        values = tensor.detach().cpu()
        values = values.float() if values.is_floating_point() else values
        digest.update(f"{name}|{values.dtype}|{tuple(values.shape)}|".encode())
        digest.update(values.contiguous().numpy().tobytes())
    return digest.hexdigest()
