"""One process of a group: trains jobs as `resume_worker` does, with figures of the ranks told at once.

The rank that a job names as `slow` waits for each of its micro-batches, which are read one at a time.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import resume_worker

from headwater.train import ranks
from headwater.train.batches import read_batches

WAIT_SECONDS = 0.1


def main(jobs: Path) -> None:
    ranks.EVERY_SECONDS = 0.2
    from headwater.train import titan

    titan.start("cpu", int(os.environ.get("WORLD_SIZE", "1")), 1)
    from headwater.train.titan import loader

    loader.READ_TOGETHER = 1

    def slow(*arguments):
        time.sleep(WAIT_SECONDS)
        return read_batches(*arguments)

    rank = int(os.environ.get("RANK", "0"))
    for number, job in enumerate(json.loads(jobs.read_text())):
        loader.read_batches = slow if job.get("slow") == rank else read_batches
        alone = jobs.with_name(f"{jobs.stem}-{number}-{rank}.json")
        alone.write_text(json.dumps([job]))
        resume_worker.main(alone)
    titan.stop()
