"""The watcher: every checkpoint once, those that come later too, and none that is gone."""

import json
import shutil
import threading
import time
import urllib.request
from importlib.metadata import entry_points

import pytest
from click.testing import CliRunner

from headwater.core.config import validate
from headwater.core.errors import EvalError, ManifestError
from headwater.eval import watch as watching
from headwater.eval.config import EvalConfig
from headwater.eval.watch import steps_of, watch
from headwater.eval.watch_cli import watch as command

pytestmark = pytest.mark.slow

CONFIG = validate(EvalConfig, {"tasks": ["headwater_mini_mmlu"], "limit": 3, "held_out_tokens": 64}, "eval")


def test_what_is_there_is_evaluated_once(own_run, build):
    build.make_checkpoint(own_run, 20, 2.0)
    first = list(watch(own_run, CONFIG, once=True))
    assert [(step, found.fresh) for step, found in first] == [(10, True), (20, True)]
    weights = {found.results.checkpoint.weights_digest for _, found in first}
    assert weights == {"weights-10", "weights-20"}
    assert [found.fresh for _, found in watch(own_run, CONFIG, once=True)] == [False, False]
    assert sorted(path.name for path in own_run.evals.iterdir()) == ["step-00000010", "step-00000020"]


def test_it_goes_on_until_the_training_is_finished(own_run, build):
    def train():
        time.sleep(1.0)
        build.make_checkpoint(own_run, 20, 2.0)
        build.write_artifact(own_run.train, "training", "training")

    thread = threading.Thread(target=train)
    thread.start()
    assert [step for step, _ in watch(own_run, CONFIG, poll=0.1)] == [10, 20]
    thread.join()


def test_a_checkpoint_that_is_removed_is_left_out(own_run, build):
    build.make_checkpoint(own_run, 20, 2.0)
    assert steps_of(own_run) == [10, 20]
    (own_run.checkpoints / "step-00000030").mkdir()  # unfinished
    gone = []
    found = watch(own_run, CONFIG, once=True, gone=gone.append)
    assert next(found)[0] == 10
    shutil.rmtree(own_run.checkpoint(20))
    assert list(found) == [] and gone == [20]


