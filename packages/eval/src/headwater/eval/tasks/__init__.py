"""Headwater's own evaluation tasks: lm-eval task files, their items, and the functions that the files name."""
