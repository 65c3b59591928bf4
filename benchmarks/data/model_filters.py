"""The model-based filters: how well they tell documents apart, and their speed against fastText's predict alone.

    python benchmarks/data/model_filters.py [--corpus FOLDER] [--limit 400] [--repeats 5] [--no-embeddings] [--json F]

The documents come from the Python that runs this: the language reference and the docstrings of the standard library are
what a filter should keep; menus, logs, code without comments, and the same docstrings with their words in random order
are what it should not. Models are trained by the functions behind `headwater data model train`, and measured on
documents that they were not trained on. For educational value, lines of logs replace k of five parts of a docstring,
and 5 − k is its score.

Speed: every filter and the peer run one after the other on the same batch, in turning order, CPU seconds of one
process. The peer is fastText's `predict` on the text without its line feeds. A ratio is documents a second over those
of the peer. With --corpus the batch is pages of that corpus, else the docstrings.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from pydoc_data import topics

import corpus
import numpy as np
import pyarrow as pa

from headwater.data.models import classifier, educational, fasttext_file, measures, ngram, ngram_train
from headwater.data.models.texts import Texts, read_texts
from headwater.data.operators.educational_value import EducationalValue, EducationalValueConfig
from headwater.data.operators.perplexity import Perplexity, PerplexityConfig
from headwater.data.operators.quality_classifier import QualityClassifier, QualityClassifierConfig
from headwater.data.operators.toxicity import Toxicity, ToxicityConfig

LEAST = 300  # characters of a document
HELD_OUT = 0.2
WORDS = ("turnip", "rotten egg", "parsnip", "swede")  # neutral words: what they are does not change the speed


def documents() -> dict[str, list[str]]:
    """Documents of each kind, from the running Python."""
    draw = random.Random(0)
    good, code = list(topics.topics.values()), []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                good.append(text)
                if isinstance(node, ast.FunctionDef):
                    node.body = node.body[1:] or node.body if text else node.body
                    code.append(ast.unparse(node))
    good = sorted({text for text in good if len(text) >= LEAST})
    code = sorted({text for text in code if len(text) >= LEAST})
    shuffled = [" ".join(draw.sample(words := text.split(), len(words))) for text in good]
    names = sorted({word for text in code for word in text.replace("(", " ").split() if word.isidentifier()})
    menus = ["\n".join(draw.choices(names, k=draw.randrange(40, 120))) for _ in good]
    return {
        "good": good,
        "shuffled": shuffled,
        "code": code[: len(good)],
        "menus": menus,
        "logs": [log(draw) for _ in good],
    }


def log(draw: random.Random) -> str:
    parts = ("error", "info", "worker", "timeout", "connection", "closed", "retry", "daemon", "started", "0x7f", "null")
    lines = []
    for _ in range(12):
        month, day, hour, minute, process = (draw.randrange(n) for n in (12, 28, 24, 60, 9999))
        said = " ".join(draw.choices(parts, k=6))
        lines.append(f"2026-{month + 1:02}-{day + 1:02} {hour:02}:{minute:02} [{process}] {said}")
    return "\n".join(lines)


def texts_in(folder: Path, name: str, texts: list[str], scores: list[float] | None = None) -> Texts:
    path = folder / f"{name}.jsonl"
    rows = [{"text": text, "score": score} for text, score in zip(texts, scores or [0.0] * len(texts), strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_texts(path, score="score" if scores else None, held_out_ratio=HELD_OUT)


def graded(good: list[str]) -> tuple[list[str], list[float]]:
    """Docstrings in five parts, of which some are replaced by lines of a log."""
    draw = random.Random(1)
    texts, scores = [], []
    for number, text in enumerate(good):
        words, worth = text.split(), number % 6
        size = max(len(words) // 5, 1)
        parts = [" ".join(words[k * size : (k + 1) * size]) if k < worth else log(draw)[: 6 * size] for k in range(5)]
        draw.shuffle(parts)
        texts.append("\n".join(parts))
        scores.append(float(worth))
    return texts, scores


def quality(folder: Path, embedded: bool) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Trains every model and measures it; returns the rows of the table and the operators for the timing."""
    kinds = documents()
    bad = [text for kind, texts in kinds.items() if kind != "good" for text in texts]
    good, other = texts_in(folder, "good", kinds["good"]), texts_in(folder, "bad", bad)
    model, grams = folder / "quality.bin", folder / "good.ngram"
    classifier.train(model, "quality", good, other, classifier.ClassifierOptions(held_out_ratio=HELD_OUT))
    ngram_train.train(grams, good, None, ngram_train.NgramOptions(prune=(0,), vocabulary=8192, held_out_ratio=HELD_OUT))
    words = folder / "words.txt"
    words.write_text("\n".join(WORDS))
    operators: dict[str, object] = {
        "quality_classifier": QualityClassifier(QualityClassifierConfig(model=str(model))),
        "perplexity": Perplexity(PerplexityConfig(model=str(grams), max_perplexity=1000)),
        "toxicity, words": Toxicity(ToxicityConfig(words=str(words))),
    }
    score: dict[str, Callable[[list[str]], list[float]]] = {
        "quality_classifier": lambda texts: fasttext_file.scores(str(model), "hq", texts),
        "perplexity": lambda texts: [-(p or 0.0) for p in ngram.load(str(grams)).perplexities(texts)],
    }
    rows: list[dict[str, object]] = []
    held = {text for text, _ in other.held_out}
    for name, scored in score.items():
        best = np.array(scored([text for text, _ in good.held_out]))
        each = {
            kind: np.array(scored([t for t in texts if t in held])) for kind, texts in kinds.items() if kind != "good"
        }
        aucs = {kind: round(measures.auc(best, values), 4) for kind, values in each.items()}
        rows.append(
            {
                "operator": name,
                "documents": len(best),
                **aucs,
                "all": round(measures.auc(best, np.concatenate(list(each.values()))), 4),
            }
        )
    if embedded:
        out = folder / "educational.safetensors"
        texts, scores = graded(kinds["good"][:600])
        card = educational.train(out, texts_in(folder, "graded", texts, scores), educational.EducationalOptions())
        rows.append({"operator": "educational_value", **card["held_out"]})
        operators["educational_value"] = EducationalValue(EducationalValueConfig(model=str(out)))
    return rows, operators


