"""How worker processes end."""

import os

import pytest

from headwater.core.errors import StorageError
from headwater.data.engines import processes
from headwater.data.engines.processes import Workers

WRITES = """
import pathlib, threading
temporary = pathlib.Path(folder, "rows.tmp")
try:
    temporary.write_bytes(b"half")
    with pathlib.Path(folder, "pipe").open("wb"):
        threading.Event().wait()
finally:
    temporary.unlink()
"""
FAILS = """
import pathlib
from headwater.core.errors import StorageError
pathlib.Path(folder, "pipe").open("rb").close()  # waits until the other call writes
raise StorageError("the disk is full")
"""


@pytest.mark.timeout(60)
def test_a_call_that_fails_ends_the_others_and_they_clean_up(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    calls = [(program, {"folder": str(tmp_path)}) for program in (WRITES, FAILS)]
    with pytest.raises(StorageError, match="the disk is full"), Workers(2, "x") as workers:
        workers.run("write", exec, calls)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize(("limit", "cores"), [("150000 100000", 1), ("50000 100000", 1), ("400000 100000", 4),
                                              ("max 100000", 6), (None, 6)])  # fmt: skip
def test_a_core_is_what_the_container_may_use(tmp_path, monkeypatch, limit, cores):
    """Else a pod of 8 cores on a node of 96 starts 96 processes, and has no memory for them."""
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda pid: range(6))
    if limit is not None:
        (tmp_path / "cpu.max").write_text(limit + "\n")
    assert processes.usable_cores(tmp_path) == cores
