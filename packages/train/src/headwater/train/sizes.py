"""Model shapes by one dial: `--size 25m … 405b`.

A size that its makers published has their shape. Others follow the proportions of those: the width is 64 times the
depth at 125 million parameters and grows to 128 times at 7 billion; the hidden layer is 8/3 of the width
(Shazeer, 2020, arXiv:2002.05202), 4 times without a gate, and another multiple where that would miss the size by more
than 4%.
"""

from __future__ import annotations

import math
import re
from typing import Any

from headwater.core.config import nearest
from headwater.core.errors import ConfigError
from headwater.core.run import Experts, LatentAttention, ModelShape
from headwater.train.plan.counts import counts

FAMILIES = ("llama3", "qwen3", "deepseek_v3", "gpt2")

UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}

SMALLEST, LARGEST = 1e6, 2e12

VOCABULARY = {"llama3": 128_256, "qwen3": 151_936, "deepseek_v3": 129_280, "gpt2": 50_304}
SMALL_VOCABULARY, SMALL_BELOW = 32_768, 8e8
"""Entries of the vocabulary that a model below this many parameters is given: a larger one would be most of it."""


def _llama(dim: int, layers: int, heads: int, ffn: int, tied: bool = False) -> dict[str, Any]:
    return {"dim": dim, "n_layers": layers, "n_heads": heads, "n_kv_heads": 8, "ffn_dim": ffn, "tied": tied,
            "rope_theta": 5e5}  # fmt: skip


def _qwen(dim: int, layers: int, heads: int, ffn: int, tied: bool = False) -> dict[str, Any]:
    return {**_llama(dim, layers, heads, ffn, tied), "head_dim": 128, "rope_theta": 1e6, "norm_eps": 1e-6}


def _deepseek(dim: int, layers: int, heads: int, ffn: int, vocab: int, q_rank: int, experts: Experts) -> dict[str, Any]:
    latent = LatentAttention(kv_rank=512, q_rank=q_rank, nope_dim=128, rope_dim=64, value_dim=128)
    return {"dim": dim, "n_layers": layers, "n_heads": heads, "n_kv_heads": heads, "ffn_dim": ffn, "vocab_size": vocab,
            "experts": experts, "latent": latent}  # fmt: skip


PUBLISHED: dict[str, dict[str, dict[str, Any]]] = {
    "llama3": {
        "1b": _llama(2048, 16, 32, 8192, True), "3b": _llama(3072, 28, 24, 8192, True),
        "8b": _llama(4096, 32, 32, 14336), "70b": _llama(8192, 80, 64, 28672),
        "405b": _llama(16384, 126, 128, 53248),
    },
    "qwen3": {
        "600m": _qwen(1024, 28, 16, 3072, True), "1.7b": _qwen(2048, 28, 16, 6144, True),
        "4b": _qwen(2560, 36, 32, 9728, True), "8b": _qwen(4096, 36, 32, 12288), "14b": _qwen(5120, 40, 40, 17408),
        "32b": _qwen(5120, 64, 64, 25600),
    },
    "deepseek_v3": {
        "16b": _deepseek(2048, 27, 16, 10944, 102_400, 0,
                         Experts(count=64, top_k=6, shared=2, ffn_dim=1408, dense_layers=1)),
        "236b": _deepseek(5120, 60, 128, 12288, 102_400, 1536,
                          Experts(count=160, top_k=6, shared=2, ffn_dim=1536, dense_layers=1)),
        "671b": _deepseek(7168, 61, 128, 18432, 129_280, 1536,
                          Experts(count=256, top_k=8, shared=1, ffn_dim=2048, dense_layers=3)),
    },
    "gpt2": {},
}  # fmt: skip
"""Shapes as torchtitan 0.3.0 has them, by family and size."""

_OFF = 0.04
"""A shape that is further from its size is given another hidden layer."""

TIED_BELOW = 5e9
"""Head and embedding are shared below this many parameters, as in Llama 3.2 and Qwen 3."""

LADDER = ("25m", "50m", "125m", "350m", "760m", "1b", "3b", "8b", "13b", "30b", "70b", "130b", "200b", "405b")
"""Sizes that `--fit model` goes through."""


def parse_number(text: str, what: str, example: str) -> float:
    """A number with a unit: `2T`, `500b`, `1e9`.

    Args:
        text: What was given.
        what: The option, for the message.
        example: A right value, for the message.

    Raises:
        ConfigError: It is no positive finite number with one of the units k, m, b, t.
    """
    match = re.fullmatch(r"\s*([0-9][0-9_,]*\.?[0-9]*(?:e[+]?[0-9]{1,2})?)\s*([kmbt]?)\s*", text.lower())
    if match is None:
        raise ConfigError(f"cannot read {what}", found=repr(text),
                          expected=f"a number, with k, m, b or t for thousand to trillion: {example}")  # fmt: skip
    value = float(match[1].replace("_", "").replace(",", "")) * UNITS.get(match[2], 1.0)
    if not 0 < value < 1e30:
        raise ConfigError(f"{what} is out of range", found=repr(text), expected=f"a positive number, like {example}")
    return value


