"""The page: the template filled with an evaluation, its charts and its items."""

from __future__ import annotations

import shlex
from importlib.resources import files

from markupsafe import Markup

from headwater.core.page import format as fmt
from headwater.core.page import whisker
from headwater.core.page.frame import draw
from headwater.core.page.line import Curve, line_chart
from headwater.core.page.whisker import Axis, whisker_chart
from headwater.eval.report.charts import heat_map, inline_whisker
from headwater.eval.report.items import embed, pack
from headwater.eval.report.pairs import Pair
from headwater.eval.report.read import History, Source
from headwater.eval.report.view import Row, View

_TEMPLATES = files("headwater.eval.report") / "templates"


def render(view: View, *, theme: str = "auto", plain: bool = False) -> str:
    """The whole page as one string that needs no other file.

    Args:
        view: The evaluation.
        theme: `auto`, `light` or `dark`.
        plain: Whether the items are embedded as they are, not compressed.
    """
    other = view.other.evaluated if view.other is not None else None
    run = None if view.source.run is None else shlex.quote(str(view.source.run.root))
    called = names(view)
    packed = pack(view.source.evaluated, other) | {"names": {**called, "run": run}}
    return draw(
        _TEMPLATES, "evaluation", title=called["this"], kind="Headwater evaluation", sections=_sections(view),
        theme=theme,
        scripts=["evaluation.js"], data={"items-data": embed(packed, plain=plain)}, view=view, results=view.results,
        names=called, charts=_charts(view), inline=_inline, inline_pair=_inline_pair,
        count_items=len(packed["index"]), shown=_shown,
    )  # fmt: skip


def _sections(view: View) -> list[tuple[str, str]]:
    found = [("scores", "Scores")]
    found += [("against", "Against")] * (view.pairs is not None)
    found += [("tasks", "By task")] * bool(view.groups)
    found += [("overlap", "Overlap")] * bool(view.split)
    found += [("needles", "Needles")] * (view.needles is not None)
    found += [("steps", "Over steps")] * bool(view.histories)
    return [*found, ("items", "Items"), ("origin", "Origin")]


def names(view: View) -> dict[str, str]:
    """What the evaluation and the one it is held against are called, so that the two can be told apart."""
    this = _name(view.source)
    other = "" if view.other is None else _name(view.other)
    if view.other is not None and this == other:
        this, other = (f"{name} ({each.folder})" for name, each in ((this, view.source), (other, view.other)))
    return {"this": this, "other": other}


def _name(source: Source) -> str:
    step = source.results.checkpoint.step
    return source.name if step is None else f"{source.name}, step {step:,}"


def _charts(view: View) -> dict[str, Markup]:
    charts: dict[str, Markup] = {}
    if view.drawable:
        charts["scores"] = whisker_chart([row.drawn() for row in view.drawable], key="scores")
    if view.pairs is not None and (units := [pair for pair in view.pairs.units if pair.is_share]):
        charts["against"] = whisker_chart(
            [_difference(pair) for pair in units], key="against", title="Differences with 95% intervals",
            axis=_axis(units),
        )  # fmt: skip
    if parts := [part for row in view.split if row.is_share for part in row.parts()]:
        charts["overlap"] = whisker_chart(parts, key="overlap", title="Scores on clean and overlapping items")
    both = view.other_needles is not None
    if view.needles is not None:
        title = "Needles found by length and depth"
        charts["needles"] = heat_map(view.needles, key="needles", title=title, **({"wide": 510} if both else {}))
    if view.other_needles is not None:
        charts["other_needles"] = heat_map(
            view.other_needles, key="other-needles", title="Needles that the other model found", wide=510
        )
    for number, each in enumerate(view.histories):
        charts[f"steps-{number}"] = line_chart(
            _curves(each), key=f"steps-{number}", title=f"{each.task}, {each.metric}, over steps",
            label=f"{each.task.removeprefix('headwater_')} · {each.metric}", height=210, wide=510,
            show=fmt.percent if each.share else fmt.general,
        )  # fmt: skip
    return charts


def _curves(each: History) -> list[Curve]:
    steps = [float(step) for step in each.steps]
    curve = Curve("score", steps, each.values, each.intervals)
    if each.chance is None:
        return [curve]
    return [curve, Curve("chance", [steps[0], steps[-1]], [each.chance] * 2, is_reference=True)]


def _difference(pair: Pair) -> whisker.Score:
    found = pair.found
    return whisker.Score(pair.score.task, pair.metric, found.effect, *pair.ends, found.items, 0.0)


def _axis(pairs: list[Pair]) -> Axis:
    """Zero in the middle, and room for every interval."""
    most = max((abs(end) for pair in pairs for end in pair.ends), default=0.1)
    end = next((each for each in (0.02, 0.05, 0.1, 0.2, 0.3, 0.5) if most <= each), 1.0)
    return Axis(
        -end,
        end,
        _points,
        lambda value: fmt.signed(value, 1 if end < 0.05 else 0) if abs(value) > 1e-9 else "0",
        "no difference",
    )


def _points(value: float) -> str:
    return fmt.signed(value)


def _inline(row: Row) -> Markup:
    drawn = row.drawn()
    if not row.is_share or row.score.interval is None:
        return Markup("")
    return inline_whisker(drawn.value, drawn.low, drawn.high, drawn.chance, drawn.verdict)


def _inline_pair(pair: Pair, pairs: list[Pair]) -> Markup:
    axis, drawn = _axis(pairs), _difference(pair)
    if not pair.is_share:
        return Markup("")
    return inline_whisker(drawn.value, drawn.low, drawn.high, 0.0, drawn.verdict, (axis.low, axis.high))


def _shown(value: float | None, share: bool) -> str:
    return fmt.percent(value) if share else fmt.general(value)
