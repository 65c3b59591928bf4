"""The layouts that are compared, and the recipe that they train by default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from headwater.core.run import Experts, LatentAttention

GLOBAL_BATCH = 8
VOCAB = 128


@dataclass(frozen=True)
class Layout:
    """One layout.

    Attributes:
        name: As on the command line.
        parallel: Values of `train.parallel`.
        experts: Whether it needs a mixture of experts.
    """

    name: str
    parallel: dict[str, Any] = field(default_factory=dict)
    experts: bool = False

    @property
    def overrides(self) -> list[str]:
        """Dotted overrides of a recipe."""
        return [f"train.parallel.{key}={value}" for key, value in self.parallel.items()]

    @property
    def micro_batch(self) -> int:
        """Samples in a forward pass with the built-in recipe: one in a pipeline, else so many that a step takes two."""
        data_parallel = self.parallel.get("dp_replicate", 1) * self.parallel.get("dp_shard", 1)
        return 1 if "pp" in self.parallel else max(1, GLOBAL_BATCH // data_parallel // 2)

    @property
    def processes(self) -> int:
        """How many processes it takes."""
        count = 1
        for name in ("dp_replicate", "dp_shard", "tp", "pp", "cp"):
            count *= self.parallel.get(name, 1)
        return count


def _layouts() -> list[Layout]:
    dense: dict[str, dict[str, Any]] = {
        "one": {},
        "ddp2": {"dp_replicate": 2}, "ddp4": {"dp_replicate": 4},
        "fsdp2": {"dp_shard": 2}, "fsdp4": {"dp_shard": 4}, "fsdp8": {"dp_shard": 8},
        "fsdp2-zero1": {"dp_shard": 2, "zero": 1}, "fsdp2-zero2": {"dp_shard": 2, "zero": 2},
        "hsdp2x2": {"dp_replicate": 2, "dp_shard": 2}, "hsdp2x4": {"dp_replicate": 2, "dp_shard": 4},
        "tp2": {"tp": 2}, "tp4": {"tp": 4}, "tp8": {"tp": 8},
        "cp2": {"cp": 2}, "cp4": {"cp": 4}, "cp8": {"cp": 8},
        "pp2": {"pp": 2}, "pp4": {"pp": 4}, "pp8": {"pp": 8},
        "pp2-gpipe": {"pp": 2, "schedule": "GPipe"},
        "pp2-interleaved": {"pp": 2, "schedule": "Interleaved1F1B"},
        "pp2-bfs": {"pp": 2, "schedule": "LoopedBFS"},
        "pp2-zerobubble": {"pp": 2, "schedule": "InterleavedZeroBubble"},
        "pp2-zbv": {"pp": 2, "schedule": "ZBVZeroBubble"},
        "pp4-interleaved": {"pp": 4, "schedule": "Interleaved1F1B"},
        "pp4-zerobubble": {"pp": 4, "schedule": "InterleavedZeroBubble"},
        "pp4-zbv": {"pp": 4, "schedule": "ZBVZeroBubble"},
        "pp2-rounds2": {"pp": 2, "micro_batches": 4},
        "ddp2tp2": {"dp_replicate": 2, "tp": 2}, "fsdp2tp2": {"dp_shard": 2, "tp": 2},
        "ddp2cp2": {"dp_replicate": 2, "cp": 2}, "fsdp2cp2": {"dp_shard": 2, "cp": 2},
        "ddp2pp2": {"dp_replicate": 2, "pp": 2}, "fsdp2pp2": {"dp_shard": 2, "pp": 2},
        "fsdp2pp2-zero3": {"dp_shard": 2, "pp": 2, "zero": 3},
        "fsdp2pp2-zbv": {"dp_shard": 2, "pp": 2, "schedule": "ZBVZeroBubble"},
        "tp2cp2": {"tp": 2, "cp": 2}, "tp2pp2": {"tp": 2, "pp": 2}, "cp2pp2": {"cp": 2, "pp": 2},
        "hsdp2x2tp2": {"dp_replicate": 2, "dp_shard": 2, "tp": 2},
        "hsdp2x2pp2": {"dp_replicate": 2, "dp_shard": 2, "pp": 2},
        "hsdp2x2cp2": {"dp_replicate": 2, "dp_shard": 2, "cp": 2},
        "fsdp2tp2pp2": {"dp_shard": 2, "tp": 2, "pp": 2}, "fsdp2cp2tp2": {"dp_shard": 2, "cp": 2, "tp": 2},
        "fsdp2cp2pp2": {"dp_shard": 2, "cp": 2, "pp": 2}, "cp2tp2pp2": {"cp": 2, "tp": 2, "pp": 2},
        "fsdp2tp2pp2-interleaved": {"dp_shard": 2, "tp": 2, "pp": 2, "schedule": "Interleaved1F1B"},
        "fsdp2tp2pp2-zbv": {"dp_shard": 2, "tp": 2, "pp": 2, "schedule": "ZBVZeroBubble"},
    }  # fmt: skip
    mixed: dict[str, dict[str, Any]] = {
        "ep2": {"dp_shard": 2, "ep": 2}, "ep4": {"dp_shard": 4, "ep": 4}, "fsdp4ep2": {"dp_shard": 4, "ep": 2},
        "tp2ep2": {"tp": 2, "ep": 2}, "cp2ep2": {"cp": 2, "ep": 2}, "fsdp2tp2ep2": {"dp_shard": 2, "tp": 2, "ep": 2},
        "fsdp2tp2ep4": {"dp_shard": 2, "tp": 2, "ep": 4}, "fsdp2cp2ep2": {"dp_shard": 2, "cp": 2, "ep": 2},
        "fsdp2pp2ep2": {"dp_shard": 2, "pp": 2, "ep": 2},
        "hsdp2x2ep2": {"dp_replicate": 2, "dp_shard": 2, "ep": 2},
        "fsdp2tp2pp2ep2": {"dp_shard": 2, "tp": 2, "pp": 2, "ep": 2},
        "fsdp2cp2tp2ep4": {"dp_shard": 2, "cp": 2, "tp": 2, "ep": 4},
    }  # fmt: skip
    return [
        *(Layout(name, parallel) for name, parallel in dense.items()),
        *(Layout(name, parallel, experts=True) for name, parallel in mixed.items()),
    ]


LAYOUTS = {layout.name: layout for layout in _layouts()}
"""Name → layout, up to eight processes."""

BASELINE = LAYOUTS["one"]


def recipe(family: str, steps: int) -> dict[str, Any]:
    """A recipe of a model that fits every layout of the table.

    Args:
        family: Of the model.
        steps: Optimizer steps.
    """
    model: dict[str, Any] = {
        "family": family, "dim": 64, "n_layers": 8, "n_heads": 8, "n_kv_heads": 8, "ffn_dim": 128,
    }  # fmt: skip
    if family == "deepseek_v3":
        model["experts"] = Experts(count=4, top_k=2, ffn_dim=32, dense_layers=4).model_dump()
        model["latent"] = LatentAttention(kv_rank=32, q_rank=16, nope_dim=8, rope_dim=8, value_dim=8).model_dump()
    section: dict[str, Any] = {
        "model": model, "seq_len": 64, "global_batch": GLOBAL_BATCH, "micro_batch": 1, "steps": steps,
        "optimizer": {"learning_rate": 3e-3}, "schedule": {"warmup_steps": 2, "decay_ratio": 0.3},
        "validation": {"every": steps, "batches": 1}, "checkpoint": {"every": steps}, "device": "auto",
    }  # fmt: skip
    return {"name": "parity", "seed": 1, "mixture": {"weights": {"code": 1, "web": 3}}, "train": section}
