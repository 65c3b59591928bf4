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
        charset: declared character set; an unknown or missing one is taken from the page.
    """
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]  (compiled, without stubs)

    try:
        root = etree.fromstring(payload, etree.HTMLParser(encoding=charset, huge_tree=True))
    except LookupError:
        root = etree.fromstring(payload, etree.HTMLParser(huge_tree=True))
    except (etree.XMLSyntaxError, ValueError):
        return []
    if root is None:
        return []
    origin = url
    hrefs: dict[str, None] = {}
    for element in root.iter("a", "meta", "base"):
        href = element.get("href")
        if element.tag == "meta":
            directives = (element.get("content") or "").lower()
            if (element.get("name") or "").lower() == "robots" and ("nofollow" in directives or "none" in directives):
                return []
        elif element.tag == "base" and href and origin == url:
            origin = clean_url(href, url) or url
        elif element.tag == "a" and href and "nofollow" not in (element.get("rel") or "").lower():
            target = href.partition("#")[0].strip()
            if target:
                hrefs[target] = None
    targets = (clean_url(href, origin) for href in hrefs)
    return list(dict.fromkeys(target for target in targets if target is not None))
