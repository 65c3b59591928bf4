"""Whole runs: the same again, killed, terminated, damaged, changed."""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from train_fixtures import STEPS, make_tokenizer, write_recipe

from headwater.core.config import validate
from headwater.core.errors import ConfigError, DataError, ManifestError, StorageError, TrainError
from headwater.core.events import read_events
from headwater.core.fed import as_text, fed_digest, read_samples
from headwater.core.layout import RunLayout
from headwater.core.lock import exclusive
from headwater.core.manifest import (
    ArtifactWriter,
    FileEntry,
    VolatileList,
    is_artifact,
    read_manifest,
    read_volatile,
)
from headwater.core.mixture import Mixture
from headwater.core.mixture_resolve import recorded_mixture, resolve_mixture
from headwater.core.run import read_run
from headwater.core.storage import file_sha256
from headwater.core.tokens import MegatronReader
from headwater.core.trace.steps import trace_step
from headwater.core.trace.training import order_of
from headwater.train.losses import read_losses
from headwater.train.resume import replacement
from headwater.train.runner import _commit, open_run, train
from headwater.train.session import TERMINATED, Session

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path: Path, data: Path) -> Path:
    """A run folder with tokens and no training yet."""
    return Path(shutil.copytree(data, tmp_path / "run"))


@pytest.fixture
def trained(tmp_path: Path, whole: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def unfinish(run: Path) -> None:
    """As a kill after the last checkpoint leaves a run: everything but the training manifest."""
    (run / "train" / "manifest.json").unlink()


def steps_of(run: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in (run / "train" / "checkpoints").iterdir())


def assert_same_training(one: Path, other: Path) -> None:
    assert (one / "train" / "losses.jsonl").read_bytes() == (other / "train" / "losses.jsonl").read_bytes()
    assert steps_of(one) == steps_of(other)
    for step in steps_of(one):
        for file in sorted(RunLayout(one).checkpoint(step).iterdir()):
            assert file.read_bytes() == (RunLayout(other).checkpoint(step) / file.name).read_bytes(), (step, file.name)
    assert read_manifest(one / "train").digest == read_manifest(other / "train").digest


def launch(recipe: Path, run: Path, *overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "headwater.train", "run", "--recipe", str(recipe), "--run", str(run), *overrides]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_lines(process: subprocess.Popen[str], path: Path, lines: int) -> None:
    """Returns as soon as the file has so many lines; the process must not end before."""
    while not path.is_file() or path.read_bytes().count(b"\n") < lines:
        try:
            process.wait(timeout=0.005)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"training ended early: {process.communicate()}")


def test_it_learns_and_says_what_it_did(whole: Path) -> None:
    losses = read_losses(whole / "train" / "losses.jsonl")
    assert [row["step"] for row in losses] == list(range(1, STEPS + 1))
    assert losses[-1]["loss"] < losses[0]["loss"] - 1
    assert [row["samples"] for row in losses] == [[8 * n, 8 * n + 8] for n in range(STEPS)]
    layout = RunLayout(whole)
    order = order_of(layout, read_run(layout.checkpoint(STEPS)))
    readers = {source: MegatronReader(layout.tokens(source) / "train") for source in ("code", "web")}
    fed = [as_text(fed_digest(n, *read_samples(order, readers, n, n + 8))) for n in range(0, 8 * STEPS, 8)]
    assert [row["fed"] for row in losses] == fed
    manifest = read_manifest(whole / "train")
    assert manifest.kind == "training"
    assert {parent.role for parent in manifest.parents} == {"tokenizer", "tokens/code", "tokens/web"}
    assert manifest.counters["tokens"] == STEPS * 8 * 32
    assert manifest.counters["validation_bits_per_byte"] < manifest.counters["unigram_bits_per_byte"]
    kinds = [event["kind"] for event in read_events(whole / "train" / "events.jsonl")]
    assert kinds[0] == "start" and kinds[-1] == "finish"
    assert {"validation", "checkpoint", "checkpoint_deleted"} <= set(kinds)


def test_checkpoint_says_where_it_comes_from(whole: Path) -> None:
    folder = RunLayout(whole).checkpoint(STEPS)
    info = read_run(folder)
    assert (info.step, info.samples) == (STEPS, STEPS * 8)
    assert info.tokenizer_digest == read_manifest(whole / "tokenizer").digest
    assert info.tokens["web"] == read_manifest(whole / "tokens" / "web").digest
    assert info.validation_loss == read_manifest(whole / "train").counters["validation_loss"]
    manifest = read_manifest(folder)
    assert {entry.path for entry in manifest.files} == {".metadata", "__0_0.distcp", "run.json"}
    assert manifest.counters["weights_digest"] == info.weights_digest


