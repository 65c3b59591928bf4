"""One process: trains jobs in order, each from its start or from half of another's run, on another layout.

A job with `after` goes on from the first checkpoint of that run folder.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch.distributed as dist

from headwater.core.layout import RunLayout
from headwater.train import titan
from headwater.train.resume import checkpoint_folders
from headwater.train.runner import open_run, train


def rewind(source: Path, target: Path) -> None:
    """As a kill after the first checkpoint leaves a run."""
    shutil.copytree(source, target, symlinks=True)
    run = RunLayout(target)
    (run.train / "manifest.json").unlink()
    for _, folder in checkpoint_folders(run.checkpoints)[1:]:
        shutil.rmtree(folder)


def main(jobs: Path) -> None:
    todo = json.loads(jobs.read_text())
    config = open_run(todo[0]["recipe"], Path(todo[0]["data"]), todo[0]["overrides"]).config
    titan.start("cpu", config.parallel.world_size, 1)
    for job in todo:
        run = Path(job["run"])
        if dist.get_rank() == 0:
            if "after" in job:
                rewind(Path(job["after"]), run)
            else:
                run.mkdir(parents=True)
                for name in ("tokenizer", "tokens"):
                    (run / name).symlink_to(Path(job["data"]) / name)
        dist.barrier()
        train(job["recipe"], run, job["overrides"])
    titan.stop()
