"""The line that `headwater train run` ends with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from headwater.core.console import done, print_json
from headwater.train.runner import Result


def show(result: Result, run: Path, as_json: bool) -> None:
    """Prints the result: one line, or JSON.

    Args:
        result: How the command ended.
        run: The run folder.
        as_json: Print JSON instead of a line.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    counters = result.manifest.counters if result.manifest else {}
    if as_json:
        digest = result.manifest.digest if result.manifest else None
        print_json({"state": result.state, "steps": result.steps, "counters": counters, "digest": digest})
    elif result.state == "terminated":
        done("train", f"stopped after step {result.steps:,} with a checkpoint; run the same command again to go on")
    else:
        prefix = "up to date · " if result.state == "up to date" else ""
        done("train", prefix + describe(counters))


def describe(counters: dict[str, Any]) -> str:
    """Steps, tokens, loss and bits per byte in words."""
    text = f"{counters['steps']:,} steps · {counters['tokens']:,} tokens · loss {counters['final_loss']:.3f}"
    if "validation_bits_per_byte" in counters:
        text += f" · held-out {counters['validation_bits_per_byte']:.3f} bits per byte"
        text += f" (unigram model {counters['unigram_bits_per_byte']:.3f})"
    return text
