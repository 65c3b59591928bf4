"""The whole pipeline on a Spark cluster: the same bytes as on one machine, also when an executor is killed.

    python benchmarks/data/cluster.py --corpus FOLDER [--files 8] [--eval-data FOLDER] [--runs local,cluster,killed]
        [--json FILE]

Every step that the documents stage has for web pages: extraction, language, Gopher, C4 and FineWeb rules, redaction,
and duplicates by URL, text, template, line, word run and MinHash; with `--eval-data` (a folder with `mmlu`, `gsm8k` and
`humaneval`) the items of those are found and set aside too. Each run is `headwater data run`, into a folder of its own:

    local     the local engine, two workers
    one       the local engine, one worker, files whole
    spark     Spark on this machine, local[2]
    cluster   a standalone master and two workers of one core each, started from the pyspark package
    killed    the same, and one executor is killed (`kill -9`) when a tenth of the units are done
    again     the same, and the driver is killed when half of the units are done; then the same command again

All have to write the same files; the digest is that of every file under RUN/documents, by its name.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from engines import MAIN, raw

RECIPE = """
name: whole
seed: 0
documents:
  sources:
    web:
      - extract
      - language: {{allowed: {{en: 0.65, de: 0.65, fr: 0.65, es: 0.65, ru: 0.65, ja: 0.65}}}}
      - gopher_quality
      - gopher_repetition
      - c4
      - fineweb
      - pii
  url_dedup: {{}}
  exact_dedup: {{normalize: true}}
  host_boilerplate: {{}}
  line_dedup: {{}}
  substring_dedup: {{}}
  minhash_dedup: {{min_jaccard: 0.7}}
  decontaminate: {decontaminate}
  max_duplicate_ratio: 1
  allow_empty_sources: true
