"""Metrics of a training: right on one process, the same on every layout, and of every rank."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import metrics_worker
import numpy as np
import pytest
import torch
from torch.nn import functional as F
from train_fixtures import write_recipe

from headwater.core import metrics as names
from headwater.core.errors import StorageError
from headwater.core.layout import RunLayout
from headwater.core.metrics import parse_series
from headwater.core.run import read_run
from headwater.core.trace.training import order_of
from headwater.train.energy import CpuMeter, GpuMeter
from headwater.train.parity.layouts import LAYOUTS
from headwater.train.processes import Processes
from headwater.train.ranks import Ranks, State, series_of, straggling
from headwater.train.titan import profile

STEPS = 10
DENSE = ["one", "fsdp2", "ddp2", "tp2", "cp2", "pp2", "pp2-zbv"]


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "train" / "metrics.jsonl").read_text().splitlines()]


def labelled(rows: list[dict[str, Any]], metric: names.Metric) -> dict[str, list[float]]:
    """Value of the metric's one label → its values, in their order."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for series, value in row.items():
            if series.startswith(metric.name + "{"):
                (label,) = parse_series(series)[1].values()
                found.setdefault(label, []).append(value)
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, data: Path) -> dict[str, Path]:
    """One training on several layouts, and one more with a slow rank."""
    folder = tmp_path_factory.mktemp("layouts")
    jobs: dict[int, list[dict[str, Any]]] = {}
    recipe = write_recipe(
        folder / "recipe.yaml", steps=STEPS, validation={"every": 0}, checkpoint={"every": STEPS},
        model={"dim": 32, "n_layers": 4, "n_heads": 2, "n_kv_heads": 2, "ffn_dim": 64},
    )  # fmt: skip
    for name in DENSE:
        layout = LAYOUTS[name]
        jobs.setdefault(layout.processes, []).append({
            "recipe": str(recipe), "data": str(data), "run": str(folder / name),
            "overrides": [f"train.micro_batch={layout.micro_batch}", *layout.overrides],
        })  # fmt: skip
    jobs[2].append({**jobs[2][0], "run": str(folder / "slow"), "slow": 1})
    for processes, some in jobs.items():
        path = folder / f"jobs-{processes}.json"
        path.write_text(json.dumps(some))
        with Processes(processes, folder / "log.txt", metrics_worker.main, path) as group:
            codes = group.finish()
            assert codes == [0] * processes, group.last_words()
    return {path.name: path for path in folder.iterdir() if path.is_dir()}


@pytest.mark.slow
def test_losses_of_the_sources_add_up_to_the_loss(runs: dict[str, Path]) -> None:
    layout = RunLayout(runs["one"])
    order = order_of(layout, read_run(layout.checkpoint(STEPS)))
    first = next(row for row in rows_of(runs["one"]) if names.TRAIN_SOURCE_LOSS.series(source="web") in row)
    drawn = {source: order.drawn(source, 8) for source in ("code", "web")}
    losses = {source: first[names.TRAIN_SOURCE_LOSS.series(source=source)] for source in drawn}
    assert first["step"] == 1 and min(drawn.values()) > 0 and losses["code"] != losses["web"]
    mean = sum(losses[source] * drawn[source] for source in drawn) / 8
    assert mean == pytest.approx(first[names.TRAIN_LOSS.name], abs=1e-6)
    for source, samples in drawn.items():
        assert first[names.TRAIN_SOURCE_TOKENS.series(source=source)] == samples * 32


@pytest.mark.slow
@pytest.mark.parametrize("name", DENSE[1:])
def test_every_layout_finds_the_same(name: str, runs: dict[str, Path]) -> None:
    reference, rows = rows_of(runs["one"]), rows_of(runs[name])
    for metric in (names.TRAIN_SOURCE_LOSS, names.TRAIN_SOURCE_TOKENS):
        expected = {label: values[0] for label, values in labelled(reference, metric).items()}
        found = {label: values[0] for label, values in labelled(rows, metric).items()}
        assert set(expected) == {"code", "web"} and found == pytest.approx(expected, abs=2e-6)
    expected, found = (
        {group: values[-1] for group, values in labelled(some, names.TRAIN_UPDATE_RATIO).items()}
        for some in (reference, rows)
    )
    assert set(expected) == {"embedding", "attention", "feed_forward", "norm", "head"}
    assert found == pytest.approx(expected, rel=2e-3)
    # The highest of a rank: of ranks with other tokens above the mean, else the loss itself.
    pairs = [(row[names.TRAIN_LOSS_RANK_MAX.name], row[names.TRAIN_LOSS.name]) for row in rows
             if names.TRAIN_LOSS.name in row]  # fmt: skip
    assert len(pairs) == STEPS
    if name in ("fsdp2", "ddp2", "cp2"):
        assert all(highest > mean for highest, mean in pairs)
    else:
        assert all(highest == pytest.approx(mean, abs=2e-6) for highest, mean in pairs)


