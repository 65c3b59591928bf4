"""Tries of model inputs: each is there and attends to itself alone, and no token is read in vain."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.eval.trie import Row, Stem, grow

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=14).map(tuple)
ROWS = st.dictionaries(TOKENS, st.integers(1, 5), min_size=1, max_size=25).map(
    lambda found: [Row(tokens, min(scored, len(tokens))) for tokens, scored in found.items()]
)


def walk(stem: Stem, before: tuple[int, ...] = ()):
    """Every bundle with the tokens that it goes on from."""
    assert stem.start == len(before)
    before = (*before, *stem.tokens)
    yield from ((before, bundle) for bundle in stem.bundles)
    for each in stem.stems:
        yield from walk(each, before)


@settings(deadline=None)
@given(ROWS, st.integers(0, 30), st.integers(1, 6))
def test_each_input_is_read_once_and_sees_itself_alone(rows, bundle, stem):
    root = grow(rows, bundle=bundle, stem=stem)
    seen = []
    for before, found in walk(root):
        mask = found.mask()
        assert mask.shape == (len(found), len(found)) and len(found) == len(found.positions)
        for index, wanted in zip(found.rows, found.wanted, strict=True):
            row = rows[index]
            assert len(wanted) == row.scored
            for back, place in enumerate(wanted[::-1]):
                visible = np.flatnonzero(mask[place])
                tokens = (*before, *found.tokens[visible].tolist())
                assert tokens == row.tokens[: len(row.tokens) - back]
                assert found.positions[visible].tolist() == list(range(len(before), len(tokens)))
            seen.append(index)
        if not found.branches:
            assert (mask == np.tri(len(found), dtype=bool)).all()
        assert len(found.rows) == 1 or len(found) <= max(bundle, len(rows[found.rows[0]].tokens))
    assert sorted(seen) == list(range(len(rows)))


@settings(deadline=None)
@given(ROWS)
def test_what_is_read_is_between_the_exact_trie_and_the_inputs(rows):
    exact = len({row.tokens[:size] for row in rows for size in range(1, len(row.tokens) + 1)})
    whole = sum(len(row.tokens) for row in rows)
    assert exact <= grow(rows, bundle=0, stem=1).computed <= whole
    assert exact <= grow(rows).computed <= whole
    assert grow(rows, bundle=0, stem=100).computed == whole


def test_a_header_is_a_stem_and_choices_are_a_bundle():
    header = tuple(range(300))
    rows = [
        Row((*header, *(1000 + question,) * 40, 2000 + choice, 7), 2) for question in range(60) for choice in range(4)
    ]
    root = grow(rows)
    assert root.bundles == [] and [len(stem.tokens) for stem in root.stems] == [300]
    assert sorted(len(bundle) for bundle in root.stems[0].bundles) == [40 + 4 * 2] * 60
    assert root.computed == 300 + 60 * 48


def test_none_are_none():
    assert grow([]).computed == 0 and grow([]).bundles == []