eval: {{tasks: [mmlu, gsm8k, humaneval]}}
"""
RUNS = ("local", "one", "spark", "cluster", "killed", "again")
DEPLOY = "org.apache.spark.deploy"
EXECUTOR = "org.apache.spark.executor.CoarseGrainedExecutorBackend"
TIMEOUT_SECONDS = 3600


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[bytes]) -> Any:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not (found := condition()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"ended before it could be killed: {process.args}")
        time.sleep(0.05)
    return found


def end(process: subprocess.Popen[bytes]) -> None:
    """Kills a process and all that came from it."""
    try:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    except psutil.NoSuchProcess:
        family = []
    for each in family:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()


@contextmanager
def started(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
        try:
            yield process
        finally:
            end(process)


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A standalone master and two workers; gives the master's address, and the environment of its clients."""
    import pyspark

    home = Path(pyspark.__file__).parent
    environment = {**os.environ, "SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable,
                   "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}  # fmt: skip
    program, log = str(home / "bin" / "spark-class"), folder / "master.log"
    with ExitStack() as running:
        first = running.enter_context(started(
            [program, f"{DEPLOY}.master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0"],
            log, environment))  # fmt: skip
        # A worker that comes before the master leads is not heard, and asks again after ten seconds.
        said(log, "elected leader! New state: ALIVE", first)
        master = said(log, r"Starting Spark master at (spark://\S+)", first)[1]
        workers = {
            folder / f"{name}.log": running.enter_context(started(
                [program, f"{DEPLOY}.worker.Worker", "--host", "127.0.0.1", "--cores", "1", "--memory", "3g",
                 "--webui-port", "0", "--work-dir", str(folder / name), master],
                folder / f"{name}.log", environment))
            for name in ("w1", "w2")
        }  # fmt: skip
        for path, worker in workers.items():
            said(path, "Successfully registered with master", worker)
        yield master, environment


def said(log: Path, pattern: str, process: subprocess.Popen[bytes]) -> re.Match[str]:
    """The first match in a log file of a process, once it is there."""
    return wait_for(lambda: re.search(pattern, log.read_text()), process)


def executors() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if EXECUTOR in child.cmdline():
                found.append(child)
        except psutil.Error:
            continue
    return found


def done_units(run: Path) -> int:
    return len(list(run.glob("documents/_work/*/filter/_marks/*")))


def digest(documents: Path) -> str:
    """Of every file, by its name."""
    whole = hashlib.sha256()
    for path in sorted(path for path in documents.rglob("*") if path.is_file()):
        whole.update(f"{path.relative_to(documents)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()[:16]


def one(name: str, prepared: Path, folder: Path, units: int) -> dict[str, Any]:
    """One run: seconds, digest, and what was done to it."""
    run = Path(shutil.copytree(prepared, folder / name, copy_function=os.link))
    recipe = prepared.parent / "recipe.yaml"
    command = [sys.executable, "-c", MAIN, "data", "run", "--recipe", str(recipe), "--run", str(run)]
    log, begun, note = folder / f"{name}.log", time.monotonic(), ""
    if name in ("local", "one", "spark"):
        options = {
            "local": ["documents.engine.workers=2"],
            "one": ["documents.engine.workers=1", "documents.engine.partition_bytes=1000000000"],
            "spark": ["documents.engine.name=spark", "documents.engine.workers=2"],
        }[name]
        with started([*command, *options], log, dict(os.environ)) as process:
            process.wait()
    else:
        with cluster(folder / name) as (master, environment):
            command += ["documents.engine.name=spark", f"documents.engine.spark.master={master}",
                        "documents.engine.spark.conf.spark.driver.host=127.0.0.1",
                        "documents.engine.spark.conf.spark.executor.memory=2g"]  # fmt: skip
            with started(command, log, environment) as process:
                if name == "killed":
                    wait_for(lambda: done_units(run) >= units // 10, process)
                    executors()[0].kill()
                    note = f"an executor killed after {done_units(run)} of {units} units"
                if name == "again":
                    wait_for(lambda: done_units(run) >= units // 2, process)
                    end(process)
                    note = f"the driver killed after {done_units(run)} of {units} units"
                process.wait()
            if name == "again":
                with started(command, log, environment) as process:
                    process.wait()
    if process.returncode:
        raise SystemExit(f"{name} failed:\n{log.read_text()[-3000:]}")
    funnel = json.loads((run / "documents" / "funnel.json").read_bytes())
    found = {"seconds": time.monotonic() - begun, "digest": digest(run / "documents"), "note": note, "funnel": funnel}
    shutil.rmtree(run)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--eval-data", type=Path, help="a folder with mmlu, gsm8k and humaneval")
    parser.add_argument("--runs", default="local,cluster,killed", help=f"of {','.join(RUNS)}")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    files = sorted(asked.corpus.glob("*.warc.gz"))[: asked.files]
    if not files:
        raise SystemExit(f"skipped: no *.warc.gz in {asked.corpus}; give the folder of a corpus by --corpus")
    units = sum(-(-file.stat().st_size // 2_000_000) for file in files)
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="cluster-") as temporary:
        folder = Path(temporary)
        prepared, recipe = folder / "prepared" / "run", folder / "prepared" / "recipe.yaml"
        raw(prepared, files)
        recipe.write_text(RECIPE.format(decontaminate="{rule: coverage}" if asked.eval_data else "null"))
        if asked.eval_data:
            subprocess.run([sys.executable, "-c", MAIN, "eval", "items", "--recipe", str(recipe), "--run",
                            str(prepared), "--data-dir", str(asked.eval_data)], check=True)  # fmt: skip
        for name in asked.runs.split(","):
            rows[name] = one(name, prepared, folder, units)
            row = rows[name]
            print(f"{name:<8} {row['seconds']:6.0f} s  {row['digest']}  {row['note']}", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")
    if len({row["digest"] for row in rows.values()}) != 1:
        raise SystemExit("they do not write the same bytes")
    print("all wrote the same bytes")


if __name__ == "__main__":
    main()
