"""The evaluation stage: chooses the checkpoint, runs what is missing, writes the `eval` artifact."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.core.checkpoints import choose_checkpoint
from headwater.core.console import warn
from headwater.core.errors import EvalError
from headwater.core.layout import RunLayout
from headwater.core.lock import exclusive
from headwater.core.manifest import (
    WORK,
    ArtifactWriter,
    Manifest,
    Parent,
    is_artifact,
    parent_of,
    read_manifest,
    unfinished_kind,
)
from headwater.core.storage import atomic_write, file_sha256, is_unfinished, json_digest, storage_errors
from headwater.eval import PRODUCER
from headwater.eval.config import EvalConfig
from headwater.eval.overlap import overlaps_file
from headwater.eval.results import SCHEMA_VERSION, Results

if TYPE_CHECKING:
    from headwater.eval.session import Session

_OWN_TASKS = Path(__file__).parent / "tasks"


@dataclass(frozen=True)
class Evaluation:
    """What the stage made or found.

    Attributes:
        folder: The artifact's folder.
        manifest: Its manifest.
        results: The content of its `results.json`.
        fresh: False when it was up to date already.
        sandbox: Where generated code ran, or None when no task had any. No score depends on it, so it stands in
            `timing.json` and not in `results.json`, whose bytes are the same everywhere.
    """

    folder: Path
    manifest: Manifest
    results: Results
    fresh: bool
    sandbox: str | None = None


def run_eval(
    run: RunLayout,
    config: EvalConfig,
    *,
    data_dir: Path | None = None,
    checksum_file: Path | None = None,
    include: Sequence[Path] = (),
    output: Path | None = None,
) -> Evaluation:
    """Evaluates one checkpoint of a run.

    Finished tasks are kept when the stage is killed; the same call then goes on with the others.

    Args:
        run: The run folder.
        config: The `eval` section.
        data_dir: Folder with the data of real benchmarks (see `headwater.eval.data_dir`); by default the recipe's.
        checksum_file: Its checksums; by default `SHA256SUMS` in it, if it is there.
        include: Folders of lm-eval task files, besides Headwater's and lm-eval's own.
        output: The artifact's folder; by default `RUN/eval`.

    Raises:
        EvalError: No such checkpoint, a tokenizer that does not match, a task that cannot be loaded.
        ManifestError: An artifact that is needed is missing, half-written or damaged.
        ConfigError: A task that does not exist.
        StorageError: Another process is writing the folder.
    """
    folder = output or run.eval
    if output is not None and output.resolve() != run.eval.resolve():
        _require_own(folder)
    checkpoint = choose_checkpoint(run, config.checkpoint)
    with exclusive(folder):
        return _evaluate(run, config, checkpoint, data_dir or config.data_folder, checksum_file, include, folder)


def open_eval(run: RunLayout, config: EvalConfig, *, output: Path) -> Path | None:
    """Opens an evaluation that several processes share: its work folder, or None when it is up to date.

    See `run_eval` for the arguments and what it raises; `run_share` runs some of its tasks, and `run_eval` the rest.
    """
    with exclusive(output):
        writer, _, _ = _writer(run, config, choose_checkpoint(run, config.checkpoint), config.data_folder, (), output)
        return None if writer.up_to_date() is not None else writer.open_work()


def run_share(run: RunLayout, config: EvalConfig, work: Path, part: int, parts: int) -> None:
    """Runs every `parts`-th task, the first of them number `part`, into the work folder of an open evaluation."""
    from headwater.eval.harness.environment import prepare
    from headwater.eval.sandbox import sandbox_problem

    prepare(config.hub)
    from headwater.eval.session import Session

    checkpoint = choose_checkpoint(run, config.checkpoint)
    session = Session(run, config, checkpoint, work, config.data_folder, None, (), sandbox_problem())
    session.run_tasks(part, parts)


def _evaluate(
    run: RunLayout,
    config: EvalConfig,
    checkpoint: Path,
    data_dir: Path | None,
    checksum_file: Path | None,
    include: Sequence[Path],
    folder: Path,
) -> Evaluation:
    writer, settings, problem = _writer(run, config, checkpoint, data_dir, include, folder)
    if (manifest := writer.up_to_date()) is not None:
        return Evaluation(folder, manifest, read_results(folder), fresh=False, sandbox=_read_sandbox(folder))
    _tell_of_older(folder)
    # Earlier results stay until the new ones are there: a misspelt task must not cost hours.
    work = writer.open_work()

    from headwater.eval.harness.environment import prepare

    # Before anything else: the libraries read these settings when they are imported.
    prepare(config.hub)
    from headwater.eval.session import Session

    started = time.monotonic()
    session = Session(run, config, checkpoint, work, data_dir, checksum_file, include, problem)
    results = session.results(settings)
    writer.begin()
    _publish(folder, work, results, session, time.monotonic() - started)
    manifest = writer.commit(_counters(results), volatile=[folder / "timing.json"])
    return Evaluation(folder, manifest, results, fresh=True, sandbox=session.sandbox)


def _writer(
    run: RunLayout,
    config: EvalConfig,
    checkpoint: Path,
    data_dir: Path | None,
    include: Sequence[Path],
    folder: Path,
) -> tuple[ArtifactWriter, dict[str, Any], str | None]:
    """The artifact's writer, what decides the results, and why generated code cannot run here."""
    from headwater.eval.sandbox import sandbox_problem

    problem = sandbox_problem()
    settings = _settings(config, checkpoint, data_dir, include, sandbox=problem is None)
    writer = ArtifactWriter(
        folder,
        kind="eval",
        name=checkpoint.name,
        producer=PRODUCER,
        config=settings,
        parents=_parents(run, config, checkpoint, folder),
    )
    return writer, settings, problem


