"""Benchmark data from a local folder: task files, checksums, and what is said about damage."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from headwater.core.errors import EvalError
from headwater.eval import checksums
from headwater.eval.data_dir import leaf_tasks, prepare_data_dir
from headwater.eval.items_cli import data
from headwater.eval.tasks.local_data import read_items

MMLU = leaf_tasks(["mmlu"])


def choice_item(subject: str, number: int) -> dict:
    return {
        "question": f"Which of these is number {number} of {subject}?",
        "subject": subject,
        "choices": [f"{letter} {number}" for letter in "abcd"],
        "answer": number % 4,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in the layout of the real data, with a few made-up items: 1 to 3 a subject."""
    root = tmp_path / "data"
    for place, task in enumerate(MMLU):
        for split, count in (("dev", 5), ("validation", 1), ("test", 1 + place % 3)):
            path = root / "mmlu" / str(task.subject) / f"{split}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist([choice_item(str(task.subject), n) for n in range(count)]), path)
    (root / "gsm8k").mkdir()
    for split, count in (("train", 6), ("test", 2)):
        lines = [json.dumps({"question": f"What is {n} and {n}?", "answer": f"#### {2 * n}"}) for n in range(count)]
        (root / "gsm8k" / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    (root / "humaneval").mkdir()
    problem = {
        "task_id": "T/0", "prompt": "def one():\n", "canonical_solution": "    return 1\n",
        "test": "def check(candidate):\n    assert candidate() == 1\n", "entry_point": "one",
    }  # fmt: skip
    (root / "humaneval" / "HumanEval.jsonl.gz").write_bytes(gzip.compress(json.dumps(problem).encode() + b"\n"))
    return root


def load(include: Path, names: list[str]):
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=False, include_path=str(include)).load(names)


def test_all_tasks_and_groups_load_with_lm_evals_own_prompt(folder, tmp_path):
    loaded = load(
        prepare_data_dir(folder, tmp_path / "work", ["mmlu", "gsm8k", "humaneval"]), ["mmlu", "gsm8k", "humaneval"]
    )
    tasks = loaded["tasks"]
    assert len(tasks) == 59
    assert set(loaded["groups"]) == {"mmlu", "mmlu_stem", "mmlu_other", "mmlu_social_sciences", "mmlu_humanities"}
    anatomy = tasks["mmlu_anatomy"]
    assert anatomy.fewshot_context(anatomy.task_docs[0], 1) == (
        "The following are multiple choice questions (with answers) about anatomy.\n\n"
        "Which of these is number 0 of anatomy?\nA. a 0\nB. b 0\nC. c 0\nD. d 0\nAnswer: A\n\n"
        "Which of these is number 0 of anatomy?\nA. a 0\nB. b 0\nC. c 0\nD. d 0\nAnswer:"
    )
    assert tasks["gsm8k"].config.num_fewshot == 5
    assert tasks["gsm8k"].config.dataset_path == "openai/gsm8k"
    assert tasks["humaneval"].UNSAFE_CODE
    assert tasks["humaneval"].doc_to_target(tasks["humaneval"].task_docs[0]).endswith("check(one)")


def test_the_score_of_mmlu_weighs_subjects_by_their_size(folder, tmp_path):
    import lm_eval
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    class AlwaysA(LM):
        def loglikelihood(self, requests):
            return [(0.0 if request.args[1] == " A" else -1.0, False) for request in requests]

        def loglikelihood_rolling(self, requests):
            raise AssertionError

        def generate_until(self, requests):
            raise AssertionError

    include = prepare_data_dir(folder, tmp_path / "work", ["mmlu"])
    manager = TaskManager(include_defaults=False, include_path=str(include))
    found = lm_eval.simple_evaluate(
        AlwaysA(), tasks=["mmlu"], task_manager=manager, bootstrap_iters=0, log_samples=False
    )
    sizes = [1 + place % 3 for place in range(57)]
    # Exactly the first item of each subject has the answer A.
    assert found["results"]["mmlu"]["acc,none"] == pytest.approx(57 / sum(sizes))
    assert found["results"]["mmlu"]["acc,none"] != pytest.approx(sum(1 / n for n in sizes) / 57, abs=0.01)


def test_a_part_needs_only_its_own_files(folder, tmp_path):
    keep = {str(task.subject) for task in leaf_tasks(["mmlu_stem"])}
    for path in (folder / "mmlu").iterdir():
        if path.name not in keep:
            for file in path.iterdir():
                file.unlink()
    loaded = load(prepare_data_dir(folder, tmp_path / "work", ["mmlu_stem"]), ["mmlu_stem"])
    assert len(loaded["tasks"]) == len(keep) == 19
    with pytest.raises(EvalError, match="lacks 76 of 114 files"):
        prepare_data_dir(folder, tmp_path / "work", ["mmlu"])


def test_names_of_other_benchmarks_are_left_alone():
    assert leaf_tasks(["mmlu_pro", "gsm8k_cot", "humaneval_plus", "hellaswag", "headwater_mini_mmlu"]) == []
    assert [task.name for task in leaf_tasks(["gsm8k", "mmlu_virology", "mmlu_anatomy"])] == [
        "mmlu_anatomy", "mmlu_virology", "gsm8k",
    ]  # fmt: skip


