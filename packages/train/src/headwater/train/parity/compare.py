"""Trains layouts and holds them against one process: the same losses, step by step."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from headwater.core import metrics as names
from headwater.core.config import dump_yaml, load_section
from headwater.core.console import progress
from headwater.core.errors import ConfigError, TrainError
from headwater.core.layout import RunLayout
from headwater.core.run import read_run
from headwater.train import synthetic
from headwater.train.config import TrainConfig
from headwater.train.losses import read_losses
from headwater.train.parity.launch import Job, launch
from headwater.train.parity.layouts import BASELINE, VOCAB, Layout, recipe

TOLERANCE = 1e-5
"""Largest difference in loss, in nats a token, that counts as the same: rounding of sums in float32 is below it."""

DOCUMENTS = 400


@dataclass(frozen=True)
class Row:
    """What came of one layout.

    Attributes:
        layout: Its name.
        processes: How many it took.
        state: "same", "different", "failed" or "refused".
        loss_differences: Of each step, in nats a token, against one process.
        grad_norm_difference: The largest, as a share of the norm.
        validation_difference: After the last step, in nats a token; none without held-out documents.
        tokens_per_second: Of the median step, all processes together; none when there was only one.
        reason: Why it was refused or failed.
    """

    layout: str
    processes: int
    state: str
    loss_differences: list[float] = field(default_factory=list)
    grad_norm_difference: float | None = None
    validation_difference: float | None = None
    tokens_per_second: float | None = None
    reason: str | None = None

    @property
    def loss_difference(self) -> float | None:
        """The largest of any step."""
        return max(self.loss_differences, default=None)

    @property
    def good(self) -> bool:
        """Whether there is nothing to complain about: a layout that the model does not fit is refused rightly."""
        return self.state in ("same", "refused")

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "loss_difference": self.loss_difference}


def compare(
    layouts: Sequence[Layout], steps: int, *, family: str = "llama3", own: tuple[Path | str, Path] | None = None,
    overrides: Sequence[str] = (),
) -> list[Row]:  # fmt: skip
    """Trains one process and every layout from the same initial weights on the same samples.

    Args:
        layouts: The layouts; those that need a mixture of experts get one, unless the recipe is one's own.
        steps: Optimizer steps.
        family: Of the built-in model.
        own: A recipe and a run folder with its tokens, in the place of the built-in ones.
        overrides: Further overrides of the recipe.

    Raises:
        ConfigError: The recipe is wrong, whatever the layout.
        TrainError: One process failed, so there is nothing to compare with.
    """
    rows: list[Row] = []
    with _workplace(own) as (work, source), progress(len(layouts), "parity") as bar:
        kinds = groupby(sorted(layouts, key=lambda layout: layout.experts), lambda layout: _family(layout, family, own))
        for kind, members in kinds:
            file = own[0] if own else _built_in(work, kind, steps)
            shared = [f"train.steps={steps}", "train.precision=float32", "train.init_from=null", *overrides]
            group = Group(work / kind, source, file, [*shared, *_quiet(steps)], steps, built_in=own is None)
            baseline = group.baseline()
            todo = [layout for layout in members if layout != BASELINE]
            if BASELINE in layouts and kind == _family(BASELINE, family, own):
                rows.append(baseline)
                bar.advance(1)
            for part in _by_processes(todo):
                for row in group.measure(part):
                    rows.append(row)
                    bar.advance(1, f"{row.layout}: {row.state}")
    order = {layout.name: place for place, layout in enumerate(layouts)}
    return sorted(rows, key=lambda row: order[row.layout])


@dataclass
class Group:
    """The layouts of one model: one recipe, and what one process makes of it.

    Attributes:
        work: Where their run folders are made.
        source: The run folder with tokenizer and tokens.
        recipe: The recipe.
        overrides: Of the recipe, for all of them.
        steps: Optimizer steps.
        built_in: Whether the recipe is the built-in one.
    """

    work: Path
    source: Path
    recipe: Path | str
    overrides: list[str]
    steps: int
    built_in: bool

    def baseline(self) -> Row:
        """Trains one process.

        Raises:
            TrainError: It failed.
        """
        load_section("train", TrainConfig, self.recipe, self._overrides(BASELINE))
        job = self._job(BASELINE)
        if failed := launch([job], 1, self.work / "log.txt"):
            raise TrainError("training on one process failed: there is nothing to compare with", found=failed[job.run])
        return self._row(BASELINE)

    def measure(self, layouts: Sequence[Layout]) -> list[Row]:
        """Trains layouts of one number of processes; some may be refused, some may fail."""
        rows: dict[str, Row] = {}
        jobs: dict[str, Job] = {}
        for layout in layouts:
            try:
                load_section("train", TrainConfig, self.recipe, self._overrides(layout))
            except ConfigError as error:
                rows[layout.name] = Row(layout.name, layout.processes, "refused", reason=str(error.expected or error))
                continue
            jobs[layout.name] = self._job(layout)
        failed = launch(list(jobs.values()), layouts[0].processes, self.work / "log.txt")
        for layout in layouts:
            if layout.name in jobs:
                reason = failed.get(jobs[layout.name].run)
                failure = Row(layout.name, layout.processes, "failed", reason=reason)
                rows[layout.name] = failure if reason is not None else self._row(layout)
        return [rows[layout.name] for layout in layouts]

    def _job(self, layout: Layout) -> Job:
        run = RunLayout(self.work / layout.name)
        run.root.mkdir(parents=True)
        for name in ("tokenizer", "tokens"):
            (run.root / name).symlink_to((self.source / name).resolve(), target_is_directory=True)
        return Job(self.recipe, run.root, self._overrides(layout))

    def _overrides(self, layout: Layout) -> list[str]:
        """What a recipe of one's own says about its layout does not count."""
        micro = [f"train.micro_batch={layout.micro_batch}"] if self.built_in else []
        return [*self.overrides, *micro, "train.parallel={}", *layout.overrides]

    def _row(self, layout: Layout) -> Row:
        mine, reference = (self._figures(name) for name in (layout.name, BASELINE.name))
        losses = [abs(left - right) for left, right in zip(mine["loss"], reference["loss"], strict=True)]
        norms = [
            abs(left - right) / right for left, right in zip(mine["grad_norm"], reference["grad_norm"], strict=True)
        ]
        validation = None
        if mine["validation"] is not None and reference["validation"] is not None:
            validation = abs(mine["validation"] - reference["validation"])
        same = max([*losses, validation or 0.0]) <= TOLERANCE
        return Row(
            layout.name, layout.processes, "same" if same else "different", losses, max(norms), validation,
            mine["speed"],
        )  # fmt: skip

    def _figures(self, name: str) -> dict[str, Any]:
        run = RunLayout(self.work / name)
        rows = read_losses(run.train / "losses.jsonl")
        speeds = [
            row[names.TRAIN_THROUGHPUT.name]
            for row in map(json.loads, (run.train / "metrics.jsonl").read_text().splitlines())
            if row.get(names.TRAIN_THROUGHPUT.name) and row["step"] > 1
        ]
        return {
            "loss": [row["loss"] for row in rows], "grad_norm": [row["grad_norm"] for row in rows],
            "validation": read_run(run.checkpoint(self.steps)).validation_loss,
            "speed": statistics.median(speeds) if speeds else None,
        }  # fmt: skip


