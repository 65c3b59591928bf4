"""What a mixture draws from each source for a number of tokens: weights, epochs, caps, and what takes their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from headwater.core.errors import ConfigError
from headwater.core.mixture import Mixture, Stage, check_sources


@dataclass(frozen=True)
class SourcePlan:
    """One source, over a stage or over all of them.

    Attributes:
        source: Its name.
        available: Its training tokens, once.
        weight: The share that the recipe asks for, 0–1.
        drawn: Tokens drawn.
        share: Their share of all that is drawn, 0–1.
        epochs: How often its tokens have been seen at the end, all stages up to here together.
        max_epochs: The cap on that; none if it has no cap.
        capped: Whether the cap made it give less than its weight.
        moved: Tokens that it gives beyond its weight, in place of capped sources (negative: gives up).
    """

    source: str
    available: int
    weight: float
    drawn: int
    share: float
    epochs: float
    max_epochs: float | None
    capped: bool
    moved: int


@dataclass(frozen=True)
class StagePlan:
    """One stage: its name, its tokens, and what each source gives."""

    name: str
    tokens: int
    sources: tuple[SourcePlan, ...]


@dataclass(frozen=True)
class MixturePlan:
    """A whole plan.

    Attributes:
        tokens: Tokens of the run.
        stages: The stages, in order; a mixture without stages is one of the name "all".
        sources: The sums over the stages.
        remainders: For each capped source of each stage, which source gives how many tokens in its place.
    """

    tokens: int
    stages: tuple[StagePlan, ...]
    sources: tuple[SourcePlan, ...]
    remainders: tuple[dict[str, Any], ...]

    def as_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return asdict(self)


def plan_mixture(mixture: Mixture, available: Mapping[str, int], tokens: int | None, *, where: str) -> MixturePlan:
    """Plans a run.

    Args:
        mixture: As the recipe gives it.
        available: Training tokens of each source.
        tokens: Tokens of the run; none when every stage gives its own.
        where: Where `available` is from, for messages.

    Raises:
        ConfigError: An unknown source, an empty one, stages whose tokens are not those of the run, or caps that leave
            too few tokens.
    """
    check_sources(mixture, available, where)
    sizes = _sizes(mixture, tokens)
    left = {name: count * cap for name, count in available.items() if (cap := _cap(mixture, name)) is not None}
    drawn = dict.fromkeys(sorted(available), 0)
    stages: list[StagePlan] = []
    remainders: list[dict[str, Any]] = []
    for stage, size in zip(_stages(mixture), sizes, strict=True):
        weights = _weights(stage, available, where)
        given = _fill(weights, size, left, stage.name)
        rows: list[SourcePlan] = []
        for name, weight in weights.items():
            drawn[name] += given[name]
            if name in left:
                left[name] -= given[name]
            rows.append(_row(mixture, name, available[name], weight, given[name], drawn[name], size))
        stages.append(StagePlan(stage.name, size, tuple(rows)))
        remainders += _remainders(stages[-1])
    return MixturePlan(sum(sizes), tuple(stages), _totals(mixture, stages, available, drawn), tuple(remainders))


def _stages(mixture: Mixture) -> Sequence[Stage]:
    return mixture.stages or (Stage(name="all", share=1.0, weights=mixture.weights, alpha=mixture.alpha),)


def _sizes(mixture: Mixture, tokens: int | None) -> list[int]:
    """Tokens of each stage; they sum to the tokens of the run."""
    own = [stage.tokens for stage in mixture.stages if stage.tokens is not None]
    if own:
        if tokens not in (None, sum(own)):
            raise ConfigError("the tokens of the stages are not those of the run", found=f"{sum(own):,}",
                              expected=f"{tokens:,}", hint="give the stages shares, or leave out the sum")  # fmt: skip
        return own
    if tokens is None:
        raise ConfigError("a plan needs the number of tokens of the run", hint="add --tokens 2B")
    shares = {str(place): stage.share or 0.0 for place, stage in enumerate(_stages(mixture))}
    return list(round_to_whole({place: share * tokens for place, share in shares.items()}, tokens).values())


def _weights(stage: Stage, available: Mapping[str, int], where: str) -> dict[str, float]:
    """Normalised weights of a stage, by source name."""
    names = stage.weights or {name: count for name, count in available.items() if count}
    empty = sorted(name for name in names if not available[name])
    if empty or not names:
        raise ConfigError(f"the source {', '.join(empty) or 'of every name'} has no training tokens in {where}",
                          hint="leave it out of the mixture, or collect more")  # fmt: skip
    raw = stage.weights or {name: float(count) ** (stage.alpha or 0.0) for name, count in names.items()}
    total = sum(raw.values())
    return {name: raw[name] / total for name in sorted(raw)}


def _cap(mixture: Mixture, name: str) -> float | None:
    return mixture.max_epochs.get(name) if isinstance(mixture.max_epochs, dict) else mixture.max_epochs


def _fill(weights: Mapping[str, float], size: int, left: Mapping[str, float], stage: str) -> dict[str, int]:
    """Tokens of each source: in proportion to the weights; what a cap holds back goes to the others by weight."""
    given: dict[str, float] = {}
    open_names = dict(weights)
    rest = float(size)
    while open_names:
        total = sum(open_names.values())
        full = {n for n, w in open_names.items() if n in left and w / total * rest > left[n] * (1 + 1e-12)}
        if not full:
            given |= {name: weight / total * rest for name, weight in open_names.items()}
            rest = 0.0
            break
        for name in sorted(full):
            given[name] = max(0.0, left[name])
            rest -= given[name]
            del open_names[name]
    if rest >= 1:
        most = sum(given.values())
        raise ConfigError(
            f"the sources cannot give {size:,} tokens" + (f" to the stage {stage}" if stage != "all" else ""),
            found=f"{most:,.0f} tokens under mixture.max_epochs", expected=f"{size:,}",
            hint="raise mixture.max_epochs, add sources, or train on fewer tokens",
        )  # fmt: skip
    return round_to_whole({name: given[name] for name in weights}, size)


def round_to_whole(exact: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers that sum to `total`, by largest remainder; equal remainders in the order of the names."""
    whole = {name: int(value) for name, value in exact.items()}
    rest = total - sum(whole.values())
    for name in sorted(exact, key=lambda name: (whole[name] - exact[name], name))[: max(rest, 0)]:
        whole[name] += 1
    return whole


