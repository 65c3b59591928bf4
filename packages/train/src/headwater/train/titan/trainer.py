"""The trainer: torchtitan's, with our order, checkpoints, metrics and stop conditions."""

from __future__ import annotations

import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist

from headwater.core.console import warn
from headwater.core.errors import ManifestError
from headwater.core.events import read_events
from headwater.core.fed import as_text
from headwater.core.run import RunInfo, read_run
from headwater.core.skips import KeptOrder
from headwater.train.config import recorded
from headwater.train.guard.stall import StallWatch
from headwater.train.inputs import Inputs
from headwater.train.mirror import Mirror
from headwater.train.ranks import Ranks
from headwater.train.session import Session
from headwater.train.stopping import Patience
from headwater.train.titan import profile
from headwater.train.titan.healer import Healer
from headwater.train.titan.readback import Figures, Sent
from headwater.train.titan.step import StepTrainer
from headwater.train.titan.validate import HeldOutFigures, HeldOutValidator
from headwater.train.titan.vitals import Vitals
from headwater.train.together import on_main, share_work

Heard = Literal["on", "back", "stop"]


class HeadwaterTrainer(StepTrainer):
    """Trains until the planned steps are done, SIGTERM comes, or the guard halts.

    Args:
        config: torchtitan's configuration (see `titan.build`).
        inputs: The run's inputs.
        session: Where events, losses and progress go; only rank 0's is used.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(StepTrainer.Config):
        """As torchtitan's."""

    validator: HeldOutValidator  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: Config, inputs: Inputs, session: Session) -> None:
        self._validated: tuple[int, HeldOutFigures] | None = None
        self._waited_seconds = 0.0
        self._watch: StallWatch | None = None
        super().__init__(config, inputs, session)
        stopping = inputs.config.early_stopping
        self._patience = None if stopping is None else Patience(stopping)
        if self._patience is not None:
            self.checkpointer.states["early_stopping"] = self._patience
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
        first = os.environ.get("LOCAL_RANK", "0") == "0"
        vitals = Vitals(self._clock, lambda: self.dataloader.slept, self.device, stage, first=first)
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

    def log_end(self, *, halted: bool = False) -> None:
        """Logs that the run has ended by itself, and whether the guard has ended it."""
        self.metrics_processor.log_values(
            self.step, {"headwater_train_ended": 1.0, "headwater_train_halted": float(halted)}
        )

    def alive(self) -> None:
        """Says that the run is going on."""
        if self._watch is not None:
            self._watch.beat()

    def restore(self, step: int) -> None:
        """Takes the whole state of a checkpoint, also in the middle of training."""
        self.alive()
        self.checkpointer.load(step=step)
        self._sources.forget()
        self._experts.forget()
        self.dataloader.skips = self.guard.ledger.skips
        info = read_run(self.inputs.run.checkpoint(step))
        if info.validation_loss is not None:
            self._validated = (step, HeldOutFigures(
                info.validation_loss, info.validation_bits_per_byte, 0, 0, info.validation_losses
            ))  # fmt: skip

    def _loop(self, profiled: Callable[[], None]) -> str:
        plan = self.inputs.config
        batches = self.batch_generator(self.dataloader)
        while self.step < plan.steps and not self._is_over:
            self.step += 1
            self.gc_handler.run(self.step)
            self.train_step(batches)
            last = self.step == plan.steps
            save = self._is_saved(self.step)
            due = self._is_validated(self.step)
            change = self.reweigher is not None and self.reweigher.due(self.step)
            heard = self._listen(all_of_them=due or save or change)
            profiled()
            stop = heard == "stop"
            if stop:  # on every process: they heard it with the figures of one and the same step
                heard = self._listen(all_of_them=True)
            if heard != "back" and change:
                self._reweigh()
            if heard != "back" and due and (last or not stop):
                heard = self._validate()
            if heard == "back":
                batches = self.batch_generator(self.dataloader)
                continue
            over = self._is_over and not last
            if save or stop or over:
                self.save()
            if over:
                self._say_over()
            if save and not (stop and not last):
                self._work_in_loop()
            if stop and not last and not over:
                self.finish_saving(wait=True)
                self._event("stop", reason="SIGTERM")
                return "terminated"
        self.finish_saving(wait=True)
        return "finished"

    @property
    def _is_over(self) -> bool:
        """Whether the validation loss has not fallen for so long that the run ends."""
        return self._patience is not None and self._patience.over

    def _say_over(self) -> None:
        assert self._patience is not None
        best_step, best_loss = self._patience.best
        self._event("early_stop", best_step=best_step, best_loss=best_loss)

    def _reweigh(self) -> None:
        """Changes the weights of the mixture from the next step on, by the losses up to this one."""
        assert self.reweigher is not None
        change = on_main(partial(self.reweigher.decide, self.step))  # one decision, on which all processes agree
        skips, plan = self.guard.ledger.skips, self.inputs.config
        stop = skips.reach(plan.step_samples.consumed(plan.steps))
        self.reweigher.apply(self.step, change, skips.reach(self.dataloader.samples), stop)
        self._event("reweigh", losses=change.losses, excess=change.excess, before=change.before, after=change.after)
        self.metrics_processor.log_values(self.step, self._sources.weights(change.after))

    def _work_in_loop(self) -> None:
        """Does with this step's checkpoint what other packages do with it; the training is as it was afterwards."""
        for work in self.session.in_loop:
            if self.step == 0 or self.step % work.every or not self._is_saved(self.step):
                continue
            self.finish_saving(wait=True)
            with self._aside(), self._clock.part(profile.EVALUATION):
                told = on_main(partial(self._is_told, work.name))
                outcome, error = share_work(work, self.inputs.run, self.step, told=told)
            if outcome is not None and self.is_main:
                self.metrics_processor.log_values(self.step, outcome.values)
                self._event(work.name, **outcome.event)  # last: it says that the rest was told
            if error is not None and self.is_main:
                warn(f"{work.name} of step {self.step:,} failed, and the training goes on: {error}")
                self._event(work.name, error=error)

    def _is_told(self, kind: str) -> bool:
        """Whether what work in the loop gave at this step was told before."""
        events = read_events(self.session.events.path)
        return any((event["kind"], event["step"]) == (kind, self.step) and "error" not in event for event in events)

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
            over = self._is_over and step < self.inputs.config.steps
            if self.step == step and (self._is_saved(step) or over):
                self.save()
            if over:
                self._say_over()

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
                verdict = self.guard.judge(step, figures.loss, figures.grad_norm, refused=figures.refused,
                                           overflowed=figures.overflowed)  # fmt: skip
                if self.healer.respond(verdict, figures):
                    return "back"
                stop, failed = stop or figures.flags[0], failed or figures.flags[1]
        self.metrics_processor.end_step()
        self._clock.steps += 1
        self.alive()
        self.finish_saving(wait=failed)
        return "stop" if stop else "on"

    def _report(self, figures: Figures) -> None:
        plan, sent = self.inputs.config, figures.sent
        size = plan.step_samples.size(sent.step)
        samples = sent.start + size
        tokens = samples * plan.seq_len
        order = KeptOrder(self.inputs.order, self.guard.ledger.skips)
        if self.reweigher is not None and not figures.refused:
            self.reweigher.add(figures.source_nats, figures.source_tokens)
        if self.is_main:
            self._sources.add(figures.source_nats, figures.source_tokens)
        speed = self.metrics_processor.log_step(
            figures, tokens=tokens, samples=samples, step_tokens=size * plan.seq_len,
            clipped=figures.flags[2], phases=self._clock.seconds,
            sources=lambda: self._sources.take(samples, order),
        )  # fmt: skip
        self.metrics_processor.log_values(sent.step, self._experts.series(figures.expert_tokens))
        if self.is_main:
            self.session.losses.write(
                sent.step, loss=figures.loss, grad_norm=figures.grad_norm, learning_rate=sent.learning_rate,
                tokens=tokens, samples=(sent.start, samples), fed=as_text(figures.fed), skipped=figures.refused,
            )  # fmt: skip
            self.session.advance(sent.step, f"loss {figures.loss:.3f} · {speed:,.0f} tokens/s")

    def _validate(self) -> Heard:
        with self._clock.part(profile.VALIDATION):
            figures = self.validator.figures(self)
        verdict = self.guard.judge_validation(self.step, figures.loss)
        if not math.isfinite(figures.loss):
            start = self.inputs.config.step_samples.consumed(self.step - 1)
            seen = Figures(Sent(self.step, start, 0.0), figures.loss, figures.loss, 0.0, False, (), 0)
            return "back" if self.healer.respond(verdict, seen) else "on"
        self._validated = (self.step, figures)
        if self._patience is not None:
            self._patience.see(self.step, figures.loss)
        found = {"headwater_train_validation_loss": figures.loss, **self._sources.validation(figures.sources)}
        if figures.bits_per_byte is not None:
            found |= {"headwater_train_validation_bits_per_byte": figures.bits_per_byte}
        self.metrics_processor.log_values(self.step, found)
        self._event("validation", loss=figures.loss, bits_per_byte=figures.bits_per_byte, tokens=figures.tokens,
                    text_bytes=figures.text_bytes, sources=dict(figures.sources))  # fmt: skip
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
            "checkpoint", saved.info.step, path=self.inputs.run.checkpoint(saved.info.step).name, digest=saved.digest,
            bytes=saved.bytes, seconds=round(saved.seconds, 3), waited_seconds=round(self._waited_seconds, 3),
            validation_loss=saved.info.validation_loss,
        )  # fmt: skip
        for step in saved.deleted:
            self.session.events.emit("checkpoint_deleted", saved.info.step, path=self.inputs.run.checkpoint(step).name)

    def _restore_saved(self, resume_step: int) -> None:
        """Tells the retention which checkpoints there are from before."""
        there = on_main(self._infos)
        self.checkpointer.saved |= {step: info for step, info in there.items() if step <= resume_step}

    def _infos(self) -> dict[int, RunInfo]:
        """`run.json` of every finished checkpoint, here or in the mirror; one that cannot be read is left out."""
        uri = self.inputs.config.checkpoint.mirror
        found = {} if uri is None else Mirror(uri).infos()
        for step, path in self.checkpointer.retained():
            with suppress(ManifestError):
                found[step] = read_run(path)
        return found

    def _run_info(self) -> RunInfo:
        """`run.json`, less the digests, which are computed when it is written."""
        inputs, samples = self.inputs, self.dataloader.samples
        figures = self._validated[1] if self._validated and self._validated[0] == self.step else None
        return RunInfo(
            step=self.step, samples=samples, seq_len=inputs.config.seq_len, global_batch=inputs.config.global_batch,
            batch_ramp=inputs.config.batch_ramp, seed=inputs.base.seed, steps_planned=inputs.config.steps,
            model=inputs.shape, tokenizer_digest=inputs.tokenizer_digest, tokens=inputs.token_digests,
            weights=inputs.weights, stages=inputs.stages, block=inputs.mixture.block,
            skips=self.guard.ledger.skips.as_json(), order_digest="", weights_digest="",
            init_digest=inputs.initial.digest if inputs.initial else None,
            validation_loss=figures.loss if figures else None,
            validation_bits_per_byte=figures.bits_per_byte if figures else None,
            validation_losses=dict(figures.sources) if figures else {},
            config=recorded(inputs.config),
        )  # fmt: skip

    def _profiled(self, summary: dict[str, Any]) -> None:
        self._event("profile", path=profile.FOLDER, steps=summary["steps"], step_seconds=summary["step_seconds"])

    def _event(self, kind: Any, **fields: Any) -> None:
        if self.is_main:
            self.session.events.emit(kind, self.step, **fields)
