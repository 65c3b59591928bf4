"""Attention to tokens that were read before, for any model of transformers: keys and values of a common beginning are
kept once and shared by all sequences that go on from it.

What a sequence attends to falls in two parts, the shared beginning and itself. Each is attended to apart, and the two
are put together by their normalisers (Milakov and Gimelshein 2018, arXiv:1805.02867), so that nothing is copied for
each sequence of the batch.

Shapes: B sequences, H query heads, K key-value heads, L positions, P positions of the beginning, D head width.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

NAME = "headwater_shared_beginning"
_CHECKED = 24  # tokens of the check
_TOLERANCE = 1e-4  # of a log-probability in the check, float32


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
class _Pass:
    """What the attention of one forward pass goes by."""

    beginning: Beginning | None = None
    mask: torch.Tensor | None = None
    keep: bool = False
    slots: Slots | None = None
    kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(
        default_factory=dict[int, tuple[torch.Tensor, torch.Tensor]]
    )


_pass = _Pass()


class Reader:
    """Runs the body of a model over sequences that go on from a common beginning.

    Args:
        model: A causal language model in evaluation mode.

    Attributes:
        shares: Whether this model can attend to a beginning; if not, sequences are to be given whole.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.body: Any = model.base_model
        self.head: Any = model.get_output_embeddings()
        self._plain_head = False
        self._positions = int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1 << 62)
        self.shares = False
        self._check()

    @property
    def batch_tokens(self) -> int:
        """Tokens of a forward pass that suit the device: on a CPU, its caches hold what a layer makes of them."""
        return 1024 if self.model.device.type == "cpu" else 32768

    @property
    def cache_tokens(self) -> int:
        """Tokens whose keys and values take a gigabyte, or a third of a GPU's memory."""
        config: Any = self.model.config.get_text_config()
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        room = 1 << 30
        if self.model.device.type == "cuda":
            room = torch.cuda.get_device_properties(self.model.device).total_memory // 3
        return max(1, room // (2 * heads * width * config.num_hidden_layers * self.model.dtype.itemsize))

    def read(
        self,
        ids_BL: torch.Tensor,
        positions_BL: torch.Tensor,
        mask_BLL: torch.Tensor | None,
        beginning: Beginning | None,
        at_P: torch.Tensor,
    ) -> Callable[[int, int], torch.Tensor]:
        """Runs the body once; the result gives logits for a slice of the places `at_P`. Shape [places, vocabulary].

        Args:
            ids_BL: Token ids; padding stands on the right.
            positions_BL: Of each token.
            mask_BLL: Which token attends to which of its own sequence; causal without it.
            beginning: What all sequences go on from.
            at_P: Places in the batch, row after row, whose logits are wanted.
        """
        if not self._plain_head:
            logits_PV = self.model(input_ids=ids_BL, use_cache=False).logits.flatten(0, 1)[at_P]
            return lambda first, stop: logits_PV[first:stop]
        hidden_PD = self._hidden(ids_BL, positions_BL, mask_BLL, beginning).flatten(0, 1)[at_P]
        return lambda first, stop: self.head(hidden_PD[first:stop])

    def prefill(
        self, ids_BL: torch.Tensor, lengths: Sequence[int], start: int, beginning: Beginning | None
    ) -> tuple[torch.Tensor, dict[int, tuple[torch.Tensor, torch.Tensor]]]:
        """Reads sequences that are to grow: the logits after each, [B, vocabulary], and each layer's keys, values."""
        at = torch.arange(start, start + ids_BL.shape[1], device=ids_BL.device).expand_as(ids_BL)
        with _attending(self.model, _Pass(beginning, keep=True)) as found:
            hidden_BLD = self.body(input_ids=ids_BL, position_ids=at, use_cache=False).last_hidden_state
        last = torch.tensor(lengths, device=ids_BL.device) - 1
        return self.head(hidden_BLD[torch.arange(len(lengths), device=ids_BL.device), last]), found.kept

    def step(self, ids_BL: torch.Tensor, slots: Slots, start: int, beginning: Beginning | None) -> torch.Tensor:
        """Reads some tokens more of each sequence. The logits after each of them. Shape [B, L, vocabulary]."""
        at_BL = slots.room(ids_BL.shape[1], ids_BL.device)
        # Padding may lie beyond the last position that a model has learnt.
        positions_BL = (start + at_BL).clamp(max=self._positions - 1)
        with _attending(self.model, _Pass(beginning, slots=slots)):
            return self.head(self.body(input_ids=ids_BL, position_ids=positions_BL, use_cache=False).last_hidden_state)

    def _hidden(self, ids: Any, positions: Any, mask: Any, beginning: Beginning | None) -> torch.Tensor:
        if not self.shares:
            return self.body(input_ids=ids, use_cache=False).last_hidden_state
        with _attending(self.model, _Pass(beginning, None if mask is None else mask[:, None])):
            return self.body(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state

    def begin(self, ids_L: torch.Tensor, start: int, beginning: Beginning | None) -> Beginning:
        """Reads tokens that sequences have in common, at positions from `start` on."""
        positions = torch.arange(start, start + len(ids_L), device=ids_L.device)[None]
        with _attending(self.model, _Pass(beginning, keep=True)) as found:
            self.body(input_ids=ids_L[None], position_ids=positions, use_cache=False)
        mine = Beginning(tuple(found.kept[layer] for layer in sorted(found.kept)))
        return mine if beginning is None else beginning.then(mine)

    @torch.inference_mode()
    def _check(self) -> None:
        """Tries both on a few tokens: what a model does outside of its attention and head is not known otherwise."""
        config: Any = self.model.config.get_text_config()
        device = self.model.device
        ids = torch.arange(_CHECKED, device=device)[None] * 7 % int(config.vocab_size)
        whole = self.model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)
        if self.head is None:
            return
        self._plain_head = _same(self.head(self.body(input_ids=ids, use_cache=False).last_hidden_state), whole)
        if not self._plain_head or not _may_share(self.model, config):
            return
        self.shares = True
        try:
            first = _CHECKED // 2
            positions = torch.arange(first, _CHECKED, device=device)[None]
            rest = self._hidden(ids[:, first:], positions, None, self.begin(ids[0, :first], 0, None))
            self.shares = _same(self.head(rest), whole[:, first:])
        except (TypeError, ValueError, KeyError, RuntimeError):  # its attention has another form
            self.shares = False


def _same(logits: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((logits.float().log_softmax(-1) - expected).abs().max() < _TOLERANCE)


def _may_share(model: PreTrainedModel, config: Any) -> bool:
    """Whether positions can be given and every layer attends to all that came before."""
    windows = getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    given = "position_ids" in inspect.signature(model.base_model.forward).parameters
    return given and not windows and kinds == {"full_attention"}


@contextmanager
def _attending(model: PreTrainedModel, this: _Pass) -> Iterator[_Pass]:
    global _pass
    before, _pass = _pass, this
    usual = model.config._attn_implementation
    model.config._attn_implementation = NAME
    try:
        yield this
    finally:
        model.config._attn_implementation = usual
        _pass = before


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers asks for it: query [B, H, L, D], key and value [B, K, L, D]; gives [B, L, H, D]."""
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
    return torch.lerp(rest, own, torch.sigmoid(own_sum - rest_sum)[..., None])


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


AttentionInterface.register(NAME, _attention)
