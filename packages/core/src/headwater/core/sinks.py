"""Where metrics go. A sink is found by name under the entry point group `headwater.sinks`."""

from __future__ import annotations

import difflib
import inspect
import json
import os
import socket
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, cast

from headwater.core.errors import ConfigError, HeadwaterError
from headwater.core.metrics import parse_series
from headwater.core.storage import atomic_write, storage_errors

SINKS_GROUP = "headwater.sinks"


class MetricSink(Protocol):
    """Takes metrics of `core.metrics`: gauges by value, counters by running total, histograms by observation."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the values (metric name → value) of one step."""
        ...

    def rewind(self, step: int) -> None:
        """Hears that the steps after `step` are undone, whoever logged them, and that the next one is `step + 1`.

        A sink that can forget them does; another keeps what comes again apart from it.
        """
        ...

    def close(self) -> None:
        """Writes what is buffered and frees ports and files."""
        ...


class JsonlSink:
    """Appends one JSON object a step to a file: `step`, `time_seconds` (Unix), and the metrics.

    Args:
        path: The file; it is created.
    """

    def __init__(self, path: str | Path) -> None:
        with storage_errors("open", path):
            self._stream = open(path, "a", encoding="utf-8")  # noqa: SIM115 (closed by close())

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Appends one line. Non-finite values are written as strings, since JSON has none."""
        import time

        check_names(values)
        row = {name: value if abs(value) < float("inf") else str(value) for name, value in values.items()}
        with storage_errors("write", self._stream.name):
            self._stream.write(json.dumps({"step": step, "time_seconds": time.time(), **row}) + "\n")
            self._stream.flush()

    def rewind(self, step: int) -> None:
        """Drops the rows after a step, and a line that a kill cut short."""
        path = Path(self._stream.name)
        self._stream.close()
        keep_rows(path, step)
        with storage_errors("open", path):
            self._stream = open(path, "a", encoding="utf-8")  # noqa: SIM115 (closed by close())

    def close(self) -> None:
        """Closes the file."""
        with storage_errors("write", self._stream.name):
            self._stream.close()


def keep_rows(path: Path, step: int | None = None) -> list[dict[str, Any]]:
    """Rewrites a JSON-lines file to the rows of steps, without a line that a kill cut short, and returns them.

    Args:
        path: The file.
        step: The last step whose rows stay; none: all stay.
    """
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row: Any = json.loads(line)
            except ValueError:
                continue
            at: Any = cast("dict[str, Any]", row).get("step") if isinstance(row, dict) else None
            if isinstance(at, int) and (step is None or at <= step):
                rows.append(cast("dict[str, Any]", row))
                lines.append(line + "\n")
    atomic_write(path, "".join(lines))
    return rows


def check_names(values: Mapping[str, float]) -> None:
    """Refuses series of metrics that are not in the table, or not with their labels.

    Raises:
        KeyError: A series is not of `core.metrics.TABLE`; that is a defect of the caller.
    """
    unknown: list[str] = []
    for name in values:
        try:
            parse_series(name)
        except KeyError:
            unknown.append(name)
    if unknown:
        raise KeyError(f"metrics that are not in core.metrics.TABLE: {', '.join(unknown)}")


def open_sinks(options: Mapping[str, Mapping[str, Any]], folder: Path | None = None) -> list[MetricSink]:
    """Opens sinks by name.

    Args:
        options: Sink name → keyword arguments of its constructor, for example `{"prometheus": {"port": 9464}}`.
        folder: Where sinks that write files do so, each in a folder of its name, when their options name none.

    Raises:
        ConfigError: A sink is not installed, or has no such option.
    """
    installed = {point.name: point for point in entry_points(group=SINKS_GROUP)}
    for name in options:
        if name not in installed:
            hint = "install headwater-monitor" if name == "prometheus" else None
            raise ConfigError(
                f"there is no metric sink {name}", expected=f"one of: {', '.join(sorted(installed))}", hint=hint
            )
    opened: list[MetricSink] = []
    try:
        for name, arguments in options.items():
            sink = installed[name].load()
            if folder is not None and "folder" in inspect.signature(sink).parameters:
                arguments = {"folder": str(folder / name), **arguments}
            opened.append(_open(name, sink, arguments))
    except BaseException:
        _close(opened)
        raise
    return opened


def _open(name: str, sink: Any, arguments: Mapping[str, Any]) -> MetricSink:
    known = list(inspect.signature(sink).parameters)
    for option in arguments:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            raise ConfigError(
                f"the metric sink {name} has no option {option}", expected=f"one of: {', '.join(known)}",
                hint=f"did you mean {near[0]}?" if near else None,
            )  # fmt: skip
    for option, one in inspect.signature(sink).parameters.items():
        named = one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        if named and one.default is one.empty and option not in arguments:
            raise ConfigError(f"the metric sink {name} needs the option {option}", expected=f"{name}: {{{option}: …}}")
    return sink(**arguments)


@contextmanager
def served(
    port: int | None, note: Path | None = None, host: str = "127.0.0.1"
) -> Generator[Callable[[int, Mapping[str, float]], None]]:
    """Serves metrics for Prometheus while the block runs, and prints where.

    Args:
        port: The port, 0 for any free one; none: nothing is served.
        note: A file that says where while the block runs (`RunLayout.serving`), for `headwater monitor up`.
        host: Address to listen on; loopback unless told otherwise.

    Yields:
        `MetricSink.log`, which does nothing when nothing is served.

    Raises:
        ConfigError: headwater-monitor is not installed.
        TrainError: The port is taken, or the address is not one of this machine.
    """
    if port is None:
        yield lambda step, values: None
        return
    (sink,) = open_sinks({"prometheus": {"host": host, "port": port}})
    url = str(getattr(sink, "url", ""))
    # The note goes last: while the sink closes it waits for a scrape of the last values, by whoever reads the note.
    with _noted(note, url), closing_sinks([sink]):
        print(f"metrics: {url}", file=sys.stderr, flush=True)
        yield sink.log


@contextmanager
def _noted(note: Path | None, url: str) -> Generator[None]:
    if note is None:
        yield
        return
    with storage_errors("create", note.parent):
        note.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(note, json.dumps({"url": url, "pid": os.getpid(), "machine": socket.gethostname()}) + "\n")
    try:
        yield
    finally:
        note.unlink(missing_ok=True)
        with suppress(OSError):  # another stage serves too
            note.parent.rmdir()


def served_at(note: Path) -> str | None:
    """The address in a note of `served`, or none when there is none, or its process is none of this machine."""
    try:
        found: Any = json.loads(note.read_bytes())
        url, pid, machine = str(found["url"]), int(found["pid"]), str(found["machine"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if machine != socket.gethostname():  # a folder that machines share; the number may be another process's here
        return None
    try:
        os.kill(pid, 0)  # signal 0: is it there?
    except ProcessLookupError:  # it was killed, and its port may be another's by now
        return None
    except PermissionError:  # it is another user's
        pass
    return url


@contextmanager
def closing_sinks(sinks: Sequence[MetricSink]) -> Generator[None]:
    """Closes every sink at the end, also those that are added meanwhile.

    Raises:
        StorageError: What a sink still had to write could not be written; what ended the block goes before that.
    """
    try:
        yield
    except BaseException:
        _close(sinks)
        raise
    if failed := _close(sinks):
        raise failed[0]


def _close(sinks: Sequence[MetricSink]) -> list[HeadwaterError]:
    """Closes every sink; what failed."""
    failed: list[HeadwaterError] = []
    for sink in sinks:
        try:
            sink.close()
        except HeadwaterError as error:
            failed.append(error)
    return failed
