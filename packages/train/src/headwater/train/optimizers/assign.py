"""Which optimizer trains a parameter, and with which options: a function of the recipe and of the parameter's name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from headwater.core.errors import ConfigError
from headwater.train.mup import Mup
from headwater.train.optimizers.config import Adafactor, AdamW, AdamW8bit, AdamWBeside, Lion, Muon, Optimizer, Sgd

_LAYER = re.compile(r"(?:^|\.)(?:mtp_)?layers\.(\d+)\.")
_EMBEDDING = re.compile(r"(?:^|\.)(tok|pos)_embeddings\.")
_FUSED_HEADS = "qkv_linear.wqkv.weight"


@dataclass(frozen=True)
class Assigned:
    """An optimizer by its class's name, and its options in order of name."""

    optimizer: str
    options: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Assignment:
    """Gives each parameter of a model its optimizer.

    Attributes:
        optimizer: The section.
        n_layers: Of the model.
        tied: Whether the embedding is the head.
        heads: Queries of a key and width of a head, where their projection is one matrix.
        mup: Where the model is one of a family of widths.
        width: Of the model.
    """

    optimizer: Optimizer
    n_layers: int
    tied: bool
    heads: tuple[int, int]
    mup: Mup | None = None
    width: int = 0

    def of(self, name: str, dimensions: int) -> Assigned:
        """Of a parameter.

        Args:
            name: As torchtitan has it.
            dimensions: How many it has.
        """
        section = self.optimizer
        matrix = dimensions >= 2 and _LAYER.search(name) is not None
        beside = isinstance(section, Muon) and not matrix
        trains = section.adamw if isinstance(section, Muon) and beside else section
        kind = "AdamW" if beside else type(section).__name__
        peak = trains.learning_rate if trains.learning_rate is not None else section.learning_rate
        decay = trains.weight_decay if self._is_decayed(name) else 0.0
        rule = next((rule for rule in section.groups if re.search(rule.pattern, name)), None)
        scale = section.layer_decay ** self._below_top(name)
        if rule is not None:
            scale *= rule.lr_scale
            decay = decay if rule.weight_decay is None else rule.weight_decay
        if self.mup is not None:
            factor = self.mup.rate_factor(section, self.width, matrix=matrix, head=name.startswith("lm_head."))
            scale *= factor
            decay /= factor  # decoupled decay is multiplied by the learning rate, and is to be the same at every width
        options = {**_options(trains), "lr": peak * scale, "weight_decay": decay}
        if kind == "Muon" and name.endswith(_FUSED_HEADS):
            options["heads"] = self.heads
        return Assigned(kind, tuple(sorted(options.items())))

    def refuse_unused(self, names: Iterable[str]) -> None:
        """Refuses a rule that no parameter of the whole model is under.

        Raises:
            ConfigError: Naming the pattern.
        """
        known = list(names)
        left = list(known)
        for place, rule in enumerate(self.optimizer.groups):
            rest = [name for name in left if not re.search(rule.pattern, name)]
            if len(rest) == len(left):
                raise ConfigError(
                    f"train.optimizer.groups.{place}.pattern is that of no parameter", found=rule.pattern,
                    expected=f"one that is found in a parameter's name which no rule before it has, such as {known[0]}",
                )  # fmt: skip
            left = rest

    def _is_decayed(self, name: str) -> bool:
        if name.endswith("norm.weight") or name.endswith(".bias"):
            return False
        return self.tied or not name.endswith("tok_embeddings.weight")

    def _below_top(self, name: str) -> int:
        """Layers between the head and a parameter: 0 for the head and the last norm, most for the embedding."""
        if found := _LAYER.search(name):
            return self.n_layers - int(found.group(1))
        return self.n_layers + 1 if _EMBEDDING.search(name) and not self.tied else 0


def _options(section: Optimizer | AdamWBeside) -> dict[str, Any]:
    if isinstance(section, AdamW | AdamWBeside):
        return {"betas": tuple(section.betas), "eps": section.eps, "fused": True, "foreach": False}
    if isinstance(section, AdamW8bit):
        return {"betas": tuple(section.betas), "eps": section.eps, "block_size": section.block_size}
    if isinstance(section, Sgd):
        return {"momentum": section.momentum, "nesterov": section.nesterov, "fused": True, "foreach": False}
    if isinstance(section, Adafactor):
        return {"beta2_decay": section.beta2_decay, "eps": (None, section.min_scale), "d": section.clip_threshold}
    if isinstance(section, Lion):
        return {"betas": tuple(section.betas)}
    return {
        "momentum": section.momentum, "nesterov": section.nesterov, "scaling": section.scaling,
        "iterations": section.iterations, "precision": section.precision,
    }  # fmt: skip