def _row(
    mixture: Mixture, name: str, available: int, weight: float, given: int, seen: int, size: int
) -> SourcePlan:  # fmt: skip
    cap, moved = _cap(mixture, name), given - round(weight * size)
    capped = cap is not None and moved < -1
    epochs = seen / available if available else 0.0
    return SourcePlan(name, available, weight, given, given / max(size, 1), epochs, cap, capped,
                      moved if abs(moved) > 1 else 0)  # fmt: skip


def _remainders(stage: StagePlan) -> list[dict[str, Any]]:
    gains = {row.source: row.moved for row in stage.sources if row.moved > 0}
    total = sum(gains.values())
    found: list[dict[str, Any]] = []
    for row in stage.sources:
        if row.capped and total:
            parts = round_to_whole({name: -row.moved * gain / total for name, gain in gains.items()}, -row.moved)
            found.append({"stage": stage.name, "source": row.source, "tokens": -row.moved, "to": parts})
    return found


def _totals(
    mixture: Mixture, stages: Sequence[StagePlan], available: Mapping[str, int], drawn: Mapping[str, int]
) -> tuple[SourcePlan, ...]:
    size = sum(stage.tokens for stage in stages)
    rows: list[SourcePlan] = []
    for name in sorted(available):
        mine = [(stage.tokens, row) for stage in stages for row in stage.sources if row.source == name]
        if not mine:
            continue
        weight = sum(tokens * row.weight for tokens, row in mine) / max(size, 1)
        count, moved = available[name], sum(row.moved for _, row in mine)
        rows.append(SourcePlan(name, count, weight, drawn[name], drawn[name] / max(size, 1), drawn[name] / count,
                               _cap(mixture, name), any(row.capped for _, row in mine), moved))  # fmt: skip
    return tuple(rows)
