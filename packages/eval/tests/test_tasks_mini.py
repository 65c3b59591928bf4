"""The item sets written for this project: they are right, balanced, distinct, and long enough to be compared."""

import ast
import collections
import operator
import re

import pytest

from headwater.core.item_parts import item_parts
from headwater.core.ngrams import words
from headwater.eval.tasks.packaged import MINI_TASKS, read_split, splits

MMLU, GSM8K, HUMANEVAL = MINI_TASKS
SPLITS = [(task, split) for task in MINI_TASKS for split in splits(task)]
OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}  # fmt: skip


def calculate(text: str) -> float:
    def value(node):
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        assert isinstance(node, ast.Constant)
        return node.value

    return value(ast.parse(text, mode="eval").body)


def test_there_are_as_many_items_as_promised():
    assert len(read_split(MMLU, "test")) >= 60
    assert len({row["subject"] for row in read_split(MMLU, "test")}) >= 6
    assert len(read_split(MMLU, "dev")) >= 5
    assert len(read_split(GSM8K, "test")) >= 40
    assert len(read_split(GSM8K, "train")) >= 5
    assert len(read_split(HUMANEVAL, "test")) >= 20


@pytest.mark.parametrize(("task", "split"), SPLITS)
def test_items_have_the_columns_of_the_benchmark(task, split):
    columns = {
        MMLU: {"question": str, "subject": str, "choices": list, "answer": int},
        GSM8K: {"question": str, "answer": str},
        HUMANEVAL: {"task_id": str, "prompt": str, "canonical_solution": str, "test": str, "entry_point": str},
    }
    for row in read_split(task, split):
        assert {name: type(value) for name, value in row.items()} == columns[task]


@pytest.mark.parametrize("task", MINI_TASKS)
def test_no_two_items_share_a_run_of_thirteen_words_and_each_has_one(task):
    seen = {}
    for split in splits(task):
        for row in read_split(task, split):
            text = row["prompt"] if task == HUMANEVAL else row["question"]
            found = words(text)
            assert len(found) >= 13, text
            for start in range(len(found) - 12):
                run = tuple(found[start : start + 13])
                assert seen.setdefault(run, text) == text, run


def test_every_choice_question_has_four_different_choices_and_one_answer():
    for split in splits(MMLU):
        for row in read_split(MMLU, split):
            assert len(row["choices"]) == len(set(row["choices"])) == 4
            assert row["answer"] in range(4)
            assert all(choice == choice.strip() and choice for choice in row["choices"])
            assert re.fullmatch("[a-z_]+", row["subject"])


def test_no_letter_is_the_answer_more_often_than_another():
    counts = collections.Counter(row["answer"] for row in read_split(MMLU, "test"))
    assert max(counts.values()) - min(counts.values()) <= 1
    assert set(collections.Counter(row["answer"] for row in read_split(MMLU, "dev"))) == {0, 1, 2, 3}


def test_the_right_choice_is_not_given_away_by_its_length():
    longest = [
        max(range(4), key=lambda i, row=row: len(row["choices"][i])) == row["answer"]
        for row in read_split(MMLU, "test")
    ]
    assert sum(longest) / len(longest) < 0.5


def test_subjects_of_questions_have_an_example():
    tested = {row["subject"] for row in read_split(MMLU, "test")}
    assert tested == {row["subject"] for row in read_split(MMLU, "dev")}


