"""Imported once by the server that `processes` forks from: it imports what training needs and starts nothing."""

from __future__ import annotations

import os

# Read once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from headwater.train.titan import cpu

cpu.install("cpu")

import headwater.train.runner  # noqa: E402
import headwater.train.synthetic  # noqa: E402
import headwater.train.titan.build  # noqa: E402, F401
