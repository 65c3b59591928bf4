"""Log-probabilities of continuations, in length-sorted batches.

Three things make it cheap: requests that feed the model the same tokens (the choices of a multiple-choice question
that differ in their last token only) share one forward pass; batches hold sequences of similar length up to a token
budget; and the output head, which is most of a small model, runs at scored positions only.

Shapes: B sequences in a batch, L positions, D model width, P scored positions of a batch, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from transformers import LlamaForCausalLM, PreTrainedModel

# Rows of logits held at once: bounds memory at rows · V · 4 bytes without slowing small batches.
_HEAD_ROWS = 2048

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


@dataclass
class _Row:
    """One distinct model input, and every continuation that ends with its last position."""

    tokens: tuple[int, ...]
    scored: int = 0
    targets: list[_Target] = field(default_factory=list[_Target])


def score(
    model: PreTrainedModel,
    requests: Sequence[Request],
    *,
    max_length: int,
    batch_tokens: int,
    advance: Advance | None = None,
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

    Returns:
        One `Scored` a request, in their order.
    """
    rows, truncated = _distinct_rows(requests, max_length)
    logprobs = np.zeros(len(requests), dtype=np.float64)
    greedy = np.ones(len(requests), dtype=bool)
    for batch in batches(rows, lambda row: len(row.tokens), batch_tokens):
        owner, picked, best = _score_batch(model, batch)
        np.add.at(logprobs, owner, picked)
        np.logical_and.at(greedy, owner, best)
        if advance is not None:
            advance(sum(len(row.targets) for row in batch))
    return [Scored(float(p), bool(g), t) for p, g, t in zip(logprobs, greedy, truncated, strict=True)]


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


def batches(items: Sequence[T], length: Callable[[T], int], budget: int) -> Iterator[list[T]]:
    """Cuts items, sorted longest first, into runs whose padded size stays within `budget` tokens."""
    batch: list[T] = []
    for item in items:
        if batch and (len(batch) + 1) * length(batch[0]) > budget:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _distinct_rows(requests: Sequence[Request], max_length: int) -> tuple[list[_Row], list[bool]]:
    rows: dict[tuple[int, ...], _Row] = {}
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
            row = rows.setdefault(key, _Row(key))
            row.targets.append(_Target(index, tuple(piece.continuation)))
            row.scored = max(row.scored, len(piece.continuation))
    return sorted(rows.values(), key=lambda row: (-len(row.tokens), row.tokens)), truncated


@torch.inference_mode()
def _score_batch(model: PreTrainedModel, batch: list[_Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each scored token of the batch: its request, its log-probability, and whether it was the likeliest."""
    device = model.device
    width = max(len(row.tokens) for row in batch)
    # Padding stands on the right, where causal attention never looks: no mask is needed.
    ids_BL = torch.zeros((len(batch), width), dtype=torch.long)
    for i, row in enumerate(batch):
        ids_BL[i, : len(row.tokens)] = torch.tensor(row.tokens)
    at_P = torch.cat(
        [i * width + torch.arange(len(row.tokens) - row.scored, len(row.tokens)) for i, row in enumerate(batch)]
    )
    where: list[int] = []
    target: list[int] = []
    owner: list[int] = []
    start = 0
    for row in batch:
        start += row.scored
        for request, tokens in row.targets:
            where.extend(range(start - len(tokens), start))
            target.extend(tokens)
            owner.extend([request] * len(tokens))
    head = _head_inputs(model, ids_BL.to(device), at_P.to(device))
    where_T, target_T = torch.tensor(where), torch.tensor(target)
    picked_T = torch.empty(len(where), dtype=torch.float32)
    best_T = torch.empty(len(where), dtype=torch.bool)
    for first in range(0, len(at_P), _HEAD_ROWS):
        logits_PV = head(first, first + _HEAD_ROWS).float()
        chosen = ((where_T >= first) & (where_T < first + _HEAD_ROWS)).nonzero().squeeze(1)
        rows = (where_T[chosen] - first).to(device)
        targets = target_T[chosen].to(device)
        logp = logits_PV[rows, targets] - logits_PV.logsumexp(-1)[rows]
        picked_T[chosen] = logp.cpu()
        best_T[chosen] = (logits_PV.argmax(-1)[rows] == targets).cpu()
    return np.asarray(owner), picked_T.double().numpy(), best_T.numpy()


def _head_inputs(
    model: PreTrainedModel, ids_BL: torch.Tensor, at_P: torch.Tensor
) -> Callable[[int, int], torch.Tensor]:
    """Runs the body once; returns a function that gives logits for a slice of the scored positions."""
    if isinstance(model, LlamaForCausalLM):
        hidden_BLD = model.model(input_ids=ids_BL, use_cache=False).last_hidden_state
        hidden_PD = hidden_BLD.reshape(-1, hidden_BLD.shape[-1])[at_P]
        return lambda first, stop: model.lm_head(hidden_PD[first:stop])
    # Other families may scale or cap their logits outside the head: take them as the model gives them.
    logits_PV = model(input_ids=ids_BL, use_cache=False).logits.flatten(0, 1)[at_P]
    return lambda first, stop: logits_PV[first:stop]
