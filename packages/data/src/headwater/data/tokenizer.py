"""`headwater data tokenizer`: trains a tokenizer on a sample of the documents, and says how well it fits them.

Training is deterministic: the sample is the first documents of each source in the order of their ids, and the result
depends neither on threads nor on which library learnt the merges (see `tokens.bpe`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from headwater.core.config import nearest
from headwater.core.console import progress
from headwater.core.errors import ConfigError, DataError, ManifestError
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, changed_files, parent_of, read_manifest
from headwater.core.storage import atomic_write
from headwater.core.tokens import CHAT_TOKENS, END_OF_TEXT, PAD, UNKNOWN
from headwater.data import PRODUCER
from headwater.data.conversations.chatml import TEMPLATE
from headwater.data.outcome import Outcome
from headwater.data.tokens.bpe import train_bpe
from headwater.data.tokens.characters import train_characters
from headwater.data.tokens.config import TokenizerConfig
from headwater.data.tokens.peers import peers
from headwater.data.tokens.report import REPORT, HuggingFace, held_out, measure
from headwater.data.tokens.sample import Sampled, read_sample, stream, write_sample
from headwater.data.tokens.unigram import train_unigram
from headwater.data.tokens.wordpiece import train_wordpiece


def make_tokenizer(layout: RunLayout, config: TokenizerConfig) -> Outcome:
    """Makes RUN/tokenizer from RUN/documents.

    Raises:
        ConfigError: The section names a source that the documents do not have.
        DataError: No document to train on, or too few for the vocabulary.
        ManifestError: The documents are missing or half-written, or no tokenizer was imported.
    """
    if config.kind == "imported":
        return _imported(layout)
    parents = [parent_of(layout.tokenizer, layout.documents, "documents")]
    sources = list(read_manifest(layout.documents).counters["sources"])
    _check_sources(config, sources)
    writer = ArtifactWriter(layout.tokenizer, kind="tokenizer", name="tokenizer", producer=PRODUCER,
                            config=config.model_dump(mode="json"), parents=parents)  # fmt: skip
    finished = writer.up_to_date()
    if finished is not None:
        return Outcome(finished, False, finished.counters)
    path = writer.begin() / "sample.txt"
    quotas = config.quotas(sources)
    taken = write_sample(path, _shown(stream(layout.documents, "train", quotas), sum(quotas.values())))
    files = train(path, config)
    for name, content in files.items():
        atomic_write(layout.tokenizer / name, content)
    documents = held_out(layout.documents, sources)
    own = measure(HuggingFace(layout.tokenizer / "tokenizer.json"), documents)
    result = {
        "kind": config.kind, "vocab_size": own["vocab_size"], "vocab_used_ratio": own["vocab_used_ratio"],
        "one_piece_ratio": own["all"]["one_piece_ratio"],
        "sample_bytes": {source: taken.get(source, 0) for source in sources},
        "bytes_per_token": {s: own["by_source"].get(s, {}).get("bytes_per_token", 0.0) for s in sources},
    }  # fmt: skip
    report = {"headwater": own, **_peers(documents)}
    atomic_write(layout.tokenizer / REPORT, json.dumps(report, indent=1, sort_keys=True) + "\n")
    # Which other tokenizers a machine has is no part of what was made.
    return Outcome(writer.commit(result, volatile=[layout.tokenizer / REPORT]), True, result)


def _imported(layout: RunLayout) -> Outcome:
    """The tokenizer that is there, which an import has put there."""
    manifest = read_manifest(layout.tokenizer)
    if manifest.config.get("kind") != "imported":
        raise ManifestError(
            f"{layout.tokenizer} was not imported, and the recipe says tokenizer.kind: imported",
            found=manifest.producer, hint=f"run: headwater import hf FOLDER --run {layout.root}",
        )  # fmt: skip
    if changed := changed_files(layout.tokenizer):
        raise ManifestError(f"{layout.tokenizer / changed[0]} is missing or was changed after it was written",
                            hint="import it again")  # fmt: skip
    return Outcome(manifest, False, manifest.counters)


def compare(layout: RunLayout, files: Sequence[Path]) -> dict[str, Any]:
    """The report of RUN/tokenizer beside other `tokenizer.json` files, on the same held-out text.

    Raises:
        ConfigError: A file is no tokenizer.
        ManifestError: The tokenizer or the documents are missing.
    """
    read_manifest(layout.tokenizer)
    documents = held_out(layout.documents, list(read_manifest(layout.documents).counters["sources"]))
    found = {"headwater": measure(HuggingFace(layout.tokenizer / "tokenizer.json"), documents), **_peers(documents)}
    for file in files:
        path = file / "tokenizer.json" if file.is_dir() else file
        try:
            other = HuggingFace(path)
        except Exception as error:  # the library raises bare exceptions
            raise ConfigError(
                f"--compare {file} is no tokenizer", found=str(error),
                expected="a tokenizer.json of Hugging Face tokenizers, or its folder",
            ) from error  # fmt: skip
        found[str(file)] = measure(other, documents)
    return found


def _peers(documents: Sequence[Sampled]) -> dict[str, Any]:
    return {name: peer if isinstance(peer, str) else measure(peer, documents) for name, peer in peers().items()}


def _check_sources(config: TokenizerConfig, sources: list[str]) -> None:
    named = {
        "sample_bytes": config.sample_bytes if isinstance(config.sample_bytes, dict) else {},
        "sample_weights": config.sample_weights or {},
    }
    for key, names in named.items():
        for name in names:
            if name not in sources:
                near = nearest(name, sources)
                raise ConfigError(
                    f"tokenizer.{key} names {name}, which is no source of the documents",
                    expected=f"one of: {', '.join(sources)}", hint=f"did you mean {near}?" if near else None,
                )  # fmt: skip


def train(sample: Path, config: TokenizerConfig) -> dict[str, str | bytes]:
    """Trains a tokenizer on a sample file.

    Returns:
        File name → content.

    Raises:
        DataError: The sample and the vocabulary do not fit.
    """
    files: dict[str, str | bytes] = {}
    if config.kind == "bpe":
        tokenizer = train_bpe(sample, config)
    elif config.kind == "wordpiece":
        tokenizer = train_wordpiece(lambda: read_sample(sample), config)
    elif config.kind == "char":
        tokenizer = train_characters(read_sample(sample), config)
    else:
        tokenizer, files["tokenizer.model"] = train_unigram(read_sample(sample), config)
    found = tokenizer.get_vocab_size()
    if found > config.vocab_size or (found < config.vocab_size and config.kind != "char"):
        small = found < config.vocab_size
        raise DataError(
            f"the sample {'is too small for' if small else 'has too many characters for'} the vocabulary",
            found=f"{found:,} entries", expected=f"{config.vocab_size:,} (tokenizer.vocab_size)",
            hint="raise tokenizer.sample_bytes, collect more, or set a smaller tokenizer.vocab_size"
            if small else "set a larger tokenizer.vocab_size, or take kind: bpe",
        )  # fmt: skip
    files["tokenizer.json"] = tokenizer.to_str(pretty=False)
    files["tokenizer_config.json"] = json.dumps(_transformers_config(tokenizer, config), indent=1) + "\n"
    return files


def _shown(documents: Iterator[Sampled], total: int) -> Iterator[Sampled]:
    with progress(total, "tokenizer", unit="bytes") as shown:
        for document in documents:
            yield document
            shown.advance(document.text_bytes)


def _transformers_config(tokenizer: Any, config: TokenizerConfig) -> dict[str, Any]:
    """What `transformers.AutoTokenizer` needs beside tokenizer.json."""
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    names = config.specials
    roles = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": PAD, "unk_token": UNKNOWN}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": {str(tokenizer.token_to_id(name)): {"content": name, **flags} for name in names},
        **{role: name for role, name in roles.items() if name in names},
        **({"additional_special_tokens": list(config.chat_tokens)} if config.chat_tokens else {}),
        **({"chat_template": TEMPLATE} if set(CHAT_TOKENS) <= set(config.chat_tokens) else {}),
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000_000,
    }
