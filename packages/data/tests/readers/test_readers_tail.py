"""Texts whose last part is a document of its own, held out by its URL."""

import pytest

from headwater.core.config import validate
from headwater.core.errors import ConfigError
from headwater.data.collect.sources import SourcesConfig
from headwater.data.held_out import HeldOut
from headwater.data.readers.record import record_bytes


def test_the_tail_of_a_text_is_a_second_document(run, tmp_path):
    text = "".join(f"line {number} of é\n" for number in range(1000))
    (tmp_path / "in.txt").write_text(text)
    run.collect(format="text", uris=[str(tmp_path / "in.txt")], tail=0.1)
    head, tail = run.rows()
    assert head["payload"] + tail["payload"] == text.encode()
    assert abs(len(tail["payload"]) - len(text.encode()) / 10) < 3
    assert (head["url"], tail["url"]) == ("", "in.txt#tail") and tail["warc_offset"] == len(head["payload"])
    assert head["id"] != tail["id"]
    config = {"source": {"format": "text", "tail": 0.1}}
    with open(tmp_path / "in.txt", "rb") as stream:
        assert record_bytes(stream, "in.txt", tail["warc_offset"], "", config) == tail["payload"]
    with open(tmp_path / "in.txt", "rb") as stream:
        assert record_bytes(stream, "in.txt", 0, "", config) == head["payload"]


@pytest.mark.parametrize("size", range(12))
def test_no_character_is_cut(run, tmp_path, size):
    text = "日" * size
    (tmp_path / "in.txt").write_text(text)
    run.collect(format="text", uris=[str(tmp_path / "in.txt")], tail=0.4)
    assert "".join(row["payload"].decode() for row in run.rows()) == text


def test_documents_are_held_out_by_their_url(run, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"the text of {name}\n" * 50)
    run.collect(format="text", uris=[str(tmp_path / "*.txt")], tail=0.2)
    _, kept, _ = run.documents(validation_ratio=0, validation_urls=["*#tail"])
    assert sorted((row["url"], row["split"]) for row in kept) == [
        ("", "train"), ("", "train"), ("a.txt#tail", "validation"), ("b.txt#tail", "validation")
    ]  # fmt: skip


def test_a_pattern_is_added_to_the_share_and_takes_nothing_from_it():
    rule = HeldOut(0.5, ("*/test/*",))
    ids = [f"{number:08x}" for number in range(0, 2**32, 2**28)]
    assert [rule.split(each, "http://x/a") for each in ids].count("validation") == 8
    assert {rule.split(each, "http://x/test/a") for each in ids} == {"validation"}


def test_a_tail_of_another_format_is_refused():
    source = {"s": {"kind": "files", "format": "html", "uris": ["a"], "tail": 0.1}}
    with pytest.raises(ConfigError, match="tail is of format text"):
        validate(SourcesConfig, source, "sources")
