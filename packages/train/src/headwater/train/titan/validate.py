"""Validation as a torchtitan component: loss and bits per byte on the held-out set.

The loss is that of the objective. Bits per byte are those of the text, read from left to right, where the objective
trains that; another pass finds them unless the objective is causal language modelling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torchtitan.components.validate import BaseValidator, Validator

from headwater.train.held_out import HeldOut
from headwater.train.objectives.examples import IGNORE
from headwater.train.titan.pipeline import run_schedule

if TYPE_CHECKING:
    from headwater.train.titan.trainer import HeadwaterTrainer


@dataclass(frozen=True)
class HeldOutFigures:
    """What a validation found: mean loss in nats a token, bits a byte of text if it can be said, how much was scored,
    and the mean loss of each source.
    """

    loss: float
    bits_per_byte: float | None
    tokens: int
    text_bytes: int
    sources: Mapping[str, float]


class HeldOutValidator(Validator):
    """Scores the whole held-out set in its fixed order; data-parallel processes share the micro-batches among them."""

    @dataclass(kw_only=True, slots=True)
    class Config(Validator.Config):
        """As the base, and the objects of the run that are no configuration (leading underscore)."""

        _data: Any = None
        _objective: Any = None
        _left_to_right: bool = True

    def __init__(self, config: Config, *, dp_world_size: int, dp_rank: int, **_: Any) -> None:
        BaseValidator.__init__(self, config=config)
        self._data: HeldOut = config._data
        self._objective: HeldOut | None = config._objective  # none: the loss of the text itself
        self._left_to_right = config._left_to_right
        self._ranks, self._rank = dp_world_size, dp_rank

    @torch.no_grad()
    def figures(self, trainer: HeadwaterTrainer) -> HeldOutFigures:
        """Runs the validation.

        Args:
            trainer: Whose model is scored, on its layout; put into evaluation mode meanwhile.
        """
        data, scored, bits = self._data, self._objective, None
        if scored is None or self._left_to_right:
            with trainer.loss_fn.of_text():
                nats, nats_S = self._nats(trainer, data)
            bits = data.bits_per_byte(nats)
            if scored is None:
                sources = data.by_source(nats_S, (data.labels_BL != IGNORE).sum(axis=1))
                return HeldOutFigures(nats / data.tokens, bits, data.tokens, data.text_bytes, sources)
        counted_B = trainer.loss_fn.tokens(torch.from_numpy(scored.labels_BL)).numpy()
        nats, nats_S = self._nats(trainer, scored)
        sources = scored.by_source(nats_S, counted_B)
        return HeldOutFigures(nats / int(counted_B.sum()), bits, scored.tokens, data.text_bytes, sources)

    def _nats(self, trainer: HeadwaterTrainer, data: HeldOut) -> tuple[float, list[float]]:
        """The summed loss of windows, of all and of each source, the same on every process."""
        for part in trainer.model_parts:
            part.eval()
        sums = torch.zeros(1 + len(data.sources), dtype=torch.float64, device=trainer.device)
        windows = data.labels_BL.shape[0]
        count, micro = trainer.num_pipeline_parallel_microbatches, trainer.inputs.config.micro_batch
        # Every process makes the same number of passes, or they would wait for each other for ever.
        for first in range(0, windows, count * micro * self._ranks):
            start = first + self._rank * count * micro
            trainer.alive()
            starts = range(start, start + count * micro, micro)
            trainer.loss_fn.keeping = True
            sums[0] += self._loss(trainer, [self._batch(data, at, micro, trainer) for at in starts])
            trainer.loss_fn.keeping = False
            losses = trainer.loss_fn.take(count)
            for at, losses_B in zip(starts, losses, strict=False):
                of = torch.from_numpy(data.sources_B[at : at + micro]).to(trainer.device)
                sums[1:].index_add_(0, of, losses_B[: len(of)].double())
        for part in trainer.model_parts:
            part.train()
        nats, *nats_S = trainer.parallel_sum(sums).tolist()
        return nats, nats_S

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

    def _batch(
        self, data: HeldOut, start: int, micro: int, trainer: HeadwaterTrainer
    ) -> tuple[torch.Tensor, torch.Tensor, Any]:
        arrays = {"input": data.inputs_BL, "positions": data.positions_BL, "seen": data.seen_BL,
                  "chances": data.chances_BL}  # fmt: skip
        inputs = {
            name: torch.from_numpy(array[start : start + micro]).contiguous()
            for name, array in arrays.items() if array is not None
        }  # fmt: skip
        labels = torch.from_numpy(data.labels_BL[start : start + micro]).contiguous()
        # Past the end: rows that do not count. A pipeline's micro-batches must all be of one size.
        missing = micro - len(labels) if trainer.parallel_dims.pp_enabled else int(len(labels) == 0)
        if missing:
            shape = (missing, labels.shape[1])
            inputs = {name: torch.cat([part, part.new_zeros(shape)]) for name, part in inputs.items()}
            labels = torch.cat([labels, labels.new_full(shape, IGNORE)])
        moved = {name: part.to(trainer.device) for name, part in inputs.items()}
        return trainer.post_dataloading_process(moved, labels.to(trainer.device))
