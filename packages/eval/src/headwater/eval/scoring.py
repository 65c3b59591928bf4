"""Log-probabilities of continuations: no token is read twice, and the output head runs at scored positions only.

Inputs that begin with the same tokens (a few-shot header, the choices of a question) share them: see `trie`. Pieces of
similar length are read together up to a budget of tokens.

Shapes: B sequences in a batch, L positions, P scored positions of a batch, V vocabulary, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from headwater.core.errors import EvalError
from headwater.eval.answers import Kept
from headwater.eval.attention import Beginning
from headwater.eval.decoder import Model
from headwater.eval.reader import Reader
from headwater.eval.trie import Bundle, Row, Stem, grow

# Rows of logits held at once: bounds memory at rows · V · 4 bytes without slowing small batches.
_HEAD_ROWS = 2048
# Pairs of tokens that the masks of a batch may hold.
_MASK_PAIRS = 1 << 24

Advance = Callable[[int], None]
T = TypeVar("T")


class Request(NamedTuple):
    """Score `continuation` after `context`; both token ids, neither empty."""

    context: Sequence[int]
    continuation: Sequence[int]


class Scored(NamedTuple):
    """The answer to a request.

    Attributes:
        logprob: Sum of the continuation's natural log-probabilities.
        greedy: Whether greedy decoding would have produced exactly the continuation.
        truncated: Whether context was cut from the left because both did not fit the model.
    """

    logprob: float
    greedy: bool
    truncated: bool


class _Target(NamedTuple):
    request: int
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """Distinct model inputs, what is scored at the end of each, and the pieces in which they are read."""

    rows: list[Row]
    targets: list[list[_Target]]
    truncated: list[bool]
    root: Stem


def plan(requests: Sequence[Request], max_length: int, *, share: bool = True) -> Plan:
    """Decides what the model reads.

    Args:
        requests: What to score.
        max_length: Longest input of the model, in tokens.
        share: Whether inputs that begin alike share tokens; otherwise each is read whole, equal ones once.
    """
    rows, targets, truncated = _distinct(requests, max_length)
    if share:
        return Plan(rows, targets, truncated, grow(rows))
    return Plan(rows, targets, truncated, grow(rows, bundle=0, stem=max_length + 1))


def score(
    model: Model | Reader,
    requests: Sequence[Request],
    *,
    max_length: int,
    batch_tokens: int,
    advance: Advance | None = None,
    kept: Kept | None = None,
) -> list[Scored]:
    """Scores every request.

    A request of more than `max_length + 1` tokens loses context from the left, as in lm-eval, and is flagged. A
    continuation longer than `max_length` is scored in consecutive windows, and is flagged too.

    Args:
        model: A causal language model in evaluation mode.
        requests: What to score.
        max_length: Longest input of the model, in tokens.
        batch_tokens: Most tokens in a forward pass, padding included. One sequence always fits.
        advance: Called with the number of requests that each batch has finished.
        kept: Batches that are answered there are not computed, others are added.

    Returns:
        One `Scored` a request, in their order.

    Raises:
        EvalError: The model gives a log-probability that is no finite number.
    """
    reader = model if isinstance(model, Reader) else Reader(model)
    planned = plan(requests, max_length, share=reader.shares)
    logprobs = np.zeros(len(requests), dtype=np.float64)
    greedy = np.ones(len(requests), dtype=bool)
    for number, (beginning, batch) in enumerate(_work(reader, planned.root, batch_tokens)):
        known = None if kept is None else kept.get(number)
        owner, picked, best = _fitting(reader, planned, batch, beginning, known)
        if not np.isfinite(picked).all():
            raise EvalError(
                "the model gives log-probabilities that are no finite numbers (NaN or infinite)",
                found=f"{int((~np.isfinite(picked)).sum()):,} of {len(picked):,} in a batch",
                hint="no score of this model would mean anything: evaluate a checkpoint from before it went wrong",
            )
        if kept is not None and known is None:
            kept.put(number, [picked.tolist(), best.tolist()])
        np.add.at(logprobs, owner, picked)
        np.logical_and.at(greedy, owner, best)
        if advance is not None:
            advance(sum(len(planned.targets[row]) for bundle in batch for row in bundle.rows))
    return [Scored(float(p), bool(g), t) for p, g, t in zip(logprobs, greedy, planned.truncated, strict=True)]


class _Lazy:
    """The beginning that a stem ends, read when a batch first needs it, which it may not where answers are kept."""

    def __init__(self, reader: Reader, stem: Stem, before: _Lazy | None) -> None:
        self._make = (reader, stem, before)
        self._made: Beginning | None = None

    @torch.inference_mode()
    def __call__(self) -> Beginning:
        if self._made is None:
            reader, stem, before = self._make
            tokens = torch.tensor(stem.tokens, device=reader.model.device)
            self._made = reader.begin(tokens, stem.start, before() if before else None)
        return self._made


def _work(reader: Reader, root: Stem, batch_tokens: int) -> Iterator[tuple[_Lazy | None, list[Bundle]]]:
    """Batches, with the beginning that each goes on from; beginnings are let go when nothing grows from them."""
    open_: list[tuple[Stem, _Lazy | None]] = [(root, None)]
    while open_:
        stem, beginning = open_.pop()
        if stem.tokens:
            beginning = _Lazy(reader, stem, beginning)
        ordered = sorted(stem.bundles, key=lambda bundle: (bundle.branches, -len(bundle)))
        for group in _alike(ordered):
            for batch in batches(group, len, batch_tokens, _MASK_PAIRS if group[0].branches else None):
                yield beginning, batch
        open_ += [(each, beginning) for each in reversed(stem.stems)]


def _alike(ordered: list[Bundle]) -> Iterator[list[Bundle]]:
    cut = next((k for k, bundle in enumerate(ordered) if bundle.branches), len(ordered))
    yield from (part for part in (ordered[:cut], ordered[cut:]) if part)


def windows(tokens: Sequence[int], prefix: int, max_length: int) -> list[Request]:
    """Consecutive windows that score every token of a document exactly once (lm-eval's rolling windows).

    The first is conditioned on `prefix`, each later one on the last token of the one before; the last, which is
    shorter, on as many tokens before it as fit.
    """
    whole = [prefix, *tokens]
    cut: list[Request] = []
    for start in range(1, len(whole), max_length):
        stop = min(start + max_length, len(whole))
        first = start - 1 if start == 1 else stop - max_length - 1
        cut.append(Request(whole[first:start], whole[start:stop]))
    return cut


def batches(items: Sequence[T], length: Callable[[T], int], budget: int, pairs: int | None = None) -> Iterator[list[T]]:
    """Cuts items, sorted longest first, into runs of a padded size within `budget` tokens, and `pairs` of tokens."""
    batch: list[T] = []
    for item in items:
        width = length(batch[0]) if batch else 0
        size = (len(batch) + 1) * width
        if batch and (size > budget or (pairs is not None and size * width > pairs)):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _distinct(requests: Sequence[Request], max_length: int) -> tuple[list[Row], list[list[_Target]], list[bool]]:
    targets: dict[tuple[int, ...], list[_Target]] = {}
    truncated: list[bool] = []
    for index, request in enumerate(requests):
        tokens = [*request.context, *request.continuation]
        truncated.append(len(tokens) > max_length + 1)
        if len(request.continuation) > max_length:
            pieces = windows(request.continuation, request.context[-1], max_length)
        else:
            cut = tokens[-(max_length + 1) :]
            at = len(cut) - len(request.continuation)
            pieces = [Request(cut[:at], cut[at:])]
        for piece in pieces:
            key = (*piece.context, *piece.continuation[:-1])
            targets.setdefault(key, []).append(_Target(index, tuple(piece.continuation)))
    rows = [Row(key, max(len(target.tokens) for target in found)) for key, found in targets.items()]
    return rows, list(targets.values()), truncated


def _fitting(
    reader: Reader, planned: Plan, batch: list[Bundle], beginning: _Lazy | None, known: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores a batch, in halves where the device has not the memory for it."""
    try:
        return _score_batch(reader, planned, batch, beginning, known)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
    middle = len(batch) // 2
    halves = [_fitting(reader, planned, half, beginning, known) for half in (batch[:middle], batch[middle:])]
    first, second = halves
    return tuple(np.concatenate(pair) for pair in zip(first, second, strict=True))  # pyright: ignore[reportReturnType]


@torch.inference_mode()
def _score_batch(
    reader: Reader, planned: Plan, batch: list[Bundle], beginning: _Lazy | None, known: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each scored token of the batch: its request, its log-probability, and whether it was the likeliest.

    Without a pass of the model where the latter two are `known`.
    """
    device = reader.model.device
    width = len(batch[0])
    # Padding stands on the right, where no token before it looks.
    ids_BL, positions_BL = np.zeros((2, len(batch), width), np.int64)
    mask_BLL = None
    if batch[0].branches:
        mask_BLL = np.broadcast_to(np.tri(width, dtype=np.bool_), (len(batch), width, width)).copy()
    places: dict[int, int] = {}  # place in the batch → number among those that the head reads
    where: list[int] = []
    target: list[int] = []
    owner: list[int] = []
    for i, bundle in enumerate(batch):
        ids_BL[i, : len(bundle)] = bundle.tokens
        positions_BL[i, : len(bundle)] = bundle.positions
        if mask_BLL is not None:
            mask_BLL[i, : len(bundle), : len(bundle)] = bundle.mask()
        for row, wanted in zip(bundle.rows, bundle.wanted, strict=True):
            at = [places.setdefault(i * width + place, len(places)) for place in wanted.tolist()]
            for request, tokens in planned.targets[row]:
                where += at[len(at) - len(tokens) :]
                target += tokens
                owner += [request] * len(tokens)
    if known is not None:
        return np.asarray(owner), np.asarray(known[0]), np.asarray(known[1], bool)
    ids, positions = torch.from_numpy(ids_BL).to(device), torch.from_numpy(positions_BL).to(device)
    mask = None if mask_BLL is None else torch.from_numpy(mask_BLL).to(device)
    at_P = torch.tensor(list(places), device=device)
    where_T, target_T = torch.tensor(where), torch.tensor(target)
    picked_T = torch.empty(len(where), dtype=torch.float32)
    best_T = torch.empty(len(where), dtype=torch.bool)
    read = reader.read(ids, positions, mask, beginning() if beginning else None, at_P)
    for first in range(0, len(at_P), _HEAD_ROWS):
        logits_PV = read(first, first + _HEAD_ROWS).float()
        chosen = ((where_T >= first) & (where_T < first + _HEAD_ROWS)).nonzero().squeeze(1)
        rows = (where_T[chosen] - first).to(device)
        targets = target_T[chosen].to(device)
        logp = logits_PV[rows, targets] - logits_PV.logsumexp(-1)[rows]
        picked_T[chosen] = logp.cpu()
        best_T[chosen] = (logits_PV.argmax(-1)[rows] == targets).cpu()
    return np.asarray(owner), picked_T.double().numpy(), best_T.numpy()
