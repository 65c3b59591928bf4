"""How kernels are compiled and kept: shared by processes, never stale, never in the way."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import headwater.data.operators.kernels.compiled as compiled_module

KERNEL = """
from headwater.data.operators.kernels.compiled import compiled

@compiled
def twice(number):
    return number * 2
"""
USE = """
import sys
sys.path.insert(0, sys.argv[1])
import kernel
assert kernel.twice(21) == 42
stats = kernel.twice.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


@pytest.fixture
def run(tmp_path):
    """Runs a process that uses a kernel in a folder of its own; returns (found in the cache, compiled)."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "kernel.py").write_text(KERNEL)

    def start(**environment: str) -> tuple[int, int]:
        env = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")} | environment
        command = [sys.executable, "-c", USE, str(folder)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        hits, misses = done.stdout.split()
        return int(hits), int(misses)

    return start


def test_the_second_process_finds_what_the_first_one_compiled(run, tmp_path):
    assert run(NUMBA_CACHE_DIR=str(tmp_path / "cache")) == (0, 1)
    assert run(NUMBA_CACHE_DIR=str(tmp_path / "cache")) == (1, 0)


def test_a_damaged_cache_is_compiled_anew(run, tmp_path):
    cache = tmp_path / "cache"
    run(NUMBA_CACHE_DIR=str(cache))
    for path in cache.rglob("*.nb[ci]"):
        path.write_bytes(path.read_bytes()[:20])
    assert run(NUMBA_CACHE_DIR=str(cache)) == (0, 1)
    assert run(NUMBA_CACHE_DIR=str(cache)) == (1, 0)


def test_without_a_folder_to_write_to_kernels_still_run(run, tmp_path):
    blocked = tmp_path / "a file"
    blocked.write_text("")
    code = tmp_path / "code"
    (code / "__pycache__").write_text("")  # no folder can be made here, whoever asks
    for _ in range(2):
        assert run(HOME=str(blocked), XDG_CACHE_HOME=str(blocked)) == (0, 1)


def test_a_change_in_any_kernel_makes_all_compiled_ones_stale(tmp_path, monkeypatch):
    folder = tmp_path / "kernels"
    shutil.copytree(Path(compiled_module.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(compiled_module, "__file__", str(folder / "compiled.py"))
    digest = compiled_module.sources_digest.__wrapped__
    before = digest()
    assert before == digest()
    (folder / "bytes8.py").write_text((folder / "bytes8.py").read_text() + "\n")
    assert digest() != before