def _tell_of_older(folder: Path) -> None:
    """Says why what is there already is measured again, where only this package has changed."""
    try:
        found = read_results(folder).schema_version
    except (OSError, ValueError):
        return
    if found != SCHEMA_VERSION:
        warn(f"{folder} was made before samples held their questions and choices: it is evaluated again")


def _require_own(folder: Path) -> None:
    """Refuses a folder that holds something else: it would be written over."""
    with storage_errors("read", folder):
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set[str]()
        begun = {path.name for path in (folder / WORK).iterdir()} if (folder / WORK).is_dir() else set[str]()
    # A kill may have come before the work had its mark.
    if not names - {WORK} and all(map(is_unfinished, begun)):
        return
    kind = unfinished_kind(folder)
    if kind is None and is_artifact(folder):
        kind = read_manifest(folder).kind
    elif kind not in (None, "eval"):
        kind = f"unfinished work on an artifact of kind {kind}"
    if kind != "eval":
        raise EvalError(
            f"results cannot be written to {folder}: it holds something else",
            found=kind or "other files",
            expected="an empty folder, or an earlier evaluation",
            hint="give another folder with --output",
        )


def _settings(
    config: EvalConfig, checkpoint: Path, data_dir: Path | None, include: Sequence[Path], *, sandbox: bool
) -> dict[str, Any]:
    """Everything that decides the results and is no parent artifact. Holds no path: folders may move."""
    settings: dict[str, Any] = {"eval": config.model_dump(mode="json", exclude={"data_dir", "every"})}
    if config.checkpoint not in ("best", "last") and not config.checkpoint.isdigit():
        settings["eval"]["checkpoint"] = checkpoint.name
    # A suite's name says nothing of what it held on the day.
    settings["eval"]["tasks"] = list(config.asked)
    if config.suite is not None:
        settings["suite"] = {name: how.model_dump(mode="json") for name, how in config.asked.items()}
    settings["schema_version"] = SCHEMA_VERSION
    settings["sandbox"] = sandbox
    settings["lm_eval"] = version("lm-eval")
    settings["own_tasks"] = _tree_digest(_OWN_TASKS)
    if not is_artifact(checkpoint):
        settings["model_files"] = _tree_digest(checkpoint)
    if include:
        settings["include_files"] = [_tree_digest(folder) for folder in include]
    if data_dir is not None:
        settings["data_files"] = _data_digest(data_dir, tuple(config.asked))
    return settings


def _data_digest(data_dir: Path, tasks: tuple[str, ...]) -> dict[str, str]:
    if not data_dir.is_dir():
        raise EvalError(
            f"the data folder {data_dir} does not exist",
            hint="give an existing folder with --data-dir or eval.data_dir (relative to the working directory)",
        )
    families = sorted({task.partition("_")[0] for task in tasks})
    return {name: _tree_digest(data_dir / name) for name in (*families, "hub") if (data_dir / name).is_dir()}


def _tree_digest(folder: Path) -> str:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return json_digest([[p.relative_to(folder).as_posix(), file_sha256(p)] for p in files])


def _parents(run: RunLayout, config: EvalConfig, checkpoint: Path, folder: Path) -> list[Parent]:
    parents: list[Parent] = []
    if is_artifact(checkpoint):
        parents.append(parent_of(folder, checkpoint, "checkpoint"))
    if is_artifact(run.tokenizer):
        parents.append(parent_of(folder, run.tokenizer, "tokenizer"))
    if is_artifact(run.items):
        parents.append(parent_of(folder, run.items, "items"))
        if config.asked and overlaps_file(run, checkpoint) is not None:
            parents.append(parent_of(folder, run.documents, "documents"))
    if config.bits_per_byte and run.tokens_root.is_dir():
        sources = sorted(path for path in run.tokens_root.iterdir() if is_artifact(path))
        parents += [parent_of(folder, path, f"tokens/{path.name}") for path in sources]
    return parents


def _publish(folder: Path, work: Path, results: Results, session: "Session", seconds: float) -> None:
    """Moves the finished parts out of the work folder, which the commit then removes."""
    samples = folder / "samples"
    with storage_errors("create", samples):
        samples.mkdir(exist_ok=True)
    for path in sorted((work / "samples").glob("*.jsonl")):
        atomic_write(samples / path.name, path.read_bytes())
    atomic_write(folder / "results.json", results.model_dump_json(indent=1) + "\n")
    timing = {"seconds": round(seconds, 3), "stages": session.timing, "sandbox": session.sandbox}
    atomic_write(folder / "timing.json", json.dumps(timing, indent=1) + "\n")


def _counters(results: Results) -> dict[str, Any]:
    leaves = [score for score in results.tasks if not score.group]
    return {
        "tasks": len({score.task for score in leaves}),
        "items": sum({score.task: score.items for score in leaves}.values()),
        "truncated": sum({score.task: score.truncated for score in leaves}.values()),
        "refused": len(results.refused),
        "held_out_bytes": results.bits_per_byte.bytes if results.bits_per_byte else 0,
    }


def read_results(folder: Path) -> Results:
    """The results in the folder of a finished evaluation.

    Raises:
        pydantic.ValidationError: They are of another schema, or no JSON.
        OSError: They cannot be read.
    """
    return Results.model_validate_json((folder / "results.json").read_bytes())


def _read_sandbox(folder: Path) -> str | None:
    return json.loads((folder / "timing.json").read_bytes()).get("sandbox")
