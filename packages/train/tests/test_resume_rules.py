import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headwater.core.errors import TrainError
from headwater.train.config import TrainConfig, identity, recorded
from headwater.train.resume import _identity_of, checkpoint_folders, refuse_if_changed, to_delete


@pytest.mark.parametrize(
    ("steps", "policy", "expected"),
    [
        ([(5, 3.0), (10, 2.0), (15, 2.5), (20, 2.7)], {"keep_last": 2, "keep_best": 1}, [5]),
        ([(5, 3.0), (10, 2.0), (15, 2.5), (20, 2.7)], {"keep_last": 1, "keep_best": 0}, [5, 10, 15]),
        ([(5, None), (10, None)], {"keep_last": 1, "keep_best": 3}, [5]),
        ([(5, 2.0), (10, 2.0), (15, 2.0)], {"keep_last": 1, "keep_best": 1}, [10]),
        ([(5, 2.0)], {"keep_last": 3, "keep_best": 3}, []),
        ([(5, 1.0), (10, 2.0), (15, 2.0), (20, 3.0)], {"keep_last": 1, "keep_best": 0, "keep_every": 10}, [5, 15]),
    ],
)
def test_the_newest_the_best_and_those_of_certain_steps_stay(
    steps: list[tuple[int, float | None]], policy: dict[str, int], expected: list[int]
) -> None:
    assert to_delete(steps, **policy) == expected


def test_what_sigterm_wrote_makes_none_of_the_others_go() -> None:
    steps: list[tuple[int, float | None]] = [(5, 1.0), (10, 2.0), (12, None), (13, None)]
    assert to_delete(steps, keep_last=2, keep_best=0, between={12, 13}) == [12]
    assert to_delete([*steps, (15, 3.0)], keep_last=2, keep_best=0, between={12, 13}) == [5, 12, 13]


def test_folders_come_in_order_of_step_and_others_are_left_alone(tmp_path: Path) -> None:
    for name in ("step-00000020", "step-00000003", "step-3", "notes"):
        (tmp_path / name).mkdir()
    assert [step for step, _ in checkpoint_folders(tmp_path)] == [3, 20]
    assert checkpoint_folders(tmp_path / "absent") == []


def test_a_key_that_came_later_has_its_default_in_an_older_checkpoint() -> None:
    now = TrainConfig.model_validate({"steps": 7, "optimizer": {"learning_rate": 0.5}})
    older = recorded(now)
    del older["optimizer"]["eps"], older["clip_norm"]
    assert _identity_of(older) == identity(now)
    assert _identity_of(older | {"steps": 8}) != identity(now)
    gone = older | {"no_more": 3}
    assert _identity_of(gone)["no_more"] == 3
    assert "guard" not in _identity_of(gone)


@pytest.mark.parametrize(
    ("then", "now", "message"),
    [
        ({}, {"optimizer": {"name": "muon"}}, r"another train\.optimizer\.name \(and .*found: +muon.*expected: +adamw"),
        ({"optimizer": {"name": "lion"}}, {}, r"another train\.optimizer\.name .*found: +adamw.*expected: +lion"),
        ({}, {"schedule": {"name": "cosine"}}, r"another train\.schedule\.name .*found: +cosine.*expected: +wsd"),
        ({}, {"objective": "prefix"}, r"another train\.objective\.kind.*found: +prefix.*expected: +causal"),
        ({}, {"optimizer": {"eps": 1e-6}}, r"another train\.optimizer\.eps.*found: +1e-06.*expected: +1e-08"),
    ],
)
def test_what_was_chosen_by_name_is_told_by_name(then: dict[str, Any], now: dict[str, Any], message: str) -> None:
    same: Any = {"tokenizer_digest": "", "stages": []}
    mixture = SimpleNamespace(normalised=dict, block=1)
    inputs: Any = SimpleNamespace(
        **same, config=TrainConfig.model_validate(now), base=SimpleNamespace(seed=0), mixture=mixture, token_digests={},
        initial=None,
    )  # fmt: skip
    info: Any = SimpleNamespace(
        **same, config=recorded(TrainConfig.model_validate(then)), seed=0, weights={}, block=1, tokens={},
        init_digest=None,
    )  # fmt: skip
    with pytest.raises(TrainError) as caught:
        refuse_if_changed(info, inputs)
    assert re.search(message, str(caught.value), re.DOTALL)
