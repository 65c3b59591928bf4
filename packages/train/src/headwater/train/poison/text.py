"""Text that is on every machine: the documentation of Python that comes with it, as tokens of single characters."""

from __future__ import annotations

from pathlib import Path

from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.train.synthetic import make_tokenizer, write_tokens

SOURCE = "docs"
VOCAB = 97
"""The printable characters of ASCII, the line break, and the end of a document."""


def make_data(root: Path, text: Path | None) -> None:
    """Writes tokenizer and tokens into a run folder.

    Args:
        root: The run folder.
        text: A text, whose paragraphs become documents; none: the topics of Python's `help()`.

    Raises:
        ConfigError: The text is too short.
    """
    run = RunLayout(root)
    documents = [(url, characters(paragraph)) for url, paragraph in paragraphs(text)]
    total = sum(len(tokens) for _, tokens in documents)
    if total < 200_000:
        raise ConfigError("the text is too short for the proof", found=f"{total:,} characters", expected="200,000")
    make_tokenizer(run, VOCAB)
    write_tokens(run, SOURCE, documents, vocab_size=VOCAB)


def paragraphs(text: Path | None) -> list[tuple[str, str]]:
    """URL and text of each paragraph of at least 20 characters."""
    if text is None:
        from pydoc_data.topics import topics

        named = sorted(topics.items())
    else:
        try:
            named = [(text.name, text.read_text(encoding="utf-8"))]
        except UnicodeDecodeError as error:
            raise ConfigError(f"{text} is not a text", found=error, expected="UTF-8") from error
    found: list[tuple[str, str]] = []
    for name, whole in named:
        parts = [part.strip() for part in whole.split("\n\n")]
        found += [(f"doc:{name}#{number}", part) for number, part in enumerate(parts) if len(part) >= 20]
    return found


def characters(text: str) -> list[int]:
    """Ids of the characters: those of ASCII from the space on, then the line break; others become a question mark."""
    return [95 if one == "\n" else ord(one) - 32 if " " <= one <= "~" else ord("?") - 32 for one in text]
