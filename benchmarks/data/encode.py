"""Encoding against the packaged tokenizers: CPU seconds on the same texts, in one thread, and whose tokens are exact.

    python benchmarks/data/encode.py --corpus FOLDER [--limit 8000] [--slow-limit 1000] [--repeats 5] [--json FILE]

A byte-level BPE of 32,000 entries with GPT-2's split (`--split cl100k`: GPT-4's) is learnt from the texts. Ours is what
`headwater data tokenize` runs on each slice: from a column of text to the bytes of a token file, with every check. The
peers go from what their own interface takes to token ids, and no further; gigatoken runs on lists of strings, as it is
used, and on Arrow's buffers, as ours calls it. A ratio is the peer's CPU seconds over ours: above 1, ours is faster.
Exact is the share of `--slow-limit` documents with the very tokens of Hugging Face tokenizers; ours is on all of them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ["RAYON_NUM_THREADS"] = "1"  # before any of the libraries starts its threads
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import corpus
import numpy as np
import paired
import pyarrow as pa

from headwater.data.tokenizer import train
from headwater.data.tokens.bpe import CL100K, _spelling
from headwater.data.tokens.config import TokenizerConfig
from headwater.data.tokens.encoder import Fast, Reference
from headwater.data.tokens.exact import Exact
from headwater.data.tokens.sample import Sampled, write_sample
from headwater.data.tokens.slices import CALL_BYTES, _encode

GPT2 = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
Encode = Callable[[dict[str, Any]], Iterable[Any]]


def peers(path: Path, split: str) -> dict[str, Encode]:
    """Name → the ids of a piece's documents."""
    found: dict[str, Encode] = {}
    content = json.loads(path.read_bytes())
    fast = Fast(path)
    found["gigatoken 0.10 (list of str)"] = lambda piece: fast._tokenizer.encode_batch(piece["texts"], parallel=False)
    found["gigatoken 0.10 (Arrow buffers)"] = lambda piece: fast.encode(piece["column"])
    try:
        import gigatok

        early = gigatok.Tokenizer.from_json(json.dumps({**content, "added_tokens": []}))
        found["gigatok 0.2.0"] = lambda piece: early.encode_batch(piece["texts"])
    except ImportError:
        print("gigatok is not installed: left out")
    try:
        import tiktoken

        letters = {letter: byte for byte, letter in enumerate(_spelling())}
        special = {token["content"] for token in content["added_tokens"]}
        ranks = {bytes(map(letters.__getitem__, name)): number
                 for name, number in content["model"]["vocab"].items() if name not in special}  # fmt: skip
        pattern = GPT2 if split == "gpt2" else CL100K
        theirs = tiktoken.Encoding("bench", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        found["tiktoken"] = lambda piece: [theirs.encode_ordinary(text) for text in piece["texts"]]
    except ImportError:
        print("tiktoken is not installed: left out")
    try:
        import kitoken

        other = kitoken.Kitoken.from_tokenizers_file(str(path))
        found["kitoken"] = lambda piece: other.encode_all(piece["texts"])
    except ImportError:
        print("kitoken is not installed: left out")
    return found


def piece_of(texts: list[str]) -> dict[str, Any]:
    column = pa.array(texts, pa.string())
    ids = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
    return {"texts": texts, "column": column, "rows": pa.table({"id": ids, "text": column})}


def parts_of(texts: list[str]) -> Iterable[list[str]]:
    """As many texts at a time as `headwater data tokenize` encodes."""
    part: list[str] = []
    for text in texts:
        part.append(text)
        if sum(map(len, part)) >= CALL_BYTES:
            yield part
            part = []
    if part:
        yield part


def ids_of(name: str, encode: Encode, piece: dict[str, Any]) -> list[list[int]]:
    found: Any = encode(piece)
    if "Arrow" in name:
        return [each.tolist() for each in np.split(found.flat, found.offsets[1:-1])]
    return [np.asarray(each).tolist() for each in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("corpus"))
    parser.add_argument("--limit", type=int, default=8000)
    parser.add_argument("--slow-limit", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--split", choices=("gpt2", "cl100k"), default="gpt2")
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    texts = [
        text for batch in corpus.batches(options.corpus, options.limit) for text in batch.column("text").to_pylist()
    ]
    print(f"{len(texts):,} documents, {sum(len(text.encode()) for text in texts) / 1e6:,.0f} MB")
    with tempfile.TemporaryDirectory() as folder:
        sample, path = Path(folder) / "sample.txt", Path(folder) / "tokenizer.json"
        write_sample(sample, [Sampled("web", "en", text, 0) for text in texts])
        config = TokenizerConfig(vocab_size=options.vocab_size, split=options.split)
        path.write_text(str(train(sample, config)["tokenizer.json"]))
        reference = Reference(path)
        exact = Exact(Fast(path), reference)
        others = peers(path, options.split)
    pieces = [piece_of(part) for part in parts_of(texts)]

    def ours(piece: dict[str, Any]) -> None:
        found = _encode(piece["rows"], exact, reference)
        assert not isinstance(found, str), found

    contenders: dict[str, Any] = {"ours": ours}
    for name, encode in others.items():
        contenders[name] = lambda piece, encode=encode: (encode(piece), None)[1]
    rows = paired.ratios(paired.measure(contenders, pieces, options.repeats), "ours")
    few = [
        piece_of(texts[start : start + 50])
        for start in range(0, len(texts), max(50, 50 * len(texts) // options.slow_limit))
    ]
    slow = {
        "ours": ours,
        "tokenizers (encode_batch)": lambda piece: (reference.tokenizer.encode_batch(piece["texts"]), None)[1],
        "tokenizers (encode_batch_fast)": lambda piece: (reference.tokenizer.encode_batch_fast(piece["texts"]), None)[
            1
        ],
    }
    rows += paired.ratios(paired.measure(slow, few, max(1, options.repeats // 2)), "ours")
    right = [[each.ids for each in reference.tokenizer.encode_batch_fast(piece["texts"])] for piece in few]
    mine = [exact.encode(piece["column"]) for piece in few]
    shares = {"ours": share([[each.tolist() for each in np.split(i.flat, i.offsets[1:-1])] for i in mine], right)}
    shares |= {name: share([ids_of(name, encode, piece) for piece in few], right) for name, encode in others.items()}
    paired.show([{**row, "exact": shares.get(row["peer"], 1.0)} for row in rows], options.json)
    print("\nexact documents")
    for name, value in shares.items():
        print(f"  {name:<40}{value:.4%}")


def share(found: list[list[list[int]]], right: list[list[list[int]]]) -> float:
    pairs = [pair for mine, theirs in zip(found, right, strict=True) for pair in zip(mine, theirs, strict=True)]
    return sum(mine == theirs for mine, theirs in pairs) / len(pairs)


if __name__ == "__main__":
    main()
