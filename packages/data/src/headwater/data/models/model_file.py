"""Models in recipes: given by the path of a file or a folder, recorded by content.

A recipe names a model by its path, relative to the folder the command runs in. What an artifact records, and what
decides whether a stage is up to date, is its SHA-256: the same model in another folder gives the same artifact,
and another model at the same path runs the stage again. A recorded configuration is still a valid recipe section.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from headwater.core.errors import ConfigError
from headwater.data.models import card
from headwater.data.operators.base import Operator, OperatorConfig

_RECORDED = re.compile(r"sha256:[0-9a-f]{64}")

FilePath = Annotated[str, Field(min_length=1)]
"""Path of a model or list, or `sha256:…` in a recorded configuration."""


class FileOptions(OperatorConfig):
    """Base of the options of operators that use files. Those of `FOLDERS` are folders."""

    FILES: ClassVar[tuple[str, ...]] = ("model",)
    FOLDERS: ClassVar[tuple[str, ...]] = ()

    def content(self) -> dict[str, Any]:
        """The options as artifacts record them: each file by its digest.

        Raises:
            ConfigError: A file is missing, damaged, or not of the kind that the operator uses.
        """
        plain = super().content()
        for name in self.FILES:
            value = plain[name]
            if value is not None and not _RECORDED.fullmatch(value):
                plain[name] = digest_of(value, folder=name in self.FOLDERS)
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
                digest_of(getattr(config, name), folder=name in config.FOLDERS)


def digest_of(path: str, *, folder: bool = False) -> str:
    """The digest of a file or folder, as `sha256:…`; computed once as long as the file is unchanged.

    Raises:
        ConfigError: There is none, or its model card says that it was different.
    """
    found = Path(path)
    if _RECORDED.fullmatch(path):
        raise ConfigError("a recorded configuration knows its model by content only", found=path,
                          hint="give the path of the file with this SHA-256 in the recipe")  # fmt: skip
    if not (found.is_dir() if folder else found.is_file()):
        other = "a file" if found.is_file() else "a folder" if found.is_dir() else "nothing"
        raise ConfigError(f"there is no {'folder' if folder else 'file'} {path}", found=other,
                          hint="paths in a recipe are relative to the folder the command runs in; "
                          "headwater data model train --help makes models")  # fmt: skip
    sha256 = card.sha256_of(found)
    card.check(found, sha256)
    return f"sha256:{sha256}"
