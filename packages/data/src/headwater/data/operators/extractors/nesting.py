"""How deep the elements of a page are nested, told from its tags before any parser sees it.

Tree construction (HTML Living Standard §13.2.6) takes time that is quadratic in the depth of a page, and space that
is quadratic in its open formatting elements (`<b id=1><p><b id=2><p>…`). A browser cuts a page off at about 500
levels; here a page that is too deep is set aside before it is parsed, so that the decision depends on its bytes alone.
"""

from __future__ import annotations

import re

import numpy as np

SMALL_TAGS = 3_000
"""The worst page with so many tags takes resiliparse two seconds and 440 MB."""
SMALL_BYTES = 200_000
"""The worst page of this length (tags of thousands of attributes each) takes it about a second."""

# Void elements, and those that the next one of their kind closes: they add no level of their own.
_NO_NESTING = frozenset(
    (
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
        "p", "li", "dt", "dd", "option", "optgroup", "tr", "td", "th", "thead", "tbody", "tfoot", "colgroup", "rp",
        "rt", "html", "body", "a", "nobr",
    )
)  # fmt: skip
_NO_PAIRS, _FLAT_PAIRS = np.zeros((2, 1 << 16), np.bool_)
for _name in _NO_NESTING:
    for _end in b" >/*":  # "*" is what becomes of a line feed where letters become small ones
        _pair = f"{_name}{chr(_end)}".encode()
        _FLAT_PAIRS[_pair[0] << 8 | _pair[1]] = True
_RAW = frozenset(("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"))
_TAG = re.compile(r"<(/?)([A-Za-z][^\s/>]{0,60})")


def is_small(utf8: bytes) -> bool:
    """Whether a page has so few tags and bytes that no arrangement of them keeps a parser for long."""
    if len(utf8) > SMALL_BYTES:
        return False
    if len(utf8) <= 3 * SMALL_TAGS:  # a tag has three characters at least
        return True
    from headwater.data.operators.kernels.payloads import tag_openings

    return bool(tag_openings(np.frombuffer(utf8, np.uint8)) <= SMALL_TAGS)


def nested_deeper(utf8: bytes, limit: int) -> int:
    """The depth at which a page's elements are nested when that is more than `limit`, else 0.

    Elements that HTML never nests in themselves (`p`, `li`, `td`…) count as no level of their own. The time is linear.
    """
    # Three counts, each slower and closer than the one before; nearly all pages end with the first.
    if _surplus(utf8, every_tag=True) <= limit or _surplus(utf8, every_tag=False) <= limit:
        return 0
    depth = _depth(utf8.decode("utf-8", "replace"))
    return depth if depth > limit else 0


def _surplus(utf8: bytes, *, every_tag: bool) -> int:
    """The greatest surplus of opening over closing tags: of all, or without those whose two letters never nest."""
    from headwater.data.operators.kernels.payloads import tag_surplus

    return tag_surplus(np.frombuffer(utf8, np.uint8), _NO_PAIRS if every_tag else _FLAT_PAIRS)


def _depth(html: str) -> int:
    """The greatest number of elements open at once: comments and scripts skipped, closing tags matched by name."""
    open_now: dict[str, int] = {}
    depth = deepest = position = 0
    while (start := html.find("<", position)) >= 0:
        if html.startswith("<!--", start):
            end = html.find("-->", start + 4)
            if end < 0:
                break
            position = end + 3
            continue
        tag = _TAG.match(html, start)
        if tag is None:
            position = start + 1
            continue
        end = html.find(">", tag.end())
        if end < 0:
            break
        position = end + 1
        name = tag[2].lower()
        if tag[1]:
            if open_now.get(name):
                open_now[name] -= 1
                depth -= 1
        elif name in _RAW:
            closed = re.compile(f"</{name}", re.IGNORECASE).search(html, position)
            if closed is None:
                break
            position = closed.start()
        elif name not in _NO_NESTING and html[end - 1] != "/":
            open_now[name] = open_now.get(name, 0) + 1
            depth += 1
            deepest = max(deepest, depth)
    return deepest
