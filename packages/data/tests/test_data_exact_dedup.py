import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.ngrams import character_tables
from headwater.data.operators.exact_dedup import text_key, text_keys

ODD = st.text(
    alphabet=st.one_of(st.sampled_from("aZ \t\n\xa0\u3000ÉΣςİß日K"), st.characters(codec="utf-8")), max_size=40
)


@given(st.lists(ODD, max_size=6), st.booleans(), st.integers(0, 2))
def test_keys_of_a_column_are_those_of_its_texts(texts, normalize, start):
    array = pa.array(texts, pa.string()).slice(min(start, len(texts)))
    assert text_keys(array, normalize).to_pylist() == [text_key(text, normalize) for text in texts[start:]]


def test_only_two_letters_need_their_neighbours_to_be_lower_cased():
    lower, _ = character_tables()
    surrogates = range(0xD800, 0xE000)
    different = [c for c in range(0x110000) if c not in surrogates and chr(c).lower() != chr(lower[c])]
    assert different == [0x130]
    assert [c for c in range(0x110000) if c not in surrogates and ("A" + chr(c)).lower()[1:] != chr(c).lower()] == [
        0x3A3
    ]
