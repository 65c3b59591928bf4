"""Which engine a recipe asks for. An engine is imported only when it is used."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from headwater.data.config import EngineConfig
from headwater.data.engines.processes import workers_for


def open_engine(config: EngineConfig, work: Path) -> AbstractContextManager[Any]:
    """The engine of a recipe, for one pipeline.

    Args:
        config: The section `documents.engine`.
        work: A folder for what lies between steps; a job that was killed finds its finished work there. Each engine
            has its own, because they do not read one another's files.

    Raises:
        ConfigError: What the engine needs is not installed, or it does not take its options.
        DataError: The engine does not start.
    """
    if config.name == "spark":
        from headwater.data.engines.spark.engine import SparkEngine

        return SparkEngine(work.with_name(f"{work.name}-spark"), config.spark, config.workers)
    if config.name == "beam":
        from headwater.data.engines.beam.load import open_beam

        return open_beam(work.with_name(f"{work.name}-beam"), config.beam, workers_for(config.workers))
    from headwater.data.engines.local import LocalEngine

    return LocalEngine(work, workers_for(config.workers))
