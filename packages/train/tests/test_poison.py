"""The proof of the loss guard: what is poisoned, and that a guarded training names it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.core.mixture import Mixture
from headwater.core.mixture_resolve import resolve_order
from headwater.core.sidecar import Sidecar
from headwater.core.tokens import MegatronReader
from headwater.train.poison import prove
from headwater.train.poison.shard import poison
from headwater.train.poison.text import SOURCE, VOCAB, make_data


def test_poison_changes_the_samples_that_it_is_told_and_nothing_else(tmp_path: Path) -> None:
    make_data(tmp_path, None)
    run = RunLayout(tmp_path)
    before = np.array(MegatronReader(run.tokens(SOURCE) / "train").tokens)
    touched = poison(tmp_path, seq_len=64, seed=7, samples=[3, 900], vocab_size=VOCAB)
    after = np.array(MegatronReader(run.tokens(SOURCE) / "train").tokens)
    _, _, offsets = resolve_order(run, Mixture(weights={SOURCE: 1}), 64, 7).locate_many([3, 900])
    inside = np.zeros(len(before), dtype=bool)
    for offset in offsets.tolist():
        inside[offset : offset + 64] = True
    assert (before[~inside] == after[~inside]).all()
    assert (before[inside] != after[inside]).mean() > 0.9
    assert ((before == VOCAB - 1) == (after == VOCAB - 1)).all()  # documents end where they did
    sidecar = Sidecar(run.tokens(SOURCE))
    held = {one.id for offset in offsets.tolist() for one in sidecar.covering(offset, offset + 64)}
    assert touched == held and touched


def test_a_text_that_is_none_or_too_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text"
    for content, told in ((b"\x89PNG\xff", "is not a text"), (b"one paragraph of some words", "found: *27 char")):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=told):
            make_data(tmp_path / "run", path)


@pytest.mark.slow
def test_a_guarded_training_names_every_poisoned_document_and_ends_as_if_there_were_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_data(tmp_path / "data", None)
    monkeypatch.setitem(prove.RECIPE["train"], "steps", 240)
    monkeypatch.setitem(prove.RECIPE["train"], "threads", 1)  # other tests run beside it
    samples = [step * prove.BATCH + place for step in range(200, 224) for place in range(prove.BATCH)]
    said: list[str] = []
    found = prove._train(tmp_path, "burst, with the guard", {}, samples, said.append)
    assert found.rollbacks == 1 and found.found == found.poisoned > 100
    assert found.highest_loss > 2.5 > 2.3 > found.worst_validation_loss
    assert said == ["burst, with the guard"]
