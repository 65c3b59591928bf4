"""Derives a run's order again, and checks that checkpoints and losses agree with it."""

from __future__ import annotations

import json
from typing import Any

from headwater.core.layout import RunLayout
from headwater.core.run import RUN_FILE, read_run
from headwater.core.trace.training import order_of
from headwater.core.verify.findings import REMAKE, Findings
from headwater.core.verify.walk import Artifact


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
        artifact.label, file, "samples is not step × global_batch", info.samples, info.step * info.global_batch
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


def check_training(artifact: Artifact, checkpoints: list[Artifact], findings: Findings) -> None:
    """Checks that `losses.jsonl` has every step once, in order, with its samples, up to the newest checkpoint."""
    path = artifact.folder / "losses.jsonl"
    newest = max((read_run(checkpoint.folder) for checkpoint in checkpoints), key=lambda info: info.step, default=None)
    file = f"{artifact.label}/losses.jsonl"
    steps = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        row: dict[str, Any] = json.loads(line)
        steps += 1
        derived: dict[str, Any] = {"step": steps}
        if newest is not None:
            derived["samples"] = [(steps - 1) * newest.global_batch, steps * newest.global_batch]
            derived["tokens"] = steps * newest.global_batch * newest.seq_len
        for name, value in derived.items():
            if row.get(name, value) != value:
                findings.error(
                    artifact.label,
                    file,
                    f"line {steps} does not follow from the order of samples",
                    found=f"{name} {row[name]}",
                    expected=f"{name} {value}",
                    hint=REMAKE,
                )
                return
    if newest is not None:
        findings.equal(artifact.label, file, "does not end at the step of the newest checkpoint", steps, newest.step)
    counters = artifact.manifest.counters
    findings.equal(artifact.label, f"{artifact.label}/manifest.json", "counts steps wrongly", counters["steps"], steps)
