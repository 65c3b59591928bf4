"""Rotary embeddings of a shape: torchtitan's own, and the same with stretched wavelengths.

torchtitan 0.3.0 has Llama 3.1's and YaRN's wavelengths for some of its families, and leaves YaRN's attention factor to
the model. Here each kind goes with each family, and the factor is in the cosines and sines, as in transformers, so that
an exported model computes the same.

Shapes: L positions, K half the width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torchtitan.models.common import ComplexRoPE, CosSinRoPE

from headwater.core.rope import RopeScaling, inverse_frequencies
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
    index_K = torch.arange(config.dim // 2, dtype=torch.float32)
    inverse_K, length = inverse_frequencies(index_K, config.theta, config.stretch)
    return torch.outer(torch.arange(config.max_seq_len, dtype=torch.float32), inverse_K), length
