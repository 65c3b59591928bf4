"""Which checkpoint of a run is meant: the best, the last, or that of a step."""

from __future__ import annotations

from pathlib import Path

from headwater.core.errors import ManifestError
from headwater.core.layout import RunLayout
from headwater.core.manifest import is_artifact
from headwater.core.run import read_run


def choose_checkpoint(run: RunLayout, wanted: str) -> Path:
    """The folder of the wanted checkpoint.

    Args:
        run: The run folder.
        wanted: `best` (lowest validation loss; the latest one when none was measured), `last`, a step, or a path.

    Raises:
        ManifestError: There is no such checkpoint, or a finished one of another schema version is in the way of `best`.
    """
    if wanted not in ("best", "last") and not wanted.isdigit():
        path = Path(wanted)
        if not path.is_dir():
            raise ManifestError(
                f"there is no checkpoint {wanted}", expected="best, last, a step, or the path of a folder",
                hint=f"a model of the Hugging Face hub is read from a folder: hf download {wanted} --local-dir DIR"
                if wanted.count("/") == 1 and not wanted.startswith((".", "/", "~")) else None,
            )  # fmt: skip
        return path
    # A folder without a manifest is a checkpoint whose writing was interrupted: not one to use.
    finished = sorted(path for path in run.checkpoints.glob("step-*") if is_artifact(path))
    if not finished:
        raise ManifestError(f"{run.checkpoints} holds no finished checkpoint", hint="run: headwater train run")
    if wanted.isdigit():
        path = run.checkpoint(int(wanted))
        if path not in finished:
            names = ", ".join(str(int(p.name.removeprefix("step-"))) for p in finished)
            raise ManifestError(
                f"there is no finished checkpoint of step {wanted}", expected=f"one of the steps {names}"
            )
        return path
    if wanted == "last":
        return finished[-1]
    try:
        losses = [(read_run(path).validation_loss, path) for path in finished]
    except ManifestError as error:
        error.hint = f"{error.hint or ''}; or name a checkpoint with --checkpoint".lstrip("; ")
        raise
    measured = [(loss, path) for loss, path in losses if loss is not None]
    return min(measured)[1] if measured else finished[-1]
