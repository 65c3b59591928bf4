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
from headwater.core.console import Progress, progress
from headwater.core.errors import ConfigError, DataError, HeadwaterError
from headwater.data.engines.beam.options import BeamConfig
from headwater.data.engines.failures import Failures

_LOOK_SECONDS = 1.0
_LAST_LINES = 12
_LOCAL = "FnApiRunner"


class Runner:
    """A Beam runner with its options, checked.

    Args:
        config: The section `documents.engine.beam`.
        workers: Processes, for a runner on this machine whose options do not say.

    Raises:
        ConfigError: There is no such runner or option.
    """

    def __init__(self, config: BeamConfig, workers: int) -> None:
        self.name = config.runner
        flags = list(config.options)
        _check(flags)
        if config.runner.lower() == _LOCAL.lower() and not any("--direct_" in flag for flag in flags) and workers > 1:
            flags += [f"--direct_num_workers={workers}", "--direct_running_mode=multi_processing"]
        self._flags = [*flags, *config.job_server_options]
        self._make()

    def pipeline(self) -> beam.Pipeline:
        """A new, empty pipeline."""
        options = PipelineOptions(self._flags)
        options.view_as(StandardOptions).runner = self.name
        return beam.Pipeline(runner=self._make(), options=options)

    def run(
        self, pipeline: beam.Pipeline, label: str, total: int, done: Callable[[], int], failures: Failures, log: Path
    ) -> None:
        """Runs a pipeline to its end, and shows progress.

        Args:
            pipeline: What to run.
            label: For people.
            total: Units of work.
            done: How many of them are finished now.
            failures: Where workers note errors; emptied first.
            log: Where Beam's messages go.

        Raises:
            HeadwaterError: A worker's error, with its document.
            DataError: The runner failed.
        """
        failures.clear()
        before = done()
        with progress(total, label, done=before) as shown, _watched(shown, done, before), _logged(log):
            try:
                result = pipeline.run()
                state = result.wait_until_finish()
                error: Exception | None = None
            except HeadwaterError:
                raise
            except Exception as raised:
                error, state = raised, PipelineState.FAILED
        if error is None and state in (None, PipelineState.DONE):
            return
        noted = failures.first()
        if noted is not None:
            raise noted from error
        raise DataError(
            f"the Beam runner {self.name} failed while it ran {label}",
            found=_last_lines(error) if error else f"the state {state}",
            hint=f"see {log} and the runner's own log; the same command goes on: finished work is kept",
        ) from error

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


@contextmanager
def _watched(shown: Progress, done: Callable[[], int], before: int) -> Generator[None]:
    """Looks now and then how far the workers are: by the marks that they leave, which is the same on every runner."""
    ended = threading.Event()

    def watch() -> None:
        seen = before
        while not ended.wait(_LOOK_SECONDS):
            now = done()
            shown.advance(now - seen)
            seen = now

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


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
