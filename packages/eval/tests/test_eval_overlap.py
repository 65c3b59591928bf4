"""Scores on clean and on overlapping items: which items those are, and what is said when it is not known."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headwater.core.config import validate
from headwater.core.documents import ITEM_OVERLAPS, ITEM_OVERLAPS_FILE
from headwater.core.manifest import ArtifactWriter, parent_of, read_manifest
from headwater.eval.config import EvalConfig
from headwater.eval.items import write_items
from headwater.eval.results import Sample, Score
from headwater.eval.stage import run_eval
from headwater.eval.summary import print_summary

TASK = "headwater_mini_mmlu"
ASKED = {"tasks": [TASK, "headwater_mini_gsm8k"], "limit": 4, "max_gen_tokens": 4, "checkpoint": "10"}
CONFIG = validate(EvalConfig, {**ASKED, "bits_per_byte": False}, "eval")


def documents(run, rows):
    """RUN/documents that says which documents hold which items: (task, index, kept, split)."""
    parents = [parent_of(run.documents, run.items, "items")]
    writer = ArtifactWriter(
        run.documents, kind="documents", name="documents", producer="test 0", config={}, parents=parents
    )
    writer.begin()
    same = {"source": "web", "url": "http://w", "longest": 20, "coverage": None}
    table = [
        {"task": task, "index": index, "id": f"{number:032x}", "kept": kept, "split": split, **same}
        for number, (task, index, kept, split) in enumerate(rows)
    ]
    pq.write_table(pa.Table.from_pylist(table, schema=ITEM_OVERLAPS), run.documents / ITEM_OVERLAPS_FILE)
    writer.commit({})


def samples(evaluation, task):
    lines = (evaluation.folder / "samples" / f"{task}.jsonl").read_text().splitlines()
    return [Sample.model_validate_json(line) for line in lines]


def test_scores_are_split_by_what_kept_training_documents_hold(own_run, capsys):
    write_items(own_run.items, [TASK])
    documents(own_run, [(TASK, 1, True, "train"), (TASK, 1, False, "train"), (TASK, 2, False, "train"),
                        (TASK, 3, True, "validation")])  # fmt: skip
    found = run_eval(own_run, CONFIG)
    assert [each.overlap for each in samples(found, TASK)] == [False, True, False, False]
    scores = [score for score in found.results.tasks if score.task == TASK]
    assert scores
    for score in scores:
        assert score.overlap and score.overlap.clean and score.overlap.overlapping
        assert (score.overlap.clean.items, score.overlap.overlapping.items) == (3, 1)
        whole = (3 * score.overlap.clean.value + score.overlap.overlapping.value) / 4
        assert whole == pytest.approx(score.value)
    assert {parent.role for parent in found.manifest.parents} >= {"documents", "items"}
    # The other task has no items here.
    assert {each.overlap for each in samples(found, "headwater_mini_gsm8k")} == {None}
    assert all(score.overlap is None for score in found.results.tasks if score.task != TASK)
    said = "\n".join(found.results.notes)
    assert f"hold items of {TASK} (1 of 4)" in said and "not known for headwater_mini_gsm8k" in said
    print_summary(found)
    assert "overlapping" in capsys.readouterr().out
    assert not run_eval(own_run, CONFIG).fresh
    assert json.loads((found.folder / "results.json").read_text())["tasks"][0]["overlap"] is not None


def test_without_the_list_nothing_is_split_and_that_is_said(own_run):
    write_items(own_run.items, [TASK])
    found = run_eval(own_run, CONFIG)
    assert all(score.overlap is None for score in found.results.tasks)
    assert any("not known" in line and "item_overlaps.parquet" in line for line in found.results.notes)


def test_documents_compared_with_other_items_say_nothing(own_run):
    write_items(own_run.items, ["headwater_mini_gsm8k"])
    documents(own_run, [("headwater_mini_gsm8k", 0, True, "train")])
    before = read_manifest(own_run.items).digest
    write_items(own_run.items, [TASK])
    assert read_manifest(own_run.items).digest != before
    found = run_eval(own_run, CONFIG)
    assert all(score.overlap is None for score in found.results.tasks)
    assert any("other items" in line for line in found.results.notes)


def test_the_parts_of_a_group_are_means_over_its_items():
    from headwater.eval.overlap import split_score

    def sample(index, value, overlap):
        return Sample(index=index, target=0, prediction=0, correct=value, logprobs=None, greedy=None, response=None,
                      filters={"none": {"prediction": 0, "metrics": {"acc": value}}}, truncated=False, cut_short=False,
                      prompt_sha256="", document_sha256="", overlap=overlap)  # fmt: skip

    score = Score(task="g", group=True, metric="acc", filter="none", value=0.9, stderr=None, items=4, interval=None,
                  chance=None, indistinguishable_from_chance=None, higher_is_better=True, few_shot=0, version="1",
                  truncated=0, members=("a", "b"))  # fmt: skip
    rows = {"a": [sample(0, 1.0, True), sample(1, 0.0, False)], "b": [sample(0, 1.0, False), sample(1, 1.0, True)]}
    found = split_score(score, rows)
    assert found and found.clean and found.overlapping
    assert (found.clean.value, found.clean.items, found.overlapping.value) == (0.5, 2, 1.0)
    assert split_score(score, {"a": rows["a"], "b": [sample(0, 1.0, None)]}) is None
