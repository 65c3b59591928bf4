"""Near-duplicate removal from end to end: CPU seconds and quality, against datatrove, datasketch and rensa.

    python benchmarks/data/near_dedup.py --corpus FOLDER [--limit 10000] [--datatrove 3000] [--repeats 3] [--json FILE]

All take the same extracted texts, without exact duplicates, and the same shape of signature (5-word shingles, 14 bands
of 8 rows). Ours runs the pipeline's own steps on the local engine in one process, with verification by true Jaccard and
everything written to its work folder; the peers merge what shares a band, and keep the first of each cluster: that is
how they are used. datatrove runs on the first `--datatrove` documents, its time is scaled, and the quality of all on
those documents is a second table.

Quality, over the true Jaccard similarity (of word 5-gram sets as ours, and so for all) of every pair of documents that
a far more generous search (100 bands of 3 rows) or any contender finds:

    recall        of the pairs in a band of similarity: those of which a contender removed at least one document
    S-curve       what 14 bands of 8 rows find on average at these similarities, by their mathematics
    below 0.5     documents removed although no document that stays has a similarity of 0.5 to them
    labels        with --corpus's manifest.jsonl: planted near-duplicates found, by the share of words changed
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import rensa
from datasketch import MinHash, MinHashLSH

from headwater.data.earlier import Earlier
from headwater.data.engines.local import LocalEngine
from headwater.data.near import near_duplicates
from headwater.data.operators.extract import Extract, ExtractConfig
from headwater.data.operators.minhash_dedup import (
    MinhashDedupConfig,
    candidate_pairs,
    jaccards,
    shingle_sets,
    signatures,
)
from headwater.data.row_keys import row_keys
from headwater.data.rows import ALIVE
from headwater.data.warc_parts import WarcPart

OPTIONS = MinhashDedupConfig(ngram=5, bands=14, rows=8, seed=1, min_jaccard=0.7)
EDGES = (0.9, 0.8, 0.7, 0.5, 0.3)
ROWS = 256


@dataclass(frozen=True)
class Rows:
    """A reader of some rows."""

    table: pa.Table

    @property
    def size(self) -> int:
        return self.table.nbytes

    def __call__(self):
        yield from self.table.to_batches(max_chunksize=ROWS)


def load(folder: Path, limit: int) -> pa.Table:
    """Rows of `ALIVE`, in the order of their keys, one for each text."""
    files = sorted(folder.glob("*.warc.gz"))
    if not files:
        raise SystemExit(f"skipped: no *.warc.gz in {folder}; give the folder of a corpus by --corpus")
    extract = Extract(ExtractConfig(scope="full"))
    found: list[pa.RecordBatch] = []
    for file in files:
        left = -(-limit // len(files)) if limit else sys.maxsize
        for batch in WarcPart("web", str(folder), file.name)():
            kept = extract.process(batch).kept.slice(0, left)
            keys = row_keys(0, kept.column("id").to_pylist(), kept.column("row").to_pylist())
            kept = kept.set_column(kept.schema.get_field_index("row"), kept.schema.field("row"), keys)
            found.append(kept.select(ALIVE.names))
            left -= kept.num_rows
            if left == 0:
                break
    rows = pa.Table.from_batches(found).sort_by("row")
    texts = rows.column("text").to_pylist()
    _, first = np.unique(np.array([hash(text) for text in texts]), return_index=True)
    return rows.take(np.sort(first)).combine_chunks()


def run_ours(rows: pa.Table) -> list[tuple[int, int]]:
    """(removed, kept in its stead), as row numbers."""
    folder = Path(tempfile.mkdtemp())
    place = {key: number for number, key in enumerate(rows.column("row").to_pylist())}
    by_id = {key[2:18].hex(): number for key, number in place.items()}
    with LocalEngine(folder, workers=1) as engine:
        parts = [Rows(rows.slice(start, 2000)) for start in range(0, rows.num_rows, 2000)]
        found = engine.collect(near_duplicates(engine, engine.read(parts, ALIVE), OPTIONS, Earlier())).to_pylist()
    shutil.rmtree(folder)
    return [(place[row["row"]], by_id[json.loads(row["detail"])["kept"]]) for row in found]


def run_rensa(rows: pa.Table) -> list[tuple[int, int]]:
    documents = []
    for text in rows.column("text").to_pylist():
        words = text.split()
        documents.append([" ".join(words[k : k + 5]) for k in range(max(1, len(words) - 4))])
    matrix = rensa.RMinHash.digest_matrix_from_token_sets(documents, 112, 1)
    index = rensa.RMinHashLSH(0.7, 112, 14)
    flagged = np.flatnonzero(index.query_duplicate_flags_matrix_one_shot(matrix))
    bands = np.asarray(matrix.to_rows(), np.uint64)[flagged].reshape(len(flagged), 14, 8)
    pairs = []
    for band in range(14):
        seen: dict[bytes, int] = {}
        for number, key in zip(flagged.tolist(), bands[:, band], strict=True):
            pairs.append((number, seen.setdefault(key.tobytes(), number)))
    return clusters(pairs)


def run_datasketch(rows: pa.Table) -> list[tuple[int, int]]:
    index, pairs = MinHashLSH(num_perm=112, params=(14, 8)), []
    for number, text in enumerate(rows.column("text").to_pylist()):
        words = text.split()
        sketch = MinHash(num_perm=112, seed=1)
        sketch.update_batch([" ".join(words[k : k + 5]).encode() for k in range(max(1, len(words) - 4))])
        pairs += [(number, other) for other in index.query(sketch)]
        index.insert(number, sketch)
    return clusters(pairs)


def run_datatrove(rows: pa.Table) -> list[tuple[int, int]]:
    import xxhash
    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupSignature,
    )
    from datatrove.utils.logging import logger

    logger.remove()
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8, seed=1)
    folder = Path(tempfile.mkdtemp())
    step = MinhashDedupSignature(str(folder / "signatures"), config)
    step._hash_func = lambda shingle: xxhash.xxh64_intdigest(shingle.encode())  # xxhash 4 takes no strings any more
    documents = (Document(text=text, id=str(n)) for n, text in enumerate(rows.column("text").to_pylist()))
    step.run(documents, 0, 1)
    for bucket in range(14):
        MinhashDedupBuckets(str(folder / "signatures"), str(folder / "buckets"), config=config).run(None, bucket, 14)
    MinhashDedupCluster(str(folder / "buckets"), str(folder / "removed"), config).run(None, 0, 1)
    removed = np.fromfile(folder / "removed" / "000000.remove", "<u4").tolist()
    shutil.rmtree(folder)
    return [(number, -1) for number in removed]


def clusters(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Of every connected component all but the first document go."""
    parent: dict[int, int] = {}

    def root(node: int) -> int:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in pairs:
        first, second = sorted((root(a), root(b)))
        parent[second] = first
    return [(node, root(node)) for node in sorted(parent) if root(node) != node]