@pytest.mark.slow
def test_the_slow_rank_is_told_and_no_other(runs: dict[str, Path]) -> None:
    for name in ("fsdp2", "slow"):
        rows = rows_of(runs[name])
        for metric in (names.TRAIN_RANK_HEARTBEAT, names.TRAIN_RANK_MEMORY, names.TRAIN_RANK_STEP_SECONDS):
            assert set(labelled(rows, metric)) == {"0", "1"}, metric
        assert min(value for values in labelled(rows, names.TRAIN_RANK_MEMORY).values() for value in values) > 1e7
    rows = rows_of(runs["slow"])
    told = [row for row in rows if names.TRAIN_SLOWEST_RANK.name in row][-1]
    took = {rank: value for rank, (value,) in labelled([told], names.TRAIN_RANK_STEP_SECONDS).items()}
    wall = max(row[names.TRAIN_STEP_SECONDS.name] for row in rows if names.TRAIN_STEP_SECONDS.name in row)
    assert took["1"] - took["0"] > metrics_worker.WAIT_SECONDS, "two micro-batches a step"
    assert wall > 2 * metrics_worker.WAIT_SECONDS, "all wait for it"
    assert told[names.TRAIN_SLOWEST_RANK.name] == pytest.approx(took["1"] / took["0"])


def test_ranks_are_compared_within_their_pipeline_stage() -> None:
    def at(stage: int, seconds: float | None) -> State:
        return State(stage, 1.0, 2.0, step_seconds=seconds)

    assert straggling([at(0, 1.0), at(1, 3.0)]) is None, "stages have other work"
    assert straggling([at(0, 1.0), at(0, 1.1), at(1, 3.0), at(1, 3.0)]) == pytest.approx(1.1)
    assert straggling([at(0, 1.0), at(0, 2.0)]) == 2.0
    assert straggling([at(0, None), at(0, 2.0)]) is None
    told = {0: State(0, 5.0, 7.0, on_gpu=True, utilization=0.5, gpu_joules=10.0, cpu_joules=1.0),
            1: State(0, 6.0, 8.0, on_gpu=True, utilization=1.0, gpu_joules=20.0)}  # fmt: skip
    assert series_of(told) == {
        'headwater_train_rank_heartbeat_timestamp_seconds{rank="0"}': 5.0,
        'headwater_train_rank_memory_bytes{rank="0"}': 7.0,
        'headwater_train_rank_heartbeat_timestamp_seconds{rank="1"}': 6.0,
        'headwater_train_rank_memory_bytes{rank="1"}': 8.0,
        'headwater_train_gpu_utilization_ratio{of="mean"}': 0.75,
        'headwater_train_gpu_utilization_ratio{of="lowest"}': 0.5,
        'headwater_train_energy_joules_total{device="gpu"}': 30.0,
        'headwater_train_energy_joules_total{device="cpu"}': 1.0,
        "headwater_train_peak_memory_bytes": 7.0,
    }


