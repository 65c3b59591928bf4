"""The trainer: torchtitan's, with our order, checkpoints, metrics and stop conditions."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torchtitan.components.loss import IGNORE_INDEX
from torchtitan.distributed import utils as dist_utils
from torchtitan.trainer import Trainer

from headwater.core.fed import as_text
from headwater.core.run import RunInfo
from headwater.train.batches import documents_of
from headwater.train.config import recorded
from headwater.train.inputs import Inputs
from headwater.train.session import NonFinite, Session
from headwater.train.titan.checkpoint import HeadwaterCheckpoints
from headwater.train.titan.loader import OrderLoader
from headwater.train.titan.metrics import HeadwaterMetrics
from headwater.train.titan.pipeline import run_schedule
from headwater.train.titan.validate import Figures, HeldOutValidator

Batch = tuple[dict[str, torch.Tensor], torch.Tensor]
Batches = Iterator[Batch]


class HeadwaterTrainer(Trainer):
    """Trains until the planned steps are done, SIGTERM comes, or a step is not finite.

    Args:
        config: torchtitan's configuration (see `titan.build`).
        inputs: The run's inputs.
        session: Where events, losses and progress go; only rank 0's is used.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(Trainer.Config):
        """As torchtitan's."""

    # Built by the base class from our configs (`titan.build`).
    checkpointer: HeadwaterCheckpoints  # pyright: ignore[reportIncompatibleVariableOverride]
    metrics_processor: HeadwaterMetrics  # pyright: ignore[reportIncompatibleVariableOverride]
    dataloader: OrderLoader  # pyright: ignore[reportIncompatibleVariableOverride]
    validator: HeldOutValidator  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: Config, inputs: Inputs, session: Session) -> None:
        self.inputs = inputs
        self.session = session
        self._figures: Figures | None = None
        self._figures_step = -1
        self._grad_norm = 0.0
        self._waited_seconds = 0.0
        super().__init__(config)

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files of the run."""
        return dist.get_rank() == 0

    def run(self, resume_step: int | None) -> str:
        """Trains.

        Args:
            resume_step: Step of the checkpoint to go on from, or none to start.

        Returns:
            "finished" or "terminated" (SIGTERM came; a checkpoint was written).

        Raises:
            NonFinite: Loss or gradient norm were not finite; the step was not applied.
        """
        if resume_step is not None:
            self.checkpointer.load(step=resume_step)
            self._restore_saved(resume_step)
        elif self.inputs.initial is not None:
            self.checkpointer.load_weights(self.inputs.initial.path)
        return self._loop()

    def _loop(self) -> str:
        plan = self.inputs.config
        batches = self.batch_generator(self.dataloader)
        while self.step < plan.steps:
            self.step += 1
            self.gc_handler.run(self.step)
            self.train_step(batches)
            last = self.step == plan.steps
            stop, failed = self._any_rank(self.session.terminated, self.checkpointer.failed)
            self._settle(wait=failed)
            save = last or stop or self.step % plan.checkpoint.every == 0
            due = save or (plan.validation.every > 0 and self.step % plan.validation.every == 0)
            if self.config.validator.enable and due and not stop:
                self._validate()
            if save:
                self._save()
            if stop and not last:
                self._settle(wait=True)
                self._event("stop", reason="SIGTERM")
                return "terminated"
        self._settle(wait=True)
        return "finished"

    def train_step(self, data_iterator: Batches) -> None:
        """One optimizer step; nothing is applied unless loss and gradient norm are finite on all ranks."""
        self.metrics_processor.start_step()
        self.optimizers.zero_grad(set_to_none=True)
        learning_rate = float(self.lr_schedulers.schedulers[0].get_last_lr()[0])
        start = self.dataloader.samples
        total = self._forward_backward(*self._fetch(data_iterator))
        grad_norm = dist_utils.clip_grad_norm_(
            [parameter for part in self.model_parts for parameter in part.parameters()],
            self.config.training.max_norm, foreach=True, pp_mesh=self.parallel_dims.get_optional_mesh("pp"),
            ep_enabled=self.parallel_dims.ep_enabled,
        )  # fmt: skip
        loss_value, norm_value = float(total.item()), float(grad_norm.item())
        # Before the update: a non-finite gradient would destroy the weights for good.
        if not (math.isfinite(loss_value) and math.isfinite(norm_value)):
            self._stop_nonfinite(loss_value, norm_value, start)
        self._grad_norm = norm_value
        self.checkpointer.maybe_wait_for_staging()
        self.optimizers.step()
        self.lr_schedulers.step()
        self._report(loss_value, norm_value, learning_rate, start)

    def _forward_backward(self, rounds: list[list[Batch]], valid: torch.Tensor) -> torch.Tensor:
        """Adds up the gradients of a step; returns the mean loss of the global batch, the same on every process."""
        total = torch.zeros((), dtype=torch.float32, device=self.device)
        for number, micro_batches in enumerate(rounds, 1):
            if self.inputs.config.parallel.zero_stage == 1 and not self.parallel_dims.pp_enabled:
                self._reduce_gradients(number == len(rounds))
            inputs, labels = [list(column) for column in zip(*micro_batches, strict=True)]
            if self.parallel_dims.pp_enabled:
                loss = self.forward_backward_step(input_dict=inputs, labels=labels, global_valid_tokens=valid)
            else:
                loss = self.forward_backward_step(input_dict=inputs[0], labels=labels[0], global_valid_tokens=valid)
            total += loss.detach()
        return self.parallel_sum(total)

    def _reduce_gradients(self, now: bool) -> None:
        """ZeRO stage 1: whole gradients and weights are kept until the last micro-batch of a step."""
        for part in self.model_parts:
            part.set_requires_gradient_sync(now)  # type: ignore[operator]
            part.set_reshard_after_backward(now)  # type: ignore[operator]

    def pp_forward_backward_step(
        self, *, input_dict_mbs: list[dict[str, torch.Tensor]], label_mbs: list[torch.Tensor],
        global_valid_tokens: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """As torchtitan's, on torch 2.13 (see `titan.pipeline`)."""
        micro_batches = [
            self.post_dataloading_process(inputs, labels)
            for inputs, labels in zip(input_dict_mbs, label_mbs, strict=True)
        ]
        with self.train_context():
            return run_schedule(
                self.pp_schedule, micro_batches, first=self.pp_has_first_stage, last=self.pp_has_last_stage,
                backward=True, global_valid_tokens=global_valid_tokens,
            )  # fmt: skip

    def parallel_sum(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of a figure over the processes that hold different tokens or pipeline stages."""
        for name in ("loss", "pp"):
            if (mesh := self.parallel_dims.get_optional_mesh(name)) is not None:
                value = dist_utils.dist_sum_tensor(value, mesh)
        return value

    def _fetch(self, data_iterator: Batches) -> tuple[list[list[Batch]], torch.Tensor]:
        """This process's micro-batches of the step, round by round, and how many tokens of the global batch count."""
        rounds: list[list[Batch]] = []
        count = torch.zeros((), dtype=torch.int64)
        for _ in range(self.gradient_accumulation_steps):
            micro_batches: list[Batch] = []
            for _ in range(self.num_pipeline_parallel_microbatches):
                inputs, labels = next(data_iterator)
                count += (labels != IGNORE_INDEX).sum()
                moved = {key: value.to(self.device) for key, value in inputs.items()}
                micro_batches.append((moved, labels.to(self.device)))
            rounds.append(micro_batches)
        sums = torch.stack([count, torch.tensor(self.dataloader.take_fed())]).to(self.device)
        if self.parallel_dims.dp_enabled:
            sums = dist_utils.dist_sum_tensor(sums, self.parallel_dims.get_mesh("batch"))
        valid, self._fed = sums[0], sums[1]
        return rounds, valid

    def parameter_count(self) -> int:
        """Parameters of the whole model; every process has to ask."""
        count = sum(parameter.numel() for part in self.model_parts for parameter in part.parameters())
        total = torch.tensor(count, dtype=torch.int64, device=self.device)
        if (mesh := self.parallel_dims.get_optional_mesh("pp")) is not None:
            total = dist_utils.dist_sum_tensor(total, mesh)
        return int(total.item())

    def _report(self, loss: float, grad_norm: float, learning_rate: float, start: int) -> None:
        plan = self.inputs.config
        samples, tokens = self.dataloader.samples, self.dataloader.samples * plan.seq_len
        speed = self.metrics_processor.log_step(
            self.step, loss=loss, grad_norm=grad_norm, learning_rate=learning_rate, tokens=tokens, samples=samples,
            step_tokens=plan.global_batch * plan.seq_len,
        )  # fmt: skip
        if self.is_main:
            self.session.losses.write(
                self.step, loss=loss, grad_norm=grad_norm, learning_rate=learning_rate, tokens=tokens,
                samples=(start, samples), fed=as_text(int(self._fed.item())),
            )  # fmt: skip
            self.session.advance(f"loss {loss:.3f} · {speed:,.0f} tokens/s")

    def _stop_nonfinite(self, loss: float, grad_norm: float, start: int, *, validation: bool = False) -> None:
        samples = list(range(start, start + self.inputs.config.global_batch))
        if self.is_main:
            documents = documents_of(self.inputs, samples)
            self._event("nonfinite", loss=str(loss), grad_norm=str(grad_norm), samples=[samples[0], samples[-1] + 1],
                        documents=documents)  # fmt: skip
            self.metrics_processor.log_values(self.step, {"headwater_train_nonfinite_steps_total": 1})
        else:
            documents = []
        raise NonFinite(self.step, loss, grad_norm, samples, documents, validation=validation)

    def _validate(self) -> None:
        figures = self.validator.figures(self)
        if not math.isfinite(figures.loss):
            start = self.dataloader.samples - self.inputs.config.global_batch
            self._stop_nonfinite(figures.loss, self._grad_norm, start, validation=True)
        self._figures, self._figures_step = figures, self.step
        self.metrics_processor.log_values(self.step, {
            "headwater_train_validation_loss": figures.loss,
            "headwater_train_validation_bits_per_byte": figures.bits_per_byte,
        })  # fmt: skip
        self._event("validation", loss=figures.loss, bits_per_byte=figures.bits_per_byte, tokens=figures.tokens,
                    text_bytes=figures.text_bytes)  # fmt: skip

    def _save(self) -> None:
        began = time.monotonic()
        self._settle(wait=True)  # at most one checkpoint is being written
        self.checkpointer.start(self._run_info(), self.session.losses.sync)
        self._waited_seconds = time.monotonic() - began
        self._settle(wait=not self.inputs.config.checkpoint.background)

    def _settle(self, *, wait: bool) -> None:
        """Reports the checkpoint that was being written, when it is; with `wait`, raises what it failed with."""
        saved = self.checkpointer.take(wait=wait)
        if saved is None or not self.is_main:
            return
        self.session.checkpoints_written += 1
        self.metrics_processor.log_values(self.step, {
            "headwater_train_checkpoints_total": self.session.checkpoints_written,
            "headwater_train_checkpoint_seconds": saved.seconds,
        })  # fmt: skip
        self.session.events.emit(
            "checkpoint", saved.step, path=self.inputs.run.checkpoint(saved.step).name, digest=saved.digest,
            bytes=saved.bytes, seconds=round(saved.seconds, 3), waited_seconds=round(self._waited_seconds, 3),
            validation_loss=saved.validation_loss,
        )  # fmt: skip
        for step in saved.deleted:
            self.session.events.emit("checkpoint_deleted", saved.step, path=self.inputs.run.checkpoint(step).name)

    def _restore_saved(self, resume_step: int) -> None:
        """Tells the retention which checkpoints there are from before."""
        from headwater.core.run import read_run

        for step, path in self.checkpointer.retained():
            if step <= resume_step:
                self.checkpointer.saved[step] = read_run(path).validation_loss

    def _current_figures(self) -> Figures | None:
        return self._figures if self._figures_step == self.step else None

    def _run_info(self) -> RunInfo:
        """`run.json`, less the digests, which are computed when it is written."""
        inputs, figures, samples = self.inputs, self._current_figures(), self.dataloader.samples
        return RunInfo(
            step=self.step, samples=samples, seq_len=inputs.config.seq_len, global_batch=inputs.config.global_batch,
            seed=inputs.base.seed, steps_planned=inputs.config.steps, model=inputs.shape,
            tokenizer_digest=inputs.tokenizer_digest, tokens=inputs.token_digests,
            weights=inputs.mixture.normalised(), stages=inputs.stages, block=inputs.mixture.block,
            order_digest="", weights_digest="",
            init_digest=inputs.initial.digest if inputs.initial else None,
            validation_loss=figures.loss if figures else None,
            validation_bits_per_byte=figures.bits_per_byte if figures else None,
            config=recorded(inputs.config),
        )  # fmt: skip

    def _event(self, kind: Any, **fields: Any) -> None:
        if self.is_main:
            self.session.events.emit(kind, self.step, **fields)

    def _any_rank(self, *flags: bool) -> list[bool]:
        """For each flag, whether any rank has it set."""
        if self.parallel_dims.world_size == 1:
            return list(flags)
        values = torch.tensor([int(flag) for flag in flags], device=self.device)
        dist.all_reduce(values, op=dist.ReduceOp.MAX)
        return [bool(value) for value in values.tolist()]
