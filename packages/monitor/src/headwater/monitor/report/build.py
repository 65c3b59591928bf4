"""Writes the report artifact: `RUN/report/report.html`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater.core.config import load_section, nearest
from headwater.core.errors import ConfigError, ManifestError
from headwater.core.layout import RunLayout
from headwater.core.lock import exclusive
from headwater.core.manifest import ArtifactWriter, Parent, parent_of, read_manifest
from headwater.core.storage import atomic_write

from .. import __version__
from ..config import Report
from .commands import reproduce
from .read import read_run_view
from .render import render
from .view import RunView

PAGE = "report.html"


@dataclass(frozen=True)
class Built:
    """What `build_report` did."""

    path: Path
    view: RunView
    fresh: bool


def build_report(recipe: str, run: RunLayout, overrides: Sequence[str] = ()) -> Built:
    """Reads the run and writes its page, unless the page already shows exactly this.

    The page itself is volatile (it shows timings and the folder it was made from), so it is no part of the digest.

    Raises:
        ConfigError: The recipe is not valid, or the folder holds nothing of a run.
        StorageError: The disk refused, or another process is writing the page.
    """
    config = load_section("report", Report, recipe, overrides)
    _check_run(run)
    view = read_run_view(run, recipe, overrides)
    writer = ArtifactWriter(
        run.report, kind="report", name="report", producer=f"headwater-monitor {__version__}",
        config=config.model_dump(mode="json"), parents=report_parents(run),
    )  # fmt: skip
    page = run.report / PAGE
    html = render(view, title=config.title, theme=config.theme, again=reproduce(run, recipe, overrides))
    if writer.up_to_date() is not None and page.read_text(encoding="utf-8") == html:
        return Built(page, view, fresh=False)
    with exclusive(run.report):
        writer.begin()
        atomic_write(page, html)
        writer.commit({"artifacts": len(view.lineage)}, files=[], volatile=[page])
    return Built(page, view, fresh=True)


def _check_run(run: RunLayout) -> None:
    """Refuses a folder that no stage has written to: most likely a misspelt `--run`."""
    if run.is_begun():
        return
    found = "no such folder"
    if run.root.is_dir():
        inside = sorted(path.name for path in run.root.iterdir())
        found = (
            f"a folder with {', '.join(inside[:5])}{', …' if len(inside) > 5 else ''}" if inside else "an empty folder"
        )
    beside = [path for path in run.root.absolute().parent.glob("*") if path.is_dir() and RunLayout(path).is_begun()]
    near = nearest(run.root.name, [path.name for path in beside])
    raise ConfigError(
        f"there is no run in {run.root}", found=found, expected="a folder that a stage has written to",
        hint=f"did you mean {run.root.parent / near}?" if near
        else f"give the folder of a run, or make one: headwater line run RECIPE --run {run.root}",
    )  # fmt: skip


def report_parents(run: RunLayout) -> list[Parent]:
    """The finished artifacts that the page is about; one that cannot be read is named on the page instead."""
    named = [("documents", run.documents), ("training", run.train), ("eval", run.eval)]
    named += [(f"tokens/{folder.name}", folder) for folder in sorted(run.tokens_root.glob("*"))]
    checkpoint = evaluated_checkpoint(run)
    if checkpoint is not None:
        named.append(("checkpoint", checkpoint))
    return [parent_of(run.report, folder, role) for role, folder in named if _readable(folder)]


def evaluated_checkpoint(run: RunLayout) -> Path | None:
    """The checkpoint that the scores are of, or the newest when nothing was evaluated yet."""
    if _readable(run.eval):
        for parent in read_manifest(run.eval).parents:
            if parent.kind == "checkpoint":
                return (run.eval / parent.path).resolve()
    finished = [folder for folder in sorted(run.checkpoints.glob("step-*")) if _readable(folder)]
    return finished[-1] if finished else None


def _readable(folder: Path) -> bool:
    try:
        read_manifest(folder)
    except ManifestError:
        return False
    return True
