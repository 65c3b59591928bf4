"""Greedy or sampled generation with a key/value cache: a sequence that ends makes room for the next at once.

What all prompts begin with is read once. Several tokens are read in one pass where the text repeats itself: what came
after the last three tokens before is tried again, and kept as far as it is what the model gives (prompt look-up, after
Leviathan et al. 2023, arXiv:2211.17192). No answer changes by that, and none depends on the order of the prompts.

Shapes: B sequences under way, L positions, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch

from headwater.core.errors import EvalError
from headwater.eval.answers import Kept
from headwater.eval.attention import Beginning, Slots
from headwater.eval.decoder import Model
from headwater.eval.reader import Reader
from headwater.eval.scoring import Advance, batches
from headwater.eval.tokenizer import EvalTokenizer

_CHUNK = 2
"""Prompts of a chunk, in units of what runs at once: a chunk is finished before the next begins."""
_GUESS = 15
"""Most tokens that are tried ahead. With the one before them they are 16, and those of two query heads that share a key
head the 32 queries for which torch's attention on a CPU reads keys and values once."""
_LATELY = 0.7
"""What a guess counts for in the chances of later ones, with each guess after it."""
_PASS = 4
"""What a pass costs besides its tokens, in tokens: on a CPU it is the keys and values that it reads."""
_STEM_TOKENS = 16
"""A shorter common beginning is read again with each prompt."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; without it, the likeliest is taken.

    Attributes:
        temperature: Above 0; divides the logits.
        top_p: Only the likeliest tokens that together have this probability.
        top_k: Only so many of the likeliest; 0 for all.
        seed: The same seed, prompt and number of the answer draw the same, whatever else is generated.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0


class Prompt(NamedTuple):
    """Continue `tokens` until one of `stops` appears, the document ends, or `max_tokens` were generated.

    Attributes:
        tokens: Token ids, not empty.
        max_tokens: Most tokens of the answer.
        stops: Texts that end it.
        sampling: How tokens are drawn.
        answer: Which of several answers to the same prompt this is.
    """

    tokens: Sequence[int]
    max_tokens: int
    stops: tuple[str, ...] = ()
    sampling: Sampling | None = None
    answer: int = 0


class Generated(NamedTuple):
    """The answer to a prompt.

    Attributes:
        text: What was generated, up to the first stop string.
        tokens: Number of tokens generated, the stop included.
        truncated: Whether the prompt was cut from the left to leave room for the answer.
        finished: Whether it ended by itself (a stop string or the end of the document) before the limit.
    """

    text: str
    tokens: int
    truncated: bool
    finished: bool


class _Job:
    """A prompt being continued."""

    def __init__(self, prompt: Prompt, max_length: int) -> None:
        # Half the model's window at most goes to the answer, so that a question is always left to answer.
        self.limit = max(1, min(prompt.max_tokens, max_length // 2))
        room = max_length - self.limit
        self.prompt = tuple(prompt.tokens)[-room:]
        self.truncated = len(prompt.tokens) > room
        self.stops = prompt.stops
        self.sampling = prompt.sampling
        # A token is a byte or more, so these hold any stop string that ends in the last one.
        self._tail = max((len(stop.encode()) for stop in prompt.stops), default=0) + 4
        self._random: Any = None
        if prompt.sampling is not None:
            name = repr((prompt.sampling.seed, prompt.answer, self.prompt)).encode()
            key = np.frombuffer(hashlib.sha256(name).digest()[:16], np.uint64)
            self._random = np.random.Generator(np.random.Philox(key=key))
        self.new: list[int] = []
        self.finished = False
        self._after: dict[tuple[int, ...], int] = {}
        self._seen = 0
        self._true = self._false = 0.5  # tokens of the guesses that came true lately, and guesses that did not

    def guess(self) -> list[int]:
        """What may come next: what came after the last three tokens before."""
        text = [*self.prompt, *self.new]
        for end in range(max(3, self._seen), len(text)):
            self._after[tuple(text[end - 3 : end])] = end
        self._seen = len(text)
        at = self._after.get(tuple(text[-3:]))
        if at is None:
            return []
        # Where that ends with the text itself, it goes round: a text that repeats a few tokens is guessed as far.
        period, size = len(text) - at, min(_GUESS, self.limit - len(self.new) - 1)
        return [text[at + k % period] for k in range(size)]

    def learn(self, tried: int, came_true: int) -> None:
        """Takes into account how a guess fared."""
        if tried:
            self._true = _LATELY * self._true + came_true
            self._false = _LATELY * self._false + (came_true < tried)

    @property
    def hits(self) -> float:
        """The chance that the next token of a guess comes true: of a geometric distribution, by what was seen."""
        return self._true / (self._true + self._false)

    @property
    def key(self) -> tuple[Any, ...]:
        """What decides a greedy answer."""
        return self.prompt, self.limit, self.stops

    def size(self) -> int:
        return len(self.prompt) + self.limit

    def choose(self, logits_V: torch.Tensor) -> int:
        """Draws a token."""
        assert self.sampling is not None
        order = logits_V.double().sort(descending=True, stable=True)
        weights = (order.values / self.sampling.temperature).softmax(0).cpu().numpy()
        before = np.cumsum(weights) - weights
        kept = before < self.sampling.top_p
        if self.sampling.top_k:
            kept[self.sampling.top_k :] = False
        weights = np.cumsum(np.where(kept, weights, 0.0))
        place = int(np.searchsorted(weights, self._random.random() * weights[-1], side="right"))
        return int(order.indices[min(place, int(kept.sum()) - 1)])

    def take(self, token: int, tokenizer: EvalTokenizer) -> bool:
        """Appends a token; returns whether generation goes on."""
        self.new.append(token)
        self.finished = token == tokenizer.eot_id
        if self.stops and not self.finished:
            tail = tokenizer.decode(self.new[-self._tail :])
            self.finished = any(stop in tail for stop in self.stops)
        return not self.finished and len(self.new) < self.limit

    def result(self, tokenizer: EvalTokenizer) -> Generated:
        text = tokenizer.decode(self.new)
        for stop in self.stops:
            text = text.split(stop)[0]
        return Generated(text, len(self.new), self.truncated, self.finished)


def generate(
    model: Model | Reader,
    tokenizer: EvalTokenizer,
    prompts: Sequence[Prompt],
    *,
    max_length: int,
    batch_tokens: int,
    cache_tokens: int,
    advance: Advance | None = None,
    kept: Kept | None = None,
) -> list[Generated]:
    """Continues every prompt.

    Args:
        model: A causal language model in evaluation mode.
        tokenizer: Its tokenizer.
        prompts: What to continue; none empty.
        max_length: Longest sequence of the model, in tokens, prompt and answer together.
        batch_tokens: Most tokens in a forward pass over prompts, padding included. One prompt always fits.
        cache_tokens: Most tokens whose keys and values are held at once, room for the answers included. One sequence
            always fits.
        advance: Called with the number of prompts that have been finished.
        kept: Chunks that are answered there are not generated, others are added.

    Returns:
        One `Generated` a prompt, in their order.

    Raises:
        EvalError: The model gives NaN.
    """
    reader = model if isinstance(model, Reader) else Reader(model)
    jobs = [_Job(prompt, max_length) for prompt in prompts]
    # What is asked twice is answered once, unless it is drawn.
    same: dict[Any, _Job] = {}
    leaders = [same.setdefault((job.key, job.sampling and number), job) for number, job in enumerate(jobs)]
    asked: dict[int, int] = {}
    for leader in leaders:
        asked[id(leader)] = asked.get(id(leader), 0) + 1
    ordered = sorted(same.values(), key=lambda job: (-job.size(), -len(job.prompt), job.prompt))
    for finished in _run(reader, tokenizer, ordered, batch_tokens, cache_tokens, kept):
        if advance is not None:
            advance(sum(asked[id(job)] for job in finished))
    results = [leader.result(tokenizer) for leader in leaders]
    return [result._replace(truncated=job.truncated) for result, job in zip(results, jobs, strict=True)]


def _run(
    reader: Reader,
    tokenizer: EvalTokenizer,
    jobs: Sequence[_Job],
    batch_tokens: int,
    cache_tokens: int,
    kept: Kept | None,
) -> Iterator[list[_Job]]:
    """Runs jobs, longest first, in chunks that are always the same; gives those that each pass has finished."""
    shared = _shared([job.prompt for job in jobs]) if reader.shares else 0
    beginning: Beginning | None = None
    left = list(jobs)
    for number in count():
        if not left:
            return
        at_once = max(1, cache_tokens // (left[0].size() - shared))
        chunk, left = left[: at_once * _CHUNK], left[at_once * _CHUNK :]
        if kept is not None and (known := kept.get(number)) is not None:
            for job, answer in zip(chunk, known, strict=True):
                job.new, job.finished = answer
            yield chunk
            continue
        if shared and beginning is None:
            with torch.inference_mode():
                beginning = reader.begin(torch.tensor(chunk[0].prompt[:shared], device=reader.model.device), 0, None)
        if reader.shares:
            yield from _run_chunk(reader, tokenizer, chunk, at_once, batch_tokens, shared, beginning)
        else:
            for batch in batches(chunk, _Job.size, batch_tokens):
                _run_whole(reader.model, tokenizer, batch)
                yield batch
        if kept is not None:
            kept.put(number, [[job.new, job.finished] for job in chunk])


def _shared(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all prompts begin with, one less than the shortest at most; 0 when it is not worth a pass."""
    if len(prompts) < 2:
        return 0
    first, last = min(prompts), max(prompts)  # in their order, so all others begin with what these have in common
    size = min(map(len, prompts)) - 1
    shared = next((k for k in range(size) if first[k] != last[k]), size)
    return shared if shared >= _STEM_TOKENS else 0


