"""A training's logs that grow, as the trainer writes them: for the run page's tests."""

from __future__ import annotations

import json
import math
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headwater.core.events import EventLog
from headwater.core.sinks import keep_rows

BEGAN = 1.8e9


class LiveRun:
    """Writes `RUN/train/metrics.jsonl` and `events.jsonl`, a step a second.

    Args:
        root: The run folder.
        planned: Steps in all.
        seed: Of the noise.
    """

    def __init__(self, root: Path, planned: int = 1000, seed: int = 1) -> None:
        self.root, self.train = root, root / "train"
        self.metrics, self.events = self.train / "metrics.jsonl", self.train / "events.jsonl"
        self.train.mkdir(parents=True)
        self.step, self._noise = 0, random.Random(seed)
        self.event("start", device="cpu", parameters=119_232)
        self.log({"headwater_train_step": 0, "headwater_train_steps_planned": planned, "headwater_train_ended": 0})

    @property
    def time(self) -> float:
        """Unix time of the last step."""
        return BEGAN + self.step

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        """A row of metrics."""
        row = {"step": self.step if step is None else step, "time_seconds": self.time, **values}
        with self.metrics.open("a") as stream:
            stream.write(json.dumps(row) + "\n")

    def steps(self, count: int, **values: Any) -> None:
        """So many steps more, with other values than usual."""
        for _ in range(count):
            self.step += 1
            loss = 2 + 3 * math.exp(-self.step / 100) + self._noise.gauss(0, 0.02)
            self.log({
                "headwater_train_step": self.step, "headwater_train_loss": loss, "headwater_train_grad_norm": 0.5,
                "headwater_train_learning_rate": 1e-3, "headwater_train_tokens_total": 1024 * self.step,
                "headwater_train_tokens_per_second": 1024.0, "headwater_train_step_seconds": 1.0,
                "headwater_train_step_timestamp_seconds": self.time, **values,
            })  # fmt: skip

    def event(self, kind: Any, **fields: Any) -> None:
        """An event, at the time of the last step."""
        EventLog(self.events).emit(kind, self.step, **fields)
        lines = self.events.read_text().splitlines()
        time = datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds")
        lines[-1] = json.dumps({**json.loads(lines[-1]), "time": time}, ensure_ascii=False)
        self.events.write_text("".join(line + "\n" for line in lines))

    def spike(self, url: str = "https://example.org/spam", count: int = 3) -> None:
        """A step that the guard skips."""
        self.steps(1, headwater_train_loss=9.0)
        documents = [{"id": f"{n:02}", "url": f"{url}/{n}", "sample": n, "source": "web"} for n in range(count)]
        self.event("skip", detector="outlier", response="skip", onset=self.step, loss=9.0, grad_norm=0.5,
                   samples=[self.step * 4, self.step * 4 + 4], documents=documents)  # fmt: skip

    def roll_back(self, target: int) -> None:
        """Goes back, as the trainer does: an event with the losses that are undone, and the logs cut."""
        rows = [json.loads(line) for line in self.metrics.read_text().splitlines()]
        losses = [
            [row["step"], row["headwater_train_loss"], 0.5]
            for row in rows if row["step"] > target and "headwater_train_loss" in row
        ]  # fmt: skip
        documents = [{"id": "ab", "url": "https://example.org/bad"}]
        self.event("rollback", detector="divergence", response="rollback", onset=target + 10, from_step=self.step,
                   to_step=target, losses=losses, samples=[0, 8], documents=documents)  # fmt: skip
        keep_rows(self.metrics, target)
        self.step = target
