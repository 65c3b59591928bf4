"""`headwater data …`. Only click is imported before a command runs."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click

from headwater.core.cli_options import recipe_options

_COLLECT, _MODELS = "headwater.data.collect.cli", "headwater.data.models.cli"
_ORDER = ("crawl", "fetch", "collect", "model", "run", "tokenizer", "tokenize")
_ELSEWHERE = {
    "crawl": "   Crawl web pages politely into WARC files.",
    "fetch": "   Fetch records of a public crawl (Common Crawl) into WARC files.",
    "collect": "1. Collect every source of the recipe as WARC files: RUN/raw/<source>/.",
    "model": "   Train the models that filters of the recipe name, from folders of text.",
}


class _Data(click.Group):
    """Commands in the order of the line; those of other modules are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in _ORDER if name in _ELSEWHERE or name in self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _ELSEWHERE:
            return getattr(importlib.import_module(_MODELS if cmd_name == "model" else _COLLECT), cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [
            (name, _ELSEWHERE.get(name) or self.commands[name].short_help or "") for name in self.list_commands(ctx)
        ]
        with formatter.section("Commands, in the order of the line"):
            formatter.write_dl(rows)


EPILOG = """\b
A whole data run, step by step (the first makes the items that documents are decontaminated against):
  headwater eval items      --recipe demo --run RUN
  headwater data collect    --recipe demo --run RUN
  headwater data run        --recipe demo --run RUN
  headwater data tokenizer  --recipe demo --run RUN
  headwater data tokenize   --recipe demo --run RUN
Each says so at once when there is nothing to do; each goes on where it was interrupted.
"""


@click.group(cls=_Data, epilog=EPILOG)
def data() -> None:
    """Collect text, clean it, and turn it into tokens."""


@data.command("run", short_help="2. Make documents: extract, filter, redact, deduplicate, decontaminate.")
@click.option(
    "--engine",
    type=click.Choice(["local", "spark", "beam"]),
    help="Where the work is done; overrides documents.engine.name. Changes no byte of what comes out.",
)
@recipe_options
def run_command(recipe: str, run: Path, engine: str | None, as_json: bool, overrides: tuple[str, ...]) -> None:
    """Make documents: extract, filter, redact, deduplicate, decontaminate.

    Reads RUN/raw/<source>/ and RUN/items/, writes RUN/documents/: kept documents, rejected ones with their reason,
    and funnel.json.
    """
    from headwater.core.config import load_section
    from headwater.core.layout import RunLayout
    from headwater.core.lock import exclusive
    from headwater.data import funnel
    from headwater.data.config import DocumentsConfig
    from headwater.data.documents import make_documents

    if engine:
        overrides = (*overrides, f"documents.engine.name={engine}")
    config = load_section("documents", DocumentsConfig, recipe, overrides)
    layout = RunLayout(run)
    with exclusive(layout.documents):
        outcome = make_documents(layout, config)
    if not as_json and outcome.fresh:
        funnel.show(outcome.result)
    total = outcome.result["total"]
    from headwater.core.console import size

    message = (
        f"{total['documents_out']:,} of {total['documents_in']:,} documents kept · {size(total['bytes_out'])} of text"
    )
    _end("documents", message, outcome, as_json)


@data.command("tokenizer", short_help="3. Train a byte-level BPE tokenizer on a sample of the documents.")
@recipe_options
def tokenizer_command(recipe: str, run: Path, as_json: bool, overrides: tuple[str, ...]) -> None:
    """Train a byte-level BPE tokenizer on a sample of the documents: RUN/tokenizer/."""
    from headwater.core.config import load_section
    from headwater.core.layout import RunLayout
    from headwater.core.lock import exclusive
    from headwater.data.config import TokenizerConfig
    from headwater.data.tokenizer import make_tokenizer

    config = load_section("tokenizer", TokenizerConfig, recipe, overrides)
    layout = RunLayout(run)
    with exclusive(layout.tokenizer):
        outcome = make_tokenizer(layout, config)
    ratios = " · ".join(f"{source} {ratio:.2f}" for source, ratio in outcome.result["bytes_per_token"].items())
    message = f"{outcome.result['vocab_size']:,} entries · bytes per token on held-out text: {ratios}"
    _end("tokenizer", message, outcome, as_json)


@data.command("tokenize", short_help="4. Encode the documents as Megatron token files, one data set a source.")
@recipe_options
def tokenize_command(recipe: str, run: Path, as_json: bool, overrides: tuple[str, ...]) -> None:
    """Encode the documents: RUN/tokens/<source>/ (Megatron .bin/.idx and documents.parquet)."""
    from headwater.core.config import load_section
    from headwater.core.console import done, print_json, table
    from headwater.core.layout import RunLayout
    from headwater.core.lock import exclusive
    from headwater.data.config import TokensConfig
    from headwater.data.tokenize import make_tokens

    config = load_section("tokens", TokensConfig, recipe, overrides)
    layout = RunLayout(run)
    with exclusive(layout.tokens_root):
        outcomes = make_tokens(layout, config)
    results = {source: outcome.result for source, outcome in outcomes.items()}
    if as_json:
        print_json(
            {source: {**result, "digest": outcomes[source].manifest.digest} for source, result in results.items()}
        )
        return
    fresh = any(outcome.fresh for outcome in outcomes.values())
    if fresh:
        rows = [
            [s, r["documents"], r["train_tokens"], r["validation_tokens"], r["bytes_per_token"]]
            for s, r in results.items()
        ]
        table(["source", "documents", "train tokens", "validation tokens", "bytes per token"], rows, title="Tokens")
    train = sum(r["train_tokens"] for r in results.values())
    held_out = sum(r["validation_tokens"] for r in results.values())
    message = f"{train:,} training and {held_out:,} validation tokens of {len(results)} sources"
    done("tokens", message if fresh else f"up to date · {message}")


def _end(stage: str, message: str, outcome: Any, as_json: bool) -> None:
    from headwater.core.console import done, print_json

    if as_json:
        print_json({**outcome.result, "digest": outcome.manifest.digest, "fresh": outcome.fresh})
    else:
        done(stage, message if outcome.fresh else f"up to date · {message}")
