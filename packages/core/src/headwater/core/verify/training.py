"""Derives a run's order again, and checks that checkpoints and losses agree with it."""

from __future__ import annotations

import json
from typing import Any

from headwater.core.fed import as_text, fed_digest, read_samples
from headwater.core.layout import RunLayout
from headwater.core.run import RUN_FILE, RunInfo, read_run
from headwater.core.tokens import MegatronReader
from headwater.core.trace.training import order_of
from headwater.core.verify.findings import REMAKE, Findings
from headwater.core.verify.walk import Artifact, Walk

FED_STEPS = 16
"""Of so many steps, what they were fed is computed again."""


def check_checkpoint(run: RunLayout, artifact: Artifact, findings: Findings) -> None:
    """Checks `run.json`: the samples consumed, the parents it names, and the digest of the order.

    A checkpoint outside the run folder (one that a model was exported from) is checked against its own run.
    """
    if not artifact.folder.is_relative_to(run.root.resolve()):
        run = RunLayout(artifact.folder.parents[2])
    file = f"{artifact.label}/{RUN_FILE}"
    info = read_run(artifact.folder)
    findings.equal(
        artifact.label,
        file,
        "does not have the step in the name of its folder",
        f"step-{info.step:08d}",
        artifact.folder.name,
    )
    findings.equal(
        artifact.label,
        file,
        "samples is not what so many steps take",
        info.samples,
        info.step_samples.consumed(info.step),
    )
    digests = {parent.role: parent.digest for parent in artifact.manifest.parents}
    named = {"tokenizer": info.tokenizer_digest, **{f"tokens/{name}": digest for name, digest in info.tokens.items()}}
    for role, digest in named.items():
        if role in digests:
            findings.equal(artifact.label, file, f"names another {role} than its manifest", digest, digests[role])
    findings.equal(
        artifact.label,
        file,
        "order_digest does not follow from mixture, seed and tokens",
        info.order_digest,
        order_of(run, info).digest(info.samples),
    )


def check_training(run: RunLayout, artifact: Artifact, sound: Walk, findings: Findings) -> None:
    """Checks that `losses.jsonl` has every step once, in order, with its samples, up to the newest checkpoint.

    Of some steps, what they were fed is computed again from the tokens.
    """
    mine = [each for each in sound.of_kind("checkpoint") if each.folder.is_relative_to(artifact.folder)]
    checkpoints = [read_run(checkpoint.folder) for checkpoint in mine]
    newest = max(checkpoints, key=lambda info: info.step, default=None)
    file = f"{artifact.label}/losses.jsonl"
    lines = (artifact.folder / "losses.jsonl").read_text(encoding="utf-8").splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    for step, row in enumerate(rows, start=1):
        derived: dict[str, Any] = {"step": step}
        if newest is not None:
            start, stop = (newest.step_samples.consumed(number) for number in (step - 1, step))
            derived["samples"] = [start, stop]
            derived["tokens"] = stop * newest.seq_len
        for name, value in derived.items():
            if row.get(name, value) != value:
                findings.error(
                    artifact.label,
                    file,
                    f"line {step} does not follow from the order of samples",
                    found=f"{name} {row[name]}",
                    expected=f"{name} {value}",
                    hint=REMAKE,
                )
                return
    if newest is not None:
        findings.equal(
            artifact.label, file, "does not end at the step of the newest checkpoint", len(rows), newest.step
        )
        if all(run.tokens(source).resolve() in sound.artifacts for source in newest.tokens):
            _check_fed(run, newest, rows, artifact, findings)
    steps = artifact.manifest.counters["steps"]
    findings.equal(artifact.label, f"{artifact.label}/manifest.json", "counts steps wrongly", steps, len(rows))


def _check_fed(
    run: RunLayout, info: RunInfo, rows: list[dict[str, Any]], artifact: Artifact, findings: Findings
) -> None:
    """Compares what steps were fed, from the first to the last, with what the order takes from the tokens."""
    order = order_of(run, info)
    readers = {source: MegatronReader(run.tokens(source) / "train") for source in info.tokens}
    for number in sorted({round(place * (len(rows) - 1) / (FED_STEPS - 1)) for place in range(FED_STEPS)}):
        if "fed" not in rows[number]:
            continue
        start, stop = (info.step_samples.consumed(steps) for steps in (number, number + 1))
        tokens, positions = read_samples(order, readers, start, stop)
        findings.equal(
            artifact.label, f"{artifact.label}/losses.jsonl",
            f"step {number + 1} was fed other tokens than the order of samples takes", rows[number]["fed"],
            as_text(fed_digest(start, tokens, positions)),
        )  # fmt: skip
