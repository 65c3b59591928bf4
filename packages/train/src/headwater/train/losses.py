"""`losses.jsonl`: one line a step, the same bytes in every run of one recipe and seed."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, TextIO

from headwater.core.errors import TrainError
from headwater.core.sinks import keep_rows
from headwater.core.storage import storage_errors


class LossLog:
    """Appends a line a step; floats are printed so that they read back to the same bits.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._stream: TextIO | None = None

    def write(
        self, step: int, *, loss: float, grad_norm: float, learning_rate: float, tokens: int, samples: tuple[int, int],
        fed: str, skipped: bool = False,
    ) -> None:  # fmt: skip
        """Appends one step.

        Args:
            step: Its number.
            loss: Mean loss of the global batch.
            grad_norm: Before clipping.
            learning_rate: Of the step.
            tokens: Trained on so far.
            samples: The range of samples of the step (stop excluded).
            fed: Digest of the tokens that the ranks were really given (see `core.fed`).
            skipped: Whether the update was not applied.
        """
        row = {"step": step, "loss": _finite(loss), "grad_norm": _finite(grad_norm), "learning_rate": learning_rate,
               "tokens": tokens, "samples": list(samples), "fed": fed}  # fmt: skip
        if skipped:
            row["skipped"] = True
        with storage_errors("write", self.path):
            if self._stream is None:
                self._stream = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 (closed by close())
            self._stream.write(json.dumps(row) + "\n")
            self._stream.flush()

    def sync(self) -> None:
        """Puts what was written on the disk for good, before a checkpoint relies on it."""
        with storage_errors("write", self.path), open(self.path, "ab") as stream:
            os.fsync(stream.fileno())

    def close(self) -> None:
        """Closes the file; a step written later opens it again."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with storage_errors("write", self.path):
                stream.close()

    def steps(self) -> int:
        """How many lines there are."""
        return self.path.read_bytes().count(b"\n") if self.path.is_file() else 0

    def truncate(self, step: int) -> None:
        """Drops every step after `step`.

        Raises:
            TrainError: The file does not hold exactly the steps before.
        """
        self.close()
        kept = keep_rows(self.path, step)
        found = [row["step"] for row in kept]
        if found != list(range(1, step + 1)):
            raise TrainError(
                f"{self.path} does not hold the steps that the checkpoint of step {step} was reached by",
                found=f"{len(found)} steps", expected=f"steps 1 to {step}",
                hint="restore the file, or start again with --fresh",
            )  # fmt: skip


def _finite(value: float) -> float | None:
    """JSON has no NaN and no infinity: null."""
    return value if math.isfinite(value) else None


def read_losses(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a `losses.jsonl`; a last line that was cut by a kill is left out."""
    rows: list[dict[str, Any]] = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