def test_a_sink_that_cannot_write_is_no_crash_beside_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The training meets it itself, at its next step, and says so once."""
    crashed, asked = [], []
    monkeypatch.setattr(threading, "excepthook", crashed.append)

    def full(series: dict[str, float]) -> None:
        asked.append(series)
        raise StorageError("no space left")

    with Ranks(lambda: State(0, 1.0, 2.0), full, None, 0, 1):
        pass
    assert asked and not crashed


def test_a_samples_loss_is_that_of_its_tokens(titan_started: None) -> None:
    from headwater.train.titan.sample_loss import SampleLoss

    torch.manual_seed(0)
    logits, labels = torch.randn(3, 5, 11, requires_grad=True), torch.randint(0, 11, (3, 5))
    labels[1, 2] = -100
    criterion = SampleLoss(SampleLoss.Config())
    loss, _ = criterion(logits, labels, torch.tensor(14))
    loss.backward()
    gradient, logits.grad = logits.grad, None
    (F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") / 14).backward()
    assert torch.equal(gradient, logits.grad), "the gradient is that of the sum, to the last bit"
    (kept,) = criterion.take(1)
    assert kept.shape == (3,) and not criterion.take(1)
    for row in range(3):
        assert kept[row] == pytest.approx(
            float(F.cross_entropy(logits[row].detach(), labels[row], reduction="sum")), 1e-6
        )
    with torch.no_grad():
        criterion(logits, labels)
    assert not criterion.take(1), "a validation leaves nothing behind"


def test_the_smallest_sources_of_many_share_a_label(titan_started: None) -> None:
    from headwater.core.order import Order, SourceSpec
    from headwater.core.skips import KeptOrder, Skips
    from headwater.train.titan.sources import MOST, OTHER, Sources

    weights = {f"source {number:02}": float(number + 1) for number in range(MOST + 8)}
    order = Order([SourceSpec(name, 1000, weight) for name, weight in weights.items()], 10, 0)
    inputs: Any = SimpleNamespace(
        order=order, config=SimpleNamespace(seq_len=10), mixture=SimpleNamespace(normalised=lambda: weights)
    )
    sources, kept = Sources(inputs), KeptOrder(order, Skips())
    assert len(sources.labels) == MOST and sources.labels[-1] == OTHER and "source 00" not in sources.labels
    which, _, _ = kept.locate_many(range(64))
    one_hot, tokens = sources.shares([which[:32], which[32:]], [np.full(32, 10), np.full(32, 10)])
    assert one_hot.shape == (MOST, 64) and one_hot.sum() == 64
    nats = one_hot.sum(axis=1).tolist()
    assert tokens == [10 * samples for samples in nats]
    sources.add(nats, tokens)  # a nat a sample
    sources.add([math.nan] * MOST, [10.0] * MOST)  # nothing is known of such a step
    found = sources.take(128, kept)
    losses = {series: value for series, value in found.items() if "_loss" in series}
    assert set(losses.values()) == {0.1}
    assert sum(value for series, value in found.items() if "_tokens" in series) == 1280
    assert not any("_loss" in series for series in sources.take(128, kept))


def test_an_update_is_measured_as_it_was(titan_started: None) -> None:
    from headwater.train.titan.updates import GROUPS, SAMPLE, UpdateRatio

    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"attention": torch.nn.Linear(700, 600), "lm_head": torch.nn.Linear(8, 4)})
    assert model["attention"].weight.numel() > 6 * SAMPLE
    updates = UpdateRatio([model], 1, torch.device("cpu"))
    updates.before()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * parameter.abs(), alpha=0.01)
    found = dict(zip(GROUPS, updates.after().tolist(), strict=True))
    for group, part in (("attention", "attention"), ("head", "lm_head")):
        pairs = [(parameter, before[name]) for name, parameter in model.named_parameters() if name.startswith(part)]
        moved = sum(float((new - old).square().sum()) for new, old in pairs)
        expected = math.sqrt(moved / sum(float(new.square().sum()) for new, _ in pairs))
        assert found[group] == pytest.approx(expected, rel=1e-6 if group == "head" else 0.02)
    assert all(math.isnan(found[group]) for group in GROUPS if group not in ("attention", "head"))


def test_the_highest_of_a_window_outlasts_what_follows() -> None:
    from headwater.train.titan.metrics import Window

    window = Window(60)
    assert [window.highest(value, now) for value, now in ((3, 0), (9, 10), (4, 20), (5, 69), (2, 71))] == [
        3, 9, 9, 9, 5
    ]  # fmt: skip
    assert window.highest(math.nan, 72) == math.inf and window.highest(1, 73) == math.inf


def test_a_part_within_another_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(profile.time, "perf_counter", lambda: now)
    clock = profile.Clock()
    with clock.part(profile.FIGURES):
        now = 1.0
        with pytest.raises(ValueError, match="in the middle"), clock.part(profile.CHECKPOINT):
            now = 5.0
            raise ValueError("in the middle")
        now = 7.0
    assert clock.seconds == {profile.FIGURES: 3.0, profile.CHECKPOINT: 4.0}


def test_energy_of_the_cpus_is_read_where_the_kernel_shows_it(tmp_path: Path) -> None:
    assert CpuMeter(tmp_path).joules() is None
    for name, joules in (("intel-rapl:0", 900), ("intel-rapl:1", 100), ("intel-rapl:0:0", 7)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(str(joules * 10**6))
        (tmp_path / name / "max_energy_range_uj").write_text(str(1000 * 10**6))
    meter = CpuMeter(tmp_path)
    assert meter.joules() == 0
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text(str(50 * 10**6))  # it began anew
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text(str(130 * 10**6))
    assert meter.joules() == pytest.approx(150 + 30)
    assert GpuMeter(None).utilization() is None and GpuMeter(None).joules() is None
