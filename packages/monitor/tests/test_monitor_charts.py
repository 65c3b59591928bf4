"""Charts: what is drawn is what was measured, and text stays text."""

from __future__ import annotations

import itertools
import json
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.page import format as fmt
from headwater.core.page import svg
from headwater.core.page.downsample import extremes
from headwater.core.page.line import MARKS, Curve, Event, line_chart
from headwater.core.page.scale import bounds, ticks
from headwater.core.page.whisker import Score, whisker_chart
from headwater.core.theme import DARK, GRAPHIC_PAIRS, LIGHT, TEXT_PAIRS, contrast
from headwater.monitor.report.charts.funnel import funnel_chart
from headwater.monitor.report.charts.lineage import lineage_chart
from headwater.monitor.report.charts.mixture import mixture_chart
from headwater.monitor.report.view import Evaluation, Funnel, FunnelRow, MixtureRow, Node

NAN = float("nan")
HOSTILE = "<script>alert(1)</script>\"'&"


def parse(markup: str) -> ET.Element:
    return ET.fromstring(f"<div>{markup}</div>")


def drawings(markup: str) -> list[ET.Element]:
    return list(parse(markup).iter("svg"))


def classes(markup: str, name: str) -> list[ET.Element]:
    return [e for e in parse(markup).iter() if name in e.get("class", "").split()]


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 10))
def test_ticks_are_inside_and_evenly_spaced(low: float, span: float, count: int) -> None:
    high = low + span
    if not high - low > 1e-9 * max(abs(low), abs(high)):
        return
    found = ticks(low, high, count)
    assert len(found) <= count + 1
    slack = (high - low) * 1e-6
    assert all(low - slack <= value <= high + slack for value in found)


@given(st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(NAN)), min_size=1, max_size=400), st.integers(4, 60))
def test_downsampling_keeps_the_extremes_and_the_ends(ys: list[float], limit: int) -> None:
    xs = [float(i) for i in range(len(ys))]
    px, py = extremes(xs, ys, limit)
    finite = [(x, y) for x, y in zip(xs, ys, strict=True) if y == y]
    assert len(px) <= limit + 2
    assert px == sorted(px)
    assert set(zip(px, py, strict=True)) <= set(finite)
    if finite:
        assert (min(py), max(py)) == (min(y for _, y in finite), max(y for _, y in finite))
        assert (px[0], px[-1]) == (finite[0][0], finite[-1][0])


def test_a_spike_of_one_step_in_a_million_is_drawn() -> None:
    xs = [float(x) for x in range(1_000_000)]
    ys = [2.0] * 1_000_000
    ys[734_512] = 9.0
    px, py = extremes(xs, ys, 1200)
    assert px[py.index(9.0)] == 734_512
    assert len(px) <= 1202


@pytest.mark.parametrize("values", [[], [NAN], [1.0], [0.0, 0.0], [-1.0, 1.0]])
def test_bounds_always_span_something(values: list[float]) -> None:
    low, high = bounds(values)
    assert low < high


def test_a_line_chart_draws_every_point_and_marks_every_event() -> None:
    loss = Curve("train", [1.0, 2.0, 3.0], [3.0, 2.5, NAN])
    events = [Event("checkpoint", 2, "path step-2"), Event("nonfinite", 3), Event("finish", 3)]
    markup = line_chart([loss, Curve("validation", [], [])], key="k", title="T", label="loss", events=events)
    wide, narrow = drawings(markup)
    assert wide.get("viewBox") != narrow.get("viewBox")
    data = json.loads(wide.get("data-plot", ""))
    assert [series["name"] for series in data["series"]] == ["train"]
    assert data["series"][0]["x"] == [1.0, 2.0]
    titles = [e.text for e in wide.iter("title")]
    assert "step 2: checkpoint · path step-2" in titles
    assert any((text or "").startswith("step 3: nonfinite") for text in titles)
    assert not any("finish" in (text or "") for text in titles)
    assert len(classes(markup, "mark-line")) == 2, "a step that is not finite also gets a line, in both drawings"


def test_events_of_many_steps_are_thinned() -> None:
    events = [Event("checkpoint", step) for step in range(5000)]
    markup = line_chart([Curve("train", [0.0, 5000.0], [1.0, 2.0])], key="k", title="T", label="l", events=events)
    assert len(classes(markup, "mark")) <= 2 * MARKS


