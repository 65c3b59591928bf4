"""Prints an evaluation for people: a table with intervals, then one line."""

import shlex

from headwater.core.console import done, table
from headwater.eval.notes import headline
from headwater.eval.results import OverlapPart, Score
from headwater.eval.stage import Evaluation

HEADERS = ["task", "metric", "score", "95% interval", "chance", "items", "shots", "truncated", "reading"]
_SPLIT_AT = 6


def print_summary(evaluation: Evaluation) -> None:
    """Prints the scores, the bits per byte, what was refused, and the stage's one line."""
    results = evaluation.results
    if results.tasks:
        split = any(score.overlap for score in results.tasks)
        asked = results.asked
        shown = [score for score in results.tasks if score.group or score.task in asked] or results.tasks
        headers = [*HEADERS[:_SPLIT_AT], "clean", "overlapping", *HEADERS[_SPLIT_AT:]] if split else HEADERS
        table(headers, [row(score, split=split) for score in shown])
        if hidden := len({score.task for score in results.tasks} - {score.task for score in shown}):
            print(f"{hidden} tasks of these groups: {evaluation.folder / 'results.json'}")
    if results.bits_per_byte:
        named = [*results.bits_per_byte.sources.items(), ("all sources", results.bits_per_byte)]
        rows = [[name, f"{b.model:.3f}", f"{b.unigram:.3f}", b.documents, b.bytes] for name, b in named]
        table(["held-out text", "bits per byte", "unigram model", "documents", "bytes"], rows)
    if evaluation.sandbox:
        print(f"sandbox of generated code: {evaluation.sandbox}")
    for refused in results.refused:
        print(f"refused: {refused.task}: {refused.reason}")
    for line in results.notes:
        print(line)
    print(f"every item, and the scores drawn: headwater eval report {shlex.quote(str(evaluation.folder))}")
    done("eval", one_line(evaluation))


def one_line(evaluation: Evaluation) -> str:
    """What the stage did, in one line."""
    results = evaluation.results
    step = results.checkpoint.step
    model = "model" if step is None else f"step {step:,}"
    parts = [model if evaluation.fresh else f"up to date · {model}"]
    for score in headline(results.tasks, results.asked):
        parts.append(f"{score.task} {score.value:.1%}{' (chance)' if score.indistinguishable_from_chance else ''}")
    if results.bits_per_byte:
        bits = results.bits_per_byte
        parts.append(f"{bits.model:.3f} bits per byte held out (unigram {bits.unigram:.3f})")
    if results.refused:
        parts.append(f"{len(results.refused)} tasks refused")
    return " · ".join(parts)


def row(score: Score, *, split: bool = False) -> list[object]:
    """A score as a row under `HEADERS`; with `split`, with the scores on clean and on overlapping items."""
    interval = "" if score.interval is None else f"{score.interval.low:.3f} … {score.interval.high:.3f}"
    metric = score.metric if score.filter == "none" else f"{score.metric} ({score.filter})"
    cells: list[object] = [
        score.task,
        metric,
        f"{score.value:.3f}",
        interval,
        "" if score.chance is None else f"{score.chance:.3f}",
        score.items,
        score.few_shot,
        score.truncated,
        reading(score),
    ]
    if split:
        found = score.overlap
        cells[_SPLIT_AT:_SPLIT_AT] = [_part(found and found.clean), _part(found and found.overlapping)]
    return cells


def _part(part: OverlapPart | None) -> str:
    """The score on a part of the items, and how many they are."""
    return "" if part is None else f"{part.value:.3f} ({part.items:,})"


def reading(score: Score) -> str:
    """What the score says against chance, in words."""
    if score.indistinguishable_from_chance is None or score.interval is None or score.chance is None:
        return ""
    if score.indistinguishable_from_chance:
        return "indistinguishable from chance"
    return "above chance" if score.interval.low > score.chance else "below chance"
