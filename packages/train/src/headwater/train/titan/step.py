"""One optimizer step of a training: its batch, its gradients and their norm, and the update that the guard allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torchtitan.distributed import utils as dist_utils
from torchtitan.trainer import Trainer

from headwater.core.skips import KeptOrder
from headwater.train.guard.guard import Guard
from headwater.train.inputs import Inputs
from headwater.train.reweigher import Reweigher
from headwater.train.session import Session
from headwater.train.titan import profile
from headwater.train.titan.checkpoint import HeadwaterCheckpoints
from headwater.train.titan.clip import clipper
from headwater.train.titan.expert_load import ExpertLoad
from headwater.train.titan.experts import expert_biases
from headwater.train.titan.loader import OrderLoader
from headwater.train.titan.loss_scale import LossScale
from headwater.train.titan.metrics import HeadwaterMetrics
from headwater.train.titan.optimizers import rate_factor
from headwater.train.titan.pipeline import run_schedule
from headwater.train.titan.readback import Readback, Sent, agree, refuses, update_unless
from headwater.train.titan.sample_loss import SampleLoss
from headwater.train.titan.sources import Sources
from headwater.train.titan.updates import EVERY, UpdateRatio

Batch = tuple[dict[str, torch.Tensor], torch.Tensor]
Batches = Iterator[Batch]


class StepTrainer(Trainer):
    """Sends one step after another to the device; `titan.trainer` decides which, and what becomes of their figures.

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
    loss_fn: SampleLoss  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: Config, inputs: Inputs, session: Session) -> None:
        self.inputs = inputs
        self.session = session
        self._clock = profile.Clock()
        self.guard = Guard(inputs.config.guard, self._another_stage)
        super().__init__(config)
        self.checkpointer.states["guard"] = self.guard
        self.reweigher = Reweigher(inputs) if inputs.config.reweighting is not None else None
        if self.reweigher is not None:
            self.checkpointer.states["reweighting"] = self.reweigher
        self._clip = clipper(inputs.config.adaptive_clip, self.model_parts, self.device)
        if self._clip is not None:
            self.checkpointer.states["clip"] = self._clip
        self._loss_scale = LossScale(self.device, on=inputs.config.precision == "float16")
        if self._loss_scale.on:
            self.checkpointer.states["loss_scale"] = self._loss_scale
            self.loss_fn.scaled = self._loss_scale.scaled
        self._biases = list(expert_biases(self.model_parts))
        self._sources = Sources(inputs)
        stage_processes = dist.get_world_size() // self.parallel_dims.pp
        tensor = self.parallel_dims.get_optional_mesh("tp") if self.parallel_dims.ep_enabled else None
        self._experts = ExpertLoad(
            self.model_parts, inputs.shape, self.device, tensor.get_group() if tensor is not None else None
        )
        self._updates = UpdateRatio(self.model_parts, stage_processes, self.device)
        self.readback = Readback(self.device)
        # Looked up once: both cost more than what a step of a small model does with them.
        self._parameters = [parameter for part in self.model_parts for parameter in part.parameters()]
        self._meshes = {name: self.parallel_dims.get_optional_mesh(name) for name in ("loss", "pp")}

    def train_step(self, data_iterator: Batches) -> None:
        """One optimizer step, sent to the device. The update is left out when the guard's limits say so."""
        self.metrics_processor.start_step(self.step)
        self.optimizers.zero_grad(set_to_none=True)
        self._experts.begin()
        learning_rate = self._set_learning_rate()
        start = self.dataloader.samples
        with self._clock.part(profile.LOADER):
            rounds, counts, one_hot = self._fetch(data_iterator)
        with self._clock.part(profile.COMMUNICATION):
            valid, fed, scored = self._counted(counts)
        with self._clock.part(profile.FORWARD_BACKWARD):
            own, nats = self._forward_backward(rounds, valid, one_hot)
        with self._clock.part(profile.GRADIENT_NORM):
            max_norm = self.config.training.max_norm
            max_norm = max_norm if self._clip is None else self._clip.fixed(self.step, max_norm)
            self._loss_scale.unscale(self._parameters)
            grad_norm = dist_utils.clip_grad_norm_(
                self._parameters, max_norm, foreach=True, pp_mesh=self._meshes["pp"],
                ep_enabled=self.parallel_dims.ep_enabled,
            )  # fmt: skip
            clipped = grad_norm > max_norm
            if self._clip is not None:
                clipped = clipped | self._clip.clip(self.step, grad_norm.clamp(max=max_norm))
        with self._clock.part(profile.COMMUNICATION):
            total, nats = self._summed(own, nats)
            own *= self._loss_ranks
            found = agree(total, grad_norm, own, self.session.terminated, self.checkpointer.failed, clipped)
            scale = self._loss_scale.update(found[0], found[1])
        with self._clock.part(profile.GUARD):
            limits = self.guard.limits(self.step)
            refused = refuses(found, limits.loss, limits.grad_norm)
        with self._clock.part(profile.CHECKPOINT):
            self.checkpointer.maybe_wait_for_staging()
        with self._clock.part(profile.UPDATE):
            measured = self.step % EVERY == 0
            if measured:
                self._updates.before()
            self._experts.add()
            update_unless(refused, self.optimizers, self._biases)
            if self._clip is not None:
                self._clip.keep(refused)
            measures = [self._updates.after(), self._experts.take(self.parallel_sum)] if measured else [nats[:0]] * 2
            self.lr_schedulers.step()
        self.readback.send(Sent(self.step, start, learning_rate), found, refused, fed, nats, scored, *measures, scale)

    def _set_learning_rate(self) -> float:
        """The schedule's learning rate for the step, lowered as the guard says; returned is it without the groups'."""
        factor = self.guard.ledger.factor(self.step)
        for scheduler in self.lr_schedulers.schedulers:
            for group, rate in zip(scheduler.optimizer.param_groups, scheduler.get_last_lr(), strict=True):
                group["lr"] = rate * factor
        return self.inputs.config.optimizer.learning_rate * rate_factor(self.inputs.config, self.step - 1) * factor

    def _another_stage(self, step: int) -> bool:
        """Whether another stage of the mixture begins in a step, or other weights that tell in the loss."""
        if self.reweigher is not None:
            return self.reweigher.begins(step)
        if step < 2 or len(self.inputs.order.stages) == 1:
            return False
        order = KeptOrder(self.inputs.order, self.guard.ledger.skips)
        last, before = (self.inputs.config.step_samples.consumed(number) - 1 for number in (step, step - 1))
        return order.stage_at(last) != order.stage_at(before)

    def _forward_backward(
        self, rounds: list[list[Batch]], valid: torch.Tensor, one_hot_SN: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds up the gradients of a step.

        Returns:
            What this process's tokens add to the mean loss of the global batch, and to the loss of each source.
        """
        total = None
        losses: list[torch.Tensor] = []
        for number, micro_batches in enumerate(rounds, 1):
            if self.inputs.config.parallel.zero_stage == 1 and not self.parallel_dims.pp_enabled:
                self._reduce_gradients(number == len(rounds))
            inputs, labels = [list(column) for column in zip(*micro_batches, strict=True)]
            if self.parallel_dims.pp_enabled:
                loss = self.forward_backward_step(input_dict=inputs, labels=labels, global_valid_tokens=valid)
            else:
                loss = self.forward_backward_step(input_dict=inputs[0], labels=labels[0], global_valid_tokens=valid)
            total = loss.detach() if total is None else total + loss.detach()
            losses += self.loss_fn.take(len(micro_batches))
        assert total is not None
        # Where another process has the last stage of the pipeline, it computes the losses.
        return total, one_hot_SN @ torch.cat(losses) if losses else one_hot_SN.new_zeros(len(one_hot_SN))

    def _summed(self, own: torch.Tensor, nats: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean loss of the global batch and the losses of the sources, the same on every process."""
        total, sums = self.parallel_sum(torch.cat([own.reshape(1), nats])).split([1, len(nats)])
        return total[0], sums

    @property
    def _loss_ranks(self) -> int:
        """Among how many processes the tokens of a step are shared."""
        mesh = self._meshes["loss"]
        return mesh.size() if mesh is not None else 1

    def _reduce_gradients(self, now: bool) -> None:
        """ZeRO stage 1: whole gradients and weights are kept until the last micro-batch of a step."""
        for part in self.model_parts:
            part.set_requires_gradient_sync(now)  # type: ignore[operator]
            part.set_reshard_after_backward(now)  # type: ignore[operator]

    def post_dataloading_process(
        self, input_dict: dict[str, torch.Tensor], labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
        """As torchtitan's; with masks in which tokens see later ones where the objective says so."""
        if (seen := input_dict.get("seen")) is None:
            return super().post_dataloading_process(input_dict, labels)
        more = {name: value for name, value in input_dict.items() if name not in ("input", "seen")}
        masks = self.model_parts[0].get_attention_masks(more["positions"], seen)  # type: ignore[operator]
        return input_dict["input"], labels, {**more, "attention_masks": masks}

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
        for mesh in self._meshes.values():
            if mesh is not None:
                value = dist_utils.dist_sum_tensor(value, mesh)
        return value

    def _fetch(self, data_iterator: Batches) -> tuple[list[list[Batch]], torch.Tensor, torch.Tensor]:
        """This process's micro-batches of the step.

        Returns:
            They, round by round; a digest of them, and for how many tokens of each source their loss counts, int64 of
            shape [1 + S]; and of which source their N samples are, one-hot, of shape [S, N].
        """
        rounds: list[list[Batch]] = []
        tokens_MB: list[np.ndarray] = []
        for _ in range(self.dataloader.micro_batches // self.num_pipeline_parallel_microbatches):
            micro_batches: list[Batch] = []
            for _ in range(self.num_pipeline_parallel_microbatches):
                inputs, labels = next(data_iterator)
                tokens_MB.append(self.loss_fn.tokens(labels).numpy())
                moved = {key: self._moved(value) for key, value in inputs.items()}
                micro_batches.append((moved, self._moved(labels)))
            rounds.append(micro_batches)
        one_hot_SN, tokens_S = self._sources.shares(self.dataloader.take_sources(), tokens_MB)
        counts = torch.from_numpy(np.array([self.dataloader.take_fed(), *tokens_S]))
        return rounds, self._moved(counts), self._moved(torch.from_numpy(one_hot_SN))

    def _counted(self, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """For how many tokens the loss of the global batch counts, its digest, and the tokens by source."""
        if self.parallel_dims.dp_enabled:
            counts = dist_utils.dist_sum_tensor(counts, self.parallel_dims.get_mesh("batch"))
        return counts[1:].sum(), counts[0], counts[1:].float()

    def _moved(self, value: torch.Tensor) -> torch.Tensor:
        """On the device; the copy waits neither for the work before it nor the host for the copy."""
        return value.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else value

    def parameter_count(self) -> int:
        """Parameters of the whole model; every process has to ask."""
        count = sum(parameter.numel() for part in self.model_parts for parameter in part.parameters())
        total = torch.tensor(count, dtype=torch.int64, device=self.device)
        if (mesh := self._meshes["pp"]) is not None:
            total = dist_utils.dist_sum_tensor(total, mesh)
        return int(total.item())
