"""The report in a real browser: headless Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import TEXTS, Page, chromium, in_browser
from monitor_sample_run import make_run, write_recipe

from headwater.core.theme import contrast
from headwater.monitor.report.build import build_report

pytestmark = in_browser()

SECTIONS = ["funnel", "mixture", "loss", "optimizer", "throughput", "evaluation", "lineage", "recipe", "reproduce"]
HOSTILE = "\"'><script>window.owned=1</script><img src=x onerror='window.owned=2'>"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    return build_report(str(write_recipe(folder)), make_run(folder / "run")).path


def background(page: Page) -> str:
    return page.run("return getComputedStyle(document.body).backgroundColor")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_loads_clean_and_fits(page: Page, report: Path, width: int, dark: bool) -> None:
    page.console(), page.requests()
    page.open(report, width=width, dark=dark)
    assert page.console() == []
    requests = [url for url in page.requests() if not url.startswith("data:")]
    assert requests == [report.resolve().as_uri()], "the page itself and nothing else"
    assert page.run("return [...document.querySelectorAll('section')].map(s => s.id)") == SECTIONS
    assert page.run("return document.documentElement.scrollWidth") <= width
    wide = page.run("""
        const out = [];
        for (const e of document.querySelectorAll('body *')) {
          if (e.closest('.scroll,.table,pre,.nav,svg,.skip')) continue;
          const box = e.getBoundingClientRect();
          if (box.width && (box.right > innerWidth + 1 || box.left < -1)) out.push(e.tagName + '.' + e.className);
        }
        return out;""")
    assert wide == [], "nothing sticks out of the page"


@pytest.mark.parametrize("width", [1280, 390])
def test_the_drawing_for_the_width_is_shown(page: Page, report: Path, width: int) -> None:
    page.open(report, width=width)
    shown: list[list[Any]] = page.run("""
        return [...document.querySelectorAll('.plot svg.chart')].filter(s => s.getClientRects().length)
          .map(s => [s.getAttribute('aria-labelledby'), s.getBoundingClientRect().width / s.viewBox.baseVal.width]);""")
    suffix = "-w-title" if width > 820 else "-n-title"
    assert len(shown) >= 6
    for name, scale in shown:
        assert name.endswith(suffix)
        assert 0.8 <= scale <= 1.5, "text in the drawing keeps about its size"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_text_has_contrast(page: Page, report: Path, dark: bool) -> None:
    page.open(report, dark=dark)
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    texts = page.run(TEXTS)
    assert len(texts) > 200
    poor = {(name, front, back) for name, front, back in texts if contrast(front, back) < 4.5}
    assert poor == set()


def test_it_follows_the_system_and_the_switch(page: Page, report: Path) -> None:
    page.open(report, dark=False)
    light = background(page)
    page.open(report, dark=True)
    dark = background(page)
    assert light != dark
    click = "document.querySelector('.theme-toggle').click()"
    assert page.run("return document.querySelector('.theme-toggle').textContent") == "Light"
    page.run(click)
    assert background(page) == light
    assert page.run("return document.querySelector('.theme-toggle').textContent") == "Dark"
    page.run(click)
    assert background(page) == dark


def test_a_fixed_theme_holds_against_the_system(page: Page, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", until="raw")
    built = build_report(str(write_recipe(tmp_path)), run, ["report.theme=light"])
    page.open(built.path, dark=False)
    light = background(page)
    page.open(built.path, dark=True)
    assert background(page) == light


def test_pointing_at_a_curve_shows_its_values(page: Page, report: Path) -> None:
    page.open(report)
    shown = page.run("""
        const svg = document.querySelector('#loss .only-wide svg');
        svg.scrollIntoView();
        const box = svg.getBoundingClientRect();
        svg.dispatchEvent(new PointerEvent('pointermove', {clientX: box.left + box.width / 2, clientY: box.top + 80}));
        const tip = svg.closest('.plot').querySelector('.tip:not([hidden])');
        const rows = [...tip.children].map(e => e.textContent);
        svg.dispatchEvent(new PointerEvent('pointerleave'));
        return [rows, tip.hidden];""")
    rows, hidden = shown
    assert rows[0].startswith("step ")
    assert rows[1].startswith("train ")
    assert rows[2].startswith("validation ")
    assert hidden


def test_hostile_text_does_not_run(page: Page, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", hostile=HOSTILE)
    built = build_report(str(write_recipe(tmp_path, name=HOSTILE)), run)
    page.console(), page.requests()
    page.open(built.path)
    assert page.run("return window.owned") is None
    assert page.run("return document.querySelectorAll('img').length") == 0
    assert page.console() == []
    assert [url for url in page.requests() if not url.startswith("data:")] == [built.path.resolve().as_uri()]


def test_an_empty_run_fits_a_phone_too(page: Page, tmp_path: Path) -> None:
    built = build_report(str(write_recipe(tmp_path)), make_run(tmp_path / "run", until="raw"))
    page.open(built.path, width=390)
    assert page.console() == []
    assert page.run("return document.documentElement.scrollWidth") <= 390
