"""From the mixture of a recipe to the one that a run trains on, and from that to the order of its samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.core.manifest import read_manifest
from headwater.core.mixture import Mixture, Stage, available_tokens
from headwater.core.mixture_plan import MixturePlan, StagePlan, plan_mixture, round_to_whole
from headwater.core.order import Order, SourceSpec, StageSpec
from headwater.core.run import RunInfo

TOLERANCE = 0.01
"""Stages given in tokens are scaled to the run's when their sum is so near: a run has whole steps."""


def resolve_mixture(run: RunLayout, mixture: Mixture, *, samples: int, seq_len: int) -> Mixture:
    """The mixture that a run trains on: alpha and caps become weights, shares become stages of whole samples.

    A cap holds over all stages together, to within one sample a stage.

    Args:
        run: The run folder.
        mixture: As the recipe gives it.
        samples: Samples of the whole run.
        seq_len: Tokens in a sample.

    Returns:
        A mixture with nothing but weights, or stages with tokens and weights; resolving it again changes nothing.

    Raises:
        ConfigError: The mixture names a source without tokens, cannot give so many, has a stage without a sample or
            stages whose tokens are not those of the run, or a block too small for a capped source.
    """
    if _is_resolved(mixture, samples, seq_len):
        return mixture
    available = available_tokens(run)
    plan = plan_mixture(_scaled(mixture, samples * seq_len), available, samples * seq_len, where=str(run.tokens_root))
    weights = [_weights(mixture, number, stage) for number, stage in enumerate(plan.stages)]
    resolved = _assembled(mixture, plan, weights, samples, seq_len)
    over = _over_cap(resolved, plan, available, samples, seq_len)
    if not over:
        return resolved
    rounded = [_rounded_down(mixture.block, stage, over) for stage in plan.stages]
    return _assembled(mixture, plan, rounded, samples, seq_len)


def resolve_order(run: RunLayout, mixture: Mixture, seq_len: int, seed: int) -> Order:
    """The sample order of a run, from its tokens.

    Args:
        run: The run folder, with `tokens/<source>/` for every source of the mixture.
        mixture: A resolved mixture.
        seq_len: Tokens in a sample.
        seed: The run's seed.

    Raises:
        ConfigError: The mixture names a source that has no tokens, or is not resolved.
        ManifestError: A token data set is half-written or damaged.
    """
    sizes: dict[str, int] = {}
    for name in mixture.normalised():
        folder = run.tokens(name)
        if not folder.is_dir():
            known = sorted(path.name for path in run.tokens_root.glob("*") if path.is_dir())
            raise ConfigError(
                f"the mixture names the source {name}, which has no tokens in {run.tokens_root}",
                expected=f"one of: {', '.join(known) or 'none yet'}",
                hint="run: headwater data tokenize",
            )
        sizes[name] = int(read_manifest(folder).counters["train_tokens"])
    return mixture_order(mixture, sizes, seq_len, seed)


