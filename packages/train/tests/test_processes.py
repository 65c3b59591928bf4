"""Processes of one group: what is kept of their last words."""

from __future__ import annotations

import faulthandler
from pathlib import Path

from headwater.train.processes import Processes


def test_a_crash_in_native_code_is_named_and_the_innermost_call_shown(tmp_path: Path) -> None:
    with Processes(1, tmp_path / "log", faulthandler._sigsegv) as group:  # pyright: ignore
        assert group.finish() == [-11]
    said = group.last_words()
    assert said.startswith("Fatal Python error: Segmentation fault") and "most recent call first" in said
