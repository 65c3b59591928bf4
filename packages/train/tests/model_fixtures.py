"""Checkpoints of torchtitan's own models, and a tokenizer that transformers can load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, parent_of, read_manifest
from headwater.core.rope import LinearScaling, Llama3Scaling, NtkScaling, YarnScaling
from headwater.core.run import ModelShape, RunInfo
from headwater.core.tokens import END_OF_TEXT, PAD
from headwater.train import titan
from headwater.train.dcp import ReproducibleWriter

TEXT = "the river runs down to the sea and stone under bridge water where old boats wait for rain to come back"

GROUPED = ModelShape(
    dim=32, n_layers=2, n_heads=4, n_kv_heads=2, ffn_dim=48, vocab_size=320, rope_theta=5e5, norm_eps=1e-5,
    max_seq_len=128,
)  # fmt: skip
SHAPES = {
    "grouped": GROUPED,
    "tied": GROUPED.model_copy(update={"tied": True, "n_kv_heads": 4}),
    "stretched": GROUPED.model_copy(
        update={"rope_theta": 1e4, "rope_scaling": Llama3Scaling(factor=4.0, original_max_seq_len=32)}
    ),
    "interpolated": GROUPED.model_copy(update={"rope_scaling": LinearScaling(kind="linear", factor=4.0)}),
    "ntk": GROUPED.model_copy(update={"rope_scaling": NtkScaling(kind="ntk", factor=4.0)}),
    "yarn": GROUPED.model_copy(
        update={"rope_theta": 1e4, "rope_scaling": YarnScaling(kind="yarn", factor=4.0, original_max_seq_len=32)}
    ),
    "qwen": GROUPED.model_copy(update={"family": "qwen3", "head_dim": 16, "tied": True, "norm_eps": 1e-6}),
    "qwen yarn": GROUPED.model_copy(
        update={
            "family": "qwen3",
            "head_dim": 16,
            "rope_theta": 1e4,
            "rope_scaling": YarnScaling(kind="yarn", factor=4.0, original_max_seq_len=32, beta_fast=8.0),
        }
    ),
    "qwen stretched": GROUPED.model_copy(
        update={"family": "qwen3", "head_dim": 16, "rope_scaling": Llama3Scaling(original_max_seq_len=32)}
    ),
    "wide heads": GROUPED.model_copy(update={"head_dim": 16, "n_kv_heads": 1}),
}


def make_tokenizer(folder: Path, end: str = END_OF_TEXT) -> Tokenizer:
    """A byte-level BPE of 300 entries, as the data stage leaves it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=[end, PAD], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "bos_token": end, "pad_token": PAD}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizer


def make_tokenizer_artifact(run: RunLayout) -> None:
    """The same, with its manifest."""
    writer = ArtifactWriter(run.tokenizer, kind="tokenizer", name="tokenizer", producer="test", config={})
    writer.begin()
    make_tokenizer(run.tokenizer)
    writer.commit({"vocab_size": 300})


def build(shape: ModelShape) -> Any:
    """The model that training makes of a shape, with large weights, so that a mistake shows."""
    titan.start("cpu", 1, 1)
    from headwater.train.titan.model import model_spec

    model = model_spec(shape, "cpu").model.build()
    model.init_weights(buffer_device=None)
    titan.stop()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.3 if parameter.ndim > 1 else 1.0))
    return model.eval()


def logits(model: Any, tokens_BL: torch.Tensor) -> torch.Tensor:
    """Of one document a row."""
    positions = torch.arange(tokens_BL.shape[1]).expand(tokens_BL.shape)
    with torch.no_grad():
        return model(tokens_BL, positions=positions, attention_masks=model.get_attention_masks(positions=positions))


def make_checkpoint(run: RunLayout, model: Any, shape: ModelShape, step: int = 5) -> Path:
    """A checkpoint of a model, as training writes it."""
    folder = run.checkpoint(step)
    tokenizer = parent_of(folder, run.tokenizer, "tokenizer")
    writer = ArtifactWriter(folder, kind="checkpoint", name="", producer="test", config={}, parents=[tokenizer])
    writer.begin()
    state = dict(model.state_dict())
    if shape.tied:
        del state["lm_head.weight"]
    dcp.save(state, storage_writer=ReproducibleWriter(str(folder), thread_count=1), no_dist=True)
    info = RunInfo(
        step=step, samples=step, seq_len=16, global_batch=1, seed=0, steps_planned=9, model=shape,
        tokenizer_digest=read_manifest(run.tokenizer).digest, tokens={}, weights={}, block=1, order_digest="0",
        weights_digest="w", config={},
    )  # fmt: skip
    (folder / "run.json").write_text(info.dump())
    writer.commit({})
    return folder
