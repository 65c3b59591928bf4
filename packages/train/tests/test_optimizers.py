"""Optimizers and their groups against plain references."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.distributed.tensor import Shard, distribute_tensor

from headwater.core.config import validate
from headwater.core.errors import ConfigError
from headwater.train import titan
from headwater.train.config import TrainConfig
from headwater.train.optimizers.adafactor import Adafactor
from headwater.train.optimizers.adamw_8bit import AdamW8bit
from headwater.train.optimizers.lion import Lion
from headwater.train.optimizers.muon import Muon, orthogonalised, scale_of
from headwater.train.optimizers.offload import offload
from headwater.train.optimizers.sgd import Sgd

MODEL = {"dim": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "ffn_dim": 64}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def after(make: Any, start: torch.Tensor, steps: int = 3) -> torch.Tensor:
    """A parameter after some steps with drawn gradients."""
    parameter = torch.nn.Parameter(start.clone())
    optimizer = make([parameter])
    for step in range(steps):
        parameter.grad = drawn(*start.shape, seed=step + 1)
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize("shape", [(24, 16), (16, 24), (16, 16)])
@pytest.mark.parametrize("scaling", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_is_torchs(shape: tuple[int, int], scaling: Any, nesterov: bool) -> None:
    start = drawn(*shape)
    options: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.2}
    theirs = after(lambda p: torch.optim.Muon(p, adjust_lr_fn=scaling, **options), start)
    ours = after(lambda p: Muon(p, scaling=scaling, **options), start)
    assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-6)  # its scale is multiplied in another order


def test_the_four_scalings() -> None:
    assert scale_of("plain", 8, 2) == 1
    assert (scale_of("original", 8, 2), scale_of("original", 2, 8)) == (2, 1)
    assert (scale_of("spectral", 8, 2), scale_of("spectral", 2, 8)) == (2, 0.5)
    assert scale_of("match_rms_adamw", 2, 16) == pytest.approx(0.8)


def test_newton_schulz_brings_the_singular_values_to_one_in_both_precisions() -> None:
    matrix = drawn(24, 16)
    vectors = torch.linalg.svd(matrix, full_matrices=False)
    exact = vectors.U @ vectors.Vh
    for dtype in (torch.float32, torch.bfloat16):
        found = orthogonalised(matrix, 5, dtype).float()
        values = torch.linalg.svdvals(found)
        assert values.min() > 0.6 and values.max() < 1.3
        assert torch.nn.functional.cosine_similarity(found.flatten(), exact.flatten(), dim=0) > 0.97
    assert torch.equal(orthogonalised(matrix, 5, torch.bfloat16), orthogonalised(matrix, 5, torch.bfloat16))


def test_a_stack_is_trained_as_its_matrices_and_a_fused_projection_as_its_parts() -> None:
    options: dict[str, Any] = {"lr": 0.1, "precision": "float32", "scaling": "spectral"}
    stack = drawn(3, 12, 8)
    alone = [one_of_stack(index, stack, options) for index in range(3)]
    assert torch.allclose(after(lambda p: Muon(p, **options), stack, 1), torch.stack(alone), atol=1e-6)
    keys, queries, width, columns = 2, 3, 4, 8
    fused = drawn(keys * (queries + 2) * width, columns)
    rows = torch.arange(len(fused)).view(keys, queries + 2, width)
    found = after(lambda p: Muon(p, heads=(queries, width), **options), fused, 1)
    for part in (rows[:, :queries], rows[:, queries], rows[:, queries + 1]):
        chosen = part.flatten()
        parameter = torch.nn.Parameter(fused[chosen].clone())
        parameter.grad = drawn(*fused.shape, seed=1)[chosen]
        Muon([parameter], **options).step()
        assert torch.allclose(found[chosen], parameter, atol=1e-6)


def one_of_stack(index: int, stack: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
    parameter = torch.nn.Parameter(stack[index].clone())
    parameter.grad = drawn(*stack.shape, seed=1)[index]
    Muon([parameter], **options).step()
    return parameter.detach()


@pytest.mark.parametrize("shape", [(6, 4), (3, 6, 4), (5,)])
def test_adafactor_is_torchs(shape: tuple[int, ...]) -> None:
    start = drawn(*shape)
    options: dict[str, Any] = {"lr": 0.05, "weight_decay": 0.1, "eps": (None, 1e-2), "d": 1.5}
    theirs = after(lambda p: torch.optim.Adafactor(p, **options), start)
    assert torch.equal(after(lambda p: Adafactor(p, **options), start), theirs)
    assert not torch.equal(theirs, start)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_is_torchs(momentum: float, nesterov: bool) -> None:
    start = drawn(6, 4)
    options: dict[str, Any] = {"lr": 0.05, "weight_decay": 0.1, "momentum": momentum, "fused": True}
    options["nesterov"] = nesterov and momentum > 0
    theirs = after(lambda p: torch.optim.SGD(p, **options), start)
    assert torch.equal(after(lambda p: Sgd(p, **options), start), theirs)


@pytest.mark.network
@pytest.mark.usefixtures("torchao")
@pytest.mark.parametrize("shape", [(32, 512), (16, 3, 256), (40, 100), (512,)])
def test_eight_bits_are_torchaos(shape: tuple[int, ...]) -> None:
    from torchao.optim import AdamW8bit as Theirs  # pyright: ignore[reportMissingImports]

    start, options = drawn(*shape), {"lr": 0.1, "betas": (0.9, 0.95), "weight_decay": 0.1}
    with torch.compiler.set_stance("force_eager"):  # theirs is compiled, which rounds otherwise
        theirs = after(lambda p: Theirs(p, **options), start, 4)
    assert torch.equal(after(lambda p: AdamW8bit(p, **options), start, 4), theirs)
    plain = after(lambda p: torch.optim.AdamW(p, **options), start, 4)
    in_eight = len(shape) > 1 and shape[-1] % 256 == 0
    assert torch.allclose(theirs, plain, atol=0.05 if in_eight else 1e-6)
    assert not in_eight or not torch.equal(theirs, plain)


@pytest.mark.network
@pytest.mark.usefixtures("torchao")
def test_eight_bits_are_kept_and_loaded_as_they_are() -> None:
    def made(start: torch.Tensor) -> tuple[torch.nn.Parameter, AdamW8bit]:
        parameter = torch.nn.Parameter(start.clone())
        return parameter, AdamW8bit([parameter], lr=0.1, block_size=32)

    def train(parameter: torch.nn.Parameter, optimizer: AdamW8bit, seed: int) -> None:
        parameter.grad = drawn(*parameter.shape, seed=seed)
        optimizer.step()

    one, first = made(drawn(8, 64))
    train(one, first, 1)
    (state,) = first.state.values()
    held = {name: (value.dtype, tuple(value.shape)) for name, value in state.items() if name != "step"}
    codes, scales = (torch.uint8, (8, 64)), (torch.float32, (8, 2))
    assert held == {"exp_avg_codes": codes, "exp_avg_scales": scales, "exp_avg_sq_codes": codes,
                    "exp_avg_sq_scales": scales}  # fmt: skip
    two, second = made(one.detach())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(one, first, 2)
    train(two, second, 2)
    assert torch.equal(one, two)
    assert all(torch.equal(value, second.state[two][name]) for name, value in first.state[one].items())


@pytest.fixture
def two_processes() -> Iterator[Any]:
    """The mesh of a group of two in which nothing is sent, as its first process sees it."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.distributed.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    yield torch.distributed.init_device_mesh("cpu", (2,))
    torch.distributed.destroy_process_group()


