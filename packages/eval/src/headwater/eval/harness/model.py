"""`HeadwaterLM`: lm-eval's model interface over Headwater's scorer and generator."""

import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any, cast

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs

from headwater.core.console import Progress
from headwater.core.errors import EvalError
from headwater.eval.answers import Answers, Kept
from headwater.eval.decoder import Model
from headwater.eval.generation import Generated, Prompt, Sampling, generate
from headwater.eval.reader import Reader
from headwater.eval.scoring import Request, Scored, score, windows
from headwater.eval.tokenizer import EvalTokenizer

_USUAL_TOKENS = 256  # that lm-eval has generated where a task does not say
Bars = Callable[[int, str], AbstractContextManager[Progress]]


class _Silent:
    def advance(self, amount: float = 1, note: str | None = None) -> None:
        """Shows nothing."""


@contextmanager
def _no_bar(total: int, label: str) -> Iterator[Progress]:
    yield _Silent()


class HeadwaterLM(TemplateLM):
    """A causal language model for lm-eval that gives the log-probabilities of lm-eval's own `hf` model.

    What lm-eval only logs is kept here: which items had their prompt truncated, and which generations ran into the
    length limit.

    Args:
        model: A causal language model in evaluation mode.
        tokenizer: Its tokenizer.
        max_length: Longest sequence of the model, in tokens.
        batch_tokens: Most tokens in a forward pass, padding included; by default what suits the device.
        cache_tokens: Most tokens whose keys and values are held at once while texts are generated; by default what
            suits the device.
        max_gen_tokens: Most tokens generated for one item; by default what the task asks for, and lm-eval's 256 where
            it does not say. Never more than half the model's length.
        bars: Opens a progress display for so many requests under a label.
        answers: Where answers are kept and found again; without it nothing is kept.
    """

    def __init__(
        self,
        model: Model | Reader,
        tokenizer: EvalTokenizer,
        *,
        max_length: int,
        batch_tokens: int | None = None,
        cache_tokens: int | None = None,
        max_gen_tokens: int | None = None,
        bars: Bars = _no_bar,
        answers: Answers | None = None,
    ) -> None:
        super().__init__()
        self.reader = model if isinstance(model, Reader) else Reader(model)
        self.model = self.reader.model
        self.text = tokenizer
        self.max_length = max_length
        self.batch_tokens = batch_tokens or self.reader.batch_tokens
        self.cache_tokens = cache_tokens or self.reader.cache_tokens
        self.answers = answers
        self.versions: dict[str, str] = {}
        """Task → its version, a part of what answers are kept under."""
        self.max_gen_tokens = max_gen_tokens
        self.bars = bars
        self.truncated: defaultdict[str, set[int]] = defaultdict(set)
        """Task → items of which at least one prompt was cut."""
        self.cut_short: defaultdict[str, set[int]] = defaultdict(set)
        """Task → items whose generation ended at the length limit, not by itself."""
        # The choices of a question share their context, one after the other: it is encoded once.
        self._encode_context: Callable[[str], tuple[int, ...]] = lru_cache(maxsize=64)(
            lambda text: tuple(tokenizer.encode(text))
        )

    @property
    def eot_token_id(self) -> int:
        """The id of the token that ends a document."""
        return self.text.eot_id

    @property
    def device(self) -> Any:
        """Where the model lies."""
        return self.model.device

    @property
    def tokenizer_name(self) -> str:
        """A name for lm-eval's request cache, which Headwater does not use."""
        return "headwater"

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Token ids of `string`, with the special tokens that the tokenizer begins a text with, unless told not to."""
        return self.text.encode(string, begins=add_special_tokens is not False)

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        stripped = context.rstrip()
        continuation = context[len(stripped) :] + continuation
        head = list(self._encode_context(stripped))
        return head, self.text.encode(stripped + continuation)[len(head) :]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """For each `(context, continuation)`: the log-probability, and whether greedy decoding gives it."""
        asked = [self._request(*instance.args) for instance in requests]
        scored = self._score(asked, _label(requests), self._kept(requests))
        for instance, answer in zip(requests, scored, strict=True):
            self._note(self.truncated, instance, answer.truncated)
        return [(answer.logprob, answer.greedy) for answer in scored]

    def _request(self, context: str, continuation: str) -> Request:
        if context:
            head, tail = self._encode_pair(context, continuation)
        else:
            head, tail = [], self.text.encode(continuation, begins=False)
        if not head:
            begin = self.text.begin_id
            head, tail = ([begin], tail) if tail[:1] != [begin] else (tail[:1], tail[1:])
        if not tail:
            raise EvalError(
                "a task asks for the log-probability of an empty continuation",
                found=f"context {context[-60:]!r}, continuation {continuation!r}",
            )
        return Request(head, tail)

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        scored = self._score([Request(context, continuation) for _, context, continuation in requests], "scoring")
        return [(answer.logprob, answer.greedy) for answer in scored]

    def _score(self, requests: list[Request], label: str, kept: Kept | None = None) -> list[Scored]:
        with self.bars(len(requests), label) as bar:
            return score(
                self.reader,
                requests,
                max_length=self.max_length,
                batch_tokens=self.batch_tokens,
                advance=bar.advance,
                kept=kept,
            )

    def _kept(self, requests: list[Instance]) -> Kept | None:
        if self.answers is None or not requests:
            return None
        asked = hashlib.sha256()
        for instance in requests:
            asked.update(repr((instance.request_type, instance.idx, instance.args)).encode())
        return self.answers.of(
            task=_label(requests),
            version=self.versions.get(_label(requests)),
            requests=asked.hexdigest(),
            sizes=[self.max_length, self.batch_tokens, self.cache_tokens, self.max_gen_tokens],
        )

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """The log-probability of each whole text, in consecutive windows of the model's length."""
        pieces: list[Request] = []
        owners: list[int] = []
        for index, instance in enumerate(requests):
            cut = windows(self.text.encode(instance.args[0]), self.text.begin_id, self.max_length)
            pieces.extend(cut)
            owners.extend([index] * len(cut))
        totals = [0.0] * len(requests)
        for index, answer in zip(owners, self._score(pieces, _label(requests), self._kept(requests)), strict=True):
            totals[index] += answer.logprob
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Continues each context until a stop string, the end of the document or the limit.

        Tokens are drawn where the task says `do_sample: true`, the same ones each time, but others for each of several
        answers to an item: see `generation.Sampling`.
        """
        prompts: list[Prompt] = []
        # Where a task wants several answers to an item (`repeats`), lm-eval asks for the same one again and again.
        before: Counter[tuple[int | None, int]] = Counter()
        for instance in requests:
            context, settings = cast("tuple[str, dict[str, Any]]", instance.args)
            item = instance.doc_id, instance.idx
            prompts.append(self._prompt(context, settings, before[item]))
            before[item] += 1
        with self.bars(len(prompts), _label(requests)) as bar:
            answers: list[Generated] = generate(
                self.reader,
                self.text,
                prompts,
                max_length=self.max_length,
                batch_tokens=self.batch_tokens,
                cache_tokens=self.cache_tokens,
                advance=bar.advance,
                kept=self._kept(requests),
            )
        for instance, answer in zip(requests, answers, strict=True):
            self._note(self.truncated, instance, answer.truncated)
            self._note(self.cut_short, instance, not answer.finished)
        return [answer.text for answer in answers]

    def _prompt(self, context: str, settings: dict[str, Any], number: int) -> Prompt:
        kwargs: dict[str, Any] = dict(normalize_gen_kwargs(settings, _USUAL_TOKENS))
        temperature = float(kwargs.get("temperature") or 0.0)
        sampling = None
        if kwargs.get("do_sample") and temperature > 0:
            sampling = Sampling(temperature, float(kwargs.get("top_p") or 1.0), int(kwargs.get("top_k") or 0))
        stops: Any = kwargs.get("until") or []
        stops = [stops] if isinstance(stops, str) else list(stops)
        limit = min(int(kwargs["max_gen_toks"]), self.max_gen_tokens or sys.maxsize)
        tokens = self.text.encode(context) or [self.text.begin_id]
        return Prompt(tokens, limit, tuple(stop for stop in stops if stop), sampling, number if sampling else 0)

    @staticmethod
    def _note(where: defaultdict[str, set[int]], instance: Instance, applies: bool) -> None:
        if applies and instance.task_name is not None and instance.doc_id is not None:
            where[instance.task_name].add(instance.doc_id)


register_model("headwater")(HeadwaterLM)


def _label(requests: list[Instance]) -> str:
    return (requests[0].task_name or "scoring") if requests else "scoring"
