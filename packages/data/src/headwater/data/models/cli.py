"""`headwater data model …`: making the models that filters use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from headwater.core.cli_options import json_option
from headwater.data.models.names_cli import train_names

Command = TypeVar("Command", bound=Callable[..., Any])

_FOLDER = click.Path(path_type=Path)
_TEXTS = """\b
Texts are read from a folder with its sub-folders, or from one file:
  .txt .md .rst .log     one document a file
  .jsonl .jsonl.gz       one document a line, in the key --field
  .parquet               one document a row, in the column --field
"""


@click.group(
    epilog="Each model gets a card beside it (MODEL.json): its SHA-256, options, and quality on held-out text."
)
def model() -> None:
    """Train models for filters, and see what they say about your documents."""


@model.group("train")
def train_group() -> None:
    """Train a model. Equal documents and options give equal bytes."""


train_group.add_command(train_names)


def _common(command: Command) -> Command:
    command = json_option(command)
    command = click.option("--force", is_flag=True, help="Replace a model that is there.")(command)
    command = click.option(
        "--held-out-ratio", type=click.FloatRange(0.001, 0.9), default=0.1, show_default=True,
        help="Share of the documents that the model is measured on and not trained on, by their hash.",
    )(command)  # fmt: skip
    command = click.option("--field", default="text", show_default=True, help="Key or column that holds the text.")(
        command
    )
    return click.option("--out", type=_FOLDER, required=True, metavar="FILE", help="The model to write.")(command)


def _classifier(positive: str, negative: str) -> Callable[[Command], Command]:
    """The options of a classifier, with these labels."""

    def add(command: Command) -> Command:
        for name, default, kind, text in (
            ("--seed", 1, click.IntRange(0), "Seed of the training."),
            ("--min-count", 2, click.IntRange(1), "Least count of a word that is a feature by itself."),
            ("--learning-rate", 0.5, click.FloatRange(0, min_open=True), "At the start; it falls to zero."),
            ("--epochs", 0, click.IntRange(0), "Passes over the documents; 0: enough for 20,000 steps, 5 to 100."),
            ("--dimensions", 16, click.IntRange(1), "Width of the hidden layer."),
            ("--buckets", 2**18, click.IntRange(1), "Slots that runs of words are hashed into."),
            ("--word-ngrams", 2, click.IntRange(1, 5), "Longest run of words that is a feature."),
            ("--negative-label", negative, str, "Name of the other label."),
            ("--positive-label", positive, str, "Name of the label that the operator looks at."),
        ):
            command = click.option(name, default=default, type=kind, show_default=True, help=text)(command)
        return _common(command)

    return add


@train_group.command(
    "quality", short_help="A quality classifier (fastText) from good and other documents.", epilog=_TEXTS
)
@click.option("--positive", type=_FOLDER, required=True, metavar="FOLDER", help="Documents such as you want to keep.")
@click.option("--negative", type=_FOLDER, required=True, metavar="FOLDER",
              help="Documents to tell them from, for example a sample of the crawl.")  # fmt: skip
@_classifier("hq", "lq")
def train_quality(**options: Any) -> None:
    """Train a quality classifier: fastText over words and word pairs.

    \b
    headwater data model train quality --positive good/ --negative crawl/ --out quality.bin
    then in the recipe:   - quality_classifier: {model: quality.bin, min_score: 0.5}
    """
    _train_classifier("quality", options)


@train_group.command(
    "toxicity", short_help="A toxicity classifier (fastText) from toxic and other documents.", epilog=_TEXTS
)
@click.option("--toxic", "positive", type=_FOLDER, required=True, metavar="FOLDER", help="Documents to be removed.")
@click.option("--clean", "negative", type=_FOLDER, required=True, metavar="FOLDER", help="Documents to be kept.")
@_classifier("toxic", "clean")
def train_toxicity(**options: Any) -> None:
    """Train a toxicity classifier: fastText over words and word pairs.

    \b
    headwater data model train toxicity --toxic toxic/ --clean crawl/ --out toxicity.bin
    then in the recipe:   - toxicity: {model: toxicity.bin, max_score: 0.5}
    """
    _train_classifier("toxicity", options)


def _train_classifier(kind: str, options: dict[str, Any]) -> None:
    from headwater.data.models import card, classifier
    from headwater.data.models.texts import read_texts

    out: Path = options["out"]
    card.refuse_existing(out, options["force"])
    wanted = classifier.ClassifierOptions(
        positive=options["positive_label"], negative=options["negative_label"],
        **{name: options[name] for name in ("word_ngrams", "buckets", "dimensions", "epochs", "learning_rate",
                                            "min_count", "seed", "held_out_ratio")},
    )  # fmt: skip
    both = [
        read_texts(options[side], field=options["field"], held_out_ratio=wanted.held_out_ratio,
                   least=classifier.LEAST_DOCUMENTS)
        for side in ("positive", "negative")
    ]  # fmt: skip
    _end_separation(out, classifier.train(out, kind, both[0], both[1], wanted), options["as_json"])


def _end_separation(out: Path, content: dict[str, Any], as_json: bool) -> None:
    from headwater.core.console import done, print_json, size, table

    if as_json:
        print_json(content)
        return
    held_out = content["held_out"]
    rows = [[r["threshold"], r["recall"], r["removed"], r["precision"]] for r in held_out["thresholds"]]
    best = held_out["best_f1"]
    rows.append([best["threshold"], best["recall"], best["removed"], best["precision"]])
    label, other = content["options"]["positive"], content["options"]["negative"]
    for row, name in zip(rows, [*("" for _ in held_out["thresholds"]), "best F1"], strict=True):
        row.append(name)
    title = f"On {held_out['positives']:,} {label} and {held_out['negatives']:,} {other} documents held out"
    table(["threshold", f"{label} above it", f"{other} below it", f"precision of {label}", ""], rows, title=title)
    done(f"model {out}", f"AUC {held_out['auc']:.4f} on held-out documents · {size(content['bytes'])}")


@train_group.command("ngram", short_help="An n-gram model of reference text, for the perplexity filter.", epilog=_TEXTS)
@click.option(
    "--text", "text", type=_FOLDER, required=True, metavar="FOLDER", help="Reference text: what good text is."
)
@click.option("--contrast", type=_FOLDER, metavar="FOLDER",
              help="Documents unlike the reference, to measure how well the two are told apart.")  # fmt: skip
@click.option("--order", default=5, type=click.IntRange(1, 8), show_default=True, help="Longest n-gram, in tokens.")
@click.option("--vocabulary", default=16_384, type=click.IntRange(300, 1_000_000), show_default=True,
              help="Entries of the tokenizer (byte-level BPE), which is trained first.")  # fmt: skip
@click.option("--prune", default="0,0,1", show_default=True, metavar="N,N,…",
              help="For lengths 2, 3, …: leave out n-grams seen this often or less. Small corpora: 0.")  # fmt: skip
@click.option("--max-tokens", default=50_000_000, type=click.IntRange(1), show_default=True,
              help="Most tokens to count; each needs about 300 bytes of memory while training.")  # fmt: skip
@_common
def train_ngram(text: Path, contrast: Path | None, prune: str, out: Path, **options: Any) -> None:
    """Train an n-gram model: byte-level BPE, interpolated modified Kneser-Ney, memory-mapped.

    \b
    headwater data model train ngram --text reference/ --contrast crawl/ --out reference.ngram
    then in the recipe:   - perplexity: {model: reference.ngram, max_perplexity: 800}
    """
    from headwater.core.console import done, print_json, size, table
    from headwater.data.models import card, ngram_train
    from headwater.data.models.texts import read_texts

    card.refuse_existing(out, options["force"])
    steps = [int(part) if part.strip().isdecimal() else -1 for part in prune.split(",")]
    if min(steps) < 0 or steps != sorted(steps):
        raise click.BadParameter("numbers that do not fall, with commas between, such as 0,0,1", param_hint="--prune")
    wanted = ngram_train.NgramOptions(
        prune=tuple(steps), **{name: options[name] for name in ("order", "vocabulary", "max_tokens", "held_out_ratio")}
    )
    texts = read_texts(text, field=options["field"], held_out_ratio=wanted.held_out_ratio, least=10)
    other = read_texts(contrast, field=options["field"]) if contrast else None
    content = ngram_train.train(out, texts, other, wanted)
    if options["as_json"]:
        print_json(content)
        return
    held_out = content["held_out"]
    unlike = held_out.get("contrast", {"percentiles": {}})["percentiles"]
    rows = [[f"{p} %", value, unlike.get(p)] for p, value in held_out["percentiles"].items()]
    table(["of the documents below", "reference, held out", "contrast"], rows, title="Perplexity a token")
    apart = f"AUC {held_out['auc']:.4f} against the contrast · " if "auc" in held_out else ""
    grams = sum(content["data"]["ngrams"])
    done(f"model {out}", f"{apart}{grams:,} n-grams of {content['data']['tokens']:,} tokens · {size(content['bytes'])}")


@train_group.command("educational", short_help="A regression on embeddings, from scored documents.", epilog=_TEXTS)
@click.option("--scores", type=_FOLDER, required=True, metavar="FILE",
              help="JSONL or parquet with a text and its score, 0 to 5 (or a folder of such files).")  # fmt: skip
@click.option("--score-field", default="score", show_default=True, help="Key or column that holds the score.")
@click.option("--embeddings", type=click.Path(file_okay=False), metavar="FOLDER",
              help="A sentence-transformers model; default: all-MiniLM-L6-v2, which ships in a package.")  # fmt: skip
@_common
def train_educational(scores: Path, score_field: str, embeddings: str | None, out: Path, **options: Any) -> None:
    """Fit educational value: ridge regression on sentence embeddings, after FineWeb-Edu.

    \b
    headwater data model train educational --scores scored.jsonl --out educational.safetensors
    then in the recipe:   - educational_value: {model: educational.safetensors, min_score: 3}
    """
    from headwater.core.console import done, print_json, table
    from headwater.data.models import card, educational
    from headwater.data.models.texts import read_texts

    card.refuse_existing(out, options["force"])
    ratio = options["held_out_ratio"]
    texts = read_texts(scores, field=options["field"], score=score_field, held_out_ratio=ratio, least=10)
    wanted = educational.EducationalOptions(embeddings=embeddings, held_out_ratio=ratio)
    content = educational.train(out, texts, wanted)
    if options["as_json"]:
        print_json(content)
        return
    held_out = content["held_out"]
    rows = [[r["threshold"], r["kept"], r["precision"], r["recall"]] for r in held_out["thresholds"]]
    table(["min_score", "documents kept", "precision", "recall"], rows,
          title=f"On {held_out['documents']:,} documents held out")  # fmt: skip
    error, mean = held_out["mean_absolute_error"], held_out["always_the_mean"]
    apart = f"correlation {held_out['correlation']:.3f} on held-out documents"
    done(f"model {out}", f"mean absolute error {error:.3f} ({mean:.3f} by always saying the mean) · {apart}")


@model.command(
    "score", short_help="How a folder of documents scores under a model, to choose a threshold.", epilog=_TEXTS
)
@click.argument("model_file", metavar="MODEL", type=_FOLDER)
@click.argument("texts", metavar="FOLDER", type=_FOLDER)
@click.option("--field", default="text", show_default=True, help="Key or column that holds the text.")
@click.option("--label", help="Label of a classifier; default: hq or toxic.")
@click.option("--embeddings", type=click.Path(file_okay=False), metavar="FOLDER", help="As in training.")
@json_option
def score(model_file: Path, texts: Path, field: str, label: str | None, embeddings: str | None, as_json: bool) -> None:
    """Percentiles of the scores of a folder of documents: what a threshold would remove.

    \b
    headwater data model score quality.bin RUN/documents/
    """
    from headwater.core.console import done, print_json, table
    from headwater.core.errors import DataError
    from headwater.data.models import measures, scoring
    from headwater.data.models.texts import read_texts

    documents = read_texts(texts, field=field)
    what, found = scoring.scores_of(
        model_file, [text for text, _ in (*documents.train, *documents.held_out)], label, embeddings
    )
    if not len(found):
        raise DataError(f"no document of {texts} has a score", hint="give documents with text in them")
    percentiles = measures.percentiles(found)
    if as_json:
        print_json({"figure": what, "documents": len(found), "percentiles": percentiles})
        return
    table(["of the documents below", what], [[f"{p} %", value] for p, value in percentiles.items()])
    done(f"model {model_file}", f"{len(found):,} distinct documents")
