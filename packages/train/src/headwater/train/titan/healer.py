"""What is done about a spike: report it, lower the learning rate, go back and leave samples out, or halt.

Every process carries out the same verdict. A rollback needs no restart: the checkpoint is loaded into the live model,
optimizer, schedule, generators and loader on whatever layout, the guard's account is kept, and the checkpoint is
written anew with it, beside the old one, whose place it takes when it is whole. Only then do later checkpoints go, and
the logs of what is undone. So the run's folder says what the run does from there on: a kill at any moment after that
goes on with the samples left out, and a kill before it goes back to a checkpoint from which the same figures lead to
the same verdict.
"""

from __future__ import annotations

import faulthandler
import os
import threading
from typing import TYPE_CHECKING, Any

from headwater.core import metrics as names
from headwater.core.console import warn
from headwater.train.guard.evidence import evidence
from headwater.train.guard.guard import Verdict
from headwater.train.guard.halted import Halted
from headwater.train.losses import read_losses
from headwater.train.resume import find_damage, is_between
from headwater.train.session import STALLED, TERMINATED
from headwater.train.titan.readback import Figures
from headwater.train.together import on_main

if TYPE_CHECKING:
    from headwater.train.titan.trainer import HeadwaterTrainer

LAST_WORDS_SECONDS = 25.0
"""For which sinks may take to write what they have, when the process ends itself. Launchers kill after 30."""
_NAMES = {
    "nonfinite": "a figure that is not finite", "outlier": "a loss far above the ones before it",
    "gradient": "a gradient norm far above the ones before it", "divergence": "a loss that rises and stays",
    "skips": "too many skipped steps",
}  # fmt: skip


