"""What model inputs have in common, so that no token is computed twice: a trie of tokens, cut into pieces for a model.

The trie of all inputs is cut into stems and bundles. A stem is a run of tokens that many inputs begin with (a few-shot
header): the model reads it once and its keys and values stay for what follows. A bundle is a small branching remainder
(one question with its choices), read in one sequence in which each token attends to its own ancestors only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]

BUNDLE_TOKENS = 2048
"""A remainder of more distinct tokens is cut further, where its inputs part."""
_PAIRS = 800
"""Pairs of tokens, all of which a bundle's attention looks at, that cost about as much as one token more."""
STEM_TOKENS = 16
"""A shorter common beginning is not worth a pass of the model: it is read again in each piece."""


@dataclass(frozen=True)
class Row:
    """One model input.

    Attributes:
        tokens: Its token ids.
        scored: At how many positions, from the end, the model's output is wanted; at least 1.
    """

    tokens: tuple[int, ...]
    scored: int


@dataclass(frozen=True)
class Bundle:
    """Rows without the beginning that their stem holds, their common tokens once.

    Attributes:
        tokens: Token ids, each after its ancestors. Shape [L].
        positions: Of each token in its rows. Shape [L].
        runs: (first, stop, places of their ancestors within the bundle) of runs of tokens that follow one another; one
            run without ancestors where the rows do not branch.
        rows: Which rows it holds.
        wanted: For each of them, where the outputs that are wanted lie. Shapes [scored].
    """

    tokens: I64
    positions: I64
    runs: tuple[tuple[int, int, I64], ...]
    rows: tuple[int, ...]
    wanted: tuple[I64, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def branches(self) -> bool:
        """Whether plain causal attention would be wrong."""
        return len(self.runs) > 1

    def mask(self) -> npt.NDArray[np.bool_]:
        """Which token, by row, attends to which. Shape [L, L]."""
        seen = np.zeros((len(self), len(self)), np.bool_)
        for first, stop, ancestors in self.runs:
            seen[first:stop, ancestors] = True
            seen[first:stop, first:stop] = np.tri(stop - first, dtype=np.bool_)
        return seen


@dataclass
class Stem:
    """A common beginning: its tokens after those of the stem it grows from, and what goes on from it."""

    tokens: tuple[int, ...]
    start: int
    bundles: list[Bundle] = field(default_factory=list[Bundle])
    stems: list[Stem] = field(default_factory=list["Stem"])

    def __iter__(self) -> Iterator[Stem]:
        """This one and all that grow from it."""
        yield self
        for stem in self.stems:
            yield from stem

    @property
    def computed(self) -> int:
        """Tokens that the model reads for this stem and all that grows from it, without padding."""
        return sum(len(stem.tokens) + sum(map(len, stem.bundles)) for stem in self)


def grow(rows: Sequence[Row], *, bundle: int = BUNDLE_TOKENS, stem: int = STEM_TOKENS) -> Stem:
    """The root, which has no tokens, of the pieces that hold all rows.

    Args:
        rows: Distinct inputs, none empty.
        bundle: Most tokens of a bundle of several rows.
        stem: Least tokens of a stem.
    """
    order = sorted(range(len(rows)), key=lambda index: rows[index].tokens)
    common = [0, *(_common(rows[a].tokens, rows[b].tokens) for a, b in pairwise(order))]
    root = Stem((), 0)
    # (rows first … stop in the order, the stem they grow from); a stack, because a trie may be deep.
    open_ = [(0, len(order), root)] if order else []
    while open_:
        first, stop, parent = open_.pop()
        depth = parent.start + len(parent.tokens)
        within = common[first + 1 : stop]
        fresh = [len(rows[order[first]].tokens) - depth]
        fresh += [len(rows[order[first + 1 + k]].tokens) - each for k, each in enumerate(within)]
        shared = min(within, default=depth)
        parts = [first, *(first + 1 + k for k, each in enumerate(within) if each == shared), stop]
        sizes = [sum(fresh[a - first : b - first]) for a, b in pairwise(parts)]
        if stop - first == 1 or (sum(fresh) <= bundle and _together(sizes, shared - depth)):
            parent.bundles.append(_bundle(rows, order[first:stop], within, depth))
            continue
        # Outputs are wanted in bundles only.
        ready = min(len(rows[index].tokens) - rows[index].scored for index in order[first:stop])
        if min(shared, ready) - depth >= stem and sum(fresh) > bundle:
            grown = Stem(rows[order[first]].tokens[depth : min(shared, ready)], depth)
            parent.stems.append(grown)
            parent = grown
        open_ += [(a, b, parent) for a, b in reversed(list(pairwise(parts)))]
    return root


def _together(sizes: Sequence[int], shared: int) -> bool:
    """Whether parts of so many tokens of their own (the first's with the shared ones) cost less in one bundle."""
    apart = [size + (shared if k else 0) for k, size in enumerate(sizes)]
    return _cost(sum(sizes)) <= sum(map(_cost, apart))


def _cost(tokens: int) -> float:
    return tokens + tokens * tokens / _PAIRS


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two inputs begin with in common."""
    size = min(len(a), len(b))
    if a[:size] == b[:size]:
        return size
    low, high = 0, size  # a[:low] == b[:low], a[:high] != b[:high]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle)
    return low


def _bundle(rows: Sequence[Row], members: Sequence[int], within: Sequence[int], depth: int) -> Bundle:
    tokens: list[int] = []
    positions: list[int] = []
    runs: list[tuple[int, int, I64]] = []
    wanted: list[I64] = []
    path = np.empty(0, np.int64)
    for index, shared in zip(members, [depth, *within], strict=True):
        row = rows[index]
        path = path[: max(shared, depth) - depth]
        fresh = row.tokens[depth + len(path) :]
        if fresh:
            first = len(tokens)
            runs.append((first, first + len(fresh), path))
            positions += range(depth + len(path), len(row.tokens))
            tokens += fresh
            path = np.concatenate([path, np.arange(first, first + len(fresh))])
        wanted.append(path[len(path) - row.scored :])
    # A run that goes on where the one before ends is the same one.
    merged: list[tuple[int, int, I64]] = []
    for first, stop, ancestors in runs:
        if merged and len(ancestors) == first and merged[-1][1] == first and len(merged) == 1:
            merged[-1] = (0, stop, merged[-1][2])
        else:
            merged.append((first, stop, ancestors))
    return Bundle(
        np.asarray(tokens, np.int64), np.asarray(positions, np.int64), tuple(merged), tuple(members), tuple(wanted)
    )
