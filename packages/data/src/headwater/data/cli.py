"""`headwater data …`. Only click is imported before a command runs."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click

from headwater.core.cli_options import metrics_option, recipe_options

_COLLECT, _MODELS, _TOKENS = "headwater.data.collect.cli", "headwater.data.models.cli", "headwater.data.tokens.cli"
_MODULES = {"model": _MODELS, "tokenizer": _TOKENS, "tokenize": _TOKENS, "mix": _TOKENS,
            "import-tokens": "headwater.data.token_files.cli",
            "export": "headwater.data.export_cli", "spark-archive": "headwater.data.engines.spark.cli",
            "inspect": "headwater.data.inspect.cli", "report": "headwater.data.report.cli"}  # fmt: skip
_ORDER = ("crawl", "fetch", "collect", "model", "run", "inspect", "report", "index", "tokenizer", "tokenize",
          "import-tokens", "mix", "export", "spark-archive")  # fmt: skip
_ELSEWHERE = {
    "crawl": "   Crawl web pages politely into WARC files.",
    "fetch": "   Fetch records of a public crawl (Common Crawl) into WARC files.",
    "collect": "1. Collect every source of the recipe as WARC files: RUN/raw/<source>/.",
    "model": "   Train the models that filters of the recipe name, from folders of text.",
    "inspect": "   Show samples of what was kept, changed or set aside, and why.",
    "report": "   Draw the documents as one page: funnel, reasons, hosts, duplicates, samples.",
    "tokenizer": "3. Train a tokenizer on a sample of the documents, and measure it.",
    "tokenize": "4. Encode the documents as Megatron token files, one data set a source.",
    "import-tokens": "   Take token files of another program (Megatron, nanotron) as the tokens of a source.",
    "mix": "   Plan a mixture: tokens, repeats and caps of each source.",
    "export": "   Write the documents as JSON lines or Parquet, to a folder or a store.",
    "spark-archive": "   Pack an environment for the workers of a Spark cluster.",
}


class _Data(click.Group):
    """Commands in the order of the line; those of other modules are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in _ORDER if name in _ELSEWHERE or name in self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _ELSEWHERE:
            return getattr(importlib.import_module(_MODULES.get(cmd_name, _COLLECT)), cmd_name.replace("-", "_"))
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
@metrics_option
@recipe_options
def run_command(
    recipe: str, run: Path, engine: str | None, metrics_port: int | None, metrics_host: str, as_json: bool,
    overrides: tuple[str, ...],
) -> None:  # fmt: skip
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
    from headwater.data.metrics import funnel_series, progress_served

    if engine:
        overrides = (*overrides, f"documents.engine.name={engine}")
    config = load_section("documents", DocumentsConfig, recipe, overrides)
    layout = RunLayout(run)
    serving = progress_served(metrics_port, layout.serving("data"), metrics_host)
    with exclusive(layout.documents), serving as log:
        outcome = make_documents(layout, config)
        log(funnel_series(outcome.result))
    if not as_json and outcome.fresh:
        funnel.show(outcome.result)
    total = outcome.result["total"]
    from headwater.core.console import size

    message = (
        f"{total['documents_out']:,} of {total['documents_in']:,} documents kept · {size(total['bytes_out'])} of text"
    )
    _end("documents", message, outcome, as_json)


@data.command("index", short_help="   Index the documents, so that later crawls are deduplicated against them.")
@recipe_options
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the index.")
def index_command(recipe: str, run: Path, as_json: bool, overrides: tuple[str, ...], out: Path) -> None:
    """Index RUN/documents/, so that later crawls are deduplicated against them.

    Name the index in the recipe of a later run, as documents.earlier.NAME=FOLDER. Neither this run nor its texts are
    needed then; what was removed says which document of which index it matched.
    """
    from headwater.core.config import load_section
    from headwater.core.layout import RunLayout
    from headwater.core.lock import exclusive
    from headwater.data.config import DocumentsConfig
    from headwater.data.index import make_index

    config = load_section("documents", DocumentsConfig, recipe, overrides)
    with exclusive(out):
        outcome = make_index(RunLayout(run), config, out)
    _end("index", f"{outcome.result['documents']:,} documents → {out}", outcome, as_json)


def _end(stage: str, message: str, outcome: Any, as_json: bool) -> None:
    from headwater.core.console import done, print_json

    if as_json:
        print_json({**outcome.result, "digest": outcome.manifest.digest, "fresh": outcome.fresh})
    else:
        done(stage, message if outcome.fresh else f"up to date · {message}")
