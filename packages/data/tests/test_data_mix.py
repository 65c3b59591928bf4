import json

import pytest
from click.testing import CliRunner

from headwater.core.errors import ConfigError
from headwater.data.tokens.cli import mix

RECIPE = """
name: t
mixture: {weights: {web: 3, code: 1}, max_epochs: {code: 2}}
train: {steps: 10, global_batch: 4, seq_len: 100}
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE)

    def call(*arguments):
        found = CliRunner().invoke(mix, ["--recipe", str(tmp_path / "r.yaml"), *arguments], catch_exceptions=True)
        if isinstance(found.exception, ConfigError):
            raise found.exception
        assert found.exit_code == 0, found.output
        return found.output

    return call


def test_a_plan_from_a_table_on_the_command_line(run):
    found = json.loads(run("--plan", "--json", "--tokens", "4k", "--available", "web=1M,code=300"))
    assert {row["source"]: row["drawn"] for row in found["sources"]} == {"web": 3400, "code": 600}
    assert found["remainders"] == [{"stage": "all", "source": "code", "tokens": 400, "to": {"web": 400}}]


def test_the_number_of_tokens_is_that_of_the_training(run):
    assert json.loads(run("--json", "--available", "web=1M,code=1M"))["tokens"] == 4000


def test_the_table_says_where_the_remainder_went(run):
    found = run("--plan", "--tokens", "4k", "--available", "web=1M,code=300")
    assert "code reaches its cap: 400 tokens go to web +400" in found and "capped: code" in found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tokens", "4k"], "give --run or --available"),
        (["--tokens", "many", "--available", "web=1,code=1"], "--tokens is no number of tokens"),
        (["--tokens", "4k", "--available", "web"], "cannot read --available"),
        (["--tokens", "4k", "--available", "web=1M"], "names the source code"),
        (["--tokens", "4k", "--available", "web=100,code=1M", "mixture.max_epochs=0.001"], "cannot give 4,000 tokens"),
        (["--available", "web=1M,code=1M", "train.steps=null"], "needs the number of tokens"),
    ],
)
def test_what_cannot_be_planned_is_refused(run, arguments, message):
    with pytest.raises(ConfigError, match=message):
        run(*arguments)
