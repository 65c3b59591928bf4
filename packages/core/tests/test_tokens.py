import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from headwater.core.errors import DataError
from headwater.core.tokens import MegatronReader, MegatronWriter


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 60).flatmap(lambda n: arrays(np.int64, n, elements=st.integers(0, 65534)))),
    st.sampled_from([1000, 65535, 65536, 200_000]),
)
def test_what_is_written_is_read(tmp_path_factory, documents, vocab_size):
    prefix = tmp_path_factory.mktemp("tokens") / "train"
    with MegatronWriter(prefix, vocab_size) as writer:
        for document in documents:
            writer.add(document)
    reader = MegatronReader(prefix)
    assert reader.dtype is (np.uint16 if vocab_size <= 65535 else np.int32)
    assert reader.lengths.tolist() == [len(document) for document in documents]
    for start, document in zip(reader.starts.tolist(), documents, strict=True):
        assert reader.get(start, len(document)).tolist() == document.tolist()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(0, 140), st.integers(0, 140))
def test_sequences_are_found_by_their_tokens(tmp_path_factory, lengths, one, other):
    prefix = tmp_path_factory.mktemp("tokens") / "train"
    with MegatronWriter(prefix, 1000) as writer:
        for length in lengths:
            writer.add([1] * length)
    reader = MegatronReader(prefix)
    first, stop = sorted((one, other))
    starts = np.cumsum([0, *lengths[:-1]])
    inside = (starts >= first) & (starts < stop)
    assert reader.starts_between(first, stop).tolist() == starts[inside].tolist()
    low, high = reader.sequences_of(first, stop)
    holding = [number for number, (start, length) in enumerate(zip(starts, lengths, strict=True))
               if length and start < stop and start + length > first and first < stop]  # fmt: skip
    assert set(holding) <= set(range(low, high))
    assert all(lengths[number] == 0 for number in set(range(low, high)) - set(holding)) or first >= min(
        sum(lengths), stop
    )


def test_index_is_laid_out_as_megatron_lays_it_out(tmp_path):
    with MegatronWriter(tmp_path / "t", 4096) as writer:
        writer.add([1, 2, 3])
        writer.add([4])
    expected = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, 2, 3)
    expected += struct.pack("<2i", 3, 1) + struct.pack("<2q", 0, 6) + struct.pack("<3q", 0, 1, 2)
    assert (tmp_path / "t.idx").read_bytes() == expected
    assert (tmp_path / "t.bin").read_bytes() == struct.pack("<4H", 1, 2, 3, 4)


def test_damage_is_refused(tmp_path):
    with pytest.raises(DataError, match="is missing"):
        MegatronReader(tmp_path / "t")
    with MegatronWriter(tmp_path / "t", 4096) as writer:
        writer.add([1, 2, 3])
    data, index = (tmp_path / "t.bin").read_bytes(), (tmp_path / "t.idx").read_bytes()
    (tmp_path / "t.bin").write_bytes(data[:-2])
    with pytest.raises(DataError, match=r"(?s)does not match its index.*2 tokens.*3 tokens"):
        MegatronReader(tmp_path / "t")
    (tmp_path / "t.bin").write_bytes(data)
    (tmp_path / "t.idx").write_bytes(index[:-1])
    with pytest.raises(DataError, match="is damaged"):
        MegatronReader(tmp_path / "t")
    (tmp_path / "t.idx").write_bytes(b"x" + index[1:])
    with pytest.raises(DataError, match="not a Megatron index"):
        MegatronReader(tmp_path / "t")


def test_a_failed_writer_leaves_no_index(tmp_path):
    with pytest.raises(RuntimeError), MegatronWriter(tmp_path / "t", 4096) as writer:
        writer.add([1])
        raise RuntimeError
    assert not (tmp_path / "t.idx").exists()
