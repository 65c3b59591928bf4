"""The error tree.

    HeadwaterError
    ├── ConfigError     a recipe, an override or a flag is wrong; nothing was started
    ├── ManifestError   an artifact is missing, half-written, damaged or of another schema version
    ├── StorageError    a disk or an object store refused a read or a write
    ├── DataError       the data stage cannot go on (for example: nothing left after the filters)
    ├── TrainError      training cannot go on (for example: a non-finite loss)
    └── EvalError       evaluation cannot go on (for example: a tokenizer that does not match)

A message says what failed, what was found, what was expected, and what to do.
"""

from __future__ import annotations


class HeadwaterError(Exception):
    """Base of every error that Headwater raises on purpose.

    Args:
        message: What failed, in one sentence.
        found: What was there.
        expected: What should have been there.
        hint: What the reader can do now.
    """

    exit_code = 1

    def __init__(self, message: str, *, found: object = None, expected: object = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.found = found
        self.expected = expected
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message]
        if self.found is not None:
            lines.append(f"  found:    {self.found}")
        if self.expected is not None:
            lines.append(f"  expected: {self.expected}")
        if self.hint:
            lines.append(f"  to do:    {self.hint}")
        return "\n".join(lines)


class ConfigError(HeadwaterError):
    """A recipe, an override or a flag is wrong; nothing was started."""

    exit_code = 2


class ManifestError(HeadwaterError):
    """An artifact is missing, half-written, damaged or of another schema version."""


class StorageError(HeadwaterError):
    """A disk or an object store refused a read or a write."""


class DataError(HeadwaterError):
    """The data stage cannot go on."""


class TrainError(HeadwaterError):
    """Training cannot go on."""


class EvalError(HeadwaterError):
    """Evaluation cannot go on."""
