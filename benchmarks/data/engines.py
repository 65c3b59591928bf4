"""The engines against one another: the whole documents stage on the same WARC files, wall and CPU seconds.

    python benchmarks/data/engines.py --corpus FOLDER [--files 1] [--workers 2] [--engines local,spark] [--repeats 3]
        [--set KEY=VALUE …] [--json FILE]

Every run is a process of its own, `headwater data run`, into a folder of its own; engines take turns. CPU seconds are
of the process and all that it started (Java, workers). A ratio is the local engine's seconds over the other's: 1 is as
fast as local, 0.5 takes twice as long. `--fixed` also measures each engine on 100 records, which is what its start
costs. That all engines write the same bytes is checked.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from headwater.core.manifest import ArtifactWriter, read_manifest
from headwater.data.collect.warc_reader import read_records

RECIPE = """
name: engines
documents:
  sources:
    web:
      - extract: {scope: full, skip: [nav]}
      - language: {allowed: {en: 0.65}}
      - gopher_quality
      - gopher_repetition
      - fineweb
      - pii
  exact_dedup: {normalize: true}
  minhash_dedup: {ngram: 5, bands: 14, rows: 8, min_jaccard: 0.7, seed: 1}
  decontaminate: null
  allow_empty_sources: true
"""
MAIN = "from headwater.core.cli import main; main()"
POLL_SECONDS = 0.25
START_RECORDS = 100


def raw(run: Path, files: list[Path]) -> None:
    """RUN/raw/web with these WARC files."""
    writer = ArtifactWriter(run / "raw" / "web", kind="raw", name="web", producer="benchmark", config={})
    writer.begin()
    for file in files:
        try:
            os.link(file, run / "raw" / "web" / file.name)
        except OSError:
            shutil.copyfile(file, run / "raw" / "web" / file.name)
    writer.commit({})


def measured(command: list[str], log: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a command and of all processes under it, as last seen before each ended."""
    used: dict[tuple[int, float], float] = {}
    begun = time.perf_counter()
    with log.open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as process:
        top = psutil.Process(process.pid)
        while process.poll() is None:
            for each in [top, *top.children(recursive=True)]:
                try:
                    times = each.cpu_times()
                    used[each.pid, each.create_time()] = times.user + times.system
                except psutil.Error:
                    continue
            time.sleep(POLL_SECONDS)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)}\n{log.read_text()[-3000:]}")
    return time.perf_counter() - begun, sum(used.values())


def one(engine: str, files: list[Path], folder: Path, settings: list[str]) -> tuple[float, float, str]:
    run = folder / engine
    shutil.rmtree(run, ignore_errors=True)
    raw(run, files)
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE)
    command = [sys.executable, "-c", MAIN, "data", "run", "--recipe", str(recipe), "--run", str(run),
               "--engine", engine, *settings]  # fmt: skip
    wall, cpu = measured(command, folder / f"{engine}.log")
    return wall, cpu, read_manifest(run / "documents").digest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--files", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engines", default="local,spark")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an override of the recipe")
    parser.add_argument("--fixed", action="store_true", help="also measure the start of each engine")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    files = sorted(arguments.corpus.glob("*.warc.gz"))[: arguments.files]
    if not files:
        raise SystemExit(f"skipped: no *.warc.gz in {arguments.corpus}; give the folder of a corpus by --corpus")
    names = arguments.engines.split(",")
    settings = [f"documents.engine.workers={arguments.workers}", *arguments.set]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    fixed: dict[str, tuple[float, float]] = {}
    digests: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="engines-") as temporary:
        folder = Path(temporary)
        if arguments.fixed:
            few = folder / "few.warc.gz"
            few.write_bytes(_beginning(files[0]))
            for name in names:
                fixed[name] = one(name, [few], folder, settings)[:2]
        for repeat in range(arguments.repeats):
            for name in names if repeat % 2 == 0 else names[::-1]:
                wall, cpu, digest = one(name, files, folder, settings)
                found[name].append((wall, cpu))
                digests.add(digest)
                print(f"{name}: {wall:.1f} s, {cpu:.1f} CPU s, {digest[:12]}", file=sys.stderr, flush=True)
    if len(digests) != 1:
        raise SystemExit(f"the engines do not write the same bytes: {sorted(digests)}")
    report(names, found, fixed, arguments.json)


def report(
    names: list[str],
    found: dict[str, list[tuple[float, float]]],
    fixed: dict[str, tuple[float, float]],
    path: Path | None,
) -> None:  # fmt: skip
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        ratios = {}
        for place, kind in enumerate(("wall", "cpu")):
            pairs = list(zip(found[names[0]], found[name], strict=True))
            ratios[kind] = statistics.median(ours[place] / theirs[place] for ours, theirs in pairs)
            if fixed:
                start = {each: fixed[each][place] for each in (names[0], name)}
                ratios[f"{kind}_without_start"] = statistics.median(
                    (ours[place] - start[names[0]]) / (theirs[place] - start[name]) for ours, theirs in pairs
                )
        rows[name] = {"runs": found[name], "start": fixed.get(name), "ratios": ratios}
        shown = ", ".join(f"{kind} {ratio:.2f}×" for kind, ratio in ratios.items())
        print(f"{name:8} against {names[0]}: {shown}")
    if path:
        path.write_text(json.dumps(rows, indent=1) + "\n")


def _beginning(file: Path) -> bytes:
    """The first records of a WARC file."""
    offsets = [record.offset for record in islice(read_records(file), START_RECORDS + 1)]
    with file.open("rb") as stream:
        return stream.read(offsets[-1])


if __name__ == "__main__":
    main()
