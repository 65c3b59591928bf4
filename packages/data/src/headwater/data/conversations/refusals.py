"""Answers that refuse, by how they begin.

A refusal says, in its first sentence or after an apology or courtesy, that the speaker cannot or will not do what was
asked, with a verb of helping or providing. An apology by itself is none ("I'm sorry to hear that"), nor is "cannot"
with another verb ("I cannot recommend this book enough"). A disclaimer tells that the speaker is a program, and then
may go on to answer. `refusals.yaml` has the phrases; `python benchmarks/data/instruction_rules.py` measures them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import yaml

Kind = Literal["refusal", "disclaimer"]

LOOKED_AT = 400
"""Characters of the beginning of an answer that the rules look at."""

_MOST_COURTESIES = 5
_STRAIGHT = str.maketrans("’‘ʼ´`，！；：？、", "'''''" + ",!;:?,")
_LEADING = re.compile(r"[\s\"'“”„«»「『*_#>()\[\]-]*")


class Found(NamedTuple):
    """What an answer is, in which language, and where it says so: [start, stop), in characters."""

    kind: Kind
    language: str
    start: int
    stop: int


def begins_with(answer: str) -> Found | None:
    """What the beginning of an answer is; a refusal counts before a disclaimer.

    Args:
        answer: What the assistant says.
    """
    head = answer[:LOOKED_AT]
    small = "".join(lower if len(lower := letter.lower()) == 1 else letter for letter in head)  # so that places stay
    plain = re.sub(r"\s", " ", small.translate(_STRAIGHT))
    leading = _LEADING.match(plain)
    start = leading.end() if leading else 0
    for place, kind in enumerate(("refusal", "disclaimer")):
        for language, rules in _rules().items():
            if found := rules[place].match(plain, start):
                return Found(kind, language, start, found.end())
    return None


@lru_cache(maxsize=1)
def _rules() -> dict[str, tuple[re.Pattern[str], re.Pattern[str]]]:
    """Of each language, what a refusal and a disclaimer look like."""
    content = (files("headwater.data.conversations") / "refusals.yaml").read_text(encoding="utf-8")
    return {language: _compiled(phrases) for language, phrases in yaml.safe_load(content).items()}


def _compiled(phrases: dict[str, Any]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    before, cannot, verbs, whole, program = (
        "|".join(phrases[name]) for name in ("before", "cannot", "verbs", "whole", "program")
    )
    courtesies = f"(?:(?:{before})[ ,.;:!*_。،—-]*){{0,{_MOST_COURTESIES}}}"
    refusal = f"{courtesies}(?:(?:{cannot}){phrases['gap']} ?(?:{verbs})|{whole})"
    return re.compile(refusal), re.compile(f"{courtesies}(?:{program})")
