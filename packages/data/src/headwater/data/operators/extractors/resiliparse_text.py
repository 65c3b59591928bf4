"""resiliparse (Bevendorff et al., "Elastic ChatNoir", ECIR 2018): an HTML5 tree, and rules for what is boilerplate."""

from __future__ import annotations

from resiliparse.extract.html2text import extract_plain_text

from headwater.data.operators.extractors.options import Options


def extract(html: str, options: Options) -> str:
    """The main content, or all visible text; block structure, lists and preformatted text keep their lines."""
    return extract_plain_text(
        html, main_content=options.scope == "main", preserve_formatting=True, alt_texts=False,
        comments=options.comments is not False, skip_elements=list(options.skip) or None,
    )  # fmt: skip
