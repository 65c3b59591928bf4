"""How worker processes end."""

import os

import pytest

from headwater.core.errors import StorageError
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
