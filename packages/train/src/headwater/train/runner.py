"""`headwater train run`: from a recipe to a finished training artifact, going on where an earlier run stopped."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.core.config import dump_yaml, load_base, load_section
from headwater.core.console import progress, warn
from headwater.core.errors import ConfigError, TrainError
from headwater.core.events import read_events
from headwater.core.in_loop import in_loop
from headwater.core.layout import RunLayout
from headwater.core.lock import exclusive
from headwater.core.manifest import ArtifactWriter, Manifest
from headwater.core.mixture import Mixture
from headwater.core.mixture_resolve import resolve_mixture
from headwater.core.run import read_run
from headwater.core.sinks import JsonlSink, MetricSink, closing_sinks, keep_rows, open_sinks
from headwater.core.skips import Skips
from headwater.core.storage import atomic_write, storage_errors
from headwater.train import PRODUCER
from headwater.train.config import TrainConfig, recorded
from headwater.train.guard.evidence import FOLDER
from headwater.train.guard.halted import Halted, refuse_to_restart
from headwater.train.held_out import held_out, unigram_bits_per_byte
from headwater.train.inputs import Inputs, open_inputs
from headwater.train.losses import read_losses
from headwater.train.mirror import Mirror
from headwater.train.parallel import require_blocks
from headwater.train.resume import (
    Found,
    checkpoint_folders,
    find_checkpoint,
    find_damage,
    last_is_whole,
    refuse_changed_data,
    refuse_changed_logs,
    refuse_if_changed,
    settle,
)
from headwater.train.reweighting import AVERAGE_FILE, averaged, refuse_beside_stages, resolve_reference
from headwater.train.session import Session
from headwater.train.together import on_main

TRACKERS = "trackers"
"""Folder of the run in which sinks of `train.metrics` write, unless told otherwise."""


@dataclass(frozen=True)
class Result:
    """How a run of the command ended.

    Attributes:
        state: "up to date", "finished" or "terminated".
        steps: Steps done in all.
        manifest: The training artifact's manifest; none if the run was terminated.
    """

    state: str
    steps: int
    manifest: Manifest | None


def train(
    recipe: str | Path, run: Path, overrides: Sequence[str] = (), *, fresh: bool = False, on_change: str = "refuse",
    profile_steps: int = 0,
) -> Result:  # fmt: skip
    """Trains, or goes on training.

    Args:
        recipe: The recipe.
        run: The run folder.
        overrides: Dotted overrides of the recipe.
        fresh: Start again and delete what there is.
        on_change: "refuse" to go on with a run whose recipe or data changed, or "restart" it.
        profile_steps: How many steps to trace with torch's profiler, into `RUN/train/profile/`.

    Raises:
        ConfigError: The recipe is wrong.
        ManifestError: A parent or a checkpoint is damaged or of another schema version.
        TrainError: The run cannot go on.
    """
    inputs = open_run(recipe, run, overrides)
    writer = ArtifactWriter(
        inputs.run.train, kind="training", name=inputs.base.name, producer=PRODUCER, config=_artifact_config(inputs),
        parents=inputs.parents_for(inputs.run.train),
    )  # fmt: skip
    done = None if fresh else writer.up_to_date()
    # An early stop ends a run before its last step.
    if done is not None and last_is_whole(inputs.run, steps := int(done.counters["steps"])):
        return Result("up to date", steps, done)
    between = in_loop(recipe, overrides)
    for each in between:
        if each.every % inputs.config.checkpoint.every:
            raise ConfigError(
                f"{each.name}.every falls on steps without a checkpoint", found=each.every,
                expected=f"a multiple of train.checkpoint.every, {inputs.config.checkpoint.every}",
            )  # fmt: skip
    session = Session(inputs.run, profile_steps, between)
    return _train(inputs, writer, session, fresh=fresh, on_change=on_change)


def open_run(recipe: str | Path, run: Path, overrides: Sequence[str] = ()) -> Inputs:
    """The inputs of a run as a recipe has them. See `train` for what it raises."""
    layout = RunLayout(run)
    config = load_section("train", TrainConfig, recipe, overrides)
    mixture = load_section("mixture", Mixture, recipe, overrides)
    if config.reweighting is not None:
        refuse_beside_stages(mixture)
    samples = config.step_samples.consumed(config.steps)
    mixture = resolve_mixture(layout, mixture, samples=samples, seq_len=config.seq_len)
    if config.reweighting is not None:
        window = config.reweighting.every * min([config.global_batch, *(part.batch for part in config.batch_ramp)])
        config = config.model_copy(
            update={"reweighting": resolve_reference(config.reweighting, layout, mixture, window)}
        )
    return open_inputs(layout, load_base(recipe, overrides), config, mixture)


def _train(inputs: Inputs, writer: ArtifactWriter, session: Session, *, fresh: bool, on_change: str) -> Result:
    from headwater.train import titan

    config = inputs.config
    device = titan.choose_device(config.device)
    require_blocks(config.parallel, config.seq_len, device)
    with session.until_terminated():
        titan.start(device, config.parallel.world_size, config.threads)
        try:
            return _run(inputs, writer, session, device, fresh=fresh, on_change=on_change)
        finally:
            titan.stop()


def _run(
    inputs: Inputs, writer: ArtifactWriter, session: Session, device: str, *, fresh: bool, on_change: str
) -> Result:
    with ExitStack() as held:
        on_main(lambda: held.enter_context(exclusive(inputs.run.train)))
        return _run_alone(inputs, writer, session, device, fresh=fresh, on_change=on_change)


def _run_alone(
    inputs: Inputs, writer: ArtifactWriter, session: Session, device: str, *, fresh: bool, on_change: str
) -> Result:
    config = inputs.config
    is_main = os.environ.get("RANK", "0") == "0"
    if not fresh:
        on_main(lambda: refuse_to_restart(session.events.path))
    # Before anything of an earlier run is touched: a port may be taken, an option misspelt.
    sinks = open_sinks(config.metrics, inputs.run.root / TRACKERS) if is_main else []
    with closing_sinks(sinks):
        resume_step = on_main(lambda: _prepare(inputs, writer, session, fresh=fresh, on_change=on_change))
        if is_main:
            for sink in sinks:
                sink.rewind(resume_step or 0)
            sinks.append(JsonlSink(inputs.run.train / "metrics.jsonl"))
        data = held_out(inputs) if config.validation.every else None
        told = data if inputs.objective.left_to_right else None
        unigram = on_main(lambda: unigram_bits_per_byte(inputs, told) if told else None)
        from headwater.train.titan.build import trainer_config
        from headwater.train.titan.trainer import HeadwaterTrainer

        with memory_errors(inputs):
            trainer = HeadwaterTrainer(trainer_config(inputs, data, sinks, device), inputs, session)
            try:
                _announce(session, trainer, sinks, resume_step, device)
                with _progress(config.steps, resume_step or 0, session, shown=trainer.is_main):
                    state = trainer.run(resume_step)
                trainer.log_end()
            except Halted:
                trainer.log_end(halted=True)
                raise
            finally:
                trainer.close()
                session.losses.close()
        if state == "terminated":
            return Result(state, trainer.step, None)
        session.events.emit("finish", trainer.step) if trainer.is_main else None
    manifest = on_main(lambda: _commit(inputs, writer, session, unigram))
    return Result("finished", trainer.step, manifest)


@contextmanager
def memory_errors(inputs: Inputs) -> Generator[None]:
    """Says what asks for memory when there is not enough of it."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        lack = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
        if not lack:
            raise
        config = inputs.config
        raise TrainError(
            "there is not enough memory for this training",
            found=f"{str(error).splitlines()[0]}; {config.micro_batch} samples of {config.seq_len} tokens at once, "
            f"{config.parallel.world_size} processes",
            hint="lower train.micro_batch or the model's size, or cut the model up (train.parallel)",
        ) from error


