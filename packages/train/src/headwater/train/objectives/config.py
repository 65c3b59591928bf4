"""The recipe's `train.objective` section: which objective, by `kind`, and its options."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from headwater.core.config import Section, Whole
from headwater.train.model import Model
from headwater.train.parallel import Parallel

Share = Annotated[float, Field(gt=0, lt=1)]


class Causal(Section):
    """Predict the next token from those before it."""

    kind: Literal["causal"] = "causal"


class MaskedLM(Section):
    """Predict masked tokens from both sides (Devlin et al., NAACL 2019, arXiv:1810.04805).

    Attributes:
        ratio: Share of the text that is chosen.
        masked: Share of the chosen that becomes the mask token.
        replaced: Share of the chosen that becomes another token; the rest of the chosen stays as it is.
    """

    kind: Literal["masked"]
    ratio: Share = 0.15
    masked: float = Field(default=0.8, ge=0, le=1)
    replaced: float = Field(default=0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _shares(self) -> MaskedLM:
        if self.masked + self.replaced > 1 + 1e-9:
            raise ValueError(f"masked ({self.masked}) and replaced ({self.replaced}) are more than 1 together")
        return self


class CausalAndMasked(Section):
    """α · causal + (1 − α) · masked (Dong et al., NeurIPS 2019, arXiv:1905.03197).

    Attributes:
        causal_ratio: α: the share of the samples, and the weight, of the causal part.
        ratio, masked, replaced: As `MaskedLM`, of the other part.
    """

    kind: Literal["causal_and_masked"]
    causal_ratio: Share = 0.5
    ratio: Share = 0.15
    masked: float = Field(default=0.8, ge=0, le=1)
    replaced: float = Field(default=0.1, ge=0, le=1)

    @property
    def masked_lm(self) -> MaskedLM:
        """The masked part."""
        return MaskedLM(kind="masked", ratio=self.ratio, masked=self.masked, replaced=self.replaced)

    @model_validator(mode="after")
    def _shares(self) -> CausalAndMasked:
        _ = self.masked_lm
        return self


class PrefixLM(Section):
    """Predict what follows a prefix that is seen both ways (Raffel et al., JMLR 2020, arXiv:1910.10683)."""

    kind: Literal["prefix"]


class FillInTheMiddle(Section):
    """Causal, with the middle of a document moved to its end (Bavarian et al., 2022, arXiv:2207.14255).

    Attributes:
        rate: Share of the documents that are rearranged.
        spm_rate: Share of those in which the suffix comes first.
    """

    kind: Literal["fill_in_the_middle"]
    rate: float = Field(default=0.5, gt=0, le=1)
    spm_rate: float = Field(default=0.5, ge=0, le=1)


class SpanCorruption(Section):
    """Predict spans that were taken out of a text (Raffel et al., JMLR 2020, arXiv:1910.10683).

    Attributes:
        density: Share of the text that is taken out.
        mean_length: Mean length of a span, in tokens.
    """

    kind: Literal["spans"]
    density: float = Field(default=0.15, gt=0, le=0.9)
    mean_length: float = Field(default=3.0, ge=1, le=10_000)


class MixtureOfDenoisers(Section):
    """UL2: regular, extreme and sequential denoising under mode tokens (Tay et al., ICLR 2023, arXiv:2205.05131)."""

    kind: Literal["ul2"]


class ReplacedToken(Section):
    """Tell which tokens a small generator replaced (Clark et al., ICLR 2020, arXiv:2003.10555).

    Attributes:
        ratio: Share of the text that is masked.
        generator_ratio: Width of the generator, its heads and its feed-forward, as a share of the model's.
        weight: λ, the weight of the detection beside the generator's loss.
    """

    kind: Literal["replaced_token"]
    ratio: Share = 0.15
    generator_ratio: float = Field(default=0.25, gt=0, le=1)
    weight: float = Field(default=50.0, gt=0, le=1e4)


class MultiToken(Section):
    """Causal, and from each token also those after the next (DeepSeek-AI, 2024, arXiv:2412.19437, section 2.2).

    Attributes:
        depth: How many more tokens are predicted.
        weight: λ, the weight of their mean loss beside that of the next token.
    """

    kind: Literal["multi_token"]
    depth: Whole = Field(default=1, ge=1, le=8)
    weight: float = Field(default=0.3, gt=0, le=10)


Kinds = (
    Causal | MaskedLM | CausalAndMasked | PrefixLM | FillInTheMiddle | SpanCorruption | MixtureOfDenoisers
    | ReplacedToken | MultiToken
)  # fmt: skip


def _named(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


ObjectiveConfig = Annotated[Annotated[Kinds, Field(discriminator="kind")], BeforeValidator(_named)]
"""A section with `kind`, or the name of a kind alone."""

NAMES: tuple[str, ...] = tuple(get_args(kind.model_fields["kind"].annotation)[0] for kind in get_args(Kinds))
"""Every kind."""

BOTH_WAYS = ("masked", "causal_and_masked", "prefix", "spans", "ul2", "replaced_token")
"""Kinds in which tokens see later ones."""


def problems(objective: Kinds, model: Model, parallel: Parallel, *, init_from: str | None) -> Iterator[str]:
    """What keeps a model from being trained with an objective on a layout, in words; nothing when it can be.

    Args:
        objective: The objective.
        model: The model.
        parallel: The layout.
        init_from: Where initial weights are, if there are any.
    """
    kind = objective.kind
    if kind in BOTH_WAYS and parallel.cp > 1:
        yield f"objective {kind} does not go with parallel.cp: its masks let tokens see later ones of another process"
    if kind == "replaced_token":
        yield from _replaced_token(model, parallel)
    if kind == "multi_token":
        if model.family != "deepseek_v3":
            yield f"objective multi_token needs model.family deepseek_v3, and the family is {model.family}"
        for name in ("tp", "pp", "cp"):
            if getattr(parallel, name) > 1:
                yield f"objective multi_token does not go with parallel.{name}: use dp_replicate, dp_shard and ep"
    if kind in ("replaced_token", "multi_token") and init_from is not None:
        yield f"objective {kind} does not go with init_from: the model has parts that such weights lack"


def _replaced_token(model: Model, parallel: Parallel) -> Iterator[str]:
    if model.family not in ("llama3", "qwen3"):
        yield f"objective replaced_token needs model.family llama3 or qwen3, and the family is {model.family}"
    if model.tied:
        yield "objective replaced_token does not go with model.tied: its head has one output, not the vocabulary"
    for name in ("tp", "pp", "cp"):
        if getattr(parallel, name) > 1:
            yield f"objective replaced_token does not go with parallel.{name}: use dp_replicate and dp_shard"
