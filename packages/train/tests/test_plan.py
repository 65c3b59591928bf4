"""`headwater plan`: what it reckons, held against formulas of papers and against published trainings."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from click.testing import CliRunner

from headwater.core.config import load_section
from headwater.core.errors import ConfigError, StorageError
from headwater.core.run import ModelShape
from headwater.train.config import TrainConfig
from headwater.train.plan import runs
from headwater.train.plan.calibration import compare_all, errors_of
from headwater.train.plan.cli import plan
from headwater.train.plan.clusters import GIB, Cluster, parse_cluster
from headwater.train.plan.collectives import LINK_SECONDS, gather_seconds, group_of
from headwater.train.plan.counts import counts, flops_per_token
from headwater.train.plan.efficiency import FITTED
from headwater.train.plan.explain import reasons
from headwater.train.plan.job import Degrees, Job
from headwater.train.plan.make import Plan, largest_models, longest_contexts, make_plan
from headwater.train.plan.memory import (
    CONTEXT_BYTES,
    GROUP_BYTES,
    Kind,
    activation_bytes,
    adapter_parameters,
    memory_per_gpu,
    optimizer_bytes,
)
from headwater.train.plan.optimizer_state import of_process, orthogonalised
from headwater.train.plan.recipe import job_of_config, recipe_of
from headwater.train.plan.recommend import batch_tokens_for, nearest_runs, published_hyperparameters
from headwater.train.plan.search import USABLE, Wish, find
from headwater.train.plan.sizes import model_of, shape_of
from headwater.train.plan.speed import HOST_BANDWIDTH, step_speed
from headwater.train.sizes import LADDER, PUBLISHED

DOCS = Path(__file__).parents[3] / "docs" / "plan.md"


def shape(size: str = "8b", family: str = "llama3", seq_len: int = 8192) -> ModelShape:
    return shape_of(model_of(size, family), seq_len)


def job(size: str = "8b", degrees: Degrees | None = None, **values: Any) -> Job:
    given = {"seq_len": 8192, "global_batch": 64, "micro_batch": 1, **values}
    return Job(shape(size), degrees or Degrees(), **given)


def wish(size: str = "8b", tokens: float = 2**20, seq_len: int = 8192, **values: Any) -> Wish:
    given: dict[str, Any] = {"precision": "bfloat16", "compiled": True, **values}
    return Wish(model_of(size, "llama3"), seq_len, max(1, round(tokens / seq_len)), **given)


def run(*arguments: str) -> dict[str, Any]:
    """The plan as JSON."""
    result = CliRunner().invoke(plan, [*arguments, "--json"], catch_exceptions=False)
    return json.loads(result.stdout)


# Parameters and operations


@pytest.mark.parametrize(
    ("family", "size", "expected"),
    [
        ("llama3", "8b", 8_030_261_248), ("llama3", "70b", 70_553_706_496), ("llama3", "405b", 405_853_388_800),
        ("deepseek_v3", "671b", 671_026_404_352),
    ],
)  # fmt: skip
def test_published_models_have_their_number_of_parameters(family: str, size: str, expected: int) -> None:
    """Llama: `safetensors.total` on the Hugging Face hub; DeepSeek-V3: as torchtitan builds it."""
    assert counts(shape(size, family)).total == expected


def test_deepseek_v3_activates_37_billion() -> None:
    assert counts(shape("671b", "deepseek_v3", 4096)).active / 1e9 == pytest.approx(37, abs=0.6)


def test_operations_of_a_token_are_six_for_each_parameter_and_attention() -> None:
    """Appendix B of the PaLM paper: 6 N + 12 L H Q T, with N for Llama 3 8B less its embedding and norms."""
    model = shape()
    products = counts(model).total - 128_256 * 4096 - 65 * 4096
    assert flops_per_token(model, 8192) == 6 * products + 12 * 32 * 32 * 128 * 8192


# Memory


def test_mixed_precision_adam_takes_sixteen_bytes_a_parameter() -> None:
    whole = memory_per_gpu(job(), kind="allocated")
    assert whole.states == 16 * counts(shape()).total


@pytest.mark.parametrize(
    "degrees",
    [Degrees(dp_shard=64), Degrees(dp_shard=16, cp=4), Degrees(dp_replicate=4, dp_shard=16),
     Degrees(dp_shard=16, pp=4, zero=1)],
)  # fmt: skip
def test_states_are_divided_among_those_that_share_them(degrees: Degrees) -> None:
    shared = degrees.shards * degrees.pp
    states = memory_per_gpu(job(degrees=degrees), kind="allocated").states
    # With a pipeline, the process with the embedding has more than its share of it.
    assert (
        16 * counts(shape()).total / shared
        <= states + 1
        <= 16 * counts(shape()).total / shared * (1.3 if degrees.pp > 1 else 1.0001)
    )


def test_activations_of_a_gpt_block_are_those_of_korthikanti_et_al() -> None:
    """sbh (34 + 5 a s / h), less the 3 bytes of its dropout masks' scores and inputs that a model without dropout has
    not: 34 - 2 outside attention's scores, and 5 with materialised ones."""
    gpt = model_of("1b", "gpt2").shape(50_304, 2048)
    gpt = gpt.model_copy(update={"ffn_dim": 4 * gpt.dim})
    one = Job(gpt, Degrees(), 2048, 1, 1, kernels="eager", attention="materialised")
    s, h, a = 2048, gpt.dim, gpt.n_heads
    logarithms = 4 * a
    expected = gpt.n_layers * s * (h * (32 + 5 * a * s / h) + logarithms)
    assert activation_bytes(one, 0) == pytest.approx(expected)


