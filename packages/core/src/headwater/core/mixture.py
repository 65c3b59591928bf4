"""The mixture: which share of the samples comes from which source. It is data, not code."""

from __future__ import annotations

from pydantic import Field, model_validator

from headwater.core.config import Section
from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.core.manifest import read_manifest
from headwater.core.order import DEFAULT_BLOCK, Order, SourceSpec


class Mixture(Section):
    """Static weights.

    Attributes:
        weights: Source → weight. Only their ratios matter.
        block: Samples over which the proportions are exact up to rounding.
    """

    weights: dict[str, float] = Field(min_length=1)
    block: int = Field(default=DEFAULT_BLOCK, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _positive(self) -> Mixture:
        for name, weight in self.weights.items():
            if not 0 < weight < float("inf"):
                raise ValueError(f"the weight of {name} must be a positive number, not {weight}")
        return self

    def normalised(self) -> dict[str, float]:
        """The weights scaled to a sum of 1, by source name."""
        total = sum(self.weights.values())
        return {name: weight / total for name, weight in sorted(self.weights.items())}


def resolve_order(run: RunLayout, mixture: Mixture, seq_len: int, seed: int) -> Order:
    """The sample order of a run, from its tokens.

    Args:
        run: The run folder, with `tokens/<source>/` for every source of the mixture.
        mixture: The weights.
        seq_len: Tokens in a sample.
        seed: The run's seed.

    Raises:
        ConfigError: The mixture names a source that has no tokens.
        ManifestError: A token data set is half-written or damaged.
    """
    specs: list[SourceSpec] = []
    for name, weight in mixture.normalised().items():
        folder = run.tokens(name)
        if not folder.is_dir():
            known = sorted(path.name for path in run.tokens_root.glob("*") if path.is_dir())
            raise ConfigError(
                f"mixture.weights names the source {name}, which has no tokens in {run.tokens_root}",
                expected=f"one of: {', '.join(known) or 'none yet'}",
                hint="run: headwater data tokenize",
            )
        counters = read_manifest(folder).counters
        specs.append(SourceSpec(name, int(counters["train_tokens"]), weight))
    return Order(specs, seq_len, seed, mixture.block)
