"""Loss curves to measure detectors on: recorded ones, made ones, and spikes that are put into them at fixed places."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headwater.core.errors import ConfigError

F64 = npt.NDArray[np.float64]

FIRST = 256
"""No spike is put before this step: the detectors have just begun."""


@dataclass(frozen=True)
class Spike:
    """A kind of spike.

    Attributes:
        name: For the table.
        height: Nats.
        shape: "decay" (exponentially, over `steps`), "ramp" (up over `steps`, and stays), "stay" or "once".
        steps: Time constant of a decay, or length of a ramp.
        horizon: Steps from its start on in which an alarm counts as a detection.
    """

    name: str
    height: float
    shape: str
    steps: int
    horizon: int

    def rise(self, step: int) -> float:
        """What it adds, so many steps after its start."""
        if self.shape == "decay":
            return self.height * math.exp(-step / self.steps)
        if self.shape == "ramp":
            return self.height * min(1.0, step / self.steps)
        return self.height if self.shape == "stay" or step == 0 else 0.0


SPIKES = (
    Spike("+0.3, decays over 20", 0.3, "decay", 20, 60),
    Spike("+0.5, decays over 20", 0.5, "decay", 20, 60),
    Spike("+1, decays over 30", 1.0, "decay", 30, 90),
    Spike("ramp to +1 over 200", 1.0, "ramp", 200, 200),
    Spike("lasting +0.2", 0.2, "stay", 0, 200),
    Spike("one step of +1", 1.0, "once", 0, 1),
)


def read_curves(folder: Path) -> dict[str, F64]:
    """Every `*.csv` of a folder, with the columns `step` and `loss`.

    Raises:
        ConfigError: There is none, or one without these columns.
    """
    curves: dict[str, F64] = {}
    for path in sorted(folder.glob("*.csv")):
        try:
            with open(path, newline="", encoding="utf-8") as stream:
                rows = csv.DictReader(stream)
                if not {"step", "loss"} <= set(rows.fieldnames or ()):
                    raise ConfigError(f"{path} is not a loss curve", found=rows.fieldnames,
                                      expected="columns step, loss")  # fmt: skip
                curves[path.stem] = np.array([float(row["loss"]) for row in rows])
        except (ValueError, TypeError) as error:  # no number, no UTF-8, a row that ends early
            raise ConfigError(f"{path} is not a loss curve", found=error, expected="a number in every row") from error
    if not curves:
        raise ConfigError(f"{folder} has no loss curves", expected="CSV files with the columns step and loss")
    return curves


def made_curve(seed: int, steps: int = 6000) -> F64:
    """A curve of a power law (Kaplan et al., 2020, arXiv:2001.08361) with a decay at its end and noise with outliers.

    Level, exponent and noise (0.03 to 0.2 nats) are drawn from the seed; 1.5% of the steps are hard batches, whose loss
    is at least three standard deviations up, with an exponential tail.
    """
    random = np.random.default_rng(seed)
    step = np.arange(steps)
    final, exponent, height = random.uniform(1.5, 3.2), random.uniform(0.25, 0.6), random.uniform(6, 9)
    level = final + height * (step / random.uniform(10, 40) + 1) ** -exponent
    level -= 0.15 * np.clip((step - 0.7 * steps) / (0.3 * steps), 0, 1)
    noise = random.standard_normal(steps)
    deviation = math.exp(random.uniform(math.log(0.03), math.log(0.2)))
    hard = random.random(steps) < 0.015
    return level + deviation * np.where(hard, 3 + random.exponential(3, steps), noise)


def places(name: str, curve: Sequence[float] | F64, spike: Spike, count: int) -> list[int]:
    """Where spikes of a kind are put into a curve: at random, from its name, ascending."""
    last = len(curve) - spike.horizon
    if last <= FIRST:
        return []
    seed = int.from_bytes(hashlib.sha256(f"{name}\0{spike.name}".encode()).digest()[:8], "big")
    return sorted(int(place) for place in np.random.default_rng(seed).integers(FIRST, last, count))