def test_checkpointing_saves_memory_in_order() -> None:
    sizes = [activation_bytes(job(checkpointing=kind), 0) for kind in ("none", "selective", "full")]
    assert sizes[0] > 1.5 * sizes[1] > 2 * sizes[2]


def test_a_pipeline_keeps_as_many_micro_batches_as_stages_are_behind() -> None:
    kept = [activation_bytes(job(degrees=Degrees(pp=4, zero=0)), rank) for rank in range(4)]
    assert kept == pytest.approx([4 * kept[3], 3 * kept[3], 2 * kept[3], kept[3]])


def test_without_sequence_parallelism_the_stream_is_whole_on_every_process() -> None:
    """Korthikanti et al., table 2: 2sbh a block under full recomputation, and 2sbh/t with sequence parallelism."""
    whole, cut = (
        job(degrees=Degrees(tp=8), checkpointing="full", kernels="fused", loss="in_place", sequence_parallel=one)
        for one in (False, True)
    )
    blocks = 32 * 2 * 8192 * 4096
    assert activation_bytes(whole, 0) - activation_bytes(cut, 0) == pytest.approx(blocks * 7 / 8, rel=0.05)
    gpu = parse_cluster("h100:8").gpu
    assert step_speed(whole, gpu).between > 1.5 * step_speed(cut, gpu).between


def test_stages_can_count_embedding_and_head_as_blocks() -> None:
    plain, outer = (job("8b", degrees=Degrees(pp=2, virtual=17), outer_as_blocks=one) for one in (False, True))
    assert [sum(part.values()) for part in plain.stages] == [16, 16] == [sum(part.values()) for part in outer.stages]
    outer = job("8b", degrees=Degrees(pp=17), outer_as_blocks=True)
    assert [sum(part.values()) for part in outer.stages] == [1, *[2] * 15, 1]


