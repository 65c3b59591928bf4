"""From trouble in a real training to the alert at a webhook, by the Prometheus and Alertmanager of `monitor up`.

    python benchmarks/monitor/alerts.py [--repeats 3] [--interval 1] [--json FILE]

A small model is trained (`recipes/tiny.yaml`, made longer) with trouble injected into the process: a loss that reads
higher by 6 for 40 steps (`spike`), a gradient that is not a number (`nan`), a step that takes too long (`stall`; the
recipe allows 5 seconds), and `kill -9` (`killed`). The clock starts when the trouble is done, in the training; it
stops when the webhook is called. Two minutes that an alert waits by design (HeadwaterGone) are in its time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from headwater.core.events import read_events
from headwater.monitor.up import Stack, fetch

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "tiny.yaml"
MAIN = "from headwater.core.cli import main; main()"
EXPECTED = {
    "spike": "HeadwaterSpike",
    "nan": "HeadwaterNonFinite",
    "stall": "HeadwaterStall",
    "killed": "HeadwaterGone",
}
AFTER = 150
"""Steps before the trouble: the guard has learnt what is usual."""
# What the training process runs: trouble at a step, and the time of it in a file.
TRAIN = """
import math, os, sys, time
from pathlib import Path
from headwater.core.cli import main
from headwater.train import titan
titan.start("cpu", int(os.environ.get("WORLD_SIZE", "1")), 1)
from headwater.train.titan import trainer
kind, at, note = sys.argv.pop(1), int(sys.argv.pop(1)), Path(sys.argv.pop(1))
go = note.with_suffix(".go")
original = trainer.HeadwaterTrainer._forward_backward
first = 0
def troubled(self, *arguments):
    global first
    own, nats = original(self, *arguments)
    if not first and self.step >= at and go.is_file():
        first = self.step
        note.write_text(str(time.time()))
    if not first or not first <= self.step <= (first + 40 if kind == "spike" else first):
        return own, nats
    if kind == "spike":
        return own + 6, nats
    if kind == "nan":
        next(p.grad for part in self.model_parts for p in part.parameters() if p.grad is not None).mul_(math.nan)
    if kind == "stall":
        time.sleep(60)
    return own, nats
trainer.HeadwaterTrainer._forward_backward = troubled
main()
"""
TRAINING = [
    "train.steps=1000000", "train.checkpoint.every=50", "train.validation.every=0", "eval.every=null",
    "train.guard.stall.seconds=5", "train.metrics.prometheus.port=0",
]  # fmt: skip


class Hook:
    """A webhook that keeps when each alert first came."""

    def __init__(self) -> None:
        self.came: dict[tuple[str, str], float] = {}
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                for alert in json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"]:
                    key = alert["labels"]["alertname"], alert["labels"].get("instance", "")
                    hook.came.setdefault(key, time.time())
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/"


def until(condition: Any, seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise SystemExit(f"{what}: nothing in {seconds:,.0f} seconds")


def _read(note: Path) -> str:
    return note.read_text() if note.is_file() else ""


def one(kind: str, number: int, prepared: Path, folder: Path, interval: float) -> float:
    """Seconds from the trouble to the webhook."""
    name = f"{kind}-{number}"
    run, note, hook = folder / name, folder / f"{name}.txt", Hook()
    shutil.copytree(prepared, run)
    log = folder / f"{name}.log"
    at = AFTER if kind != "killed" else 10**9
    command = [sys.executable, "-c", TRAIN, kind, str(at), str(note), "train", "run", "--recipe", str(RECIPE),
               "--run", str(run), *TRAINING]  # fmt: skip
    with (
        Stack(folder / f"{name}-stack", [run], port=0, alerts_port=0, webhook=hook.url, interval=interval) as stack,
        log.open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as process,
    ):  # fmt: skip
        try:
            # Prometheus sees an increase between two scrapes only.
            query = f"{stack.prometheus}/api/v1/query?query=headwater_train_step"
            until(lambda: process.poll() is not None or fetch(query)["data"]["result"], 600, "the first scrape")
            note.with_suffix(".go").touch()
            if kind == "killed":
                process.send_signal(signal.SIGKILL)
                note.write_text(str(time.time()))
            began = until(lambda: _read(note) or process.poll() is not None, 600, f"the trouble ({log})")
            if began is True:
                raise SystemExit(f"the training ended: {log.read_text()[-2000:]}")
            came = until(lambda: hook.came.get((EXPECTED[kind], name)), 300, f"{EXPECTED[kind]} ({log})")
        finally:
            process.kill()
    kinds = {event["kind"] for event in read_events(run / "train" / "events.jsonl")}
    others = sorted(alert for alert, _ in hook.came if alert != EXPECTED[kind])
    print(f"  {name}: {came - float(began):.1f} s; events {', '.join(sorted(kinds))}; "
          f"other alerts: {', '.join(others) or 'none'}", file=sys.stderr, flush=True)  # fmt: skip
    return came - float(began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between scrapes, and between evaluations")
    parser.add_argument("--kinds", default=",".join(EXPECTED))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="alerts-") as temporary:
        prepared = Path(temporary) / "prepared"
        subprocess.run(
            [sys.executable, "-c", MAIN, "line", "run", str(RECIPE), "--run", str(prepared), "--until", "tokens"],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        for kind in asked.kinds.split(","):
            rows[kind] = [one(kind, n, prepared, Path(temporary), asked.interval) for n in range(asked.repeats)]
            times = sorted(rows[kind])
            print(f"{kind:8} {EXPECTED[kind]:20} {statistics.median(times):6.1f} s ({times[0]:.1f}–{times[-1]:.1f})",
                  flush=True)  # fmt: skip
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
