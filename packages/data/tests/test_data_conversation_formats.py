"""Records of every format become conversations; what is wrong with one is said with a reason and what was found."""

import json

import pyarrow as pa
import pytest

from headwater.core.errors import ConfigError
from headwater.data.conversations.check import REASONS
from headwater.data.conversations.messages import Unusable, json_text
from headwater.data.conversations.model import ToolCall, Turn
from headwater.data.conversations.text import from_text
from headwater.data.operators.conversation import Conversation, ConversationConfig
from headwater.data.rows import CONVERSATION

U, A, S = (lambda text, role=role: Turn(role, text) for role in ("user", "assistant", "system"))
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
ANSWER = [{"role": "assistant", "content": "Hello"}]
WORSE = [{"role": "assistant", "content": "Go away"}]


@pytest.fixture
def run(rows):
    """Runs the operator over records, or bytes; returns verdicts."""

    def process(*records, **options):
        payloads = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in records]
        batch = rows(payloads=payloads, content_type="application/json")
        return Conversation(ConversationConfig(**options)).process(batch)

    return process


def one(verdicts):
    """The conversation and the detail of the only row."""
    assert verdicts.outcomes == ["keep"], verdicts.details
    assert verdicts.batch.column("content_type").to_pylist() == [CONVERSATION]
    assert verdicts.batch.column("payload").to_pylist() == [b""]
    return from_text(verdicts.batch.column("text")[0].as_py()), json.loads(verdicts.details[0])


@pytest.mark.parametrize(
    ("record", "name", "turns"),
    [
        ({"instruction": "Add.", "input": "1 2", "output": "3"}, "alpaca", (U("Add.\n\n1 2"), A("3"))),
        ({"instruction": "Add 1 and 2.", "input": "", "output": "3"}, "alpaca", (U("Add 1 and 2."), A("3"))),
        ({"instruction": "Add 1 and 2.", "context": None, "response": "3"}, "alpaca", (U("Add 1 and 2."), A("3"))),
        ({"instruction": "And you?", "output": "Fine", "history": [["Hi", "Hello"]], "system": "Be kind."}, "alpaca",
         (S("Be kind."), U("Hi"), A("Hello"), U("And you?"), A("Fine"))),
        ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}, "sharegpt",
         (U("Hi"), A("Hello"))),
        ({"conversations": CHAT, "system": "Be kind."}, "sharegpt", (S("Be kind."), U("Hi"), A("Hello"))),
        ({"messages": CHAT}, "messages", (U("Hi"), A("Hello"))),
        ({"messages": [{"role": "developer", "content": "Be kind."}, *CHAT]}, "messages",
         (S("Be kind."), U("Hi"), A("Hello"))),
        ({"messages": [{"role": "system", "content": " "}, *CHAT]}, "messages", (U("Hi"), A("Hello"))),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]},
                       ANSWER[0]]}, "messages", (U("Hi"), A("Hello"))),
        ({"prompt": "Hi", "completion": "Hello"}, "prompt_completion", (U("Hi"), A("Hello"))),
        ({"prompt": CHAT[:1], "completion": ANSWER}, "prompt_completion", (U("Hi"), A("Hello"))),
        ({"prompt": "Hi", "completion": "Hello", "label": "greeting"}, "prompt_completion", (U("Hi"), A("Hello"))),
    ],
)  # fmt: skip
def test_chats_of_every_format_are_told_by_their_fields(run, record, name, turns):
    conversation, detail = one(run(record))
    assert conversation.turns == turns and conversation.kind == "chat"
    assert detail == {"format": name, "kind": "chat", "turns": len(turns)}
    assert one(run(record, format=name))[0] == conversation


