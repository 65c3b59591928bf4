import errno
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from headwater.core import cli

HEAVY = (
    "torch",
    "transformers",
    "lm_eval",
    "torchtitan",
    "datatrove",
    "pyarrow",
    "numpy",
    "pydantic",
    "rich",
    "jinja2",
)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headwater.core.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_imports_nothing_heavy():
    program = "import sys\nfrom headwater.core import cli\nsys.argv = ['headwater', '--help']\ntry:\n    cli.main()\n"
    program += f"finally:\n    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stderr.strip() == "[]"
    assert "line" in result.stdout and "verify" in result.stdout


def test_unknown_command_suggests_the_nearest():
    result = CliRunner().invoke(cli.headwater, ["verfy"])
    assert result.exit_code == 2
    assert "Did you mean 'verify'" in result.output


def test_an_option_of_choices_without_its_value_says_what_there_is_to_choose():
    result = run("plan", "--fit")
    assert result.returncode == 2
    assert "Usage: headwater plan " in result.stderr
    assert "'--fit' requires an argument. Choose from: model, context, batch." in result.stderr
    other = run("line", "run", "demo", "--run").stderr
    assert "Usage: headwater line run" in other and "Choose" not in other


@pytest.mark.parametrize(("arguments", "code"), [(("line", "run", "nothere", "--run", "x"), 2), (("line", "run"), 2)])
def test_errors_are_messages_not_tracebacks(arguments, code):
    result = run(*arguments)
    assert result.returncode == code
    assert "Traceback" not in result.stderr and "rror" in result.stderr


def test_a_command_that_stops_with_an_exit_code_ends_with_it():
    program = (
        "import sys, click; from headwater.core import cli; sys.argv = ['headwater']\n"
        "@click.command()\ndef failing(): raise click.exceptions.Exit(3)\n"
        "cli.headwater = failing; cli.main()"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 3


@pytest.mark.parametrize(("number", "told"), [("EACCES", True), ("ENOSPC", True), ("ENOENT", False)])
def test_a_file_that_the_system_refuses_is_a_message_wherever_it_is_opened(number: str, told: bool):
    """A file that is not there may be a defect of ours, whose place a traceback says."""
    program = (
        "import click, errno, os, sys; from headwater.core import cli; sys.argv = ['headwater']\n"
        f"error = OSError(errno.{number}, os.strerror(errno.{number}), 'tokens/train.idx')\n"
        "@click.command()\ndef failing(): raise error\n"
        "cli.headwater = failing; cli.main()"
    )
    result = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert result.returncode == 1 and ("Traceback" in result.stderr) != told
    assert (f"error: cannot use tokens/train.idx: {os.strerror(getattr(errno, number))}" in result.stderr) == told


def test_help_and_version_end_with_0():
    assert run("--help").returncode == 0
    assert run("line", "run", "--help").returncode == 0
    assert run("--version").returncode == 0


def test_a_reader_that_goes_away_ends_a_command_quietly_and_a_peer_that_does_ends_nothing():
    long = "import sys; from headwater.core import cli; import click; sys.argv = ['headwater']\n"
    printing = long + (
        "@click.command()\ndef talk():\n for n in range(100_000): click.echo(f'line {n}')\n"
        "cli.headwater = talk; cli.main()"
    )
    with subprocess.Popen([sys.executable, "-c", printing], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"line 0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    serving = long + (
        "import socket\n@click.command()\ndef serve():\n a, b = socket.socketpair(); b.close()\n"
        " try: a.sendall(b'x')\n except BrokenPipeError: print('went on')\ncli.headwater = serve; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", serving], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "went on\n")
