"""A conversation as ChatML, in pieces: what stands between the chat tokens of a tokenizer is plain text.

The pieces spell what the template of `headwater data tokenizer` renders. Calls and tools are written as Hermes and Qwen
models do (`<tool_call>`, `<tools>`), reasoning between `<think>` and `</think>`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from headwater.core.tokens import CHAT_TOKENS
from headwater.data.conversations.model import Conversation, Turn
from headwater.data.conversations.records import messages, record_of

START, END = CHAT_TOKENS

TEMPLATE = (
    "{% if tools %}" + START + "system\n<tools>\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}</tools>"
    + END + "\n{% endif %}"
    "{% for message in messages %}" + START + "{{ message['role'] }}\n"
    "{% if message.get('reasoning_content') %}<think>\n{{ message['reasoning_content'] }}\n</think>\n\n{% endif %}"
    "{{ message['content'] }}"
    "{% for call in message.get('tool_calls') or [] %}{{ '\\n' }}<tool_call>\n"
    "{{ call['function'] | tojson }}\n</tool_call>{% endfor %}" + END + "\n{% endfor %}"
    "{% if add_generation_prompt %}" + START + "assistant\n{% endif %}"
)  # fmt: skip
"""The chat template that tokenizers with chat tokens get. A line feed after a block would be lost (`trim_blocks`)."""


def pieces(conversation: Conversation) -> Iterator[str]:
    """What a model is to read: alternating, what stands after `START` up to `END`, and what stands after that.

    Of a preference, the prompt with the chosen answer; of an answer that was labelled bad, nothing.
    """
    if conversation.kind == "label" and conversation.chosen is None:
        return
    if conversation.tools:
        tools: Any = record_of(conversation)["tools"]
        lines = [f"{json.dumps(tool, ensure_ascii=False)}\n" for tool in tools] if isinstance(tools, list) else [tools]
        yield f"system\n<tools>\n{''.join(lines)}</tools>"
        yield "\n"
    turns: Sequence[Turn] = (*conversation.turns, *(conversation.chosen or ()))
    for message in messages(turns):
        thought = message.get("reasoning_content")
        before = f"<think>\n{thought}\n</think>\n\n" if thought else ""
        calls = [json.dumps(call["function"], ensure_ascii=False) for call in message.get("tool_calls", ())]
        after = "".join(f"\n<tool_call>\n{call}\n</tool_call>" for call in calls)
        yield f"{message['role']}\n{before}{message['content']}{after}"
        yield "\n"
