"""A checkpoint gives the same logits in evaluation as in the training framework that wrote it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from headwater.core.manifest import ArtifactWriter
from headwater.core.run import ModelShape, RunInfo
from headwater.eval.checkpoint import load

pytestmark = pytest.mark.slow

# In a process of its own: torchtitan on a CPU needs stand-ins that other tests should not see.
TRAINING_SIDE = """
import json, sys
from pathlib import Path
import torch
import torch.distributed.checkpoint as dcp
from headwater.core.run import ModelShape
from headwater.train import titan

folder, shape = Path(sys.argv[1]), ModelShape.model_validate(json.loads(sys.argv[2]))
titan.start("cpu", 1, 1)
from headwater.train.titan.model import model_spec

torch.manual_seed(3)
model = model_spec(shape, "cpu").model.build()
model.init_weights(buffer_device=None)
titan.stop()
with torch.no_grad():
    for name, weight in model.named_parameters():
        if weight.dim() == 1:
            weight.add_(0.3 * torch.randn(weight.shape))
tokens = torch.randint(0, shape.vocab_size, (2, shape.max_seq_len))
positions = torch.arange(shape.max_seq_len).expand(2, -1)
with torch.no_grad():
    masks = model.eval().get_attention_masks(positions=positions)
    logits = model(tokens, positions=positions, attention_masks=masks)
dcp.save(model.state_dict(), checkpoint_id=str(folder / "checkpoint"), no_dist=True)
torch.save({"tokens": tokens, "logits": logits}, folder / "expected.pt")
"""


@pytest.mark.parametrize("kind", [{}, {"tied": True}, {"family": "qwen3", "head_dim": 12}], ids=str)
def test_logits_are_those_of_torchtitan(tmp_path: Path, kind: dict[str, Any]) -> None:
    pytest.importorskip("torchtitan")
    shape = ModelShape(
        dim=64, n_layers=3, n_heads=8, n_kv_heads=2, ffn_dim=96, vocab_size=300, rope_theta=10000.0, norm_eps=1e-5,
        max_seq_len=128, **kind,
    )  # fmt: skip
    command = [sys.executable, "-c", TRAINING_SIDE, str(tmp_path), json.dumps(shape.model_dump())]
    made = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr[-3000:]
    folder = tmp_path / "checkpoint"
    info = RunInfo(
        step=1, samples=1, seq_len=128, global_batch=1, seed=0, steps_planned=1, model=shape, tokenizer_digest="",
        tokens={}, weights={}, block=1, order_digest="", weights_digest="", config={},
    )  # fmt: skip
    (folder / "run.json").write_text(info.dump())
    ArtifactWriter(folder, kind="checkpoint", name="x", producer="test 0", config={}).commit({})
    expected = torch.load(tmp_path / "expected.pt")
    with torch.inference_mode():
        found = load(folder).model(expected["tokens"]).logits
    assert (found - expected["logits"]).abs().max() <= 1e-4
    assert (found.argmax(-1) == expected["logits"].argmax(-1)).all()
