"""Which documents are held out of training."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from headwater.core.documents import split_of


@dataclass(frozen=True)
class HeldOut:
    """A rule that looks at one document and at no other.

    Attributes:
        ratio: Share of the documents, by the hash of their id.
        urls: Patterns (`*`, `?`, `[…]`) of URLs that are held out besides.
    """

    ratio: float
    urls: tuple[str, ...] = ()

    def split(self, identifier: str, url: str) -> str:
        """The split of a document, "train" or "validation"."""
        if any(fnmatchcase(url, pattern) for pattern in self.urls):
            return "validation"
        return split_of(identifier, self.ratio)
