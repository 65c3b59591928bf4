"""Suites, and lm-eval's task files found without reading all of them."""

import json

import pytest
from click.testing import CliRunner

from headwater.core.errors import ConfigError
from headwater.eval.gate_cli import suites
from headwater.eval.suites import Asked, load_suite, names
from headwater.eval.tasks.needle import TASK

EXPECTED = ["ci", "code", "core", "long-context", "multilingual", "pretrain-early", "reasoning", "safety"]


def test_the_suites_are_there_and_print_themselves_for_copying(tmp_path):
    assert names() == EXPECTED
    listed = json.loads(CliRunner().invoke(suites, ["--json"]).stdout)
    assert list(listed) == EXPECTED and listed["ci"]["tasks"]["mmlu"] == {"few_shot": 5, "items": 12}
    for name in EXPECTED:
        copy = tmp_path / f"{name}.yaml"
        copy.write_text(CliRunner().invoke(suites, [name]).stdout)
        assert load_suite(str(copy)) == load_suite(name)


def test_a_file_may_leave_all_to_the_task(tmp_path):
    (tmp_path / "s.yaml").write_text("description: d\ntasks:\n  boolq:\n  piqa: {few_shot: 2}\n")
    assert load_suite(str(tmp_path / "s.yaml")).tasks == {"boolq": Asked(), "piqa": Asked(few_shot=2)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no suite"),
        ("[", "not valid YAML"),
        ("\udcff", "not valid YAML"),
        ("description: d\ntasks: {boolq: {}, boolq: {items: 3}}\n", "boolq is there twice"),
        ("description: d\n", "tasks is missing"),
        ("description: d\ntasks: {}\n", "tasks"),
        (
            "description: d\ntasks: {boolq: {fewshot: 3}}\n",
            "unknown key tasks.boolq.fewshot(.|\n)*did you mean few_shot",
        ),
        ("description: d\ntasks: [boolq]\n", "tasks is not valid"),
        ("description: d\ntasks: {boolq: {items: 0}}\n", "tasks.boolq.items"),
    ],
)
def test_what_is_no_suite_is_refused_with_the_place(tmp_path, text, message):
    path = tmp_path / "s.yaml"
    if text is not None:
        path.write_text(text, errors="surrogateescape")
    with pytest.raises(ConfigError, match=message):
        load_suite(str(path))


@pytest.mark.slow
def test_every_task_of_every_suite_is_one_of_lm_eval_and_the_list_is_kept(tmp_path, monkeypatch):
    from headwater.eval.harness.environment import prepare

    prepare(hub=False)
    from lm_eval.tasks import TaskManager

    from headwater.eval.harness import index

    manager = TaskManager()
    own = manager.task_index
    monkeypatch.setattr(index, "TaskManager", lambda **_: manager)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "below"))
    (tmp_path / "file").write_text("no folder")
    assert index.Known().names == sorted(own)  # nowhere to keep it
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    known = index.Known()
    assert known.names == sorted(own)
    monkeypatch.setattr(index, "TaskManager", lambda **_: pytest.fail("read again"))
    again = index.Known()
    for name in EXPECTED:
        tasks = load_suite(name).tasks
        assert set(tasks) - {TASK} <= set(own)
        for entry in again.entries(tasks).values():
            assert (entry.kind, entry.yaml_path, entry.tags) == (
                own[entry.name].kind, own[entry.name].yaml_path, own[entry.name].tags
            )  # fmt: skip
    inner = {"mmlu", "mmlu_stem", "mmlu_stem_tasks", "mmlu_anatomy"}
    assert inner <= set(again.entries(["mmlu"]))
    (next((tmp_path / "headwater").iterdir())).write_text("damaged")
    with pytest.raises(BaseException, match="read again"):
        index.Known()
