import json

import pytest

from headwater.core.errors import ManifestError
from headwater.core.tokens import END_OF_TEXT
from headwater.train.inputs import _vocabulary


@pytest.mark.parametrize("vocab", [{"a": 0, END_OF_TEXT: 1, "b": 2}, [["a", -1.5], [END_OF_TEXT, -9.0], ["b", -2.5]]])
def test_the_vocabulary_of_every_kind_of_model_is_read(tmp_path, vocab):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"vocab": vocab}, "added_tokens": [{"id": 1, "content": END_OF_TEXT}]}))
    assert _vocabulary(path) == (3, 1)


@pytest.mark.parametrize("model", [{}, {"vocab": 5}, {"vocab": [1]}, {"vocab": {"a": 0}}])
def test_what_is_no_tokenizer_is_refused(tmp_path, model):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": model}))
    with pytest.raises(ManifestError):
        _vocabulary(path)
