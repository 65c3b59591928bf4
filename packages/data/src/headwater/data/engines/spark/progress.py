"""Shows how far a Spark job is, by asking Spark for the tasks that have ended."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from headwater.core.console import Progress, progress

if TYPE_CHECKING:
    from pyspark import SparkContext

INTERVAL_SECONDS = 1.0


@contextmanager
def watched(context: SparkContext, stage: str, *, done: int = 0, total: int | None = None) -> Generator[None]:
    """Shows the tasks of the jobs that start in the block.

    Args:
        context: Spark's.
        stage: The step's name; jobs carry it in Spark's own page too.
        done: Units that an earlier attempt finished.
        total: All units, where one task is one unit; else Spark says how many tasks there are, as it goes.
    """
    group = f"{stage} {uuid4().hex[:8]}"  # a session may run several pipelines
    context.setJobGroup(group, f"headwater: {stage}")
    ended = threading.Event()
    with progress(total, stage, done=done) as shown:
        watcher = threading.Thread(target=_watch, args=(context, group, shown, ended, total is None), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def _watch(context: SparkContext, group: str, shown: Progress, ended: threading.Event, unknown: bool) -> None:
    tracker: Any = context.statusTracker()
    seen = 0
    while not ended.wait(INTERVAL_SECONDS):
        try:
            jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup(group)]
            stages = [tracker.getStageInfo(number) for job in jobs if job for number in job.stageIds]
        except Exception:  # Spark is gone: the job says so itself
            return
        complete = sum(each.numCompletedTasks for each in stages if each)
        tasks = sum(each.numTasks for each in stages if each)
        if complete > seen:  # no less than before: a lost worker's tasks are forgotten
            shown.advance(complete - seen, note=f"of {tasks} tasks" if unknown else None)
            seen = complete
