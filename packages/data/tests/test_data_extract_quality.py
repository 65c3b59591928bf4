"""The labelled pages are what they say, and the default extractor keeps on them the quality that the docs give."""

import importlib.util
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks/data"


@pytest.fixture(scope="module")
def quality():
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location("extract_quality", FOLDER / "extract_quality.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(FOLDER))


def test_the_pages_are_the_same_every_time_and_unlike_one_another(quality):
    first, second = quality.labelled_pages(), quality.labelled_pages()
    assert first == second
    assert len({page.html for page in first}) == len(first) >= 40
    assert len({page.kind for page in first}) >= 15 and len({page.language for page in first}) >= 10


def test_all_main_content_is_visible_and_not_all_that_is_visible_is_main_content(quality):
    pages = [page for page in quality.labelled_pages() if page.truth]
    for page, text in zip(pages, quality.texts(pages, {"scope": "full"}), strict=True):
        words, visible = quality.TOKEN.findall(page.truth.lower()), set(quality.TOKEN.findall(text.lower()))
        assert set(words) <= visible, page.name
        assert len(words) < len(quality.TOKEN.findall(text.lower())), page.name


def test_scores(quality):
    assert quality.scores("a b c d e", "a b c d e") == (1, 1, 1)
    assert quality.scores("a b c d e", "a b c d") == (1, 0.5, pytest.approx(2 / 3))
    assert quality.scores("a b c d", "") == (0, 0, 0)
    assert quality.scores("古い橋は川の", "x 古い橋は川の") == (0.75, 1, pytest.approx(6 / 7))


@pytest.mark.parametrize(
    ("options", "least_f1", "least_recall"),
    [({}, 0.88, 0.96), ({"html": "trafilatura"}, 0.88, 0.88), ({"html": "justext"}, 0.80, 0.82)],
    ids=["resiliparse", "trafilatura", "justext"],
)
def test_quality(quality, options, least_f1, least_recall):
    if options:
        pytest.importorskip(options["html"])
    pages = [page for page in quality.labelled_pages() if page.truth]
    found = [quality.scores(page.truth, text) for page, text in zip(pages, quality.texts(pages, options), strict=True)]
    assert sum(f1 for _, _, f1 in found) / len(found) >= least_f1
    assert sum(recall for _, recall, _ in found) / len(found) >= least_recall
