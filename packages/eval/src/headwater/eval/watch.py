"""Evaluates each checkpoint of a run as it appears, beside the training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from headwater.core.errors import HeadwaterError, ManifestError
from headwater.core.layout import RunLayout
from headwater.core.manifest import MANIFEST, is_artifact, read_manifest
from headwater.eval.config import EvalConfig
from headwater.eval.errors import UnusableCheckpoint
from headwater.eval.stage import Evaluation, run_eval


def steps_of(run: RunLayout) -> list[int]:
    """The steps of the finished checkpoints, in order."""
    found = sorted(run.checkpoints.glob("step-*")) if run.checkpoints.is_dir() else []
    steps = [(path, path.name.removeprefix("step-")) for path in found]
    return [int(step) for path, step in steps if step.isdecimal() and is_artifact(path)]


def watch(
    run: RunLayout,
    config: EvalConfig,
    *,
    once: bool = False,
    poll: float = 20.0,
    data_dir: Path | None = None,
    include: Sequence[Path] = (),
    gone: Callable[[int], None] = lambda step: None,
    failed: Callable[[int, HeadwaterError], None] | None = None,
) -> Iterator[tuple[int, Evaluation]]:
    """Evaluates checkpoints, oldest first, into `RUN/evals/step-…`, until the training is finished.

    What was evaluated already is found again. Training keeps only some checkpoints: one that is removed before its turn
    comes, or during it, is left out.

    Args:
        run: The run folder; training need not have begun.
        config: The `eval` section; its `checkpoint` is not looked at.
        once: Only what is there now.
        poll: Seconds between two looks.
        data_dir: See `run_eval`.
        include: See `run_eval`.
        gone: Called with the step of a checkpoint that was removed meanwhile.
        failed: Called with the step of a checkpoint that cannot be evaluated (damaged, weights that are NaN) and the
            reason; then the next one is. Without it, that ends the watch.
    """
    seen: set[int] = set()
    while True:
        # Looked at before the checkpoints: what is written before the end is then not missed.
        finished = is_artifact(run.train)
        for step in [step for step in steps_of(run) if step not in seen]:
            seen.add(step)
            chosen = config.model_copy(update={"checkpoint": str(step)})
            folder = run.checkpoint(step)
            while True:
                before = _state(folder)
                try:
                    found = run_eval(run, chosen, data_dir=data_dir, include=include, output=run.eval_of(step))
                except (ManifestError, UnusableCheckpoint, FileNotFoundError) as error:
                    if _is_removed(folder, min(poll, 1.0)):
                        gone(step)
                    elif _state(folder) != before:
                        continue  # another one of the same step took its place: what was read was of both
                    elif failed is not None:
                        failed(step, error if isinstance(error, HeadwaterError) else ManifestError(str(error)))
                    else:
                        raise
                else:
                    yield step, found
                break
        if once or finished:
            return
        time.sleep(poll)


def _state(folder: Path) -> tuple[int, int] | None:
    """What changes when another checkpoint takes the place of this one."""
    with suppress(OSError):
        state = (folder / MANIFEST).stat()
        return state.st_ino, state.st_mtime_ns
    return None


def _is_removed(folder: Path, pause: float) -> bool:
    """Whether a checkpoint is gone, or loses its files now: whoever removes it need not begin with the manifest.

    Args:
        folder: The checkpoint.
        pause: Seconds between two looks. While files are missing and become fewer, it is looked again.
    """
    while is_artifact(folder):
        try:
            listed = [folder / entry.path for entry in read_manifest(folder).files]
        except ManifestError:
            return not is_artifact(folder)
        left = sum(path.is_file() for path in listed)
        if left == len(listed):
            return False
        time.sleep(pause)
        if is_artifact(folder) and sum(path.is_file() for path in listed) == left:
            return False
    return True