def values_of(size: str, family: str, vocab_size: int | None = None) -> dict[str, Any]:
    """The keys of `train.model` that a size sets.

    Args:
        size: Number of parameters, as `8b`.
        family: One of `FAMILIES`.
        vocab_size: Entries of the vocabulary; default: the family's, and 32,768 below 0.8 billion parameters.

    Raises:
        ConfigError: No such size, or none of that family.
    """
    number = parse_number(size, "the size", "8b, 350m")
    if not SMALLEST <= number <= LARGEST:
        raise ConfigError("the size is out of range", found=size, expected="1m to 2t parameters")
    known = PUBLISHED[family]
    vocab = vocab_size or (VOCABULARY[family] if number >= SMALL_BELOW else SMALL_VOCABULARY)
    for name, values in known.items():
        if parse_number(name, "the size", name) == number:
            return {"vocab_size": vocab, **values}
    if family == "deepseek_v3":
        near = nearest(size, known)
        raise ConfigError(f"family deepseek_v3 has no size {size}", expected=f"one of: {', '.join(known)}",
                          hint=f"did you mean {near}?" if near else None)  # fmt: skip
    found = _candidates(number, family, vocab)
    best = min(found, key=lambda values: _distance(values, family, number))
    if abs(math.log(_total(best, family) / number)) > _OFF:
        fitted = [values for each in found if (values := _fitted(each, family, number)) is not None]
        best = min([*found, *fitted], key=lambda values: _distance(values, family, number))
    return best


def _candidates(number: float, family: str, vocab: int) -> list[dict[str, Any]]:
    aspect = _aspect(number)
    step = 128 if number < 2e8 else 256 if number < 8e8 else 1024  # heads that tensor parallelism can share out
    width = (number * aspect / 12) ** (1 / 3)
    found: list[dict[str, Any]] = []
    for dim in range(max(step, int(width * 0.4) // step * step), int(width * 1.5) + step, step):
        head = 64 if dim < 2048 else 128
        if dim % head:
            continue
        heads = dim // head
        keys = 8 if heads % 8 == 0 and heads > 8 else max(k for k in (4, 2, 1) if heads % k == 0 and k <= heads)
        for layers in range(max(1, int(dim / aspect * 0.6)), int(dim / aspect * 1.6) + 3):
            if layers > 8 and layers % 4:
                continue
            found.append({
                "dim": dim, "n_layers": layers, "n_heads": heads, "n_kv_heads": keys, "ffn_dim": _hidden(dim, family),
                "vocab_size": vocab, "tied": family == "gpt2" or number < TIED_BELOW,
                "rope_theta": 1e4 if number < SMALL_BELOW else 5e5,
            })  # fmt: skip
    return found


def _hidden(dim: int, family: str) -> int:
    """The usual width of the hidden layer."""
    if family == "gpt2":
        return 4 * dim
    multiple = _multiple(dim)
    return -(-8 * dim // 3 // multiple) * multiple


def _multiple(dim: int) -> int:
    return 64 if dim < 1024 else 256


def _fitted(values: dict[str, Any], family: str, number: float) -> dict[str, Any] | None:
    """The same with the hidden layer that meets a size best; none where that would be far from the usual one."""
    usual, multiple = values["ffn_dim"], _multiple(values["dim"])
    a_unit = (_total({**values, "ffn_dim": usual + multiple}, family) - _total(values, family)) / multiple
    wanted = usual + (number - _total(values, family)) / a_unit
    hidden = round(wanted / multiple) * multiple
    return {**values, "ffn_dim": hidden} if usual * 0.7 <= hidden <= usual * 1.4 else None


def _total(values: dict[str, Any], family: str) -> int:
    given = {"norm_eps": 1e-5, **values, "family": family, "max_seq_len": 1024}
    return counts(ModelShape.model_validate(given)).total


def _distance(values: dict[str, Any], family: str, number: float) -> float:
    """How far a shape is off: ten times as bad in parameters as in proportion."""
    aspect = math.log(values["dim"] / values["n_layers"] / _aspect(number))
    hidden = math.log(values["ffn_dim"] / _hidden(values["dim"], family))
    return 10 * abs(math.log(_total(values, family) / number)) + abs(aspect) + abs(hidden)


def _aspect(number: float) -> float:
    return min(128.0, max(32.0, 64 * (number / 125e6) ** (math.log(2) / math.log(7e9 / 125e6))))
