"""Validation as a torchtitan component: loss and bits per byte on the held-out set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torchtitan.components.validate import BaseValidator, Validator
from torchtitan.distributed import utils as dist_utils

from headwater.train.held_out import IGNORE, HeldOut


@dataclass(frozen=True)
class Figures:
    """What a validation found: mean loss in nats a token, bits a byte of text, and how much was scored."""

    loss: float
    bits_per_byte: float
    tokens: int
    text_bytes: int


class HeldOutValidator(Validator):
    """Scores the whole held-out set in its fixed order; ranks share the micro-batches among them."""

    @dataclass(kw_only=True, slots=True)
    class Config(Validator.Config):
        """As the base, and the objects of the run that are no configuration (leading underscore)."""

        _data: Any = None

    def __init__(self, config: Config, *, loss_fn: Any, validation_context: Any, parallelism: Any, parallel_dims: Any,
                 dp_world_size: int, dp_rank: int, local_batch_size: int, **_: Any) -> None:  # fmt: skip
        BaseValidator.__init__(self, config=config)
        self._data: HeldOut = config._data
        self.loss_fn = loss_fn
        self.validation_context = validation_context
        self.parallelism = parallelism
        self.parallel_dims = parallel_dims
        self._ranks, self._rank, self._micro = dp_world_size, dp_rank, local_batch_size

    @torch.no_grad()
    def figures(self, model_parts: list[torch.nn.Module], device: torch.device) -> Figures:
        """Runs the validation.

        Args:
            model_parts: The model; put into evaluation mode meanwhile.
            device: Where it is.
        """
        for part in model_parts:
            part.eval()
        total = torch.zeros((), dtype=torch.float64, device=device)
        windows = self._data.labels_BL.shape[0]
        stride = self._micro * self._ranks
        # Every rank makes the same number of forward passes, or sharded ones would wait for each other for ever.
        for first in range(0, windows, stride):
            start = first + self._rank * self._micro
            total += self._loss(model_parts[0], start, device)
        for part in model_parts:
            part.train()
        mesh = self.parallel_dims.get_optional_mesh("loss") if self.parallel_dims.dp_cp_enabled else None
        nats = float(total.item()) if mesh is None else float(dist_utils.dist_sum(total, mesh))
        data = self._data
        return Figures(nats / data.tokens, data.bits_per_byte(nats), data.tokens, data.text_bytes)

    def _loss(self, model: torch.nn.Module, start: int, device: torch.device) -> torch.Tensor:
        rows = slice(start, start + self._micro)
        inputs, labels, positions = (
            torch.from_numpy(array[rows]).contiguous()
            for array in (self._data.inputs_BL, self._data.labels_BL, self._data.positions_BL)
        )
        if inputs.shape[0] == 0:  # past the end: take part in the collectives with a row that does not count
            inputs, positions = (torch.zeros((1, self._data.inputs_BL.shape[1]), dtype=torch.int64) for _ in "ab")
            labels = torch.full_like(inputs, IGNORE)
        batch, labels, extra = self.post_dataloading_process(
            {"input": inputs.to(device), "positions": positions.to(device)}, labels.to(device), [model]
        )
        with self.validation_context():
            loss, _ = self.loss_fn(model(batch, **extra), labels)
        return loss.double()
