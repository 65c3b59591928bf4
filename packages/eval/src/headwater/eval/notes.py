"""Sentences that a reader of the scores must not miss."""

from collections.abc import Sequence

from headwater.eval.config import EvalConfig
from headwater.eval.results import Score


def headline(scores: Sequence[Score], asked: Sequence[str]) -> list[Score]:
    """The first score of every task and group that was asked for by name, else of every task."""
    named = [score for score in scores if score.task in asked]
    chosen: dict[str, Score] = {}
    for score in named or scores:
        chosen.setdefault(score.task, score)
    return list(chosen.values())


def notes(scores: Sequence[Score], max_length: int, config: EvalConfig) -> list[str]:
    """What the scores do not say by themselves: chance, cut prompts and answers, items left out.

    Args:
        scores: Every score.
        max_length: Longest input of the model, in tokens.
        config: The `eval` section.
    """
    lines: list[str] = []
    guessed = [s.task for s in headline(scores, list(config.asked)) if s.indistinguishable_from_chance]
    if guessed:
        lines.append(
            f"Indistinguishable from chance: {', '.join(guessed)}. The interval includes the score of a guess, "
            "so nothing follows about what the model knows."
        )
    cut = {score.task: score for score in scores if score.truncated and not score.group}
    if cut:
        named = ", ".join(f"{score.task} ({score.truncated} of {score.items})" for score in cut.values())
        lines.append(f"Prompts whose beginning did not fit the model's {max_length:,} tokens: {named}.")
    short = {score.task: score for score in scores if score.cut_short and not score.group}
    if short:
        named = ", ".join(f"{score.task} ({score.cut_short} of {score.items})" for score in short.values())
        lines.append(f"Answers that reached the limit of tokens before they ended: {named}.")
    if config.precision != "float32":
        lines.append(f"Computed in {config.precision}: log-probabilities are off by a hundredth or so.")
    if config.limit is not None:
        lines.append(f"Only the first {config.limit} items of each task were run: these are no benchmark scores.")
    if some := [f"{name} ({how.items} of each task)" for name, how in config.asked.items() if how.items is not None]:
        lines.append(f"Only some items were run: {', '.join(some)}. These are no benchmark scores.")
    return lines
