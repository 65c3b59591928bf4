"""Scores of evaluations that others made, told in the order of their steps."""

import json
import urllib.request
from importlib.metadata import entry_points

import pytest
from click.testing import CliRunner

from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter
from headwater.eval.results import EvaluatedCheckpoint, Results, Score
from headwater.eval.scores import follow_scores
from headwater.eval.scores_cli import scores as command


def evaluated(run: RunLayout, step: int, value: float, *, finished: bool = True, text: str | None = None) -> None:
    score = Score(
        task="mmlu", metric="acc", filter="none", value=value, stderr=0.01, items=100, interval=None, chance=0.25,
        indistinguishable_from_chance=False, higher_is_better=True, few_shot=0, version="1", truncated=0,
    )  # fmt: skip
    results = Results(
        checkpoint=EvaluatedCheckpoint(weights_digest="w", step=step, parameters=1, max_length=8), tasks=[score],
        refused=[], bits_per_byte=None, notes=[], settings={"eval": {"tasks": ["mmlu"]}}, software={},
    )  # fmt: skip
    folder = run.eval_of(step)
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(results.model_dump_json() if text is None else text)
    if finished:
        ArtifactWriter(folder, kind="eval", name="eval", producer="test 0", config={}, parents=[]).commit({})


def test_they_come_in_order_and_a_late_one_of_an_earlier_step_does_not(tmp_path):
    run, failed = RunLayout(tmp_path), []
    evaluated(run, 200, 0.4)
    evaluated(run, 300, 0.5, finished=False)
    told = follow_scores(run, poll=0.01, failed=lambda folder, error: failed.append(folder.name))
    assert next(told)[0] == 200
    evaluated(run, 100, 0.3)
    evaluated(run, 400, 0.0, text="{}")
    evaluated(run, 500, 0.6)
    step, results = next(told)
    assert (step, results.tasks[0].value) == (500, 0.6)
    assert failed == ["step-00000400"]


def test_without_an_evaluation_there_is_nothing_to_tell(tmp_path):
    result = CliRunner().invoke(command, ["--run", str(tmp_path), "--once"])
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.skipif("prometheus" not in entry_points(group="headwater.sinks").names, reason="no Prometheus sink here")
def test_they_are_served_for_prometheus(tmp_path, monkeypatch):
    from headwater.monitor.exporter import PrometheusSink

    run, pages = RunLayout(tmp_path), []
    evaluated(run, 100, 0.3)
    evaluated(run, 200, 0.4)
    real = PrometheusSink.log

    def log(self, step, values):
        real(self, step, values)
        assert self.host == "127.0.0.1" and json.loads(run.serving("eval").read_text())["url"] == self.url
        with urllib.request.urlopen(self.url) as answer:
            pages.append(answer.read().decode())

    monkeypatch.setattr(PrometheusSink, "log", log)
    result = CliRunner().invoke(command, ["--run", str(tmp_path), "--once", "--metrics-port", "0"])
    assert result.exit_code == 0, result.output
    assert [line for line in result.stdout.splitlines() if "step" in line] == [
        "scores: step 100 · mmlu acc 0.3000", "scores: step 200 · mmlu acc 0.4000",
    ]  # fmt: skip
    assert 'headwater_eval_score{better="higher",metric="acc",task="mmlu"} 0.4' in pages[-1]
    assert "headwater_eval_step 200.0" in pages[-1]
    assert not run.serving("eval").exists()