def test_the_device_holds_more_than_the_tensors() -> None:
    one = job(degrees=Degrees(dp_shard=8))
    allocated, reserved, device = (memory_per_gpu(one, kind=kind).total for kind in get_args(Kind))
    assert allocated < reserved < device
    several = job(degrees=Degrees(dp_shard=2, tp=2, cp=2))
    outside = [memory_per_gpu(each, kind="device").total - memory_per_gpu(each, kind="reserved").total
               for each in (job(), one, several)]  # fmt: skip
    groups = [round((each - CONTEXT_BYTES) / GROUP_BYTES, 6) for each in outside]
    assert groups == [0, 2, 4]  # none; FSDP and all; FSDP, tensor and context parallel, and all


def test_what_other_optimizers_keep_and_offloading_saves() -> None:
    """Of 8B parameters, by matrices in blocks, embedding and head, and norms."""
    model, words = counts(shape()), 128_256 * 4096
    vectors = 65 * 4096
    matrices = model.total - vectors - 2 * words

    def state(name: str, **values: Any) -> float:
        section = TrainConfig.model_validate({"optimizer": {"name": name, **values}}).optimizer
        return of_process(job(optimizer=section), 0)

    assert state("adamw") == 8 * model.total and state("lion") == 4 * model.total
    assert state("sgd") == 4 * model.total and state("sgd", momentum=0.0) == 0
    assert state("muon") == 4 * matrices + 8 * (2 * words + vectors)
    assert state("adamw_8bit") == (2 + 8 / 256) * (matrices + 2 * words) + 8 * vectors
    assert state("adafactor") < 0.002 * state("adamw")
    one = job(degrees=Degrees(dp_shard=8), offload=True)
    plain, offloaded = memory_per_gpu(job(degrees=Degrees(dp_shard=8))), memory_per_gpu(one)
    assert offloaded.optimizer == 0 and plain.optimizer == optimizer_bytes(one) == model.total
    gpu = parse_cluster("h100:8").gpu
    more = step_speed(one, gpu).update - step_speed(job(degrees=Degrees(dp_shard=8)), gpu).update
    assert more == pytest.approx(2 * model.total / HOST_BANDWIDTH)


def test_muon_computes_more_where_its_matrices_are_shared_out() -> None:
    """Each process orthogonalises what it has a part of: as much on eight as on one."""
    section = TrainConfig.model_validate({"optimizer": {"name": "muon"}}).optimizer
    one, eight = (orthogonalised(job(optimizer=section, degrees=Degrees(dp_shard=n)), 0) for n in (1, 8))
    assert one.flops == eight.flops > 0 and one.gathered == 0
    assert eight.gathered == counts(shape()).total - 65 * 4096 - 2 * 128_256 * 4096
    few, many = 4096, 14_336
    hidden = 5 * (4 * few**2 * many + 2 * few**3)
    rest = 5 * (4 * 4096**2 * 6144 + 2 * 4096**3) + 5 * 6 * 4096**3
    assert one.flops == 32 * (3 * hidden + rest)


@pytest.mark.parametrize("optimizer", ["adamw_8bit", "sgd", "adafactor", "lion", "muon"])
def test_a_plan_has_the_optimizer_that_was_asked_for(optimizer: str, tmp_path: Path) -> None:
    told = run("--size", "1b", "--cluster", "h100:8", "--optimizer", optimizer, "--offload")
    section = told["recipe"]["train"]
    assert told["optimizer"] == section["optimizer"]["name"] == optimizer and section["offload"] == "optimizer"
    assert ("learning_rate" in section["optimizer"]) == (optimizer in ("adamw_8bit", "muon"))
    config = TrainConfig.model_validate(section)
    again = job_of_config(config, config.model.vocab_size or 0)
    assert memory_per_gpu(again).total == pytest.approx(told["memory_bytes"]["total"])


def test_adapters_need_a_fraction() -> None:
    """Rank 16 on every linear layer of Llama 3 8B: 16 times the sum of both widths of each."""
    frozen = job(method="lora")
    assert adapter_parameters(frozen) == 41_943_040
    full, lora, qlora = (memory_per_gpu(job(method=kind), kind="allocated").states for kind in ("sft", "lora", "qlora"))
    assert full > 7 * lora > 18 * qlora


