"""Byte-level BPE (Sennrich et al., ACL 2016; bytes as in GPT-2).

Two libraries learn the merges. gigatoken is several times faster and gives the same merges as Hugging Face tokenizers
in the cases that it covers; everything else, and a sample in which its last merge is rarer than asked for, goes to
Hugging Face tokenizers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headwater.core.errors import ConfigError
from headwater.data.tokens.config import TokenizerConfig
from headwater.data.tokens.sample import SEPARATOR, read_sample

# The patterns as the models' own tokenizer files have them.
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
Merge = tuple[str, str]


def train_bpe(sample: Path, config: TokenizerConfig) -> Any:
    """Trains a tokenizer.

    Args:
        sample: A file of `tokens.sample.write_sample`.
        config: The section.

    Returns:
        A `tokenizers.Tokenizer`; it has fewer entries than asked for when the sample is too small.
    """
    wanted = config.vocab_size - len(config.specials) - 256
    merges = fast_merges(sample, wanted, config) or reference_merges(read_sample(sample), wanted, config)
    return assemble(merges, config)


def reference_merges(texts: Iterable[str], count: int, config: TokenizerConfig) -> list[Merge]:
    """Up to `count` merges by Hugging Face tokenizers. It breaks ties by token ids, so its threads change nothing."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer(config.split)
    trainer = trainers.BpeTrainer(
        vocab_size=256 + max(count, 0), min_frequency=config.min_frequency, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train_from_iterator(_batches(texts), trainer=trainer)
    return merges_of(tokenizer)


def fast_merges(path: Path, count: int, config: TokenizerConfig) -> list[Merge] | None:
    """The same merges by gigatoken; none if it is not installed or does not cover the case."""
    if config.split != "gpt2" or count < 1:
        return None
    try:
        from gigatoken import TextFileSource, Tokenizer
        from gigatoken.gigatoken_rs import train_bpe as learn
    except ImportError:
        return None
    with _silence():
        source = TextFileSource([str(path)], separator=SEPARATOR)
        try:
            vocab, merges = learn(source, 256 + count, [])
        except Exception:
            return None
        if len(vocab) != 256 + count or len(merges) != count:
            return None
        spelling = _spelling()
        named = [(_spell(left, spelling), _spell(right, spelling)) for left, right in merges]
        # It has no least frequency. Merges come by falling frequency, so it is enough to count the last.
        plain = config.model_copy(update={"special_tokens": (), "chat_tokens": ()})
        tokenizer = assemble(named, plain)
        last = tokenizer.token_to_id("".join(named[-1]))
        encoded: Any = Tokenizer.from_json(tokenizer.to_str()).encode_files(source)
        found = int((encoded.layout.content.data == last).sum())
    return named if found >= config.min_frequency else None


def assemble(merges: Sequence[Merge], config: TokenizerConfig) -> Any:
    """The tokenizer with these merges: special tokens first or last, the 256 bytes, then one entry a merge.

    Raises:
        ConfigError: A special token is also an ordinary entry.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    ordinary = dict.fromkeys([*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(merge) for merge in merges)])
    for name in config.specials:
        if name in ordinary:
            raise ConfigError(f"the special token {name} is also an ordinary token", hint="choose another name")
    names = [*config.specials, *ordinary] if config.special_ids == "first" else [*ordinary, *config.specials]
    tokenizer = Tokenizer(models.BPE({name: place for place, name in enumerate(names)}, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizer(config.split)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in config.specials])
    return tokenizer


def pre_tokenizer(split: str) -> Any:
    """How text is cut before merging."""
    from tokenizers import Regex, pre_tokenizers

    if split == "gpt2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CL100K), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def merges_of(tokenizer: Any) -> list[Merge]:
    """A tokenizer's merges, in their order."""
    import json

    return [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]


def _batches(texts: Iterable[str], size: int = 256) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == size:
            yield batch
            batch = []
    yield batch


def _spelling() -> list[str]:
    """Byte → the printable character that stands for it in vocabulary files (Radford et al. 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _spell(token: bytes, spelling: Sequence[str]) -> str:
    return "".join(spelling[byte] for byte in token)


@contextmanager
def _silence() -> Generator[None]:
    """Keeps both streams clean: gigatoken writes notes to them, below Python, and stdout is for results."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            os.dup2(nowhere, number)
        yield
    finally:
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)
