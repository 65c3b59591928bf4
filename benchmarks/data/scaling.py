"""How the documents stage grows: CPU seconds a page and peak memory of one process at 1×, 4× and 16× of one corpus.

    python benchmarks/data/scaling.py --corpus FOLDER [--workers 1] [--json FILE]

16× are all pages, 4× and 1× the first quarter and sixteenth of each file. The recipe has every kind of step:
extraction, language, Gopher, C4 and FineWeb rules, redaction, exact and near-duplicates. Linear growth shows as 1.0 in
the column of CPU seconds a page, flat memory as a column that hardly moves. One process does all the work, so that its
figures are those of a worker; a small run before warms the compiled kernels.
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

from headwater.data.collect.warc_reader import read_records

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


def measured(command: list[str]) -> tuple[float, float, int]:
    """Wall and CPU seconds, and the peak memory in bytes of the largest of its processes."""
    peak_file = tempfile.NamedTemporaryFile()  # noqa: SIM115
    # A process of its own, so that the peak is that of this run and not of an earlier one.
    wrapper = (
        "import resource, subprocess, sys; code = subprocess.run(sys.argv[2:]).returncode; "
        "open(sys.argv[1], 'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)); sys.exit(code)"
    )
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([sys.executable, "-c", wrapper, peak_file.name, *command], capture_output=True, text=True)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, 1024 * int(Path(peak_file.name).read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1, help="more are not seen in CPU seconds and memory")
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
            recipe.write_text(RECIPE.format(files=here / "*.warc.gz", workers=asked.workers))
            options = ["--recipe", str(recipe), "--run", f"{here}-run"]
            measured([headwater, "data", "collect", *options])
            wall, cpu, peak = measured([headwater, "data", "run", *options])
            rows.append({"size": size, "pages": pages, "wall": wall, "cpu": cpu, "peak_bytes": peak})
    first, *_ = rows = rows[1:]
    print(f"{asked.workers} processes, {os.cpu_count()} cores")
    print(f"{'size':>5}{'pages':>9}{'CPU a page':>12}{'wall a page':>13}{'peak memory of a process':>26}")
    for row in rows:
        cpu, wall = (row[key] / row["pages"] / (first[key] / first["pages"]) for key in ("cpu", "wall"))
        memory = f"{row['peak_bytes'] / 1e6:.0f} MB ({row['peak_bytes'] / first['peak_bytes']:.2f})"
        print(f"{row['size']:>4}×{row['pages']:>9,}{cpu:>12.2f}{wall:>13.2f}{memory:>26}")
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
