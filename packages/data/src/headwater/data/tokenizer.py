"""`headwater data tokenizer`: byte-level BPE (Sennrich et al., ACL 2016; bytes as in GPT-2) by Hugging Face tokenizers.

Training is deterministic: the library counts words in parallel but breaks ties between merges by token ids, and the
words reach it in the order of the documents.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from headwater.core.config import nearest
from headwater.core.console import progress
from headwater.core.errors import ConfigError, DataError
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, parent_of, read_manifest
from headwater.core.storage import atomic_write, storage_errors
from headwater.core.tokens import END_OF_TEXT
from headwater.data import PRODUCER
from headwater.data.config import TokenizerConfig
from headwater.data.outcome import Outcome

PAD = "<|pad|>"
SPECIAL_TOKENS = (END_OF_TEXT, PAD)  # their ids are 0 and 1
_BATCH = 256


def make_tokenizer(layout: RunLayout, config: TokenizerConfig) -> Outcome:
    """Makes RUN/tokenizer from RUN/documents.

    Raises:
        ConfigError: The section names a source that the documents do not have.
        DataError: No document to train on.
        ManifestError: The documents are missing or half-written.
    """
    parents = [parent_of(layout.tokenizer, layout.documents, "documents")]
    sources = list(read_manifest(layout.documents).counters["sources"])
    _check_sources(config, sources)
    writer = ArtifactWriter(layout.tokenizer, kind="tokenizer", name="tokenizer", producer=PRODUCER,
                            config=config.model_dump(mode="json"), parents=parents)  # fmt: skip
    finished = writer.up_to_date()
    if finished is not None:
        return Outcome(finished, False, finished.counters)
    writer.begin()
    texts = {source: sample(layout.documents, source, "train", config.bytes_for(source)) for source in sources}
    tokenizer = train([text for mine in texts.values() for text in mine], config)
    atomic_write(layout.tokenizer / "tokenizer.json", tokenizer.to_str(pretty=False))
    atomic_write(layout.tokenizer / "tokenizer_config.json", json.dumps(_transformers_config(), indent=1) + "\n")
    result = {
        "vocab_size": tokenizer.get_vocab_size(),
        "sample_bytes": {source: sum(len(text.encode()) for text in mine) for source, mine in texts.items()},
        "bytes_per_token": {source: _bytes_per_token(tokenizer, layout.documents, source) for source in sources},
    }
    return Outcome(writer.commit(result), True, result)


def _check_sources(config: TokenizerConfig, sources: list[str]) -> None:
    named = config.sample_bytes if isinstance(config.sample_bytes, dict) else {}
    for name in named:
        if name not in sources:
            near = nearest(name, sources)
            raise ConfigError(
                f"tokenizer.sample_bytes names {name}, which is no source of the documents",
                expected=f"one of: {', '.join(sources)}", hint=f"did you mean {near}?" if near else None,
            )  # fmt: skip


def train(texts: list[str], config: TokenizerConfig) -> Any:
    """Trains a tokenizer on texts, in their order.

    Raises:
        DataError: The texts are too few for the vocabulary.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size, min_frequency=config.min_frequency, special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False,
    )  # fmt: skip
    with progress(len(texts), "tokenizer") as shown:

        def batches() -> Iterator[list[str]]:
            for start in range(0, len(texts), _BATCH):
                yield texts[start : start + _BATCH]
                shown.advance(min(_BATCH, len(texts) - start))

        tokenizer.train_from_iterator(batches(), trainer=trainer)
    found = tokenizer.get_vocab_size()
    if found < config.vocab_size:
        raise DataError(
            "the sample is too small for the vocabulary",
            found=f"{found:,} entries",
            expected=f"{config.vocab_size:,} (tokenizer.vocab_size)",
            hint="raise tokenizer.sample_bytes, collect more, or set a smaller tokenizer.vocab_size",
        )
    return tokenizer


def sample(documents: Path, source: str, split: str, limit: int) -> list[str]:
    """Texts of one source and split, in the order of their ids (hashes: an even sample), up to `limit` UTF-8 bytes."""
    texts: list[str] = []
    taken = 0
    wanted: Any = [("source", "=", source), ("split", "=", split)]
    with storage_errors("read", documents):
        for path in sorted(documents.glob("part-*.parquet")):
            rows = pq.read_table(path, columns=["text", "text_bytes"], filters=wanted)
            for text, size in zip(*(rows.column(name).to_pylist() for name in ("text", "text_bytes")), strict=True):
                if taken >= limit:
                    return texts
                texts.append(text)
                taken += size
    return texts


def _bytes_per_token(tokenizer: Any, documents: Path, source: str) -> float:
    """On up to 200 kB of held-out documents, or of training documents when none are held out."""
    texts = sample(documents, source, "validation", 200_000) or sample(documents, source, "train", 200_000)
    tokens = sum(len(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts))
    return round(sum(len(text.encode()) for text in texts) / max(tokens, 1), 3)


def _transformers_config() -> dict[str, Any]:
    """What `transformers.AutoTokenizer` needs beside tokenizer.json."""
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    special = {str(number): {"content": token, **flags} for number, token in enumerate(SPECIAL_TOKENS)}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": special,
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000_000,
    }
