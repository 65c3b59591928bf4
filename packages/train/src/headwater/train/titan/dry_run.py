"""Builds one process's part of a model as the trainer does, without memory and without other processes.

The model lies on the meta device, and the process group is torch's fake one, which takes any world size.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from headwater.core.run import ModelShape
from headwater.train.config import TrainConfig
from headwater.train.titan import cpu


def local_parameters(config: TrainConfig, shape: ModelShape, rank: int) -> int:
    """Parameters that one process of a layout holds, of all its pipeline stages.

    Args:
        config: The recipe's `train` section.
        shape: The model.
        rank: Of the process, below `config.parallel.world_size`.
    """
    return sum(
        (parameter.to_local() if isinstance(parameter, DTensor) else parameter).numel()
        for part in model_parts(config, shape, rank) for parameter in part.parameters()
    )  # fmt: skip


def model_parts(config: TrainConfig, shape: ModelShape, rank: int) -> list[nn.Module]:
    """The part of the model that one process of a layout has, cut as the trainer cuts it, on the meta device.

    Args:
        config: The recipe's `train` section.
        shape: The model.
        rank: Of the process.
    """
    cpu.install("cpu")
    from torch.testing._internal.distributed.fake_pg import FakeStore
    from torchtitan.components.loss import CrossEntropyLoss
    from torchtitan.config.configs import CompileConfig, DebugConfig
    from torchtitan.distributed import ParallelDims

    from headwater.train.titan.build import CHECKPOINTING, parallelism, training
    from headwater.train.titan.model import model_spec

    world = config.parallel.world_size
    dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
    try:
        spec = model_spec(shape, "cpu")
        layout, settings = parallelism(config), training(config)
        dims = ParallelDims.from_config(layout, world)
        spec.model.update_from_config(
            config=SimpleNamespace(parallelism=layout, training=settings, debug=DebugConfig(), compile=CompileConfig())
        )
        with torch.device("meta"):
            model = spec.model.build()
        shared: dict[str, Any] = {
            "parallel_dims": dims, "training": settings, "parallelism": layout,
            "compile_config": CompileConfig(enable=False),
            "ac_config": CHECKPOINTING[config.activation_checkpointing], "dump_folder": "",
        }  # fmt: skip
        if not dims.pp_enabled:
            model = spec.parallelize_fn(model, **shared)
            if shape.tied:  # as the trainer does when it draws the weights: each was cut for itself
                model.tok_embeddings.weight = model.lm_head.weight
            return [model]
        loss = CrossEntropyLoss.Config().build(compile_config=CompileConfig(enable=False))
        _, parts, _, _ = spec.pipelining_fn(  # pyright: ignore[reportOptionalCall]
            model, **shared, device=torch.device("cpu"), model_config=spec.model, parallelize_fn=spec.parallelize_fn,
            loss_fn=loss,
        )  # fmt: skip
        return parts
    finally:
        dist.destroy_process_group()
