"""What the planner counts, against the models that the trainer builds."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from headwater.core.run import Experts, LatentAttention, ModelShape
from headwater.train.config import TrainConfig
from headwater.train.model import Model
from headwater.train.plan.counts import counts
from headwater.train.plan.job import Degrees, Job
from headwater.train.plan.memory import activation_bytes, local_parameters
from headwater.train.plan.recipe import job_of_config
from headwater.train.plan.sizes import model_of, shape_of
from headwater.train.titan import dry_run

DENSE = Model(dim=256, n_layers=8, n_heads=8, n_kv_heads=8, ffn_dim=1024, vocab_size=4096)
MIXED = Model(
    family="deepseek_v3", dim=256, n_layers=4, n_heads=8, ffn_dim=512, vocab_size=4096,
    experts=Experts(count=16, top_k=2, ffn_dim=128), latent=LatentAttention(q_rank=64),
)  # fmt: skip

LAYOUTS: list[tuple[Model, dict[str, Any]]] = [
    (DENSE, {"dp_shard": 8}),
    (DENSE, {"dp_replicate": 4, "dp_shard": 2, "cp": 2, "tp": 4}),
    (DENSE, {"dp_shard": 4, "tp": 2, "pp": 4}),
    (DENSE, {"dp_shard": 2, "pp": 4, "schedule": "Interleaved1F1B"}),
    (DENSE, {"dp_replicate": 8, "dp_shard": 32, "tp": 2, "pp": 2}),
    (MIXED, {"dp_shard": 8, "ep": 8}),
    (MIXED, {"dp_shard": 4, "tp": 2, "ep": 4}),
]


def built(shape: ModelShape) -> int:
    """Parameters of the model as the trainer builds it, on the meta device."""
    config = TrainConfig(model=Model(family=shape.family, dim=64, n_heads=4, n_kv_heads=4))
    return sum(part.numel() for model in dry_run.model_parts(config, shape, 0) for part in model.parameters())


@pytest.mark.parametrize(
    ("family", "size"),
    [("llama3", "1b"), ("llama3", "350m"), ("llama3", "8b"), ("qwen3", "600m"), ("qwen3", "4b"), ("gpt2", "125m"),
     ("deepseek_v3", "16b")],
)  # fmt: skip
def test_parameters_are_counted_exactly(family: str, size: str) -> None:
    shape = shape_of(model_of(size, family), 2048)
    assert counts(shape).total == built(shape)


UNUSUAL: list[dict[str, Any]] = [
    {"family": "llama3", "tied": True, "head_dim": 32},
    {"family": "gpt2", "tied": True},
    {"family": "deepseek_v3"},
    {"family": "deepseek_v3", "latent": {"q_rank": 24, "kv_rank": 32}, "experts": {"count": 16, "dense_layers": 2}},
]


@pytest.mark.parametrize("keys", UNUSUAL, ids=str)
def test_parameters_of_models_that_nobody_published_are_counted_exactly(keys: dict[str, Any]) -> None:
    base = {"dim": 64, "n_layers": 3, "n_heads": 4, "n_kv_heads": 2, "ffn_dim": 96}
    shape = Model.model_validate(base | keys).shape(500, 128)
    assert counts(shape).total == built(shape)


@pytest.mark.parametrize(("model", "parallel"), LAYOUTS)
@pytest.mark.parametrize("last", [False, True])
def test_a_process_holds_as_many_parameters_as_planned(model: Model, parallel: dict[str, Any], last: bool) -> None:
    config = TrainConfig(
        model=model, seq_len=512, global_batch=1024, micro_batch=1, parallel=parallel, precision="bfloat16"  # pyright: ignore[reportArgumentType]
    )  # fmt: skip
    layout, shape = config.parallel, shape_of(model, 512)
    job = job_of_config(config, shape.vocab_size)
    rank = layout.world_size - 1 if last else 0
    dense, experts = local_parameters(job, layout.pp - 1 if last else 0)
    planned = dense / job.degrees.shards + experts / job.degrees.expert_shards
    assert dry_run.local_parameters(config, shape, rank) == pytest.approx(planned, rel=0.002)


@pytest.mark.parametrize("family", ["gpt2", "llama3"])
def test_a_block_keeps_what_is_planned_for_the_backward_pass(family: str) -> None:
    """What autograd saves of a block, byte by byte, less what only a device without fused kernels saves: attention's
    scores, and the normed input before its weight."""
    batch, length, heads = 2, 128, 8
    model = Model(family=family, dim=256, n_layers=1, n_heads=heads, n_kv_heads=heads, ffn_dim=1024, vocab_size=512)  # pyright: ignore[reportArgumentType]
    shape = shape_of(model, length)
    (built_model,) = dry_run.model_parts(TrainConfig(model=model), shape, 0)
    block = built_model.layers["0"]  # pyright: ignore[reportIndexIssue]
    weights = {parameter.untyped_storage()._cdata for parameter in block.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    inputs = torch.empty(batch, length, 256, device="meta", requires_grad=True)
    positions = torch.zeros(batch, length, dtype=torch.int64, device="meta")
    mask = torch.empty(batch, 1, length, length, dtype=torch.bool, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = block(inputs, mask, positions)
    unfused = 4 * heads * length + (2 * 4 * 256 if family == "llama3" else 0)
    measured = sum(saved.values()) / (batch * length) - unfused
    job = Job(shape, Degrees(), length, batch, batch, precision="float32", kernels="eager")
    assert output.shape == inputs.shape
    assert activation_bytes(job, 0) / (batch * length) == pytest.approx(measured, rel=0.01)
