"""From which checkpoint a run goes on, and whether it may."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from headwater.core.console import warn
from headwater.core.errors import ManifestError, TrainError
from headwater.core.layout import RunLayout
from headwater.core.manifest import MANIFEST, changed_files, is_artifact, read_manifest
from headwater.core.mixture import Mixture
from headwater.core.run import RunInfo, StageInfo, read_run
from headwater.core.storage import file_sha256, storage_errors
from headwater.train.config import NEUTRAL, TrainConfig, identity
from headwater.train.inputs import Inputs
from headwater.train.mirror import Mirror

_STEP = re.compile(r"step-(\d{8})")


@dataclass(frozen=True)
class Found:
    """A whole checkpoint: its step, folder and `run.json`, and whether it was just taken from the mirror."""

    step: int
    path: Path
    info: RunInfo
    fetched: bool = False


def checkpoint_folders(folder: Path) -> list[tuple[int, Path]]:
    """Every checkpoint folder, finished or not, in order of step."""
    if not folder.is_dir():
        return []
    matched = [(_STEP.fullmatch(path.name), path) for path in folder.iterdir()]
    return sorted((int(match.group(1)), path) for match, path in matched if match and path.is_dir())


def replacement(folder: Path) -> Path:
    """Where a checkpoint is written that will take the place of a whole one of its step."""
    return folder.with_name(f"{folder.name}.new")


def replace(folder: Path) -> None:
    """Puts the replacement of a checkpoint in its place; `settle` finishes it after a kill in between."""
    old = folder.with_name(f"{folder.name}.old")
    with storage_errors("replace", folder):
        folder.rename(old)
        replacement(folder).rename(folder)
        shutil.rmtree(old)


def settle(checkpoints: Path) -> None:
    """Finishes or undoes the replacements of checkpoints that a kill interrupted."""
    for new in sorted(checkpoints.glob("step-*.new")):
        folder = new.with_suffix("")
        with storage_errors("replace", folder):
            if not folder.exists() and is_artifact(new):
                new.rename(folder)
            else:
                shutil.rmtree(new)
    for old in checkpoints.glob("step-*.old"):
        with storage_errors("remove", old):
            shutil.rmtree(old)


Say = Callable[[str, int, Path], None]
"""Called with a message, the step and the folder of a checkpoint that is not used."""


def find_checkpoint(folder: Path, say: Say, mirror: Mirror | None = None) -> Found | None:
    """The newest checkpoint that is whole, every byte of it, here or in the mirror.

    A folder without a manifest is what an interrupted save left: it is removed. One with a damaged file is passed
    over. Nothing of a checkpoint is unpickled before its checksums have been compared.

    Args:
        folder: The folder of checkpoints.
        say: Called for each that is not used.
        mirror: Where there are copies; one that is used is copied into the folder.

    Raises:
        ManifestError: The newest whole checkpoint has another schema version.
        StorageError: The mirror cannot be read.
    """
    settle(folder)
    copies = mirror.steps() if mirror is not None else {}
    here = dict(checkpoint_folders(folder))
    for step in sorted({*here, *copies}, reverse=True):
        if step in here and _is_usable(step, here[step], say):
            return Found(step, here[step], read_run(here[step]))
        if mirror is not None and step in copies:
            path = folder / f"step-{step:08d}"
            if MANIFEST not in copies[step]:
                mirror.remove(step)
                say(f"removed a copy in {mirror.uri} that was not finished", step, path)
                continue
            mirror.fetch(step, path)
            if _is_usable(step, path, say):
                return Found(step, path, read_run(path), fetched=True)
    return None


def _is_usable(step: int, path: Path, say: Say) -> bool:
    if not is_artifact(path):
        with storage_errors("remove", path):
            shutil.rmtree(path)
        say("removed a checkpoint that was not finished when the run was interrupted", step, path)
        return False
    damage = find_damage(path)
    if damage:
        say(f"passed over a damaged checkpoint: {damage}", step, path)
    return not damage


def last_is_whole(run: RunLayout, steps: int) -> bool:
    """Whether the checkpoint after the last step is there as it was written; warns of every one that is not.

    Args:
        run: The run folder.
        steps: The steps of the whole run.
    """
    whole = is_artifact(run.checkpoint(steps))
    for step, path in checkpoint_folders(run.checkpoints):
        damage = _quick_damage(path)
        if damage is None:
            continue
        if step == steps:
            warn(f"the checkpoint {path} is damaged ({damage}): training goes on from the one before it")
            whole = False
        else:
            warn(
                f"the checkpoint {path} is damaged ({damage}): restore it, or delete it and go on without it; "
                "headwater verify names everything that was changed"
            )
    return whole


def _quick_damage(path: Path) -> str | None:
    """What is wrong with a finished checkpoint, as far as it shows without hashing files that nobody touched."""
    if not is_artifact(path):
        return None
    try:
        changed = changed_files(path)
    except ManifestError as error:
        return error.message
    return f"{', '.join(changed)} changed after it was written" if changed else None


def refuse_changed_data(found: Found, inputs: Inputs) -> None:
    """Refuses to go on with a tokenizer or tokens that somebody wrote into since the checkpoint.

    Raises:
        TrainError: Naming the first file whose bytes are not those of its manifest.
    """
    if found.fetched:  # on a machine that has just been given them
        return
    since = (found.path / MANIFEST).stat().st_mtime_ns
    for folder in (inputs.run.tokenizer, *map(inputs.run.tokens, inputs.token_digests)):
        if changed := changed_files(folder, since):
            raise TrainError(
                f"{folder / changed[0]} was changed since the checkpoint of step {found.step}",
                found=", ".join(changed), expected="the bytes that its manifest lists",
                hint="restore it from a copy; or make the tokens again, and train with --fresh",
            )  # fmt: skip


def refuse_changed_logs(folder: Path) -> None:
    """Refuses to go on with the logs of a finished run when one was changed: its new manifest would vouch for that.

    Raises:
        TrainError: Naming the file.
    """
    if not is_artifact(folder):
        return
    try:
        changed = [name for name in changed_files(folder) if name.endswith(".jsonl") and (folder / name).is_file()]
    except ManifestError:
        return  # no list to compare with
    if changed:
        raise TrainError(
            f"{folder / changed[0]} was changed after the run was finished", found=", ".join(changed),
            expected="the files as training wrote them", hint="restore them from a copy, or train again with --fresh",
        )  # fmt: skip


def find_damage(path: Path) -> str | None:
    """What is wrong with a checkpoint's files, or nothing.

    Raises:
        ManifestError: The checkpoint is of another schema version, which is not damage.
    """
    try:
        manifest = read_manifest(path)
    except ManifestError as error:
        if "schema version" in error.message:
            raise
        return error.message
    for entry in manifest.files:
        file = path / entry.path
        if not file.is_file():
            return f"{entry.path} is missing"
        if file.stat().st_size != entry.bytes or file_sha256(file) != entry.sha256:
            return f"{entry.path} does not have the checksum that its manifest lists"
    listed = {entry.path for entry in manifest.files}
    unlisted = sorted({".metadata", *(file.name for file in path.glob("*.distcp"))} - listed)
    return f"{unlisted[0]} is not listed in its manifest" if unlisted else None


def refuse_if_changed(info: RunInfo, inputs: Inputs) -> None:
    """Refuses to go on when something that decides the run was changed since the checkpoint.

    Raises:
        TrainError: Naming the first key that differs, what it was, and what it is.
    """
    was: dict[str, Any] = {
        "train": _identity_of(info.config),
        "seed": info.seed, "mixture": _began_with(info, inputs),
        "tokenizer": info.tokenizer_digest, "tokens": info.tokens, "init_from": info.init_digest,
    }  # fmt: skip
    now: dict[str, Any] = {
        "train": identity(inputs.config), "seed": inputs.base.seed,
        "mixture": {
            "weights": inputs.mixture.normalised(), "stages": _stages(inputs.stages), "block": inputs.mixture.block,
        },
        "tokenizer": inputs.tokenizer_digest, "tokens": inputs.token_digests,
        "init_from": inputs.initial.digest if inputs.initial else None,
    }  # fmt: skip
    before, after = _flat(was), _flat(now)
    differ = (key for key in {*before, *after} if before.get(key) != after.get(key))
    # What another name brings with it comes after the name.
    changed = sorted(differ, key=lambda key: (not key.endswith((".name", ".kind")), key))
    if changed:
        more = f" (and {len(changed) - 1} more: {', '.join(changed[1:6])})" if len(changed) > 1 else ""
        raise TrainError(
            f"this run was started with another {changed[0]}{more}",
            found=after.get(changed[0], "nothing"), expected=before.get(changed[0], "nothing"),
            hint="set it back to go on with the run, use another --run folder, or train from the start with --fresh",
        )  # fmt: skip


def _identity_of(recorded: dict[str, Any]) -> dict[str, Any]:
    """What decides a run, as a checkpoint recorded it. Keys that came later have their defaults."""
    try:
        return identity(TrainConfig.model_validate(recorded))
    except ValidationError:  # a key that is no more: the comparison names it
        return {key: value for key, value in recorded.items() if key not in NEUTRAL}


def _began_with(info: RunInfo, inputs: Inputs) -> dict[str, Any]:
    """The mixture that a checkpoint's run began with: what re-weighting has made of it since is no change of recipe."""
    weights, stages = info.weights, info.stages
    if inputs.config.reweighting is not None and stages:
        weights, stages = Mixture(weights=stages[0].weights).normalised(), []
    return {"weights": weights, "stages": _stages(stages), "block": info.block}


