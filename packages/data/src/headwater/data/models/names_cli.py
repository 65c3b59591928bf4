"""`headwater data model train names`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headwater.core.cli_options import json_option

_FORMS = """\b
Sentences are read from a file, or from a folder with its sub-folders:
  .jsonl .jsonl.gz            {"text": "…", "names": [[start, stop], …]}, places in characters,
                              or {"tokens": […], "labels": […]}, one sentence a line
  .conll .iob .bio .tsv .txt  a token and, last, its label a line; an empty line ends a sentence
Labels are B-PER, I-PER, PERSON and the like; others count as O.
"""


@click.command(
    "names", short_help="A model that finds names of people, from labelled sentences, for the pii operator.",
    epilog=_FORMS,
)  # fmt: skip
@click.option("--sentences", type=click.Path(path_type=Path), required=True, metavar="FILE",
              help="Sentences in which the names of people are marked, and some without any.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FOLDER", help="The model to write.")
@click.option("--base", type=click.Path(file_okay=False), metavar="FOLDER",
              help="A pretrained encoder with safetensors weights, such as a multilingual BERT; default: "
              "all-MiniLM-L6-v2, which ships in a package (English; it does not tell capitals).")  # fmt: skip
@click.option("--epochs", default=3, type=click.IntRange(1), show_default=True, help="Passes over the sentences.")
@click.option("--batch-size", default=16, type=click.IntRange(1), show_default=True, help="Sentences a step.")
@click.option("--learning-rate", default=1e-4, type=click.FloatRange(0, min_open=True), show_default=True,
              help="At its highest; it falls to zero.")  # fmt: skip
@click.option("--seed", default=1, type=click.IntRange(0), show_default=True, help="Seed of the training.")
@click.option("--held-out-ratio", type=click.FloatRange(0.001, 0.9), default=0.1, show_default=True,
              help="Share of the sentences that the model is measured on and not trained on.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace a model that is there.")
@json_option
def train_names(sentences: Path, out: Path, force: bool, as_json: bool, **options: Any) -> None:
    """Train a model that finds names of people: a pretrained encoder, fine-tuned on labelled sentences.

    \b
    headwater data model train names --sentences sentences.jsonl --out names/
    then in the recipe:   - pii: {kinds: [email, phone, name], name_model: names/}
    """
    from headwater.core.console import done, print_json, size, table
    from headwater.data.models import card, names_train
    from headwater.data.models.labelled import read_sentences

    card.refuse_existing(out, force)
    wanted = names_train.NamesOptions(**options)
    read = read_sentences(sentences, held_out_ratio=wanted.held_out_ratio, least=names_train.LEAST_SENTENCES)
    content = names_train.train(out, read, wanted)
    if as_json:
        print_json(content)
        return
    held_out = content["held_out"]
    rows = [[row["min_score"], row["recall"], row["precision"]] for row in held_out["thresholds"]]
    table(["min_name_score", "recall", "precision"], rows,
          title=f"On {held_out['names']:,} names in {held_out['sentences']:,} sentences held out")  # fmt: skip
    done(f"model {out}", f"{content['data']['names']:,} names in {content['data']['sentences']:,} sentences · "
         f"{size(content['bytes'])}")  # fmt: skip
