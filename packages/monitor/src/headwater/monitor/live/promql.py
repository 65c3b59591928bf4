"""The part of PromQL that the alert rules use, over the samples of a run's log.

So the page can say which alerts would fire from the same rules that Prometheus is given. What a query sees is what a
scraper would have seen: the last value of a series at each multiple of the interval (https://prometheus.io/docs,
Querying). A series is there from its first value until the process is gone. Metric names are dropped from all results.
`rate` does not extrapolate to the ends of its window.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import promql_parser as ql
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Labels = frozenset[tuple[str, str]]


class NotSupportedError(Exception):
    """The expression has something that is not of this part of PromQL."""


@dataclass(frozen=True)
class Series:
    """Samples: labels, ascending Unix times, and as many values."""

    labels: Mapping[str, str]
    times: F64
    values: F64


@dataclass(frozen=True)
class Span:
    """Instants that are one interval apart, newest first: from so many intervals ago, so many of them."""

    ago: int
    count: int


@dataclass(frozen=True)
class Rows:
    """One value an instant of a span, and where there is one."""

    values: F64
    there: NDArray[np.bool_]


Vector = dict[Labels, Rows]
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "%": np.fmod, "^": np.power,
}  # fmt: skip
_COMPARISON: dict[str, Callable[[Any, Any], Any]] = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
# Over an axis of values and where they are; a group without any gives nonsense, which is not looked at.
_GATHERED: dict[str, Callable[[F64, NDArray[np.bool_], int], F64]] = {
    "min": lambda values, there, axis: np.where(there, values, np.inf).min(axis),
    "max": lambda values, there, axis: np.where(there, values, -np.inf).max(axis),
    "sum": lambda values, there, axis: np.where(there, values, 0.0).sum(axis),
    "avg": lambda values, there, axis: np.where(there, values, 0.0).sum(axis) / there.sum(axis),
}  # fmt: skip


class Query:
    """Evaluates expressions at instants before a time.

    Args:
        find: The series of a metric, by its name.
        recordings: Name → expression of the series that rules record.
        now: Unix time.
        until: Unix time from which on the series are gone.
        interval: Seconds between two scrapes, and between two instants.

    Attributes:
        found: Whether a selector found a series.
    """

    def __init__(
        self, find: Callable[[str], Sequence[Series]], recordings: Mapping[str, str], *, now: float, until: float,
        interval: float = 15.0,
    ) -> None:  # fmt: skip
        self._find, self._recordings = find, recordings
        self._now, self._until, self._interval = now, until, interval
        self._recorded: dict[tuple[str, Span], Vector] = {}
        self.found = False

    def __call__(self, expression: str, wait: float = 0.0) -> Vector:
        """The vector of an expression at the instants from `wait` seconds ago (last) to now (first).

        Raises:
            NotSupportedError: The expression is not of this part of PromQL.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            result = self._evaluate(_parsed(expression), Span(0, self._intervals(wait) + 1))
        if not isinstance(result, dict):
            raise NotSupportedError(f"{expression} is no vector")
        return result

    def _intervals(self, seconds: float) -> int:
        return int(-(-seconds // self._interval))

    def _times(self, span: Span) -> F64:
        return np.asarray(self._now - np.arange(span.ago, span.ago + span.count) * self._interval, np.float64)

    def _evaluate(self, node: Any, span: Span) -> Vector | F64:
        """A vector, or a scalar at each instant."""
        if isinstance(node, ql.ParenExpr):
            return self._evaluate(node.expr, span)
        if isinstance(node, ql.NumberLiteral):
            return np.full(span.count, float(node.val))
        if isinstance(node, ql.VectorSelector):
            return self._select(node, span)
        if isinstance(node, ql.BinaryExpr):
            return self._binary(node, span)
        if isinstance(node, ql.AggregateExpr):
            return self._aggregate(node, span)
        if isinstance(node, ql.Call):
            return self._call(node, span)
        raise NotSupportedError(f"{node} is not supported")

    def _vector(self, node: Any, span: Span) -> Vector:
        found = self._evaluate(node, span)
        if not isinstance(found, dict):
            raise NotSupportedError(f"{node} is no vector")
        return found

    def _select(self, node: Any, span: Span) -> Vector:
        if node.offset is not None or node.at is not None:
            raise NotSupportedError(f"{node} is not supported")
        if node.name in self._recordings:
            if (node.name, span) not in self._recorded:
                expression = _parsed(self._recordings[node.name])
                self._recorded[node.name, span] = self._vector(expression, span)
            return self._recorded[node.name, span]
        times = self._times(span)
        vector: Vector = {}
        for series in self._find(node.name or ""):
            if not len(series.times) or not all(_matches(one, series.labels) for one in node.matchers.matchers):
                continue
            self.found = True
            place = np.searchsorted(series.times, times, side="right") - 1
            there = (place >= 0) & (times <= self._until)
            vector[frozenset(series.labels.items())] = Rows(series.values[np.maximum(place, 0)], there)
        return vector

    def _call(self, node: Any, span: Span) -> Vector | F64:
        name, arguments = node.func.name, list(node.args)
        if name == "time" and not arguments:
            return self._times(span)
        if not arguments or not isinstance(arguments[-1], ql.MatrixSelector):
            raise NotSupportedError(f"{name} is not supported")
        window = arguments[-1]
        width = max(1, self._intervals(window.range.total_seconds()))
        vector = self._vector(window.vector_selector, Span(span.ago, span.count + width - 1))
        return {labels: self._over(name, arguments, rows, width) for labels, rows in vector.items()}

    def _over(self, name: str, arguments: list[Any], rows: Rows, width: int) -> Rows:
        """A function over the windows that begin at each instant and go back."""
        values, there = sliding_window_view(rows.values, width), sliding_window_view(rows.there, width)
        some = np.any(there, axis=1)
        short = name.removesuffix("_over_time")
        if name == "last_over_time":
            return Rows(values[np.arange(len(values)), there.argmax(axis=1)], some)
        if name == "quantile_over_time":
            result = np.full(len(values), np.nan)
            for index in np.flatnonzero(some):
                result[index] = np.quantile(values[index][there[index]], float(arguments[0].val))
            return Rows(result, some)
        if name in ("rate", "increase"):
            return _grown(rows, width, self._interval if name == "rate" else None)
        if name == short or short not in _GATHERED:
            raise NotSupportedError(f"{name} is not supported")
        if short in ("min", "max"):
            there = there & ~np.isnan(values)
        return Rows(_GATHERED[short](values, there, 1), some)

    def _binary(self, node: Any, span: Span) -> Vector | F64:
        left, right = self._evaluate(node.lhs, span), self._evaluate(node.rhs, span)
        name, modifier = str(node.op), node.modifier
        if modifier is not None and modifier.return_bool:
            raise NotSupportedError("bool is not supported")
        key = _key(modifier)
        if name in ("and", "or", "unless"):
            if not isinstance(left, dict) or not isinstance(right, dict):
                raise NotSupportedError(f"{name} of a scalar")
            return _set(name, left, right, key)
        if not isinstance(left, dict) and not isinstance(right, dict):
            return _ARITHMETIC[name](left, right)
        if isinstance(left, dict) and isinstance(right, dict):
            return _join(name, left, right, key, modifier)
        many = left if isinstance(left, dict) else right
        vector: Vector = {}
        for labels, rows in many.items():  # type: ignore[union-attr]
            a, b = (rows.values, right) if many is left else (left, rows.values)
            vector[labels] = _apply(name, a, b, rows.values, rows.there)
        return vector

    def _aggregate(self, node: Any, span: Span) -> Vector:
        name = str(node.op)
        if name not in _GATHERED:
            raise NotSupportedError(f"{name} is not supported")
        names = set(node.modifier.labels) if node.modifier else set[str]()
        keep = node.modifier is None or node.modifier.type == ql.AggModifierType.By
        groups: dict[Labels, list[Rows]] = {}
        for labels, rows in self._vector(node.expr, span).items():
            groups.setdefault(frozenset(one for one in labels if (one[0] in names) == keep), []).append(rows)
        vector: Vector = {}
        for labels, rows in groups.items():
            there = np.stack([one.there for one in rows])
            values = np.stack([one.values for one in rows])
            vector[labels] = Rows(_GATHERED[name](values, there, 0), np.any(there, axis=0))
        return vector


@cache
def _parsed(expression: str) -> Any:
    return ql.parse(expression)


def _grown(rows: Rows, width: int, interval: float | None) -> Rows:
    """How much counters grew in windows, or a second; one that starts again grew by what it then has."""
    newer, older = rows.values[:-1], rows.values[1:]
    both = rows.there[:-1] & rows.there[1:]
    steps = np.where(both, np.where(newer < older, newer, newer - older), 0.0)
    if width < 2:
        nothing = np.zeros(len(rows.values))
        return Rows(nothing, nothing > 0)
    grown = sliding_window_view(steps, width - 1).sum(axis=1)
    count = sliding_window_view(both, width - 1).sum(axis=1)
    return Rows(grown if interval is None else grown / (count * interval), count > 0)


def _matches(matcher: Any, labels: Mapping[str, str]) -> bool:
    value = labels.get(matcher.name, "")
    if matcher.op in (ql.MatchOp.Equal, ql.MatchOp.NotEqual):
        return (value == matcher.value) == (matcher.op == ql.MatchOp.Equal)
    return (re.fullmatch(matcher.value, value) is not None) == (matcher.op == ql.MatchOp.Re)


def _key(modifier: Any) -> Callable[[Labels], Labels]:
    """What of the labels has to be equal."""
    matching = modifier.matching if modifier is not None else None
    if matching is None:
        return lambda labels: labels
    names, on = set(matching.labels), matching.type == ql.LabelModifierType.Include
    return lambda labels: frozenset(one for one in labels if (one[0] in names) == on)


def _apply(name: str, a: Any, b: Any, kept: F64, there: NDArray[np.bool_]) -> Rows:
    if name in _COMPARISON:
        return Rows(kept, there & _COMPARISON[name](a, b))
    return Rows(_ARITHMETIC[name](a, b), there)


def _set(name: str, left: Vector, right: Vector, key: Callable[[Labels], Labels]) -> Vector:
    others: dict[Labels, NDArray[np.bool_]] = {}
    for labels, rows in (right if name != "or" else left).items():
        others[key(labels)] = others.get(key(labels), False) | rows.there
    if name == "or":
        fresh = {
            labels: Rows(rows.values, rows.there & ~others.get(key(labels), np.zeros_like(rows.there)))
            for labels, rows in right.items()
        }
        both = {
            labels: Rows(np.where(rows.there, rows.values, fresh[labels].values), rows.there | fresh[labels].there)
            for labels, rows in left.items() if labels in fresh
        }  # fmt: skip
        return left | fresh | both
    return {
        labels: Rows(
            rows.values,
            rows.there & (others.get(key(labels), np.zeros_like(rows.there)) == (name == "and")),
        )
        for labels, rows in left.items()
    }


def _join(name: str, left: Vector, right: Vector, key: Callable[[Labels], Labels], modifier: Any) -> Vector:
    if modifier is not None and modifier.card == ql.VectorMatchCardinality.OneToMany:
        raise NotSupportedError("group_right is not supported")
    others = {key(labels): rows for labels, rows in right.items()}
    if len(others) < len(right):
        raise NotSupportedError("several series on the right side of one")
    many = modifier is not None and modifier.card == ql.VectorMatchCardinality.ManyToOne
    vector: Vector = {}
    for labels, rows in left.items():
        other = others.get(key(labels))
        if other is not None:
            result = _apply(name, rows.values, other.values, rows.values, rows.there & other.there)
            vector[labels if many or name in _COMPARISON else key(labels)] = result
    return vector