def test_newest_and_best_checkpoints_are_kept(whole: Path) -> None:
    events = read_events(whole / "train" / "events.jsonl")
    figures = {event["step"]: event["validation_loss"] for event in events if event["kind"] == "checkpoint"}
    best = min(figures, key=lambda step: figures[step])
    assert steps_of(whole) == sorted({20, STEPS, best})


def test_the_same_again_is_byte_identical(whole: Path, run: Path, long_recipe: Path) -> None:
    train(long_recipe, run)
    assert_same_training(run, whole)


def test_nothing_to_do_is_up_to_date(whole: Path, long_recipe: Path) -> None:
    before = (whole / "train" / "manifest.json").stat().st_mtime_ns
    assert train(long_recipe, whole).state == "up to date"
    assert (whole / "train" / "manifest.json").stat().st_mtime_ns == before


def test_kill_9_then_the_same_command_gives_the_same_bytes(whole: Path, run: Path, long_recipe: Path) -> None:
    process = launch(long_recipe, run)
    wait_for_lines(process, run / "train" / "losses.jsonl", 12)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not is_artifact(run / "train")
    assert train(long_recipe, run).state == "finished"
    assert_same_training(run, whole)
    resumed = [event for event in read_events(run / "train" / "events.jsonl") if event["kind"] == "resume"]
    # The checkpoint of step 10 may have been under way; the one of step 5 was finished before it began.
    assert len(resumed) == 1 and resumed[0]["step"] % 5 == 0 and resumed[0]["step"] >= 5


def test_sigterm_writes_a_checkpoint_and_exits_75(whole: Path, run: Path, long_recipe: Path) -> None:
    process = launch(long_recipe, run)
    wait_for_lines(process, run / "train" / "losses.jsonl", 7)
    process.terminate()
    out, _ = process.communicate()
    assert process.returncode == TERMINATED == os.EX_TEMPFAIL
    step = max(steps_of(run))
    assert f"stopped after step {step}" in out
    assert len(read_losses(run / "train" / "losses.jsonl")) == step
    assert read_events(run / "train" / "events.jsonl")[-1]["kind"] == "stop"
    train(long_recipe, run)
    assert (run / "train" / "losses.jsonl").read_bytes() == (whole / "train" / "losses.jsonl").read_bytes()


@pytest.mark.parametrize("step", [10, STEPS])
def test_sigterm_at_a_step_that_is_validated_changes_no_byte(
    whole: Path, run: Path, long_recipe: Path, monkeypatch: pytest.MonkeyPatch, step: int, trainer_class: Any
) -> None:
    original = trainer_class.train_step

    def terminated(self: Any, batches: Any) -> None:
        if self.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self, batches)

    monkeypatch.setattr(trainer_class, "train_step", terminated)
    state = train(long_recipe, run).state
    assert state == ("finished" if step == STEPS else "terminated")
    monkeypatch.undo()
    train(long_recipe, run)
    assert_same_training(run, whole)
    events = read_events(run / "train" / "events.jsonl")
    validated = [[event["step"] for event in each if event["kind"] == "validation"]
                 for each in (events, read_events(whole / "train" / "events.jsonl"))]  # fmt: skip
    assert validated[0] == validated[1]


def test_a_torn_line_in_the_events_costs_that_line(whole: Path, trained: Path, long_recipe: Path) -> None:
    unfinish(trained)
    path = trained / "train" / "events.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert train(long_recipe, trained).state == "finished"
    kinds = [event["kind"] for event in read_events(path)]
    assert kinds.count("finish") == 1 and kinds[-2:] == ["resume", "finish"]
    assert_same_training(trained, whole)