def speed(texts: list[str], model: Path, operators: dict[str, object], repeats: int) -> list[dict[str, object]]:
    """CPU seconds of each operator and of the peer on the same texts; ratios of documents a second."""
    import fasttext

    peer = fasttext.load_model(str(model))
    slow = texts[:40]

    def predict(texts: list[str]) -> None:
        for text in texts:
            peer.f.predict(text.replace("\n", " ") + "\n", -1, 0.0, "strict")

    rows = []
    for name, operator in operators.items():
        mine = slow if name == "educational_value" else texts
        batch = pa.RecordBatch.from_pydict({"text": mine})
        runs: tuple[Callable[[], object], ...] = (lambda: operator.process(batch), lambda: predict(mine))  # noqa: B023
        ratios = []
        for repeat in range(-1, repeats):  # the first loads models and does not count
            spent = [0.0, 0.0]
            for place in (0, 1) if repeat % 2 else (1, 0):
                start = time.process_time()
                runs[place]()
                spent[place] = time.process_time() - start
            if repeat >= 0:
                ratios.append(spent[1] / spent[0])
        rows.append({"operator": name, "documents": len(mine), "ratio": statistics.median(ratios),
                     "low": min(ratios), "high": max(ratios)})  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--limit", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-embeddings", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows, operators = quality(folder, not asked.no_embeddings)
        for row in rows:
            print("  ".join(f"{key} {value}" for key, value in row.items()))
        if asked.corpus:
            texts = [t for b in corpus.batches(asked.corpus, asked.limit) for t in b.column("text").to_pylist()]
        else:
            texts = documents()["good"][: asked.limit]
        timed = speed(texts, folder / "quality.bin", operators, asked.repeats)
    print(f"\n{len(texts)} documents, {sum(map(len, texts)) / len(texts):,.0f} characters each on average")
    print(f"{'operator':<22}{'documents':>10}{'against fastText':>18}{'range':>16}")
    for row in timed:
        spread = f"{row['low']:.3f}–{row['high']:.3f}"
        print(f"{row['operator']:<22}{row['documents']:>10}{row['ratio']:>18.3f}{spread:>16}")
    if asked.json:
        asked.json.write_text(json.dumps({"quality": rows, "speed": timed}, indent=1) + "\n")


if __name__ == "__main__":
    main()
