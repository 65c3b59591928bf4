"""Data sets that are pulled into a folder: the same scores without a network, and clear errors."""

import json
import os
import socket
from contextlib import nullcontext

import pytest
import yaml
from click.testing import CliRunner
from datasets import Dataset, DatasetDict

from headwater.core.config import validate
from headwater.core.errors import ConfigError, EvalError
from headwater.eval.config import EvalConfig
from headwater.eval.harness.environment import prepare
from headwater.eval.items_cli import data as command
from headwater.eval.stage import run_eval

pytestmark = pytest.mark.slow

ITEMS = [{"question": f"What is {k}?", "choices": ["one", "two", "three"], "answer": k % 3} for k in range(9)]


@pytest.fixture
def hub(monkeypatch):
    """A hub that can be cut off."""
    import datasets

    state = {"up": True, "asked": []}

    def load(path, name=None, **given):
        state["asked"].append((path, name))
        if not state["up"]:
            raise ConnectionError(f"Couldn't reach {path!r} on the Hub (OfflineModeIsEnabled)")
        rows = Dataset.from_list(ITEMS)
        return DatasetDict({"test": rows, "dev": rows.select(range(3))})

    monkeypatch.setattr(datasets, "load_dataset", load)
    return state


@pytest.fixture
def include(tmp_path):
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name in ("first", "second"):
        value = {
            "task": name, "dataset_path": "someone/quiz", "dataset_name": name, "output_type": "multiple_choice",
            "test_split": "test", "fewshot_split": "dev", "num_fewshot": 1, "doc_to_text": "{{question}}",
            "doc_to_choice": "choices", "doc_to_target": "answer",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        }  # fmt: skip
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(value))
    return folder


def pull(folder, include, tasks):
    return CliRunner().invoke(command, ["pull", str(folder), "--tasks", tasks, "--include", str(include), "--json"])


def evaluate(run, tasks, include, output, data_dir=None, **more):
    config = validate(EvalConfig, {"tasks": tasks, "bits_per_byte": False} | more, "eval")
    return run_eval(run, config, data_dir=data_dir, include=[include], output=output).results.tasks


def test_what_was_pulled_gives_the_scores_of_the_hub(own_run, tmp_path, hub, include):
    folder = tmp_path / "data"
    result = pull(folder, include, "first,second")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [name.rsplit("/", 2)[-2:] for name in told["data_sets"]] == [
        ["someone--quiz", "first"], ["someone--quiz", "second"],
    ]  # fmt: skip
    assert sorted(told["files"]) == [
        f"hub/someone--quiz/{name}/{split}.parquet" for name in ("first", "second") for split in ("dev", "test")
    ]
    expected = evaluate(own_run, ["first", "second"], include, tmp_path / "a", hub=True)
    hub["up"], hub["asked"] = False, []
    found = evaluate(own_run, ["first", "second"], include, tmp_path / "b", data_dir=folder)
    assert found == expected and hub["asked"] == []


def test_what_was_not_pulled_is_named_with_the_way_to_get_it(own_run, tmp_path, hub, include):
    folder = tmp_path / "data"
    pull(folder, include, "first")
    hub["up"] = False
    with pytest.raises(EvalError, match="the task second has no data here") as caught:
        evaluate(own_run, ["second"], include, tmp_path / "a", data_dir=folder)
    assert "someone--quiz/second" in str(caught.value)
    assert "headwater eval data pull DIR --tasks second" in str(caught.value)


def test_a_changed_file_is_refused_and_a_damaged_one_named(own_run, tmp_path, hub, include):
    folder = tmp_path / "data"
    pull(folder, include, "first")
    file = folder / "hub" / "someone--quiz" / "first" / "test.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(EvalError, match="does not match its checksums"):
        evaluate(own_run, ["first"], include, tmp_path / "a", data_dir=folder)
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(EvalError, match=r"cannot read .*test.parquet"):
        evaluate(own_run, ["first"], include, tmp_path / "a", data_dir=folder)


def test_what_to_pull_has_to_be_said(tmp_path, hub, include):
    result = CliRunner().invoke(command, ["pull", str(tmp_path / "data")])
    assert isinstance(result.exception, ConfigError)
    hub["up"] = False
    result = pull(tmp_path / "data", include, "first")
    assert isinstance(result.exception, EvalError) and "someone/quiz" in str(result.exception)


@pytest.fixture
def environment(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))  # set back afterwards
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_hub_that_does_not_answer_is_not_asked_again_and_again(environment, capsys):
    asked = []

    def refuse(address, timeout):
        asked.append((address, timeout))
        raise OSError("Name or service not known")

    environment.setattr(socket, "create_connection", refuse)
    prepare(hub=True)
    assert os.environ["HF_HUB_OFFLINE"] == os.environ["HF_DATASETS_OFFLINE"] == "1"
    assert "hub cannot be reached (huggingface.co: Name or service not known)" in capsys.readouterr().err
    environment.setenv("HF_ENDPOINT", "http://mirror:8080")
    prepare(hub=True)
    assert asked == [(("huggingface.co", 443), 5), (("mirror", 8080), 5)]
    environment.setenv("http_proxy", "http://proxy:3128")
    prepare(hub=True)
    assert len(asked) == 2 and "HF_HUB_OFFLINE" not in os.environ


def test_a_hub_that_answers_is_asked(environment):
    environment.setattr(socket, "create_connection", lambda *_, **__: nullcontext())
    prepare(hub=True)
    assert "HF_HUB_OFFLINE" not in os.environ and "HF_DATASETS_OFFLINE" not in os.environ


def test_an_unreachable_hub_is_told_with_the_way_around_it(own_run, tmp_path, hub, include, environment):
    environment.setattr(socket, "create_connection", lambda *_, **__: nullcontext())
    hub["up"] = False
    with pytest.raises(EvalError, match="hub cannot be reached, or does not have it") as caught:
        evaluate(own_run, ["second"], include, tmp_path / "a", hub=True)
    assert "headwater eval data pull DIR --tasks second" in str(caught.value)
