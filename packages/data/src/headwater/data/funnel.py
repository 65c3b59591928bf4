"""The funnel: documents and bytes in and out of every operator, by source, with the reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa

from headwater.core.console import size, table, warn
from headwater.core.errors import DataError
from headwater.data.operators import exact_dedup, minhash_dedup, prompt_dedup, simhash_dedup

Funnel = dict[str, Any]

DUPLICATES = (exact_dedup.URL_NAME, exact_dedup.NAME, minhash_dedup.NAME, simhash_dedup.NAME, prompt_dedup.NAME)
"""The steps that remove duplicates."""


def build(counts: Sequence[pa.Table], operators: Mapping[str, Sequence[str]]) -> Funnel:
    """Sums counters into the content of `funnel.json`.

    Args:
        counts: Rows of `COUNTS`.
        operators: For each source, the operators in their order.
    """
    sums: Counter[tuple[str, str, str]] = Counter()
    for part in counts:
        columns = (part.column(name).to_pylist() for name in ("source", "operator", "counter", "value"))
        for source, operator, counter, value in zip(*columns, strict=True):
            sums[source, operator, counter] += value
    sources: dict[str, dict[str, Any]] = {
        source: {"operators": [_row(sums, source, operator) for operator in names]}
        for source, names in sorted(operators.items())
    }
    for rows in sources.values():
        first, last = rows["operators"][0], rows["operators"][-1]
        rows["documents_in"], rows["documents_out"] = first["documents_in"], last["documents_out"]
        rows["bytes_in"], rows["bytes_out"] = first["bytes_in"], last["bytes_out"]
    total = {
        key: sum(rows[key] for rows in sources.values())
        for key in ("documents_in", "documents_out", "bytes_in", "bytes_out")
    }
    return {"sources": sources, "total": total}


def _row(sums: Mapping[tuple[str, str, str], int], source: str, operator: str) -> dict[str, Any]:
    mine = {counter: value for (s, o, counter), value in sums.items() if (s, o) == (source, operator)}
    split: dict[str, dict[str, int]] = {"reject": {}, "change": {}, "count": {}}
    for counter, value in sorted(mine.items()):
        kind, _, name = counter.partition(":")
        if kind in split:
            split[kind][name] = value
    return {
        "operator": operator,
        "documents_in": mine.get("docs_in", 0), "documents_out": mine.get("docs_out", 0),
        "bytes_in": mine.get("bytes_in", 0), "bytes_out": mine.get("bytes_out", 0),
        "rejected": split["reject"], "changed": split["change"], "counters": split["count"],
    }  # fmt: skip


def duplicate_alarms(funnel: Funnel, steps: Collection[str], expected: Mapping[str, float]) -> list[dict[str, Any]]:
    """Sources that lost more documents as duplicates than was expected of them.

    Merging too much is the costliest known failure of deduplication, and nobody looks at a source that vanished: so
    the share is watched. Documents that filters removed before do not count.

    Args:
        funnel: From `build`.
        steps: The operators that remove duplicates.
        expected: Source → largest share that duplicates may take.

    Returns:
        For each such source: source, removed, of, ratio, expected, and the documents that each step removed.
    """
    alarms: list[dict[str, Any]] = []
    for source, content in funnel["sources"].items():
        rows = [row for row in content["operators"] if row["operator"] in steps]
        removed = {row["operator"]: row["documents_in"] - row["documents_out"] for row in rows}
        total, before = sum(removed.values()), rows[0]["documents_in"] if rows else 0
        if before and total > expected[source] * before:
            alarms.append({"source": source, "removed": total, "of": before, "ratio": round(total / before, 4),
                           "expected": expected[source], "steps": removed})  # fmt: skip
    return alarms


def alarm_message(alarm: Mapping[str, Any]) -> str:
    """An alarm as a sentence."""
    steps = ", ".join(f"{step} {count:,}" for step, count in alarm["steps"].items() if count)
    return (
        f"{alarm['source']} lost {alarm['removed']:,} of {alarm['of']:,} documents as duplicates "
        f"({alarm['ratio']:.0%}, expected at most {alarm['expected']:.0%}; {steps})"
    )


def show(funnel: Funnel) -> None:
    """Prints the funnel as one table, source after source, and its alarms."""
    rows: list[list[Any]] = []
    for source, content in funnel["sources"].items():
        for place, row in enumerate(content["operators"]):
            removed = row["documents_in"] - row["documents_out"]
            counts = [row["documents_in"], row["documents_out"], -removed or 0]
            sizes = [size(row["bytes_in"]), size(row["bytes_out"])]
            rows.append([source if place == 0 else "", row["operator"], *counts, *sizes, _reasons(row)])
        rows.append([""] * 8)
    table(["source", "operator", "docs in", "docs out", "removed", "bytes in", "bytes out", "top reasons"], rows[:-1],
          title="Funnel")  # fmt: skip
    for alarm in funnel["duplicate_alarms"]:
        warn(alarm_message(alarm))


def _reasons(row: Mapping[str, Any]) -> str:
    shown = [f"{name} {n:,}" for name, n in Counter(row["rejected"]).most_common(3)]
    shown += [f"({name} {n:,})" for name, n in Counter(row["changed"]).most_common(1)]
    return ", ".join(shown)


def refuse_empty(
    funnel: Funnel, allow_empty_sources: bool, example: Callable[[str, str, str], str] = lambda *_: ""
) -> None:
    """Stops when nothing is left.

    Args:
        funnel: The counts.
        allow_empty_sources: Whether a source may end without any document.
        example: Source, operator and reason → what was said about one document that was removed so.

    Raises:
        DataError: No document is left, in all or (unless allowed) in one source.
    """
    # The largest source first: where nothing at all is left, it says the most.
    for source, content in sorted(funnel["sources"].items(), key=lambda item: -item[1]["documents_in"]):
        everything = funnel["total"]["documents_out"] == 0
        if content["documents_out"] or (allow_empty_sources and not everything):
            continue
        what = "the corpus" if everything else f"the source {source}"
        if not content["documents_in"]:
            raise DataError(f"{what} is empty: no record was read", found=f"0 records in raw/{source}",
                            hint="collect more: headwater data collect")  # fmt: skip
        worst = max(content["operators"], key=lambda row: row["documents_in"] - row["documents_out"])
        removed = worst["documents_in"] - worst["documents_out"]
        reason, count = max(worst["rejected"].items(), key=lambda item: item[1])
        said = example(source, worst["operator"], reason)
        relax = f"relax documents.sources.{source} in the recipe (options of {worst['operator']})"
        if worst["operator"] == "read":
            relax = f"say in sources.{source} how its files are to be read (format, columns), and collect it again"
        raise DataError(
            f"{what} is empty after the filters",
            found=f"{worst['operator']} removed {removed:,} of {content['documents_in']:,} documents of {source}; "
            f"its top reason: {reason} ({count:,})" + (f", for example: {said}" if said else ""),
            expected="at least one document of every source",
            hint=relax + ("" if everything else ", or set documents.allow_empty_sources=true"),
        )
