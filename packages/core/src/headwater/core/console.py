"""The terminal: progress bars and tables on stderr and stdout, plain when nobody is watching.

Results go to stdout; progress goes to stderr. With `--json` stdout holds one JSON document and nothing else.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

PLAIN_INTERVAL_SECONDS = 10.0
PLAIN_SHARE, PLAIN_SILENCE_SECONDS = 0.02, 300.0
"""Without a terminal a line comes when both the interval and this share have passed; after the silence, in any case."""


class Progress(Protocol):
    """A running progress display."""

    def advance(self, amount: float = 1, note: str | None = None) -> None:
        """Adds `amount` to what is done; `note` is a short text shown beside the bar."""
        ...


Observer = Callable[[str, float, float | None], None]
"""Called with a label, what is done, and the total (none where it is not known)."""
_observers: list[Observer] = []


@contextmanager
def observed(observer: Observer) -> Generator[None]:
    """Tells an observer of all progress in this process while the block runs: at the beginning, and at each advance."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


class _Observed:
    def __init__(self, shown: Progress, label: str, done: float, total: float | None) -> None:
        self._shown, self._label, self._done, self._total = shown, label, done, total
        self._tell()

    def advance(self, amount: float = 1, note: str | None = None) -> None:
        self._done += amount
        self._shown.advance(amount, note)
        if amount:  # a look that found nothing new is no progress
            self._tell()

    def _tell(self) -> None:
        for observer in _observers:
            observer(self._label, self._done, self._total)


@contextmanager
def progress(total: float | None, label: str, *, done: float = 0, unit: str = "") -> Generator[Progress]:
    """Shows progress on stderr: a bar on a terminal, elsewhere a line every few percent, ten seconds apart or more.

    Args:
        total: How much there is to do; none when it is not known.
        label: What is being done.
        done: How much was done by an earlier run of the same command.
        unit: "bytes" prints sizes; anything else is printed as it is.
    """
    with _bar(total, label, done, unit) if sys.stderr.isatty() else nullcontext(_Plain(total, label, done)) as shown:
        yield _Observed(shown, label, done, total) if _observers else shown


@contextmanager
def _bar(total: float | None, label: str, done: float, unit: str) -> Generator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    amount = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (
        TextColumn("{task.description}"), BarColumn(), amount, TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as rich_progress:
        task = rich_progress.add_task(label, total=total, completed=int(done), note="")

        class Bar:
            def advance(self, amount: float = 1, note: str | None = None) -> None:
                if note is None:
                    rich_progress.update(task, advance=amount)
                else:
                    rich_progress.update(task, advance=amount, note=note)

        yield Bar()


class _Plain:
    def __init__(self, total: float | None, label: str, done: float) -> None:
        self._total, self._label, self._done = total, label, done
        self._began = self._told = time.monotonic()
        self._first = self._told_at = done

    def advance(self, amount: float = 1, note: str | None = None) -> None:
        self._done += amount
        now = time.monotonic()
        silence, share = now - self._told, (self._done - self._told_at) / self._total if self._total else 1.0
        if silence >= PLAIN_INTERVAL_SECONDS and (share >= PLAIN_SHARE or silence >= PLAIN_SILENCE_SECONDS):
            self._told, self._told_at = now, self._done
            line = f"{self._label}: {self._done:,.0f}{self._share(now)} {note or ''}"
            print(line.rstrip(), file=sys.stderr, flush=True)

    def _share(self, now: float) -> str:
        if not self._total:
            return ""
        left = (self._total - self._done) * (now - self._began) / max(self._done - self._first, 1e-9)
        ahead = f", {duration(left)} left" if left > 0 else ""
        return f" of {self._total:,.0f} ({self._done / self._total:.0%}{ahead})"


def done(stage: str, message: str) -> None:
    """The one line that a stage ends with."""
    print(f"{stage}: {message}", flush=True)


def warn(message: str) -> None:
    """A warning, on stderr."""
    print(f"warning: {message}", file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """The machine-readable result, on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False), flush=True)


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """A table on stdout; columns that hold only numbers are set to the right.

    Args:
        headers: Column names.
        rows: Cells; integers get thousands separators, floats four significant digits, text stays as it is.
        title: A line above it.
    """
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, title_style="bold")
    for column, header in enumerate(headers):
        numeric = bool(rows) and all(isinstance(row[column], int | float) for row in rows if row[column] is not None)
        shown.add_column(header, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(escape(_cell(value)) for value in row))
    width = None if sys.stdout.isatty() else 160
    Console(width=width, highlight=False).print(shown)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def size(count: float) -> str:
    """A number of bytes for people: `12.3 MB` (powers of 1000)."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if abs(count) < 1000 or unit == "TB":
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def duration(seconds: float) -> str:
    """Seconds for people: `45 s`, `3 min`, `2 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60:,} h {minutes % 60} min"
