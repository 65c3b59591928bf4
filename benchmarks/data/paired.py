"""Contenders measured against one another: interleaved, in turning order, in CPU seconds of this process."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Contender = Callable[[Any], Mapping[str, float] | None]
"""Works on one piece of input. Returns CPU seconds of its parts, if it measures any."""


def measure(
    contenders: Mapping[str, Contender], pieces: Sequence[Any], repeats: int
) -> dict[str, list[dict[str, float]]]:
    """CPU seconds of each contender over all pieces: for each repeat those of its parts, and of the "whole"."""
    for run in contenders.values():  # imports, compilers' caches and models
        run(pieces[0])
    found: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for repeat in range(repeats):
        for name in contenders:
            found[name].append({"whole": 0.0})
        for number, piece in enumerate(pieces):
            names = list(contenders)
            turn = (repeat + number) % len(names)
            for name in names[turn:] + names[:turn]:
                start = time.process_time()
                parts = contenders[name](piece) or {}
                total = found[name][-1]
                total["whole"] += time.process_time() - start
                for part, seconds in parts.items():
                    total[part] = total.get(part, 0.0) + seconds
    return found


def ratios(found: Mapping[str, list[dict[str, float]]], ours: str) -> list[dict[str, Any]]:
    """For each peer and each part that both have: the peer's seconds over ours, median and range of the repeats."""
    rows = []
    for peer, runs in found.items():
        for part in runs[0] if peer != ours else ():
            if part in found[ours][0]:
                each = [theirs[part] / mine[part] for theirs, mine in zip(runs, found[ours], strict=True)]
                row = {
                    "peer": peer,
                    "part": part,
                    "ratio": statistics.median(each),
                    "low": min(each),
                    "high": max(each),
                }
                rows.append(row)
    return rows


def show(rows: Sequence[Mapping[str, Any]], target: Path | None) -> None:
    """Prints the ratios, and writes them as JSON."""
    print(f"{'peer':<40}{'part':<20}{'peer/ours':>10}{'range':>18}")
    for row in rows:
        spread = f"{row['low']:.1f}–{row['high']:.1f}"
        print(f"{row['peer']:<40}{row['part']:<20}{row['ratio']:>10.1f}{spread:>18}")
    if target:
        target.write_text(json.dumps(list(rows), indent=1) + "\n")
