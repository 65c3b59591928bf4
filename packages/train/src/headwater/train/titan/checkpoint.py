"""Checkpoints: torchtitan's manager over torch's DCP, each a Headwater artifact with a manifest written last.

The same state gives the same bytes, in every folder and at every time, so that two runs of one recipe and seed have
equal checkpoints.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.stateful import Stateful
from torch.distributed.tensor import DTensor
from torchtitan.components.checkpointer.base import MODEL
from torchtitan.components.checkpointer.dcp import AsyncMode, CheckpointManager

from headwater.core.errors import TrainError
from headwater.core.manifest import ArtifactWriter, Manifest, is_artifact
from headwater.core.run import RUN_FILE, RunInfo
from headwater.core.storage import atomic_write, storage_errors
from headwater.train import PRODUCER
from headwater.train.dcp import ReproducibleWriter
from headwater.train.inputs import Inputs
from headwater.train.resume import checkpoint_folders


class HeadwaterCheckpoints(CheckpointManager):
    """torchtitan's checkpoint manager with our folders, writer, manifest and retention."""

    @dataclass(kw_only=True, slots=True)
    class Config(CheckpointManager.Config):
        """As the base, and the objects of the run that are no configuration (leading underscore)."""

        _inputs: Any = None

    def __init__(self, config: Config, **arguments: Any) -> None:
        self.inputs: Inputs = config._inputs
        self.saved: dict[int, float | None] = {}
        super().__init__(config, **arguments)
        self.states["rng"] = RandomState()

    def save_artifact(self, info: Callable[[str], RunInfo]) -> tuple[Manifest | None, float]:
        """Saves the whole state as an artifact of kind "checkpoint".

        Args:
            info: Makes `run.json` from the weights' digest.

        Returns:
            The manifest (on rank 0) and the seconds it took.

        Raises:
            TrainError: A tensor is not finite; nothing is written then.
            StorageError: The disk refused; there is no manifest then.
        """
        began = time.monotonic()
        state = _sorted(self._flattened_model_states_sd())
        digest = self._weights_digest(state)
        run = info(digest)
        folder = self.inputs.run.checkpoint(run.step)
        writer = None
        if dist.get_rank() == 0:
            shutil.rmtree(folder, ignore_errors=True)
            writer = ArtifactWriter(
                folder, kind="checkpoint", name=f"step {run.step}", producer=PRODUCER, config=run.config,
                parents=self.inputs.parents_for(folder),
            )  # fmt: skip
            writer.begin()
        with storage_errors("write", folder):
            try:
                self.dcp_save(state, checkpoint_id=str(folder), async_mode=AsyncMode.DISABLED)
            except dcp.api.CheckpointException as error:
                # torch wraps what each rank raised; a full disk should read as one.
                causes = [cause for cause, _ in error.failures.values()]
                raise next((cause for cause in causes if isinstance(cause, OSError)), error) from error
        manifest = None
        if writer is not None:
            atomic_write(folder / RUN_FILE, run.dump())
            counters: dict[str, Any] = {"step": run.step, "samples": run.samples, "weights_digest": digest}
            if run.validation_loss is not None:
                counters["validation_loss"] = run.validation_loss
                counters["validation_bits_per_byte"] = run.validation_bits_per_byte
            manifest = writer.commit(counters)
        dist.barrier()
        return manifest, time.monotonic() - began

    def retained(self) -> list[tuple[int, Path]]:
        """Finished checkpoints, in order of step."""
        return [(step, path) for step, path in checkpoint_folders(self.inputs.run.checkpoints) if is_artifact(path)]

    def dcp_save(
        self, state_dict: dict[str, Any], checkpoint_id: str, async_mode: AsyncMode,
        enable_garbage_collection: bool = False, to_hf: bool = False,
    ) -> None:  # fmt: skip
        """As torchtitan's, with the reproducible writer."""
        dcp.save(state_dict, storage_writer=ReproducibleWriter(checkpoint_id, thread_count=1))

    def _create_checkpoint_id(self, step: int, folder: str = "") -> str:
        return str(self.inputs.run.checkpoint(step))

    def _weights_digest(self, state: dict[str, Any]) -> str:
        """SHA-256 over the model's tensors; on the way, every tensor of the state is checked to be finite."""
        names = self.states[MODEL].state_dict().keys()
        digest = hashlib.sha256()
        for name in sorted(names):
            tensor = _whole(state[name])
            _require_finite(name, tensor)
            digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
            digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
        for name, value in _tensors(state["optimizer"], "optimizer"):
            _require_finite(name, value)
        return digest.hexdigest()


class RandomState(Stateful):
    """The random number generators. Nothing draws after the weights are made, but what is added later may."""

    def state_dict(self) -> dict[str, Any]:
        """State of the CPU generator and, where there is one, of the CUDA generator."""
        state = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores them."""
        torch.set_rng_state(state_dict["cpu"].cpu())
        if "cuda" in state_dict and torch.cuda.is_available():
            torch.cuda.set_rng_state(state_dict["cuda"].cpu())


def _sorted(value: Any) -> Any:
    """The state with its keys in order at every level: after a resume they come in another order than before."""
    if isinstance(value, Stateful) and not isinstance(value, dict):
        value = value.state_dict()
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return value


def _tensors(value: Any, name: str) -> list[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        return [(name, _local(value))]
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in _tensors(item, f"{name}.{key}")]
    return []


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu()


def _require_finite(name: str, tensor: torch.Tensor) -> None:
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise TrainError(
            f"{name} holds values that are not finite: no checkpoint is written",
            hint="the last good checkpoint stays; lower train.optimizer.learning_rate and run again with --fresh",
        )
