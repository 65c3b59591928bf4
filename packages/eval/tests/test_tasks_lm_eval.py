"""The task files, as lm-eval reads them: prompts, filters and metrics are those of the benchmark they follow."""

import logging
from pathlib import Path

import pytest
import yaml

from headwater.eval.data_dir import lm_eval_tasks
from headwater.eval.sandbox import availability
from headwater.eval.tasks.code import build_predictions
from headwater.eval.tasks.needle import TASK
from headwater.eval.tasks.packaged import MINI_TASKS, TASKS_FOLDER, read_split

MMLU, GSM8K, HUMANEVAL = MINI_TASKS


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def settings(path: Path) -> dict:
    return yaml.load(path.read_text(), Loader=_Loader)


@pytest.fixture(scope="module")
def tasks():
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False, include_path=str(TASKS_FOLDER))
    assert set(manager.all_tasks) == {*MINI_TASKS, TASK}
    return manager.load(list(MINI_TASKS))["tasks"]


def test_the_tasks_load_with_their_items_in_order(tasks):
    for name, task in tasks.items():
        assert list(task.task_docs) == read_split(name, "test")


def test_the_prompts_and_filters_are_those_of_lm_eval():
    folder = lm_eval_tasks()
    same = ("output_type", "test_split", "doc_to_text", "doc_to_target", "doc_to_choice", "fewshot_split",
            "filter_list", "generation_kwargs", "metric_list", "num_fewshot", "repeats")  # fmt: skip
    for own, theirs, differ in (
        ("mini_mmlu.yaml", "mmlu/default/_default_template_yaml", set()),
        ("mini_gsm8k.yaml", "gsm8k/gsm8k.yaml", set()),
        ("humaneval_base", "humaneval/humaneval.yaml", {"metric_list", "filter_list"}),
    ):
        ours, base = settings(TASKS_FOLDER / own), settings(folder / theirs)
        for key in set(same) - differ:
            assert ours.get(key) == base.get(key), (own, key)
    assert settings(TASKS_FOLDER / "mini_mmlu.yaml")["fewshot_config"] == {"sampler": "first_n"}


def test_a_question_with_examples_reads_like_mmlu(tasks):
    task = tasks[MMLU]
    first, second = read_split(MMLU, "test")[0], read_split(MMLU, "dev")[0]
    prompt = task.fewshot_context(first, 1)
    letter = "ABCD"[second["answer"]]
    assert prompt.startswith(
        "The following are multiple choice questions (with answers) about python standard library.\n\n"
        f"{second['question']}\nA. {second['choices'][0]}\n"
    )
    assert f"\nAnswer: {letter}\n\n{first['question']}\nA. " in prompt
    assert prompt.endswith(f"D. {first['choices'][3]}\nAnswer:")
    assert task.doc_to_target(first) == first["answer"]


def test_a_word_problem_reads_like_gsm8k(tasks):
    first, example = read_split(GSM8K, "test")[0], read_split(GSM8K, "train")[0]
    prompt = tasks[GSM8K].fewshot_context(first, 1)
    assert (
        prompt
        == f"Question: {example['question']}\nAnswer: {example['answer']}\n\nQuestion: {first['question']}\nAnswer:"
    )


@pytest.mark.parametrize("name", [MMLU, GSM8K])
def test_the_examples_do_not_depend_on_a_seed(tasks, name):
    prompts = set()
    for seed in (1, 2, 1234):
        tasks[name].set_fewshot_seed(seed)
        prompts.add(tasks[name].fewshot_context(tasks[name].task_docs[3], 5))
    assert len(prompts) == 1


@pytest.mark.parametrize(
    ("answer", "strict", "flexible"),
    [("so it is 50.\n#### 50", 1, 1), ("the answer is 50", 0, 1), ("#### 51", 0, 0), ("", 0, 0), ("#### 5,0", 1, 1)],
)
def test_answers_are_read_in_the_two_ways_of_gsm8k(tasks, answer, strict, flexible):
    task = tasks[GSM8K]
    doc = task.task_docs[0]
    scores = {}
    for ensemble in task._filters:
        responses = [[answer]]
        for component in ensemble.filters:
            responses = component().apply(responses, [doc])
        scores[ensemble.name] = task.process_results(doc, list(responses))["exact_match"]
    assert scores == {"strict-match": strict, "flexible-extract": flexible}


def test_code_tasks_are_marked_and_answers_are_put_after_the_prompt(tasks):
    assert tasks[HUMANEVAL].UNSAFE_CODE
    assert build_predictions([["a", "b"]], [{"prompt": "p"}]) == [["pa", "pb"]]


def test_code_answers_are_scored_in_the_sandbox(tasks):
    if not (found := availability()).ok:
        pytest.skip(f"no sandbox on this machine: {found.reason}")
    task = tasks[HUMANEVAL]
    for doc, answer, score in (
        (task.task_docs[1], task.task_docs[1]["canonical_solution"], 1.0),
        (task.task_docs[1], "    return numbers\n", 0.0),
        (task.task_docs[1], "    import os\n    os._exit(0)\n", 0.0),
    ):
        assert task.process_results(doc, build_predictions([[answer]], [doc])) == {"pass@1": score}


def test_the_notice_about_metadata_is_dropped_and_others_stay(caplog, tasks):
    logger = logging.getLogger("lm_eval.api.task")
    with caplog.at_level(logging.WARNING, logger="lm_eval.api.task"):
        logger.warning("x: Custom kwargs can be passed to `--metadata`")
        logger.warning("something else")
    assert [record.getMessage() for record in caplog.records] == ["something else"]
