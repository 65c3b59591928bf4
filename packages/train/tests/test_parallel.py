"""Which layouts are refused, and with what reason; all of it before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from headwater.core.config import load_section
from headwater.core.errors import ConfigError
from headwater.train.config import TrainConfig
from headwater.train.parallel import Parallel, require_blocks
from headwater.train.parity.layouts import LAYOUTS, recipe

MOE = "train.model.family=deepseek_v3 "


def load(tmp_path: Path, *overrides: str, family: str = "llama3") -> TrainConfig:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(family, 10)))
    return load_section("train", TrainConfig, path, overrides)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ("train.parallel.tp=3", r"n_heads \(8\) must be a multiple of parallel.tp \(3\)"),
        ("train.parallel.tp=4 train.model.n_kv_heads=2", r"n_kv_heads \(2\) must be a multiple of parallel.tp \(4\)"),
        ("train.parallel.tp=2 train.seq_len=63", r"seq_len \(63\) must be a multiple of parallel.tp \(2\)"),
        ("train.parallel.cp=2 train.seq_len=62", r"parallel.tp \* 2 \* parallel.cp \(4\)"),
        ("train.parallel.pp=3", r"n_layers \(8\) must be a multiple of the pipeline's stages \(3"),
        ("train.parallel.pp=8 train.parallel.schedule=ZBVZeroBubble", r"stages \(16.*2 a process"),
        ("train.parallel.pp=2 train.model.tied=true", "embedding and head are on different processes"),
        ("train.parallel.pp=4 train.parallel.micro_batches=2", r"as many micro-batches \(2\) as stages \(4\)"),
        ("train.parallel.pp=2 train.parallel.micro_batches=3", "multiple of micro_batch .* times parallel.micro_batch"),
        ("train.parallel.pp=2 train.parallel.schedule=Interleaved1F1B train.global_batch=7", r"in 3 rounds"),
        ("train.parallel.pp=2 train.parallel.schedule=ZBVZeroBubble train.compile=true", "compiled backward"),
        ("train.parallel.pp=2 train.parallel.schedule=1f1b", "parallel.schedule"),
        ("train.parallel.schedule=GPipe", "parallel.pp is 1"),
        ("train.parallel.micro_batches=2", "parallel.pp is 1"),
        ("train.parallel.dp_shard=3", "times the data-parallel processes"),
        ("train.parallel.ep=2 train.parallel.dp_shard=2", "needs a mixture of experts"),
        (MOE + "train.parallel.ep=2", r"must divide parallel.dp_shard \* cp \* tp \(1\)"),
        (MOE + "train.parallel.ep=4 train.parallel.dp_shard=4 train.model.experts.count=6", "multiple of parallel.ep"),
        (MOE + "train.parallel.tp=2", "loses part of the gradient"),
        ("train.parallel.zero=1", "both are 1"),
        ("train.parallel.zero=4 train.parallel.dp_shard=2", "parallel.zero"),
        ("train.parallel.zero=2 train.parallel.dp_shard=2 train.parallel.pp=2", "reduces gradients once a pass"),
    ],
)  # fmt: skip
def test_layouts_that_cannot_work_are_refused(tmp_path: Path, overrides: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load(tmp_path, *overrides.split())


@pytest.mark.parametrize("family", ["llama3", "qwen3", "deepseek_v3"])
def test_every_layout_of_the_table_fits_the_recipe(tmp_path: Path, family: str) -> None:
    for layout in LAYOUTS.values():
        if layout.experts == (family == "deepseek_v3"):
            config = load(tmp_path, f"train.micro_batch={layout.micro_batch}", *layout.overrides, family=family)
            assert config.parallel.world_size == layout.processes <= 8


def test_zero_stage_and_micro_batches_have_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "train.parallel.dp_shard=2").parallel.zero_stage == 3
    pipeline = load(tmp_path, "train.parallel.pp=2", "train.parallel.dp_shard=2").parallel
    assert pipeline.zero_stage == 1 and pipeline.micro_batches_of(8, 1) == 4
    assert load(tmp_path).parallel.micro_batches_of(8, 1) == 1


def test_context_parallel_on_cuda_needs_whole_mask_blocks() -> None:
    with pytest.raises(ConfigError, match=r"multiple of 256"):
        require_blocks(Parallel(cp=2), 384, "cuda")
    require_blocks(Parallel(cp=2), 512, "cuda")
    require_blocks(Parallel(cp=2), 384, "cpu")
