"""The line that `headwater train run` ends with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from headwater.core.console import done, print_json, table, warn
from headwater.train.runner import Result


def show(result: Result, run: Path, as_json: bool, profiled: bool = False) -> None:
    """Prints the result: one line, or JSON.

    Args:
        result: How the command ended.
        run: The run folder.
        as_json: Print JSON instead of a line.
        profiled: Whether steps were to be traced: where their time went is shown too.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    traced = _trace(result, run / "train" / "profile") if profiled else None
    counters = result.manifest.counters if result.manifest else {}
    if traced is not None and not as_json:
        _show_trace(traced, run / "train" / "profile")
    if as_json:
        digest = result.manifest.digest if result.manifest else None
        more = {"profile": traced} if profiled else {}
        print_json({"state": result.state, "steps": result.steps, "counters": counters, "digest": digest, **more})
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
    elif "validation_loss" in counters:
        text += f" · held-out loss {counters['validation_loss']:.3f}"
    return text


def _trace(result: Result, folder: Path) -> dict[str, Any] | None:
    """What the profiler found; none, with the reason on stderr, when it did not come to it."""
    summary = folder / "summary.json"
    if result.state != "up to date" and summary.is_file():
        return json.loads(summary.read_bytes())
    why = "nothing was trained" if result.state == "up to date" else "the training ended before"
    warn(f"no steps were traced: {why}")
    return None


def _show_trace(traced: dict[str, Any], folder: Path) -> None:
    step = traced["step_seconds"]
    on_device = any(row["device_seconds"] for row in traced["operators"])
    for title, rows in (("part of a step", traced["parts"]), ("operator, without what it calls", traced["operators"])):
        table(
            [title, "ms a step", "of the step", *(["on the device, ms"] if on_device else [])],
            [
                [row["name"], row["seconds"] * 1e3, f"{row['seconds'] / step:.1%}",
                 *([row["device_seconds"] * 1e3] if on_device else [])]
                for row in rows
            ],
        )  # fmt: skip
    done("profile", f"{traced['steps']} steps of {step * 1e3:,.1f} ms · {folder}: open the traces at ui.perfetto.dev")
