"""What the operators for conversations decide, one case a reason, and how well their rules do on labelled sentences."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))

import labelled_refusals
import labelled_tasks

from headwater.core.cli import headwater
from headwater.core.config import validate
from headwater.core.errors import ConfigError
from headwater.data.chain import run_chain
from headwater.data.conversations.languages import asks_for_another
from headwater.data.conversations.model import Conversation, ToolCall, Turn
from headwater.data.conversations.refusals import begins_with
from headwater.data.conversations.tasks import TASKS, task_of_prompt
from headwater.data.conversations.text import from_text, to_text
from headwater.data.operators.pii import Pii, PiiConfig
from headwater.data.operators.refusal import Refusal, RefusalConfig
from headwater.data.operators.task_type import TaskType, TaskTypeConfig
from headwater.data.operators.turn_language import TurnLanguage, TurnLanguageConfig
from headwater.data.operators.turn_length import TurnLength, TurnLengthConfig
from headwater.data.rows import CONVERSATION


def chat(*said):
    return Conversation(tuple(Turn(("user", "assistant")[k % 2], text) for k, text in enumerate(said)))


def preference(prompt, chosen, rejected):
    return Conversation((Turn("user", prompt),), (Turn("assistant", chosen),), (Turn("assistant", rejected),))


@pytest.fixture
def run(rows):
    def process(operator, *conversations):
        return operator.process(rows([to_text(each) for each in conversations], content_type=CONVERSATION))

    return process


@pytest.mark.parametrize(
    ("options", "said", "reason", "detail"),
    [
        ({"min_prompt_characters": 3}, ("Hi", "Hello"), "prompt_too_few_characters", "2 characters < 3"),
        ({"max_prompt_words": 2}, ("one two three", "x"), "prompt_too_many_words", "3 words > 2"),
        ({"min_response_words": 3}, ("x", "one two"), "response_too_few_words", "2 words < 3"),
        ({"max_response_characters": 4}, ("x", "Hello"), "response_too_many_characters", "5 characters > 4"),
        ({"min_ratio": 0.5}, ("x" * 100, "x"), "ratio_too_low", "0.010 characters of response for one of prompt < 0.5"),
        ({"max_ratio": 9}, ("x", "x" * 11), "ratio_too_high", "11.000 characters of response for one of prompt > 9.0"),
    ],
)  # fmt: skip
def test_lengths_of_either_side(run, options, said, reason, detail):
    verdicts = run(TurnLength(TurnLengthConfig(**options)), chat(*said), chat("one two", "one two three four five"))
    assert (verdicts.reasons[0], verdicts.details[0]) == (reason, detail)


def test_all_turns_of_a_chat_count_and_of_a_preference_the_chosen_answer(run):
    operator = TurnLength(TurnLengthConfig(min_response_words=2))
    verdicts = run(
        operator, chat("x", "one", "y", "two"), preference("x", "one two", "one"), preference("x", "one", "one two")
    )
    assert verdicts.reasons == ["", "", "response_too_few_words"]


@pytest.mark.parametrize(
    ("options", "match"), [({}, "needs a limit"), ({"min_ratio": 3, "max_ratio": 2}, "at least 3.0 and at most 2.0")]
)
def test_lengths_without_sense_are_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        validate(TurnLengthConfig, options, "x")


ENGLISH = "The river rises in the hills to the north of the town and runs for many miles through the fields."
GERMAN = "Der Fluss entspringt in den Hügeln im Norden der Stadt und fließt viele Meilen durch die Felder."
DANISH = "Floden udspringer i bakkerne nord for byen og løber mange kilometer gennem markerne ved vejen."
NORWEGIAN = "Elven har sitt utspring i åsene nord for byen og renner mange kilometer gjennom markene ved veien."


def test_an_answer_in_another_language_is_a_mismatch_unless_it_was_asked_for(run):
    conversations = [
        chat(ENGLISH, ENGLISH), chat(ENGLISH, GERMAN), chat(f"Translate into German: {ENGLISH}", GERMAN),
        chat(f"{ENGLISH} Antworte auf Deutsch.", GERMAN), chat("Hi", GERMAN), chat(DANISH, NORWEGIAN),
        chat(ENGLISH, f"{ENGLISH}\n```\n{GERMAN * 20}\n```"), preference(ENGLISH, ENGLISH, GERMAN),
    ]  # fmt: skip
    verdicts = run(TurnLanguage(TurnLanguageConfig()), *conversations)
    assert verdicts.reasons == ["", "language_mismatch", *[""] * 6], verdicts.details
    assert verdicts.details[1].startswith("prompt en 0.") and ", response de 0." in verdicts.details[1]
    assert verdicts.batch.column("language").to_pylist()[:5] == ["en", "de", "de", "de", "de"]
    kept = run(TurnLanguage(TurnLanguageConfig(mismatch="keep")), conversations[1])
    assert kept.outcomes == ["keep"]


def test_only_allowed_languages_stay_and_short_texts_have_none(run):
    operator = TurnLanguage(TurnLanguageConfig(allowed={"en": 0.5}, mismatch="keep"))
    verdicts = run(
        operator, chat(GERMAN, ENGLISH), chat(ENGLISH, GERMAN), chat("Hallo", "Guten Tag"), chat(ENGLISH, "42")
    )
    assert verdicts.reasons == ["other_language", "other_language", "", ""]
    assert verdicts.batch.column("language").to_pylist() == ["en", "de", "", "en"]
    assert run(TurnLanguage(TurnLanguageConfig(allowed={"en": 1.0})), chat(ENGLISH, ENGLISH)).reasons == ["low_score"]


@pytest.mark.parametrize(
    "prompt", ["Traduce esto: hola", "Say it in Welsh", "把这句话翻译成英文", "Schreib es auf Englisch"]
)
def test_prompts_that_speak_of_languages(prompt):
    assert asks_for_another(prompt) and not asks_for_another("Write a poem about the sea.")


NO, SURE = "I'm sorry, but I can't help with that.", "Sure, here it is."


def test_a_refusal_is_set_aside_with_its_turn_and_words(run):
    bad = Conversation((Turn("user", "x"),), None, (Turn("assistant", NO),))
    cases = [chat("x", SURE), chat("x", SURE, "y", NO), preference("x", SURE, NO), preference("x", NO, SURE), bad]
    verdicts = run(Refusal(RefusalConfig()), *cases)
    assert verdicts.reasons == ["", "refusal", "", "refusal", ""]
    assert json.loads(verdicts.details[1]) == {"turn": 2, "language": "en", "words": "I'm sorry, but I can't help"}
    assert verdicts.counters == {"language_en": 2}
    last = run(Refusal(RefusalConfig(turns="last")), chat("x", NO, "y", SURE), chat("x", SURE, "y", NO))
    assert last.reasons == ["", "refusal"]


def test_disclaimers_stay_unless_they_are_asked_for(run):
    said = chat("x", "As an AI language model, I have no favourite, but many people like blue.")
    assert run(Refusal(RefusalConfig()), said).outcomes == ["keep"]
    assert run(Refusal(RefusalConfig(kinds=("refusal", "disclaimer"))), said).reasons == ["disclaimer"]


@pytest.mark.parametrize("language", labelled_refusals.SEEN_REFUSALS)
def test_refusals_of_each_language_are_told_from_answers(language):
    assert [t for t in labelled_refusals.SEEN_REFUSALS[language] if kind_of(t) != "refusal"] == []
    assert [t for t in labelled_refusals.SEEN_ANSWERS[language] if kind_of(t)] == []


def kind_of(answer):
    found = begins_with(answer)
    return found.kind if found else ""


def test_on_sentences_that_the_rules_were_not_written_for():
    """Measured when they were written: recall 0.864, precision 0.919 among sentences that look like refusals."""
    refused = [kind_of(t) == "refusal" for ts in labelled_refusals.HELD_OUT_REFUSALS.values() for t in ts]
    false = [kind_of(t) == "refusal" for ts in labelled_refusals.HELD_OUT_ANSWERS.values() for t in ts]
    assert sum(refused) / len(refused) >= 0.86
    assert sum(refused) / (sum(refused) + sum(false)) >= 0.91
    assert [t for t in labelled_refusals.SEEN_DISCLAIMERS if kind_of(t) != "disclaimer"] == []


def test_the_place_of_a_rule_is_that_in_the_answer():
    answer = "“İ’m sorry” is what she said. I’m sorry, but I can’t help with that."
    assert begins_with(answer) is None
    found = begins_with("  **I’m sorry**, but I can’t help with that.")
    assert found and "  **I’m sorry**, but I can’t help with that."[found.start : found.stop].endswith("can’t help")


@pytest.mark.parametrize("task", labelled_tasks.SEEN)
def test_types_of_tasks(task):
    assert task in TASKS
    assert [(t, task_of_prompt(t)) for t in labelled_tasks.SEEN[task] if task_of_prompt(t) != task] == []


def test_types_on_prompts_that_the_rules_were_not_written_for():
    """Measured when they were written: accuracy 0.709 among twelve types."""
    right = [task_of_prompt(t) == task for task, ts in labelled_tasks.HELD_OUT.items() for t in ts]
    assert sum(right) / len(right) >= 0.70


def test_the_request_may_stand_before_or_after_a_passage():
    passage = "The harbour was built in 1870. " * 200
    assert task_of_prompt(f"Summarize the following text.\n\n{passage}") == "summarisation"
    assert task_of_prompt(f"{passage}\n\nSummarize the text above.") == "summarisation"


def test_the_label_is_kept_and_counted(run):
    verdicts = run(TaskType(TaskTypeConfig()), chat("What is 17 * 23?", "391"), chat("Tell me a joke.", "Knock."))
    assert verdicts.details == ["maths", "creative_writing"] and verdicts.outcomes == ["keep", "keep"]
    assert verdicts.counters == {"task_maths": 1, "task_creative_writing": 1}


def test_a_model_of_your_own_gives_its_labels(run, tmp_path):
    pytest.importorskip("floret", reason="the trainer of fastText models is an extra: headwater-data[models]")
    for label, word in (("sums", "add"), ("art", "paint")):
        prompts = [json.dumps({"text": f"{word} {word} {number}"}) for number in range(60)]
        (tmp_path / f"{label}.jsonl").write_text("\n".join(prompts))
    command = ["data", "model", "train", "quality", "--out", str(tmp_path / "m.bin"), "--min-count", "1"]
    for side, label in (("positive", "sums"), ("negative", "art")):
        command += [f"--{side}", str(tmp_path / f"{label}.jsonl"), f"--{side}-label", label]
    assert CliRunner().invoke(headwater, command).exit_code == 0
    operator = TaskType(TaskTypeConfig(model=str(tmp_path / "m.bin"), min_score=0.6))
    assert run(operator, chat("add add 3", "3"), chat("paint paint 4", "4")).details == ["sums", "art"]
    strict = TaskType(TaskTypeConfig(model=str(tmp_path / "m.bin"), min_score=1.0))
    assert run(strict, chat("zebra", "x")).details == ["other"]
    with pytest.raises(ConfigError, match="there is no file"):
        TaskType(TaskTypeConfig(model=str(tmp_path / "none.bin")))


def test_redaction_edits_turns_and_leaves_markers_alone(run):
    call = ToolCall("mail", '{"to": "jane.doe@mail.org", "number": 4111111111111111}', "jane.doe@mail.org")
    conversation = Conversation(
        (Turn("user", "Write to jane.doe@mail.org\nMy password:"), Turn("assistant", "It is sent", calls=(call,)),
         Turn("tool", "sent", call="jane.doe@mail.org"), Turn("assistant", "Done, jane.doe@mail.org"))
    )  # fmt: skip
    verdicts = run(Pii(PiiConfig()), conversation)
    assert verdicts.reasons == ["redacted"]
    after = from_text(verdicts.batch.column("text")[0].as_py())
    assert [turn.role for turn in after.turns] == [turn.role for turn in conversation.turns]
    assert after.turns[1].calls[0].id == after.turns[2].call == "jane.doe@mail.org"
    assert "jane.doe" not in after.turns[0].content + after.turns[1].calls[0].arguments + after.turns[3].content


def test_what_was_set_aside_before_is_not_counted(rows):
    chain = [TurnLength(TurnLengthConfig(min_response_words=2)), TaskType(TaskTypeConfig())]
    conversations = [chat("What is 17 * 23?", "it is 391")] * 9 + [chat("What is 17 * 23?", "391")]
    done = run_chain(chain, rows([to_text(each) for each in conversations], content_type=CONVERSATION))
    assert done.counts["task_type", "count:task_maths"] == 9 == done.counts["task_type", "docs_in"]
