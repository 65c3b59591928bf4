"""Exports, with transformers as the oracle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from model_fixtures import GROUPED, SHAPES, TEXT, build, logits, make_checkpoint, make_tokenizer_artifact
from safetensors import safe_open

from headwater.core.errors import ConfigError, ManifestError, TrainError
from headwater.core.layout import RunLayout
from headwater.core.manifest import read_manifest
from headwater.core.verify.report import verify_run
from headwater.train.interchange.export_huggingface import Wanted, export_huggingface

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")

TOKENS_BL = torch.randint(0, 300, (2, 100), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def run(tmp_path: Path) -> RunLayout:
    layout = RunLayout(tmp_path / "run")
    make_tokenizer_artifact(layout)
    return layout


@pytest.mark.parametrize("name", SHAPES)
def test_transformers_gives_the_logits_of_training(run: RunLayout, tmp_path: Path, name: str) -> None:
    from transformers import AutoModelForCausalLM

    shape = SHAPES[name]
    model = build(shape)
    export_huggingface(make_checkpoint(run, model, shape), tmp_path / "out", Wanted())
    loaded, report = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report
    assert loaded.dtype == torch.float32
    expected = logits(model, TOKENS_BL)
    with torch.no_grad():
        found = loaded(TOKENS_BL).logits
    assert expected.abs().max() > 1
    assert (found - expected).abs().max() < 1e-4


def test_the_tokenizer_and_how_a_text_ends_come_along(run: RunLayout, tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer, GenerationConfig

    export_huggingface(make_checkpoint(run, build(GROUPED), GROUPED), tmp_path / "out", Wanted())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    ours = Tokenizer.from_file(str(run.tokenizer / "tokenizer.json"))
    text = TEXT + " 42\n\tüber"
    assert tokenizer(text).input_ids == ours.encode(text).ids
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.eos_token == "<|endoftext|>" and tokenizer.eos_token_id == 0
    generation = GenerationConfig.from_pretrained(tmp_path / "out")
    assert (generation.eos_token_id, generation.bos_token_id, generation.pad_token_id) == (0, 0, 1)


def test_shards_have_an_index_and_no_file_grows_beyond_the_limit(run: RunLayout, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = build(GROUPED)
    checkpoint = make_checkpoint(run, model, GROUPED)
    limit = 30_000
    manifest, _ = export_huggingface(checkpoint, tmp_path / "out", Wanted("bfloat16", limit))
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    assert len(files) == manifest.counters["weight_files"] > 1
    assert files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    total = 0
    for file in files:
        with safe_open(file, "pt") as opened:
            names = list(opened.keys())
            size = sum(opened.get_tensor(name).nbytes for name in names)
        assert size <= limit
        assert all(index["weight_map"][name] == file.name for name in names)
        total += size
    assert index["metadata"]["total_size"] == total
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert loaded.dtype == torch.bfloat16
    embedding = model.state_dict()["tok_embeddings.weight"].to(torch.bfloat16)
    assert torch.equal(loaded.model.embed_tokens.weight, embedding)


def test_equal_exports_have_equal_bytes_and_a_second_one_does_nothing(run: RunLayout, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(run, build(GROUPED), GROUPED)
    first, fresh = export_huggingface(checkpoint, tmp_path / "one", Wanted())
    again, redone = export_huggingface(checkpoint, tmp_path / "one", Wanted())
    second, _ = export_huggingface(checkpoint, tmp_path / "two", Wanted())
    assert fresh and not redone
    assert first.digest == again.digest == second.digest
    assert {parent.digest for parent in first.parents} == {
        read_manifest(checkpoint).digest, read_manifest(run.tokenizer).digest
    }  # fmt: skip


def test_another_dtype_replaces_an_earlier_export_and_leaves_no_file_of_it(run: RunLayout, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(run, build(GROUPED), GROUPED)
    export_huggingface(checkpoint, tmp_path / "out", Wanted("float32", 20_000))
    (tmp_path / "out" / "manifest.json").unlink()  # as a kill leaves it
    (tmp_path / "out" / "_work").mkdir()
    manifest, _ = export_huggingface(checkpoint, tmp_path / "out", Wanted("float16"))
    assert [path.name for path in (tmp_path / "out").glob("*.safetensors*")] == ["model.safetensors"]
    assert manifest.config["dtype"] == "float16"


def test_what_is_no_export_is_not_overwritten(run: RunLayout, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(run, build(GROUPED), GROUPED)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files") as caught:
        export_huggingface(checkpoint, tmp_path, Wanted())
    assert "notes.txt" in str(caught.value)
    with pytest.raises(ConfigError, match="holds other files"):
        export_huggingface(checkpoint, run.tokenizer, Wanted())
    assert read_manifest(run.tokenizer).kind == "tokenizer"


def test_a_weight_that_float16_cannot_hold_is_named(run: RunLayout, tmp_path: Path) -> None:
    model = build(GROUPED)
    with torch.no_grad():
        model.layers["1"].attention.wo.weight[0, 0] = 1e6
    checkpoint = make_checkpoint(run, model, GROUPED)
    with pytest.raises(TrainError, match="not finite in float16") as caught:
        export_huggingface(checkpoint, tmp_path / "out", Wanted("float16"))
    assert "layers.1.attention.wo.weight" in str(caught.value)


def test_a_damaged_checkpoint_is_refused_before_anything_is_unpickled(run: RunLayout, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(run, build(GROUPED), GROUPED)
    path = checkpoint / ".metadata"
    # A pickle that would end the process if it were opened.
    path.write_bytes(b"cos\n_exit\n(I3\ntR." + b"\0" * (path.stat().st_size - 17))
    with pytest.raises(ManifestError, match=r"damaged: \.metadata"):
        export_huggingface(checkpoint, tmp_path / "out", Wanted())
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_that_was_moved_or_is_another_one(run: RunLayout, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(run, build(GROUPED), GROUPED)
    run.tokenizer.rename(tmp_path / "moved")
    with pytest.raises(ManifestError) as caught:
        export_huggingface(checkpoint, tmp_path / "out", Wanted())
    assert "--tokenizer" in str(caught.value)
    export_huggingface(checkpoint, tmp_path / "out", Wanted(), tmp_path / "moved")
    from train_fixtures import make_tokenizer

    make_tokenizer(RunLayout(tmp_path / "other"))
    with pytest.raises(ManifestError, match="is not the tokenizer"):
        export_huggingface(checkpoint, tmp_path / "out", Wanted(), tmp_path / "other" / "tokenizer")


def test_a_real_runs_export_can_be_verified_from_where_it_is(whole: Path, tmp_path: Path) -> None:
    from headwater.core.checkpoints import choose_checkpoint

    export_huggingface(choose_checkpoint(RunLayout(whole), "best"), tmp_path / "out", Wanted())
    result = verify_run(tmp_path / "out")
    assert not result.errors, result.errors
    assert result.kinds["model"] == 1 and result.kinds["checkpoint"] == 1
    weights = tmp_path / "out" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert "model.safetensors" in verify_run(tmp_path / "out").errors[0].file


def test_neither_transformers_nor_torchtitan_is_imported(run: RunLayout, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(run, build(GROUPED), GROUPED)
    code = (
        "import sys; from pathlib import Path; "
        "from headwater.train.interchange.export_huggingface import Wanted, export_huggingface as export; "
        f"export(Path({str(checkpoint)!r}), Path({str(tmp_path / 'out')!r}), Wanted()); "
        "print([m for m in ('torchtitan', 'transformers') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_the_command(run: RunLayout, tmp_path: Path) -> None:
    from headwater.train.interchange.cli import export

    make_checkpoint(run, build(GROUPED), GROUPED)
    arguments = ["hf", "--run", str(run.root), "--out", str(tmp_path / "out"), "--max-shard-size", "20kB", "--json"]
    result = CliRunner().invoke(export, arguments, catch_exceptions=False)
    told = json.loads(result.stdout)
    assert told["fresh"] and told["weight_files"] > 1 and told["dtype"] == "float32"
    with pytest.raises(ConfigError, match="no size"):
        CliRunner().invoke(export, [*arguments[:-2], "big"], catch_exceptions=False)
    with pytest.raises(ConfigError, match="which model"):
        CliRunner().invoke(export, ["hf", "--out", str(tmp_path / "out")], catch_exceptions=False)
