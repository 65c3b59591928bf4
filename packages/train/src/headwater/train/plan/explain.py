"""Why a layout was chosen: for each choice, what the others would have cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headwater.train.plan.clusters import GIB, Cluster
from headwater.train.plan.search import Candidate

Key = Callable[[Candidate], int | str]

CHECKPOINTING_ORDER = ("none", "selective", "full")

CHOICES: dict[str, Key] = {
    "dp_replicate": lambda one: one.job.degrees.dp_replicate, "tp": lambda one: one.job.degrees.tp,
    "pp": lambda one: one.job.degrees.pp, "cp": lambda one: one.job.degrees.cp, "ep": lambda one: one.job.degrees.ep,
    "zero": lambda one: one.job.degrees.zero, "micro-batch": lambda one: one.job.micro_batch,
    "checkpointing": lambda one: one.job.checkpointing,
}  # fmt: skip


def reasons(candidates: Sequence[Candidate], cluster: Cluster) -> list[tuple[str, str]]:
    """Each choice of the best layout with a sentence.

    Args:
        candidates: What `search.find` returned; the first is the plan.
        cluster: On what.

    Returns:
        Names of choices and sentences.
    """
    best = candidates[0]
    job, degrees = best.job, best.job.degrees
    several = cluster.processes > 1
    found: list[tuple[str, str]] = []
    if several:
        shared = f"weights, gradients and optimizer state are divided among {degrees.shards} GPUs"
        if degrees.dp_replicate > 1:
            shared += f", in {degrees.dp_replicate} copies"
        found.append((f"dp_replicate {degrees.dp_replicate}, dp_shard {degrees.dp_shard}", _sentence(
            f"{degrees.dp} groups read different samples; {shared}",
            candidates, lambda one: one.job.degrees.dp_replicate, "dp_replicate")))  # fmt: skip
        found.append((f"tp {degrees.tp}", _sentence(
            "layers are not cut" if degrees.tp == 1 else f"layers are cut among {degrees.tp} GPUs of a node",
            candidates, lambda one: one.job.degrees.tp, "tp")))  # fmt: skip
        found.append((f"pp {degrees.pp}", _sentence(
            "no pipeline, so no bubble" if degrees.pp == 1 else
            f"{degrees.pp} pipeline processes under {degrees.schedule}",
            candidates, lambda one: one.job.degrees.pp, "pp")))  # fmt: skip
        found.append((f"cp {degrees.cp}", _sentence(
            "a sample stays on one GPU" if degrees.cp == 1 else
            f"{job.seq_len:,} tokens of a sample are shared by {degrees.cp} GPUs",
            candidates, lambda one: one.job.degrees.cp, "cp")))  # fmt: skip
        if job.shape.experts is not None:
            found.append((f"ep {degrees.ep}", _sentence(
                f"{job.shape.experts.count} experts of a layer are spread over {degrees.ep} GPUs",
                candidates, lambda one: one.job.degrees.ep, "ep")))  # fmt: skip
        if degrees.shards > 1:
            kept = {3: "gathered again for the backward pass", 2: "kept until the backward pass",
                    1: "gathered once a step"}  # fmt: skip
            found.append(
                (
                    f"zero {degrees.zero}",
                    _sentence(
                        f"weights are {kept[degrees.zero]}", candidates, lambda one: one.job.degrees.zero, "zero"
                    ),
                )
            )
    found.append((f"micro_batch {job.micro_batch}", _sentence(
        f"{job.micro_batch * job.seq_len:,} tokens go through a process at once, {job.micro_batches} times a step",
        candidates, lambda one: one.job.micro_batch, "micro_batch")))  # fmt: skip
    found.append((f"activation_checkpointing {job.checkpointing}", _sentence(
        {"none": "all activations fit", "selective": "all but attention and every second product is computed again",
         "full": "every block is computed again"}[job.checkpointing],
        candidates, lambda one: one.job.checkpointing, "")))  # fmt: skip
    return found


def _sentence(lead: str, candidates: Sequence[Candidate], key: Key, name: str) -> str:
    best = candidates[0]
    mine = key(best)
    others = sorted({key(one) for one in candidates} - {mine}, key=lambda value: _near(value, mine))[:2]
    told = [_told(candidates, key, value, name) for value in others]
    return lead + ("; " + "; ".join(told) if told else "; nothing else is possible") + "."


def _near(value: int | str, mine: int | str) -> float:
    if isinstance(value, str) or isinstance(mine, str):
        return abs(CHECKPOINTING_ORDER.index(str(value)) - CHECKPOINTING_ORDER.index(str(mine)))
    return abs(value.bit_length() - mine.bit_length()) + (value < mine) * 0.5 + value * 1e-6


def _told(candidates: Sequence[Candidate], key: Key, value: int | str, name: str) -> str:
    best = candidates[0]
    alike = [one for one in candidates if key(one) == value]
    called = f"{name} {value}".strip()
    fitting = max((one for one in alike if one.speed), key=lambda one: one.rate, default=None)
    if fitting is None:
        least = min(one.memory.total for one in alike) / GIB
        return f"{called} needs {least:,.0f} GiB at least"
    lost = 1 - fitting.rate / best.rate
    speed = "as fast" if abs(lost) < 0.005 else f"{lost:.0%} slower" if lost > 0 else f"{-lost:.0%} faster"
    return f"{called} is {speed}{_besides(best, fitting, key)}"


def _besides(best: Candidate, other: Candidate, key: Key) -> str:
    """What else differs in another layout, since it is the best one of its kind."""
    differences = [
        f"{name} {value(other)}".strip() for name, value in CHOICES.items()
        if value(other) != value(best) and value(other) != key(other)
    ]  # fmt: skip
    return f" (with {', '.join(differences)})" if differences else ""


def alternatives(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """The next-best layouts: the fastest of each combination of degrees but the plan's own."""
    seen = {_degrees(candidates[0])}
    found: list[Candidate] = []
    for one in sorted(candidates[1:], key=lambda one: -one.rate):
        if one.speed is None or len(found) == count:
            break
        if _degrees(one) not in seen:
            seen.add(_degrees(one))
            found.append(one)
    return found


def _degrees(one: Candidate) -> tuple[int, ...]:
    degrees = one.job.degrees
    return degrees.dp_replicate, degrees.tp, degrees.pp, degrees.cp, degrees.ep
