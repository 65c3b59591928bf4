"""MinHash signatures against datatrove and rensa: CPU seconds on the same texts.

    python benchmarks/data/minhash.py --corpus FOLDER [--limit 4000] [--shipped 100] [--repeats 5] [--json FILE]

5-word shingles, 112 permutations, from text to signature, on extracted text. rensa takes shingles, which it is given as
a Python program makes them fastest: `text.split()`, five words joined, all documents of a batch in one call. datatrove
runs as shipped (normalised text, words by spaCy) and with `str.split` in the place of spaCy, on `--shipped` documents.
Ours splits by Unicode letters and digits and lower-cases, as the pipeline does. A ratio is the peer's CPU seconds over
ours: above 1, ours is faster.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import corpus
import paired
import pyarrow as pa
import rensa
import xxhash
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

from headwater.data.operators.minhash_dedup import MinhashDedupConfig, shingle_sets, signatures

OPTIONS = MinhashDedupConfig(ngram=5, bands=14, rows=8, seed=1)


def run_ours(batch: pa.RecordBatch) -> None:
    signatures(batch.column("text"), OPTIONS)


def run_rensa(batch: pa.RecordBatch) -> None:
    documents = []
    for text in batch.column("text").to_pylist():
        words = text.split()
        documents.append([" ".join(words[k : k + 5]) for k in range(max(1, len(words) - 4))])
    rensa.RMinHash.digest_matrix_from_token_sets(documents, 112, 1)


def datatrove(folder: str, *, white_space: bool) -> paired.Contender:
    step = MinhashDedupSignature(folder, MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8, seed=1))
    step._hash_func = lambda shingle: xxhash.xxh64_intdigest(shingle.encode())  # xxhash 4 takes no strings any more
    if white_space:
        step.word_tokenizer = WhiteSpace()

    def run(batch: pa.RecordBatch) -> None:
        for text in batch.column("text").to_pylist():
            shingles = step.get_shingles(text)
            if shingles.size:
                step.get_signature(shingles)

    return run


class WhiteSpace:
    def word_tokenize(self, text: str) -> list[str]:
        return text.split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=4000)
    parser.add_argument("--shipped", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    batches = corpus.batches(asked.corpus, asked.limit)
    documents = sum(batch.num_rows for batch in batches)
    print(f"{documents} documents, {corpus.megabytes(batches):.0f} MB of text")
    found = paired.measure({"ours": run_ours, "rensa": run_rensa}, batches, asked.repeats)
    rows = paired.ratios(found, "ours")
    seconds = sorted(run["whole"] for run in found["ours"])[asked.repeats // 2]
    print(
        f"ours: {corpus.megabytes(batches) / seconds:.0f} MB of text, {documents / seconds:,.0f} documents a CPU second"
    )
    start = time.process_time()
    for batch in batches:
        shingle_sets(batch.column("text"), OPTIONS.ngram)
    print(f"sorted shingle sets: {(time.process_time() - start) / seconds:.1f} times as long as signatures")
    whole = pa.concat_arrays([batch.column("text") for batch in batches])
    chosen = whole.take(pa.array(range(0, documents, max(1, documents // asked.shipped))))
    sample = [pa.RecordBatch.from_arrays([chosen], schema=batches[0].schema)]
    with tempfile.TemporaryDirectory() as folder:
        contenders = {
            "ours": run_ours,
            "datatrove as shipped": datatrove(folder, white_space=False),
            "datatrove, str.split": datatrove(folder, white_space=True),
        }
        rows += paired.ratios(paired.measure(contenders, sample, asked.repeats), "ours")
    paired.show(rows, asked.json)


if __name__ == "__main__":
    main()
