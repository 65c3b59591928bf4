"""lm-eval's own code tasks: their definitions as they are, their programs in the sandbox."""

import importlib
import sys
from importlib.util import find_spec

import pytest
from datasets import Dataset

from headwater.eval.harness.environment import prepare
from headwater.eval.sandbox import sandbox_problem

prepare(hub=False)

from headwater.eval.harness import code_metric  # noqa: E402
from headwater.eval.harness.hub_data import HubFolder  # noqa: E402
from headwater.eval.harness.tasks import load_tasks  # noqa: E402
from headwater.eval.sandbox import Availability  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sandbox_problem() is not None, reason=f"no sandbox here: {sandbox_problem()}"),
]

PROBLEMS = [
    {
        "task_id": f"Test/{k}", "prompt": f"def add{k}(a, b):\n", "entry_point": f"add{k}",
        "canonical_solution": "    return a + b\n",
        "test": "def check(candidate):\n    assert candidate(2, 3) == 5\n",
    }
    for k in range(2)
]  # fmt: skip
BASIC = [
    {"task_id": 11, "text": "Add.", "code": "def add(a, b):\n    return a + b",
     "test_list": [f"assert add({k}, 1) == {k + 1}" for k in range(3)], "test_setup_code": ""}
]  # fmt: skip


@pytest.fixture
def data(tmp_path):
    folder = HubFolder(tmp_path)
    for path, name, rows in (
        ("openai/openai_humaneval", None, PROBLEMS), ("evalplus/humanevalplus", None, PROBLEMS),
        ("google-research-datasets/mbpp", "full", BASIC),
    ):  # fmt: skip
        folder._write(folder.place(path, name, {}) / "test.parquet", Dataset.from_list(rows))
    return folder


def graded(task, doc, answers):
    """What lm-eval makes of some answers to one item."""
    task.build_all_requests(limit=len(task.eval_docs))
    index = list(task.eval_docs).index(doc)
    for instance in task.instances:
        instance.resps = list(answers)
    task.apply_filters()
    instance = next(each for each in task.instances if each.doc_id == index)
    name = next(iter(instance.filtered_resps))
    return task.process_results(doc, [instance.filtered_resps[name]])


@pytest.mark.parametrize("name", ["humaneval", "humaneval_plus", "mbpp"])
def test_right_programs_pass_and_wrong_ones_do_not(data, name):
    found = load_tasks([name], [], hub=False, sandbox_problem=None, data=data)
    assert found.refused == []
    (task,) = found.tasks.values()
    doc = next(iter(task.eval_docs))
    right = doc["code"] if name == "mbpp" else doc["canonical_solution"]
    wrong = right.replace("a + b", "a - b")
    assert [list(graded(task, doc, [answer]).values()) for answer in (right, wrong)] == [[1.0], [0.0]]
    escape = "import os\nos._exit(0)\n" if name == "mbpp" else "    import os\n    os._exit(0)\n"
    assert list(graded(task, doc, [escape]).values()) == [0.0]


def test_several_answers_give_pass_at_k(data):
    found = load_tasks(["humaneval_64"], [], hub=False, sandbox_problem=None, data=data)
    (task,) = found.tasks.values()
    assert task.get_config("repeats") == 64
    metric = code_metric.CODE_EVAL.compute(
        ["assert f() == 1"], [["def f(): return 1"] * 2 + ["def f(): return 2"] * 2], [1, 2, 8]
    )
    assert metric[0] == {"pass@1": pytest.approx(0.5), "pass@2": pytest.approx(5 / 6)}


def test_without_a_sandbox_they_are_refused_and_nothing_runs(data, monkeypatch):
    monkeypatch.setattr(code_metric, "code_tasks_available", lambda: Availability(False, "none"))
    monkeypatch.setattr(code_metric, "pass_at_k", lambda *_: pytest.fail("ran a program"))
    found = load_tasks(["humaneval", "mbpp"], [], hub=False, sandbox_problem="none", data=data)
    assert found.tasks == {} and [each.task for each in found.refused] == ["humaneval", "mbpp"]


def test_the_package_of_metrics_is_imported_only_for_another_metric(tmp_path, monkeypatch):
    (tmp_path / "evaluate").mkdir()
    (tmp_path / "evaluate" / "__init__.py").write_text("def load(name):\n    return name\n\n\nversion = 1\n")
    (tmp_path / "evaluate" / "inner.py").write_text("here = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "evaluate"]:
        monkeypatch.delitem(sys.modules, name)
    with code_metric.sandboxed_code_eval():
        first = importlib.import_module("evaluate")
        assert first.load("code_eval") is code_metric.CODE_EVAL and find_spec("evaluate") is not None
        assert isinstance(sys.modules["evaluate"], code_metric._StandIn)
        assert first.load("squad") == "squad" and first.version == 1
        # What comes after finds the package itself: its own way to the metric leads into the sandbox too.
        second = importlib.import_module("evaluate")
        assert second is not first and second.load("code_eval") is code_metric.CODE_EVAL
    assert second.load("code_eval") == "code_eval" and first.load("code_eval") is code_metric.CODE_EVAL
    del sys.modules["evaluate"]
    with code_metric.sandboxed_code_eval():
        assert importlib.import_module("evaluate.inner").here
        assert importlib.import_module("evaluate").load("code_eval") is code_metric.CODE_EVAL
    with code_metric.sandboxed_code_eval(), pytest.raises(AttributeError):
        assert importlib.import_module("evaluate").nothing_of_that_name