def _stages(stages: Sequence[StageInfo]) -> dict[str, Any]:
    return {str(place): stage.model_dump() for place, stage in enumerate(stages)}


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat.update(_flat(item, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = list(item) if isinstance(item, tuple) else item
    return flat


def remove_checkpoint(folder: Path) -> None:
    """Deletes a checkpoint if it is here, its manifest first, so that a kill in between leaves no broken artifact."""
    if folder.is_dir():
        with storage_errors("delete", folder):
            (folder / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(folder)


def is_between(info: RunInfo) -> bool:
    """Whether a checkpoint is of a step at which the recipe asks for none: SIGTERM came, or the run ended early.

    The guard does not go back to one, and none makes another go. So what a run does does not depend on where it was
    stopped.
    """
    return info.step % int(info.config["checkpoint"]["every"]) != 0 and info.step != info.steps_planned


def to_delete(
    steps: list[tuple[int, float | None]], keep_last: int, keep_best: int, keep_every: int = 0,
    between: Collection[int] = (),
) -> list[int]:  # fmt: skip
    """Which checkpoints go: all but the newest, the best by validation loss, and those of certain steps.

    Args:
        steps: Step and validation loss (none if it was not measured) of every whole checkpoint.
        keep_last: How many of the newest stay.
        keep_best: How many of the best stay; of two equal ones the older.
        keep_every: Those whose step is a multiple of it stay for good; 0: none.
        between: Those of `is_between`: the newest checkpoint of all stays besides, others of them go.
    """
    ordered = [step for step, _ in sorted(steps)]
    newest = {*[step for step in ordered if step not in between][-keep_last:], *ordered[-1:]}
    measured = sorted((loss, step) for step, loss in steps if loss is not None)
    best = {step for _, step in measured[:keep_best]}
    marked = {step for step, _ in steps if keep_every and step % keep_every == 0}
    return sorted(step for step, _ in steps if step not in newest | best | marked)
