"""`headwater eval items` and `headwater eval data`. Only click is imported until a command runs."""

from pathlib import Path

import click

from headwater.core.cli_options import json_option, recipe_options


@click.command("items")
@recipe_options
@click.option(
    "--data-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Data of the real mmlu, gsm8k and humaneval, if the recipe evaluates them (default: eval.data_dir).",
)
@click.option(
    "--checksums",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Checksums of that data (default: SHA256SUMS in it).",
)
@click.option(
    "--include",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    metavar="DIR",
    help="Folder of your own lm-eval task files, whose names are then known; may be given again.",
)
def items(
    recipe: str,
    run: Path,
    as_json: bool,
    overrides: tuple[str, ...],
    data_dir: Path | None,
    checksums: Path | None,
    include: tuple[Path, ...],
) -> None:
    """Write down the evaluation items that training documents are compared with.

    \b
    headwater eval items --recipe demo --run demo
    headwater eval items --recipe demo --run demo --data-dir DIR eval.tasks=[mmlu,gsm8k]
    """
    from headwater.core.config import load_section
    from headwater.core.console import done, print_json, warn
    from headwater.core.layout import RunLayout
    from headwater.eval.config import EvalConfig
    from headwater.eval.items import write_items

    config = load_section("eval", EvalConfig, recipe, overrides)
    result = write_items(
        RunLayout(run).items,
        list(config.asked),
        data_dir or config.data_folder,
        checksum_file=checksums,
        include=include,
    )
    for name in result.without:
        # Said every time: documents that hold these items will not be found.
        warn(
            f"no items of {name} here, so nothing is compared with them (mmlu, gsm8k, humaneval: give --data-dir DIR "
            "or eval.data_dir)"
        )
    counters = result.manifest.counters
    if as_json:
        print_json({"digest": result.manifest.digest, "up_to_date": not result.fresh, **counters})
        return
    found = f"{counters['items']:,} items of {len(counters['tasks'])} tasks"
    done("items", found if result.fresh else f"up to date · {found}")


@click.group("data")
def data() -> None:
    """The data of real benchmarks in a folder: pull it once, check it, evaluate without a network."""


@data.command("pull")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--tasks", metavar="NAME,NAME…", help="lm-eval tasks or groups.")
@click.option("--suite", metavar="NAME|FILE", help="The tasks of a suite; see `headwater eval suites`.")
@click.option(
    "--include",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    metavar="DIR",
    help="Folder of your own lm-eval task files; may be given again.",
)
@json_option
def pull_command(folder: Path, tasks: str | None, suite: str | None, include: tuple[Path, ...], as_json: bool) -> None:
    """Write the data sets of tasks into a folder, with its checksums; the Hugging Face hub is asked.

    \b
    headwater eval data pull DIR --suite core
    headwater eval run --recipe demo --run demo --suite core --data-dir DIR     # no network
    """
    from headwater.core.console import done, print_json
    from headwater.core.errors import ConfigError
    from headwater.eval.checksums import write
    from headwater.eval.suites import load_suite

    if (tasks is None) == (suite is None):
        raise ConfigError("say what to pull", expected="either --tasks or --suite")
    names = list(load_suite(suite).tasks) if suite is not None else [each.strip() for each in str(tasks).split(",")]
    from headwater.eval.harness.environment import prepare

    prepare(hub=True)
    from headwater.eval.harness.hub_data import HubFolder
    from headwater.eval.harness.tasks import pull

    written = pull(names, include, HubFolder(folder))
    _, found = write(folder, None)
    if as_json:
        print_json({"data_sets": [str(each) for each in written], "files": found})
    else:
        done("pull", f"{len(written):,} data sets in {folder}, {len(found):,} files listed in SHA256SUMS")


@data.command("checksum")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Default: DIR/SHA256SUMS.")
@json_option
def checksum(folder: Path, output: Path | None, as_json: bool) -> None:
    """Write the checksum file of a data folder (the format of sha256sum)."""
    from headwater.core.console import done, print_json
    from headwater.eval.checksums import write

    target, found = write(folder, output)
    if as_json:
        print_json({"file": str(target), "files": found})
    else:
        done("checksum", f"{len(found):,} files listed in {target}")


@data.command("verify")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--checksums", type=click.Path(dir_okay=False, path_type=Path), help="Default: DIR/SHA256SUMS.")
@json_option
def verify(folder: Path, checksums: Path | None, as_json: bool) -> None:
    """Compare a data folder with its checksum file; name every missing, changed or extra file."""
    from headwater.core.console import done, print_json
    from headwater.core.errors import EvalError
    from headwater.eval.checksums import verify as compare

    result = compare(folder, checksums)
    if as_json:
        print_json(
            {"ok": result.ok, "matched": len(result.matched), "missing": result.missing, "changed": result.changed,
             "extra": result.extra}
        )  # fmt: skip
    if not result.ok:
        raise EvalError(f"{folder} does not match its checksums", found="\n            ".join(result.problems()),
                        expected="every file as listed, and no other")  # fmt: skip
    if not as_json:
        done("verify", f"{len(result.matched):,} files as listed")
