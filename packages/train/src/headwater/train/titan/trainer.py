"""The trainer: torchtitan's, with our order, checkpoints, metrics and stop conditions."""

from __future__ import annotations

import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from torchtitan.components.loss import IGNORE_INDEX
from torchtitan.distributed import utils as dist_utils
from torchtitan.trainer import Trainer

from headwater.core.console import warn
from headwater.core.fed import as_text
from headwater.core.run import RunInfo, read_run
from headwater.core.skips import KeptOrder
from headwater.train.config import recorded
from headwater.train.guard.guard import Guard
from headwater.train.guard.stall import StallWatch
from headwater.train.inputs import Inputs
from headwater.train.mirror import Mirror
from headwater.train.ranks import Ranks
from headwater.train.session import Session
from headwater.train.titan import profile
from headwater.train.titan.checkpoint import HeadwaterCheckpoints
from headwater.train.titan.experts import expert_biases
from headwater.train.titan.healer import Healer
from headwater.train.titan.loader import OrderLoader
from headwater.train.titan.metrics import HeadwaterMetrics
from headwater.train.titan.pipeline import run_schedule
from headwater.train.titan.readback import Figures, Readback, Sent, agree, refuses, update_unless
from headwater.train.titan.sample_loss import SampleLoss
from headwater.train.titan.sources import Sources
from headwater.train.titan.updates import EVERY, UpdateRatio
from headwater.train.titan.validate import HeldOutFigures, HeldOutValidator
from headwater.train.titan.vitals import Vitals
from headwater.train.together import on_main, share_work

Batch = tuple[dict[str, torch.Tensor], torch.Tensor]
Batches = Iterator[Batch]
Heard = Literal["on", "back", "stop"]


