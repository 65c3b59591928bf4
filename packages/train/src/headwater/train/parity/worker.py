"""One process of a launch: trains one layout after another, all of one number of processes.

Started by torchrun: `-m headwater.train.parity.worker JOBS`, where JOBS is a JSON list of objects with the keys
`recipe`, `run`, `overrides` and `fresh`, as `runner.train` takes them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

# Read once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def main(path: str) -> None:
    """Runs the jobs of a file in order; what fails ends the process."""
    from headwater.core.config import load_section
    from headwater.train import titan
    from headwater.train.config import TrainConfig
    from headwater.train.runner import train

    jobs = json.loads(Path(path).read_bytes())
    config = load_section("train", TrainConfig, jobs[0]["recipe"], jobs[0]["overrides"])
    # Starting processes takes longer than a short training does.
    titan.start(titan.choose_device(config.device), config.parallel.world_size, config.threads)
    for job in jobs:
        train(job["recipe"], Path(job["run"]), job["overrides"], fresh=job["fresh"])
    titan.stop()


if __name__ == "__main__":
    main(sys.argv[1])
