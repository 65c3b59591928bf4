import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from headwater.data.cli import data


def test_help_lists_the_commands_in_order_without_heavy_imports():
    program = (
        "import sys; sys.argv=['headwater','data','--help']\n"
        "from headwater.core.cli import main\n"
        "try:\n main()\nexcept SystemExit: pass\n"
        "heavy = {'pyarrow','numpy','datatrove','tokenizers','resiliparse','scipy','pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    places = [found.index(f"\n  {name}") for name in ("collect", "run", "tokenizer", "tokenize ")]
    assert places == sorted(places) and "headwater data tokenize" in found


def test_the_line_from_warc_to_tokens(tiny):
    run, recipe = tiny()
    runner = CliRunner()
    common = ["--recipe", str(recipe), "--run", str(run)]
    first = runner.invoke(data, ["run", *common])
    assert first.exit_code == 0, first.output
    assert (
        "Funnel" in first.output
        and "gopher_quality" in first.output
        and first.stdout.strip().splitlines()[-1].startswith("documents: ")
    )
    again = runner.invoke(data, ["run", *common])
    assert again.stdout.startswith("documents: up to date") and len(again.stdout.strip().splitlines()) == 1
    assert "bytes per token" in runner.invoke(data, ["tokenizer", *common]).stdout
    assert runner.invoke(data, ["tokenize", *common]).stdout.strip().splitlines()[-1].startswith("tokens: ")
    found = json.loads(runner.invoke(data, ["run", "--json", *common]).stdout)
    assert found["fresh"] is False and found["total"]["documents_in"] == 60
    tokens = json.loads(runner.invoke(data, ["tokenize", "--json", *common]).stdout)
    assert set(tokens) == {"reference", "web"} and tokens["web"]["train_tokens"] > 0


@pytest.mark.parametrize("command", ["run", "tokenizer", "tokenize"])
def test_every_command_has_help(command):
    found = CliRunner().invoke(data, [command, "--help"])
    assert found.exit_code == 0 and "--recipe" in found.output and "RUN/" in found.output
