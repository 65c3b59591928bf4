"""trafilatura (Barbaresi, "Trafilatura: A Web Scraping Library", ACL 2021): XPath rules with two fallbacks."""

from __future__ import annotations

from headwater.data.operators.extractors.options import Options


def extract(html: str, options: Options) -> str:
    """The main content; precision and recall in trafilatura's own balance."""
    import trafilatura

    # Without a limit of its own on the tree's size: what is too large has been set aside before.
    return trafilatura.extract(html, include_comments=options.comments is True, favor_precision=False) or ""
