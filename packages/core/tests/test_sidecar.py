"""The sidecar, read by parts: the same answers as from all of its rows, whatever their order."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.documents import SIDECAR
from headwater.core.sidecar import Sidecar, _groups_that_may_hold_out
from headwater.core.tokens import MegatronWriter


def write(
    folder: Path, documents: list[tuple[str, str, int]], group: int, order: list[int] | None = None
) -> list[dict]:
    """Documents as (id, split, tokens), in the order of the token files; rows in another order if one is given."""
    folder.mkdir(parents=True)
    rows, counts, sequences = [], {"train": 0, "validation": 0}, {"train": 0, "validation": 0}
    with MegatronWriter(folder / "train", 99) as train, MegatronWriter(folder / "validation", 99) as held_out:
        for identifier, split, tokens in documents:
            (train if split == "train" else held_out).add([1] * tokens)
            rows.append({
                "id": identifier, "url": f"http://x/{identifier}", "split": split, "sequence": sequences[split],
                "token_start": counts[split], "token_count": tokens, "text_bytes": 2 * tokens,
            })  # fmt: skip
            sequences[split] += 1
            counts[split] += tokens
    shuffled = [rows[place] for place in order or range(len(rows))]
    pq.write_table(pa.Table.from_pylist(shuffled, schema=SIDECAR), folder / "documents.parquet", row_group_size=group)
    return rows


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_answers_are_those_of_all_rows(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    count = data.draw(st.integers(1, 30))
    lengths = data.draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))
    splits = data.draw(st.lists(st.sampled_from(["train", "validation"]), min_size=count, max_size=count))
    documents = [(f"{number:04}", split, n) for number, (split, n) in enumerate(zip(splits, lengths, strict=True))]
    order = data.draw(st.permutations(range(count))) if data.draw(st.booleans()) else None
    folder = tmp_path_factory.mktemp("run") / "web"
    rows = write(folder, documents, data.draw(st.integers(1, 8)), order)
    sidecar = Sidecar(folder)
    one = data.draw(st.sampled_from(rows))
    place = sidecar.place(one["id"])
    assert place is not None and place.source == "web"
    assert all(getattr(place, name) == one[name] for name in ("split", "sequence", "token_start", "token_count"))
    assert sidecar.place("none") is None
    start, stop = sorted(data.draw(st.tuples(st.integers(0, 300), st.integers(0, 300))))
    expected = []
    for row in rows:
        held = min(stop, row["token_start"] + row["token_count"]) - max(start, row["token_start"])
        if row["split"] == "train" and held > 0:
            expected.append((row["id"], row["url"], held))
    assert [(held.id, held.url, held.tokens) for held in sidecar.covering(start, stop)] == expected
    budget = data.draw(st.integers(1, 100))
    held_out = [row for row in rows if row["split"] == "validation"]
    ends = np.cumsum([row["token_count"] for row in held_out])
    wanted = held_out[: int(np.searchsorted(ends, budget)) + 1]
    assert [row["id"] for row in sidecar.first_held_out(budget)] == [row["id"] for row in wanted]


def test_only_the_row_groups_that_can_hold_the_answer_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    documents = [(f"{number:04}", "validation" if number < 30 else "train", 5) for number in range(1000)]
    write(tmp_path / "web", documents, group=10)
    file = pq.ParquetFile(tmp_path / "web" / "documents.parquet")
    assert [group for _, group in _groups_that_may_hold_out(file)] == [0, 1, 2]
    read: list[int] = []
    original = pq.ParquetFile.read_row_group

    def counting(self: pq.ParquetFile, group: int, **options: object) -> pa.Table:
        read.append(group)
        return original(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    sidecar = Sidecar(tmp_path / "web")
    assert len(sidecar.first_held_out(20)) == 4 and read == [0]
    (fragment,) = sidecar._rows.get_fragments()
    wanted = (pc.field("split") == "train") & (pc.field("sequence") >= 500) & (pc.field("sequence") < 502)
    assert (fragment.num_row_groups, fragment.subset(wanted).num_row_groups) == (100, 1)
    assert [held.id for held in sidecar.covering(2500, 2510)] == ["0530", "0531"]