def test_every_drawing_has_a_name_and_a_description() -> None:
    markup = line_chart([Curve("train", [1.0, 9.0], [3.0, 2.0])], key="k", title="Loss over steps", label="loss")
    for drawing in drawings(markup):
        ids = {e.get("id"): e.text for e in drawing.iter() if e.get("id")}
        assert ids[drawing.get("aria-labelledby")] == "Loss over steps"
        assert "from 3 at step 1 to 2 at step 9" in (ids[drawing.get("aria-describedby")] or "")
    names = [e.get("id") for e in parse(markup).iter() if e.get("id")]
    assert len(names) == len(set(names))


def funnel() -> Funnel:
    return Funnel([
        FunnelRow("extract", "web", 100, 90, 1000, 500, {"no_text": 10}),
        FunnelRow("extract", "code", 50, 50, 400, 400, {}),
        FunnelRow("quality", "web", 90, 60, 500, 300, {"short": 20, "repetition": 10}),
    ])  # fmt: skip


def test_the_funnel_carries_a_source_past_operators_that_do_not_see_it() -> None:
    steps = funnel().steps
    assert [step.documents_out for step in steps] == [140, 110]
    assert [step.removed for step in steps] == [10, 30]
    assert (funnel().documents_in, funnel().documents_out, funnel().bytes_out) == (150, 110, 700)


def test_operators_of_sources_with_different_lists_are_merged_in_order() -> None:
    def rows(source: str, *operators: str) -> list[FunnelRow]:
        return [FunnelRow(operator, source, 1, 1, 1, 1, {}) for operator in operators]

    merged = Funnel([
        *rows("code", "extract", "pii", "dedup"), *rows("web", "extract", "language", "quality", "pii", "dedup"),
        *rows("zzz", "quality", "dedup", "last"),
    ])  # fmt: skip
    assert merged.operators == ["extract", "language", "quality", "pii", "dedup", "last"]
    crossed = Funnel([*rows("a", "x", "y"), *rows("b", "y", "x")])
    assert sorted(crossed.operators) == ["x", "y"], "orders that contradict one another still give every operator once"


def test_the_bars_of_the_funnel_are_to_scale() -> None:
    markup = funnel_chart(funnel(), {"web": "s1", "code": "s2"}, key="k")
    wide = drawings(markup)[0]
    bars = [float(e.get("width", 0)) for e in wide.iter("rect") if "s1" in e.get("class", "").split()]
    assert len(bars) == 3, "collected, extract, quality"
    assert bars[1] / bars[0] == pytest.approx(0.9, rel=1e-3)
    assert bars[2] / bars[0] == pytest.approx(0.6, rel=1e-3)
    assert "−30 · short" in "".join(wide.itertext())


def test_the_mixture_shows_what_was_set_beside_what_was_drawn() -> None:
    rows = [MixtureRow("web", 0.75, 0.7, 70, 700, 1000, 0.7), MixtureRow("code", 0.25, None, None, None, 10, None)]
    text = "".join(drawings(mixture_chart(rows, {"web": "s1", "code": "s2"}, key="k"))[0].itertext())
    assert "75.0% set" in text
    assert "70.0% drawn" in text
    assert "25.0% set" in text


@pytest.mark.parametrize(
    ("low", "high", "chance", "verdict"),
    [(0.2, 0.3, 0.25, "at"), (0.26, 0.4, 0.25, "above"), (0.1, 0.2, 0.25, "below"), (0.1, 0.2, None, "unknown")],
)
def test_a_score_is_read_against_chance(low: float, high: float, chance: float | None, verdict: str) -> None:
    score = Score("t", "acc", (low + high) / 2, low, high, 60, chance)
    assert score.verdict == verdict
    assert len(classes(whisker_chart([score], key="k"), "chance")) == (2 if chance is not None else 0)


def test_of_a_group_only_the_group_is_drawn_and_counted() -> None:
    def score(task: str, metric: str = "acc", group: bool = False) -> Score:
        return Score(task, metric, 0.3, 0.2, 0.4, 10, 0.25, group=group)

    names = [
        score("mmlu", group=True),
        score("mmlu_stem", group=True),
        score("mmlu_astronomy"),
        score("gsm8k", "strict"),
    ]
    found = Evaluation([*names, score("gsm8k", "flexible")])
    assert [(s.task, s.metric) for s in found.top] == [("mmlu", "acc"), ("gsm8k", "strict"), ("gsm8k", "flexible")]
    assert [(s.task, s.metric) for s in found.headline] == [("mmlu", "acc"), ("gsm8k", "strict")]