# What Python itself says about the questions that it can answer: a part of the question → expression.
PYTHON_SAYS = {
    "math.gcd(84, 36)": "__import__('math').gcd(84, 36)",
    "divmod(17, 5)": "divmod(17, 5)",
    "sorted('one two three'": "' '.join(sorted('one two three'.split()))",
    "Path('archive/backup.tar.gz')": "__import__('pathlib').Path('archive/backup.tar.gz').suffix",
    "decimal number twenty-two": "bin(22)[2:]",
    "divides both 91 and 143": "__import__('math').gcd(91, 143)",
    "7 rolls into every bag": "7 * 12 + 5",
    "mean of four numbers is 15": "15 * 4 - 12 - 18 - 11",
    "one hundred and eighty kilometres": "int(180 / 2.5)",
    "one unsigned byte": "2 ** 8",
    "one million names": "len(bin(1_000_000)) - 2",
    "fourteen metres long": "2 * (14 + 9)",
    "144 square tiles": "12 * 20 / 100",
}


@pytest.mark.parametrize("part", PYTHON_SAYS)
def test_answers_that_python_can_compute_are_right(part):
    rows = [row for split in splits(MMLU) for row in read_split(MMLU, split) if part in row["question"]]
    assert len(rows) == 1
    told = eval(PYTHON_SAYS[part])
    assert rows[0]["choices"][rows[0]["answer"]] in (str(told), repr(told))


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_calculation_of_a_worked_answer_is_right(split):
    for row in read_split(GSM8K, split):
        steps = re.findall(r"<<([^=<>]+)=([^<>]+)>>", row["answer"])
        assert steps, row
        for expression, result in steps:
            assert calculate(expression) == pytest.approx(float(result)), row["answer"]
        # Every annotation is followed by the number that it gives, and none is left half-open.
        assert len(re.findall(r"<<[^<>]+=([^<>]+)>>\1(?![0-9])", row["answer"])) == len(steps), row["answer"]
        assert row["answer"].count("<<") == row["answer"].count(">>") == len(steps)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_worked_answer_ends_with_a_number_that_it_computed(split):
    for row in read_split(GSM8K, split):
        work, _, final = row["answer"].rpartition("\n#### ")
        assert re.fullmatch(r"[0-9]+", final)
        assert final in re.findall(r"=([0-9.]+)>>", work)


def test_every_number_that_a_worked_answer_starts_from_is_known():
    """Numbers in a calculation come from the question, from an earlier step, or are a unit (60 minutes, 1000, 100)."""
    spelled = {"one": 1, "half": 2, "twice": 2, "both": 2, "two": 2, "third": 3, "three": 3, "quarter": 4, "four": 4,
               "five": 5, "monday to friday": 5, "six": 6, "eight": 8, "ten": 10}  # fmt: skip
    for split in splits(GSM8K):
        for row in read_split(GSM8K, split):
            prose = (row["question"] + " " + row["answer"].partition("\n####")[0]).lower()
            known = {float(n) for n in re.findall(r"\d+", row["question"])} | {1.0, 2.0, 60.0, 100.0, 1000.0}
            known |= {float(value) for word, value in spelled.items() if re.search(rf"\b{word}\b", prose)}
            for expression, result in re.findall(r"<<([^=<>]+)=([^<>]+)>>", row["answer"]):
                for number in re.findall(r"[0-9.]+", expression):
                    assert float(number) in known, (number, row["answer"])
                known.add(float(result))


def test_every_function_has_a_docstring_with_an_example_that_is_right():
    import doctest

    for row in read_split(HUMANEVAL, "test"):
        names: dict = {}
        exec(row["prompt"] + row["canonical_solution"], names)
        function = names[row["entry_point"]]
        found = doctest.DocTestFinder().find(function, row["entry_point"], globs=names)
        assert sum(len(test.examples) for test in found) >= 1, row["task_id"]
        for test in found:
            assert doctest.DocTestRunner(verbose=False).run(test).failed == 0, row["task_id"]
        assert row["test"].count("assert ") >= 3
    ids = [row["task_id"] for row in read_split(HUMANEVAL, "test")]
    assert len(set(ids)) == len(ids)


def test_the_text_to_compare_holds_no_calculator_annotations():
    text = item_parts(read_split(GSM8K, "test")[0]).text
    assert "<<" not in text
    assert "5*16=80" in text.replace(" ", "")
