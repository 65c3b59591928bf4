"""Which engine a recipe asks for. An engine is imported only when it is used."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from headwater.data.config import EngineConfig
from headwater.data.engines.processes import workers_for


def open_engine(config: EngineConfig, root: Path, name: Callable[[], str]) -> AbstractContextManager[Any]:
    """The engine of a recipe, for one pipeline.

    Args:
        config: The section `documents.engine`.
        root: Where the work folders are, for what lies between steps; a job that was killed finds its finished work
            there. Each engine has its own, because they do not read one another's files.
        name: Gives the name of the work folder; called when there is nothing else left to do.

    Raises:
        ConfigError: What the engine needs is not installed, or it does not take its options.
        DataError: The engine does not start.
    """
    if config.name == "spark":
        from headwater.data.engines.spark.engine import SparkEngine
        from headwater.data.engines.spark.session import Opened

        opened = Opened.start(config.spark, workers_for(config.workers), root)
        try:
            return SparkEngine(root / f"{name()}-spark", config.spark, opened=opened)
        except BaseException:
            opened.close()
            raise
    if config.name == "beam":
        from headwater.data.engines.beam.load import open_beam

        return open_beam(root / f"{name()}-beam", config.beam, workers_for(config.workers))
    from headwater.data.engines.local import LocalEngine

    return LocalEngine(root / name(), workers_for(config.workers))
