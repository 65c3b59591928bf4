"""Runs the body of a model over sequences that go on from a common beginning: a `Decoder`, or any model of transformers
whose attention can be taken over.

Shapes: B sequences, L positions, P places whose logits are wanted.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from headwater.eval.attention import Beginning, Pass, Slots, attend, passing
from headwater.eval.decoder import Decoder, Model

_NAME = "headwater_shared_beginning"
_CHECKED = 24  # tokens of the check
_TOLERANCE = 1e-4  # of a log-probability in the check
_TOLERANCE_BFLOAT16 = 0.25  # where attention in two parts rounds otherwise; small models differ by 0.08


class Reader:
    """Runs the body of a model over sequences that go on from a common beginning.

    Args:
        model: A causal language model in evaluation mode.

    Attributes:
        shares: Whether this model can attend to a beginning; if not, sequences are to be given whole.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.body: Any = model.base_model
        self.head: Any = model.get_output_embeddings()
        self._plain_head = False
        self._positions = int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1 << 62)
        self.shares = False
        if isinstance(model, Decoder):
            self._plain_head = self.shares = True
        else:
            from transformers import AttentionInterface

            AttentionInterface.register(_NAME, attend)
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
        with _attending(self.model, Pass(beginning, keep=True)) as found:
            hidden_BLD = self.body(input_ids=ids_BL, position_ids=at, use_cache=False).last_hidden_state
        last = torch.tensor(lengths, device=ids_BL.device) - 1
        return self.head(hidden_BLD[torch.arange(len(lengths), device=ids_BL.device), last]), found.kept

    def step(self, ids_BL: torch.Tensor, slots: Slots, start: int, beginning: Beginning | None) -> torch.Tensor:
        """Reads some tokens more of each sequence. The logits after each of them. Shape [B, L, vocabulary]."""
        at_BL = slots.room(ids_BL.shape[1], ids_BL.device)
        # Padding may lie beyond the last position that a model has learnt.
        positions_BL = (start + at_BL).clamp(max=self._positions - 1)
        with _attending(self.model, Pass(beginning, slots=slots)):
            return self.head(self.body(input_ids=ids_BL, position_ids=positions_BL, use_cache=False).last_hidden_state)

    def _hidden(self, ids: Any, positions: Any, mask: Any, beginning: Beginning | None) -> torch.Tensor:
        if not self.shares:
            return self.body(input_ids=ids, use_cache=False).last_hidden_state
        with _attending(self.model, Pass(beginning, None if mask is None else mask[:, None])):
            return self.body(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state

    def begin(self, ids_L: torch.Tensor, start: int, beginning: Beginning | None) -> Beginning:
        """Reads tokens that sequences have in common, at positions from `start` on."""
        positions = torch.arange(start, start + len(ids_L), device=ids_L.device)[None]
        with _attending(self.model, Pass(beginning, keep=True)) as found:
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
            tolerance = _TOLERANCE_BFLOAT16 if self.model.dtype == torch.bfloat16 else _TOLERANCE
            self.shares = _same(self.head(rest), whole[:, first:], tolerance)
        except (TypeError, ValueError, KeyError, RuntimeError):  # its attention has another form
            self.shares = False


def _same(logits: torch.Tensor, expected: torch.Tensor, tolerance: float = _TOLERANCE) -> bool:
    return bool((logits.float().log_softmax(-1) - expected).abs().max() < tolerance)


def _may_share(model: Any, config: Any) -> bool:
    """Whether positions can be given and every layer attends to all that came before."""
    windows = getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    given = "position_ids" in inspect.signature(model.base_model.forward).parameters
    return given and not windows and kinds == {"full_attention"}


@contextmanager
def _attending(model: Model, this: Pass) -> Iterator[Pass]:
    """While the block runs, the model's attention goes by `this`."""
    with passing(this):
        if isinstance(model, Decoder):
            yield this
            return
        usual = model.config._attn_implementation
        model.config._attn_implementation = _NAME
        try:
            yield this
        finally:
            model.config._attn_implementation = usual
