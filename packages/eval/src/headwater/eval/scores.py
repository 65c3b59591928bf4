"""The scores of a run's evaluations, whoever made them and where."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from headwater.core.layout import RunLayout
from headwater.core.manifest import is_artifact
from headwater.eval.results import Results
from headwater.eval.stage import read_results


def follow_scores(
    run: RunLayout, *, once: bool = False, poll: float = 20.0, failed: Callable[[Path, Exception], None]
) -> Iterator[tuple[int, Results]]:
    """Reads the evaluations in `RUN/evals/` as they are finished, in the order of their steps.

    Evaluations that run side by side do not end in order. One of an earlier step than the latest that was read is
    passed over: a gauge would go back to it.

    Args:
        run: The run folder; no evaluation need be there.
        once: Only what is there now; else it goes on for good.
        poll: Seconds between two looks.
        failed: Called with a folder whose results cannot be read, and the reason; it is not looked at again.

    Yields:
        Step and results.
    """
    latest = -1
    while True:
        for step, folder in _evaluated(run):
            if step <= latest:
                continue
            latest = step
            try:
                yield step, read_results(folder)
            except (OSError, ValidationError) as error:
                failed(folder, error)
        if once:
            return
        time.sleep(poll)


def _evaluated(run: RunLayout) -> list[tuple[int, Path]]:
    folders = run.evals.glob("step-*") if run.evals.is_dir() else ()
    steps = [(folder.name.removeprefix("step-"), folder) for folder in folders]
    return sorted((int(step), folder) for step, folder in steps if step.isdecimal() and is_artifact(folder))
