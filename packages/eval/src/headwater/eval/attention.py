"""Attention to tokens that were read before: keys and values of a common beginning are kept once and shared by all
sequences that go on from it.

What a sequence attends to falls in two parts, the shared beginning and itself. Each is attended to apart, and the two
are put together by their normalisers (Milakov and Gimelshein 2018, arXiv:1805.02867), so that nothing is copied for
each sequence of the batch.

Shapes: B sequences, H query heads, K key-value heads, L positions, P positions of the beginning, D head width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True)
class Beginning:
    """Keys and values of tokens that come before, of each layer. Shapes [1, K, P, D]."""

    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    def then(self, other: Beginning) -> Beginning:
        """These tokens, and then others."""
        pairs = zip(self.layers, other.layers, strict=True)
        return Beginning(
            tuple((torch.cat([k, more_k], 2), torch.cat([v, more_v], 2)) for (k, v), (more_k, more_v) in pairs)
        )


class Slots:
    """Keys and values of sequences that grow, each in a slot of its own; the first slots are in use.

    Args:
        count: Sequences at most.
        length: Tokens of a sequence at most, without those of a common beginning.
    """

    def __init__(self, count: int, length: int) -> None:
        self.count, self.length = count, length
        self.lengths: list[int] = []
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._at_BL = torch.empty(0)
        self.mask = torch.empty(0)
        """What each new token attends to. Shape [slots in use, 1, new tokens, places]."""

    def add(self, kept: Mapping[int, tuple[torch.Tensor, torch.Tensor]], row: int, length: int) -> None:
        """Takes in a sequence that was read in a row of a batch."""
        slot = len(self.lengths)
        for layer, pair in kept.items():
            if layer not in self._layers:
                shapes = [(self.count, each.shape[1], self.length, each.shape[3]) for each in pair]
                key, value = (each.new_zeros(shape) for each, shape in zip(pair, shapes, strict=True))
                self._layers[layer] = key, value
            for mine, each in zip(self._layers[layer], pair, strict=True):
                mine[slot, :, :length] = each[row, :, :length]
        self.lengths.append(length)

    def remove(self, slot: int) -> None:
        """Lets a sequence go; the last one takes its slot."""
        length = self.lengths.pop()
        if slot < len(self.lengths):
            for pair in self._layers.values():
                for mine in pair:
                    mine[slot, :, :length] = mine[len(self.lengths), :, :length]
            self.lengths[slot] = length

    def room(self, tokens: int, device: torch.device) -> torch.Tensor:
        """Makes room for so many tokens in each; the places of these. Shape [slots in use, tokens].

        They are of the sequence only when `lengths` says so: what comes later takes their places.
        """
        self._at_BL = torch.tensor(self.lengths, device=device)[:, None] + torch.arange(tokens, device=device)
        places = torch.arange(max(self.lengths) + tokens, device=device)
        self.mask = (places <= self._at_BL[..., None])[:, None]
        return self._at_BL

    def extended(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """All keys and values of a layer with the new ones, for which there is room. Shapes [slots in use, K, P, D]."""
        used, width = len(self.lengths), self.mask.shape[-1]
        rows = torch.arange(used, device=key.device)[:, None]
        for mine, each in zip(self._layers[layer], (key, value), strict=True):
            mine[rows, :, self._at_BL] = each.transpose(1, 2)
        keys, values = self._layers[layer]
        return keys[:used, :, :width], values[:used, :, :width]


@dataclass
class Pass:
    """What the attention of one forward pass goes by.

    Attributes:
        beginning: What all sequences go on from.
        mask: Which token attends to which of its own sequence, [B, 1, L, L]; causal without it.
        keep: Whether keys and values are to be kept.
        slots: Where those of growing sequences lie.
        kept: Layer → its keys and values, [B, K, L, D].
    """

    beginning: Beginning | None = None
    mask: torch.Tensor | None = None
    keep: bool = False
    slots: Slots | None = None
    kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(
        default_factory=dict[int, tuple[torch.Tensor, torch.Tensor]]
    )


_pass = Pass()


@contextmanager
def passing(this: Pass) -> Iterator[Pass]:
    """What `attend` goes by while the block runs."""
    global _pass
    before, _pass = _pass, this
    try:
        yield this
    finally:
        _pass = before


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers asks for it: query [B, H, L, D], key and value [B, K, L, D]; gives [B, L, H, D].

    Args:
        module: The layer, with its number as `layer_idx`.
        query: Of the new tokens.
        key: Of the new tokens.
        value: Of the new tokens.
        attention_mask: Not looked at: see `passing`.
        scaling: Of the products; by default `D ** -0.5`.
        options: What else transformers passes.

    Raises:
        ValueError: It is asked for more than a scale.
    """
    if any(options.get(name) is not None for name in ("softcap", "s_aux", "sliding_window", "position_bias")):
        raise ValueError("attention with more than a scale is not shared")
    layer: Any = module.layer_idx
    if _pass.keep:
        _pass.kept[layer] = (key, value)
    mask, shape = _pass.mask, query.shape
    if _pass.slots is not None:
        key, value = _pass.slots.extended(layer, key, value)
        # Query heads that share a key head are queries of one: nothing is copied for each of them.
        query = query.reshape(shape[0], key.shape[1], -1, shape[3])
        mask = _pass.slots.mask.repeat(1, 1, shape[1] // key.shape[1], 1)
    if _pass.beginning is None:
        found = scaled_dot_product_attention(
            query, key, value, mask, is_causal=mask is None, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
        )  # fmt: skip
    else:
        together = _in_two if _on_cpu(query, key, value) else _in_one
        before_key, before_value = _pass.beginning.layers[layer]
        found = together(query, key, value, before_key, before_value, mask, scaling)
    return found.reshape(*shape[:3], value.shape[-1]).transpose(1, 2).contiguous(), None


def _on_cpu(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether the kernel that also gives normalisers applies."""
    return query.device.type == "cpu" and query.shape[-1] == value.shape[-1]


def _in_two(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    before_key: torch.Tensor,
    before_value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
) -> torch.Tensor:
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    (batch, heads, length, width), groups = query.shape, key.shape[1]
    if heads != groups:
        key, value = (each.repeat_interleave(heads // groups, 1) for each in (key, value))
    if mask is not None:
        mask = torch.zeros(mask.shape, dtype=query.dtype).masked_fill_(~mask, -torch.inf)
    own, own_sum = kernel(query, key, value, 0.0, mask is None, attn_mask=mask, scale=scaling)
    # All sequences, and the query heads of a key head, are queries of one sequence.
    among = query.view(batch, groups, heads // groups, length, width).permute(1, 2, 0, 3, 4)
    rest, rest_sum = kernel(among.reshape(1, groups, -1, width), before_key, before_value, 0.0, False, scale=scaling)
    shape = (groups, heads // groups, batch, length)
    rest = rest.reshape(*shape, width).permute(2, 0, 1, 3, 4).reshape(batch, heads, length, width)
    rest_sum = rest_sum.reshape(shape).permute(2, 0, 1, 3).reshape(batch, heads, length)
    return torch.lerp(rest, own, torch.sigmoid(own_sum - rest_sum)[..., None].to(own.dtype))


def _in_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    before_key: torch.Tensor,
    before_value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
) -> torch.Tensor:
    batch, length, before = query.shape[0], query.shape[2], before_key.shape[2]
    key = torch.cat([before_key.expand(batch, -1, -1, -1), key], 2)
    value = torch.cat([before_value.expand(batch, -1, -1, -1), value], 2)
    if mask is None:
        mask = torch.ones(1, 1, length, length, dtype=torch.bool, device=query.device).tril()
    all_ = torch.cat([mask.new_ones((*mask.shape[:-1], before)), mask], -1)
    return scaled_dot_product_attention(
        query, key, value, all_, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    )  # fmt: skip
