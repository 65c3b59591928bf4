"""A gate's decision for people (a table, Markdown) and for CI servers (JUnit)."""

from __future__ import annotations

from headwater.eval.ci_files import Case, junit_xml, markdown_code, markdown_table, markdown_text
from headwater.eval.gate import Decision, Unit


def sentence(unit: Unit) -> str:
    """What the comparison says, in words."""
    if unit.verdict == "NO-GO":
        return f"worse by {_points(-unit.effect, unit)}"
    if unit.verdict == "GO":
        return f"a loss of {_points(unit.margin, unit)} is ruled out"
    if unit.low is None:
        return f"{unit.items} {'item is' if unit.items == 1 else 'items are'} too few to say anything"
    if unit.low <= -unit.margin < unit.effect:
        return f"a loss of {_points(unit.margin, unit)} is not ruled out; more items or a wider margin would decide"
    return "seems worse, but it may be chance; more items would decide"


def headline(decision: Decision) -> str:
    """The verdict and what decided it, in one line."""
    if decision.verdict == "NO-GO":
        worse = [unit for unit in decision.units if unit.verdict == "NO-GO"]
        return f"NO-GO: {', '.join(f'{unit.task} is {sentence(unit)}' for unit in worse)}"
    if decision.verdict == "GO":
        return (
            f"GO: {len(decision.units)} {'task' if len(decision.units) == 1 else 'tasks'}, none worse beyond its margin"
        )
    open_ = [unit.task for unit in decision.units if unit.verdict == "INCONCLUSIVE"]
    reasons = [f"not decided: {', '.join(open_)}"] * bool(open_)
    reasons += [f"not in both evaluations: {', '.join(decision.missing)}"] * bool(decision.missing)
    return f"INCONCLUSIVE: {'; '.join(reasons)}"


HEADERS = ["task", "metric", "items", "baseline", "candidate", "effect", "interval", "p", "detectable", "verdict", ""]


def rows(decision: Decision) -> list[list[object]]:
    """A row a task, under `HEADERS`."""
    return [
        [
            unit.task, unit.metric, unit.items, f"{unit.baseline:.4f}", f"{unit.candidate:.4f}", f"{unit.effect:+.4f}",
            "" if unit.low is None else f"{unit.low:+.4f} … {unit.high:+.4f}", f"{unit.p_corrected:.2g}",
            "" if unit.detectable is None else f"{unit.detectable:.4f}", unit.verdict, sentence(unit),
        ]
        for unit in decision.units
    ]  # fmt: skip


def markdown(decision: Decision) -> str:
    """For a comment on a pull request."""
    lines = [f"### {markdown_text(headline(decision))}", ""]
    lines += markdown_table(HEADERS, rows(decision))
    lines += [
        "",
        f"Effect: candidate over baseline on the same items, positive is better. p: one-sided, Holm over "
        f"{len(decision.units)} tasks; a NO-GO has at most {decision.level:.0%} probability when the models are alike. "
        f"Detectable: the smallest loss that would have been found with {decision.power:.0%} probability.",
        "",
        *[f"**Beware:** {each}\n" for each in decision.warnings],
        f"Baseline {markdown_code(decision.baseline)}, candidate {markdown_code(decision.candidate)}.",
    ]
    return "\n".join(lines) + "\n"


def junit(decision: Decision) -> str:
    """JUnit XML: NO-GO is a failure, INCONCLUSIVE and missing tasks are skipped."""
    cases: list[Case] = []
    for unit in decision.units:
        told = f"{sentence(unit)}: {unit.baseline:.4f} → {unit.candidate:.4f}, {unit.items:,} items"
        name = f"{unit.task} {unit.metric}"
        if unit.verdict == "NO-GO":
            cases.append(Case(name, "failure", told, "regression"))
        else:
            cases.append(Case(name, "skipped" if unit.verdict == "INCONCLUSIVE" else "passed", told))
    cases += [Case(name, "skipped", "not in both evaluations") for name in decision.missing]
    return junit_xml("headwater eval gate", "headwater.eval.gate", cases)


def _points(value: float, unit: Unit) -> str:
    return f"{value:.2%}" if unit.test == "mcnemar" else f"{value:.4g}"
