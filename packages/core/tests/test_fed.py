import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from headwater.core.fed import as_signed, as_text, fed_digest

TOKENS = arrays(np.int64, (8, 5), elements=st.integers(0, 70_000))
PLACES = arrays(np.int64, (8, 4), elements=st.integers(0, 3))


@given(TOKENS, PLACES, st.integers(0, 10**15), st.sampled_from([1, 2, 4, 8]))
def test_parts_of_a_batch_add_up_however_it_is_cut(tokens, places, first, parts):
    size = 8 // parts
    total = sum(
        fed_digest(first + start, tokens[start : start + size], places[start : start + size])
        for start in range(0, 8, size)
    )
    whole = fed_digest(first, tokens, places)
    assert as_signed(total) == whole and -(2**63) <= whole < 2**63
    # As tensors add: 64 bits that wrap around.
    pieces = [fed_digest(first + start, tokens[start : start + size], places[start : start + size])
              for start in range(0, 8, size)]  # fmt: skip
    with np.errstate(over="ignore"):
        assert int(np.array(pieces, dtype=np.int64).sum()) == whole


@given(TOKENS, PLACES, st.integers(0, 7), st.integers(0, 3))
def test_another_token_place_number_or_order_is_another_digest(tokens, places, row, column):
    whole = fed_digest(40, tokens, places)
    for array in (tokens, places):
        array[row, column] += 1
        assert fed_digest(40, tokens, places) != whole
        array[row, column] -= 1
    assert fed_digest(41, tokens, places) != whole
    other = (row + 1) % 8
    if not (np.array_equal(tokens[row], tokens[other]) and np.array_equal(places[row], places[other])):
        swapped = np.arange(8)
        swapped[[row, other]] = other, row
        assert fed_digest(40, tokens[swapped], places[swapped]) != whole


def test_the_digest_never_changes():
    """`losses.jsonl` of every run holds it."""
    tokens, places = np.arange(12).reshape(2, 6), np.tile(np.arange(5), (2, 1))
    assert as_text(fed_digest(7, tokens, places)) == "d1786b24060f1243"
    assert as_text(-1) == "f" * 16
