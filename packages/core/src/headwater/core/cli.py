"""The `headwater` command. Each installed package adds its commands by the entry point group `headwater.cli`.

Only click and the standard library are imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from headwater.core.errors import HeadwaterError

COMMANDS_GROUP = "headwater.cli"
ORDER = ("line", "data", "import", "plan", "train", "eval", "export", "report", "trace", "verify", "monitor", "k8s")


class Commands(click.Group):
    """A group whose commands are the installed entry points, in the order of the line."""

    def _points(self) -> dict[str, EntryPoint]:
        found = {point.name: point for point in entry_points(group=COMMANDS_GROUP)}
        rank = {name: position for position, name in enumerate(ORDER)}
        return dict(sorted(found.items(), key=lambda item: (rank.get(item[0], len(rank)), item[0])))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the installed commands."""
        return list(self._points())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        point = self._points().get(cmd_name)
        return point.load() if point else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, and suggests the nearest name for one that does not exist."""
        import difflib

        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1) if args else []
            if near:
                raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from error
            raise


EPILOG = """\b
The whole line, on a laptop:
  headwater line run demo --run demo       crawl → documents → tokens → checkpoint → evaluation → report
  headwater trace item TASK 0 --run demo   the training documents behind an evaluation item
  headwater verify demo                    hash and derive everything again
Every command has --help. A run is one recipe (YAML); KEY=VALUE arguments override it: train.steps=200
"""


@click.command(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headwater-core", prog_name="headwater")
def headwater() -> None:
    """From a raw web crawl to a measured language model, on one line that can be walked back."""


def main() -> None:
    """Entry point: runs a command and turns Headwater's errors into messages and exit codes.

    A reader that goes away (`headwater trace … | head`) is click's to handle: it ends the command quietly. The signal
    SIGPIPE stays ignored, since it would also end a training whose metrics somebody stops reading.
    """
    try:
        # In this mode click returns the code of `Exit` (a failed stage of the line, --help) instead of ending with it.
        code = headwater.main(prog_name="headwater", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        (_explained(error) if isinstance(error, click.BadOptionUsage) else error).show()
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        told = _told(error)
        if told is None or os.environ.get("HEADWATER_DEBUG"):
            raise
        print(f"error: {told}", file=sys.stderr)
        sys.exit(told.exit_code)


def _explained(error: click.BadOptionUsage) -> click.BadOptionUsage:
    """An option without its value, with what click says of one with a wrong value: the usage, and the choices."""
    context = error.ctx or click.Context(headwater, info_name="headwater")
    for word in () if error.ctx else sys.argv[1:]:
        group = context.command
        if isinstance(group, click.Group) and (inner := group.get_command(context, word)):
            context = click.Context(inner, info_name=word, parent=context)
    options = {name: option for option in context.command.params for name in option.opts}
    kind = options[error.option_name].type if error.option_name in options else None
    choices = f" Choose from: {', '.join(map(str, kind.choices))}." if isinstance(kind, click.Choice) else ""
    return click.BadOptionUsage(error.option_name, error.message + choices, context)


def _told(error: Exception) -> HeadwaterError | None:
    """What is said of an error to who ran the command: Headwater's own, or that the system refused a file.

    Any file may be one that this user must not read, or on a disk that is full, wherever it is opened.
    """
    from headwater.core.errors import HeadwaterError
    from headwater.core.storage import refusal

    if isinstance(error, HeadwaterError):
        return error
    refused = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError) and error.errno in refused and error.filename is not None:
        return refusal("use", error.filename, error)
    return None


if __name__ == "__main__":
    main()
