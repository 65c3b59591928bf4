"""What a training takes: time, money, energy, and how its tokens compare with the compute-optimal number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from headwater.core.errors import ConfigError
from headwater.train.plan.clusters import Cluster
from headwater.train.plan.counts import counts
from headwater.train.plan.job import Job

TOKENS_PER_PARAMETER = 20
"""Compute-optimal tokens for each parameter (Hoffmann et al., 2022, arXiv:2203.15556, "Chinchilla")."""

GOODPUT = 0.95
"""Share of the time in which the run advances; the rest goes to restarts and lost steps. Llama 3 405B: above 0.90 on
16,384 GPUs (arXiv:2407.21783, section 3.3.4); small clusters fail less often."""

POWER_RATIO = 1.1
"""Power of a GPU's share of its server, of its TDP: 330 W measured for 300 W of a V100 (Patterson et al., 2021,
arXiv:2104.10350, table 4)."""

PUE, CO2_KG_PER_KWH = 1.1, 0.385
"""Power usage effectiveness of the data centre, and carbon intensity of the US grid (Touvron et al., 2023,
arXiv:2302.13971, section 6)."""

PRICE_OPTIONS = ("on-demand", "reserved", "spot")


@dataclass(frozen=True)
class Price:
    """Of one GPU for an hour.

    Attributes:
        dollars: US dollars.
        option: Under which option.
        source: Where it is from.
    """

    dollars: float
    option: str
    source: str


@dataclass(frozen=True)
class Cost:
    """What a training takes.

    Attributes:
        tokens: It sees so many.
        steps: In so many steps.
        flops: 6 N D, of the parameters that a token goes through.
        seconds: From beginning to end, restarts included.
        gpu_hours: GPUs times `seconds`.
        dollars: At `price`; none without one.
        energy_kwh: Of GPUs, servers and cooling.
        co2_kg: Of that energy.
        optimal_tokens: Compute-optimal for this model.
        overtraining: `tokens` over `optimal_tokens`.
    """

    tokens: float
    steps: int
    flops: float
    seconds: float
    gpu_hours: float
    dollars: float | None
    energy_kwh: float
    co2_kg: float
    optimal_tokens: float
    overtraining: float


def price_of(kind: str, option: str, given: float | None) -> Price | None:
    """The price of a GPU and hour: the one given, or a published one.

    Args:
        kind: Key of `clusters.GPUS`.
        option: One of `PRICE_OPTIONS`.
        given: Dollars that the user pays.

    Raises:
        ConfigError: The price that is given is not positive.
    """
    if given is not None:
        if not 0 < given < 10_000:
            raise ConfigError("--price is no price", found=given, expected="US dollars for a GPU and hour, like 2.50")
        return Price(given, "as given", "given by --price")
    table = _prices()
    row = table["on-demand"].get(kind)
    if row is None:
        return None
    if option == "on-demand":
        return Price(row["dollars"], option, row["source"])
    share = table[option]
    return Price(round(row["dollars"] * share["share"], 2), option, f"{row['source']}; {share['share']:.0%} of it by "
                 f"{share['source']}")  # fmt: skip


def cost_of(job: Job, cluster: Cluster, tokens: float, tokens_per_second: float, price: Price | None) -> Cost:
    """What it takes to train on so many tokens.

    Args:
        job: The training and its layout.
        cluster: On what.
        tokens: How many.
        tokens_per_second: Of the whole cluster.
        price: Of one GPU.
    """
    model = counts(job.shape)
    steps = max(1, round(tokens / (job.global_batch * job.seq_len)))
    seen = float(steps * job.global_batch * job.seq_len)
    seconds = seen / tokens_per_second / GOODPUT
    hours = seconds / 3600
    gpu_hours = hours * cluster.processes
    watts = cluster.device.power_watts * cluster.processes * POWER_RATIO
    energy = watts * hours / 1000 * PUE
    optimal = float(TOKENS_PER_PARAMETER * model.active)
    work = (4.0 if job.adapters else 6.0) * model.active * seen
    return Cost(
        tokens=seen, steps=steps, flops=work, seconds=seconds, gpu_hours=gpu_hours,
        dollars=price.dollars * gpu_hours if price else None, energy_kwh=energy, co2_kg=energy * CO2_KG_PER_KWH,
        optimal_tokens=optimal, overtraining=seen / optimal,
    )  # fmt: skip


@cache
def _prices() -> dict[str, Any]:
    return yaml.safe_load((files("headwater.train.plan") / "facts" / "prices.yaml").read_text(encoding="utf-8"))
