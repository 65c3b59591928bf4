import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from line_runs import TINY, headwater


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """A whole run of recipes/tiny.yaml. Read it; copy it before you change it."""
    run = tmp_path_factory.mktemp("line") / "first"
    headwater("line", "run", TINY, "--run", run)
    return run
