"""What kind of task a prompt sets, by rules: `tasks.yaml` has them, and says how they are read.

A prompt may hold a long passage, with the request before or after it: so only its beginning and its end are looked at.
`python benchmarks/data/instruction_rules.py` measures the rules on labelled prompts.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple, get_args

import yaml

Task = Literal[
    "code", "maths", "translation", "summarisation", "rewriting", "classification", "extraction", "creative_writing",
    "brainstorming", "question_answering", "chat", "other",
]  # fmt: skip
TASKS: tuple[Task, ...] = get_args(Task)

HEAD, TAIL = 400, 250
"""Characters of the beginning and of the end of a prompt that the rules look at."""

_POLITE = (
    r"(?:please|kindly|now|then|first|so|ok(?:ay)?|hi|hello|hey(?: there)?|help me(?: to)?"
    r"|(?:can|could|would|will) you(?: please| kindly| help me(?: to)?)?|i(?: want| need| would like|'d like) you to"
    r"|your task is to|you are to|bitte|kannst du|könntest du|s'il (?:te|vous) plaît|peux-tu|pouvez-vous|por favor"
    r"|puedes|podrías|você pode|puoi|per favore|proszę|пожалуйста|(?:question|instruction|task|q|input) ?:)"
)
_STRAIGHT = str.maketrans("’‘ʼ´`", "'''''")


class _Rule(NamedTuple):
    asks: re.Pattern[str]
    signs: re.Pattern[str]


def task_of_prompt(prompt: str) -> Task:
    """The type of a prompt."""
    text = prompt.strip()
    if len(text) > HEAD + TAIL:
        text = f"{text[:HEAD]}\n{text[-TAIL:]}"
    text = text.translate(_STRAIGHT).lower()
    strong, *others = _rules()
    for task, rule in strong.items():
        if rule.signs.search(text):
            return task
    for rules in others:
        places: dict[Task, int] = {
            task: found.start() for task, rule in rules.items() if (found := rule.asks.search(text))
        }
        if places:
            return min(places, key=places.__getitem__)  # of one place, the earlier in the file
        for task, rule in rules.items():
            if rule.signs.search(text):
                return task
    return "other"


@lru_cache(maxsize=1)
def _rules() -> tuple[dict[Task, _Rule], ...]:
    content: Any = yaml.safe_load((files("headwater.data.conversations") / "tasks.yaml").read_text(encoding="utf-8"))
    strong: dict[Task, dict[str, list[str]]] = {
        task: {"asks": ["(?!)"], "signs": signs} for task, signs in content["strong"].items()
    }
    return tuple(_compiled(rules) for rules in (strong, content["types"], content["rest"]))


def _compiled(rules: dict[Task, dict[str, list[str]]]) -> dict[Task, _Rule]:
    begins = rf"(?:^|[\n.!?:;,。！？，：] ?)['\"*#> -]*(?:{_POLITE}[ ,:]*){{0,3}}"
    return {
        task: _Rule(re.compile(f"{begins}(?:{'|'.join(given['asks'])})"),
                    re.compile("|".join(given["signs"]), re.MULTILINE))
        for task, given in rules.items()
    }  # fmt: skip
