"""Prints plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from headwater.core.console import done, duration, print_json, table
from headwater.train.plan.calibration import held_back
from headwater.train.plan.clusters import GIB
from headwater.train.plan.cost import CO2_KG_PER_KWH, GOODPUT, POWER_RATIO, PUE
from headwater.train.plan.explain import alternatives, reasons
from headwater.train.plan.job import Job
from headwater.train.plan.make import Largest, Plan
from headwater.train.plan.memory import optimizer_bytes
from headwater.train.plan.recipe import command_of
from headwater.train.plan.recommend import nearest_runs
from headwater.train.plan.search import EQUAL, Candidate
from headwater.train.plan.speed import Speed

MEMORY = {
    "parameters": "weights (float32)", "gradients": "gradients (float32)", "optimizer": "optimizer state",
    "activations": "activations", "logits": "logits and cross-entropy",
    "communication": "weights gathered, gradients to reduce", "reserve": "CUDA, NCCL, the allocator's reserve",
}  # fmt: skip
TIME = {
    "products": "matrix products", "attention": "attention", "between": "norms, gates, loss and other operations",
    "data": "gathering weights, reducing gradients", "tensor": "tensor parallel communication",
    "context": "context parallel communication", "expert": "tokens to experts and back",
    "pipeline": "sends between stages", "bubble": "the pipeline's bubble", "update": "optimizer",
    "straggling": "waiting for the slowest node",
}  # fmt: skip


def show(plan: Plan, recipe: str | None, out: str | None, alternatives_wanted: int) -> None:
    """A plan for people.

    Args:
        plan: What was planned.
        recipe: Its recipe as YAML; none when the trainer has no such training.
        out: Where the recipe was written.
        alternatives_wanted: How many other layouts to show.
    """
    best, speed = plan.best, _speed(plan.best)
    job, cost, cluster = best.job, plan.cost, plan.cluster
    _head(plan)
    table(["what", ""], _what(plan))
    table(["choice", "why"], reasons(plan.candidates, cluster), title="The layout")
    there = cluster.device.memory_bytes / GIB
    rows = [[name, _gib(getattr(best.memory, key)), f"{getattr(best.memory, key) / best.memory.total:.0%}"]
            for key, name in MEMORY.items() if getattr(best.memory, key)]  # fmt: skip
    rows.append([f"all, of {there:,.0f} GiB", _gib(best.memory.total), f"{best.memory.total / GIB / there:.0%} of it"])
    table(["memory of a GPU" if cluster.gpu.generation != "cpu" else "memory", "GiB", "share"], rows)
    table(["time of a step", "seconds", "share"], [
        [name, f"{getattr(speed, key):.3g}", f"{getattr(speed, key) / speed.step_seconds:.1%}"]
        for key, name in TIME.items() if getattr(speed, key) > 0.0005 * speed.step_seconds])  # fmt: skip
    others = alternatives(plan.candidates, alternatives_wanted)
    if others:
        table(["next best", "micro-batch", "checkpointing", "GiB", "MFU", "against the plan"],
              [_alternative(one, best) for one in others])  # fmt: skip
        if max(one.rate for one in others) > best.rate:
            print(f"Layouts within {EQUAL:.0%} of the fastest count as equal: the simplest of them is the plan.\n")
    table(["published trainings near it", "parameters", "learning rate", "tokens a step", "source"], [
        [row.model, f"{row.parameters / 1e9:g}B", f"{row.learning_rate:g}",
         _tokens(row.batch_tokens), row.source]
        for row in nearest_runs(job.counts.active, method=job.method)])  # fmt: skip
    _trust(plan)
    if recipe is not None:
        if out is None:
            print(f"\nThe recipe (--out FILE writes it):\n\n{recipe}")
        if job.method == "sft":
            print("The weights it starts from: headwater import hf MODEL --run RUN. Every token of a sample is scored, "
                  "prompts too.")  # fmt: skip
        print(f"It starts with: {command_of(job, cluster.gpu.host_gpus, out or 'FILE')}")
    money = f", ${cost.dollars:,.0f}" if cost.dollars is not None else ""
    done("plan", f"{_days(cost.seconds)} on {cluster.name}{money}, {cost.energy_kwh:,.0f} kWh"
         + (f"; recipe in {out}" if out else ""))  # fmt: skip


def _head(plan: Plan) -> None:
    model, job = plan.wish.model, plan.best.job
    total, active = job.counts.total, job.counts.active
    experts = "" if total == active else f", {active / 1e9:,.2f} billion of them for each token"
    print(f"{model.family}, {total / 1e9:,.3f} billion parameters{experts}: {model.n_layers} layers, {model.dim} wide, "
          f"{model.n_heads} heads, vocabulary {job.shape.vocab_size:,}")  # fmt: skip


def _what(plan: Plan) -> list[list[str]]:
    job, cost, speed, cluster = plan.best.job, plan.cost, _speed(plan.best), plan.cluster
    least, most = _range(plan)
    rows = [
        ["tokens", f"{cost.tokens:,.3g}" + (
            f": {cost.overtraining:.2g} times the compute-optimal {cost.optimal_tokens:,.3g}"
            if job.method == "pretrain" else "")],
        ["compute (4 N D)" if job.adapters else "compute (6 N D)", f"{cost.flops:.3g} FLOPs"],
        ["steps", f"{cost.steps:,} of {job.global_batch:,} samples of {job.seq_len:,} tokens "
                  f"({job.global_batch * job.seq_len / 1e6:,.3g}M tokens)"],
        ["a step", f"{_seconds(speed.step_seconds)}, {job.micro_batches} micro-batches of {job.micro_batch} a process"],
        ["speed", f"{plan.best.rate:,.0f} tokens/s" + (f", {speed.tokens_per_second_per_gpu:,.0f} a GPU"
                                                       if cluster.processes > 1 else "")],
        ["MFU", f"{speed.mfu:.1%} of {cluster.device.peak_bf16 / 1e12:,.3g} TFLOP/s"
                + (" (of bfloat16)" if cluster.gpu.generation != "cpu" else "")],
        ["wall time", f"{_days(cost.seconds)}, {1 - GOODPUT:.0%} of it lost to restarts and lost steps"],
        ["likely range", f"{_days(least * cost.seconds)} to {_days(most * cost.seconds)}"
                         + (f", ${least * cost.dollars:,.0f} to ${most * cost.dollars:,.0f}" if cost.dollars else "")
                         + f", by how far predicted speeds are off: {least - 1:+.0%} to {most - 1:+.0%} of the time"],
    ]  # fmt: skip
    if cluster.gpu.generation != "cpu":
        rows.append(["GPU hours", f"{cost.gpu_hours:,.0f}"])
        rows.append(["money", f"${cost.dollars:,.0f} at ${plan.price.dollars:.2f} a GPU and hour, {plan.price.option} "
                     f"({plan.price.source})" if plan.price and cost.dollars is not None
                     else f"no price of {cluster.gpu.name} is known: give one with --price"])  # fmt: skip
    if job.offload:
        rows.append(["host memory", f"{_gib(optimizer_bytes(job))} GiB a GPU, for the optimizer's state"])
    watts = f"{cluster.device.power_watts * POWER_RATIO:,.0f} W"
    whose = "" if cluster.gpu.generation == "cpu" else " a GPU with its share of the server"
    rows.append(["energy", f"{cost.energy_kwh:,.0f} kWh ({watts}{whose}, PUE {PUE})"])
    co2 = f"{cost.co2_kg / 1000:,.0f} t" if cost.co2_kg >= 10_000 else f"{cost.co2_kg:,.0f} kg"
    rows.append(["CO2", f"{co2} at {CO2_KG_PER_KWH} kg a kWh"])
    return rows


def show_largest(what: str, found: Sequence[Largest]) -> None:
    """What fits, for people."""
    table([what, "layout", "micro-batch", "checkpointing", "GiB", "tokens/s"], [
        [one.value, layout_text(one.candidate.job), one.candidate.job.micro_batch, one.candidate.job.checkpointing,
         _gib(one.candidate.memory.total), f"{one.candidate.rate:,.0f}"] for one in found])  # fmt: skip
    done("plan", f"the largest {what} that fits: {found[-1].value}")


def as_json(plan: Plan, recipe: dict[str, Any] | None, alternatives_wanted: int) -> None:
    """A plan for programs."""
    held, _ = held_back()
    print_json({
        "cluster": plan.cluster.name, "parameters": plan.best.job.counts.total,
        "active_parameters": plan.best.job.counts.active, **_candidate(plan.best), "cost": asdict(plan.cost),
        "price": asdict(plan.price) if plan.price else None,
        "reasons": dict(reasons(plan.candidates, plan.cluster)),
        "alternatives": [_candidate(one) for one in alternatives(plan.candidates, alternatives_wanted)],
        "published": [asdict(row) for row in nearest_runs(plan.best.job.counts.active, method=plan.wish.method)],
        "error_ratio": {"median": held.median, "ninetieth_percentile": held.ninetieth, "rows": held.rows},
        "recipe": recipe,
    })  # fmt: skip


def largest_json(what: str, found: Sequence[Largest]) -> None:
    """What fits, for programs."""
    print_json({"what": what, "fits": [{"value": one.value, **_candidate(one.candidate)} for one in found]})


def layout_text(job: Job) -> str:
    """The degrees above 1, in words."""
    degrees = job.degrees
    parts = [f"{name} {getattr(degrees, name)}" for name in ("dp_replicate", "dp_shard", "tp", "pp", "cp", "ep")
             if getattr(degrees, name) > 1]  # fmt: skip
    if degrees.pp > 1:
        parts.append(degrees.schedule)
    return ", ".join(parts) or "one process"


def _candidate(one: Candidate) -> dict[str, Any]:
    job = one.job
    return {
        "degrees": asdict(job.degrees), "seq_len": job.seq_len, "global_batch": job.global_batch,
        "micro_batch": job.micro_batch, "micro_batches": job.micro_batches, "precision": job.precision,
        "activation_checkpointing": job.checkpointing, "method": job.method,
        "optimizer": job.optimizer.name, "optimizer_bytes": optimizer_bytes(job), "offload": job.offload,
        "memory_bytes": {**asdict(one.memory), "total": one.memory.total},
        "speed": asdict(_speed(one)) | {"step_seconds": _speed(one).step_seconds},
        "tokens_per_second": one.rate,
    }  # fmt: skip


def _alternative(one: Candidate, best: Candidate) -> list[Any]:
    speed = _speed(one)
    lost = 1 - one.rate / best.rate
    told = f"{lost:.1%} slower" if lost > 0 else f"{-lost:.1%} faster, and less simple"
    return [layout_text(one.job), one.job.micro_batch, one.job.checkpointing, _gib(one.memory.total),
            f"{speed.mfu:.1%}", told]  # fmt: skip


def _trust(plan: Plan) -> None:
    if plan.cluster.gpu.generation == "cpu":
        print("A CPU's speed is a guess from its cores: it may be off by a factor of two. Try a few steps.")
        return
    speed, memory = held_back()
    print(
        f"How far to trust it: on {speed.rows} published trainings that nothing was fitted on, the speed was off by "
        f"{speed.median:.0%} (median) and by less than {speed.ninetieth:.0%} in nine of ten; memory, on {memory.rows}, "
        f"by {memory.median:.0%} and {memory.ninetieth:.0%}."
    )
    if plan.best.job.adapters:
        print(f"The trainer has no adapters yet: a plan with --method {plan.wish.method} has no recipe.")


def _range(plan: Plan) -> tuple[float, float]:
    """Factors of the time that the predicted speed is within, in nine of ten published trainings."""
    if plan.cluster.gpu.generation == "cpu":
        return 0.5, 2.0  # a guess
    speed, _ = held_back()
    return 1 - speed.ninetieth, 1 + speed.ninetieth


def _seconds(seconds: float) -> str:
    return duration(seconds) if seconds >= 90 else f"{seconds:,.3g} s"


def _days(seconds: float) -> str:
    return f"{seconds / 86_400:,.1f} days" if seconds > 2 * 86_400 else duration(seconds)


def _tokens(number: float | None) -> str:
    return "" if number is None else f"{number / 1e6:g}M" if number >= 1e5 else f"{number / 1e3:g}k"


def _gib(value: float) -> str:
    return f"{value / GIB:,.1f}"


def _speed(one: Candidate) -> Speed:
    assert one.speed is not None
    return one.speed
