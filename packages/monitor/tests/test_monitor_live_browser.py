"""The run page in a real browser: headless Chromium."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chromium import TEXTS, Page, chromium, in_browser
from monitor_live_run import LiveRun
from monitor_sample_run import make_run

from headwater.core.theme import contrast
from headwater.monitor.live.page import RunPage
from headwater.monitor.live.server import PageServer

pytestmark = in_browser()

HOSTILE = "\"'><script>window.owned=1</script><img src=x onerror='window.owned=2'>"
WITH_LOSS = "return document.querySelector('#loss svg.chart') !== null"
NAMES = "return JSON.parse(document.querySelector('#loss svg.chart').dataset.plot).series.map(s => s.name)"
BOX = "const svg = document.querySelector('#loss svg.chart'); const at = svg.getBoundingClientRect();"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@contextmanager
def serving(*folders: Path, now: Callable[[], float]) -> Iterator[str]:
    with PageServer(RunPage(folders, clock=now)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> LiveRun:
    """A run in trouble: a skipped step, a rollback, an alert, validations, data and evaluations."""
    whole = make_run(tmp_path_factory.mktemp("runs") / "night")
    shutil.rmtree(whole.train)
    made = LiveRun(whole.root)
    made.log({"headwater_train_skipped_steps_total": 0, "headwater_train_spikes_total": 0})
    made.steps(150)
    made.spike()
    made.log({"headwater_train_validation_loss": 2.4, "headwater_train_validation_bits_per_byte": 1.1})
    made.steps(30, headwater_train_loss=6.0)
    made.roll_back(160)
    made.log({"headwater_train_spikes_total": 1})
    made.steps(60)
    return made


@pytest.fixture(scope="module")
def address(run: LiveRun) -> Iterator[str]:
    with serving(run.root, now=lambda: run.time + 1) as url:
        yield url


def show(page: Page, url: str, **size: Any) -> None:
    page.console(), page.requests()
    page.open("about:blank")
    page.open(url, **size)
    page.wait(WITH_LOSS)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_loads_clean_fits_and_can_be_read(page: Page, address: str, width: int, dark: bool) -> None:
    show(page, address, width=width, dark=dark)
    assert page.console() == []
    asked = {url.split("?")[0] for url in page.requests() if not url.startswith(("data:", "about:"))}
    assert asked == {address, f"{address}state"}, "nobody but its server"
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.run("return document.documentElement.scrollWidth") <= width
    wide = page.run("""
        return [...document.querySelectorAll('body *')].filter(e => !e.closest('.table,pre,.nav,svg,.skip,legend'))
          .filter(e => e.getBoundingClientRect().width)
          .filter(e => e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < -1)
          .map(e => e.tagName + '.' + e.className);""")
    assert wide == [], "nothing sticks out of the page"
    texts = page.run(TEXTS)
    assert len(texts) > 150
    assert {(name, front, back) for name, front, back in texts if contrast(front, back) < 4.5} == set()
    sections = page.run("return [...document.querySelectorAll('section')].filter(s => !s.hidden).map(s => s.id)")
    assert {"runs", "alerts", "loss", "optimizer", "throughput", "evaluation", "events", "funnel"} <= set(sections)
    assert "HeadwaterSpike" in page.run("return document.getElementById('alerts').textContent")


def test_it_follows_the_run_and_keeps_what_was_opened(page: Page, tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    shutil.move(run.root, tmp_path / "hidden")
    with serving(run.root, now=lambda: run.time + 1) as url:
        page.open(url)
        page.wait("return document.getElementById('runs').textContent.includes('there is no')")
        shutil.move(tmp_path / "hidden", run.root)
        run.steps(20)
        page.wait(WITH_LOSS)
        page.run("document.querySelector('#loss details').open = true; window.stayed = true")
        page.run("document.querySelector('#loss summary').focus()")
        run.steps(20)
        page.wait("return document.querySelector('#runs .big').textContent === '40'")
        page.wait("return JSON.parse(document.querySelector('#loss svg.chart').dataset.plot).series[0].x.length === 40")
        assert page.run("return [window.stayed, document.querySelector('#loss details').open]") == [True, True]
        assert page.run("return document.activeElement.textContent") == "Loss as a table"
        run.event("halt", detector="nonfinite")
        page.wait("return document.querySelector('#runs .pill').textContent === 'halted'")
        shutil.rmtree(run.root)
        page.run("dispatchEvent(new Event('resize'))")
        page.wait("return document.getElementById('loss').hidden")
    page.run("dispatchEvent(new Event('resize'))")
    page.wait("return !document.getElementById('lost').hidden")
    assert "headwater monitor open" in page.run("return document.getElementById('lost').textContent")


def test_pointing_at_a_mark_shows_the_decision_and_the_documents(page: Page, address: str) -> None:
    show(page, address)
    lines = page.run("""
        const mark = [...document.querySelectorAll('#loss .mark')].find(m => m.querySelector('.rollback'));
        const at = mark.getBoundingClientRect();
        mark.querySelector('.hit').dispatchEvent(new PointerEvent('pointermove',
          {bubbles: true, clientX: at.left + 9, clientY: at.top + 9}));
        return [...document.querySelector('#loss .tip:not([hidden])').children].map(e => e.textContent);""")
    assert lines[0] == "step 181: rollback"
    assert {"detector divergence", "response rollback", "to step 160", "https://example.org/bad"} <= set(lines)


def test_dragging_zooms_all_charts_and_the_keyboard_does_too(page: Page, address: str) -> None:
    show(page, address)
    drag = (
        BOX
        + """
        const to = (kind, share) => svg.dispatchEvent(new PointerEvent(kind, {bubbles: true, button: 0,
          clientX: at.left + at.width * share, clientY: at.top + 60}));
        to('pointerdown', 0.3); to('pointermove', 0.5); to('pointerup', 0.5);"""
    )
    page.run(drag)
    page.wait("return document.querySelector('[name=from]').value > 30")
    boxes = page.run("""
        return [...document.querySelectorAll('#loss svg.chart, #optimizer svg.chart')]
          .map(s => JSON.parse(s.dataset.plot).box).map(b => [b.x0, b.x1])""")
    assert len(boxes) == 3 and len({tuple(box) for box in boxes}) == 1 and 30 < boxes[0][0] < boxes[0][1] < 140
    assert page.run("return location.hash").startswith("#from=")
    page.driver.refresh()
    page.wait(WITH_LOSS)
    assert page.run("return Number(document.querySelector('[name=from]').value)") == boxes[0][0], "it is in the address"
    page.run("document.querySelector('[data-do=all]').click()")
    page.wait("return document.querySelector('[name=from]').value === '0'")
    shown = page.run("""
        const svg = document.querySelector('#loss svg.chart');
        svg.focus();
        const press = key => svg.dispatchEvent(new KeyboardEvent('keydown', {bubbles: true, key}));
        press('End');
        const end = document.querySelector('#loss .tip').firstChild.textContent;
        press('ArrowLeft');
        const before = document.querySelector('#loss .tip').firstChild.textContent;
        press('Escape');
        return [end, before, document.querySelector('#loss .tip').hidden]""")
    assert shown == ["step 220", "step 219", True]
    page.run("document.querySelector('[name=log]').click()")
    page.wait("return JSON.parse(document.querySelector('#loss svg.chart').dataset.plot).y0 > 0.5")


def test_hostile_text_does_not_run(page: Page, tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "<img src=x onerror=window.owned=3>")
    run.steps(20)
    run.spike(url=f"https://example.org/{HOSTILE}")
    make_run(tmp_path / "other", hostile=HOSTILE)
    with serving(run.root, tmp_path / "other", now=lambda: run.time) as url:
        show(page, url)
        page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.run("return window.owned") is None
        assert page.run("return document.querySelectorAll('img, section script').length") == 0
        assert page.console() == []


def test_twenty_runs_lie_over_one_another(page: Page, tmp_path: Path) -> None:
    runs = [LiveRun(tmp_path / f"run-{n:02}", seed=n) for n in range(20)]
    for run in runs:
        run.steps(30)
    with serving(*(run.root for run in runs), now=lambda: runs[0].time) as url:
        show(page, url, width=390)
        assert len(page.run(NAMES)) == 20
        assert page.run("return document.documentElement.scrollWidth") <= 390
        page.run("document.querySelectorAll('[name=run]').forEach((box, n) => { if (n > 1) box.click(); })")
        page.wait(NAMES.replace("s.name)", "s.name).join() === 'run-00,run-01'"))
