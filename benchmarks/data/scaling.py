"""How the documents stage grows: CPU seconds a page and peak memory of one process at 1×, 4× and 16× of one corpus.

    python benchmarks/data/scaling.py --corpus FOLDER [--workers 1] [--rows-per-file 1000] [--json FILE]

16× are all pages, 4× and 1× the first quarter and sixteenth of each file. The recipe has every kind of step:
extraction, language, Gopher, C4 and FineWeb rules, redaction, exact and near-duplicates. Linear growth shows as equal
CPU milliseconds for each page more than in the row above, flat memory as a column that hardly moves. One process does
all the work, so that its figures are those of a worker; a small run before warms the compiled kernels. Memory is what a
process holds itself; beside it, with the pages of files that it has mapped, which the system takes away when somebody
else needs them. The largest thing that a process holds is one of the files that it writes: `--rows-per-file` is low
enough that they are full at 1× too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from headwater.data.collect.warc_reader import read_records

POLL_SECONDS = 0.05
RECIPE = """
name: scaling
seed: 0
sources: {{web: {{kind: warc, files: ["{files}"]}}}}
documents:
  sources:
    web:
      - extract
      - language: {{allowed: {{en: 0.65, de: 0.65, fr: 0.65, es: 0.65, ru: 0.65, ja: 0.65, zh: 0.65}}}}
      - gopher_repetition
      - gopher_quality
      - c4
      - fineweb
      - pii
  decontaminate: null
  max_duplicate_ratio: 1
  rows_per_file: {rows}
  engine: {{workers: {workers}}}
"""


def part(corpus: Path, target: Path, share: int) -> int:
    """The first 1/share of each file's records; returns how many pages."""
    target.mkdir()
    pages = 0
    for file in sorted(corpus.glob("*.warc.gz")):
        offsets = [record.offset for record in read_records(file)]
        count = len(offsets) // share
        end = offsets[count] if count < len(offsets) else file.stat().st_size
        (target / file.name).write_bytes(file.read_bytes()[:end])
        pages += count
    return pages


def measured(command: list[str]) -> tuple[float, float, int, int]:
    """Wall and CPU seconds, and the most bytes that one of its processes held: its own, and with pages of files."""
    own = mapped = 0
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        top = psutil.Process(process.pid)
        while process.poll() is None:
            for each in [top, *top.children(recursive=True)]:
                try:
                    memory = each.memory_info()
                except psutil.Error:
                    continue
                own, mapped = max(own, memory.rss - memory.shared), max(mapped, memory.rss)
            time.sleep(POLL_SECONDS)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{said.read()[-4000:]}")
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, own, mapped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1, help="more are not seen in CPU seconds and memory")
    parser.add_argument("--rows-per-file", type=int, default=1000, help="of a recipe: 5,000, unless it says otherwise")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if not any(asked.corpus.glob("*.warc.gz")):
        raise SystemExit(f"skipped: no *.warc.gz in {asked.corpus}; give the folder of a corpus by --corpus")
    rows: list[dict[str, float]] = []
    headwater = str(Path(sys.executable).parent / "headwater")
    with tempfile.TemporaryDirectory() as folder:
        for name, size in (("warm", 1), ("1", 1), ("4", 4), ("16", 16)):
            here = Path(folder) / name
            pages = part(asked.corpus, here, 16 // size)
            recipe = Path(folder) / f"{name}.yaml"
            recipe.write_text(RECIPE.format(files=here / "*.warc.gz", workers=asked.workers, rows=asked.rows_per_file))
            options = ["--recipe", str(recipe), "--run", f"{here}-run"]
            measured([headwater, "data", "collect", *options])
            wall, cpu, own, mapped = measured([headwater, "data", "run", *options])
            rows.append({"size": size, "pages": pages, "wall": wall, "cpu": cpu, "own_bytes": own,
                         "mapped_bytes": mapped})  # fmt: skip
    first, *_ = rows = rows[1:]
    print(f"{asked.workers} processes, {os.cpu_count()} cores")
    headings = ("size", "pages", "CPU s", "a page more, ms", "memory, MB", "with file pages, MB")
    print("".join(f"{heading:>20}" for heading in headings))
    for number, row in enumerate(rows):
        before = rows[number - 1] if number else {"cpu": 0.0, "pages": 0}
        more = 1000 * (row["cpu"] - before["cpu"]) / (row["pages"] - before["pages"])
        cells = (
            f"{row['size']:.0f}×", f"{row['pages']:,.0f}", f"{row['cpu']:.1f}", f"{more:.2f}" if number else "",
            *(f"{row[key] / 1e6:.0f} ({row[key] / first[key]:.2f})" for key in ("own_bytes", "mapped_bytes")),
        )  # fmt: skip
        print("".join(f"{cell:>20}" for cell in cells))
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
