"""A FineWeb-style pass from WARC to tokens, against datatrove: CPU seconds of whole processes.

    python benchmarks/data/whole_pass.py --corpus FOLDER [--limit 1500] [--datatrove 300] [--repeats 3] [--json FILE]

The steps are those of FineWeb (Penedo et al., 2024): extraction, language, Gopher repetition and quality, C4, FineWeb,
e-mail and IP addresses, MinHash deduplication, tokens of one tokenizer file. datatrove runs its own blocks as shipped:
trafilatura, fastText, spaCy's words, its MinHash steps and DocumentTokenizer, on `--datatrove` pages, and is scaled.
Ours runs `collect`, `run` and `tokenize` in one process: with resiliparse (the default), and with trafilatura set up as
datatrove's. Ours also verifies every near-duplicate, keeps what is rejected, and hashes its artifacts. Every figure is
CPU seconds of a process of its own, start-up and imports included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

from headwater.data.collect.warc_reader import read_records

RECIPE = """
name: pass
seed: 0
sources: {{web: {{kind: warc, files: ["{warc}"]}}}}
documents:
  sources:
    web:
      - extract: {{html: {html}}}
      - language: {{allowed: {{en: 0.65}}}}
      - gopher_repetition
      - gopher_quality
      - c4
      - fineweb
      - pii: {{kinds: [email, ip]}}
  decontaminate: null
  max_duplicate_ratio: 1
  allow_empty_sources: true
  engine: {{workers: 1}}
tokens: {{workers: 1}}
"""


def sample(corpus: Path, target: Path, pages: int) -> Path:
    """The first pages of the corpus's files, as one WARC file of whole members."""
    files = sorted(corpus.glob("*.warc.gz"))
    if not files:
        raise SystemExit(f"skipped: no *.warc.gz in {corpus}; give the folder of a corpus by --corpus")
    with target.open("wb") as out:
        for file in files:
            offsets = [record.offset for record in islice(read_records(file), -(-pages // len(files)) + 1)]
            out.write(file.read_bytes()[: offsets[-1]])
    return target


def ours(warc: Path, tokenizer: Path, folder: Path, html: str) -> None:
    from headwater.core.cli import main

    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(warc=warc, html=html))
    run = folder / "run"
    shutil.copytree(tokenizer, run / "tokenizer")
    for stage in ("collect", "run"):
        sys.argv = ["headwater", "data", stage, "--recipe", str(recipe), "--run", str(run)]
        quietly(main)
    # A tokenizer of other documents: its manifest names them, and tokens are made with it all the same.
    sys.argv = ["headwater", "data", "tokenize", "--recipe", str(recipe), "--run", str(run)]
    quietly(main)


def quietly(main) -> None:
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise


def datatrove(warc: Path, tokenizer: Path, folder: Path) -> None:
    import xxhash
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.pipeline.filters.base_filter import BaseFilter
    from datatrove.pipeline.formatters import PIIFormatter
    from datatrove.pipeline.readers import JsonlReader, WarcReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from datatrove.pipeline.writers import JsonlWriter

    from headwater.data.operators.language import identify

    class Language(BaseFilter):
        """datatrove's LanguageFilter downloads the larger fastText model; this is the same with the packaged one."""

        name = "language"

        def __init__(self) -> None:
            super().__init__()

        def filter(self, doc) -> bool:
            language, score = identify(doc.text)
            return language == "en" and score > 0.65

    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8, seed=1)
    signature = MinhashDedupSignature(str(folder / "signatures"), config)
    signature._hash_func = lambda shingle: xxhash.xxh64_intdigest(
        shingle.encode()
    )  # xxhash 4 takes no strings any more
    stages = [
        ([WarcReader(str(warc.parent), glob_pattern=warc.name), Trafilatura(favour_precision=True, timeout=60),
          Language(), GopherRepetitionFilter(), GopherQualityFilter(),
          C4QualityFilter(filter_no_terminal_punct=False), FineWebQualityFilter(), PIIFormatter(),
          JsonlWriter(str(folder / "filtered"))], 1),
        ([JsonlReader(str(folder / "filtered")), signature], 1),
        ([MinhashDedupBuckets(str(folder / "signatures"), str(folder / "buckets"), config=config)], 14),
        ([MinhashDedupCluster(str(folder / "buckets"), str(folder / "removed"), config)], 1),
        ([JsonlReader(str(folder / "filtered")), MinhashDedupFilter(str(folder / "removed")),
          DocumentTokenizer(str(folder / "tokens"), tokenizer_name_or_path=str(tokenizer / "tokenizer.json"))], 1),
    ]  # fmt: skip
    for number, (steps, tasks) in enumerate(stages):
        LocalPipelineExecutor(steps, tasks=tasks, workers=1, logging_dir=str(folder / f"log{number}")).run()


def seconds(name: str, warc: Path, tokenizer: Path, html: str) -> float:
    """CPU seconds of one contender in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--only", name, str(warc), str(tokenizer), folder, html]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    if sys.argv[1:2] == ["--only"]:
        name, warc, tokenizer, folder, html = sys.argv[2:7]
        if name == "ours":
            ours(Path(warc), Path(tokenizer), Path(folder), html)
        else:
            datatrove(Path(warc), Path(tokenizer), Path(folder))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True, help="RUN/tokenizer of any run")
    parser.add_argument("--limit", type=int, default=1_500)
    parser.add_argument("--datatrove", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        few = sample(asked.corpus, Path(folder) / "few.warc.gz", asked.datatrove)
        many = sample(asked.corpus, Path(folder) / "many.warc.gz", asked.limit)
        pages = {path: sum(1 for _ in read_records(path)) for path in (few, many)}
        contenders = {
            "ours": ("ours", many, "resiliparse"),
            "ours, trafilatura": ("ours", few, "trafilatura"),
            "datatrove": ("datatrove", few, ""),
        }
        found: dict[str, list[float]] = {name: [] for name in contenders}
        for repeat in range(asked.repeats):
            names = list(contenders)
            for name in names[repeat % 3 :] + names[: repeat % 3]:
                kind, warc, html = contenders[name]
                found[name].append(1000 * seconds(kind, warc, asked.tokenizer.absolute(), html) / pages[warc])
    rows = {
        name: [theirs / mine for theirs, mine in zip(each, found["ours"], strict=True)] for name, each in found.items()
    }
    print(f"{pages[many]:,} pages (the slower two: {pages[few]:,}); CPU seconds a page over those of ours")
    for name, each in rows.items():
        print(f"{name:<20}{statistics.median(each):8.1f}×   ({min(each):.1f}–{max(each):.1f})")
    if asked.json:
        asked.json.write_text(json.dumps({"ratios": rows, "milliseconds_a_page": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
