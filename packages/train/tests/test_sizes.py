"""The dial: what `train.model.size` makes of a number of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from train_fixtures import write_recipe

from headwater.core.config import load_section, validate
from headwater.core.errors import ConfigError
from headwater.train.config import TrainConfig
from headwater.train.model import Model, sized
from headwater.train.plan.counts import counts
from headwater.train.plan.sizes import model_of, shape_of
from headwater.train.sizes import LADDER, parse_number


@pytest.mark.parametrize("size", [*LADDER, "7b", "200m", "1.5b"])
@pytest.mark.parametrize("family", ["llama3", "qwen3", "gpt2"])
def test_a_size_has_as_many_parameters_as_it_says(family: str, size: str) -> None:
    model = model_of(size, family)
    total = counts(shape_of(model, 1024)).total
    # Llama's makers round 1.24 billion to 1b, and 3.21 to 3b.
    rounded = {"1b": 1.2358e9, "3b": 3.2127e9}.get(size) if family == "llama3" else None
    assert total == pytest.approx(rounded or parse_number(size, "", ""), rel=0.001 if rounded else 0.05)
    if total > 1e9:
        assert model.n_heads % 8 == 0 and model.n_kv_heads == 8


def test_larger_sizes_are_wider_and_deeper() -> None:
    shapes = [model_of(size, "qwen3") for size in ("25m", "125m", "760m", "8b", "70b")]
    assert [shape.dim for shape in shapes] == sorted({shape.dim for shape in shapes})
    assert [shape.n_layers for shape in shapes] == sorted({shape.n_layers for shape in shapes})


@pytest.mark.parametrize(
    ("size", "family"), [("125m", "llama3"), ("8b", "qwen3"), ("16b", "deepseek_v3"), ("50m", "gpt2")]
)
def test_a_recipe_has_the_planners_shape_and_reads_what_it_wrote(size: str, family: str) -> None:
    model = validate(Model, {"size": size, "family": family}, "train.model")
    assert model.shape(100, 512) == model_of(size, family).shape(100, 512)
    assert validate(Model, model.model_dump(mode="json"), "train.model") == model


def test_vocabulary_and_tying_may_be_given() -> None:
    model = validate(Model, {"size": "25m", "vocab_size": 4096, "tied": False, "rope_theta": 5e5}, "train.model")
    assert (model.vocab_size, model.tied, model.rope_theta) == (4096, False, 5e5)
    assert counts(
        validate(Model, {"size": "25m", "vocab_size": 4096}, "train.model").shape(9, 64)
    ).total == pytest.approx(25e6, rel=0.05)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"size": "large"}, "train.model.size is not valid\n  found:    'large'\n  expected: a number, with k, m, b"),
        ({"size": "3"}, "1m to 2t"),
        ({"size": "30"}, "1m to 2t"),
        ({"size": "17b", "family": "deepseek_v3"}, "did you mean 16b"),
        ({"size": "8b", "dim": 512}, "train.model.dim is not valid\n  found:    512\n  expected: that of size 8b"),
        ({"size": "8b", "dim": 512}, "leave out size or dim"),
        ({"size": "25m", "head_dim": 64}, "leave out size or head_dim"),
        ({"size": 8}, "train.model.size"),
        ({"size": "8b", "family": "llama"}, "train.model.family"),
        ({"size": "8b", "vocab_size": "many"}, "train.model.vocab_size"),
    ],
)
def test_no_such_size(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(Model, section, "train.model")
    assert message in str(caught.value)


def test_the_option_replaces_the_recipes_shape(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "tiny.yaml")
    config = load_section("train", TrainConfig, recipe, sized("25m"))
    assert (config.model.dim, config.model.n_layers, config.seq_len) == (384, 8, 32)


def test_the_command_refuses_a_size_that_there_is_not(tmp_path: Path) -> None:
    from headwater.train.cli import train

    recipe = write_recipe(tmp_path / "tiny.yaml")
    with pytest.raises(ConfigError, match=r"train\.model\.size is not valid"):
        CliRunner().invoke(
            train, ["run", "--recipe", str(recipe), "--run", str(tmp_path), "--size", "huge"], catch_exceptions=False
        )
