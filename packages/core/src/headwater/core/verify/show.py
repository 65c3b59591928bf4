"""The result of a verification as text for people."""

from __future__ import annotations

import click

from headwater.core.console import size
from headwater.core.verify.findings import Finding
from headwater.core.verify.report import Verification


def show_verification(result: Verification) -> None:
    """Prints every finding, then one line that says what was verified."""
    for finding in sorted(result.findings, key=lambda finding: finding.severity != "warning"):
        _show(finding)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(result.kinds.items()))
    looked = f"{result.artifacts:,} artifacts ({kinds}), {result.files:,} files, {size(result.bytes)}"
    warnings = len(result.findings) - len(result.errors)
    also = f"; {warnings} warning{'' if warnings == 1 else 's'}" if warnings else ""
    if result.errors:
        count = len(result.errors)
        click.echo(f"verify: NOT VERIFIED: {count} finding{'' if count == 1 else 's'}{also}, in {looked}")
    else:
        click.echo(f"verify: verified: {looked}{also}")


def _show(finding: Finding) -> None:
    where = finding.file or finding.artifact
    click.echo(f"{finding.severity}: {where}: {finding.problem}")
    for name, value in (("found", finding.found), ("expected", finding.expected), ("to do", finding.hint)):
        if value:
            click.echo(f"  {name + ':':<9} {value}")
