"""The items artifact: what it holds, that it is the same every time, and what is said about unknown tasks."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from headwater.core.documents import ITEMS
from headwater.core.errors import ConfigError, EvalError, StorageError
from headwater.core.item_parts import item_parts
from headwater.core.lock import exclusive
from headwater.core.manifest import is_artifact, read_manifest
from headwater.eval import checksums
from headwater.eval import items as module
from headwater.eval.data_dir import lm_eval_tasks
from headwater.eval.harness.names import names_in, require_names
from headwater.eval.items import write_items
from headwater.eval.items_cli import items
from headwater.eval.tasks.packaged import MINI_TASKS, read_split


def write_gsm8k(root: Path, answer: str = "Two and two are 2+2=<<2+2=4>>4.\n#### 4") -> Path:
    folder = root / "gsm8k"
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text(
            json.dumps({"question": "What is two and two?", "answer": answer}) + "\n"
        )
    return root


def test_every_item_is_there_with_its_index_and_all_its_fields(tmp_path):
    result = write_items(tmp_path / "items", MINI_TASKS)
    table = pq.read_table(tmp_path / "items" / "items.parquet")
    assert table.schema.equals(ITEMS)
    assert table.schema.metadata is None
    rows = table.to_pylist()
    for task in MINI_TASKS:
        own = [row for row in rows if row["task"] == task]
        assert [row["index"] for row in own] == list(range(len(own)))
        assert [json.loads(row["fields_json"]) for row in own] == read_split(task, "test")
    assert result.manifest.counters["items"] == len(rows) == sum(result.manifest.counters["tasks"].values())


def test_two_folders_get_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_items(tmp_path / name / "items", MINI_TASKS)
    for file in ("items.parquet", "manifest.json"):
        assert (tmp_path / "one/items" / file).read_bytes() == (tmp_path / "two/items" / file).read_bytes()


def test_a_second_call_does_nothing_and_other_tasks_make_a_new_artifact(tmp_path):
    first = write_items(tmp_path, MINI_TASKS)
    again = write_items(tmp_path, MINI_TASKS)
    assert (first.fresh, again.fresh) == (True, False)
    other = write_items(tmp_path, MINI_TASKS[:1])
    assert other.fresh
    assert other.manifest.digest != first.manifest.digest
    assert set(pq.read_table(tmp_path / "items.parquet").column("task").to_pylist()) == {MINI_TASKS[0]}


def test_a_changed_data_file_makes_a_new_artifact_and_a_moved_folder_does_not(tmp_path):
    data = write_gsm8k(tmp_path / "data")
    first = write_items(tmp_path / "items", ["gsm8k"], data)
    assert not write_items(tmp_path / "items", ["gsm8k"], write_gsm8k(tmp_path / "moved")).fresh
    again = write_items(tmp_path / "items", ["gsm8k"], write_gsm8k(data, "It is 5.\n#### 5"))
    assert again.fresh
    assert again.manifest.digest != first.manifest.digest


def test_texts_are_what_a_copy_on_the_web_would_hold():
    assert item_parts({"question": "Q?", "subject": "s", "choices": ["a", "b"], "answer": 0}).text == "Q?\na\nb"
    assert item_parts({"question": "Q?", "answer": "2+2=<<2+2=4>>4\n#### 4"}).text == "Q?\n2+2=4\n#### 4"
    assert (
        item_parts({"prompt": "def f():\n", "canonical_solution": "    return 1\n"}).text == "def f():\n    return 1\n"
    )


def test_a_mistyped_task_is_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(ConfigError, match="did you mean headwater_mini_gsm8k"):
        write_items(tmp_path / "items", ["headwater_mini_gsmk8"])
    assert not (tmp_path / "items").exists()


def test_a_mistyped_task_of_lm_eval_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="there is no task hellaswga") as caught:
        write_items(tmp_path / "items", [MINI_TASKS[0], "hellaswga"])
    assert caught.value.hint is not None and caught.value.hint.startswith("did you mean hellaswag?")
    assert not (tmp_path / "items").exists()


def test_names_of_lm_eval_and_of_own_task_files_are_known_without_its_index(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text('"task": "my_task"\ntag:\n- my_tag # the tag\n- "other tag"\n')
    # Tasks, groups and a tag; one of the names stands in quotes.
    names = ["hellaswag", "mmlu_pro", "ai2_arc", "leaderboard_bbh", "AraDiCE_ArabicMMLU_humanities_egy"]

    def index(hub: bool) -> None:
        raise AssertionError("the index was asked")

    monkeypatch.setattr("headwater.eval.harness.environment.prepare", index)
    require_names([*names, "my_task", "my_tag"], [tmp_path])


@pytest.mark.slow
def test_the_quick_look_knows_nearly_what_the_index_knows():
    from lm_eval.tasks import TaskManager

    known = set(TaskManager().task_index)
    quick = names_in(lm_eval_tasks())
    assert len(known - quick) < len(known) / 100  # such a name takes the index; none is refused
    wrong = sorted(name for name in quick - known)
    assert len(wrong) < len(known) / 100, wrong


def test_another_process_in_the_folder_is_refused(tmp_path):
    with exclusive(tmp_path), pytest.raises(StorageError, match="another process is writing"):
        write_items(tmp_path, MINI_TASKS)


def test_data_that_the_evaluation_would_refuse_is_refused_here(tmp_path):
    data = write_gsm8k(tmp_path / "data")
    sums, _ = checksums.write(data, tmp_path / "sums.txt")
    write_items(tmp_path / "items", ["gsm8k"], data, checksum_file=sums)
    (data / "gsm8k" / "train.jsonl").write_text("{}\n")
    with pytest.raises(EvalError, match=r"changed: gsm8k/train\.jsonl"):
        write_items(tmp_path / "items", ["gsm8k"], data, checksum_file=sums)
    (data / "gsm8k" / "train.jsonl").unlink()
    with pytest.raises(EvalError, match="lacks 1 of 2 files"):
        write_items(tmp_path / "items", ["gsm8k"], data)


def test_tasks_without_items_are_counted(tmp_path):
    result = write_items(tmp_path, [MINI_TASKS[0], "hellaswag", "gsm8k"])
    assert result.without == ["hellaswag", "gsm8k"]
    assert read_manifest(tmp_path).counters["without_items"] == ["hellaswag", "gsm8k"]


def test_a_full_disk_leaves_no_artifact(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write_parquet", full)
    with pytest.raises(StorageError, match="No space left"):
        write_items(tmp_path / "items", MINI_TASKS)
    assert not is_artifact(tmp_path / "items")
    monkeypatch.undo()
    assert write_items(tmp_path / "items", MINI_TASKS).fresh


def test_the_command_tells_what_it_did(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: test\n")
    arguments = ["--recipe", str(recipe), "--run", str(tmp_path / "run")]
    runner = CliRunner()
    first = runner.invoke(items, arguments, catch_exceptions=False)
    assert first.output.startswith("items: ")
    assert "3 tasks" in first.output
    assert "up to date" in runner.invoke(items, arguments, catch_exceptions=False).output
    data = write_gsm8k(tmp_path / "data")
    changed = runner.invoke(
        items, [*arguments, "--data-dir", str(data), "--json", "eval.tasks=[gsm8k]"], catch_exceptions=False
    )
    assert json.loads(changed.stdout)["tasks"] == {"gsm8k": 1}
    override = f"eval.data_dir={data}"
    same = runner.invoke(items, [*arguments, "--json", "eval.tasks=[gsm8k]", override], catch_exceptions=False)
    assert json.loads(same.stdout)["up_to_date"]
    warned = runner.invoke(items, [*arguments, "eval.tasks=[gsm8k]"], catch_exceptions=False)
    assert "no items of gsm8k here" in warned.stderr
