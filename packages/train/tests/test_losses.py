from pathlib import Path

import pytest

from headwater.core.errors import TrainError
from headwater.train.losses import LossLog, read_losses


def fill(path: Path, steps: int) -> LossLog:
    log = LossLog(path)
    for step in range(1, steps + 1):
        log.write(
            step,
            loss=1 / 3 * step,
            grad_norm=0.1,
            learning_rate=1e-3,
            tokens=step * 8,
            samples=(step - 1, step),
            fed="0" * 16,
        )
    return log


def test_floats_read_back_to_the_same_bits(tmp_path: Path) -> None:
    fill(tmp_path / "l", 3)
    assert [row["loss"] for row in read_losses(tmp_path / "l")] == [1 / 3, 2 / 3, 1 / 3 * 3]


def test_truncate_drops_later_steps_and_a_line_cut_by_a_kill(tmp_path: Path) -> None:
    log = fill(tmp_path / "l", 9)
    before = (tmp_path / "l").read_text().splitlines(keepends=True)
    with open(tmp_path / "l", "a") as stream:
        stream.write('{"step": 10, "lo')
    log.truncate(6)
    assert (tmp_path / "l").read_text() == "".join(before[:6])


def test_missing_steps_are_refused(tmp_path: Path) -> None:
    log = fill(tmp_path / "l", 4)
    with pytest.raises(TrainError, match="does not hold the steps"):
        log.truncate(5)
