"""The guard on the device: agreement, refusal, and updates that leave everything as it was."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from headwater.train import titan


@pytest.fixture(autouse=True)
def group() -> Iterator[None]:
    titan.start("cpu", 1, 1)
    yield
    titan.stop()


class Container(list[torch.optim.Optimizer]):
    """As much of torchtitan's as is needed."""

    def step(self) -> None:
        for one in self:
            one.step()


def trained(make: type[torch.optim.Optimizer], **arguments: object) -> tuple[torch.nn.Linear, Container]:
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 3)
    optimizers = Container([make(model.parameters(), **arguments)])  # type: ignore[call-arg]
    for _ in range(3):
        backward(model, 1.0)
        optimizers.step()
    return model, optimizers


def backward(model: torch.nn.Module, scale: float) -> None:
    model.zero_grad()
    (model(torch.ones(2, 5)).square().sum() * scale).backward()


def state_of(model: torch.nn.Module, optimizers: Container) -> list[torch.Tensor]:
    states = [value for one in optimizers for state in one.state.values() for value in state.values()]
    return [tensor.detach().clone() for tensor in [*model.parameters(), *states] if isinstance(tensor, torch.Tensor)]


@pytest.mark.parametrize(
    ("make", "arguments"),
    [(torch.optim.AdamW, {"fused": True, "lr": 0.1}), (torch.optim.AdamW, {"foreach": True, "lr": 0.1}),
     (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9})],
)  # fmt: skip
def test_a_refused_update_leaves_weights_and_state_as_they_were(
    make: type[torch.optim.Optimizer], arguments: dict[str, object]
):
    from headwater.train.titan.readback import update_unless

    model, optimizers = trained(make, **arguments)
    before = state_of(model, optimizers)
    backward(model, math.nan)
    update_unless(torch.tensor(1.0), optimizers)
    assert all(torch.equal(one, other) for one, other in zip(before, state_of(model, optimizers), strict=True))
    # And the next step is the one that it would have been.
    other_model, others = trained(make, **arguments)
    for one, its in ((model, optimizers), (other_model, others)):
        backward(one, 1.0)
        update_unless(torch.tensor(0.0), its)
    pairs = zip(state_of(model, optimizers), state_of(other_model, others), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert not torch.equal(before[0], state_of(model, optimizers)[0])


@pytest.mark.parametrize("refused", [0.0, 1.0])
def test_what_hooks_change_besides_comes_back_too(refused: float):
    from headwater.train.titan.readback import update_unless

    bias = torch.tensor([1.0, 2.0])
    model, optimizers = trained(torch.optim.AdamW, fused=True)

    def raise_bias(*_: object) -> None:
        bias.add_(1)

    optimizers[0].register_step_pre_hook(raise_bias)
    backward(model, 1.0)
    update_unless(torch.tensor(refused), optimizers, [bias])
    assert bias.tolist() == ([1.0, 2.0] if refused else [2.0, 3.0])


@pytest.mark.parametrize(
    ("loss", "norm", "limits", "refused"),
    [
        (3.0, 1.0, (math.inf, math.inf), False), (math.nan, 1.0, (math.inf, math.inf), True),
        (3.0, math.inf, (math.inf, math.inf), True), (-math.inf, 1.0, (math.inf, math.inf), True),
        (3.0, math.nan, (5.0, 5.0), True), (5.1, 1.0, (5.0, math.inf), True), (4.9, 1.0, (5.0, math.inf), False),
        (3.0, 5.1, (math.inf, 5.0), True), (1e38, 1.0, (math.inf, math.inf), False),
    ],
)  # fmt: skip
def test_what_is_refused(loss: float, norm: float, limits: tuple[float, float], refused: bool):
    from headwater.train.titan.readback import Readback, Sent, agree, refuses

    found = agree(torch.tensor(loss), torch.tensor(norm), torch.tensor(loss), True, False)
    readback = Readback(torch.device("cpu"))
    readback.send(Sent(7, 48, 0.1), found, refuses(found, *limits), torch.tensor(-(2**62)))
    assert list(readback.receive(all_of_them=False)) == []
    (figures,) = readback.receive(all_of_them=True)
    assert (figures.refused, figures.flags, figures.fed, figures.sent.step) == (refused, (True, False), -(2**62), 7)
    for value, read in ((loss, figures.loss), (norm, figures.grad_norm), (loss, figures.rank_loss)):
        assert (
            math.isnan(read) if math.isnan(value) else read == pytest.approx(abs(value) if math.isinf(value) else value)
        )


def test_figures_come_one_step_late_in_order_and_can_be_dropped():
    from headwater.train.titan.readback import Readback, Sent, agree

    readback, read = Readback(torch.device("cpu")), []
    for step in range(1, 6):
        found = agree(torch.tensor(1.0), torch.tensor(1.0), torch.tensor(1.0))
        readback.send(Sent(step, 0, 0.1), found, torch.tensor(0.0), torch.tensor(0))
        read.append([figures.sent.step for figures in readback.receive(all_of_them=step == 3)])
    assert read == [[], [1], [2, 3], [], [4]]
    readback.drop()
    assert list(readback.receive(all_of_them=True)) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_nothing_waits_for_the_device_on_the_way(tmp_path: Path):
    """torch raises an error at any operation that makes the host wait."""
    code = """
import torch
from headwater.train import titan
titan.start("cuda", 1, None)
from headwater.train.titan.readback import Readback, Sent, agree, refuses, update_unless
from headwater.train.titan.sample_loss import SampleLoss
from headwater.train.titan.updates import UpdateRatio
model = torch.nn.Linear(64, 64, device="cuda")
updates = UpdateRatio([model], 1, torch.device("cuda"))
criterion = SampleLoss(SampleLoss.Config())
labels = torch.zeros(2, 4, dtype=torch.int64, device="cuda")
one_hot = torch.ones(1, 1, 2).pin_memory()
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
class Container(list):
    def step(self):
        for one in self: one.step()
optimizers, readback = Container([optimizer]), Readback(torch.device("cuda"))
inputs, fed = torch.ones(8, 64, device="cuda"), torch.zeros((), dtype=torch.int64, device="cuda")
for step in range(3):
    torch.cuda.set_sync_debug_mode("error" if step else "default")
    loss, _ = criterion(model(inputs).view(2, 4, 64), labels)
    loss.backward()
    nats = (one_hot.to("cuda", non_blocking=True) * criterion.take(1)[:, None]).sum(dim=(0, 2))
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    found = agree(loss.detach(), norm, loss.detach(), False, False)
    refused = refuses(found, 500.0, 500.0)
    updates.before()
    update_unless(refused, optimizers)
    readback.send(Sent(step, 0, 0.1), found, refused, fed, nats, updates.after())
    torch.cuda.set_sync_debug_mode("default")
    list(readback.receive(all_of_them=False))
    optimizer.zero_grad()
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
