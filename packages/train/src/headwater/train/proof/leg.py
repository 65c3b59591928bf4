"""One leg of a trial: a training from where it stands, until it ends or is killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater.core.errors import TrainError
from headwater.train.parity.layouts import Layout
from headwater.train.processes import Processes


@dataclass(frozen=True)
class Job:
    """What a leg trains: a recipe in a run folder on a layout, and where its processes may talk to people."""

    recipe: Path
    run: Path
    layout: Layout
    log: Path

    @property
    def overrides(self) -> list[str]:
        """Dotted overrides of the recipe; a pipeline needs micro-batches to fill it."""
        return [*self.layout.overrides, *(["train.micro_batch=2"] if "pp" in self.layout.parallel else [])]

    def start(self) -> Processes:
        """Starts what `headwater train run` does, in as many processes as the layout takes."""
        return Processes(self.layout.processes, self.log, _train, self)


def finish(job: Job) -> float:
    """Trains until the end.

    Returns:
        Seconds that it took.

    Raises:
        TrainError: A process failed, with the end of what it said.
    """
    with job.start() as leg:
        codes = leg.finish()
        seconds = time.monotonic() - leg.began
        if any(code != 0 for code in codes):
            raise TrainError(
                f"a training of the proof failed on the layout {job.layout.name}", found=f"exit codes {codes}",
                expected="0 of every process", hint=f"the end of {job.log}:\n{leg.last_words()}",
            )  # fmt: skip
    return seconds


def run_apart(log: Path, action: Callable[..., None], *arguments: object) -> None:
    """Runs a function in a process of its own that has everything imported already.

    Raises:
        TrainError: It failed.
    """
    with Processes(1, log, action, *arguments) as group:
        if (codes := group.finish()) != [0]:
            raise TrainError("the data of the proof could not be made", found=f"exit code {codes[0]}", expected="0",
                             hint=f"the end of {log}:\n{group.last_words()}")  # fmt: skip


def _train(job: Job) -> None:
    from headwater.train.runner import train

    train(job.recipe, job.run, job.overrides)


def layouts_of(names: Sequence[str], known: dict[str, Layout]) -> list[Layout]:
    """Layouts by their names.

    Raises:
        ConfigError: There is no such layout, or it needs a mixture of experts.
    """
    from headwater.core.config import nearest
    from headwater.core.errors import ConfigError

    fitting = {name: layout for name, layout in known.items() if not layout.experts}
    for name in names:
        if name not in fitting:
            near = nearest(name, fitting)
            raise ConfigError(
                f"there is no layout {name} for a dense model", expected=f"one of: {', '.join(fitting)}",
                hint=f"did you mean {near}?" if near else "run: headwater train resume-proof --help",
            )  # fmt: skip
    return [fitting[name] for name in names]
