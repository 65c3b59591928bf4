"""Hugging Face folders evaluated beside a run: whose tokenizer is used, and what is not measured without it."""

import json
import shutil

import pytest

from headwater.core.config import validate
from headwater.core.errors import EvalError
from headwater.eval.checkpoint import load
from headwater.eval.config import EvalConfig
from headwater.eval.errors import UnusableCheckpoint
from headwater.eval.stage import run_eval
from headwater.eval.tokenizer import load_tokenizer

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(finished_run, tmp_path, in_transformers):
    in_transformers(finished_run.checkpoint(10)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def evaluated(run, folder):
    asked = {"tasks": [], "checkpoint": str(folder), "held_out_tokens": 64}
    return run_eval(run, validate(EvalConfig, asked, "eval"), output=folder.parent / "results").results


def test_bits_per_byte_are_measured_on_documents_in_the_models_own_tokens_only(finished_run, folder):
    path = folder / "tokenizer.json"
    shutil.copy(finished_run.tokenizer / "tokenizer.json", path)
    same = evaluated(finished_run, folder)
    assert same.bits_per_byte is not None and same.notes == []
    content = json.loads(path.read_text())
    pieces = content["model"]["vocab"]
    pieces["Ġriver"], pieces["Ġrain"] = pieces["Ġrain"], pieces["Ġriver"]  # as many tokens, and others
    path.write_text(json.dumps(content))
    other = evaluated(finished_run, folder)
    assert other.bits_per_byte is None
    assert other.notes == [
        "No bits per byte: the held-out documents are tokens of the run's tokenizer, which is not the model's."
    ]


def test_that_the_runs_tokenizer_was_used_is_said(finished_run, folder):
    found = evaluated(finished_run, folder)
    assert found.bits_per_byte is not None and "no tokenizer: the run's was used" in found.notes[0]


def test_a_tokenizer_in_another_form_is_not_passed_over(finished_run, folder):
    (folder / "tokenizer.model").write_bytes(b"sentencepiece")
    with pytest.raises(EvalError, match="tokenizer that cannot be read"):
        evaluated(finished_run, folder)


def test_a_token_that_the_folder_names_ends_texts(finished_run, tmp_path):
    shutil.copy(finished_run.tokenizer / "tokenizer.json", tmp_path)
    assert load_tokenizer(tmp_path).end_of_text == "<|endoftext|>"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "Ġriver"}}))
    assert load_tokenizer(tmp_path).end_of_text == "Ġriver"
    (tmp_path / "tokenizer_config.json").write_text("{torn")
    with pytest.raises(EvalError, match="not valid JSON"):
        load_tokenizer(tmp_path)


def test_a_torn_file_of_weights_is_said_to_be_one(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UnusableCheckpoint, match=r"(?s)cannot be loaded as a.*found: .*again"):
        load(folder)


def test_an_adapter_is_said_to_be_one(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UnusableCheckpoint, match="holds an adapter"):
        load(tmp_path)
