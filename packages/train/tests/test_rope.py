"""Stretched rotary embeddings, with transformers and the papers' formulas as oracles."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from model_fixtures import GROUPED
from train_fixtures import write_recipe
from transformers import AutoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from headwater.core.checkpoints import choose_checkpoint
from headwater.core.config import validate
from headwater.core.errors import ConfigError
from headwater.core.huggingface import config_of
from headwater.core.layout import RunLayout
from headwater.core.rope import inverse_frequencies
from headwater.core.run import ModelShape, read_run
from headwater.train import titan
from headwater.train.model import Model
from headwater.train.runner import train

SCALINGS: list[dict[str, Any]] = [
    {"kind": "linear", "factor": 4.0},
    {"kind": "ntk", "factor": 4.0},
    {"kind": "yarn", "factor": 4.0, "original_max_seq_len": 2048},
    {"kind": "yarn", "factor": 32.0, "original_max_seq_len": 256, "beta_fast": 16.0, "attention_factor": 1.5},
    {"kind": "yarn", "factor": 2.0, "original_max_seq_len": 10},
    {"kind": "llama3", "factor": 8.0, "original_max_seq_len": 512},
]


def _scaled(family: str, scaling: dict[str, Any], head_dim: int = 64, base: float = 1e4) -> ModelShape:
    more = {"family": family, "head_dim": head_dim, "rope_theta": base, "rope_scaling": scaling}
    return ModelShape.model_validate({**GROUPED.model_dump(), **more})


@pytest.fixture(scope="module", autouse=True)
def _started() -> Any:
    titan.start("cpu", 1, 1)
    yield
    titan.stop()


@pytest.mark.parametrize("base", [1e4, 1e6])
@pytest.mark.parametrize("head_dim", [16, 128])
@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda scaling: scaling["kind"])
def test_a_pair_is_turned_as_in_transformers(scaling: dict[str, Any], head_dim: int, base: float) -> None:
    shape = _scaled("llama3", scaling, head_dim, base)
    found, factor = inverse_frequencies(torch.arange(head_dim // 2).float(), base, shape.rope_scaling)
    config = AutoConfig.for_model(**config_of(shape))
    kind = config.rope_parameters["rope_type"]
    if kind == "default":
        expected, expected_factor = (
            1.0 / config.rope_parameters["rope_theta"] ** (torch.arange(0, head_dim, 2).float() / head_dim),
            1.0,
        )
    else:
        expected, expected_factor = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
    assert torch.equal(found, expected)
    assert factor == expected_factor


def test_what_the_kinds_promise_of_the_wavelengths() -> None:
    def ratios(scaling: dict[str, Any]) -> torch.Tensor:
        shape = _scaled("llama3", scaling)
        plain = 1e4 ** -(torch.arange(0, 64, 2) / 64)
        return plain / inverse_frequencies(torch.arange(32).float(), 1e4, shape.rope_scaling)[0]

    assert ratios(SCALINGS[0]).numpy() == pytest.approx(4.0)
    ntk = ratios(SCALINGS[1])
    assert ntk[0] == 1.0 and ntk[-1] == pytest.approx(4.0) and bool((ntk.diff() > 0).all())
    yarn = ratios(SCALINGS[2])
    turns = 2048 / (2 * math.pi) * 1e4 ** -(torch.arange(0, 64, 2) / 64)  # in the original context
    assert yarn[turns > 40].numpy() == pytest.approx(1.0) and yarn[turns < 0.7].numpy() == pytest.approx(4.0)
    assert bool((yarn.diff() > -1e-5).all())


@pytest.mark.parametrize("scaling", SCALINGS[2:4], ids=["paper", "given"])
def test_yarn_sharpens_attention_by_the_square_of_its_factor(scaling: dict[str, Any]) -> None:
    from headwater.train.titan.rope import by_halves, pairwise

    shape = _scaled("qwen3", scaling)
    expected = scaling.get("attention_factor", 0.1 * math.log(4) + 1) ** 2
    x_BLHK = torch.randn(1, 8, 1, 64, generator=torch.Generator().manual_seed(0))
    for make in (pairwise, by_halves):
        query, key = make(shape).build()(x_BLHK, x_BLHK)
        own = (query * key).sum(-1) / (x_BLHK * x_BLHK).sum(-1)  # a turn keeps lengths
        assert own.numpy() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("family", "scaling", "message"),
    [
        ("llama3", {"kind": "dynamic", "factor": 2}, "kind is linear, ntk, yarn or llama3"),
        ("llama3", 4, "kind is linear"),
        ("llama3", {"kind": "linear", "factor": 4, "beta_fast": 3}, "unknown key train.model.rope_scaling.beta_fast"),
        ("llama3", {"kind": "yarn", "factor": 4}, "train.model.rope_scaling.original_max_seq_len is missing"),
        ("llama3", {"kind": "linear", "factor": 0.5}, "rope_scaling.factor"),
        ("qwen3", {"kind": "yarn", "factor": 4, "original_max_seq_len": 64, "beta_slow": 40}, "below beta_fast"),
        ("llama3", {"low_freq_factor": 4}, "below high_freq_factor"),
        ("deepseek_v3", {"kind": "linear", "factor": 4}, "families llama3 and qwen3"),
        ("gpt2", {"kind": "ntk", "factor": 4}, "families llama3 and qwen3"),
    ],
)
def test_what_is_no_scaling_is_refused_by_name(family: str, scaling: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(Model, {"family": family, "rope_scaling": scaling}, "train.model")
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", ["linear", "yarn"])
def test_a_longer_context_is_trained_from_the_weights_of_a_shorter_one(
    data: Path, whole: Path, tmp_path: Path, kind: str
) -> None:
    start = choose_checkpoint(RunLayout(whole), "last")
    scaling = {"kind": kind, "factor": 4} | ({"original_max_seq_len": 32} if kind == "yarn" else {})
    model = {"dim": 32, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "ffn_dim": 64, "rope_scaling": scaling}
    recipe = write_recipe(
        tmp_path / "long.yaml", model=model, init_from=str(start), seq_len=128, global_batch=4, steps=2,
        validation={"every": 0},
    )  # fmt: skip
    run = RunLayout(Path(shutil.copytree(data, tmp_path / "run")))
    train(recipe, run.root)
    info, before = read_run(choose_checkpoint(run, "last")), read_run(start)
    assert info.init_digest == before.weights_digest
    assert (info.model.max_seq_len, before.model.max_seq_len) == (128, 32)
    assert info.model.rope_scaling is not None and info.model.rope_scaling.kind == kind
    losses = [json.loads(line)["loss"] for line in (run.train / "losses.jsonl").read_text().splitlines()]
    assert losses[0] < math.log(97) - 0.5  # what random weights give


def test_a_recipe_without_a_kind_is_that_of_llama3() -> None:
    shape = validate(Model, {"rope_scaling": {"factor": 32}}, "train.model").shape(100, 64)
    assert shape.rope_scaling == ModelShape.model_validate(shape.model_dump()).rope_scaling
    assert shape.rope_scaling is not None and shape.rope_scaling.kind == "llama3"
