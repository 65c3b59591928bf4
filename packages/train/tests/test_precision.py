"""Precision, attention and accumulation: what each changes of a training, and where it is refused."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from train_fixtures import write_recipe

from headwater.core.config import load_section
from headwater.core.errors import ConfigError
from headwater.train.config import TrainConfig
from headwater.train.runner import train
from headwater.train.titan import loss_scale
from headwater.train.titan.loss_scale import LossScale
from headwater.train.torchao import require_torchao

QUICK: dict[str, Any] = {"validation": {"every": 0}, "checkpoint": {"every": 4, "keep_last": 9, "background": False}}


class Cut(Exception):
    """Ends a training as a crash would."""


def _losses(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "train" / "losses.jsonl").read_text().splitlines()]


def _trained(data: Path, folder: Path, name: str, **changes: Any) -> list[dict[str, Any]]:
    recipe = write_recipe(folder / f"{name}.yaml", **{**QUICK, **changes})
    run = Path(shutil.copytree(data, folder / name))
    assert train(recipe, run).state == "finished"
    return _losses(run)


def test_the_scale_is_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scale, "INTERVAL", 3)
    ours, theirs = LossScale(torch.device("cpu"), on=True), torch.amp.GradScaler("cpu", growth_interval=3)
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    finite = [1, 1, 1, 0, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0]
    for good in finite:
        optimizer.zero_grad()
        gradient = 1.0 if good else float("inf")
        theirs.scale(weight.sum() * gradient).backward()
        theirs.step(optimizer)
        found = ours.update(torch.tensor(2.0), torch.tensor(gradient))
        assert found.tolist() == [float(not good), theirs.get_scale()]
        theirs.update()
    again = LossScale(torch.device("cpu"), on=True)
    again.load_state_dict(ours.state_dict())
    assert again.state_dict() == ours.state_dict() != LossScale(torch.device("cpu"), on=True).state_dict()


def test_gradients_are_scaled_and_losses_are_not() -> None:
    scale, weight = LossScale(torch.device("cpu"), on=True), torch.nn.Parameter(torch.tensor([2.0, -1.0]))
    loss = scale.scaled((weight**2).sum())
    loss.backward()
    assert loss.item() == 5.0 and weight.grad is not None
    assert weight.grad.tolist() == [4.0 * 2**16, -2.0 * 2**16]
    scale.unscale([weight])
    assert weight.grad.tolist() == [4.0, -2.0]


def test_a_gradient_that_is_no_number_at_the_smallest_scale_is_no_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scale, "FIRST", 2.0)
    scale, bad = LossScale(torch.device("cpu"), on=True), torch.tensor(float("nan"))
    assert [scale.update(torch.tensor(1.0), bad).tolist() for _ in range(2)] == [[1.0, 2.0], [0.0, 1.0]]
    assert LossScale(torch.device("cpu"), on=True).update(bad, bad)[0] == 0  # the loss itself is wrong


def test_float16_skips_what_overflows_learns_and_resumes_exactly(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainer_class: Any
) -> None:
    monkeypatch.setattr(loss_scale, "FIRST", 2.0**26)
    whole = _trained(data, tmp_path, "whole", precision="float16", steps=20)
    skipped = [row["step"] for row in whole if row.get("skipped")]
    assert skipped[:5] == [1, 2, 3, 4, 5] and len(skipped) <= 12  # larger gradients later overflow again
    assert whole[-1]["loss"] < whole[0]["loss"] - 0.1
    events = (tmp_path / "whole" / "train" / "events.jsonl").read_text()
    assert '"skip"' not in events and '"rollback"' not in events

    original = trainer_class.train_step

    def cut(trainer: Any, batches: Any) -> None:
        if trainer.step == 6:
            raise Cut
        original(trainer, batches)

    trainer_class.train_step = cut
    recipe = write_recipe(tmp_path / "cut.yaml", **{**QUICK, "precision": "float16", "steps": 20})
    run = Path(shutil.copytree(data, tmp_path / "cut"))
    with pytest.raises(Cut):
        train(recipe, run)
    trainer_class.train_step = original
    train(recipe, run)
    assert _losses(run) == whole


def test_float16_learns_as_float32_does(data: Path, tmp_path: Path) -> None:
    plain = _trained(data, tmp_path, "plain")
    half = _trained(data, tmp_path, "half", precision="float16")
    assert not any(row.get("skipped") for row in half)
    assert [row["loss"] for row in half] == pytest.approx([row["loss"] for row in plain], abs=0.02)
    assert [row["loss"] for row in half] != [row["loss"] for row in plain]


def test_accumulated_gradients_are_those_of_one_batch(data: Path, tmp_path: Path) -> None:
    whole = _trained(data, tmp_path, "whole", micro_batch=8)
    parts = _trained(data, tmp_path, "parts", micro_batch=2)
    assert [row["loss"] for row in parts] == pytest.approx([row["loss"] for row in whole], abs=2e-5)
    assert [row["grad_norm"] for row in parts] == pytest.approx([row["grad_norm"] for row in whole], rel=1e-3)


@pytest.mark.slow
def test_compiled_blocks_train_as_eager_ones_do(data: Path, tmp_path: Path) -> None:
    brief = {"steps": 4, "model": {"dim": 32, "n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "ffn_dim": 64}}
    eager = _trained(data, tmp_path, "eager", **brief)
    torch._dynamo.utils.counters.clear()
    compiled = _trained(data, tmp_path, "compiled", **brief, compile=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert [row["loss"] for row in compiled] == pytest.approx([row["loss"] for row in eager], abs=1e-5)
    assert [row["grad_norm"] for row in compiled] == pytest.approx([row["grad_norm"] for row in eager], rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "mxfp8"}, "for GPUs alone"),
        ({"attention": "flex"}, "not for this device"),
        ({"attention": "varlen"}, "not for this device"),
    ],
)
def test_what_a_cpu_does_not_have_is_refused(data: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    run = Path(shutil.copytree(data, tmp_path / "run"))
    with pytest.raises(ConfigError, match=message):
        train(write_recipe(tmp_path / "recipe.yaml", **changes), run)


NEED_TORCHAO = [({"precision": "float8"}, "float8"), ({"optimizer": {"name": "adamw_8bit"}}, "adamw_8bit")]


@pytest.mark.parametrize(("changes", "extra"), NEED_TORCHAO)
def test_without_torchao_the_message_has_what_to_install(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], extra: str
) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)  # as if there were none
    run = Path(shutil.copytree(data, tmp_path / "run"))
    with pytest.raises(ConfigError) as caught:
        train(write_recipe(tmp_path / "recipe.yaml", **changes), run)
    said = str(caught.value)
    assert "needs torchao, which is not installed" in said and f"pip install 'headwater-train[{extra}]'" in said
    monkeypatch.delitem(sys.modules, "torchao")
    (tmp_path / "torchao").mkdir()
    (tmp_path / "torchao" / "__init__.py").write_text("import torch\nfrom torch import what_a_later_one_has")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"torchao, which does not load(.|\n)*what_a_later_one_has"):
        require_torchao("train.precision float8", extra)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.precision=float16", "train.model={family: deepseek_v3}"], "deepseek_v3"),
        (["train.precision=fp4"], "float32"),
        (["train.attention=varlen", "train.parallel.cp=2"], "parallel.cp"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_section("train", TrainConfig, write_recipe(tmp_path / "recipe.yaml"), overrides)