class Healer:
    """Carries out the verdicts of a trainer's guard.

    Args:
        trainer: The trainer.
    """

    def __init__(self, trainer: HeadwaterTrainer) -> None:
        self._trainer = trainer
        self._guard = trainer.guard
        self._inputs = trainer.inputs
        self._stalls = 0

    def respond(self, verdict: Verdict, figures: Figures) -> bool:
        """Does what is to be done after a step.

        Returns:
            Whether the run went back.

        Raises:
            Halted: The run is over.
        """
        if verdict.response == "none":
            return False
        went_back = False
        step = figures.sent.step
        if verdict.response == "halt":
            self._halt(verdict, figures, "no more rollbacks are allowed" if self._gave_up(step) else "")
        elif verdict.response == "rollback":
            went_back = self._roll_back(verdict, figures)
        elif verdict.response == "lower":
            # Two steps on: the next one may have been sent already.
            self._guard.ledger = self._guard.ledger.lowered(step, self._guard.config, since=step + 2)
            factor = self._guard.ledger.factor(step + 2)
            self._tell("spike", verdict, figures, learning_rate_factor=factor)
            if self._trainer.is_main:
                warn(f"step {step}: {_NAMES[verdict.cause]}, since step {verdict.onset}; from step {step + 2} on the "
                     f"learning rate is {factor:g} of the schedule's")  # fmt: skip
        else:
            kind = "nonfinite" if verdict.cause == "nonfinite" else "skip" if verdict.response == "skip" else "spike"
            self._tell(kind, verdict, figures)
        self.log_counts()
        return went_back

    def log_counts(self) -> None:
        """Logs the running totals."""
        self._trainer.metrics_processor.log_values(self._trainer.step, self.counts())

    def counts(self) -> dict[str, float]:
        """The running totals, by metric."""
        counts = self._guard.ledger.counts
        return {
            names.TRAIN_SPIKES.name: counts["spikes"],
            names.TRAIN_SKIPPED_STEPS.name: counts["skipped_steps"],
            names.TRAIN_NONFINITE.name: counts["nonfinite_steps"],
            names.TRAIN_ROLLBACKS.name: counts["rollbacks"],
            names.TRAIN_SKIPPED_SAMPLES.name: counts["skipped_samples"], names.TRAIN_STALLS.name: self._stalls,
        }  # fmt: skip

    def on_stall(self, seconds: float) -> None:
        """Called from the stall watch's thread when there was no step for too long."""
        trainer, respond = self._trainer, self._guard.config.stall.respond
        self._stalls += 1
        if respond == "exit":
            faulthandler.dump_traceback(all_threads=True)
        if trainer.is_main:
            warn(f"no step was done for {seconds:,.0f} seconds; step {trainer.step} is being worked on")
            trainer.session.events.emit("stall", trainer.step, seconds=round(seconds, 3), response=respond)
            # The main thread hangs, in a sink perhaps: nothing that it holds can be waited for without end.
            telling = threading.Thread(target=self._tell_stall, name="last words", daemon=True)
            telling.start()
            telling.join(LAST_WORDS_SECONDS)
        if respond == "exit":
            os._exit(TERMINATED if trainer.checkpointer.has_written else STALLED)

    def _tell_stall(self) -> None:
        metrics = self._trainer.metrics_processor
        metrics.log_values(self._trainer.step, {names.TRAIN_STALLS.name: self._stalls})
        if self._guard.config.stall.respond == "exit":  # the exporter is read once more, and what is buffered written
            metrics.logger.close_sinks()

    def _gave_up(self, step: int) -> bool:
        return self._guard.ledger.in_a_row_at(step, self._guard.config) >= self._guard.config.rollback.at_most

    def _tell(self, kind: Any, verdict: Verdict, figures: Figures, **fields: Any) -> dict[str, Any]:
        """Emits an event about the samples from the onset to this step, on rank 0; returns its fields."""
        if not self._trainer.is_main:
            return {}
        step, start = figures.sent.step, figures.sent.start
        steps = self._inputs.config.step_samples
        # A validation tells too late: what was read since the one before it would be nearly everything.
        since = start if verdict.cause == "nonfinite" else steps.consumed(verdict.onset - 1)
        consumed = range(since, start + steps.size(step))
        samples = self._guard.ledger.skips.indices(consumed).tolist()
        told = {
            "detector": verdict.cause, "response": verdict.response, "onset": verdict.onset,
            **_figures(figures), **fields, **evidence(self._inputs, kind, step, samples),
        }  # fmt: skip
        self._trainer.session.events.emit(kind, step, **told)
        return told

    def _halt(self, verdict: Verdict, figures: Figures, why: str) -> None:
        told = self._tell("halt", verdict, figures, **({"reason": why} if why else {}))
        step = figures.sent.step
        what = _NAMES[verdict.cause]
        if verdict.cause == "nonfinite" and figures.refused:
            what = f"step {step} is not finite, and was not applied"
        elif verdict.cause == "nonfinite":
            what = f"the validation after step {step} is not finite"
        else:
            what = f"step {step}: {what}"
        self.log_counts()
        found = f"loss {figures.loss}, gradient norm {figures.grad_norm}"
        if told:  # on the process that reads documents
            found += f", samples {told['samples'][0]:,} to {told['samples'][1] - 1:,}"
        raise Halted(f"{what}; {why}" if why else what, found, told.get("documents", []))

    def _roll_back(self, verdict: Verdict, figures: Figures) -> bool:
        trainer, guard, step = self._trainer, self._guard, figures.sent.step
        trainer.finish_saving(wait=True)
        target = on_main(lambda: self._target(verdict.onset))
        if target is None:
            self._no_way_back(verdict, figures)
            return False
        trainer.readback.drop()
        steps, margin = self._inputs.config.step_samples, guard.config.rollback.margin_steps
        start = steps.consumed(max(verdict.onset - 1 - margin, target))
        # The alarm comes amid the trouble, whose end nobody has seen yet.
        window = guard.ledger.window(start, steps.consumed(step + margin), near=margin * steps.size(step))
        ledger = guard.ledger.rolled_back(step, window, guard.config)
        if trainer.is_main:
            self._tell_rollback(verdict, figures, target, window, ledger.factor(target + 1))
        later = on_main(lambda: [one for one, _ in trainer.checkpointer.retained() if one > target])
        for undone in [one for one in trainer.checkpointer.saved if one > target]:
            del trainer.checkpointer.saved[undone]
        trainer.restore(target)
        guard.ledger = ledger
        trainer.dataloader.skips = ledger.skips
        trainer.save(superseded=later)
        trainer.finish_saving(wait=True)
        on_main(lambda: self._cut_logs(target))
        return True

    def _target(self, onset: int) -> int | None:
        """The newest whole checkpoint before the onset, if possible by the margin; none if there is none."""
        margin, saved = self._guard.config.rollback.margin_steps, self._trainer.checkpointer.saved
        before = sorted((step for step, info in saved.items() if step < onset and not is_between(info)), reverse=True)
        before.sort(key=lambda step: step > onset - 1 - margin)
        whole = (step for step in before if find_damage(self._inputs.run.checkpoint(step)) is None)
        return next(whole, None)

    def _no_way_back(self, verdict: Verdict, figures: Figures) -> None:
        why = f"there is no checkpoint before step {verdict.onset} to go back to"
        if verdict.cause in ("nonfinite", "skips"):
            self._halt(verdict, figures, why)
        self._tell("spike", verdict, figures, reason=why)
        if self._trainer.is_main:
            warn(f"step {figures.sent.step}: {_NAMES[verdict.cause]}, since step {verdict.onset}; {why}, so training "
                 "goes on; a smaller train.checkpoint.every or a larger keep_last would help")  # fmt: skip
        self._guard.forget()

    def _tell_rollback(
        self, verdict: Verdict, figures: Figures, target: int, window: tuple[int, int], factor: float
    ) -> None:
        trainer, step = self._trainer, figures.sent.step
        rows = read_losses(trainer.session.losses.path)
        fields = evidence(self._inputs, "rollback", step, range(*window))
        trainer.session.events.emit(
            "rollback", step, detector=verdict.cause, onset=verdict.onset, from_step=step, to_step=target,
            **_figures(figures), learning_rate_factor=factor,
            losses=[[row["step"], row["loss"], row["grad_norm"]] for row in rows if row["step"] > target], **fields,
        )  # fmt: skip
        first = fields["documents"][0] if fields["documents"] else {"id": "", "url": "none"}
        total = fields.get("documents_total", len(fields["documents"]))
        warn(f"step {step}: {_NAMES[verdict.cause]}, since step {verdict.onset}; back to step {target} without the "
             f"samples {window[0]:,} to {window[1] - 1:,} ({total:,} parts of documents, the first "
             f"{first['id'][:12]} {first['url']}; the others are in the event)")  # fmt: skip

    def _cut_logs(self, target: int) -> None:
        self._trainer.session.losses.truncate(target)
        self._trainer.metrics_processor.rewind(target)


def _figures(figures: Figures) -> dict[str, Any]:
    """Loss and gradient norm for an event; what is not finite as text, since JSON has no such numbers."""
    values = {"loss": figures.loss, "grad_norm": figures.grad_norm}
    return {name: value if abs(value) < float("inf") else str(value) for name, value in values.items()}
