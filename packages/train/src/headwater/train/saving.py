"""Writing one checkpoint, on every rank: check, DCP files, digests, manifest last, then what retention lets go."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from headwater.core.errors import TrainError
from headwater.core.manifest import ArtifactWriter, Manifest, is_artifact
from headwater.core.run import RUN_FILE, RunInfo
from headwater.core.skips import KeptOrder
from headwater.core.storage import atomic_write, storage_errors
from headwater.train import PRODUCER
from headwater.train.dcp import save_state, weights_digest
from headwater.train.inputs import Inputs
from headwater.train.mirror import Mirror
from headwater.train.resume import is_between, remove_checkpoint, replace, replacement, to_delete
from headwater.train.together import on_main


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was written.

    Attributes:
        info: Its `run.json`.
        digest: Digest of its manifest.
        bytes: Size of its files.
        seconds: From the end of the step to the manifest.
        deleted: Steps of the checkpoints that went for it.
    """

    info: RunInfo
    digest: str
    bytes: int
    seconds: float
    deleted: Sequence[int]


@dataclass
class Saving:
    """A checkpoint that is being written; nothing of it may change meanwhile.

    Attributes:
        inputs: The run's inputs.
        state: This rank's part of the state.
        draft: `run.json`, less the digests.
        order: The order that it was trained in.
        others: Names of the state that are no weights.
        kept: Step → `run.json` of the checkpoints that there are.
        superseded: Steps of later checkpoints, which go once this one is whole.
        began: When the step ended, on the monotonic clock.
        group: The process group that the ranks talk over.
        sync_logs: Puts the logs on disk that the checkpoint relies on.
    """

    inputs: Inputs
    state: dict[str, Any]
    draft: RunInfo
    order: KeptOrder
    others: tuple[str, ...]
    kept: dict[int, RunInfo]
    superseded: Sequence[int]
    began: float
    group: Any
    sync_logs: Callable[[], None]

    def run(self) -> Saved:
        """Writes it; every rank has to, and all of them fail when one does.

        Raises:
            TrainError: A tensor is not finite; nothing is written then.
            StorageError: The disk refused; there is no manifest then.
        """
        self._require_finite()
        folder = on_main(self._begin, self.group)
        with storage_errors("write", folder):
            save_state(self.state, folder, self.group)
        manifest, deleted = on_main(lambda: self._finish(folder), self.group)
        return Saved(self.draft, manifest.digest, manifest.total_bytes(), time.monotonic() - self.began, deleted)

    def _require_finite(self) -> None:
        bad = next((name for name, tensor in _tensors(self.state) if not _is_finite(tensor)), None)
        found: list[str | None] = [None] * dist.get_world_size(self.group)
        dist.all_gather_object(found, bad, group=self.group)
        for name in found:
            if name is not None:
                raise TrainError(
                    f"{name} holds values that are not finite: no checkpoint of step {self.draft.step} is written",
                    hint="the last good checkpoint stays; lower train.optimizer.learning_rate and run again with "
                    "--fresh",
                )

    def _writer(self, folder: Path) -> ArtifactWriter:
        return ArtifactWriter(
            folder, kind="checkpoint", name=f"step {self.draft.step}", producer=PRODUCER, config=self.draft.config,
            parents=self.inputs.parents_for(folder),
        )  # fmt: skip

    def _begin(self) -> Path:
        """Where it is written: beside a whole checkpoint of the same step, which stays until this one is whole."""
        folder = self.inputs.run.checkpoint(self.draft.step)
        folder = replacement(folder) if is_artifact(folder) else folder
        shutil.rmtree(folder, ignore_errors=True)
        self._writer(folder).begin()
        return folder

    def _finish(self, folder: Path) -> tuple[Manifest, list[int]]:
        digest = weights_digest(folder, self.others)
        order_digest = self.order.digest(self.draft.samples)
        run = self.draft.model_copy(update={"weights_digest": digest, "order_digest": order_digest})
        atomic_write(folder / RUN_FILE, run.dump())
        counters: dict[str, Any] = {"step": run.step, "samples": run.samples, "weights_digest": digest}
        if run.validation_loss is not None:
            counters["validation_loss"] = run.validation_loss
        if run.validation_bits_per_byte is not None:
            counters["validation_bits_per_byte"] = run.validation_bits_per_byte
        self.sync_logs()
        manifest = self._writer(folder).commit(counters)
        if folder != (final := self.inputs.run.checkpoint(run.step)):
            replace(final)
        policy, there = self.inputs.config.checkpoint, {**self.kept, run.step: run}
        deleted = to_delete(
            [(step, info.validation_loss) for step, info in there.items()], policy.keep_last, policy.keep_best,
            policy.keep_every, between={step for step, info in there.items() if is_between(info)},
        )  # fmt: skip
        deleted += self.superseded
        if policy.mirror is not None:
            layout = self.inputs.run
            Mirror(policy.mirror).sync(layout.checkpoints, there.keys() - set(deleted), layout.train, run.step)
        for step in deleted:
            remove_checkpoint(self.inputs.run.checkpoint(step))
        return manifest, deleted


def _tensors(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value.to_local() if isinstance(value, DTensor) else value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _tensors(item, f"{name}.{key}" if name else str(key))


def _is_finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