@torch.inference_mode()
def _run_chunk(
    reader: Reader,
    tokenizer: EvalTokenizer,
    jobs: Sequence[_Job],
    at_once: int,
    batch_tokens: int,
    shared: int,
    beginning: Beginning | None,
) -> Iterator[list[_Job]]:
    device = reader.model.device
    slots = Slots(min(at_once, len(jobs)), max(job.size() for job in jobs) - shared + _GUESS)
    waiting = list(reversed(jobs))
    alive: list[_Job] = []
    while waiting or alive:
        finished: list[_Job] = []
        while waiting and len(alive) < slots.count:
            batch: list[_Job] = []
            while waiting and len(alive) + len(batch) < slots.count:
                width = max(len(job.prompt) for job in [*batch, waiting[-1]]) - shared
                if batch and (len(batch) + 1) * width > batch_tokens:
                    break
                batch.append(waiting.pop())
            lengths = [len(job.prompt) - shared for job in batch]
            ids_BL = torch.zeros((len(batch), max(lengths)), dtype=torch.long)
            for row, job in enumerate(batch):
                ids_BL[row, : lengths[row]] = torch.tensor(job.prompt[shared:])
            logits_BV, kept = reader.prefill(ids_BL.to(device), lengths, shared, beginning)
            for row, (job, token) in enumerate(zip(batch, _choose(batch, logits_BV), strict=True)):
                if job.take(token, tokenizer):
                    slots.add(kept, row, lengths[row])
                    alive.append(job)
                else:
                    finished.append(job)
        if alive:
            guesses = [job.guess() for job in alive]
            ahead = _ahead(alive, guesses)
            ids_BL = torch.zeros((len(alive), 1 + ahead), dtype=torch.long)
            for slot, (job, guess) in enumerate(zip(alive, guesses, strict=True)):
                del guess[ahead:]
                ids_BL[slot, : 1 + len(guess)] = torch.tensor([job.new[-1], *guess])
            logits_BLV = reader.step(ids_BL.to(device), slots, shared, beginning)
            likeliest = _likeliest(logits_BLV)
            for slot in reversed(range(len(alive))):
                job, guess, goes_on = alive[slot], guesses[slot], True
                for k in range(1 + len(guess)):
                    token = likeliest[slot][k] if job.sampling is None else job.choose(logits_BLV[slot, k])
                    goes_on = job.take(token, tokenizer)
                    slots.lengths[slot] += 1
                    if not goes_on or k == len(guess) or token != guess[k]:
                        job.learn(len(guess), k)
                        break
                if not goes_on:
                    finished.append(job)
                    slots.remove(slot)
                    last = alive.pop()
                    if slot < len(alive):
                        alive[slot] = last
        if finished:
            yield finished


