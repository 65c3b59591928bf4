"""Spark gives the bytes of the local engine, on one machine and on a cluster, whatever is killed on the way."""

import hashlib
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from headwater.core.config import load_section
from headwater.core.errors import ConfigError, DataError, StorageError
from headwater.core.layout import RunLayout
from headwater.core.ports import free_port
from headwater.data.config import DocumentsConfig
from headwater.data.documents import make_documents
from headwater.data.engines.spark.engine import SparkEngine
from headwater.data.engines.spark.options import SparkConfig

pytestmark = [pytest.mark.spark, pytest.mark.slow]

# Small jobs end before Java's optimising compiler pays.
QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
MAIN = "from headwater.core.cli import main; main()"


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def make(run, recipe, *overrides):
    return make_documents(RunLayout(run), load_section("documents", DocumentsConfig, recipe, overrides))


def spark(run, recipe, *options):
    return make(run, recipe, "documents.engine.name=spark", *(f"documents.engine.{option}" for option in options))


@pytest.fixture(scope="module")
def reference(tiny_for_module):
    """The files that the local engine writes with one worker and with two, and the recipe."""
    one, recipe = tiny_for_module("one")
    make(one, recipe)
    two, _ = tiny_for_module("two")
    make(two, recipe, "documents.engine.workers=2", "documents.engine.partition_bytes=4000")
    assert digests(one / "documents") == digests(two / "documents")
    return digests(one / "documents")


# These three come before any session: an active one would be used as it is.


def test_a_master_that_does_not_answer_is_named(spark_ready, tmp_path):
    with pytest.raises(DataError, match="does not answer") as caught:
        SparkEngine(tmp_path, SparkConfig(master=f"spark://127.0.0.1:{free_port()}"))
    assert "documents.engine.spark.master" in str(caught.value)


def test_a_machine_without_java_is_told_what_to_install(spark_ready, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(DataError, match="needs Java") as caught:
        SparkEngine(tmp_path, SparkConfig(master="local[1]"))
    assert "--engine local" in str(caught.value)


def test_without_pyspark_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(ConfigError, match="needs pyspark") as caught:
        SparkEngine(tmp_path)
    assert "headwater-data[spark]" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        ("partition_bytes=10000000",),
        ("partition_bytes=1500", "spark.shuffle_partitions=3",
         'spark.conf={spark.sql.autoBroadcastJoinThreshold: "-1", spark.sql.execution.arrow.maxRecordsPerBatch: 7}'),
    ],
    ids=["few-partitions", "many-partitions"],
)  # fmt: skip
def test_partitions_change_no_byte(reference, spark_session, tiny, options):
    run, recipe = tiny()
    assert spark(run, recipe, *options).fresh
    assert digests(run / "documents") == reference


def test_marked_documents_and_their_list_are_the_same(spark_session, tiny):
    local, recipe = tiny("local")
    marked = "documents.decontaminate={action: mark}"
    make(local, recipe, marked)
    other, _ = tiny("spark")
    make(other, recipe, marked, "documents.engine.name=spark", "documents.engine.partition_bytes=1500")
    assert digests(other / "documents") == digests(local / "documents")
    rows = pq.read_table(local / "documents" / "item_overlaps.parquet").to_pylist()
    assert [(row["url"], row["kept"]) for row in rows] == [("http://w/leak.html", True)]


def test_finished_steps_are_not_run_again(reference, spark_session, tiny, monkeypatch):
    run, recipe = tiny()
    blocked = run / "documents" / "rejected"
    blocked.parent.mkdir()
    blocked.write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="rejected"):
        spark(run, recipe)
    blocked.unlink()
    steps = []
    real = SparkEngine._run
    monkeypatch.setattr(
        SparkEngine, "_run", lambda self, stage, *a, **k: (steps.append(stage), real(self, stage, *a, **k))
    )
    assert spark(run, recipe).fresh
    assert steps == ["rejected"] and digests(run / "documents") == reference


class Failing:
    """A reader that the disk refuses, on a worker."""

    def __call__(self):
        raise StorageError("cannot read the unit", found="Input/output error", hint="mend the disk")
        yield


def test_an_error_on_a_worker_reaches_the_caller_whole(spark_session, tmp_path):
    from headwater.data.rows import ROWS

    with SparkEngine(tmp_path) as engine, pytest.raises(StorageError, match="cannot read the unit") as caught:
        engine.collect(engine.read([Failing()], ROWS))
    assert caught.value.found == "Input/output error" and caught.value.hint == "mend the disk"


def command(run, recipe, *options):
    return [sys.executable, "-c", MAIN, "data", "run", "--engine", "spark", "--recipe", str(recipe), "--run", str(run),
            "documents.engine.workers=2", f"documents.engine.spark.conf.spark.driver.extraJavaOptions={QUICK}",
            *(f"documents.engine.{option}" for option in options)]  # fmt: skip


