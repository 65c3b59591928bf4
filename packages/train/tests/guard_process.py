"""Trains on data that does harm.

While a batch holds any of the samples `first` to `last` of the order, its loss reads higher by 6 (kind "loss"), or its
gradient is not a number ("nan"). With a rank only that process sees it. The weights are not harmed, so that a healed
run must equal one that never had those samples.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headwater.train import titan
from headwater.train.guard.stall import StallWatch
from headwater.train.runner import train


def harm(first: int, last: int, kind: str, rank: int | None = None) -> None:
    """Makes the samples `first` to `last` of the order harmful in this process."""
    from headwater.train.titan.trainer import HeadwaterTrainer

    passes, summed = HeadwaterTrainer._forward_backward, HeadwaterTrainer._summed

    def harmful(self: HeadwaterTrainer) -> bool:
        batch = self.inputs.config.global_batch
        samples = self.dataloader.skips.indices(range((self.step - 1) * batch, self.step * batch))
        here = rank is None or rank == int(os.environ.get("RANK", "0"))
        return here and any(first <= sample <= last for sample in samples)

    def poisoned(self: HeadwaterTrainer, *arguments: Any) -> Any:
        found = passes(self, *arguments)
        if kind == "nan" and harmful(self):
            next(p.grad for part in self.model_parts for p in part.parameters() if p.grad is not None).mul_(math.nan)
        return found

    def raised(self: HeadwaterTrainer, *arguments: Any) -> Any:
        total, nats = summed(self, *arguments)
        return (total + 6 if kind == "loss" and harmful(self) else total), nats

    HeadwaterTrainer._forward_backward, HeadwaterTrainer._summed = poisoned, raised  # type: ignore[method-assign]


def hang(at: int) -> None:
    """Makes this process hang in a step, for longer than any recipe allows: its clock goes on by a day at once."""
    from headwater.train.titan import trainer

    ahead = [0.0]

    class Watch(StallWatch):
        def __init__(self, seconds: float, on_stall: Callable[[float], None]) -> None:
            super().__init__(seconds, on_stall, clock=lambda: time.monotonic() + ahead[0])

        def check(self) -> float:
            return min(super().check(), 0.05)

    passes = trainer.HeadwaterTrainer._forward_backward

    def hanging(self: Any, *arguments: Any) -> Any:
        if self.step == at:
            self.checkpointer.wait()  # a day is enough for what is written in the background
            ahead[0] = 86_400.0
            threading.Event().wait()
        return passes(self, *arguments)

    trainer.StallWatch = Watch  # type: ignore[misc]
    trainer.HeadwaterTrainer._forward_backward = hanging  # type: ignore[method-assign]


def hung(recipe: Path, run: Path, at: int) -> None:
    """Trains, and hangs in a step."""
    titan.start("cpu", 1, 1)
    hang(at)
    train(recipe, run)


def say_weights() -> None:
    """Prints a digest of this process's weights when training is over."""
    from headwater.train.titan.trainer import HeadwaterTrainer

    original = HeadwaterTrainer._loop

    def told(self: HeadwaterTrainer, *arguments: Any) -> str:
        state = original(self, *arguments)
        digest = hashlib.sha256()
        for part in self.model_parts:
            for parameter in part.parameters():
                whole = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
                digest.update(whole.detach().numpy().tobytes())
        said = f"weights {digest.hexdigest()} skips {self.dataloader.skips.as_json()}\n"
        os.write(1, said.encode())  # at once: the processes share the pipe
        return state

    HeadwaterTrainer._loop = told  # type: ignore[method-assign]


def main(recipe: Path, run: Path, first: int, last: int, kind: str, rank: int | None = None) -> None:
    """Trains with harm, as one process of a group."""
    titan.start("cpu", int(os.environ.get("WORLD_SIZE", "1")), 1)
    harm(first, last, kind, rank)
    say_weights()
    train(recipe, run)
