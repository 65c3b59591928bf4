"""Plans: from what is asked for to a layout, its cost and its recipe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from headwater.core.errors import ConfigError
from headwater.train.plan.clusters import GIB, MAX_GPUS, Cluster
from headwater.train.plan.cost import TOKENS_PER_PARAMETER, Cost, Price, cost_of
from headwater.train.plan.counts import counts
from headwater.train.plan.recommend import batch_tokens_for
from headwater.train.plan.search import USABLE, Candidate, Wish, even_batch, find, fits
from headwater.train.plan.sizes import model_of, shape_of
from headwater.train.sizes import LADDER, PUBLISHED, parse_number


@dataclass(frozen=True)
class Plan:
    """A training that fits, and what it takes.

    Attributes:
        wish: What was asked for.
        cluster: On what.
        candidates: All layouts, the chosen one first.
        cost: Of the chosen one.
        price: Of a GPU.
    """

    wish: Wish
    cluster: Cluster
    candidates: list[Candidate]
    cost: Cost
    price: Price | None

    @property
    def best(self) -> Candidate:
        """The chosen layout."""
        return self.candidates[0]


def make_plan(wish: Wish, cluster: Cluster, tokens: float | None, price: Price | None) -> Plan:
    """The best layout for a wish.

    Args:
        wish: What is to be trained.
        cluster: On what.
        tokens: To train on; none: the compute-optimal number.
        price: Of a GPU and hour.

    Raises:
        ConfigError: No layout is possible, or none fits; or the tokens are less than a step's.
    """
    candidates = fitting(wish, cluster)
    step = candidates[0].job.global_batch * wish.seq_len
    if tokens is not None and tokens < step:
        raise ConfigError("--tokens is less than a step takes", found=f"{tokens:,.0f}", expected=f"{step:,} at least",
                          hint="or a smaller --batch-tokens")  # fmt: skip
    wanted = tokens or TOKENS_PER_PARAMETER * counts(shape_of(wish.model, wish.seq_len)).active
    return Plan(
        wish, cluster, candidates, cost_of(candidates[0].job, cluster, wanted, candidates[0].rate, price), price
    )


def fitting(wish: Wish, cluster: Cluster) -> list[Candidate]:
    """What `find` gives, of which the first fits.

    Raises:
        ConfigError: No layout is possible, or none fits.
    """
    candidates = find(wish, cluster)
    if not candidates:
        raise _no_layout(wish, cluster)
    if candidates[0].speed is None:
        raise _too_large(wish, cluster, candidates[0])
    return candidates


@dataclass(frozen=True)
class Largest:
    """Something that fits, of those that were tried.

    Attributes:
        value: The size, the tokens of a sample, or the samples of a micro-batch.
        candidate: The best layout of it.
    """

    value: str
    candidate: Candidate


def sizes_of(family: str) -> list[str]:
    """Sizes of a family that are tried, smallest first."""
    return sorted(PUBLISHED[family] if family == "deepseek_v3" else LADDER, key=lambda name: parse_number(name, "", ""))


def largest_models(
    wish: Wish, cluster: Cluster, family: str, vocab_size: int | None, batch_tokens: float | None
) -> list[Largest]:
    """Sizes that fit, smallest first; the last is the largest.

    Args:
        wish: What is to be trained; its model is replaced.
        cluster: On what.
        family: Of the models.
        vocab_size: Of the models; none: the family's.
        batch_tokens: Tokens in a step; none: as published trainings of each size used, and a sample a process at least.

    Raises:
        ConfigError: None fits.
    """
    wishes: dict[str, Wish] = {}
    for name in sizes_of(family):
        model = model_of(name, family, vocab_size)
        step = batch_tokens or max(
            batch_tokens_for(counts(shape_of(model, wish.seq_len)).active, wish.method),
            cluster.processes * wish.seq_len,
        )
        wishes[name] = _changed(wish, model=model, batch=even_batch(step / wish.seq_len))
    return _up_to_the_largest(wishes, cluster)


def longest_contexts(wish: Wish, cluster: Cluster) -> list[Largest]:
    """Lengths that fit, shortest first, in powers of two; the batch keeps its tokens.

    Raises:
        ConfigError: None of them fits.
    """
    tokens, lengths = wish.batch * wish.seq_len, [2**power for power in range(10, 23)]
    wishes = {
        f"{length:,} tokens": _changed(wish, seq_len=length, batch=max(1, round(tokens / length))) for length in lengths
    }
    return _up_to_the_largest(wishes, cluster)


def largest_batches(wish: Wish, cluster: Cluster) -> list[Largest]:
    """The largest micro-batch that fits under each kind of activation checkpointing, with its fastest layout.

    Raises:
        ConfigError: None fits.
    """
    candidates = [one for one in fitting(wish, cluster) if one.speed]
    found: list[Largest] = []
    for kind in ("none", "selective", "full"):
        alike = [one for one in candidates if one.job.checkpointing == kind]
        if alike:
            most = max(one.job.micro_batch for one in alike)
            best = max((one for one in alike if one.job.micro_batch == most), key=lambda one: one.rate)
            found.append(Largest(f"{most} samples a process, {kind}", best))
    return found


def _up_to_the_largest(wishes: dict[str, Wish], cluster: Cluster) -> list[Largest]:
    """Of wishes that need ever more, those that fit; the first ones may be too small for the cluster."""
    found: list[Largest] = []
    for name, wish in wishes.items():
        best = _best(wish, cluster)
        if best is not None:
            found.append(Largest(name, best))
        elif found:
            break
    if not found:
        fitting(next(iter(wishes.values())), cluster)  # which says why
    return found


def _best(wish: Wish, cluster: Cluster) -> Candidate | None:
    candidates = find(wish, cluster)
    return candidates[0] if candidates and candidates[0].speed else None


def _changed(wish: Wish, **values: Any) -> Wish:
    return replace(wish, **values)  # pyright: ignore[reportArgumentType]


def _no_layout(wish: Wish, cluster: Cluster) -> ConfigError:
    return ConfigError(
        "there is no layout that the trainer takes",
        found=f"{wish.batch:,} samples of {wish.seq_len:,} tokens in a step on {cluster.name}",
        expected="at least one sample for every group of processes that shares one",
        hint=f"a larger --batch-tokens (at least {cluster.processes * wish.seq_len:,} gives each GPU a sample), "
        "or fewer GPUs",
    )  # fmt: skip


def _too_large(wish: Wish, cluster: Cluster, nearest: Candidate) -> ConfigError:
    needed, there = nearest.memory.total / GIB, cluster.device.memory_bytes / GIB
    more = _enough(wish, cluster)
    where = " on each GPU" if cluster.gpu.generation != "cpu" else ""
    return ConfigError(
        "it does not fit", found=f"{needed:,.0f} GiB{where} with the layout that needs least",
        expected=f"at most {USABLE * there:,.0f} GiB, {USABLE:.0%} of {there:,.0f}",
        hint=(f"{cluster.gpu.name}:{more} fits" if more else "a smaller --size")
        + ", or a shorter --seq-len, or "
        + ("a smaller --lora-rank" if wish.method == "qlora" else "--method qlora")
        + "; `--fit model` shows what fits here",
    )  # fmt: skip


def _enough(wish: Wish, cluster: Cluster) -> int | None:
    """The smallest doubling of the cluster that fits, if a few doublings are enough."""
    if cluster.gpu.generation == "cpu":
        return None
    gpus = cluster.gpus
    for _ in range(8):
        gpus *= 2
        if gpus > cluster.gpu.host_gpus:
            gpus = -(-gpus // cluster.gpu.host_gpus) * cluster.gpu.host_gpus
        if gpus > min(MAX_GPUS, 16_384):
            return None
        if fits(wish, Cluster(cluster.gpu, gpus)):
            return gpus
    return None
