"""The stage with Headwater's own task families."""

import pytest

import headwater.eval.sandbox as sandbox
from headwater.core.config import validate
from headwater.eval.config import MINI_TASKS, EvalConfig
from headwater.eval.stage import run_eval
from headwater.eval.summary import one_line, print_summary

CONFIG = {"limit": 3, "max_gen_tokens": 8, "held_out_tokens": 500}


def test_own_tasks_run_from_the_checkpoint(finished_run, tmp_path, capsys):
    if problem := sandbox.sandbox_problem():
        pytest.skip(f"generated code cannot run here: {problem}")
    done = run_eval(finished_run, validate(EvalConfig, CONFIG, "eval"), output=tmp_path / "out")
    rows = {row.task: row for row in done.results.tasks}
    assert tuple(rows) == MINI_TASKS
    assert rows["headwater_mini_mmlu"].chance == 0.25
    code = rows["headwater_mini_humaneval"]
    assert (code.metric, code.chance, code.higher_is_better, code.items) == ("pass@1", 0.0, True, 3)
    assert not done.results.refused
    print_summary(done)
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == f"eval: {one_line(done)}"
    assert "headwater_mini_gsm8k" in shown


def test_code_is_refused_with_the_reason_where_there_is_no_sandbox(finished_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sandbox, "sandbox_problem", lambda: "bubblewrap is not installed")
    config = validate(EvalConfig, CONFIG | {"tasks": ["headwater_mini_humaneval"], "bits_per_byte": False}, "eval")
    done = run_eval(finished_run, config, output=tmp_path / "out")
    assert not done.results.tasks
    (refused,) = done.results.refused
    assert refused.task == "headwater_mini_humaneval"
    assert "bubblewrap is not installed" in refused.reason
    print_summary(done)
    assert "refused: headwater_mini_humaneval" in capsys.readouterr().out
    # Once there is a sandbox, the same call no longer counts as up to date.
    assert done.manifest.config["sandbox"] is False


def test_humaneval_from_the_hub_uses_the_sandbox(tmp_path):
    from headwater.eval.harness.tasks import hub_task_files

    (folder,) = hub_task_files(["humaneval", "gsm8k"], tmp_path / "hub")
    text = (folder / "humaneval.yaml").read_text()
    assert "humaneval_base" in text
    assert "dataset_path: openai/openai_humaneval" in text
    assert hub_task_files(["gsm8k"], tmp_path / "none") == []
