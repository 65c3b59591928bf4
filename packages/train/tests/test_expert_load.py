"""Experts: what is counted of them, and that their load is balanced."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import resume_worker
import torch
from train_fixtures import write_recipe

from headwater.core import metrics as names
from headwater.core.run import Experts, LatentAttention, ModelShape
from headwater.train import titan
from headwater.train.objectives.config import MultiToken
from headwater.train.parity.layouts import Layout
from headwater.train.processes import Processes

SHAPE = ModelShape(
    family="deepseek_v3", dim=32, n_layers=3, n_heads=2, n_kv_heads=2, ffn_dim=48, vocab_size=64, rope_theta=1e4,
    norm_eps=1e-5, max_seq_len=64, experts=Experts(count=4, top_k=1, ffn_dim=16),
    latent=LatentAttention(kv_rank=16, nope_dim=8, rope_dim=8, value_dim=8),
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _started() -> Iterator[None]:
    titan.start("cpu", 1, 1)
    yield
    titan.stop()


def _model(objective: MultiToken | None = None) -> Any:
    """With a router in each layer that sends most tokens to the first expert."""
    from headwater.train.titan.model import model_spec

    model = model_spec(SHAPE, "cpu", objective=objective).model.build()
    model.init_weights(buffer_device=None)
    with torch.no_grad():
        for block in (*model.layers.values(), *(model.mtp_layers or ())):
            if block.moe_enabled:
                block.moe.router.gate.weight *= 0.5
                block.moe.expert_bias_E[0] = 0.05
    return model.train()


def _read(model: Any, generator: torch.Generator) -> None:
    tokens_BL = torch.randint(0, 64, (4, 64), generator=generator)
    positions_BL = torch.arange(64).expand(4, 64)
    with torch.no_grad():
        model(tokens_BL, positions=positions_BL, attention_masks=model.get_attention_masks(positions=positions_BL))


def _load(model: Any) -> Any:
    from headwater.train.titan.expert_load import ExpertLoad

    return ExpertLoad([model], SHAPE, torch.device("cpu"))


@pytest.mark.parametrize("balanced", [True, False])
def test_torchtitans_hook_balances_a_router_that_favours_an_expert(balanced: bool) -> None:
    """Also that of a block that predicts later tokens."""
    from torchtitan.distributed import ParallelDims

    from headwater.train.titan.experts import balance_experts

    model, generator = _model(MultiToken(kind="multi_token", depth=1)), torch.Generator().manual_seed(0)
    load = _load(model)
    optimizer: Any = torch.optim.SGD(model.parameters(), lr=0.0)
    if balanced:
        alone = ParallelDims(dp_replicate=1, dp_shard=1, cp=1, tp=1, pp=1, ep=1, world_size=1)
        balance_experts(optimizer, [model], alone)
    loads: list[dict[str, float]] = []
    for step in range(1, 81):
        _read(model, generator)
        load.add()
        optimizer.step()
        if not balanced:
            for block in (*model.layers.values(), *model.mtp_layers):
                if block.moe_enabled:
                    block.moe.tokens_per_expert_E.zero_()
        if step % 10 == 0:
            found = load.series(load.take(lambda counts: counts).tolist())
            loads.append({name: value for name, value in found.items() if 'of="highest"' in name})
    assert len(loads[0]) == 3
    assert min(loads[0].values()) > 1.7
    last = loads[-1].values()
    assert (max(last) < 1.35) if balanced else (min(last) > 1.7)


def test_loads_are_those_of_the_routers_choices() -> None:
    model = _model()
    chosen: list[torch.Tensor] = []
    for block in model.layers.values():
        if block.moe_enabled:
            block.moe.router.register_forward_hook(lambda module, given, found: chosen.append(found[1]))
    load = _load(model)
    _read(model, torch.Generator().manual_seed(1))
    load.add()
    found = load.series(load.take(lambda counts: counts).tolist())
    for layer, picks in zip(("1", "2"), chosen, strict=True):
        counts = torch.bincount(picks.flatten(), minlength=4).double()
        share = counts / counts.sum()
        entropy = float(-(share * share.clamp(min=1e-300).log()).sum()) / math.log(4)
        assert counts.sum() == 4 * 64
        assert found[names.TRAIN_EXPERT_LOAD.series(layer=layer, of="highest")] == pytest.approx(float(share.max()) * 4)
        assert found[names.TRAIN_EXPERT_LOAD.series(layer=layer, of="lowest")] == pytest.approx(float(share.min()) * 4)
        assert found[names.TRAIN_EXPERT_EVENNESS.series(layer=layer)] == pytest.approx(entropy)
    assert len(found) == 7


def test_an_expert_is_dead_after_a_hundred_steps_without_a_token() -> None:
    from headwater.train.titan.expert_load import ExpertLoad

    load = ExpertLoad([_model()], SHAPE, torch.device("cpu"))
    idle = [8.0, 8.0, 8.0, 0.0, 12.0, 12.0, 0.0, 0.0]
    dead = [load.series(idle)[names.TRAIN_DEAD_EXPERTS.name] for _ in range(10)]
    assert dead == [0.0] * 9 + [3.0]
    assert load.series([8.0] * 4 + idle[4:])[names.TRAIN_DEAD_EXPERTS.name] == 2.0
    load.forget()
    assert load.series(idle)[names.TRAIN_DEAD_EXPERTS.name] == 0.0
    assert load.series([]) == {}


def test_very_deep_models_have_no_label_for_every_layer() -> None:
    from headwater.train.titan.expert_load import ExpertLoad

    deep = SHAPE.model_copy(update={"n_layers": 101})
    load = ExpertLoad([_model()], deep, torch.device("cpu"))
    found = load.series([float(i) for i in range(1, 401)])
    assert len(found) == 1 + 3 * 65
    assert names.TRAIN_EXPERT_EVENNESS.series(layer="deeper") in found


def test_a_training_tells_of_its_experts_and_a_dense_one_of_none(
    data: Path, whole: Path, tmp_path: Path, trainer_class: Any
) -> None:
    from headwater.train.runner import train

    run = shutil.copytree(data, tmp_path / "run")
    counted: list[float] = []
    passes = trainer_class._forward_backward

    def poisoned(self: Any, *arguments: Any) -> Any:
        found = passes(self, *arguments)
        counted.append(float(self.model_parts[0].layers["1"].moe.tokens_per_expert_E.sum()))
        if self.step == 5:  # Lion's update is left out, and torchtitan's hook with it
            next(self.model_parts[0].parameters()).grad.mul_(math.nan)
        return found

    trainer_class._forward_backward = poisoned
    recipe = write_recipe(
        tmp_path / "moe.yaml", steps=10, validation={"every": 0}, activation_checkpointing="full",
        optimizer={"name": "lion", "learning_rate": 1e-3},
        model={"family": "deepseek_v3", "dim": 32, "n_layers": 2, "n_heads": 2, "ffn_dim": 48,
               "experts": {"count": 4, "top_k": 2, "ffn_dim": 16},
               "latent": {"kv_rank": 16, "nope_dim": 8, "rope_dim": 8, "value_dim": 8}},
    )  # fmt: skip
    train(recipe, Path(run))
    assert counted == [counted[0]] * 10 and counted[0] > 0
    rows = [json.loads(line) for line in (Path(run) / "train" / "metrics.jsonl").read_text().splitlines()]
    (told,) = [row for row in rows if names.TRAIN_DEAD_EXPERTS.name in row]
    assert told["step"] == 10 and told[names.TRAIN_DEAD_EXPERTS.name] == 0
    highest = told[names.TRAIN_EXPERT_LOAD.series(layer="1", of="highest")]
    lowest = told[names.TRAIN_EXPERT_LOAD.series(layer="1", of="lowest")]
    assert 0 <= lowest <= 1 <= highest <= 2  # two of four experts a token
    assert 0 < told[names.TRAIN_EXPERT_EVENNESS.series(layer="1")] <= 1
    assert names.TRAIN_DEAD_EXPERTS.name not in (whole / "train" / "metrics.jsonl").read_text()


SHARED = {"ep2": {"dp_shard": 2, "ep": 2}, "tp2ep2": {"tp": 2, "ep": 2}, "pp2": {"pp": 2},
          "cp2ep2": {"cp": 2, "ep": 2}}  # fmt: skip


@pytest.mark.slow
def test_every_layout_finds_the_same_loads(data: Path, tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path / "moe.yaml", steps=10, validation={"every": 0}, checkpoint={"every": 10},
        model={"family": "deepseek_v3", "dim": 32, "n_layers": 2, "n_heads": 2, "ffn_dim": 48,
               "experts": {"count": 4, "top_k": 2, "ffn_dim": 16, "dense_layers": 0},
               "latent": {"kv_rank": 16, "nope_dim": 8, "rope_dim": 8, "value_dim": 8}},
    )  # fmt: skip
    for processes, layouts in ((1, {"one": {}}), (2, SHARED)):
        jobs = tmp_path / f"jobs-{processes}.json"
        jobs.write_text(json.dumps([
            {"recipe": str(recipe), "data": str(data), "run": str(tmp_path / name),
             "overrides": [f"train.micro_batch={layout.micro_batch}", *layout.overrides]}
            for name, layout in ((name, Layout(name, parallel)) for name, parallel in layouts.items())
        ]))  # fmt: skip
        with Processes(processes, tmp_path / "log.txt", resume_worker.main, jobs) as group:
            assert group.finish() == [0] * processes, group.last_words()

    def told(name: str) -> dict[str, float]:
        rows = [json.loads(line) for line in (tmp_path / name / "train" / "metrics.jsonl").read_text().splitlines()]
        (row,) = [row for row in rows if names.TRAIN_DEAD_EXPERTS.name in row]
        return {series: value for series, value in row.items() if "expert" in series}

    reference = told("one")
    assert len(reference) == 1 + 3 * 2
    for name in SHARED:  # a few of 5,120 choices may fall otherwise where sums are rounded otherwise
        assert told(name) == pytest.approx(reference, abs=0.01), name
