"""Rotary embeddings of a shape: torchtitan's own, and the same with stretched wavelengths.

torchtitan 0.3.0 has Llama 3.1's and YaRN's wavelengths for some of its families, and leaves YaRN's attention factor to
the model. Here each kind goes with each family, and the factor is in the cosines and sines, as in transformers, so that
an exported model computes the same.

Shapes: L positions, K width of a head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torchtitan.models.common import ComplexRoPE, CosSinRoPE

from headwater.core.rope import LinearScaling, Llama3Scaling, NtkScaling, RopeScaling, YarnScaling
from headwater.core.run import ModelShape


def pairwise(shape: ModelShape) -> ComplexRoPE.Config:
    """The embedding that turns neighbouring dimensions of a head, (0, 1), (2, 3), …"""
    if shape.rope_scaling is None:
        return ComplexRoPE.Config(dim=shape.head_width, max_seq_len=shape.max_seq_len, theta=shape.rope_theta)
    return StretchedPairs.Config(
        dim=shape.head_width, max_seq_len=shape.max_seq_len, theta=shape.rope_theta, stretch=shape.rope_scaling
    )


def by_halves(shape: ModelShape) -> CosSinRoPE.Config:
    """The embedding that turns dimension `i` of a head with `i + K/2`."""
    if shape.rope_scaling is None:
        return CosSinRoPE.Config(dim=shape.head_width, max_seq_len=shape.max_seq_len, theta=shape.rope_theta)
    return StretchedHalves.Config(
        dim=shape.head_width, max_seq_len=shape.max_seq_len, theta=shape.rope_theta, stretch=shape.rope_scaling
    )


class StretchedPairs(ComplexRoPE):
    """`ComplexRoPE` with stretched wavelengths."""

    @dataclass(kw_only=True, slots=True)
    class Config(ComplexRoPE.Config):
        """As the base, and how it is stretched."""

        stretch: RopeScaling

    def _precompute_cache(self) -> torch.Tensor:
        angles_LK, length = _angles(self.config)
        return torch.polar(torch.full_like(angles_LK, length), angles_LK)


class StretchedHalves(CosSinRoPE):
    """`CosSinRoPE` with stretched wavelengths."""

    @dataclass(kw_only=True, slots=True)
    class Config(CosSinRoPE.Config):
        """As the base, and how it is stretched."""

        stretch: RopeScaling

    def _precompute_cache(self) -> torch.Tensor:
        angles_LK, length = _angles(self.config)
        both_LK = torch.cat([angles_LK, angles_LK], dim=-1)
        return torch.cat([both_LK.cos() * length, both_LK.sin() * length], dim=-1)


def _angles(config: Any) -> tuple[torch.Tensor, float]:
    inverse_K, length = inverse_frequencies(config.dim, config.theta, config.stretch)
    return torch.outer(torch.arange(config.max_seq_len, dtype=torch.float32), inverse_K), length


def inverse_frequencies(head_width: int, base: float, scaling: RopeScaling) -> tuple[torch.Tensor, float]:
    """By what each pair of dimensions is turned from one position to the next.

    Args:
        head_width: Width of a head.
        base: Of the embedding before it is stretched.
        scaling: How it is stretched.

    Returns:
        Radians a position, of shape (K / 2,), in the order of operations of transformers'
        `modeling_rope_utils`; and the factor on queries and keys.
    """
    match scaling:
        case LinearScaling():
            return _plain(head_width, base) / scaling.factor, 1.0
        case NtkScaling():
            return _plain(head_width, scaling.base(base, head_width)), 1.0
        case YarnScaling():
            return _yarn(head_width, base, scaling), scaling.temperature
        case Llama3Scaling():
            return _llama3(_plain(head_width, base), scaling), 1.0


def _plain(head_width: int, base: float) -> torch.Tensor:
    return 1.0 / _wavelengths(head_width, base)


def _wavelengths(head_width: int, base: float) -> torch.Tensor:
    """In units of 2π positions."""
    return base ** (torch.arange(0, head_width, 2).float() / head_width)


def _yarn(head_width: int, base: float, scaling: YarnScaling) -> torch.Tensor:
    def pair_that_turns(times: float) -> float:
        return head_width * math.log(scaling.original_max_seq_len / (times * 2 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(pair_that_turns(scaling.beta_fast)), 0)
    high = min(math.ceil(pair_that_turns(scaling.beta_slow)), head_width - 1)
    width = high - low if high != low else 0.001
    ramp = ((torch.arange(head_width // 2, dtype=torch.float32) - low) / width).clamp(0, 1)
    kept, wavelengths = 1 - ramp, _wavelengths(head_width, base)
    return 1.0 / (scaling.factor * wavelengths) * (1 - kept) + 1.0 / wavelengths * kept


def _llama3(plain: torch.Tensor, scaling: Llama3Scaling) -> torch.Tensor:
    wavelengths = 2 * math.pi / plain
    longest_kept = scaling.original_max_seq_len / scaling.high_freq_factor
    shortest_stretched = scaling.original_max_seq_len / scaling.low_freq_factor
    stretched = torch.where(wavelengths > shortest_stretched, plain / scaling.factor, plain)
    smooth = (scaling.original_max_seq_len / wavelengths - scaling.low_freq_factor) / (
        scaling.high_freq_factor - scaling.low_freq_factor
    )
    blended = (1 - smooth) * stretched / scaling.factor + smooth * stretched
    between = ~(wavelengths < longest_kept) * ~(wavelengths > shortest_stretched)
    return torch.where(between, blended, stretched)
