"""Instruction data through the whole documents stage: every record kept or set aside, the same bytes on each engine."""

import hashlib
import json
import sys
from collections import Counter
from fractions import Fraction
from itertools import product
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

import instruction_run

from headwater.core.config import validate
from headwater.core.errors import ConfigError, DataError
from headwater.data.config import DocumentsConfig
from headwater.data.conversations.model import Conversation, Turn
from headwater.data.conversations.text import from_text, to_text
from headwater.data.operators.decontaminate import Decontaminate, DecontaminateConfig
from headwater.data.operators.task_balance import TaskBalanceConfig, caps
from headwater.data.rows import CONVERSATION


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The run by the local engine with one worker, and its outcome."""
    run, section = instruction_run.build(tmp_path_factory.mktemp("one"))
    return run, instruction_run.make(run, section)


def documents_of(run, part="."):
    files = sorted((run.documents / part).glob("part-*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_every_record_is_kept_or_set_aside_with_its_reason(made):
    run, outcome = made
    total = sum(map(len, instruction_run.files().values()))
    gone = documents_of(run, "rejected")
    assert len(documents_of(run)) + len(gone) == outcome.result["total"]["documents_in"] == total
    why = Counter((row["source"], row["operator"], row["reason"]) for row in gone)
    assert why.pop(("alpaca", "task_balance", "over_share")) > 0
    assert why == {
        ("chat", "conversation", "roles_do_not_alternate"): 1, ("chat", "conversation", "unknown_format"): 1,
        ("chat", "conversation", "wrong_type"): 1, ("chat", "refusal", "refusal"): 1,
        ("chat", "exact_dedup", "exact_duplicate"): 1, ("chat", "prompt_dedup", "near_duplicate_prompt"): 1,
        ("chat", "decontaminate", "item_overlap"): 1, ("pairs", "conversation", "chosen_equals_rejected"): 1,
    }  # fmt: skip
    found = {row["reason"]: row["detail"] for row in gone}
    assert found["unknown_format"] == "found unknown (a list)"
    assert json.loads(found["item_overlap"])["hits"][0]["task"] == "quiz"


def test_an_item_that_runs_from_the_prompt_into_the_answer_is_found(made, rows):
    words = instruction_run.ITEM.split()
    leak = Conversation((Turn("user", " ".join(words[:8])), Turn("assistant", " ".join(words[8:]))))
    clean = Conversation((Turn("user", " ".join(words[:8])), Turn("assistant", "I do not know.")))
    operator = Decontaminate(DecontaminateConfig(), made[0].items / "items.parquet")
    verdicts = operator.process(rows([to_text(leak), to_text(clean)], content_type=CONVERSATION))
    assert verdicts.reasons == ["item_overlap", ""]
    assert json.loads(verdicts.details[0])["shared"][0]["words"] == instruction_run.ITEM


def test_all_that_stays_is_a_conversation(made):
    run, _ = made
    kinds = Counter(from_text(row["text"]).kind for row in documents_of(run))
    assert kinds["preference"] == 15 and kinds["label"] == 2 and kinds["chat"] == len(documents_of(run)) - 17
    mail = next(row for row in documents_of(run) if "<EMAIL>" in row["text"])
    assert from_text(mail["text"]).turns[1].content.startswith("Sent to <EMAIL>.\n⟦!⟧ ")


def test_steps_that_cut_leave_conversations_alone(made):
    _, outcome = made
    for content in outcome.result["sources"].values():
        for row in content["operators"]:
            if row["operator"] in ("line_dedup", "substring_dedup"):
                assert not row["changed"] and row["documents_in"] == row["documents_out"]


def task(row):
    return next(each["detail"] for each in row["verdicts"] if each["operator"] == "task_type")


def test_the_balance_is_exact_and_takes_the_first_ids(made):
    run, outcome = made
    kept = Counter(map(task, documents_of(run)))
    total = sum(kept.values())
    assert kept["summarisation"] / total <= 0.3 < (kept["summarisation"] + 1) / (total + 1)
    ids = [row["id"] for row in documents_of(run) if task(row) == "summarisation"]
    gone = [row for row in documents_of(run, "rejected") if row["reason"] == "over_share"]
    assert max(ids) < min(row["id"] for row in gone)
    assert json.loads(gone[0]["detail"]) == {"task": "summarisation", "stay": len(ids), "of": 40}
    counted = Counter()
    for content in outcome.result["sources"].values():
        for row in content["operators"]:
            if row["operator"] == "task_type":
                counted.update(row["counters"])
    assert counted["task_summarisation"] == 40 and counted["task_maths"] > 0


@pytest.mark.parametrize("options", [{"workers": 2}, {"workers": 1, "partition_bytes": 2000}])
def test_workers_and_partitions_change_no_byte(made, tmp_path, options):
    run, section = instruction_run.build(tmp_path)
    instruction_run.make(run, section, **options)
    assert digests(run.documents) == digests(made[0].documents)


@pytest.mark.spark
@pytest.mark.slow
def test_spark_makes_the_same_bytes(made, tmp_path, spark_session):
    run, section = instruction_run.build(tmp_path)
    instruction_run.make(run, section, name="spark", partition_bytes=5000)
    assert digests(run.documents) == digests(made[0].documents)


@pytest.mark.beam
@pytest.mark.slow
def test_beam_makes_the_same_bytes(made, tmp_path):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed: pip install 'headwater-data[beam]'")
    run, section = instruction_run.build(tmp_path)
    instruction_run.make(run, section, name="beam", partition_bytes=5000)
    assert digests(run.documents) == digests(made[0].documents)


def test_a_second_run_is_up_to_date_and_other_limits_are_not(made):
    run, outcome = made
    section = instruction_run.DOCUMENTS
    assert outcome.fresh and not instruction_run.make(run, section).fresh


@pytest.mark.parametrize(
    ("counts", "options", "kept"),
    [
        ({"a": 60, "b": 40}, {"max_share": {"a": 0.5}}, {"a": 40, "b": 40}),
        ({"a": 600, "b": 200, "c": 200}, {"max_share": 0.4}, {"a": 266, "b": 200, "c": 200}),
        ({"a": 1000, "b": 600, "c": 10}, {"max_share": {"a": 0.4, "b": 0.5}}, {"a": 40, "b": 50, "c": 10}),
        ({"a": 10, "b": 5}, {"max_documents": 7}, {"a": 7, "b": 5}),
        ({"a": 10, "b": 5}, {"max_documents": {"a": 0}, "max_share": 1}, {"a": 0, "b": 5}),
        ({"a": 100, "b": 30}, {"max_documents": {"b": 20}, "max_share": {"a": 0.75}}, {"a": 60, "b": 20}),
        ({"a": 3, "b": 7}, {"max_share": {"b": 0.7}}, {"a": 3, "b": 7}),
        ({}, {"max_share": 0.5}, {}),
    ],
)  # fmt: skip
def test_caps_keep_as_much_as_the_limits_allow(counts, options, kept):
    config = TaskBalanceConfig(**options)
    assert caps(counts, config) == kept


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 7), min_size=1),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.9, 1.0]), min_size=1),
)
def test_the_largest_of_all_solutions_is_taken(counts, shares):
    limits = [Fraction(str(shares.get(task, 1))) for task in counts]
    every = product(*(range(count + 1) for count in counts.values()))
    solutions = [each for each in every if all(n <= limit * sum(each) for n, limit in zip(each, limits, strict=True))]
    best = max(solutions, key=sum)
    assert all(n <= most for each in solutions for n, most in zip(each, best, strict=True))
    if sum(best) or not sum(counts.values()):
        assert caps(counts, TaskBalanceConfig(max_share=shares)) == dict(zip(counts, best, strict=True))
    else:
        with pytest.raises(DataError, match="leave no conversation"):
            caps(counts, TaskBalanceConfig(max_share=shares))


def test_shares_that_leave_nothing_are_refused():
    with pytest.raises(DataError, match="leave no conversation") as error:
        caps({"a": 10, "b": 10}, TaskBalanceConfig(max_share=0.3))
    assert error.value.found == "at most a 0.3, b 0.3"


@pytest.mark.parametrize(
    ("section", "match"),
    [
        ({"sources": {"a": ["refusal"]}}, "begin with extract or conversation"),
        ({"sources": {"a": ["conversation", "extract"]}}, "have one of them once"),
        ({"sources": {"a": ["extract", "refusal"]}}, "refusal is not for sources that begin with extract"),
        ({"sources": {"a": ["conversation", "c4"]}}, "c4 is not for sources that begin with conversation"),
        ({"sources": {"a": ["conversation"]}, "task_balance": {"max_share": 0.5}}, "needs the operator task_type"),
        ({"sources": {"a": ["conversation", "task_type"]}, "task_balance": {}}, "max_share or max_documents"),
    ],
)  # fmt: skip
def test_recipes_without_sense_are_refused(section, match):
    with pytest.raises(ConfigError, match=match):
        validate(DocumentsConfig, section, "documents")


def test_the_recorded_config_is_a_recipe(made):
    manifest = json.loads((made[0].documents / "manifest.json").read_text())
    validate(DocumentsConfig, manifest["config"], "documents")
