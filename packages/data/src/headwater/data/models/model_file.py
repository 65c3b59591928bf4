"""Model files in recipes: given by path, recorded by content.

A recipe names a model by its path, relative to the folder the command runs in. What an artifact records, and what
decides whether a stage is up to date, is the file's SHA-256: the same model in another folder gives the same artifact,
and another model at the same path runs the stage again. A recorded configuration is still a valid recipe section.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from headwater.core.errors import ConfigError
from headwater.core.storage import file_sha256, storage_errors
from headwater.data.models import card
from headwater.data.operators.base import Operator, OperatorConfig

_RECORDED = re.compile(r"sha256:[0-9a-f]{64}")

FilePath = Annotated[str, Field(min_length=1)]
"""Path of a model or list, or `sha256:…` in a recorded configuration."""


class FileOptions(OperatorConfig):
    """Base of the options of operators that use files."""

    FILES: ClassVar[tuple[str, ...]] = ("model",)

    def content(self) -> dict[str, Any]:
        """The options as artifacts record them: each file by its digest.

        Raises:
            ConfigError: A file is missing, damaged, or not of the kind that the operator uses.
        """
        plain = super().content()
        for name in self.FILES:
            value = plain[name]
            if value is not None and not _RECORDED.fullmatch(value):
                plain[name] = digest_of(value)
                self.check(name, Path(value))
        return plain

    def check(self, name: str, path: Path) -> None:
        """Refuses a file that the operator cannot use.

        Args:
            name: The option.
            path: The file; it exists and is whole.

        Raises:
            ConfigError: It is no such file.
        """


class FileOperator(Operator):
    """Base of operators that use files.

    Raises:
        ConfigError: A file is missing, or the configuration is a recorded one and knows its files by content only.
    """

    def __init__(self, config: FileOptions) -> None:
        super().__init__(config)
        for name in config.FILES:
            if getattr(config, name) is not None:
                digest_of(getattr(config, name))


def digest_of(path: str) -> str:
    """The digest of a file, as `sha256:…`; computed once as long as the file is unchanged.

    Raises:
        ConfigError: There is no such file, or its model card says that it was different.
    """
    found = Path(path)
    if _RECORDED.fullmatch(path):
        raise ConfigError("a recorded configuration knows its model by content only", found=path,
                          hint="give the path of the file with this SHA-256 in the recipe")  # fmt: skip
    if not found.is_file():
        raise ConfigError(f"there is no file {path}", found="a folder" if found.is_dir() else "nothing",
                          hint="paths in a recipe are relative to the folder the command runs in; "
                          "headwater data model train --help makes models")  # fmt: skip
    with storage_errors("read", found):
        state = found.stat()
        sha256 = _sha256(str(found.resolve()), state.st_size, state.st_mtime_ns)
    card.check(found, sha256)
    return f"sha256:{sha256}"


@lru_cache(maxsize=64)
def _sha256(path: str, size: int, modified: int) -> str:
    return file_sha256(path)