@contextmanager
def _progress(steps: int, done: int, session: Session, *, shown: bool) -> Iterator[None]:
    if not shown:
        yield
        return
    with progress(steps, "train", done=done) as bar:
        at = done

        def advance(step: int, note: str) -> None:
            nonlocal at
            bar.advance(step - at, note)  # back, after a rollback
            at = step

        session.advance = advance
        yield


def _prepare(inputs: Inputs, writer: ArtifactWriter, session: Session, *, fresh: bool, on_change: str) -> int | None:
    """Finds the checkpoint to go on from and puts the logs back to it; none to start from the beginning."""
    layout, uri = inputs.run, inputs.config.checkpoint.mirror
    mirror = Mirror(uri) if uri else None
    found = None
    refused: list[tuple[str, int, Path]] = []
    if not fresh:
        found = find_checkpoint(
            layout.checkpoints, lambda message, step, path: refused.append((message, step, path)), mirror
        )
        for message, _, path in refused:
            warn(f"{message} ({path})")
        _refuse_to_lose(found, [path for _, _, path in refused if path.is_dir()])
    if found is not None:
        try:
            refuse_if_changed(found.info, inputs)
        except TrainError as error:
            if on_change != "restart":
                raise
            warn(f"training starts again: {error.message}")
            found = None
    if found is None and inputs.initial is not None and (damage := find_damage(inputs.initial.path)):
        raise TrainError(f"the weights to start from are damaged: {damage}", found=inputs.initial.path,
                         hint="import them again, or restore them from a copy")  # fmt: skip
    step = found.step if found else 0
    if found is not None:
        refuse_changed_logs(layout.train)
        refuse_changed_data(found, inputs)
    metrics = layout.train / "metrics.jsonl"
    if found is None and mirror is not None:  # before anything here goes: it may not be reached
        mirror.clear()
    # They stay where they are, so that a kill from here on loses none of the steps that a checkpoint rests on.
    evidence = sorted((layout.train / FOLDER).glob("*.jsonl"))
    writer.begin(keep=[layout.train / "losses.jsonl", layout.train / "events.jsonl", metrics, *evidence])
    if found is None:
        _wipe(layout)
    else:
        if mirror is not None and found.fetched:
            warn(f"the checkpoint of step {step} was not here or not whole: it was taken from {mirror.uri}")
        if mirror is not None and session.losses.steps() < step:
            mirror.fetch_logs(layout.train)
        session.losses.truncate(step)
        keep_rows(session.events.path)
    keep_rows(metrics, step)
    for message, refused_step, path in refused:
        session.events.emit("checkpoint_refused", refused_step, path=path.name, reason=message)
    atomic_write(layout.train / "config.yaml", dump_yaml(_recipe(inputs)))
    if mirror is not None:
        # A store that takes nothing is heard of now, and a copy that was interrupted is finished, also of the last one.
        here = {each for each, _ in checkpoint_folders(layout.checkpoints) if each <= step}
        mirror.sync(layout.checkpoints, here | mirror.whole(), layout.train)
    return step if found else None


