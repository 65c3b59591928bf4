"""The run page on a long run: the first data, a zoom, a poll, and the server's memory.

    python benchmarks/monitor/run_page.py [--steps 1000000] [--runs 1] [--repeats 5] [--json FILE]

Writes a run of as many steps in the format of the real logs (all metrics that a training on one CPU logs; a checkpoint
every 1,000 steps; spikes of one step), starts `headwater monitor open` on it as a process of its own, and asks it over
HTTP as the page does.
"""

from __future__ import annotations

import argparse
import html
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.core.console import table
from headwater.core.metrics import TABLE

MAIN = "from headwater.core.cli import main; main()"
SPIKES_EVERY = 99_991
PHASES = ("loader", "forward_and_backward", "gradient_norm", "guard", "update", "figures_and_logs")
NEW_STEPS = 100


def row(step: int, noise: random.Random, began: float) -> str:
    """A step's line, as the trainer writes it."""
    loss = 2.1 + 8.0 * math.exp(-step / 20_000) + noise.gauss(0, 0.05) + (4.0 if step % SPIKES_EVERY == 0 else 0.0)
    seconds = 0.2 + abs(noise.gauss(0, 0.01))
    values: dict[str, float] = {
        "headwater_train_step": step, "headwater_train_loss": loss,
        "headwater_train_grad_norm": 0.6 + abs(noise.gauss(0, 0.1)),
        "headwater_train_learning_rate": 3e-4 * (1 - step / 2e6), "headwater_train_tokens_total": step * 524_288,
        "headwater_train_samples_total": step * 256, "headwater_train_tokens_per_second": 524_288 / seconds,
        "headwater_train_step_seconds": seconds, "headwater_train_step_timestamp_seconds": began + step * 0.2,
        "headwater_train_clipped_steps_total": step // 50,
    }  # fmt: skip
    if step % 50 == 0:  # every ten seconds
        values |= {f'headwater_train_phase_seconds_total{{phase="{name}"}}': step * 0.03 for name in PHASES}
        values["headwater_train_host_memory_bytes"] = 6e9 + noise.gauss(0, 1e8)
    if step % 1000 == 0:
        values |= {"headwater_train_validation_loss": loss + 0.02, "headwater_train_validation_bits_per_byte": loss / 3}
    return json.dumps({"step": step, "time_seconds": began + step * 0.2, **values}) + "\n"


def write_run(root: Path, steps: int, seed: int) -> Path:
    """A run of so many steps, still going; returns its metrics."""
    noise, began = random.Random(seed), time.time() - steps * 0.2
    folder = root / "train"
    folder.mkdir(parents=True)
    path = folder / "metrics.jsonl"
    with path.open("w") as stream:
        planned = {"headwater_train_step": 0, "headwater_train_steps_planned": 2 * steps}
        stream.write(json.dumps({"step": 0, "time_seconds": began, **planned}) + "\n")
        stream.writelines(row(step, noise, began) for step in range(1, steps + 1))
    with (folder / "events.jsonl").open("w") as stream:
        stream.write(json.dumps({"time": "2026-01-01T00:00:00.000+00:00", "kind": "start", "step": 0}) + "\n")
        for step in range(1000, steps + 1, 1000):
            stream.write(json.dumps({"kind": "checkpoint", "step": step, "path": f"step-{step:08d}"}) + "\n")
    return path