# Time


def test_a_ring_moves_all_but_its_own_part() -> None:
    gpu = parse_cluster("h100:8").gpu
    seconds = gather_seconds(8e9, group_of(8, 1, 8), gpu, FITTED)
    assert seconds == pytest.approx(7e9 / (gpu.link_bandwidth * FITTED.link), rel=5e-3)
    assert gather_seconds(8e9, group_of(16, 8, 8), gpu, FITTED) > 5 * seconds  # one GPU of each node: the network


def test_a_ring_goes_through_all_processes() -> None:
    """NCCL's `src/graph/tuning.cc`: a step for each process but one, of which those between nodes are slower."""
    gpu = parse_cluster("h100:512").gpu
    seconds = gather_seconds(1.0, group_of(512, 1, 8), gpu, FITTED)
    assert seconds == pytest.approx(448 * LINK_SECONDS + 63 * FITTED.hop_seconds, rel=1e-3)


def test_the_bubble_is_that_of_narayanan_et_al() -> None:
    gpu = parse_cluster("h100:8").gpu
    plain = step_speed(job(degrees=Degrees(pp=4, dp_shard=1, zero=0), global_batch=16), gpu)
    looped = step_speed(job(degrees=Degrees(pp=4, virtual=2, schedule="Interleaved1F1B", zero=0), global_batch=16), gpu)
    work = plain.products + plain.attention + plain.between
    assert plain.bubble / work == pytest.approx(3 / 16) and looped.bubble / plain.bubble == pytest.approx(0.5)


def test_frozen_weights_are_gathered_and_have_no_gradients_to_reduce() -> None:
    gpu = parse_cluster("h100:8").gpu
    seconds = {
        (method, zero): step_speed(job(degrees=Degrees(dp_shard=8, zero=zero), method=method), gpu).data
        for method in ("pretrain", "lora") for zero in (2, 3)
    }  # fmt: skip
    assert all(0 < 1.5 * seconds["lora", zero] < seconds["pretrain", zero] for zero in (2, 3))
    assert step_speed(job(degrees=Degrees(dp_replicate=8), method="lora"), gpu).data == 0


def test_more_of_anything_takes_longer() -> None:
    gpu = parse_cluster("h100:8").gpu
    base = step_speed(job(degrees=Degrees(dp_shard=8)), gpu).step_seconds
    assert step_speed(job(degrees=Degrees(dp_shard=8), checkpointing="full"), gpu).step_seconds > 1.2 * base
    assert step_speed(job(degrees=Degrees(dp_shard=8), kernels="eager"), gpu).step_seconds > base
    assert step_speed(job("13b", degrees=Degrees(dp_shard=8)), gpu).step_seconds > 1.4 * base


# The table of published trainings


def test_the_table_is_large_and_every_figure_has_its_source() -> None:
    rows = runs.published_runs()
    modelled = [row for row in rows if row.modelled]
    assert len(rows) == len({row.run for row in rows}) and len(modelled) >= 40
    for half in (True, False):
        assert sum(row.calibrates is half for row in modelled) >= 20
    for row in rows:
        source = runs.sources()[row.source]
        assert source.url.startswith("https://") and source.read
    assert all(row.model in runs.shapes() for row in modelled)


def test_no_model_of_a_source_is_in_both_halves() -> None:
    halves: dict[str, set[bool]] = {}
    for row in runs.published_runs():
        halves.setdefault(f"{row.source}/{row.model}/{row.gpu}", set()).add(row.calibrates)
    assert all(len(half) == 1 for half in halves.values())


def test_published_degrees_use_all_gpus() -> None:
    for row in compare_all():
        run_ = row.run
        degrees = (run_.dp_replicate, run_.dp_shard, run_.tp, run_.pp, run_.cp)
        assert math.prod(value or 1 for value in degrees) == run_.gpus


