"""Prints an evaluation for people: a table with intervals, then one line."""

from headwater.core.console import done, table
from headwater.eval.results import Results, Score
from headwater.eval.stage import Evaluation


def print_summary(evaluation: Evaluation) -> None:
    """Prints the scores, the bits per byte, what was refused, and the stage's one line."""
    results = evaluation.results
    if results.scores:
        headers = ["task", "metric", "score", "95% interval", "chance", "items", "shots", "truncated", "reading"]
        table(headers, [_row(score) for score in results.scores])
    if results.bits_per_byte:
        rows = [
            [row.source, f"{row.model:.3f}", f"{row.unigram:.3f}", row.documents, row.bytes]
            for row in results.bits_per_byte
        ]
        table(["held-out text", "bits per byte", "unigram model", "documents", "bytes"], rows)
    for refused in results.refused:
        print(f"refused: {refused.task}: {refused.reason}")
    for line in notes(results):
        print(line)
    done("eval", one_line(evaluation))


def one_line(evaluation: Evaluation) -> str:
    """What the stage did, in one line."""
    results = evaluation.results
    model = "model" if results.model.step is None else f"step {results.model.step:,}"
    parts = [model if evaluation.fresh else f"up to date · {model}"]
    for score in _headline(results):
        parts.append(f"{score.task} {score.value:.1%}{' (chance)' if score.indistinguishable_from_chance else ''}")
    parts += [
        f"{row.model:.3f} bits per byte held out (unigram {row.unigram:.3f})"
        for row in results.bits_per_byte
        if row.source == "total"
    ]
    if results.refused:
        parts.append(f"{len(results.refused)} tasks refused")
    return " · ".join(parts)


def notes(results: Results) -> list[str]:
    """Sentences that a reader of the table must not miss."""
    lines: list[str] = []
    compared = [score for score in _headline(results) if score.indistinguishable_from_chance is not None]
    at_chance = [score.task for score in compared if score.indistinguishable_from_chance]
    if at_chance:
        lines.append(
            f"Indistinguishable from chance: {', '.join(at_chance)}. The interval includes the score of a guess, "
            "so these scores say nothing about what the model knows."
        )
    truncated = {score.task: score for score in results.scores if score.truncated and not score.group}
    if truncated:
        named = ", ".join(f"{score.task} {score.truncated} of {score.items}" for score in truncated.values())
        lines.append(
            f"Truncated prompts: {named}. Their beginning did not fit the model's {results.model.max_length:,} tokens."
        )
    if results.settings.get("eval", {}).get("limit"):
        lines.append("Only the first items of each task were run: these are no benchmark scores.")
    return lines


def _headline(results: Results) -> list[Score]:
    """The first score of every group and of every task that belongs to no group."""
    chosen: dict[str, Score] = {}
    groups = [score for score in results.scores if score.group]
    asked = results.settings.get("eval", {}).get("tasks", [])
    for score in results.scores:
        if score.task in asked or not groups:
            chosen.setdefault(score.task, score)
    return list(chosen.values()) or results.scores[:1]


def _row(score: Score) -> list[object]:
    interval = "" if score.interval is None else f"{score.interval.low:.3f} … {score.interval.high:.3f}"
    metric = score.metric if score.filter == "none" else f"{score.metric} ({score.filter})"
    return [
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


def reading(score: Score) -> str:
    """What the score says against chance, in words."""
    if score.indistinguishable_from_chance is None or score.interval is None or score.chance is None:
        return ""
    if score.indistinguishable_from_chance:
        return "indistinguishable from chance"
    return "above chance" if score.interval.low > score.chance else "below chance"
