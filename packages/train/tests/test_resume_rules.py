from pathlib import Path

import pytest

from headwater.train.resume import checkpoint_folders, to_delete


@pytest.mark.parametrize(
    ("steps", "keep_last", "keep_best", "expected"),
    [
        ([(5, 3.0), (10, 2.0), (15, 2.5), (20, 2.7)], 2, 1, [5]),
        ([(5, 3.0), (10, 2.0), (15, 2.5), (20, 2.7)], 1, 0, [5, 10, 15]),
        ([(5, None), (10, None)], 1, 3, [5]),
        ([(5, 2.0), (10, 2.0), (15, 2.0)], 1, 1, [10]),
        ([(5, 2.0)], 3, 3, []),
    ],
)
def test_the_newest_and_the_best_stay(
    steps: list[tuple[int, float | None]], keep_last: int, keep_best: int, expected: list[int]
) -> None:
    assert to_delete(steps, keep_last, keep_best) == expected


def test_folders_come_in_order_of_step_and_others_are_left_alone(tmp_path: Path) -> None:
    for name in ("step-00000020", "step-00000003", "step-3", "notes"):
        (tmp_path / name).mkdir()
    assert [step for step, _ in checkpoint_folders(tmp_path)] == [3, 20]
    assert checkpoint_folders(tmp_path / "absent") == []
