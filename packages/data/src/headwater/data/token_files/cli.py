"""`headwater data import-tokens`."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.core.cli_options import json_option, run_option

_PATH = click.Path(path_type=Path)


@click.command("import-tokens")
@run_option
@click.option("--source", required=True, metavar="NAME", help="Name of the source, as in mixture.weights.")
@click.option("--format", "format_", required=True, type=click.Choice(["megatron", "nanotron"]), help="Of the files.")
@click.option("--validation", type=_PATH, multiple=True, metavar="FILE",
              help="File or folder of held-out documents; may be given again.")  # fmt: skip
@click.option("--validation-ratio", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True,
              help="Share of the documents to hold out, by the hash of their id.")  # fmt: skip
@click.option("--append-end-of-text", is_flag=True, help="End documents that do not end with the end-of-text token.")
@click.option("--place", type=click.Choice(["copy", "hardlink", "symlink"]), default="copy", show_default=True,
              help="Whether train.bin is a copy, or the one file itself.")  # fmt: skip
@json_option
@click.argument("files", nargs=-1, required=True, type=_PATH)
def import_tokens(
    run: Path, source: str, format_: str, files: tuple[Path, ...], validation: tuple[Path, ...],
    validation_ratio: float, append_end_of_text: bool, place: str, as_json: bool,
) -> None:  # fmt: skip
    """Take token FILES of another program as the tokens of a source: RUN/tokens/<source>/.

    FILES are prefixes of Megatron's .bin and .idx, .ds files of datatrove and nanotron, or folders of either. The run
    needs the tokenizer that made them: headwater import tokenizer FOLDER --run RUN.

    \b
    headwater data import-tokens --run RUN --source web --format megatron data/web_text_document
    headwater data import-tokens --run RUN --source web --format nanotron tokenized/ --validation-ratio 0.001
    """
    from headwater.core.console import done, print_json
    from headwater.core.errors import ConfigError
    from headwater.core.layout import RunLayout
    from headwater.core.lock import exclusive
    from headwater.data.collect.sources import SOURCE_NAME
    from headwater.data.token_files.files import open_all
    from headwater.data.token_files.importing import Wanted
    from headwater.data.token_files.importing import import_tokens as write

    if not SOURCE_NAME.fullmatch(source):
        raise ConfigError(f"{source!r} is no source name", expected="lower-case letters, digits, '_', '.', '-'")
    if validation and validation_ratio:
        raise ConfigError("--validation and --validation-ratio contradict each other", expected="one of them")
    opened, held_out = open_all(format_, files), open_all(format_, validation)
    layout = RunLayout(run)
    with exclusive(layout.tokens_root):
        outcome = write(layout, source, Wanted(format_, opened, held_out, validation_ratio, append_end_of_text, place))
    result = outcome.result
    if as_json:
        print_json({**result, "digest": outcome.manifest.digest, "fresh": outcome.fresh})
        return
    message = (
        f"{result['train_tokens']:,} training and {result['validation_tokens']:,} validation tokens in "
        f"{result['documents']:,} documents · {result['bytes_per_token']:.2f} bytes per token"
    )
    done("import-tokens", message if outcome.fresh else f"up to date · {message}")
