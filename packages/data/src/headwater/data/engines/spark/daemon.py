"""Starts a Spark worker's Python processes: as pyspark's own daemon does, with Headwater imported before the forks."""

from __future__ import annotations

if __name__ == "__main__":
    import gc

    from pyspark import daemon

    import headwater.data.documents  # noqa: F401 — so that each process need not import it again

    # Spark collects garbage after each task: what was imported is not looked through every time.
    gc.collect()
    gc.freeze()
    daemon.manager()
