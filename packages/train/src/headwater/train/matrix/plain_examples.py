"""What must hold of an objective's samples, said in plain Python, token by token: the text can be had back from them.

Nothing here uses the objectives' own code, so that a mistake in that shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

IGNORE = -100
NOWHERE = -1
"""A token that no text has."""


@dataclass(frozen=True)
class Tokens:
    """The special tokens of a vocabulary.

    Attributes:
        end: Ends a document.
        mask: Stands for a masked token.
        middle: Before prefix, suffix and middle.
        sentinels: Stand for spans.
        modes: Before the text, of R, S and X.
    """

    end: int
    mask: int = -1
    middle: tuple[int, int, int] = (-1, -1, -1)
    sentinels: tuple[int, ...] = ()
    modes: tuple[int, ...] = ()

    @property
    def special(self) -> set[int]:
        """All of them."""
        return {self.end, self.mask, *self.middle, *self.sentinels, *self.modes}


@dataclass(frozen=True)
class Sample:
    """A sample as lists: what was read (one token more), and what the model is given.

    Attributes:
        read: Token ids in the file.
        places: Of each but the last in its document.
        inputs, labels, positions: As the model is given them.
        seen: Whether the whole document sees a token.
    """

    read: list[int]
    places: list[int]
    inputs: list[int]
    labels: list[int]
    positions: list[int]
    seen: list[bool]


def wrong(kind: str, sample: Sample, tokens: Tokens) -> Iterator[str]:
    """What is wrong with a sample of an objective, in words; nothing if it is right.

    Args:
        kind: The objective.
        sample: The sample.
        tokens: The special tokens.
    """
    match kind:
        case "causal" | "multi_token":
            yield from _next_tokens(sample)
        case "masked" | "replaced_token":
            yield from _masked(sample, tokens)
        case "causal_and_masked":
            yield from _masked(sample, tokens) if any(sample.seen) else _next_tokens(sample)
        case "prefix":
            yield from _prefix(sample)
        case "fill_in_the_middle":
            yield from _middle(sample, tokens)
        case "spans" | "ul2":
            yield from _pairs(sample, tokens, kind)
        case _:
            yield f"nothing is known of the objective {kind}"


def restored_middle(document: Sequence[int], tokens: Tokens) -> list[int]:
    """The text of a document whose middle was moved, in its own order, without the sentinels; others as they are."""
    pre, suf, mid = tokens.middle
    if not document or document[0] != pre:
        return list(document)
    ended = document[-1] == tokens.end
    body = list(document[: len(document) - ended])
    at = body.index(mid)
    if body[1] == suf:  # suffix first: PRE SUF suffix MID prefix middle
        text = body[at + 1 :] + body[2:at]
    else:  # PRE prefix SUF suffix MID middle
        cut = body.index(suf)
        text = body[1:cut] + body[at + 1 :] + body[cut + 1 : at]
    return text + [tokens.end] * ended


def parts(positions: Sequence[int]) -> list[tuple[int, int]]:
    """First token and one more than the last of each document in a sample."""
    starts = [place for place, position in enumerate(positions) if position == 0]
    return [(start, stop) for start, stop in zip(starts, [*starts[1:], len(positions)], strict=True)]


def _next_tokens(sample: Sample) -> Iterator[str]:
    if sample.inputs != sample.read[:-1] or sample.labels != sample.read[1:] or sample.positions != sample.places:
        yield "inputs and labels are not the tokens and the next tokens"
    if any(sample.seen):
        yield "a token is seen by one before it"


def _masked(sample: Sample, tokens: Tokens) -> Iterator[str]:
    if not all(sample.seen) or sample.positions != sample.places:
        yield "a token is not seen by its whole document"
    for place, (given, label, read) in enumerate(zip(sample.inputs, sample.labels, sample.read[:-1], strict=True)):
        if label == IGNORE and given != read:
            yield f"token {place} was changed and is not scored"
        if label not in (IGNORE, read):
            yield f"the label of token {place} is not what was there"
        if label != IGNORE and (read in tokens.special or (given in tokens.special and given != tokens.mask)):
            yield f"token {place} is or became a special token"


def _prefix(sample: Sample) -> Iterator[str]:
    if sample.inputs != sample.read[:-1] or sample.positions != sample.places:
        yield "inputs are not the tokens"
    for start, stop in parts(sample.places):
        seen = sample.seen[start:stop]
        length = seen.index(False) if False in seen else len(seen)
        if any(seen[length:]) or not length:
            yield f"the document at {start} has no prefix, or more than one"
        for place in range(start, stop):
            scored = place >= start + length - 1
            if sample.labels[place] != (sample.read[place + 1] if scored else IGNORE):
                yield f"the label of token {place} is not right"


def _middle(sample: Sample, tokens: Tokens) -> Iterator[str]:
    if sample.positions != sample.places or any(sample.seen):
        yield "the sample is not causal"
    if sample.labels[:-1] != sample.inputs[1:]:
        yield "labels are not the next tokens"
    whole = parts(sample.places)[1:-1]  # the first and the last may go on in another sample
    for start, stop in whole:
        found = restored_middle(sample.inputs[start:stop], tokens)
        read = sample.read[start:stop]
        moved = sample.inputs[start] == tokens.middle[0]
        if moved and found != [*read[: len(read) - 4], tokens.end]:
            yield f"the document at {start} cannot be had back"
        if not moved and found != read:
            yield f"the document at {start} was changed"


def _pairs(sample: Sample, tokens: Tokens, kind: str) -> Iterator[str]:
    documents = [sample.read[start:stop] for start, stop in parts(sample.places)]
    for start, stop in parts(sample.positions):
        labels = sample.labels[start:stop]
        if all(label == IGNORE for label in labels):
            continue  # what is left of the sample
        prefix = sample.seen[start:stop].count(True)
        given, targets = sample.inputs[start : start + prefix], labels[prefix - 1 :]
        if any(label != IGNORE for label in labels[: prefix - 1]) or IGNORE in targets:
            yield f"the pair at {start} scores its prefix, or not its targets"
        if sample.inputs[start + prefix : stop] != targets[:-1]:
            yield f"the pair at {start} is not given its own targets"
        if kind == "ul2":
            if given[0] not in tokens.modes:
                yield f"the pair at {start} has no mode token"
            given = given[1:]
        text = _filled(given, targets, tokens)
        if not any(_holds(document, text) for document in documents):
            yield f"the pair at {start} is of no document"


def _filled(given: Sequence[int], targets: Sequence[int], tokens: Tokens) -> list[int]:
    """A text out of a prefix and targets."""
    body = list(targets[:-1]) if targets[-1] == tokens.end else list(targets)
    if not any(token in tokens.sentinels for token in given):
        return [*given, *body]
    spans: dict[int, list[int]] = {}
    for token in body:
        if token in tokens.sentinels:
            spans[token] = []
        elif spans:
            spans[list(spans)[-1]].append(token)
        else:
            return [NOWHERE]
    text: list[int] = []
    for token in given:
        text += spans.get(token, [token])
    return text


def _holds(document: Sequence[int], text: Sequence[int]) -> bool:
    return any(list(document[at : at + len(text)]) == list(text) for at in range(len(document) - len(text) + 1))