@pytest.mark.network
@pytest.mark.usefixtures("torchao")
def test_a_layout_that_cuts_through_blocks_is_refused(two_processes: Any) -> None:
    cut = {dim: torch.nn.Parameter(distribute_tensor(drawn(8, 64), two_processes, [Shard(dim)])) for dim in (0, 1)}
    for dim, block_size in ((0, 64), (1, 32)):
        optimizer = AdamW8bit([cut[dim]], block_size=block_size)
        cut[dim].grad = torch.ones_like(cut[dim])
        optimizer.step()
        scales = optimizer.state[cut[dim]]["exp_avg_scales"]
        assert scales.shape == (8, 64 // block_size) and scales.placements == (Shard(dim),)
    with pytest.raises(
        ConfigError, match=r"(?s)cuts through the blocks of layers\.0\.wo.* 32 of 64 columns, in blocks of 64"
    ):
        AdamW8bit([{"params": [cut[1]], "param_names": ["layers.0.wo"], "block_size": 64}])


@pytest.mark.parametrize("make", [torch.optim.AdamW, Lion, Muon])
def test_offloaded_state_has_a_place_of_its_own(make: Any) -> None:
    """Only a step's own copies change while it goes on, and no more parameters' than fit into a part."""
    parameters = [torch.nn.Parameter(drawn(4, 8, seed=seed)) for seed in range(5)]
    parameters[3].requires_grad_(False)
    optimizer = make([{"params": parameters[:2]}, {"params": parameters[2:], "weight_decay": 0.0}])
    seen: list[tuple[int, ...]] = []

    class Watched(make):
        def step(self, closure: Any = None) -> Any:
            seen.append(tuple(len(group["params"]) for group in self.param_groups))
            return super().step(closure)

    optimizer.__class__ = Watched
    offload(optimizer, part_bytes=2 * 4 * 8 * 4)
    places = []
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
        optimizer.step()
        places.append(
            [value.data_ptr() for state in optimizer.state.values() for value in state.values() if value.ndim]
        )
    assert seen == [(2, 0), (0, 2)] * 2 and places[0] == places[1]
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 3]


