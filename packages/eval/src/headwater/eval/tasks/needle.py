"""Needle in a haystack: one sentence among many others, which the model is asked about at the end.

After Kamradt's pressure test of long contexts (2023). The text is made for the model: sentences in plain English, none
of which says anything about the needle, until the prompt has the wanted number of tokens. Every length is tried with
the needle at every depth, from the beginning of the text (0) to its end (1).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from headwater.core.errors import EvalError
from headwater.eval.tasks.quiet import drop_custom_dataset_notice
from headwater.eval.tasks.rows import Rows

TASK = "headwater_needle"
DEPTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
NEEDLES = 5
"""Different needles at each length and depth."""
ANSWER_TOKENS = 16
"""Room that a prompt leaves for the answer; the task file generates as many."""

PLACES = ("Ardenholm", "Belcastel", "Corvenna", "Dunmarrow", "Elsinia", "Fallowmere", "Garrick Bay", "Hollinford",
          "Istervale", "Jorunn", "Kestrelton", "Lowmoor")  # fmt: skip
_WHO = ("The baker", "A tired student", "My neighbour", "The old captain", "One of the gardeners", "The librarian",
        "A young painter", "The postwoman", "Somebody from the mill", "The night guard", "Her cousin", "The teacher",
        "A travelling musician", "The shepherd", "The woman next door", "An apprentice")  # fmt: skip
_DID = ("carried", "repaired", "forgot", "sold", "painted", "found", "described", "cleaned", "borrowed", "kept",
        "brought home", "looked for", "drew", "measured", "returned", "gave away")  # fmt: skip
_WHAT = ("a wooden ladder", "two baskets of apples", "the blue bicycle", "a box of letters", "the kitchen clock",
         "a pair of boots", "some copper wire", "the garden gate", "a map of the valley", "three glass bottles",
         "a woollen coat", "the little boat", "an empty notebook", "a bundle of firewood", "the brass lamp",
         "a jar of honey")  # fmt: skip
_WHERE = ("near the river", "behind the station", "at the edge of the field", "in the long corridor", "by the harbour",
          "under the chestnut tree", "across the square", "beside the stone wall", "on the upper floor",
          "outside the chapel", "along the canal", "at the market")  # fmt: skip
_WHEN = ("before the rain began", "on a quiet afternoon", "while the bells were ringing", "after a long winter",
         "when nobody was watching", "early in the morning", "at the end of the week", "as the light was fading",
         "without saying a word", "and then walked home")  # fmt: skip

drop_custom_dataset_notice()


def load(tokenizer: str | None = None, max_seq_lengths: Sequence[int] = (), **_: Any) -> dict[str, Rows]:
    """The items, as lm-eval's `custom_dataset` wants them.

    Args:
        tokenizer: Folder with the model's `tokenizer.json`.
        max_seq_lengths: Prompt lengths in tokens, the answer included; the names are those of lm-eval's RULER tasks.
    """
    from tokenizers import Tokenizer

    if tokenizer is None or not max_seq_lengths:
        raise EvalError(f"{TASK} makes its texts for one model", expected="the model's tokenizer and prompt lengths")
    inner = Tokenizer.from_file(str(Path(tokenizer) / "tokenizer.json"))
    inner.no_padding()
    inner.no_truncation()

    def count(text: str) -> int:
        return len(inner.encode(text, add_special_tokens=False).ids)

    return {"test": Rows(items(max_seq_lengths, count))}


def items(lengths: Sequence[int], count: Callable[[str], int], needles: int = NEEDLES) -> list[dict[str, Any]]:
    """Prompts of every length, with every needle at every depth.

    Args:
        lengths: Tokens of a prompt and its answer.
        count: Tokens of a text.
        needles: How many different ones.

    Raises:
        EvalError: A length has no room for the question and some text.
    """
    found: list[dict[str, Any]] = []
    for length in lengths:
        for number in range(needles):
            found += _items(length, number, count)
    return found


def _items(length: int, number: int, count: Callable[[str], int]) -> list[dict[str, Any]]:
    """One text with one needle, at every depth: only the place differs."""
    draw = random.Random(f"{TASK} {length} {number}")  # noqa: S311 - any will do
    place, secret = draw.choice(PLACES), str(draw.randrange(10_000, 100_000))
    needle, question = fact(place, secret), question_about(place)
    taken = count(f" {needle}") + count(question) + ANSWER_TOKENS
    sentences: list[str] = []
    while True:
        line = sentence(draw)
        taken += count(f" {line}")
        if taken > length:
            break
        sentences.append(line)
    while sentences:
        prompts = [_joined(sentences, needle, depth) + question for depth in DEPTHS]
        if max(map(count, prompts)) + ANSWER_TOKENS <= length:
            return [
                {"input": prompt, "target": secret, "length": length, "depth": depth}
                for prompt, depth in zip(prompts, DEPTHS, strict=True)
            ]
        sentences.pop()  # tokens at the seams
    raise EvalError(
        f"a prompt of {length} tokens has no room for {TASK}", expected="a longer one, eval.prompt_lengths=[…]",
        found=f"{taken} tokens for needle, question, answer and one sentence",
    )  # fmt: skip


def fact(place: str, secret: str) -> str:
    """The needle."""
    return f"The secret number of {place} is {secret}."


def question_about(place: str) -> str:
    """What stands at the end of the prompt, up to the answer."""
    return f"\n\nQuestion: What is the secret number of {place}?\nAnswer: The secret number of {place} is"


def _joined(sentences: Sequence[str], needle: str, depth: float) -> str:
    before = round(depth * len(sentences))
    return " ".join([*sentences[:before], needle, *sentences[before:]])


def sentence(draw: random.Random) -> str:
    """A sentence of the haystack."""
    return " ".join(draw.choice(words) for words in (_WHO, _DID, _WHAT, _WHERE, _WHEN)) + "."
