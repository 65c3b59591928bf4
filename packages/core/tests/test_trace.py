"""`headwater trace`: documents to steps, steps to documents, items to documents, checked against plain loops."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from synthetic_run import GLOBAL_BATCH, ITEM_TEXTS, SEQ_LEN, STEPS, STEPS_DONE, SyntheticRun, write_run

from headwater.core.errors import DataError, HeadwaterError, ManifestError
from headwater.core.item_runs import ItemIndex, count_shared
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter
from headwater.core.ngrams import split_words, words
from headwater.core.sidecar import Sidecars
from headwater.core.trace.documents import find_documents
from headwater.core.trace.items import trace_item
from headwater.core.trace.payload import read_record
from headwater.core.trace.show import _plain
from headwater.core.trace.steps import trace_step
from headwater.core.trace.training import ranges, read_training
from headwater.core.trace_cli import trace


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SyntheticRun:
    return write_run(tmp_path_factory.mktemp("trace") / "run")


def invoke(run: SyntheticRun, *arguments: str) -> str:
    result = CliRunner().invoke(trace, [*arguments, "--run", str(run.layout.root)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_every_document_is_found_by_the_beginning_of_its_id(run: SyntheticRun):
    for row in [*run.kept, *run.rejected]:
        for query in (row["id"], row["id"][:12], row["id"][:12].upper()):
            (document,) = find_documents(run.layout, query)
            assert (document.id, document.url, document.text) == (row["id"], row["url"], row["text"])
            assert document.kept == (row in run.kept)
            assert [vars(verdict) for verdict in document.verdicts] == row["verdicts"]


def test_a_document_is_found_by_url_and_a_part_of_it(run: SyntheticRun):
    for query in ("http://web.example/page/3", "web.example/page/3"):
        assert find_documents(run.layout, query, by_url=True)[0].id == run.overlap_kept
    # A whole URL wins over longer ones that begin with it.
    assert find_documents(run.layout, "http://web.example/page/1", by_url=True)[0].url.endswith("/1")


def test_a_query_that_fits_none_or_several_documents_is_refused(run: SyntheticRun):
    with pytest.raises(DataError, match="has the id zz") as none:
        find_documents(run.layout, "zz")
    assert "--url" in str(none.value)
    with pytest.raises(DataError, match="2 documents fit page/7") as several:
        find_documents(run.layout, "page/7", by_url=True)
    assert run.overlap_rejected in str(several.value)


def test_the_steps_of_a_document_and_the_documents_of_a_step_agree(run: SyntheticRun):
    """The two directions are computed differently: by inverting the order, and by searching the sidecar."""
    forward: set[tuple[str, int]] = set()
    for step in range(1, STEPS + 1):
        found = trace_step(run.layout, step)
        assert found.done == (step <= STEPS_DONE)
        assert len(found.samples) == GLOBAL_BATCH
        for sample in found.samples:
            assert sum(part.tokens for part in sample.documents) == SEQ_LEN + 1 == found.sample_tokens
            forward |= {(part.id, step) for part in sample.documents}
    training, sidecars = read_training(run.layout), Sidecars(run.layout.tokens_root)
    assert training is not None
    backward: set[tuple[str, int]] = set()
    for row in run.kept:
        place = sidecars.place(row["source"], row["id"])
        assert place is not None
        assert place.split == row["split"]
        if place.split == "train":
            for reading in training.readings(row["source"], place.token_start, place.token_count):
                assert reading.done == sum(step <= STEPS_DONE for step in reading.steps)
                backward |= {(row["id"], step) for step in reading.steps}
    assert forward == backward
    assert len(forward) > 50


def test_the_trace_of_a_kept_document(run: SyntheticRun):
    (value,) = json.loads(invoke(run, "doc", run.overlap_kept[:8], "--json"))
    assert value["kept"] is True
    assert value["warc_file"] == "00000.warc.gz"
    assert (value["steps_done"], value["steps_planned"]) == (STEPS_DONE, STEPS)
    steps = [step for reading in value["readings"] for step in reading["steps"]]
    assert steps == [s for s in range(1, STEPS + 1) if run.overlap_kept in json.dumps(_step(run, s))]
    shown = invoke(run, "doc", run.overlap_kept[:8])
    for part in (run.overlap_kept, "kept", "http://web.example/page/3", "raw/web/00000.warc.gz", "decontaminate",
                 "8 of 12 steps done", "trained at steps"):  # fmt: skip
        assert part in shown


def _step(run: SyntheticRun, step: int) -> object:
    return json.loads(invoke(run, "step", str(step), "--json"))


def test_the_trace_of_a_rejected_document_says_what_rejected_it(run: SyntheticRun):
    shown = invoke(run, "doc", run.overlap_rejected)
    assert "rejected by decontaminate" in shown
    assert "13-gram of demo_task 1" in shown
    assert "no step reads it" in shown


def test_a_held_out_document_is_said_to_be_held_out(run: SyntheticRun):
    held_out = next(row for row in run.kept if row["split"] == "validation")
    assert "Held out for validation" in invoke(run, "doc", held_out["id"])


def test_text_and_raw_payload_are_printed_alone(run: SyntheticRun):
    row = next(row for row in run.kept if row["id"] == run.overlap_kept)
    assert invoke(run, "doc", run.overlap_kept, "--text") == row["text"] + "\n"
    raw = invoke(run, "doc", run.overlap_kept, "--raw")
    assert raw.startswith("HTTP/1.1 200 OK")
    assert raw.endswith(f"<p>{row['text']}</p>")


def test_a_wrong_place_in_a_warc_file_is_refused(run: SyntheticRun):
    path = run.layout.raw("web") / "00000.warc.gz"
    with pytest.raises(DataError, match="no gzip member at byte 3"):
        read_record(path, 3)
    with pytest.raises(DataError, match="is missing"):
        read_record(path.with_name("none.warc.gz"), 0)
    with pytest.raises(DataError, match="no WARC record"):
        read_record(path, path.stat().st_size)


@pytest.mark.parametrize("step", [0, STEPS + 1])
def test_a_step_outside_the_run_is_refused(run: SyntheticRun, step: int):
    with pytest.raises(DataError, match=f"no step {step}") as refused:
        trace_step(run.layout, step)
    assert refused.value.expected == f"1 to {STEPS}"


def test_before_the_first_checkpoint_the_plan_comes_from_the_recipe(run: SyntheticRun, tmp_path: Path):
    copy = RunLayout(shutil.copytree(run.layout.root, tmp_path / "run"))
    shutil.rmtree(copy.train)
    planned = trace_step(copy, 3)
    assert planned.done is False
    assert planned.samples == trace_step(run.layout, 3).samples
    shutil.rmtree(copy.tokens("web"))
    with pytest.raises(DataError, match="no order of samples yet"):
        trace_step(copy, 3)


def test_tokens_that_the_checkpoint_was_not_trained_on_are_refused(run: SyntheticRun, tmp_path: Path):
    copy = RunLayout(shutil.copytree(run.layout.root, tmp_path / "run"))
    shutil.rmtree(copy.tokens("web"))
    shutil.copytree(copy.tokens("code"), copy.tokens("web"))
    with pytest.raises(ManifestError, match="tokens of web are not those"):
        trace_step(copy, 3)


def test_the_item_with_a_kept_overlap_names_the_page_and_its_steps(run: SyntheticRun):
    result = trace_item(run.layout, "demo_task", 0)
    assert not result.closest
    (found,) = result.documents
    assert (found.id, found.url) == (run.overlap_kept, "http://web.example/page/3")
    assert (found.longest, found.shared_ngrams, result.item_ngrams) == (17, 5, 6)
    assert found.texts[0].text == (
        "which river of the northern valley turns the OLD mill wheel, when the snow melts in early"
    )
    assert found.rejection is None
    assert found.readings
    shown = invoke(run, "item", "demo_task", "0")
    assert "http://web.example/page/3" in shown
    assert "longest shared run 17 words; 5 of the item's 6 13-grams; " in shown and "% of the item, by weight" in shown
    assert found.coverage is not None and result.by_coverage
    assert trace_item(run.layout, "demo_task", 0, ngram=13).documents[0].coverage is None


@pytest.mark.parametrize("correct", [0.0, 1.0])
def test_the_answer_is_shown_where_the_item_was_evaluated(run: SyntheticRun, tmp_path: Path, correct: float):
    copy = RunLayout(tmp_path / "run")
    shutil.copytree(run.layout.root, copy.root)
    shutil.rmtree(copy.eval, ignore_errors=True)
    writer = ArtifactWriter(copy.eval, kind="eval", name="e", producer="test 0", config={})
    writer.begin()
    (copy.eval / "samples").mkdir()
    lines = [{"index": 1, "prediction": "2", "target": "2", "correct": 1.0},
             {"index": 0, "prediction": "the Ouse", "target": "the Ouse", "correct": correct}]  # fmt: skip
    (copy.eval / "samples" / "demo_task.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    writer.commit({})
    result = trace_item(copy, "demo_task", 0)
    assert result.answer == {"prediction": "the Ouse", "target": "the Ouse", "correct": correct}
    assert result.documents[0].id == run.overlap_kept
    shown = CliRunner().invoke(trace, ["item", "demo_task", "0", "--run", str(copy.root)]).output
    assert f"answer was {'right' if correct else 'wrong'}: the Ouse" in shown


def test_the_item_with_a_rejected_overlap_says_so(run: SyntheticRun):
    result = trace_item(run.layout, "demo_task", 1)
    (found,) = result.documents
    assert found.id == run.overlap_rejected
    assert found.rejection is not None
    assert found.rejection.operator == "decontaminate"
    assert (found.longest, found.shared_ngrams) == (19, 7)
    assert "never, it was rejected" in invoke(run, "item", "demo_task", "1")


def test_an_item_without_overlap_shows_the_closest_and_says_so(run: SyntheticRun):
    result = trace_item(run.layout, "demo_task", 0, ngram=18)
    assert result.closest
    assert result.documents[0].id == run.overlap_kept
    assert [document.longest for document in result.documents[:2]] == [17, 5]  # "the snow melts in early" is everywhere
    assert len(result.documents) == 20
    shown = invoke(run, "item", "demo_task", "0", "--ngram", "18", "--top", "1")
    assert "No document shares 18 words in a row" in shown
    assert "nor even 5" in invoke(run, "item", "demo_task", "3")


def test_an_item_shorter_than_n_is_compared_whole(run: SyntheticRun):
    result = trace_item(run.layout, "demo_task", 2)
    assert (result.words, result.ngram, result.documents) == (3, 3, [])


def test_an_unknown_item_is_refused_with_what_there_is(run: SyntheticRun):
    with pytest.raises(DataError, match="no task other") as task:
        trace_item(run.layout, "other", 0)
    assert task.value.expected == "one of: demo_task"
    with pytest.raises(DataError, match="no item 9") as index:
        trace_item(run.layout, "demo_task", 9)
    assert index.value.expected == f"0 to {len(ITEM_TEXTS) - 1}"


def test_a_folder_without_a_run_is_refused(tmp_path: Path):
    for arguments in (["doc", "ab"], ["step", "1"], ["item", "demo_task", "0"]):
        result = CliRunner().invoke(trace, [*arguments, "--run", str(tmp_path)])
        assert isinstance(result.exception, HeadwaterError)
        assert result.exception.hint


def longest_common_run(a: list[str], b: list[str]) -> int:
    best, before = 0, [0] * (len(b) + 1)
    for x in a:
        now = [0] * (len(b) + 1)
        for j, y in enumerate(b, start=1):
            now[j] = before[j - 1] + 1 if x == y else 0
        best, before = max(best, *now), now
    return best


LETTERS = st.lists(st.sampled_from("abc"), max_size=25).map(" ".join)


@given(LETTERS, st.lists(LETTERS, max_size=4), st.integers(1, 5))
def test_shared_runs_are_those_of_a_plain_search(item: str, texts: list[str], n: int):
    index = ItemIndex.build([item], n, n, most_places=100)
    assert set(index.texts_with(split_words(texts))) == {
        i for i, text in enumerate(texts) if index.runs(split_words([text]))
    }
    for text in texts:
        mine, split = index.runs(split_words([text])), words(text)
        for run in mine:
            assert split[run.first : run.stop] == words(item)[run.place :][: run.stop - run.first]
        longest = longest_common_run(words(item), split)
        assert max((run.stop - run.first for run in mine), default=0) == (longest if longest >= n else 0)
        grams = {tuple(split[i : i + n]) for i in range(len(split) - n + 1)}
        expected = sum(tuple(words(item)[i : i + n]) in grams for i in range(len(words(item)) - n + 1))
        assert count_shared(mine, n) == expected


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ('{"kept": "ab12", "jaccard": 0.9}', "kept ab12, jaccard 0.9"),
        ("0.3 > 0.2", "0.3 > 0.2"),
        ("", ""),
        ("17", "17"),
        ("[1]", "[1]"),
    ],
)
def test_details_in_plain_words(detail: str, expected: str):
    assert _plain(detail) == expected


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [([], ""), ([4], "4"), ([4, 5], "4, 5"), ([1, 2, 3, 9], "1–3, 9 (4 in all)"), ([1, 3, 5, 7], "1, 3, … (4 in all)")],
)
def test_short_form_of_many_numbers(numbers: list[int], expected: str):
    assert ranges(numbers, limit=2) == expected