def _refuse_to_lose(found: Found | None, damaged: Sequence[Path]) -> None:
    """Refuses to start again over checkpoints none of which can be used: one of them may be mended."""
    if found is None and damaged:
        raise TrainError(
            "no checkpoint of this run is whole", found=", ".join(str(path) for path in damaged),
            expected="one to go on from",
            hint="restore one from a copy, or start again with --fresh, which deletes them",
        )  # fmt: skip


def _wipe(layout: RunLayout) -> None:
    settle(layout.checkpoints)
    for _, folder in checkpoint_folders(layout.checkpoints):
        with storage_errors("remove", folder):
            shutil.rmtree(folder)
    shutil.rmtree(layout.train / FOLDER, ignore_errors=True)
    for name in ("losses.jsonl", "events.jsonl"):
        atomic_write(layout.train / name, "")


def _announce(session: Session, trainer: Any, sinks: list[MetricSink], resume_step: int | None, device: str) -> None:
    parameters = trainer.parameter_count()
    if not trainer.is_main:
        return
    kind = "start" if resume_step is None else "resume"
    more = {} if trainer.inputs.initial is None else {"init_from": trainer.inputs.initial.digest}
    session.events.emit(
        kind,
        resume_step or 0,
        parameters=parameters,
        device=device,
        world_size=trainer.parallel_dims.world_size,
        **more,
    )
    session.restarts = sum(event["kind"] == "resume" for event in read_events(session.events.path))
    for sink in sinks:
        url = getattr(sink, "url", None)
        if url:
            session.events.emit("metrics", resume_step or 0, url=url, machine=socket.gethostname())
            print(f"metrics: {url}", file=sys.stderr, flush=True)


def _commit(inputs: Inputs, writer: ArtifactWriter, session: Session, unigram: float | None) -> Manifest:
    folder = inputs.run.train
    rows = read_losses(folder / "losses.jsonl")
    losses = [row["loss"] for row in rows if row["loss"] is not None]
    if not losses:
        raise TrainError(
            "no step of the run had a finite loss: nothing was learned", found=f"{len(rows)} steps",
            hint="look at train.init_from, train.precision and the learning rate, and train again with --fresh",
        )  # fmt: skip
    counters: dict[str, Any] = {
        "steps": rows[-1]["step"], "tokens": rows[-1]["tokens"], "samples": rows[-1]["samples"][1],
        "final_loss": losses[-1],
    }  # fmt: skip
    validations = [event for event in read_events(folder / "events.jsonl") if event["kind"] == "validation"]
    if validations:
        counters["validation_loss"] = validations[-1]["loss"]
        # A rollback undoes validations, and the steps are done again.
        counters["best_validation_loss"] = min({event["step"]: event["loss"] for event in validations}.values())
    if unigram is not None and validations:
        counters["validation_bits_per_byte"] = validations[-1]["bits_per_byte"]
        counters["unigram_bits_per_byte"] = unigram
    files = [folder / "config.yaml", folder / "losses.jsonl", *_average(inputs, rows[-1]["step"])]
    volatile = [folder / "events.jsonl", folder / "metrics.jsonl", *sorted((folder / FOLDER).glob("*.jsonl")),
                *sorted((folder / "profile").glob("*.json*"))]  # fmt: skip
    return writer.commit(counters, files=files, volatile=volatile)


def _average(inputs: Inputs, step: int) -> list[Path]:
    """The averaged weights of a re-weighted run, in a file that is a recipe's `mixture` section."""
    if inputs.config.reweighting is None:
        return []
    info = read_run(inputs.run.checkpoint(step))
    path = inputs.run.train / AVERAGE_FILE
    weights = averaged(info.stages, Skips.of(info.skips).reach(info.samples)) if info.stages else info.weights
    atomic_write(path, dump_yaml({"mixture": {"weights": weights}}))
    return [path]


def _recipe(inputs: Inputs) -> dict[str, Any]:
    return {
        **inputs.base.model_dump(mode="json"), "mixture": inputs.mixture.model_dump(mode="json"),
        "train": inputs.config.model_dump(mode="json"),
    }  # fmt: skip


def _artifact_config(inputs: Inputs) -> dict[str, Any]:
    """What the artifact's identity rests on; where metrics are served is no part of it."""
    return {**_recipe(inputs), "train": recorded(inputs.config)}
