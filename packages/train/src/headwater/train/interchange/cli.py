"""`headwater export` and `headwater import`."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.core.cli_options import json_option, run_option

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group(short_help="Write a model in another program's format.")
def export() -> None:
    """Write a model in another program's format."""


@export.command("hf")
@click.argument("checkpoint", type=_FOLDER, required=False)
@click.option("--run", type=_FOLDER, metavar="DIR", help="Run folder, in place of CHECKPOINT.")
@click.option("--checkpoint", "wanted", default="best", show_default=True, metavar="best|last|STEP",
              help="Which checkpoint of --run.")  # fmt: skip
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Folder to write; a new one, or an earlier export.")  # fmt: skip
@click.option("--dtype", type=click.Choice(["stored", "float32", "bfloat16", "float16"]), default="stored",
              show_default=True, help="Of the weights; stored: as the checkpoint has them.")  # fmt: skip
@click.option("--max-shard-size", default="5GB", show_default=True, metavar="SIZE",
              help="Largest file of weights; memory holds one such file.")  # fmt: skip
@click.option("--tokenizer", type=_FOLDER, metavar="DIR", help="The checkpoint's tokenizer, if it was moved.")
@json_option
def export_hf(
    checkpoint: Path | None, run: Path | None, wanted: str, out: Path, dtype: str, max_shard_size: str,
    tokenizer: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Write a checkpoint as a folder that transformers loads, with its tokenizer.

    \b
    headwater export hf --run RUN --out my-model
    headwater export hf RUN/train/checkpoints/step-00001000 --out my-model --dtype bfloat16
    """
    from headwater.core.checkpoints import choose_checkpoint
    from headwater.core.console import done, print_json, size
    from headwater.core.errors import ConfigError
    from headwater.core.layout import RunLayout
    from headwater.core.lock import exclusive
    from headwater.train.interchange.export_huggingface import Wanted, export_huggingface

    if (checkpoint is None) == (run is None):
        raise ConfigError("say which model to export", expected="either the folder of a checkpoint, or --run")
    source = checkpoint or choose_checkpoint(RunLayout(run or ""), wanted)
    with exclusive(out):
        manifest, fresh = export_huggingface(source, out, Wanted(dtype, _bytes(max_shard_size)), tokenizer)
    counters = manifest.counters
    if as_json:
        print_json({**counters, "checkpoint": str(source), "out": str(out), "dtype": manifest.config["dtype"],
                    "digest": manifest.digest, "fresh": fresh})  # fmt: skip
        return
    message = (
        f"{source.name} → {out}: {counters['parameters']:,} parameters in {manifest.config['dtype']}, "
        f"{counters['weight_files']} file(s) of weights, {size(manifest.total_bytes())}"
    )
    done("export", message if fresh else f"up to date · {message}")


@click.group("import", short_help="Start a run from another program's model.")
def import_() -> None:
    """Start a run from another program's model."""


@import_.command("hf")
@click.argument("folder", type=_FOLDER)
@run_option
@click.option("--end-of-text", metavar="TOKEN", help="The token that ends a document; default: what its family has.")
@json_option
def import_hf(folder: Path, run: Path, end_of_text: str | None, as_json: bool) -> None:
    """Import weights (Llama 3 and Qwen 3 families) and tokenizer of a Hugging Face folder: RUN/init/, RUN/tokenizer/.

    Prints what the recipe needs, so that `headwater data tokenize` and `headwater train run` use them. Weights are
    read from safetensors, never from pickle files.

    \b
    headwater import hf Llama-3.2-1B --run RUN
    """
    import yaml

    from headwater.core.console import done, print_json
    from headwater.core.layout import RunLayout
    from headwater.core.lock import exclusive
    from headwater.train.interchange.import_huggingface import import_huggingface
    from headwater.train.model import recipe_of

    layout = RunLayout(run)
    with exclusive(layout.init), exclusive(layout.tokenizer):
        made = import_huggingface(folder, layout, end_of_text)
    recipe = {"tokenizer": {"kind": "imported"}, "train": {"init_from": "imported", "model": recipe_of(made.shape)}}
    parameters, end = made.weights.counters["parameters"], made.tokenizer.config["end_of_text"]
    if as_json:
        print_json({**made.weights.counters, "digest": made.weights.digest, "tokenizer_digest": made.tokenizer.digest,
                    "end_of_text": end, "fresh": made.fresh, "recipe": recipe})  # fmt: skip
        return
    click.echo("To train from these weights, the recipe needs:\n")
    click.echo(yaml.safe_dump(recipe, sort_keys=False))
    message = f"{parameters:,} parameters ({made.shape.family}) → {layout.init}; documents end with {end}"
    done("import", message if made.fresh else f"up to date · {message}")


@import_.command("tokenizer")
@click.argument("folder", type=_FOLDER)
@run_option
@click.option("--end-of-text", metavar="TOKEN", help="The token that ends a document; default: what its family has.")
@json_option
def import_tokenizer(folder: Path, run: Path, end_of_text: str | None, as_json: bool) -> None:
    r"""Import the tokenizer of a Hugging Face folder alone: RUN/tokenizer/.

    For a run that trains a new model on its vocabulary, or on token files that it made (headwater data import-tokens).
    """
    from headwater.core.console import done, print_json
    from headwater.core.layout import RunLayout
    from headwater.core.lock import exclusive
    from headwater.train.interchange.import_tokenizer import TokenizerImport

    layout = RunLayout(run)
    with exclusive(layout.tokenizer):
        manifest, fresh = TokenizerImport(folder, end_of_text).write(layout)
    size, end = manifest.counters["vocab_size"], manifest.config["end_of_text"]
    if as_json:
        print_json({"vocab_size": size, "end_of_text": end, "digest": manifest.digest, "fresh": fresh})
        return
    message = f"{size:,} entries → {layout.tokenizer}; documents end with {end}"
    done("import", message if fresh else f"up to date · {message}")


def _bytes(text: str) -> int:
    from pydantic import ByteSize, TypeAdapter, ValidationError

    from headwater.core.errors import ConfigError

    try:
        count = int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError as error:
        raise ConfigError("--max-shard-size is no size", found=text, expected="for example 5GB or 500MB") from error
    if count < 1:
        raise ConfigError("--max-shard-size is no size", found=text, expected="more than 0 bytes")
    return count
