"""The stage with Headwater's own task families."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import headwater.eval.sandbox as sandbox
from headwater.core.config import validate
from headwater.core.errors import EvalError, StorageError
from headwater.core.lock import exclusive
from headwater.eval.cli import eval_group
from headwater.eval.config import MINI_TASKS, EvalConfig
from headwater.eval.stage import run_eval
from headwater.eval.summary import one_line, print_summary

CONFIG = {"limit": 3, "max_gen_tokens": 8, "held_out_tokens": 500}


def test_own_tasks_run_from_the_checkpoint(finished_run, tmp_path, capsys):
    if problem := sandbox.sandbox_problem():
        pytest.skip(f"generated code cannot run here: {problem}")
    done = run_eval(finished_run, validate(EvalConfig, CONFIG, "eval"), output=tmp_path / "out")
    rows = {row.task: row for row in done.results.tasks if "gold" not in row.metric}
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


@pytest.mark.slow
def test_which_sandbox_ran_is_told_and_changes_no_byte_of_the_artifact(finished_run, tmp_path, monkeypatch, capsys):
    config = validate(EvalConfig, CONFIG | {"tasks": ["headwater_mini_humaneval"], "bits_per_byte": False}, "eval")
    manifests = []
    for backend in (sandbox.Bubblewrap(), sandbox.Landlock()):
        if not (found := backend.probe()).ok:
            pytest.skip(f"no {backend.name} sandbox on this machine: {found.reason}")
        monkeypatch.setattr(sandbox, "_chosen", lambda chosen=(backend, found): chosen)
        done = run_eval(finished_run, config, output=tmp_path / backend.name)
        again = run_eval(finished_run, config, output=tmp_path / backend.name)
        assert not again.fresh
        for each in (done, again):
            print_summary(each)
            assert f"sandbox of generated code: {backend.name}" in capsys.readouterr().out
        assert json.loads((tmp_path / backend.name / "timing.json").read_bytes())["sandbox"] == backend.name
        assert done.manifest.config["sandbox"] is True
        manifests.append((tmp_path / backend.name / "manifest.json").read_bytes())
    assert manifests[0] == manifests[1]


def test_a_second_evaluation_in_the_folder_is_refused(finished_run, tmp_path):
    config = validate(EvalConfig, CONFIG, "eval")
    with exclusive(tmp_path / "out"), pytest.raises(StorageError, match="another process is writing"):
        run_eval(finished_run, config, output=tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_the_place_of_the_data_is_no_part_of_the_artifact(finished_run, tmp_path):
    folders = []
    for name in ("one", "two"):
        folder = tmp_path / name / "gsm8k"
        folder.mkdir(parents=True)
        for split in ("train", "test"):
            line = '{"question": "What is two and two?", "answer": "2+2=<<2+2=4>>4. #### 4"}\n'
            (folder / f"{split}.jsonl").write_text(6 * line)
        folders.append(str(folder.parent))
    one, two = (
        validate(EvalConfig, CONFIG | {"tasks": ["gsm8k"], "bits_per_byte": False, "data_dir": folder}, "eval")
        for folder in folders
    )
    first = run_eval(finished_run, one, output=tmp_path / "out")
    assert first.results.tasks[0].task == "gsm8k"
    assert not run_eval(finished_run, two, output=tmp_path / "out").fresh
    assert not run_eval(finished_run, two.model_copy(update={"data_dir": None}), data_dir=Path(folders[0]),
                        output=tmp_path / "out").fresh  # fmt: skip
    for file in (tmp_path / "out").rglob("*"):
        assert file.is_dir() or str(tmp_path) not in file.read_text()


def test_checksums_kept_elsewhere_are_compared(finished_run, tmp_path):
    (tmp_path / "data" / "gsm8k").mkdir(parents=True)
    for split in ("train", "test"):
        (tmp_path / "data" / "gsm8k" / f"{split}.jsonl").write_text('{"question": "?", "answer": "#### 4"}\n')
    sums = tmp_path / "sums.txt"
    sums.write_text("0" * 64 + "  gsm8k/test.jsonl\n" + "0" * 64 + "  gsm8k/train.jsonl\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: test\n")
    done = CliRunner().invoke(
        eval_group,
        ["run", "--recipe", str(recipe), "--run", str(finished_run.root), "--tasks", "gsm8k", "--output",
         str(tmp_path / "out"), "--data-dir", str(tmp_path / "data"), "--checksums", str(sums)],
    )  # fmt: skip
    assert isinstance(done.exception, EvalError)
    assert "changed: gsm8k/test.jsonl; changed: gsm8k/train.jsonl" in str(done.exception)


@pytest.mark.parametrize("task", ["humaneval", "gsm8k", "hellaswag"])
def test_a_task_without_data_says_what_is_missing(finished_run, tmp_path, monkeypatch, task):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    config = validate(EvalConfig, CONFIG | {"tasks": [task], "bits_per_byte": False}, "eval")
    with pytest.raises(EvalError, match=f"the task {task} has no data here") as caught:
        run_eval(finished_run, config, output=tmp_path / "out")
    assert "code_eval" not in str(caught.value)
    assert caught.value.hint is not None and "--hub" in caught.value.hint
    assert "--data-dir DIR or eval.data_dir" in caught.value.hint
