"""A short evaluation imports nothing that it does not use, and what it puts off is there for who uses it."""

import importlib
import json
import subprocess
import sys
from importlib.util import find_spec
from types import ModuleType

import pytest

from headwater.core.errors import EvalError
from headwater.eval.checkpoint import load
from headwater.eval.harness.environment import prepare
from headwater.eval.tasks.rows import Rows
from headwater.eval.tokenizer import load_tokenizer

prepare(hub=False)

from lm_eval.evaluator import evaluate  # noqa: E402

from headwater.eval.harness.deferred import defer  # noqa: E402
from headwater.eval.harness.measure import measure  # noqa: E402
from headwater.eval.harness.model import HeadwaterLM  # noqa: E402
from headwater.eval.harness.tasks import load_tasks  # noqa: E402

HEAVY = {
    "transformers", "datasets", "pandas", "scipy", "sklearn", "sympy", "accelerate", "evaluate", "torchtitan",
    "torch.distributed.checkpoint", "torch.distributed.tensor", "torch._dynamo", "torch._inductor", "headwater.train",
}  # fmt: skip
RUN = """
import json, sys
from headwater.core.cli import headwater
code = headwater.main(sys.argv[1:], standalone_mode=False)
found = [name for name in sys.modules if type(sys.modules[name]).__name__ != "_Deferred"]
print(json.dumps(found), file=sys.stderr)
"""


def _imported(*arguments: str) -> set[str]:
    """The modules that a command has imported when it ends."""
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.slow
def test_a_run_of_our_own_tasks_imports_no_more_than_it_uses(finished_run, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: test\neval: {max_gen_tokens: 4, held_out_tokens: 600, limit: 1}\n")
    found = _imported(
        "eval", "run", "--recipe", str(recipe), "--run", str(finished_run.root), "--output", str(tmp_path / "out"),
        "--tasks", "headwater_mini_mmlu,headwater_mini_gsm8k,headwater_needle", "eval.prompt_lengths=[200]",
    )  # fmt: skip
    assert {"torch", "lm_eval.api.task", "headwater.eval.session"} <= found
    assert HEAVY & found == set()


@pytest.mark.parametrize("command", [[], ["eval"], ["eval", "run"], ["eval", "gate"]], ids=" ".join)
def test_help_needs_nothing_but_click(command):
    found = _imported(*command, "--help")
    assert {"pydantic", "yaml", "numpy", "torch", "pyarrow", "rich"} & found == set()


def test_a_library_that_is_put_off_is_there_for_who_uses_it(tmp_path, monkeypatch):
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "__init__.py").write_text("def load():\n    return 1\n\n\nfound = []\n")
    (tmp_path / "later" / "inner.py").write_text("here = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    defer("later")
    defer("nowhere_to_be_found")
    assert find_spec("later") is not None and "nowhere_to_be_found" not in sys.modules
    first = importlib.import_module("later")
    assert sys.modules["later"] is first and vars(first).keys().isdisjoint({"load", "found"})
    with monkeypatch.context() as patch:  # what is put in the place of something is not lost
        patch.setattr(first, "load", lambda: 2)
        assert importlib.import_module("later").load() == 2 and first.found == []
    assert first.load() == 1 and type(first) is ModuleType
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = first.nothing_of_that_name
    del sys.modules["later"]
    defer("later")
    assert importlib.import_module("later.inner").here and importlib.import_module("later").load() == 1
    (tmp_path / "later" / "__init__.py").write_text("1 / 0 == 'something else than before'\n")
    for name in ("later", "later.inner"):
        del sys.modules[name]
    defer("later")
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("later").load()
    assert "later" not in sys.modules


def test_items_are_as_a_data_set_has_them():
    from datasets import Dataset

    items = [{"question": f"What is {k}?", "choices": ["a", "b"], "answer": k % 2} for k in range(5)]
    ours, theirs = Rows(items), Dataset.from_list(items)
    assert list(ours) == list(theirs) == items and len(ours) == len(theirs)
    assert list(ours.features) == list(theirs.features)
    assert ours[1] == theirs[1] and ours[-1] == theirs[-1] and ours[1:3] == theirs[1:3]
    assert list(ours["answer"]) == list(theirs["answer"])
    assert list(ours.filter(lambda item: item["answer"])) == list(theirs.filter(lambda item: item["answer"]))
    ours[0]["choices"].append("c")
    assert ours[0] == items[0] and len(ours[0]["choices"]) == 2
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = ours.nothing_of_that_name


REPEATED = """
include: test_generate.yaml
task: test_repeated
repeats: 3
generation_kwargs: {until: ["."], do_sample: true, temperature: 0.9, max_gen_toks: 6}
filter_list:
  - {name: first, filter: [{function: take_first}]}
  - name: words
    filter: [{function: regex, regex_pattern: "(\\\\w+)"}, {function: majority_vote}, {function: take_first}]
"""
ROLLING = """
include: test_generate.yaml
task: test_rolling
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
"""


@pytest.fixture(scope="module")
def lm(finished_run):
    loaded = load(finished_run.checkpoint(20))
    return HeadwaterLM(loaded.model, load_tokenizer(finished_run.tokenizer, loaded.run), max_length=256)


@pytest.fixture(scope="module")
def tasks(test_tasks):
    (test_tasks / "test_repeated.yaml").write_text(REPEATED)
    (test_tasks / "test_rolling.yaml").write_text(ROLLING)

    def loaded(name):
        task = load_tasks([name], [test_tasks], hub=False, sandbox_problem=None).tasks[name]
        task.set_fewshot_seed(1234)
        return task

    return loaded


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_letters", "test_repeated", "test_rolling"])
def test_a_task_is_measured_as_by_lm_eval(lm, tasks, name, monkeypatch):
    monkeypatch.setenv("DISABLE_MULTIPROC", "1")  # bootstrapping in this process
    row, samples = measure(lm, name, tasks(name), limit=5)
    task_dict = {"tasks": {name: tasks(name)}, "groups": {}}
    theirs = evaluate(lm=lm, task_dict=task_dict, limit=5, bootstrap_iters=1000)
    assert row == theirs["results"][name]
    assert len(samples) == len(theirs["samples"][name]) == (10 if name == "test_repeated" else 5)
    hashes = {"doc_hash", "prompt_hash", "target_hash"}
    for mine, other in zip(samples, theirs["samples"][name], strict=True):
        assert mine == {key: value for key, value in other.items() if key not in hashes}


@pytest.mark.slow
def test_what_is_noted_of_an_item_that_was_drawn_is_noted_of_that_item(lm, tasks, monkeypatch):
    asked = tasks("test_words")
    long = next(k for k, doc in enumerate(asked.eval_docs) if k > 4)
    monkeypatch.setattr("random.Random.sample", lambda self, population, count: [2, long, 9][:count])
    inner = asked.doc_to_text
    monkeypatch.setattr(asked, "doc_to_text", lambda doc: inner(doc) + " river" * 400 * (doc == asked.eval_docs[long]))
    lm.truncated.clear()
    _, samples = measure(lm, "test_words", asked, limit=None, items=3)
    assert [sample["doc_id"] for sample in samples] == [2, long, 9]
    assert lm.truncated["test_words"] == {long}


def test_a_task_without_items_is_refused(lm, tasks, monkeypatch):
    asked = tasks("test_words")
    monkeypatch.setattr(type(asked), "eval_docs", [])
    with pytest.raises(EvalError, match="no items"):
        measure(lm, "test_words", asked, limit=None)