@pytest.mark.parametrize(
    ("record", "prompt", "chosen", "rejected"),
    [
        ({"prompt": "Hi", "chosen": "Hello", "rejected": "Go away"}, (U("Hi"),), (A("Hello"),), (A("Go away"),)),
        ({"prompt": CHAT[:1], "chosen": ANSWER, "rejected": WORSE}, (U("Hi"),), (A("Hello"),), (A("Go away"),)),
        ({"chosen": CHAT, "rejected": [CHAT[0], *WORSE]}, (U("Hi"),), (A("Hello"),), (A("Go away"),)),
        ({"prompt": "Hi", "chosen": CHAT, "rejected": [CHAT[0], *WORSE]}, (U("Hi"),), (A("Hello"),), (A("Go away"),)),
        ({"chosen": [*CHAT, *CHAT], "rejected": [*CHAT, CHAT[0], *WORSE]},
         (U("Hi"), A("Hello"), U("Hi")), (A("Hello"),), (A("Go away"),)),
        ({"prompt": "Hi", "chosen": ANSWER[0], "rejected": WORSE[0]}, (U("Hi"),), (A("Hello"),), (A("Go away"),)),
        # As TRL cuts strings without a prompt: before the space in front of the first difference.
        ({"chosen": "The sky is blue.", "rejected": "The sky is green."},
         (U("The sky is"),), (A(" blue."),), (A(" green."),)),
    ],
)  # fmt: skip
def test_preferences_with_and_without_a_prompt(run, record, prompt, chosen, rejected):
    conversation, detail = one(run(record))
    assert (conversation.turns, conversation.chosen, conversation.rejected) == (prompt, chosen, rejected)
    assert detail["kind"] == "preference" and conversation.response() == chosen[0].content


def test_the_scores_of_a_preference_are_kept(run):
    record = {"prompt": "Hi", "chosen": "Hello", "rejected": "Go", "chosen_score": 8, "score_rejected": 2.5,
              "margin": float("nan")}  # fmt: skip
    _, detail = one(run(record))
    assert (detail["score_chosen"], detail["score_rejected"]) == (8, 2.5) and "margin" not in detail


@pytest.mark.parametrize("label", [True, False])
def test_an_answer_with_a_label_is_chosen_or_rejected(run, label):
    conversation, detail = one(run({"prompt": "Hi", "completion": "Hello", "label": label}))
    assert detail["kind"] == detail["format"] == "label"
    assert (conversation.chosen, conversation.rejected) == ((A("Hello"),), None)[:: 1 if label else -1]


@pytest.mark.parametrize("arguments", [{"city": "Bergen"}, '{"city": "Bergen"}'])
def test_tool_calls_are_kept(run, arguments):
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    result = {"role": "tool", "content": "rain", "name": "weather", "tool_call_id": "c1"}
    messages = [CHAT[0], {"role": "assistant", "content": None, "tool_calls": [call]}, result, ANSWER[0]]
    conversation, _ = one(run({"messages": messages, "tools": [{"type": "function", "function": {"name": "weather"}}]}))
    assert conversation.turns[1].calls == (ToolCall("weather", '{"city": "Bergen"}', "c1"),)
    assert conversation.turns[2] == Turn("tool", "rain", name="weather", call="c1")
    assert json.loads(conversation.tools)[0]["function"]["name"] == "weather"


def test_tool_calls_as_sharegpt_writes_them(run):
    turns = [("human", "Rain?"), ("function_call", '{"name": "weather", "arguments": {"city": "Bergen"}}'),
             ("observation", "rain"), ("gpt", "Yes.")]  # fmt: skip
    conversation, _ = one(run({"conversations": [{"from": name, "value": value} for name, value in turns]}))
    assert [turn.role for turn in conversation.turns] == ["user", "assistant", "tool", "assistant"]
    assert conversation.turns[1].calls == (ToolCall("weather", '{"city": "Bergen"}'),)


def test_reasoning_is_kept_apart(run):
    messages = [CHAT[0], {"role": "assistant", "content": "Hello", "reasoning_content": "A greeting."}]
    conversation, _ = one(run({"messages": messages}))
    assert conversation.turns[1] == Turn("assistant", "Hello", reasoning="A greeting.")