def test_the_first_bar_is_what_was_collected() -> None:
    reader = FunnelRow("read", "web", 100, 100, 1, 1, {})
    words = ["".join(e.itertext()) for e in classes(funnel_chart(Funnel([reader]), {"web": "s1"}, key="k"), "strong")]
    assert "read" in words
    assert "collected" not in words


def node(name: str, *parents: str) -> Node:
    return Node(name, "tokens", name, "d" * 64, "p", 1, 10, "", parents)


def test_lineage_boxes_do_not_overlap_and_parents_stand_left() -> None:
    names = [node("a"), node("b"), node("c", "a", "b"), node("d", "c"), node("e", "d", "a"), node("f", "e", "c")]
    markup = lineage_chart(names, key="k")
    boxes = [tuple(float(e.get(k, 0)) for k in ("x", "y", "width", "height")) for e in classes(markup, "box")]
    assert len(boxes) == 6
    for (x, y, w, h), (u, v, ww, hh) in itertools.combinations(boxes, 2):
        assert x + w <= u or u + ww <= x or y + h <= v or v + hh <= y
    left = {
        "".join(group.itertext()).strip()[0:8].split()[1]: float(group.find("rect").get("x", 0))  # type: ignore[union-attr]
        for group in classes(markup, "node")
    }
    for child in names:
        for parent in child.parents:
            assert left[parent] < left[child.id]


def test_a_damaged_lineage_with_a_cycle_is_still_drawn() -> None:
    assert len(classes(lineage_chart([node("a", "b"), node("b", "a"), node("c", "c")], key="k"), "box")) == 3


def test_text_is_escaped_in_every_chart() -> None:
    rows = [FunnelRow(HOSTILE, HOSTILE, 10, 5, 10, 5, {HOSTILE: 5})]
    colours = {HOSTILE: "s1"}
    events = [Event("stop", 1, HOSTILE)]
    charts = [
        funnel_chart(Funnel(rows), colours, key="a"),
        mixture_chart([MixtureRow(HOSTILE, 1.0, 1.0, 1, 1, 1, 1.0)], colours, key="b"),
        line_chart([Curve(HOSTILE, [1.0], [1.0])], key="c", title=HOSTILE, label=HOSTILE, events=events),
        whisker_chart([Score(HOSTILE, HOSTILE, 0.5, 0.4, 0.6, 1, 0.5)], key="d"),
        lineage_chart([node(HOSTILE)], key="e"),
    ]  # fmt: skip
    for chart in charts:
        assert "<script" not in chart
        assert parse(chart) is not None, "well-formed"


def test_attributes_cannot_be_left() -> None:
    element = svg.tag("rect", data_x='"><script>')
    assert "<script>" not in element
    assert ET.fromstring(element).get("data-x") == '"><script>'


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_can_be_read(palette: dict[str, str]) -> None:
    for text, ground in TEXT_PAIRS:
        assert contrast(palette[text], palette[ground]) >= 4.5, (text, ground)
    for line, ground in GRAPHIC_PAIRS:
        assert contrast(palette[line], palette[ground]) >= 3.0, (line, ground)


def test_the_two_palettes_have_the_same_names_of_colours() -> None:
    assert LIGHT.keys() == DARK.keys()
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in [*LIGHT.values(), *DARK.values()])
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (950, "950"), (999.6, "1k"), (12_345, "12.3k"), (4_560_000, "4.56M"), (99_960, "100k"), (1e9, "1B"),
     (0.25, "0.25"), (None, "—"), (NAN, "—"), (-1500, "-1.5k")],
)  # fmt: skip
def test_short_numbers(value: float | None, text: str) -> None:
    assert fmt.short(value) == text


def test_other_numbers() -> None:
    assert fmt.bytes_(1_234_567) == "1.2 MB"
    assert fmt.bytes_(12) == "12 B"
    assert fmt.percent(0.12345) == "12.3%"
    assert fmt.plural(1, "document") == "1 document"
    assert fmt.plural(2000, "document") == "2,000 documents"


def test_a_level_to_compare_with_lies_under_the_curve_that_has_its_intervals() -> None:
    curve = Curve("score", [100.0, 200.0], [0.2, 0.4], [(0.1, 0.3), None])
    level = Curve("chance", [100.0, 200.0], [0.25, 0.25], is_reference=True)
    markup = line_chart([curve, level], key="k", title="t", label="l")
    for drawing in drawings(markup):
        order = [e.get("class") for e in drawing.iter() if e.get("class", "").startswith(("line", "dot", "interval"))]
        assert order == ["line c2", "line c1", "interval c1", "dot c1", "dot c1"]