def test_unfinished_checkpoint_is_removed_and_damaged_one_passed_over(
    whole: Path, trained: Path, long_recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinish(trained)
    run = RunLayout(trained)
    (run.checkpoint(STEPS) / "manifest.json").unlink()  # interrupted
    data = bytearray((run.checkpoint(20) / "__0_0.distcp").read_bytes())
    data[len(data) // 2] ^= 1
    (run.checkpoint(20) / "__0_0.distcp").write_bytes(bytes(data))  # damaged
    shutil.copytree(run.checkpoint(20), run.checkpoint(15))  # also damaged: nothing whole is left
    best = [step for step in steps_of(trained) if step < 15]
    for step in best:
        shutil.rmtree(run.checkpoint(step))
    losses = (trained / "train" / "losses.jsonl").read_bytes()
    with pytest.raises(TrainError, match="no checkpoint of this run is whole") as caught:
        train(long_recipe, trained)
    said = capsys.readouterr().err
    assert "not finished when the run was interrupted" in said
    assert "passed over a damaged checkpoint: __0_0.distcp does not have the checksum" in said
    assert "step-00000015" in str(caught.value) and "--fresh" in str(caught.value)
    assert steps_of(trained) == [15, 20] and (trained / "train" / "losses.jsonl").read_bytes() == losses
    # The damage is mended: it goes on.
    flip(run.checkpoint(20) / "__0_0.distcp")
    train(long_recipe, trained)
    assert (trained / "train" / "losses.jsonl").read_bytes() == (whole / "train" / "losses.jsonl").read_bytes()


def test_damaged_newest_checkpoint_falls_back_to_the_one_before(
    whole: Path, trained: Path, long_recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinish(trained)
    (RunLayout(trained).checkpoint(STEPS) / ".metadata").write_bytes(b"not a pickle that anyone should open")
    (RunLayout(trained).checkpoint(STEPS) / "run.json").write_bytes(b'{"step": ')
    train(long_recipe, trained)
    assert ".metadata does not have the checksum" in capsys.readouterr().err
    events = read_events(trained / "train" / "events.jsonl")
    assert [event["step"] for event in events if event["kind"] == "checkpoint_refused"] == [STEPS]
    assert [event["step"] for event in events if event["kind"] == "resume"] == [20]
    assert_same_training(trained, whole)


@pytest.mark.parametrize("file", ["manifest.json", "run.json"])
def test_checkpoint_of_another_schema_version_is_refused(trained: Path, long_recipe: Path, file: str) -> None:
    unfinish(trained)
    folder = RunLayout(trained).checkpoint(STEPS)
    value = json.loads((folder / file).read_text())
    value["schema_version"] = 99
    (folder / file).write_text(json.dumps(value))
    if file == "run.json":
        reseal(folder)
    with pytest.raises(ManifestError, match="another schema version") as caught:
        train(long_recipe, trained)
    assert "99" in str(caught.value)


def reseal(folder: Path) -> None:
    """Makes the manifest agree with files that a newer version could have written."""
    from headwater.core.manifest import ArtifactWriter

    manifest = read_manifest(folder)
    writer = ArtifactWriter(
        folder, kind="checkpoint", name=manifest.name, producer=manifest.producer, config=manifest.config,
        parents=manifest.parents,
    )  # fmt: skip
    writer.commit(manifest.counters)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("train.optimizer.learning_rate=0.02", "train.optimizer.learning_rate"), ("seed=8", "seed"),
        ("mixture.weights.web=1", "mixture.weights.code"), ("train.steps=30", "train.steps"),
    ],
)  # fmt: skip
def test_changed_recipe_is_refused_by_name_and_nothing_is_touched(
    trained: Path, long_recipe: Path, override: str, key: str
) -> None:
    with pytest.raises(TrainError, match=key.replace(".", r"\.")) as caught:
        train(long_recipe, trained, [override])
    assert "--fresh" in str(caught.value)
    assert is_artifact(trained / "train")


def test_retrained_tokenizer_is_refused_with_both_digests(trained: Path, long_recipe: Path) -> None:
    old = read_manifest(trained / "tokenizer").digest
    shutil.rmtree(trained / "tokenizer")
    make_tokenizer(RunLayout(trained), extra="another")
    new = read_manifest(trained / "tokenizer").digest
    with pytest.raises(TrainError, match="not made by the tokenizer") as caught:
        train(long_recipe, trained)
    assert old in str(caught.value) and new in str(caught.value)


def test_tokens_that_were_written_into_since_the_checkpoint_are_refused(trained: Path, long_recipe: Path) -> None:
    unfinish(trained)
    path = RunLayout(trained).tokens("web") / "train.bin"
    before = path.read_bytes()
    path.write_bytes(b"\1\0" + before[2:])  # another token of the vocabulary
    with pytest.raises(TrainError, match=rf"web/train\.bin was changed since the checkpoint of step {STEPS}"):
        train(long_recipe, trained)
    assert steps_of(trained) and read_losses(trained / "train" / "losses.jsonl")
    path.write_bytes(before)
    assert train(long_recipe, trained).state == "finished"


def test_fresh_and_on_change_restart_train_anew(trained: Path, long_recipe: Path) -> None:
    override = "train.steps=3"
    train(long_recipe, trained, [override], on_change="restart")
    assert steps_of(trained) == [3] and len(read_losses(trained / "train" / "losses.jsonl")) == 3
    shutil.copytree(RunLayout(trained).checkpoint(3), replacement(RunLayout(trained).checkpoint(9)))  # a kill left it
    (trained / "train" / "guard").mkdir()  # documents that an event named
    train(long_recipe, trained, ["train.steps=2"], fresh=True)
    assert steps_of(trained) == [2] and len(read_losses(trained / "train" / "losses.jsonl")) == 2
    assert not (trained / "train" / "guard").exists()


def test_what_only_changes_how_a_run_is_kept_may_change(trained: Path, long_recipe: Path) -> None:
    unfinish(trained)
    assert train(long_recipe, trained, ["train.checkpoint.keep_last=5", "train.validation.every=6"]).state == "finished"


def test_a_kill_while_a_finished_run_is_opened_again_loses_nothing(
    whole: Path, trained: Path, long_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    override = "train.checkpoint.keep_last=5"
    original = ArtifactWriter.begin

    def killed(self: ArtifactWriter, *arguments: Any, **named: Any) -> Path:
        original(self, *arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(ArtifactWriter, "begin", killed)
    with pytest.raises(KeyboardInterrupt):
        train(long_recipe, trained, [override])
    monkeypatch.undo()
    assert not is_artifact(trained / "train")
    for name in ("losses.jsonl", "events.jsonl", "metrics.jsonl"):
        assert (trained / "train" / name).read_bytes() == (whole / "train" / name).read_bytes()
    assert train(long_recipe, trained, [override]).state == "finished"
    assert (trained / "train" / "losses.jsonl").read_bytes() == (whole / "train" / "losses.jsonl").read_bytes()


def test_a_damaged_last_checkpoint_of_a_finished_run_is_made_again(
    whole: Path, trained: Path, long_recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evidence = trained / "train" / "guard" / "skip-00000003.jsonl"  # of an event that stays
    evidence.parent.mkdir()
    evidence.write_text("{}\n")
    logs = [*read_volatile(trained / "train").files, FileEntry(path="guard/skip-00000003.jsonl", bytes=3,
                                                              sha256=file_sha256(evidence))]  # fmt: skip
    listed = VolatileList(schema_version=1, files=logs, digest="")
    listed = listed.model_copy(update={"digest": listed.computed_digest()})
    (trained / "train" / "volatile.json").write_text(listed.model_dump_json())
    flip(RunLayout(trained).checkpoint(STEPS) / "__0_0.distcp")
    assert train(long_recipe, trained).state == "finished"
    assert "__0_0.distcp changed after it was written" in capsys.readouterr().err
    assert_same_training(trained, whole)
    assert evidence.is_file() and logs[-1] in read_volatile(trained / "train").files


def test_a_damaged_earlier_checkpoint_is_told_with_what_to_do(
    trained: Path, long_recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(RunLayout(trained).checkpoint(20) / "__0_0.distcp")
    assert train(long_recipe, trained).state == "up to date"
    said = capsys.readouterr().err
    assert "step-00000020 is damaged (__0_0.distcp changed after it was written): restore it, or delete it" in said


def test_a_finished_run_whose_losses_were_changed_is_refused(trained: Path, long_recipe: Path) -> None:
    losses = trained / "train" / "losses.jsonl"
    losses.write_text(losses.read_text().replace("1", "2", 2))
    edited = losses.read_bytes()
    with pytest.raises(TrainError, match=r"losses\.jsonl was changed after the run was finished") as caught:
        train(long_recipe, trained)
    assert "--fresh" in str(caught.value)
    assert losses.read_bytes() == edited and is_artifact(trained / "train")
    assert train(long_recipe, trained, fresh=True).state == "finished"


def flip(path: Path) -> None:
    """Changes one bit; the size stays."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_nonfinite_gradient_stops_before_the_update(
    run: Path, long_recipe: Path, monkeypatch: pytest.MonkeyPatch, trainer_class: Any
) -> None:
    original = trainer_class.forward_backward_step

    def poisoned(self: Any, **arguments: Any) -> torch.Tensor:
        loss = original(self, **arguments)
        if self.step == 12:
            parameter = next(self.model_parts[0].parameters())
            assert parameter.grad is not None
            parameter.grad.mul_(math.nan)
        return loss

    monkeypatch.setattr(trainer_class, "forward_backward_step", poisoned)
    with pytest.raises(TrainError, match="step 12 is not finite") as caught:
        train(long_recipe, run, ["train.guard.nonfinite=halt"])
    assert caught.value.exit_code == 1
    event = read_events(run / "train" / "events.jsonl")[-1]
    assert (event["kind"], event["detector"], event["step"], event["samples"]) == ("halt", "nonfinite", 12, [88, 96])
    assert event["documents"] and {document["sample"] for document in event["documents"]} == set(range(88, 96))
    assert event["documents"][0]["id"] in str(caught.value) and event["documents"][0]["url"] in str(caught.value)
    last = read_losses(run / "train" / "losses.jsonl")[-1]
    assert (last["step"], last["grad_norm"], last["skipped"]) == (12, None, True)
    assert steps_of(run) == [5, 10]
    assert not is_artifact(run / "train")


def test_full_disk_leaves_no_checkpoint_that_looks_whole(run: Path, long_recipe: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limit[1]))
    try:
        with pytest.raises(StorageError, match="step-00000005"):
            train(long_recipe, run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not is_artifact(RunLayout(run).checkpoint(5))
    assert train(long_recipe, run, ["train.steps=6"], on_change="restart").state == "finished"


@pytest.mark.parametrize("size", [50_000, 120_000, 260_000, 300_000])
def test_full_disk_reads_as_one_wherever_the_write_stops(run: Path, long_recipe: Path, size: int) -> None:
    from headwater.train import titan

    titan.start("cpu", 1, 1)
    from headwater.train.dcp import ReproducibleWriter

    writer = ReproducibleWriter(run / "saved", thread_count=1)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        state = {f"part{number}": torch.zeros(10_000) for number in range(10)}
        with pytest.raises(torch.distributed.checkpoint.api.CheckpointException) as caught:
            torch.distributed.checkpoint.save(state, storage_writer=writer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        titan.stop()
    assert all(isinstance(cause, OSError) for cause, _ in caught.value.failures.values())


def test_nonfinite_validation_stops_before_the_checkpoint(
    run: Path, long_recipe: Path, monkeypatch: pytest.MonkeyPatch, trainer_class: Any
) -> None:
    original = trainer_class.train_step

    def poisoned(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        if self.step == 10:
            with torch.no_grad():
                next(self.model_parts[0].parameters()).fill_(math.nan)

    monkeypatch.setattr(trainer_class, "train_step", poisoned)
    with pytest.raises(TrainError, match="validation after step 10 is not finite"):
        train(long_recipe, run, ["train.guard.nonfinite=halt"])
    event = read_events(run / "train" / "events.jsonl")[-1]
    assert (event["kind"], event["detector"], event["step"], event["samples"]) == ("halt", "nonfinite", 10, [72, 80])
    assert event["documents"]
    assert steps_of(run) == [5]


def test_a_run_without_a_finite_loss_is_no_finished_one(run: Path, long_recipe: Path) -> None:
    folder = run / "train"
    folder.mkdir()
    row = {"step": 1, "loss": None, "grad_norm": None, "tokens": 256, "samples": [0, 8], "skipped": True}
    (folder / "losses.jsonl").write_text(json.dumps(row) + "\n")
    writer = ArtifactWriter(folder, kind="training", name="tiny", producer="test", config={})
    with pytest.raises(TrainError, match="no step of the run had a finite loss"):
        _commit(open_run(long_recipe, run), writer, Session(RunLayout(run)), None)
    assert not is_artifact(folder)


def test_a_second_run_in_the_folder_is_refused(trained: Path, long_recipe: Path) -> None:
    unfinish(trained)
    before = (trained / "train" / "losses.jsonl").read_bytes()
    with exclusive(trained / "train"), pytest.raises(StorageError, match="another process is writing"):
        train(long_recipe, trained)
    assert (trained / "train" / "losses.jsonl").read_bytes() == before


@pytest.mark.parametrize("override", ["train.metrics.prometheus.prt=1", "train.metrics.prometheus.port=70000"])
def test_wrong_metrics_options_are_refused_before_an_earlier_run_is_deleted(
    trained: Path, long_recipe: Path, override: str
) -> None:
    before = steps_of(trained)
    with pytest.raises(ConfigError, match=r"no option prt|port of the metrics"):
        train(long_recipe, trained, [override], fresh=True)
    assert steps_of(trained) == before and is_artifact(trained / "train")


def test_tokens_that_the_vocabulary_lacks_are_named_with_their_place(run: Path, long_recipe: Path) -> None:
    for name in ("train", "validation"):  # the last of each file: no sample needs it
        path = RunLayout(run).tokens("web") / f"{name}.bin"
        good = path.read_bytes()
        path.write_bytes(good[:-2] + b"\xff\xff")
        with pytest.raises(TrainError, match=rf"web/{name}\.bin holds tokens that the tokenizer does not") as caught:
            train(long_recipe, run, ["train.validation.batches=1000"])
        assert f"token id 65535 at position {len(good) // 2 - 1}" in str(caught.value)
        path.write_bytes(good)
    # Also without a validation set, where nothing but the training reads them.
    path = RunLayout(run).tokens("web") / "train.bin"
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(TrainError, match=r"web/train\.bin holds tokens that the tokenizer does not have"):
        train(long_recipe, run, ["train.validation.every=0"])


@pytest.mark.parametrize("content", [None, b"no parquet"])
def test_tokens_without_their_documents_are_named(run: Path, long_recipe: Path, content: bytes | None) -> None:
    path = RunLayout(run).tokens("web") / "documents.parquet"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=r"web/documents\.parquet cannot be read") as caught:
        train(long_recipe, run)
    assert "headwater data tokenize" in str(caught.value)


def test_a_mirror_in_the_run_folder_is_refused(run: Path, long_recipe: Path) -> None:
    for inside in (run, run / "train" / "checkpoints"):
        with pytest.raises(ConfigError, match="mirror lies in the run folder"):
            train(long_recipe, run, [f"train.checkpoint.mirror={inside}"])


def test_a_model_that_memory_cannot_hold_is_refused_with_what_asks_for_it(run: Path, long_recipe: Path) -> None:
    with pytest.raises(TrainError, match="not enough memory") as caught:
        train(long_recipe, run, ["train.model.ffn_dim=10000000000000"])
    assert "train.micro_batch" in str(caught.value) and "allocate" in str(caught.value)


def test_a_staged_mixture_trains_goes_on_and_is_refused_when_a_stage_changed(run: Path, tmp_path: Path) -> None:
    stages = [
        {"name": "main", "share": 0.7, "weights": {"web": 3, "code": 1}},
        {"name": "cooldown", "share": 0.3, "weights": {"code": 1}},
    ]
    recipe = tmp_path / "staged.yaml"
    content = yaml.safe_load(write_recipe(recipe, steps=10, checkpoint={"every": 4}).read_text())
    recipe.write_text(yaml.safe_dump({**content, "mixture": {"stages": stages}}))
    train(recipe, run)
    layout = RunLayout(run)
    info = read_run(layout.checkpoint(10))
    assert [(stage.name, stage.samples) for stage in info.stages] == [("main", 56), ("cooldown", 24)]
    assert info.weights == pytest.approx({"code": 0.475, "web": 0.525})
    order = order_of(layout, info)
    assert {order.locate(index).source for index in range(56, 80)} == {"code"}
    assert trace_step(layout, 7).stages == ["main"] and trace_step(layout, 8).stages == ["cooldown"]
    losses = (run / "train" / "losses.jsonl").read_bytes()
    unfinish(run)
    shutil.rmtree(layout.checkpoint(10))
    train(recipe, run)  # from step 8, inside the second stage
    assert (run / "train" / "losses.jsonl").read_bytes() == losses
    unfinish(run)
    with pytest.raises(TrainError, match=r"another mixture\.stages\.1\.weights\.web|another mixture\.weights\.code"):
        train(recipe, run, ["mixture.stages.1.weights.web=1"])
    resolved = yaml.safe_load((run / "train" / "config.yaml").read_text())
    assert resolve_mixture(layout, validate(Mixture, resolved["mixture"], "mixture"), samples=80, seq_len=32) == (
        recorded_mixture(info)
    )


def test_activation_checkpointing_changes_no_loss(tmp_path: Path, data: Path) -> None:
    losses = {}
    for kind in ("none", "selective", "full"):
        run = Path(shutil.copytree(data, tmp_path / kind))
        recipe = write_recipe(tmp_path / f"{kind}.yaml", steps=3, activation_checkpointing=kind)
        assert train(recipe, run).state == "finished"
        losses[kind] = (run / "train" / "losses.jsonl").read_bytes()
    assert losses["none"] == losses["selective"] == losses["full"]
