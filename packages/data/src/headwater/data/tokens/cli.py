"""`headwater data tokenizer`, `tokenize` and `mix`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headwater.core.cli_options import json_option, metrics_option, recipe_options


@click.command("tokenizer")
@metrics_option
@recipe_options
@click.option(
    "--compare", type=click.Path(exists=True, path_type=Path), multiple=True, metavar="FILE",
    help="Measure another tokenizer.json (or its folder) on the same text. May be given more than once.",
)  # fmt: skip
def tokenizer(
    recipe: str, run: Path, as_json: bool, overrides: tuple[str, ...], compare: tuple[Path, ...],
    metrics_port: int | None, metrics_host: str,
) -> None:  # fmt: skip
    """Train a tokenizer on a sample of the documents: RUN/tokenizer/.

    Prints how well it fits held-out text, beside GPT-2's and Llama 3's tokenizers where this machine has them.
    """
    from headwater.core.config import load_section
    from headwater.core.console import done, print_json, table
    from headwater.core.layout import RunLayout
    from headwater.core.lock import exclusive
    from headwater.data import tokenizer as maker
    from headwater.data.metrics import progress_served
    from headwater.data.tokens.config import TokenizerConfig
    from headwater.data.tokens.report import read_report, rows

    config = load_section("tokenizer", TokenizerConfig, recipe, overrides)
    layout = RunLayout(run)
    with exclusive(layout.tokenizer), progress_served(metrics_port, layout.serving("data"), metrics_host):
        outcome = maker.make_tokenizer(layout, config)
    if compare:
        report = maker.compare(layout, compare)
    else:  # an imported one is not measured
        report = {} if config.kind == "imported" else read_report(layout.tokenizer)
    if as_json:
        print_json({**outcome.result, "digest": outcome.manifest.digest, "fresh": outcome.fresh, "report": report})
        return
    if outcome.fresh or compare:
        headers, lines = rows(report)
        table(headers, lines, title="On held-out text")
        absent = [name for name, found in report.items() if isinstance(found, str)]
        if absent:
            click.echo(f"Not available on this machine, so not compared: {', '.join(absent)}")
    message = f"{outcome.result['vocab_size']:,} entries"
    if ratios := outcome.result.get("bytes_per_token"):
        shown = " · ".join(f"{source} {ratio:.2f}" for source, ratio in ratios.items())
        message = f"{message} · bytes per token on held-out text: {shown}"
    done("tokenizer", message if outcome.fresh else f"up to date · {message}")


@click.command("tokenize")
@metrics_option
@recipe_options
def tokenize(
    recipe: str, run: Path, as_json: bool, overrides: tuple[str, ...], metrics_port: int | None, metrics_host: str
) -> None:
    """Encode the documents: RUN/tokens/<source>/ (Megatron .bin/.idx and documents.parquet).

    encoding.json beside them says which encoder made the tokens, and how many documents were compared.
    """
    from headwater.core.config import load_section
    from headwater.core.console import done, print_json, table
    from headwater.core.layout import RunLayout
    from headwater.core.lock import exclusive
    from headwater.data.metrics import progress_served
    from headwater.data.tokenize import make_tokens, read_encoding
    from headwater.data.tokens.config import TokensConfig

    config = load_section("tokens", TokensConfig, recipe, overrides)
    layout = RunLayout(run)
    with exclusive(layout.tokens_root), progress_served(metrics_port, layout.serving("data"), metrics_host):
        outcomes = make_tokens(layout, config)
    results = {source: outcome.result for source, outcome in outcomes.items()}
    encodings = {source: read_encoding(layout.tokens(source)) for source in results}
    if as_json:
        print_json(
            {
                source: {**result, "digest": outcomes[source].manifest.digest, "encoding": encodings[source]}
                for source, result in results.items()
            }
        )
        return
    fresh = any(outcome.fresh for outcome in outcomes.values())
    if fresh:
        names = ("documents", "train_tokens", "validation_tokens", "bytes_per_token")
        rows = [
            [s, *(r[name] for name in names), ", ".join(encodings[s].get("documents_by_encoder", {}))]
            for s, r in results.items()
        ]
        table(["source", "documents", "train tokens", "validation tokens", "bytes per token", "encoder"], rows,
              title="Tokens")  # fmt: skip
        for reason in sorted(
            {e["fast_encoder_not_used"] for e in encodings.values() if e.get("fast_encoder_not_used")}
        ):
            click.echo(f"The fast encoder was not used: {reason}")
    train = sum(r["train_tokens"] for r in results.values())
    held_out = sum(r["validation_tokens"] for r in results.values())
    message = f"{train:,} training and {held_out:,} validation tokens of {len(results)} sources"
    done("tokens", message if fresh else f"up to date · {message}")


@click.command("mix")
@click.option("--recipe", required=True, metavar="FILE|NAME", help="Recipe with a mixture section.")
@click.option("--run", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Run folder with tokens.")
@click.option("--plan", is_flag=True, default=True, help="Print the plan (what this command does).")
@click.option("--tokens", metavar="COUNT", help="Tokens of the run: 2B, 300M, 1.5T, … Default: those of train.")
@click.option("--available", metavar="SOURCE=COUNT,…", help="Tokens of each source, instead of a run's.")
@json_option
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def mix(
    recipe: str, run: Path | None, plan: bool, tokens: str | None, available: str | None, as_json: bool,
    overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Plan a mixture: what each source gives to so many tokens, how often it is repeated, and what caps do.

    \b
    headwater data mix --recipe demo --run RUN --plan --tokens 2B
    headwater data mix --recipe demo --plan --tokens 1T --available web=1.2T,code=300B,reference=5B
    """
    from headwater.core.config import load_section, read_recipe
    from headwater.core.console import print_json
    from headwater.core.errors import ConfigError
    from headwater.core.layout import RunLayout
    from headwater.core.mixture import Mixture, available_tokens
    from headwater.core.mixture_plan import plan_mixture

    mixture = load_section("mixture", Mixture, recipe, overrides)
    if (run is None) == (available is None):
        raise ConfigError("a plan needs to know how many tokens each source has", hint="give --run or --available")
    known = available_tokens(RunLayout(run)) if run is not None else _table(available or "")
    where = str(RunLayout(run).tokens_root) if run is not None else "--available"
    count = _count(tokens, "--tokens") if tokens else _planned(read_recipe(recipe, overrides), mixture)
    made = plan_mixture(mixture, known, count, where=where)
    if as_json:
        print_json(made.as_json())
    else:
        _show(made)


