"""Layouts against one process: losses, resumes from one to another, and documents that stay apart in each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import mask_worker
import pytest
import resume_worker
import yaml

from headwater.core.layout import RunLayout
from headwater.core.run import RunInfo, read_run
from headwater.train import synthetic
from headwater.train.losses import read_losses
from headwater.train.parity.compare import TOLERANCE, compare
from headwater.train.parity.layouts import LAYOUTS, VOCAB, Layout, recipe
from headwater.train.processes import Processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

STEPS = 10
TESTED = {
    "ddp2", "fsdp2", "fsdp2-zero1", "tp2", "cp2", "pp2", "pp2-gpipe", "pp2-interleaved", "pp2-zerobubble", "pp2-zbv",
    "hsdp2x2", "fsdp2tp2", "fsdp2cp2", "tp2pp2", "fsdp2tp2pp2", "ep2", "fsdp2pp2ep2",
}  # fmt: skip
"""Every kind of parallelism and of schedule, and a 3D layout of each family; HEADWATER_LAYOUTS=all takes all there are,
which is a quarter of an hour on two cores."""
ALL = os.environ.get("HEADWATER_LAYOUTS") == "all"
CHOSEN = [each for each in LAYOUTS.values() if each.name in TESTED or ALL]
LAYERS = None if ALL else 4
"""The tested layouts have at most four pipeline stages; half of the layers are half of the time."""
DENSE = [layout for layout in CHOSEN if not layout.experts and layout.processes > 1]
MIXED = [layout for layout in CHOSEN if layout.experts]


def run_group(count: int, log: Path, action: Callable[..., None], *arguments: Path) -> None:
    with Processes(count, log, action, *arguments) as group:
        codes = group.finish()
        assert codes == [0] * count, group.last_words()


def test_dense_layouts_have_the_losses_of_one_process() -> None:
    check([layout for layout in DENSE if layout.name not in WHOLE or ALL], "llama3")


def test_expert_layouts_have_the_losses_of_one_process() -> None:
    check([layout for layout in MIXED if layout.name not in WHOLE or ALL], "deepseek_v3")


def test_qwen_layouts_have_the_losses_of_one_process() -> None:
    check([LAYOUTS[name] for name in ("tp2", "cp2", "pp2")], "qwen3")


def check(layouts: Sequence[Layout], family: str) -> None:
    experts = ["train.model.experts.dense_layers=2"] if family == "deepseek_v3" else []
    shallow = [f"train.model.n_layers={LAYERS}", *experts] if LAYERS else []
    rows = compare(layouts, STEPS, family=family, overrides=["train.device=cpu", *shallow])
    assert {row.layout: (row.state, row.loss_difference, row.reason) for row in rows if row.state != "same"} == {}
    assert all(len(row.loss_differences) == STEPS and row.loss_difference <= TOLERANCE for row in rows)
    assert all(row.grad_norm_difference < 1e-4 for row in rows)
    assert all(row.validation_difference is not None for row in rows)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with tokens in the vocabulary of the built-in recipe."""
    run = RunLayout(tmp_path_factory.mktemp("data"))
    synthetic.make_tokenizer(run, VOCAB)
    for seed, source in enumerate(("code", "web")):
        synthetic.make_tokens(run, source, 400, vocab_size=VOCAB, seed=seed)
    return run.root


