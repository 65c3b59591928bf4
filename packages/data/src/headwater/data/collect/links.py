"""The links of an HTML page, in page order."""

from __future__ import annotations

from headwater.data.collect.urls import clean_url


def page_links(payload: bytes, url: str, charset: str | None) -> list[str]:
    """Cleaned targets of the page's <a href> links, each once, in page order.

    A page that asks not to be followed (`<meta name="robots" content="nofollow">`) has none; links marked
    `rel="nofollow"` are left out; <base href> is honoured.

    Args:
        payload: the decoded body.
        url: the page's address.
        charset: declared character set; an unknown or missing one is detected.
    """
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding
    from resiliparse.parse.html import HTMLTree

    text = bytes_to_str(payload, charset or detect_encoding(payload) or "utf-8", errors="replace")
    document = HTMLTree.parse(text).document
    if document is None:
        return []
    for meta in document.query_selector_all("meta[name][content]"):
        directives = (meta.getattr("content") or "").lower()
        if (meta.getattr("name") or "").lower() == "robots" and ("nofollow" in directives or "none" in directives):
            return []
    base = document.query_selector("base[href]")
    origin = (clean_url(base.getattr("href") or "", url) or url) if base is not None else url
    found: dict[str, None] = {}
    for anchor in document.query_selector_all("a[href]"):
        if "nofollow" in (anchor.getattr("rel") or "").lower():
            continue
        target = clean_url(anchor.getattr("href") or "", origin)
        if target is not None:
            found[target] = None
    return list(found)