def _table(text: str) -> dict[str, int]:
    from headwater.core.errors import ConfigError

    found: dict[str, int] = {}
    for part in text.split(","):
        name, equals, count = part.strip().partition("=")
        if not equals or not name or name in found:
            raise ConfigError(f"cannot read --available {text}", found=part, expected="web=1.2T,code=300B: each once")
        found[name] = _count(count, f"--available {name}")
    return found


def _count(text: str, where: str) -> int:
    from headwater.core.errors import ConfigError
    from headwater.core.mixture import parse_tokens

    count = parse_tokens(int(text) if text.isascii() and text.isdigit() else text)
    if not isinstance(count, int) or not 0 < count <= 10**15:
        raise ConfigError(f"{where} is no number of tokens", found=text, expected="for example 2B, 300M or 1.5T")
    return count


def _planned(recipe: dict[str, Any], mixture: Any) -> int | None:
    """Tokens of the run by its train section, read without the train package, which need not be installed."""
    if any(stage.tokens for stage in mixture.stages):
        return None
    from headwater.core.ramp import planned_samples

    train: Any = recipe.get("train") or {}
    if not isinstance(train, dict) or not isinstance(train.get("seq_len"), int):
        return None
    samples = planned_samples(train)
    return None if samples is None else samples * train["seq_len"]


def _show(made: Any) -> None:
    from headwater.core.console import done, table

    headers = ["source", "available", "weight", "tokens drawn", "share", "epochs", "cap", "moved by caps"]
    parts = [(stage.name, stage.tokens, stage.sources) for stage in made.stages] if len(made.stages) > 1 else []
    for name, size, sources in [*parts, ("all", made.tokens, made.sources)]:
        rows = [
            [r.source, r.available, round(r.weight, 4), r.drawn, round(r.share, 4), round(r.epochs, 3),
             r.max_epochs if r.max_epochs is not None else "", f"{r.moved:+,}" if r.moved else ""]
            for r in sources
        ]  # fmt: skip
        table(headers, rows, title=f"Stage {name}: {size:,} tokens" if name != "all" else f"Mixture: {size:,} tokens")
    for each in made.remainders:
        to = ", ".join(f"{name} +{count:,}" for name, count in each["to"].items())
        stage = f" in stage {each['stage']}" if each["stage"] != "all" else ""
        click.echo(f"{each['source']} reaches its cap{stage}: {each['tokens']:,} tokens go to {to}")
    capped = [row.source for row in made.sources if row.capped]
    done("mix", f"{made.tokens:,} tokens of {len(made.sources)} sources · capped: {', '.join(capped) or 'none'}")