def test_missing_files_are_named(folder, tmp_path):
    (folder / "gsm8k" / "test.jsonl").unlink()
    with pytest.raises(EvalError, match=r"no gsm8k/test.jsonl"):
        prepare_data_dir(folder, tmp_path / "work", ["gsm8k"])
    with pytest.raises(EvalError, match="there is no data folder"):
        prepare_data_dir(folder / "none", tmp_path / "work", ["gsm8k"])


def test_a_folder_without_checksums_is_said_to_be_unverified(folder, tmp_path, capsys):
    prepare_data_dir(folder, tmp_path / "work", ["gsm8k"])
    assert "is unverified: there is no SHA256SUMS" in capsys.readouterr().err


def test_damage_is_found_before_anything_runs(folder, tmp_path, capsys):
    checksums.write(folder)
    prepare_data_dir(folder, tmp_path / "work", ["mmlu", "gsm8k", "humaneval"])
    assert capsys.readouterr().err == ""
    path = folder / "gsm8k" / "test.jsonl"
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)
    (folder / "mmlu" / "anatomy" / "more.parquet").write_bytes(b"x")
    with pytest.raises(EvalError, match=r"changed: gsm8k/test\.jsonl; extra: mmlu/anatomy/more\.parquet"):
        prepare_data_dir(folder, tmp_path / "work", ["mmlu", "gsm8k"])
    prepare_data_dir(folder, tmp_path / "work", ["humaneval"])  # whose files are as listed


def test_checksums_kept_elsewhere_are_used(folder, tmp_path):
    target, _ = checksums.write(folder, tmp_path / "sums.txt")
    prepare_data_dir(folder, tmp_path / "work", ["gsm8k"], target)
    (folder / "gsm8k" / "train.jsonl").unlink()
    assert checksums.verify(folder, target).missing == ["gsm8k/train.jsonl"]


def test_task_files_of_an_earlier_run_are_removed(folder, tmp_path):
    prepare_data_dir(folder, tmp_path / "work", ["gsm8k"])
    include = prepare_data_dir(folder, tmp_path / "work", ["humaneval"])
    assert [path.name for path in include.iterdir()] == ["humaneval.yaml"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not gzip", "cannot read"),
        (gzip.compress(b'{"task_id": "T/0"}\n' * 9)[:30], "cannot read"),
        (gzip.compress(b'{"task_id": '), "cannot read"),
        (gzip.compress(b"\xff\xfe"), "cannot read"),
        (gzip.compress(b'{"task_id": "T/0", "prompt": ""}'), "lacks canonical_solution, test, entry_point"),
        (gzip.compress(b""), "holds no items"),
    ],
    ids=["no gzip", "truncated", "no json", "no utf-8", "lacks fields", "empty"],
)
def test_damaged_data_is_told_with_its_place(folder, content, message):
    (folder / "humaneval" / "HumanEval.jsonl.gz").write_bytes(content)
    with pytest.raises(EvalError, match=message) as caught:
        read_items(folder, "humaneval", "test")
    assert "HumanEval.jsonl.gz" in str(caught.value)


def test_a_damaged_parquet_file_is_told(folder):
    path = folder / "mmlu" / "anatomy" / "test.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(EvalError, match=r"anatomy/test.parquet"):
        read_items(folder, "mmlu", "test", "anatomy")


def test_the_commands_write_and_check_checksums(folder):
    runner = CliRunner()
    made = runner.invoke(data, ["checksum", str(folder)])
    assert made.exit_code == 0
    assert "174 files listed" in made.output  # 57 subjects of three files, two of gsm8k, one of humaneval
    assert runner.invoke(data, ["verify", str(folder)]).output == "verify: 174 files as listed\n"
    (folder / "gsm8k" / "train.jsonl").write_text("changed\n")
    (folder / "humaneval" / "HumanEval.jsonl.gz").unlink()
    (folder / "gsm8k" / "notes.txt").write_text("new\n")
    failed = runner.invoke(data, ["verify", str(folder)])
    assert isinstance(failed.exception, EvalError)
    for line in ("changed: gsm8k/train.jsonl", "missing: humaneval/HumanEval.jsonl.gz", "extra: gsm8k/notes.txt"):
        assert line in str(failed.exception)
    told = runner.invoke(data, ["verify", str(folder), "--json"])
    assert json.loads(told.output)["missing"] == ["humaneval/HumanEval.jsonl.gz"]


def test_the_checksum_file_is_what_sha256sum_reads(folder):
    import shutil
    import subprocess

    if shutil.which("sha256sum") is None:
        pytest.skip("there is no sha256sum program here")
    checksums.write(folder)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


@pytest.mark.parametrize(
    "line", ["abc  file", "0" * 64 + " one space", "0" * 64 + "  ../outside", "0" * 64 + "  /etc/x"]
)
def test_a_line_that_is_no_checksum_is_named(folder, line):
    (folder / "SHA256SUMS").write_text("1" * 64 + "  gsm8k/test.jsonl\n" + line + "\n")
    with pytest.raises(EvalError, match="line 2 of"):
        checksums.verify(folder)


def test_verifying_without_a_checksum_file_says_how_to_make_one(folder):
    with pytest.raises(EvalError, match="headwater eval data checksum"):
        checksums.verify(folder)
