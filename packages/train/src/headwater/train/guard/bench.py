"""`headwater train guard-bench`: how often detectors alarm on clean curves, and which spikes they find.

A detector sees each curve as it is, step by step; alarms at most `EVENT` steps apart are one event. Then, for each
spike, a copy of the detector in the state that it had there goes on with the spike added. It has found the spike if it
alarms before the spike's horizon ends. Nothing is random but the places, and those follow from the curve's name.

The false alarms of a one-step detector are a matter of taste: a curve that jumps by 1.6 nats for one step, because the
batch was hard, is counted as clean here.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol

from headwater.train.guard.baselines import MeanSigma, MedianDeviation, RobustCusum, TwiceTheMean
from headwater.train.guard.curves import F64, SPIKES, Spike, made_curve, places
from headwater.train.guard.divergence import Divergence
from headwater.train.guard.outlier import Outlier

EVENT = 32
MADE_CURVES = 16
HELD_OUT = ("gpt2_124m_00", "gpt2_124m_04")
"""The recorded curves that no parameter was chosen on. The twelve others were trained on one and the same order of data
(their residuals correlate by more than 0.99), so any split among those would hold nothing out."""


class Detector(Protocol):
    """What the benchmark asks of a detector."""

    def alarms(self, loss: float) -> bool:
        """Takes the loss of a step; says whether it alarms."""
        ...


class Slow:
    """Our detector of slow divergence."""

    def __init__(self, **parameters: Any) -> None:
        self._divergence = Divergence(**parameters)

    def alarms(self, loss: float) -> bool:
        """Takes the loss of a step; says whether it alarms."""
        return self._divergence.observe(loss) is not None


class OneStep:
    """Our one-step detector. A step above its limit is skipped, and does not move the limits."""

    def __init__(self) -> None:
        self._outlier = Outlier()

    def alarms(self, loss: float) -> bool:
        """Takes the loss of a step; says whether it alarms."""
        if loss > self._outlier.limit(0):
            self._outlier.pass_over()
            return True
        self._outlier.observe(loss)
        return False


DETECTORS: dict[str, Callable[[], Detector]] = {
    "divergence (rolls back)": Slow,
    "outlier (skips one step)": OneStep,
    "CUSUM on robust z": RobustCusum,
    "OLMo: mean + 6 sigma": MeanSigma,
    "median + 8 MAD": MedianDeviation,
    "llm-foundry: 2 × mean": TwiceTheMean,
}


@dataclass(frozen=True)
class Share:
    """So many of so many, with Wilson's 95% interval (Wilson, JASA 22, 1927)."""

    found: int
    of: int

    @property
    def rate(self) -> float:
        """The share."""
        return self.found / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end."""
        if not self.of:
            return (math.nan, math.nan)
        z, n, p = 1.96, self.of, self.rate
        centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n)))


@dataclass
class Tally:
    """What a detector did on some curves.

    Attributes:
        steps: Clean steps seen.
        events: False alarms on them.
        found: Spike → how many were found.
        tried: Spike → how many were put in.
        delays: Spike → steps from the start of each found one to the alarm.
    """

    steps: int = 0
    events: int = 0
    found: Counter[str] = field(default_factory=Counter)
    tried: Counter[str] = field(default_factory=Counter)
    delays: dict[str, list[int]] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Takes in what the detector did on another curve."""
        self.steps, self.events = self.steps + other.steps, self.events + other.events
        self.found.update(other.found)
        self.tried.update(other.tried)
        for name, delays in other.delays.items():
            self.delays.setdefault(name, []).extend(delays)

    def false_alarms(self) -> Share:
        """Events of all clean steps."""
        return Share(self.events, self.steps)

    def recall(self, spike: Spike) -> Share:
        """Found of those put in."""
        return Share(self.found[spike.name], self.tried[spike.name])

    def delay(self, spike: Spike) -> float | None:
        """Median steps from the start of a found spike to its alarm."""
        delays = self.delays.get(spike.name)
        return median(delays) if delays else None

    def as_json(self) -> dict[str, Any]:
        """Rates with their intervals."""
        alarms = self.false_alarms()
        return {
            "steps": self.steps, "false_alarms": self.events, "per_10k_steps": alarms.rate * 1e4,
            "per_10k_steps_interval": [edge * 1e4 for edge in alarms.interval],
            "recall": {
                spike.name: {
                    "found": self.recall(spike).found, "of": self.recall(spike).of, "rate": self.recall(spike).rate,
                    "interval": list(self.recall(spike).interval), "median_delay_steps": self.delay(spike),
                }
                for spike in SPIKES
            },
        }  # fmt: skip


def watch(make: Callable[[], Detector], name: str, curve: F64, count: int) -> Tally:
    """What a detector does on one curve: as it is, and with `count` spikes of each kind."""
    tally = Tally()
    wanted: dict[int, list[Spike]] = {}
    for spike in SPIKES:
        for place in places(name, curve, spike, count):
            wanted.setdefault(place, []).append(spike)
    detector, last = make(), -EVENT - 1
    losses = curve.tolist()
    for step, loss in enumerate(losses):
        for spike in wanted.get(step, ()):
            _try(tally, copy.deepcopy(detector), spike, losses[step : step + spike.horizon])
        if detector.alarms(loss):
            tally.events += step - last > EVENT
            last = step
    tally.steps += len(losses)
    return tally


def _try(tally: Tally, detector: Detector, spike: Spike, losses: Sequence[float]) -> None:
    tally.tried[spike.name] += 1
    for step, loss in enumerate(losses):
        if detector.alarms(loss + spike.rise(step)):
            tally.found[spike.name] += 1
            tally.delays.setdefault(spike.name, []).append(step)
            return


def measure(
    recorded: Mapping[str, F64], count: int, tick: Callable[[], None] = lambda: None
) -> dict[str, dict[str, Tally]]:
    """The whole table: group of curves → detector → tally. The groups are all recorded curves; of these, those that
    parameters were chosen on and those that they were not; and made ones, which parameters were chosen on too.

    Args:
        recorded: Name → losses.
        count: Spikes of each kind in each curve.
        tick: Called after each curve.
    """
    made = {f"made_{seed}": made_curve(seed) for seed in range(MADE_CURVES)}
    table: dict[str, dict[str, Tally]] = {}
    for name, curve in {**recorded, **made}.items():
        held = "held out" if name in HELD_OUT else "tuned on"
        of = ["made (tuned on)"] if name in made else ["all recorded", held]
        for detector, make in DETECTORS.items():
            tally = watch(make, name, curve, count)
            for group in of:
                table.setdefault(group, {}).setdefault(detector, Tally()).add(tally)
        tick()
    return table
