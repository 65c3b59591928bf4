import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from headwater.core.checkpoints import choose_checkpoint
from headwater.core.errors import EvalError, ManifestError
from headwater.core.layout import RunLayout
from headwater.core.run import ModelShape
from headwater.eval.checkpoint import load, read_weights
from headwater.eval.dcp import read_index, read_tensor
from headwater.eval.errors import UnusableCheckpoint
from headwater.eval.tokenizer import load_tokenizer


def _turns(width: int, shape) -> tuple[torch.Tensor, float]:
    """Radians a position of each pair, and the factor on queries and keys, as the papers have them."""
    pairs = torch.arange(0, width, 2, dtype=torch.float64) / width
    plain, scaling = shape.rope_theta**-pairs, shape.rope_scaling
    if scaling is None:
        return plain, 1.0
    if scaling.kind == "linear":  # Chen et al., 2023: positions m become m / s
        return plain / scaling.factor, 1.0
    if scaling.kind == "ntk":  # Peng et al., 2023, equation 16
        return (shape.rope_theta * scaling.factor ** (width / (width - 2))) ** -pairs, 1.0
    turned = scaling.original_max_seq_len * plain / (2 * math.pi)  # r of Peng et al., equation 17
    if scaling.kind == "llama3":
        kept = ((turned - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)).clamp(0, 1)
        return (1 - kept) * plain / scaling.factor + kept * plain, 1.0
    # YaRN as its authors' code and transformers have it: the ramp runs over the pairs, between whole ones.
    low, high = (
        width * math.log(scaling.original_max_seq_len / (beta * 2 * math.pi)) / (2 * math.log(shape.rope_theta))
        for beta in (scaling.beta_fast, scaling.beta_slow)
    )
    low, high = max(math.floor(low), 0), min(math.ceil(high), width - 1)
    kept = 1 - ((torch.arange(width // 2, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)
    return (1 - kept) * plain / scaling.factor + kept * plain, 0.1 * math.log(scaling.factor) + 1


def _rotate_pairs(x_LHK: torch.Tensor, shape) -> torch.Tensor:
    """Rotary embedding over neighbouring pairs, as a complex product (RoFormer, equation 34)."""
    length, _, width = x_LHK.shape
    frequencies, factor = _turns(width, shape)
    turn = torch.polar(
        torch.full((length, width // 2), factor, dtype=torch.float64), torch.outer(torch.arange(length), frequencies)
    )
    pairs = torch.view_as_complex(x_LHK.double().reshape(*x_LHK.shape[:-1], -1, 2).contiguous())
    return torch.view_as_real(pairs * turn[:, None]).flatten(-2)


def _reference_logits(weights, shape, tokens):
    """The training model, written out in float64: pre-norm, pairwise rotary, grouped-query attention, SwiGLU."""

    def norm(x, w):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + shape.norm_eps) * w.double()

    w = {name: value.double() for name, value in weights.items()}
    x = w["tok_embeddings.weight"][tokens]
    length, width = len(tokens), shape.dim // shape.n_heads
    causal = torch.full((length, length), -math.inf, dtype=torch.float64).triu(1)
    for layer in range(shape.n_layers):
        at = f"layers.{layer}."
        h = norm(x, w[at + "attention_norm.weight"])
        q = (h @ w[at + "attention.qkv_linear.wq.weight"].T).view(length, shape.n_heads, width)
        k = (h @ w[at + "attention.qkv_linear.wk.weight"].T).view(length, shape.n_kv_heads, width)
        v = (h @ w[at + "attention.qkv_linear.wv.weight"].T).view(length, shape.n_kv_heads, width)
        repeat = shape.n_heads // shape.n_kv_heads
        q, k = _rotate_pairs(q, shape), _rotate_pairs(k, shape).repeat_interleave(repeat, 1)
        scores = torch.einsum("lhk,mhk->hlm", q, k) / math.sqrt(width) + causal
        mixed = torch.einsum("hlm,mhk->lhk", scores.softmax(-1), v.repeat_interleave(repeat, 1)).reshape(length, -1)
        x = x + mixed @ w[at + "attention.wo.weight"].T
        h = norm(x, w[at + "ffn_norm.weight"])
        gate = torch.nn.functional.silu(h @ w[at + "feed_forward.w1.weight"].T)
        x = x + (gate * (h @ w[at + "feed_forward.w3.weight"].T)) @ w[at + "feed_forward.w2.weight"].T
    head = w["tok_embeddings.weight"] if shape.tied else w["lm_head.weight"]
    return norm(x, w["norm.weight"]) @ head.T


def test_logits_are_those_of_the_training_model(finished_run):
    loaded = load(finished_run.checkpoint(20))
    tokens = torch.randint(0, 512, (100,), generator=torch.Generator().manual_seed(1))
    expected = _reference_logits(read_weights(loaded.path, loaded.run.model), loaded.run.model, tokens)
    with torch.inference_mode():
        found = loaded.model(tokens[None]).logits[0]
    assert (found.double() - expected).abs().max() < 1e-4
    assert loaded.weights_digest == "weights-20"


@pytest.mark.parametrize(
    "scaling",
    [
        {"kind": "linear", "factor": 4},
        {"kind": "ntk", "factor": 4},
        {"kind": "yarn", "factor": 4, "original_max_seq_len": 64, "beta_fast": 8},
        {"kind": "llama3", "factor": 4, "original_max_seq_len": 64},
    ],
    ids=lambda scaling: scaling["kind"],
)
def test_a_stretched_model_is_the_training_model(tmp_path, build, scaling):
    shape = ModelShape.model_validate({**build.SHAPE.model_dump(), "rope_theta": 1e4, "rope_scaling": scaling})
    run = RunLayout(tmp_path)
    build.make_tokenizer(run.tokenizer)
    loaded = load(build.make_checkpoint(run, 3, None, shape))
    tokens = torch.randint(0, 512, (200,), generator=torch.Generator().manual_seed(2))
    weights = build.training_weights(shape, 3)
    expected = _reference_logits(weights, shape, tokens)
    with torch.inference_mode():
        found = loaded.model(tokens[None]).logits[0]
    assert (found.double() - expected).abs().max() < 2e-4
    plain = _reference_logits(weights, shape.model_copy(update={"rope_scaling": None}), tokens)
    assert (plain - expected).abs().max() > 0.1


def test_tied_head_is_the_embedding(tmp_path, build):
    shape = build.SHAPE.model_copy(update={"tied": True})
    run = RunLayout(tmp_path)
    build.make_tokenizer(run.tokenizer)
    loaded = load(build.make_checkpoint(run, 3, None, shape))
    tokens = torch.arange(40)
    with torch.inference_mode():
        found = loaded.model(tokens[None]).logits[0]
    assert (found.double() - _reference_logits(build.training_weights(shape, 3), shape, tokens)).abs().max() < 1e-4


def test_training_framework_is_not_imported(finished_run):
    code = (
        "import sys; from pathlib import Path; from headwater.eval.checkpoint import load; "
        f"load(Path({str(finished_run.checkpoint(10))!r})); "
        "print([m for m in ('torchtitan', 'headwater.train', 'lm_eval') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_a_huggingface_folder_gives_the_same_logits(finished_run, tmp_path, in_transformers):
    loaded = load(finished_run.checkpoint(10))
    in_transformers(loaded.path).save_pretrained(tmp_path / "hf")
    again = load(tmp_path / "hf")
    tokens = torch.arange(50)[None]
    with torch.inference_mode():
        assert torch.equal(loaded.model(tokens).logits, again.model(tokens).logits)
    assert again.run is None
    in_transformers(finished_run.checkpoint(20)).save_pretrained(tmp_path / "other")
    assert again.weights_digest == load(tmp_path / "hf").weights_digest != load(tmp_path / "other").weights_digest


def test_weights_that_are_no_numbers_are_refused(own_run, tmp_path, in_transformers):
    model = in_transformers(own_run.checkpoint(10))
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 4] = math.nan
    model.save_pretrained(tmp_path / "hf")
    with pytest.raises(UnusableCheckpoint, match="not all finite") as caught:
        load(tmp_path / "hf")
    assert "layers.1.mlp.up_proj" in str(caught.value)


def test_weights_that_a_huggingface_folder_lacks_are_not_made_up(finished_run, tmp_path, in_transformers):
    in_transformers(finished_run.checkpoint(10)).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.0.self_attn.q_proj.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(UnusableCheckpoint, match="lacks weights") as caught:
        load(tmp_path)
    assert "layers.0.self_attn.q_proj" in str(caught.value)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UnusableCheckpoint, match="cannot be loaded"):
        load(tmp_path)


def test_a_checkpoint_that_vanishes_while_it_is_read_is_no_crash(own_run):
    folder, shape = own_run.checkpoint(10), load(own_run.checkpoint(10)).run.model
    next(folder.glob("*.distcp")).unlink()
    with pytest.raises(UnusableCheckpoint, match="cannot be read"):
        read_weights(folder, shape)


def test_a_flipped_byte_is_found_before_anything_is_unpickled(own_run):
    folder = own_run.checkpoint(10)
    path = folder / ".metadata"
    # A pickle that would end the process if it were opened.
    path.write_bytes(b"cos\n_exit\n(I3\ntR." + b"\0" * (path.stat().st_size - 17))
    with pytest.raises(ManifestError, match=r"\.metadata was changed"):
        load(folder)


def test_an_unlisted_pickle_is_refused(own_run):
    (own_run.checkpoint(10) / "extra.distcp").write_bytes(b"x")
    with pytest.raises(ManifestError, match="does not list"):
        load(own_run.checkpoint(10))


def test_a_missing_weight_is_named(finished_run):
    shape = load(finished_run.checkpoint(10)).run.model.model_copy(update={"n_layers": 4})
    with pytest.raises(EvalError, match="lacks weights") as caught:
        read_weights(finished_run.checkpoint(10), shape)
    assert "layers.3.attention" in str(caught.value)


def test_a_mixture_of_experts_is_refused(own_run, build):
    folder = own_run.checkpoint(10)
    info = json.loads((folder / "run.json").read_text())
    info["model"]["family"] = "deepseek_v3"
    (folder / "run.json").write_text(json.dumps(info))
    build.write_artifact(folder, "checkpoint", folder.name)
    with pytest.raises(EvalError, match="cannot load") as caught:
        load(folder)
    assert "deepseek_v3" in str(caught.value)


@pytest.mark.parametrize(("kind", "usable"), [("masked", False), ("spans", False), ("ul2", True), ("prefix", True)])
def test_a_model_that_reads_nothing_from_left_to_right_is_refused(own_run, build, kind, usable):
    folder = own_run.checkpoint(10)
    info = json.loads((folder / "run.json").read_text())
    info["config"]["objective"] = {"kind": kind}
    (folder / "run.json").write_text(json.dumps(info))
    build.write_artifact(folder, "checkpoint", folder.name)
    if usable:
        assert load(folder).run.objective == kind
        return
    with pytest.raises(EvalError, match="from left to right") as caught:
        load(folder)
    assert f"train.objective {kind}" in str(caught.value)


def test_another_schema_version_is_refused(own_run, build):
    folder = own_run.checkpoint(10)
    info = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(info | {"schema_version": 99}))
    build.write_artifact(folder, "checkpoint", folder.name)
    with pytest.raises(ManifestError, match="another schema version") as caught:
        load(folder)
    assert "99" in str(caught.value)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(EvalError, match="holds no model"):
        load(tmp_path)


def test_another_tokenizer_is_refused_naming_both(finished_run, tmp_path, build):
    run = load(finished_run.checkpoint(10)).run
    text = (finished_run.tokenizer / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(text + "\n")
    other = build.write_artifact(tmp_path, "tokenizer", "tokenizer")
    with pytest.raises(EvalError, match="not the tokenizer") as caught:
        load_tokenizer(tmp_path, run)
    assert other in str(caught.value)
    assert run.tokenizer_digest in str(caught.value)


def test_a_changed_tokenizer_file_is_found(own_run):
    run = load(own_run.checkpoint(10)).run
    path = own_run.tokenizer / "tokenizer.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(ManifestError, match="changed after it was written"):
        load_tokenizer(own_run.tokenizer, run)


def test_tokenizer_round_trip(finished_run):
    tokenizer = load_tokenizer(finished_run.tokenizer)
    text = "The river runs, überall — \N{SNOWMAN}\n\tdef f(): pass"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode([tokenizer.eot_id]) == ""
    assert tokenizer.decode([tokenizer.eot_id], skip_special_tokens=False) == "<|endoftext|>"


@pytest.mark.parametrize(("wanted", "step"), [("best", 20), ("last", 30), ("10", 10)])
def test_choice_of_checkpoint(finished_run, wanted, step):
    assert choose_checkpoint(finished_run, wanted) == finished_run.checkpoint(step)


def test_an_unfinished_checkpoint_is_not_chosen(own_run):
    half = own_run.checkpoint(11)
    half.mkdir()
    (half / "run.json").write_text("{}")
    assert choose_checkpoint(own_run, "last") == own_run.checkpoint(10)
    with pytest.raises(ManifestError, match="no finished checkpoint of step 11"):
        choose_checkpoint(own_run, "11")


def test_no_checkpoint_at_all(tmp_path):
    with pytest.raises(ManifestError, match="no finished checkpoint"):
        choose_checkpoint(RunLayout(tmp_path), "best")


@pytest.mark.parametrize(
    "kind",
    [{}, {"tied": True}, {"family": "qwen3", "head_dim": 12}, {"rope_scaling": {"kind": "llama3", "factor": 4}}],
    ids=str,
)
def test_logits_are_those_of_transformers_to_the_bit(tmp_path, build, in_transformers, kind):
    shape = ModelShape.model_validate({**build.SHAPE.model_dump(), **kind})
    run = RunLayout(tmp_path)
    build.make_tokenizer(run.tokenizer)
    loaded, theirs = load(folder := build.make_checkpoint(run, 3, None, shape)), in_transformers(folder)
    assert set(loaded.model.state_dict()) == set(theirs.state_dict())
    tokens = torch.randint(0, 512, (3, 100), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(loaded.model(tokens).logits, theirs(tokens).logits)


def test_bfloat16_is_that_of_transformers(finished_run, tmp_path, in_transformers):
    folder = finished_run.checkpoint(20)
    exact, narrow = load(folder), load(folder, precision="bfloat16")
    in_transformers(folder).to(torch.bfloat16).save_pretrained(tmp_path / "hf")
    theirs = load(tmp_path / "hf", precision="bfloat16")
    assert narrow.model.dtype == theirs.model.dtype == torch.bfloat16
    tokens = torch.randint(0, 512, (3, 100), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found = [each.model(tokens).logits.float().log_softmax(-1) for each in (exact, narrow, theirs)]
    assert (found[1] - found[2]).abs().max() < 0.1
    assert 0 < (found[0] - found[1]).abs().max() < 0.1
    # What a file holds, not what it is read as, is who a model is.
    assert theirs.weights_digest == load(tmp_path / "hf").weights_digest


def test_a_tensor_in_pieces_is_put_together(own_run):
    folder = own_run.checkpoint(10)
    name, stored = next((name, each) for name, each in read_index(folder).items() if each and len(each.size) == 2)
    whole = read_tensor(folder, name, stored)
    (chunk,), (rows, columns) = stored.chunks, stored.size
    for number, part in enumerate([whole[:3], whole[3:]]):
        torch.save(part.clone(), folder / f"{number}.distcp")
    pieces = [
        replace(chunk, offsets=(at, 0), sizes=(size, columns), file=f"{number}.distcp", start=0, length=1 << 30)
        for number, (at, size) in enumerate([(0, 3), (3, rows - 3)])
    ]
    assert torch.equal(read_tensor(folder, name, replace(stored, chunks=tuple(pieces))), whole)
    with pytest.raises(UnusableCheckpoint, match="is not whole"):
        read_tensor(folder, name, replace(stored, chunks=tuple(pieces[:1])))
    with pytest.raises(UnusableCheckpoint, match="cannot be read"):
        read_tensor(folder, name, replace(stored, chunks=(pieces[0], replace(pieces[1], file="0.distcp"))))


def test_metadata_that_would_run_code_is_refused(own_run):
    (own_run.checkpoint(10) / ".metadata").write_bytes(b"cos\n_exit\n(I3\ntR.")
    with pytest.raises(UnusableCheckpoint, match=r"it holds os\._exit, which describes no tensor"):
        read_index(own_run.checkpoint(10))