def _ahead(jobs: Sequence[_Job], guesses: Sequence[list[int]]) -> int:
    """How many tokens are best tried ahead by all: the most that are gained for what the pass costs."""

    def worth(ahead: int) -> float:
        gained = sum(
            sum(job.hits**k for k in range(1 + min(ahead, len(guess))))
            for job, guess in zip(jobs, guesses, strict=True)
        )  # fmt: skip
        return gained / (_PASS + 1 + ahead)

    return max(range(1 + max(map(len, guesses))), key=lambda ahead: (worth(ahead), -ahead))


def _choose(jobs: Sequence[_Job], logits_BV: torch.Tensor) -> list[int]:
    likeliest = _likeliest(logits_BV)
    return [
        likeliest[row] if job.sampling is None else job.choose(logits_BV[row]) for row, job in enumerate(jobs)
    ]  # fmt: skip


def _likeliest(logits: torch.Tensor) -> Any:
    """The likeliest token by each row of the last dimension, as lists.

    Raises:
        EvalError: A logit is NaN, which torch counts as the greatest of its row.
    """
    most = logits.max(-1)
    if bool(most.values.isnan().any()):
        raise EvalError(
            "the model gives logits that are no numbers (NaN)",
            hint="no score of this model would mean anything: evaluate a checkpoint from before it went wrong",
        )
    return most.indices.tolist()


