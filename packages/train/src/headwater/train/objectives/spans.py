"""Span corruption (T5: Raffel et al., JMLR 2020, arXiv:1910.10683, section 3.1.4) in the form for decoders that UL2
has (Tay et al., ICLR 2023, arXiv:2205.05131, section 3.1): the text with its spans taken out is a prefix whose tokens
see each other both ways, and the spans follow it and are predicted.

    text       a b c d e f g
    prefix     a S0 d e S1
    targets    S0 b c S1 f g END

Each document of a sample, or its part in it, is corrupted alone. It grows by that: a stretch of the sample that is as
long as what fits is taken, beginning at a place that is drawn, and the rest is left out this time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from headwater.core.errors import ConfigError
from headwater.train.objectives.draws import Draws
from headwater.train.objectives.examples import I64, IGNORE, Objective, Row, documents


@dataclass(frozen=True)
class SpanTokens:
    """Ids of the sentinels, in order, and of the token that ends a document."""

    sentinels: tuple[int, ...]
    end: int


class Pair(NamedTuple):
    """A prefix and what follows it."""

    prefix: I64
    targets: I64

    @property
    def length(self) -> int:
        """Places that it takes: the last target is predicted, and never read."""
        return len(self.prefix) + len(self.targets) - 1


class Pairs(Objective):
    """Base of objectives that make a prefix and targets of each document.

    Args:
        seed: The run's seed.
        end: Id of the token that ends a document.
        growth: About how many places a token of text takes.
    """

    causal = False

    def __init__(self, seed: int, end: int, growth: float) -> None:
        super().__init__(seed)
        self.end, self.growth = end, growth

    def pair(self, text: I64, ended: bool, draws: Draws) -> Pair | None:
        """Makes a pair of a document, or none where it is too short.

        Args:
            text: Its tokens, less the one that ends it.
            ended: Whether it ends here.
            draws: Random numbers.
        """
        raise NotImplementedError

    def row(self, tokens_M: I64, positions_L: I64, draws: Draws) -> Row:
        """See `Objective.row`; the last token that was read has no part in it."""
        length = len(positions_L)
        taken = min(length, int(length / self.growth))
        first = draws.one(length - taken + 1)
        inputs, labels = np.full(length, self.end), np.full(length, IGNORE)
        positions, seen = np.zeros(length, dtype=np.int64), np.zeros(length, dtype=np.bool_)
        at = 0
        for pair in self._pairs(tokens_M[:-1], positions_L, (first, first + taken), length, draws):
            stop, targets = at + pair.length, at + len(pair.prefix) - 1
            inputs[at:stop] = np.concatenate([pair.prefix, pair.targets[:-1]])
            labels[targets:stop] = pair.targets
            positions[at:stop] = np.arange(pair.length)
            seen[at : targets + 1] = True
            at = stop
        return Row(inputs, labels, positions, seen)

    def _pairs(
        self, tokens_L: I64, positions_L: I64, window: tuple[int, int], room: int, draws: Draws
    ) -> Iterator[Pair]:
        """The pairs of the documents in a window, in order, as long as there is room."""
        for start, stop in documents(positions_L):
            part = tokens_L[max(start, window[0]) : min(stop, window[1])]
            ended = len(part) > 0 and int(part[-1]) == self.end
            text = part[: len(part) - ended]
            while (pair := self.pair(text, ended, draws)) is not None and pair.length > room:
                text, ended = text[: len(text) - (pair.length - room)], False
            if pair is not None:
                room -= pair.length
                yield pair


class Spans(Pairs):
    """Span corruption.

    Args:
        seed: The run's seed.
        tokens: Ids of sentinels and end.
        density: Share of the text that is taken out.
        mean_length: Mean length of a span, in tokens.
        longest: Tokens of the longest document, or part of one: those of a sample.
        mode: A token before the prefix; none: there is none.

    Raises:
        ConfigError: The tokenizer has fewer sentinels than a document of the whole sample needs.
    """

    left_to_right = False

    def __init__(
        self, seed: int, tokens: SpanTokens, *, density: float, mean_length: float, longest: int, mode: int | None =
        None
    ) -> None:  # fmt: skip
        super().__init__(seed, tokens.end, 1 + 2 * density / mean_length)
        self.tokens, self.density, self.mean_length = tokens, density, mean_length
        self.mode: Sequence[int] = () if mode is None else (mode,)
        _, needed = self.counts(longest)
        if needed > len(tokens.sentinels):
            raise ConfigError(
                "the tokenizer has too few sentinels for train.objective", found=f"{len(tokens.sentinels)}",
                expected=f"{needed} for a document of {longest} tokens",
                hint="name more of them in tokenizer.special_tokens, lower train.seq_len, or take longer spans",
            )  # fmt: skip

    def counts(self, length: int) -> tuple[int, int]:
        """How many tokens are taken out of a text of at least two, and in how many spans."""
        noise = min(max(round(length * self.density), 1), length - 1)
        return noise, max(1, min(round(noise / self.mean_length), noise, length - noise))

    def pair(self, text: I64, ended: bool, draws: Draws) -> Pair | None:
        """See `Pairs.pair`. Kept stretches and spans alternate, as T5's `random_spans_noise_mask` has them: each way
        of dividing the tokens among them is as likely.
        """
        if len(text) < 2:
            return None
        noise, spans = self.counts(len(text))
        removed, kept = draws.composition(noise, spans), draws.composition(len(text) - noise, spans)
        edges = np.cumsum(np.stack([kept, removed], axis=1).ravel())[:-1]
        stretches = np.split(text, edges)
        prefix: list[I64] = [np.array(self.mode, dtype=np.int64)]
        targets: list[I64] = []
        for number, sentinel in enumerate(self.tokens.sentinels[:spans]):
            mark = np.array([sentinel])
            prefix += [stretches[2 * number], mark]
            targets += [mark, stretches[2 * number + 1]]
        return Pair(np.concatenate(prefix), np.concatenate([*targets, np.array([self.end])]))
