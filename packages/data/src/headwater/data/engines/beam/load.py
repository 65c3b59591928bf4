"""Opening the Beam engine, where Beam is installed."""

from __future__ import annotations

import importlib
import logging
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.core.errors import ConfigError
from headwater.data.engines.beam.options import BeamConfig

if TYPE_CHECKING:
    from headwater.data.engines.beam.engine import BeamEngine


def open_beam(work: Path, config: BeamConfig, workers: int) -> BeamEngine:
    """The engine; see `BeamEngine` for the arguments.

    Raises:
        ConfigError: Beam is not installed, or does not know the runner or an option.
    """
    if find_spec("apache_beam") is None:
        raise ConfigError(
            "the Beam engine needs Apache Beam, which is not installed", hint="pip install 'headwater-data[beam]'"
        )
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # Beam warns of each cloud library that is not there
    try:
        engine = importlib.import_module("headwater.data.engines.beam.engine")
    finally:
        logging.disable(before)
    return engine.BeamEngine(work, config, workers)
