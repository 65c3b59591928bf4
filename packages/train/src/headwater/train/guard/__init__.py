"""The loss guard: detectors that watch a run's loss and gradient norm, and what is done when one alarms.

Everything here is plain Python on numbers that every rank has: no torch. Each detector is a stream, takes memory in
proportion to its window, and has a state of JSON values, so that it lives in the checkpoint and a run that goes on
decides what it would have decided.
"""
