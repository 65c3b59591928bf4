import subprocess
import sys
from pathlib import Path

import pytest

from headwater.core.errors import StorageError
from headwater.core.lock import exclusive

HOLD = """
import sys
from headwater.core.lock import exclusive
with exclusive(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_held_by_one_process_and_let_go_when_it_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout and holder.stdout.readline() == "held\n"
    with pytest.raises(StorageError, match="another process is writing"), exclusive(folder):
        pass
    holder.kill()
    holder.communicate()
    with exclusive(folder):
        assert list(folder.iterdir()) == []
