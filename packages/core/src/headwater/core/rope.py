"""How the rotary embedding (Su et al., 2021, arXiv:2104.09864) is stretched beyond the context of an earlier training.

A head of width K turns its pair `i` by `position * base**(-2i/K)`: the inverse of that factor times 2π is the pair's
wavelength in tokens. Each kind of scaling makes wavelengths longer, so that positions which the model never saw are
turned by angles which it did.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import Discriminator, Field, Tag, model_validator

from headwater.core.config import Section

_Factor = Annotated[float, Field(ge=1, le=1e6)]
_Tokens = Annotated[int, Field(gt=0, le=10**9)]
_Positive = Annotated[float, Field(gt=0, le=1e9)]


class LinearScaling(Section):
    """Position interpolation: all wavelengths are multiplied by `factor` (Chen et al., 2023, arXiv:2306.15595).

    Attributes:
        factor: How much longer the context becomes.
    """

    kind: Literal["linear"]
    factor: _Factor


class NtkScaling(Section):
    """NTK-aware scaling: a larger base, `base * factor**(K / (K - 2))`, which leaves the shortest wavelength and
    multiplies the longest by `factor` (bloc97, 2023; appendix A.1 of Peng et al., 2023, arXiv:2309.00071).

    Attributes:
        factor: How much longer the context becomes.
    """

    kind: Literal["ntk"]
    factor: _Factor

    def base(self, base: float, head_width: int) -> float:
        """The larger base.

        Args:
            base: Of the rotary embedding that is stretched.
            head_width: Width of a head, above 2.
        """
        return base * self.factor ** (head_width / (head_width - 2))


class YarnScaling(Section):
    """YaRN (Peng et al., 2023, arXiv:2309.00071): pairs that turn more than `beta_fast` times in the original context
    stay, those that turn less than `beta_slow` times are interpolated, those between are blended; and attention is
    sharpened.

    Attributes:
        factor: How much longer the context becomes.
        original_max_seq_len: The context that the model was first trained with, in tokens.
        beta_fast: Turns in the original context from which on a pair stays.
        beta_slow: Turns up to which it is interpolated.
        attention_factor: What queries and keys are multiplied by; none: `0.1 ln(factor) + 1`, the paper's
            temperature (equation 22).
    """

    kind: Literal["yarn"]
    factor: _Factor
    original_max_seq_len: _Tokens
    beta_fast: _Positive = 32.0
    beta_slow: _Positive = 1.0
    attention_factor: Annotated[float, Field(gt=0, le=100)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> YarnScaling:
        if self.beta_slow >= self.beta_fast:
            raise ValueError(f"beta_slow ({self.beta_slow}) must be below beta_fast ({self.beta_fast})")
        return self

    @property
    def temperature(self) -> float:
        """The attention factor, given or not."""
        return self.attention_factor or 0.1 * math.log(self.factor) + 1.0


class Llama3Scaling(Section):
    """What Llama 3.1 does (Dubey et al., 2024, arXiv:2407.21783): wavelengths above
    `original_max_seq_len / low_freq_factor` are multiplied by `factor`, those below
    `original_max_seq_len / high_freq_factor` stay, those between are blended.

    Attributes:
        factor: How much the longest wavelengths are stretched.
        low_freq_factor: Sets the wavelength from which on all are stretched.
        high_freq_factor: Sets the wavelength up to which none are.
        original_max_seq_len: The context that the model was first trained with, in tokens.
    """

    kind: Literal["llama3"] = "llama3"
    factor: _Factor = 8.0
    low_freq_factor: _Positive = 1.0
    high_freq_factor: _Positive = 4.0
    original_max_seq_len: _Tokens = 8192

    @model_validator(mode="after")
    def _in_order(self) -> Llama3Scaling:
        if self.low_freq_factor >= self.high_freq_factor:
            raise ValueError(
                f"low_freq_factor ({self.low_freq_factor}) must be below high_freq_factor ({self.high_freq_factor})"
            )
        return self


def _kind_of(value: Any) -> str | None:
    """The kind that a value says it is; a mapping that says none is Llama 3.1's."""
    given = (
        cast("Mapping[str, Any]", value).get("kind", "llama3")
        if isinstance(value, Mapping)
        else getattr(value, "kind", None)
    )
    return given if isinstance(given, str) else None


RopeScaling = Annotated[
    Annotated[LinearScaling, Tag("linear")]
    | Annotated[NtkScaling, Tag("ntk")]
    | Annotated[YarnScaling, Tag("yarn")]
    | Annotated[Llama3Scaling, Tag("llama3")],
    Discriminator(
        _kind_of,
        custom_error_type="no_such_kind",
        custom_error_message="a mapping whose kind is linear, ntk, yarn or llama3",
    ),
]
"""A kind of scaling, told apart by `kind`."""


def inverse_frequencies(index: Any, base: float, scaling: RopeScaling | None) -> tuple[Any, float]:
    """By what each pair of a head's dimensions is turned from one position to the next.

    Args:
        index: 0, 1, 2, … up to half the width of a head: an array of float32, numpy's or torch's.
        base: Of the embedding before it is stretched.
        scaling: How it is stretched; none: it is not.

    Returns:
        Radians a position, an array like `index`, in the order of operations of transformers' `modeling_rope_utils`;
        and the factor on queries and keys.
    """
    width = 2 * len(index)
    if isinstance(scaling, NtkScaling):
        base = scaling.base(base, width)
    wavelengths = base ** (2 * index / width)  # in units of 2π positions
    match scaling:
        case LinearScaling():
            return 1.0 / wavelengths / scaling.factor, 1.0
        case YarnScaling():
            return _yarn(index, wavelengths, base, scaling), scaling.temperature
        case Llama3Scaling():
            return _llama3(1.0 / wavelengths, scaling), 1.0
        case _:
            return 1.0 / wavelengths, 1.0


def _yarn(index: Any, wavelengths: Any, base: float, scaling: YarnScaling) -> Any:
    width = 2 * len(index)

    def pair_that_turns(times: float) -> float:
        return width * math.log(scaling.original_max_seq_len / (times * 2 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(pair_that_turns(scaling.beta_fast)), 0)
    high = min(math.ceil(pair_that_turns(scaling.beta_slow)), width - 1)
    ramp = ((index - low) / (high - low if high != low else 0.001)).clip(0, 1)
    kept = 1 - ramp
    return 1.0 / (scaling.factor * wavelengths) * (1 - kept) + 1.0 / wavelengths * kept


def _llama3(plain: Any, scaling: Llama3Scaling) -> Any:
    wavelengths = 2 * math.pi / plain
    kept = wavelengths < scaling.original_max_seq_len / scaling.high_freq_factor
    all_stretched = wavelengths > scaling.original_max_seq_len / scaling.low_freq_factor
    smooth = (scaling.original_max_seq_len / wavelengths - scaling.low_freq_factor) / (
        scaling.high_freq_factor - scaling.low_freq_factor
    )
    blended = (1 - smooth) * plain / scaling.factor + smooth * plain
    return plain * kept + plain / scaling.factor * all_stretched + blended * ~(kept | all_stretched)