def test_errors_on_what_was_held_back_are_those_that_the_documentation_states() -> None:
    held = [row for row in compare_all() if not row.run.calibrates]
    speed = errors_of(row.error for row in held)
    memory = errors_of(row.memory_error for row in held)
    assert speed.median <= 0.08 and speed.ninetieth <= 0.20
    assert memory.rows >= 25 and memory.median <= 0.08 and memory.ninetieth <= 0.20
    text = DOCS.read_text(encoding="utf-8")
    for errors in (speed, memory):
        assert f"| {errors.rows} | {errors.median:.1%} | {errors.ninetieth:.1%} |" in text


# The search


def test_every_layout_is_one_that_the_trainer_takes() -> None:
    cluster, cost = parse_cluster("h100:64"), _cost()
    for one in find(wish(compiled=False), cluster)[::40]:
        recipe = recipe_of(
            one.job, model_of("8b", "llama3"), cost, name="x", device="cuda", compiled=False
        )["train"]  # fmt: skip
        config = TrainConfig.model_validate(recipe)
        assert config.parallel.world_size == 64
        assert (config.activation_checkpointing, config.micro_batch) == (one.job.checkpointing, one.job.micro_batch)


def test_the_plan_fits_and_nothing_that_fits_is_much_faster() -> None:
    cluster = parse_cluster("h100:64")
    found = find(wish(), cluster)
    best = found[0]
    assert best.speed and best.memory.total <= USABLE * 80 * GIB
    assert best.rate >= 0.95 * max(one.rate for one in found)


def test_more_memory_or_network_is_never_slower() -> None:
    """The fastest layout; the plan may be a simpler one."""

    def fastest(**cluster: float) -> float:
        return max(one.rate for one in find(wish("30b"), parse_cluster("h100:16", **cluster)))

    assert fastest(gpu_memory_gib=160) >= fastest(gpu_memory_gib=80)
    assert fastest(network_gbps=400) > fastest(network_gbps=50)


def test_every_choice_has_its_reason() -> None:
    cluster = parse_cluster("h100:64")
    found = find(wish("30b"), cluster)
    told = dict(reasons(found, cluster))
    degrees = found[0].job.degrees
    for name in (f"tp {degrees.tp}", f"pp {degrees.pp}", f"cp {degrees.cp}", f"micro_batch {found[0].job.micro_batch}"):
        assert told[name].endswith(".") and len(told[name]) > 30


def test_what_fits_grows_with_the_cluster() -> None:
    small, large = (
        largest_models(wish(), parse_cluster(name), "llama3", None, 2**21)[-1].value for name in ("h100:1", "h100:16")
    )
    assert LADDER.index(large) > LADDER.index(small)
    lengths = [one.candidate.job.seq_len for one in longest_contexts(wish("3b"), parse_cluster("h100:8"))]
    assert lengths == sorted(lengths) and lengths[-1] >= 2**17


def test_small_models_may_be_too_small_for_a_cluster() -> None:
    """Their published batches have fewer samples than it has GPUs."""
    found = largest_models(wish(), parse_cluster("h100:256", gpu_memory_gib=4), "llama3", None, None)
    assert found[0].value == LADDER[0] and found[0].candidate.job.global_batch >= 256


def _cost() -> Any:
    return make_plan(wish(), parse_cluster("h100:8"), 1e9, None).cost


# Money, tokens, hyperparameters


def test_cost_follows_from_speed() -> None:
    planned: Plan = make_plan(wish(), parse_cluster("h100:8"), 1e12, None)
    cost = planned.cost
    assert cost.tokens == pytest.approx(1e12, rel=1e-3)
    assert cost.overtraining == pytest.approx(1e12 / (20 * 8.03e9), rel=1e-2)
    assert cost.flops == pytest.approx(6 * 8.03e9 * 1e12, rel=1e-2)
    assert cost.seconds * 0.95 == pytest.approx(cost.tokens / planned.best.rate)
    assert cost.energy_kwh == pytest.approx(cost.gpu_hours * 0.7 * 1.1 * 1.1) and cost.dollars is None


