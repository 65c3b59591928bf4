"""At which steps a stretch of tokens is read: the order of a run, inverted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from headwater.core.config import validate
from headwater.core.errors import ConfigError, ManifestError
from headwater.core.layout import RunLayout
from headwater.core.manifest import is_artifact, read_manifest
from headwater.core.mixture import Mixture, available_tokens
from headwater.core.mixture_resolve import recorded_mixture, resolve_mixture, resolve_order
from headwater.core.ramp import StepSamples, step_samples_of
from headwater.core.run import RunInfo, read_run
from headwater.core.skips import KeptOrder, Skips


@dataclass(frozen=True)
class Reading:
    """The steps of one epoch of a source that read a document.

    Attributes:
        epoch: From 0.
        steps: Step numbers from 1, ascending, at most `steps_planned`.
        done: How many of them were done when the newest checkpoint was written.
    """

    epoch: int
    steps: list[int]
    done: int


@dataclass(frozen=True)
class Training:
    """What tracing needs to know about a run's training.

    Attributes:
        order: The order of samples, less what was excluded.
        step_samples: The samples of each step.
        step: Steps done, as far as the newest checkpoint says; 0 before the first.
        steps_planned: Steps in all.
        origin: Which file this was read from, relative to the run folder.
    """

    order: KeptOrder
    step_samples: StepSamples
    step: int
    steps_planned: int
    origin: str

    def sources(self) -> list[str]:
        """The sources of the mixture."""
        return [source.name for source in self.order.sources]

    def readings(self, source: str, token_start: int, token_count: int) -> list[Reading]:
        """The steps that read any of these training tokens, by epoch; empty if the mixture leaves the source out."""
        if source not in self.sources():
            return []
        samples = self.order.invert(
            source, token_start, token_start + token_count, until=self.step_samples.consumed(self.steps_planned)
        )
        if not samples:
            return []
        steps: dict[int, set[int]] = {}
        _, epochs, _ = self.order.locate_many(samples)
        for sample, epoch in zip(samples, epochs.tolist(), strict=True):
            steps.setdefault(epoch, set()).add(self.step_samples.step_of(sample))
        return [
            Reading(epoch, sorted(found), sum(step <= self.step for step in found))
            for epoch, found in sorted(steps.items())
        ]

    def left_out(self, source: str, token_start: int, token_count: int) -> int:
        """How many samples with any of these training tokens a rollback has excluded so far."""
        if source not in self.sources():
            return 0
        return self.order.excluded(source, token_start, token_start + token_count)


def newest_checkpoint(run: RunLayout) -> Path | None:
    """The finished checkpoint of the highest step, or none."""
    found = [path for path in run.checkpoints.glob("step-*") if is_artifact(path)]
    return max(found, key=lambda path: path.name, default=None)


def read_training(run: RunLayout) -> Training | None:
    """The training of a run: from its newest checkpoint, or before the first one from `recipe.yaml`.

    Returns:
        None when there is neither.

    Raises:
        ManifestError: The tokens are not those that the checkpoint was trained on.
        ConfigError: `recipe.yaml` is not valid.
    """
    checkpoint = newest_checkpoint(run)
    if checkpoint is not None:
        info = read_run(checkpoint)
        origin = (checkpoint / "run.json").relative_to(run.root).as_posix()
        return Training(order_of(run, info), info.step_samples, info.step, info.steps_planned, origin)
    if not run.recipe.is_file():
        return None
    return _planned(run)


def order_of(run: RunLayout, info: RunInfo) -> KeptOrder:
    """The order of samples that a checkpoint was trained with, less what was excluded.

    Raises:
        ManifestError: The tokens in the run folder are others than those that the checkpoint names.
    """
    for source, digest in info.tokens.items():
        found = read_manifest(run.tokens(source)).digest
        if found != digest:
            raise ManifestError(
                f"the tokens of {source} are not those that this run was trained on",
                found=f"digest {found}", expected=f"digest {digest}",
                hint="train again on these tokens (headwater train run), or restore the old ones",
            )  # fmt: skip
    return KeptOrder(resolve_order(run, recorded_mixture(info), info.seq_len, info.seed), Skips.of(info.skips))


def _planned(run: RunLayout) -> Training | None:
    """Reads the plan without the train package, which need not be installed: only four of its keys."""
    recipe: dict[str, Any] = yaml.safe_load(run.recipe.read_text(encoding="utf-8")) or {}
    train: dict[str, Any] = recipe.get("train") or {}
    if not train or not recipe.get("mixture"):
        return None
    mixture = validate(Mixture, recipe["mixture"], "mixture")
    if not available_tokens(run) or not all(is_artifact(run.tokens(source)) for source in mixture.named()):
        return None
    plan = [train.get(key) for key in ("seq_len", "global_batch", "steps")]
    if not all(isinstance(value, int) for value in plan):
        raise ConfigError(f"{run.recipe} has no whole plan of training", found=f"seq_len, global_batch, steps = {plan}",
                          expected="three whole numbers", hint="run: headwater line run RECIPE --run DIR")  # fmt: skip
    seq_len, global_batch, steps = (int(value or 0) for value in plan)
    step_samples = step_samples_of(train, global_batch)
    mixture = resolve_mixture(run, mixture, samples=step_samples.consumed(steps), seq_len=seq_len)
    order = resolve_order(run, mixture, seq_len, int(recipe.get("seed", 0)))
    return Training(KeptOrder(order, Skips()), step_samples, 0, steps, run.recipe.name)


def ranges(numbers: Iterable[int], limit: int = 12) -> str:
    """Ascending numbers in short form: `3, 7–9, 12 (5 in all)` shows runs and stops after `limit` of them."""
    runs: list[list[int]] = []
    count = 0
    for number in numbers:
        count += 1
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    parts = [str(a) if a == b else f"{a}–{b}" if b > a + 1 else f"{a}, {b}" for a, b in runs[:limit]]
    more = ", …" if len(runs) > limit else ""
    total = f" ({count:,} in all)" if count > 3 else ""
    return ", ".join(parts) + more + total
