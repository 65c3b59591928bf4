"""The real MMLU, GSM8K and HumanEval, where a copy lies beside the repository (shared/eval-data)."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headwater.core.item_parts import item_parts
from headwater.eval.data_dir import leaf_tasks, prepare_data_dir
from headwater.eval.tasks import code
from headwater.eval.tasks.local_data import read_items

DATA = Path(__file__).resolve().parents[4] / "shared" / "eval-data"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not DATA.is_dir(), reason=f"the benchmarks' data is not at {DATA}")]


def test_all_of_it_loads_offline(tmp_path):
    from lm_eval.tasks import TaskManager

    names = ["mmlu", "gsm8k", "humaneval"]
    include = prepare_data_dir(DATA, tmp_path, names)
    tasks = TaskManager(include_defaults=False, include_path=str(include)).load(names)["tasks"]
    mmlu = {name: task for name, task in tasks.items() if name.startswith("mmlu_")}
    assert len(mmlu) == 57
    assert sum(len(task.task_docs) for task in mmlu.values()) == 14_042
    assert all(len(task.dataset["dev"]) == 5 for task in mmlu.values())
    assert (len(tasks["gsm8k"].task_docs), len(tasks["gsm8k"].dataset["train"])) == (1_319, 7_473)
    assert len(tasks["humaneval"].task_docs) == 164
    for task in tasks.values():
        doc = task.task_docs[0]
        assert task.fewshot_context(doc, 0)
        assert task.doc_to_target(doc) not in (None, "")


def test_every_item_has_a_text_to_compare():
    count = 0
    for task in leaf_tasks(["mmlu", "gsm8k", "humaneval"]):
        for fields in read_items(DATA, task.family, "test", task.subject):
            text = item_parts(fields).text
            assert text.strip()
            assert "<<" not in text or task.family != "gsm8k"
            count += 1
    assert count == 14_042 + 1_319 + 164


@pytest.mark.slow
def test_every_known_solution_of_humaneval_passes_in_every_sandbox(sandbox, monkeypatch):
    monkeypatch.setattr(code, "sandbox", lambda: sandbox)
    problems = read_items(DATA, "humaneval", "test")
    with ThreadPoolExecutor(2) as pool:
        passed = list(
            pool.map(
                lambda row: code.solves(
                    row["prompt"] + row["canonical_solution"], f"{row['test']}\ncheck({row['entry_point']})"
                ),
                problems,
            )
        )
    assert [row["task_id"] for row, right in zip(problems, passed, strict=True) if not right] == []
    assert len(problems) == 164


@pytest.mark.slow
def test_no_solution_of_humaneval_that_does_nothing_passes_in_any_sandbox(sandbox, monkeypatch):
    monkeypatch.setattr(code, "sandbox", lambda: sandbox)
    bodies = ("    pass\n", "    import os\n    os._exit(0)\n")
    passed = [
        (row["task_id"], body)
        for row in read_items(DATA, "humaneval", "test")[::20]
        for body in bodies
        if code.solves(row["prompt"] + body, f"{row['test']}\ncheck({row['entry_point']})")
    ]
    assert passed == []