def test_published_hyperparameters_are_looked_up_by_size() -> None:
    assert nearest_runs(7e10, 1)[0].model == "Llama 3 70B" and nearest_runs(125e6, 1)[0].learning_rate == 6e-4
    sizes = [batch_tokens_for(parameters) for parameters in (25e6, 125e6, 7e9, 400e9)]
    assert sizes == sorted(sizes)
    assert all(row.source for row in published_hyperparameters())


# The command


def test_the_recipe_is_one_for_the_trainer(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text(yaml.safe_dump({"name": "mine", "seed": 3, "mixture": {"weights": {"web": 1}},
                                    "train": {"clip_norm": 0.5, "steps": 7}}))  # fmt: skip
    out = tmp_path / "plan.yaml"
    result = CliRunner().invoke(
        plan, ["--size", "70b", "--tokens", "100b", "--cluster", "h100:64", "--recipe", str(base), "--out", str(out)],
        catch_exceptions=False,
    )  # fmt: skip
    assert "recipe in" in result.output
    config = load_section("train", TrainConfig, out)
    written = yaml.safe_load(out.read_text())
    assert config.parallel.world_size == 64 and config.clip_norm == 0.5 and config.steps > 7
    assert written["name"] == "mine" and written["seed"] == 3 and written["mixture"] == {"weights": {"web": 1}}


def test_the_memory_of_a_recipe_is_that_of_its_plan() -> None:
    planned = make_plan(wish("30b"), parse_cluster("h100:32"), 1e9, None)
    recipe = recipe_of(planned.best.job, planned.wish.model, planned.cost, name="x", device="cuda", compiled=True)
    config = TrainConfig.model_validate(recipe["train"])
    assert memory_per_gpu(job_of_config(config, 128_256)) == planned.best.memory


def test_json_says_all_of_it() -> None:
    told = run("--size", "8b", "--tokens", "200b", "--cluster", "h100:8", "--price", "2")
    memory = told["memory_bytes"]
    assert memory["total"] == pytest.approx(sum(value for name, value in memory.items() if name != "total"))
    assert told["cost"]["dollars"] == pytest.approx(2 * told["cost"]["gpu_hours"])
    assert told["recipe"]["train"]["parallel"]["dp_shard"] == 8 and len(told["alternatives"]) == 3
    assert told["error_ratio"]["rows"] > 100


def test_a_laptop_has_a_plan() -> None:
    told = run("--size", "25m", "--cluster", "cpu:8")
    assert told["recipe"]["train"]["device"] == "cpu" and "parallel" not in told["recipe"]["train"]
    assert told["speed"]["mfu"] < 0.6


def test_tuning_starts_from_weights_with_the_batch_and_learning_rate_of_tunings() -> None:
    told = run("--size", "8b", "--cluster", "h100:8", "--method", "sft", "--seq-len", "4096", "--tokens", "1.3b")
    pretrained = run("--size", "8b", "--cluster", "h100:8", "--seq-len", "4096", "--tokens", "1.3b")
    section, other = told["recipe"]["train"], pretrained["recipe"]["train"]
    assert section["init_from"] == "imported" and "init_from" not in other
    assert section["optimizer"]["learning_rate"] == 5e-6 < other["optimizer"]["learning_rate"]
    assert 2.6e5 <= section["global_batch"] * 4096 <= 5.3e5 < other["global_batch"] * 4096


def test_adapters_have_a_plan_without_a_recipe(tmp_path: Path) -> None:
    told = run("--size", "70b", "--cluster", "h100:8", "--method", "qlora", "--seq-len", "4096", "--tokens", "20m")
    assert told["published"][0]["learning_rate"] == 3e-4 and told["global_batch"] * 4096 < 1e6
    assert told["recipe"] is None and told["memory_bytes"]["total"] < 76 * GIB
    with pytest.raises(ConfigError, match="no recipe"):
        CliRunner().invoke(plan, ["--size", "8b", "--cluster", "h100:8", "--method", "lora",
                                  "--tokens", "1b", "--out",
                                  str(tmp_path / "x.yaml")], catch_exceptions=False)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "8b", "--cluster", "h100:0"], "no such number of GPUs"),
        (["--size", "8b", "--cluster", "h100:-8"], "no such number of GPUs"),
        (["--size", "8b", "--cluster", "h100:12"], "not whole"),
        (["--size", "8b", "--cluster", "h10:8"], "did you mean h100?"),
        (["--size", "8x", "--cluster", "h100:8"], "cannot read the size"),
        (["--size", "9t", "--cluster", "h100:8"], "out of range"),
        (["--size", "8b", "--tokens", "2X", "--cluster", "h100:8"], "cannot read --tokens"),
        (["--size", "8b", "--tokens", "0", "--cluster", "h100:8"], "--tokens is out of range"),
        (["--size", "405b", "--cluster", "h100:8"], "h100:128 fits"),
        (["--size", "100b", "--family", "deepseek_v3", "--cluster", "h100:8"], "16b, 236b, 671b"),
        (["--size", "8b", "--cluster", "a100:8", "--precision", "float8"], "no float8"),
        (["--size", "8b", "--cluster", "h100:512", "--batch-tokens", "8k", "--seq-len", "1024"], "no layout"),
        (["--size", "8b", "--cluster", "h100:8", "--price", "-2"], "--price"),
        (["--size", "8b", "--cluster", "h100:8", "--gpu-memory", "nan"], "--gpu-memory is out of range"),
        (["--cluster", "h100:8"], "--size is missing"),
        (["--size", "8b", "--cluster", "h100:8", "--method", "sft"], "needs --tokens"),
        (["--size", "25m", "--cluster", "cpu:8", "--offload"], "--offload is for GPUs alone"),
        (["--size", "8b", "--cluster", "h100:8", "--method", "lora", "--optimizer", "muon"], "planned with AdamW"),
        (["--size", "8b", "--cluster", "h100:8", "--fit", "context", "--out", "x.yaml"], "--out x.yaml"),
        (["--size", "8b", "--cluster", "h100:8", "--fit", "model"], "--size 8b"),
        (["--size", "70b", "--cluster", "cpu:8", "--fit", "batch"], "it does not fit"),
        (["--family", "deepseek_v3", "--cluster", "cpu:1", "--fit", "model"], "it does not fit"),
        (["--size", "8b", "--cluster", "h100:8", "--tokens", "1"], "--tokens is less than a step"),
        (["--size", "8b", "--cluster", "h100:8", "--batch-tokens", "1"], "--batch-tokens is less than a sample"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_what_to_do(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CliRunner().invoke(plan, arguments, catch_exceptions=False)
    assert message in str(caught.value)


def test_a_recipe_that_cannot_be_written_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write the recipe"):
        CliRunner().invoke(plan, ["--size", "1b", "--cluster", "h100:8", "--out", str(tmp_path / "file" / "x.yaml")],
                           catch_exceptions=False)  # fmt: skip


def test_planning_needs_no_torch() -> None:
    code = (
        "import sys; import headwater.train.plan.cli, headwater.train.plan.show, headwater.train.plan.make, "
        "headwater.train.plan.recipe; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_clusters_are_read() -> None:
    assert parse_cluster("H100:512").gpus == 512 and parse_cluster("a100").gpu.name == "a100-80gb"
    cpu: Cluster = parse_cluster("cpu:8", gpu_memory_gib=16)
    assert cpu.processes == 1 and cpu.device.memory_bytes == 16 * GIB
    assert set(PUBLISHED) == {"llama3", "qwen3", "deepseek_v3", "gpt2"}