def test_lion_is_its_algorithm() -> None:
    start, rate, (beta1, beta2), decay = drawn(5, 4), 0.01, (0.9, 0.98), 0.3
    weight, momentum = start.double(), torch.zeros(5, 4, dtype=torch.float64)
    for step in range(4):
        gradient = drawn(5, 4, seed=step + 1).double()
        weight -= rate * ((beta1 * momentum + (1 - beta1) * gradient).sign() + decay * weight)
        momentum = beta2 * momentum + (1 - beta2) * gradient
    found = after(lambda p: Lion(p, lr=rate, betas=(beta1, beta2), weight_decay=decay), start, 4)
    assert torch.allclose(found.double(), weight, atol=1e-6)


def assigned(name: str, dimensions: int = 2, **values: Any) -> tuple[str, dict[str, Any]]:
    titan.start("cpu", 1, 1)
    from headwater.train.titan.optimizers import assignment_of

    titan.stop()
    config = validate(TrainConfig, {"model": {**MODEL, **values.pop("model", {})}, **values}, "train")
    found = assignment_of(config).of(name, dimensions)
    return found.optimizer, dict(found.options)


WQKV = "layers.1.attention.qkv_linear.wqkv.weight"


def test_muon_has_the_matrices_of_the_blocks_and_adamw_the_rest() -> None:
    muon = {"name": "muon", "learning_rate": 0.02, "adamw": {"learning_rate": 0.003, "weight_decay": 0.05}}
    for name in (WQKV, "layers.0.feed_forward.w2.weight"):
        assert assigned(name, optimizer=muon)[0] == "Muon"
    assert assigned("layers.1.moe.routed_experts.inner_experts.w1_EFD", 3, optimizer=muon)[0] == "Muon"
    assert assigned(WQKV, optimizer=muon)[1]["heads"] == (2, 8)
    for name, dimensions, decay in (
        ("tok_embeddings.weight", 2, 0.0), ("lm_head.weight", 2, 0.05), ("norm.weight", 1, 0.0),
        ("layers.0.ffn_norm.weight", 1, 0.0), ("layers.0.attention.wo.bias", 1, 0.0),
    ):  # fmt: skip
        optimizer, options = assigned(name, dimensions, optimizer=muon)
        assert (optimizer, options["lr"], options["weight_decay"]) == ("AdamW", 0.003, decay)
    assert assigned("lm_head.weight", optimizer={"name": "muon", "learning_rate": 0.02})[1]["lr"] == 0.02


@pytest.mark.parametrize("offloaded", [False, True])
@pytest.mark.parametrize("name", ["sgd", "adamw", "adafactor", "lion", "muon"])
def test_steps_are_left_out_before_the_first_one(name: str, offloaded: bool) -> None:
    """A refused first step leaves a state behind that a checkpoint can be written of, and what follows is the same."""
    titan.start("cpu", 1, 1)
    from headwater.train.titan.optimizers import HeadwaterOptimizers, assignment_of
    from headwater.train.titan.readback import update_unless

    config = validate(TrainConfig, {"model": MODEL, "optimizer": {"name": name}}, "train")

    def made() -> tuple[torch.nn.ModuleDict, Any]:
        torch.manual_seed(0)
        model = torch.nn.ModuleDict({"layers": torch.nn.ModuleDict({"0": torch.nn.Linear(6, 4)}),
                                     "lm_head": torch.nn.Linear(4, 9)})  # fmt: skip
        made = HeadwaterOptimizers.Config(_assignment=assignment_of(config), _offloaded=offloaded)
        return model, made.build(model_parts=[model])

    def update(model: torch.nn.ModuleDict, optimizers: Any, refused: float) -> None:
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, math.nan if refused else 0.5)
        update_unless(torch.tensor(refused), optimizers)
        optimizers.zero_grad()

    (plain, one), (late, other) = made(), made()
    before = {key: value.clone() for key, value in late.state_dict().items()}
    update(late, other, 1.0)
    assert all(torch.equal(value, before[key]) for key, value in late.state_dict().items())
    update(plain, one, 0.0)
    assert set(other.state_dict()) == set(one.state_dict())
    update(late, other, 0.0)
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in late.state_dict().items())
    titan.stop()