class HeadwaterTrainer(Trainer):
    """Trains until the planned steps are done, SIGTERM comes, or the guard halts.

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
    loss_fn: SampleLoss  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: Config, inputs: Inputs, session: Session) -> None:
        self.inputs = inputs
        self.session = session
        self._validated: tuple[int, HeldOutFigures] | None = None
        self._waited_seconds = 0.0
        self._watch: StallWatch | None = None
        self._clock = profile.Clock()
        self.guard = Guard(inputs.config.guard, self._another_stage)
        super().__init__(config)
        self.checkpointer.states["guard"] = self.guard
        self._biases = list(expert_biases(self.model_parts))
        self._sources = Sources(inputs)
        stage_processes = dist.get_world_size() // self.parallel_dims.pp
        self._updates = UpdateRatio(self.model_parts, stage_processes, self.device)
        self.readback = Readback(self.device)
        self.healer = Healer(self)

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
            Halted: The guard cannot heal the run.
        """
        if resume_step is not None:
            self.restore(resume_step)
            self._log_start(resume_step)
            self._restore_saved(resume_step)
            self._make_up_for(resume_step)
            self._work_in_loop()
        else:
            self._log_start(None)
            if self.inputs.initial is not None:
                self.checkpointer.load_weights(self.inputs.initial.path)
        policy = self.inputs.config.guard.stall
        watching = StallWatch(policy.seconds, self.healer.on_stall) if policy.respond != "off" else nullcontext()
        profiling = profile.traced(self.session.profile_steps, self.inputs.run.train / profile.FOLDER, self._profiled)
        with watching as watch, profiling as profiled, self._ranks():
            self._watch = watch
            return self._loop(profiled)

    def _ranks(self) -> Ranks:
        """Tells rank 0 of all ranks, while the run is going on."""
        rank, processes = dist.get_rank(), dist.get_world_size()
        pipeline = self.parallel_dims.get_optional_mesh("pp")
        stage = pipeline.get_local_rank() if pipeline is not None else 0
        vitals = Vitals(self._clock, self.device, stage, first=os.environ.get("LOCAL_RANK", "0") == "0")
        world = dist.group.WORLD
        store = world.get_group_store() if world is not None and processes > 1 else None
        return Ranks(vitals.state, self.metrics_processor.log_beside, store, rank, processes)

    def _log_start(self, resume_step: int | None) -> None:
        saved_at = None
        if resume_step is not None:
            saved_at = (self.inputs.run.checkpoint(resume_step) / "run.json").stat().st_mtime
        self.metrics_processor.log_start(
            self.step, plan=self.inputs.config, restarts=self.session.restarts, saved_at=saved_at,
            counts=self.healer.counts(),
        )  # fmt: skip

    def log_end(self) -> None:
        """Logs that the run has ended by itself."""
        self.metrics_processor.log_values(self.step, {"headwater_train_ended": 1.0})

    def alive(self) -> None:
        """Says that the run is going on."""
        if self._watch is not None:
            self._watch.beat()

    def restore(self, step: int) -> None:
        """Takes the whole state of a checkpoint, also in the middle of training."""
        self.alive()
        self.checkpointer.load(step=step)
        self._sources.forget()
        self.dataloader.skips = self.guard.ledger.skips
        info = read_run(self.inputs.run.checkpoint(step))
        if info.validation_loss is not None and info.validation_bits_per_byte is not None:
            self._validated = (step, HeldOutFigures(info.validation_loss, info.validation_bits_per_byte, 0, 0))

    def _loop(self, profiled: Callable[[], None]) -> str:
        plan = self.inputs.config
        batches = self.batch_generator(self.dataloader)
        while self.step < plan.steps:
            self.step += 1
            self.gc_handler.run(self.step)
            self.train_step(batches)
            last = self.step == plan.steps
            save = self._is_saved(self.step)
            due = self._is_validated(self.step)
            heard = self._listen(all_of_them=due or save)
            profiled()
            stop = heard == "stop"
            if stop:  # on every process: they heard it with the figures of one and the same step
                heard = self._listen(all_of_them=True)
            if heard != "back" and due and (last or not stop):
                heard = self._validate()
            if heard == "back":
                batches = self.batch_generator(self.dataloader)
                continue
            if save or stop:
                self.save()
            if save and not (stop and not last):
                self._work_in_loop()
            if stop and not last:
                self.finish_saving(wait=True)
                self._event("stop", reason="SIGTERM")
                return "terminated"
        self.finish_saving(wait=True)
        return "finished"

    def _work_in_loop(self) -> None:
        """Does with this step's checkpoint what other packages do with it; the training is as it was afterwards."""
        for work in self.session.in_loop:
            if self.step == 0 or self.step % work.every or not self._is_saved(self.step):
                continue
            self.finish_saving(wait=True)
            with self._aside(), self._clock.part(profile.EVALUATION):
                outcome, error = share_work(work, self.inputs.run, self.step)
            if outcome is not None and self.is_main:
                self._event(work.name, **outcome.event)
                self.metrics_processor.log_values(self.step, outcome.values)
            if error is not None and self.is_main:
                warn(f"{work.name} of step {self.step:,} failed, and the training goes on: {error}")
                self._event(work.name, error=error)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Random numbers go on afterwards as if nothing had been between, and it is no stall."""
        states = random.getstate(), np.random.get_state()
        devices = [self.device] if self.device.type == "cuda" else []
        stopped = threading.Event()

        def beat() -> None:
            while not stopped.wait(1.0):
                self.alive()

        beating = threading.Thread(target=beat, name="work in the loop", daemon=True)
        beating.start()
        try:
            with torch.random.fork_rng(devices=devices):
                yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            stopped.set()
            beating.join()
            self.alive()

    def _is_saved(self, step: int) -> bool:
        return step == self.inputs.config.steps or step % self.inputs.config.checkpoint.every == 0

    def _is_validated(self, step: int) -> bool:
        """Whether the model is validated after a step: where it is saved, and where the recipe says."""
        every = self.inputs.config.validation.every
        return self.config.validator.enable and (self._is_saved(step) or (every > 0 and step % every == 0))

    def _make_up_for(self, step: int) -> None:
        """Validates a checkpoint that SIGTERM left no time to validate, and says so in it if it is one of the rest."""
        if self._is_validated(step) and read_run(self.inputs.run.checkpoint(step)).validation_loss is None:
            self._validate()
            if self.step == step and self._is_saved(step):
                self.save()

    def _listen(self, *, all_of_them: bool) -> Heard:
        """Takes the figures that are due, and does what the guard says.

        Args:
            all_of_them: Whether to wait for those of the last step too.

        Returns:
            "back" when the run went back, "stop" when SIGTERM came, else "on".
        """
        stop = failed = False
        with self._clock.part(profile.FIGURES):
            for figures in self.readback.receive(all_of_them=all_of_them):
                step = figures.sent.step
                self._report(figures)
                verdict = self.guard.judge(step, figures.loss, figures.grad_norm, refused=figures.refused)
                if self.healer.respond(verdict, figures):
                    return "back"
                stop, failed = stop or figures.flags[0], failed or figures.flags[1]
        self.metrics_processor.end_step()
        self._clock.steps += 1
        self.alive()
        self.finish_saving(wait=failed)
        return "stop" if stop else "on"

    def train_step(self, data_iterator: Batches) -> None:
        """One optimizer step, sent to the device. The update is left out when the guard's limits say so."""
        self.metrics_processor.start_step(self.step)
        self.optimizers.zero_grad(set_to_none=True)
        learning_rate = self._set_learning_rate()
        start = self.dataloader.samples
        with self._clock.part(profile.LOADER):
            rounds, counts, one_hot = self._fetch(data_iterator)
        with self._clock.part(profile.COMMUNICATION):
            valid, fed = self._counted(counts)
        with self._clock.part(profile.FORWARD_BACKWARD):
            own, nats = self._forward_backward(rounds, valid, one_hot)
        with self._clock.part(profile.GRADIENT_NORM):
            grad_norm = dist_utils.clip_grad_norm_(
                [parameter for part in self.model_parts for parameter in part.parameters()],
                self.config.training.max_norm, foreach=True, pp_mesh=self.parallel_dims.get_optional_mesh("pp"),
                ep_enabled=self.parallel_dims.ep_enabled,
            )  # fmt: skip
        with self._clock.part(profile.COMMUNICATION):
            total, nats = self._summed(own, nats)
            own *= self._loss_ranks
            found = agree(total, grad_norm, own, self.session.terminated, self.checkpointer.failed)
        with self._clock.part(profile.GUARD):
            limits = self.guard.limits(self.step)
            refused = refuses(found, limits.loss, limits.grad_norm)
        with self._clock.part(profile.CHECKPOINT):
            self.checkpointer.maybe_wait_for_staging()
        with self._clock.part(profile.UPDATE):
            measured = self.step % EVERY == 0
            if measured:
                self._updates.before()
            update_unless(refused, self.optimizers, self._biases)
            beside = [nats, self._updates.after()] if measured else [nats]
            self.lr_schedulers.step()
        self.readback.send(Sent(self.step, start, learning_rate), found, refused, fed, *beside)

    def _set_learning_rate(self) -> float:
        """The schedule's learning rate for the step, lowered as the guard says; returns that of the first group."""
        factor = self.guard.ledger.factor(self.step)
        for scheduler in self.lr_schedulers.schedulers:
            for group, rate in zip(scheduler.optimizer.param_groups, scheduler.get_last_lr(), strict=True):
                group["lr"] = rate * factor
        return float(self.lr_schedulers.schedulers[0].get_last_lr()[0]) * factor

    def _another_stage(self, step: int) -> bool:
        """Whether another stage of the mixture begins in a step."""
        order, batch = KeptOrder(self.inputs.order, self.guard.ledger.skips), self.inputs.config.global_batch
        if step < 2 or len(self.inputs.order.stages) == 1:
            return False
        return order.stage_at(step * batch - 1) != order.stage_at((step - 1) * batch - 1)

    def _forward_backward(
        self, rounds: list[list[Batch]], valid: torch.Tensor, one_hot_MSB: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds up the gradients of a step.

        Returns:
            What this process's tokens add to the mean loss of the global batch, and to the loss of each source.
        """
        total = torch.zeros((), dtype=torch.float32, device=self.device)
        nats_S = torch.zeros(one_hot_MSB.shape[1], dtype=torch.float32, device=self.device)
        for number, (micro_batches, one_hot) in enumerate(zip(rounds, one_hot_MSB.chunk(len(rounds)), strict=True), 1):
            if self.inputs.config.parallel.zero_stage == 1 and not self.parallel_dims.pp_enabled:
                self._reduce_gradients(number == len(rounds))
            inputs, labels = [list(column) for column in zip(*micro_batches, strict=True)]
            if self.parallel_dims.pp_enabled:
                loss = self.forward_backward_step(input_dict=inputs, labels=labels, global_valid_tokens=valid)
            else:
                loss = self.forward_backward_step(input_dict=inputs[0], labels=labels[0], global_valid_tokens=valid)
            total += loss.detach()
            if (losses_MB := self.loss_fn.take(len(micro_batches))) is not None:
                nats_S += (one_hot * losses_MB[:, None]).sum(dim=(0, 2))
        return total, nats_S

    def _summed(self, own: torch.Tensor, nats: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean loss of the global batch and the losses of the sources, the same on every process."""
        total, sums = self.parallel_sum(torch.cat([own.reshape(1), nats])).split([1, len(nats)])
        return total[0], sums

    @property
    def _loss_ranks(self) -> int:
        """Among how many processes the tokens of a step are shared."""
        mesh = self.parallel_dims.get_optional_mesh("loss")
        return mesh.size() if mesh is not None else 1

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

    def _fetch(self, data_iterator: Batches) -> tuple[list[list[Batch]], torch.Tensor, torch.Tensor]:
        """This process's micro-batches of the step.

        Returns:
            They, round by round; how many of their tokens count, and a digest of them, int64 of shape [2]; and of which
            source their samples are, one-hot.
        """
        rounds: list[list[Batch]] = []
        count = torch.zeros((), dtype=torch.int64)
        for _ in range(self.gradient_accumulation_steps):
            micro_batches: list[Batch] = []
            for _ in range(self.num_pipeline_parallel_microbatches):
                inputs, labels = next(data_iterator)
                count += (labels != IGNORE_INDEX).sum()
                moved = {key: self._moved(value) for key, value in inputs.items()}
                micro_batches.append((moved, self._moved(labels)))
            rounds.append(micro_batches)
        counts = self._moved(torch.stack([count, torch.tensor(self.dataloader.take_fed())]))
        return rounds, counts, self._moved(self._sources.one_hot(self.dataloader.take_sources()))

    def _counted(self, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """How many tokens of the global batch count, and its digest."""
        if self.parallel_dims.dp_enabled:
            counts = dist_utils.dist_sum_tensor(counts, self.parallel_dims.get_mesh("batch"))
        return counts[0], counts[1]

    def _moved(self, value: torch.Tensor) -> torch.Tensor:
        """On the device; the copy waits neither for the work before it nor the host for the copy."""
        return value.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else value

    def parameter_count(self) -> int:
        """Parameters of the whole model; every process has to ask."""
        count = sum(parameter.numel() for part in self.model_parts for parameter in part.parameters())
        total = torch.tensor(count, dtype=torch.int64, device=self.device)
        if (mesh := self.parallel_dims.get_optional_mesh("pp")) is not None:
            total = dist_utils.dist_sum_tensor(total, mesh)
        return int(total.item())

    def _report(self, figures: Figures) -> None:
        plan, sent = self.inputs.config, figures.sent
        samples = sent.start + plan.global_batch
        tokens = samples * plan.seq_len
        order = KeptOrder(self.inputs.order, self.guard.ledger.skips)
        if self.is_main:
            self._sources.add(sent.start, samples, order, figures.source_nats)
        speed = self.metrics_processor.log_step(
            figures, tokens=tokens, samples=samples, step_tokens=plan.global_batch * plan.seq_len,
            clipped=figures.grad_norm > self.config.training.max_norm, phases=self._clock.seconds,
            sources=lambda: self._sources.take(samples, order),
        )  # fmt: skip
        if self.is_main:
            self.session.losses.write(
                sent.step, loss=figures.loss, grad_norm=figures.grad_norm, learning_rate=sent.learning_rate,
                tokens=tokens, samples=(sent.start, samples), fed=as_text(figures.fed), skipped=figures.refused,
            )  # fmt: skip
            self.session.advance(sent.step, f"loss {figures.loss:.3f} · {speed:,.0f} tokens/s")

    def _validate(self) -> Heard:
        with self._clock.part(profile.VALIDATION):
            figures = self.validator.figures(self)
        if not math.isfinite(figures.loss):
            start = self.dataloader.samples - self.inputs.config.global_batch
            since = self._validated[0] if self._validated else 0
            seen = Figures(Sent(self.step, start, 0.0), figures.loss, figures.loss, 0.0, False, (), 0)
            went_back = self.healer.respond(self.guard.judge_validation(self.step, since), seen)
            return "back" if went_back else "on"
        self._validated = (self.step, figures)
        self.metrics_processor.log_values(self.step, {
            "headwater_train_validation_loss": figures.loss,
            "headwater_train_validation_bits_per_byte": figures.bits_per_byte,
        })  # fmt: skip
        self._event("validation", loss=figures.loss, bits_per_byte=figures.bits_per_byte, tokens=figures.tokens,
                    text_bytes=figures.text_bytes)  # fmt: skip
        return "on"

    def save(self, superseded: Sequence[int] = ()) -> None:
        """Writes a checkpoint, or starts to.

        Args:
            superseded: Steps of later checkpoints, which go once this one is whole.
        """
        with self._clock.part(profile.CHECKPOINT):
            self._save(superseded)

    def _save(self, superseded: Sequence[int]) -> None:
        began = time.monotonic()
        self.finish_saving(wait=True)  # at most one checkpoint is being written
        # torchtitan counts this process's own, and those that it validated on.
        self.ntokens_seen = self.dataloader.samples * self.inputs.config.seq_len
        self.checkpointer.start(self._run_info(), self.session.losses.sync, superseded)
        self._waited_seconds = time.monotonic() - began
        self.finish_saving(wait=not self.inputs.config.checkpoint.background)
        self.alive()

    def finish_saving(self, *, wait: bool) -> None:
        """Reports the checkpoint that was being written, when it is; with `wait`, raises what it failed with."""
        saved = self.checkpointer.take(wait=wait)
        if saved is None or not self.is_main:
            return
        self.session.checkpoints_written += 1
        self.metrics_processor.log_values(self.step, {
            "headwater_train_checkpoints_total": self.session.checkpoints_written,
            "headwater_train_checkpoint_seconds": saved.seconds,
            "headwater_train_checkpoint_timestamp_seconds": time.time(),
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
        there = on_main(self._validation_losses)
        self.checkpointer.saved |= {step: loss for step, loss in there.items() if step <= resume_step}

    def _validation_losses(self) -> dict[int, float | None]:
        """Step → validation loss of every finished checkpoint, here or in the mirror."""
        uri = self.inputs.config.checkpoint.mirror
        found = {} if uri is None else {step: info.validation_loss for step, info in Mirror(uri).infos().items()}
        return found | {step: read_run(path).validation_loss for step, path in self.checkpointer.retained()}

    def _run_info(self) -> RunInfo:
        """`run.json`, less the digests, which are computed when it is written."""
        inputs, samples = self.inputs, self.dataloader.samples
        figures = self._validated[1] if self._validated and self._validated[0] == self.step else None
        return RunInfo(
            step=self.step, samples=samples, seq_len=inputs.config.seq_len, global_batch=inputs.config.global_batch,
            seed=inputs.base.seed, steps_planned=inputs.config.steps, model=inputs.shape,
            tokenizer_digest=inputs.tokenizer_digest, tokens=inputs.token_digests,
            weights=inputs.mixture.normalised(), stages=inputs.stages, block=inputs.mixture.block,
            skips=self.guard.ledger.skips.as_json(), order_digest="", weights_digest="",
            init_digest=inputs.initial.digest if inputs.initial else None,
            validation_loss=figures.loss if figures else None,
            validation_bits_per_byte=figures.bits_per_byte if figures else None,
            config=recorded(inputs.config),
        )  # fmt: skip

    def _profiled(self, summary: dict[str, Any]) -> None:
        self._event("profile", path=profile.FOLDER, steps=summary["steps"], step_seconds=summary["step_seconds"])

    def _event(self, kind: Any, **fields: Any) -> None:
        if self.is_main:
            self.session.events.emit(kind, self.step, **fields)
