"""Tokenizers and token files: training, report, encoding."""
