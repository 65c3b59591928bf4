"""Imports, with transformers as the oracle, and training that starts from them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from model_fixtures import GROUPED, SHAPES, build, logits, make_checkpoint, make_tokenizer, make_tokenizer_artifact
from safetensors.torch import load_file, save_file

from headwater.core.errors import ConfigError, ManifestError, TrainError
from headwater.core.events import read_events
from headwater.core.huggingface import config_of
from headwater.core.layout import RunLayout
from headwater.core.manifest import read_manifest
from headwater.core.run import read_run
from headwater.core.tokenizer import read_vocabulary
from headwater.core.verify.report import verify_run
from headwater.train.interchange.export_huggingface import Wanted, export_huggingface
from headwater.train.interchange.import_huggingface import import_huggingface
from headwater.train.interchange.read_config import shape_of
from headwater.train.interchange.stored import open_weights
from headwater.train.model import recipe_of
from headwater.train.runner import train
from headwater.train.synthetic import make_tokens

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")

TOKENS_BL = torch.randint(0, 300, (2, 60), generator=torch.Generator().manual_seed(1))


def save_transformers(folder: Path, shape: Any = GROUPED, dtype: torch.dtype = torch.float32, **save: Any) -> Any:
    """A model of transformers with large random weights, saved by transformers, and a tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config_of(shape)), dtype=dtype)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.3 if parameter.ndim > 1 else 1.0))
    model.save_pretrained(folder, **save)
    make_tokenizer(folder)
    return model.eval()


def edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config.update(changes)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as transformers saves it. Tests must not change it."""
    folder = tmp_path_factory.mktemp("saved") / "hf"
    save_transformers(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, saved: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "hf"))


@pytest.mark.parametrize("name", SHAPES)
def test_training_has_the_logits_of_transformers(tmp_path: Path, name: str) -> None:
    shape = SHAPES[name]
    reference = save_transformers(tmp_path / "hf", shape)
    run = RunLayout(tmp_path / "run")
    made = import_huggingface(tmp_path / "hf", run)
    # NTK-aware scaling is another base there, and nothing says how it came about.
    as_read = {"rope_theta": shape.rope_base, "rope_scaling": None} if name == "ntk" else {}
    expected_shape = shape.model_copy(update=as_read)
    assert config_of(made.shape) == config_of(expected_shape)
    assert made.shape.model_dump(exclude={"rope_scaling"}) == expected_shape.model_dump(exclude={"rope_scaling"})
    model, weights = build(shape), open_weights(run.init)
    state = {weight.name: weights.read(weight) for weight in _weights(shape)}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}
    with torch.no_grad():
        expected = reference(TOKENS_BL).logits
    assert (logits(model, TOKENS_BL) - expected).abs().max() < 1e-4


def _weights(shape: Any) -> Any:
    from headwater.core.huggingface import weights_of

    return weights_of(shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["grouped", "tied", "qwen"])
def test_import_and_export_give_the_same_bytes(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    save_transformers(tmp_path / "hf", SHAPES[name], dtype)
    run = RunLayout(tmp_path / "run")
    import_huggingface(tmp_path / "hf", run)
    export_huggingface(run.init, tmp_path / "again", Wanted())
    before, after = (load_file(tmp_path / where / "model.safetensors") for where in ("hf", "again"))
    assert before.keys() == after.keys()
    assert all(before[key].dtype == after[key].dtype == dtype for key in before)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_export_and_import_give_the_same_weights(tmp_path: Path) -> None:
    run, other = RunLayout(tmp_path / "run"), RunLayout(tmp_path / "other")
    make_tokenizer_artifact(run)
    checkpoint = make_checkpoint(run, build(GROUPED), GROUPED)
    export_huggingface(checkpoint, tmp_path / "out", Wanted("float32", 20_000))
    import_huggingface(tmp_path / "out", other)
    before, after = open_weights(checkpoint), open_weights(other.init)
    assert before.shape == after.shape
    assert all(torch.equal(before.read(weight), after.read(weight)) for weight in _weights(GROUPED))
    source = next(parent for parent in after.manifest.parents if parent.role == "source")
    assert source.digest == read_manifest(tmp_path / "out").digest


def test_a_second_import_does_nothing_and_equal_imports_have_equal_digests(tmp_path: Path, folder: Path) -> None:
    first = import_huggingface(folder, RunLayout(tmp_path / "one"))
    again = import_huggingface(folder, RunLayout(tmp_path / "one"))
    second = import_huggingface(folder, RunLayout(tmp_path / "two"))
    assert first.fresh and not again.fresh
    assert first.weights.digest == again.weights.digest == second.weights.digest
    assert first.tokenizer.digest == second.tokenizer.digest


def test_sharded_folders_and_a_head_saved_twice(tmp_path: Path) -> None:
    save_transformers(tmp_path / "hf", SHAPES["tied"], max_shard_size="20KB")
    assert (tmp_path / "hf" / "model.safetensors.index.json").is_file()
    index = json.loads((tmp_path / "hf" / "model.safetensors.index.json").read_text())
    embedding = load_file(tmp_path / "hf" / index["weight_map"]["model.embed_tokens.weight"])
    save_file({"lm_head.weight": embedding["model.embed_tokens.weight"]}, tmp_path / "hf" / "head.safetensors")
    index["weight_map"]["lm_head.weight"] = "head.safetensors"
    (tmp_path / "hf" / "model.safetensors.index.json").write_text(json.dumps(index))
    import_huggingface(tmp_path / "hf", RunLayout(tmp_path / "run"))
    save_file({"lm_head.weight": embedding["model.embed_tokens.weight"] + 1}, tmp_path / "hf" / "head.safetensors")
    with pytest.raises(TrainError, match="does not have"):
        import_huggingface(tmp_path / "hf", RunLayout(tmp_path / "other"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mistral", "architectures": ["MistralForCausalLM"]}, "family"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "family"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}}, "stretched"),
        ({"rope_parameters": None, "rope_scaling": {"type": "longrope", "factor": 2.0}}, "stretched"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "truncate": False}}, "stretched"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 0.5}}, "rope_scaling"),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "stretched"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": "wide"}, "dim"),
        ({"hidden_size": True}, "dim: a number"),
        ({"architectures": 5}, "family"),
        ({"num_hidden_layers": 10**7}, "n_layers"),
        (
            {"rope_parameters": {"rope_type": "yarn", "original_max_position_embeddings": "x"}},
            "config.json is not valid",
        ),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2, "mscale": "a", "mscale_all_dim": 1}}, "is not valid"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn", "factor": 2.0}}}, "kinds of layers"),
        ({"intermediate_size": 64}, "mlp.gate_proj.weight has another shape"),
        ({"num_hidden_layers": 3}, "lacks the weight model.layers.2"),
        ({"num_hidden_layers": 1}, "does not have"),
        ({"vocab_size": 299}, "model.embed_tokens.weight has another shape"),
    ],
)
def test_what_training_does_not_have_is_refused_by_name(
    tmp_path: Path, folder: Path, changes: dict[str, Any], message: str
) -> None:
    edit(folder, **changes)
    run = RunLayout(tmp_path / "run")
    with pytest.raises(TrainError) as caught:
        import_huggingface(folder, run)
    assert message in str(caught.value)
    assert not run.root.exists()


def test_a_tokenizer_with_more_entries_than_the_embedding_is_refused(tmp_path: Path) -> None:
    save_transformers(tmp_path / "hf", GROUPED.model_copy(update={"vocab_size": 299}))
    with pytest.raises(TrainError, match="more entries than the embedding"):
        import_huggingface(tmp_path / "hf", RunLayout(tmp_path / "run"))


def test_old_configs_are_read_as_transformers_reads_them(saved: Path) -> None:
    from transformers import AutoConfig

    old = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 100, "rope_theta": 5e5,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 64},
    }  # fmt: skip
    new = AutoConfig.for_model(**old).to_dict()
    assert shape_of(old) == shape_of(new)
    assert shape_of(old).n_kv_heads == 4 and shape_of(old).norm_eps == 1e-6
    qwen = {**old, "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "rope_scaling": None}
    assert shape_of(qwen) == shape_of(AutoConfig.for_model(**qwen).to_dict())
    assert shape_of(qwen).head_width == 128


def test_pickle_files_are_refused_with_the_reason(tmp_path: Path, folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(TrainError, match="can run code") as caught:
        import_huggingface(folder, RunLayout(tmp_path / "run"))
    assert "pytorch_model.bin" in str(caught.value) and "save_pretrained" in str(caught.value)


def test_an_index_cannot_name_files_elsewhere(tmp_path: Path, folder: Path) -> None:
    index = {"weight_map": dict.fromkeys(load_file(folder / "model.safetensors"), "../hf/model.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(TrainError, match="not one of safetensors in the folder"):
        import_huggingface(folder, RunLayout(tmp_path / "run"))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    with pytest.raises(TrainError, match=r"gone\.safetensors is missing"):
        import_huggingface(folder, RunLayout(tmp_path / "run"))


@pytest.mark.parametrize("cut", [4, 1000, -1])
def test_a_file_that_was_cut_is_named(tmp_path: Path, folder: Path, cut: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(TrainError, match=r"model\.safetensors is no safetensors file, or was cut"):
        import_huggingface(folder, RunLayout(tmp_path / "run"))


def test_weights_of_other_types_or_not_finite(tmp_path: Path, folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file({**tensors, name: tensors[name].to(torch.float8_e4m3fn)}, folder / "model.safetensors")
    with pytest.raises(TrainError, match="type that training cannot start from"):
        import_huggingface(folder, RunLayout(tmp_path / "run"))
    broken = tensors[name].clone()
    broken[0, 0] = float("nan")
    save_file({**tensors, name: broken}, folder / "model.safetensors")
    with pytest.raises(TrainError, match="not finite"):
        import_huggingface(folder, RunLayout(tmp_path / "run"))
    assert not (tmp_path / "run" / "init" / "manifest.json").exists()


def test_what_ends_a_document_is_found_or_named(tmp_path: Path, folder: Path) -> None:
    make_tokenizer(folder, end="<|end_of_text|>")
    made = import_huggingface(folder, RunLayout(tmp_path / "llama"))
    assert made.tokenizer.config["end_of_text"] == "<|end_of_text|>"
    assert read_vocabulary(tmp_path / "llama" / "tokenizer").end_id == 0
    named = import_huggingface(folder, RunLayout(tmp_path / "named"), "<|pad|>")
    assert named.tokenizer.config["end_of_text"] == "<|pad|>"
    with pytest.raises(ConfigError, match="no token") as caught:
        import_huggingface(folder, RunLayout(tmp_path / "wrong"), "<|end_of_texts|>")
    assert "did you mean <|end_of_text|>?" in str(caught.value)
    make_tokenizer(folder, end="[STOP]")
    own = import_huggingface(folder, RunLayout(tmp_path / "own"))
    assert own.tokenizer.config["end_of_text"] == "[STOP]"
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(TrainError, match="which token ends a text"):
        import_huggingface(folder, RunLayout(tmp_path / "unknown"))


def test_another_tokenizer_of_the_run_is_not_overwritten(tmp_path: Path, folder: Path) -> None:
    run = RunLayout(tmp_path / "run")
    make_tokenizer_artifact(run)
    digest = read_manifest(run.tokenizer).digest
    with pytest.raises(ConfigError, match="another tokenizer already"):
        import_huggingface(folder, run)
    assert read_manifest(run.tokenizer).digest == digest


# Training that starts from imported weights


@pytest.fixture
def started(tmp_path: Path, folder: Path) -> tuple[RunLayout, Path]:
    """A run with imported weights and tokenizer, tokens, and the recipe that the import asks for."""
    from train_fixtures import VOCAB, recipe

    run = RunLayout(tmp_path / "run")
    made = import_huggingface(folder, run)
    for number, source in enumerate(("code", "web")):
        make_tokens(run, source, 60, vocab_size=VOCAB, seed=number)
    value = recipe(steps=4, init_from="imported", model=recipe_of(made.shape), checkpoint={"every": 2})
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(value))
    return run, tmp_path / "r.yaml"


def test_training_starts_from_imported_weights(started: tuple[RunLayout, Path]) -> None:
    run, recipe = started
    assert train(recipe, run.root, ["train.optimizer.learning_rate=1e-12", "train.checkpoint.keep_last=9"]).steps == 4
    initial, trained = open_weights(run.init), open_weights(run.checkpoint(2))
    for weight in _weights(GROUPED.model_copy(update={"max_seq_len": 128})):
        assert torch.allclose(initial.read(weight), trained.read(weight), atol=1e-6)
    info = read_run(run.checkpoint(4))
    assert info.init_digest == initial.digest
    assert {parent.role for parent in read_manifest(run.checkpoint(4)).parents} >= {"init", "tokenizer"}
    verification = verify_run(run.root)
    assert not verification.errors, verification.errors
    assert train(recipe, run.root, ["train.optimizer.learning_rate=1e-12", "train.checkpoint.keep_last=9"]).state == (
        "up to date"
    )


def test_weights_in_bfloat16_become_float32_in_training(tmp_path: Path) -> None:
    from train_fixtures import VOCAB, recipe

    save_transformers(tmp_path / "hf", SHAPES["qwen"], torch.bfloat16)
    run = RunLayout(tmp_path / "run")
    made = import_huggingface(tmp_path / "hf", run)
    make_tokens(run, "web", 60, vocab_size=VOCAB, seed=0)
    optimizer = {"learning_rate": 1e-12}
    value = recipe(steps=1, init_from="imported", model=recipe_of(made.shape), optimizer=optimizer)
    value["mixture"] = {"weights": {"web": 1}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(value))
    train(tmp_path / "r.yaml", run.root)
    initial, trained = open_weights(run.init), open_weights(run.checkpoint(1))
    for weight in _weights(made.shape):
        assert trained.dtypes[weight.name] == torch.float32
        assert torch.allclose(initial.read(weight).float(), trained.read(weight), atol=1e-6)


def test_a_run_can_start_from_the_checkpoint_of_another(started: tuple[RunLayout, Path], tmp_path: Path) -> None:
    run, recipe = started
    train(recipe, run.root)
    other = RunLayout(tmp_path / "other")
    shutil.copytree(run.tokenizer, other.tokenizer)
    shutil.copytree(run.tokens_root, other.tokens_root)
    with pytest.raises(ManifestError) as caught:
        train(recipe, other.root, [f"train.init_from={run.checkpoints}"])
    assert "step-00000004" in str(caught.value)
    start = run.checkpoint(4)
    overrides = [f"train.init_from={start}", "train.optimizer.learning_rate=1e-12", "train.steps=1", "seed=9"]
    train(recipe, other.root, overrides)
    before, after = open_weights(start), open_weights(other.checkpoint(1))
    assert all(torch.allclose(before.read(weight), after.read(weight), atol=1e-6) for weight in _weights(before.shape))
    first = read_events(other.train / "events.jsonl")[0]
    assert first["kind"] == "start" and first["init_from"] == before.digest


def test_going_on_with_other_initial_weights_is_refused(started: tuple[RunLayout, Path], tmp_path: Path) -> None:
    run, recipe = started
    train(recipe, run.root, ["train.steps=2"])
    with pytest.raises(TrainError, match="another init_from"):
        train(recipe, run.root, ["train.steps=2", "train.init_from=null", "train.threads=1"])


def test_a_recipe_of_another_model_is_told_what_the_weights_need(started: tuple[RunLayout, Path]) -> None:
    run, recipe = started
    with pytest.raises(ConfigError, match=r"train\.model\.n_layers") as caught:
        train(recipe, run.root, ["train.model.n_layers=3"])
    assert "n_layers: 2" in str(caught.value)
    with pytest.raises(ConfigError, match=r"train\.model\.vocab_size"):
        train(recipe, run.root, ["train.model.vocab_size=null"])  # the tokenizer has fewer entries than the weights


def test_damaged_or_missing_initial_weights(started: tuple[RunLayout, Path]) -> None:
    run, recipe = started
    path = next(run.init.glob("*.distcp"))
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(TrainError, match="weights to start from are damaged"):
        train(recipe, run.root)
    shutil.rmtree(run.init)
    with pytest.raises(ManifestError) as caught:
        train(recipe, run.root)
    assert "headwater import hf" in str(caught.value)
    with pytest.raises(ManifestError, match="holds no weights"):
        train(recipe, run.root, [f"train.init_from={run.tokenizer}"])
    with pytest.raises(ManifestError, match="relative to the folder the command runs in"):
        train(recipe, run.root, ["train.init_from=train/checkpoints/step-00000004"])


def test_weights_of_another_tokenizer_are_refused(started: tuple[RunLayout, Path], tmp_path: Path, saved: Path) -> None:
    run, recipe = started
    folder = Path(shutil.copytree(saved, tmp_path / "second"))
    make_tokenizer(folder, end="</s>")
    import_huggingface(folder, RunLayout(tmp_path / "second-run"))
    with pytest.raises(ConfigError, match="another tokenizer"):
        train(recipe, run.root, [f"train.init_from={tmp_path / 'second-run' / 'init'}"])


def test_the_command_prints_what_the_recipe_needs(tmp_path: Path, folder: Path) -> None:
    from headwater.train.interchange.cli import import_

    result = CliRunner().invoke(import_, ["hf", str(folder), "--run", str(tmp_path / "run")], catch_exceptions=False)
    text, _, end = result.stdout.partition("import: ")
    told = yaml.safe_load(text.partition("\n")[2])
    assert told["tokenizer"] == {"kind": "imported"} and told["train"]["init_from"] == "imported"
    assert told["train"]["model"]["n_kv_heads"] == 2 and "documents end with <|endoftext|>" in end
    arguments = ["hf", str(folder), "--run", str(tmp_path / "run"), "--json"]
    again = json.loads(CliRunner().invoke(import_, arguments, catch_exceptions=False).stdout)
    assert again["recipe"] == told and not again["fresh"]
    assert np.isfinite(again["parameters"])
