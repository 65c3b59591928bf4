"""Contracts that every stage of Headwater shares: artifacts, order, metrics, events, configuration, command line."""

__version__ = "0.1.0"
