"""What the sections of the data stages refuse before anything starts."""

import pytest

from headwater.core.config import validate
from headwater.core.errors import ConfigError
from headwater.data.config import DocumentsConfig, TokenizerConfig


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


@pytest.mark.parametrize(
    ("given", "near"),
    [("english", "en (English)"), ("eng", "en (English)"), ("en-US", "en (English)"), ("EN", "en (English)"),
     ("germna", "de (German)"), ("deu", "de (German)"), ("ger", "de (German)"), ("zh_CN", "zh (Chinese)"),
     ("cebu", "ceb (Cebuano)")],
)  # fmt: skip
def test_an_unknown_language_is_refused_with_the_nearest_code(given, near):
    with pytest.raises(ConfigError) as error:
        documents({"language": {"allowed": {"fr": 0.5, given: 0.5}}})
    assert error.value.message == f"documents.sources.web.1.language.allowed.{given} is not valid"
    assert error.value.found == repr(given) and "lid.176" in str(error.value.expected)
    assert error.value.hint == f"did you mean {near}?"


def test_a_language_that_is_like_no_other_is_refused_without_a_guess():
    with pytest.raises(ConfigError, match=r"allowed\.99 is not valid") as error:
        documents({"language": {"allowed": {"99": 0.5}}})
    assert error.value.hint is None


def test_norwegian_without_quotes_is_explained():
    with pytest.raises(ConfigError, match=r'language\.allowed is not valid(?s:.)*write "no" in quotes'):
        documents({"language": {"allowed": {False: 0.5}}})


@pytest.mark.parametrize("score", [-0.1, 1.5, 65])
def test_a_language_score_lies_between_0_and_1(score):
    with pytest.raises(ConfigError, match=r"language\.allowed\.en is not valid"):
        documents({"language": {"allowed": {"en": score}}})


@pytest.mark.parametrize("rule", ["top_ngrams", "duplicate_ngrams"])
@pytest.mark.parametrize(("n", "share"), [(2, 1.5), (2, -0.1), (0, 0.5), (-1, 0.5), (10**30, 0.5)])
def test_repetition_rules_have_a_length_and_a_share(rule, n, share):
    with pytest.raises(ConfigError, match=rf"gopher_repetition\.{rule}\.{n} is not valid"):
        documents({"gopher_repetition": {rule: {n: share}}})


@pytest.mark.parametrize(("region", "hint"), [("ZZ", None), ("us", "US"), ("USA", "US"), ("", None)])
def test_a_region_without_phone_numbers_is_refused(region, hint):
    with pytest.raises(ConfigError, match=r"pii\.phone_region is not valid(?s:.)*ISO 3166") as error:
        documents({"pii": {"phone_region": region}})
    assert hint is None or error.value.hint == f"did you mean {hint}?"
    assert documents({"pii": {"phone_region": "DE"}}).sources["web"][1].pii.phone_region == "DE"


@pytest.mark.parametrize(
    ("given", "path", "found"),
    [(-5, "", "-5"), (0, "", "0"), ("many", "", "'many'"), ({}, "", "{}"), (10**30, "", str(10**30)),
     ({"web": -5}, ".web", "-5"), ({"web": "all"}, ".web", "'all'")],
)  # fmt: skip
def test_a_sample_has_a_size(given, path, found):
    with pytest.raises(ConfigError, match=rf"^tokenizer\.sample_bytes{path} is not valid\n") as error:
        validate(TokenizerConfig, {"sample_bytes": given}, "tokenizer")
    assert error.value.found == found


def test_a_sample_is_one_number_or_one_for_each_source():
    sources = ["web", "code", "books"]
    assert TokenizerConfig(sample_bytes=10).quotas(sources) == {"web": 10, "code": 10, "books": 10}
    each = TokenizerConfig(sample_bytes={"web": 10, "code": 0})
    assert each.quotas(sources) == {"web": 10, "code": 0, "books": 0}