def test_columns_have_the_names_that_the_recipe_gives(run):
    columns = {"prompt": "question", "completion": "answer"}
    conversation, _ = one(run({"question": "Hi", "answer": "Hello"}, columns=columns))
    assert conversation.turns == (U("Hi"), A("Hello"))
    with pytest.raises(ConfigError, match="did you mean prompt"):
        from headwater.core.config import validate

        validate(ConversationConfig, {"columns": {"promt": "question"}}, "x")


def said(*turns):
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


USER, BOT = ("user", "Hi"), ("assistant", "Hello")


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        (b"{", "bad_json", "no JSON"),
        (b"[1]", "bad_json", "a list, expected an object"),
        (b"\xff", "bad_json", "no JSON"),
        (b"[" * 100_000, "bad_json", "recursion"),
        (b'{"a": ' + b"9" * 5000 + b"}", "bad_json", "digits"),
        ({}, "unknown_format", "found no field"),
        ({"text": "x", "n": 1}, "unknown_format", "text (a string), n (a number)"),
        ({"messages": None}, "unknown_format", "messages (null)"),
        ({"messages": "Hi"}, "wrong_type", "messages is a string"),
        ({"messages": {"0": "Hi"}}, "wrong_type", "messages is an object"),
        ({"messages": [1]}, "wrong_type", "messages[0] is a number"),
        ({"messages": [[USER]]}, "wrong_type", "messages[0] is a list"),
        ({"messages": []}, "no_user", "0 turns"),
        ({"messages": [{"role": "user", "content": 5}]}, "wrong_type", "content is a number, expected a string"),
        ({"messages": [{"role": "user"}]}, "missing_field", "messages[0] has no content"),
        ({"messages": [{"content": "x"}]}, "unknown_role", "has no role"),
        (said(("wizard", "x")), "unknown_role", "'wizard'"),
        ({"messages": [{"role": 3, "content": "x"}]}, "unknown_role", "a number"),
        ({"instruction": 1, "output": "x"}, "wrong_type", "instruction is a number"),
        ({"instruction": "x", "output": "y", "history": "z"}, "wrong_type", "history is a string"),
        ({"instruction": "x", "output": "y", "history": [["z"]]}, "wrong_type", "pairs"),
        ({"prompt": "x", "completion": {"content": "y"}}, "unknown_role", "completion[0] has no role"),
        ({"prompt": "x", "completion": "y", "system": ["z"]}, "wrong_type", "system is a list"),
        (said(USER, ("assistant", " \n")), "empty_turn", "turn 2, assistant"),
        (said(("user", ""), BOT), "empty_turn", "turn 1"),
        (said(USER), "no_assistant", "none by an assistant"),
        (said(BOT), "no_user", "none by a user"),
        (said(USER, BOT, USER), "ends_with_user", "turn 3 of 3"),
        (said(BOT, USER, BOT), "roles_do_not_alternate", "at the beginning"),
        (said(USER, USER, BOT), "roles_do_not_alternate", "turn 2 is user after user"),
        (said(USER, BOT, BOT), "roles_do_not_alternate", "assistant after assistant"),
        (said(USER, ("system", "x"), BOT), "system_not_first", "after other turns"),
        (said(USER, BOT, ("tool", "x"), BOT), "tool_result_without_call", "turn 3"),
        (said(USER, ("tool", "x"), BOT), "tool_result_without_call", "turn 2"),
        (said(USER, ("assistant", "<tool_call>{}</tool_call>"), ("tool", "x")), "ends_with_tool", "no answer"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "not_text",
            "image_url",
        ),
        (b'{"prompt": "x", "completion": "\\ud800"}', "not_text", "surrogate"),
        (b'{"prompt": "x", "completion": "a\\u0000b"}', "not_text", "control"),
        (
            {"messages": [*CHAT[:1], {"role": "assistant", "content": None, "tool_calls": "f()"}]},
            "wrong_type",
            "expected a list",
        ),
        (
            {"messages": [*CHAT[:1], {"role": "assistant", "content": None, "tool_calls": [{}]}]},
            "wrong_type",
            "without a name",
        ),
        ({"conversations": [{"from": "function_call", "value": "{"}]}, "wrong_type", "no JSON object"),
        ({"prompt": "Hi", "chosen": "x", "rejected": " x\n"}, "chosen_equals_rejected", "the same"),
        ({"chosen": CHAT, "rejected": CHAT}, "chosen_equals_rejected", "the same"),
        ({"chosen": "x", "rejected": "x"}, "chosen_equals_rejected", "the same"),
        ({"chosen": "x", "rejected": "y"}, "prompts_differ", "different characters"),
        (
            {"chosen": CHAT, "rejected": [{"role": "user", "content": "Ho"}, *WORSE]},
            "prompts_differ",
            "share no first turn",
        ),
        ({"prompt": "Ho", "chosen": CHAT, "rejected": [CHAT[0], *WORSE]}, "prompts_differ", "'Ho'"),
        ({"prompt": "Hi", "chosen": [], "rejected": ANSWER}, "no_assistant", "chosen"),
        ({"prompt": CHAT, "chosen": ANSWER, "rejected": WORSE}, "roles_do_not_alternate", "prompt ends with an answer"),
        (said(*[USER, BOT] * 501), "too_many_turns", "1,002 turns, at most 1,000"),
        (said(USER, ("assistant", "x" * 1_000_000)), "too_long", "1,000,002 characters"),
        (b'{"a": "' + b"x" * (16 * 1024 * 1024) + b'"}', "too_long", "bytes, at most"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_wrong_is_said(run, record, reason, detail):
    verdicts = run(record, {"messages": CHAT})
    assert verdicts.outcomes == ["reject", "keep"] and verdicts.reasons[0] == reason in REASONS
    assert detail in verdicts.details[0], verdicts.details[0]
    pa.array(verdicts.details).validate(full=True)


def test_nesting_without_end_is_no_field():
    nested = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(Unusable, match="tools is nested too deeply"):
        json_text(nested, "tools")


@pytest.mark.parametrize(
    ("format", "record", "detail"),
    [
        ("alpaca", {"messages": CHAT}, "no instruction; found messages (a list)"),
        ("label", {"prompt": "x", "completion": "y", "label": "good"}, "label is a string, expected true or false"),
        ("preference", {"prompt": "x", "chosen": "y"}, "no rejected; found prompt (a string), chosen (a string)"),
    ],
)  # fmt: skip
def test_a_named_format_says_what_it_misses(run, format, record, detail):
    assert run(record, format=format).details == [detail]


def test_a_conversation_that_is_set_aside_can_be_looked_at_unless_it_is_too_much(run):
    texts = run(said(USER, BOT, USER), said(USER, ("assistant", "x" * 1_000_000))).batch.column("text").to_pylist()
    assert texts == ["⟦?⟧ Hi\n⟦!⟧ Hello\n⟦?⟧ Hi", ""]


def test_a_hundred_thousand_turns_and_ten_megabytes_are_set_aside(run):
    many, large = said(*[USER, BOT] * 50_000), said(USER, ("assistant", "word " * 2_000_000))
    verdicts = run(many, large, {"messages": CHAT})
    assert verdicts.reasons == ["too_many_turns", "too_long", ""]
    assert verdicts.batch.column("text").to_pylist()[:2] == ["", ""]
    kept = run(large, max_characters=20_000_000)
    assert kept.outcomes == ["keep"] and from_text(kept.batch.column("text")[0].as_py()).turns[1].content.endswith(
        "word "
    )


def test_a_payload_that_is_no_record_names_the_option(rows):
    verdicts = Conversation(ConversationConfig()).process(rows(payloads=[b"text"], content_type="text/plain"))
    assert verdicts.reasons == ["bad_json"] and "`record: true`" in verdicts.details[0]
