import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

from headwater.core.documents import DOCUMENTS
from headwater.core.errors import EvalError
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, read_manifest
from headwater.eval import checkpoint, difficulty
from headwater.eval.difficulty_cli import difficulty as command

FILES = 2


@pytest.fixture
def documents(tmp_path, build):
    """Another run's documents: three of `web` in each of two files, one of `code`, and one without text."""
    layout, rows = RunLayout(tmp_path / "corpus"), []
    texts = [build.prose(900 + number, 3 + 14 * number) for number in range(7)] + [""]
    for number, text in enumerate(texts):
        rows.append({
            "id": f"{number:032x}", "source": "code" if number == 6 else "web", "url": f"http://x/{number}",
            "warc_file": "a", "warc_offset": 0, "payload_sha256": "", "text": text, "language": "en",
            "language_score": 1.0, "text_bytes": len(text), "split": "train", "verdicts": [],
        })  # fmt: skip
    writer = ArtifactWriter(layout.documents, kind="documents", name="documents", producer="test 1", config={})
    writer.begin()
    for number in range(FILES):
        table = pa.Table.from_pylist(rows[number::FILES], DOCUMENTS)
        pq.write_table(table, layout.documents / f"part-{number:05d}.parquet")
    writer.commit({"sources": {"web": {"documents_out": 7}, "code": {"documents_out": 1}}})
    return layout, {row["id"]: row["text"] for row in rows if row["source"] == "web" and row["text"]}


def perplexity(model, tokens, window):
    """Token by token: each after as much of the text as the windows of the held-out documents have before it."""
    nats, whole = 0.0, [0, *tokens]
    for start in range(1, len(whole), window):
        stop = min(start + window, len(whole))
        read = whole[start - 1 : stop - 1] if start == 1 else whole[stop - window - 1 : stop - 1]
        with torch.inference_mode():
            logp = model(torch.tensor([read])).logits[0].log_softmax(-1)
        nats -= sum(logp[place - stop, whole[place]].item() for place in range(start, stop))
    return math.exp(nats / len(tokens))


def run_command(run, corpus, output, *more):
    arguments = ["--run", str(run.root), "--documents", str(corpus.root), "--output", str(output), "--json", *more]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def test_each_document_has_the_perplexity_that_the_model_gives_it(finished_run, documents, tmp_path, monkeypatch):
    corpus, texts = documents
    output = tmp_path / "difficulty"
    scored, read = [], difficulty._Scorer.perplexities

    def killed_once(scorer, asked):
        if len(scored) == 1:
            scored.append("killed")
            raise KeyboardInterrupt
        scored.append(len(asked))
        return read(scorer, asked)

    monkeypatch.setattr(difficulty._Scorer, "perplexities", killed_once)
    with pytest.raises(KeyboardInterrupt):
        difficulty.score_documents(finished_run, finished_run.checkpoint(20), corpus.documents, ["web"], output, None)
    told = run_command(finished_run, corpus, output, "--source", "web")
    assert scored == [3, "killed", 4]  # the first file was kept
    loaded = checkpoint.load(finished_run.checkpoint(20))  # the best one
    from headwater.eval.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(finished_run.tokenizer)
    rows = pq.read_table(output / "figures.parquet").to_pylist()
    assert [row["id"] for row in rows] == sorted(texts)
    assert told["documents"] == len(texts) == 6 and not told["up_to_date"]
    lengths = []
    for row in rows:
        tokens = tokenizer.encode(texts[row["id"]])
        lengths.append(len(tokens))
        assert row["figure"] == pytest.approx(perplexity(loaded.model, tokens, 128), rel=1e-4)
    assert min(lengths) < 128 < 256 < max(lengths)  # in one window, and in several
    assert {parent.role for parent in read_manifest(output).parents} == {"documents", "checkpoint", "tokenizer"}
    assert run_command(finished_run, corpus, output, "--source", "web")["up_to_date"]
    with pytest.raises(EvalError, match="has no documents of wbe") as refused:
        run_command(finished_run, corpus, output, "--source", "wbe")
    assert refused.value.hint == "did you mean web?"