def write_recipe(path: Path, family: str) -> Path:
    value = recipe(family, STEPS)
    value["train"].update(checkpoint={"every": STEPS // 2}, device="cpu", threads=1)
    if LAYERS:
        value["train"]["model"]["n_layers"] = LAYERS
        if family == "deepseek_v3":
            value["train"]["model"]["experts"]["dense_layers"] = 2
    path.write_text(yaml.safe_dump(value))
    return path


CHAINS = {
    "dense": ("llama3", [
        ("one", None), ("fsdp2", None), ("tp2", None), ("pp2-zbv", None),
        ("tp2", "fsdp2"), ("pp2-zbv", "tp2"), ("cp2", "pp2-zbv"), ("fsdp2tp2pp2", None), ("one", "fsdp2tp2pp2"),
    ]),
    "mixed": ("deepseek_v3", [
        ("one", None), ("ep2", None), ("pp2-interleaved", "ep2"), ("tp2ep2", "one"), ("one", "ep2"),
    ]),
}  # fmt: skip
"""Which layout is trained, and after the checkpoint of which other."""
WHOLE = {name for _, links in CHAINS.values() for name, after in links if after is None}
"""Layouts that are trained for that from the beginning, and need not be once more to be held against one process."""


@pytest.mark.parametrize("chain", CHAINS)
def test_a_checkpoint_of_one_layout_goes_on_on_another(chain: str, tmp_path: Path, data: Path) -> None:
    family, links = CHAINS[chain]
    file = write_recipe(tmp_path / "recipe.yaml", family)
    jobs: list[dict[str, object]] = []
    for name, after in links:
        layout = LAYOUTS[name]
        folder = tmp_path / (f"{name}-after-{after}" if after else name)
        job = {"recipe": str(file), "data": str(data), "run": str(folder),
               "overrides": [f"train.micro_batch={layout.micro_batch}", *layout.overrides]}  # fmt: skip
        jobs.append(job | ({"after": str(tmp_path / after)} if after else {}))
    for processes, part in groupby(zip(links, jobs, strict=True), lambda item: LAYOUTS[item[0][0]].processes):
        (tmp_path / "jobs.json").write_text(json.dumps([job for _, job in part]))
        run_group(processes, tmp_path / "log.txt", resume_worker.main, tmp_path / "jobs.json")
    reference, first = figures(tmp_path / "one")
    for job in jobs[1:]:
        rows, last = figures(Path(str(job["run"])))
        assert last.order_digest == first.order_digest
        assert [row["samples"] for row in rows] == [row["samples"] for row in reference]
        for row, expected in zip(rows, reference, strict=True):
            assert row["loss"] == pytest.approx(expected["loss"], abs=TOLERANCE), (job["run"], row["step"])
            assert row["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-4), (job["run"], row["step"])
        assert last.validation_loss == pytest.approx(first.validation_loss, abs=TOLERANCE), job["run"]


def figures(run: Path) -> tuple[list[dict], RunInfo]:
    return read_losses(run / "train" / "losses.jsonl"), read_run(RunLayout(run).checkpoint(STEPS))


MASKS = {
    2: {
        "llama3": ["fsdp2", "ddp2", "tp2", "cp2", "pp2", "pp2-zbv"], "qwen3": ["tp2", "cp2"],
        "deepseek_v3": ["ep2", "tp2ep2", "cp2ep2", "pp2"],
    },
    4: {"llama3": ["tp2cp2", "cp2pp2"]},
}  # fmt: skip
"""Number of processes → family → layouts; one group of processes scores all of them."""


@pytest.mark.parametrize("processes", MASKS)
def test_a_neighbour_document_changes_no_loss_on_any_layout(processes: int, tmp_path: Path, data: Path) -> None:
    jobs = [
        {"name": f"{family} {name}", "recipe": str(write_recipe(tmp_path / f"{family}.yaml", family)), "run": str(data),
         "overrides": [f"train.micro_batch={LAYOUTS[name].micro_batch}", *LAYOUTS[name].overrides]}
        for family, names in MASKS[processes].items() for name in names
    ]  # fmt: skip
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    arguments = (mask_worker.main, tmp_path / "jobs.json", tmp_path / "out.json")
    run_group(processes, tmp_path / "log.txt", *arguments)
    results = json.loads((tmp_path / "out.json").read_text())
    assert list(results) == [job["name"] for job in jobs]
    for name, found in results.items():
        assert found["tokens"] == 9 * 25, name  # every scored token of every sample, once
        assert found["apart"] <= 1e-6, name
        assert found["joined"] > 1e-3, name  # the same change is seen where the documents are one
