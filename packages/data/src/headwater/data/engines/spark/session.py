"""Opening a Spark session: Headwater's defaults below what the user set, and clear errors for what is missing."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.core.errors import ConfigError, DataError
from headwater.data.engines.spark.errors import translated
from headwater.data.engines.spark.options import SparkConfig

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_DEFAULTS = {
    "spark.app.name": "headwater documents",
    "spark.sql.adaptive.enabled": "true",
    # Rows are documents: what is held at once is bounded in bytes (Spark does, 64 MB) and in rows.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "1024",
    "spark.sql.parquet.columnarReaderBatchSize": "512",
    # The work on a row costs far more than reading it, so tasks are small.
    "spark.sql.files.maxPartitionBytes": "16m",
    "spark.sql.files.openCostInBytes": "256k",
    "spark.sql.autoBroadcastJoinThreshold": "64m",
    "spark.python.daemon.module": "headwater.data.engines.spark.daemon",
    "spark.ui.showConsoleProgress": "false",
}
_HERE = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "2g",
    # Python does the work and Java moves rows: its optimising compiler costs more than it gives on one machine.
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseParallelGC",
    # Planning each stage anew costs as much as many a step: on one machine the sizes are known before.
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "16",
}
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Opened:
    """A session, and whether it was started here: one that was active before is used as it is, and not stopped."""

    session: SparkSession
    owned: bool

    @classmethod
    def start(cls, options: SparkConfig, workers: int, work: Path) -> Opened:
        """Opens a session. See `open_session`."""
        return cls(*open_session(options, workers, work))

    def close(self) -> None:
        """Stops the session, if it was started here."""
        if self.owned:
            self.session.stop()


def open_session(options: SparkConfig, workers: int, work: Path) -> tuple[SparkSession, bool]:
    """A session, and whether it was started here: one that is active already is used as it is.

    Args:
        options: The section `documents.engine.spark`.
        workers: Cores to use where no master is named.
        work: Folder for what does not fit in memory, on this machine.

    Raises:
        ConfigError: pyspark is not installed.
        DataError: There is no Java, the master does not answer, or Spark does not start.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pyspark about its optional dependencies
            from pyspark import SparkConf
            from pyspark.sql import SparkSession
    except ImportError as error:
        raise ConfigError("the Spark engine needs pyspark", found=str(error),
                          hint="pip install 'headwater-data[spark]'") from error  # fmt: skip
    active = SparkSession.getActiveSession()
    if active is not None:
        return active, False
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ  # spark-submit started Java, and has its own properties
    master = options.master or (None if submitted else f"local[{workers}]")
    if not submitted:
        _require_java()
    if master:
        _require_answer(master)
    try:
        conf: Any = _with_java(SparkConf) if submitted else SparkConf()
        for key, value in _properties(options, master, work).items():
            # Java keeps what an earlier session of this process was started with, which is nobody's wish.
            conf.setIfMissing(key, value) if submitted and key not in options.conf else conf.set(key, value)
        if master:
            conf.setMaster(master)
        _use_this_python(conf, master)
        session = SparkSession.builder.config(conf=conf).getOrCreate()
    except Exception as error:  # Java's, pyspark's or py4j's
        known = translated(str(error))
        raise known or DataError(
            "Spark does not start", found=str(error).strip().splitlines()[0][:300],
            hint="look at what Spark wrote above, and at documents.engine.spark in the recipe",
        ) from error  # fmt: skip
    session.sparkContext.setLogLevel(options.log_level)
    return session, True


def _with_java(conf: Any) -> Any:
    """A configuration that has what spark-submit was given: only Java knows."""
    from pyspark import SparkContext

    ensure: Any = SparkContext._ensure_initialized  # pyright: ignore[reportPrivateUsage] — as SparkContext itself does
    ensure()
    return conf()


def _properties(options: SparkConfig, master: str | None, work: Path) -> dict[str, str]:
    found = {**_DEFAULTS, "spark.ui.enabled": str(options.ui).lower()}
    if master and master.startswith("local"):
        found |= {**_HERE, "spark.local.dir": str(work / "spill")}
    if options.shuffle_partitions:
        found["spark.sql.shuffle.partitions"] = str(options.shuffle_partitions)
    return {**found, **options.conf}


@contextmanager
def sql_options(session: SparkSession, options: SparkConfig) -> Generator[None]:
    """Sets, for a while, what can be set in a session that was active before."""
    keys = [key for key in options.conf if session.conf.isModifiable(key)]
    before = {key: session.conf.get(key, None) for key in keys}
    try:
        for key in keys:
            session.conf.set(key, options.conf[key])
        yield
    finally:
        for key, value in before.items():
            session.conf.unset(key) if value is None else session.conf.set(key, value)


def _use_this_python(conf: Any, master: str | None) -> None:
    """Workers run this interpreter unless they were told which: it is the one that has Headwater."""
    if not conf.contains("spark.pyspark.python"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if master and master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")


def _require_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if home and not (Path(home) / "bin" / "java").is_file():
        raise DataError("Spark needs Java", found=f"JAVA_HOME={home}, which has no bin/java", expected="Java 17 or 21",
                        hint="unset JAVA_HOME or set it to a Java installation")  # fmt: skip
    if not home and not shutil.which("java"):
        raise DataError("Spark needs Java", found="no java on PATH and no JAVA_HOME", expected="Java 17 or 21",
                        hint="install one (openjdk-17-jre-headless in Debian), or use --engine local")  # fmt: skip


def _require_answer(master: str) -> None:
    """Asks a standalone master for a connection: Spark itself would try for minutes, and then say little."""
    if not master.startswith("spark://"):
        return
    failures: list[str] = []
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), _CONNECT_SECONDS):
                return
        except (OSError, ValueError) as error:
            failures.append(f"{address}: {error}")
    raise DataError("the Spark master does not answer", found="; ".join(failures), expected=f"a master at {master}",
                    hint="start it, or correct documents.engine.spark.master")  # fmt: skip