def test_a_damaged_checkpoint_does_not_end_the_watch(own_run, build, tmp_path):
    build.make_checkpoint(own_run, 20, 2.0)
    file = next(own_run.checkpoint(10).glob("*.distcp"))
    file.write_bytes(file.read_bytes()[:-10])
    (own_run.checkpoints / "step-old").mkdir()
    build.write_artifact(own_run.checkpoints / "step-old", "checkpoint", "old")
    with pytest.raises(ManifestError, match="was changed"):
        list(watch(own_run, CONFIG, once=True))
    (tmp_path / "r.yaml").write_text("name: r\neval: {tasks: [headwater_mini_mmlu], limit: 2, bits_per_byte: false}\n")
    arguments = ["--recipe", str(tmp_path / "r.yaml"), "--run", str(own_run.root), "--once", "--json"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 1
    assert [json.loads(line)["step"] for line in result.stdout.splitlines()] == [20]
    assert "step 10 was not evaluated" in result.stderr and "was changed" in result.stderr


def stands_in(monkeypatch, run_eval, *pauses):
    """Puts a stand-in where the watcher evaluates, and what happens meanwhile where it waits."""
    waiting = iter(pauses)
    monkeypatch.setattr(watching, "run_eval", run_eval)
    monkeypatch.setattr(watching.time, "sleep", lambda seconds: next(waiting)())


def test_a_checkpoint_that_is_being_removed_is_not_called_damaged(own_run, monkeypatch):
    folder = own_run.checkpoint(10)
    names = sorted(path.name for path in folder.iterdir() if path.name != "manifest.json")

    def evaluate(run, config, **_):
        (folder / names[0]).unlink()
        raise ManifestError("a file is missing")

    # Whoever removes it takes the manifest last.
    stands_in(monkeypatch, evaluate, (folder / names[1]).unlink, lambda: shutil.rmtree(folder))
    gone, failed = [], []
    assert list(watch(own_run, CONFIG, once=True, gone=gone.append, failed=lambda *told: failed.append(told))) == []
    assert (gone, failed) == ([10], [])


def test_a_checkpoint_that_lacks_a_file_is_damaged(own_run, monkeypatch):
    stands_in(monkeypatch, watching.run_eval, lambda: None)
    (own_run.checkpoint(10) / "run.json").unlink()
    gone, failed = [], []
    found = watch(own_run, CONFIG, once=True, gone=gone.append, failed=lambda step, error: failed.append(step))
    assert list(found) == [] and (gone, failed) == ([], [10])


def test_a_checkpoint_that_another_replaces_is_read_again(own_run, build, monkeypatch):
    calls = []

    def evaluate(run, config, **_):
        calls.append(config.checkpoint)
        if len(calls) == 1:
            shutil.rmtree(own_run.checkpoint(10))
            build.make_checkpoint(own_run, 10, 1.0)
            raise ManifestError("a file was changed after it was written")
        return "evaluated"

    stands_in(monkeypatch, evaluate)
    assert list(watch(own_run, CONFIG, once=True)) == [(10, "evaluated")] and calls == ["10", "10"]


def test_the_command_says_what_it_waits_for(tmp_path):
    (tmp_path / "r.yaml").write_text("name: r\n")
    arguments = ["--recipe", str(tmp_path / "r.yaml"), "--run", str(tmp_path / "nothing"), "--once"]
    absent = CliRunner().invoke(command, arguments)
    assert isinstance(absent.exception, EvalError) and "does not exist" in str(absent.exception)
    (tmp_path / "nothing").mkdir()
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0 and "no finished checkpoint in" in result.stderr


def test_the_command_tells_a_line_for_each(own_run, tmp_path):
    (tmp_path / "r.yaml").write_text("name: r\neval: {tasks: [headwater_mini_mmlu], limit: 2, bits_per_byte: false}\n")
    result = CliRunner().invoke(
        command, ["--recipe", str(tmp_path / "r.yaml"), "--run", str(own_run.root), "--once", "--json"]
    )
    assert result.exit_code == 0, result.output
    (line,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert line["step"] == 10 and {score["task"] for score in line["tasks"]} == {"headwater_mini_mmlu"}


@pytest.mark.skipif("prometheus" not in entry_points(group="headwater.sinks").names, reason="no Prometheus sink here")
def test_scores_are_served_for_prometheus(own_run, tmp_path, monkeypatch):
    from headwater.monitor.exporter import PrometheusSink

    (tmp_path / "r.yaml").write_text("name: r\neval: {tasks: [headwater_mini_mmlu], limit: 4}\n")
    pages, seen = [], []
    real = PrometheusSink.log

    def log(self, step, values):
        real(self, step, values)
        with urllib.request.urlopen(self.url) as answer:
            pages.append(answer.read().decode())
        seen.append(values)

    monkeypatch.setattr(PrometheusSink, "log", log)
    result = CliRunner().invoke(
        command, ["--recipe", str(tmp_path / "r.yaml"), "--run", str(own_run.root), "--once", "--metrics-port", "0"]
    )
    assert result.exit_code == 0, result.output
    assert "metrics: http://127.0.0.1:" in result.stderr
    (page,), (values,) = pages, seen
    labels = '{task="headwater_mini_mmlu",metric="acc",better="higher"}'
    stored = json.loads((own_run.eval_of(10) / "results.json").read_bytes())
    score = next(each for each in stored["tasks"] if each["metric"] == "acc")
    assert values[f"headwater_eval_score{labels}"] == score["value"]
    assert values[f"headwater_eval_score_stderr{labels}"] == score["stderr"]
    assert 0 < values["headwater_eval_bits_per_byte"] < 30
    assert f'headwater_eval_score{{better="higher",metric="acc",task="headwater_mini_mmlu"}} {score["value"]}' in page
    assert "headwater_eval_step 10.0" in page and "headwater_train" not in page
