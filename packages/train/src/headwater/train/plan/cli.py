"""`headwater plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headwater.core.cli_options import json_option

FAMILIES = ("llama3", "qwen3", "deepseek_v3", "gpt2")
OPTIMIZERS = ("adamw", "adamw_8bit", "sgd", "adafactor", "lion", "muon")
METHODS = ("pretrain", "sft", "lora", "qlora")


@click.command(short_help="What a training needs and costs on a cluster.")
@click.option("--size", metavar="SIZE", help="Parameters of the model: 25m … 70b, 405b, or any number between.")
@click.option("--cluster", "cluster_text", required=True, metavar="KIND:NUMBER",
              help="GPUs: a100:64, h100:512, h200:8, b200:128, …; or cpu:8, a machine of 8 cores.")  # fmt: skip
@click.option("--tokens", "tokens_text", metavar="NUMBER",
              help="Tokens to train on, as 2T. [default of pretrain: 20 a parameter]")  # fmt: skip
@click.option("--family", type=click.Choice(FAMILIES), default="llama3", show_default=True, help="Of the model.")
@click.option("--seq-len", type=click.IntRange(16, 2**22), metavar="TOKENS",
              help="Tokens in a sample. [default: 8192; 4096 of deepseek_v3, 1024 on a CPU]")  # fmt: skip
@click.option("--batch-tokens", "batch_text", metavar="NUMBER", help="Tokens in a step, as 4M. [default: of published "
              "trainings of that size]")  # fmt: skip
@click.option(
    "--precision", type=click.Choice(["float32", "bfloat16", "float8"]), help="[default: bfloat16; float32 on a CPU]"
)
@click.option("--compile/--eager", "compiled", default=None, help="torch.compile of the blocks. [default: on GPUs]")
@click.option("--method", type=click.Choice(METHODS), default="pretrain", show_default=True,
              help="pretrain and sft train all weights, lora and qlora adapters beside frozen ones.")  # fmt: skip
@click.option("--lora-rank", type=click.IntRange(1, 4096), default=16, show_default=True, help="Width of an adapter.")
@click.option("--optimizer", type=click.Choice(OPTIMIZERS), default="adamw", show_default=True,
              help="Of the recipe, with its defaults; adapters have adamw.")  # fmt: skip
@click.option("--offload", is_flag=True, help="Keep the optimizer's state in host memory.")
@click.option("--vocab-size", type=click.IntRange(2, 10_000_000), metavar="NUMBER",
              help="Entries of the vocabulary. [default: the family's; 32,768 of small models]")  # fmt: skip
@click.option("--price", type=float, metavar="DOLLARS", help="Of a GPU and hour. [default: a published one]")
@click.option("--price-option", type=click.Choice(["on-demand", "reserved", "spot"]), default="on-demand",
              show_default=True, help="Of published prices.")  # fmt: skip
@click.option("--gpu-memory", type=click.FloatRange(1, 10_000), metavar="GIB",
              help="Of a GPU (of the machine, for a CPU), if not the usual.")  # fmt: skip
@click.option("--network-gbps", type=click.FloatRange(0.1, 100_000), metavar="GBIT",
              help="Network of one GPU, in Gbit/s, if not the usual.")  # fmt: skip
@click.option(
    "--fit", type=click.Choice(["model", "context", "batch"]), help="Show what is the largest that fits here."
)
@click.option("--alternatives", type=click.IntRange(0, 20), default=3, show_default=True, help="Other layouts to show.")
@click.option("--recipe", "base", metavar="FILE|NAME", help="A recipe whose other sections the plan's recipe keeps.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write the recipe there.")
@json_option
def plan(
    size: str | None, cluster_text: str, tokens_text: str | None, family: str, seq_len: int | None,
    batch_text: str | None, precision: str | None, compiled: bool | None, method: str, lora_rank: int,
    optimizer: str, offload: bool, vocab_size: int | None, price: float | None, price_option: str,
    gpu_memory: float | None, network_gbps: float | None, fit: str | None, alternatives: int, base: str | None,
    out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """What a training needs and costs on a cluster, before it is paid for: layout, memory, speed, time, money, energy.

    \b
    headwater plan --size 8b --tokens 200b --cluster h100:8
    headwater plan --size 70b --tokens 2T --cluster h100:512 --out plan.yaml
    headwater plan --cluster a100:8 --fit model --method qlora
    """
    from headwater.core.config import dump_yaml, read_recipe, validate
    from headwater.core.errors import ConfigError, StorageError
    from headwater.train.config import TrainConfig
    from headwater.train.plan import make, show
    from headwater.train.plan.clusters import parse_cluster
    from headwater.train.plan.cost import price_of
    from headwater.train.plan.counts import counts
    from headwater.train.plan.recipe import recipe_of
    from headwater.train.plan.recommend import batch_tokens_for
    from headwater.train.plan.search import Wish, even_batch
    from headwater.train.plan.sizes import model_of, shape_of
    from headwater.train.sizes import parse_number

    cluster = parse_cluster(cluster_text, gpu_memory_gib=gpu_memory, network_gbps=network_gbps)
    cpu = cluster.gpu.generation == "cpu"
    if size is None and fit != "model":
        raise ConfigError("--size is missing", expected="the number of parameters, like 8b", hint="or ask --fit model")
    tokens = parse_number(tokens_text, "--tokens", "2T, 500b") if tokens_text else None
    kind = precision or ("float32" if cpu else "bfloat16")
    if kind == "float8" and not cluster.gpu.peak_fp8:
        raise ConfigError(f"{cluster.gpu.name} has no float8", expected="--precision bfloat16, or h100 and later")
    if cpu and offload:
        raise ConfigError(
            "--offload is for GPUs alone: a CPU's memory is the host's", found=f"--cluster {cluster_text}"
        )
    adapters = method in ("lora", "qlora")
    if adapters and (optimizer != "adamw" or offload):
        raise ConfigError(f"--method {method} is planned with AdamW on the GPU: adapters have little state", found=
                          f"--optimizer {optimizer}" + (" --offload" if offload else ""))  # fmt: skip
    if method != "pretrain" and tokens is None and fit is None:
        raise ConfigError(f"--method {method} needs --tokens: how much is tuned on is not in the size of the model",
                          expected="the tokens of the data, times the passes over it, as 500m")  # fmt: skip
    model = model_of(size or make.sizes_of(family)[0], family, vocab_size)
    length = seq_len or (1024 if cpu else 4096 if family == "deepseek_v3" else 8192)
    parameters = counts(shape_of(model, length)).active
    batch_tokens = batch_tokens_for(parameters, method)  # pyright: ignore[reportArgumentType]
    if batch_text:
        batch_tokens = parse_number(batch_text, "--batch-tokens", "4M")
        if batch_tokens < length:
            raise ConfigError("--batch-tokens is less than a sample", found=batch_text,
                              expected=f"{length:,} at least, or a shorter --seq-len")  # fmt: skip
    wish = Wish(
        model=model, seq_len=length, batch=even_batch(batch_tokens / length), precision=kind,  # pyright: ignore[reportArgumentType]
        compiled=(not cpu) if compiled is None else compiled, method=method, lora_rank=lora_rank,  # pyright: ignore[reportArgumentType]
        optimizer=validate(TrainConfig, {"optimizer": {"name": optimizer}}, "train").optimizer, offload=offload,
    )  # fmt: skip
    if fit is not None:
        more = {"--out": out, "--recipe": base, "--tokens": tokens_text, "--price": price,
                "--size": size if fit == "model" else None}  # fmt: skip
        if given := [f"{option} {value}" for option, value in more.items() if value is not None]:
            raise ConfigError(f"--fit {fit} looks for what fits, whatever it costs and however long it takes",
                              found=given[0], hint="leave it out, and plan what fits")  # fmt: skip
        found = {
            "model": lambda: make.largest_models(
                wish, cluster, family, vocab_size, batch_tokens if batch_text else None
            ),
            "context": lambda: make.longest_contexts(wish, cluster),
            "batch": lambda: make.largest_batches(wish, cluster),
        }[fit]()
        show.largest_json(fit, found) if as_json else show.show_largest(fit, found)
        return
    planned = make.make_plan(wish, cluster, tokens, price_of(cluster.gpu.name, price_option, price))
    recipe: dict[str, Any] | None = None
    if not adapters or out is not None:
        recipe = recipe_of(
            planned.best.job, model, planned.cost, name=f"{family}-{size}", device="cpu" if cpu else "cuda",
            compiled=wish.compiled, base=read_recipe(base) if base else None,
        )  # fmt: skip
    if out is not None and recipe is not None:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(dump_yaml(recipe), encoding="utf-8")
        except OSError as error:
            raise StorageError(
                f"cannot write the recipe to {out}: {error.strerror}", hint="name another --out"
            ) from error
    if as_json:
        show.as_json(planned, recipe, alternatives)
    else:
        show.show(planned, dump_yaml(recipe) if recipe else None, str(out) if out else None, alternatives)
