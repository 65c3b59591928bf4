"""`headwater verify`: is this run still exactly what was made?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from headwater.core.cli_options import json_option


@click.command(short_help="Hash and derive everything of a run again.")
@click.argument("run", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@json_option
def verify(run: Path, as_json: bool) -> None:
    """Hash every file of the run folder DIR again, walk its lineage, and count everything again.

    Every missing or changed file, edited configuration, broken link to a parent and wrong count is named, with what
    was found, what was expected and what to do. Exit code 1 if there is any; warnings alone leave it at 0.
    """
    from headwater.core.console import print_json
    from headwater.core.verify.report import verify_run
    from headwater.core.verify.show import show_verification

    result = verify_run(run)
    print_json(result.to_json()) if as_json else show_verification(result)
    if result.errors:
        sys.exit(1)
