import hashlib
import importlib.util
import json
import pickle

import numpy as np
import pytest
from click.testing import CliRunner

from headwater.core.errors import ConfigError
from headwater.data.cli import data
from headwater.data.models import educational, embeddings
from headwater.data.operators.educational_value import EducationalValue, EducationalValueConfig

DIMENSIONS = 16

needs_embeddings = pytest.mark.skipif(  # found without importing it, which takes seconds
    importlib.util.find_spec(embeddings.PACKAGE) is None, reason="embeddings are an extra: headwater-data[embeddings]"
)


class Counted:
    """An embedding model of word counts: one place a word, by its hash."""

    def embed(self, text):
        found = np.zeros(DIMENSIONS, dtype=np.float32)
        for word in text.split():
            found[hashlib.sha256(word.lower().encode()).digest()[0] % DIMENSIONS] += 1
        return found / max(float(np.linalg.norm(found)), 1e-6)


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """Puts word counts in the place of the embedding model, which takes seconds to load."""
    folder = tmp_path / "embeddings"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(embeddings, "folder_of", lambda given: folder)
    monkeypatch.setattr(embeddings, "load", lambda folder: Counted())
    monkeypatch.setattr(
        embeddings, "digest_of", lambda folder: hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    )
    return folder


def scored(path, prose, count=80):
    """Texts that are worth more, the more they speak of science."""
    rows = []
    for i in range(count):
        share = i % 6
        words = prose(i, 2).split()
        words[: share * 4] = ["theorem", "proof", "energy", "cell"] * share
        rows.append({"text": " ".join(words), "score": share})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def train(scores, out, *more):
    arguments = ["--scores", scores, "--out", out, "--held-out-ratio", 0.3, *more]
    return CliRunner().invoke(data, ["model", "train", "educational", *map(str, arguments)])


def test_the_fit_is_the_ridge_with_the_least_leave_one_out_error():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(30, 5))
    y = x @ np.array([1.0, -2.0, 0.5, 0.0, 0.0]) + draw.normal(size=30)

    def solve(x, y, ridge):
        mean = x.mean(axis=0)
        centred = x - mean
        weights = np.linalg.solve(centred.T @ centred + ridge * np.eye(x.shape[1]), centred.T @ (y - y.mean()))
        return weights, y.mean() - mean @ weights

    weights, bias, ridge = educational.fit(x, y)
    wanted = solve(x, y, ridge)
    assert weights == pytest.approx(wanted[0]) and bias == pytest.approx(wanted[1])

    def left_out(ridge):
        errors = []
        for place in range(len(y)):
            weights, bias = solve(np.delete(x, place, axis=0), np.delete(y, place), ridge)
            errors.append((y[place] - x[place] @ weights - bias) ** 2)
        return np.mean(errors)

    assert ridge == min(educational._RIDGES, key=left_out)


def test_the_command_fits_measures_and_gives_equal_bytes_twice(counted, tmp_path, warc):
    scores = scored(tmp_path / "scores.jsonl", warc[2])
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    shown = train(scores, first)
    assert shown.exit_code == 0, shown.output + str(shown.exception)
    assert "min_score" in shown.stdout and "mean absolute error" in shown.stdout.splitlines()[-1]
    card = json.loads(train(scores, second, "--json").stdout)
    assert first.read_bytes() == second.read_bytes()
    held_out = card["held_out"]
    assert held_out["correlation"] > 0.9 and held_out["mean_absolute_error"] < held_out["always_the_mean"] / 2


def test_documents_of_little_value_are_set_aside_whatever_the_batches(counted, tmp_path, warc, rows):
    out = tmp_path / "e.safetensors"
    assert train(scored(tmp_path / "scores.jsonl", warc[2]), out).exit_code == 0
    texts = ["theorem proof energy cell " * 5, warc[2](500, 2), ""]
    operator = EducationalValue(EducationalValueConfig(model=str(out)))
    whole = operator.process(rows(texts))
    assert whole.reasons == ["", "low_score", "low_score"] and whole.details[1].endswith("< 3.0")
    one_by_one = [pickle.loads(pickle.dumps(operator)).process(rows([text])).details[0] for text in texts]
    assert one_by_one == whole.details


def test_a_model_of_other_embeddings_is_refused(counted, tmp_path, warc):
    out = tmp_path / "e.safetensors"
    assert train(scored(tmp_path / "scores.jsonl", warc[2]), out).exit_code == 0
    config = EducationalValueConfig(model=str(out), embeddings="somewhere")
    content = config.content()
    assert content["model"].startswith("sha256:") and content["embeddings"] is None
    (counted / "config.json").write_text('{"changed": true}')
    with pytest.raises(ConfigError, match="fitted on other embeddings"):
        config.content()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": f"text {i}", "score": 10 * i} for i in range(20)], "from 0 to 190"),
        ([{"text": f"text {i}", "score": 3} for i in range(20)], "cannot be learnt"),
        ([{"text": f"text {i}", "score": "high"} for i in range(20)], "too few documents"),
        ([{"text": "the same", "score": i % 5} for i in range(20)], "1 distinct documents"),
    ],
)
def test_scores_that_cannot_be_learnt_are_refused(counted, tmp_path, rows, message):
    path = tmp_path / "scores.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert message in str(train(path, tmp_path / "e.safetensors").exception)
    assert not (tmp_path / "e.safetensors").exists()


def test_a_model_of_another_kind_and_a_cut_one_are_refused(counted, tmp_path, warc):
    out = tmp_path / "e.safetensors"
    assert train(scored(tmp_path / "scores.jsonl", warc[2]), out).exit_code == 0
    out.with_name("e.safetensors.json").unlink()
    whole = out.read_bytes()
    out.write_bytes(whole[:-4])
    with pytest.raises(ConfigError, match="is damaged"):
        EducationalValueConfig(model=str(out)).content()
    out.write_bytes(whole.replace(b"educational", b"ngram______"))
    with pytest.raises(ConfigError, match="another kind"):
        EducationalValueConfig(model=str(out)).content()


@needs_embeddings
def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no sentence-transformers model"):
        embeddings.folder_of(str(tmp_path))


@pytest.mark.slow
@needs_embeddings
def test_the_packaged_embeddings_score_each_text_alone(tmp_path, rows, warc):
    out = tmp_path / "e.safetensors"
    made = train(scored(tmp_path / "scores.jsonl", warc[2], 24), out)
    assert made.exit_code == 0, made.output + str(made.exception)
    embedder = embeddings.load(str(embeddings.folder_of(None)))
    texts = ["A cell is the smallest unit of life.", "Cells are the basis of living things.", "Buy two, get one free!"]
    near = np.stack([embedder.embed(text) for text in texts])
    assert (near @ near.T)[0, 1] > (near @ near.T)[0, 2] + 0.3
    together = embedder.model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    assert near == pytest.approx(together, abs=1e-5)
    operator = EducationalValue(EducationalValueConfig(model=str(out), min_score=0))
    assert operator.process(rows(texts)).details == [operator.process(rows([t])).details[0] for t in texts]
