"""The recipe's `train.optimizer` section: one class an optimizer, chosen by `name`."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import Field, Tag, field_validator

from headwater.core.config import Section, Whole
from headwater.train.choice import by_name

Beta = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=10)]
Decay = Annotated[float, Field(ge=0, le=10)]


class GroupRule(Section):
    """Parameters with a learning rate or a weight decay of their own.

    Attributes:
        pattern: Regular expression that is searched for in a parameter's name, as torchtitan has it
            (`layers.0.attention.qkv_linear.wq.weight`). Of several rules the first that matches counts.
        lr_scale: Factor of its learning rate; 0: it is not trained.
        weight_decay: In place of the optimizer's.
    """

    pattern: str = Field(min_length=1)
    lr_scale: float = Field(default=1.0, ge=0, le=1000)
    weight_decay: Decay | None = None

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"a regular expression: {error}") from error
        return pattern


class BatchScaling(Section):
    """The learning rate follows the batch size of the step.

    Attributes:
        rule: "linear" (Goyal et al., 2017, arXiv:1706.02677, for SGD) or "sqrt" (Malladi et al., 2022,
            arXiv:2205.10287, for Adam).
        base_batch: Samples in a step for which `learning_rate` is meant.
    """

    rule: Literal["linear", "sqrt"]
    base_batch: Whole = Field(ge=1)

    def factor(self, batch: int) -> float:
        """Of the learning rate of a step of so many samples."""
        ratio = batch / self.base_batch
        return ratio if self.rule == "linear" else math.sqrt(ratio)


class Shared(Section):
    """What every optimizer has.

    Attributes:
        groups: Rules by the parameters' names.
        layer_decay: Each layer's learning rate is so much of that of the layer above it, down to the embedding's
            (Clark et al., 2020, arXiv:2003.10555); 1: they are equal.
        batch_scaling: How the learning rate follows the batch size; none: it does not.
    """

    groups: tuple[GroupRule, ...] = Field(default=(), max_length=1000, exclude_if=lambda groups: not groups)
    layer_decay: float = Field(default=1.0, gt=0, le=1, exclude_if=lambda decay: decay == 1.0)
    batch_scaling: BatchScaling | None = Field(default=None, exclude_if=lambda scaling: scaling is None)


class AdamW(Shared):
    """AdamW (Loshchilov and Hutter, ICLR 2019). Norms and the embedding are not decayed; a tied
    embedding is the head, and is.

    Attributes:
        learning_rate: Peak learning rate.
        betas: Decay of the running mean of the gradient and of its square.
        eps: Added to the denominator.
        weight_decay: Decoupled weight decay of the matrices.
    """

    name: Literal["adamw"] = Field(default="adamw", exclude_if=lambda name: name == "adamw")
    learning_rate: Rate = 1e-3
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: float = Field(default=1e-8, gt=0, lt=1)
    weight_decay: Decay = 0.1


class AdamW8bit(Shared):
    """AdamW with its moments in 8 bits (Dettmers et al., ICLR 2022, arXiv:2110.02861), in torchao's arithmetic.

    Attributes:
        learning_rate, betas, eps, weight_decay: As in `AdamW`.
        block_size: Elements of a row that have a scale in common. What has no rows of whole blocks, and every norm and
            bias, keeps its moments in float32.
    """

    name: Literal["adamw_8bit"]
    learning_rate: Rate = 1e-3
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: float = Field(default=1e-8, gt=0, lt=1)
    weight_decay: Decay = 0.1
    block_size: Whole = Field(default=256, ge=16, le=4096)


class Sgd(Shared):
    """Stochastic gradient descent (Sutskever et al., ICML 2013), torch's.

    Attributes:
        learning_rate: Peak learning rate.
        momentum: Decay of the sum of gradients; 0: none is kept.
        nesterov: Whether the step looks ahead along the sum.
        weight_decay: Added to the gradient (L2), of the matrices.
    """

    name: Literal["sgd"]
    learning_rate: Rate = 0.1
    momentum: Beta = 0.9
    nesterov: bool = False
    weight_decay: Decay = 0.0


class Adafactor(Shared):
    """Adafactor (Shazeer and Stern, 2018, arXiv:1804.04235), torch's: of the second moment only the sums over rows and
    columns are kept, and the step is a share of the parameter's own size.

    Attributes:
        learning_rate: The most that the relative step size is; it is no more than 1 / sqrt(step) either.
        beta2_decay: Exponent of the decay of the second moment, 1 - step^beta2_decay.
        min_scale: What a parameter's root mean square is taken to be at least.
        clip_threshold: The most that an update's root mean square is.
        weight_decay: Decoupled weight decay of the matrices.
    """

    name: Literal["adafactor"]
    learning_rate: Rate = 1e-2
    beta2_decay: float = Field(default=-0.8, ge=-1, lt=0)
    min_scale: float = Field(default=1e-3, gt=0, le=1)
    clip_threshold: float = Field(default=1.0, ge=1, le=1000)
    weight_decay: Decay = 0.0


class Lion(Shared):
    """Lion (Chen et al., 2023, arXiv:2302.06675): the sign of an interpolated momentum. Its authors take 3 to 10 times
    less learning rate than for AdamW, and as many times more weight decay.

    Attributes:
        learning_rate: Peak learning rate.
        betas: Weight of the momentum in the update, and its decay.
        weight_decay: Decoupled weight decay of the matrices.
    """

    name: Literal["lion"]
    learning_rate: Rate = 1e-4
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    weight_decay: Decay = 1.0


class AdamWBeside(Section):
    """AdamW for what Muon leaves: the embedding, norms, biases and the head.

    Attributes:
        learning_rate: Peak learning rate; none: Muon's.
        betas, eps: As in `AdamW`.
        weight_decay: Of the head.
    """

    learning_rate: Rate | None = None
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: float = Field(default=1e-8, gt=0, lt=1)
    weight_decay: Decay = 0.1


Scaling = Literal["plain", "original", "spectral", "match_rms_adamw"]


class Muon(Shared):
    """Muon (Jordan et al., 2024): momentum that is orthogonalised by Newton–Schulz iterations, for the matrices of
    the blocks; an expert's matrix is one of its own.

    Attributes:
        learning_rate: Peak learning rate.
        momentum: Decay of the running mean of the gradient.
        nesterov: Whether the step looks ahead along it.
        weight_decay: Decoupled weight decay of the matrices.
        scaling: Of the update of an `out` × `in` matrix: "plain", 1; "original", sqrt(max(1, out / in)) (Jordan);
            "spectral", sqrt(out / in) (Bernstein and Newhouse, 2024, arXiv:2409.20325); "match_rms_adamw",
            0.2 sqrt(max(out, in)), with which AdamW's learning rate does (Liu et al., 2025, arXiv:2502.16982).
        iterations: Of Newton–Schulz.
        precision: Of its products.
        adamw: What trains the rest.
    """

    name: Literal["muon"]
    learning_rate: Rate = 1e-3
    momentum: Beta = 0.95
    nesterov: bool = True
    weight_decay: Decay = 0.1
    scaling: Scaling = "match_rms_adamw"
    iterations: Whole = Field(default=5, ge=1, le=20)
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    adamw: AdamWBeside = AdamWBeside()


Optimizer = Annotated[
    Annotated[AdamW, Tag("adamw")]
    | Annotated[AdamW8bit, Tag("adamw_8bit")]
    | Annotated[Sgd, Tag("sgd")]
    | Annotated[Adafactor, Tag("adafactor")]
    | Annotated[Lion, Tag("lion")]
    | Annotated[Muon, Tag("muon")],
    by_name("optimizer", "adamw", "adamw_8bit", "sgd", "adafactor", "lion", "muon"),
]