@torch.inference_mode()
def _run_whole(model: Any, tokenizer: EvalTokenizer, batch: list[_Job]) -> None:
    """For models whose attention cannot be taken over: transformers' own cache."""
    device = model.device
    width = max(len(job.prompt) for job in batch)
    # Prompts stand on the right, so that the last position of every row is the one that predicts.
    ids_BL = torch.full((len(batch), width), tokenizer.eot_id, dtype=torch.long)
    mask_BL = torch.zeros((len(batch), width), dtype=torch.long)
    for i, job in enumerate(batch):
        ids_BL[i, width - len(job.prompt) :] = torch.tensor(job.prompt)
        mask_BL[i, width - len(job.prompt) :] = 1
    ids_BL, mask_BL = ids_BL.to(device), mask_BL.to(device)
    positions_BL = (mask_BL.cumsum(-1) - 1).clamp(min=0)
    cache = None
    alive = list(batch)
    while alive:
        output = model(
            input_ids=ids_BL,
            attention_mask=mask_BL,
            position_ids=positions_BL,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        next_B = torch.tensor(_choose(alive, output.logits[:, -1]), device=device)
        kept = [i for i, job in enumerate(alive) if job.take(int(next_B[i]), tokenizer)]
        if len(kept) < len(alive):
            if not kept:
                return
            alive = [alive[i] for i in kept]
            rows = torch.tensor(kept, device=device)
            next_B, mask_BL, positions_BL = next_B[rows], mask_BL[rows], positions_BL[rows]
            cache.batch_select_indices(rows)
        ids_BL = next_B[:, None]
        mask_BL = torch.cat([mask_BL, mask_BL.new_ones((len(alive), 1))], dim=1)
        positions_BL = positions_BL[:, -1:] + 1
