"""Headwater data: from WARC records to clean documents, a tokenizer and token files."""

__version__ = "0.1.0"
PRODUCER = f"headwater-data {__version__}"