def similar_pairs(rows: pa.Table, found: list[list[tuple[int, int]]]) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (shape [pairs, 2]) and their true similarities, of 0.3 or more."""
    texts = rows.column("text").combine_chunks()
    sets = shingle_sets(texts, 5)
    generous = MinhashDedupConfig(ngram=5, bands=100, rows=3, seed=99)
    keys = signatures(texts, generous)
    count = rows.num_rows
    codes = [np.array([min(pair) * count + max(pair) for pairs in found for pair in pairs if pair[1] >= 0], np.int64)]
    for band in range(generous.bands):
        order = np.argsort(keys[:, band], kind="stable")
        a, b = candidate_pairs(keys[order, band], 200)
        first, second = order[a], order[b]
        codes = [np.unique(np.concatenate([*codes, np.minimum(first, second) * count + np.maximum(first, second)]))]
    pairs = np.column_stack(np.divmod(codes[0], count))
    true = np.concatenate(
        [
            jaccards([sets[a] for a, _ in block], [sets[b] for _, b in block])
            for block in np.array_split(pairs, max(1, len(pairs) // 5_000))
        ]
    )
    return pairs[true >= EDGES[-1]], true[true >= EDGES[-1]]


def quality(name: str, gone: set[int], pairs: np.ndarray, true: np.ndarray, planted: dict[float, list]) -> dict:
    """The row of one contender."""
    removed = np.isin(pairs, list(gone)).any(axis=1)
    row: dict = {"contender": name, "removed": len(gone)}
    top = 1.01
    for edge in EDGES:
        here = (true >= edge) & (true < top)
        row[f"{edge}–{min(top, 1):g}"] = round(float(removed[here].mean()), 3) if here.any() else None
        top = edge
    best: dict[int, float] = defaultdict(float)
    for (a, b), similarity in zip(pairs.tolist(), true.tolist(), strict=True):
        for one, other in ((a, b), (b, a)):
            if one in gone and other not in gone:
                best[one] = max(best[one], similarity)
    row["below 0.5"] = sum(best[number] < 0.5 for number in gone)
    for rate, planted_pairs in sorted(planted.items()):
        row[f"{rate:.0%} changed"] = round(float(np.mean([a in gone or b in gone for a, b in planted_pairs])), 3)
    return row


def labels(folder: Path, rows: pa.Table) -> dict[float, list[tuple[int, int]]]:
    """Share of words changed → pairs of row numbers of which both are in the sample."""
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file():
        return {}
    place = {url: number for number, url in enumerate(rows.column("url").to_pylist())}
    found: dict[float, list[tuple[int, int]]] = defaultdict(list)
    for line in manifest.read_text().splitlines():
        record = json.loads(line)
        if record["kind"] == "near" and record["url"] in place and record["of"] in place:
            found[record["rate"]].append((place[record["url"]], place[record["of"]]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=10_000, help="documents, about; 0 takes all")
    parser.add_argument("--datatrove", type=int, default=3_000, help="documents for datatrove; 0 leaves it out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = load(asked.corpus, asked.limit)
    print(f"{rows.num_rows:,} documents, {rows.column('text').nbytes / 1e6:.0f} MB of text")
    contenders = {"ours": run_ours, "rensa": run_rensa, "datasketch": run_datasketch}
    for run in contenders.values():
        run(rows.slice(0, 200))
    seconds: dict[str, list[float]] = defaultdict(list)
    found: dict[str, list[tuple[int, int]]] = {}
    for repeat in range(asked.repeats):
        names = list(contenders)
        for name in names[repeat % 3 :] + names[: repeat % 3]:
            start = time.process_time()
            found[name] = contenders[name](rows)
            seconds[name].append(time.process_time() - start)
    speed = {name: [s / mine for s, mine in zip(each, seconds["ours"], strict=True)] for name, each in seconds.items()}
    table, curve = compare(asked.corpus, rows, found)
    few: dict = {}
    if asked.datatrove:
        sample = rows.slice(0, asked.datatrove)
        start = time.process_time()
        theirs = run_datatrove(sample)
        scaled = (time.process_time() - start) * rows.num_rows / sample.num_rows
        speed["datatrove (scaled)"] = [scaled / mine for mine in seconds["ours"]]
        again = {"datatrove": theirs} | {name: run(sample) for name, run in contenders.items()}
        few_table, few_curve = compare(asked.corpus, sample, again)
        few = {"documents": sample.num_rows, "quality": few_table, "curve": few_curve}
    for name, each in speed.items():
        if name != "ours":
            print(f"{name:<22} {sorted(each)[len(each) // 2]:6.1f}× our CPU seconds ({min(each):.1f}–{max(each):.1f})")
    show(table, curve)
    if few:
        print(f"\nthe first {few['documents']:,} documents:")
        show(few["quality"], few["curve"])
    if asked.json:
        whole = {"documents": rows.num_rows, "quality": table, "curve": curve}
        asked.json.write_text(json.dumps({"speed": speed, "all": whole, "sample": few}, indent=1) + "\n")


def compare(folder: Path, rows: pa.Table, found: dict[str, list[tuple[int, int]]]) -> tuple[list[dict], dict]:
    """The quality of each contender, and the row of the S-curve with the numbers of pairs."""
    pairs, true = similar_pairs(rows, list(found.values()))
    planted = labels(folder, rows)
    table = [quality(name, {a for a, _ in each}, pairs, true, planted) for name, each in found.items()]
    curve: dict = {"contender": "S-curve", "removed": None}
    top = 1.01
    for edge in EDGES:
        here = true[(true >= edge) & (true < top)]
        name = f"{edge}–{min(top, 1):g}"
        curve[name] = round(float((1 - (1 - here**8) ** 14).mean()), 3) if len(here) else None
        curve[f"pairs {name}"] = len(here)
        top = edge
    for rate, each in planted.items():
        curve[f"pairs {rate:.0%} changed"] = len(each)
    return table, curve


def show(table: list[dict], curve: dict) -> None:
    names = [name for name in table[0] if name != "contender"]
    print(f"{'':<12}" + "".join(f"{name:>13}" for name in names))
    for row in [*table, curve]:
        cells = ["" if row.get(name) is None else str(row.get(name)) for name in names]
        print(f"{row['contender']:<12}" + "".join(f"{cell:>13}" for cell in cells))
    bands = {name.removeprefix("pairs "): count for name, count in curve.items() if name.startswith("pairs ")}
    print(f"{'pairs':<12}{'':>13}" + "".join(f"{bands.get(name, ''):>13}" for name in names[1:]))


if __name__ == "__main__":
    main()
