"""The torchtitan side: masks on a CPU, sharded training, metrics while it runs, launch errors."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import urllib.request
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch
from train_fixtures import STEPS, VOCAB

from headwater.core.errors import ConfigError
from headwater.core.events import read_events
from headwater.core.layout import RunLayout
from headwater.core.metrics import TABLE
from headwater.core.run import ModelShape, read_run
from headwater.train import titan
from headwater.train.losses import read_losses

PACKED = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 0]])


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    titan.start("cpu", 1, 1)
    from headwater.train.titan.model import model_spec

    shape = ModelShape(
        dim=32, n_layers=2, n_heads=4, n_kv_heads=2, ffn_dim=48, vocab_size=VOCAB, rope_theta=1e4, norm_eps=1e-5,
        max_seq_len=16,
    )  # fmt: skip
    torch.manual_seed(0)
    built = model_spec(shape, "cpu").model.build()
    built.init_weights(buffer_device=None)
    titan.stop()
    return built.eval()


def logits(model: torch.nn.Module, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        masks = model.get_attention_masks(positions=positions)  # type: ignore[operator]
        return model(tokens, positions=positions, attention_masks=masks)


def test_document_mask_is_causal_and_stays_in_the_document() -> None:
    from headwater.train.titan.cpu import document_mask

    mask = document_mask(PACKED)[0, 0]
    documents = [0, 0, 0, 1, 1, 1, 1, 2]
    expected = [[documents[q] == documents[k] and k <= q for k in range(8)] for q in range(8)]
    assert mask.tolist() == expected


def test_a_neighbour_document_changes_nothing(model: torch.nn.Module) -> None:
    tokens = torch.arange(8).unsqueeze(0)
    changed = tokens.clone()
    changed[0, :3] = torch.tensor([50, 60, 70])
    before, after = logits(model, tokens, PACKED), logits(model, changed, PACKED)
    assert torch.equal(before[:, 3:], after[:, 3:])
    assert not torch.equal(before[:, :3], after[:, :3])


def test_a_packed_document_is_scored_as_if_alone(model: torch.nn.Module) -> None:
    tokens = torch.arange(8).unsqueeze(0)
    alone = logits(model, tokens[:, 3:7], PACKED[:, 3:7])
    torch.testing.assert_close(logits(model, tokens, PACKED)[:, 3:7], alone, rtol=1e-5, atol=1e-5)


def torchrun(processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*launcher, "-m", "--", "headwater.train", "run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_sharded_over_two_processes_it_goes_on_as_on_one(tmp_path: Path, whole: Path, long_recipe: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    (run / "train" / "manifest.json").unlink()
    shutil.rmtree(RunLayout(run).checkpoint(STEPS))
    result = torchrun(2, "--recipe", str(long_recipe), "--run", str(run), "train.parallel.dp_shard=2")
    assert result.returncode == 0, result.stderr[-3000:]
    one, two = (read_losses(folder / "train" / "losses.jsonl") for folder in (whole, run))
    for name in ("samples", "fed"):
        assert [row[name] for row in one] == [row[name] for row in two]
    assert one[:20] == two[:20]
    for left, right in zip(one[20:], two[20:], strict=True):
        assert left["loss"] == pytest.approx(right["loss"], abs=1e-5)
    left, right = (read_run(RunLayout(folder).checkpoint(STEPS)) for folder in (whole, run))
    assert left.order_digest == right.order_digest and left.samples == right.samples
    assert left.validation_loss == pytest.approx(right.validation_loss, abs=1e-5)


def test_number_of_processes_must_be_the_product_of_the_degrees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="number of processes") as caught:
        titan.start("cpu", 2, 1)
    assert "torchrun" in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_what_is_raised_after_trainings_has_no_ranks_before_it() -> None:
    hook = sys.excepthook
    for _ in range(2):
        titan.start("cpu", 1, 1)
        assert sys.excepthook is not hook
        titan.stop()
    assert sys.excepthook is hook


def test_cuda_that_is_not_there_is_refused() -> None:
    assert titan.choose_device("auto") == "cpu"
    with pytest.raises(ConfigError, match="CUDA"):
        titan.choose_device("cuda")


@pytest.mark.services
@pytest.mark.skipif("prometheus" not in entry_points(group="headwater.sinks").names, reason="no Prometheus sink here")
def test_metrics_are_served_while_it_trains(tmp_path: Path, data: Path, long_recipe: Path) -> None:
    run = Path(shutil.copytree(data, tmp_path / "run"))
    command = [sys.executable, "-m", "headwater.train", "run", "--recipe", str(long_recipe), "--run", str(run),
               "train.metrics.prometheus.port=0", "train.steps=100000", "train.validation.every=2"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        losses = run / "train" / "losses.jsonl"
        while (
            not losses.is_file() or losses.read_bytes().count(b"\n") < 12
        ):  # a checkpoint is finished before the next begins
            try:
                process.wait(timeout=0.02)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(process.communicate())
        event = next(e for e in read_events(run / "train" / "events.jsonl") if e["kind"] == "metrics")
        url = event["url"]
        assert event["machine"] == socket.gethostname()
        with urllib.request.urlopen(url) as answer:
            page = answer.read().decode()
    finally:
        process.terminate()
    _, said = process.communicate()
    assert process.returncode == 75 and f"metrics: {url}" in said
    served = {line.split("{")[0].split(" ")[0] for line in page.splitlines() if not line.startswith("#")}
    names = {
        f"{name}_count" if metric.kind == "histogram" else name
        for name, metric in TABLE.items() if metric.stage == "train"
    }  # fmt: skip
    on_gpu = {
        "headwater_train_mfu", "headwater_train_peak_memory_bytes", "headwater_train_device_memory_limit_bytes",
        "headwater_train_gpu_utilization_ratio",
    }  # fmt: skip
    of_experts = {name for name in TABLE if "expert" in name}
    of_several, later = "headwater_train_slowest_rank_ratio", "headwater_train_rank_step_seconds"
    # A sink may show a counter only once it counted something; few machines let everybody read what they take.
    assert names - served <= {
        "headwater_train_nonfinite_steps_total",
        "headwater_train_energy_joules_total",
        of_several,
        later,
        *on_gpu,
        *of_experts,
    }


def test_command_line_prints_json_and_exits_2_on_a_wrong_key(whole: Path, long_recipe: Path) -> None:
    command = [sys.executable, "-m", "headwater.train", "run", "--recipe", str(long_recipe), "--run", str(whole)]
    result = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["state"] == "up to date"
    wrong = subprocess.run([*command, "train.stepz=3"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "did you mean steps?" in wrong.stderr and "Traceback" not in wrong.stderr
