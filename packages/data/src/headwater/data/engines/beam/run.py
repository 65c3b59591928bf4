"""Running one Beam pipeline: options, progress, and errors that say what happened."""

from __future__ import annotations

import argparse
import logging
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import PipelineState, create_runner

from headwater.core.config import nearest
from headwater.core.console import progress
from headwater.core.errors import ConfigError, DataError
from headwater.data.engines.beam.local_workers import LocalWorkers, loopback_only
from headwater.data.engines.beam.options import BeamConfig
from headwater.data.engines.failures import Failures

_LOOK_SECONDS = 1.0
_LAST_LINES = 12
_LOCAL = "fnapirunner"


class Runner:
    """A Beam runner with its options, checked.

    Args:
        config: The section `documents.engine.beam`.
        workers: Processes, for a runner on this machine whose options do not say.
        folder: Where Beam's messages and the processes' ids go.

    Raises:
        ConfigError: There is no such runner or option.
    """

    def __init__(self, config: BeamConfig, workers: int, folder: Path) -> None:
        self.name = config.runner
        self.log = folder / "beam.log"
        self._flags = list(config.options)
        _check(self._flags)
        self._workers: LocalWorkers | None = None
        mine = self.name.lower() == _LOCAL and not any(flag.startswith("--direct_") for flag in self._flags)
        if mine and workers > 1:
            self._workers = LocalWorkers(folder / "workers", self.log)
            self._flags.append(f"--direct_num_workers={workers}")
        self._flags += config.job_server_options
        self._make()

    def pipeline(self) -> beam.Pipeline:
        """A new, empty pipeline."""
        options = PipelineOptions(self._flags)
        options.view_as(StandardOptions).runner = self.name
        return beam.Pipeline(runner=self._workers.runner() if self._workers else self._make(), options=options)

    def run(self, pipeline: beam.Pipeline, label: str, total: int, done: Callable[[], int], failures: Failures) -> None:
        """Runs a pipeline to its end, and shows progress.

        Args:
            pipeline: What to run.
            label: For people.
            total: Units of work.
            done: How many of them are finished now, whoever runs them: by the marks that they leave.
            failures: Where workers note errors; emptied first.

        Raises:
            HeadwaterError: A worker's error, with its document.
            DataError: The runner failed, or lost a worker.
        """
        failures.clear()
        seen = done()
        ended: list[Any] = []
        # In a thread of its own, because a local runner waits for ever for a worker that was killed.
        job = threading.Thread(target=_run, args=(pipeline, ended), daemon=True)
        with progress(total, label, done=seen) as shown, _logged(self.log), loopback_only():
            job.start()
            try:
                while job.is_alive():
                    job.join(_LOOK_SECONDS)
                    now = done()
                    shown.advance(now - seen)
                    seen = now
                    lost = self._workers.lost() if self._workers and job.is_alive() else None
                    if lost:
                        raise self._lost(label, lost)
            finally:
                if self._workers and job.is_alive():
                    self._workers.end()
        if ended[0] in (None, PipelineState.DONE):
            return
        error = ended[0] if isinstance(ended[0], Exception) else None
        noted = failures.first()
        if noted is not None:
            raise noted from error
        raise DataError(
            f"the Beam runner {self.name} failed while it ran {label}",
            found=_last_lines(error) if error else f"the state {ended[0]}",
            hint=f"see {self.log} and the runner's own log; the same command goes on: finished work is kept",
        ) from error

    def _lost(self, label: str, found: str) -> DataError:
        return DataError(
            f"a worker process of Beam was lost while it ran {label}",
            found=f"{found} (when memory runs out, the system kills the largest)",
            hint=f"set documents.engine.workers lower and run the same command again: finished work is kept; "
            f"what the process wrote last is in {self.log}",
        )

    def _make(self) -> Any:
        names = [name for name in StandardOptions.KNOWN_RUNNER_NAMES if not name.startswith("Test")]
        try:
            return create_runner(self.name)
        except (ValueError, AttributeError, ImportError) as error:
            near = nearest(self.name, names)
            missing = isinstance(error, ImportError)
            raise ConfigError(
                f"documents.engine.beam.runner cannot be used: {error}" if missing else "there is no such Beam runner",
                found=self.name, expected=None if missing else f"one of: {', '.join(names)}",
                hint=f"did you mean {near}?" if near and near != self.name else None,
            ) from error  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """Knows Beam's options; tells of mistakes by exceptions."""

    def add_value_provider_argument(self, *names: str, **options: Any) -> None:
        """Options that templates fill in are options."""
        self.add_argument(*names, **options)

    def error(self, message: str) -> Any:
        """What argparse calls."""
        raise ConfigError("Beam refuses documents.engine.beam.options", found=message)


def _check(flags: Sequence[str]) -> None:
    """Beam itself drops options that it does not know, with a line in the log."""
    parser: Any = _Parser(prog="beam", allow_abbrev=False, add_help=False)
    for group in {str(each): each for each in PipelineOptions.__subclasses__()}.values():
        group._add_argparse_args(parser)
    _, unknown = parser.parse_known_args(list(flags))
    if unknown:
        known = [name for action in parser._actions for name in action.option_strings]
        name = unknown[0].partition("=")[0]
        near = nearest(name, known)
        hint = "what only the runner's job server knows goes into documents.engine.beam.job_server_options"
        raise ConfigError(
            "Beam has no such pipeline option", found=name, hint=f"did you mean {near}? Else: {hint}" if near else hint
        )


def _run(pipeline: beam.Pipeline, ended: list[Any]) -> None:
    """Appends the state that the pipeline ended in, or what was raised."""
    try:
        ended.append(pipeline.run().wait_until_finish())
    except Exception as error:
        ended.append(error)
    except BaseException:
        ended.append(PipelineState.CANCELLED)
        raise


@contextmanager
def _logged(path: Path) -> Generator[None]:
    """Sends Beam's messages to a file: on the terminal they would hide ours."""
    handler = logging.FileHandler(path, delay=True, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logger = logging.getLogger("apache_beam")
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = before
        logger.removeHandler(handler)
        handler.close()


def _last_lines(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return "\n            ".join(lines[-_LAST_LINES:]) or type(error).__name__


def counted(folders: Mapping[Any, Any]) -> int:
    """The units that are finished, of several steps."""
    return sum(len(step.folder.marked()) for step in folders)