def test_the_default_is_adamw_as_it_was_and_decays_neither_norms_nor_embedding() -> None:
    optimizer, options = assigned("lm_head.weight")
    assert optimizer == "AdamW" and options == {
        "lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1, "fused": True, "foreach": False,
    }  # fmt: skip
    names = {"norm.weight": 1, "layers.0.attention_norm.weight": 1, "tok_embeddings.weight": 2, WQKV: 2}
    decays = [assigned(name, dimensions)[1]["weight_decay"] for name, dimensions in names.items()]
    assert decays == [0.0, 0.0, 0.0, 0.1]
    # A tied embedding is the head.
    assert assigned("tok_embeddings.weight", model={"tied": True})[1]["weight_decay"] == 0.1


def test_rules_and_layers_scale_the_learning_rate() -> None:
    rules = [{"pattern": r"layers\.1\..*wo", "lr_scale": 0.5, "weight_decay": 0.3}, {"pattern": "wo", "lr_scale": 0}]
    optimizer = {"learning_rate": 0.01, "groups": rules}
    _, first = assigned("layers.1.attention.wo.weight", optimizer=optimizer)
    _, second = assigned("layers.0.attention.wo.weight", optimizer=optimizer)
    assert (first["lr"], first["weight_decay"], second["lr"], second["weight_decay"]) == (0.005, 0.3, 0.0, 0.1)
    layered = {"learning_rate": 1.0, "layer_decay": 0.5}
    names = ["lm_head.weight", "layers.1.feed_forward.w1.weight", "layers.0.feed_forward.w1.weight",
             "tok_embeddings.weight"]  # fmt: skip
    assert [assigned(name, optimizer=layered)[1]["lr"] for name in names] == [1.0, 0.5, 0.25, 0.125]


def test_mup_scales_what_grows_with_the_width() -> None:
    mup = {"base_width": 8}
    rates = {name: assigned(name, optimizer={"learning_rate": 1.0}, mup=mup)[1] for name in
             (WQKV, "lm_head.weight", "tok_embeddings.weight")}  # fmt: skip
    assert [options["lr"] for options in rates.values()] == [0.25, 0.25, 1.0]
    assert rates[WQKV]["lr"] * rates[WQKV]["weight_decay"] == pytest.approx(0.1)
    for scaling, factor in (("spectral", 1.0), ("match_rms_adamw", math.sqrt(0.25))):
        muon = {"name": "muon", "learning_rate": 1.0, "scaling": scaling}
        assert assigned(WQKV, optimizer=muon, mup=mup)[1]["lr"] == factor


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"optimizer": {"name": "adam"}}, "name: adamw, adamw_8bit, sgd, adafactor, lion or muon"),
        ({"optimizer": {"name": "lion", "eps": 1}}, r"unknown key train\.optimizer\.eps"),
        ({"optimizer": {"groups": [{"pattern": "("}]}}, "regular expression"),
        ({"optimizer": {"name": "sgd", "nesterov": True, "momentum": 0}}, "nesterov needs optimizer.momentum"),
        ({"optimizer": {"name": "sgd"}, "mup": {"base_width": 8}}, "mup does not go with optimizer sgd"),
        ({"mup": {"base_width": 8}, "model": {"tied": True}}, "mup does not go with model.tied"),
        ({"z_loss": 1e-4, "parallel": {"tp": 2}}, "z_loss and label_smoothing do not go with parallel.tp"),
        ({"early_stopping": {"patience": 2}, "validation": {"every": 0}}, "early_stopping needs validation.every"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        validate(TrainConfig, values, "train")
