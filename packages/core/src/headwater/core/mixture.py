"""The mixture: which share of the samples comes from which source. It is data, not code.

What trains is a resolved mixture: `core.mixture_resolve` turns a temperature, epoch caps and shares of stages into
weights, and into stages of whole samples, for this run's tokens. It is a mixture itself, and resolves to itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from headwater.core.config import NotValid, Section, Whole, nearest
from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.core.manifest import is_artifact, read_manifest
from headwater.core.order import DEFAULT_BLOCK

_UNITS = {"k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}


def parse_tokens(value: object) -> object:
    """A number of tokens written as people do: `300B`, `1.2T`, `2_000_000`. Anything else is given back as it is."""
    if not isinstance(value, str):
        return value
    text = value.strip().replace("_", "").replace(",", "")
    unit = _UNITS.get(text[-1:].lower(), 1)
    try:
        number = float(text[:-1] if unit > 1 else text) * unit
        return round(number) if number == number and abs(number) <= 10**15 else value
    except ValueError:
        return value


TokenCount = Annotated[Whole, Field(ge=1), BeforeValidator(parse_tokens)]
Weights = dict[str, Annotated[float, Field(gt=0)]]
Alpha = Annotated[float, Field(ge=0, le=1)]
Epochs = Annotated[float, Field(gt=0)]


class Stage(Section):
    """One stage of a mixture, with weights or a temperature of its own.

    Attributes:
        name: Its name, for people.
        share: Its part of all tokens, 0–1; the shares of all stages sum to 1.
        tokens: Its tokens, instead of a share: a number, or text such as `300B`.
        weights: Source → weight.
        alpha: As the mixture's, instead of weights.
    """

    name: str = Field(min_length=1)
    share: float | None = Field(default=None, gt=0, le=1)
    tokens: TokenCount | None = None
    weights: Weights = Field(default_factory=dict)
    alpha: Alpha | None = None

    @model_validator(mode="after")
    def _one_of_each(self) -> Stage:
        if (self.share is None) == (self.tokens is None):
            raise ValueError(f"the stage {self.name} has either a share or tokens")
        if bool(self.weights) == (self.alpha is not None):
            raise ValueError(f"the stage {self.name} has either weights or alpha")
        return self


class Mixture(Section):
    """How much is drawn from each source: weights, a temperature, or stages.

    Attributes:
        weights: Source → weight. Only their ratios matter.
        alpha: Temperature sampling, instead of weights: a source of n tokens is drawn in proportion to n^alpha. 1 is
            in proportion to size, 0 the same of each (Devlin et al. 2019 took 0.7; 1/alpha is the temperature).
        max_epochs: How often a source's tokens may be seen, for all sources or by source; what a capped source may not
            give, the others give in proportion to their weights. None: no cap.
        stages: Stages, in order, instead of weights and alpha. Caps hold over all stages together.
        block: Samples over which the proportions are exact up to rounding.
    """

    weights: dict[str, float] = Field(default_factory=dict)
    alpha: Alpha | None = None
    max_epochs: Epochs | dict[str, Epochs] | None = None
    stages: tuple[Stage, ...] = ()
    block: int = Field(default=DEFAULT_BLOCK, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _positive(self) -> Mixture:
        for name, weight in self.weights.items():
            if not 0 < weight < float("inf"):
                raise ValueError(f"the weight of {name} must be a positive number, not {weight}")
        return self

    @model_validator(mode="after")
    def _whole(self) -> Mixture:
        if bool(self.weights) + (self.alpha is not None) + bool(self.stages) != 1:
            raise NotValid(
                "exactly one of weights, alpha and stages", "name the sources: weights: {web: 0.7, code: 0.3}"
            )
        if not self.stages:
            return self
        if len({stage.share is None for stage in self.stages}) > 1:
            raise ValueError("either every stage has a share or every stage has tokens")
        shares = [stage.share for stage in self.stages if stage.share is not None]
        if shares and abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"the shares of the stages sum to 1, not {sum(shares):g}")
        return self

    def normalised(self) -> dict[str, float]:
        """The weights scaled to a sum of 1, by source name; of stages, over all of them together.

        Raises:
            ConfigError: A temperature gives no weights by itself; `resolve_mixture` makes them.
        """
        if self.alpha is not None or any(stage.alpha is not None for stage in self.stages):
            raise ConfigError("mixture.alpha gives no weights by itself", hint="run: headwater data mix --plan")
        parts = [(stage.share or float(stage.tokens or 0), stage.weights) for stage in self.stages]
        sums: dict[str, float] = {}
        for size, weights in parts or [(1.0, self.weights)]:
            total = sum(weights.values())
            for name, weight in weights.items():
                sums[name] = sums.get(name, 0.0) + size * (weight / total)
        whole = sum(size for size, _ in parts) if parts else 1.0
        return {name: value / whole for name, value in sorted(sums.items())}

    def named(self) -> set[str]:
        """The sources that the mixture names."""
        caps = set(self.max_epochs) if isinstance(self.max_epochs, dict) else set[str]()
        return {*self.weights, *caps, *(name for stage in self.stages for name in stage.weights)}


def available_tokens(run: RunLayout) -> dict[str, int]:
    """Training tokens of each source that the run has.

    Raises:
        ManifestError: A token data set is damaged.
    """
    folders = sorted(path for path in run.tokens_root.glob("*") if is_artifact(path))
    return {path.name: int(read_manifest(path).counters["train_tokens"]) for path in folders}


def check_sources(mixture: Mixture, known: Mapping[str, object], where: str) -> None:
    """Refuses a mixture that names a source which is not known.

    Raises:
        ConfigError: There is one.
    """
    for name in sorted(mixture.named()):
        if name not in known:
            near = nearest(name, known)
            raise ConfigError(
                f"mixture names the source {name}, which has no tokens in {where}",
                expected=f"one of: {', '.join(sorted(known)) or 'none yet'}",
                hint=f"did you mean {near}?" if near else "run: headwater data tokenize",
            )
