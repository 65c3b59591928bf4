"""What the planner counts, against the models that the trainer builds."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch._subclasses import FakeTensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor.parallel import loss_parallel
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from headwater.core.run import Experts, LatentAttention, ModelShape
from headwater.train import titan
from headwater.train.config import TrainConfig
from headwater.train.model import Model
from headwater.train.optimizers.adamw_8bit import begun
from headwater.train.plan import optimizer_state
from headwater.train.plan.counts import counts
from headwater.train.plan.job import Degrees, Job
from headwater.train.plan.memory import (
    NF4_BYTES,
    PARALLEL_LOGITS,
    PLAIN_LOGITS,
    activation_bytes,
    adapter_parameters,
    local_parameters,
    memory_per_gpu,
)
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


def parameters(shape: ModelShape) -> list[torch.nn.Parameter]:
    """Of the model as the trainer builds it, on the meta device."""
    config = TrainConfig(model=Model(family=shape.family, dim=64, n_heads=4, n_kv_heads=4))
    return [parameter for model in dry_run.model_parts(config, shape, 0) for parameter in model.parameters()]


def built(shape: ModelShape) -> int:
    """How many."""
    return sum(parameter.numel() for parameter in parameters(shape))


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


@pytest.mark.parametrize(
    ("family", "size"), [("llama3", "8b"), ("qwen3", "600m"), ("gpt2", "125m"), ("deepseek_v3", "16b")]
)
def test_each_parameter_of_the_blocks_is_known_by_its_shape(family: str, size: str) -> None:
    shape = shape_of(model_of(size, family), 2048)
    config = TrainConfig(model=Model(family=shape.family, dim=64, n_heads=4, n_kv_heads=4))
    (model,) = dry_run.model_parts(config, shape, 0)
    for layer, block in zip(counts(shape).layers, model.layers.values(), strict=True):  # pyright: ignore[reportCallIssue]
        made = Counter(tuple(parameter.shape) for parameter in block.parameters())
        assert Counter(tensor.shape for tensor in layer.tensors) == made


STATED: list[dict[str, Any]] = [
    {"name": "adamw"}, {"name": "sgd"}, {"name": "sgd", "momentum": 0}, {"name": "lion"}, {"name": "adafactor"},
    {"name": "muon"}, {"name": "adamw_8bit", "block_size": 32},
]  # fmt: skip
SMALL: list[dict[str, Any]] = [
    {"family": "llama3", "tied": True}, {"family": "qwen3"}, {"family": "gpt2"},
    {"family": "deepseek_v3", "experts": {"count": 4, "top_k": 2, "ffn_dim": 32}},
]  # fmt: skip


@pytest.mark.parametrize("keys", SMALL, ids=lambda keys: keys["family"])
@pytest.mark.parametrize("optimizer", STATED, ids=str)
def test_an_optimizer_keeps_as_much_as_planned(optimizer: dict[str, Any], keys: dict[str, Any]) -> None:
    titan.start("cpu", 1, 1)
    from headwater.train.titan.model import model_spec
    from headwater.train.titan.optimizers import HeadwaterOptimizers, assignment_of

    base = {"dim": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "ffn_dim": 96, "vocab_size": 101}
    config = TrainConfig.model_validate({"model": base | keys, "seq_len": 16, "optimizer": optimizer})
    job = job_of_config(config, 101)
    model = model_spec(job.shape, "cpu").model.build()
    if job.shape.tied:
        model.tok_embeddings.weight = model.lm_head.weight
    if optimizer["name"] == "adamw_8bit":  # the state is made without torchao, which a step needs
        states = [begun(parameter, 32) for parameter in model.parameters()]
    else:
        made = HeadwaterOptimizers.Config(_assignment=assignment_of(config)).build(model_parts=[model])
        made.state_dict()
        states = [state for one in made.optimizers for state in one.state.values()]
    held = sum(
        value.nbytes for state in states for name, value in state.items() if name != "step" and value is not None
    )
    titan.stop()
    assert optimizer_state.of_process(job, 0) == held
    assert memory_per_gpu(job, kind="allocated").optimizer >= held


@pytest.mark.parametrize(("model", "parallel"), LAYOUTS)
@pytest.mark.parametrize("last", [False, True])
def test_a_process_holds_as_much_as_planned(model: Model, parallel: dict[str, Any], last: bool) -> None:
    """Parameters, and the state of AdamW in 8 bits, which has two shapes and two types."""
    config = TrainConfig.model_validate(
        {"model": model, "seq_len": 512, "global_batch": 1024, "micro_batch": 1, "parallel": parallel,
         "precision": "bfloat16", "optimizer": {"name": "adamw_8bit", "block_size": 16}}
    )  # fmt: skip
    layout, shape = config.parallel, shape_of(model, 512)
    job = job_of_config(config, shape.vocab_size)
    rank, stage = (layout.world_size - 1, layout.pp - 1) if last else (0, 0)
    dense, experts = local_parameters(job, stage)
    held = [parameter for part in dry_run.model_parts(config, shape, rank) for parameter in part.parameters()]
    planned = dense / job.degrees.shards + experts / job.degrees.expert_shards
    assert sum(local(parameter).numel() for parameter in held) == pytest.approx(planned, rel=0.002)
    states = [local(value) for parameter in held for value in begun(parameter, 16).values()]
    state = sum(value.nbytes for value in states if value.ndim)
    assert state == pytest.approx(optimizer_state.of_process(job, stage), rel=0.003)


def local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def saved_bytes(block: torch.nn.Module, batch: int, length: int, dim: int) -> int:
    """What autograd saves of a block, on the meta device, but its weights."""
    inputs = torch.empty(batch, length, dim, device="meta", requires_grad=True)
    positions = torch.zeros(batch, length, dtype=torch.int64, device="meta")
    mask = torch.empty(batch, 1, length, length, dtype=torch.bool, device="meta")
    return saved_of(block, lambda: block(inputs, mask, positions))


@pytest.mark.parametrize("family", ["gpt2", "llama3"])
def test_a_block_keeps_what_is_planned_for_the_backward_pass(family: str) -> None:
    """What autograd saves of a block, byte by byte, less what only a device without fused kernels saves: attention's
    scores, and the normed input before its weight."""
    batch, length, heads = 2, 128, 8
    model = Model(family=family, dim=256, n_layers=1, n_heads=heads, n_kv_heads=heads, ffn_dim=1024, vocab_size=512)  # pyright: ignore[reportArgumentType]
    shape = shape_of(model, length)
    (built_model,) = dry_run.model_parts(TrainConfig(model=model), shape, 0)
    block = built_model.layers["0"]  # pyright: ignore[reportIndexIssue]
    unfused = 4 * heads * length + (2 * 4 * 256 if family == "llama3" else 0)
    measured = saved_bytes(block, batch, length, 256) / (batch * length) - unfused
    job = Job(shape, Degrees(), length, batch, batch, precision="float32", kernels="eager")
    assert activation_bytes(job, 0) / (batch * length) == pytest.approx(measured, rel=0.01)


def test_tensor_parallelism_keeps_the_inputs_of_products_as_they_were_gathered() -> None:
    """What autograd saves of a block that `parallelize` has cut for four processes, on one of them."""
    batch, length, heads, dim, tp = 2, 128, 8, 256, 4
    model = Model(dim=dim, n_layers=1, n_heads=heads, n_kv_heads=heads, ffn_dim=1024, vocab_size=512)
    config = TrainConfig.model_validate({"model": model, "seq_len": length, "parallel": {"tp": tp}})
    with cut_block(config, shape_of(model, length)) as (block, mesh):
        inputs = DTensor.from_local(torch.randn(batch, length // tp, dim, requires_grad=True), mesh, [Shard(1)])
        positions = torch.zeros(batch, length, dtype=torch.int64)
        mask = torch.ones(batch, 1, length, length, dtype=torch.bool)
        saved = saved_of(block, lambda: block(inputs, mask, positions))
    # What only a device without fused kernels saves: the mask, the rotation, and normed inputs before their weight.
    unfused = 4 * length + 4 * dim // heads + 2 * 4 * dim / tp
    job = Job(shape_of(model, length), Degrees(tp=tp), length, batch, batch, precision="float32", kernels="eager")
    planned = activation_bytes(job, 0) / (batch * length)
    assert planned == pytest.approx(saved / (batch * length) - unfused, rel=0.005)
    cut = activation_bytes(replace(job, kernels="fused"), 0) / (batch * length)  # Megatron-LM gathers them again
    assert planned > cut + 2 * 4 * dim * (1 - 1 / tp)


@pytest.mark.filterwarnings("ignore:.*context_fn.*")
def test_a_compiled_block_does_not_keep_its_own_output_under_selective_checkpointing() -> None:
    """What a compiled forward pass hands to its backward pass, less the mask; attention's result is kept where it is
    fused, which on a CPU it is not."""
    batch, length, heads, dim = 2, 96, 8, 256
    model = Model(dim=dim, n_layers=1, n_heads=heads, n_kv_heads=heads, ffn_dim=768, vocab_size=512)
    shape = shape_of(model, length)
    config = TrainConfig.model_validate({"model": model, "seq_len": length, "activation_checkpointing": "selective"})
    (built_model,) = dry_run.model_parts(config, shape, 0)
    built_model = built_model.to_empty(device="cpu")
    block: Any = built_model.layers["0"]  # pyright: ignore
    compiled = torch.compile(block, backend="aot_eager_decomp_partition")
    inputs = torch.zeros(batch, length, dim, requires_grad=True)
    mask = torch.ones(batch, 1, length, length, dtype=torch.bool)
    positions = torch.arange(length).repeat(batch, 1)
    saved = saved_of(block, lambda: compiled(inputs, mask, positions)) / (batch * length)
    job = Job(shape, Degrees(), length, batch, batch, precision="float32", checkpointing="selective", loss="fused")
    eager = replace(job, kernels="eager")
    kept = kept_bytes(job) - 4 * dim - 4 * heads  # attention's result and its logarithms of sums
    assert kept == pytest.approx(saved - length - 4 * dim / heads, rel=0.02)
    assert kept_bytes(eager) - kept_bytes(job) == 4 * dim


def kept_bytes(job: Job) -> float:
    """Bytes a token that a model of one block keeps between the passes, without what is computed again."""
    return activation_bytes(replace(job, shape=job.shape.model_copy(update={"vocab_size": 10**6})), 0) / job.tokens


@contextmanager
def cut_block(config: TrainConfig, shape: ModelShape) -> Iterator[tuple[Any, Any]]:
    """A block as one process of a layout has it, in memory, and the mesh of tensor parallelism."""
    with patch.object(torch.distributed, "destroy_process_group"):
        (model,) = dry_run.model_parts(config, shape, 0)
    try:
        model = model.to_empty(device="cpu")
        for parameter in model.parameters():
            torch.nn.init.zeros_(parameter)
        for part in model.modules():
            if isinstance(part, FSDPModule):
                part.unshard()
        yield model.layers["0"], next(model.parameters()).device_mesh["tp"]  # pyright: ignore
    finally:
        torch.distributed.destroy_process_group()


def saved_of(block: torch.nn.Module, forward: Any) -> int:
    """Bytes that autograd saves on this process, but weights."""
    weights = {local(parameter).untyped_storage()._cdata for parameter in block.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = local(tensor).untyped_storage()
        if storage._cdata not in weights:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = forward()
    del output
    return sum(saved.values())


class PeakBytes(TorchDispatchMode):
    """Most bytes of tensors that were made inside, at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and not isinstance(tensor, FakeTensor) and tensor.device.type == "cpu":
                storage = tensor.untyped_storage()
                if storage._cdata not in self.live:
                    self.live[storage._cdata] = storage.nbytes()
                    weakref.finalize(storage, self.live.pop, storage._cdata, None)
        self.peak = max(self.peak, sum(self.live.values()))
        return made


