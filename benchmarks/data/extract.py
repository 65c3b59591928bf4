"""WARC reading and text extraction: ours against fastwarc with each extractor alone, CPU seconds on the same pages.

    python benchmarks/data/extract.py --corpus FOLDER [--limit 4000] [--slow-limit 200] [--repeats 5] [--json FILE]

Ours is what the pipeline runs: members checked, damage reported, digests and ids, charset, limits, Arrow rows in and
out, and the processor time of the guarded child. The peer reads with fastwarc's iterator, decodes with resiliparse's
detection and calls the extractor. Pages are taken evenly from the files of the corpus, copied into small WARC files,
and on each of those all contenders of a group run one after the other, in turning order. A ratio is the peer's CPU
seconds over ours: above 1, ours is faster.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.parse.encoding import bytes_to_str, detect_encoding

from headwater.data.collect.warc_reader import Record, read_records
from headwater.data.operators.extract import Extract, ExtractConfig
from headwater.data.operators.extractors.guard import processor_seconds
from headwater.data.warc_parts import WarcPart

PAGES_A_FILE = 250


def ours(html: str, **options: str) -> Callable[[Path], list[str]]:
    extract = Extract(ExtractConfig(html=html, **options))

    def run(file: Path) -> list[str]:
        batches = WarcPart("web", str(file.parent), file.name)()
        return [text for batch in batches for text in extract.process(batch).batch.column("text").to_pylist()]

    return run


def peer(extract: Callable[[str], str]) -> Callable[[Path], list[str]]:
    def run(file: Path) -> list[str]:
        return [extract(bytes_to_str(payload, detect_encoding(payload))) for payload in payloads(file)]

    return run


def payloads(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
            yield record.reader.read()


def read_ours(file: Path) -> list[str]:
    return ["" for batch in WarcPart("web", str(file.parent), file.name)() for _ in range(batch.num_rows)]


def read_peer(file: Path) -> list[str]:
    return ["" for _ in payloads(file)]


def resiliparse_main(html: str) -> str:
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(html, main_content=True, preserve_formatting=True, alt_texts=False)


def trafilatura_text(html: str) -> str:
    import trafilatura

    return trafilatura.extract(html, include_comments=False) or ""


def justext_text(html: str) -> str:
    import justext

    try:
        paragraphs = justext.justext(html, justext.get_stoplist("English"))
    except Exception:
        return ""
    return "\n".join(paragraph.text for paragraph in paragraphs if not paragraph.is_boilerplate)


GROUPS = {
    "reading alone": (read_ours, read_peer, "fastwarc"),
    "resiliparse": (ours("resiliparse"), peer(resiliparse_main), "fastwarc + resiliparse"),
    "trafilatura": (ours("trafilatura"), peer(trafilatura_text), "fastwarc + trafilatura"),
    "justext": (ours("justext"), peer(justext_text), "fastwarc + justext, English"),
}
SLOW = ("trafilatura", "justext")


def samples(corpus: Path, limit: int, folder: Path) -> list[Path]:
    """Small WARC files with `limit` pages, taken evenly from the files of the corpus."""
    sources = sorted(corpus.glob("*.warc.gz"))
    if not sources:
        raise SystemExit(f"skipped: no *.warc.gz in {corpus}; give the folder of a corpus by --corpus")
    share = -(-limit // len(sources))
    cut: list[Path] = []
    for source in sources:
        data = source.read_bytes()
        starts = [record.offset for record in read_records(source) if isinstance(record, Record)]
        ends = [*starts[1:], len(data)]
        stride = max(len(starts) // share, 1)
        members = [data[a:b] for a, b in list(zip(starts, ends, strict=True))[::stride][:share]]
        for place in range(0, len(members), PAGES_A_FILE):
            file = folder / f"sample-{len(cut):04d}.warc.gz"
            file.write_bytes(b"".join(members[place : place + PAGES_A_FILE]))
            cut.append(file)
    return cut


def cpu_seconds(run: Callable[[Path], list[str]], file: Path) -> tuple[float, list[str]]:
    start = time.process_time() + processor_seconds()
    texts = run(file)
    return time.process_time() + processor_seconds() - start, texts


def compare(name: str, files: list[Path], repeats: int) -> dict[str, object]:
    mine, other, label = GROUPS[name]
    mine(files[0]), other(files[0])  # imports, models and the guarded child are loaded
    ratios, same, pages, seconds = [], 0, 0, [0.0, 0.0]
    for repeat in range(repeats):
        total = [0.0, 0.0]
        for number, file in enumerate(files):
            order = (0, 1) if (number + repeat) % 2 == 0 else (1, 0)
            texts: dict[int, list[str]] = {}
            for contender in order:
                spent, texts[contender] = cpu_seconds((mine, other)[contender], file)
                total[contender] += spent
            if repeat == 0:
                pages += len(texts[0])
                same += sum(a.split() == b.split() for a, b in zip(texts[0], texts[1], strict=True))
        ratios.append(total[1] / total[0])
        seconds = [a + b for a, b in zip(seconds, total, strict=True)]
    return {
        "group": name, "peer": label, "pages": pages, "ratio": statistics.median(ratios), "low": min(ratios),
        "high": max(ratios), "same_text": same / max(pages, 1), "pages_per_cpu_second": pages * repeats / seconds[0],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=4000)
    parser.add_argument("--slow-limit", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=GROUPS, action="append")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    results = []
    print(f"{'extractor':<15}{'against':<30}{'pages':>7}{'peer/ours':>11}{'range':>15}{'same text':>11}")
    for name in asked.only or GROUPS:
        with tempfile.TemporaryDirectory() as folder:
            files = samples(asked.corpus, asked.slow_limit if name in SLOW else asked.limit, Path(folder))
            row = compare(name, files, 2 if name in SLOW else asked.repeats)
        results.append(row)
        spread = f"{row['low']:.2f}–{row['high']:.2f}"
        print(f"{name:<15}{row['peer']:<30}{row['pages']:>7}{row['ratio']:>11.2f}{spread:>15}{row['same_text']:>11.1%}")
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
