"""Answers that are kept: a stopped evaluation goes on with the same bits, and no model has another's."""

import json

import pytest

from headwater.eval import generation, scoring
from headwater.eval.answers import Answers
from headwater.eval.checkpoint import load
from headwater.eval.harness.environment import prepare
from headwater.eval.tokenizer import load_tokenizer

prepare(hub=False)

from lm_eval.api.instance import Instance  # noqa: E402

from headwater.eval.harness.model import HeadwaterLM  # noqa: E402

pytestmark = pytest.mark.slow


class Stopped(Exception):
    pass


@pytest.fixture
def make(finished_run, tmp_path):
    """A model for lm-eval over one of the checkpoints, with answers in one folder for all of them."""

    def made(step=20, folder="answers", **changes):
        loaded = load(finished_run.checkpoint(step))
        text = load_tokenizer(finished_run.tokenizer, loaded.run)
        identity = {"weights": loaded.weights_digest, "dtype": "torch.float32"} | changes
        answers = Answers(tmp_path / folder, identity)
        return HeadwaterLM(
            loaded.model, text, max_length=256, batch_tokens=200, cache_tokens=300, answers=answers
        )  # fmt: skip

    return made


def asked(kind, build):
    texts = [build.prose(seed, 1 + seed % 3) for seed in range(24)]
    arguments = [(text, " stone") if kind == "loglikelihood" else (text, {"max_gen_toks": 6}) for text in texts]
    return [Instance(kind, {}, each, 0, ("task", index, 1)) for index, each in enumerate(arguments)]


def ask(lm, kind, build):
    return getattr(lm, kind)(asked(kind, build))


@pytest.mark.parametrize("kind", ["loglikelihood", "generate_until"])
def test_what_was_stopped_goes_on_with_the_same_bits(make, build, monkeypatch, kind):
    monkeypatch.setattr(generation, "_CHUNK", 1)
    expected = ask(make(folder="other"), kind, build)
    module, name = (scoring, "_score_batch") if kind == "loglikelihood" else (generation, "_run_chunk")
    inner, calls = getattr(module, name), []

    def counted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise Stopped
        return inner(*arguments)

    monkeypatch.setattr(module, name, counted)
    with pytest.raises(Stopped):
        ask(make(), kind, build)
    assert ask(make(), kind, build) == expected
    before = len(calls)
    assert ask(make(), kind, build) == expected  # all of it is kept
    if kind == "generate_until":
        assert len(calls) == before


@pytest.mark.parametrize("kind", ["loglikelihood", "generate_until"])
def test_two_models_never_share_an_answer(make, build, kind):
    first, second = ask(make(20), kind, build), ask(make(30), kind, build)
    assert first != second
    assert second == ask(make(30, folder="alone"), kind, build)


def test_what_decides_an_answer_decides_where_it_is_kept(make, build, tmp_path):
    files = lambda: len(list((tmp_path / "answers").glob("*.jsonl")))  # noqa: E731
    ask(make(), "loglikelihood", build)
    ask(make(), "loglikelihood", build)
    assert files() == 1
    ask(make(dtype="torch.bfloat16"), "loglikelihood", build)
    assert files() == 2
    lm = make()
    lm.versions["task"] = "2.0"
    ask(lm, "loglikelihood", build)
    assert files() == 3
    make().loglikelihood(asked("loglikelihood", build)[:-1])
    assert files() == 4


def test_a_torn_line_is_dropped(make, build, tmp_path):
    expected = ask(make(), "loglikelihood", build)
    (file,) = (tmp_path / "answers").glob("*.jsonl")
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    assert ask(make(), "loglikelihood", build) == expected
    assert file.read_bytes() == whole
    numbers = [json.loads(line.partition(b" ")[2])[0] for line in whole.splitlines()]
    assert numbers == list(range(len(numbers)))


def test_damaged_lines_are_computed_again(make, build, tmp_path):
    expected = ask(make(), "loglikelihood", build)
    (file,) = (tmp_path / "answers").glob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    assert len(lines) >= 2
    # What is still JSON may be another answer.
    other = lines[1].replace(b"true", b"false", 1) if b"true" in lines[1] else lines[1].replace(b"false", b"true", 1)
    assert other != lines[1]
    file.write_bytes(b"".join([b"\x00\xff" + lines[0][2:], b"[]\n", other, *lines[2:]]))
    assert ask(make(), "loglikelihood", build) == expected
    assert file.read_bytes().endswith(lines[0] + lines[1])