def mixture_order(mixture: Mixture, sizes: Mapping[str, int], seq_len: int, seed: int) -> Order:
    """The sample order of a resolved mixture.

    Args:
        mixture: The mixture.
        sizes: Training tokens of each of its sources.
        seq_len: Tokens in a sample.
        seed: The run's seed.

    Raises:
        ConfigError: As `Order`.
    """
    sources = [SourceSpec(name, sizes[name], weight) for name, weight in mixture.normalised().items()]
    stages = [StageSpec(stage.name, (stage.tokens or 0) // seq_len, stage.weights) for stage in mixture.stages]
    return Order(sources, seq_len, seed, mixture.block, stages)


def recorded_mixture(info: RunInfo) -> Mixture:
    """The resolved mixture that a checkpoint was trained on."""
    stages = tuple(
        Stage(name=stage.name, tokens=stage.samples * info.seq_len, weights=stage.weights) for stage in info.stages
    )
    return Mixture(stages=stages, block=info.block) if stages else Mixture(weights=info.weights, block=info.block)


def _is_resolved(mixture: Mixture, samples: int, seq_len: int) -> bool:
    if mixture.max_epochs is not None or mixture.alpha is not None:
        return False
    sizes = [stage.tokens or 0 for stage in mixture.stages if stage.weights]
    whole = all(size and size % seq_len == 0 for size in sizes) and sum(sizes) == samples * seq_len
    return not mixture.stages or (len(sizes) == len(mixture.stages) and whole)


def _scaled(mixture: Mixture, tokens: int) -> Mixture:
    """The mixture with stages that have exactly the tokens of the run, if they nearly have."""
    sizes = {str(place): stage.tokens for place, stage in enumerate(mixture.stages) if stage.tokens is not None}
    own = sum(sizes.values())
    if not own or abs(own - tokens) > TOLERANCE * tokens:
        return mixture  # the plan says what is wrong
    scaled = round_to_whole({place: size * tokens / own for place, size in sizes.items()}, tokens)
    stages = [stage.model_copy(update={"tokens": scaled[str(place)]}) for place, stage in enumerate(mixture.stages)]
    return mixture.model_copy(update={"stages": tuple(stages)})


def _weights(mixture: Mixture, number: int, stage: StagePlan) -> dict[str, float]:
    if any(row.capped for row in stage.sources):
        return {row.source: float(row.drawn) for row in stage.sources if row.drawn}
    given = mixture.stages[number].weights if mixture.stages else {}
    return dict(given) or {row.source: row.weight for row in stage.sources if row.drawn}


def _assembled(
    mixture: Mixture, plan: MixturePlan, weights: Sequence[dict[str, float]], samples: int, seq_len: int
) -> Mixture:  # fmt: skip
    if not mixture.stages:
        return Mixture(weights=weights[0], block=mixture.block)
    ends, tokens = [0], 0
    for stage in plan.stages:
        tokens += stage.tokens
        ends.append(min(round(tokens / seq_len), samples))
    ends[-1] = samples
    sizes = [stop - start for start, stop in pairwise(ends)]
    if min(sizes) < 1:
        stage = plan.stages[sizes.index(min(sizes))]
        raise ConfigError(
            f"the stage {stage.name} is too small for one sample", found=f"{stage.tokens:,} tokens",
            expected=f"at least {seq_len:,}", hint="give it a larger share, or leave it out",
        )  # fmt: skip
    stages = [
        Stage(name=stage.name, tokens=size * seq_len, weights=own)
        for stage, size, own in zip(plan.stages, sizes, weights, strict=True)
    ]
    return Mixture(stages=tuple(stages), block=mixture.block)


def _over_cap(
    mixture: Mixture, plan: MixturePlan, available: Mapping[str, int], samples: int, seq_len: int
) -> set[str]:
    """Capped sources that the rounding to whole samples of a block would show more often than they may be seen."""
    caps = {row.source: row.max_epochs for row in plan.sources if row.max_epochs is not None and row.drawn}
    if not caps:
        return set()
    order = mixture_order(mixture, available, seq_len, seed=0)
    slack = len(plan.stages) * seq_len
    return {
        name
        for name, cap in caps.items()
        if name in mixture.normalised() and order.drawn(name, samples) * seq_len > cap * available[name] + slack
    }


def _rounded_down(block: int, stage: StagePlan, over: set[str]) -> dict[str, float]:
    """Whole samples of a block for each source: those of `over` rounded down, the others share what is left."""
    exact = {row.source: row.drawn / stage.tokens * block for row in stage.sources if row.drawn}
    down = {name: math.floor(exact[name]) for name in sorted(over & exact.keys())}
    for name, quota in down.items():
        if quota < 1:
            raise ConfigError(
                f"mixture.block is too small for the source {name}, which may be seen only so often",
                found=f"{exact[name]:.3g} samples in a block of {block}" + f" in the stage {stage.name}",
                expected="at least one", hint=f"set mixture.block to {math.ceil(block / exact[name])} or more",
            )  # fmt: skip
    rest = {name: value for name, value in exact.items() if name not in down}
    left = block - sum(down.values())
    if not rest:
        return {name: float(quota) for name, quota in down.items()}
    scale = left / sum(rest.values())
    return {name: float(quota) for name, quota in {**down, **_shares(rest, scale, left)}.items()}


def _shares(exact: Mapping[str, float], scale: float, total: int) -> dict[str, int]:
    whole = round_to_whole({name: value * scale for name, value in exact.items()}, total)
    return {name: max(quota, 1) for name, quota in whole.items()}
