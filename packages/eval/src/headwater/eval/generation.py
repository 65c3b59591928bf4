"""Greedy generation with a key/value cache, in batches of prompts of similar length.

Shapes: B sequences in a batch, L positions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from headwater.eval.scoring import Advance, batches
from headwater.eval.tokenizer import EvalTokenizer


class Prompt(NamedTuple):
    """Continue `tokens` until one of `stops` appears, the document ends, or `max_tokens` were generated."""

    tokens: Sequence[int]
    max_tokens: int
    stops: tuple[str, ...] = ()


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

    def __init__(self, index: int, prompt: Prompt, max_length: int) -> None:
        self.index = index
        # Half the model's window at most goes to the answer, so that a question is always left to answer.
        self.limit = max(1, min(prompt.max_tokens, max_length // 2))
        room = max_length - self.limit
        self.prompt = list(prompt.tokens)[-room:]
        self.truncated = len(prompt.tokens) > room
        self.stops = prompt.stops
        self.new: list[int] = []
        self.finished = False

    def size(self) -> int:
        return len(self.prompt) + self.limit

    def take(self, token: int, tokenizer: EvalTokenizer) -> bool:
        """Appends a token; returns whether generation goes on."""
        self.new.append(token)
        text = tokenizer.decode(self.new)
        self.finished = token == tokenizer.eot_id or any(stop in text for stop in self.stops)
        return not self.finished and len(self.new) < self.limit

    def result(self, tokenizer: EvalTokenizer) -> Generated:
        text = tokenizer.decode(self.new)
        for stop in self.stops:
            text = text.split(stop)[0]
        return Generated(text, len(self.new), self.truncated, self.finished)


def generate(
    model: PreTrainedModel,
    tokenizer: EvalTokenizer,
    prompts: Sequence[Prompt],
    *,
    max_length: int,
    batch_tokens: int,
    advance: Advance | None = None,
) -> list[Generated]:
    """Continues every prompt greedily.

    Args:
        model: A causal language model in evaluation mode.
        tokenizer: Its tokenizer.
        prompts: What to continue; none empty.
        max_length: Longest sequence of the model, in tokens, prompt and answer together.
        batch_tokens: Most tokens in a batch, prompt and room for the answer together. One sequence always fits.
        advance: Called with the number of prompts that each batch has finished.

    Returns:
        One `Generated` a prompt, in their order.
    """
    jobs = [_Job(index, prompt, max_length) for index, prompt in enumerate(prompts)]
    ordered = sorted(jobs, key=lambda job: (-job.size(), -len(job.prompt), job.prompt, job.index))
    for batch in batches(ordered, _Job.size, batch_tokens):
        _run_batch(model, tokenizer, batch)
        if advance is not None:
            advance(len(batch))
    return [job.result(tokenizer) for job in jobs]


@torch.inference_mode()
def _run_batch(model: PreTrainedModel, tokenizer: EvalTokenizer, batch: list[_Job]) -> None:
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
        next_B = output.logits[:, -1].argmax(-1)
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
