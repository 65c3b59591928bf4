"""Validation as a torchtitan component: loss and bits per byte on the held-out set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torchtitan.components.validate import BaseValidator, Validator

from headwater.train.held_out import IGNORE, HeldOut
from headwater.train.titan.pipeline import run_schedule

if TYPE_CHECKING:
    from headwater.train.titan.trainer import HeadwaterTrainer


@dataclass(frozen=True)
class HeldOutFigures:
    """What a validation found: mean loss in nats a token, bits a byte of text, and how much was scored."""

    loss: float
    bits_per_byte: float
    tokens: int
    text_bytes: int


class HeldOutValidator(Validator):
    """Scores the whole held-out set in its fixed order; data-parallel processes share the micro-batches among them."""

    @dataclass(kw_only=True, slots=True)
    class Config(Validator.Config):
        """As the base, and the objects of the run that are no configuration (leading underscore)."""

        _data: Any = None

    def __init__(self, config: Config, *, dp_world_size: int, dp_rank: int, **_: Any) -> None:
        BaseValidator.__init__(self, config=config)
        self._data: HeldOut = config._data
        self._ranks, self._rank = dp_world_size, dp_rank

    @torch.no_grad()
    def figures(self, trainer: HeadwaterTrainer) -> HeldOutFigures:
        """Runs the validation.

        Args:
            trainer: Whose model is scored, on its layout; put into evaluation mode meanwhile.
        """
        for part in trainer.model_parts:
            part.eval()
        total = torch.zeros((), dtype=torch.float64, device=trainer.device)
        windows = self._data.labels_BL.shape[0]
        count, micro = trainer.num_pipeline_parallel_microbatches, trainer.inputs.config.micro_batch
        # Every process makes the same number of passes, or they would wait for each other for ever.
        for first in range(0, windows, count * micro * self._ranks):
            start = first + self._rank * count * micro
            trainer.alive()
            starts = range(start, start + count * micro, micro)
            total += self._loss(trainer, [self._batch(at, micro, trainer) for at in starts])
        for part in trainer.model_parts:
            part.train()
        nats, data = float(trainer.parallel_sum(total).item()), self._data
        return HeldOutFigures(nats / data.tokens, data.bits_per_byte(nats), data.tokens, data.text_bytes)

    def _loss(self, trainer: HeadwaterTrainer, micro_batches: list[Any]) -> torch.Tensor:
        with trainer.train_context():
            if trainer.parallel_dims.pp_enabled:
                loss = run_schedule(
                    trainer.pp_schedule, micro_batches, first=trainer.pp_has_first_stage,
                    last=trainer.pp_has_last_stage, backward=False,
                )  # fmt: skip
            else:
                ((inputs, labels, extra),) = micro_batches
                loss, _ = trainer.loss_fn(trainer.model_parts[0](inputs, **extra), labels)
        return loss.double()

    def _batch(self, start: int, micro: int, trainer: HeadwaterTrainer) -> tuple[torch.Tensor, torch.Tensor, Any]:
        rows, data = slice(start, start + micro), self._data
        inputs, labels, positions = (
            torch.from_numpy(array[rows]).contiguous() for array in (data.inputs_BL, data.labels_BL, data.positions_BL)
        )
        # Past the end: rows that do not count. A pipeline's micro-batches must all be of one size.
        missing = micro - len(inputs) if trainer.parallel_dims.pp_enabled else int(len(inputs) == 0)
        if missing:
            shape = (missing, inputs.shape[1])
            inputs, positions = (torch.cat([part, part.new_zeros(shape)]) for part in (inputs, positions))
            labels = torch.cat([labels, labels.new_full(shape, IGNORE)])
        return trainer.post_dataloading_process(
            {"input": inputs.to(trainer.device), "positions": positions.to(trainer.device)}, labels.to(trainer.device)
        )
