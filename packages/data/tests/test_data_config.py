"""What the sections of the data stages refuse before anything starts."""

import pytest

from headwater.core.config import validate
from headwater.core.errors import ConfigError
from headwater.data.config import DocumentsConfig


def documents(*steps):
    return validate(DocumentsConfig, {"sources": {"web": ["extract", *steps]}}, "documents")


def extract(**options):
    return validate(DocumentsConfig, {"sources": {"web": [{"extract": options}]}}, "documents")


@pytest.mark.parametrize("selector", ["nav", "div[style*=float]", "h1, h2 > a", "a:not(.x)", "*"])
def test_css_selectors_that_the_extractor_reads_are_taken(selector):
    assert extract(skip=[selector]).sources["web"][0].extract.skip == (selector,)


@pytest.mark.parametrize("selector", ["", "div[", ">>", "p::before", ":has(", "p,"])
def test_a_css_selector_that_cannot_be_read_is_named_by_its_place(selector):
    with pytest.raises(ConfigError, match=r"^documents\.sources\.web\.0\.extract\.skip\.1 is not valid\n") as error:
        extract(skip=["nav", selector])
    assert error.value.found == repr(selector) and "CSS selector" in str(error.value.expected)


@pytest.mark.parametrize("selector", ['[a="b', "p:not(.a"])
def test_a_css_selector_that_would_take_in_the_next_one_is_refused(selector):
    with pytest.raises(ConfigError, match=r"skip\.0 is not valid(?s:.)*every quote and bracket is closed"):
        extract(skip=[selector, "nav"])
