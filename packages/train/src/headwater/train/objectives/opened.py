"""From `train.objective` to an objective: the names of its special tokens become ids of the run's tokenizer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from headwater.core.errors import ConfigError
from headwater.core.tokenizer import Vocabulary
from headwater.core.tokens import MASK, MIDDLE_TOKENS, MODE_TOKENS, SENTINEL
from headwater.train.objectives import config as kinds
from headwater.train.objectives.causal import Causal
from headwater.train.objectives.denoisers import Denoisers
from headwater.train.objectives.examples import Objective
from headwater.train.objectives.masked import Masked
from headwater.train.objectives.middle import Middle, MiddleTokens
from headwater.train.objectives.mixture import Mixture
from headwater.train.objectives.prefix import Prefix
from headwater.train.objectives.replaced import Replaced
from headwater.train.objectives.spans import Spans, SpanTokens

_SPECIAL = re.compile(r"<\|[^|\s]+\|>|</?s>|<eos>|<unk>|<pad>")


def open_objective(config: kinds.Kinds, vocabulary: Vocabulary, seed: int, seq_len: int) -> Objective:
    """The objective of a run.

    Args:
        config: The section.
        vocabulary: The tokenizer's.
        seed: The run's seed.
        seq_len: Tokens in a sample.

    Raises:
        ConfigError: The tokenizer lacks tokens that the objective needs.
    """
    match config:
        case kinds.MaskedLM():
            return _masked(config, vocabulary, seed)
        case kinds.CausalAndMasked():
            return Mixture(_masked(config.masked_lm, vocabulary, seed), config.causal_ratio)
        case kinds.PrefixLM():
            return Prefix(seed)
        case kinds.FillInTheMiddle():
            prefix, suffix, middle = _ids(config.kind, MIDDLE_TOKENS, vocabulary)
            tokens = MiddleTokens(prefix, suffix, middle, vocabulary.end_id)
            return Middle(seed, tokens, config.rate, config.spm_rate)
        case kinds.SpanCorruption():
            return Spans(
                seed, _span_tokens(config.kind, vocabulary), density=config.density, mean_length=config.mean_length,
                longest=seq_len,
            )  # fmt: skip
        case kinds.MixtureOfDenoisers():
            regular, sequential, extreme = _ids(config.kind, MODE_TOKENS, vocabulary)
            return Denoisers(seed, _span_tokens(config.kind, vocabulary), (regular, sequential, extreme), seq_len)
        case kinds.ReplacedToken():
            (mask,) = _ids(config.kind, (MASK,), vocabulary)
            return Replaced(
                seed, mask=mask, special=_special(vocabulary), vocab_size=vocabulary.size, ratio=config.ratio,
                masked=1.0, replaced=0.0,
            )  # fmt: skip
        case kinds.Causal() | kinds.MultiToken():
            return Causal(seed)


def _masked(config: kinds.MaskedLM, vocabulary: Vocabulary, seed: int) -> Masked:
    (mask,) = _ids(config.kind, (MASK,), vocabulary)
    return Masked(
        seed, mask=mask, special=_special(vocabulary), vocab_size=vocabulary.size, ratio=config.ratio,
        masked=config.masked, replaced=config.replaced,
    )  # fmt: skip


def _special(vocabulary: Vocabulary) -> frozenset[int]:
    named = {number for name, number in vocabulary.ids.items() if _SPECIAL.fullmatch(name)}
    return frozenset({*named, vocabulary.end_id})


def _span_tokens(kind: str, vocabulary: Vocabulary) -> SpanTokens:
    found: list[int] = []
    while (number := vocabulary.ids.get(SENTINEL.format(len(found)))) is not None:
        found.append(number)
    if not found:
        _refuse(kind, [SENTINEL.format(0), "and so on"])
    return SpanTokens(tuple(found), vocabulary.end_id)


def _ids(kind: str, names: Sequence[str], vocabulary: Vocabulary) -> list[int]:
    if missing := [name for name in names if name not in vocabulary.ids]:
        _refuse(kind, missing)
    return [vocabulary.ids[name] for name in names]


def _refuse(kind: str, missing: Sequence[str]) -> None:
    raise ConfigError(
        f"train.objective {kind} needs special tokens that the tokenizer does not have",
        found=", ".join(missing),
        hint="name them in tokenizer.special_tokens, and make the tokenizer and the tokens again",
    )
