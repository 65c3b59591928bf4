"""Width transfer: initial weights and the coordinate check of Yang et al. (2022); what training adds to the loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from headwater.core.config import validate
from headwater.core.run import ModelShape
from headwater.train import titan
from headwater.train.config import TrainConfig

BASE, WIDTHS, VOCAB, LENGTH = 32, (32, 128), 64, 16


def config(width: int, *, mup: bool, optimizer: dict[str, Any]) -> TrainConfig:
    model = {"dim": width, "n_layers": 2, "n_heads": width // 16, "n_kv_heads": width // 16, "ffn_dim": 2 * width}
    section = {"model": model, "seq_len": LENGTH, "optimizer": optimizer}
    return validate(TrainConfig, section | ({"mup": {"base_width": BASE}} if mup else {}), "train")


def built(made: TrainConfig) -> torch.nn.Module:
    titan.start("cpu", 1, 1)
    from headwater.train.titan.model import model_spec

    shape: ModelShape = made.model.shape(VOCAB, LENGTH)
    model: Any = model_spec(shape, "cpu", 1, made.mup).model.build()
    model.init_weights(buffer_device=None)
    titan.stop()
    return model


def change_of_logits(made: TrainConfig, steps: int = 4) -> float:
    """How much a logit has moved, on average, after some steps on one batch."""
    from headwater.train.titan.optimizers import HeadwaterOptimizers, assignment_of

    model: Any = built(made)
    optimizers = HeadwaterOptimizers(HeadwaterOptimizers.Config(_assignment=assignment_of(made)), model_parts=[model])
    tokens = torch.randint(0, VOCAB, (8, LENGTH + 1), generator=torch.Generator().manual_seed(0))
    positions = torch.arange(LENGTH).expand(8, LENGTH)

    def logits() -> torch.Tensor:
        masks = model.get_attention_masks(positions=positions)
        return model(tokens[:, :-1], positions=positions, attention_masks=masks)

    start = logits().detach()
    for _ in range(steps):
        optimizers.zero_grad()
        F.cross_entropy(logits().flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizers.step()
    return float((logits().detach() - start).abs().mean())


@pytest.mark.parametrize(
    "optimizer", [{"name": "adamw", "learning_rate": 4e-3}, {"name": "muon", "learning_rate": 8e-3}]
)
def test_activations_move_as_far_at_every_width_with_mup_and_farther_without(optimizer: dict[str, Any]) -> None:
    moved = {
        mup: [change_of_logits(config(width, mup=mup, optimizer=optimizer)) for width in WIDTHS]
        for mup in (True, False)
    }
    growth = {mup: wide / narrow for mup, (narrow, wide) in moved.items()}
    assert moved[True][0] == moved[False][0]  # at the base width nothing changes
    assert 0.5 < growth[True] < 1.5
    assert growth[False] > 1.5 * growth[True]


def test_initial_weights_follow_the_width() -> None:
    narrow, wide = (built(config(width, mup=True, optimizer={})) for width in WIDTHS)
    ratios = {}
    for name, parameter in narrow.named_parameters():
        if parameter.ndim == 2:
            other = dict(wide.named_parameters())[name]
            ratios[name] = float(other.detach().std() / parameter.detach().std())
    assert ratios.pop("tok_embeddings.weight") == pytest.approx(1, abs=0.1)
    assert ratios.pop("lm_head.weight") == pytest.approx(0.25, abs=0.03)
    assert all(ratio == pytest.approx(0.5, abs=0.06) for ratio in ratios.values()), ratios


def test_z_loss_and_label_smoothing_are_their_formulas() -> None:
    titan.start("cpu", 1, 1)
    from headwater.train.titan.sample_loss import SampleLoss, penalised_losses

    titan.stop()
    logits = torch.randn(2, 3, VOCAB, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1, 2, -100], [3, -100, 5]])
    logs, expected = logits.log_softmax(-1), torch.zeros(2)
    for row in range(2):
        for place in range(3):
            if (label := int(labels[row, place])) >= 0:
                nll = -(0.9 * logs[row, place, label] + 0.1 * logs[row, place].mean())
                expected[row] += nll + 0.01 * logits[row, place].exp().sum().log() ** 2
    assert torch.allclose(penalised_losses(logits, labels, 0.01, 0.1), expected, rtol=1e-5)
    loss = SampleLoss(SampleLoss.Config(_z_loss=0.01, _smoothing=0.1))
    trained, _ = loss(logits, labels)
    with torch.no_grad():
        validated, _ = loss(logits, labels)
    assert trained == pytest.approx(float(expected.sum()), rel=1e-5)
    assert validated == pytest.approx(float(F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")))
