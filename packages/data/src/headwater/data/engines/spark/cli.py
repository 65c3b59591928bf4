"""`headwater data spark-archive`."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.core.cli_options import json_option

EPILOG = """\b
Workers of the same kind of machine (system, processor) need nothing else. With the run folder on shared storage:
  headwater data spark-archive environment.tar.gz
  PYSPARK_PYTHON=./environment/bin/python spark-submit --archives environment.tar.gz#environment
      headwater_submit.py data run --recipe RECIPE.yaml --run /shared/run --engine spark
"""


@click.command("spark-archive", epilog=EPILOG)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path), metavar="OUT.tar.gz")
@click.option("--extra", "extras", multiple=True, metavar="NAME", help="An extra of headwater-data to pack too.")
@json_option
def spark_archive(out: Path, extras: tuple[str, ...], as_json: bool) -> None:
    """Pack this Python, Headwater and what it depends on for the workers of a Spark cluster."""
    from headwater.core.console import done, print_json, size
    from headwater.core.errors import ConfigError
    from headwater.data.engines.spark.archive import write_archive

    if not out.name.endswith((".tar.gz", ".tgz")):
        raise ConfigError("Spark knows an archive by its name", found=out.name, expected="a name that ends in .tar.gz")
    packed = write_archive(out, extras)
    if as_json:
        print_json({"archive": str(out), "bytes": out.stat().st_size, "distributions": packed})
    else:
        done("spark-archive", f"{out} · {size(out.stat().st_size)} · {len(packed)} distributions")
