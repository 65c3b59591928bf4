"""Trains the layouts of one number of processes, and starts again without one that fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater.core.config import load_section
from headwater.core.layout import RunLayout
from headwater.core.manifest import is_artifact
from headwater.train import titan
from headwater.train.config import TrainConfig
from headwater.train.processes import Processes

TIMEOUT_SECONDS = 3600


@dataclass(frozen=True)
class Job:
    """One training: what `runner.train` takes.

    Attributes:
        recipe: The recipe's file or name.
        run: The run folder.
        overrides: Of the recipe.
        fresh: Whether to start again what there is.
    """

    recipe: Path | str
    run: Path
    overrides: Sequence[str]
    fresh: bool = True

    @property
    def done(self) -> bool:
        """Whether it was finished."""
        return is_artifact(RunLayout(self.run).train)


def launch(jobs: Sequence[Job], processes: int, log: Path) -> dict[Path, str]:
    """Runs jobs one after another in one group of processes.

    Args:
        jobs: Trainings of so many processes each, with a run folder of its own each.
        processes: How many.
        log: Where what the processes say can be written.

    Returns:
        Run folder → the end of what the processes said, for each job that failed.
    """
    failed: dict[Path, str] = {}
    waiting = list(jobs)
    while waiting:
        said = _start(waiting, processes, log)
        if said is None:
            break
        waiting = [job for job in waiting if not job.done]
        if not waiting:
            break
        # A crash ends the whole group: the first job that is not done is the one that crashed.
        failed[waiting.pop(0).run] = said
    return failed


def _start(jobs: Sequence[Job], processes: int, log: Path) -> str | None:
    log.unlink(missing_ok=True)
    device = titan.choose_device(_config(jobs[0]).device)
    with Processes(processes, log, train_all, list(jobs), device=device) as group:
        codes = group.finish(TIMEOUT_SECONDS)
        if all(code == 0 for code in codes):
            return None
        late = "" if any(codes) else f"it did not end within {TIMEOUT_SECONDS} seconds\n"
        return late + group.last_words()


def train_all(jobs: Sequence[Job]) -> None:
    """In one process of several: runs jobs in order, in one process group; what fails ends the process."""
    from headwater.train.runner import train

    config = _config(jobs[0])
    titan.start(titan.choose_device(config.device), config.parallel.world_size, config.threads)
    for job in jobs:
        train(job.recipe, job.run, job.overrides, fresh=job.fresh)
    titan.stop()


def _config(job: Job) -> TrainConfig:
    return load_section("train", TrainConfig, job.recipe, job.overrides)
