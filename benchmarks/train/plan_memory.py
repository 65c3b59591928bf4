"""The planner's memory against the models that the trainer builds: bytes of weights, gradients and optimizer state.

    python benchmarks/train/plan_memory.py [--quick]

Each layout is built on the meta device under a fake process group, as rank 0 and as the last rank have it, up to 1,024
ranks; nothing is allocated. Prints bytes of both and their ratio.
"""

from __future__ import annotations

import argparse
from typing import Any

from headwater.core.console import table
from headwater.train.config import TrainConfig
from headwater.train.plan.memory import local_parameters
from headwater.train.plan.recipe import job_of_config
from headwater.train.plan.sizes import model_of, shape_of
from headwater.train.titan import dry_run

STATES = 16
"""Bytes of a parameter in float32, of its gradient and of Adam's two moments."""

LAYOUTS: list[tuple[str, str, dict[str, Any]]] = [
    ("llama3", "125m", {"dp_shard": 8}),
    ("llama3", "8b", {"dp_shard": 64}),
    ("llama3", "8b", {"dp_replicate": 16, "dp_shard": 64}),
    ("llama3", "8b", {"dp_shard": 8, "tp": 2, "pp": 4, "schedule": "ZBVZeroBubble"}),
    ("qwen3", "8b", {"dp_replicate": 2, "dp_shard": 4, "cp": 2, "tp": 4}),
    ("llama3", "70b", {"dp_shard": 256, "tp": 2}),
    ("llama3", "70b", {"dp_shard": 32, "tp": 8, "pp": 4}),
    ("llama3", "405b", {"dp_shard": 128, "tp": 8}),
    ("deepseek_v3", "16b", {"dp_shard": 8, "ep": 8}),
    ("deepseek_v3", "16b", {"dp_shard": 64, "tp": 2, "ep": 16}),
]


def main() -> None:
    """Builds the layouts and prints the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="only models below 10 billion parameters")
    quick = options.parse_args().quick
    rows: list[list[Any]] = []
    for family, size, parallel in LAYOUTS:
        if quick and float(size[:-1]) * (1e-3 if size.endswith("m") else 1) > 9:
            continue
        model = model_of(size, family)
        config = TrainConfig(
            model=model, seq_len=8192, global_batch=1024, micro_batch=1, precision="bfloat16", parallel=parallel  # pyright: ignore[reportArgumentType]
        )  # fmt: skip
        layout, shape = config.parallel, shape_of(model, 8192)
        job = job_of_config(config, shape.vocab_size)
        for rank in (0, layout.world_size - 1):
            stage = rank * layout.pp // layout.world_size
            dense, experts = local_parameters(job, stage)
            planned = STATES * (dense / job.degrees.shards + experts / job.degrees.expert_shards)
            built = STATES * dry_run.local_parameters(config, shape, rank)
            named = ", ".join(f"{name} {value}" for name, value in parallel.items())
            rows.append([f"{family} {size}", named, layout.world_size, rank, f"{built:,.0f}", f"{planned:,.0f}",
                         f"{planned / built - 1:+.1e}" if planned != built else "0"])  # fmt: skip
    table(["model", "layout", "ranks", "rank", "bytes built", "planned", "difference"], rows)


if __name__ == "__main__":
    main()
