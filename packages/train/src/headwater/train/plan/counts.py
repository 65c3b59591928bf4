"""Parameters of a model, exactly, and floating point operations of a token.

L layers, D width, H query heads, K key and value heads, C width of a head, F hidden width, V words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from headwater.core.run import Experts, LatentAttention, ModelShape

Part = Literal["matrices", "whole", "experts"]


@dataclass(frozen=True)
class Tensor:
    """A parameter as the trainer has it.

    Attributes:
        part: Of `Layer`, by how layouts cut it.
        shape: Outputs before inputs; of experts, all of a layer's in one.
    """

    part: Part
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layer:
    """Parameters of one transformer block, by how layouts cut them.

    Attributes:
        matrices: In linear layers that tensor parallelism cuts.
        whole: In norms, routers and bottlenecks, which it does not cut.
        experts: In routed experts, which expert parallelism cuts.
        active_experts: Those of `experts` that a token goes through.
        kv_width: Width of keys and values together.
        q_width: Width of all queries.
        value_width: Width of all heads' outputs.
        ffn_width: Hidden width that a token goes through, over shared and chosen experts.
        gated: Whether the feed-forward has a gate (SwiGLU).
        tensors: Its parameters one by one.
    """

    matrices: int
    whole: int
    experts: int
    active_experts: int
    kv_width: int
    q_width: int
    value_width: int
    ffn_width: int
    gated: bool
    tensors: tuple[Tensor, ...] = field(default=(), compare=False)

    @property
    def total(self) -> int:
        """All parameters."""
        return self.matrices + self.whole + self.experts

    @property
    def products(self) -> int:
        """Parameters that a token is multiplied with."""
        return self.matrices + self.active_experts


@dataclass(frozen=True)
class Counts:
    """Parameters of a whole model.

    Attributes:
        layers: Its blocks, in order.
        embedding: In the embeddings of words and positions.
        head: In the output head; 0 when it is the embedding.
        final: In the last norm.
        head_products: Parameters of the head that a token is multiplied with.
    """

    layers: tuple[Layer, ...]
    embedding: int
    head: int
    final: int
    head_products: int

    @property
    def total(self) -> int:
        """All parameters."""
        return sum(layer.total for layer in self.layers) + self.embedding + self.head + self.final

    @property
    def active(self) -> int:
        """Parameters that a token goes through: all but the experts that are not chosen."""
        return self.total - sum(layer.experts - layer.active_experts for layer in self.layers)

    @property
    def products(self) -> int:
        """Parameters that a token is multiplied with: not the embedding, not the norms."""
        return sum(layer.products for layer in self.layers) + self.head_products


def counts(shape: ModelShape) -> Counts:
    """The parameters of a shape, as the trainer builds it.

    Args:
        shape: Of any family that the trainer has.
    """
    frozen: Any = shape  # pydantic's frozen models have a hash; their type does not say so
    return _counts(frozen)


@cache
def _counts(shape: ModelShape) -> Counts:
    dim, vocab = shape.dim, shape.vocab_size
    dense = (shape.experts or Experts()).dense_layers if shape.family == "deepseek_v3" else shape.n_layers
    layers = (_layer(shape, 0),) * dense + (_layer(shape, dense),) * (shape.n_layers - dense)
    positions = shape.max_seq_len * dim if shape.family == "gpt2" else 0
    return Counts(
        layers=layers, embedding=vocab * dim + positions, head=0 if shape.tied else vocab * dim, final=dim,
        head_products=vocab * dim,
    )  # fmt: skip


def flops_per_token(shape: ModelShape, seq_len: int) -> float:
    """Floating point operations that one token takes, forward and backward: 6 N + 12 L H C S.

    That is the definition behind model FLOPs utilization (Chowdhery et al., 2022, arXiv:2204.02311, appendix B): every
    position attends to every other, and nothing is computed twice. N is `Counts.products`.

    Args:
        shape: The model.
        seq_len: S, tokens that attend to one another.
    """
    model = counts(shape)
    attention = sum(layer.q_width + layer.value_width for layer in model.layers)
    return 6.0 * model.products + 6.0 * attention * seq_len


def _layer(shape: ModelShape, index: int) -> Layer:
    if shape.family == "deepseek_v3":
        return _expert_layer(shape, index)
    dim, heads, width = shape.dim, shape.n_heads, shape.head_width
    keys = (heads if shape.family == "gpt2" else shape.n_kv_heads) * width
    gated = shape.family != "gpt2"
    matrices = [(heads * width + 2 * keys, dim), (dim, heads * width), *_feed_forward(dim, shape.ffn_dim, gated)]
    norms = [(dim,), (dim,), *([(width,), (width,)] if shape.family == "qwen3" else [])]
    return _counted(
        _tensors("matrices", matrices) + _tensors("whole", norms), active=0.0, kv_width=2 * keys,
        q_width=heads * width, value_width=heads * width, ffn_width=shape.ffn_dim, gated=gated,
    )  # fmt: skip


def _expert_layer(shape: ModelShape, index: int) -> Layer:
    experts, latent = shape.experts or Experts(), shape.latent or LatentAttention()
    dim, heads, hidden = shape.dim, shape.n_heads, experts.ffn_dim
    query, value = heads * (latent.nope_dim + latent.rope_dim), heads * latent.value_dim
    inner = heads * (latent.nope_dim + latent.value_dim)
    matrices = [(query, latent.q_rank or dim), (inner, latent.kv_rank), (dim, value)]
    whole: list[tuple[int, ...]] = [(dim,), (dim,), (latent.kv_rank + latent.rope_dim, dim), (latent.kv_rank,)]
    if latent.q_rank:
        whole += [(latent.q_rank, dim), (latent.q_rank,)]
    widths: dict[str, Any] = {"kv_width": query + value, "q_width": query, "value_width": value, "gated": True}
    if index < experts.dense_layers:
        matrices += _feed_forward(dim, shape.ffn_dim, True)
        tensors = _tensors("matrices", matrices) + _tensors("whole", whole)
        return _counted(tensors, active=0.0, ffn_width=shape.ffn_dim, **widths)
    matrices += _feed_forward(dim, hidden * experts.shared, True)
    routed = [(experts.count, *matrix) for matrix in _feed_forward(dim, hidden, True)]
    tensors = _tensors("matrices", matrices) + _tensors("whole", [*whole, (experts.count, dim)])
    return _counted(
        tensors + _tensors("experts", routed),
        active=experts.top_k / experts.count, ffn_width=hidden * (experts.top_k + experts.shared), **widths,
    )  # fmt: skip


def _feed_forward(dim: int, hidden: int, gated: bool) -> list[tuple[int, int]]:
    return [(hidden, dim), (dim, hidden), *([(hidden, dim)] if gated else [])]


def _tensors(part: Part, shapes: Sequence[tuple[int, ...]]) -> tuple[Tensor, ...]:
    return tuple(Tensor(part, shape) for shape in shapes)


def _counted(tensors: tuple[Tensor, ...], active: float, **widths: Any) -> Layer:
    """The block with these parameters, of whose routed experts a token goes through a share."""
    total = {
        part: sum(tensor.numel for tensor in tensors if tensor.part == part)
        for part in ("matrices", "whole", "experts")
    }
    return Layer(**total, active_experts=round(total["experts"] * active), tensors=tensors, **widths)
