import json

import pytest

from headwater.core.errors import ManifestError
from headwater.core.manifest import ArtifactWriter
from headwater.core.tokenizer import END_OF_TEXT_KEY, read_vocabulary
from headwater.core.tokens import END_OF_TEXT


@pytest.mark.parametrize("vocab", [{"a": 0, END_OF_TEXT: 1, "b": 2}, [["a", -1.5], [END_OF_TEXT, -9.0], ["b", -2.5]]])
def test_the_vocabulary_of_every_kind_of_model_is_read(tmp_path, vocab):
    added = [{"id": 1, "content": END_OF_TEXT}]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}, "added_tokens": added}))
    found = read_vocabulary(tmp_path)
    assert (found.size, found.end_id, found.end_of_text) == (3, 1, END_OF_TEXT)


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"vocab": 5},
        {"vocab": [1]},
        {"vocab": {"a": 0}},
        {"vocab": {END_OF_TEXT: -1}},
        {"vocab": {END_OF_TEXT: "0"}},
    ],
)
def test_what_is_no_tokenizer_is_refused(tmp_path, model):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}))
    with pytest.raises(ManifestError):
        read_vocabulary(tmp_path)


def test_an_imported_tokenizer_says_what_ends_a_document(tmp_path):
    writer = ArtifactWriter(
        tmp_path, kind="tokenizer", name="tokenizer", producer="test", config={END_OF_TEXT_KEY: "</s>"}
    )
    writer.begin()
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0, "</s>": 7}}}))
    writer.commit({})
    found = read_vocabulary(tmp_path)
    assert (found.size, found.end_id) == (8, 7)
