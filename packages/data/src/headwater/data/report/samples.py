"""The samples of the page: of every operator, what it set aside for each reason, what it changed, what it let pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headwater.data.inspect.evidence import evidence, matched_id
from headwater.data.inspect.passages import Evidence
from headwater.data.inspect.select import Documents, Found, Outcome, Wanted
from headwater.data.inspect.show import verdict_line

PER_REASON, PER_CHANGE, PER_KEPT, KEPT = 3, 4, 2, 4
_MOST = 900


@dataclass(frozen=True)
class Sample:
    """A document and what to look at in it."""

    document: Found
    verdict: str
    evidence: Evidence


@dataclass(frozen=True)
class Samples:
    """Samples of one kind: `count` documents are of that kind in all."""

    reason: str
    count: int
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class OperatorSamples:
    """What one operator did, by example."""

    operator: str
    rejected: tuple[Samples, ...]
    changed: tuple[Samples, ...]
    kept: tuple[Sample, ...]


def samples_of(funnel: dict[str, Any], documents: Documents, seed: int) -> tuple[list[OperatorSamples], list[Sample]]:
    """Samples of each operator that did something, in the order of the funnel; and some of what stayed."""
    found: list[OperatorSamples] = []
    for operator, rejected, changed in _operators(funnel):
        if not rejected and not changed:
            continue

        def of(outcome: Outcome, reasons: Counter[str], count: int, operator: str = operator) -> tuple[Samples, ...]:
            return tuple(
                Samples(reason, total, _samples(documents, Wanted(outcome, operator, reason), count, seed))
                for reason, total in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
            )

        gone, other = of("rejected", rejected, PER_REASON), of("changed", changed, PER_CHANGE)
        kept = _samples(documents, Wanted("kept", operator), PER_KEPT, seed)
        found.append(OperatorSamples(operator, gone, other, kept))
    return found, list(_samples(documents, Wanted("kept"), KEPT, seed))


def _operators(funnel: dict[str, Any]) -> list[tuple[str, Counter[str], Counter[str]]]:
    """Every operator with its reasons, over all sources."""
    sums: dict[str, tuple[Counter[str], Counter[str]]] = {}
    for content in funnel["sources"].values():
        for row in content["operators"]:
            rejected, changed = sums.setdefault(row["operator"], (Counter(), Counter()))
            rejected.update(row["rejected"])
            changed.update(row["changed"])
    return [(operator, *counts) for operator, counts in sums.items()]


def _samples(documents: Documents, wanted: Wanted, count: int, seed: int) -> tuple[Sample, ...]:
    some: Sequence[Found] = documents.sample(wanted, count, seed)
    matches = documents.by_id({one for document in some if (one := matched_id(document))})
    return tuple(Sample(each, verdict_line(each), evidence(each, matches, _MOST)) for each in some)
