"""`headwater eval difficulty`. Only click is imported until it runs."""

from pathlib import Path

import click

from headwater.core.cli_options import json_option, run_option


@click.command("difficulty")
@run_option
@click.option("--checkpoint", metavar="best|last|STEP|PATH", default="best", show_default=True)
@click.option(
    "--documents",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="RUN",
    help="The run whose kept documents are scored.",
)
@click.option("--source", "sources", multiple=True, required=True, metavar="NAME", help="May be given again.")
@click.option("--batch-tokens", type=click.IntRange(min=1), help="Most tokens in a forward pass.")
@click.option(
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the figures go.",
)
@json_option
def difficulty(
    run: Path,
    checkpoint: str,
    documents: Path,
    sources: tuple[str, ...],
    batch_tokens: int | None,
    output: Path,
    as_json: bool,
) -> None:
    """How hard a checkpoint finds each document: its perplexity, for tokens.buckets (by: checkpoint).

    \b
    headwater eval difficulty --run small --documents runs/large --source web --output runs/large-difficulty
    """
    from headwater.core.checkpoints import choose_checkpoint
    from headwater.core.console import done, print_json
    from headwater.core.layout import RunLayout
    from headwater.eval.difficulty import score_documents

    layout = RunLayout(run)
    chosen = choose_checkpoint(layout, checkpoint)
    manifest, fresh = score_documents(
        layout, chosen, RunLayout(documents).documents, sources, output, batch_tokens
    )  # fmt: skip
    if as_json:
        print_json({"artifact": str(output), "digest": manifest.digest, "up_to_date": not fresh, **manifest.counters})
    else:
        state = "" if fresh else " (up to date)"
        done("difficulty", f"{manifest.counters['documents']:,} documents read by {chosen.name} → {output}{state}")
