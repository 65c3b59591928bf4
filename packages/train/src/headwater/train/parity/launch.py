"""Starts torchrun for the layouts of one number of processes, and starts it again without one that fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater.core.children import end_with_parent
from headwater.core.layout import RunLayout
from headwater.core.manifest import is_artifact

TIMEOUT_SECONDS = 3600
SHOWN_LINES = 12


@dataclass(frozen=True)
class Job:
    """One training: what `runner.train` takes.

    Attributes:
        recipe: The recipe's file.
        run: The run folder.
        overrides: Of the recipe.
        fresh: Whether to start again what there is.
    """

    recipe: Path
    run: Path
    overrides: Sequence[str]
    fresh: bool = True

    @property
    def done(self) -> bool:
        """Whether it was finished."""
        return is_artifact(RunLayout(self.run).train)

    def dump(self) -> dict[str, object]:
        """As the worker reads it."""
        return {
            "recipe": str(self.recipe), "run": str(self.run), "overrides": list(self.overrides), "fresh": self.fresh,
        }  # fmt: skip


def launch(jobs: Sequence[Job], processes: int, file: Path) -> dict[Path, str]:
    """Runs jobs one after another in one group of processes.

    Args:
        jobs: Trainings of so many processes each, with a run folder of its own each.
        processes: How many.
        file: Where the jobs can be written for the workers.

    Returns:
        Run folder → the end of what the workers said, for each job that failed.
    """
    failed: dict[Path, str] = {}
    waiting = list(jobs)
    while waiting:
        said = _start(waiting, processes, file)
        if said is None:
            break
        waiting = [job for job in waiting if not job.done]
        if not waiting:
            break
        # A crash ends the whole group: the first job that is not done is the one that crashed.
        failed[waiting.pop(0).run] = said
    return failed


def _start(jobs: Sequence[Job], processes: int, file: Path) -> str | None:
    file.write_text(json.dumps([job.dump() for job in jobs]))
    command = [sys.executable, "-m", "headwater.train.parity.worker", str(file)]
    if processes > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command[1:1] = launcher
    environment = {"PYTHONFAULTHANDLER": "1", **os.environ}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment,
        preexec_fn=end_with_parent(),
    )  # fmt: skip
    try:
        _, said = process.communicate(timeout=TIMEOUT_SECONDS)
    except BaseException as error:
        process.terminate()  # not kill: torchrun passes it on to its workers
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            return f"it did not end within {TIMEOUT_SECONDS} seconds"
        raise
    return None if process.returncode == 0 else last_words(said)


def last_words(text: str) -> str:
    """What torchrun's processes say went wrong: the last lines before the launcher's own."""
    lines = text.split("torch/distributed/run.py", 1)[0].splitlines()
    kept = [line for line in lines if line.strip() and "frozen runpy" not in line]
    return "\n".join(kept[-SHOWN_LINES:])