class Server:
    """A server that is measured.

    Args:
        pid: Of its process.
        url: Where it is.
    """

    def __init__(self, pid: int, url: str) -> None:
        self.pid, self.url = pid, url

    def cpu(self) -> float:
        """CPU seconds that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Bytes of memory that it has."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))

    def cost(
        self, repeats: int, prepare: Callable[[int], None] | None = None,
        query: Callable[[int], dict[str, int]] = lambda repeat: {},
    ) -> Cost:  # fmt: skip
        """What a request costs, each prepared before its clock starts: the median of a few, and the mean of its CPU."""
        walls: list[float] = []
        used = 0.0
        for repeat in range(repeats):
            if prepare is not None:
                prepare(repeat)
            before = self.cpu()
            walls.append(ask(self.url, **query(repeat))[0])
            used += self.cpu() - before
        return Cost(statistics.median(walls), used / repeats)


@dataclass(frozen=True)
class Cost:
    """Seconds that something took, and CPU seconds of the server."""

    seconds: float
    cpu_seconds: float

    def __str__(self) -> str:
        return f"{shown(self.seconds)}, {shown(self.cpu_seconds)} of CPU"


def shown(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def ask(url: str, **query: Any) -> tuple[float, dict[str, Any]]:
    """Seconds that a request takes, and its answer."""
    began = time.perf_counter()
    words = "&".join(f"{name.rstrip('_')}={value}" for name, value in query.items())
    with urllib.request.urlopen(f"{url}state?width=1040&{words}", timeout=300) as answer:
        found = json.load(answer)
    return time.perf_counter() - began, found


def measure(folder: Path, steps: int, runs: int, repeats: int) -> dict[str, Any]:
    """All figures, of one server."""
    paths = [write_run(folder / f"run-{number}", steps, number) for number in range(runs)]
    size = sum(path.stat().st_size for path in paths)
    command = [sys.executable, "-c", MAIN, "monitor", "open", *(str(path.parents[1]) for path in paths)]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--port", "0", "--print"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = next(word for word in process.stdout.readline().split() if word.startswith("http://"))
        server = Server(process.pid, url)
        found: dict[str, Any] = {"log_bytes": size, "start": Cost(time.perf_counter() - began, server.cpu())}
        empty, before, began = server.memory(), server.cpu(), time.perf_counter()
        _, state = ask(url)
        found["first"] = Cost(time.perf_counter() - began, server.cpu() - before)
        while state["reading"]:
            _, state = ask(url)
        found["all"] = Cost(time.perf_counter() - began, server.cpu() - before)
        found["memory_bytes"], found["answer_bytes"] = server.memory() - empty, len(json.dumps(state))
        plot = html.unescape(state["sections"]["loss"].partition('data-plot="')[2].partition('"')[0])
        drawn = next(one for one in json.loads(plot)["series"] if one["name"] in ("train", "run-0"))
        spikes = [x for x, y in zip(drawn["x"], drawn["y"], strict=True) if x % SPIKES_EVERY == 0 and y > 5]
        assert len(spikes) == steps // SPIKES_EVERY, "a spike of one step has vanished"

        def go_on(repeat: int) -> None:
            first = steps + repeat * NEW_STEPS + 1
            for number, path in enumerate(paths):
                noise = random.Random(number)
                with path.open("a") as stream:
                    stream.writelines(
                        row(one, noise, time.time() - one * 0.2) for one in range(first, first + NEW_STEPS)
                    )

        def roll_back(repeat: int) -> None:
            lines = paths[0].read_bytes().splitlines(keepends=True)
            other = paths[0].with_suffix(".new")
            other.write_bytes(b"".join(lines[:-NEW_STEPS]))
            other.replace(paths[0])

        def wide(repeat: int) -> dict[str, int]:  # each another one, since the server keeps what it drew last
            first = (repeat + 1) * steps // (repeats + 2)
            return {"from_": first, "to": first + steps // 20}

        found["zoom"] = server.cost(repeats, query=wide)
        found["close"] = server.cost(
            repeats, query=lambda n: {"from_": wide(n)["from_"], "to": wide(n)["from_"] + 1000}
        )
        ask(url)
        found["idle"] = server.cost(repeats)
        found["poll"] = server.cost(repeats, go_on)
        assert ask(url)[1]["last"] == steps + repeats * NEW_STEPS
        found["rollback"] = server.cost(1, roll_back)
        return found
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    assert set(json.loads(row(1000, random.Random(0), 0.0))) - {"step", "time_seconds"} <= {
        *TABLE, *(f'headwater_train_phase_seconds_total{{phase="{name}"}}' for name in PHASES)
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.steps, options.runs, options.repeats)
    rows = [
        ("log", f"{found['log_bytes'] / 1e6:,.0f} MB"), ("server started", found["start"]),
        ("first data on the page", found["first"]), ("all steps on the page", found["all"]),
        (f"zoom into {options.steps // 20:,} steps", found["zoom"]), ("zoom into 1,000 steps", found["close"]),
        (f"poll after {NEW_STEPS} new steps", found["poll"]), ("poll with nothing new", found["idle"]),
        ("poll after a rollback", found["rollback"]),
        ("server's memory for the logs", f"{found['memory_bytes'] / 1e6:,.0f} MB"),
        ("size of an answer", f"{found['answer_bytes'] / 1e3:,.0f} kB"),
    ]  # fmt: skip
    table(("what", f"{options.runs} × {options.steps:,} steps"), rows)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1, default=vars) + "\n")


if __name__ == "__main__":
    main()
