"""Every panel of every dashboard: asked of a real Prometheus that watches a real run, and drawn by Grafana's parts.

    python benchmarks/monitor/dashboards.py --output FOLDER [--seconds 300] [--modules FOLDER] [--again]

A small model (`recipes/tiny.yaml`, made longer) is trained by two processes while `monitor up` scrapes it each second,
with a step in it that is not finite, and a small mixture of experts by a third. A data job, `eval watch` and the
machine's own node_exporter run beside them; two checkpoints are evaluated, however long that takes. What only a cluster
has (DCGM, kube-state-metrics, InfiniBand), and what a training sets on GPUs only, comes from an exporter whose names
and labels are theirs and whose values are made up. Then every query is asked over that time:
FOLDER/panels.md has the rows that each returned, and FOLDER/<dashboard>-<light|dark>.png how it looks. `--again` draws
FOLDER/answers.json once more, without a run.

The pictures need Node.js, chromium and chromedriver, and Grafana's packages from npm, which are installed once, into
--modules (default: ~/.cache/headwater/grafana-render; about 430 MB). Without them the table is written all the same.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
RENDER = REPOSITORY / "packages" / "monitor" / "grafana" / "render"
sys.path[:0] = [str(REPOSITORY / "packages" / "monitor" / "tests"), str(REPOSITORY / "tests" / "helpers")]

from alerts import MAIN, RECIPE, TRAIN, until  # noqa: E402
from chromium import chromium, unavailable  # noqa: E402
from monitor_cluster_exporter import serving  # noqa: E402

from headwater.core.ports import free_port  # noqa: E402
from headwater.monitor.dashboards import BOARDS  # noqa: E402
from headwater.monitor.grafana import panels  # noqa: E402
from headwater.monitor.grafana.build import as_json  # noqa: E402
from headwater.monitor.up import Stack  # noqa: E402

MODULES = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "headwater" / "grafana-render"
NODE_PORT = 19100
EVALUATED_SECONDS = 900
"""How long two evaluations may take on a busy machine."""
NOT_OURS = r"fonts/inter|favicon"  # Grafana's own font is in none of its packages
TRAINING = [
    "train.steps=1000000", "train.checkpoint.every=100", "train.validation.every=50", "eval.every=null",
    "train.metrics.prometheus.port=0", "train.parallel.dp_replicate=2", "train.micro_batch=2",
]  # fmt: skip
EXPERTS = [
    "train.steps=1000000", "train.checkpoint.every=1000", "train.validation.every=0", "eval.every=null",
    "train.metrics.prometheus.port=0", "train.model.family=deepseek_v3",
]  # fmt: skip
EVALUATION = ["eval.tasks=[headwater_mini_mmlu]", "eval.limit=4", "eval.held_out_tokens=2048"]
PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<link rel="stylesheet" href="bundle.css">
<style>h1 {{ font-size: 18px; margin: 12px 8px; font-weight: 500; }} .heading {{ font-size: 16px; padding: 8px 0; }}
.empty {{ display: flex; height: 100%; align-items: center; justify-content: center; opacity: .6; }}</style>
<div id="root"></div>
<script>window.BOARD = {board}; window.DATA = {data}; window.SPAN = {span}; window.DARK = {dark};
window.__grafana_public_path__ = "public/";</script>
<script src="bundle.js"></script>"""
#: Panels that say nothing, texts that are cut or reach over their panel's edge, and numbers that are none.
LOOK = """
const found = [];
for (const panel of document.querySelectorAll('.panel')) {
  const box = panel.getBoundingClientRect(), title = panel.dataset.title;
  if (panel.querySelector('.empty')) found.push(title + ': no data');
  if (!panel.querySelector('.empty, canvas, span')) found.push(title + ': nothing is drawn');
  if (/NaN|Infinity|undefined/.test(panel.innerText)) found.push(title + ': ' + panel.innerText);
  for (const each of panel.querySelectorAll('*')) {
    const its = each.getBoundingClientRect();
    if (its.width && (its.right > box.right + 2 || its.bottom > box.bottom + 2)) {
      if (getComputedStyle(each).position !== 'fixed' && !each.closest('[class*=scrollbar], .u-over, .u-under')) {
        found.push(title + ': something reaches over the edge: ' + (each.innerText || each.tagName).slice(0, 60));
        break;
      }
    }
  }
}
return found;
"""