@pytest.mark.parametrize("tp", [1, 8])
def test_cross_entropy_takes_what_is_planned(tp: int) -> None:
    """At the peak of both passes, for logits in bfloat16 that are let go before the backward pass."""
    tokens, words = 64, 4096
    logits_parameter = torch.zeros(1, tokens, words, dtype=torch.bfloat16, requires_grad=True)
    labels = torch.zeros(tokens, dtype=torch.int64)
    if tp > 1:
        torch.distributed.init_process_group("fake", rank=0, world_size=tp, store=FakeStore())
    try:
        mesh = init_device_mesh("cpu", (tp,)) if tp > 1 else None
        with PeakBytes() as seen, loss_parallel() if tp > 1 else nullcontext():
            logits: Any = logits_parameter * 1
            if mesh:
                logits = DTensor.from_local(logits, mesh, [Shard(2)])
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels)
            del logits
            loss.backward()
    finally:
        if tp > 1:
            torch.distributed.destroy_process_group()
    each = PARALLEL_LOGITS if tp > 1 else PLAIN_LOGITS
    assert seen.peak / (tokens * words) == pytest.approx(each, abs=0.05)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_adapters_take_what_is_planned(method: Any) -> None:
    """Against torchtitan's adapters on every linear layer of a block."""
    titan.start("cpu", 1, 1)
    from torchtitan.components.lora import LoRAConverter

    from headwater.train.titan.model import model_spec

    batch, length, heads, rank, dim = 2, 128, 8, 16, 256
    shape = shape_of(Model(dim=dim, n_layers=2, n_heads=heads, n_kv_heads=heads, ffn_dim=1024, vocab_size=512), length)
    converter = LoRAConverter(LoRAConverter.Config(rank=rank))
    with torch.device("meta"):
        adapted: Any = converter.convert(model_spec(shape, "cpu").model).build()
    titan.stop()
    job = Job(
        shape, Degrees(), length, batch, batch, precision="float32", kernels="eager", method=method, lora_rank=rank
    )
    trained = sum(part.numel() for part in adapted.layers.parameters() if part.requires_grad)
    # torchtitan's projection of queries, keys and values is one layer; published adapters have three.
    assert adapter_parameters(job) == trained + 2 * (2 * rank * dim)
    unfused = 4 * heads * length  # a frozen norm keeps nothing for its weight
    measured = saved_bytes(adapted.layers["0"], batch, length, dim) / (batch * length) - unfused
    assert activation_bytes(job, 0) / 2 / (batch * length) == pytest.approx(measured, rel=0.02)
    frozen = {name: part.numel() for name, part in adapted.named_parameters() if not part.requires_grad}
    linear = sum(size for name, size in frozen.items() if "layers." in name and "norm" not in name)
    held = 2 * sum(frozen.values()) - (linear * (2 - NF4_BYTES) if method == "qlora" else 0)
    # torchtitan has an adapter on the head, which is frozen beneath it all the same.
    assert sum(frozen.values()) == counts(shape).total
    assert memory_per_gpu(job, kind="allocated").states == pytest.approx(held + 16 * adapter_parameters(job))
