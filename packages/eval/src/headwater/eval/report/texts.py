"""One evaluation as Markdown and as JUnit XML."""

from __future__ import annotations

from headwater.eval.ci_files import Case, junit_xml, markdown_code, markdown_table, markdown_text
from headwater.eval.report.pairs import Pair
from headwater.eval.report.view import Row, View
from headwater.eval.results import OverlapPart
from headwater.eval.summary import HEADERS, row


def markdown(view: View, name: str, other: str = "") -> str:
    """For a comment on a pull request or a model card.

    Args:
        view: The evaluation.
        name: What it is called.
        other: What the one that it is held against is called.
    """
    results = view.results
    lines = [f"### Evaluation of {markdown_text(name)}", ""]
    if view.scores:
        lines += [*markdown_table(HEADERS, [row(each.score) for each in view.scores]), ""]
    if view.pairs is not None:
        lines += [f"#### Against {markdown_text(other)}", ""]
        headers = ["task", "metric", "items", "other", "this", "difference", "95% interval", "reading"]
        lines += [*markdown_table(headers, [_pair(pair) for pair in view.pairs.units]), ""]
        lines += [
            f"- {markdown_text(f'{task} is not compared: {reason}')}." for task, reason in view.pairs.left_out.items()
        ]
        lines += [""] * bool(view.pairs.left_out)
        lines += ["Paired differences on the same items; positive is better.", ""]
    if view.split:
        lines += ["#### Items that overlap the training documents", ""]
        headers = ["task", "metric", "clean", "95% interval", "items", "overlapping", "95% interval", "items"]
        lines += [*markdown_table(headers, [_split(each) for each in view.split]), ""]
    if results.bits_per_byte is not None:
        bits = results.bits_per_byte
        lines += [f"Held-out text: {bits.model:.3f} bits per byte, {bits.unigram:.3f} of a unigram model.", ""]
    lines += [f"- Not run: {markdown_text(f'{each.task}: {each.reason}')}" for each in results.refused]
    lines += [f"- {markdown_text(note)}" for note in results.notes]
    lines += [""] * bool(results.refused or results.notes)
    weights, software = markdown_code(results.checkpoint.weights_digest), results.software.get("lm-eval", "?")
    lines.append(f"Weights {weights}, lm-eval {markdown_text(software)}.")
    return "\n".join(lines) + "\n"


def junit(view: View) -> str:
    """JUnit XML: a score is a test that passed, a task that was not run is skipped; nothing fails by itself."""
    cases: list[Case] = []
    for each in view.scores:
        interval = each.score.interval
        words = f"{each.score.value:.4f}"
        words += "" if interval is None else f", 95% interval {interval.low:.4f} to {interval.high:.4f}"
        words += "" if each.score.chance is None else f", chance {each.score.chance:.4f}"
        cases.append(Case(f"{each.score.task} {each.metric}", "passed", f"{words}, {each.score.items:,} items"))
    cases += [Case(each.task, "skipped", each.reason) for each in view.results.refused]
    return junit_xml("headwater eval report", "headwater.eval", cases)


def _pair(pair: Pair) -> list[object]:
    found, (low, high) = pair.found, pair.ends
    return [
        pair.score.task, pair.metric, found.items, f"{found.baseline:.4f}", f"{found.candidate:.4f}",
        f"{found.effect:+.4f}", f"{low:+.4f} … {high:+.4f}", pair.reading,
    ]  # fmt: skip


def _split(each: Row) -> list[object]:
    split = each.score.overlap
    if split is None:
        return []
    return [each.score.task, each.metric, *_part(split.clean), *_part(split.overlapping)]


def _part(part: OverlapPart | None) -> list[object]:
    if part is None:
        return ["", "", 0]
    interval = "" if part.interval is None else f"{part.interval.low:.3f} … {part.interval.high:.3f}"
    return [f"{part.value:.3f}", interval, part.items]