@contextmanager
def running(arguments: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as stream, subprocess.Popen(arguments, stdout=stream, stderr=stream) as process:
        try:
            yield process
        finally:
            process.terminate()


def headwater(*arguments: str) -> list[str]:
    return [sys.executable, "-c", MAIN, *arguments]


def watched(seconds: float, output: Path) -> dict[str, Any]:
    """A run under watch, and what Prometheus then has for every query."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="dashboards-") as temporary, ExitStack() as ending:
        folder = Path(temporary)
        run, crawl, note, log = folder / "run", folder / "crawl", folder / "trouble.txt", output / "log.txt"
        common = ["--recipe", str(RECIPE), "--run"]
        with log.open("wb") as stream:
            for last, place in (("collect", crawl), ("tokens", run)):
                subprocess.run(headwater("line", "run", str(RECIPE), "--run", str(place), "--until", last), check=True,
                               stdout=stream, stderr=stream)  # fmt: skip
        experts = folder / "experts"
        shutil.copytree(run, experts)
        exporters = {"cluster": ending.enter_context(serving(training=True))}
        if shutil.which("prometheus-node-exporter"):
            exporters["node"] = f"127.0.0.1:{NODE_PORT}"
            node = ["prometheus-node-exporter", f"--web.listen-address={exporters['node']}"]
            ending.enter_context(running(node, output / "node.txt"))
        stack = ending.enter_context(
            Stack(folder / "stack", [run, experts, crawl], port=0, alerts_port=0, interval=1.0, exporters=exporters)
        )
        start = time.time()
        # What pods of a cluster run starts a process for each rank.
        os.environ["PET_MASTER_PORT"] = str(free_port())
        troubled = headwater("k8s", "launch", "--processes", "2", "--", sys.executable, "-c", TRAIN, "nan", "300",
                             str(note))  # fmt: skip
        ending.enter_context(running([*troubled, "train", "run", *common, str(run), *TRAINING], log))
        note.with_suffix(".go").touch()
        of_experts = headwater("train", "run", *common, str(experts), *EXPERTS)
        ending.enter_context(running(of_experts, output / "experts.txt"))
        watching = headwater("eval", "watch", *common, str(run), "--poll", "2", "--metrics-port", "0", *EVALUATION)
        ending.enter_context(running(watching, output / "eval.txt"))
        time.sleep(seconds / 2)
        ending.enter_context(
            running(headwater("data", "run", *common, str(crawl), "--metrics-port", "0"), output / "data.txt")
        )
        time.sleep(seconds / 2)
        until(lambda: (output / "eval.txt").read_text().count("eval: ") >= 2, EVALUATED_SECONDS, "two evaluations")
        window = panels.Window(start + 5, time.time(), max(1.0, seconds / 500), "10s")
        found = list(panels.answers(stack.prometheus, BOARDS, window))
    (output / "panels.md").write_text(panels.markdown(found), encoding="utf-8")
    return {
        "span": [window.start * 1000, window.end * 1000, window.step * 1000],
        "series": {f"{each.board.uid} {each.panel.title} {each.query.expr}": each.series for each in found},
    }


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder on loopback: a page of a file may not load its icons."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def install(modules: Path) -> None:
    """Grafana's packages, once."""
    modules.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "page.jsx"):
        shutil.copy(RENDER / name, modules)
    if not (modules / "node_modules" / "@grafana" / "ui").is_dir():
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps"], cwd=modules,
                       check=True, stdout=sys.stderr)  # fmt: skip


def draw(found: dict[str, Any], modules: Path, output: Path) -> int:
    """A picture of every dashboard, light and dark; how many faults were seen."""
    install(modules)
    subprocess.run(["node", str(RENDER / "bundle.mjs"), str(modules), str(output / "bundle.js")], check=True)
    icons = output / "public" / "build" / "img"
    shutil.copytree(modules / "node_modules" / "@grafana" / "ui" / "dist" / "public" / "img", icons, dirs_exist_ok=True)
    faults = 0
    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as browser, served(output) as address:
        for board in BOARDS:
            made = json.loads(as_json(board))
            drawn = [panel for panel in made["panels"] if panel["type"] != "row"]
            data = {
                panel["id"]: [found["series"][f"{board.uid} {panel['title']} {target['expr']}"]
                              for target in panel["targets"]]
                for panel in drawn
            }  # fmt: skip
            for dark in (False, True):
                path = output / f"{board.uid}-{'dark' if dark else 'light'}.html"
                path.write_text(PAGE.format(
                    title=board.title, board=json.dumps(made), data=json.dumps(data), span=json.dumps(found["span"]),
                    dark=json.dumps(dark),
                ), encoding="utf-8")  # fmt: skip
                browser.resize(1600)
                browser.driver.get(f"{address}/{path.name}")
                time.sleep(1)  # the icons come one after the other
                browser.screenshot(path.with_suffix(".png"))
                seen = [*browser.run(LOOK), *(line for line in browser.console() if not re.search(NOT_OURS, line))]
                faults += len(seen)
                print(f"{path.stem}: {len(drawn)} panels, {'; '.join(seen) or 'no fault seen'}", flush=True)
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long the run is watched")
    parser.add_argument("--modules", type=Path, default=MODULES)
    parser.add_argument("--again", action="store_true")
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    answers = asked.output / "answers.json"
    if not asked.again:
        answers.write_text(json.dumps(watched(asked.seconds, asked.output)))
    missing = unavailable() or ("there is no node and npm" if not shutil.which("npm") else None)
    if missing:
        print(f"no pictures: {missing}")
        return
    sys.exit(1 if draw(json.loads(answers.read_text()), asked.modules, asked.output) else 0)


if __name__ == "__main__":
    main()