def marks(run):
    return {path: path.stat().st_mtime_ns for path in run.glob("documents/_work/*/filter/_marks/*")}


def wait_for(condition, process, seconds=240):
    """Polls until the condition holds; the process must not end before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.005)  # a poll of another process, which tells nobody
    raise AssertionError(f"nothing happened in {seconds} s")


@contextmanager
def started(arguments, log, **options):
    with open(log, "wb") as stream:
        process = subprocess.Popen(arguments, stdout=stream, stderr=stream, start_new_session=True, **options)
        try:
            yield process
        finally:
            end(process)


def end(process):
    """Kills a process and all that came from it."""
    try:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    except psutil.NoSuchProcess:
        family = []
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(family, timeout=30)
    process.wait()


def test_kill_9_of_the_driver_then_the_same_command_runs_only_the_rest(reference, spark_session, tiny, tmp_path):
    run, recipe = tiny("killed")
    arguments = command(run, recipe, "partition_bytes=1000")
    with started(arguments, tmp_path / "log") as process:
        wait_for(lambda: len(marks(run)) >= 3, process)
        end(process)
    before = marks(run)
    units = len(before)
    assert not (run / "documents" / "manifest.json").exists()
    again = spark_with_marks(run, recipe)
    assert digests(run / "documents") == reference
    assert {path: again[path] for path in before} == before, "finished units ran again"
    assert len(again) > units, "the driver was killed too late"


def spark_with_marks(run, recipe):
    """Finishes a job, and tells what marks there were before the work folder went."""
    seen = {}
    collect = SparkEngine.collect

    def collecting(self, data):
        seen.update(marks(run))
        return collect(self, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SparkEngine, "collect", collecting)
        spark(run, recipe, "partition_bytes=1000")
    return seen


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, spark_ready):
    """A standalone master and two workers with one core each; gives the master's address and environment."""
    import pyspark

    folder = tmp_path_factory.mktemp("cluster")
    home = Path(pyspark.__file__).parent
    environment = {**os.environ, "SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable,
                   "SPARK_DAEMON_JAVA_OPTS": QUICK,
                   "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}  # fmt: skip
    program, deploy = str(home / "bin" / "spark-class"), "org.apache.spark.deploy"
    with ExitStack() as running:
        log = folder / "master.log"
        first = running.enter_context(started(
            [program, f"{deploy}.master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0"],
            log, env=environment))  # fmt: skip
        # A worker that comes before the master leads is not heard, and asks again after ten seconds.
        said(log, "elected leader! New state: ALIVE", first)
        master = said(log, r"Starting Spark master at (spark://\S+)", first)[1]
        workers = {
            folder / f"{name}.log": running.enter_context(started(
                [program, f"{deploy}.worker.Worker", "--host", "127.0.0.1", "--cores", "1", "--memory", "1g",
                 "--webui-port", "0", "--work-dir", str(folder / name), master],
                folder / f"{name}.log", env=environment))
            for name in ("w1", "w2")
        }  # fmt: skip
        for path, worker in workers.items():
            said(path, "Successfully registered with master", worker)
        yield master, environment


def said(log, pattern, process):
    """The first match in a log file of a process, once it is there."""
    try:
        return wait_for(lambda: re.search(pattern, log.read_text()), process)
    except AssertionError as error:
        raise AssertionError(f"{error}; {log.name}:\n{log.read_text()[-3000:]}") from error


def executors():
    """The processes that run tasks for the cluster of this test run."""
    return [
        child for child in psutil.Process().children(recursive=True)
        if "org.apache.spark.executor.CoarseGrainedExecutorBackend" in _arguments(child)
    ]  # fmt: skip


def _arguments(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_cluster_gives_the_same_bytes_though_an_executor_is_killed(reference, cluster, tiny, tmp_path):
    master, environment = cluster
    run, recipe = tiny("cluster")
    options = [f"spark.master={master}", "spark.conf.spark.executor.memory=512m", "partition_bytes=1000",
               f"spark.conf.spark.executor.extraJavaOptions={QUICK}",
               "spark.conf.spark.driver.host=127.0.0.1"]  # fmt: skip
    with started(command(run, recipe, *options), tmp_path / "log", env=environment) as process:
        wait_for(lambda: len(marks(run)) >= 2, process)
        victim = executors()[0]
        victim.kill()
        done = len(marks(run))
        assert process.wait(300) == 0, (tmp_path / "log").read_text()[-3000:]
    assert done < 15, "the executor was killed too late"
    assert digests(run / "documents") == reference


def test_a_worker_without_headwater_is_told_from_other_failures():
    from headwater.data.engines.spark.errors import translated

    said = "Error from python worker:\n  ModuleNotFoundError: No module named 'headwater'\n\tat org.apache.spark.api"
    known = translated(said)
    assert isinstance(known, DataError) and "spark-archive" in str(known) and "headwater" in str(known.found)
    assert translated("java.lang.NullPointerException") is None
