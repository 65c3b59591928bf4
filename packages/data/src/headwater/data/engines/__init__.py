"""Engines: adapters of `headwater.data.engine.Engine`."""
