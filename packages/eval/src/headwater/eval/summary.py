"""Prints an evaluation for people: a table with intervals, then one line."""

from headwater.core.console import done, table
from headwater.eval.notes import headline
from headwater.eval.results import OverlapPart, Score
from headwater.eval.stage import Evaluation


def print_summary(evaluation: Evaluation) -> None:
    """Prints the scores, the bits per byte, what was refused, and the stage's one line."""
    results = evaluation.results
    if results.tasks:
        split = any(score.overlap for score in results.tasks)
        headers = ["task", "metric", "score", "95% interval", "chance", "items", "shots", "truncated", "reading"]
        headers[6:6] = ["clean", "overlapping"] if split else []
        asked = results.settings["eval"]["tasks"]
        shown = [score for score in results.tasks if score.group or score.task in asked] or results.tasks
        table(headers, [_row(score, split=split) for score in shown])
        if hidden := len({score.task for score in results.tasks} - {score.task for score in shown}):
            print(f"{hidden} tasks of these groups: {evaluation.folder / 'results.json'}")
    if results.bits_per_byte:
        named = [*results.bits_per_byte.sources.items(), ("all sources", results.bits_per_byte)]
        rows = [[name, f"{b.model:.3f}", f"{b.unigram:.3f}", b.documents, b.bytes] for name, b in named]
        table(["held-out text", "bits per byte", "unigram model", "documents", "bytes"], rows)
    for refused in results.refused:
        print(f"refused: {refused.task}: {refused.reason}")
    for line in results.notes:
        print(line)
    done("eval", one_line(evaluation))


def one_line(evaluation: Evaluation) -> str:
    """What the stage did, in one line."""
    results = evaluation.results
    step = results.checkpoint.step
    model = "model" if step is None else f"step {step:,}"
    parts = [model if evaluation.fresh else f"up to date · {model}"]
    for score in headline(results.tasks, results.settings["eval"]["tasks"]):
        parts.append(f"{score.task} {score.value:.1%}{' (chance)' if score.indistinguishable_from_chance else ''}")
    if results.bits_per_byte:
        bits = results.bits_per_byte
        parts.append(f"{bits.model:.3f} bits per byte held out (unigram {bits.unigram:.3f})")
    if results.refused:
        parts.append(f"{len(results.refused)} tasks refused")
    return " · ".join(parts)


def _row(score: Score, *, split: bool) -> list[object]:
    interval = "" if score.interval is None else f"{score.interval.low:.3f} … {score.interval.high:.3f}"
    metric = score.metric if score.filter == "none" else f"{score.metric} ({score.filter})"
    return [
        score.task,
        metric,
        f"{score.value:.3f}",
        interval,
        "" if score.chance is None else f"{score.chance:.3f}",
        score.items,
        *(
            (_part(score.overlap and score.overlap.clean), _part(score.overlap and score.overlap.overlapping))
            if split
            else ()
        ),
        score.few_shot,
        score.truncated,
        reading(score),
    ]


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