def _family(layout: Layout, family: str, own: object) -> str:
    if own:
        return "own"
    return "deepseek_v3" if layout.experts else family


def _quiet(steps: int) -> list[str]:
    """One checkpoint and one validation at the end, on few threads, and no metrics server."""
    threads = max(1, (os.cpu_count() or 1) // 2)
    return [
        f"train.checkpoint.every={steps}", f"train.validation.every={steps}", "train.metrics={}",
        f"train.threads={threads}",
    ]  # fmt: skip


def _by_processes(layouts: Sequence[Layout]) -> list[list[Layout]]:
    ordered = sorted(layouts, key=lambda layout: layout.processes)
    return [list(part) for _, part in groupby(ordered, lambda layout: layout.processes)]


@contextmanager
def _workplace(own: tuple[Path | str, Path] | None) -> Iterator[tuple[Path, Path]]:
    """A temporary folder, and the run folder that has the tokens."""
    with tempfile.TemporaryDirectory(prefix="headwater-parity-") as folder:
        work = Path(folder)
        if own:
            yield work, own[1]
            return
        run = RunLayout(work / "data")
        synthetic.make_tokenizer(run, VOCAB)
        for seed, source in enumerate(("code", "web")):
            synthetic.make_tokens(run, source, DOCUMENTS, vocab_size=VOCAB, seed=seed)
        yield work, run.root


def _built_in(work: Path, family: str, steps: int) -> Path:
    path = work / f"{family}.yaml"
    path.write_text(dump_yaml(recipe(family, steps)))
    return path
