"""Checkpoints: torchtitan's manager over torch's DCP, each a Headwater artifact with a manifest written last.

The same state gives the same bytes, in every folder and at every time, so that two runs of one recipe and seed have
equal checkpoints. What is written, and how, is in `train.saving`; here is when.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.stateful import Stateful
from torchtitan.components.checkpointer.base import MODEL
from torchtitan.components.checkpointer.dcp import CheckpointManager

from headwater.core.console import warn
from headwater.core.manifest import is_artifact
from headwater.core.run import RunInfo
from headwater.core.skips import KeptOrder, Skips
from headwater.train.inputs import Inputs
from headwater.train.resume import checkpoint_folders
from headwater.train.saving import Saved, Saving
from headwater.train.staging import HostCopy

TIMEOUT = timedelta(hours=2)
"""For which ranks wait for one another while a checkpoint is written."""


class HeadwaterCheckpoints(CheckpointManager):
    """torchtitan's checkpoint manager with our folders, writer, manifest and retention.

    With `checkpoint.background`, training goes on as soon as the state is copied to host memory; a thread writes it.
    At most one checkpoint is being written. The threads of several ranks talk over a process group of their own.

    Attributes:
        saved: Step → `run.json` of every checkpoint that is there, finished and reported.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(CheckpointManager.Config):
        """As the base, and the objects of the run that are no configuration (leading underscore)."""

        _inputs: Any = None

    def __init__(self, config: Config, **arguments: Any) -> None:
        self.inputs: Inputs = config._inputs
        self.saved: dict[int, RunInfo] = {}
        self._pending: Future[Saved] | None = None
        self._has_written = False
        super().__init__(config, **arguments)
        self.states["rng"] = RandomState()
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        # One process has nobody to talk to, and each group of gloo's wakes up a hundred times a second.
        alone = dist.get_world_size() == 1 and dist.get_backend() == "gloo"
        self._group = dist.group.WORLD if alone else dist.new_group(backend="gloo", timeout=TIMEOUT)
        on_gpu = torch.cuda.is_available() and self.inputs.config.device != "cpu"
        self._host = HostCopy(pinned=on_gpu) if self.inputs.config.checkpoint.background else None

    def start(self, draft: RunInfo, sync_logs: Callable[[], None], superseded: Sequence[int] = ()) -> None:
        """Starts to save the whole state as an artifact of kind "checkpoint"; `take` says how that went.

        The state may change as soon as this returns.

        Args:
            draft: `run.json`, less the digests.
            sync_logs: Puts the logs on disk that the checkpoint relies on.
            superseded: Steps of later checkpoints, which go once this one is whole.
        """
        began = time.monotonic()
        self.wait()
        state = _sorted(self._flattened_model_states_sd())
        if self._host is not None:
            state = self._host.take(state)
        others = tuple(name for name in self.states if name != MODEL)
        order = KeptOrder(self.inputs.order, Skips.of(draft.skips))
        saving = Saving(
            self.inputs, state, draft, order, others=others, kept=dict(self.saved), superseded=superseded,
            began=began, group=self._group, sync_logs=sync_logs,
        )  # fmt: skip
        self._pending = self._thread.submit(saving.run)
        if self._host is None:
            self.wait()

    def wait(self) -> None:
        """Waits until nothing is being written."""
        if self._pending is not None:
            self._pending.exception()

    @property
    def failed(self) -> bool:
        """Whether a checkpoint could not be written, as far as this rank knows by now."""
        return self._pending is not None and self._pending.done() and self._pending.exception() is not None

    @property
    def has_written(self) -> bool:
        """Whether a checkpoint was written since the run began or went on, taken or not."""
        pending = self._pending
        done = pending is not None and pending.done() and pending.exception() is None
        return self._has_written or done

    def take(self, *, wait: bool) -> Saved | None:
        """The checkpoint that was written since the last call, if there is one.

        Args:
            wait: Whether to wait for one that is being written. All ranks get what it failed with then; without, a
                failure is left for a call with it, so that ranks do not part.

        Raises:
            TrainError: A tensor is not finite; nothing was written then.
            StorageError: The disk refused; there is no manifest then.
        """
        if self._pending is None or (not wait and (not self._pending.done() or self._pending.exception())):
            return None
        pending, self._pending = self._pending, None
        saved = pending.result()
        self._has_written = True
        self.saved[saved.info.step] = saved.info
        for step in saved.deleted:
            self.saved.pop(step, None)
        return saved

    def load(self, step: int = -1) -> bool:
        """Restores the state of a step; what is being written is finished first."""
        self.wait()
        return super().load(step)

    def load_weights(self, path: Path) -> None:
        """Takes the weights in a folder, of any layout and type, and nothing else of it."""
        weights = dict(self.states[MODEL].state_dict())
        tied = weights.pop("lm_head.weight", None) if self.inputs.shape.tied else None
        dcp.load(weights, checkpoint_id=str(path))
        if tied is not None:  # imported weights have it once
            weights["lm_head.weight"] = weights["tok_embeddings.weight"]
        self.states[MODEL].load_state_dict(weights)

    def retained(self) -> list[tuple[int, Path]]:
        """Finished checkpoints, in order of step."""
        return [(step, path) for step, path in checkpoint_folders(self.inputs.run.checkpoints) if is_artifact(path)]

    def _close(self) -> None:
        self._thread.shutdown(wait=True)
        if self._pending is not None and (error := self._pending.exception()):
            warn(f"the last checkpoint could not be written: {error}")
        self._pending = None
        super()._close()

    def _create_checkpoint_id(self, step: int, folder: str = "") -> str:
        return str(self.inputs.run.checkpoint(step))


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
