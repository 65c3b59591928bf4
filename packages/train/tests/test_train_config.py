from pathlib import Path

import pytest
from train_fixtures import write_recipe

from headwater.core.config import load_section
from headwater.core.errors import ConfigError
from headwater.train.config import NEUTRAL, TrainConfig, identity


def load(tmp_path: Path, *overrides: str) -> TrainConfig:
    return load_section("train", TrainConfig, write_recipe(tmp_path / "r.yaml"), overrides)


def test_unknown_key_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "train.optimizer.learning_rat=0.1")
    assert "train.optimizer.learning_rat" in str(caught.value) and "did you mean learning_rate?" in str(caught.value)


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("train.steps=many", "train.steps"), ("train.schedule.decay_ratio=1.5", "train.schedule.decay_ratio"),
        ("train.device=tpu", "train.device"),
        ("train.clip_norm=inf", "train.clip_norm"), ("train.checkpoint.keep_last=0", "train.checkpoint.keep_last"),
    ],
)  # fmt: skip
def test_wrong_values_name_their_path(tmp_path: Path, override: str, path: str) -> None:
    with pytest.raises(ConfigError, match=path.replace(".", r"\.")):
        load(tmp_path, override)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("train.global_batch=6", "multiple of micro_batch"), ("train.model.dim=30", "multiple of 2"),
        ("train.model.n_kv_heads=3", "n_kv_heads"), ("train.model.max_seq_len=16", "below seq_len"),
        ("train.model.head_dim=7", "multiple of 2"),
        ("train.model.experts.count=4", "belongs to family deepseek_v3"),
        ("train.model.family=deepseek_v3 train.model.tied=true", "tied is not of family"),
        ("train.model.family=deepseek_v3 train.model.experts.top_k=9", "above experts.count"),
        ("train.model.family=deepseek_v3 train.model.experts.dense_layers=2", "leave none to experts"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_together_are_refused(tmp_path: Path, override: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load(tmp_path, *override.split())


def test_shape_is_filled_in(tmp_path: Path) -> None:
    dense = load(tmp_path, "train.model.family=qwen3", "train.model.head_dim=24").model.shape(97, 32)
    assert (dense.head_width, dense.max_seq_len, dense.vocab_size, dense.experts) == (24, 32, 97, None)
    mixture = load(tmp_path, "train.model.family=deepseek_v3", "train.model.experts.count=4").model.shape(97, 32)
    assert mixture.experts and mixture.latent and (mixture.experts.count, mixture.experts.top_k) == (4, 2)


def test_identity_leaves_out_only_what_may_change(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert set(NEUTRAL) <= set(TrainConfig.model_fields)
    later = {name for name, field in TrainConfig.model_fields.items() if field.exclude_if is not None} - {"objective"}
    assert set(identity(config)) == set(TrainConfig.model_fields) - set(NEUTRAL) - later
    assert identity(load(tmp_path, "train.objective=causal")) == identity(config)
    assert identity(load(tmp_path, "train.objective=prefix"))["objective"] == {"kind": "prefix"}
    ramped = identity(load(tmp_path, "train.batch_ramp=[{batch: 4, steps: 2}]"))
    assert ramped["batch_ramp"] == [{"batch": 4, "steps": 2}]
    assert identity(load(tmp_path, "train.threads=2", "train.checkpoint.every=3")) == identity(config)
    assert identity(load(tmp_path, "train.seq_len=16")) != identity(config)
