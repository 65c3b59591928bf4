"""Needle in a haystack: prompts have the wanted length, only the place of the needle differs, and it can be found."""

import json
import re

import pytest

from headwater.core.errors import EvalError
from headwater.eval import checkpoint
from headwater.eval.config import EvalConfig
from headwater.eval.harness.hub_data import HubFolder
from headwater.eval.harness.model import HeadwaterLM
from headwater.eval.harness.run import run_task
from headwater.eval.harness.samples import _cell
from headwater.eval.harness.tasks import Prompts, load_tasks, pull
from headwater.eval.items import write_items
from headwater.eval.stage import run_eval
from headwater.eval.tasks.needle import ANSWER_TOKENS, DEPTHS, NEEDLES, TASK, items
from headwater.eval.tokenizer import load_tokenizer


def words(text):
    return len(text.split())


def secrets(prompt):
    return re.findall(r"The secret number of (.+?) is ([0-9]{5})\.", prompt)


def test_prompts_have_the_length_and_only_the_place_of_the_needle_differs():
    made = items([150, 400], words)
    assert len(made) == 2 * NEEDLES * len(DEPTHS) and made == items([150, 400], words)
    for item in made:
        assert item["length"] - 20 < words(item["input"]) + ANSWER_TOKENS <= item["length"]
        ((place, number),) = secrets(item["input"])
        assert number == item["target"] and item["input"].endswith(f"The secret number of {place} is")
    by_text = {}
    for item in made:
        text, question = item["input"].split("\n\n")
        place, number = secrets(item["input"])[0]
        needle = f"The secret number of {place} is {number}."
        by_text.setdefault((item["length"], number, question), []).append((item["depth"], text, needle))
    assert len(by_text) == 2 * NEEDLES
    for group in by_text.values():
        assert [depth for depth, *_ in group] == list(DEPTHS)
        assert len({" ".join(text.replace(needle, "").split()) for _, text, needle in group}) == 1
        for depth, text, needle in group:
            assert text.index(needle) / (len(text) - len(needle)) == pytest.approx(depth, abs=0.15)


def test_a_length_without_room_is_refused():
    with pytest.raises(EvalError, match=r"30 tokens has no room") as caught:
        items([30], words)
    assert "eval.prompt_lengths" in str(caught.value)


@pytest.fixture
def lm(finished_run):
    loaded = checkpoint.load(finished_run.checkpoint(20))
    return HeadwaterLM(loaded.model, load_tokenizer(finished_run.tokenizer, loaded.run), max_length=256)


def test_a_model_that_finds_the_needle_scores_one_in_every_cell(lm, finished_run, tmp_path, monkeypatch):
    prompts = Prompts(finished_run.tokenizer, (600, 1200))
    found = load_tasks([TASK], [], hub=False, sandbox_problem=None, prompts=prompts)
    seen = []

    def answer(requests, **_):
        seen.extend(request.args[0] for request in requests)
        # All but the needle at the very end are found.
        return [
            " none" if f"{secrets(prompt)[0][1]}.\n\n" in prompt else f" {secrets(prompt)[0][1]}, it says."
            for prompt in seen
        ]

    monkeypatch.setattr(lm, "generate_until", answer)
    outcome = run_task(lm, TASK, found.tasks[TASK], tmp_path, limit=None, few_shot=None)
    assert all(len(lm.text.encode(prompt)) + ANSWER_TOKENS <= 1200 for prompt in seen)
    assert outcome.scores[0].value == pytest.approx(5 / 6) and outcome.scores[0].filter == "first-number"
    samples = [json.loads(line) for line in (tmp_path / "samples" / f"{TASK}.jsonl").read_text().splitlines()]
    cells = {}
    for sample in samples:
        cells.setdefault((sample["cell"]["length"], sample["cell"]["depth"]), []).append(sample["correct"])
    assert {key: set(values) for key, values in cells.items()} == {
        (length, depth): {float(depth < 1)} for length in (600.0, 1200.0) for depth in DEPTHS
    }


def test_without_a_model_it_says_what_it_needs():
    with pytest.raises(EvalError, match="makes its texts for one model"):
        load_tasks([TASK], [], hub=False, sandbox_problem=None)


def test_prompt_lengths_are_those_asked_for_and_at_most_what_the_model_reads(finished_run, tmp_path):
    config = EvalConfig(tasks=(TASK,), prompt_lengths=(250,), bits_per_byte=False)
    found = run_eval(finished_run, config, output=tmp_path / "some")
    samples = (tmp_path / "some" / "samples" / f"{TASK}.jsonl").read_text().splitlines()
    assert {json.loads(line)["cell"]["length"] for line in samples} == {250.0} and not found.results.refused
    assert found.results.tasks[0].truncated == 0
    with pytest.raises(EvalError, match=r"longer than what the model reads"):
        run_eval(finished_run, config.model_copy(update={"prompt_lengths": (512,)}), output=tmp_path / "more")


def test_it_has_no_data_to_pull_and_no_items_to_compare(tmp_path):
    assert pull([TASK], [], HubFolder(tmp_path)) == []
    found = write_items(tmp_path / "items", [TASK])
    assert found.without == [TASK]


@pytest.mark.parametrize("cell", [{"length": "long", "depth": 0.5}, {"length": 512, "depth": None},
                                  {"length": float("nan"), "depth": 0}, {"length": [1], "depth": 1}])  # fmt: skip
def test_columns_that_are_no_place_in_the_map_are_told(cell):
    with pytest.raises(EvalError, match="item 3 of mine has no place in the map of needles") as told:
        _cell("mine", 3, {"question": "?", **cell})
    assert "numbers in the columns length" in str(told.value)
    assert _cell("mine", 3, {"length": "512", "depth": 1}) == {"length": 512.0, "depth": 1.0}
    assert _cell("mine", 3, {"length": "long"}) is None
