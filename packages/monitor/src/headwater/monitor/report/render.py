"""The page: the template filled with a run, its charts, and the figures of its headline."""

from __future__ import annotations

from importlib.resources import files

from markupsafe import Markup

from headwater.core.page import format as fmt
from headwater.core.page.frame import draw
from headwater.core.page.line import QUIET, Curve, key_glyph, line_chart
from headwater.core.page.whisker import whisker_chart

from .charts.funnel import funnel_chart
from .charts.lineage import lineage_chart
from .charts.mixture import mixture_chart, weight_curves
from .view import History, RunView

_TEMPLATES = files("headwater.monitor.report") / "templates"
_SECTIONS = [
    ("funnel", "Funnel"), ("mixture", "Mixture"), ("loss", "Loss"), ("optimizer", "Optimizer"),
    ("throughput", "Throughput"), ("evaluation", "Evaluation"), ("lineage", "Lineage"), ("recipe", "Recipe"),
    ("reproduce", "Reproduce"),
]  # fmt: skip
#: Rows of a table that stands for a curve.
_STAGE_ROWS = 24
_TABLE_ROWS = 24


def render(view: RunView, *, title: str, theme: str, again: list[str]) -> str:
    """The whole page as one string that needs no other file.

    Args:
        view: The run.
        title: Heading; the recipe's name when empty.
        theme: `auto`, `light` or `dark`.
        again: Commands that reproduce the run.
    """
    return draw(
        _TEMPLATES, "report", title=title or view.name, kind="Headwater run report", sections=_SECTIONS, theme=theme,
        view=view, again=again, charts=_charts(view), samples=samples, missing=_missing(view), key_glyph=key_glyph,
        event_kinds=_event_kinds(view), share=_share, stage_rows=_STAGE_ROWS,
    )  # fmt: skip


def samples(*curves: Curve) -> list[list[float | None]]:
    """At most a few dozen rows (step, then each curve's value) that stand for curves in a table."""
    steps = sorted({x for curve in curves for x in curve.x})
    stride = max(1, -(-len(steps) // _TABLE_ROWS))
    chosen = sorted({*steps[::stride], *steps[-1:], *(x for curve in curves[1:] for x in curve.x[-_TABLE_ROWS:])})
    tables = [dict(zip(curve.x, curve.y, strict=True)) for curve in curves]
    return [[step, *(table.get(step) for table in tables)] for step in chosen]


def _charts(view: RunView) -> dict[str, Markup]:
    charts: dict[str, Markup] = {}
    if view.funnel:
        charts["funnel"] = funnel_chart(view.funnel, view.colours, key="funnel")
    if view.mixture:
        charts["mixture"] = mixture_chart(view.mixture, view.colours, key="mixture")
    if len(view.stages) > 1:
        charts["weights"] = line_chart(
            weight_curves(view.stages, view.colours), key="weights", title="Weights of the sources over steps",
            label="share of the samples", zero=True, height=230, show=_percent,
        )  # fmt: skip
    if view.lineage:
        charts["lineage"] = lineage_chart(view.lineage, key="lineage")
    drawable = [score for score in view.evaluation.top if score.is_share] if view.evaluation else []
    if drawable:
        charts["scores"] = whisker_chart(drawable, key="scores")
    for number, history in enumerate(view.history):
        charts[f"history-{number}"] = line_chart(
            _with_chance(history), key=f"history-{number}", title=f"{history.task}, {history.metric}, over steps",
            label=f"{history.task.removeprefix('headwater_')} · {history.metric}", height=210, wide=510,
            show=_percent if history.share else fmt.general,
        )  # fmt: skip
    run = view.training
    if run:
        charts["loss"] = line_chart(
            [run.loss, run.validation], key="loss", title="Training and validation loss over steps",
            label="loss, nats a token", events=[event for event in run.events if event.kind in _event_kinds(view)],
        )  # fmt: skip
        small: dict[str, tuple[Curve, str, bool]] = {
            "grad_norm": (run.grad_norm, "gradient norm before clipping", True),
            "learning_rate": (run.learning_rate, "learning rate", True),
            "throughput": (run.throughput, "tokens a second", True),
            "step_seconds": (run.step_seconds, "seconds a step", True),
        }
        for key, (curve, label, zero) in small.items():
            if curve:
                show = fmt.short if key == "throughput" else fmt.general
                charts[key] = line_chart(
                    [curve], key=key, title=f"{curve.name.capitalize()} over steps", label=label, zero=zero,
                    height=230, wide=510, show=show,
                )  # fmt: skip
    return charts


def _with_chance(history: History) -> list[Curve]:
    """The score, and guessing as a second curve between its first and last step."""
    if history.chance is None:
        return [history.curve]
    ends = [history.curve.x[0], history.curve.x[-1]]
    return [history.curve, Curve("chance", ends, [history.chance] * 2, is_reference=True)]


def _percent(value: float) -> str:
    return fmt.percent(value, 1)


def _missing(view: RunView) -> dict[str, str]:
    """Words of a stage command → the whole command."""
    return {command.words: command.text for command in view.commands}


def _event_kinds(view: RunView) -> list[str]:
    """Kinds of events to mark; validations need none where their curve has a dot for each."""
    if view.training is None:
        return []
    quiet = {*QUIET, "validation"} if view.training.validation else set(QUIET)
    return [kind for kind in dict.fromkeys(event.kind for event in view.training.events) if kind not in quiet]


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole
